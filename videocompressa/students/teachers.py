"""Teachers: students trained on all real clips, which label synthetic clips and guide their synthesis.

A teacher costs as much as full-data training, so it is a stage: trained once for a training split and kept.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from videocompressa.clip import Candidates, DecodedSplit, Normalization
from videocompressa.codecs import Codec, weights_sha256
from videocompressa.errors import InputError, check_least, check_within
from videocompressa.fill import fill_clips
from videocompressa.networks import STUDENTS, FeatureClassifier, Student
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import predict, student_features
from videocompressa.students.named import FROZEN, parse_student
from videocompressa.students.probe import features_of, fit_probe
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import fit_kept
from videocompressa.synthetic import SyntheticSet, take_keyframes
from videocompressa.views import augmented

LABELS = ("soft", "hard", "views")
"""Kinds of labels a set can carry: probabilities of a teacher; the class of the video; or that, and a labeler."""

Teacher = Student | FeatureClassifier
"""A network of the literature, or a layer on the features of a pretrained one."""


@dataclass(frozen=True)
class TeacherConfig:
    """How teachers are trained on the real training clips, and how they label."""

    train: TrainConfig = field(default_factory=TrainConfig)
    """The student that becomes a teacher, and its training: a network of the literature, or a probe of a pretrained one
    (hf:..., timm:... or FILE.py:FUNCTION:probe), which sees the real clips only, `train.probe_views` of each."""
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
        parts = parse_student(self.train.student)
        if parts.kind != "network" and not parts.is_frozen:
            raise InputError(
                f"teacher.train.student is {self.train.student!r}; it must be one of {', '.join(STUDENTS)}, or a "
                f"pretrained network in mode {' or '.join(FROZEN)}"
            )
        check_least(self, "teacher.", num_teachers=1, num_views=1)
        check_within(self, "teacher.", temperature="(0,inf)", as_stored="[0,1]")


def real_clips(videos: DecodedSplit, normalization: Normalization | None = None) -> LabeledClips:
    """View the videos of a split as labeled clips; `normalization` is that of training where they are a test."""
    return LabeledClips(videos.frames, videos.labels, normalization or videos.normalization, videos.classes)


@dataclass(frozen=True)
class RealClips:
    """Training clips of teachers: real ones, some of them as a set of K keyframes would store them."""

    train_data: Candidates
    codec: Codec
    keyframes: int
    fill: str
    as_stored: float

    def view(self, rows: Tensor, pixels: Tensor, generator: torch.Generator) -> Tensor:
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

    def train(self, config: TrainConfig, run: Run, *, name: str) -> Student:
        """Train one student (a stage); it is frozen and in evaluation mode."""
        key = {"stored": [self.keyframes, self.fill, self.as_stored, self.codec.spec.weights_sha256]}
        view = self.view if self.as_stored else None
        student = fit_kept(real_clips(self.train_data), config, run, name=name, key=key, view=view)
        assert isinstance(student, Student)
        return student.requires_grad_(False)


def train_teachers(real: RealClips, config: TeacherConfig, run: Run) -> Sequence[Teacher]:
    """Train `num_teachers` teachers, each from a seed of its own."""
    clips, frozen = real_clips(real.train_data), parse_student(config.train.student).is_frozen

    def train(number: int) -> Teacher:
        part = run.child(f"teacher/{number}").part(number, config.num_teachers)
        if frozen:
            return fit_probe(clips, config.train, part).requires_grad_(False)
        return real.train(config.train, part, name="teacher")

    run.group.share(config.num_teachers, train)
    return [train(number) for number in range(config.num_teachers)]


def teacher_features(teacher: Teacher, train_data: Candidates, run: Run) -> Tensor:
    """Return the features (N,D) float32 of the real clips, on the CPU; a finished stage."""
    clips = real_clips(train_data)
    if isinstance(teacher, FeatureClassifier):
        return features_of(teacher, clips, run)
    key = {"weights": weights_sha256(teacher.state_dict())}
    compute = partial(student_features, teacher, clips, run.device)
    return run.recall("clip-features", key, lambda: {"features": compute()})["features"]


def recognized(train_data: Candidates, teachers: Sequence[Teacher], run: Run) -> Tensor:
    """Return (N,) bool: the clips whose class the first teacher gets right; all where there is no teacher."""
    if not teachers:
        return torch.ones(len(train_data), dtype=torch.bool)
    features = teacher_features(teachers[0], train_data, run).to(run.device)
    return teachers[0].classify(features).argmax(1).cpu() == train_data.labels


def soft_labels(teachers: Sequence[Teacher], data: LabeledClips, config: TeacherConfig, run: Run) -> Tensor:
    """Label clips by teachers: mean of softmax(logits / temperature) over teachers and views, (N,L) float32.

    The first view is the clip itself; the others are augmented, the same for every teacher.
    """
    if not teachers:
        raise InputError("soft labels need at least one teacher, got none; train one or use hard labels")
    total = torch.zeros(len(data), len(data.classes), dtype=torch.float64)
    for number in range(config.num_views):
        for teacher in teachers:
            draws = run.generator(f"labels/views/{number}")
            augment = partial(augmented, views=config.train.views, generator=draws) if number else None
            total += predict(teacher, data, run.device, temperature=config.temperature, augment=augment)
        run.watch("labels", done=number + 1, total=config.num_views)
    return (total / total.sum(1, keepdim=True)).float()


def relabel(synthetic: SyntheticSet, teachers: Sequence[Teacher], config: TeacherConfig, run: Run) -> SyntheticSet:
    """Give a set the soft labels of teachers for its decoded clips (step 8 of the method)."""
    clips = LabeledClips.of_set(synthetic)
    return dataclasses.replace(synthetic, labels=soft_labels(teachers, clips, config, run))
