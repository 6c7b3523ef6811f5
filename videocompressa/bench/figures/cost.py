"""Accuracy against the seconds that a method takes, with its peak memory as the area of a bubble (Figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videocompressa.bench.figures.panels import Chain, Plan, full_of
from videocompressa.bench.figures.style import INK, SMALL_POINTS, check_path, finished, halo, paper_style, write
from videocompressa.bench.record import Record, of_axis
from videocompressa.bench.tables import bytes_text, row_names
from videocompressa.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_INCHES = 2.4
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
    drawn = [record for record in finished(chosen) if not record.on_all_videos and record.compress_seconds]
    if not drawn:
        raise InputError(f"none of {len(chosen)} records has both an accuracy and compress_seconds; nothing to draw")
    plan = Plan(drawn, row_names(drawn), full_of(records, "main"), [record.method for record in records])
    largest = max(_memory(record, memory) for record in drawn)
    with paper_style():
        figure = plan.new_figure(PANEL_INCHES, extra_inches=0.35 if largest else 0.0)
        for chain in plan.fill(figure, "Seconds to compress"):
            _bubbles(chain, memory, largest)
        seconds = [record.compress_seconds or 0.0 for record in drawn]
        for axes in figure.axes:
            _set_scale(axes, max(seconds))
        _legend_of_sizes(figure, MEMORIES[memory][1], largest)
        write(figure, path)
    return figure


def _memory(record: Record, memory: str) -> int:
    return getattr(record, MEMORIES[memory][0]) or 0


def bubble_area(num_bytes: int, largest: int) -> float:
    """Return the squared diameter in points (matplotlib's `s`), in proportion to the bytes; 0 where none is known."""
    return WIDEST_BUBBLE**2 * num_bytes / largest if largest else 0.0


def _bubbles(chain: Chain, memory: str, largest: int) -> None:
    """Draw a bubble for each record, a marker in it, and a line through all."""
    look = chain.look
    ordered = sorted(chain.records, key=lambda record: (record.vpc or 0, record.keyframes or 0))
    x = [record.compress_seconds or 0.0 for record in ordered]
    y = [100 * (record.top1_mean or 0.0) for record in ordered]
    areas = [bubble_area(_memory(record, memory), largest) for record in ordered]
    if any(areas):
        from matplotlib.colors import to_rgba

        face, edge = to_rgba(look.color, 0.2), to_rgba(look.color, 0.6)
        chain.axes.scatter(x, y, s=areas, facecolors=[face], edgecolors=[edge], linewidths=0.4, zorder=look.order - 1)
    chain.axes.plot(
        x,
        y,
        color=look.color,
        linestyle=look.dash,
        linewidth=look.width if look.ours else 0.6,
        marker=look.marker,
        markersize=look.marker_size if look.ours else 3.2,
        markerfacecolor="white" if chain.hollow else look.color,
        markeredgewidth=0.8,
        zorder=look.order,
        label=chain.name,
    )
    if look.ours and len(ordered) > 1:
        side = -1 if chain.hollow else 1
        for record, left, up, area in zip(ordered, x, y, areas, strict=True):
            chain.axes.annotate(
                f"{record.vpc}",
                (left, up),
                (side * (2 + max(look.marker_size, area**0.5) / 2), 0),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=SMALL_POINTS,
                fontweight="bold",
                color=look.color,
                path_effects=halo(),
                zorder=look.order + 1,
            )


def _set_scale(axes: Any, longest: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    power = FuncFormatter(lambda x, _: f"$10^{{{math.log10(x):.0f}}}$" if longest >= 1e4 else f"{x:g}")
    axes.xaxis.set_major_formatter(power)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.1, y=0.12)


def round_sizes(largest: int) -> list[int]:
    """Return up to three round numbers of bytes (1, 2 or 5 and zeros) up to `largest`, well apart."""
    sizes: list[int] = []
    limit = float(largest)
    while limit >= 1 and len(sizes) < 3:
        power = 10 ** math.floor(math.log10(limit))
        sizes.append(int(max(step * power for step in (1, 2, 5) if step * power <= limit)))
        limit = sizes[-1] / 3.5
    return sizes[::-1]


def _legend_of_sizes(figure: Figure, title: str, largest: int) -> None:
    """Put a few round sizes above the panels."""
    from matplotlib.lines import Line2D

    sizes = round_sizes(largest)
    if not sizes:
        return
    look: dict[str, Any] = {"linestyle": "", "marker": "o", "color": INK, "alpha": 0.3, "markeredgewidth": 0}
    entries = [Line2D([], [], linestyle="", label=f"{title}:")]
    for size in sizes:
        text = bytes_text(size).replace(".0 ", " ")
        entries.append(Line2D([], [], markersize=bubble_area(size, largest) ** 0.5, label=text, **look))
    width = WIDEST_BUBBLE / SMALL_POINTS
    figure.legend(
        handles=entries,
        loc="outside upper center",
        ncols=len(entries),
        handlelength=width,
        handleheight=width,
        handletextpad=0.4,
        columnspacing=0.8,
        borderpad=0.3,
    )
