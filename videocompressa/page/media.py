"""Pictures and videos inside a page: film strips as WebP and clips as mp4, both as data URIs, within a size."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from videocompressa.recipes.sets import as_uint8, frames_a_second, items_of
from videocompressa.synthetic import SyntheticSet
from videocompressa.video import write_video

MOST_BYTES = 28_000_000
"""Of all media of a page, as text: browsers and mail take a page of 30 MB."""
MOST_COLUMNS = 4
"""Frames side by side; more go into further rows."""
MOST_PICTURES = 16
"""Of one film strip; of more keyframes, evenly spaced ones are shown."""
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


@dataclass(frozen=True)
class Film:
    """Frames in one picture, row by row."""

    uri: str
    """A data URI of WebP."""
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
    """A data URI of mp4: the clip of T frames that students see."""
    source: Film | None
    """The same frames of its video; None where that is not at hand."""

    @property
    def num_bytes(self) -> int:
        """Bytes in the page."""
        return len(self.film.uri) + len(self.clip) + (len(self.source.uri) if self.source else 0)


def item_media(synthetic: SyntheticSet, source: Callable[[int], Tensor | None], row: int, quality: Quality) -> Media:
    """Return the media of one item of a set with its decoder; `source` gives frames (K,3,H,W) uint8 of its video."""
    one, frames = items_of(synthetic, [row]), source(row)
    shown = None if frames is None else film(frames, quality)
    clip = clip_uri(as_uint8(one.clips()[0]), frames_a_second(one), quality)
    return Media(film(as_uint8(one.keyframes()[0]), quality), clip, shown)


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


def film(frames: Tensor, quality: Quality) -> Film:
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
    return Film(_data_uri("image/webp", encoded.getvalue()), *sheet.size, columns, rows)


def clip_uri(frames: Tensor, fps: float, quality: Quality) -> str:
    """Return frames (T,3,H,W) uint8 as the data URI of an mp4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, _shrunk(frames, quality.side), fps, crf=quality.crf)
        return _data_uri("video/mp4", path.read_bytes())


def _shrunk(frames: Tensor, side: int) -> Tensor:
    height, width = frames.shape[-2:]
    if min(height, width) <= side:
        return frames
    scale = side / min(height, width)
    sides = [max(1, round(scale * height)), max(1, round(scale * width))]
    smaller = torch.nn.functional.interpolate(frames.float(), size=sides, mode="area")
    return smaller.round().to(torch.uint8)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
