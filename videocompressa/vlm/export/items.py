"""Items of an export: the keyframes of one video as pictures, with questions about them.

1. Pictures: the frames of the SOURCE video that provenance names (its path, the times of the keyframes), complete and
   at the video's own size; or else the set's latents, decoded.
2. Enlarge pictures that hold fewer pixels than the trainer takes: it would do so itself without a note (bicubic).
3. Repeat frames where the trainer drops an odd one or wants more of them, spread evenly and in order.

Tuned sets (dm, mtt, synthesis) and crops (rded) differ from the source frames that they started from: only decoded
latents show what such a set holds.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from videocompressa.clip import shape_text
from videocompressa.datasets import BadVideo
from videocompressa.errors import InputError, VideoError
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.video import read_frames_at
from videocompressa.vlm.words import ask

ReadPictures = Callable[[int], Tensor]
"""Gives the keyframes of an item as (K,3,H,W) uint8; raises `VideoError` when its video cannot be read."""


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """Frames of one video."""

    frames: Tensor
    """(F,3,H,W) uint8, RGB."""
    times_seconds: Tensor
    """(F,) float64, not falling: times in the video."""

    def __post_init__(self) -> None:
        shape = tuple(self.frames.shape)
        if self.frames.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or not shape[0]:
            raise InputError(f"frames for a model are {shape_text(self.frames)}; give uint8 (F,3,H,W), F >= 1")
        if tuple(self.times_seconds.shape) != shape[:1]:
            raise InputError(f"times for a model are {shape_text(self.times_seconds)}; give one for each of {shape[0]}")

    def padded(self, multiple: int) -> Self:
        """Return the clip with its last frame repeated to a multiple of so many frames."""
        lacking = -len(self.frames) % multiple
        if not lacking:
            return self
        return type(self)(
            torch.cat([self.frames, self.frames[-1:].expand(lacking, -1, -1, -1)]),
            torch.cat([self.times_seconds, self.times_seconds[-1:].expand(lacking)]),
        )


@dataclass(frozen=True, eq=False)
class Item:
    """One video of an export."""

    stem: str
    """Stem of the names of its files: its place in the set."""
    frames: Tensor
    """(F,3,H,W) uint8, RGB."""
    facts: tuple[dict[str, Any], ...]
    """All that is known about it but its pictures, as JSON values, once with each of its questions."""


@dataclass(frozen=True)
class FrameRules:
    """What a trainer requires of the pictures of a video."""

    min_frames: int = 1
    """Fewest frames; above 1 their count is also made even."""
    min_pixels: int = 0
    """Fewest pixels of a picture (height x width)."""

    def count(self, num_frames: int) -> int:
        """Return the number of frames F that K become."""
        return num_frames if self.min_frames == 1 else max(self.min_frames, num_frames + num_frames % 2)

    def places(self, num_frames: int) -> list[int]:
        """Return which of K frames is at each of the F places: in order, each at least once, spread evenly."""
        count = self.count(num_frames)
        return [place * num_frames // count for place in range(count)]

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Return the sides of a picture with enough pixels, of the same shape but for rounding up to even."""
        if height * width >= self.min_pixels:
            return height, width
        factor = math.sqrt(self.min_pixels / (height * width))
        return 2 * math.ceil(factor * height / 2), 2 * math.ceil(factor * width / 2)

    def apply(self, frames: Tensor) -> Tensor:
        """Return (F,3,H',W') uint8 of (K,3,H,W) uint8."""
        sides = self.sides(*frames.shape[-2:])
        if sides != tuple(frames.shape[-2:]):
            larger = torch.nn.functional.interpolate(frames.float(), size=sides, mode="bicubic", align_corners=False)
            frames = larger.round().clamp(0, 255).to(torch.uint8)
        return frames[self.places(len(frames))]


@dataclass(eq=False)
class ItemStream:
    """The items of a set, one by one; lists on the way what it leaves out and enlarges."""

    synthetic: SyntheticSet
    pictures: ReadPictures
    """See `picture_reader`."""
    rules: FrameRules
    names: Sequence[str]
    """L class names in words."""
    questions: str
    """A key of `QUESTIONS`."""
    streams: Streams
    """Randomness; each item has its own stream."""
    watch: Watch = watch_nothing
    num_rows: int = 0
    """Questions so far."""
    skipped: list[BadVideo] = field(default_factory=list)
    """Items whose video could not be read."""
    enlarged: set[tuple[int, int]] = field(default_factory=set)
    """(height, width) of pictures that were too small."""

    def __iter__(self) -> Iterator[Item]:
        for number, video_id in enumerate(self.synthetic.provenance.video_ids):
            try:
                frames = self.pictures(number)
            except VideoError as error:
                self.skipped.append(BadVideo(video_id, str(error)))
                continue
            height, width = frames.shape[-2:]
            if self.rules.sides(height, width) != (height, width):
                self.enlarged.add((height, width))
            facts = tuple(self._facts(number, video_id))
            self.num_rows += len(facts)
            yield Item(f"{number:05d}", self.rules.apply(frames), facts)
            self.watch("export", done=number + 1, total=len(self.synthetic))

    def _facts(self, number: int, video_id: str) -> Iterator[dict[str, Any]]:
        synthetic = self.synthetic
        label, times = int(synthetic.hard_labels[number]), synthetic.times_seconds[number]
        for question in ask(self.questions, label, self.names, self.streams.generator(f"item {number}")):
            yield {
                "times_seconds": times[self.rules.places(len(times))].tolist(),
                "label": label,
                "class": synthetic.classes[label],
                "name": self.names[label],
                "question": question.text,
                "answer": question.answer,
                "video": video_id,
                **({"probabilities": synthetic.labels[number].tolist()} if synthetic.labels.ndim == 2 else {}),
            }


def picture_reader(synthetic: SyntheticSet, root: Path | None) -> ReadPictures:
    """Return the function that reads an item's keyframes from its video below `root`, at the video's own size.

    Without a root it decodes the item's latents, by the set's own decoder.
    """
    decoder, codec = synthetic.decoder, synthetic.codec.name
    if root is None and decoder is None:
        raise InputError(
            f"this set has no decoder attached: read it with videocompressa.load, or attach codec {codec!r}"
        )

    def pictures(number: int) -> Tensor:
        if root is not None:
            video = root / synthetic.provenance.video_ids[number]
            return torch.from_numpy(read_frames_at(video, synthetic.times_seconds[number].tolist()).frames)
        assert decoder is not None
        with torch.no_grad():
            pixels = decoder.decode(synthetic.latents[number]).clamp(0, 1).cpu()
        return (pixels * 255).round().to(torch.uint8)

    return pictures


def source_note(synthetic: SyntheticSet) -> list[str]:
    """Return a note where frames of the source may differ from what the set holds."""
    method = synthetic.provenance.method
    if method.endswith("-real"):
        return []
    return [
        f"method {method} may have changed the pictures of its set; --from-source shows the frames that it started from"
    ]
