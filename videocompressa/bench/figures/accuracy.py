"""Accuracy as lines: against what is kept (the paper's Figures 1 and 3), cost (Figure 1), steps (Figure 5), K, and the
steps of the students.

Columns of panels are data sets, rows are kinds of labels; every panel has a line for each method and for full data.
The components of an ablation (Figure 4) are groups of bars.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from operator import itemgetter
from pathlib import Path
from typing import Any

from videocompressa.bench.figures import style
from videocompressa.bench.figures.style import Axes, Figure, Line2D, Patch, percent, to_rgba
from videocompressa.bench.names import ablation_groups, budget_text, budgets, row_names
from videocompressa.bench.record import REGIMES, Record, grouped, of_axis
from videocompressa.errors import InputError, check_known
from videocompressa.texts import bytes_text, count_text

WIDEST_BUBBLE = 19.0
"""Diameter in points of the largest peak memory."""
MOST_TICKS = 8
"""At values of the records; with more, matplotlib chooses round ones."""

BAR_COLORS = {"complete method": style.FAMILIES[style.OURS[0]].color, "one change": "#BDBDBD"}
BAR_GAP = 0.7
"""Between groups, in bars."""
MOST_BARS = 9
"""In one column; with more, a figure takes both."""

PlottedLine = tuple[Axes, list[Record], dict[str, Any]]
"""Panel of a line, the records that it joins, and its properties in matplotlib."""
Position = Callable[[Record], float | None]
"""Value of a record on the x axis; None where it has none."""

QUANTITIES: dict[str, tuple[str, str, Position]] = {
    "frames": ("main", "Frames kept (%)", lambda record: percent(record.frame_ratio) or None),
    "bytes": ("main", "File (% of all bytes)", lambda record: percent(record.byte_ratio) or None),
    "steps": ("steps", "Synthesis steps", lambda record: record.steps),
    "keyframes": ("keyframes", "Keyframes per video", lambda record: record.keyframes),
    "train_steps": ("train-steps", "Training steps of the student", lambda record: record.train_steps),
}
"""Experiment, label and values of the x axis of `accuracy_against`, by name; ratios are of all training videos."""
MEMORIES = {"host": ("peak_memory_bytes", "Peak memory"), "gpu": ("gpu_peak_memory_bytes", "Peak GPU memory")}


def accuracy_against(records: Sequence[Record], path: Path, quantity: str = "frames") -> Figure:
    """Draw top-1 accuracy against one of `QUANTITIES`, of the records of its experiment: a line a method.

    Bars are one standard deviation over runs; the dashed line is full data with hard labels, its band one deviation;
    against "train_steps", it is full data with the labels of the panel. Failed cells are left out.
    """
    check_known("unknown quantity", quantity, QUANTITIES)
    axis, x_label, position = QUANTITIES[quantity]
    plotted = _plottable(records, axis, x_label, position)
    values = sorted({position(record) or 0.0 for record in plotted})
    with _line_figure(path, records, plotted, _line_names(plotted, axis), x_label) as (figure, lines):
        for axes, members, look in lines:
            points = [
                (position(record) or 0.0, percent(record.top1_mean), percent(record.spread)) for record in members
            ]
            x, y, spread = zip(*sorted(points, key=itemgetter(0)), strict=True)
            axes.errorbar(x, y, yerr=spread, elinewidth=0.6, **look)
        for axes in figure.axes:
            _set_scale(axes, values, axis)
    return figure


def cost_against_accuracy(records: Sequence[Record], path: Path, *, memory: str = "host") -> Figure:
    """Draw top-1 accuracy against the seconds to compress (logarithmic), of the records of axis "main".

    A line joins a method's budgets; numbers at the ends of our own are videos per class. The AREA of a bubble is the
    peak memory, of `memory` "host" or "gpu"; a marker has none. Cells that failed or took unknown time are left out.
    """
    check_known("unknown memory", memory, MEMORIES)
    field, title = MEMORIES[memory]
    plotted = _plottable(records, "main", "Seconds to compress", lambda record: record.compress_seconds or None)
    largest = max(getattr(record, field) or 0 for record in plotted)
    with _line_figure(path, records, plotted, row_names(plotted), "Seconds to compress") as (figure, lines):
        for line in lines:
            _draw_bubbles(*line, field, largest)
        for axes in figure.axes:
            style.set_log_scale(axes, [record.compress_seconds or 0.0 for record in plotted])
            axes.margins(x=0.1, y=0.12)
        if largest:
            _add_sizes(figure, title, largest)
    return figure


def _plottable(records: Sequence[Record], axis: str, x_label: str, position: Position) -> list[Record]:
    """Return the records of an experiment to draw: those that have an accuracy and a position.

    Those of full data only where it has a line of its own, along the steps of the students.
    """
    chosen = of_axis(records, axis)
    sets = [record for record in chosen if axis == "train-steps" or not record.on_all_videos]
    finished = [record for record in sets if record.top1_mean is not None]
    plotted = [record for record in finished if position(record) is not None]
    if not plotted:
        raise InputError(f"none of {len(chosen)} records has both an accuracy and {x_label.lower()!r}; nothing to draw")
    return plotted


def _panel_of(record: Record) -> tuple[str, ...]:
    """Return data, student and protocol: each has a column of panels of its own."""
    return record.data, record.student, record.protocol


def panel_titles(panels: Sequence[tuple[str, ...]]) -> list[str]:
    """Return for each panel the name of its data, and what else differs between panels."""
    differ = [part == 0 or len(set(values)) > 1 for part, values in enumerate(zip(*panels, strict=True))]
    return [", ".join(compress(panel, differ)) for panel in panels]


@contextmanager
def _line_figure(
    path: Path, records: Sequence[Record], plotted: Sequence[Record], names: Sequence[str], x_label: str
) -> Iterator[tuple[Figure, list[PlottedLine]]]:
    """Give a figure with panels and legend, and the lines of `plotted` by `names`; written when the block ends."""
    methods = [record.method for record in records]  # so that a method looks the same in every figure of the records
    looks = style.looks([*names, *(methods if set(names) <= set(methods) else ())])
    members: dict[tuple[tuple[str, ...], str, str], list[Record]] = {}
    for name, record in zip(names, plotted, strict=True):
        members.setdefault((_panel_of(record), record.labels, name), []).append(record)
    panels, kinds = list(dict.fromkeys(map(_panel_of, plotted))), sorted({record.labels for record in plotted})
    full = [] if plotted[0].axis == "train-steps" else style.full_data(records, plotted[0].axis)
    lines: list[PlottedLine] = []
    with style.paper_figure(path, wide=len(panels) > 1, num_rows=len(kinds)) as figure:
        grid = figure.subplots(len(kinds), len(panels), squeeze=False, sharex="col", sharey="col")
        for column, panel, title in zip(grid.T, panels, panel_titles(panels), strict=True):
            for axes, kind in zip(column, kinds, strict=True):
                axes.set_title(f"{title}, {REGIMES[kind]}" if len(kinds) > 1 else title)
                style.draw_full(axes, [record for record in full if _panel_of(record) == panel])
                lines += [
                    (axes, same, look) for name, look in looks.items() if (same := members.get((panel, kind, name)))
                ]
            column[-1].set_xlabel(x_label)
        for axes in grid[:, 0]:
            axes.set_ylabel("Top-1 accuracy (%)")
        entries = [Line2D([], [], **look) for name, look in looks.items() if name in names]
        num_ours = sum(map(style.is_ours, set(names)))
        entries[num_ours:num_ours] = [Line2D([], [], **style.FULL_LINE)] if full else []
        style.add_legend(figure, entries)
        yield figure, lines


def _line_names(plotted: Sequence[Record], axis: str) -> list[str]:
    """Return the name of each record's line; along steps and keyframes each budget has a line of its own."""
    names, columns = row_names(plotted), [record.column._replace(keyframes=None) for record in plotted]
    several = {column for column, record in zip(columns, plotted, strict=True) if not record.on_all_videos}
    if axis == "main" or len(several) <= 1:
        return names
    return [
        name if record.on_all_videos else f"{name}, {budget_text(column, columns)}"
        for name, column, record in zip(names, columns, plotted, strict=True)
    ]


