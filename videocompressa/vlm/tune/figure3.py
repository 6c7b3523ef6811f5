"""The rows of the paper's Figure 3: Qwen2.5-VL fine-tuned on files of several ratios, on all videos, and as it is.

VideoCompressa (arXiv 2511.18831) states: HMDB51 and UCF101, Qwen2.5-VL-7B, 4 keyframes a video, 0.41 % of HMDB51 as
good as 100 % and 10.61 points over zero-shot. All else is our choice: the other ratios, 8 candidate frames of
224 px, the Stable Diffusion autoencoder, LoRA, and equal steps for every row.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videocompressa.datasets import BadVideo
from videocompressa.files import check_output_folder, write_text
from videocompressa.methods.videocompressa.method import PAPER
from videocompressa.processes import ProcessGroup
from videocompressa.recipes.compress import compress_folder
from videocompressa.recipes.data import list_videos
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, Share, Surroundings
from videocompressa.texts import markdown_table, mean_text
from videocompressa.vlm.settings import FinetuneConfig, FinetuneOptions, LoadOptions
from videocompressa.vlm.tune.run import FinetuneOutcome, PhaseScores, finetune_on

CONFIG = FinetuneConfig(steps=400, gradient_checkpointing=True)


@dataclass(frozen=True)
class Figure:
    """All rows of one data set."""

    ratios: tuple[str, ...]
    """Shares of the training frames, one file each."""
    candidates: CandidateOptions
    """Candidate frames, and how the data set lists its videos."""
    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    method: str = "videocompressa"
    settings: tuple[str, ...] = (*PAPER, "labels=hard")
    """Of the method. Answers are classes, so no soft labels and no labeler."""
    codec: str = "diffusers:stabilityai/sd-vae-ft-mse"
    keyframes: int = 4
    config: FinetuneConfig = CONFIG


FIGURES: dict[str, Figure] = {
    "hmdb51_vlm": Figure(("0.1%", "0.41%", "1%"), CandidateOptions(size=224, frames=8, layout="hmdb51")),
    "ucf101_vlm": Figure(("0.13%", "0.41%", "1%"), CandidateOptions(size=224, frames=8, layout="ucf101")),
}
"""Every figure by the name that `videocompressa finetune` takes in place of a set file."""


@dataclass(frozen=True)
class FigureRow:
    """One row: the training data of the model, and its scores."""

    trained_on: str
    """"nothing", "0.41% of the frames" or "all videos"."""
    file_bytes: int | None
    scores: PhaseScores


@dataclass(frozen=True)
class FigureOutcome:
    """All rows, with notes and skipped videos."""

    rows: tuple[FigureRow, ...]
    skipped: tuple[BadVideo, ...]
    notes: tuple[str, ...]


def make_figure(
    figure: Figure,
    data: Path,
    folder: Path,
    *,
    options: FinetuneOptions,
    load: LoadOptions,
    overwrite: bool,
    group: ProcessGroup,
    surroundings: Surroundings,
) -> FigureOutcome:
    """Make all rows of a figure in `folder`, resuming where an earlier call stopped.

    Each ratio's set is `folder/RATIO.safetensors`, its run `folder/RATIO/`; zero-shot and full data are run once, with
    the first. The model, codec and phases of `options` are replaced by the figure's.
    """
    list_videos(data, figure.candidates)  # Before the folder is created: raises where `data` does not fit.
    if group.is_main:
        check_output_folder(folder, overwrite=True)
        folder.mkdir(exist_ok=True)
    options = dataclasses.replace(options, model=figure.model, codec=figure.codec, after_set=True)
    shared: dict[str, Any] = {"overwrite": overwrite, "surroundings": surroundings, "candidates": figure.candidates}
    rows: list[FigureRow] = []
    outcomes: list[FinetuneOutcome] = []
    for ratio in figure.ratios:
        path = folder / f"{ratio.removesuffix('%')}percent.safetensors"
        if group.is_main and (overwrite or not path.exists()):
            compress = CompressOptions(figure.method, figure.codec, options.seed, settings=figure.settings)
            budget = BudgetOptions(ratio=Share(ratio), keyframes=figure.keyframes)
            compress_folder(data, path, compress, budget=budget, **shared)
        group.wait()
        phases = dataclasses.replace(options, zero_shot=not outcomes, full=not outcomes)
        outcome = finetune_on(
            path, data, path.with_suffix(""), options=phases, config=figure.config, load=load, group=group, **shared
        )
        outcomes.append(outcome)
        trained_on = {"zero-shot": "nothing", "set": f"{ratio} of the frames", "full": "all videos"}
        for scores in outcome.phases:
            file_bytes = path.stat().st_size if scores.phase == "set" else None
            rows.append(FigureRow(trained_on[scores.phase], file_bytes, scores))
        rows.sort(key=lambda row: row.scores.phase == "full")  # The last row.
        if group.is_main:  # After every ratio: a long run that is stopped leaves what it has.
            _write(folder, figure, rows, options.seed, outcome.classes)
    skipped = dict.fromkeys(video for outcome in outcomes for video in outcome.skipped)
    config, clip = figure.config, figure.candidates
    note = f"{config.steps} steps of {config.batch_size} clips a row, {clip.frames} candidates of {clip.size} px"
    return FigureOutcome(tuple(rows), tuple(skipped), (note, *outcomes[0].notes))


def figure_markdown(rows: Sequence[FigureRow]) -> str:
    """Return the rows as a table."""
    headings = ("trained on", "clips", "file, kB", "accuracy, %", "free answers, %", "training, s", "evaluation, s")
    return markdown_table([headings, *map(_cells, rows)])


def _cells(row: FigureRow) -> tuple[str, ...]:
    scores = row.scores
    return (
        row.trained_on,
        str(scores.num_train_clips),
        "-" if row.file_bytes is None else f"{row.file_bytes / 1000:.0f}",
        mean_text(scores.accuracy),
        mean_text(scores.accuracy_generated),
        f"{scores.train_seconds:.0f}",
        f"{scores.evaluation_seconds:.0f}",
    )


def _write(folder: Path, figure: Figure, rows: Sequence[FigureRow], seed: int, classes: Sequence[str]) -> None:
    values = {
        "model": figure.model,
        "seed": seed,
        "config": dataclasses.asdict(figure.config),
        "classes": classes,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    write_text(folder / "figure.json", json.dumps(values, indent=1) + "\n")
    write_text(folder / "figure.md", figure_markdown(rows))
