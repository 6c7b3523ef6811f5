"""What a worker does with the videos of one shard: decode, hash or probe them. No torch, so that workers start fast."""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from videocompressa.engine import WorkerError, Workers, run_apart, run_shards
from videocompressa.errors import VideoError
from videocompressa.video.decode import VideoInfo, probe, read_frames
from videocompressa.video.source import PackedVideo, VideoSource, file_of, in_memory, num_bytes_of, sha256_of

if TYPE_CHECKING:
    from videocompressa.clip import ClipSpec  # which imports torch

MAX_SECONDS = 60.0
"""Time that the decoder may take for a video."""

STAGES = ("hash", "decode", "resize")
"""Of a worker; reading the file is part of the first."""

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
    placement: str = "even"
    fit: str = "crop"
    """Both: see `read_frames`."""

    def __str__(self) -> str:
        return f"shard {self.position} ({self.sources[0]} to {self.sources[-1]})"


def jobs_of(sources: Sequence[VideoSource], clip: "ClipSpec", size: int) -> list[Job]:
    """Return jobs of `size` videos each, in order, which cut clips as `clip` says."""
    how = (*clip.size, clip.placement, clip.fit)
    starts = range(0, len(sources), size)
    return [Job(position, tuple(sources[start : start + size]), *how) for position, start in enumerate(starts)]


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
    num_replaced: int | None = None
    """Of the T frames, those in place of a damaged one."""
    max_seconds: float | None = None
    """Time limit under which the process that read it died or was killed."""


@dataclass(frozen=True)
class DecodedShard:
    """The frames of a shard's good videos, and a stamp and a row for every video."""

    stamps: tuple[Stamp, ...]
    """Of every video."""
    rows: tuple[VideoRow, ...]
    frames: NDArray[np.uint8]
    """(G,T,3,H,W), G good videos."""
    seconds: Mapping[str, float]
    """That its worker took for good videos, by `STAGES`."""

    def channel_sums(self) -> tuple[list[int], list[int]]:
        """Return the sum and the sum of squares of each color channel's pixel values, exact."""
        levels = np.arange(256)
        counts = np.stack([np.bincount(self.frames[:, :, c].ravel(), minlength=256) for c in range(3)])
        return (counts @ levels).tolist(), (counts @ levels**2).tolist()


def decode_shard(job: Job) -> DecodedShard:
    """Decode the videos of one shard; a video that cannot be read becomes a row with the reason."""
    stamps, rows = tuple(map(stamp_of, job.sources)), []
    frames = [np.empty((0, job.num_frames, 3, job.height, job.width), np.uint8)]
    seconds = dict.fromkeys(STAGES, 0.0)
    for place in job.sources:
        sha256, started = "", time.perf_counter()
        try:
            source = in_memory(place)
            (sha256,) = hash_shard([source])
            hashed = time.perf_counter()
            decoded = read_frames(source, job.num_frames, job.height, job.width, placement=job.placement, fit=job.fit)
        except VideoError as error:
            rows.append(VideoRow(sha256, bad=str(error)))
            continue
        seconds["hash"] += hashed - started
        seconds["decode"] += time.perf_counter() - hashed - decoded.resize_seconds
        seconds["resize"] += decoded.resize_seconds
        frames.append(decoded.frames[None])
        num_bytes = num_bytes_of(source) if isinstance(source, PackedVideo) else None
        times_seconds = tuple(decoded.pts_seconds.tolist())
        replaced = decoded.num_replaced or None
        rows.append(VideoRow(sha256, "", decoded.num_video_frames, times_seconds, num_bytes, replaced))
    return DecodedShard(stamps, tuple(rows), np.concatenate(frames), seconds)


def decode_apart(job: Job, *, workers: int, max_seconds: float) -> DecodedShard:
    """Decode each video of a shard in a process of its own: one that kills or delays its process becomes a row."""
    jobs = [replace(job, sources=(source,)) for source in job.sources]
    ended = dict(run_apart(decode_shard, jobs, workers=workers, max_seconds=max_seconds))
    parts: list[DecodedShard] = []
    for position, one in enumerate(jobs):
        part = ended[position]
        if isinstance(part, WorkerError):
            none = np.empty((0, job.num_frames, 3, job.height, job.width), np.uint8)
            lost = VideoRow("", bad=part.how, max_seconds=max_seconds)
            part = DecodedShard((stamp_of(one.sources[0]),), (lost,), none, dict.fromkeys(STAGES, 0.0))
        parts.append(part)
    stamps, rows = (tuple(each for part in parts for each in getattr(part, name)) for name in ("stamps", "rows"))
    seconds = {stage: sum(part.seconds[stage] for part in parts) for stage in STAGES}
    return DecodedShard(stamps, rows, np.concatenate([part.frames for part in parts]), seconds)


def decode_jobs(jobs: Sequence[Job], *, workers: Workers, max_seconds: float) -> Generator[DecodedShard, None, None]:
    """Yield what each job decodes, in order (`run_shards`); a video that ends or delays its worker becomes a row."""
    return run_shards(decode_shard, jobs, workers=workers, max_seconds=max_seconds, lost=decode_apart)


def probe_apart(sources: Sequence[VideoSource], *, workers: int, max_seconds: float) -> list[VideoInfo | VideoError]:
    """Probe each video in a process of its own; one that kills or delays its process is an error."""
    ended = dict(run_apart(probe_shard, [(source,) for source in sources], workers=workers, max_seconds=max_seconds))
    answers = [ended[position] for position in range(len(sources))]
    return [VideoError(each.how) if isinstance(each, WorkerError) else each[0] for each in answers]


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
