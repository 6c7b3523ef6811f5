"""Items of an export: the keyframes of one video as pictures, with questions about them.

Pictures with fewer pixels than the trainer takes are enlarged (bicubic): it would do so itself without a note. Frames
are repeated where the trainer drops an odd one or wants more of them, spread evenly and in order.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from videocompressa.clip import shape_text
from videocompressa.datasets import BadVideo, locate_videos
from videocompressa.errors import InputError, VideoError
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.video import read_frames_at
from videocompressa.vlm.words import ask


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
        count = len(self.frames)
        places = torch.arange(count + -count % multiple).clamp(max=count - 1)
        return type(self)(self.frames[places], self.times_seconds[places])


@dataclass(frozen=True, eq=False)
class Item:
    """One video of an export."""

    stem: str
    """Stem of the names of its files: its place in the set."""
    frames: Tensor
    """(F,3,H,W) uint8, RGB."""
    facts: tuple[dict[str, Any], ...]
    """All that is known about it but its pictures, as JSON values, once with each of its questions."""


CELL_PIXELS = 28
"""Qwen2-VL and Qwen2.5-VL: a token is 28 x 28 pixels of two frames."""
MOST_RATIO = 200
"""Of the sides of a picture (qwen-vl-utils and the Qwen processors: MAX_RATIO)."""
TEMPLATE_TOKENS = 256
"""Room for the system prompt and the marks of turns and media (our choice); a token of text is a byte at least."""


@dataclass(frozen=True)
class FrameRules:
    """What a trainer requires of the pictures of a video."""

    min_frames: int = 1
    """Fewest frames; above 1 their count is also made even."""
    min_pixels: int = 0
    """Fewest pixels of a picture (height x width)."""
    max_pixels: int = 0
    """To which the trainer's command shrinks a frame of a video; 0 where rows are not cut."""

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

    def accepts(self, height: int, width: int) -> bool:
        """Return whether the trainer's processor takes a picture of these sides."""
        return not self.min_pixels or max(height, width) <= MOST_RATIO * min(height, width)

    def tokens(self, num_frames: int, height: int, width: int, texts: Iterable[str]) -> int:
        """Return the most tokens that a row with F frames of a video can have; 0 where rows are not cut."""
        if not self.max_pixels:
            return 0
        scale = min(1.0, math.sqrt(self.max_pixels / (height * width)))
        cells = math.ceil(scale * height / CELL_PIXELS) * math.ceil(scale * width / CELL_PIXELS)
        return math.ceil(num_frames / 2) * cells + sum(len(text.encode()) for text in texts) + TEMPLATE_TOKENS

    def apply(self, frames: Tensor) -> Tensor:
        """Return (F,3,H',W') uint8 of (K,3,H,W) uint8."""
        sides = self.sides(*frames.shape[-2:])
        if sides != tuple(frames.shape[-2:]):
            larger = torch.nn.functional.interpolate(frames.float(), size=sides, mode="bicubic", align_corners=False)
            frames = larger.round().clamp(0, 255).to(torch.uint8)
        return frames[self.places(len(frames))]


PictureReader = Callable[[int], Tensor]
"""Item -> its keyframes (K,3,H,W) uint8."""


@dataclass(eq=False)
class ItemStream:
    """The items of a set, one by one; lists on the way what it leaves out and enlarges."""

    synthetic: SyntheticSet
    pictures: PictureReader
    """Gives the keyframes of an item, see `picture_reader`."""
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
    most_tokens: int = 0
    """Of a row so far, see `FrameRules.tokens`."""

    def __iter__(self) -> Iterator[Item]:
        for number, video_id in enumerate(self.synthetic.provenance.video_ids):
            try:
                frames = self.pictures(number)
            except VideoError as error:
                self.skipped.append(BadVideo(video_id, str(error)))
                continue
            height, width = frames.shape[-2:]
            if not self.rules.accepts(height, width):
                reason = f"of {height}x{width} px, the trainer takes sides up to {MOST_RATIO} to 1"
                self.skipped.append(BadVideo(video_id, reason))
                continue
            if self.rules.sides(height, width) != (height, width):
                self.enlarged.add((height, width))
            facts = tuple(self._facts(number, video_id))
            self.num_rows += len(facts)
            frames = self.rules.apply(frames)
            height, width = frames.shape[-2:]
            for each in facts:
                tokens = self.rules.tokens(len(frames), height, width, (each["question"], each["answer"]))
                self.most_tokens = max(self.most_tokens, tokens)
            yield Item(f"{number:05d}", frames, facts)
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


def picture_reader(synthetic: SyntheticSet, root: Path | None) -> PictureReader:
    """Return the function that reads an item's keyframes from its video below `root`, at the video's own size.

    They are (K,3,H,W) uint8; it raises `VideoError` when the video cannot be read. Without a root it decodes the
    item's latents, by the set's own decoder: only they show what tuning and crops changed.
    """
    video_ids, times, decoder = synthetic.provenance.video_ids, synthetic.times_seconds, synthetic.decoder
    if root is not None:
        sources = locate_videos(root, video_ids)
        return lambda number: torch.from_numpy(read_frames_at(sources[number], times[number].tolist()).frames)
    if decoder is None:
        name = synthetic.codec.name
        raise InputError(f"this set has no decoder: read it with videocompressa.load, or attach codec {name!r}")

    @torch.no_grad()
    def decode(number: int) -> Tensor:
        return (decoder.decode(synthetic.latents[number]).clamp(0, 1).cpu() * 255).round().to(torch.uint8)

    return decode


def source_note(synthetic: SyntheticSet) -> list[str]:
    """Return a note where frames of the source may differ from what the set holds."""
    method = synthetic.provenance.method
    note = f"method {method} may have changed the pictures of its set"
    return [] if method.endswith("-real") else [f"{note}; --from-source shows the frames that it started from"]
