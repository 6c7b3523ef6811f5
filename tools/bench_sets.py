"""Accuracy of methods at equal bytes, through the command line alone: every row is two commands anyone can run.

    python tools/bench_sets.py DATA... -o rows.jsonl [--vpc 1 5 10] [--variants NAME...] [--seeds 3] [--draws 1]
                               [--compress "OPTIONS"] [--train "OPTIONS"]

For every data folder: full data once, then every variant at every VPC. Rows are appended to the .jsonl file as they
come and a row that is there is not run again. Ends with a Markdown table a data folder for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev

VARIANTS: dict[str, list[str]] = {
    "videocompressa": ["--method", "videocompressa"],
    "vc-uniform": ["--method", "videocompressa", "--set", "selector=uniform"],
    "vc-random": ["--method", "videocompressa", "--set", "selector=random"],
    "vc-no-synthesis": ["--method", "videocompressa", "--set", "synthesis.enabled=false"],
    "vc-hard": ["--method", "videocompressa", "--set", "labels=hard"],
    "random-real": ["--method", "random-real"],
    "herding-real": ["--method", "herding-real"],
    "random-real-soft": ["--method", "random-real", "--set", "labels=soft"],
    "herding-real-soft": ["--method", "herding-real", "--set", "labels=soft"],
}
"""Rows of the table: options of `videocompressa compress`."""

Row = dict[str, object]


def main() -> None:
    """Run what is not yet in the file of rows, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--rows", type=Path, required=True)
    parser.add_argument("--vpc", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3, help="students a set")
    parser.add_argument("--draws", type=int, nargs="+", default=[0], help="seeds of compress")
    parser.add_argument("--compress", default="", help="more options of compress")
    parser.add_argument("--train", default="", help="more options of train")
    parser.add_argument("--no-full", action="store_true", help="leave full data out")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()] if options.rows.exists() else []
    done = {(row["data"], row["variant"], row["vpc"], row["draw"]) for row in rows}
    jobs = [(data, "full data", 0, 0) for data in options.data if not options.no_full]
    jobs += [
        (data, variant, vpc, draw)
        for data in options.data
        for vpc in options.vpc
        for variant in options.variants
        for draw in options.draws
    ]
    for data, variant, vpc, draw in jobs:
        if (data.name, variant, vpc, draw) in done:
            continue
        row = run(data, variant, vpc, draw, options)
        rows.append(row)
        with options.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, file=sys.stderr, flush=True)
    for data in options.data:
        print(f"\n{table(data.name, rows)}")


def run(data: Path, variant: str, vpc: int, draw: int, options: argparse.Namespace) -> Row:
    """Compress and train by two commands; returns what they print, and the draw."""
    row: Row = {"data": data.name, "variant": variant, "vpc": vpc, "draw": draw}
    shape = shlex.split(options.compress)
    train = ["--seeds", str(options.seeds), *shlex.split(options.train)]
    with tempfile.TemporaryDirectory() as folder:
        subject = str(data)
        if variant != "full data":
            subject = f"{folder}/set.safetensors"
            extra = ["--vpc", str(vpc), "--allow-fewer", "--seed", str(draw), *VARIANTS[variant], *shape]
            row |= command("compress", str(data), "-o", subject, *extra)
        else:
            train += [option for option in shape if option.split("=")[0] in {"--cache", "--size", "--frames"}]
        row |= command("train", subject, "--data", str(data), *train)
    return {key: value for key, value in row.items() if key not in {"path", "skipped", "confusion", "per_class"}}


def command(*arguments: str) -> Row:
    """Run `videocompressa ... --json --quiet` and return its one object."""
    line = [sys.executable, "-m", "videocompressa", *arguments, "--json", "--quiet"]
    result: Row = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
    return result


def table(name: str, rows: list[Row]) -> str:
    """Markdown: a line a variant, top-1 in per cent as mean and sample deviation over all students and draws."""
    mine = [row for row in rows if row["data"] == name]
    counts = sorted({int(str(row["vpc"])) for row in mine} - {0})
    lines = [f"| {name} | " + " | ".join(f"VPC {vpc}" for vpc in counts) + " |", "|---" * (len(counts) + 1) + "|"]
    for variant in dict.fromkeys(str(row["variant"]) for row in mine):
        cells = []
        for vpc in counts if variant != "full data" else [0]:
            of = [row for row in mine if row["variant"] == variant and row["vpc"] == vpc]
            runs = [100 * float(run) for row in of for run in row["top1_runs"]]  # type: ignore[attr-defined]
            size = f" ({mean(float(str(row['file_bytes'])) for row in of) / 1000:.1f} kB)" if vpc and of else ""
            cells.append(f"{mean(runs):.1f} ± {stdev(runs) if len(runs) > 1 else 0:.1f}{size}" if runs else "-")
        cells = cells * len(counts) if variant == "full data" else cells
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
