"""Pictures and videos of a page: film strips as WebP and clips as mp4, within its size as data URIs, or beside it."""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from videocompressa.recipes.sets import as_uint8, frames_a_second
from videocompressa.synthetic import SyntheticSet, items_of
from videocompressa.video import write_video

MOST_BYTES = 28_000_000
"""Of all media of a page, as text: browsers and mail take a page of 30 MB."""
MOST_COLUMNS = 4
"""Frames side by side; more go into further rows."""
MOST_PICTURES = 16
"""Of one film strip; of more keyframes, evenly spaced ones are shown."""
CHANGE_GAIN = 4
KINDS = {"webp": "image/webp", "mp4": "video/mp4"}
NUM_SAMPLES = 8
"""Items that are encoded to learn the size of all."""


@dataclass(frozen=True)
class Quality:
    """How finely media are encoded."""

    side: int
    """Most pixels of the shorter side of a frame."""
    webp: int
    """Quality of pictures, 0 to 100."""
    crf: int
    """Constant rate factor of videos: 51 is coarsest."""


QUALITIES = (Quality(160, 85, 16), Quality(128, 75, 22), Quality(96, 60, 26), Quality(64, 45, 30))
"""Tried in this order (our choice); where the last is too large, a page shows fewer items."""


Store = Callable[[str, bytes], str]
"""Takes a suffix and a file, and returns its address for the page."""


def inside(suffix: str, data: bytes) -> str:
    """Return a file as its data URI."""
    return f"data:{KINDS[suffix]};base64,{base64.b64encode(data).decode()}"


def beside(folder: Path, address: str) -> Store:
    """Return what writes files into `folder`, which the page reaches as `address`; equal files are one."""

    def store(suffix: str, data: bytes) -> str:
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
        (folder / name).write_bytes(data)
        return f"{address}/{name}"

    return store


@dataclass(frozen=True)
class Film:
    """Frames in one picture, row by row."""

    uri: str
    """Of WebP."""
    width: int
    height: int
    columns: int
    rows: int


@dataclass(frozen=True)
class Media:
    """What is seen of one item."""

    film: Film
    """Its decoded keyframes."""
    clip: str
    """Address of an mp4: the clip of T frames that students see."""
    source: Film | None = None
    """The same frames of its video; None where that is not at hand."""
    untuned: Film | None = None
    """The keyframes before they were tuned; None where they are not, or that is not known."""
    change: Film | None = None
    """What tuning changed, `CHANGE_GAIN` times, around gray."""

    @property
    def num_bytes(self) -> int:
        """Bytes in the page."""
        films = (self.film, self.source, self.untuned, self.change)
        return len(self.clip) + sum(len(each.uri) for each in films if each)


def item_media(
    synthetic: SyntheticSet,
    source: Callable[[int], Tensor | None],
    untuned: Tensor | None,
    row: int,
    quality: Quality,
    store: Store = inside,
) -> Media:
    """Return the media of one item of a set with its decoder.

    `source` gives frames (K,3,H,W) uint8 of its video; `untuned` are all latents (N,K,C,h,w) before tuning.
    """
    one, frames = items_of(synthetic, [row]), source(row)
    keyframes = one.keyframes()[0]
    shown = None if frames is None else film(frames, quality, store)
    clip = clip_uri(as_uint8(one.clips()[0]), frames_a_second(one), quality, store)
    media = Media(film(as_uint8(keyframes), quality, store), clip, shown)
    if untuned is None:
        return media
    before = replace(one, latents=untuned[row : row + 1], packing="dense", packed={}).keyframes()[0]
    change = (0.5 + CHANGE_GAIN * (keyframes - before)).clamp(0, 1)
    films = (film(as_uint8(each), quality, store) for each in (before, change))
    return replace(media, untuned=next(films), change=next(films))


def fitting_quality(num_items: int, media: Callable[[int, Quality], Media]) -> tuple[Quality, int]:
    """Return the finest quality at which all items fit into a page, or the last, and how many of them fit.

    `media` gives the media of an item; a few of them stand for all.
    """
    sample = range(0, num_items, max(1, num_items // NUM_SAMPLES))
    for quality in QUALITIES:
        mean = sum(media(row, quality).num_bytes for row in sample) / len(sample)
        # 15 %: a sample is not all.
        most = int(0.85 * MOST_BYTES / mean)
        if most >= num_items:
            break
    return quality, min(num_items, max(1, most))


def film(frames: Tensor, quality: Quality, store: Store = inside) -> Film:
    """Return frames (F,3,H,W) uint8 as one picture."""
    count = min(len(frames), MOST_PICTURES)
    frames = _shrunk(frames[torch.linspace(0, len(frames) - 1, count).round().long()], quality.side)
    rows, (height, width) = -(-count // MOST_COLUMNS), frames.shape[-2:]
    columns = -(-count // rows)
    sheet = Image.new("RGBA", (columns * width, rows * height))  # places that are left over show the page
    for place, frame in enumerate(frames):
        corner = (place % columns * width, place // columns * height)
        sheet.paste(Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()), corner)
    encoded = io.BytesIO()
    sheet.save(encoded, format="WEBP", quality=quality.webp, method=4)
    return Film(store("webp", encoded.getvalue()), *sheet.size, columns, rows)


def clip_uri(frames: Tensor, fps: float, quality: Quality, store: Store = inside) -> str:
    """Return the address of frames (T,3,H,W) uint8 as an mp4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, _shrunk(frames, quality.side), fps, crf=quality.crf)
        return store("mp4", path.read_bytes())


def _shrunk(frames: Tensor, side: int) -> Tensor:
    height, width = frames.shape[-2:]
    if min(height, width) <= side:
        return frames
    scale = side / min(height, width)
    sides = [max(1, round(scale * height)), max(1, round(scale * width))]
    smaller = torch.nn.functional.interpolate(frames.float(), size=sides, mode="area")
    return smaller.round().to(torch.uint8)
