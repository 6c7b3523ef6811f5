"""The verb `finetune`: a video-language model trained on a set file, and evaluated."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Group, Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError
from videocompressa.recipes.options import CandidateOptions
from videocompressa.texts import bytes_text, duration_text, mean_text
from videocompressa.vlm.settings import FinetuneConfig, FinetuneOptions, LoadOptions

if TYPE_CHECKING:
    from videocompressa.vlm.tune.figure3 import FigureOutcome
    from videocompressa.vlm.tune.run import FinetuneOutcome, PhaseScores

OPTIONS, LOADING, TUNING = FinetuneOptions(), LoadOptions(), FinetuneConfig()
Values = TypeVar("Values", FinetuneConfig, CandidateOptions)


@cli.app.command(help_epilogue="Example: `videocompressa finetune set.safetensors --data videos --model MODEL -o out`")
def finetune(
    subject: Annotated[Path, Parameter(name="SET")],
    /,
    *,
    data: Annotated[Path, cli.AS_PATH],
    output: cli.Output,
    options: Annotated[FinetuneOptions, Parameter(name="*")] = OPTIONS,
    force: cli.Flag = False,
    loading: Annotated[LoadOptions, Parameter(name="*", group=Group("Model", sort_key=9), negative="")] = LOADING,
    tuning: Annotated[FinetuneConfig, Parameter(name="*", group=Group("Training", sort_key=10), negative="")] = TUNING,
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
        A set file, or hf:USER/NAME[@REVISION]; or a recipe, hmdb51_vlm or ucf101_vlm, which compresses DATA at several
        ratios and trains on each.
    data
        Folder (or csv) of labeled videos, with test videos to evaluate on.
    output
        Folder for scores, predictions, metrics and what was trained.
    force
        Start again where the output holds a run with other settings.
    """
    from videocompressa.hub import is_on_hub, quiet_transformers
    from videocompressa.vlm.tune.figure3 import FIGURES, make_figure
    from videocompressa.vlm.tune.run import finetune_on

    is_set = subject.exists() or is_on_hub(subject)
    figure = None if is_set else FIGURES.get(subject.name)
    if figure is None and not is_set:
        raise InputError(f"{subject.name}: is neither a set file nor a recipe; known recipes: {', '.join(FIGURES)}")
    if figure is not None and not (options.zero_shot and options.after_set):
        raise InputError(f"recipe {subject.name} makes all rows; leave --no-zero-shot and --no-after-set out")
    quiet_transformers("fine-tuning")
    with terminal.progress(reporting) as report:
        surroundings, group = running.together(report.watch)
        shared: dict[str, Any] = {"options": options, "load": loading, "overwrite": force, "group": group}
        shared["surroundings"] = surroundings
        outcome: FigureOutcome | FinetuneOutcome
        if figure is None:
            outcome = finetune_on(subject, data, output, config=tuning, candidates=candidates, **shared)
        else:
            figure = replace(
                figure,
                model=options.model or figure.model,
                codec=options.codec or figure.codec,
                config=_with_changes(figure.config, tuning, TUNING),
                candidates=_with_changes(figure.candidates, candidates, cli.CANDIDATES),
            )
            outcome = make_figure(figure, data, output, **shared)
    if not group.is_main:
        return
    report.notes(outcome.notes, outcome.skipped)
    if reporting.json:
        values = asdict(outcome) | {"skipped": terminal.skipped_json(outcome.skipped)}
        terminal.print_json({"folder": str(output), **values})
        return
    _print_scores(outcome)
    report.note(f"wrote {output}")


def _with_changes(values: Values, given: Values, default: Values) -> Values:
    """Return the values of a recipe, replaced by the given ones that are not the command's own defaults."""
    changed = {name: value for name, value in vars(given).items() if value != getattr(default, name)}
    return replace(values, **changed)


def _print_scores(outcome: FigureOutcome | FinetuneOutcome) -> None:
    from videocompressa.vlm.tune.figure3 import FigureOutcome, figure_markdown

    console = terminal.stdout_console()
    if isinstance(outcome, FigureOutcome):
        console.print(figure_markdown(outcome.rows), markup=False, soft_wrap=True)
        return
    rows = [_cells(phase) for phase in outcome.phases]
    headings = [heading for heading in rows[0] if heading != "GPU" or any(row["GPU"] != "-" for row in rows)]
    chance = f"chance {100 / len(outcome.classes):.1f} %"
    title = f"evaluated on {outcome.phases[0].num_clips} videos, {chance}"
    table = terminal.table(*headings, right=headings[1:], title=title)
    for row in rows:
        terminal.add_row(table, *(row[heading] for heading in headings))
    console.print(table)


def _cells(phase: PhaseScores) -> dict[str, str]:
    """Return the columns of a phase by their headings."""
    names = {"zero-shot": "as it is", "set": "after the file", "full": "after all videos"}
    free, is_trained = phase.accuracy_generated, phase.steps > 0
    return {
        "model": names[phase.phase],
        "accuracy": f"{mean_text(phase.accuracy)} %",
        "free answers": "-" if free is None else f"{mean_text(free)} %",
        "trained on": f"{phase.num_train_clips} clips, {phase.steps} steps" if is_trained else "-",
        "loss": f"{phase.loss_first:.3g} to {phase.loss_last:.3g}" if is_trained else "-",
        "training": duration_text(phase.train_seconds) if is_trained else "-",
        "evaluation": duration_text(phase.evaluation_seconds),
        "memory": bytes_text(phase.peak_memory_bytes),
        "GPU": bytes_text(phase.gpu_peak_memory_bytes),
    }
