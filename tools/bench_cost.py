"""What methods cost at their published settings: measured over a few steps, the rest computed from their counts.

    python tools/bench_cost.py DATA -o costs.json --cache EMPTY_FOLDER
    python tools/bench_cost.py --ucf101 [--threads 1] [--vpc 1] [-o rates.json]

With DATA, which is `lip_words` (the bytes of methods that fill a file are those of one of its clips a class), methods
are timed by `videocompressa compress` with a few values of its counts (steps, epochs of experts), one thread, one run
after the other on one machine. Time is taken to be linear in each count: seconds a count are the difference of two
runs. Pixel methods run as published (`pixel` codec, all T frames); ours (the paper's method with all of its parts, and
typical-clips) and LVDD run completely, nothing is extrapolated.

With `--ucf101`, costs on UCF101 are computed from rates that are measured at its shapes, on noise, for which a network
takes as long: clips are 16 frames of 112 px; 9,537 training videos of 101 classes. Each part of a method is timed at
two sizes, and a rate is the difference of the two, so that what happens once does not count; the smaller size is run
before, untimed. The product of a rate and its published count is the part's cost, and the table states both.

- DM (Zhao and Bilen 2023): 5,000 steps; each passes 64 real clips of every class through a fresh ConvNet3D, and the
  synthetic ones there and back. A fresh network is timed with it.
- MTT (Cazenavette et al. 2022): 30 experts of 50 epochs over all clips; 8,000 steps of 10 inner steps on all synthetic
  clips with second derivatives.
- The paper's method, as this package has it: selector, teacher, pool and synthesis, K = 8, and labels by the teacher.
- The default file: one labeler.

The pass over the videos, the same for all methods, is in neither. Prints Markdown tables for docs/benchmarks.md; what
the file already holds is not measured again.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import Codec, build_codec
from videocompressa.matching.experts import ExpertConfig, train_experts
from videocompressa.matching.objectives import DMConfig, MTTConfig
from videocompressa.methods.videocompressa.method import VideoCompressaConfig
from videocompressa.methods.videocompressa.pool import PoolConfig
from videocompressa.networks import build_student
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students.evaluation import student_features
from videocompressa.students.labelers import LabelerConfig, train_labeler
from videocompressa.students.teachers import real_clips
from videocompressa.synthetic import Budget
from videocompressa.texts import markdown_table


class Count(NamedTuple):
    """A setting that seconds are linear in."""

    base: int
    """Value in the first run."""
    more: int
    """Value in a further run, in which the other counts keep theirs."""
    published: int
    """Value of the paper, or a product such as experts x epochs."""


@dataclass(frozen=True)
class Plan:
    """How one method is timed."""

    codec: str
    keyframes: int | None
    """None: all candidate frames."""
    counts: dict[str, Count] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()
    """Further settings."""
    num_bytes: int | None = None
    """In place of VPC 1, for methods that fill a file: what one clip a class of `lip_words` takes."""


OURS = ("typical-clips", "videocompressa")

PLANS = {
    "typical-clips": Plan("tiny", None, num_bytes=1_400),
    "videocompressa": Plan("tiny", 4, fixed=("labels=soft", "selector=gumbel", "synthesis.enabled=true")),
    "lvdd": Plan("tiny", None, num_bytes=19_000),
    "dm": Plan("pixel", None, {"steps": Count(1, 3, 5000)}),
    "vdsd-dm": Plan("pixel", None, {"statics.steps": Count(1, 3, 5000), "steps": Count(1, 3, 5000)}, num_bytes=576_000),
    "mtt": Plan(
        "pixel",
        None,
        {"matching.experts.epochs": Count(1, 3, 30 * 50), "steps": Count(1, 5, 8000)},
        ("matching.experts.num_experts=1", "matching.max_start_epoch=0", "matching.inner_lr_lr=0"),
    ),
}
"""By method."""

VIDEOS, CLASSES = 9_537, 101
CLIP = ClipSpec(16, 112, 112)
KEYFRAMES, MOST_CLIPS = 8, 64
TARGETS = {"mtt": 5_800, "dm": 100}
"""How many times as much as the paper's method each shall cost."""
METHOD = VideoCompressaConfig(labels="soft", selector="gumbel")
METHOD = replace(METHOD, synthesis=replace(METHOD.synthesis, enabled=True))


