"""What methods cost at their published settings: timed over a few steps, the rest extrapolated in straight lines.

    python tools/bench_cost.py DATA -o costs.json --cache EMPTY_FOLDER

DATA is `lip_words`: the bytes that LVDD and VDSD need for one clip a class are its own. Every line is `videocompressa
compress --vpc 1` with a few values of its counts (steps, epochs of experts), one thread, one run after the other on one
machine. Time is taken to be linear in each count: seconds a count are the difference of two runs. Pixel methods run as
published (`pixel` codec, all T frames); ours and LVDD run whole, nothing extrapolated. The pass over the videos, the
same for all, is not in it. Ends with a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """How one method is timed."""

    method: str
    codec: str
    keyframes: int | None
    """None: all candidate frames."""
    base: dict[str, int] = field(default_factory=dict)
    """Counts of the first run."""
    more: dict[str, int] = field(default_factory=dict)
    """Each count alone is raised to this in a further run."""
    published: dict[str, int] = field(default_factory=dict)
    """What the paper has; a product such as experts x epochs stands under the count that was raised."""
    fixed: tuple[str, ...] = ()
    num_bytes: int | None = None
    """In place of VPC, for methods that fill a file: what one clip a class of `lip_words` takes."""


OURS = ("videocompressa-bytes", "videocompressa")

PLANS = {
    "videocompressa-bytes": Plan("videocompressa-bytes", "tiny", 4),
    "videocompressa": Plan("videocompressa", "tiny", 4),
    "lvdd": Plan("lvdd", "tiny", None, num_bytes=19_000),
    "dm": Plan("dm", "pixel", None, {"steps": 1}, {"steps": 3}, {"steps": 5000}),
    "vdsd-dm": Plan(
        "vdsd-dm", "pixel", None, {"statics.steps": 1, "steps": 1}, {"statics.steps": 3, "steps": 3},
        {"statics.steps": 5000, "steps": 5000}, num_bytes=576_000,
    ),
    "mtt": Plan(
        "mtt", "pixel", None, {"matching.experts.epochs": 1, "steps": 1}, {"matching.experts.epochs": 3, "steps": 5},
        {"matching.experts.epochs": 30 * 50, "steps": 8000},
        ("matching.experts.num_experts=1", "matching.max_start_epoch=0", "matching.inner_lr_lr=0"),
    ),
}  # fmt: skip
"""Methods by the name of their line."""


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
            costs[name] = cost(plan, options)
            options.output.write_text(json.dumps(costs, indent=1))
            print(name, costs[name], file=sys.stderr, flush=True)
    print(table(costs))


def cost(plan: Plan, options: argparse.Namespace) -> dict[str, float]:
    """Return seconds timed, seconds at the published counts, and peak memory in bytes."""
    base = timed(plan, plan.base, options)
    whole, peak, spent = base["method_seconds"], base["peak_memory_bytes"], base["method_seconds"]
    for count, value in plan.more.items():
        more = timed(plan, {**plan.base, count: value}, options)
        each = (more["method_seconds"] - base["method_seconds"]) / (value - plan.base[count])
        whole += each * (plan.published[count] - plan.base[count])
        spent, peak = spent + more["method_seconds"], max(peak, more["peak_memory_bytes"])
    return {"timed_seconds": spent, "published_seconds": whole, "peak_memory_bytes": peak}


def timed(plan: Plan, counts: dict[str, int], options: argparse.Namespace) -> dict[str, float]:
    """Run `compress` once and return what it says."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "videocompressa", "compress", str(options.data)]
        line += ["-o", f"{folder}/set.safetensors", "--method", plan.method, "--codec", plan.codec, "--threads", "1"]
        line += ["--vpc", "1"] if plan.num_bytes is None else ["--bytes", str(plan.num_bytes)]
        line += ["--frames", str(options.frames), "--keyframes", str(plan.keyframes or options.frames)]
        line += ["--cache", str(options.cache), "--json", "--quiet"]
        for setting in (*plan.fixed, *(f"{name}={value}" for name, value in counts.items())):
            line += ["--set", setting]
        result: dict[str, float] = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
    return result


def table(costs: dict[str, dict[str, float]]) -> str:
    """Markdown: a line a method, with how many times the cost of each of ours."""
    heads = ["method", "timed s", "at published counts s", *(f"times {name}" for name in OURS), "peak MiB"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, each in costs.items():
        seconds, peak = each["published_seconds"], each["peak_memory_bytes"] / 2**20
        times = " | ".join(f"{seconds / costs[ours]['published_seconds']:.3g}" for ours in OURS)
        lines.append(f"| {name} | {each['timed_seconds']:.1f} | {seconds:,.1f} | {times} | {peak:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
