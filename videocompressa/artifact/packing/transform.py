"""Entropy-coded transform coefficients: latents as a picture codec would store them, at a few bytes a keyframe.

Symbols: X (N,K,C,h,w) scaled latents, F coefficients, q whole numbers, s_c step of channel c, S their common size.

1. F = orthonormal DCT-II of X over K, h and w (Ahmed, Natarajan and Rao 1974), an item and channel at a time.
2. s_c = S / g_c, rounded to float16, where g_c is how far the decoder's pixels move with channel c (`channel_weights`;
   1 on average): equal steps in pixels are the best split of bits, as in every transform codec (Goyal 2001).
3. q = sign(F) floor(|F| / s_c + rounding): below 1/2, more becomes 0, which costs the least (a dead zone).
4. The file holds s and the stream of q (`coefficients`, `range_coder`), which learns as it goes and needs no tables.
5. Back: X' = inverse DCT of q s, in float64, rounded to float32 once, so that no order of summation shows.

"transform-low" is the same for pixels, whose high frequencies are nearly all 0: step 4 codes the q of the lowest k of
K, h' of h and w' of w frequencies alone, the fewest that hold all that is not 0, and the stream begins with the three
numbers. It is several times as fast there.

No paper of the field does this; VDSD, LVDD and others store all numbers at one width. Our choice: no centroid shift in
step 5, and one rounding for all sizes; other pairs gained at most 0.1 dB at equal bytes on two real sets.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videocompressa.artifact.packing.coefficients import LARGEST, MOST_PER_BYTE, walk
from videocompressa.artifact.packing.range_coder import Decoder, Encoder, Meter
from videocompressa.errors import BudgetError, InputError
from videocompressa.synthetic import Decoder as PixelDecoder

NAME, LOW = "transform", "transform-low"

TENSORS = {"steps": "F16", "stream": "U8"}
"""What a file of this packing holds."""

ROUNDING = 0.35
"""Default of step 3."""
SMALLEST_STEP, LARGEST_STEP = 2.0**-14, 65504.0
"""Steps are normal float16 numbers."""
MOST_NUMBERS = 1 << 28
"""Latents have at most so many numbers; a small file must not ask for more memory than a large one deserves."""
MOST_BANDS = 1 << 22
"""An item has at most so many: tables of bands take about 200 bytes each."""
OCTAVE = 32
"""Step sizes that `fitting_step` tries within a factor of 2."""
_LOWEST, _HIGHEST = -6 * OCTAVE, 10 * OCTAVE
"""Exponents of steps: from 1/64, where rounding to int8 would be as fine, to 1024, where nothing is left."""
_LIMITS = struct.Struct("<HHH")
"""Of `LOW`: k, h', w'."""
_CHUNK = 64
"""Items transformed at a time: float64 copies of a whole set would not fit in memory."""


def pack(
    latents: Tensor, weights: Tensor, step: float, rounding: float = ROUNDING, *, name: str = NAME
) -> dict[str, Tensor]:
    """Return `stream` (bytes,) uint8 and `steps` (C,) float16 of float latents (N,K,C,h,w), packed as `name` says.

    `weights` (C,) are positive (`channel_weights`); `step` is S, `rounding` in (0,0.5]. Raises `InputError`.
    """
    steps = steps_of(weights, step)
    head, numbers = _kept(quantize(latents, steps, rounding), name)
    encoder = Encoder()
    walk(encoder, numbers.shape, steps.double().numpy(), numbers)
    return {"steps": steps, "stream": torch.frombuffer(bytearray(head + encoder.finish()), dtype=torch.uint8)}


def unpack(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the float32 latents of `shape` (N,K,C,h,w); raises `InputError` when the tensors do not make them.

    A stream that was altered gives wrong latents at worst; one that was cut is found out, but for rare cases.
    """
    _check(tensors, shape)
    return dequantize(_read(tensors["stream"].numpy().tobytes(), tensors["steps"], shape), tensors["steps"])


