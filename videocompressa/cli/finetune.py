"""The verb `finetune`: a video-language model trained on a set file, and evaluated."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Group, Parameter
from rich.table import Table

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError
from videocompressa.recipes.options import CandidateOptions
from videocompressa.texts import bytes_text, duration_text
from videocompressa.vlm.settings import FinetuneConfig, FinetuneOptions, LoadOptions

if TYPE_CHECKING:
    import torch

    from videocompressa.vlm.tune.figure3 import FigureOutcome
    from videocompressa.vlm.tune.processes import ProcessGroup
    from videocompressa.vlm.tune.run import FinetuneOutcome, PhaseScores

OPTIONS, LOADING, TUNING = FinetuneOptions(), LoadOptions(), FinetuneConfig()
Values = TypeVar("Values", FinetuneConfig, CandidateOptions)

Options = Annotated[FinetuneOptions, Parameter(name="*")]
Loading = Annotated[LoadOptions, Parameter(name="*", group=Group("Model", sort_key=9), negative="")]
Tuning = Annotated[FinetuneConfig, Parameter(name="*", group=Group("Training", sort_key=10), negative="")]


@cli.app.command
def finetune(
    subject: Annotated[Path, Parameter(name="SET")],
    /,
    *,
    data: Path,
    output: cli.Output,
    options: Options = OPTIONS,
    force: cli.Force = False,
    loading: Loading = LOADING,
    tuning: Tuning = TUNING,
    candidates: cli.CandidateArguments = cli.CANDIDATES,
    running: cli.RunningArguments = cli.RUNNING,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Fine-tune a video-language model on a set file, and evaluate it on the test videos of DATA before and after.

    Interrupted, the same command resumes. On several GPUs: torchrun --nproc-per-node N -m videocompressa finetune ...
    (the same options). For a set file, size, frames and placement are those of the set; a recipe has its own defaults.

    Parameters
    ----------
    subject
        A set file; or a recipe, hmdb51_vlm or ucf101_vlm, which compresses DATA at several ratios and trains on each.
    data
        Folder (or csv) of labeled videos, with test videos to evaluate on.
    output
        Folder for scores, predictions, metrics and what was trained.
    force
        Start again where the output holds a run with other settings.
    """
    from videocompressa.vlm.tune.figure3 import find_figure, make_figure
    from videocompressa.vlm.tune.run import finetune_on

    figure = None if subject.exists() else find_figure(subject.name)
    if figure is not None and not (options.zero_shot and options.after_set):
        raise InputError(f"recipe {subject.name} makes all rows; leave --no-zero-shot and --no-after-set out")
    _quiet_libraries()
    with terminal.progress(reporting) as watch:
        surroundings = running.surroundings(watch)
        group = _process_group(surroundings.device)
        surroundings = replace(surroundings, device=group.device)
        shared: dict[str, Any] = {"options": options, "load": loading, "overwrite": force, "group": group}
        outcome: FigureOutcome | FinetuneOutcome
        if figure is None:
            outcome = finetune_on(
                subject, data, output, config=tuning, candidates=candidates, surroundings=surroundings, **shared
            )
        else:
            figure = replace(
                figure,
                model=options.model or figure.model,
                codec=options.codec or figure.codec,
                config=_with_changes(figure.config, tuning, TUNING),
                candidates=_with_changes(figure.candidates, candidates, cli.CANDIDATES),
            )
            outcome = make_figure(figure, data, output, surroundings=surroundings, **shared)
    if group.is_main:
        _report(outcome, output, reporting)


def _with_changes(values: Values, given: Values, default: Values) -> Values:
    """Return the values of a recipe, replaced by the given ones that are not the command's own defaults."""
    changed = {name: value for name, value in vars(given).items() if value != getattr(default, name)}
    return replace(values, **changed)


def _report(outcome: FigureOutcome | FinetuneOutcome, folder: Path, reporting: cli.ReportingArguments) -> None:
    from videocompressa.vlm.tune.figure3 import FigureOutcome, figure_markdown

    terminal.notes_and_skipped(outcome.notes, outcome.skipped, reporting)
    values: dict[str, Any]
    table: Table | str
    if isinstance(outcome, FigureOutcome):
        values, table = {"rows": [asdict(row) for row in outcome.rows]}, figure_markdown(outcome.rows)
    else:
        values = {"classes": outcome.classes, "names": outcome.names, "phases": [*map(asdict, outcome.phases)]}
        table = _table(outcome.phases, len(outcome.classes))
    if reporting.json:
        shared = {"notes": outcome.notes, "skipped": terminal.skipped_json(outcome.skipped)}
        terminal.print_json({"folder": str(folder), **shared, **values})
        return
    terminal.stdout_console().print(table, markup=False, soft_wrap=isinstance(table, str))
    terminal.note(f"wrote {folder}", reporting)


def _table(phases: Sequence[PhaseScores], num_classes: int) -> Table:
    on_gpu = any(phase.gpu_peak_memory_bytes is not None for phase in phases)
    table = Table(title=f"evaluated on {phases[0].num_clips} videos, chance {100 / num_classes:.1f} %")
    table.title_justify = "left"
    table.add_column("model")
    for heading in ("accuracy", "free answers", "trained on", "loss", "training", "evaluation", "memory"):
        table.add_column(heading, justify="right")
    if on_gpu:
        table.add_column("GPU", justify="right")
    names = {"zero-shot": "as it is", "set": "after the file", "full": "after all videos"}
    for phase in phases:
        free = "-" if phase.accuracy_generated is None else f"{100 * phase.accuracy_generated:.1f} %"
        training = ["-", "-", "-"]
        if phase.loss_first is not None and phase.loss_last is not None:
            training = [
                f"{phase.num_train_clips} clips, {phase.steps} steps",
                f"{phase.loss_first:.3g} to {phase.loss_last:.3g}",
                duration_text(phase.train_seconds),
            ]
        table.add_row(
            names[phase.phase],
            f"{100 * phase.accuracy:.1f} %",
            free,
            *training,
            duration_text(phase.evaluation_seconds),
            bytes_text(phase.peak_memory_bytes),
            *[bytes_text(phase.gpu_peak_memory_bytes or 0)] * on_gpu,
        )
    return table


def _quiet_libraries() -> None:
    """Keep the bars and advice of transformers and the hub off the terminal, where ours are."""
    from videocompressa.vlm.tune.models import need

    transformers_log = need("transformers", "fine-tuning").utils.logging
    transformers_log.set_verbosity_error()
    transformers_log.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # It reports each retry.


def _process_group(device: torch.device) -> ProcessGroup:
    """Return the processes that torchrun started, or this one alone."""
    from videocompressa.vlm.tune.models import need
    from videocompressa.vlm.tune.processes import ProcessGroup

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ProcessGroup(device)
    accelerate = need("accelerate", "fine-tuning on several GPUs")
    state = accelerate.PartialState(cpu=device.type == "cpu")
    return ProcessGroup(
        device=state.device,
        rank=state.process_index,
        size=state.num_processes,
        mean=lambda tensor: accelerate.utils.reduce(tensor, "mean"),
        gather=accelerate.utils.gather_object,
    )
