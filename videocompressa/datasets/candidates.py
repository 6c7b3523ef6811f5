"""The encode pass: every video of a split decoded once, and every candidate frame encoded once (steps 1 and 4).

This is the only work that grows with the data. Shards of videos are decoded by worker processes, and this process
writes them, in the order of the ids, to a cache that survives interruptions (`journal`); latents follow, shard by
shard. Memory holds a few shards, never the set: what is returned is mapped from the files. Results do not depend on
the number of workers, and a video that changed since is noticed by its size and time, then by its content.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from videocompressa.clip import Candidates, ClipSpec, CodecSpec, Normalization
from videocompressa.datasets.journal import Journal, Line, locked
from videocompressa.datasets.videos import VideoSet
from videocompressa.engine import Engine, run_shards
from videocompressa.errors import InputError
from videocompressa.run import Watch, watch_nothing
from videocompressa.video.shards import BadVideo, DecodedShard, Job, decode_shard, hash_shard, stamp_of

CACHE_FORMAT = 1
"""Raise it whenever the same videos would give other bytes: other choice of frames, resizing, shard size or layout."""

SHARD_VIDEOS = 16
"""Videos a shard: what is lost by an interruption, and the batch that is encoded at once."""

MAX_LISTED = 10
"""Bad videos that an error names."""


class Encoder(Protocol):
    """What the pass needs of a codec."""

    @property
    def spec(self) -> CodecSpec:
        """Which codec it is, and the shape of its latents."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """(M,3,H,W) uint8 to (M,C,h,w) float32, scaled."""
        ...


@dataclass(frozen=True)
class DecodedSplit:
    """The candidate frames of every readable video of one split, in the order of the ids."""

    frames: Tensor
    """(N,T,3,H,W) uint8, RGB, mapped from the cache."""
    times_seconds: Tensor
    """(N,T) float64."""
    labels: Tensor
    """(N,) int64 in [0,L)."""
    video_ids: tuple[str, ...]
    num_video_frames: Tensor
    """(N,) int64: frames of each whole video."""
    video_bytes: Tensor
    """(N,) int64: size of each video file."""
    classes: tuple[str, ...]
    clip: ClipSpec
    normalization: Normalization
    """Of this split's own pixels; students take the train split's."""
    bad: tuple[BadVideo, ...]
    """Videos that were skipped."""
    source: str
    """Name of the data set."""
    split_hash: str
    """SHA-256 over ids and labels of the split, bad ones included."""

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"DecodedSplit({self.source!r}, frames=uint8 {tuple(self.frames.shape)}, bad={len(self.bad)})"


@dataclass(frozen=True)
class EncodedSplit:
    """What the encode pass returns."""

    candidates: Candidates
    bad: tuple[BadVideo, ...]
    """Videos that were skipped."""


def decode_split(
    videos: VideoSet,
    split: str,
    clip: ClipSpec,
    *,
    cache: Path,
    workers: int,
    max_bad: float = 0.05,
    watch: Watch = watch_nothing,
    engine: Engine = run_shards,
) -> DecodedSplit:
    """Decode the candidate frames of a split, or take them from the cache.

    A video that cannot be read is skipped and listed; more than the share `max_bad` of the split, or all videos of a
    class, raise `InputError` with that list. `watch("decode", done=, total=)` counts videos.
    """
    part, folder = _part(videos, split, clip, cache, max_bad)
    with locked(folder, watch):
        journal = _decode(part, clip, folder, workers, max_bad, watch, engine)
        return _collect(part, clip, journal)


def encode_pass(
    videos: VideoSet,
    split: str,
    clip: ClipSpec,
    codec: Encoder,
    *,
    cache: Path,
    workers: int,
    max_bad: float = 0.05,
    normalization: Normalization | None = None,
    watch: Watch = watch_nothing,
    engine: Engine = run_shards,
) -> EncodedSplit:
    """Decode and encode the candidate frames of a split, or take them from the cache.

    `normalization` is the train split's where `split` is another one; None computes it from this split. Latents are
    kept as float16. `watch("decode", ...)`, then `watch("encode", ...)`. Errors as in `decode_split`.
    """
    latent_shape = codec.spec.latent_shape(clip.height, clip.width)  # A size the codec cannot take stops here.
    part, folder = _part(videos, split, clip, cache, max_bad)
    with locked(folder, watch):
        journal = _decode(part, clip, folder, workers, max_bad, watch, engine)
        decoded = _collect(part, clip, journal)
        encoded = _encode(journal, codec, clip, folder, watch, total=len(decoded))
    candidates = Candidates(
        frames=decoded.frames,
        latents=_mapped(encoded.binary, "float16", (len(decoded), clip.num_frames, *latent_shape)),
        times_seconds=decoded.times_seconds,
        labels=decoded.labels,
        video_ids=decoded.video_ids,
        num_video_frames=decoded.num_video_frames,
        video_bytes=decoded.video_bytes,
        classes=decoded.classes,
        clip=clip,
        codec=codec.spec,
        normalization=normalization or decoded.normalization,
        source=decoded.source,
        split_hash=decoded.split_hash,
        num_skipped=len(decoded.bad),
    )
    return EncodedSplit(candidates, decoded.bad)


def _part(videos: VideoSet, split: str, clip: ClipSpec, cache: Path, max_bad: float) -> tuple[VideoSet, Path]:
    """Return the videos of the split, and the cache folder of their frames."""
    if not 0 <= max_bad <= 1:
        raise InputError(f"--max-bad is {100 * max_bad:g}%; it must lie between 0% and 100%")
    part = videos.select(split)
    if not part.entries:
        raise InputError(f"{videos.root}: has no {split} videos; say which ones are in a csv or by folders")
    key = _hash([CACHE_FORMAT, videos.name, [entry.video_id for entry in part.entries], asdict(clip)])
    return part, cache / f"{split}-{key[:20]}"


def _decode(
    part: VideoSet, clip: ClipSpec, folder: Path, workers: int, max_bad: float, watch: Watch, engine: Engine
) -> Journal:
    """Bring the frames' cache up to date and return it."""
    jobs = list(_jobs(part, clip))
    journal = Journal(folder / "frames.bin")
    journal.keep(_up_to_date(journal.lines, jobs))
    done = sum(len(line["rows"]) for line in journal.lines)
    watch("decode", done=done, total=len(part))
    _check_bad(part, journal.lines, max_bad)
    shards = engine(decode_shard, jobs[len(journal.lines) :], workers=workers, name=str)
    with closing(shards):
        for shard in shards:
            journal.append(shard.frames.data, **_line_of(shard))
            done += len(shard.rows)
            watch("decode", done=done, total=len(part))
            _check_bad(part, journal.lines, max_bad)
    _check_classes(part, journal.lines)
    return journal


