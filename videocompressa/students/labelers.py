"""Labelers are trained here: a small network learns what teachers say of every view of all training videos.

1. Views.  Batches of the training clips, changed as `LabelerSpec.views` says.
2. Labels. The mean probabilities of the teachers for each view: the same view for teacher and labeler (Beyer et al.
           2022), so that it learns their function, and not only their answers for the clips.
3. Round.  The weights, to a few bits each (`artifact/packing/weights.py`); what that costs is measured.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videocompressa.artifact.packing.weights import rounded
from videocompressa.clip import Candidates
from videocompressa.codecs import weights_sha256
from videocompressa.errors import check_least
from videocompressa.labeler import Agreement, Labeler, LabelerSpec
from videocompressa.networks import Student
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips, Labeling, LabelsOf
from videocompressa.students.precision import autocast
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips
from videocompressa.students.training import fit
from videocompressa.views import random_views

_AGREEMENT = "agreement"
"""Of the stage, besides the weights."""
# Views whose labels are compared.
_MOST_VIEWS, _BATCH = 512, 32


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
        check_least(self, "labeler.", steps=1, lr=0)

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
        weights = {name: tensor.cpu() for name, tensor in student.state_dict().items() if tensor.is_floating_point()}
        both = [Labeler(spec, each, clips.normalization) for each in (weights, rounded(weights, spec.bits))]
        return {**weights, _AGREEMENT: agreement_on(clips, labeling, both, part)}

    key = {
        "config": dataclasses.asdict(config.train),
        "bits": spec.bits,
        "views": dataclasses.asdict(spec.views),
        "teachers": [weights_sha256(teacher.state_dict()) for teacher in teachers],
    }
    weights = part.recall("labeler", key, compute)
    agreement = Agreement(*(round(float(share), 3) for share in weights.pop(_AGREEMENT)))
    return Labeler(spec, rounded(weights, spec.bits), train_data.normalization, agreement).to(run.device)


@torch.no_grad()
def agreement_on(clips: LabeledClips, labeling: Labeling, labelers: Sequence[Labeler], run: Run) -> Tensor:
    """Return for each labeler the share of views, unlike those of its training, that it labels as `labeling` does."""
    draws, agreed, total = run.generator("agreement"), torch.zeros(len(labelers)), 0
    for rows in torch.split(torch.randperm(len(clips), generator=draws)[:_MOST_VIEWS], _BATCH):
        pixels, _ = random_views(clips.pixels(rows, run.device), labeling.views, draws)
        wanted = labeling.labels_of(pixels).argmax(1)
        answers = [labeler.to(run.device)(pixels).argmax(1) for labeler in labelers]
        agreed += torch.tensor([int((answer == wanted).sum()) for answer in answers])
        total += len(rows)
    return agreed / total


def mean_of(teachers: Sequence[Student], train_data: Candidates, precision: str) -> LabelsOf:
    """Return what labels pixels by the mean probabilities of teachers."""

    @torch.no_grad()
    def labels_of(pixels: Tensor) -> Tensor:
        clips = train_data.normalization.apply(pixels)
        with autocast(precision, pixels.device):
            return torch.stack([teacher(clips).float().softmax(1) for teacher in teachers]).mean(0)

    return labels_of
