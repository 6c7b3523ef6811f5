"""Draw the figures of docs/method.md from a real run on rendered videos: python tools/draw_method.py docs/figures.

method.png: one video from its candidates to a labeled view. gumbel.png: what the temperature does to the selection.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.bench.figures.style import Axes, paper_figure
from videocompressa.codecs import build_codec
from videocompressa.demo.videos import render_set
from videocompressa.labeler import Labeler
from videocompressa.recipes.compress import compress_folder
from videocompressa.recipes.data import encode_train, list_videos
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.run import watch_nothing
from videocompressa.selection.gumbel import gumbel_noise, top_k_straight_through
from videocompressa.synthetic import SyntheticSet
from videocompressa.views import random_views

CANDIDATES, BUDGET = CandidateOptions(size=64, frames=8), BudgetOptions(vpc=3, keyframes=4)
SETTINGS = ("labeler.steps=300",)
KEPT = "#1f5fbf"


@dataclass(frozen=True)
class Story:
    """One video on its way."""

    frames: Tensor
    """(T,3,H,W) uint8 candidates."""
    positions: list[int]
    decoded: Tensor
    """(K,3,H,W) in [0,1]: keyframes from the file."""
    clip: Tensor
    """(T,3,H,W) in [0,1]: those placed back on the time line."""
    view: Tensor
    """(T,3,H,W) in [0,1]: as a student sees the clip."""
    label: Tensor
    """(L,) what the labeler says of the view."""
    classes: tuple[str, ...]


def story(folder: Path) -> Story:
    """Render, compress, and look at the first item of the set."""
    render_set(
        folder / "videos", clips_per_class=(12, 1), size=(64, 64), seed=3, actions=("jump", "sit_down", "stand_up")
    )
    around = Surroundings(folder / "cache", torch.device("cpu"), 0, time.perf_counter, watch_nothing)
    options = CompressOptions("videocompressa", settings=SETTINGS)
    compress_folder(
        folder / "videos",
        folder / "set.safetensors",
        options,
        candidates=CANDIDATES,
        budget=BUDGET,
        surroundings=around,
    )
    synthetic = open_set(folder / "set.safetensors")
    videos = list_videos(folder / "videos", CANDIDATES)
    candidates = encode_train(videos, CANDIDATES, build_codec(options.codec), around)
    row = candidates.video_ids.index(synthetic.provenance.video_ids[0])
    view, label = labeled_view(synthetic)
    return Story(
        frames=candidates.frames[row],
        positions=synthetic.positions[0].tolist(),
        decoded=synthetic.keyframes()[0],
        clip=synthetic.clips()[0],
        view=view,
        label=label,
        classes=synthetic.classes,
    )


def labeled_view(synthetic: SyntheticSet) -> tuple[Tensor, Tensor]:
    """Return a view of the first clip, mixed with others, and its label."""
    labeler = synthetic.labeler
    assert isinstance(labeler, Labeler)
    views, _ = random_views(synthetic.clips(), labeler.spec.views, Streams(1, "figure").generator("views"))
    return views[0], labeler(views)[0]


def draw_story(story: Story, path: Path) -> None:
    """Draw candidates, keyframes of the file, the clip, and a labeled view, a row each."""
    count = len(story.frames)
    kept = dict.fromkeys(story.positions, KEPT)
    decoded = torch.ones((count, *story.frames.shape[1:]))
    decoded[story.positions] = story.decoded
    rows = {
        "Candidates: T frames of the complete video, K of them are kept": story.frames / 255,
        "Keyframes, as the file holds them": decoded,
        "The clip: keyframes placed back on the time line": story.clip,
        "A view of the clip, mixed with others, as a student sees it": story.view[: count - 2],
    }
    with paper_figure(path, wide=True, num_rows=2) as figure:
        figure.suptitle(" ", fontsize=4)  # room for the first heading
        grid = figure.add_gridspec(len(rows), count)
        for row, (title, frames) in enumerate(rows.items()):
            for place, frame in enumerate(frames):
                axes = figure.add_subplot(grid[row, place])
                picture(axes, frame, kept.get(place) if row < 3 else None, is_shown=row != 1 or place in kept)
                if place == 0:
                    heading(axes, title)
        labels = figure.add_subplot(grid[3, count - 2 :])
        labels.barh(range(len(story.classes)), story.label.flip(0).tolist(), color="#a9c4ea")
        for place, name in enumerate(story.classes[::-1]):
            labels.text(0.03, place, name, va="center")
        labels.set(xlim=(0, 1), xticks=[0, 1], yticks=[])
        labels.grid(visible=False)
        labels.set_box_aspect(0.47)
        heading(labels, "What the labeler says")


def heading(axes: Axes, text: str) -> None:
    """Write a text above axes that may be longer than they are wide."""
    axes.text(0, 1.07, text, transform=axes.transAxes).set_in_layout(False)


def picture(axes: Axes, frame: Tensor, color: str | None, *, is_shown: bool) -> None:
    """Draw a frame (3,H,W) in [0,1] with a frame of a color around it."""
    axes.set(xticks=[], yticks=[])
    axes.set_box_aspect(1)
    if is_shown:
        axes.imshow(frame.permute(1, 2, 0).numpy(), interpolation="nearest")
    for spine in axes.spines.values():
        spine.set(visible=color is not None, color=color, linewidth=2)


def draw_gumbel(path: Path) -> None:
    """Draw how often each of 8 frames is picked, and how sharp the relaxed pick is, by temperature."""
    scores, num_draws = torch.tensor([0.2, -0.5, 1.6, 0.0, -1.0, 0.9, -0.2, 0.4]), 20_000
    noise = gumbel_noise((num_draws, len(scores)), Streams(0, "figure").generator("gumbel"))
    with paper_figure(path, wide=True, num_rows=1) as figure:
        left, right = figure.subplots(1, 2)
        weights, _ = top_k_straight_through(scores + noise, 1, 1.0)
        places = torch.arange(len(scores))
        left.bar(places - 0.2, weights.mean(0)[0], 0.4, color=KEPT, label="frequency of the pick")
        left.bar(places + 0.2, scores.softmax(0), 0.4, color="#b9bdc4", label="softmax of the scores")
        left.set(xlabel="candidate frame", title="Theorem 1: noise turns scores into probabilities")
        left.legend()
        draw_temperatures(right, scores + noise[0])


def draw_temperatures(axes: Axes, perturbed: Tensor) -> None:
    """Draw the relaxed first pick of one draw at several temperatures."""
    for tau, color in ((3.0, "#b9bdc4"), (1.0, "#7fa6dd"), (0.3, KEPT)):
        _, relaxed = top_k_straight_through(perturbed[None], 1, tau)
        axes.plot(relaxed[0, 0], color=color, marker="o", markersize=3, label=f"temperature {tau:g}")
    axes.set(xlabel="candidate frame", title="One draw: backward weights sharpen as it cools", ylim=(0, None))
    axes.legend()


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write method.png and gumbel.png")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as work:
        draw_story(story(Path(work)), folder / "method.png")
    draw_gumbel(folder / "gumbel.png")


if __name__ == "__main__":
    main()
