"""Teachers: students trained on all real clips, which label synthetic clips and guide their synthesis.

A teacher costs as much as full-data training, so it is a stage of its own: trained once for a training split and kept.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.run import Stages, Watch
from videocompressa.students import LabeledClips, TrainConfig, check_views, fit, soft_labels
from videocompressa.students.networks import Student, build_student
from videocompressa.synthetic import SyntheticSet, fill_clips, take_keyframes

LABELS = ("soft", "hard")
"""Kinds of labels a set can carry: probabilities of a teacher, or the class of the video."""


@dataclass(frozen=True)
class TeacherConfig:
    """How teachers are trained on the real training clips, and how they label."""

    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(width=0.5, steps=1000, lr=2e-3, warmup_steps=50, precision="bfloat16")
    )
    """The student that becomes a teacher, and its training."""
    num_teachers: int = 1
    """Teachers whose probabilities are averaged."""
    num_views: int = 8
    """Augmented views a label is averaged over; the first is the clip itself."""
    temperature: float = 1.0
    """Of the soft labels."""
    as_stored: float = 0.5
    """Share in [0,1] of the clips that a teacher sees as the set will store them: K frames at random, through the
    codec, placed back. A teacher that never saw such clips labels them badly."""

    def __post_init__(self) -> None:
        if self.num_teachers < 1:
            raise InputError(f"teacher.num_teachers is {self.num_teachers}; it must be at least 1")
        check_views(self.num_views, self.temperature, "teacher.")
        if not 0 <= self.as_stored <= 1:
            raise InputError(f"teacher.as_stored is {self.as_stored}; it must be in [0,1]")


def check_labels(kind: str) -> None:
    """Raise unless `kind` is one of `LABELS`."""
    if kind not in LABELS:
        raise InputError(f"unknown labels {kind!r}; known: {', '.join(LABELS)}")


def real_clips(train_data: Candidates) -> LabeledClips:
    """View candidates as clips to train on."""
    return LabeledClips(train_data.frames, train_data.labels, train_data.normalization, train_data.classes)


@dataclass(frozen=True)
class RealClips:
    """What teachers are trained on: real clips, some of them as a set of K keyframes would store them."""

    train_data: Candidates
    codec: Codec
    keyframes: int
    fill: str
    as_stored: float

    def show(self, rows: Tensor, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the pixels (B,T,3,H,W) with a share of the clips replaced by their stored form."""
        stored = (torch.rand(len(rows), generator=generator) < self.as_stored).nonzero()[:, 0]
        if len(stored) == 0:
            return pixels
        draws = torch.rand((len(stored), pixels.shape[1]), generator=generator)
        positions = draws.topk(self.keyframes, dim=1).indices.sort(1).values
        latents = take_keyframes(self.train_data.latents[rows[stored]], positions).float().to(pixels.device)
        with torch.no_grad():
            frames = self.codec.decode(latents.flatten(0, 1)).clamp(0, 1)
        frames = frames.view(*latents.shape[:2], *frames.shape[1:]).to(pixels)
        pixels = pixels.clone()
        pixels[stored] = fill_clips(frames, positions.to(pixels.device), pixels.shape[1], self.fill)
        return pixels

    def train(
        self, config: TrainConfig, *, name: str, streams: Streams, device: torch.device, watch: Watch, stages: Stages
    ) -> Student:
        """Train one student, or take it from the finished stages; frozen, in evaluation mode."""

        def make() -> dict[str, Tensor]:
            views = streams.generator("stored")
            student = fit(
                real_clips(self.train_data),
                config,
                clip=self.train_data.clip,
                streams=streams,
                device=device,
                watch=watch,
                watch_name=name,
                show=(lambda rows, pixels: self.show(rows, pixels, views)) if self.as_stored else None,
            )
            return {key: value.cpu() for key, value in student.state_dict().items()}

        key = {
            "config": dataclasses.asdict(config),
            "stored": [self.keyframes, self.fill, self.as_stored, self.codec.spec.weights_sha256],
            "seed": [streams.seed, streams.scope],
        }
        student = build_student(
            config.student,
            num_classes=len(self.train_data.classes),
            clip=self.train_data.clip,
            generator=streams.generator("init"),
            width=config.width,
        )
        student.load_state_dict(stages.recall(name, key, make))
        return student.to(device).eval().requires_grad_(False)


def train_teachers(
    real: RealClips, config: TeacherConfig, *, rng: Streams, device: torch.device, watch: Watch, stages: Stages
) -> list[Student]:
    """Train `num_teachers` teachers, each from a seed of its own."""
    return [
        real.train(
            config.train,
            name="teacher",
            streams=rng.child(f"teacher/{number}"),
            device=device,
            watch=watch,
            stages=stages,
        )
        for number in range(config.num_teachers)
    ]


class NeedsTeacher(Protocol):
    """What a method's configuration says of its teachers."""

    @property
    def needs_teacher(self) -> bool:
        """Whether any is needed, for features or for soft labels."""
        ...

    @property
    def teacher(self) -> TeacherConfig:
        """How they are trained, and how they label."""
        ...


def teachers_of(
    config: NeedsTeacher,
    train_data: Candidates,
    codec: Codec,
    *,
    keyframes: int,
    fill: str,
    rng: Streams,
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> list[Student]:
    """Train the teachers that a method's configuration needs, on clips of `keyframes` as its set stores them; or none.

    Methods of one run with the same K, fill and codec share them, as stages.
    """
    if not config.needs_teacher:
        return []
    real = RealClips(train_data, codec, keyframes, fill, config.teacher.as_stored)
    return train_teachers(real, config.teacher, rng=rng, device=device, watch=watch, stages=stages)


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
    clips = LabeledClips(synthetic.clips(), synthetic.labels, synthetic.normalization, synthetic.classes)
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