def main() -> None:
    """Measure what is not yet in the file, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--ucf101", action="store_true", help="compute the cost on UCF101, without DATA")
    parser.add_argument("-o", "--output", type=Path, help="keeps what was measured")
    parser.add_argument("--cache", type=Path, help="of DATA, an empty folder: what is kept is not timed again")
    parser.add_argument("--frames", type=int, default=8, help="of DATA")
    parser.add_argument("--vpc", type=int, default=1, help="of UCF101")
    parser.add_argument("--threads", type=int, default=1, help="of UCF101")
    options = parser.parse_args()
    if options.ucf101 == bool(options.data and options.cache):
        parser.error("give DATA with --cache, or --ucf101")
    torch.set_num_threads(options.threads)
    measures: dict[str, Callable[[], Any]] = {name: functools.partial(cost, name, options) for name in PLANS}
    if options.ucf101:
        measures = {part: functools.partial(rate, part) for part in PARTS}
    measured = json.loads(options.output.read_text()) if options.output and options.output.exists() else {}
    for name, measure in measures.items():
        if name not in measured:
            measured[name] = measure()
            print(f"{name}: {measured[name]}", file=sys.stderr, flush=True)
            if options.output:
                options.output.write_text(json.dumps(measured, indent=1))
    if options.ucf101:
        print_tables(measured, counts(options.vpc))
    else:
        print(table(measured))


def cost(method: str, options: argparse.Namespace) -> dict[str, float]:
    """Return seconds timed, seconds at the published counts, and peak memory in bytes."""
    plan = PLANS[method]
    base = {name: count.base for name, count in plan.counts.items()}
    first = compressed(method, base, options)
    runs, published = [first], first["method_seconds"]
    for name, count in plan.counts.items():
        runs.append(compressed(method, {**base, name: count.more}, options))
        seconds = (runs[-1]["method_seconds"] - first["method_seconds"]) / (count.more - count.base)
        published += seconds * (count.published - count.base)
    return {
        "timed_seconds": sum(run["method_seconds"] for run in runs),
        "published_seconds": published,
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
    }


def compressed(method: str, counts: dict[str, int], options: argparse.Namespace) -> dict[str, float]:
    """Run `compress` once and return its JSON output."""
    plan = PLANS[method]
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "videocompressa", "compress", str(options.data)]
        line += ["-o", f"{folder}/set.safetensors", "--method", method, "--codec", plan.codec, "--threads", "1"]
        line += ["--vpc", "1"] if plan.num_bytes is None else ["--bytes", str(plan.num_bytes)]
        line += ["--frames", str(options.frames), "--keyframes", str(plan.keyframes or options.frames)]
        line += ["--cache", str(options.cache), "--json", "--quiet"]
        for setting in (*plan.fixed, *(f"{name}={value}" for name, value in counts.items())):
            line += ["--set", setting]
        result: dict[str, float] = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
    return result


def table(costs: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table: a line a method, with how many times the cost of each of ours."""
    lines = [["method", "timed s", "at published counts s", *(f"times {name}" for name in OURS), "peak MiB"]]
    for name, each in costs.items():
        seconds, peak = each["published_seconds"], each["peak_memory_bytes"] / 2**20
        times = [f"{seconds / costs[ours]['published_seconds']:.3g}" for ours in OURS]
        lines.append([name, f"{each['timed_seconds']:.1f}", f"{seconds:,.1f}", *times, f"{peak:.0f}"])
    return markdown_table(lines)


def rate(part: str) -> float:
    """Return the seconds of one unit of a part of a method on UCF101."""
    measure, small, large = PARTS[part]
    measure(small)
    units = (large - small) * (REPEATS * INNER_STEPS if measure is mtt_clips else 1)
    return (timed(measure, large) - timed(measure, small)) / units


def timed(measure: Callable[[int], object], size: int) -> float:
    """Return the seconds of a part at a size."""
    started = time.perf_counter()
    measure(size)
    return time.perf_counter() - started


