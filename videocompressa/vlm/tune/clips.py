"""What a video-language model is shown: the keyframes of a set, or frames of video files, as clips by their row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from videocompressa.clip import ClipSpec
from videocompressa.errors import InputError, VideoError
from videocompressa.video import probe, read_frames, read_frames_at
from videocompressa.vlm.tune.processor import VideoFrames


class Clips(Protocol):
    """Labeled clips, made one at a time so that memory does not grow with their number."""

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
    """Frames of video files, whole and at the videos' own size, decoded when they are asked for."""

    paths: tuple[Path, ...]
    """N files."""
    video_ids: tuple[str, ...]
    labels: tuple[int, ...]
    shown: ClipSpec | Tensor
    """How the frames of every video are placed (the size is not used); or (N,K) float64, their times in seconds."""

    def __post_init__(self) -> None:
        for path in self.paths:
            if not path.is_file():
                raise InputError(
                    f"--from-source: source video {path} is gone; give the folder that the set was made of, or leave "
                    "--from-source out (frames then come from the file itself)"
                )

    def frames(self, row: int) -> VideoFrames:
        """Decode one clip; raises `InputError` when the video cannot be read any more, or is another one."""
        path = self.paths[row]
        try:
            if isinstance(self.shown, ClipSpec):
                info = probe(path)
                decoded = read_frames(path, self.shown.num_frames, info.height, info.width, stride=self.shown.stride)
            else:
                decoded = read_frames_at(path, self.shown[row].tolist())
        except VideoError as error:
            raise InputError(f"{path}: {error}; mend it or remove it") from error
        return VideoFrames(torch.from_numpy(decoded.frames), torch.from_numpy(decoded.pts_seconds))
