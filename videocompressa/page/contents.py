"""What the page of a set shows, as frozen records; `page.html.j2` says how."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from videocompressa.bench.record import Record
from videocompressa.errors import BadVideo, InputError, VideoError
from videocompressa.methods import METHODS
from videocompressa.page.chart import Panel, panels
from videocompressa.page.labels import Bars, View, labeled_views, stored_bars
from videocompressa.page.media import Media, Quality, fitting_quality, item_media
from videocompressa.recipes.contact_sheet import choose_items
from videocompressa.recipes.facts import set_rows
from videocompressa.recipes.options import CandidateOptions, CompressOptions
from videocompressa.recipes.settings import setting_texts
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import Cost, SyntheticSet
from videocompressa.texts import bytes_text, mean_text, percent_text
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


NO_ACCURACY = Accuracy()


def accuracy_of(
    of_set: tuple[float, float | None] | None, of_full: tuple[float, float | None] | None, how: str
) -> Accuracy:
    """Return accuracies, each a mean in [0,1] and a deviation, as texts."""
    recovery = f"{100 * of_set[0] / of_full[0]:.0f} %" if of_set and of_full and of_full[0] else None
    return Accuracy(of_set and mean_text(*of_set), of_full and mean_text(*of_full), recovery, how)


@dataclass(frozen=True)
class Item:
    """One clip of the set."""

    number: int
    """Its place in the set."""
    video: str
    media: Media
    cells: str
    """SVG path of the kept candidates, on a line of T units."""
    times: str
    bars: list[Bars]

    @property
    def sureness(self) -> float:
        """Probability of the most likely class, by the last source of labels; 1 for hard labels."""
        return self.bars[-1].shares[0][1] if self.bars else 1.0


@dataclass(frozen=True)
class Page:
    """All that the page of a set shows."""

    name: str
    """Of the data that was compressed."""
    num_videos: int
    num_items: int
    num_frames: int
    """T."""
    cost: Cost
    accuracy: Accuracy
    groups: dict[str, list[Item]]
    """Items by class, of the classes that have any."""
    views: list[View]
    panels: tuple[Panel, ...]
    rows: dict[str, str]
    command: str
    notes: list[str]
    texts: dict[str, str] = field(default_factory=dict)
    """Sizes and shares of `cost`."""

    @property
    def num_shown(self) -> int:
        """Items on the page."""
        return sum(map(len, self.groups.values()))


def page_of(
    synthetic: SyntheticSet,
    cost: Cost,
    *,
    data: Path | None = None,
    accuracy: Accuracy = NO_ACCURACY,
    records: Sequence[Record] = (),
    watch: Watch = watch_nothing,
) -> Page:
    """Return what is shown of a set with its decoder.

    `data` is the folder that was compressed: frames of its videos are shown beside the keyframes. Videos that cannot
    be read are named in the notes; raises `InputError` when none can.
    """
    skipped: dict[int, BadVideo] = {}
    source = _source_reader(synthetic, data, skipped)

    def media(row: int, quality: Quality) -> Media:
        return item_media(synthetic, row, source(row), quality)

    quality, most = fitting_quality(len(synthetic), media)
    rows = choose_items(synthetic.hard_labels, most).tolist()
    items: dict[str, list[Item]] = {}
    for place, (row, bars) in enumerate(zip(rows, stored_bars(synthetic, rows), strict=True), 1):
        name = synthetic.classes[int(synthetic.hard_labels[row])]
        items.setdefault(name, []).append(_item(synthetic, row, media(row, quality), bars))
        watch("page", done=place, total=len(rows))
    if len(skipped) == len(rows):
        first = next(iter(skipped.values()))
        raise InputError(
            f"--data {data}: none of the {len(rows)} videos of the set can be read there ({first.video_id}: "
            f"{first.reason}); give the folder that was compressed, or leave the option out"
        )
    notes = [f"{video.video_id}: {video.reason}" for video in skipped.values()]
    if len(rows) < len(synthetic):
        notes.insert(0, f"{len(rows)} of {len(synthetic)} clips are shown, so that the page stays small.")
    origin = synthetic.provenance.source
    return Page(
        name=origin.name,
        num_videos=origin.num_videos,
        num_items=len(synthetic),
        num_frames=synthetic.clip.num_frames,
        cost=cost,
        accuracy=accuracy,
        groups=items,
        views=labeled_views(synthetic),
        panels=panels(records),
        rows=set_rows(synthetic, cost),
        command=command_of(synthetic, cost),
        notes=notes,
        texts={
            "file": bytes_text(cost.file_bytes),
            "bytes": percent_text(cost.byte_ratio),
            "frames": percent_text(cost.frame_ratio),
            "all_bytes": bytes_text(origin.video_bytes),
        },
    )


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


def _item(synthetic: SyntheticSet, row: int, media: Media, bars: list[Bars]) -> Item:
    positions, times = synthetic.positions[row].tolist(), synthetic.times_seconds[row].tolist()
    return Item(
        number=row,
        video=synthetic.provenance.video_ids[row],
        media=media,
        cells="".join(f"M{position} 0h.85v1h-.85z" for position in positions),
        times=f"{len(positions)} of {synthetic.clip.num_frames} frames, {times[0]:.2f} to {times[-1]:.2f} s",
        bars=bars,
    )


def command_of(synthetic: SyntheticSet, cost: Cost) -> str:
    """Return the command that gives the file again, as far as the file knows it; defaults are left out."""
    origin, clip, usual = synthetic.provenance, synthetic.clip, CandidateOptions()
    side = f"{clip.height}" if clip.height == clip.width else f"{clip.height}x{clip.width}"
    most = int(synthetic.hard_labels.bincount().max())
    fills = origin.method in METHODS and METHODS[origin.method].fills_bytes
    options = {
        "method": (origin.method, CompressOptions.method),
        "codec": (synthetic.codec.name, CompressOptions.codec),
        "seed": (str(origin.seed), str(CompressOptions.seed)),
        "size": (side, str(usual.size)),
        "frames": (str(clip.num_frames), str(usual.frames)),
        "placement": (clip.placement, usual.placement),
        **({"bytes": (str(cost.file_bytes), "")} if fills else {"vpc": (str(most), "")}),
        **({} if fills else {"keyframes": (str(synthetic.positions.shape[1]), "")}),
    }
    words = [f"--{name} {shlex.quote(value)}" for name, (value, default) in options.items() if value != default]
    words += [f"--set {shlex.quote(setting)}" for setting in setting_texts(origin.config)]
    return " ".join([f"videocompressa compress {shlex.quote(origin.source.name)} -o set.safetensors", *words])
