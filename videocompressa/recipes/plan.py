"""The plan: what a folder holds and what a compress run over it would cost, before it is run.

Every video is probed, not decoded: the run itself finds a video that breaks off later. Time and the bytes of latents
are estimates, measured on a few videos and a few training steps.
"""

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import torch

from videocompressa.clip import VIDEO_HASH_DIGITS, Candidates, ClipSpec, CodecSpec, Normalization
from videocompressa.datasets import BadVideo, VideoEntry, VideoSet
from videocompressa.datasets.candidates import check_classes_read
from videocompressa.datasets.videos import SPLITS
from videocompressa.engine import Cluster, run_shards
from videocompressa.errors import InputError, VideoError
from videocompressa.recipes.budgets import num_items
from videocompressa.recipes.compress import prepare
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, Surroundings
from videocompressa.recipes.pace import encode_sample, method_seconds
from videocompressa.synthetic import Budget
from videocompressa.texts import duration_text
from videocompressa.video import VideoInfo
from videocompressa.video.shards import probe_apart, probe_shard

PROBED_AT_ONCE = 32
MOST_APART_SECONDS = 1.0
"""Frames of a clip that are farther apart are noted: most actions are over between two of them (our choice)."""
MOST_CUT = 0.4
"""Share of a picture that may be cropped without a note; it is 0.25 of 4:3 and 0.44 of 16:9 (our choice)."""


@dataclass(frozen=True)
class SplitTotals:
    """What the readable videos of one split hold."""

    num_videos: int
    num_frames: int
    num_bytes: int
    seconds: float
    """Of video."""


@dataclass(frozen=True)
class Plan:
    """What a folder holds, and what compressing its training videos would cost."""

    source: str
    splits: dict[str, SplitTotals]
    """By name; only splits that have videos."""
    classes: dict[str, dict[str, int]]
    """Readable videos of each class and split."""
    bad: tuple[BadVideo, ...]
    budget: Budget
    num_items: int
    fills_bytes: bool
    """The method keeps as much as the file holds, whatever VPC and K are."""
    file_bytes: int
    """Expected size of the file."""
    pass_seconds: float
    """Estimate: decoding the training videos, and encoding those that the method reads behind the codec."""
    method_seconds: float
    """Estimate: the method's training."""
    notes: tuple[str, ...]
    """Notes for the user on how the budget is met."""
    judged_by: str | None
    """See `CompressOutcome`."""

    @property
    def frame_ratio(self) -> float:
        """Kept frames / frames of the training videos, of methods that do not fill bytes."""
        return self.num_items * self.budget.keyframes / self.splits["train"].num_frames


def plan(
    data: Path,
    options: CompressOptions,
    *,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    surroundings: Surroundings,
) -> Plan:
    """Return what `compress_folder` with the same arguments would read, write and take.

    Unreadable videos are listed and stop nothing. Raises `InputError` as the run itself would.
    """
    prepared = prepare(data, options, candidates, budget, surroundings.device)
    config, codec, videos, notes = prepared.config, prepared.codec, prepared.videos, prepared.notes
    infos, bad = _probe_all(videos, candidates.max_seconds_per_video, surroundings)
    train = {entry: info for entry, info in infos.items() if entry.split == "train"}
    train_bad = tuple(each for entry, each in bad.items() if entry.split == "train")
    if not train:
        first = train_bad[0]
        name = f"{videos.root}/{first.video_id}"
        raise InputError(f"{data}: none of its training videos can be read: {name} ({first.reason})")
    if isinstance(surroundings.workers, Cluster) and surroundings.workers.count is None:
        notes = (*notes, "the time is that of one process; give --workers for that of the cluster")
    check_classes_read(videos.select("train"), train_bad)
    sample = encode_sample(list(train), candidates, codec, videos.root, surroundings)
    blank = _blank_candidates(videos, train, train_bad, candidates.clip, codec.spec)
    resolved, more_notes, files = prepared.resolved(blank, lambda: sample.latents)
    size, kept = budget.bytes if config.fills_bytes else None, num_items(blank, resolved.videos_per_class)
    return Plan(
        source=videos.name,
        splits=_split_totals(infos),
        classes=_class_counts(videos, infos),
        bad=tuple(bad.values()),
        budget=resolved,
        num_items=kept,
        fills_bytes=config.fills_bytes,
        file_bytes=size or files.size(resolved.videos_per_class, resolved.keyframes),
        pass_seconds=sample.pass_seconds(len(train), kept, config),
        method_seconds=method_seconds(sample.frames, config, len(train), videos.classes, surroundings),
        notes=(*notes, *more_notes, *_clip_notes(list(train.values()), candidates)),
        judged_by=prepared.judged_by,
    )


