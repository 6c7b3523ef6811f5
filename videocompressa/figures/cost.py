"""Accuracy against the seconds that a method takes, with its peak memory as the area of a bubble (Figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videocompressa.errors import InputError
from videocompressa.figures.style import (
    COLUMN_INCHES,
    INK,
    PAGE_INCHES,
    SMALL_POINTS,
    Look,
    check_path,
    draw_full,
    finished,
    full_handle,
    label_handles,
    legend_rows,
    line_handle,
    looks,
    new_figure,
    panel_of,
    panel_titles,
    paper_style,
    write,
)
from videocompressa.results import FULL, Record, bytes_text
from videocompressa.results.record import of_axis
from videocompressa.results.tables import row_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDEST_BUBBLE = 19.0
"""Diameter in points of the largest peak memory."""

MEMORIES = {"host": ("peak_memory_bytes", "Peak memory"), "gpu": ("gpu_peak_memory_bytes", "Peak GPU memory")}
"""Field and name of each kind of memory."""


def cost_against_accuracy(records: Sequence[Record], path: Path, *, memory: str = "host") -> Figure:
    """Draw top-1 accuracy against the seconds to compress (logarithmic), of the records of axis "main".

    A method's budgets are joined by a line, its numbers of videos a class stand beside our own. The AREA of a bubble
    is the peak memory; where that is unknown there is a marker only. Full data is the dashed line. Failed cells, and
    those whose seconds are unknown or zero, are left out.

    Parameters
    ----------
    records:
        Results.
    path:
        A name that ends in .png or .pdf; what lies there is replaced.
    memory:
        "host" or "gpu".

    Returns
    -------
    Figure
        What was written, for a notebook.

    Raises
    ------
    InputError
        Without matplotlib, when no record can be drawn, or for another ending or kind of memory.
    """
    check_path(path)
    if memory not in MEMORIES:
        raise InputError(f"unknown memory {memory!r}; known: {', '.join(MEMORIES)}")
    chosen = of_axis(records, "main")
    drawn = [record for record in finished(chosen) if record.method != FULL and record.compress_seconds]
    if not drawn:
        raise InputError(f"none of {len(chosen)} records has both an accuracy and compress_seconds; nothing to draw")
    names = dict(zip(map(id, drawn), row_names(drawn), strict=True))
    styles = looks(list(names.values()))
    panels = list(dict.fromkeys(panel_of(record) for record in drawn))
    kinds = {record.labels for record in drawn}
    largest = max((_memory(record, memory) for record in drawn), default=0)
    width = COLUMN_INCHES if len(panels) == 1 else PAGE_INCHES
    entries = [*styles, "full data", *["hollow: soft labels"] * (2 * ("soft" in kinds))]
    with paper_style():
        figure = new_figure(width, 2.75 + 0.155 * legend_rows(entries, width)[0])
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=False)
        has_full = False
        for axes, panel, title in zip(grid[0], panels, panel_titles(panels), strict=True):
            has_full |= draw_full(axes, [record for record in chosen if panel_of(record) == panel])
            for name, look in styles.items():
                for kind in sorted(kinds):
                    points = [q for q in drawn if panel_of(q) == panel and names[id(q)] == name and q.labels == kind]
                    _bubbles(axes, points, look, name, memory, largest)
            _finish(axes, title)
        grid[0][0].set_ylabel("Top-1 accuracy (%)")
        _legends(figure, styles, sorted(kinds), has_full, largest, MEMORIES[memory][1])
        write(figure, path)
    return figure


def _memory(record: Record, memory: str) -> int:
    return getattr(record, MEMORIES[memory][0]) or 0


def bubble_area(num_bytes: int, largest: int) -> float:
    """Return the area in square points (matplotlib's `s`: the squared diameter), in proportion to the bytes."""
    return WIDEST_BUBBLE**2 * num_bytes / largest


def _bubbles(axes: Axes, points: Sequence[Record], look: Look, name: str, memory: str, largest: int) -> None:
    """Draw one method with one kind of labels: bubbles, a marker in each, a line through them."""
    if not points:
        return
    ordered = sorted(points, key=lambda record: (record.vpc or 0, record.keyframes or 0))
    x = [record.compress_seconds or 0.0 for record in ordered]
    y = [100 * (record.top1_mean or 0.0) for record in ordered]
    known = [i for i, record in enumerate(ordered) if _memory(record, memory)]
    if known:
        axes.scatter(
            [x[i] for i in known],
            [y[i] for i in known],
            s=[bubble_area(_memory(ordered[i], memory), largest) for i in known],
            facecolors=look.colour,
            alpha=0.22,
            linewidths=0,
            zorder=look.order - 1,
        )
    axes.plot(
        x,
        y,
        color=look.colour,
        linestyle=look.dash,
        linewidth=look.width if look.ours else 0.6,
        marker=look.marker,
        markersize=look.marker_size,
        markerfacecolor="white" if ordered[0].labels == "soft" else look.colour,
        markeredgewidth=0.8,
        zorder=look.order,
        label=name,
    )
    if look.ours and len(ordered) > 1:
        for record, left, up in zip(ordered, x, y, strict=True):
            axes.annotate(
                f"{record.vpc}",
                (left, up),
                (-WIDEST_BUBBLE / 2, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=SMALL_POINTS,
                color=look.colour,
                zorder=look.order,
            )


def _finish(axes: Axes, title: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x:g}" if 0.001 <= x < 1e5 else f"$10^{{{math.log10(x):.0f}}}$")
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.1, y=0.12)
    axes.set_title(title)
    axes.set_xlabel("Seconds to compress")


def round_sizes(largest: int) -> list[int]:
    """Return up to three round numbers of bytes (1, 2 or 5 and zeros) up to `largest`, well apart."""
    sizes: list[int] = []
    limit = float(largest)
    while limit >= 1 and len(sizes) < 3:
        power = 10 ** math.floor(math.log10(limit))
        sizes.append(int(max(step * power for step in (1, 2, 5) if step * power <= limit)))
        limit = sizes[-1] / 3.5
    return sizes[::-1]


def _legends(
    figure: Figure, styles: dict[str, Look], kinds: Sequence[str], has_full: bool, largest: int, title: str
) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = [line_handle(look, name, list(kinds) == ["soft"]) for name, look in styles.items()]
    handles = handles[:1] + [full_handle()] * has_full + handles[1:]
    if "soft" in kinds:
        handles += label_handles() if len(kinds) > 1 else label_handles()[1:]
    _, columns = legend_rows([handle.get_label() for handle in handles], figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    sizes = round_sizes(largest)
    if sizes:
        bubbles: list[Any] = [Line2D([], [], linestyle="", label=f"{title}:")]
        for size in sizes:
            diameter = bubble_area(size, largest) ** 0.5
            bubbles.append(
                Line2D(
                    [],
                    [],
                    linestyle="",
                    marker="o",
                    markersize=diameter,
                    color=INK,
                    alpha=0.3,
                    markeredgewidth=0,
                    label=bytes_text(size).replace(".0 ", " "),
                )
            )
        figure.legend(handles=bubbles, loc="outside upper center", ncols=len(bubbles), handlelength=1.6)
