"""What trained students say of clips, and how right they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.students.clips import LabeledClips
from videocompressa.students.networks import Student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.views import augmented


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
    """(L,L) int64: clips of class (row) taken for class (column)."""
    num_clips: int


@torch.no_grad()
def student_features(student: Student, data: LabeledClips, *, device: torch.device, batch_size: int = 64) -> Tensor:
    """Return features (N,D) float32 on the CPU, of unchanged clips, by a student in evaluation mode."""
    batches = torch.split(torch.arange(len(data)), batch_size)
    return torch.cat(
        [student.features(data.normalization.apply(data.pixels(rows, device))).float().cpu() for rows in batches]
    )


def predict(student: Student, data: LabeledClips, *, device: torch.device, batch_size: int = 64) -> Tensor:
    """Return class probabilities (N,L) float32 on the CPU; the student is left in the mode it came in."""
    return _probabilities(student, data, device=device, batch_size=batch_size)


def evaluate(student: Student, data: LabeledClips, *, device: torch.device, batch_size: int = 64) -> Scores:
    """Judge a student on unchanged clips; soft labels count by their most likely class."""
    probabilities = predict(student, data, device=device, batch_size=batch_size)
    return score(probabilities, data.hard_labels)


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
    """Raise unless `soft_labels` can label so; `prefix` stands before the names of both."""
    if num_views < 1:
        raise InputError(f"{prefix}num_views is {num_views}; it must be at least 1 (1: the clip itself)")
    if not 0 < temperature < math.inf:
        raise InputError(f"{prefix}temperature is {temperature}; it must be above 0 (1: probabilities as they are)")


def soft_labels(
    teachers: Sequence[Student],
    data: LabeledClips,
    *,
    num_views: int,
    config: TrainConfig,
    temperature: float,
    streams: Streams,
    device: torch.device,
    batch_size: int = 64,
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
            draws = None if view == 0 else streams.generator(f"views/{view}")
            total += _probabilities(
                teacher, data, device=device, batch_size=batch_size, temperature=temperature, config=config, draws=draws
            )
    return (total / total.sum(1, keepdim=True)).float()


@torch.no_grad()
def _probabilities(
    student: Student,
    data: LabeledClips,
    *,
    device: torch.device,
    batch_size: int,
    temperature: float = 1.0,
    config: TrainConfig | None = None,
    draws: torch.Generator | None = None,
) -> Tensor:
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    if student.num_classes != len(data.classes):
        raise InputError(f"the student knows {student.num_classes} classes, the clips have {len(data.classes)}")
    was_training = student.training
    student.to(device).eval()
    rows: list[Tensor] = []
    for start in range(0, len(data), batch_size):
        pixels = data.pixels(torch.arange(start, min(start + batch_size, len(data))), device)
        if config is not None and draws is not None:
            pixels = augmented(pixels, config, draws)
        logits = student(data.normalization.apply(pixels)).float()
        rows.append((logits / temperature).softmax(1).cpu())
    student.train(was_training)
    return torch.cat(rows) if rows else torch.zeros(0, student.num_classes)
