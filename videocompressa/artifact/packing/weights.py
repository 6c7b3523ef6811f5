"""Weights of a labeler in few bits: rounded to a scale for each output channel, then coded by LZMA.

1. Scale. Of each output channel (row of a weight with two or more dimensions), of the scales absmax x c / (2^(bits-1) -
          1) with c from 0.5 to 1, that with the least squared error: clipping few large weights costs less than coarse
          steps do (Banner et al. 2019, arXiv 1810.05723).
2. Round. Codes in [-(2^(bits-1) - 1), 2^(bits-1) - 1].
3. Code.  All codes as bytes, in the order of the names, as one raw LZMA stream: near their entropy.
          Vectors (biases, norms) are few, and stay as float16.

Rounding what was rounded changes nothing, so a file that is read and written has the same bytes.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from videocompressa.artifact.lzma_stream import pack_bytes, unpack_bytes
from videocompressa.errors import InputError

TENSORS = {"labeler": "U8", "labeler_scales": "F16", "labeler_vectors": "F16"}
"""Name of each tensor in the file and its dtype as safetensors writes it."""
_SHRINKS = torch.linspace(0.5, 1, 11).tolist()
# Smallest and largest scale: float16 has fewer digits below 2^-14, and rounding would not be its own fixed point.
_SCALES = (2.0**-14, 65504.0)

Shapes = Mapping[str, tuple[int, ...]]


def rounded(weights: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Return the weights as a file of `bits` a weight gives them back (steps 1 and 2), float32."""
    return {
        name: (_rounded_matrix(weight.float(), bits) if weight.ndim > 1 else weight.half().float()).clone()
        for name, weight in weights.items()
    }


def _rounded_matrix(weight: Tensor, bits: int) -> Tensor:
    rows, most = weight.flatten(1), 2 ** (bits - 1) - 1
    largest = rows.abs().amax(1, keepdim=True)
    best, least = torch.zeros_like(rows), torch.full_like(largest, torch.inf)
    for shrink in _SHRINKS:
        scale = _stored(largest * shrink / most)
        coded = (rows / scale).round().clamp(-most, most) * scale
        error = (coded - rows).square().sum(1, keepdim=True)
        best = torch.where(error < least, coded, best)
        least = torch.minimum(error, least)
    return best.view_as(weight)


def _stored(scale: Tensor) -> Tensor:
    """Return scales as float16 holds them, as float32."""
    return scale.clamp(*_SCALES).half().float()


def pack(weights: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Return the tensors of a file for weights that `rounded` gave (step 3)."""
    most, codes, scales, vectors = 2 ** (bits - 1) - 1, [], [], []
    for name in sorted(weights):
        weight = weights[name]
        if weight.ndim == 1:
            vectors.append(weight.half())
            continue
        rows = weight.flatten(1)
        scale = _stored(rows.abs().amax(1, keepdim=True) / most)
        codes.append((rows / scale).round().to(torch.int8).flatten())
        scales.append(scale[:, 0].half())
    stream = pack_bytes(torch.cat(codes).numpy().tobytes())
    return {
        "labeler": torch.frombuffer(bytearray(stream), dtype=torch.uint8),
        "labeler_scales": torch.cat(scales),
        "labeler_vectors": torch.cat(vectors),
    }


def packed_bytes(weights: Mapping[str, Tensor], bits: int) -> int:
    """Return the bytes that weights take in a file."""
    return sum(tensor.nbytes for tensor in pack(weights, bits).values())


def unpack(tensors: Mapping[str, Tensor], shapes: Shapes, bits: int) -> dict[str, Tensor]:
    """Return the weights (float32) by name; raises `InputError` for tensors that `pack` would not write."""
    matrices = {name: shape for name, shape in shapes.items() if len(shape) > 1}
    vectors = {name: shape for name, shape in shapes.items() if len(shape) == 1}
    rows = {name: shape[0] for name, shape in matrices.items()}
    if tensors["labeler"].ndim != 1:
        raise InputError(f"tensor labeler has shape {tuple(tensors['labeler'].shape)}; it must be (bytes,)")
    for name, size in (("labeler_scales", sum(rows.values())), ("labeler_vectors", _size(vectors))):
        if tuple(tensors[name].shape) != (size,):
            raise InputError(f"tensor {name} has shape {tuple(tensors[name].shape)}; it must be ({size},)")
        if not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"tensor {name} holds weights that are not finite")
    stream = unpack_bytes(tensors["labeler"].numpy().tobytes(), _size(matrices), "tensor labeler")
    if len(stream) != _size(matrices):
        raise InputError(f"tensor labeler unpacks to {len(stream)} weights; the network has {_size(matrices)}")
    codes = torch.frombuffer(bytearray(stream), dtype=torch.int8)
    if int(codes.abs().max()) > 2 ** (bits - 1) - 1 or int(codes.min()) == -128:
        raise InputError(f"tensor labeler holds weights beyond {bits} bits; the file is damaged")
    if bool((tensors["labeler_scales"] < 0).any()):
        raise InputError("tensor labeler_scales holds negative scales; the file is damaged")
    weights = {name: each.float() for name, each in _parts(tensors["labeler_vectors"], vectors)}
    scales = dict(_parts(tensors["labeler_scales"], {name: (count,) for name, count in rows.items()}))
    for name, matrix in _parts(codes, matrices):
        weights[name] = matrix * scales[name].float().view(-1, *[1] * (matrix.ndim - 1))
    return weights


def _parts(flat: Tensor, shapes: Shapes) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of these shapes, which stand one after another in the order of their names."""
    start = 0
    for name in sorted(shapes):
        end = start + _size({name: shapes[name]})
        yield name, flat[start:end].view(shapes[name])
        start = end


def _size(shapes: Shapes) -> int:
    return sum(int(torch.Size(shape).numel()) for shape in shapes.values())