def counts(vpc: int) -> dict[str, dict[str, int]]:
    """Return how many units of each part a method needs, by method."""
    synthetic, dm, mtt = vpc * CLASSES, DMConfig(), MTTConfig()
    teacher, pool = METHOD.teacher, METHOD.pool
    members = len(pool.ages) + teacher.num_teachers
    return {
        "dm": {
            "a fresh network": 5000,
            "real clip, forward": 5000 * CLASSES * dm.real_per_class,
            "synthetic clip, there and back": 5000 * synthetic,
        },
        "mtt": {
            "expert's clip": mtt.experts.num_experts * mtt.experts.epochs * VIDEOS,
            "synthetic clip in an inner step": 8000 * mtt.inner_steps * synthetic,
        },
        "the paper's method": {
            "selector step": METHOD.joint.steps,
            "student step": teacher.train.steps * teacher.num_teachers + sum(pool.ages),
            "clip, forward in a small student": members * CLASSES * pool.real_per_class
            + VIDEOS  # those that the teacher gets right
            + teacher.num_views * synthetic,
            "synthesis step": METHOD.synthesis.steps,
        },
        "the default file": {"labeler step": LabelerConfig().steps, "clip, forward in a small student": VIDEOS},
    }


def print_tables(rates: Mapping[str, float], methods: Mapping[str, Mapping[str, int]]) -> None:
    """Print the arithmetic, and the ratios."""
    rows = [["method", "part", "seconds each", "times", "hours"]]
    totals: dict[str, float] = {}
    for method, parts in methods.items():
        for part, count in parts.items():
            hours = rates[part] * count / 3600
            totals[method] = totals.get(method, 0.0) + hours
            rows.append([method, part, f"{rates[part]:.4g}", f"{count:,}", f"{hours:,.2f}"])
    print(markdown_table(rows))
    ratios = [["method", "hours together", "times the paper's method", "target", "times the default file"]]
    for method, hours in totals.items():
        ratio, default = hours / totals["the paper's method"], hours / totals["the default file"]
        target = f"{TARGETS[method]:,}" if method in TARGETS else ""
        ratios.append([method, f"{hours:,.2f}", f"{ratio:,.4g}", target, f"{default:,.4g}"])
    print()
    print(markdown_table(ratios))


def noise(num_clips: int, num_classes: int) -> tuple[Candidates, Codec]:
    """Return candidates of noise, at most `MOST_CLIPS`, and their codec."""
    data, codec = _all_noise(num_classes)
    return data.take(torch.arange(num_clips)), codec


@functools.cache
def _all_noise(num_classes: int) -> tuple[Candidates, Codec]:
    codec, draws = build_codec("ycbcr"), torch.Generator().manual_seed(0)
    shape = (MOST_CLIPS, CLIP.num_frames, 3, *CLIP.size[1:])
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws)
    with torch.no_grad():
        latents = torch.stack([codec.encode(clip).half() for clip in frames])
    data = Candidates(
        frames=frames,
        latents=latents,
        times_seconds=torch.arange(CLIP.num_frames, dtype=torch.float64).expand(MOST_CLIPS, -1) / 10,
        labels=torch.arange(MOST_CLIPS) % num_classes,
        video_ids=tuple(f"{row:05d}" for row in range(MOST_CLIPS)),
        num_video_frames=torch.full((MOST_CLIPS,), 180),
        video_bytes=torch.full((MOST_CLIPS,), 400_000),
        classes=tuple(map(str, range(num_classes))),
        clip=CLIP,
        codec=codec.spec,
        normalization=Normalization((0.5,) * 3, (0.25,) * 3),
        source="noise",
        split_hash="0" * 64,
    )
    return data, codec


def run() -> Run:
    """Return a run without stages: all is computed."""
    return Run(Streams(0))


def fresh_network(count: int) -> None:
    """Draw the network of a step of DM so many times."""
    for seed in range(count):
        config = DMConfig()
        draws = torch.Generator().manual_seed(seed)
        build_student(config.student, CLASSES, CLIP.size, draws, width=config.width)


