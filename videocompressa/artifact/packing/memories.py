"""Static and dynamic memories (VDSD / S2D, Wang et al. 2024, arXiv 2312.00362): stills, motion, and a joiner.

Symbols: N videos, S statics of a video, T frames, C channels, h w cells, s statics, d dynamics, W b joiner.

1. Time line.  Frame t of a video takes static floor(t S / T): each is held for its share of the clip. (The authors hold
               one static for the complete clip: S = 1. Sharing the time line among more is our choice.)
2. Join.       z = W * [s_t; d_t] + b, one 3-D convolution of C + 1 channels to C, zeros around it, for all videos.
3. File.       int8 with float16 scales for s (one a video and channel) and d (one a video), float16 for W and b.

The sums of step 2 are taken in float64 and rounded once, so that neither threads nor batches show in the latents read.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from videocompressa.artifact.packing.quantization import check_stored, dequantize, quantize
from videocompressa.errors import InputError

NAME = "s2d"

TENSORS = {
    "statics": "I8",
    "static_scales": "F16",
    "dynamics": "I8",
    "dynamic_scales": "F16",
    "joiner_weight": "F16",
    "joiner_bias": "F16",
}
"""Tensors of the file and their dtypes as safetensors writes them."""

LARGEST_JOINER = 65504.0
"""Largest magnitude of joiner weights and biases: that of float16."""
LARGEST_MEMORY = 127 * LARGEST_JOINER
"""Largest magnitude of statics and dynamics: 127 steps of the largest float16 scale."""


def join(statics: Tensor, dynamics: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Steps 1 and 2: latents (N,T,C,h,w) of statics (N,S,C,h,w), dynamics (N,T,h,w), W (C,C+1,k,k,k), b (C,).

    Floating point of one dtype; differentiable in all four.
    """
    num_statics, num_frames = statics.shape[1], dynamics.shape[1]
    static_of_frame = torch.arange(num_frames, device=statics.device) * num_statics // num_frames
    volume = torch.cat([statics[:, static_of_frame], dynamics[:, :, None]], dim=2).transpose(1, 2)  # (N,C+1,T,h,w)
    return F.conv3d(volume, weight, bias, padding=[side // 2 for side in weight.shape[2:]]).transpose(1, 2)


def pack(statics: Tensor, dynamics: Tensor, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Return the tensors of the file for float memories and joiner, shaped as for `join`, on the CPU.

    A static, or a dynamic, moves by at most half a scale, which is its largest magnitude / 127. Packing
    what `stored_statics` returns gives the same bytes. Raises `InputError` for values too large for float16 scales.
    """
    packed = pack_statics(statics)
    cells, scales = quantize(dynamics.detach().cpu().float().unsqueeze(2), "dynamics")
    packed["dynamics"], packed["dynamic_scales"] = cells[:, :, 0], scales[:, 0]
    for name, values in (("joiner_weight", weight), ("joiner_bias", bias)):
        packed[name] = values.detach().cpu().half()
        if not bool(torch.isfinite(packed[name]).all()):
            raise InputError(f"{name} leaves the range of float16 (65504); choose a lower learning rate for the joiner")
    return {name: tensor.contiguous() for name, tensor in packed.items()}


def pack_statics(statics: Tensor) -> dict[str, Tensor]:
    """Return the tensors of the file for statics (N,S,C,h,w) alone."""
    cells, scales = quantize(statics.detach().cpu().float(), "statics")
    return {"statics": cells, "static_scales": scales}


def stored_statics(packed: Mapping[str, Tensor]) -> Tensor:
    """Return the statics (N,S,C,h,w) float32 that packed tensors hold; the product is exact."""
    return dequantize(packed["statics"], packed["static_scales"])


def unpack(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the latents (N,T,C,h,w) float32 that the tensors of a file stand for.

    Raises `InputError` when a tensor does not fit `shape`, or holds a number that `pack` never writes.
    """
    _check(tensors, shape)
    statics = stored_statics(tensors).double()
    dynamics = dequantize(tensors["dynamics"][:, :, None], tensors["dynamic_scales"][:, None])[:, :, 0].double()
    weight, bias = tensors["joiner_weight"].double(), tensors["joiner_bias"].double()
    latents = torch.empty(shape, dtype=torch.float32)
    for item, (static, dynamic) in enumerate(zip(statics, dynamics, strict=True)):
        # One at a time: unfolding in float64 takes 27 times the memory of an item.
        latents[item] = join(static[None], dynamic[None], weight, bias)[0].float()
    return latents


def _check(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
    """Raise unless shapes agree with latents of `shape` (N,T,C,h,w) and every number is allowed."""
    num_items, num_frames, channels, height, width = shape
    statics, weight = tensors["statics"], tensors["joiner_weight"]
    num_statics = statics.shape[1] if statics.ndim == 5 else 1
    if not 1 <= num_statics <= num_frames:
        raise InputError(f"tensor statics has {num_statics} stills for {num_frames} frames; allowed: 1 to {num_frames}")
    sides = tuple(weight.shape[2:]) if weight.ndim == 5 else (3, 3, 3)
    if any(side % 2 == 0 for side in sides):
        raise InputError(f"tensor joiner_weight has kernel {sides}; its sides must be odd")
    shapes = {
        "statics": (num_items, num_statics, channels, height, width),
        "static_scales": (num_items, channels),
        "dynamics": (num_items, num_frames, height, width),
        "dynamic_scales": (num_items,),
        "joiner_weight": (channels, channels + 1, *sides),
        "joiner_bias": (channels,),
    }
    check_stored(tensors, shapes)
