"""The rows of the paper's Figure 3: Qwen2.5-VL fine-tuned on files of several ratios, on all videos, and as it is.

VideoCompressa (arXiv 2511.18831) states: HMDB51 and UCF101, Qwen2.5-VL-7B, 4 keyframes a video, 0.41 % of HMDB51 as
good as all of it and 10.61 points over zero-shot. All else is our choice: the other ratios, 8 candidate frames of
224 px, the Stable Diffusion autoencoder, LoRA, and equal steps for every row.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError
from videocompressa.recipes.compress import compress_folder
from videocompressa.recipes.finetune import FinetuneOutcome, finetune_on
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, Share, Surroundings
from videocompressa.recipes.phases import FinetuneOptions, PhaseScores
from videocompressa.recipes.texts import write_text
from videocompressa.vlm.settings import FinetuneConfig
from videocompressa.vlm.team import Team

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
CODEC = "diffusers:stabilityai/sd-vae-ft-mse"


@dataclass(frozen=True)
class Figure:
    """All rows of one data set."""

    layout: str
    """How the folder lists its videos."""
    ratios: tuple[str, ...]
    """Shares of the training frames, one file each."""
    model: str = MODEL
    method: str = "videocompressa"
    settings: tuple[str, ...] = ()
    """Of the method, as name=value."""
    codec: str = CODEC
    candidates: CandidateOptions = field(default_factory=lambda: CandidateOptions(size=224, frames=8))
    keyframes: int = 4
    config: FinetuneConfig = field(
        default_factory=lambda: FinetuneConfig(steps=400, batch_size=16, micro_batch=4, gradient_checkpointing=True)
    )


FIGURES: dict[str, Figure] = {
    "hmdb51_vlm": Figure("hmdb51", ("0.1%", "0.41%", "1%")),
    "ucf101_vlm": Figure("ucf101", ("0.13%", "0.41%", "1%")),
}
"""Every figure by the name that `videocompressa finetune` takes in place of a set file."""


@dataclass(frozen=True)
class FigureRow:
    """One row: what the model was trained on, and how well it did."""

    trained_on: str
    """"nothing", "0.41% of the frames" or "all videos"."""
    file_bytes: int | None
    scores: PhaseScores


def find_figure(name: str) -> Figure:
    """Return the figure of this name; raises `InputError` with the known ones."""
    if name not in FIGURES:
        raise InputError(f"{name}: is neither a set file nor a recipe; known recipes: {', '.join(FIGURES)}")
    return FIGURES[name]


def make_figure(
    figure: Figure,
    data: Path,
    folder: Path,
    *,
    options: FinetuneOptions,
    team: Team | None = None,
    overwrite: bool = False,
    surroundings: Surroundings,
) -> tuple[FigureRow, ...]:
    """Make all rows of a figure in `folder`, and go on from where an earlier call was.

    Each ratio's set lies in `folder/RATIO.safetensors` with its run beside it in `folder/RATIO/`; zero-shot and full
    data are made once, with the first. `options` replaces the figure's model and training; its phases are not used.
    """
    team = team or Team(surroundings.device)
    candidates = dataclasses.replace(figure.candidates, layout=figure.layout)
    if team.leads:
        if not folder.absolute().parent.is_dir():
            raise InputError(f"output {folder}: folder {folder.absolute().parent} does not exist; make it first")
        folder.mkdir(exist_ok=True)
    rows: list[FigureRow] = []
    full: list[FigureRow] = []
    for number, ratio in enumerate(figure.ratios):
        path = folder / f"{ratio.removesuffix('%')}percent.safetensors"
        if team.leads and (overwrite or not path.exists()):
            compress_folder(
                data,
                path,
                candidates=candidates,
                budget=BudgetOptions(ratio=Share(ratio), keyframes=figure.keyframes),
                method=figure.method,
                codec=figure.codec,
                seed=options.seed,
                settings=figure.settings,
                overwrite=overwrite,
                surroundings=surroundings,
            )
        team.gather([])
        outcome = finetune_on(
            path,
            data,
            path.with_suffix(""),
            options=dataclasses.replace(
                options, phases=("zero-shot", "set", "full") if number == 0 else ("set",), codec=figure.codec
            ),
            candidates=candidates,
            overwrite=overwrite,
            team=team,
            surroundings=surroundings,
        )
        made = {scores.phase: scores for scores in outcome.phases}
        if "zero-shot" in made:
            rows.append(FigureRow("nothing", None, made["zero-shot"]))
            full.append(FigureRow("all videos", None, made["full"]))
        rows.append(FigureRow(f"{ratio} of the frames", path.stat().st_size, made["set"]))
        if team.leads:  # After every ratio: a long run that is stopped leaves what it has.
            _write(folder, [*rows, *full], options, outcome)
    return (*rows, *full)


def figure_markdown(rows: Sequence[FigureRow]) -> str:
    """Return the rows as a table."""
    lines = [
        "| trained on | clips | file, kB | accuracy, % | free answers, % | train, s | judge, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        scores = row.scores
        free = "-" if scores.accuracy_generated is None else f"{100 * scores.accuracy_generated:.1f}"
        size = "-" if row.file_bytes is None else f"{row.file_bytes / 1000:.0f}"
        lines.append(
            f"| {row.trained_on} | {scores.num_train_clips} | {size} | {100 * scores.accuracy:.1f} | {free} | "
            f"{scores.train_seconds:.0f} | {scores.judge_seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _write(folder: Path, rows: Sequence[FigureRow], options: FinetuneOptions, outcome: FinetuneOutcome) -> None:
    told: dict[str, Any] = {
        "model": options.model,
        "classes": outcome.classes,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    write_text(folder / "figure.json", json.dumps(told, indent=1) + "\n")
    write_text(folder / "figure.md", figure_markdown(rows))
