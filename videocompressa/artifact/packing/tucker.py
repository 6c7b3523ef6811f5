"""Truncated Tucker decomposition of all latents of a set: a smaller core, and one small matrix a mode.

Symbols: X (N,K,C,h,w) scaled latents of the set, A (K,k), B (h,a), D (w,b) factors, G (N,k,C,a,b) core.
1. Ranks: k, a, b are the share `ratio` of K, h, w; N and C are not cut (LVDD, section 3.3).
2. HOSVD (De Lathauwer et al. 2000): a factor's columns are the leading left singular vectors of X unfolded along its
   mode.
3. Factors are rounded to float16, and the core is the least-squares one for the rounded factors,
   G = X x_K pinv(A) x_h pinv(B) x_w pinv(D).
4. The core is rounded to int8 with a float16 scale an item and channel.
5. Back: X' = (core * scale) x_K A x_h B x_w D.

LVDD (Li et al. 2025, arXiv 2504.17132) states HOSVD and the ratio 0.75; its code repeats it on X multiplied by the
other factors (HOOI), takes at most 400 latents at a time, and stores float32. Our choices: one decomposition over all
latents (one set of factors costs less than several), as stated, int8 and float16, and least squares, so that rounding
costs nothing at full rank.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from videocompressa.artifact.packing.quantization import check_stored, dequantize, quantize
from videocompressa.errors import InputError

TENSORS = {"core": "I8", "core_scales": "F16", "factor_time": "F16", "factor_height": "F16", "factor_width": "F16"}
"""Tensors of the file and their dtypes as safetensors writes them."""

MODES = {"factor_time": 1, "factor_height": 3, "factor_width": 4}
"""The modes of (N,K,C,h,w) that are cut, by the name of their factor."""

NEGLIGIBLE = 1e-12
"""A direction with less than this share of the leading one's energy is dropped, as rounding alone decides where it
points, and bytes must not depend on the machine."""

CHUNK = 64
"""Items worked on at a time: float64 copies of all latents would not fit in memory."""


def pack(latents: Tensor, ratio: float = 0.75) -> dict[str, Tensor]:
    """Decompose (N,K,C,h,w) float latents; `ratio` in (0,1] of each cut mode is kept, at least 1.

    Raises `InputError` for a ratio out of range and for latents that are not finite.
    """
    if latents.ndim != 5 or latents.numel() == 0:
        raise InputError(f"Tucker packing takes latents (N,K,C,h,w), not {tuple(latents.shape)}")
    latents = latents.detach().cpu()
    if not bool(torch.isfinite(latents).all()):
        raise InputError("latents to pack hold values that are not finite")
    ranks = ranks_of(tuple(latents.shape), ratio)
    rounded = {name: _leading(latents, mode, ranks[name]).half() for name, mode in MODES.items()}
    inverses = {name: torch.linalg.pinv(factor.double()).T for name, factor in rounded.items()}
    core = torch.cat([_multiplied(chunk, inverses).float() for chunk in _chunks(latents)])
    integers, scales = quantize(core)
    return {"core": integers, "core_scales": scales, **rounded}


def unpack(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the float32 latents of `shape` (N,K,C,h,w); raises `InputError` when the tensors do not fit it.

    Products are summed in float64 and rounded once, so that no order of summation shows in the result.
    """
    _check(tensors, shape)
    transposed = {name: tensors[name].double().T for name in MODES}
    core = dequantize(tensors["core"], tensors["core_scales"])
    return torch.cat([_multiplied(chunk, transposed).float() for chunk in _chunks(core)])


def blank(shape: tuple[int, ...], ratio: float) -> dict[str, Tensor]:
    """Return ones of the dtypes and shapes that `pack` gives for latents of `shape`: files of them have equal sizes."""
    dtypes = {"I8": torch.int8, "F16": torch.float16}
    shapes = _shapes(shape, ranks_of(shape, ratio))
    return {name: torch.ones(shapes[name], dtype=dtypes[code]) for name, code in TENSORS.items()}


def ranks_of(shape: tuple[int, ...], ratio: float) -> dict[str, int]:
    """Return the rank of each factor: the share `ratio` of its mode, rounded down, at least 1."""
    if not 0 < ratio <= 1:
        raise InputError(f"ratio of the Tucker packing is {ratio}; it must be in (0,1]")
    # Slightly more, because 0.7 * 10 is below 7 in floating point.
    return {name: max(1, math.floor(ratio * shape[mode] + 1e-9)) for name, mode in MODES.items()}


def _shapes(shape: tuple[int, ...], ranks: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `TENSORS` for latents of `shape` and these ranks."""
    num_items, _, channels, _, _ = shape
    core = (num_items, ranks["factor_time"], channels, ranks["factor_height"], ranks["factor_width"])
    factors = {name: (shape[mode], ranks[name]) for name, mode in MODES.items()}
    return {"core": core, "core_scales": (num_items, channels), **factors}


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    return (chunk.double() for chunk in torch.split(tensor, CHUNK))


def _multiplied(latents: Tensor, factors: Mapping[str, Tensor]) -> Tensor:
    """Multiply each mode by the transpose of its factor: (..,S,..) and (S,r) give (..,r,..)."""
    for name, factor in factors.items():
        latents = torch.tensordot(latents, factor, dims=([MODES[name]], [0])).movedim(-1, MODES[name])
    return latents


def _leading(latents: Tensor, mode: int, rank: int) -> Tensor:
    """Step 2: the (S,rank) leading left singular vectors of the unfolding along `mode`, each with a fixed sign.

    They are those of the Gram matrix of the unfolding, which is a sum over items.
    """
    size = latents.shape[mode]
    gram = torch.zeros((size, size), dtype=torch.float64)
    for chunk in _chunks(latents):
        unfolded = chunk.movedim(mode, 0).flatten(1)
        gram += unfolded @ unfolded.T
    vectors, energies, _ = torch.linalg.svd(gram)
    vectors = vectors[:, :rank] * (energies[:rank] > NEGLIGIBLE * energies[0])
    # The first of the (nearly) largest entries is positive.
    magnitudes = vectors.abs()
    first = (magnitudes >= (1 - 1e-6) * magnitudes.amax(0)).to(torch.uint8).argmax(0)
    signed: Tensor = vectors * vectors.gather(0, first[None]).sign()
    return signed


def _check(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
    """Raise unless the tensors have agreeing shapes and every number is allowed."""
    core = tensors["core"]
    if core.ndim != 5:
        raise InputError(f"tensor core has shape {tuple(core.shape)}; it must be (N,k,C,a,b)")
    for name, mode in MODES.items():
        if not 1 <= core.shape[mode] <= shape[mode]:
            raise InputError(f"tensor {name} has {core.shape[mode]} columns; it must have 1 to {shape[mode]}")
    ranks = {name: core.shape[mode] for name, mode in MODES.items()}
    check_stored(tensors, _shapes(shape, ranks))
