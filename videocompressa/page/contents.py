"""What the page of a set shows, as frozen records; `page.html.j2` says how."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import Tensor

from videocompressa.bench.record import Record
from videocompressa.errors import BadVideo, InputError, VideoError
from videocompressa.methods import METHODS
from videocompressa.page.chart import Panel, panels
from videocompressa.page.labels import Bars, View, labeled_views, stored_bars
from videocompressa.page.media import QUALITIES, Media, Store, fitting_quality, inside, item_media
from videocompressa.recipes.compress import UNKNOWN, Origins
from videocompressa.recipes.contact_sheet import choose_items
from videocompressa.recipes.facts import set_rows
from videocompressa.recipes.options import CandidateOptions, CompressOptions
from videocompressa.recipes.settings import setting_texts
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import Cost, Source, SyntheticSet
from videocompressa.texts import duration_text, mean_text
from videocompressa.vlm.export.items import picture_reader


@dataclass(frozen=True)
class Accuracy:
    """What students reached, and how it was measured."""

    of_set: str | None = None
    """Top-1 of students of the set, in per cent with its spread."""
    of_full: str | None = None
    """The same of students of all videos."""
    recovery: str | None = None
    """The first as a part of the second."""
    how: str = ""
    confusion: tuple[tuple[int, ...], ...] = ()
    """(L,L): test clips of class (row) predicted as class (column), by students of the set; empty where not known."""
    method_seconds: float | None = None
    """What the method took that made the set, on average over runs; None where it is not known."""
    student_seconds: Mapping[str, float] = field(default_factory=dict)
    """What all runs of students took, by what they were trained on."""


NO_ACCURACY = Accuracy()


def accuracy_of(
    of_set: tuple[float, float | None] | None, of_full: tuple[float, float | None] | None, how: str
) -> Accuracy:
    """Return accuracies, each a mean in [0,1] and a deviation, as texts."""
    recovery = f"{100 * of_set[0] / of_full[0]:.0f} %" if of_set and of_full and of_full[0] else None
    return Accuracy(of_set and mean_text(*of_set), of_full and mean_text(*of_full), recovery, how)


def student_seconds(of_set: float | None, of_full: float | None) -> dict[str, float]:
    """Return what all runs of students took, by what they were trained on."""
    seconds = {"students of the set": of_set, "students of all videos": of_full}
    return {name: each for name, each in seconds.items() if each is not None}


@dataclass(frozen=True)
class Item:
    """One clip of the set."""

    number: int
    """Its place in the set."""
    video: str
    media: Media
    cells: str
    """SVG path of the kept candidates, on a line of T units; bars from the bottom, of their scores where known."""
    others: str
    """The same of the other candidates; "" where scores are not known."""
    times: str
    bars: list[Bars]

    @property
    def sureness(self) -> float:
        """Probability of the most likely class, by the last source of labels; 1 for hard labels."""
        return self.bars[-1].shares[0][1] if self.bars else 1.0


@dataclass(frozen=True)
class ClassRow:
    """What students of the set said of the test clips of one class."""

    name: str
    top1: str
    """In per cent."""
    mistaken: str
    """The class that it is most often taken for, with its share in per cent; "-" where there is none."""
    shares: list[int]
    """Per cent taken for the class of each row, in their order; empty where there are over `MOST_CLASSES`."""


MOST_CLASSES = 12
"""Classes of which the page shows the whole confusion matrix (our choice: more columns fit no screen)."""


def class_rows(synthetic: SyntheticSet, confusion: Sequence[Sequence[int]]) -> list[ClassRow]:
    """Return the rows of the classes, the least accurate first, and last those without test clips."""
    tops = {label: counts[label] / sum(counts) if any(counts) else math.inf for label, counts in enumerate(confusion)}
    order = sorted(tops, key=tops.__getitem__)
    rows = []
    for label in order:
        shares = [100 * count / max(1, sum(confusion[label])) for count in confusion[label]]
        others = [0 if place == label else share for place, share in enumerate(shares)]
        worst = max(order, key=others.__getitem__)
        mistaken = f"{synthetic.classes[worst]} ({others[worst]:.0f} %)" if others[worst] else "-"
        top1 = f"{shares[label]:.1f}" if math.isfinite(tops[label]) else "-"
        shown = [round(shares[place]) for place in order] if len(order) <= MOST_CLASSES else []
        rows.append(ClassRow(synthetic.classes[label], top1, mistaken, shown))
    return rows


@dataclass(frozen=True)
class Stage:
    """A part of the work, and what it took."""

    name: str
    time: str
    share: float
    """Of the longest, in (0,1]."""


def stages_of(seconds: Mapping[str, float]) -> list[Stage]:
    """Return the stages that took any time."""
    most = max(seconds.values(), default=0.0)
    # Below it, "0.0 s" would be shown.
    return [Stage(name, duration_text(each), each / most) for name, each in seconds.items() if each >= 0.05]


@dataclass(frozen=True)
class Page:
    """All that the page of a set shows."""

    source: Source
    cost: Cost
    num_items: int
    num_classes: int
    num_frames: int
    """T."""
    accuracy: Accuracy
    class_rows: list[ClassRow]
    groups: dict[str, list[Item]]
    """Items by class, of the classes that have any."""
    views: list[View]
    has_scores: bool
    has_soft_labels: bool
    panels: tuple[Panel, ...]
    method_time: str | None
    stages: list[Stage]
    rows: dict[str, str]
    """More facts, by name."""
    command: str
    notes: list[str]

    @property
    def num_shown(self) -> int:
        """Items on the page."""
        return sum(map(len, self.groups.values()))


def page_of(
    synthetic: SyntheticSet,
    cost: Cost,
    *,
    data: Path | None = None,
    origins: Origins = UNKNOWN,
    store: Store | None = None,
    accuracy: Accuracy = NO_ACCURACY,
    records: Sequence[Record] = (),
    watch: Watch = watch_nothing,
) -> Page:
    """Return what is shown of a set with its decoder.

    `data` is the folder that was compressed: frames of its videos are shown beside the keyframes. Videos that cannot
    be read are named in the notes; raises `InputError` when none can. With `store`, media are files beside the page,
    as fine and as many as they are.
    """
    skipped: dict[int, BadVideo] = {}
    source = _source_reader(synthetic, data, skipped)
    media = partial(item_media, synthetic, source, origins.untuned)
    quality, most = (QUALITIES[0], len(synthetic)) if store else fitting_quality(len(synthetic), media)
    made_in = accuracy.method_seconds if origins.method_seconds is None else origins.method_seconds
    method = {} if origins.stage_seconds or made_in is None else {"method": made_in}
    rows = choose_items(synthetic.hard_labels, most).tolist()
    groups = _groups(synthetic, rows, partial(media, quality=quality, store=store or inside), origins.scores, watch)
    return Page(
        source=synthetic.provenance.source,
        cost=cost,
        num_items=len(synthetic),
        num_classes=len(synthetic.classes),
        num_frames=synthetic.clip.num_frames,
        accuracy=accuracy,
        class_rows=class_rows(synthetic, accuracy.confusion),
        groups=groups,
        views=labeled_views(synthetic, store or inside),
        has_scores=origins.scores is not None,
        has_soft_labels=synthetic.labels.ndim == 2,
        panels=panels(records),
        method_time=None if made_in is None else duration_text(made_in),
        stages=stages_of({**origins.stage_seconds, **method, **accuracy.student_seconds}),
        rows=set_rows(synthetic, cost),
        command=command_of(synthetic, cost),
        notes=_notes(synthetic, data, rows, skipped),
    )


def _groups(
    synthetic: SyntheticSet, rows: Sequence[int], media: Callable[[int], Media], scores: Tensor | None, watch: Watch
) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for place, (row, bars) in enumerate(zip(rows, stored_bars(synthetic, rows), strict=True), 1):
        name = synthetic.classes[int(synthetic.hard_labels[row])]
        groups.setdefault(name, []).append(_item(synthetic, row, media(row), scores, bars))
        watch("page", done=place, total=len(rows))
    return groups


def _notes(
    synthetic: SyntheticSet, data: Path | None, rows: Sequence[int], skipped: Mapping[int, BadVideo]
) -> list[str]:
    if skipped and all(row in skipped for row in rows):
        first = skipped[rows[0]]
        raise InputError(
            f"--data {data}: none of the {len(rows)} videos of the set can be read there ({first.video_id}: "
            f"{first.reason}); give the folder that was compressed, or leave the option out"
        )
    notes = [f"{video.video_id}: {video.reason}" for row, video in skipped.items() if row in rows]
    few = (
        [] if len(rows) == len(synthetic) else [f"{len(rows)} of {len(synthetic)} clips are shown: more are too large"]
    )
    return few + notes


def _source_reader(
    synthetic: SyntheticSet, data: Path | None, skipped: dict[int, BadVideo]
) -> Callable[[int], Tensor | None]:
    """Return what gives the keyframes of an item from its video; it lists those that cannot be read in `skipped`."""
    if data is None:
        return lambda row: None
    if not data.is_dir():
        raise InputError(f"--data {data}: is no folder; give the folder that was compressed, or leave the option out")
    read = picture_reader(synthetic, data)

    def frames(row: int) -> Tensor | None:
        try:
            return read(row)
        except VideoError as error:
            skipped[row] = BadVideo(synthetic.provenance.video_ids[row], str(error))
            return None

    return frames


def _item(synthetic: SyntheticSet, row: int, media: Media, scores: Tensor | None, bars: list[Bars]) -> Item:
    positions, times = synthetic.positions[row].tolist(), synthetic.times_seconds[row].tolist()
    every = range(synthetic.clip.num_frames)
    heights = [1.0 for _ in every] if scores is None else _heights(scores[row])
    others = [] if scores is None else [place for place in every if place not in positions]
    return Item(
        number=row,
        video=synthetic.provenance.video_ids[row],
        media=media,
        cells=_cells(positions, heights),
        others=_cells(others, heights),
        times=f"{len(positions)} of {synthetic.clip.num_frames} frames, {times[0]:.2f} to {times[-1]:.2f} s",
        bars=bars,
    )


def _heights(scores: Tensor) -> list[float]:
    """Return bars in [0.1,1] for the scores (T,) of one video: the least is seen too."""
    low, high = scores.min(), scores.max()
    heights: list[float] = (0.1 + 0.9 * (scores - low) / (high - low + 1e-9)).tolist()
    return heights


def _cells(places: Sequence[int], heights: Sequence[float]) -> str:
    return "".join(f"M{place} 1v-{heights[place]:.3g}h.85V1z" for place in places)


def videos_per_class(synthetic: SyntheticSet) -> int:
    """Return the items of the class that has the most; of soft labels, which may not say it, as if all had as many."""
    if synthetic.labels.ndim == 2:
        return -(-len(synthetic) // len(synthetic.classes))
    return int(synthetic.labels.bincount().max())


def command_of(synthetic: SyntheticSet, cost: Cost) -> str:
    """Return the command that gives the file again, as far as the file knows it; defaults are left out."""
    origin, clip, usual = synthetic.provenance, synthetic.clip, CandidateOptions()
    side = f"{clip.height}" if clip.height == clip.width else f"{clip.height}x{clip.width}"
    fills = origin.method in METHODS and METHODS[origin.method].fills_bytes
    options = {
        "method": (origin.method, CompressOptions.method),
        "codec": (synthetic.codec.name, CompressOptions.codec),
        "seed": (str(origin.seed), str(CompressOptions.seed)),
        "size": (side, str(usual.size)),
        "fit": (clip.fit, usual.fit),
        "frames": (str(clip.num_frames), str(usual.frames)),
        "placement": (clip.placement, usual.placement),
        **({"bytes": (str(cost.file_bytes), "")} if fills else {"vpc": (str(videos_per_class(synthetic)), "")}),
        **({} if fills else {"keyframes": (str(synthetic.positions.shape[1]), "")}),
    }
    words = [f"--{name} {shlex.quote(value)}" for name, (value, default) in options.items() if value != default]
    words += [f"--set {shlex.quote(setting)}" for setting in setting_texts(origin.config)]
    return " ".join([f"videocompressa compress {shlex.quote(origin.source.name)} -o set.safetensors", *words])
