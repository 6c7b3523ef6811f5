"""Teachers: students trained on all real clips, which label synthetic clips and guide their synthesis.

A teacher costs as much as full-data training, so it is a stage of its own: trained once for a training split and kept.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videocompressa.clip import Candidates, Watch
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.stages import Stages
from videocompressa.students import Student, build_student
from videocompressa.synthetic import SyntheticSet
from videocompressa.train import LabelledClips, TrainConfig, fit, soft_labels

LABELS = ("soft", "hard")
"""Kinds of labels a set can carry: probabilities of a teacher, or the class of the video."""


@dataclass(frozen=True)
class TeacherConfig:
    """How teachers are trained on the real training clips, and how they label."""

    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            width=0.5, steps=1000, lr=1e-3, warmup_steps=50, crop_scale=0.5, precision="bfloat16"
        )
    )
    """The student that becomes a teacher, and its training."""
    num_teachers: int = 1
    """Teachers whose probabilities are averaged."""
    num_views: int = 8
    """Augmented views a label is averaged over; the first is the clip itself."""
    temperature: float = 1.0
    """Of the soft labels."""

    def __post_init__(self) -> None:
        if self.num_teachers < 1:
            raise InputError(f"teacher.num_teachers is {self.num_teachers}; it must be at least 1")


def check_labels(kind: str) -> None:
    """Raise unless `kind` is one of `LABELS`."""
    if kind not in LABELS:
        raise InputError(f"unknown labels {kind!r}; known: {', '.join(LABELS)}")


def real_clips(train_data: Candidates) -> LabelledClips:
    """View candidates as clips to train on."""
    return LabelledClips(train_data.frames, train_data.labels, train_data.normalisation, train_data.classes)


def train_student(
    train_data: Candidates,
    config: TrainConfig,
    *,
    name: str,
    streams: Streams,
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> Student:
    """Train one student on all real clips, or take it from the finished stages."""

    def make() -> dict[str, Tensor]:
        clips = real_clips(train_data)
        student = fit(
            clips, config, clip=train_data.clip, streams=streams, device=device, watch=watch, watch_name=name
        )
        return {key: value.cpu() for key, value in student.state_dict().items()}

    key = {"config": dataclasses.asdict(config), "seed": streams.seed, "scope": streams.scope}
    weights = stages.recall(name, key, make)
    student = build_student(
        config.student,
        num_classes=len(train_data.classes),
        clip=train_data.clip,
        generator=streams.generator("init"),
        width=config.width,
    )
    student.load_state_dict(weights)
    return student.to(device).eval().requires_grad_(False)


def train_teachers(
    train_data: Candidates, config: TeacherConfig, *, rng: Streams, device: torch.device, watch: Watch, stages: Stages
) -> list[Student]:
    """Train `num_teachers` teachers, each from a seed of its own."""
    return [
        train_student(
            train_data,
            config.train,
            name="teacher",
            streams=rng.child(f"teacher/{number}"),
            device=device,
            watch=watch,
            stages=stages,
        )
        for number in range(config.num_teachers)
    ]


def relabel(
    synthetic: SyntheticSet,
    kind: str,
    teachers: list[Student],
    config: TeacherConfig,
    *,
    rng: Streams,
    device: torch.device,
) -> SyntheticSet:
    """Step 8: give a set with hard labels the labels of `kind`; soft ones are what its decoded clips look like."""
    if kind == "hard":
        return synthetic
    clips = LabelledClips(synthetic.clips(), synthetic.labels, synthetic.normalisation, synthetic.classes)
    labels = soft_labels(
        teachers,
        clips,
        num_views=config.num_views,
        config=config.train,
        temperature=config.temperature,
        streams=rng.child("labels"),
        device=device,
    )
    return dataclasses.replace(synthetic, labels=labels)
