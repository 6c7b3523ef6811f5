"""What a video-language model is shown: the keyframes of a set, or frames of video files, as clips by their row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from videocompressa.clip import ClipSpec
from videocompressa.errors import InputError, VideoError
from videocompressa.video import probe, read_frames
from videocompressa.vlm.families import PixelRules
from videocompressa.vlm.processor import VideoFrames


class Clips(Protocol):
    """Labelled clips, made one at a time so that memory does not grow with their number."""

    @property
    def labels(self) -> tuple[int, ...]:
        """N class positions in [0,L)."""
        ...

    @property
    def video_ids(self) -> tuple[str, ...]:
        """N paths relative to the root of their set; questions are drawn by them."""
        ...

    def frames(self, row: int) -> VideoFrames:
        """Return one clip."""
        ...


@dataclass(frozen=True, eq=False)
class HeldClips:
    """Clips in memory, or mapped from a file."""

    pixels: Tensor
    """(N,F,3,H,W) uint8."""
    times_seconds: Tensor
    """(N,F) float64."""
    labels: tuple[int, ...]
    video_ids: tuple[str, ...]

    def frames(self, row: int) -> VideoFrames:
        """Return one clip."""
        return VideoFrames(self.pixels[row], self.times_seconds[row])


@dataclass(frozen=True, eq=False)
class FileClips:
    """Frames of video files at the videos' own size, decoded when they are asked for."""

    paths: tuple[Path, ...]
    """N files."""
    video_ids: tuple[str, ...]
    labels: tuple[int, ...]
    clip: ClipSpec
    """T and placement; its size is not used."""
    positions: Tensor | None
    """(N,K) int64 in [0,T): the frames to show; None shows all T."""
    rules: PixelRules
    """Videos with more pixels than the model takes are shrunk as they are decoded."""

    def __post_init__(self) -> None:
        for path in self.paths:
            if not path.is_file():
                raise InputError(
                    f"--from-source: source video {path} is gone; give the folder that the set was made of, or leave "
                    "--from-source out (frames then come from the file itself)"
                )

    def frames(self, row: int) -> VideoFrames:
        """Decode one clip; raises `InputError` when the video cannot be read any more."""
        path = self.paths[row]
        try:
            info = probe(path)
            height, width = self._size(info.height, info.width)
            decoded = read_frames(path, self.clip.num_frames, height, width, stride=self.clip.stride)
        except VideoError as error:
            raise InputError(f"{path}: {error}; mend it or remove it") from error
        pixels, times = torch.from_numpy(decoded.frames), torch.from_numpy(decoded.pts_seconds)
        if self.positions is None:
            return VideoFrames(pixels, times)
        return VideoFrames(pixels[self.positions[row]], times[self.positions[row]])

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size to decode at: the video's own, or one of the same shape with as many pixels as count."""
        shown = self.clip.num_frames if self.positions is None else self.positions.shape[1]
        limit = self.rules.max_pixels // (shown if self.rules.per_video else 1)
        scale = min(1.0, math.sqrt(limit / (height * width)))
        return max(1, round(height * scale)), max(1, round(width * scale))
