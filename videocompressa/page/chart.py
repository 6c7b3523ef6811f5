"""Accuracy against bytes as SVG: a panel for each data set, student, protocol and kind of labels of some records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from videocompressa.bench.names import row_names
from videocompressa.bench.record import FULL, REGIMES, Record, grouped
from videocompressa.recipes.options import CompressOptions
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
    names = dict(zip(map(id, sets), row_names(sets), strict=True))
    ordered = sorted(set(names.values()), key=lambda name: (not name.startswith(CompressOptions.method), name))
    looks = {name: place for place, name in enumerate(ordered)}  # The same in all panels.
    full = {_students(each): each.top1_mean for each in main if (each.method, each.labels) == (FULL, "hard")}
    return tuple(
        _panel(members, names, looks, full.get(_students(members[0])))
        for members in grouped(sets, "data", "student", "protocol", "labels").values()
    )


def _students(record: Record) -> tuple[str, str, str]:
    return record.data, record.student, record.protocol


def _panel(members: Sequence[Record], names: Mapping[int, str], looks: Mapping[str, int], full: float | None) -> Panel:
    sizes = [math.log10(record.file_bytes or 1) for record in members]
    low, high = min(sizes) - 0.15, max(sizes) + 0.15
    best = max([full or 0.0, *((record.top1_mean or 0.0) + (record.spread or 0.0) for record in members)])
    top = min(1.0, math.ceil(10 * best + 0.2) / 10)

    def x(size: float) -> float:
        return round(LEFT + (size - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - share / top * (HEIGHT - TOP - BOTTOM), 1)

    ordered = sorted(members, key=lambda record: record.file_bytes or 0)
    rows = [(names[id(each)], bytes_text(each.file_bytes), mean_text(each.top1_mean, each.spread)) for each in ordered]
    points: dict[str, list[Point]] = {}
    for each, (name, size, top1) in zip(ordered, rows, strict=True):
        place = x(math.log10(each.file_bytes or 1)), y(each.top1_mean or 0.0)
        points.setdefault(name, []).append(Point(*place, f"{name}: {top1} % with {size}"))
    shares = range(0, round(10 * top) + 1, 2 if top > 0.5 else 1)
    return Panel(
        title=f"{members[0].data}, {members[0].student}, {REGIMES[members[0].labels]}",
        lines=tuple(
            Line(name, looks[name] % NUM_LOOKS, tuple(points[name]))
            for name in sorted(points, key=lambda name: looks[name])
        ),
        x_ticks=tuple((x(math.log10(size)), bytes_text(size).replace(".0 ", " ")) for size in _round_sizes(low, high)),
        y_ticks=tuple((y(share / 10), f"{10 * share}") for share in shares),
        full=None if full is None else Point(LEFT, y(full), f"all videos: {mean_text(full)} %"),
        table=(*rows, *([] if full is None else [("all videos", "-", mean_text(full))])),
    )


def _round_sizes(low: float, high: float) -> list[int]:
    """Return round numbers of bytes between two logarithms: of 1, 2 and 5 with zeros, or of 1 where these are many."""
    sizes = [digit * 10**power for power in range(16) for digit in (1, 2, 5)]
    inside = [size for size in sizes if low <= math.log10(size) <= high]
    return inside if len(inside) <= 7 else [size for size in inside if str(size)[0] == "1"]
