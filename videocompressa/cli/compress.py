"""The verb `compress`: a folder of videos into one file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.recipes.facts import cost_rows, labeler_text
from videocompressa.recipes.options import CandidateOptions, CompressOptions
from videocompressa.texts import duration_text

if TYPE_CHECKING:
    from videocompressa.recipes.compress import CompressOutcome
    from videocompressa.recipes.tensorboard import Log


@cli.app.command(help_epilogue="Example: `videocompressa compress videos -o set.safetensors --vpc 3 --keyframes 8`")
def compress(
    data: cli.Data,
    /,
    *,
    output: cli.Output,
    options: cli.CompressArguments = cli.COMPRESS,
    selector_out: Path | None = None,
    html: Path | None = None,
    log_dir: cli.LogDir = None,
    force: cli.Replace = False,
    profile: cli.Flag = False,
    budget: cli.BudgetArguments = cli.BUDGET,
    candidates: cli.CandidateArguments = cli.CANDIDATES,
    config: cli.ConfigFile = None,
    running: cli.RunningArguments = cli.RUNNING,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Compress the training videos of a folder into one file. After an interruption, the same command resumes.

    On several GPUs, which share teachers and synthesis: torchrun --nproc-per-node N -m videocompressa compress ...

    Parameters
    ----------
    output
        The file to write, such as set.safetensors.
    selector_out
        Also write the selector that learned to pick keyframes to this .safetensors file, for the verb keyframes.
    html
        Also write the page of the file to this .html file; inspect --html knows the selector's scores by --selector
        only, and not what the set was before it was tuned.
    profile
        Also print the time that each stage took, and of what decoding workers did; --json has it always.
    """
    started = time.perf_counter()
    from videocompressa.recipes.compress import compress_folder
    from videocompressa.recipes.tensorboard import logged

    if html is not None:
        from videocompressa.page.write import check_page

        check_page(html, overwrite=force)
    with terminal.progress(reporting) as report, logged(log_dir, report.watch) as log:
        surroundings, group = running.together(log.watch)
        outcome = compress_folder(
            data,
            output,
            options,
            candidates=candidates,
            budget=budget,
            selector_out=selector_out,
            overwrite=force,
            group=group,
            surroundings=surroundings,
            announce=report.announce if group.is_main and not reporting.quiet else None,
        )
        if not group.is_main:
            return
        seconds = time.perf_counter() - started
        shown = log_dir is not None or html is not None
        page_notes = _show(outcome, data, options, html, log) if shown else []
    report.notes((*outcome.notes, *page_notes), outcome.skipped)
    files = {"selector": selector_out, "page": html}
    written = {name: path for name, path in files.items() if path is not None}
    if reporting.json:
        costs = {"compress_seconds": seconds, "peak_memory_bytes": terminal.peak_memory_bytes(surroundings.workers)}
        terminal.print_json(terminal.facts_of(outcome, "cost") | costs | written)
        return
    _print(outcome, {"time": duration_text(seconds), **written})
    if profile:
        _print_times(outcome)
    report.next_command(_next_words(outcome, data, options, candidates, running))


def _show(outcome: CompressOutcome, data: Path, options: CompressOptions, html: Path | None, log: Log) -> list[str]:
    """Write samples of the set to TensorBoard and its page, where they were asked for; return the page's notes."""
    from videocompressa.recipes.sets import open_set

    synthetic = open_set(outcome.path, options.codec)
    if log.folder is not None:
        log.samples(synthetic)
    if html is None:
        return []
    from videocompressa.page.write import write_page

    page = write_page(
        synthetic,
        outcome.cost,
        html,
        data=data if data.is_dir() else None,
        origins=outcome.origins(),
        watch=log.watch,
    )
    return page.notes


def _print(outcome: CompressOutcome, more: Mapping[str, object]) -> None:
    """Print the table of what was written."""
    rows = {"file": str(outcome.path), **cost_rows(outcome.cost)}
    if outcome.labeler is not None:
        rows["labeler"] = labeler_text(outcome.labeler)
    rows["kept"] += f", of {outcome.num_train_videos} videos with {outcome.num_train_frames} frames"
    terminal.stdout_console().print(terminal.facts_table({**rows, **more}))


def _print_times(outcome: CompressOutcome) -> None:
    """Print the time of each stage."""
    for title, seconds in (("stage", outcome.stage_seconds), ("stage of the workers", outcome.worker_seconds)):
        if seconds:
            terminal.stdout_console().print(terminal.times_table(title, seconds))


def _next_words(
    outcome: CompressOutcome, data: Path, options: CompressOptions, candidates: CandidateOptions, running: cli.Running
) -> list[object]:
    """Return the command that judges the file, or shows it where the data has no videos for that."""
    if outcome.judged_by is None:
        return ["inspect", outcome.path]
    named = {name: getattr(options, name) for name in ("codec", "labeler")}  # As given: the file cuts folders off.
    return cli.training_command(outcome.path, data, outcome.judged_by, candidates, running, named)
