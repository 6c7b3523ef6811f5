"""The verb `finetune`: a video-language model trained on a set file, and judged."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Group, Parameter
from rich.table import Table

from videocompressa.cli.app import CANDIDATES, REPORTING, RUNNING, Candidates, Force, Output, Report, Run, app
from videocompressa.cli.options import Running
from videocompressa.cli.output import (
    duration,
    note,
    notes_and_skipped,
    print_json,
    progress,
    skipped_json,
    stdout_console,
)
from videocompressa.errors import InputError
from videocompressa.recipes.options import CandidateOptions
from videocompressa.vlm.settings import FinetuneConfig, LoadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from videocompressa.recipes.options import Surroundings
    from videocompressa.vlm.tune.figure3 import FigureMade
    from videocompressa.vlm.tune.phases import PhaseScores
    from videocompressa.vlm.tune.run import FinetuneOutcome
    from videocompressa.vlm.tune.team import Team

TUNING, LOADING = FinetuneConfig(), LoadOptions()
Values = TypeVar("Values", FinetuneConfig, CandidateOptions)

Tuning = Annotated[FinetuneConfig, Parameter(name="*", group=Group("Training", sort_key=10), negative="")]
Loading = Annotated[LoadOptions, Parameter(name="*", group=Group("Model", sort_key=9), negative="")]


@app.command
def finetune(
    subject: Annotated[Path, Parameter(name="SET")],
    /,
    *,
    data: Path,
    output: Output,
    model: str | None = None,
    zero_shot: bool = True,
    after_set: bool = True,
    full: Annotated[bool, Parameter(negative="")] = False,
    from_source: Path | None = None,
    names: Path | None = None,
    generate: bool = True,
    split: Literal["test", "val"] = "test",
    seed: int = 0,
    codec: str | None = None,
    force: Force = False,
    loading: Loading = LOADING,
    tuning: Tuning = TUNING,
    candidates: Candidates = CANDIDATES,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Fine-tune a video-language model on a set file, and judge it on the test videos of DATA before and after.

    Interrupted, the same command goes on from where it was. On several GPUs: torchrun --nproc-per-node N -m
    videocompressa finetune ... (the same options). For a set file, size, frames and placement are those of the set; a
    recipe has its own defaults.

    Parameters
    ----------
    subject
        A set file; or a recipe, hmdb51_vlm or ucf101_vlm, which compresses DATA at several ratios and trains on each.
    data
        Folder (or csv) of labeled videos whose test videos judge.
    output
        Folder for scores, predictions, metrics and what was trained.
    model
        Hub name or folder of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL model; recipes have one of their own.
    zero_shot
        Judge the model as it is.
    after_set
        Judge it after training on the set file.
    full
        Judge it after training on all training videos of DATA, with the same steps.
    from_source
        Show frames at their videos' own size: the folder that the set was made of. The set then tells which frames.
    names
        A json {class: words} where the rule (TableTennisShot: table tennis shot) does not do.
    generate
        Also judge by free answers.
    split
        Videos that judge.
    seed
        Equal seeds give equal results on a CPU.
    codec
        Where the set's codec is, when the file does not say it: diffusers:FOLDER.
    force
        Begin anew where the output holds a run with other settings.
    """
    from videocompressa.vlm.tune.figure3 import find_figure, make_figure
    from videocompressa.vlm.tune.phases import FinetuneOptions
    from videocompressa.vlm.tune.run import finetune_on

    figure = find_figure(subject.name) if not subject.exists() else None
    if figure is None and model is None:
        raise InputError("--model is missing; give a hub name such as Qwen/Qwen2.5-VL-7B-Instruct, or a folder")
    if figure is not None and not (zero_shot and after_set):
        raise InputError(f"recipe {subject.name} makes all rows; leave --no-zero-shot and --no-after-set out")
    _quiet_libraries()
    asked = {"zero-shot": zero_shot, "set": after_set, "full": full}
    with progress(reporting) as watch:
        surroundings = running.surroundings(watch)
        team = _team(surroundings, running)
        surroundings = replace(surroundings, device=team.device)
        options = FinetuneOptions(
            model=model or (figure.model if figure else ""),
            phases=tuple(phase for phase in ("zero-shot", "set", "full") if asked[phase]),
            config=_with_changes(figure.config, tuning, TUNING) if figure else tuning,
            load=loading,
            from_source=from_source,
            names=names,
            generate=generate,
            split=split,
            seed=seed,
            codec=codec,
        )
        more: dict[str, Any] = {
            "options": options,
            "team": team,
            "overwrite": force,
            "surroundings": surroundings,
        }
        made: FigureMade | FinetuneOutcome
        if figure is not None:
            figure = replace(
                figure,
                codec=codec or figure.codec,
                candidates=_with_changes(figure.candidates, candidates, CANDIDATES),
            )
            made = make_figure(figure, data, output, **more)
        else:
            made = finetune_on(subject, data, output, candidates=candidates, **more)
    if team.leads:
        _report(made, output, reporting)


