"""Numbers as the file holds them: int8 latents with float16 scales, and float16 labels whose rows sum to exactly 1.

Both roundings are their own fixed points: what was read is written again as the same bytes.

- A float16 scale has 11 significant bits and an int8 value 7, so their product is exact in float32, and quantising it
  again finds the same scale and the same integers.
- A row of labels sums to exactly 1, so that reading, which divides by the sum, changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from videocompressa.errors import InputError

SMALLEST_SCALE = 2.0**-14
"""A quantisation step is never finer than the smallest normal float16; latents have unit variance."""


def quantise(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise (N,K,C,h,w) float latents to int8 in [-127,127] and (N,C) float16 scales (absmax / 127).

    Off by at most half a scale anywhere; quantising what `dequantise` returns gives the same numbers. Raises
    `InputError` when a value is not finite or too large for a float16 scale (8.3 million).
    """
    largest = latents.abs().amax(dim=(1, 3, 4)).float()
    scales = (largest / 127).clamp(min=SMALLEST_SCALE).half()
    if not bool(torch.isfinite(scales).all()):
        raise InputError(f"latents reach {float(largest.max()):g}; scaled latents must be finite and below 8.3e6")
    steps = scales.float()[:, None, :, None, None]
    return (latents.float() / steps).round().clamp(-127, 127).to(torch.int8), scales


def dequantise(quantised: Tensor, scales: Tensor) -> Tensor:
    """Return float32 latents (N,K,C,h,w) of int8 ones and their (N,C) scales; the product is exact."""
    return quantised.float() * scales.float()[:, None, :, None, None]


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
