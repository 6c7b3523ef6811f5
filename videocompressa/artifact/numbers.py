"""Soft labels as the file holds them: one byte a class, the square root of its share of the row's largest probability.

1. c = round(255 sqrt(p / max p)): a row's largest code is 255.
2. p = c^2 / sum c^2.

Our choice: square roots, because they spend the 255 steps where a teacher's small probabilities lie: the smallest share
that is not lost is (0.5/255)^2 = 3.8e-6 of the largest, where plain bytes would end at 2e-3.

The largest error: with L classes no probability moves by more than sqrt(L - 1) / 510. Proof: p are the squares of the
unit vector along v = sqrt(p / max p), whose norm is at least 1, and codes / 255 are off by 1/510 in each of at most
L - 1 entries (the largest is exact), so the angle t between the two has sin t <= sqrt(L - 1) / 510; and the squares of
an entry in two unit vectors differ by at most the norm of the difference of their projections, which is sin t.

The rounding is its own fixed point: reading gives (c/255)^2 = p / max p but for rounding of float32. How latents are
rounded stands in `packing/int8.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_CODE = 255


def label_codes(labels: Tensor) -> Tensor:
    """Return the codes (N,L) uint8, on the CPU, of probabilities (N,L) whose rows are not all zero."""
    exact = labels.detach().cpu().double()
    return (LARGEST_CODE * (exact / exact.amax(1, keepdim=True)).sqrt()).round().to(torch.uint8)


def labels_of(codes: Tensor) -> Tensor:
    """Return probabilities (N,L) float32, rows summing to 1, of codes whose rows are not all zero."""
    shares = codes.double().square()
    return (shares / shares.sum(1, keepdim=True)).float()


def largest_label_error(num_classes: int) -> float:
    """Return how far storing may move a probability."""
    return math.sqrt(num_classes - 1) / (2 * LARGEST_CODE)
