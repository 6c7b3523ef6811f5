"""Numbers of a file as bytes: latents as int8 with float16 scales, soft labels as one byte a class (`docs/format.md`).

Soft labels are coded by square roots (our choice), because most of the 255 codes then serve a teacher's small
probabilities: the smallest share that is not lost is (0.5/255)^2 = 3.8e-6 of the largest, where plain bytes would end
at 2e-3.

The largest error: with L classes no probability moves by more than sqrt(L - 1) / 510. Proof: p are the squares of the
unit vector along v = sqrt(p / max p), whose norm is at least 1, and codes / 255 are off by 1/510 in each of at most
L - 1 entries (the largest is exact), so the angle t between the two has sin t <= sqrt(L - 1) / 510; and the squares of
an entry in two unit vectors differ by at most the norm of the difference of their projections, which is sin t.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from videocompressa.errors import InputError

SMALLEST_SCALE = 2.0**-14
"""A quantization step is never finer than the smallest normal float16; latents have unit variance."""
LARGEST_CODE = 255


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
    return (latents.float() / steps).round_().clamp_(-127, 127).to(torch.int8), scales


def dequantize(quantized: Tensor, scales: Tensor) -> Tensor:
    """Return float32 latents (N,K,C,h,w) of int8 ones and their (N,C) scales; the product is exact."""
    return quantized.float().mul_(scales.float()[:, None, :, None, None])


def check_stored(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `InputError` unless each tensor has its shape and holds numbers that a packing writes.

    Those are int8 within [-127,127], or finite floats, which are positive where the tensor's name ends in "scales".
    """
    for name, shape in shapes.items():
        numbers = tensors[name]
        if tuple(numbers.shape) != shape:
            raise InputError(f"tensor {name} has shape {tuple(numbers.shape)}; it must be {shape}")
        if numbers.dtype == torch.int8:
            problem, sound = "-128; its int8 numbers must be in [-127,127]", numbers != -128
        elif name.endswith("scales"):
            problem, sound = "values that are not finite and positive", torch.isfinite(numbers) & (numbers > 0)
        else:
            problem, sound = "values that are not finite", torch.isfinite(numbers)
        if not bool(sound.all()):
            raise InputError(f"tensor {name} holds {problem}")


def bytes_of(name: str, tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a tensor (bytes,) uint8; raises `InputError` for another shape or no bytes."""
    tensor = tensors[name]
    if tensor.ndim != 1 or len(tensor) == 0:
        raise InputError(f"tensor {name} has shape {tuple(tensor.shape)}; it must be (bytes,), not empty")
    return tensor.numpy().tobytes()


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
