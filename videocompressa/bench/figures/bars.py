"""What each component is worth, as groups of bars (Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videocompressa.bench.figures.panels import draw_full, full_of, panel_of, panel_titles
from videocompressa.bench.figures.style import (
    COLUMN_INCHES,
    OURS_FAMILY,
    PAGE_INCHES,
    SMALL_POINTS,
    check_path,
    deviation,
    finished,
    halo,
    new_figure,
    paper_style,
    write,
)
from videocompressa.bench.record import Record, of_axis
from videocompressa.bench.tables import ablation_groups, budget_text, budgets
from videocompressa.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHER = "#BDBDBD"
GAP = 0.7
"""Between groups, in bars."""
WIDE = 9
"""Bars above which a figure takes both columns."""

Groups = dict[str, list[tuple[str, Record]]]


def ablation(records: Sequence[Record], path: Path) -> Figure:
    """Draw top-1 accuracy of every value of every component, of the records of axis "ablation".

    A variant is named "component value"; the complete method (no variant) stands in each group under the value that it
    has, colored. Bars are one standard deviation over runs, the dashed line is full data (of axis "ablation", else
    "main"). One panel below the other for each data set and budget. Failed cells are left out.

    Parameters
    ----------
    records:
        Results.
    path:
        A name that ends in .png or .pdf; what lies there is replaced.

    Returns
    -------
    Figure
        What was written, for a notebook.

    Raises
    ------
    InputError
        Without matplotlib, when no record can be drawn, or for another ending.
    """
    check_path(path)
    chosen = of_axis(records, "ablation")
    drawn = [record for record in finished(chosen) if not record.on_all_videos]
    columns = budgets(drawn)
    panels = list(dict.fromkeys((panel_of(record), record.column) for record in drawn))
    groups: list[Groups] = [
        ablation_groups([q for q in drawn if panel_of(q) == panel and q.column == column]) for panel, column in panels
    ]
    if not any(groups):
        raise InputError(f"none of {len(chosen)} records has both an accuracy and a variant; nothing to draw")
    most = max(sum(len(rows) for rows in group.values()) for group in groups)
    width = COLUMN_INCHES if most <= WIDE else PAGE_INCHES
    titles = panel_titles([panel for panel, _ in panels])
    with paper_style():
        figure = new_figure(width, 2.2 * len(panels) + 0.2)
        grid = figure.subplots(len(panels), 1, squeeze=False)
        full = full_of(records, "ablation")
        for (axes,), (panel, column), group, title in zip(grid, panels, groups, titles, strict=True):
            draw_full(axes, [record for record in full if panel_of(record) == panel], order=3.5)
            _bars(axes, group)
            axes.set_title(f"{title}, {budget_text(column, columns)}")
            axes.set_ylabel("Top-1 accuracy (%)")
        _legend(figure, has_full=bool(finished(full)))
        write(figure, path)
    return figure


def _bars(axes: Axes, groups: Groups) -> None:
    left, places, names = 0.0, [], []
    for component, rows in groups.items():
        for value, record in rows:
            whole = not record.variant
            height = 100 * (record.top1_mean or 0.0)
            axes.bar(left, height, 0.8, color=OURS_FAMILY.color if whole else OTHER, zorder=3, label=value)
            spread = deviation(record)
            if spread:
                axes.errorbar(left, height, spread, color="black", elinewidth=0.7, capsize=1.5, capthick=0.7, zorder=4)
            axes.annotate(
                f"{height:.1f}",
                (left, height + spread),
                (0, 1.5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=SMALL_POINTS,
                path_effects=halo(),
                zorder=5,
            )
            places.append(left)
            names.append(value)
            left += 1
        axes.annotate(
            component,
            ((left - 1 + left - len(rows)) / 2, 0),
            (0, -24),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="top",
        )
        left += GAP
    axes.set_xticks(places, names, rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.7, left - GAP - 0.3)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.08)


def _legend(figure: Figure, *, has_full: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=OURS_FAMILY.color, label="complete method"),
        Patch(color=OTHER, label="one change"),
    ]
    if has_full:
        handles.append(Line2D([], [], color="black", linestyle="--", linewidth=1.0, label="full data"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