def _jobs(part: VideoSet, clip: ClipSpec) -> Iterator[Job]:
    for position, start in enumerate(range(0, len(part), SHARD_VIDEOS)):
        paths = tuple(str(entry.path) for entry in part.entries[start : start + SHARD_VIDEOS])
        yield Job(position, paths, clip.num_frames, clip.height, clip.width, clip.stride)


def _line_of(shard: DecodedShard) -> dict[str, Any]:
    sums, squares = shard.channel_sums()
    rows = [asdict(row) for row in shard.rows]
    return {"stamps": [row.pop("stamp") for row in rows], "rows": rows, "sums": sums, "squares": squares}


def _up_to_date(lines: list[Line], jobs: Sequence[Job]) -> int:
    """Return how many shards hold what the files hold now; new stamps of unchanged content are noted in `lines`."""
    for position, (line, job) in enumerate(zip(lines, jobs, strict=False)):
        stamps = [list(stamp) if (stamp := stamp_of(path)) else None for path in job.paths]
        if stamps == line["stamps"]:
            continue
        if hash_shard(job.paths) != [row["sha256"] for row in line["rows"]]:
            return position
        lines[position] = {**line, "stamps": stamps}
    return len(lines)


def _check_bad(part: VideoSet, lines: Sequence[Line], max_bad: float) -> None:
    bad = _bad_videos(part, lines)
    if len(bad) <= max_bad * len(part):
        return
    seen = sum(len(line["rows"]) for line in lines)
    among = f"{seen}" if seen == len(part) else f"the first {seen} (of {len(part)})"
    raise InputError(
        f"{part.root}: {len(bad)} of {among} videos cannot be read, more than --max-bad {100 * max_bad:g}%: "
        f"{_listing(bad)}; mend or remove them, or raise --max-bad"
    )


def _check_classes(part: VideoSet, lines: Sequence[Line]) -> None:
    bad = _bad_videos(part, lines)
    names = {video.video_id for video in bad}
    left = {entry.label for entry in part.entries if entry.video_id not in names}
    lost = sorted({entry.label for entry in part.entries} - left)
    if lost:
        ids = {entry.video_id for entry in part.entries if entry.label == lost[0]}
        reasons = _listing([video for video in bad if video.video_id in ids])
        raise InputError(
            f"{part.root}: class {part.classes[lost[0]]!r} has no video that can be read: {reasons}; "
            "mend its videos, or remove the class"
        )


