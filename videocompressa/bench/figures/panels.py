"""The panels of a figure with a line or chain of bubbles a method: which there are, full data in each, one legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from videocompressa.bench.figures.style import (
    COLUMN_INCHES,
    INK,
    PAGE_INCHES,
    Look,
    deviation,
    finished,
    looks,
    new_figure,
)
from videocompressa.bench.record import FULL, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 10
"""In one panel; with more, hard and soft labels get rows of panels of their own."""
LEGEND_ROW_INCHES = 0.155

Panel = tuple[str, str, str]
"""Data, student and protocol: each has a column of panels of its own."""


def panel_of(record: Record) -> Panel:
    """Return the panel a record belongs to."""
    return record.data, record.student, record.protocol


def panel_titles(panels: Sequence[Panel]) -> list[str]:
    """Return for each panel the name of its data, and what else differs between panels."""
    differ = [part == 0 or len({panel[part] for panel in panels}) > 1 for part in range(3)]
    return [", ".join(text for text, shown in zip(panel, differ, strict=True) if shown) for panel in panels]


@dataclass(frozen=True)
class Chain:
    """The records that are joined by a line: one method with one kind of labels in one panel."""

    axes: Any
    records: list[Record]
    name: str
    look: Look
    hollow: bool
    """Soft labels."""


@dataclass(frozen=True)
class Plan:
    """What a figure of chains shows and where."""

    records: Sequence[Record]
    """Those that are drawn."""
    names: Sequence[str]
    """The name of each record's line."""
    full: Sequence[Record]
    """Records of full data."""
    methods: Sequence[str] = ()
    """All methods of the results, so that one looks the same in every figure of them."""

    @property
    def styles(self) -> dict[str, Look]:
        """Look of each line in the order of the legend."""
        plain = set(self.names) <= set(self.methods)
        found = looks([*self.names, *(self.methods if plain else ())])
        return {name: look for name, look in found.items() if name in self.names}

    @property
    def panels(self) -> list[Panel]:
        """Columns of panels."""
        return list(dict.fromkeys(panel_of(record) for record in self.records))

    @property
    def kinds(self) -> list[str]:
        """Kinds of labels that occur."""
        return [kind for kind in ("hard", "soft") if any(record.labels == kind for record in self.records)]

    @property
    def rows(self) -> list[list[str]]:
        """Kinds of labels in each row of panels."""
        lines = {(panel_of(r), name, r.labels) for r, name in zip(self.records, self.names, strict=True)}
        most = max(sum(line[0] == panel for line in lines) for panel in self.panels)
        return [[kind] for kind in self.kinds] if most > MOST_LINES else [self.kinds]

    def handles(self) -> list[Any]:
        """Return the entries of the legend: ours, full data, the others, and what hollow means."""
        entries = []
        for name, look in self.styles.items():
            labels = {r.labels for r, other in zip(self.records, self.names, strict=True) if other == name}
            entries.append(_line_entry(look, name, hollow=labels == {"soft"}))
        num_ours = sum(look.ours for look in self.styles.values())
        entries[num_ours:num_ours] = [_entry(color="black", linestyle="--", label="full data")] * bool(
            finished(self.full)
        )
        if len(self.rows) == 1 and "soft" in self.kinds:
            entries += [_label_entry(kind) for kind in self.kinds]
        return entries

    def new_figure(self, panel_inches: float, extra_inches: float = 0.0) -> Figure:
        """Return a figure with a panel of this height for every row, and the legend below."""
        width = COLUMN_INCHES if len(self.panels) == 1 else PAGE_INCHES
        handles = self.handles()
        rows, columns = legend_shape([handle.get_label() for handle in handles], width)
        height = panel_inches * len(self.rows) + LEGEND_ROW_INCHES * rows + 0.1 + extra_inches
        figure = new_figure(width, height)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        return figure

    def fill(self, figure: Figure, x_label: str) -> Iterator[Chain]:
        """Make the panels with full data, titles and labels, and yield what is to be drawn in them."""
        grid = figure.subplots(len(self.rows), len(self.panels), squeeze=False, sharex="col", sharey="col")
        titles = panel_titles(self.panels)
        for row, kinds in zip(grid, self.rows, strict=True):
            row[0].set_ylabel("Top-1 accuracy (%)")
            for axes, panel, title in zip(row, self.panels, titles, strict=True):
                axes.set_title(title if len(self.rows) == 1 else f"{title}, {kinds[0]} labels")
                draw_full(axes, [record for record in self.full if panel_of(record) == panel])
                for name, look in self.styles.items():
                    for kind in kinds:
                        chain = self._chain(panel, name, kind)
                        if chain:
                            yield Chain(axes, chain, name, look, hollow=kind == "soft")
        for axes in grid[-1]:
            axes.set_xlabel(x_label)

    def _chain(self, panel: Panel, name: str, kind: str) -> list[Record]:
        return [
            record
            for record, other in zip(self.records, self.names, strict=True)
            if other == name and record.labels == kind and panel_of(record) == panel
        ]


def full_of(records: Sequence[Record], axis: str) -> list[Record]:
    """Return the records of full data to compare an experiment with: its own, then those of the main one."""
    return [record for own in (axis, "main") for record in records if record.method == FULL and record.axis == own]


def draw_full(axes: Axes, full: Sequence[Record], order: float = 2) -> None:
    """Draw full data as a dashed line with its deviation as a band: of hard labels where there are several."""
    done = sorted(finished(full), key=lambda record: record.labels != "hard")
    for record in done[:1]:
        height, spread = 100 * (record.top1_mean or 0.0), deviation(record)
        if spread:
            axes.axhspan(height - spread, height + spread, color="black", alpha=0.08, linewidth=0, zorder=1)
        axes.axhline(height, color="black", linestyle="--", linewidth=1.0, zorder=order, label="full data")


def legend_shape(names: Sequence[str], width: float) -> tuple[int, int]:
    """Return rows and columns of a legend with these names in a figure of `width` inches."""
    entry = 0.46 + 0.057 * max(len(name) for name in names)
    columns = max(1, min(len(names), int(width / entry)))
    rows = -(-len(names) // columns)
    return rows, -(-len(names) // rows)


def _entry(**look: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **({"linewidth": 1.0} | look))


def _line_entry(look: Look, name: str, *, hollow: bool) -> Any:
    return _entry(
        color=look.color,
        linestyle=look.dash,
        linewidth=look.width,
        marker=look.marker,
        markersize=look.marker_size,
        markerfacecolor="white" if hollow else look.color,
        label=name,
    )


def _label_entry(kind: str) -> Any:
    face = "white" if kind == "soft" else INK
    return _entry(color=INK, linestyle="", marker="o", markersize=4, markerfacecolor=face, label=f"{kind} labels")
