"""Seconds of one student's training by where its clips come from, in one run: what a set file saves at every training.

    python tools/bench_training.py DATA SET [--steps 200] [--workers 2]

DATA is a folder of labeled videos and SET a file compressed from it; the student and its steps are the same for all:

1. videos: a DataLoader decodes every clip when it is drawn, as most training scripts do;
2. frames: all videos are decoded once and kept in memory;
3. set: the file is opened and its keyframes decoded; its labeler, if it has one, labels every view.

"start" is what happens before the first step. A step's time is measured over `--steps` and multiplied to 1,600 steps.
Prints a Markdown table for docs/benchmarks.md.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from videocompressa.clip import ClipSpec
from videocompressa.datasets import VideoSet, decode_split, find_videos
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import fit
from videocompressa.video import read_frames

STEPS = 1600


class DecodedWhenDrawn(Dataset[Tensor]):
    """Clips (T,3,H,W) uint8 that are decoded at every access."""

    def __init__(self, videos: VideoSet, clip: ClipSpec) -> None:
        self.videos, self.clip = videos, clip

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, row: int) -> Tensor:
        """Return one clip."""
        clip = self.clip
        frames = read_frames(self.videos.entries[row].source, clip.num_frames, clip.height, clip.width)
        return torch.from_numpy(frames.frames)


def main() -> None:
    """Train the same student three times and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("set", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    videos, clip = find_videos(options.data).select("train"), open_set(options.set).clip
    config = TrainConfig(steps=options.steps)

    def from_frames() -> LabeledClips:
        with tempfile.TemporaryDirectory() as cache:
            decoded = decode_split(videos, "train", clip, cache=Path(cache), workers=options.workers)
            return LabeledClips(decoded.frames.clone(), decoded.labels, decoded.normalization, decoded.classes)

    frames, from_memory = timed(from_frames)
    synthetic, from_file = timed(lambda: LabeledClips.of_set(open_set(options.set)))
    rows = {
        "set": (from_file, seconds_a_step(synthetic, config)),
        "frames": (from_memory, seconds_a_step(frames, config)),
        "videos": (0.0, seconds_a_step(frames, config, drawn(videos, clip, config, options.workers))),
    }
    print(f"{options.data.name}, {len(videos)} training videos, {clip.num_frames} frames of {clip.height} px, "
          f"{STEPS} steps of {config.batch_size}, {options.workers} decoding workers\n")  # fmt: skip
    print("| clips come from | start | steps | together | against the set |")
    print("|---|---|---|---|---|")
    shortest = rows["set"][0] + STEPS * rows["set"][1]
    for name, (start, step) in rows.items():
        together = start + STEPS * step
        print(f"| {name} | {start:.1f} s | {STEPS * step:.0f} s | {together:.0f} s | {together / shortest:.2f} |")


def timed(work: Callable[[], LabeledClips]) -> tuple[LabeledClips, float]:
    """Return what some work gives, and its seconds."""
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def drawn(videos: VideoSet, clip: ClipSpec, config: TrainConfig, workers: int) -> Iterator[Tensor]:
    """Yield batches (B,T,3,H,W) float32 in [0,1] of random clips, decoded by worker processes."""
    data = DecodedWhenDrawn(videos, clip)
    sampler = RandomSampler(data, num_samples=config.steps * config.batch_size)
    for batch in DataLoader(data, config.batch_size, sampler=sampler, num_workers=workers):
        yield batch.float() / 255


def seconds_a_step(clips: LabeledClips, config: TrainConfig, batches: Iterator[Tensor] | None = None) -> float:
    """Return the seconds of a step; with `batches`, their pixels take the place of those of the clips."""
    run = Run(Streams(0), torch.device("cpu"))
    fit(clips, dataclasses.replace(config, steps=2), run)  # loads what training needs
    started = time.perf_counter()
    fit(
        clips, config, run, view=None if batches is None else lambda rows, pixels, generator: next(batches)[: len(rows)]
    )
    return (time.perf_counter() - started) / config.steps


if __name__ == "__main__":
    main()
