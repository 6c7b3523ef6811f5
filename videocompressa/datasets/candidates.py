"""The pass over the videos: each of a split is decoded once, and its clip encoded once, when it is read (`latents`).

Worker processes decode shards of videos, a few ahead of this process, which writes them, in the order of the ids, to a
cache that survives interruptions (`journal`). Memory holds a few shards, never the set: the tensors returned are mapped
from the files. Results do not depend on the number of workers. A changed video is noticed by its size and time, then by
its content.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from videocompressa.clip import VIDEO_HASH_DIGITS, Candidates, ClipSpec, DecodedSplit, Normalization
from videocompressa.datasets.journal import Journal, Line, locked
from videocompressa.datasets.latents import EncodedOnDemand
from videocompressa.datasets.videos import VideoEntry, VideoSet
from videocompressa.engine import Workers
from videocompressa.errors import BadVideo, InputError
from videocompressa.run import Watch, key_sha256, watch_nothing
from videocompressa.video.shards import MAX_SECONDS, Job, decode_jobs, hash_shard, jobs_of, stamp_of

if TYPE_CHECKING:
    from videocompressa.codecs import Codec

CACHE_FORMAT = 2
"""Raise it whenever the same videos would give other bytes: other choice of frames, resizing, shard size or layout."""

SHARD_VIDEOS = 16
"""Videos a shard: the most that an interruption loses."""

MAX_LISTED = 10
"""Bad videos that an error names."""


def decode_split(
    videos: VideoSet,
    split: str,
    clip: ClipSpec,
    *,
    cache: Path,
    workers: Workers,
    max_bad: float = 0.05,
    max_seconds: float = MAX_SECONDS,
    watch: Watch = watch_nothing,
) -> DecodedSplit:
    """Decode the candidate frames of a split, or take them from the cache.

    A video that cannot be read, and with workers one that kills its worker or takes it more than `max_seconds`, is
    skipped and listed; more than the share `max_bad` of the split, or all videos of a class, raise `InputError` with
    that list. `watch("decode", done=, total=, worker_seconds=)` counts videos, and has the seconds of workers by stage.
    """
    split_pass = _SplitPass.of(videos, split, clip, cache, workers, max_bad, max_seconds, watch)
    with locked(split_pass.folder, watch):
        return split_pass.decoded()


def encode_pass(
    videos: VideoSet,
    split: str,
    clip: ClipSpec,
    codec: Codec,
    *,
    cache: Path,
    workers: Workers,
    max_bad: float = 0.05,
    max_seconds: float = MAX_SECONDS,
    normalization: Normalization | None = None,
    encode_all: bool = False,
    watch: Watch = watch_nothing,
) -> Candidates:
    """Decode the candidate frames of a split, or take them from the cache; a clip is encoded when its latents are read.

    `encode_all` encodes all at once. `normalization` is the train split's where `split` is another one; None computes
    it from this split. Latents are kept as float16. `watch("encode", done=, total=)` counts clips, beside "decode" of
    `decode_split`, whose errors these are.
    """
    codec.spec.latent_shape(clip.height, clip.width)  # A size the codec cannot take fails here.
    split_pass = _SplitPass.of(videos, split, clip, cache, workers, max_bad, max_seconds, watch)
    with locked(split_pass.folder, watch):
        decoded = split_pass.decoded()
        path = split_pass.folder / f"latents-{key_sha256(asdict(codec.spec))[:20]}.bin"
        latents = EncodedOnDemand(decoded, codec, path, watch)
        if encode_all:
            latents.encode_all()
    fields = {**vars(decoded), "normalization": normalization or decoded.normalization}
    return Candidates(**fields, latents=latents, codec=codec.spec)


@dataclass(frozen=True)
class _SplitPass:
    """The pass over one split."""

    videos: VideoSet
    """Of this split only."""
    clip: ClipSpec
    folder: Path
    """Its cache."""
    workers: Workers
    max_bad: float
    max_seconds: float
    watch: Watch

    @classmethod
    def of(
        cls,
        videos: VideoSet,
        split: str,
        clip: ClipSpec,
        cache: Path,
        workers: Workers,
        max_bad: float,
        max_seconds: float,
        watch: Watch,
    ) -> Self:
        if not max_seconds > 0:
            raise InputError(f"--max-seconds-per-video is {max_seconds:g}; it must be above 0")
        if not 0 <= max_bad <= 1:
            raise InputError(f"--max-bad is {100 * max_bad:g}%; it must be between 0% and 100%")
        part = videos.select(split)
        if not part.entries:
            raise InputError(f"{videos.root}: has no {split} videos; name them in a csv or put them in folders")
        key = key_sha256([CACHE_FORMAT, videos.name, [entry.video_id for entry in part.entries], asdict(clip)])
        return cls(part, clip, cache / f"{split}-{key[:20]}", workers, max_bad, max_seconds, watch)

    def decoded(self) -> DecodedSplit:
        """Bring the cache of frames up to date, and return what it holds."""
        sources = [entry.source for entry in self.videos.entries]
        jobs = jobs_of(sources, self.clip, SHARD_VIDEOS)
        journal = Journal(self.folder / "frames.bin")
        journal.keep(_num_current(journal.lines, jobs, self.max_seconds))
        bad = self._bad(journal.lines)
        self._report(journal.lines, bad)
        left = jobs[len(journal.lines) :]
        with closing(decode_jobs(left, workers=self.workers, max_seconds=self.max_seconds)) as results:
            for decoded in results:
                sums, squares = decoded.channel_sums()
                rows = [{key: each for key, each in asdict(row).items() if each is not None} for row in decoded.rows]
                journal.append(decoded.frames.data, stamps=decoded.stamps, rows=rows, sums=sums, squares=squares)
                bad += self._bad(journal.lines[-1:], first=len(journal.lines) - 1)
                self._report(journal.lines, bad, decoded.seconds)
        check_classes_read(self.videos, bad)
        return self._collect(journal)

    def _collect(self, journal: Journal) -> DecodedSplit:
        lines = journal.lines
        file_sizes = [stamp[0] if stamp else 0 for line in lines for stamp in line["stamps"]]
        outcomes = zip(self._outcomes(lines), file_sizes, strict=True)
        good = [(entry, row, row.get("num_bytes", size)) for (entry, row), size in outcomes if not row["bad"]]
        clip = self.clip
        shape = (len(good), clip.num_frames, 3, clip.height, clip.width)
        return DecodedSplit(
            frames=_mapped(journal.binary, "uint8", shape),
            times_seconds=torch.tensor([row["times_seconds"] for _, row, _ in good], dtype=torch.float64),
            labels=torch.tensor([entry.label for entry, _, _ in good], dtype=torch.int64),
            video_ids=tuple(entry.video_id for entry, _, _ in good),
            num_video_frames=torch.tensor([row["num_video_frames"] for _, row, _ in good], dtype=torch.int64),
            video_bytes=torch.tensor([size for _, _, size in good], dtype=torch.int64),
            classes=self.videos.classes,
            clip=clip,
            normalization=_normalization(lines, num_pixels=math.prod(shape) // 3),
            bad=tuple(self._bad(lines)),
            notes=tuple(
                f"{entry.video_id}: {replaced} of {clip.num_frames} frames are damaged; the nearest good ones are taken"
                for entry, row, _ in good
                if (replaced := row.get("num_replaced"))
            ),
            source=self.videos.name,
            split_hash=self.videos.split_hash,
            video_hashes=tuple(row["sha256"][:VIDEO_HASH_DIGITS] for _, row, _ in good),
        )

    def _num_videos(self, lines: Sequence[Line]) -> int:
        """Return how many videos the first shards hold: all are full but the last of the split."""
        return min(len(lines) * SHARD_VIDEOS, len(self.videos))

    def _outcomes(self, lines: Sequence[Line], first: int = 0) -> list[tuple[VideoEntry, dict[str, Any]]]:
        """Return the videos of these shards, of which the first is number `first`, each with its row of the journal."""
        rows, start = [row for line in lines for row in line["rows"]], first * SHARD_VIDEOS
        return list(zip(self.videos.entries[start : start + len(rows)], rows, strict=True))

    def _bad(self, lines: Sequence[Line], first: int = 0) -> list[BadVideo]:
        return [BadVideo(entry.video_id, row["bad"]) for entry, row in self._outcomes(lines, first) if row["bad"]]

    def _report(
        self, lines: Sequence[Line], bad: Sequence[BadVideo], seconds: Mapping[str, float] | None = None
    ) -> None:
        """Report the progress, and what workers took for it by stage, or raise when too many videos are bad."""
        done, total = self._num_videos(lines), len(self.videos)
        self.watch("decode", done=done, total=total, worker_seconds=seconds or {})
        if len(bad) > self.max_bad * total:
            among = f"{done}" if done == total else f"the first {done} (of {total})"
            raise InputError(
                f"{self.videos.root}: {len(bad)} of {among} videos cannot be read, more than "
                f"--max-bad {100 * self.max_bad:g}%: {_listing(bad)}; fix or remove them, or raise --max-bad"
            )


def check_classes_read(videos: VideoSet, bad: Sequence[BadVideo]) -> None:
    """Raise when no video of a class can be read, of the videos of one split."""
    reasons = {video.video_id: video for video in bad}
    good = {entry.label for entry in videos.entries if entry.video_id not in reasons}
    if lost := {entry.label for entry in videos.entries} - good:
        lost_videos = [reasons[entry.video_id] for entry in videos.entries if entry.label == min(lost)]
        raise InputError(
            f"{videos.root}: class {videos.classes[min(lost)]!r} has no video that can be read: "
            f"{_listing(lost_videos)}; fix its videos, or remove the class"
        )


def _num_current(lines: list[Line], jobs: Sequence[Job], max_seconds: float) -> int:
    """Return how many shards match the files of now; new stamps of unchanged content are noted in `lines`.

    Videos that were given up under a lower time limit are tried again.
    """
    for position, (line, job) in enumerate(zip(lines, jobs, strict=False)):
        if any(row.get("max_seconds", max_seconds) < max_seconds for row in line["rows"]):
            return position
        stamps = [list(stamp) if (stamp := stamp_of(source)) else None for source in job.sources]
        if stamps == line["stamps"]:
            continue
        if hash_shard(job.sources) != [row["sha256"] for row in line["rows"]]:
            return position
        lines[position] = {**line, "stamps": stamps}
    return len(lines)


def _listing(bad: Sequence[BadVideo]) -> str:
    listed = "; ".join(f"{video.video_id} ({video.reason})" for video in bad[:MAX_LISTED])
    return listed + (f"; and {len(bad) - MAX_LISTED} more" if len(bad) > MAX_LISTED else "")


def _normalization(lines: Sequence[Line], num_pixels: int) -> Normalization:
    """Return mean and standard deviation of each channel, from exact sums."""
    means, stds = [], []
    for c in range(3):
        total, squares = (sum(line[key][c] for line in lines) for key in ("sums", "squares"))
        means.append(total / num_pixels / 255)
        # A constant channel is not scaled: its deviation is 0.
        stds.append(math.sqrt((num_pixels * squares - total**2) / num_pixels**2) / 255 or 1.0)
    return Normalization((means[0], means[1], means[2]), (stds[0], stds[1], stds[2]))


def _mapped(binary: Path, dtype: str, shape: tuple[int, ...]) -> Tensor:
    """Map a file as a tensor; writes to the tensor stay in memory and never reach the file."""
    return torch.from_numpy(np.memmap(binary, dtype, "c", shape=shape))
