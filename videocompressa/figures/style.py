"""How every figure looks: sizes, fonts, the colour, marker and dash of each method, and how a figure is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videocompressa.errors import InputError
from videocompressa.results import FULL, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_INCHES = 3.3
PAGE_INCHES = 6.9
DOTS_PER_INCH = 300
TEXT_POINTS = 8
SMALL_POINTS = 7

OURS = "videocompressa"
INK = "#222222"
FULL_NAME = "full data"

SOLID, DOTTED, DASH_DOT, LONG_DOTS = "-", (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (4, 1.2, 1, 1.2, 1, 1.2))
DASHES = (SOLID, DOTTED, DASH_DOT, LONG_DOTS)
"""Plain dashes are left to full data."""


@dataclass(frozen=True)
class Family:
    """Methods of one idea share a colour and a dash; the marker tells them apart."""

    colour: str
    dash: int
    """Position in `DASHES` of the first member; when markers run out, the next."""
    markers: str


OURS_FAMILY = Family("#D55E00", 0, "osD^")
FAMILIES: dict[str, Family] = {
    "dm": Family("#0072B2", 0, "sDphd"),
    "mtt": Family("#0072B2", 0, "sDphd"),
    "vdsd": Family("#0072B2", 0, "sDphd"),
    "s2d": Family("#0072B2", 0, "sDphd"),
    "lvdd": Family("#CC79A7", 2, "^v<>"),
    "rded": Family("#009E73", 0, "Phd"),
    "real-": Family("#E69F00", 1, "X*H8"),
    "": Family("#56B4E9", 1, "osD^vph<>dPX"),
}
"""By how a name begins; "" is everything else, such as coresets. Okabe and Ito's colours, without the pale yellow."""


@dataclass(frozen=True)
class Look:
    """How one line or bubble is drawn."""

    colour: str
    marker: str
    dash: Any
    ours: bool

    @property
    def order(self) -> int:
        """Ours lies on top."""
        return 6 if self.ours else 4

    @property
    def width(self) -> float:
        """Points."""
        return 1.7 if self.ours else 0.9

    @property
    def marker_size(self) -> float:
        """Points."""
        return 5.0 if self.ours else 3.8


def is_ours(name: str) -> bool:
    """Tell whether a line is of our method: its name, or its name and what tells two of its lines apart."""
    return name == OURS or name.startswith(f"{OURS},")


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Return the look of each name in legend order: ours first, then family by family."""
    grouped: dict[Family, list[str]] = {}
    for name in sorted(set(names)):
        prefix = max((prefix for prefix in FAMILIES if name.startswith(prefix)), key=len)
        grouped.setdefault(OURS_FAMILY if is_ours(name) else FAMILIES[prefix], []).append(name)
    found = {}
    for family in (OURS_FAMILY, *dict.fromkeys(FAMILIES.values())):
        for number, name in enumerate(grouped.get(family, [])):
            turn, place = divmod(number, len(family.markers))
            dash = DASHES[(family.dash + turn) % len(DASHES)]
            found[name] = Look(family.colour, family.markers[place], dash, family is OURS_FAMILY)
    return found


SETTINGS: dict[str, Any] = {
    "font.size": TEXT_POINTS,
    "axes.titlesize": TEXT_POINTS,
    "axes.labelsize": TEXT_POINTS,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "legend.fontsize": SMALL_POINTS,
    "legend.title_fontsize": SMALL_POINTS,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "pdf.fonttype": 42,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
"""On top of matplotlib's own defaults, whatever the reader's configuration says."""


def check_path(path: Path) -> None:
    """Raise `InputError` unless the name ends in .png or .pdf."""
    if path.suffix.lower() not in (".png", ".pdf"):
        raise InputError(f"cannot write a figure to {path.name!r}; name it with .png or .pdf")


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in the style of all figures; the reader's own settings are back afterwards."""
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'videocompressa[report]'") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches that no global state knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write(figure: Figure, path: Path) -> None:
    """Write a figure; what lies there is replaced when it is whole."""
    kind = path.suffix.lower()[1:]
    # Neither a clock nor a version goes into the file: the same records, the same bytes.
    unknown = {"png": ["Software"], "pdf": ["CreationDate", "Creator", "Producer"]}[kind]
    unfinished = path.with_name(f".unfinished-{path.name}")
    figure.savefig(unfinished, format=kind, dpi=DOTS_PER_INCH, metadata=dict.fromkeys(unknown))
    unfinished.replace(path)


def legend_rows(names: Sequence[str], width: float) -> tuple[int, int]:
    """Return rows and columns of a legend with these names in a figure of `width` inches."""
    entry = 0.5 + 0.062 * max((len(name) for name in names), default=0)
    columns = max(1, min(len(names), int(width / entry)))
    rows = -(-len(names) // columns)
    return rows, -(-len(names) // rows)


def line_handle(look: Look, name: str, hollow: bool = False) -> Any:
    """Return the legend entry of a method."""
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        color=look.colour,
        linestyle=look.dash,
        linewidth=look.width,
        marker=look.marker,
        markersize=look.marker_size,
        markerfacecolor="white" if hollow else look.colour,
        label=name,
    )


def full_handle() -> Any:
    """Return the legend entry of full data."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color="black", linestyle="--", linewidth=1.0, label=FULL_NAME)


def label_handles() -> list[Any]:
    """Return the legend entries that tell hard from soft labels."""
    from matplotlib.lines import Line2D

    grey = {"color": INK, "linestyle": "", "marker": "o", "markersize": 4.0}
    return [
        Line2D([], [], markerfacecolor=INK, label="filled: hard labels", **grey),
        Line2D([], [], markerfacecolor="white", label="hollow: soft labels", **grey),
    ]


def draw_full(axes: Axes, records: Sequence[Record]) -> bool:
    """Draw full data as a dashed line with its deviation as a band; tell whether there was any."""
    done = finished(records)
    full = next((r for r in done if r.method == FULL and r.labels == "hard"), None) or next(
        (r for r in done if r.method == FULL), None
    )
    if full is None or full.top1_mean is None:
        return False
    if full.top1_std is not None and len(full.top1_runs) > 1:
        low, high = 100 * (full.top1_mean - full.top1_std), 100 * (full.top1_mean + full.top1_std)
        axes.axhspan(low, high, color="black", alpha=0.08, linewidth=0, zorder=1)
    axes.axhline(100 * full.top1_mean, color="black", linestyle="--", linewidth=1.0, zorder=2, label=FULL_NAME)
    return True


def finished(records: Sequence[Record]) -> list[Record]:
    """Return the records that have an accuracy; failed cells and those whose runs all diverged are not drawn."""
    return [record for record in records if record.top1_mean is not None]


def deviation(record: Record) -> float:
    """Return the deviation in points; 0 where there are fewer than two runs."""
    return 100 * record.top1_std if record.top1_std is not None and len(record.top1_runs) > 1 else 0.0


Panel = tuple[str, str, str]
"""Data, student and protocol: each has a panel of its own."""


def panel_of(record: Record) -> Panel:
    """Return the panel a record belongs to."""
    return record.data, record.student, record.protocol


def panel_titles(panels: Sequence[Panel]) -> list[str]:
    """Return the name of the data, and of what else differs between panels."""
    differ = [len({panel[part] for panel in panels}) > 1 for part in range(3)]
    return [", ".join(text for part, text in enumerate(panel) if part == 0 or differ[part]) for panel in panels]
