"""Figures of a benchmark: they show the values of the records, and are the same each time."""

from __future__ import annotations

import importlib
import itertools
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from videocompressa.bench import figures
from videocompressa.bench.figures.accuracy import QUANTITIES, bubble_area, panel_titles, round_sizes
from videocompressa.bench.figures.style import DOTS_PER_INCH, FAMILIES, OURS, is_ours, looks
from videocompressa.bench.record import Record
from videocompressa.errors import InputError

METHODS = [
    *("videocompressa", "dm", "mtt", "vdsd-dm", "vdsd-mtt", "lvdd", "lvdd-random", "lvdd-k-means", "lvdd-scaled"),
    *("rded", "real-h264", "real-av1", "real-webp", "random-real", "herding-real", "k-center-real", "facility-real"),
]


def record(method: str, mean: float, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "method": method,
        "data": "rendered",
        "protocol": "fair",
        "student": "minic3d",
        "codec": "tiny",
        "selector": "gumbel",
        "vpc": 1,
        "keyframes": 4,
        "frame_ratio": 0.001,
        "byte_ratio": 0.004,
        "top1_runs": (mean - 0.02, mean + 0.02),
        "top1_mean": mean,
        "top1_std": 0.0283,
        "compress_seconds": 10.0,
        "peak_memory_bytes": 10**9,
    }
    return Record(**(fields | changes))


def full(mean: float = 0.8, **changes: Any) -> Record:
    nothing = {"vpc": None, "keyframes": None, "codec": "", "selector": "", "frame_ratio": 1.0, "byte_ratio": None}
    return record("full", mean, **(nothing | {"compress_seconds": None} | changes))


FAILED = record(
    "mtt", 0.5, top1_runs=(), top1_mean=None, top1_std=None, frame_ratio=0.01, status="failed", reason="out of memory"
)
MAIN = [
    full(),
    record("videocompressa", 0.6, labels="soft"),
    record("videocompressa", 0.7, labels="soft", vpc=5, frame_ratio=0.005, byte_ratio=0.02, compress_seconds=20.0),
    record("dm", 0.45, vpc=5, frame_ratio=0.005, byte_ratio=0.02, compress_seconds=3e4, peak_memory_bytes=4 * 10**9),
    record("dm", 0.4, compress_seconds=1e4, peak_memory_bytes=2 * 10**9),
    FAILED,
]
ABLATION = [
    record("videocompressa", 0.6, axis="ablation"),
    record("videocompressa", 0.5, axis="ablation", variant="selector uniform"),
    record("videocompressa", 0.4, axis="ablation", variant="codec linear"),
    record("videocompressa", 0.3, axis="ablation", variant="understanding off"),
]
STEPS = [record("videocompressa", 0.3 + steps / 1e4, axis="steps", steps=steps) for steps in (1000, 0, 100)]
KEYFRAMES = [record("videocompressa", 0.3 + k / 100, axis="keyframes", keyframes=k) for k in (1, 2, 4)]
TRAIN_STEPS = [
    make(mean, labels="views", axis="train-steps", train_steps=steps)
    for make, start in ((full, 0.5), (lambda mean, **changes: record("dm", mean, **changes), 0.3))
    for steps, mean in ((1600, start + 0.2), (400, start), (4800, start + 0.3))
]
ALL = [*MAIN, *ABLATION, *STEPS, *KEYFRAMES, *TRAIN_STEPS]

Draw = Callable[..., Any]
FIGURES: dict[str, tuple[str, Draw]] = {
    **{name: (axis, partial(figures.accuracy_against, quantity=name)) for name, (axis, *_) in QUANTITIES.items()},
    "cost": ("main", figures.cost_against_accuracy),
    "ablation": ("ablation", figures.ablation),
}


def lines(axes: Any, name: str) -> list[Any]:
    """Return the lines of a method, those of error bars too."""
    named = [box.lines[0] for box in axes.containers if box.get_label() == name and hasattr(box, "has_yerr")]
    return named + [line for line in axes.lines if line.get_label() == name]


