"""Labels as the file holds them: float16 rows that sum to exactly 1.

The rounding is its own fixed point, so what was read is written again as the same bytes: a row sums to exactly 1, and
reading, which divides by the sum, changes nothing. How latents are rounded stands in `packing/int8.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def round_labels(labels: Tensor) -> Tensor:
    """Round (N,L) probabilities to float16 with rows that sum to exactly 1, on the CPU; none moves by over 2^-10.

    The rounding error of each entry is handed to the next smaller one, whose steps are finer (our choice: error
    diffusion; plain rounding leaves sums off by up to 2^-11, and reading could not undo it without moving bytes).
    """
    exact = labels.detach().cpu().double()
    exact = exact / exact.sum(1, keepdim=True)
    order = exact.argsort(dim=1, descending=True, stable=True)
    descending = exact.gather(1, order)
    rounded = torch.zeros_like(descending)
    error = torch.zeros(len(exact), dtype=torch.float64)
    for column in range(exact.shape[1]):
        wanted = descending[:, column] + error
        rounded[:, column] = wanted.half().double().clamp(min=0)
        error = wanted - rounded[:, column]
    rest = 1 - rounded.sum(1)
    for column in reversed(range(exact.shape[1])):  # near powers of two a larger entry may have finer steps
        if not bool(rest.any()):
            break
        candidate = rounded[:, column] + rest
        fits = (candidate.half().double() == candidate) & (candidate >= 0)
        rounded[:, column] = torch.where(fits, candidate, rounded[:, column])
        rest = torch.where(fits, 0.0, rest)
    return torch.empty_like(rounded).scatter_(1, order, rounded).half()
