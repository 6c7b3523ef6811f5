"""Real clips re-encoded by a real codec: what an engineer would do without any distillation, and the rival to fear.

1. Put the clips of each class in an order of which every beginning is a choice: at random, or by herding (Welling
   2009) on features of a student trained on the real clips.
2. Frames: whole clips of all T candidates for H.264 and AV1; K keyframes in the middles of equal spans for WebP.
3. The file may have B bytes (`budget.file_bytes`). Two knobs trade against each other, how finely clips are coded (q)
   and how many of a class are kept (n):
   a. n is the largest number at which the file fits at the moderate q of the config; 1 when none does;
   b. q is then the finest setting at which n clips a class still fit: finer than the config's where bytes are left
      over, coarser where not even one clip a class fitted.
4. Store the coded bytes, with hard labels, or soft ones of a teacher who sees the decoded clips.

No paper: the field does not compare with this, although the data sets come so coded. Our choice: the moderate q, by
looking at real clips of 64 px (the last ones before blocks and smears hide faces and hands). Each clip is coded by
itself, so its bytes do not depend on its neighbors: a size is a sum, and the search never codes a clip twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from videocompressa.artifact import to_bytes
from videocompressa.artifact.packing import unpacked
from videocompressa.artifact.packing.streams import CODERS, CodedClip, FrameCoder, joined
from videocompressa.artifact.storage import last_fitting
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec, PixelCodec
from videocompressa.errors import InputError, too_few_bytes
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.keyframes import UniformSelector, check_keyframes
from videocompressa.selection.videos import check_subset, choose_per_class
from videocompressa.students import student_features
from videocompressa.students.networks import Student
from videocompressa.students.teachers import TeacherConfig, check_labels, real_clips, relabel, teachers_of
from videocompressa.synthetic import Allowance, Provenance, Source, SyntheticSet, check_fill, take_keyframes

MODERATE = {"h264": 36.0, "av1": 50.0, "webp": 20.0}
"""Setting at which the number of clips is settled."""


@dataclass(frozen=True)
class ReencodeConfig:
    """Which clips, and how they are coded."""

    coder: str = "h264"
    """The real codec; a name of `packing.streams.CODERS`."""
    subset: str = "random"
    """Rule that orders the videos of a class: "random" or "herding"."""
    crf: float | None = None
    """Setting at which the number of clips is settled: crf of h264 and av1 in quarters, quality of webp in whole
    numbers; None for `MODERATE`."""
    labels: str = "hard"
    """"hard", or "soft" probabilities of a teacher."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"; whole clips need none."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher, for features and for soft labels; not trained when neither is asked for."""
    fills_bytes: ClassVar[bool] = True
    """It keeps as much as the file holds, whatever VPC and K are."""

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return f"{'real' if self.subset == 'random' else self.subset}-{self.coder}"

    @property
    def setting(self) -> float:
        """The setting at which the number of clips is settled."""
        return MODERATE[self.coder] if self.crf is None else self.crf

    @property
    def needs_teacher(self) -> bool:
        """Features and soft labels need one."""
        return self.subset != "random" or self.labels == "soft"

    def __post_init__(self) -> None:
        if self.coder not in CODERS:
            raise InputError(f"unknown coder {self.coder!r}; known: {', '.join(CODERS)}")
        check_subset(self.subset)
        if self.subset not in NESTED:
            raise InputError(f"subset is {self.subset!r}; re-encoding takes {' or '.join(NESTED)}")
        check_labels(self.labels)
        check_fill(self.fill)
        coder = CODERS[self.coder]
        if self.setting not in _settings(coder):
            low, high = sorted((coder.coarsest, coder.finest))
            raise InputError(
                f"crf is {self.setting:g}; {self.coder} takes {low:g} to {high:g} in steps of {coder.step:g}"
            )


NESTED = ("random", "herding")
"""Subset rules of which the choice of n begins the choice of n + 1."""


