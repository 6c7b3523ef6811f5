"""Entropy-coded transform coefficients: latents as a picture codec stores them, at a few bytes a keyframe.

Symbols: X (N,K,C,h,w) scaled latents, F coefficients, q integers, s_c step of channel c, S their common size.

1. F = orthonormal DCT-II of X over K, h and w (Ahmed, Natarajan and Rao 1974), an item and channel at a time.
2. s_c = S / g_c, rounded to float16, where g_c is how far the decoder's pixels move with channel c (`channel_weights`;
   1 on average): equal steps in pixels are the best split of bits, as in every transform codec (Goyal 2001).
3. q = sign(F) floor(|F| / s_c + 0.35): below 1/2, more becomes 0, which costs the least (a dead zone).
4. The file holds s and the stream of q (`coefficients`, `range_coder`), which adapts as it is read and needs no tables.
5. Back: X' = inverse DCT of q s, in float64, rounded to float32 once, so that no order of summation shows.

"transform-low" is the same for pixels, whose high frequencies are nearly all 0: step 4 codes the q of the lowest k of
K, h' of h and w' of w frequencies alone, the fewest that hold all that is not 0, and the stream begins with the three
numbers. It is several times as fast there.

No paper of the field does this; VDSD, LVDD and others store all numbers at one width. Our choice: no centroid shift in
step 5, and one rounding for all sizes; other pairs gained at most 0.1 dB at equal bytes on two real sets.
"""

import bisect
import math
import struct
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videocompressa.artifact.packing.coefficients import LARGEST, MOST_PER_BYTE, walk
from videocompressa.artifact.packing.quantization import bytes_of
from videocompressa.artifact.packing.range_coder import RangeDecoder, RangeEncoder
from videocompressa.errors import BudgetError, InputError
from videocompressa.synthetic import Decoder

NAME, LOW = "transform", "transform-low"

TENSORS = {"steps": "F16", "stream": "U8"}
"""Tensors of the file and their dtypes as safetensors writes them."""

ROUNDING = 0.35
"""Of step 3."""
SMALLEST_STEP, LARGEST_STEP = 2.0**-14, 65504.0
"""Steps are normal float16 numbers."""
MOST_NUMBERS = 1 << 28
"""Most numbers of all latents; a small file must not ask for more memory than a large one deserves."""
MOST_BANDS = 1 << 22
"""Most numbers of an item: tables of bands take about 200 bytes each."""
OCTAVE = 32
"""Step sizes that `fitting_step` tries within a factor of 2."""
_LOWEST, _HIGHEST = -6 * OCTAVE, 10 * OCTAVE
"""Exponents of steps: from 1/64, where rounding to int8 would be as fine, to 1024, where nothing is left."""
_LIMITS = struct.Struct("<HHH")
"""Of `LOW`: k, h', w'."""
_CHUNK = 64
"""Items transformed at a time: float64 copies of all latents would not fit in memory."""
_NOISE, _NOISE_ITEMS = 0.1, 16
"""Size of the noise that measures channels, and the number of items it is added to."""


def pack(latents: Tensor, weights: Tensor, step: float, *, name: str = NAME) -> dict[str, Tensor]:
    """Return `stream` (bytes,) uint8 and `steps` (C,) float16 of float latents (N,K,C,h,w), packed as `name`.

    `weights` (C,) are positive (`channel_weights`); `step` is S. Raises `InputError`.
    """
    steps = steps_of(weights, step)
    numbers, head = quantize(latents, steps), b""
    if name == LOW:
        places = np.nonzero(numbers)
        k, h, w = (int(places[mode].max(initial=0)) + 1 for mode in (1, 3, 4))
        numbers, head = numbers[:, :k, :, :h, :w], _LIMITS.pack(k, h, w)
    encoder = RangeEncoder()
    walk(encoder, numbers.shape, steps.double().numpy(), numbers)
    return {"steps": steps, "stream": torch.frombuffer(bytearray(head + encoder.finish()), dtype=torch.uint8)}


