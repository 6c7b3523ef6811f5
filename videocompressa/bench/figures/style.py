"""How every figure looks: sizes, fonts, the color, marker and dash of each method, and how a figure is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videocompressa.bench.record import Record
from videocompressa.errors import InputError, how_to_install

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_INCHES = 3.3
PAGE_INCHES = 6.9
DOTS_PER_INCH = 300
TEXT_POINTS = 8
SMALL_POINTS = 7

OURS = "videocompressa"
INK = "#222222"

SOLID, DOTTED, DASH_DOT, LONG_DOTS = "-", (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (4, 1.2, 1, 1.2, 1, 1.2))
DASHES = (SOLID, DOTTED, DASH_DOT, LONG_DOTS)
"""Plain dashes are left to full data."""


@dataclass(frozen=True)
class Family:
    """Methods of one idea share a color and a dash; the marker tells them apart."""

    color: str
    dash: int
    """Position in `DASHES` of the first member; when markers run out, the next."""
    markers: str


OURS_FAMILY = Family("#D55E00", 0, "osD^")
MATCHING = Family("#0072B2", 0, "sDv^")
CODED = Family("#E69F00", 1, "X*8H")
FAMILIES: dict[str, Family] = {
    "dm": MATCHING,
    "mtt": MATCHING,
    "vdsd": MATCHING,
    "s2d": MATCHING,
    "lvdd": Family("#CC79A7", 2, "<>ph"),
    "rded": Family("#009E73", 0, "Pd"),
    "real-": CODED,
    "herding-av1": CODED,
    "herding-h264": CODED,
    "herding-webp": CODED,
    "": Family("#56B4E9", 1, "^svDod<>"),
}
"""By how a name begins; "" is everything else, such as coresets. Okabe and Ito's colors, without the pale yellow."""


@dataclass(frozen=True)
class Look:
    """How one line or bubble is drawn."""

    color: str
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
    return name == OURS or name.startswith((f"{OURS},", f"{OURS}-"))


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
            found[name] = Look(family.color, family.markers[place], dash, family is OURS_FAMILY)
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
        raise InputError(f"plots need matplotlib; run: {how_to_install('report')}") from error
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


def halo() -> list[Any]:
    """Return the white rim that keeps a number readable on a line."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.8, foreground="white")]


def finished(records: Sequence[Record]) -> list[Record]:
    """Return the records that have an accuracy; failed cells and those whose runs all diverged are not drawn."""
    return [record for record in records if record.top1_mean is not None]


def deviation(record: Record) -> float:
    """Return the deviation in points; 0 where there are fewer than two runs."""
    return 100 * record.top1_std if record.top1_std is not None and len(record.top1_runs) > 1 else 0.0