def compress(
    train_data: Candidates,
    codec: Codec,
    config: ReencodeConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Return as many coded clips of each class as `budget.file_bytes` holds; a class with fewer gives all it has.

    `codec` and `budget.keyframes` are those of the methods beside this one, which share the teacher; the set itself
    holds pixels. Raises `InputError` without `budget.file_bytes`, `BudgetError` when one clip a class does not fit.
    """
    check_keyframes(budget.keyframes, train_data.clip.num_frames)
    if budget.file_bytes is None:
        raise InputError(f"{config.name} fills a file of a given size, and none was given; give --bytes")
    teachers = teachers_of(
        config, train_data, codec, keyframes=budget.keyframes, fill=config.fill, rng=rng, device=device, watch=watch,
        stages=stages,
    )  # fmt: skip
    ordered, ranks = _order(train_data, config, teachers, rng=rng, device=device)
    shelf = _Shelf(train_data, config, _positions(train_data, config, budget.keyframes), rng.seed, watch)

    def size(count: int, setting: float) -> int:
        return len(to_bytes(shelf.set_of(ordered[ranks < count], setting, decoded=False)))

    count, setting = _fill(size, int(ranks.max()) + 1, config, len(train_data.classes), budget.file_bytes)
    synthetic = shelf.set_of(ordered[ranks < count], setting, decoded=True)
    return relabel(synthetic, config.labels, teachers, config.teacher, rng=rng, device=device)


def _order(
    train_data: Candidates, config: ReencodeConfig, teachers: list[Student], *, rng: Streams, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Step 1: return all rows (N,), grouped by class, best first, and the rank of each in its class."""
    by_features = config.subset != "random"
    rows = choose_per_class(
        student_features(teachers[0], real_clips(train_data), device=device)
        if by_features
        else torch.zeros(len(train_data), 1),
        train_data.labels,
        train_data.classes,
        count=int(torch.bincount(train_data.labels).max()),
        allow_fewer=True,
        name=config.subset,
        generator=rng.generator("videos"),
    )
    labels = train_data.labels[rows]
    firsts = torch.searchsorted(labels, labels)  # rows are grouped by class in class order
    return rows, torch.arange(len(rows)) - firsts


def _positions(train_data: Candidates, config: ReencodeConfig, keyframes: int) -> Tensor:
    """Step 2: return where the stored frames of any clip stand, (T,) or (K,) int64."""
    if CODERS[config.coder].packing == "video":
        return torch.arange(train_data.clip.num_frames)
    return UniformSelector().positions(train_data.frames[:1], keyframes, torch.Generator())[0]


@dataclass(frozen=True)
class _Shelf:
    """Coded clips by row and setting: trials share them, so no clip is coded twice."""

    train_data: Candidates
    config: ReencodeConfig
    positions: Tensor
    seed: int
    watch: Watch
    coded: dict[tuple[int, float], CodedClip] = field(default_factory=dict)

    def set_of(self, rows: Tensor, setting: float, *, decoded: bool) -> SyntheticSet:
        """Return the set of these clips; without decoding, its latents are 0 and only its size is right."""
        data, coder = self.train_data, CODERS[self.config.coder]
        codec = PixelCodec()
        positions = self.positions.expand(len(rows), -1).contiguous()
        packed = {coder.tensor: joined(self._clips(rows, coder, setting))}
        shape = (*positions.shape, *codec.spec.latent_shape(data.clip.height, data.clip.width))
        labels = data.labels[rows]
        if self.config.labels == "soft" and not decoded:
            labels = torch.full((len(rows), len(data.classes)), 1 / len(data.classes))
        return SyntheticSet(
            latents=unpacked(coder.packing, packed, shape) if decoded else torch.zeros(()).expand(shape),
            positions=positions,
            times_seconds=data.times_seconds[rows].gather(1, positions),
            labels=labels,
            classes=data.classes,
            clip=data.clip,
            codec=codec.spec,
            normalization=data.normalization,
            fill=self.config.fill,
            packing=coder.packing,
            packed=packed,
            decoder=codec,
            provenance=Provenance(
                method=self.config.name,
                config=_stored(self.config, setting),
                seed=self.seed,
                source=Source.of(data),
                video_ids=tuple(data.video_ids[int(row)] for row in rows),
            ),
        )

    def _clips(self, rows: Tensor, coder: FrameCoder, setting: float) -> list[CodedClip]:
        keys = [(int(row), setting) for row in rows]
        missing = [key for key in keys if key not in self.coded]
        for done, (row, _) in enumerate(missing, 1):
            frames = take_keyframes(self.train_data.frames[row][None], self.positions[None])[0]
            self.coded[row, setting] = coder.encode(frames, setting)
            self.watch("reencode", done=done, total=len(missing))
        return [self.coded[key] for key in keys]


def _fill(
    size: Callable[[int, float], int], most: int, config: ReencodeConfig, num_classes: int, limit: int
) -> tuple[int, float]:
    """Step 3: return clips a class and the setting that fill `limit` bytes."""
    coder = CODERS[config.coder]
    settings = _settings(coder)
    count = max(1, last_fitting(lambda number: size(number, config.setting) <= limit, 1, most, guess=1))
    moderate = settings.index(config.setting)
    best = last_fitting(lambda index: size(count, settings[index]) <= limit, 0, len(settings) - 1, guess=moderate)
    if best < 0:
        coarsest = f"{coder.setting} {coder.coarsest:g} of {config.coder}"
        one = f"one clip of each of {num_classes} classes even at {coarsest}"
        raise too_few_bytes(limit, one, size(1, coder.coarsest))
    return count, settings[best]


def _settings(coder: FrameCoder) -> list[float]:
    """Return every setting, coarsest first."""
    step = coder.step if coder.finest > coder.coarsest else -coder.step
    count = round((coder.finest - coder.coarsest) / step) + 1
    return [coder.coarsest + number * step for number in range(count)]


def _stored(config: ReencodeConfig, setting: float) -> dict[str, Any]:
    """Return what the file says of the method: little, for its bytes count."""
    whole = int(setting) == setting
    said: dict[str, Any] = {"crf": int(setting) if whole else setting, "labels": config.labels}
    return said | {"teacher": dataclasses.asdict(config.teacher)} if config.needs_teacher else said
