"""Labelers for tests: random ones."""

from __future__ import annotations

import torch

from videocompressa.artifact.packing.weights import rounded
from videocompressa.clip import Normalization
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.networks import build_student
from videocompressa.views import Views

HALF = Normalization((0.5,) * 3, (0.25,) * 3)
SMALL_SPEC = LabelerSpec("framenet2d", width=0.0625, bits=4, views=Views(crop=0.7, scenes=0.25, mix=0.5))
"""A network for clips of any size."""


STRONG = Views(crop=0.6, color=0.3, time=0.5, scenes=0.5, mix=0.5)
"""Every change."""


def random_labeler(
    spec: LabelerSpec = SMALL_SPEC, num_classes: int = 2, seed: int = 0, normalization: Normalization = HALF
) -> Labeler:
    """Return a labeler of random weights, as a file stores them."""
    draws = torch.Generator().manual_seed(seed)
    student = build_student(spec.network, num_classes, (8, 64, 64), draws, width=spec.width)
    weights = {name: tensor for name, tensor in student.state_dict().items() if tensor.is_floating_point()}
    return Labeler(spec, rounded(weights, spec.bits), normalization)
