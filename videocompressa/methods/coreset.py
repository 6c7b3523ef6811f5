"""Coresets: real clips, chosen and not changed.

1. Choose K keyframes of every clip (any selector).
2. Choose VPC videos of each class: at random, or by herding, k-center or facility location on features of a student
   trained on the real clips.
3. Store the codec's latents of those keyframes, with hard labels, or soft ones of a teacher.

Same file as every other method, so a coreset is compared at equal bytes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.gumbel import SelectorConfig
from videocompressa.selection.joint import JointConfig, find_selector
from videocompressa.selection.keyframes import check_keyframes, check_selector
from videocompressa.selection.videos import check_subset, choose_per_class
from videocompressa.students import student_features
from videocompressa.students.teachers import TeacherConfig, check_labels, real_clips, relabel, teachers_of
from videocompressa.synthetic import Allowance, SyntheticSet, check_fill, gather


@dataclass(frozen=True)
class CoresetConfig:
    """What a coreset is made of."""

    subset: str = "random"
    """Rule that chooses the videos; a name of `subset.SUBSETS`."""
    selector: str = "uniform"
    """Rule that chooses the keyframes; a name of `selector.SELECTORS`, "gumbel" being the learned one."""
    joint: JointConfig = field(default_factory=JointConfig)
    """Training of the learned selector."""
    scorer: SelectorConfig = field(default_factory=SelectorConfig)
    """The learned selector's network."""
    labels: str = "hard"
    """"hard", or "soft" probabilities of a teacher."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher, for features and for soft labels; not trained when neither is asked for."""

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return f"{self.subset}-real"

    @property
    def by_features(self) -> bool:
        """Every rule but chance looks at features."""
        return self.subset != "random"

    @property
    def needs_teacher(self) -> bool:
        """Features and soft labels need one."""
        return self.by_features or self.labels == "soft"

    def __post_init__(self) -> None:
        check_subset(self.subset)
        check_selector(self.selector)
        check_labels(self.labels)
        check_fill(self.fill)


def compress(
    train_data: Candidates,
    codec: Codec,
    config: CoresetConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Return `budget.videos_per_class` real clips of each class as `budget.keyframes` latents each."""
    check_keyframes(budget.keyframes, train_data.clip.num_frames)
    teachers = teachers_of(
        config, train_data, codec, keyframes=budget.keyframes, fill=config.fill, rng=rng, device=device, watch=watch,
        stages=stages,
    )  # fmt: skip
    features: Tensor = (
        student_features(teachers[0], real_clips(train_data), device=device)
        if config.by_features
        else torch.zeros(len(train_data), 1)
    )
    rows = choose_per_class(
        features,
        train_data.labels,
        train_data.classes,
        count=budget.videos_per_class,
        allow_fewer=budget.allow_fewer,
        name=config.subset,
        generator=rng.generator("videos"),
    )
    selector = find_selector(
        config.selector, train_data, config.scorer, config.joint, keyframes=budget.keyframes, fill=config.fill, rng=rng,
        device=device, watch=watch, stages=stages,
    )  # fmt: skip
    positions = selector.positions(train_data.frames[rows], budget.keyframes, rng.generator("keyframes"))
    synthetic = gather(
        train_data,
        rows,
        positions,
        labels=train_data.labels[rows],
        fill=config.fill,
        method=config.name,
        config=dataclasses.asdict(config),
        seed=rng.seed,
        decoder=codec,
    )
    return relabel(synthetic, config.labels, teachers, config.teacher, rng=rng, device=device)
