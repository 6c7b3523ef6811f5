"""Predictions of trained students, and their scores."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from videocompressa.errors import InputError
from videocompressa.students.clips import LabeledClips
from videocompressa.students.networks import Student

Augment = Callable[[Tensor], Tensor]
"""Pixels (B,T,3,H,W) float32 in [0,1] -> pixels of the same shape."""
BATCH_SIZE = 64
"""Clips of one forward pass."""


@dataclass(frozen=True)
class Scores:
    """Scores of one student on one test set."""

    top1: float
    """In [0,1]."""
    top5: float
    """In [0,1]: the label is among the 5 likeliest classes (among all L where L < 5)."""
    per_class: Tensor
    """(L,) float64: top-1 in [0,1] of each class, NaN where the test set has no clip of it."""
    confusion: Tensor
    """(L,L) int64: clips of class (row) predicted as class (column)."""


def student_features(student: Student, data: LabeledClips, device: torch.device) -> Tensor:
    """Return features (N,D) float32 of unchanged clips on the CPU; the student must be in evaluation mode."""
    return _over_batches(data, device, lambda clips: student.features(clips).float())


def predict(
    student: Student, data: LabeledClips, device: torch.device, temperature: float = 1.0, augment: Augment | None = None
) -> Tensor:
    """Return class probabilities softmax(logits / temperature) (N,L) float32 on the CPU, in evaluation mode.

    `augment` may change the pixels of a batch. The student is left in the mode it came in.
    """
    if student.num_classes != len(data.classes):
        raise InputError(f"the student knows {student.num_classes} classes, the clips have {len(data.classes)}")
    was_training = student.training
    student.to(device).eval()
    probabilities = _over_batches(
        data, device, lambda clips: (student(clips).float() / temperature).softmax(1), augment
    )
    student.train(was_training)
    return probabilities.view(len(data), student.num_classes)


def evaluate(student: Student, data: LabeledClips, device: torch.device) -> Scores:
    """Score a student on unchanged clips; soft labels count by their most likely class."""
    return score(predict(student, data, device), data.hard_labels)


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """Score predictions (N,L) float against labels (N,) int64; ties go to the lower class."""
    num_classes = probabilities.shape[1]
    if len(labels) == 0:
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
    )


@torch.no_grad()
def _over_batches(
    data: LabeledClips, device: torch.device, function: Callable[[Tensor], Tensor], augment: Augment | None = None
) -> Tensor:
    """Return `function` of all normalized clips, batch by batch, on the CPU."""
    results = []
    for rows in torch.split(torch.arange(len(data)), BATCH_SIZE):
        pixels = data.pixels(rows, device)
        clips = data.normalization.apply(pixels if augment is None else augment(pixels))
        results.append(function(clips).cpu())
    return torch.cat(results) if results else torch.zeros(0)
