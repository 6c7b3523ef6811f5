"""What a worker does with the videos of one shard: decode, hash or probe them. No torch, so that workers start fast."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videocompressa.errors import VideoError
from videocompressa.video.decode import VideoInfo, probe, read_frames
from videocompressa.video.source import PackedVideo, VideoSource, file_of, num_bytes_of, sha256_of

Stamp = tuple[int, int] | None
"""(bytes, mtime in ns) of the file that holds a video, None when it is gone: while it keeps both it is unchanged."""


@dataclass(frozen=True)
class Job:
    """A few videos of one split, to be decoded by one worker."""

    position: int
    """Position of the shard in its split."""
    sources: tuple[VideoSource, ...]
    num_frames: int
    height: int
    width: int
    stride: int = 0
    """See `read_frames`."""

    def __str__(self) -> str:
        return f"shard {self.position} ({self.sources[0]} to {self.sources[-1]})"


@dataclass(frozen=True)
class VideoRow:
    """What the journal keeps of one video."""

    sha256: str
    """Of the video; "" when it cannot be read."""
    bad: str = ""
    """Why it was skipped; "" when it is good."""
    num_video_frames: int = 0
    times_seconds: tuple[float, ...] = ()
    """T presentation times, from the start of the video."""
    num_bytes: int | None = None
    """Of a video inside another file; else its stamp has them."""


@dataclass(frozen=True)
class DecodedShard:
    """The frames of a shard's good videos, and a stamp and a row for every video."""

    stamps: tuple[Stamp, ...]
    """Of every video."""
    rows: tuple[VideoRow, ...]
    frames: NDArray[np.uint8]
    """(G,T,3,H,W), G good videos."""

    def channel_sums(self) -> tuple[list[int], list[int]]:
        """Return the sum and the sum of squares of each color channel's pixel values, exact."""
        levels = np.arange(256)
        counts = np.stack([np.bincount(self.frames[:, :, c].ravel(), minlength=256) for c in range(3)])
        return (counts @ levels).tolist(), (counts @ levels**2).tolist()


def decode_shard(job: Job) -> DecodedShard:
    """Decode the videos of one shard; a video that cannot be read becomes a row with the reason."""
    stamps, hashes, rows = tuple(map(stamp_of, job.sources)), hash_shard(job.sources), []
    frames = [np.empty((0, job.num_frames, 3, job.height, job.width), np.uint8)]
    for source, sha256 in zip(job.sources, hashes, strict=True):
        try:
            decoded = read_frames(source, job.num_frames, job.height, job.width, stride=job.stride)
        except VideoError as error:
            rows.append(VideoRow(sha256, bad=str(error)))
            continue
        frames.append(decoded.frames[None])
        num_bytes = num_bytes_of(source) if isinstance(source, PackedVideo) else None
        times_seconds = tuple(decoded.pts_seconds.tolist())
        rows.append(VideoRow(sha256, "", decoded.num_video_frames, times_seconds, num_bytes))
    return DecodedShard(stamps, tuple(rows), np.concatenate(frames))


def stamp_of(source: VideoSource) -> Stamp:
    """Return the stamp of a video's file as it is now."""
    with suppress(OSError):
        status = file_of(source).stat()
        return status.st_size, status.st_mtime_ns
    return None


def hash_shard(sources: Sequence[VideoSource]) -> list[str]:
    """Return the SHA-256 of each video, "" for one that cannot be read."""
    hashes = [""] * len(sources)
    for number, source in enumerate(sources):
        with suppress(OSError, VideoError):
            hashes[number] = sha256_of(source)
    return hashes


def probe_shard(sources: Sequence[VideoSource]) -> list[VideoInfo | VideoError]:
    """Probe each video (its packets are counted and its first frame is decoded); the error where it cannot be read."""
    probed: list[VideoInfo | VideoError] = []
    for source in sources:
        try:
            probed.append(probe(source))
        except VideoError as error:
            probed.append(error)
    return probed
