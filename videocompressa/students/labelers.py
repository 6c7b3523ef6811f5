"""Labelers are trained here: a small network learns all training videos, and its weights are rounded.

1. Train. With hard labels, by the recipe that is best for full data: what a network learned directly was as good as
          what it learned from larger teachers, which need not be trained (docs/log.md).
2. Round. The weights, to a few bits each (`artifact/packing/weights.py`); what that changes is measured.
"""

import dataclasses
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videocompressa.artifact.packing.weights import rounded
from videocompressa.clip import Candidates
from videocompressa.errors import InputError, check_least
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips
from videocompressa.students.training import fit
from videocompressa.views import Views, random_views

_AGREEMENT = "agreement"
"""Of the stage, besides the weights."""
# Views whose labels are compared.
_MOST_VIEWS, _BATCH = 512, 32


@dataclass(frozen=True)
class LabelerConfig:
    """The labeler of labels "views", and how it learns the training videos."""

    spec: LabelerSpec = field(default_factory=LabelerSpec)
    """Its network, its bits, and the views that it labels."""
    steps: int = 1600
    """Optimizer steps, >= 1: those of a student. After more, it is surer of its training videos and teaches less."""
    lr: float = 2e-3
    """Highest learning rate, > 0."""
    views: Views = field(default_factory=Views)
    """The views that it learns from: those that are best for hard labels."""

    def __post_init__(self) -> None:
        check_least(self, "labeler.", steps=1)
        if not 0 < self.lr < math.inf:
            raise InputError(f"labeler.lr is {self.lr}; it must be above 0")

    @property
    def train(self) -> TrainConfig:
        """How it is trained."""
        spec = self.spec
        return TrainConfig(student=spec.network, width=spec.width, steps=self.steps, lr=self.lr, views=self.views)


def train_labeler(train_data: Candidates, config: LabelerConfig, run: Run) -> Labeler:
    """Return a labeler that learned the training videos; a finished stage. Its weights are those that a file stores."""
    spec, part, clips = config.spec, run.child("labeler"), real_clips(train_data)

    def compute() -> dict[str, Tensor]:
        student = fit(clips, config.train, part, step_name="labeler")
        weights = {name: tensor.cpu() for name, tensor in student.state_dict().items() if tensor.is_floating_point()}
        return {**weights, _AGREEMENT: torch.tensor(agreement(clips, weights, spec, part))}

    key = {"config": dataclasses.asdict(config.train), "bits": spec.bits, "views": dataclasses.asdict(spec.views)}
    weights = run.group.main_first(lambda: part.recall("labeler", key, compute))
    share = round(float(weights.pop(_AGREEMENT)), 3)
    return Labeler(spec, rounded(weights, spec.bits), train_data.normalization, share).to(run.device)


def agreement(clips: LabeledClips, weights: dict[str, Tensor], spec: LabelerSpec, run: Run) -> float:
    """Return the share of views on which rounded weights name the class that the weights name, in [0,1]."""
    draws, agreed, total = run.generator("agreement"), 0, 0
    both = [Labeler(spec, each, clips.normalization).to(run.device) for each in (weights, rounded(weights, spec.bits))]
    for rows in torch.split(torch.randperm(len(clips), generator=draws)[:_MOST_VIEWS], _BATCH):
        pixels, _ = random_views(clips.pixels(rows, run.device), spec.views, draws)
        before, after = (labeler(pixels).argmax(1) for labeler in both)
        agreed, total = agreed + int((before == after).sum()), total + len(rows)
    return agreed / total
