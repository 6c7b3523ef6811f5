"""Labelers for tests: random ones, and teachers of planted truth that need no training."""

from __future__ import annotations

import torch
from torch import Tensor

from videocompressa.artifact.packing.weights import rounded
from videocompressa.clip import Normalization
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.networks import Student, build_student
from videocompressa.views import Views

HALF = Normalization((0.5,) * 3, (0.25,) * 3)
SMALL_SPEC = LabelerSpec("framenet2d", width=0.0625, bits=4, views=Views(crop=0.7, scenes=0.25, mix=0.5))
"""A network for clips of any size."""


def random_labeler(
    spec: LabelerSpec = SMALL_SPEC, num_classes: int = 2, seed: int = 0, normalization: Normalization = HALF
) -> Labeler:
    """Return a labeler of random weights, as a file stores them."""
    draws = torch.Generator().manual_seed(seed)
    student = build_student(spec.network, num_classes, (8, 64, 64), draws, width=spec.width)
    weights = {name: tensor for name, tensor in student.state_dict().items() if tensor.is_floating_point()}
    return Labeler(spec, rounded(weights, spec.bits), normalization)


class Brightness(Student):
    """A teacher that was never trained: the brighter the normalized clip, the surer it is of class 1."""

    def __init__(self, middle: float = 0.0, sureness: float = 4.0) -> None:
        super().__init__()
        self.num_classes = 2
        self.register_buffer("middle", torch.tensor(middle))
        self.register_buffer("sureness", torch.tensor(sureness))

    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        return volume.mean((1, 2, 3, 4), keepdim=True)

    def _head(self, body: Tensor) -> Tensor:
        amount = (body.flatten(1) - self.get_buffer("middle")) * self.get_buffer("sureness")
        return torch.cat([-amount, amount], dim=1)