def dm_real(count: int) -> None:
    """Pass so many real clips of one class through the network of DM."""
    dm_step(count, 1)


def dm_synthetic(count: int) -> None:
    """Pass so many synthetic clips through it, there and back."""
    dm_step(1, count)


def dm_step(num_real: int, num_synthetic: int) -> None:
    """Take one step of DM on these clips of one class."""
    data, _ = noise(max(num_real, num_synthetic), 1)
    matching = DMConfig(real_per_class=num_real).build(data, run())
    clips = torch.randn((num_synthetic, *data.frames.shape[1:]), requires_grad=True)
    torch.autograd.backward(matching.loss(lambda rows: clips[rows], data.labels[:num_synthetic], 0))


def expert_clips(count: int) -> None:
    """Train an expert for one epoch of so many clips, in one batch of MTT's size or smaller."""
    data, _ = noise(count, 1)
    train_experts(data, ExpertConfig(num_experts=1, epochs=1), run())


def mtt_clips(count: int) -> None:
    """Take one step of MTT on so many synthetic clips, of as many inner steps as memory holds (2)."""
    data, _ = noise(count, 1)
    experts = ExpertConfig(num_experts=1, epochs=1, batch_size=2)
    config = MTTConfig(experts=experts, max_start_epoch=0, inner_steps=INNER_STEPS)
    few, _ = noise(2, 1)
    matching = config.build(few, run())
    clips = torch.randn(tuple(data.frames.shape), requires_grad=True)
    for _ in range(REPEATS):
        torch.autograd.backward(matching.loss(lambda rows: clips[rows], data.labels, 0))


INNER_STEPS, REPEATS = 2, 3


def student_steps(count: int) -> None:
    """Train the paper's teacher for so many steps, on clips as a set stores them."""
    data, codec = noise(32, 2)
    train = replace(METHOD.teacher.train, steps=count)
    config = replace(METHOD, teacher=replace(METHOD.teacher, train=train))
    config.train_teachers(data, codec, KEYFRAMES, run())


def labeler_steps(count: int) -> None:
    """Train the labeler of the default file for so many steps."""
    train_labeler(noise(32, 2)[0], LabelerConfig(steps=count), run())


def selector_steps(count: int) -> None:
    """Train the selector for so many steps."""
    config = replace(METHOD, joint=replace(METHOD.joint, steps=count))
    config.find_selector(noise(64, 2)[0], KEYFRAMES, run())


def synthesis_steps(count: int) -> None:
    """Run the paper's method with a selector, a teacher and a pool of one step each and so many of the synthesis."""
    train = replace(METHOD.teacher.train, steps=1, warmup_steps=0)
    config = replace(
        METHOD,
        joint=replace(METHOD.joint, steps=1),
        teacher=replace(METHOD.teacher, train=train, num_views=1),
        pool=PoolConfig(ages=(1,), task_from=1, real_per_class=2),
        synthesis=replace(METHOD.synthesis, steps=count),
    )
    data, codec = noise(48, 24)
    config.compress(data, codec, Budget(1, KEYFRAMES), run())


def forward_clips(count: int) -> None:
    """Pass so many clips through a student of the paper's method."""
    train = METHOD.teacher.train
    student = build_student(train.student, CLASSES, CLIP.size, torch.Generator(), width=train.width).eval()
    student_features(student, real_clips(noise(count, 2)[0]), torch.device("cpu"))


PARTS: dict[str, tuple[Callable[[int], object], int, int]] = {
    "a fresh network": (fresh_network, 2, 12),
    "real clip, forward": (dm_real, 2, 10),
    "synthetic clip, there and back": (dm_synthetic, 2, 6),
    "expert's clip": (expert_clips, 2, 8),
    "synthetic clip in an inner step": (mtt_clips, 1, 3),
    "student step": (student_steps, 2, 8),
    "labeler step": (labeler_steps, 2, 8),
    "selector step": (selector_steps, 2, 8),
    "synthesis step": (synthesis_steps, 2, 8),
    "clip, forward in a small student": (forward_clips, 4, 36),
}
"""What is timed, and the two sizes, by the unit of the rate."""


if __name__ == "__main__":
    main()
