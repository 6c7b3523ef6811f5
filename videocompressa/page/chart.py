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
MOST_TICKS = 7
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
class Axes:
    """The ranges that all panels share, so that they can be compared."""

    low: float
    high: float
    """Logarithms (base 10) of bytes."""
    top: float
    """Greatest accuracy, in (0,1]."""

    def x(self, num_bytes: int | None) -> float:
        """Return the place of a size."""
        share = (math.log10(num_bytes or 1) - self.low) / (self.high - self.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, accuracy: float | None) -> float:
        """Return the place of an accuracy in [0,1]."""
        return round(HEIGHT - BOTTOM - (accuracy or 0.0) / self.top * (HEIGHT - TOP - BOTTOM), 1)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Round sizes of 1, 2 and 5 with zeros, or of 1 alone where these are many."""
        sizes = [digit * 10**power for power in range(16) for digit in (1, 2, 5)]
        inside = [size for size in sizes if self.low <= math.log10(size) <= self.high]
        few = inside if len(inside) <= MOST_TICKS else [size for size in inside if str(size)[0] == "1"]
        return [(self.x(size), bytes_text(size).replace(".0 ", " ")) for size in few]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Tens of per cent."""
        tens = range(0, round(10 * self.top) + 1, 2 if self.top > 0.5 else 1)
        return [(self.y(ten / 10), f"{10 * ten}") for ten in tens]


@dataclass(frozen=True)
class Panel:
    """One chart, and the table behind it."""

    title: str
    axes: Axes
    lines: tuple[Line, ...]
    full: Point | None
    """Full data with hard labels; the same in every panel of a student."""
    table: tuple[tuple[str, str, str], ...]
    """Method, file and top-1."""


def panels(records: Sequence[Record]) -> tuple[Panel, ...]:
    """Return a panel for each group of comparable records; those without an accuracy, or bytes, are left out."""
    main = [record for record in records if record.axis == "main" and record.top1_mean is not None]
    sets = [record for record in main if record.file_bytes and not record.is_control]
    names = dict(zip(map(id, sets), row_names(sets), strict=True))
    ordered = sorted(set(names.values()), key=lambda name: (not name.startswith(CompressOptions.method), name))
    looks = {name: place for place, name in enumerate(ordered)}  # The same in all panels.
    full = {_students(each): each for each in main if (each.method, each.labels) == (FULL, "hard")}
    return tuple(
        _panel(members, names, looks, full.get(_students(members[0])), _axes(sets, list(full.values())))
        for members in grouped(sets, "data", "student", "protocol", "labels").values()
    )


def _students(record: Record) -> tuple[str, str, str]:
    return record.data, record.student, record.protocol


def _axes(sets: Sequence[Record], full: Sequence[Record]) -> Axes:
    sizes = [math.log10(record.file_bytes or 1) for record in sets]
    best = max(record.top1_mean or 0.0 for record in (*sets, *full))
    # 0.2 on both sides: wide enough for a tick, whatever the sizes are.
    return Axes(min(sizes) - 0.2, max(sizes) + 0.2, top=min(1.0, math.ceil(10 * best + 0.3) / 10))


def _panel(
    members: Sequence[Record], names: Mapping[int, str], looks: Mapping[str, int], full: Record | None, axes: Axes
) -> Panel:
    rows, points = [], dict[str, list[Point]]()
    for each in sorted(members, key=lambda record: (looks[names[id(record)]], record.file_bytes)):
        name, size, top1 = names[id(each)], bytes_text(each.file_bytes), mean_text(each.top1_mean, each.spread)
        rows.append((name, size, top1))
        place = Point(axes.x(each.file_bytes), axes.y(each.top1_mean), f"{name}: {top1} % with {size}")
        points.setdefault(name, []).append(place)
    line = None
    if full is not None:
        top1 = mean_text(full.top1_mean, full.spread)
        rows.append(("all videos", "-", top1))
        line = Point(LEFT, axes.y(full.top1_mean), f"all videos: {top1} %")
    return Panel(
        title=f"{members[0].data}, {members[0].student}, {REGIMES[members[0].labels]}",
        axes=axes,
        lines=tuple(Line(name, looks[name] % NUM_LOOKS, tuple(places)) for name, places in points.items()),
        full=line,
        table=tuple(rows),
    )
