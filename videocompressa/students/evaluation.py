"""Predictions of trained students, how right they are, and soft labels made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videocompressa.errors import InputError
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips
from videocompressa.students.networks import Student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.views import augmented

BATCH_SIZE = 64
"""Clips judged at a time."""


@dataclass(frozen=True)
class Scores:
    """How well one student does on one test set."""

    top1: float
    """In [0,1]."""
    top5: float
    """In [0,1]: the label is among the 5 likeliest classes (among all L where L < 5)."""
    per_class: Tensor
    """(L,) float64: top-1 in [0,1] of each class, NaN where the test set has no clip of it."""
    confusion: Tensor
    """(L,L) int64: clips of class (row) predicted as class (column)."""
    num_clips: int


def student_features(student: Student, data: LabeledClips, device: torch.device) -> Tensor:
    """Return features (N,D) float32 on the CPU, of unchanged clips, by a student in evaluation mode."""
    return _over_batches(data, device, lambda clips: student.features(clips).float())


def predict(student: Student, data: LabeledClips, device: torch.device) -> Tensor:
    """Return class probabilities (N,L) float32 on the CPU; the student is left in the mode it came in."""
    return _probabilities(student, data, device)


def evaluate(student: Student, data: LabeledClips, device: torch.device) -> Scores:
    """Judge a student on unchanged clips; soft labels count by their most likely class."""
    return score(predict(student, data, device), data.hard_labels)


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """Score predictions (N,L) float against labels (N,) int64; ties go to the lower class."""
    num_clips, num_classes = probabilities.shape
    if num_clips == 0:
        raise InputError("the test set holds no clips; give at least one to evaluate on")
    ranked = probabilities.argsort(dim=1, descending=True, stable=True)
    hits = ranked[:, :5] == labels[:, None]
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    confusion.index_put_((labels, ranked[:, 0]), torch.ones_like(labels), accumulate=True)
    return Scores(
        top1=float(hits[:, 0].double().mean()),
        top5=float(hits.any(1).double().mean()),
        per_class=confusion.diagonal().double() / confusion.sum(1).double(),
        confusion=confusion,
        num_clips=num_clips,
    )


def check_views(num_views: int, temperature: float, prefix: str = "") -> None:
    """Raise unless `soft_labels` can label so; `prefix` goes before the names of both."""
    if num_views < 1:
        raise InputError(f"{prefix}num_views is {num_views}; it must be at least 1 (1: the clip itself)")
    if not 0 < temperature < math.inf:
        raise InputError(f"{prefix}temperature is {temperature}; it must be above 0 (1: probabilities as they are)")


def soft_labels(
    teachers: Sequence[Student],
    data: LabeledClips,
    run: Run,
    *,
    num_views: int,
    config: TrainConfig,
    temperature: float,
) -> Tensor:
    """Label clips by teachers: mean of softmax(logits / temperature) over teachers and views, (N,L) float32.

    The first view is the clip itself; the others are augmented as `config` says, the same views for every teacher.
    Stream "views" is drawn from.
    """
    if not teachers:
        raise InputError("soft labels need at least one teacher, got none; train one or use hard labels")
    check_views(num_views, temperature)
    total = torch.zeros(len(data), len(data.classes), dtype=torch.float64)
    for view in range(num_views):
        for teacher in teachers:
            draws = None if view == 0 else run.generator(f"views/{view}")
            total += _probabilities(teacher, data, run.device, temperature, config, draws)
    return (total / total.sum(1, keepdim=True)).float()


def _probabilities(
    student: Student,
    data: LabeledClips,
    device: torch.device,
    temperature: float = 1.0,
    config: TrainConfig | None = None,
    draws: torch.Generator | None = None,
) -> Tensor:
    """Return probabilities (N,L) of clips, or of one augmented view of each by `config` where there are `draws`."""
    if student.num_classes != len(data.classes):
        raise InputError(f"the student knows {student.num_classes} classes, the clips have {len(data.classes)}")
    was_training = student.training
    student.to(device).eval()
    augment = None if config is None or draws is None else lambda pixels: augmented(pixels, config, draws)
    logits = _over_batches(data, device, lambda clips: (student(clips).float() / temperature).softmax(1), augment)
    student.train(was_training)
    return logits if len(data) else torch.zeros(0, student.num_classes)


@torch.no_grad()
def _over_batches(
    data: LabeledClips,
    device: torch.device,
    function: Callable[[Tensor], Tensor],
    augment: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return `function` of all normalized clips, batch by batch, on the CPU."""
    results = []
    for rows in torch.split(torch.arange(len(data)), BATCH_SIZE):
        pixels = data.pixels(rows, device)
        clips = data.normalization.apply(pixels if augment is None else augment(pixels))
        results.append(function(clips).cpu())
    return torch.cat(results) if results else torch.zeros(0)