def _set_scale(axes: Axes, values: Sequence[float], axis: str) -> None:
    """Choose the x axis: logarithmic for ratios and training, and for steps beyond a decade; else linear."""
    least = min((value for value in values if value > 0), default=math.inf)
    if axis == "steps" and values[-1] >= 10 * least:
        axes.set_xscale("symlog", linthresh=least, linscale=0.5)
    if axis == "train-steps":
        axes.set_xscale("log")
    if axis == "main":
        style.set_log_scale(axes, values)
    elif len(values) <= MOST_TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()


def _draw_bubbles(axes: Axes, members: Sequence[Record], look: dict[str, Any], field: str, largest: int) -> None:
    """Draw a bubble for each record, a marker in it, and a line through all."""
    ordered = sorted(members, key=lambda record: (record.vpc or 0, record.keyframes or 0))
    x = [record.compress_seconds or 0.0 for record in ordered]
    y = [percent(record.top1_mean) for record in ordered]
    areas = [bubble_area(getattr(record, field) or 0, largest) for record in ordered]
    color, zorder = look["color"], look["zorder"]
    if any(areas):
        face, edge = [to_rgba(color, 0.2)], [to_rgba(color, 0.6)]
        axes.scatter(x, y, s=areas, facecolors=face, edgecolors=edge, linewidths=0.4, zorder=zorder - 1)
    axes.plot(x, y, **look)
    ends = {0, len(ordered) - 1} if style.is_ours(look["label"]) else set()
    numbers = {"color": color, "fontsize": style.SMALL_POINTS, "fontweight": "bold", "zorder": zorder + 1, **style.HALO}
    for end in sorted(ends):  # of all, numbers would cover each other
        place = (2 + max(look["markersize"], areas[end] ** 0.5) / 2, -3)  # lines rise to the right
        text = count_text(ordered[end].vpc)
        axes.annotate(text, (x[end], y[end]), place, textcoords="offset points", va="center", **numbers)


