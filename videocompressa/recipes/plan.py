"""The plan: what a folder holds and what a compress run over it would cost, before it is run.

Every video is probed, not decoded: a video that breaks off later is found by the run itself. Time and the bytes of
latents are measured on a few videos and a few training steps, and multiplied: estimates.
"""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.artifact.storage import Storage
from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import Codec, build_codec
from videocompressa.datasets import SPLITS, BadVideo, VideoEntry, VideoSet
from videocompressa.engine import run_shards
from videocompressa.errors import InputError, VideoError
from videocompressa.methods import MethodConfig
from videocompressa.recipes.budgets import BlankFiles, measured_stream_bytes, num_items, resolve_budget
from videocompressa.recipes.compress import check_training, configured
from videocompressa.recipes.data import list_videos
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, Surroundings
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students import LabeledClips, fit
from videocompressa.synthetic import Budget
from videocompressa.video import VideoInfo, read_clip
from videocompressa.video.shards import Probed, probe_shard

PROBED_AT_ONCE = 32
SAMPLE_VIDEOS = 8
"""Videos that are decoded and encoded to measure the pace."""
SAMPLE_STEPS = 3
"""Training steps that are taken to measure the pace."""
_BLANK = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@dataclass(frozen=True)
class SplitTotals:
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
    splits: dict[str, SplitTotals]
    """Those that have videos."""
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
    """Estimate: decoding and encoding the training videos."""
    method_seconds: float
    """Estimate: the method's training."""
    notes: tuple[str, ...]
    """What a user should know of how the budget is met."""

    @property
    def frame_ratio(self) -> float:
        """Kept frames / frames of the training videos, of methods that do not fill bytes."""
        return self.num_items * self.budget.keyframes / self.splits["train"].num_frames

    @property
    def num_videos(self) -> int:
        """Readable videos of all splits."""
        return sum(totals.num_videos for totals in self.splits.values())

    @property
    def num_frames(self) -> int:
        """Their frames."""
        return sum(totals.num_frames for totals in self.splits.values())


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
    videos = list_videos(data, candidates)
    check_training(videos, data, budget)
    config, storage = configured(options, candidates, budget)
    codec = build_codec(options.codec).to(surroundings.device)
    codec.spec.latent_shape(candidates.size, candidates.size)
    probed = dict(zip(videos.entries, _probe_all(videos, surroundings), strict=True))
    train = {entry: each.info for entry, each in probed.items() if each.info and entry.split == "train"}
    if not train:
        first = next(entry for entry in probed if entry.split == "train")
        reason = f"{first.video_id} ({probed[first].reason})"
        raise InputError(f"{data}: none of its training videos can be read: {reason}")
    pace = _Pace(videos, list(train), candidates.clip, codec, surroundings)
    frames = pace.decode()
    latents = pace.encode(frames)
    files = _blank_files(videos, train, candidates.clip, codec, config, storage, latents, options.seed)
    resolved, notes = resolve_budget(budget, files)
    return Plan(
        source=videos.name,
        splits=_split_totals(probed),
        classes=_class_counts(videos, probed),
        bad=tuple(BadVideo(entry.video_id, each.reason) for entry, each in probed.items() if each.info is None),
        budget=resolved,
        num_items=num_items(files.data, resolved.videos_per_class),
        fills_bytes=config.fills_bytes,
        file_bytes=budget.bytes
        if config.fills_bytes and budget.bytes
        else files.size(resolved.videos_per_class, resolved.keyframes),
        pass_seconds=pace.pass_seconds(),
        method_seconds=pace.method_seconds(frames, config),
        notes=notes,
    )


def _probe_all(videos: VideoSet, surroundings: Surroundings) -> list[Probed]:
    paths = [str(entry.path) for entry in videos.entries]
    shards = [tuple(paths[start : start + PROBED_AT_ONCE]) for start in range(0, len(paths), PROBED_AT_ONCE)]
    probed: list[Probed] = []
    surroundings.watch("probe", done=0, total=len(paths))
    with closing(run_shards(probe_shard, shards, workers=surroundings.workers, name=lambda shard: shard[0])) as results:
        for some in results:
            probed += some
            surroundings.watch("probe", done=len(probed), total=len(paths))
    return probed


def _split_totals(probed: dict[VideoEntry, Probed]) -> dict[str, SplitTotals]:
    totals = {}
    for split in SPLITS:
        infos = [each.info for entry, each in probed.items() if entry.split == split and each.info is not None]
        if infos:
            totals[split] = SplitTotals(
                num_videos=len(infos),
                num_frames=sum(info.num_frames for info in infos),
                num_bytes=sum(info.file_bytes for info in infos),
                seconds=sum(info.duration_seconds for info in infos),
            )
    return totals


