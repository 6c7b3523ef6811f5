"""Seconds until a student is as accurate as a set file makes it, by where its clips come from, in one run.

    python tools/bench_training.py DATA SET [--steps 100,200,400,800,1600] [--timed 100] [--workers 2]

DATA is a folder of labeled videos and SET a file compressed from it; the student and its steps are the same for all:

1. videos: a DataLoader decodes every clip when it is drawn, as most training scripts do;
2. frames: all videos are decoded once and kept in memory;
3. set: the file is opened and its keyframes decoded; its labeler, if it has one, labels every view.

Students are trained on the set, and on all videos, for each number of steps, each with a complete learning-rate
schedule, and are tested; the set's accuracy is that of its most steps. Of each way, the fewest steps that are as
accurate are multiplied by the seconds of a step, measured over `--timed` steps, and "start" is added: what happens
before the first step. Videos and frames are the same clips, so they share their accuracies. One seed. Prints Markdown
tables for docs/benchmarks.md.
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
from videocompressa.students.evaluation import evaluate
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import fit
from videocompressa.texts import markdown_table
from videocompressa.video import read_frames


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
    parser.add_argument("--steps", type=counts, default="100,200,400,800,1600")
    parser.add_argument("--timed", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    found, clip = find_videos(options.data), open_set(options.set).clip
    videos, config = found.select("train"), TrainConfig(steps=options.timed)

    def decoded(split: str) -> LabeledClips:
        part = found.select(split)
        with tempfile.TemporaryDirectory() as cache:
            clips = decode_split(part, split, clip, cache=Path(cache), workers=options.workers)
            return LabeledClips(clips.frames.clone(), clips.labels, clips.normalization, clips.classes)

    frames, from_memory = timed(lambda: decoded("train"))
    synthetic, from_file = timed(lambda: LabeledClips.of_set(open_set(options.set)))
    test = dataclasses.replace(decoded("test"), normalization=frames.normalization)
    of_set, of_all = ([accuracy(clips, steps, test) for steps in options.steps] for clips in (synthetic, frames))
    print(f"{options.data.name}, {len(videos)} training videos, {clip.num_frames} frames of {clip.height} px, "
          f"steps of {config.batch_size}, {options.workers} decoding workers\n")  # fmt: skip
    rows = [["accuracy after steps", *map(str, options.steps)]]
    rows += [[name, *map("{:.1%}".format, each)] for name, each in (("set", of_set), ("all videos", of_all))]
    print(markdown_table(rows))

    def fewest(accuracies: list[float]) -> int | None:
        return next((steps for steps, each in zip(options.steps, accuracies, strict=True) if each >= of_set[-1]), None)

    batches = drawn(videos, clip, config, options.workers)
    ways = {
        "set": (from_file, seconds_a_step(synthetic, config), fewest(of_set)),
        "frames": (from_memory, seconds_a_step(frames, config), fewest(of_all)),
        "videos": (0.0, seconds_a_step(frames, config, batches), fewest(of_all)),
    }
    rows = [["clips come from", "start", "a step", f"steps to {of_set[-1]:.1%}", "together", "times the set"]]
    together = {name: start + step * steps for name, (start, step, steps) in ways.items() if steps}
    for name, (start, step, steps) in ways.items():
        ends = [f"{together[name]:.0f} s", f"{together[name] / together['set']:.2f}"] if steps else ["", ""]
        rows.append([name, f"{start:.1f} s", f"{step:.3f} s", str(steps or "not reached"), *ends])
    print(markdown_table(rows))


def counts(text: str) -> list[int]:
    """Return numbers with commas between them, rising."""
    return sorted(map(int, text.split(",")))


def accuracy(clips: LabeledClips, steps: int, test: LabeledClips) -> float:
    """Return the top-1 in [0,1] of a student that is trained for so many steps."""
    run = Run(Streams(0), torch.device("cpu"))
    return evaluate(fit(clips, TrainConfig(steps=steps), run), test, run.device).top1


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
