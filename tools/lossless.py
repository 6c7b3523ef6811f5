"""How close a small file comes to all videos: one table and one figure of several benchmarks.

    python tools/lossless.py runs/lossless/*/results.json -o runs/lossless

Reads what `videocompressa bench` wrote, one or more folders a set, and writes `lossless.md` (a line for each set,
student, method and file size, with its share of full data's accuracy) and `lossless.png` (accuracy against bytes, a
panel a set). Full data is `full` of the same set and student; where a set has it by several recipes, the best. Names of
methods hold their codec and the settings of `--train`, but for the steps.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from videocompressa.bench.figures import accuracy_against
from videocompressa.bench.record import FULL, Record, grouped
from videocompressa.bench.tables import from_json
from videocompressa.errors import InputError
from videocompressa.texts import bytes_text, markdown_table, mean_text

HEADINGS = ("set", "student", "trained on", "file", "of the bytes", "of the frames", "top-1 %", "all videos %", "share")


def main() -> None:
    """Write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="results.json of videocompressa bench")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of lossless.md and lossless.png")
    arguments = parser.parse_args()
    try:
        read = (record for path in arguments.results for record in from_json(path.read_text(encoding="utf-8")))
        records = distinct(read)
        text = table(records)
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "lossless.md").write_text(text, encoding="utf-8")
        accuracy_against(records, arguments.output / "lossless.png", "bytes")
    except (InputError, OSError) as error:
        parser.error(str(error))
    print(text)
    print(arguments.output / "lossless.png")


def distinct(records: Iterable[Record]) -> list[Record]:
    """Return the finished records of complete methods, each once, and of full data the best of each set and student."""
    finished = [record for record in records if record.axis in ("main", "cross") and record.top1_mean is not None]
    named = [dataclasses.replace(record, method=_name(record)) for record in finished]
    groups = grouped(named, "data", "student", "method", "column").values()
    return [max(same, key=lambda each: each.top1_mean or 0.0) if same[0].method == FULL else same[0] for same in groups]


def _name(record: Record) -> str:
    """Return the method with its codec and the settings of training but the steps."""
    if record.method == FULL:
        return FULL
    recipe = [setting for setting in record.train if not setting.startswith("steps=")]
    return ", ".join([record.method, *([] if record.codec in record.method else [record.codec]), *recipe])


def table(records: Sequence[Record]) -> str:
    """Return the Markdown table, sets and students together, files from small to large."""
    full = {(record.data, record.student): record for record in records if record.method == FULL}
    lines: list[Sequence[str]] = [HEADINGS]
    for record in sorted(records, key=lambda each: (each.data, each.student, each.method, each.file_bytes or 0)):
        if record.method == FULL:
            continue
        baseline = full.get((record.data, record.student))
        share = "-"
        if baseline is not None and baseline.top1_mean:
            share = f"{100 * (record.top1_mean or 0.0) / baseline.top1_mean:.0f} %"
        ratios = (f"{100 * (ratio or 0.0):.3f} %" for ratio in (record.byte_ratio, record.frame_ratio))
        top1 = (mean_text(each.top1_mean, each.top1_std) if each else "-" for each in (record, baseline))
        lines.append((record.data, record.student, record.method, bytes_text(record.file_bytes), *ratios, *top1, share))
    return markdown_table(lines, num_left=len(HEADINGS))


if __name__ == "__main__":
    main()
