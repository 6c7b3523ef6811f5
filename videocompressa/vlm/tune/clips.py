"""Clips for a video-language model: of the set its K keyframes, of every other video as many frames.

All have the set's size, or with `from_source` the videos' own; other videos are read where the set's candidates would
have been.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.clip import ClipSpec, DecodedSplit
from videocompressa.datasets import VideoSet
from videocompressa.errors import InputError, VideoError
from videocompressa.synthetic import SyntheticSet
from videocompressa.video import probe, read_frames, read_frames_at
from videocompressa.vlm.export.items import VideoFrames


@dataclass(frozen=True, eq=False)
class Clips:
    """Labeled clips, produced one at a time so that memory does not grow with their number."""

    labels: tuple[int, ...]
    """N class positions in [0,L)."""
    video_ids: tuple[str, ...]
    """N paths relative to the root of their set; each has its own stream of questions."""
    frames: Callable[[int], VideoFrames]
    """Returns one clip by its row."""


def tensor_clips(pixels: Tensor, times_seconds: Tensor, labels: Sequence[int], video_ids: Sequence[str]) -> Clips:
    """Return clips in memory or mapped from a file: (N,F,3,H,W) uint8 with (N,F) float64 times."""
    return Clips(tuple(labels), tuple(video_ids), lambda row: VideoFrames(pixels[row], times_seconds[row]))


def file_clips(
    paths: Sequence[Path], labels: Sequence[int], video_ids: Sequence[str], placement: ClipSpec | Tensor
) -> Clips:
    """Return frames of video files, complete and at the videos' own size, decoded on request.

    `placement` is how the frames of every video are placed (its size is not used), or (N,K) float64, their times in
    seconds. Raises `InputError` when a file does not exist; a clip raises it when its video cannot be read any more.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(
                f"--from-source: source video {path} is gone; give the folder that the set was made of, or leave "
                "--from-source out (frames then come from the file itself)"
            )

    def read(row: int) -> VideoFrames:
        path = paths[row]
        try:
            if isinstance(placement, ClipSpec):
                info = probe(path)
                decoded = read_frames(path, placement.num_frames, info.height, info.width, stride=placement.stride)
            else:
                decoded = read_frames_at(path, placement[row].tolist())
        except VideoError as error:
            raise InputError(f"{path}: {error}; fix it or remove it") from error
        return VideoFrames(torch.from_numpy(decoded.frames), torch.from_numpy(decoded.pts_seconds))

    return Clips(tuple(labels), tuple(video_ids), read)


def set_clips(synthetic: SyntheticSet, root: Path | None) -> Clips:
    """Return the set's clips, labeled by their likeliest class; raises `InputError` when a source video is gone."""
    labels, video_ids = synthetic.hard_labels.tolist(), synthetic.provenance.video_ids
    if root is not None:
        return file_clips([root / video_id for video_id in video_ids], labels, video_ids, synthetic.times_seconds)
    pixels = (synthetic.keyframes() * 255).round().to(torch.uint8)
    return tensor_clips(pixels, synthetic.times_seconds, labels, video_ids)


def split_clips(decoded: DecodedSplit, videos: VideoSet, clip: ClipSpec, root: Path | None) -> Clips:
    """Return the clips of a decoded split of `videos`; with a root they are read again, at the videos' own size."""
    labels, video_ids = decoded.labels.tolist(), decoded.video_ids
    if root is None:
        return tensor_clips(decoded.frames, decoded.times_seconds, labels, video_ids)
    path_of = {entry.video_id: entry.path for entry in videos.entries}
    return file_clips([path_of[video_id] for video_id in video_ids], labels, video_ids, clip)


def split_clip(synthetic: SyntheticSet) -> ClipSpec:
    """Return the clip of other videos: K frames, rounded up to even, over the span that the set's candidates cover."""
    frames = max(2, synthetic.latents.shape[1] + synthetic.latents.shape[1] % 2)
    stride = synthetic.clip.stride
    placement = f"strided:{max(1, round(stride * synthetic.clip.num_frames / frames))}" if stride else "even"
    return dataclasses.replace(synthetic.clip, num_frames=frames, placement=placement)
