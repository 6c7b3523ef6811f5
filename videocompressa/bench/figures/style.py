"""Style of every figure: sizes, fonts, the look of each method and of full data, legends, and the written file."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from videocompressa.bench.record import FULL, Record
from videocompressa.errors import InputError, how_to_install
from videocompressa.files import atomic_path

try:  # Only here: other modules of the figures import these names from this one.
    import matplotlib
    from matplotlib.axes import Axes as Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgba as to_rgba
    from matplotlib.figure import Figure as Figure
    from matplotlib.lines import Line2D as Line2D
    from matplotlib.patches import Patch as Patch
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter
except ImportError as error:
    raise InputError(f"plots need matplotlib; run: {how_to_install('report')}") from error

COLUMN_INCHES, PAGE_INCHES, PANEL_INCHES = 3.3, 6.9, 2.2
DOTS_PER_INCH = 300
TEXT_POINTS, SMALL_POINTS = 8, 7
INK = "#222222"
SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), TEXT_POINTS),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), SMALL_POINTS),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
    **dict.fromkeys(("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"), 0.03),
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.minor.width": 0.4,
    "xtick.minor.size": 1.5,
    "lines.markeredgewidth": 0.8,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "pdf.fonttype": 42,
}
"""On top of matplotlib's own defaults, in place of the reader's."""

HALO: dict[str, Any] = {"path_effects": [withStroke(linewidth=1.8, foreground="white")]}
"""White rim of numbers on lines."""
FULL_LINE: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1.0, "label": "full data"}

OUR_LINE = {"linewidth": 1.7, "markersize": 5.0, "zorder": 6}
OTHER_LINE = {"linewidth": 0.9, "markersize": 3.8, "zorder": 4}

OURS = ("videocompressa", "typical-clips")
DASHES = ("-", (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (4, 1.2, 1, 1.2, 1, 1.2)))
"""Solid, dotted, dash-dot, dash-dot-dot; plain dashes are left to full data."""


class Family(NamedTuple):
    """Methods of one idea share a color and a dash; the marker distinguishes them."""

    color: str
    dash: int
    """Position in `DASHES` of the first member; when markers run out, the next."""
    markers: str


FAMILIES = {
    **dict.fromkeys(OURS, Family("#D55E00", 0, "osD^")),
    **dict.fromkeys(("dm", "mtt", "vdsd", "s2d"), Family("#0072B2", 0, "sDv^")),
    "lvdd": Family("#CC79A7", 2, "<>ph"),
    "rded": Family("#009E73", 0, "Pd"),
    **dict.fromkeys(("real-", "herding-av1", "herding-h264", "herding-webp"), Family("#E69F00", 1, "X*8H")),
    "": Family("#56B4E9", 1, "^svDod<>"),
}
"""By prefix of the name, in the order of legends; "" is everything else, such as coresets. Colors of Okabe and Ito
(2008), which the color-blind can distinguish, without the pale yellow."""


def is_ours(name: str) -> bool:
    """Return whether a line is of one of our methods; "NAME, VPC 5" is."""
    return name.partition(",")[0] in OURS


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return matplotlib's properties of each name's line in the order of legends: ours first, then by family."""
    members: dict[Family, list[str]] = {family: [] for family in FAMILIES.values()}
    for name in sorted(set(names), key=lambda name: (not name.startswith(OURS[0]), name)):
        prefix = max((prefix for prefix in FAMILIES if name.startswith(prefix)), key=len)
        members[FAMILIES[prefix]].append(name)
    styles: dict[str, dict[str, Any]] = {}
    for family, same in members.items():
        for number, name in enumerate(same):
            turn, place = divmod(number, len(family.markers))
            dash = DASHES[(family.dash + turn) % len(DASHES)]
            styles[name] = {"label": name, "color": family.color, "marker": family.markers[place], "linestyle": dash}
            styles[name] |= OUR_LINE if is_ours(name) else OTHER_LINE
            styles[name] |= FULL_LINE if name == FULL else {}
    return styles


@contextmanager
def paper_figure(path: Path, *, wide: bool, num_rows: int) -> Iterator[Figure]:
    """Give an empty figure, unknown to pyplot; written to `path` (.png or .pdf, else `InputError`) afterwards."""
    kind = path.suffix.lower()
    # Neither a clock nor a version goes into the file: the same records, the same bytes.
    left_out = {".png": ["Software"], ".pdf": ["CreationDate", "Creator", "Producer"]}
    if kind not in left_out:
        raise InputError(f"cannot write a figure to {path.name!r}; name it with .png or .pdf")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        size = (PAGE_INCHES if wide else COLUMN_INCHES, PANEL_INCHES * num_rows)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with atomic_path(path) as part:
            figure.savefig(part, format=kind[1:], dpi=DOTS_PER_INCH, metadata=dict.fromkeys(left_out[kind]))


def add_legend(figure: Figure, entries: Sequence[Any], place: str = "outside lower center", **options: Any) -> None:
    """Add a legend in as many columns as fit, and make the figure higher by it."""
    for columns in range(len(entries), 0, -1):
        rows = -(-len(entries) // columns)
        legend = figure.legend(handles=entries, loc=place, ncols=-(-len(entries) // rows), **options)
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def set_log_scale(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with ticks at powers of ten, at 2 and 5 times them too where these are few.

    Values within a factor of 2 have hardly any of these: they get a few round numbers.
    """
    axes.set_xscale("log")
    spread = max(values) / min(values)
    log_ticks = LogLocator(subs=(1.0,) if spread > 50 else (1.0, 2.0, 5.0))
    axes.xaxis.set_major_locator(MaxNLocator(3) if spread < 2 else log_ticks)
    axes.xaxis.set_major_formatter(LogFormatterSciNotation() if max(values) >= 1e4 else "{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def percent(fraction: float | None) -> float:
    """Return a fraction in percent; 0 for None."""
    return 100 * (fraction or 0.0)


def full_data(records: Sequence[Record], axis: str) -> list[Record]:
    """Return the finished records of full data, of this axis or "main": hard labels first, then this axis."""
    full = [record for record in records if record.method == FULL and record.top1_mean is not None]
    chosen = [record for record in full if record.axis in (axis, "main")]
    return sorted(chosen, key=lambda record: (record.labels != "hard", record.axis != axis))


def draw_full(axes: Axes, full: Sequence[Record], zorder: float = 2) -> None:
    """Draw the first record of full data as a dashed line, with its deviation as a band."""
    for record in full[:1]:
        height, spread = percent(record.top1_mean), percent(record.spread)
        if spread:
            axes.axhspan(height - spread, height + spread, color="black", alpha=0.08, linewidth=0, zorder=1)
        axes.axhline(height, zorder=zorder, **FULL_LINE)
