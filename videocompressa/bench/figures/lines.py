"""Accuracy as lines: against what is kept (the paper's Figures 1 and 3), synthesis steps (Figure 5), and keyframes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videocompressa.bench.figures.panels import Chain, Plan, full_of
from videocompressa.bench.figures.style import check_path, deviation, finished, paper_style, write
from videocompressa.bench.record import Record, of_axis
from videocompressa.bench.tables import budget_text, row_names
from videocompressa.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Position = Callable[[Record], float | None]
"""Where a record stands on the x axis; None where it does not."""

PANEL_INCHES = 2.1

RATIOS: dict[str, tuple[str, Position]] = {
    "frames": ("Frames kept (%)", lambda record: _percent(record.frame_ratio)),
    "bytes": ("File (% of all bytes)", lambda record: _percent(record.byte_ratio)),
}
"""What is kept, by name: label of the axis and position."""


def _percent(ratio: float | None) -> float | None:
    return 100 * ratio if ratio else None


def accuracy_against_ratio(records: Sequence[Record], path: Path, *, ratio: str = "frames") -> Figure:
    """Draw top-1 accuracy against what is kept, of the records of axis "main": a line a method, a panel a data set.

    Bars are one standard deviation over runs; the dashed line is full data, its band one deviation. Failed cells are
    left out.

    Parameters
    ----------
    records:
        Results.
    path:
        A name that ends in .png or .pdf; what lies there is replaced.
    ratio:
        "frames" or "bytes": of all training videos, logarithmic.

    Returns
    -------
    Figure
        What was written, for a notebook.

    Raises
    ------
    InputError
        Without matplotlib, when no record can be drawn, or for another ending or ratio.
    """
    if ratio not in RATIOS:
        raise InputError(f"unknown ratio {ratio!r}; known: {', '.join(RATIOS)}")
    label, position = RATIOS[ratio]
    return _draw(records, path, "main", label, position)


def accuracy_against_steps(records: Sequence[Record], path: Path) -> Figure:
    """Draw top-1 accuracy against synthesis steps, of the records of axis "steps"; else as `accuracy_against_ratio`."""
    return _draw(records, path, "steps", "Synthesis steps", lambda record: record.steps)


def accuracy_against_keyframes(records: Sequence[Record], path: Path) -> Figure:
    """Draw top-1 accuracy against K, of the records of axis "keyframes"; else as `accuracy_against_ratio`."""
    return _draw(records, path, "keyframes", "Keyframes per video", lambda record: record.keyframes)


def _draw(records: Sequence[Record], path: Path, axis: str, label: str, position: Position) -> Figure:
    check_path(path)
    chosen = of_axis(records, axis)
    drawn = [record for record in finished(chosen) if not record.on_all_videos and position(record) is not None]
    if not drawn:
        raise InputError(f"none of {len(chosen)} records has both an accuracy and {label.lower()!r}; nothing to draw")
    plan = Plan(drawn, _line_names(drawn, axis), full_of(records, axis), [record.method for record in records])
    with paper_style():
        figure = plan.new_figure(PANEL_INCHES)
        for chain in plan.fill(figure, label):
            _line(chain, position)
        values = sorted({position(record) or 0.0 for record in drawn})
        for axes in figure.axes:
            _set_scale(axes, values, axis)
        write(figure, path)
    return figure


def _line_names(drawn: Sequence[Record], axis: str) -> list[str]:
    """Return the name of each record's line; along steps and keyframes each number of videos has one of its own."""
    names = row_names(drawn)
    columns = [record.column._replace(keyframes=None) for record in drawn]
    if axis == "main" or len(set(columns)) == 1:
        return names
    return [f"{name}, {budget_text(column, columns)}" for name, column in zip(names, columns, strict=True)]


def _line(chain: Chain, position: Position) -> None:
    placed = sorted(chain.records, key=lambda record: position(record) or 0.0)
    look = chain.look
    chain.axes.errorbar(
        [position(record) or 0.0 for record in placed],
        [100 * (record.top1_mean or 0.0) for record in placed],
        yerr=[deviation(record) for record in placed],
        color=look.color,
        linestyle=look.dash,
        linewidth=look.width,
        marker=look.marker,
        markersize=look.marker_size,
        markerfacecolor="white" if chain.hollow else look.color,
        markeredgewidth=0.8,
        elinewidth=0.6,
        zorder=look.order,
        label=chain.name,
    )


def _set_scale(axes: Axes, values: Sequence[float], axis: str) -> None:
    """Choose the x axis: logarithmic for ratios, and for steps that span more than a decade; else straight."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    positive = [value for value in values if value > 0]
    span = positive[-1] / positive[0] if positive else 1.0
    if axis == "main":
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if span > 50 else (1.0, 2.0, 5.0)))
    elif axis == "steps" and span >= 10:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5) if values[0] == 0 else axes.set_xscale("log")
    if axis != "main" and len(values) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(list(values)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
