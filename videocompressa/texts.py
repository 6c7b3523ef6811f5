"""Numbers as texts for people, the same in every table and message, and Markdown tables of texts."""

import math
from collections.abc import Sequence


def bytes_text(num_bytes: int | None) -> str:
    """Return a size such as "12.3 kB" (1 kB = 1000 bytes); "-" for None."""
    if num_bytes is None:
        return "-"
    if num_bytes < 1000:
        return f"{num_bytes} B"
    size = float(num_bytes)
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 99.95 else f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"


def names_text(names: Sequence[str], most: int = 5) -> str:
    """Return the first names in quotation marks, and how many more there are."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def printable(text: str) -> str:
    """Return a text of which each character shows: others than line ends, such as terminal controls, become escapes."""
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


def utf8_text(text: str) -> str:
    """Return a text that UTF-8 can hold: bytes of a file name that are no UTF-8 become escapes."""
    return text.encode(errors="backslashreplace").decode()


def count_text(count: int | None) -> str:
    """Return a count; "all" for None."""
    return "all" if count is None else str(count)


def number_text(count: int, noun: str) -> str:
    """Return a number of things, such as "1 run" or "2 runs" of the noun "run"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def seconds_text(seconds: float | None) -> str:
    """Return seconds without a unit, such as "12.3" or "9,123"; "-" for None."""
    if seconds is None:
        return "-"
    return f"{seconds:,.0f}" if seconds >= 99.95 else f"{seconds:.3g}"


def duration_text(seconds: float) -> str:
    """Return a time such as "42 s", "3.5 min" or "2.1 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def span_text(seconds: float) -> str:
    """Return an estimated time as a range, half of it to twice as much: "4 to 16 min", and "under 2 s" below."""
    low, high = seconds / 2, 2 * seconds
    if low < 1:
        return f"under {max(1, math.ceil(high))} s"
    unit, size = next((unit, size) for unit, size in (("h", 3600), ("min", 60), ("s", 1)) if high >= 2 * size)
    few = ".1f" if low < 2 * size else ".0f"
    return f"{low / size:{few}} to {high / size:{few}} {unit}"


def percent_text(ratio: float | None) -> str:
    """Return a ratio in percent with three digits, such as "0.134 %"; "-" for None."""
    return "-" if ratio is None else f"{100 * ratio:.3g} %"


def points_text(change: float | None) -> str:
    """Return a difference of fractions in points of percent, such as "+2.0"; "-" for None."""
    return "-" if change is None else f"{round(100 * change, 1) + 0.0:+.1f}"  # + 0.0: no "-0.0"


def mean_text(mean: float | None, std: float | None = None) -> str:
    """Return mean and deviation of an accuracy in [0,1] in percent, such as "41.6 ± 4.1"; "-" without a mean."""
    if mean is None:
        return "-"
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def markdown_table(lines: Sequence[Sequence[str]], num_left: int = 1) -> str:
    """Return a Markdown table; the first line is its heading, the first `num_left` columns are aligned left."""
    rule = ["---"] * num_left + ["---:"] * (len(lines[0]) - num_left)
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in (cells[0], rule, *cells[1:]))