def _class_counts(videos: VideoSet, probed: dict[VideoEntry, Probed]) -> dict[str, dict[str, int]]:
    splits = [split for split in SPLITS if videos.select(split).entries]
    counts = {name: dict.fromkeys(splits, 0) for name in videos.classes}
    for entry, each in probed.items():
        counts[videos.classes[entry.label]][entry.split] += each.info is not None
    return counts


def _blank_files(
    videos: VideoSet,
    train: dict[VideoEntry, VideoInfo],
    clip: ClipSpec,
    codec: Codec,
    config: MethodConfig,
    storage: Storage,
    latents: Tensor,
    seed: int,
) -> BlankFiles:
    """Return the sizes of files of these videos, known by what probing says and by the latents of a sample."""
    shape = (len(train), clip.num_frames)
    infos = list(train.values())
    listed = videos.select("train")
    data = Candidates(
        frames=torch.zeros((), dtype=torch.uint8).expand(*shape, 3, clip.height, clip.width),
        latents=torch.zeros((), dtype=torch.float16).expand(*shape, *latents.shape[2:]),
        times_seconds=torch.tensor([_even_times(info, clip.num_frames) for info in infos], dtype=torch.float64),
        labels=torch.tensor([entry.label for entry in train]),
        video_ids=tuple(entry.video_id for entry in train),
        num_video_frames=torch.tensor([info.num_frames for info in infos]),
        video_bytes=torch.tensor([info.file_bytes for info in infos]),
        classes=videos.classes,
        clip=clip,
        codec=codec.spec,
        normalization=Normalization((0.123457,) * 3, (0.345678,) * 3),  # numbers of full length
        source=videos.name,
        split_hash=listed.split_hash,
        num_skipped=len(listed) - len(train),
    )
    return BlankFiles(data, config, storage, seed, measured_stream_bytes(latents, codec, storage, seed))


def _even_times(info: VideoInfo, num_frames: int) -> list[float]:
    """Return about when T frames of a video of constant rate are shown, in seconds."""
    positions = [(2 * i + 1) * info.num_frames // (2 * num_frames) for i in range(num_frames)]
    return [position * info.duration_seconds / info.num_frames for position in positions]


@dataclass
class _Pace:
    """How long parts of a run take, from a sample of each."""

    videos: VideoSet
    train: list[VideoEntry]
    clip: ClipSpec
    codec: Codec
    surroundings: Surroundings
    seconds_per_video: float = 0.0
    """Of the encode pass."""

    def decode(self) -> Tensor:
        """Return the frames (n,T,3,H,W) uint8 of the sampled videos that can be decoded."""
        around = self.surroundings
        started, frames = around.clock(), []
        for number in range(SAMPLE_VIDEOS):
            entry = self.train[number * len(self.train) // SAMPLE_VIDEOS]
            try:
                frames.append(read_clip(entry.path, self.clip, label=entry.label, video_id=entry.video_id).frames)
            except VideoError:
                continue
            finally:
                around.watch("time a sample", done=number + 1, total=SAMPLE_VIDEOS + SAMPLE_STEPS)
        if not frames:
            raise InputError(
                f"{self.videos.root}: none of {SAMPLE_VIDEOS} sampled training videos can be decoded; check them"
            )
        self.seconds_per_video += (around.clock() - started) / SAMPLE_VIDEOS / max(1, around.workers)
        return torch.stack(frames)

    def encode(self, frames: Tensor) -> Tensor:
        """Return the latents (n,T,C,h,w) of the sampled videos."""
        started = self.surroundings.clock()
        latents = self.codec.encode(frames.flatten(0, 1).to(self.surroundings.device)).cpu()
        self.seconds_per_video += (self.surroundings.clock() - started) / len(frames)
        return latents.view(*frames.shape[:2], *latents.shape[1:])

    def pass_seconds(self) -> float:
        """Return the seconds of the encode pass over the training videos."""
        return len(self.train) * self.seconds_per_video

    def method_seconds(self, frames: Tensor, config: MethodConfig) -> float:
        """Return the seconds of the method's training, in steps of its teacher."""
        steps, student, around = (
            config.training_steps(len(self.train), len(self.videos.classes)),
            config.teacher.train,
            self.surroundings,
        )
        if not steps:
            return 0.0
        rows = torch.arange(student.batch_size) % len(frames)
        labels = torch.zeros(student.batch_size, dtype=torch.int64)
        clips = LabeledClips(frames[rows], labels, _BLANK, self.videos.classes)
        seconds = 0.0
        for num_steps in (1, SAMPLE_STEPS):  # The first step also loads what training needs, and is not counted.
            started = around.clock()
            few = dataclasses.replace(student, steps=num_steps, warmup_steps=0)
            fit(clips, few, Run(Streams(0, "plan"), around.device))
            seconds = around.clock() - started
        around.watch("time a sample", done=SAMPLE_VIDEOS + SAMPLE_STEPS, total=SAMPLE_VIDEOS + SAMPLE_STEPS)
        return steps * seconds / SAMPLE_STEPS