def bubble_area(num_bytes: int, largest: int) -> float:
    """Return the squared diameter in points (matplotlib's `s`), in proportion to the bytes; 0 where none is known."""
    return WIDEST_BUBBLE**2 * num_bytes / largest if largest else 0.0


def round_sizes(largest: int) -> list[int]:
    """Return up to three round numbers of bytes (1, 2 or 5 and zeros) up to `largest`, well apart."""
    sizes = [digit * 10**power for power in range(16) for digit in (1, 2, 5) if digit * 10**power <= largest]
    return sizes[::-2][:3][::-1]


def _add_sizes(figure: Figure, title: str, largest: int) -> None:
    """Put a legend of a few round sizes above the panels."""
    bubble: dict[str, Any] = {"linestyle": "", "marker": "o", "color": style.INK, "alpha": 0.3, "markeredgewidth": 0}
    entries = [Line2D([], [], linestyle="", label=f"{title}:")]
    for size in round_sizes(largest):
        text = bytes_text(size).replace(".0 ", " ")
        entries.append(Line2D([], [], label=text, markersize=bubble_area(size, largest) ** 0.5, **bubble))
    box = dict.fromkeys(("handlelength", "handleheight"), WIDEST_BUBBLE / style.SMALL_POINTS)
    style.add_legend(figure, entries, "outside upper center", **box, columnspacing=0.8)


def ablation(records: Sequence[Record], path: Path) -> Figure:
    """Draw top-1 accuracy of every value of every component, of the records of axis "ablation".

    The complete method (no variant) is in each group under its own value, colored. Error bars are one standard
    deviation over runs, the dashed line is full data. A panel for each data set and budget. Failed cells are left out.
    """
    chosen = of_axis(records, "ablation")
    plotted = [record for record in chosen if record.top1_mean is not None and not record.on_all_videos]
    panels = list(grouped(plotted, "data", "student", "protocol", "column").values())
    groups = [ablation_groups(panel) for panel in panels]
    if not any(groups):
        raise InputError(f"none of {len(chosen)} records has both an accuracy and a variant; nothing to draw")
    most = max(sum(map(len, components.values())) for components in groups)
    titles, full = panel_titles([_panel_of(panel[0]) for panel in panels]), style.full_data(records, "ablation")
    with style.paper_figure(path, wide=most > MOST_BARS, num_rows=len(panels)) as figure:
        grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, (first, *_), components, title in zip(grid, panels, groups, titles, strict=True):
            style.draw_full(axes, [record for record in full if _panel_of(record) == _panel_of(first)], zorder=3.5)
            _draw_bars(axes, components)
            axes.set_title(f"{title}, {budget_text(first.column, budgets(plotted))}")
            axes.set_ylabel("Top-1 accuracy (%)")
        entries = [Patch(color=color, label=label) for label, color in BAR_COLORS.items()]
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
                color=BAR_COLORS["one change" if record.variant else "complete method"],
                yerr=percent(record.spread) or None,
                error_kw={"elinewidth": 0.7, "capsize": 1.5, "capthick": 0.7},
                zorder=3,
                label=value,
            )
            axes.bar_label(bars, fmt="%.1f", padding=1.5, fontsize=style.SMALL_POINTS, zorder=5, **style.HALO)
            ticks[left] = value
            left += 1
        left += BAR_GAP
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.7, left - BAR_GAP - 0.3)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.08)
    top = axes.secondary_xaxis("top")
    top.set_xticks(centers, list(components))
    top.spines["top"].set_visible(False)
    for each in (axes, top):
        each.tick_params(axis="x", length=0)
