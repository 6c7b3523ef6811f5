"""Accuracy against bytes as SVG: a panel for each data set, student, protocol and kind of labels of some records."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from videocompressa.bench.names import row_names
from videocompressa.bench.record import REGIMES, Record, grouped
from videocompressa.texts import bytes_text, mean_text

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 16, 12, 40
"""Margins of the plot, in units of the SVG."""
NUM_LOOKS = 8
"""Colors and shapes of lines in page.css; further lines begin again."""


@dataclass(frozen=True)
class Point:
    """One record in a panel."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """The records of one method, by their bytes."""

    name: str
    look: int
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """The points as the SVG attribute `points`."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


@dataclass(frozen=True)
class Panel:
    """One chart, and the table behind it."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    full: Point | None
    """Height of full data, hard labels; the same in every panel of a student."""
    table: tuple[tuple[str, str, str], ...]
    """Method, file and top-1."""


def panels(records: Sequence[Record]) -> tuple[Panel, ...]:
    """Return a panel for each group of comparable records; those without an accuracy, or bytes, are left out."""
    main = [record for record in records if record.axis == "main" and record.top1_mean is not None]
    sets = [record for record in main if record.file_bytes and not record.is_control]
    groups = grouped(sets, "data", "student", "protocol", "labels")
    full = {
        (record.data, record.student, record.protocol): record.top1_mean
        for record in main
        if record.on_all_videos and record.labels == "hard"
    }
    return tuple(
        _panel(f"{data}, {student}, {REGIMES[labels]}", members, full.get((data, student, protocol)))
        for (data, student, protocol, labels), members in groups.items()
    )


def _panel(title: str, members: Sequence[Record], full: float | None) -> Panel:
    sizes = [math.log10(record.file_bytes or 1) for record in members]
    low, high = min(sizes) - 0.15, max(sizes) + 0.15
    best = max([full or 0.0, *((record.top1_mean or 0.0) + (record.spread or 0.0) for record in members)])
    top = min(1.0, math.ceil(10 * best + 0.2) / 10)

    def x(size: float) -> float:
        return round(LEFT + (size - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - share / top * (HEIGHT - TOP - BOTTOM), 1)

    lines: dict[str, list[Point]] = {}
    ordered = sorted(zip(row_names(members), members, strict=True), key=lambda pair: pair[1].file_bytes or 0)
    for name, record in ordered:
        text = f"{name}: {mean_text(record.top1_mean, record.spread)} % with {bytes_text(record.file_bytes)}"
        place = Point(x(math.log10(record.file_bytes or 1)), y(record.top1_mean or 0.0), text)
        lines.setdefault(name, []).append(place)
    rows = [(name, bytes_text(each.file_bytes), mean_text(each.top1_mean, each.spread)) for name, each in ordered]
    return Panel(
        title=title,
        lines=tuple(
            Line(name, number % NUM_LOOKS, tuple(points)) for number, (name, points) in enumerate(lines.items())
        ),
        x_ticks=tuple((x(math.log10(size)), bytes_text(size).replace(".0 ", " ")) for size in _round_sizes(low, high)),
        y_ticks=tuple(
            (y(share / 10), f"{10 * share}") for share in range(0, round(10 * top) + 1, 2 if top > 0.5 else 1)
        ),
        full=None if full is None else Point(LEFT, y(full), f"all videos: {mean_text(full)} %"),
        table=(*rows, *([] if full is None else [("all videos", "-", mean_text(full))])),
    )


def _round_sizes(low: float, high: float) -> list[int]:
    """Return round numbers of bytes between two logarithms: of 1, 2 and 5 with zeros, or of 1 where these are many."""
    sizes = [digit * 10**power for power in range(16) for digit in (1, 2, 5)]
    inside = [size for size in sizes if low <= math.log10(size) <= high]
    return inside if len(inside) <= 7 else [size for size in inside if str(size)[0] == "1"]
