"""Accuracy as lines: against what is kept (the paper's Figures 1 and 3), synthesis steps (Figure 5), and keyframes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videocompressa.errors import InputError
from videocompressa.figures.style import (
    COLUMN_INCHES,
    PAGE_INCHES,
    Look,
    Panel,
    check_path,
    deviation,
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
from videocompressa.results import FULL, Record
from videocompressa.results.record import of_axis
from videocompressa.results.tables import row_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Position = Callable[[Record], float | None]
"""Where a record stands on the x axis; None where it does not."""

MOST_LINES = 8
"""In one panel; with more, hard and soft labels get rows of panels of their own."""

RATIOS: dict[str, tuple[str, Position]] = {
    "frames": ("Kept frames (% of all frames)", lambda record: _percent(record.frame_ratio)),
    "bytes": ("File (% of the bytes of all videos)", lambda record: _percent(record.byte_ratio)),
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
    return _draw(of_axis(records, "main"), path, label, position, scale="log")


def accuracy_against_steps(records: Sequence[Record], path: Path) -> Figure:
    """Draw top-1 accuracy against synthesis steps, of the records of axis "steps"; else as `accuracy_against_ratio`."""
    return _draw(of_axis(records, "steps"), path, "Synthesis steps", lambda record: record.steps, scale="steps")


def accuracy_against_keyframes(records: Sequence[Record], path: Path) -> Figure:
    """Draw top-1 accuracy against K, of the records of axis "keyframes"; else as `accuracy_against_ratio`."""
    chosen = of_axis(records, "keyframes")
    return _draw(chosen, path, "Keyframes per video", lambda record: record.keyframes, scale="counts")


def _draw(chosen: Sequence[Record], path: Path, label: str, position: Position, *, scale: str) -> Figure:
    check_path(path)
    drawn = [record for record in finished(chosen) if record.method != FULL and position(record) is not None]
    if not drawn:
        raise InputError(f"none of {len(chosen)} records has both an accuracy and {label.lower()!r}; nothing to draw")
    lines = dict(zip(map(id, drawn), _line_names(drawn, several_budgets=scale != "log"), strict=True))
    styles = looks(list(lines.values()))
    panels = list(dict.fromkeys(panel_of(record) for record in drawn))
    kinds = [kind for kind in ("hard", "soft") if any(record.labels == kind for record in drawn)]
    crowded = len({(lines[id(r)], r.labels) for r in drawn if panel_of(r) == panels[0]}) > MOST_LINES
    rows = [[kind] for kind in kinds] if crowded and len(kinds) > 1 else [kinds]
    with paper_style():
        figure = _empty(panels, rows, list(styles), num_extra=1 + 2 * ("soft" in kinds))
        grid = figure.subplots(len(rows), len(panels), squeeze=False, sharex="col", sharey="col")
        has_full = False
        for r, shown in enumerate(rows):
            for c, panel in enumerate(panels):
                axes = grid[r][c]
                here = [record for record in drawn if panel_of(record) == panel and record.labels in shown]
                has_full |= draw_full(axes, [record for record in chosen if panel_of(record) == panel])
                for name, look in styles.items():
                    for kind in shown:
                        points = [q for q in here if lines[id(q)] == name and q.labels == kind]
                        _line(axes, points, position, look, name)
                title = panel_titles(panels)[c] + (f", {shown[0]} labels" if len(rows) > 1 else "")
                axes.set_title(title)
        for c, panel in enumerate(panels):
            values = sorted({position(q) or 0.0 for q in drawn if panel_of(q) == panel})
            _set_scale(grid[-1][c], values, scale)
            grid[-1][c].set_xlabel(label)
        for row in grid:
            row[0].set_ylabel("Top-1 accuracy (%)")
        _legend(figure, styles, kinds, has_full)
        write(figure, path)
    return figure


def _line_names(drawn: Sequence[Record], *, several_budgets: bool) -> list[str]:
    names = row_names(drawn)
    if not several_budgets or len({record.vpc for record in drawn}) == 1:
        return names
    return [f"{name}, VPC {record.vpc}" for name, record in zip(names, drawn, strict=True)]


def _empty(panels: Sequence[Panel], rows: Sequence[Sequence[str]], names: Sequence[str], *, num_extra: int) -> Figure:
    width = COLUMN_INCHES if len(panels) == 1 else PAGE_INCHES
    entries = [*names, *["hollow: soft labels"] * num_extra]
    height = 2.1 * len(rows) + 0.155 * legend_rows(entries, width)[0] + 0.15
    return new_figure(width, height)


def _line(axes: Axes, points: Sequence[Record], position: Position, look: Look, name: str) -> None:
    """Draw one method with one kind of labels."""
    placed = sorted((x, record) for record in points if (x := position(record)) is not None) if points else []
    if not placed:
        return
    axes.errorbar(
        [x for x, _ in placed],
        [100 * (record.top1_mean or 0.0) for _, record in placed],
        yerr=[deviation(record) for _, record in placed],
        color=look.colour,
        linestyle=look.dash,
        linewidth=look.width,
        marker=look.marker,
        markersize=look.marker_size,
        markerfacecolor="white" if placed[0][1].labels == "soft" else look.colour,
        markeredgewidth=0.8,
        elinewidth=0.6,
        zorder=look.order,
        label=name,
    )


def _set_scale(axes: Axes, values: Sequence[float], scale: str) -> None:
    """Choose the x axis: logarithmic for ratios, and for steps that span more than a decade; else straight."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    plain = FuncFormatter(lambda x, _: f"{x:g}")
    positive = [value for value in values if value > 0]
    wide = len(positive) > 1 and positive[-1] / positive[0] > 12
    if scale == "log":
        axes.set_xscale("log")
        decades = positive[-1] / positive[0] > 30
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(plain)
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    if scale == "steps" and wide and values[0] == 0:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    elif scale == "steps" and wide:
        axes.set_xscale("log")
    if len(values) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(list(values)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(plain)


def _legend(figure: Figure, styles: dict[str, Look], kinds: Sequence[str], has_full: bool) -> None:
    hollow = list(kinds) == ["soft"]
    handles = [line_handle(look, name, hollow) for name, look in styles.items()]
    handles = handles[:1] + [full_handle()] * has_full + handles[1:]
    if "soft" in kinds:
        handles += label_handles() if len(kinds) > 1 else label_handles()[1:]
    _, columns = legend_rows([handle.get_label() for handle in handles], figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
