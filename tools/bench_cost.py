"""What methods cost at their published settings: timed over a few steps, the rest extrapolated linearly.

    python tools/bench_cost.py DATA -o costs.json --cache EMPTY_FOLDER

DATA is `lip_words`: the bytes of methods that fill a file are those of one of its clips a class. Methods are timed by
`videocompressa compress` with a few values of its counts (steps, epochs of experts), one thread, one run after the
other on one machine. Time is taken to be linear in each count: seconds a count are the difference of two runs. Pixel
methods run as published (`pixel` codec, all T frames); ours (the paper's method with all of its parts, and
typical-clips) and LVDD run completely, nothing is extrapolated. The pass over the videos, the same for all, is not in
it. Ends with a Markdown table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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


def main() -> None:
    """Time every plan that is not yet in the file, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--cache", type=Path, required=True, help="an empty folder: what is kept is not timed again")
    options = parser.parse_args()
    costs = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name, plan in PLANS.items():
        if name not in costs:
            costs[name] = cost(name, plan, options)
            options.output.write_text(json.dumps(costs, indent=1))
            print(name, costs[name], file=sys.stderr, flush=True)
    print(table(costs))


def cost(method: str, plan: Plan, options: argparse.Namespace) -> dict[str, float]:
    """Return seconds timed, seconds at the published counts, and peak memory in bytes."""
    base = {name: count.base for name, count in plan.counts.items()}
    first = timed(method, plan, base, options)
    runs, published = [first], first["method_seconds"]
    for name, count in plan.counts.items():
        runs.append(timed(method, plan, {**base, name: count.more}, options))
        seconds = (runs[-1]["method_seconds"] - first["method_seconds"]) / (count.more - count.base)
        published += seconds * (count.published - count.base)
    return {
        "timed_seconds": sum(run["method_seconds"] for run in runs),
        "published_seconds": published,
        "peak_memory_bytes": max(run["peak_memory_bytes"] for run in runs),
    }


def timed(method: str, plan: Plan, counts: dict[str, int], options: argparse.Namespace) -> dict[str, float]:
    """Run `compress` once and return its JSON output."""
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


if __name__ == "__main__":
    main()