def unpack(tensors: Mapping[str, Tensor], shape: tuple[int, ...], *, name: str = NAME) -> Tensor:
    """Return the float32 latents of `shape` (N,K,C,h,w) packed as `name`; raises `InputError` if tensors do not fit it.

    A stream that was altered gives wrong latents at worst; one that was cut is detected, but for rare cases.
    """
    steps = tensors["steps"]
    if tuple(steps.shape) != (shape[2],):
        raise InputError(f"tensor steps has shape {tuple(steps.shape)}; it must be ({shape[2]},)")
    if not bool((torch.isfinite(steps) & (steps >= SMALLEST_STEP)).all()):
        raise InputError("tensor steps holds values that are not finite and at least 2^-14")
    stream = bytes_of("stream", tensors)
    if math.prod(shape) > MOST_NUMBERS or math.prod(shape[1:]) > MOST_BANDS:
        raise _too_large(len(stream), shape)
    count, frames, channels, height, width = shape
    k, h, w = sides = frames, height, width
    if name == LOW:
        if len(stream) <= _LIMITS.size:
            raise InputError(f"tensor stream has {len(stream)} bytes; it must have more than {_LIMITS.size}")
        k, h, w = limits = _LIMITS.unpack_from(stream)
        if not (1 <= k <= frames and 1 <= h <= height and 1 <= w <= width):
            raise InputError(f"tensor stream keeps {limits} frequencies of {sides}; the file is damaged")
        stream = stream[_LIMITS.size :]
    numbers = np.zeros(shape, np.int16)
    numbers[:, :k, :, :h, :w] = _read(stream, steps, (count, k, channels, h, w))
    return dequantize(numbers, steps)


def fitting_step(latents: Tensor, weights: Tensor, limit: int, *, name: str = NAME) -> float:
    """Return the smallest step of which the packed tensors have at most `limit` bytes; raises `BudgetError`.

    Steps are 2^(k/32), found by bisection over the sizes of packed latents, which are taken to fall with the step.
    """

    def size(exponent: int) -> int:
        packed = pack(latents, weights, 2 ** (exponent / OCTAVE), name=name)
        return sum(tensor.nbytes for tensor in packed.values())

    def fits(exponent: int) -> bool:
        try:
            return size(exponent) <= limit
        except InputError:  # numbers leave 16 bits, or steps float16
            return False

    exponents = range(_LOWEST, _HIGHEST + 1)
    best = bisect.bisect_left(exponents, True, key=fits)
    if best == len(exponents):
        raise BudgetError(
            f"{limit} bytes are too few for {len(latents)} items of transform coefficients even at step "
            f"{2 ** (_HIGHEST / OCTAVE):g}; allow at least {size(_HIGHEST)}"
        )
    return float(2 ** (exponents[best] / OCTAVE))


def channel_weights(decoder: Decoder, latents: Tensor, generator: torch.Generator) -> Tensor:
    """Return how far pixels move with each channel of (N,K,C,h,w) latents: (C,) float32, 1 on average.

    Root mean square of the change of pixels when one channel of the first 16 items gets normal noise of size 0.1.
    """
    latents = latents[:_NOISE_ITEMS].flatten(0, 1)
    changes = []
    with torch.no_grad():
        pixels = decoder.decode(latents)
        for channel in range(latents.shape[1]):
            noisy = latents.clone()
            noisy[:, channel] += _NOISE * torch.randn(latents[:, channel].shape, generator=generator).to(latents)
            changes.append((decoder.decode(noisy) - pixels).double().square().mean().sqrt())
    weights = torch.stack(changes).cpu()
    if not bool(torch.isfinite(weights).all() and weights.sum() > 0):
        raise InputError("the decoder's pixels do not move with its latents; it cannot weigh channels")
    # A channel that hardly shows still gets a finite step.
    return (weights / weights.mean()).clamp(min=1 / 64).float()


def steps_of(weights: Tensor, step: float) -> Tensor:
    """Step 2: return s (C,) float16; raises `InputError` when a step leaves float16."""
    if weights.ndim != 1 or not bool((torch.isfinite(weights) & (weights > 0)).all()):
        raise InputError("weights of the transform packing must be (C,), finite and positive")
    if not (math.isfinite(step) and step > 0):
        raise InputError(f"step of the transform packing is {step}; it must be finite and positive")
    steps = step / weights.detach().cpu().double()
    if not SMALLEST_STEP <= float(steps.min()) <= float(steps.max()) <= LARGEST_STEP:
        raise InputError(
            f"step {step:g} makes steps of channels {float(steps.min()):g} to {float(steps.max()):g}; "
            f"they must be in [2^-14,{LARGEST_STEP:g}]"
        )
    return steps.half()


