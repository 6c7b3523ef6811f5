"""Numbers as int8 with float16 scales, an item and channel each: how a file holds latents, and the core of packed ones.

The rounding is its own fixed point: a float16 scale has 11 significant bits and an int8 value 7, so their product is
exact in float32, and quantizing it again finds the same scale and the same integers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from videocompressa.errors import InputError

SMALLEST_SCALE = 2.0**-14
"""A quantization step is never finer than the smallest normal float16; latents have unit variance."""


def quantize(latents: Tensor, name: str = "latents") -> tuple[Tensor, Tensor]:
    """Quantize (N,K,C,h,w) float numbers to int8 in [-127,127] and (N,C) float16 scales (absmax / 127).

    Off by at most half a scale anywhere; quantizing what `dequantize` returns gives the same numbers. Raises
    `InputError` when a value is not finite or too large for a float16 scale (8.3 million).
    """
    largest = latents.abs().amax(dim=(1, 3, 4)).float()
    scales = (largest / 127).clamp(min=SMALLEST_SCALE).half()
    if not bool(torch.isfinite(scales).all()):
        raise InputError(f"{name} reach {float(largest.max()):g}; they must be finite and below 8.3e6")
    steps = scales.float()[:, None, :, None, None]
    return (latents.float() / steps).round().clamp(-127, 127).to(torch.int8), scales


def dequantize(quantized: Tensor, scales: Tensor) -> Tensor:
    """Return float32 latents (N,K,C,h,w) of int8 ones and their (N,C) scales; the product is exact."""
    return quantized.float() * scales.float()[:, None, :, None, None]