def _clip_notes(infos: list[VideoInfo], candidates: CandidateOptions) -> list[str]:
    """Return notes on clips that show little of their videos: of the middle one by length, and by shape."""
    notes, frames = [], candidates.frames
    seconds = median(info.duration_seconds for info in infos)
    if candidates.placement == "even" and frames > 1 and seconds / frames > MOST_APART_SECONDS:
        notes.append(
            f"the median training video lasts {duration_text(seconds)}, so its {frames} frames are "
            f"{seconds / frames:.1f} s apart; for faster motion give more --frames, shorter videos, or --placement "
            "motion (where they move) or strided:4 (their middle)"
        )
    cut = median(1 - min(info.height, info.width) / max(info.height, info.width) for info in infos)
    if candidates.fit == "crop" and cut > MOST_CUT:
        upright = sum(info.height > info.width for info in infos) > len(infos) / 2
        notes.append(
            f"the median training video is {'taller than wide' if upright else 'wider than tall'}, and the middle crop "
            f"leaves out {100 * cut:.0f} % of it; --fit pad or --fit stretch shows all"
        )
    return notes


def _probe_all(
    videos: VideoSet, max_seconds: float, surroundings: Surroundings
) -> tuple[dict[VideoEntry, VideoInfo], dict[VideoEntry, BadVideo]]:
    """Return what is known of the readable videos, and the others with the reason."""
    sources = [entry.source for entry in videos.entries]
    shards = [tuple(sources[start : start + PROBED_AT_ONCE]) for start in range(0, len(sources), PROBED_AT_ONCE)]
    probed: list[VideoInfo | VideoError] = []
    surroundings.watch("probe", done=0, total=len(sources))
    limits: dict[str, Any] = {"workers": surroundings.workers, "max_seconds": max_seconds}
    with closing(run_shards(probe_shard, shards, lost=probe_apart, **limits)) as results:
        for some in results:
            probed += some
            surroundings.watch("probe", done=len(probed), total=len(sources))
    pairs = list(zip(videos.entries, probed, strict=True))
    infos = {entry: each for entry, each in pairs if isinstance(each, VideoInfo)}
    bad = {entry: BadVideo(entry.video_id, str(each)) for entry, each in pairs if isinstance(each, VideoError)}
    return infos, bad


def _split_totals(probed: dict[VideoEntry, VideoInfo]) -> dict[str, SplitTotals]:
    totals = {}
    for split in SPLITS:
        infos = [info for entry, info in probed.items() if entry.split == split]
        if infos:
            totals[split] = SplitTotals(
                num_videos=len(infos),
                num_frames=sum(info.num_frames for info in infos),
                num_bytes=sum(info.file_bytes for info in infos),
                seconds=sum(info.duration_seconds for info in infos),
            )
    return totals


def _class_counts(videos: VideoSet, readable: Iterable[VideoEntry]) -> dict[str, dict[str, int]]:
    splits = [split for split in SPLITS if videos.select(split).entries]
    counts = Counter((entry.label, entry.split) for entry in readable)
    return {name: {split: counts[label, split] for split in splits} for label, name in enumerate(videos.classes)}


def _blank_candidates(
    videos: VideoSet, train: dict[VideoEntry, VideoInfo], bad: tuple[BadVideo, ...], clip: ClipSpec, codec: CodecSpec
) -> Candidates:
    """Return candidates of the training videos as probed, with frames and latents of zeros."""
    shape, infos = (len(train), clip.num_frames), train.values()
    num_frames = torch.tensor([info.num_frames for info in infos])
    seconds = torch.tensor([info.duration_seconds for info in infos], dtype=torch.float64)
    # As if each video had a constant rate.
    positions = (2 * torch.arange(clip.num_frames) + 1) * num_frames[:, None] // (2 * clip.num_frames)
    return Candidates(
        frames=torch.zeros((), dtype=torch.uint8).expand(*shape, 3, clip.height, clip.width),
        latents=torch.zeros((), dtype=torch.float16).expand(*shape, *codec.latent_shape(clip.height, clip.width)),
        times_seconds=positions * seconds[:, None] / num_frames[:, None],
        labels=torch.tensor([entry.label for entry in train]),
        video_ids=tuple(entry.video_id for entry in train),
        num_video_frames=num_frames,
        video_bytes=torch.tensor([info.file_bytes for info in infos]),
        classes=videos.classes,
        clip=clip,
        codec=codec,
        normalization=Normalization((0.123457,) * 3, (0.345678,) * 3),  # numbers of full length
        source=videos.name,
        split_hash=videos.select("train").split_hash,
        bad=bad,
        video_hashes=tuple(sha256(os.fsencode(entry.video_id)).hexdigest()[:VIDEO_HASH_DIGITS] for entry in train),
    )