def unpack_low(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return what `unpack` does, of tensors packed as `LOW`."""
    _check(tensors, shape)
    stream, (count, frames, channels, height, width) = tensors["stream"].numpy().tobytes(), shape
    if len(stream) <= _LIMITS.size:
        raise InputError(f"tensor stream has {len(stream)} bytes; it must have more than {_LIMITS.size}")
    limits = _LIMITS.unpack_from(stream)
    if not all(1 <= kept <= side for kept, side in zip(limits, (frames, height, width), strict=True)):
        raise InputError(f"tensor stream keeps {limits} frequencies of {(frames, height, width)}; the file is damaged")
    k, h, w = limits
    numbers = np.zeros(shape, np.int16)
    numbers[:, :k, :, :h, :w] = _read(stream[_LIMITS.size :], tensors["steps"], (count, k, channels, h, w))
    return dequantize(numbers, tensors["steps"])


def _read(stream: bytes, steps: Tensor, shape: tuple[int, ...]) -> NDArray[np.int16]:
    if math.prod(shape) > MOST_PER_BYTE * (len(stream) + 1):
        raise _too_large(len(stream), shape)
    decoder = Decoder(stream)
    numbers = walk(decoder, shape, steps.double().numpy())
    decoder.finish()
    return numbers


def _kept(numbers: NDArray[np.int16], name: str) -> tuple[bytes, NDArray[np.int16]]:
    """Return what stands before the code of q (N,K,C,h,w), and the frequencies that are coded."""
    if name == NAME:
        return b"", numbers
    k, h, w = (_last(numbers, mode) for mode in (1, 3, 4))
    return _LIMITS.pack(k, h, w), numbers[:, :k, :, :h, :w]


def _last(numbers: NDArray[np.int16], mode: int) -> int:
    """Return how many frequencies along a mode hold all that is not 0; at least 1."""
    others = tuple(other for other in range(numbers.ndim) if other != mode)
    return int(max(np.flatnonzero(numbers.any(axis=others)), default=0)) + 1


def fitting_step(
    latents: Tensor, weights: Tensor, limit: int, rounding: float = ROUNDING, *, name: str = NAME
) -> float:
    """Return the smallest step of which the packed tensors have at most `limit` bytes; raises `BudgetError`.

    Steps are 2^(k/32), found by bisection on the measured size; only the last one is packed.
    """
    table, lowest = 2 * latents.shape[2], _lowest(latents, weights, rounding)
    spectrum = torch.cat([dct(chunk.double()).float() for _, chunk in _chunks(latents.detach().cpu())])

    def measured(exponent: int) -> int:
        steps = steps_of(weights, 2 ** (exponent / OCTAVE))
        return table + about_bytes(_rounded(spectrum, steps, rounding), steps, name)

    best = _first(lambda exponent: measured(exponent) <= limit, lowest, _HIGHEST)
    size = limit + 1
    for exponent in range(min(best, _HIGHEST), _HIGHEST + 1):  # more than one only where the measure was off
        step = float(2 ** (exponent / OCTAVE))
        size = table + pack(latents, weights, step, rounding, name=name)["stream"].numel()
        if size <= limit:
            return step
    raise BudgetError(
        f"{limit} bytes are too few for {len(latents)} items of transform coefficients even at step "
        f"{2 ** (_HIGHEST / OCTAVE):g}; allow at least {size}"
    )


def stream_bytes(latents: Tensor, weights: Tensor, step: float, rounding: float = ROUNDING, *, name: str = NAME) -> int:
    """Return about how many bytes the stream of `pack` would have, without writing it."""
    steps = steps_of(weights, step)
    return about_bytes(quantize(latents, steps, rounding), steps, name)


def about_bytes(numbers: NDArray[np.int16], steps: Tensor, name: str = NAME) -> int:
    """Return about how many bytes the stream of q (N,K,C,h,w) would have, without writing it."""
    head, kept = _kept(numbers, name)
    meter = Meter()
    walk(meter, kept.shape, steps.double().numpy(), kept)
    return len(head) + meter.num_bytes()


def channel_weights(
    decoder: PixelDecoder, latents: Tensor, generator: torch.Generator, *, noise: float = 0.1, items: int = 16
) -> Tensor:
    """Return how far pixels move with each channel of (N,K,C,h,w) latents: (C,) float32, 1 on average.

    Root mean square of what normal noise of size `noise` on one channel changes in the pixels of the first `items`.
    """
    latents = latents[:items].flatten(0, 1)
    with torch.no_grad():
        still = decoder.decode(latents)
        moved = []
        for channel in range(latents.shape[1]):
            drawn = torch.randn(latents[:, channel].shape, generator=generator)
            noisy = latents.clone()
            noisy[:, channel] += noise * drawn.to(latents)
            moved.append((decoder.decode(noisy) - still).double().square().mean().sqrt())
    weights = torch.stack(moved).cpu()
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
            f"they must lie in [2^-14,{LARGEST_STEP:g}]"
        )
    return steps.half()


def quantize(latents: Tensor, steps: Tensor, rounding: float = ROUNDING) -> NDArray[np.int16]:
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
    if not 0 < rounding <= 0.5:
        raise InputError(f"rounding of the transform packing is {rounding}; it must be in (0,0.5]")
    numbers = np.empty(tuple(latents.shape), np.int16)
    for rows, chunk in _chunks(latents.detach().cpu()):
        numbers[rows] = _rounded(dct(chunk.double()), steps, rounding)
    return numbers


def _rounded(spectrum: Tensor, steps: Tensor, rounding: float) -> NDArray[np.int16]:
    """Step 3: return q int16 of coefficients F (N,K,C,h,w), worked through in float64 by chunks."""
    numbers = np.empty(tuple(spectrum.shape), np.int16)
    for rows, chunk in _chunks(spectrum):
        scaled = chunk / steps.double()[:, None, None]
        magnitudes = (scaled.abs() + rounding).floor()
        if not float(magnitudes.max()) <= LARGEST:  # also when it is no number
            raise InputError(
                f"latents to pack reach {float(magnitudes.max()):g} steps; they must be finite and within {LARGEST} "
                "steps: give a larger step"
            )
        numbers[rows] = (magnitudes * scaled.sign()).to(torch.int16).numpy()
    return numbers


def dequantize(numbers: NDArray[np.int16], steps: Tensor) -> Tensor:
    """Step 5: return float32 latents of q (N,K,C,h,w) and steps (C,)."""
    scales = steps.double()[:, None, None]
    latents = torch.empty(numbers.shape)
    for rows, chunk in _chunks(torch.from_numpy(numbers)):
        latents[rows] = inverse_dct(chunk.double() * scales).float()
    return latents


def _chunks(tensor: Tensor) -> Iterator[tuple[slice, Tensor]]:
    for begin in range(0, len(tensor), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        yield rows, tensor[rows]


def dct(values: Tensor) -> Tensor:
    """Step 1: return the DCT of float64 (N,K,C,h,w) over K, h and w; differentiable."""
    return _transformed(values, 1)


def inverse_dct(values: Tensor) -> Tensor:
    """Return float64 (N,K,C,h,w) of its DCT; differentiable."""
    return _transformed(values, 0)


def _transformed(values: Tensor, contracted: int) -> Tensor:
    for mode in (1, 3, 4):
        matrix = _matrix(values.shape[mode])
        values = torch.tensordot(values, matrix, dims=([mode], [contracted])).movedim(-1, mode)
    return values


def _matrix(size: int) -> Tensor:
    """Return the (size,size) float64 matrix of the DCT-II: a row a frequency.

    Entries are rounded to 2^-40, so that they are the same whatever the machine's cosine is.
    """
    frequencies, places = torch.arange(size).double()[:, None], torch.arange(size).double()[None]
    matrix = torch.cos(math.pi * (places + 0.5) * frequencies / size) * math.sqrt(2 / size)
    matrix[0] = math.sqrt(1 / size)
    return (matrix * 2**40).round() / 2**40


def _lowest(latents: Tensor, weights: Tensor, rounding: float) -> int:
    """Return an exponent, among the lowest, at which numbers fit into 16 bits and steps into float16."""
    for exponent in range(_LOWEST, _HIGHEST, OCTAVE):
        try:
            quantize(latents, steps_of(weights, 2 ** (exponent / OCTAVE)), rounding)
        except InputError:
            continue
        return exponent
    return _HIGHEST


def _first(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the smallest number in [low,high] that fits, or high + 1; what fits once is taken to fit on."""
    high += 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _check(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
    """Raise unless steps are sound, the stream is one, and the shape has no more numbers than may be asked for."""
    if missing := [name for name in TENSORS if name not in tensors]:
        raise InputError(f"packing {NAME!r} lacks tensors {', '.join(missing)}")
    steps, stream = tensors["steps"], tensors["stream"]
    if tuple(steps.shape) != (shape[2],):
        raise InputError(f"tensor steps has shape {tuple(steps.shape)}; it must be ({shape[2]},)")
    if not bool((torch.isfinite(steps) & (steps >= SMALLEST_STEP)).all()):
        raise InputError("tensor steps holds values that are not finite and at least 2^-14")
    if stream.ndim != 1 or len(stream) == 0:
        raise InputError(f"tensor stream has shape {tuple(stream.shape)}; it must be (bytes,), not empty")
    if math.prod(shape) > MOST_NUMBERS or math.prod(shape[1:]) > MOST_BANDS:
        raise _too_large(len(stream), shape)


def _too_large(stream_bytes: int, shape: tuple[int, ...]) -> InputError:
    return InputError(
        f"tensor stream has {stream_bytes} bytes, which cannot hold latents {shape} of {math.prod(shape)} numbers; "
        "the file is damaged"
    )
