"""Clips for a video-language model: of the set its K keyframes, of every other video as many frames.

All have the set's size, or the videos' own where their files are the source; other videos are read where the set's
candidates would have been.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.clip import ClipSpec
from videocompressa.datasets import locate_videos
from videocompressa.errors import InputError, VideoError
from videocompressa.synthetic import SyntheticSet
from videocompressa.video import read_frames_at
from videocompressa.video.source import VideoSource, file_of
from videocompressa.video.timeline import stride_of
from videocompressa.vlm.export.items import VideoFrames


@dataclass(frozen=True, eq=False)
class Clips:
    """Labeled clips, read one at a time so that memory does not grow with their number.

    Raises `InputError` when a file of the source does not exist.
    """

    labels: tuple[int, ...]
    """N class positions in [0,L)."""
    names: tuple[str, ...]
    """L class names in words, in label order."""
    video_ids: tuple[str, ...]
    """N paths relative to the root of their set; each has its own stream of questions."""
    times_seconds: Tensor
    """(N,F) float64: times of the frames in their videos."""
    source: Tensor | tuple[VideoSource, ...]
    """(N,F,3,H,W) uint8, in memory or mapped from a file; or N videos, decoded on request at their own size."""

    def __post_init__(self) -> None:
        for video in () if isinstance(self.source, Tensor) else self.source:
            if not file_of(video).is_file():
                raise InputError(
                    f"--from-source: source video {video} is gone; give the folder that was compressed, or leave "
                    "--from-source out (frames then come from the file itself)"
                )

    def frames(self, row: int) -> VideoFrames:
        """Return one clip; raises `InputError` when its video cannot be read any more."""
        if isinstance(self.source, Tensor):
            return VideoFrames(self.source[row], self.times_seconds[row])
        try:
            decoded = read_frames_at(self.source[row], self.times_seconds[row].tolist())
        except VideoError as error:
            raise InputError(f"{self.source[row]}: {error}; fix it or remove it") from error
        return VideoFrames(torch.from_numpy(decoded.frames), torch.from_numpy(decoded.pts_seconds))


def set_clips(synthetic: SyntheticSet, names: tuple[str, ...], root: Path | None) -> Clips:
    """Return the set's clips, labeled by their likeliest class: its own pictures, or those of the videos in `root`."""
    video_ids = synthetic.provenance.video_ids
    source: Tensor | tuple[VideoSource, ...]
    source = locate_videos(root, video_ids) if root else (synthetic.keyframes() * 255).round().to(torch.uint8)
    return Clips(tuple(synthetic.hard_labels.tolist()), names, video_ids, synthetic.times_seconds, source)


def split_clip(synthetic: SyntheticSet) -> ClipSpec:
    """Return the clip of other videos: K frames, rounded up to even, over the span that the set's candidates cover."""
    keyframes, stride = synthetic.latents.shape[1], stride_of(synthetic.clip.placement)
    frames = max(2, keyframes + keyframes % 2)
    span = stride * synthetic.clip.num_frames
    placement = f"strided:{max(1, round(span / frames))}" if stride else synthetic.clip.placement
    return dataclasses.replace(synthetic.clip, num_frames=frames, placement=placement)
