"""Effect of each component as groups of bars (Figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videocompressa.bench.figures import style
from videocompressa.bench.figures.lines import panel_of, panel_titles
from videocompressa.bench.figures.style import Axes, Figure, Line2D, Patch, percent
from videocompressa.bench.names import ablation_groups, budget_text, budgets
from videocompressa.bench.record import Record, grouped, of_axis
from videocompressa.errors import InputError

COLORS = {"complete method": style.FAMILIES[style.OURS[0]].color, "one change": "#BDBDBD"}
GAP = 0.7
"""Between groups, in bars."""
WIDE = 9
"""Bars above which a figure takes both columns."""


def ablation(records: Sequence[Record], path: Path) -> Figure:
    """Draw top-1 accuracy of every value of every component, of the records of axis "ablation".

    A variant is named "component value"; the complete method (no variant) is in each group under its own value,
    colored. Error bars are one standard deviation over runs, the dashed line is full data (of axis "ablation", else
    "main"). One panel below the other for each data set and budget. Failed cells are left out.
    """
    chosen = of_axis(records, "ablation")
    plotted = [record for record in chosen if record.top1_mean is not None and not record.on_all_videos]
    panels = list(grouped(plotted, "data", "student", "protocol", "column").values())
    groups = [ablation_groups(panel) for panel in panels]
    if not any(groups):
        raise InputError(f"none of {len(chosen)} records has both an accuracy and a variant; nothing to draw")
    most = max(sum(map(len, components.values())) for components in groups)
    titles, full = panel_titles([panel_of(panel[0]) for panel in panels]), style.full_data(records, "ablation")
    with style.paper_figure(path, wide=most > WIDE, num_rows=len(panels)) as figure:
        grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (first, *_), components, title in zip(grid, panels, groups, titles, strict=True):
            style.draw_full(axes, [record for record in full if panel_of(record) == panel_of(first)], zorder=3.5)
            _draw_bars(axes, components)
            axes.set_title(f"{title}, {budget_text(first.column, budgets(plotted))}")
            axes.set_ylabel("Top-1 accuracy (%)")
        entries = [Patch(color=color, label=label) for label, color in COLORS.items()]
        style.add_legend(figure, [*entries, *([Line2D([], [], **style.FULL_LINE)] if full else [])])
    return figure


def _draw_bars(axes: Axes, components: dict[str, list[tuple[str, Record]]]) -> None:
    """Draw a bar a value: its name below, its number above, and the component above its group."""
    left, centers, ticks = 0.0, [], {}
    for rows in components.values():
        centers.append(left + (len(rows) - 1) / 2)
        for value, record in rows:
            bars = axes.bar(
                left,
                percent(record.top1_mean),
                color=COLORS["one change" if record.variant else "complete method"],
                yerr=percent(record.spread) or None,
                error_kw={"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7},
                zorder=3,
                label=value,
            )
            axes.bar_label(bars, fmt="%.1f", padding=1.5, fontsize=style.SMALL_POINTS, zorder=5, **style.HALO)
            ticks[left] = value
            left += 1
        left += GAP
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.7, left - GAP - 0.3)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
    top = axes.secondary_xaxis("top")
    top.set_xticks(centers, list(components))
    top.spines["top"].set_visible(False)
    for each in (axes, top):
        each.tick_params(axis="x", length=0)