def _with_changes(values: Values, asked: Values, default: Values) -> Values:
    """Return a recipe's values with those that were asked for, as far as they are not the command's own defaults."""
    changed = {field.name: getattr(asked, field.name) for field in fields(asked)}
    return replace(values, **{name: value for name, value in changed.items() if value != getattr(default, name)})


def _report(made: FigureMade | FinetuneOutcome, folder: Path, reporting: Report) -> None:
    from videocompressa.vlm.tune.figure3 import FigureMade, figure_markdown

    notes_and_skipped(made.notes, made.skipped, reporting)
    told: dict[str, Any] = {"notes": list(made.notes), "skipped": skipped_json(made.skipped)}
    if isinstance(made, FigureMade):
        told["rows"] = [asdict(row) for row in made.rows]
    else:
        told |= {"classes": list(made.classes), "names": list(made.names)}
        told["phases"] = [asdict(phase) for phase in made.phases]
    if reporting.json:
        print_json({"folder": str(folder), **told})
        return
    if isinstance(made, FigureMade):
        stdout_console().print(figure_markdown(made.rows), markup=False, soft_wrap=True)
    else:
        stdout_console().print(_table(made.phases, len(made.classes)))
    note(f"wrote {folder}", reporting)


def _table(phases: Sequence[PhaseScores], num_classes: int) -> Table:
    from videocompressa.recipes.contact_sheet import bytes_text

    on_gpu = any(phase.gpu_peak_memory_bytes is not None for phase in phases)
    table = Table(title=f"judged on {phases[0].num_clips} videos, chance {100 / num_classes:.1f} %")
    table.title_justify = "left"
    headings = ["model", "accuracy", "free answers", "trained on", "loss", "training", "judging", "memory"]
    for heading in headings + ["GPU"] * on_gpu:
        table.add_column(heading, justify="left" if heading == "model" else "right")
    said = {"zero-shot": "as it is", "set": "after the file", "full": "after all videos"}
    for phase in phases:
        free = "-" if phase.accuracy_generated is None else f"{100 * phase.accuracy_generated:.1f} %"
        tuned = phase.loss_first is not None and phase.loss_last is not None
        row = [
            said[phase.phase],
            f"{100 * phase.accuracy:.1f} %",
            free,
            f"{phase.num_train_clips} clips, {phase.steps} steps" if tuned else "-",
            f"{phase.loss_first:.3g} to {phase.loss_last:.3g}" if tuned else "-",
            duration(phase.train_seconds) if tuned else "-",
            duration(phase.judge_seconds),
            bytes_text(phase.peak_memory_bytes),
        ]
        table.add_row(*row, *[bytes_text(phase.gpu_peak_memory_bytes or 0)] * on_gpu)
    return table


def _quiet_libraries() -> None:
    """Keep the bars and advice of transformers and the hub off the terminal, where ours are."""
    from videocompressa.vlm.tune.models import need

    told = need("transformers", "fine-tuning").utils.logging
    told.set_verbosity_error()
    told.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # It tells of each retry.


def _team(surroundings: Surroundings, running: Running) -> Team:
    """Return the processes that torchrun started, or this one alone."""
    from videocompressa.vlm.tune.team import Team

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return Team(surroundings.device)
    from videocompressa.vlm.tune.models import need

    accelerate = need("accelerate", "fine-tuning on several GPUs")
    state = accelerate.PartialState(cpu=surroundings.device.type == "cpu")
    return Team(
        device=state.device,
        rank=state.process_index,
        size=state.num_processes,
        mean=lambda tensor: accelerate.utils.reduce(tensor, "mean"),
        gather=lambda rows: accelerate.utils.gather_object(rows),
    )
