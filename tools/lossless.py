"""How much of what all videos teach a file teaches: one table and one figure of several benchmarks.

    python tools/lossless.py runs/lossless/*/results.json -o runs/lossless

Reads what `videocompressa bench` wrote, one or more folders a set, and writes `lossless.md` (a line for each set,
student, method and file size, with its share of full data's accuracy) and `lossless.png` (accuracy against bytes, a
panel a set). Full data is `full` of the same set and student; where a set has it by several recipes, the best. Methods
are told apart by their codec and by the settings of `--train`, too, but for the steps.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from videocompressa.bench.figures import accuracy_against_ratio
from videocompressa.bench.files import from_json
from videocompressa.bench.record import FULL, Record
from videocompressa.bench.tables import bytes_text, markdown_table, mean_text
from videocompressa.errors import InputError

HEADINGS = ("set", "student", "trained on", "file", "of the bytes", "of the frames", "top-1 %", "all videos %", "share")


def main() -> None:
    """Read, write, and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="results.json of videocompressa bench")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of lossless.md and lossless.png")
    arguments = parser.parse_args()
    try:
        records = kept(record for path in arguments.results for record in from_json(path.read_text(encoding="utf-8")))
        text = table(records)
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "lossless.md").write_text(text, encoding="utf-8")
        accuracy_against_ratio(records, arguments.output / "lossless.png", ratio="bytes")
    except (InputError, OSError) as error:
        parser.error(str(error))
    print(text)
    print(arguments.output / "lossless.png")


def kept(records: Iterable[Record]) -> list[Record]:
    """Return the finished records of whole methods, each once, and of full data the best of each set and student.

    The codec and settings of training but the steps become part of a method's name.
    """
    found: dict[tuple[object, ...], Record] = {}
    for record in records:
        if record.axis not in ("main", "cross") or record.top1_mean is None:
            continue
        whole = record.method == FULL
        recipe = [setting for setting in record.train if not whole and not setting.startswith("steps=")]
        parts = [record.method, *([] if record.codec in record.method else [record.codec]), *recipe]
        named = dataclasses.replace(record, method=", ".join(parts))
        key = (named.data, named.student, named.method, named.column)
        if key not in found or (whole and record.top1_mean > (found[key].top1_mean or 0.0)):
            found[key] = named
    return list(found.values())


def table(records: Sequence[Record]) -> str:
    """Return the Markdown table, sets and students together, files from small to large."""
    full = {(record.data, record.student): record for record in records if record.method == FULL}
    lines: list[Sequence[str]] = [HEADINGS]
    for record in sorted(records, key=lambda each: (each.data, each.student, each.method, each.file_bytes or 0)):
        if record.method == FULL:
            continue
        whole = full.get((record.data, record.student))
        top1 = record.top1_mean or 0.0
        share = "-" if whole is None else f"{100 * top1 / (whole.top1_mean or 1.0):.0f} %"
        ratios = (f"{100 * (ratio or 0.0):.3f} %" for ratio in (record.byte_ratio, record.frame_ratio))
        reached = (*(mean_text(each.top1_mean, each.top1_std) if each else "-" for each in (record, whole)), share)
        lines.append((record.data, record.student, record.method, bytes_text(record.file_bytes), *ratios, *reached))
    return markdown_table(lines, num_left=len(HEADINGS))


if __name__ == "__main__":
    main()