def points(line: Any) -> list[tuple[float, float]]:
    return [(pytest.approx(x), pytest.approx(y)) for x, y in line.get_xydata()]


def full_line(axes: Any) -> tuple[str, float]:
    (line,) = lines(axes, "full data")
    return line.get_linestyle(), line.get_ydata()[0]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_the_size_of_a_column_and_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    import matplotlib

    draw = FIGURES[name][1]
    figure = draw(ALL, tmp_path / "one.png")
    with matplotlib.rc_context({"font.size": 30}):  # The reader's own settings change nothing, and are kept.
        draw(ALL, tmp_path / "two.png")
        assert matplotlib.rcParams["font.size"] == 30
    content = (tmp_path / "one.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert width == 3.3 * DOTS_PER_INCH
    assert height == int(figure.get_figheight() * DOTS_PER_INCH)
    assert 1.5 < figure.get_figheight() / len(figure.axes) < 4.0
    assert content == (tmp_path / "two.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.slow
def test_a_figure_for_print_holds_no_clock(tmp_path: Path) -> None:
    for name in ("one.pdf", "two.PDF"):
        figures.ablation(ALL, tmp_path / name)
    content = (tmp_path / "one.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"CreationDate" not in content
    assert content == (tmp_path / "two.PDF").read_bytes()


@pytest.mark.parametrize(("ratio", "x"), [("frames", (0.1, 0.5)), ("bytes", (0.4, 2.0))])
def test_lines_go_through_the_values_of_the_records(ratio: str, x: tuple[float, float], tmp_path: Path) -> None:
    axes, soft = figures.accuracy_against(ALL, tmp_path / "a.png", ratio).axes
    (ours,), (dm,) = lines(soft, "videocompressa"), lines(axes, "dm")
    assert points(ours) == [(x[0], 60.0), (x[1], 70.0)]
    assert points(dm) == [(x[0], 40.0), (x[1], 45.0)]
    assert axes.get_xscale() == "log"
    assert full_line(axes) == full_line(soft) == ("--", pytest.approx(80.0))
    assert not lines(axes, "mtt")  # the failed cell
    assert (ours.get_color(), dm.get_color()) == (FAMILIES["videocompressa"].color, FAMILIES["dm"].color)
    assert ours.get_zorder() > dm.get_zorder()
    assert ours.get_linewidth() > dm.get_linewidth()
    spread = next(box for box in axes.containers if box.get_label() == "dm").lines[2][0].get_segments()
    assert [segment[1][1] - segment[0][1] for segment in spread] == pytest.approx([2 * 2.83] * 2)
    band = next(patch for patch in axes.patches if patch.get_facecolor()[3] < 0.2)
    assert (band.get_y(), band.get_height()) == (pytest.approx(77.17), pytest.approx(5.66))


def legend(figure: Any) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_legend_names_each_line_and_titles_the_kind_of_labels(tmp_path: Path) -> None:
    figure = figures.accuracy_against(ALL, tmp_path / "a.png")
    assert legend(figure) == ["videocompressa", "full data", "dm"]
    assert [axes.get_title() for axes in figure.axes] == ["rendered, hard labels", "rendered, stored soft labels"]
    hard = figures.accuracy_against([r for r in ALL if r.labels == "hard" and r.method != "full"], tmp_path / "a.png")
    assert legend(hard) == ["dm"]
    assert [axes.get_title() for axes in hard.axes] == ["rendered"]


def test_one_run_has_no_spread(tmp_path: Path) -> None:
    one = record("dm", 0.4, top1_runs=(0.4,), top1_std=0.0)
    (axes,) = figures.accuracy_against([one, full(top1_runs=(0.8,), top1_std=0.0)], tmp_path / "a.png").axes
    assert not axes.patches
    assert full_line(axes)[1] == pytest.approx(80.0)


@pytest.mark.slow
def test_data_sets_are_columns_of_panels_and_labels_are_rows(tmp_path: Path) -> None:
    many = [
        record(method, 0.3 + 0.01 * i, data=data, labels=labels, vpc=vpc, frame_ratio=0.001 * vpc)
        for data in ("rendered", "other")
        for labels in ("hard", "soft")
        for i, method in enumerate(METHODS)
        for vpc in (1, 5)
    ]
    figure = figures.accuracy_against([*many, full(data="other")], tmp_path / "a.png")
    assert [axes.get_title() for axes in figure.axes] == [
        f"{data}, {labels} labels" for labels in ("hard", "stored soft") for data in ("rendered", "other")
    ]
    assert figure.get_figwidth() == 6.9
    assert not lines(figure.axes[0], "full data")
    assert full_line(figure.axes[3])[0] == "--"
    for axes in figure.axes:
        orders = {method: lines(axes, method)[0].get_zorder() for method in METHODS}
        assert max(orders, key=lambda method: orders[method]) == "videocompressa"
    assert set(legend(figure)) == {*METHODS, "full data"}
    figure.canvas.draw()
    boxes = [box.get_window_extent() for box in figure.legends]
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0 < box.y1 <= lowest for box in boxes)


def test_methods_are_distinguished_with_and_without_color() -> None:
    styles = looks(["typical-clips", *METHODS, *(f"unknown {number}" for number in range(20))])
    assert list(styles)[:2] == ["videocompressa", "typical-clips"]
    assert len({(style["marker"], style["linestyle"], style["color"]) for style in styles.values()}) == len(styles)
    assert len({(styles[method]["marker"], styles[method]["linestyle"]) for method in METHODS}) == len(METHODS)
    ours = ["videocompressa", "videocompressa, VPC 5", "typical-clips"]
    assert [name for name in [*ours, "dm", "typical"] if is_ours(name)] == ours


def test_a_method_looks_the_same_in_every_figure_of_the_results(tmp_path: Path) -> None:
    main = [record(method, 0.5) for method in ("facility-real", "herding-real", "random-real")]
    more = [record("random-real", 0.5, axis="keyframes", keyframes=k) for k in (1, 2)]
    (first,) = figures.accuracy_against([*main, *more], tmp_path / "a.png").axes
    (second,) = figures.accuracy_against([*main, *more], tmp_path / "a.png", "keyframes").axes
    markers = [lines(axes, "random-real")[0].get_marker() for axes in (first, second)]
    assert markers[0] == markers[1] != lines(first, "facility-real")[0].get_marker()


def test_panels_are_named_by_what_differs() -> None:
    panels = [("a", "x", "fair"), ("a", "y", "fair")]
    assert panel_titles(panels) == ["a, x", "a, y"]
    assert panel_titles(panels[:1]) == ["a"]


@pytest.mark.parametrize("memory", ["host", "gpu"])
def test_cost_has_seconds_accuracy_and_memory(memory: str, tmp_path: Path) -> None:
    figure = figures.cost_against_accuracy(ALL, tmp_path / "a.png", memory=memory)
    axes, soft = figure.axes
    assert points(lines(soft, "videocompressa")[0]) == [(10.0, 60.0), (20.0, 70.0)]
    assert points(lines(axes, "dm")[0]) == [(1e4, 40.0), (3e4, 45.0)]
    assert not lines(axes, "mtt")
    assert axes.get_xscale() == "log"
    assert full_line(axes) == ("--", pytest.approx(80.0))
    assert [text.get_text() for text in soft.texts] == ["1", "5"]
    assert not axes.texts
    collections = [*soft.collections, *axes.collections]
    bubbles = [bubble for bubble in collections if bubble.get_offsets().shape[0] == 2 and len(bubble.get_sizes())]
    if memory == "gpu":  # not measured
        assert not bubbles
        assert not any("memory" in text for text in legend(figure))
    else:
        ours, dm = (bubble.get_sizes() for bubble in bubbles)
        assert list(dm / ours) == pytest.approx([2.0, 4.0])
        assert legend(figure)[-4:] == ["Peak memory:", "100 MB", "500 MB", "2 GB"]


def test_a_method_with_one_budget_has_one_bubble(tmp_path: Path) -> None:
    (axes,) = figures.cost_against_accuracy([record("dm", 0.4)], tmp_path / "a.png").axes
    assert [len(bubble.get_sizes()) for bubble in axes.collections if len(bubble.get_sizes())] == [1]


def test_sizes_of_the_legend_are_round_and_fit() -> None:
    assert round_sizes(5_900_000_000) == [200_000_000, 1_000_000_000, 5_000_000_000]
    assert round_sizes(2) == [2]
    assert round_sizes(0) == []
    assert bubble_area(1, 4) * 4 == bubble_area(4, 4)


def components(axes: Any) -> list[str]:
    """Return the names above the groups of bars."""
    (top,) = axes.child_axes
    return [text.get_text() for text in top.get_xticklabels()]


def test_ablation_shows_each_value_with_its_number(tmp_path: Path) -> None:
    figure = figures.ablation(ALL, tmp_path / "a.png")
    (axes,) = figure.axes
    bars = [(box.get_label(), box.patches[0]) for box in axes.containers if hasattr(box, "patches")]
    assert [(value, bar.get_height()) for value, bar in bars] == [
        ("gumbel", pytest.approx(60.0)),
        ("uniform", pytest.approx(50.0)),
        ("tiny", pytest.approx(60.0)),
        ("linear", pytest.approx(40.0)),
        ("on", pytest.approx(60.0)),
        ("off", pytest.approx(30.0)),
    ]
    assert [text.get_text() for text in axes.texts] == ["60.0", "50.0", "60.0", "40.0", "60.0", "30.0"]
    assert [text.get_text() for text in axes.get_xticklabels()] == [value for value, _ in bars]
    assert components(axes) == ["selector", "codec", "understanding"]
    assert len({bar.get_facecolor() for value, bar in bars if value in ("gumbel", "tiny", "on")}) == 1
    assert len({bar.get_facecolor() for _, bar in bars}) == 2
    assert sum(hasattr(box, "has_yerr") for box in axes.containers) == 6
    assert axes.get_ylim()[0] == 0
    assert full_line(axes) == ("--", pytest.approx(80.0))
    assert legend(figure) == ["complete method", "one change", "full data"]


def test_ablation_has_a_panel_for_each_budget_and_leaves_failed_cells_out(tmp_path: Path) -> None:
    lost = {"top1_runs": (), "top1_mean": None, "top1_std": None, "status": "failed", "reason": "x"}
    more = [
        record("videocompressa", 0.6, axis="ablation", vpc=5),
        record("videocompressa", 0.5, axis="ablation", vpc=5, variant="joint off"),
        record("videocompressa", 0.5, axis="ablation", vpc=5, variant="synthesis off", **lost),
    ]
    figure = figures.ablation([*ABLATION, *more], tmp_path / "a.png")
    assert [axes.get_title() for axes in figure.axes] == ["rendered, VPC 1", "rendered, VPC 5"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["60.0", "50.0"]
    assert components(figure.axes[1]) == ["joint"]


def test_steps_begin_at_nothing_and_keyframes_are_counted(tmp_path: Path) -> None:
    (axes,) = figures.accuracy_against(ALL, tmp_path / "a.png", "steps").axes
    assert points(lines(axes, "videocompressa")[0]) == [(0, 30.0), (100, 31.0), (1000, 40.0)]
    assert axes.get_xscale() == "symlog"
    assert list(axes.get_xticks()) == [0, 100, 1000]
    assert full_line(axes)[1] == pytest.approx(80.0)
    (axes,) = figures.accuracy_against(ALL, tmp_path / "b.png", "keyframes").axes
    assert points(lines(axes, "videocompressa")[0]) == [(1, 31.0), (2, 32.0), (4, 34.0)]
    assert axes.get_xscale() == "linear"
    assert list(axes.get_xticks()) == [1, 2, 4]


def test_along_training_steps_full_data_is_a_curve_of_the_same_labels(tmp_path: Path) -> None:
    hard = [record("dm", 0.2, axis="train-steps", train_steps=400)]
    figure = figures.accuracy_against([*ALL, *hard], tmp_path / "a.png", "train_steps")
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == [
        "rendered, hard labels",
        "rendered, views labeled by a network",
    ]
    assert points(lines(second, "dm")[0]) == [(400, 30.0), (1600, 50.0), (4800, 60.0)]
    (curve,) = lines(second, "full data")
    assert points(curve) == [(400, 50.0), (1600, 70.0), (4800, 80.0)]
    assert (curve.get_linestyle(), curve.get_color()) == ("--", "black")
    assert not lines(first, "full data")  # that of other labels, and of the main table, is in no panel of these
    assert second.get_xscale() == "log"
    assert list(second.get_xticks()) == [400, 1600, 4800]
    assert legend(figure) == ["dm", "full data"]


def test_along_steps_each_number_of_videos_is_a_line(tmp_path: Path) -> None:
    more = [record("videocompressa", 0.5, axis="steps", steps=steps, vpc=5) for steps in (10, 50)]
    first = [record("videocompressa", 0.4, axis="steps", steps=steps) for steps in (10, 50)]
    (axes,) = figures.accuracy_against([*first, *more], tmp_path / "a.png", "steps").axes
    assert [len(lines(axes, f"videocompressa, VPC {vpc}")) for vpc in (1, 5)] == [1, 1]
    assert axes.get_xscale() == "linear"


def test_plots_without_matplotlib_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "videocompressa.bench.figures.style")
    with pytest.raises(InputError, match=r'plots need matplotlib; run: pip install "\.\[report\]"'):
        importlib.import_module("videocompressa.bench.figures.style")


@pytest.mark.parametrize(("axis", "draw"), FIGURES.values(), ids=FIGURES)
def test_figures_of_nothing_are_refused(axis: str, draw: Draw, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"none of 0 records has axis '{axis}'; give bench the options that make them"):
        draw([], tmp_path / "a.png")
    lost = record("dm", 0.5, top1_runs=(), top1_mean=None, top1_std=None, num_diverged=3, axis=axis, steps=1)
    with pytest.raises(InputError, match="none of 1 records has both an accuracy and .*; nothing to draw"):
        draw([lost], tmp_path / "a.png")
    with pytest.raises(InputError, match=r"cannot write a figure to 'a.svg'; name it with .png or .pdf"):
        draw(ALL, tmp_path / "a.svg")


def test_unknown_choices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="unknown quantity 'files'; known: frames, bytes, steps, keyframes, train_steps"
    ):
        figures.accuracy_against(ALL, tmp_path / "a.png", "files")
    with pytest.raises(InputError, match="unknown memory 'disk'; known: host, gpu"):
        figures.cost_against_accuracy(ALL, tmp_path / "a.png", memory="disk")


def test_no_other_method_has_our_color() -> None:
    others = {family.color for name, family in FAMILIES.items() if name not in OURS}
    assert FAMILIES["videocompressa"].color not in others


def test_labels_of_close_values_do_not_overlap(tmp_path: Path) -> None:
    close = [record("dm", 0.4, byte_ratio=ratio) for ratio in (0.000175, 0.00018, 0.000192)]
    figure = figures.accuracy_against(close, tmp_path / "a.png", "bytes")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_text()]
    inside = [box for box in boxes if axes.bbox.x0 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1]
    assert len(inside) >= 2
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(inside))
