"""The plan: what a folder holds and what a compress run over it would cost, before it is run.

Every video is probed, not decoded: a video that breaks off later is found by the run itself. The time is measured on
a few videos and a few training steps, and multiplied: an estimate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videocompressa.artifact.storage import TRANSFORM, Storage
from videocompressa.clip import ClipSpec, Normalization
from videocompressa.codecs import Codec, build_codec
from videocompressa.datasets import SPLITS, BadVideo, VideoEntry, VideoSet
from videocompressa.engine import run_shards
from videocompressa.errors import InputError, VideoError
from videocompressa.matching.objectives import DMConfig, MTTConfig
from videocompressa.methods.videocompressa import VideoCompressaConfig
from videocompressa.recipes.budgets import ResolvedBudget, TrainFacts, resolve_budget
from videocompressa.recipes.compress import check_storage, check_training, configured, file_facts, fills_bytes
from videocompressa.recipes.data import list_videos
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, Surroundings
from videocompressa.rng import Streams
from videocompressa.run import watch_nothing
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.students import LabeledClips, TrainConfig, fit
from videocompressa.synthetic import Source
from videocompressa.video import VideoInfo, read_clip
from videocompressa.video.shards import Probed, probe_shard

PROBED_AT_ONCE = 32
SAMPLE_VIDEOS = 8
"""Videos that are decoded and encoded to measure the pace."""
SAMPLE_STEPS = 3
"""Training steps that are taken to measure the pace."""


@dataclass(frozen=True)
class Part:
    """What one split holds; only videos that can be read are counted."""

    num_videos: int
    num_frames: int
    num_bytes: int
    seconds: float
    """Of video."""


@dataclass(frozen=True)
class Plan:
    """What a folder holds, and what compressing its training videos would cost."""

    source: str
    parts: dict[str, Part]
    """By split, those that have videos."""
    classes: dict[str, dict[str, int]]
    """Readable videos of each class and split."""
    bad: tuple[BadVideo, ...]
    budget: ResolvedBudget
    """What the asked budget comes to: VPC, K and the size of the file."""
    fills: bool
    """The method keeps as much as the file holds, whatever VPC and K are."""
    frame_ratio: float
    """Kept frames / frames of the training videos, of methods that do not fill the file."""
    pass_seconds: float
    """Estimate: decoding and encoding the training videos."""
    method_seconds: float
    """Estimate: the method's training."""

    @property
    def file_bytes(self) -> int:
        """Expected size of the file."""
        filled = self.budget.allowance.file_bytes if self.fills else None
        return filled or self.budget.most_bytes

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the budget is met; VPC and K say nothing of methods that fill the file."""
        return () if self.fills else self.budget.notes

    @property
    def num_videos(self) -> int:
        """Readable videos of all splits."""
        return sum(part.num_videos for part in self.parts.values())

    @property
    def num_frames(self) -> int:
        """Their frames."""
        return sum(part.num_frames for part in self.parts.values())


def plan(
    data: Path,
    *,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    method: str = "videocompressa",
    codec: str = "tiny",
    seed: int = 0,
    settings: Sequence[str] = (),
    storage: Storage = TRANSFORM,
    surroundings: Surroundings,
) -> Plan:
    """Return what `compress_folder` with the same arguments would read, make and take.

    Unreadable videos are listed and stop nothing. Raises `InputError` as the run itself would.
    """
    _, config = configured(method, settings)
    check_storage(storage, method, config)
    if budget.keyframes is not None:
        check_keyframes(budget.keyframes, candidates.clip.num_frames)
    videos = list_videos(data, candidates)
    check_training(videos, data, budget)
    built = build_codec(codec).to(surroundings.device)
    built.spec.latent_shape(candidates.size, candidates.size)
    probed = _probe_all(videos, surroundings)
    train = [
        entry for entry, found in zip(videos.entries, probed, strict=True) if found.info and entry.split == "train"
    ]
    if not train:
        raise InputError(f"{data}: none of its training videos can be read: {_first_reason(videos, probed)}")
    parts = _parts(videos, probed)
    infos = [found.info for entry, found in zip(videos.entries, probed, strict=True) if entry.split == "train"]
    times = tuple(_even_times(info, candidates.clip.num_frames) for info in infos if info)
    facts = _facts(videos, train, times, parts["train"], candidates.clip, built)
    resolved = resolve_budget(budget, facts, file_facts(method, config, seed, storage))
    pass_seconds, method_seconds = _estimate(train, videos, candidates.clip, built, config, surroundings)
    return Plan(
        source=videos.name,
        parts=parts,
        classes=_class_counts(videos, probed),
        bad=tuple(
            BadVideo(entry.video_id, found.reason)
            for entry, found in zip(videos.entries, probed, strict=True)
            if found.info is None
        ),
        budget=resolved,
        fills=fills_bytes(config),
        frame_ratio=resolved.num_items * resolved.allowance.keyframes / parts["train"].num_frames,
        pass_seconds=pass_seconds,
        method_seconds=method_seconds,
    )


def _probe_all(videos: VideoSet, surroundings: Surroundings) -> list[Probed]:
    paths = [str(entry.path) for entry in videos.entries]
    shards = [tuple(paths[start : start + PROBED_AT_ONCE]) for start in range(0, len(paths), PROBED_AT_ONCE)]
    probed: list[Probed] = []
    surroundings.watch("probe", done=0, total=len(paths))
    with closing(run_shards(probe_shard, shards, workers=surroundings.workers, name=lambda shard: shard[0])) as found:
        for some in found:
            probed += some
            surroundings.watch("probe", done=len(probed), total=len(paths))
    return probed


def _parts(videos: VideoSet, probed: Sequence[Probed]) -> dict[str, Part]:
    parts = {}
    for split in SPLITS:
        infos = [
            found.info
            for entry, found in zip(videos.entries, probed, strict=True)
            if entry.split == split and found.info is not None
        ]
        if infos:
            parts[split] = Part(
                num_videos=len(infos),
                num_frames=sum(info.num_frames for info in infos),
                num_bytes=sum(info.file_bytes for info in infos),
                seconds=sum(info.duration_seconds for info in infos),
            )
    return parts


def _class_counts(videos: VideoSet, probed: Sequence[Probed]) -> dict[str, dict[str, int]]:
    splits = [split for split in SPLITS if videos.select(split).entries]
    counts = {name: dict.fromkeys(splits, 0) for name in videos.classes}
    for entry, found in zip(videos.entries, probed, strict=True):
        counts[videos.classes[entry.label]][entry.split] += found.info is not None
    return counts


def _even_times(info: VideoInfo, num_frames: int) -> tuple[float, ...]:
    """Return about when T frames of a video of constant rate are shown, in seconds."""
    positions = [(2 * i + 1) * info.num_frames // (2 * num_frames) for i in range(num_frames)]
    return tuple(position * info.duration_seconds / info.num_frames for position in positions)


def _facts(
    videos: VideoSet,
    train: Sequence[VideoEntry],
    times_seconds: tuple[tuple[float, ...], ...],
    part: Part,
    clip: ClipSpec,
    codec: Codec,
) -> TrainFacts:
    listed = videos.select("train")
    source = Source(
        name=videos.name,
        split_hash=listed.split_hash,
        num_videos=len(train),
        num_frames=part.num_frames,
        video_bytes=part.num_bytes,
        num_skipped=len(listed) - len(train),
    )
    return TrainFacts(
        clip=clip,
        codec=codec.spec,
        classes=videos.classes,
        labels=tuple(entry.label for entry in train),
        video_ids=tuple(entry.video_id for entry in train),
        times_seconds=times_seconds,
        source=source,
    )


def _estimate(
    train: Sequence[VideoEntry],
    videos: VideoSet,
    clip: ClipSpec,
    codec: Codec,
    config: Any,
    surroundings: Surroundings,
) -> tuple[float, float]:
    """Return seconds of the encode pass and of the method's training, from a sample of each."""
    sample = [train[i * len(train) // SAMPLE_VIDEOS] for i in range(SAMPLE_VIDEOS)]
    started = surroundings.clock()
    frames = []
    for done, entry in enumerate(sample, start=1):
        try:
            frames.append(read_clip(entry.path, clip, label=entry.label, video_id=entry.video_id).frames)
        except VideoError:
            continue
        finally:
            surroundings.watch("time a sample", done=done, total=SAMPLE_VIDEOS + SAMPLE_STEPS)
    if not frames:
        raise InputError(f"{videos.root}: none of {SAMPLE_VIDEOS} sampled training videos can be decoded; check them")
    decoding = (surroundings.clock() - started) / len(sample)
    clips = torch.stack(frames)
    started = surroundings.clock()
    codec.encode(clips.flatten(0, 1).to(surroundings.device))
    encoding = (surroundings.clock() - started) / len(frames)
    pass_seconds = len(train) * (decoding / max(1, surroundings.workers) + encoding)
    steps, student = _training(config, len(train), len(videos.classes))
    if not steps:
        return pass_seconds, 0.0
    rows = torch.arange(student.batch_size) % len(clips)
    data = LabeledClips(
        clips[rows],
        torch.zeros(student.batch_size, dtype=torch.int64),
        Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        videos.classes,
    )
    seconds = 0.0
    for num_steps in (1, SAMPLE_STEPS):  # The first step also loads what training needs, and is not counted.
        started = surroundings.clock()
        few = dataclasses.replace(student, steps=num_steps, warmup_steps=0)
        fit(data, few, clip=clip, streams=Streams(0, "plan"), device=surroundings.device, watch=watch_nothing)
        seconds = surroundings.clock() - started
    surroundings.watch("time a sample", done=SAMPLE_VIDEOS + SAMPLE_STEPS, total=SAMPLE_VIDEOS + SAMPLE_STEPS)
    return pass_seconds, steps * seconds / SAMPLE_STEPS


def _training(config: Any, num_clips: int, num_classes: int) -> tuple[int, TrainConfig]:
    """Return how many training steps of its teacher a method's work comes to, and how that teacher is trained."""
    teacher = config.teacher.train
    steps = teacher.steps * config.teacher.num_teachers if config.needs_teacher else 0
    if getattr(config, "selector", "") == "gumbel":
        steps += config.joint.steps
    if isinstance(config, VideoCompressaConfig):
        steps += sum(config.pool.ages) if config.needs_pool else 0
        return steps + (config.synthesis.steps if config.synthesis.enabled else 0), teacher
    for tuned in (getattr(config, "statics", None), config):
        matching = getattr(tuned, "matching", None)
        if tuned is None:
            continue
        if isinstance(matching, DMConfig):  # a forward pass of the real clips is about a third of a step
            steps += tuned.steps * (1 + num_classes * matching.real_per_class // (3 * teacher.batch_size))
        elif isinstance(matching, MTTConfig):  # a gradient through a gradient is about three
            experts = matching.experts
            steps += experts.num_experts * experts.epochs * math.ceil(num_clips / teacher.batch_size)
            steps += tuned.steps * 3 * matching.inner_steps
    return steps, teacher


def _first_reason(videos: VideoSet, probed: Sequence[Probed]) -> str:
    bad: list[tuple[VideoEntry, Any]] = list(zip(videos.entries, probed, strict=True))
    entry, found = next(pair for pair in bad if pair[0].split == "train")
    return f"{entry.video_id} ({found.reason})"
