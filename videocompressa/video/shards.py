"""What a worker does with the videos of one shard: decode, hash or probe them. No torch, so that workers start fast."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videocompressa.errors import VideoError
from videocompressa.video.decode import VideoInfo, probe, read_frames

Stamp = tuple[int, int] | None
"""(bytes, mtime in ns) of a file, None when it is gone: a file that keeps both counts as unchanged."""


@dataclass(frozen=True)
class Job:
    """A few videos of one split, to be decoded by one worker."""

    position: int
    """Position of the shard in its split."""
    paths: tuple[str, ...]
    num_frames: int
    height: int
    width: int
    stride: int = 0
    """See `read_frames`."""

    def __str__(self) -> str:
        return f"shard {self.position} ({self.paths[0]} to {self.paths[-1]})"


@dataclass(frozen=True)
class VideoRow:
    """What the journal keeps of one video."""

    sha256: str
    """Of the file; "" when it cannot be read."""
    bad: str = ""
    """Why it was skipped; "" when it is good."""
    num_video_frames: int = 0
    times_seconds: tuple[float, ...] = ()
    """T presentation times, from the start of the video."""


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
    stamps, hashes, rows = tuple(stamp_of(path) for path in job.paths), hash_shard(job.paths), []
    frames = [np.empty((0, job.num_frames, 3, job.height, job.width), np.uint8)]
    for path, sha256 in zip(map(Path, job.paths), hashes, strict=True):
        try:
            decoded = read_frames(path, job.num_frames, job.height, job.width, stride=job.stride)
        except VideoError as error:
            rows.append(VideoRow(sha256, bad=str(error)))
            continue
        frames.append(decoded.frames[None])
        rows.append(VideoRow(sha256, "", decoded.num_video_frames, tuple(decoded.pts_seconds.tolist())))
    return DecodedShard(stamps, tuple(rows), np.concatenate(frames))


def stamp_of(path: str | Path) -> Stamp:
    """Return the stamp of a file as it is now."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    return None


def hash_shard(paths: Sequence[str]) -> list[str]:
    """Return the SHA-256 of each file, "" for one that cannot be read."""
    hashes = [""] * len(paths)
    for number, path in enumerate(paths):
        with suppress(OSError), open(path, "rb") as file:
            hashes[number] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def probe_shard(paths: Sequence[str]) -> list[VideoInfo | VideoError]:
    """Probe each file (its packets are counted and its first frame is decoded); the error where it cannot be read."""
    probed: list[VideoInfo | VideoError] = []
    for path in map(Path, paths):
        try:
            probed.append(probe(path))
        except VideoError as error:
            probed.append(error)
    return probed