def _bad_videos(part: VideoSet, lines: Sequence[Line]) -> list[BadVideo]:
    rows = [row for line in lines for row in line["rows"]]
    return [BadVideo(e.video_id, row["bad"]) for e, row in zip(part.entries, rows, strict=False) if row["bad"]]


def _listing(bad: Sequence[BadVideo]) -> str:
    shown = "; ".join(f"{video.video_id} ({video.reason})" for video in bad[:MAX_LISTED])
    return shown + (f"; and {len(bad) - MAX_LISTED} more" if len(bad) > MAX_LISTED else "")


def _collect(part: VideoSet, clip: ClipSpec, journal: Journal) -> DecodedSplit:
    rows = [row for line in journal.lines for row in line["rows"]]
    sizes = [stamp[0] if stamp else 0 for line in journal.lines for stamp in line["stamps"]]
    good = [(entry, row, size) for entry, row, size in zip(part.entries, rows, sizes, strict=True) if not row["bad"]]
    shape = (len(good), clip.num_frames, 3, clip.height, clip.width)
    return DecodedSplit(
        frames=_mapped(journal.binary, "uint8", shape),
        times_seconds=torch.tensor([row["times_seconds"] for _, row, _ in good], dtype=torch.float64),
        labels=torch.tensor([entry.label for entry, _, _ in good], dtype=torch.int64),
        video_ids=tuple(entry.video_id for entry, _, _ in good),
        num_video_frames=torch.tensor([row["num_video_frames"] for _, row, _ in good], dtype=torch.int64),
        video_bytes=torch.tensor([size for _, _, size in good], dtype=torch.int64),
        classes=part.classes,
        clip=clip,
        normalization=_normalization(journal.lines, num_pixels=math.prod(shape) // 3),
        bad=tuple(_bad_videos(part, journal.lines)),
        source=part.name,
        split_hash=part.split_hash,
    )


def _normalization(lines: Sequence[Line], num_pixels: int) -> Normalization:
    """Return mean and standard deviation of each channel, from exact sums."""
    sums = [sum(line["sums"][c] for line in lines) for c in range(3)]
    squares = [sum(line["squares"][c] for line in lines) for c in range(3)]
    variances = [(num_pixels * squares[c] - sums[c] ** 2) / num_pixels**2 for c in range(3)]
    # A channel that never changes is left as it is, not divided by zero.
    stds = [math.sqrt(variance) / 255 or 1.0 for variance in variances]
    means = [total / num_pixels / 255 for total in sums]
    return Normalization((means[0], means[1], means[2]), (stds[0], stds[1], stds[2]))


def _encode(frames: Journal, codec: Encoder, clip: ClipSpec, folder: Path, watch: Watch, total: int) -> Journal:
    """Bring the latents' cache up to date with the frames and return it."""
    spec = codec.spec
    journal = Journal(folder / f"latents-{_hash(asdict(spec))[:20]}.bin")
    same = 0
    for mine, theirs in zip(journal.lines, frames.lines, strict=False):
        if mine["frames"] != theirs["chain"]:
            break
        same += 1
    journal.keep(same)
    shape = (clip.num_frames, 3, clip.height, clip.width)
    done = frames.start_of(same) // math.prod(shape)
    watch("encode", done=done, total=total)
    for position in range(same, len(frames.lines)):
        start, end = frames.start_of(position), int(frames.lines[position]["end"])
        pixels = np.fromfile(frames.binary, np.uint8, end - start, offset=start).reshape(-1, *shape[1:])
        data = _encode_frames(torch.from_numpy(pixels), codec, clip) if len(pixels) else b""
        journal.append(data, frames=frames.lines[position]["chain"])
        done += (end - start) // math.prod(shape)
        watch("encode", done=done, total=total)
    return journal


def _encode_frames(pixels: Tensor, codec: Encoder, clip: ClipSpec) -> bytes:
    with torch.no_grad():
        latents = codec.encode(pixels).to("cpu", torch.float16)
    expected = (len(pixels), *codec.spec.latent_shape(clip.height, clip.width))
    if tuple(latents.shape) != expected:
        raise InputError(f"codec {codec.spec.name!r} made latents {tuple(latents.shape)}; its spec says {expected}")
    if not bool(torch.isfinite(latents).all()):
        raise InputError(f"codec {codec.spec.name!r} made latents that float16 cannot hold; check its scale constants")
    return latents.contiguous().numpy().tobytes()


def _mapped(binary: Path, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """Map a file as a tensor; what is written to it stays in memory and never reaches the file."""
    return torch.from_numpy(np.memmap(binary, dtype, "c", shape=shape))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
