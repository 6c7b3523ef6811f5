"""Labelers are trained here: a small network learns what teachers say of every view of all training videos.

1. Views.  Batches of the training clips, changed as `LabelerSpec.views` says.
2. Labels. The mean probabilities of the teachers for each view: the same view for teacher and labeler (Beyer et al.
           2022), so that it learns their function, and not only their answers for the clips.
3. Round.  The weights, to a few bits each (`artifact/packing/weights.py`).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videocompressa.artifact.packing.weights import rounded
from videocompressa.clip import Candidates
from videocompressa.codecs import weights_sha256
from videocompressa.errors import InputError, check_least
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.networks import Student
from videocompressa.run import Run
from videocompressa.students.clips import Labeling, LabelsOf
from videocompressa.students.precision import autocast
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips
from videocompressa.students.training import fit


@dataclass(frozen=True)
class LabelerConfig:
    """The labeler of labels "views", and how it learns from the teachers."""

    spec: LabelerSpec = field(default_factory=LabelerSpec)
    """Its network, bits and views."""
    steps: int = 1600
    """Optimizer steps, >= 1."""
    lr: float = 2e-3
    """Highest learning rate, > 0."""

    def __post_init__(self) -> None:
        check_least(self, "labeler.", steps=1)
        if not 0 < self.lr < math.inf:
            raise InputError(f"labeler.lr is {self.lr}; it must be above 0")

    @property
    def train(self) -> TrainConfig:
        """How it is trained."""
        spec = self.spec
        return TrainConfig(student=spec.network, width=spec.width, steps=self.steps, lr=self.lr)


def train_labeler(train_data: Candidates, teachers: Sequence[Student], config: LabelerConfig, run: Run) -> Labeler:
    """Return a labeler of all that the teachers know; a finished stage. Its weights are those that a file stores."""
    spec, part = config.spec, run.child("labeler")
    labeling = Labeling(mean_of(teachers, train_data, config.train.precision), spec.views)
    clips = dataclasses.replace(real_clips(train_data), labeling=labeling)

    def compute() -> dict[str, Tensor]:
        student = fit(clips, config.train, part, step_name="labeler")
        return {name: tensor.cpu() for name, tensor in student.state_dict().items() if tensor.is_floating_point()}

    key = {
        "config": dataclasses.asdict(config.train),
        "views": dataclasses.asdict(spec.views),
        "teachers": [weights_sha256(teacher.state_dict()) for teacher in teachers],
    }
    weights = part.recall("labeler", key, compute)
    return Labeler(spec, rounded(weights, spec.bits), train_data.normalization).to(run.device)


def mean_of(teachers: Sequence[Student], train_data: Candidates, precision: str) -> LabelsOf:
    """Return what labels pixels by the mean probabilities of teachers."""

    @torch.no_grad()
    def labels_of(pixels: Tensor) -> Tensor:
        clips = train_data.normalization.apply(pixels)
        with autocast(precision, pixels.device):
            return torch.stack([teacher(clips).float().softmax(1) for teacher in teachers]).mean(0)

    return labels_of