def quantize(latents: Tensor, steps: Tensor) -> NDArray[np.int16]:
    """Steps 1 and 3: return q (N,K,C,h,w) int16 of float latents and steps (C,); raises `InputError`."""
    if latents.ndim != 5 or latents.numel() == 0:
        raise InputError(f"transform packing takes latents (N,K,C,h,w), not {tuple(latents.shape)}")
    if latents.shape[2] != len(steps):
        raise InputError(f"transform packing got {len(steps)} weights for {latents.shape[2]} channels")
    if latents.numel() > MOST_NUMBERS:
        raise InputError(
            f"latents have {latents.numel()} numbers; transform packing takes at most {MOST_NUMBERS}: "
            "keep fewer clips, or take a codec with a downscale, such as 'tiny'"
        )
    if latents[0].numel() > MOST_BANDS:
        raise InputError(f"an item has {latents[0].numel()} numbers; transform packing takes at most {MOST_BANDS}")
    numbers = np.empty(latents.shape, np.int16)
    for rows in _chunks(len(latents)):
        scaled = _dct(latents[rows].detach().cpu().double()) / steps.double()[:, None, None]
        magnitudes = scaled.abs().add_(ROUNDING).floor_()
        if not float(magnitudes.max()) <= LARGEST:  # also when it is NaN
            raise InputError(
                f"latents to pack reach {float(magnitudes.max()):g} steps; they must be finite and within {LARGEST} "
                "steps: give a larger step"
            )
        numbers[rows] = magnitudes.copysign_(scaled).numpy()
    return numbers


def dequantize(numbers: NDArray[np.int16], steps: Tensor) -> Tensor:
    """Step 5: return float32 latents of q (N,K,C,h,w) and steps (C,)."""
    scales, latents = steps.double()[:, None, None], torch.empty(numbers.shape)
    for rows in _chunks(len(numbers)):
        latents[rows] = _dct(torch.from_numpy(numbers[rows]).double() * scales, inverse=True).float()
    return latents


def rounded(latents: Tensor, steps: Tensor) -> Tensor:
    """Return the float32 latents that a file of these (N,K,C,h,w) and steps (C,) gives back, without coding them."""
    return dequantize(quantize(latents, steps), steps)


def _chunks(count: int) -> Iterator[slice]:
    """Yield the items that are transformed at a time."""
    return (slice(begin, begin + _CHUNK) for begin in range(0, count, _CHUNK))


def _dct(values: Tensor, *, inverse: bool = False) -> Tensor:
    """Return the DCT of float64 (N,K,C,h,w) over K, h and w, or its inverse."""
    for mode in (1, 3, 4):
        matrix = _matrix(values.shape[mode])
        values = torch.tensordot(values, matrix, dims=([mode], [0 if inverse else 1])).movedim(-1, mode)
    return values


def _matrix(size: int) -> Tensor:
    """Return the (size,size) float64 matrix of the DCT-II: a row a frequency.

    Entries are rounded to 2^-40, so that they are the same whatever the machine's cosine is.
    """
    frequencies, places = torch.arange(size).double()[:, None], torch.arange(size).double()[None]
    matrix = torch.cos(math.pi * (places + 0.5) * frequencies / size) * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return (matrix * 2**40).round() / 2**40


def _read(stream: bytes, steps: Tensor, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Return q of `shape` from its code."""
    if math.prod(shape) > MOST_PER_BYTE * (len(stream) + 1):
        raise _too_large(len(stream), shape)
    decoder = RangeDecoder(stream)
    numbers = walk(decoder, shape, steps.double().numpy())
    decoder.finish()
    return numbers


def _too_large(stream_bytes: int, shape: tuple[int, ...]) -> InputError:
    return InputError(
        f"tensor stream has {stream_bytes} bytes, which cannot hold latents {shape} of {math.prod(shape)} numbers; "
        "the file is damaged"
    )
