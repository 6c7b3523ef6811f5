"""The table of packings.

A method that stores something smaller than its latents (factors, memories, a coded video) puts those tensors into
`SyntheticSet.packed`; the reader unpacks them to latents, so that no later step depends on the packing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from videocompressa.artifact.packing import memories, streams, transform, tucker
from videocompressa.errors import InputError


@dataclass(frozen=True)
class Packing:
    """What a file of this packing holds in place of `latents` and `scales`."""

    tensors: Mapping[str, str]
    """Name of each tensor and its dtype as safetensors writes it (a key of `artifact.container.DTYPES`)."""
    unpack: Callable[[Mapping[str, Tensor], tuple[int, ...]], Tensor]
    """(all tensors by name, (N,K,C,h,w)) -> scaled latents of that shape, float32; the same bytes each time. Raises
    `InputError` when shapes or content of the tensors make no sense together."""
    most_per_byte: int = 256
    """Numbers a byte of the tensors, beyond `FREE_NUMBERS` (ours: up to 10; a still clip of a video codec: 5000)."""


PACKINGS: dict[str, Packing] = {
    "tucker": Packing(tucker.TENSORS, tucker.unpack),
    "video": Packing({"stream": "U8"}, streams.unpack_video, most_per_byte=1 << 14),
    "pictures": Packing({"pictures": "U8"}, streams.unpack_pictures),
    memories.NAME: Packing(memories.TENSORS, memories.unpack),
    transform.NAME: Packing(transform.TENSORS, transform.unpack),
    transform.LOW: Packing(transform.TENSORS, partial(transform.unpack, name=transform.LOW)),
}
"""Every packing but "dense", by name."""


FREE_NUMBERS = 1 << 28
"""Latents of more numbers must be stored in bytes enough: a small file must not fill the memory."""


def find_packing(name: str) -> Packing:
    """Return the packing of this name; raises `InputError` with the known names."""
    if name not in PACKINGS:
        raise InputError(f"packing is {name!r}; known: {', '.join(['dense', *PACKINGS])}")
    return PACKINGS[name]


def unpacked(name: str, tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the latents (N,K,C,h,w) float32 that packed tensors stand for; raises `InputError`."""
    packing = find_packing(name)
    if missing := [tensor for tensor in packing.tensors if tensor not in tensors]:
        raise InputError(f"packing {name!r} lacks tensors {', '.join(missing)}")
    numbers, stored = math.prod(shape), sum(tensors[tensor].nbytes for tensor in packing.tensors)
    if numbers > max(FREE_NUMBERS, packing.most_per_byte * stored):
        raise InputError(f"packing {name!r} has {stored} bytes for {numbers} numbers {shape}; the file is damaged")
    latents = packing.unpack(tensors, shape)
    if tuple(latents.shape) != shape:
        raise InputError(f"packing {name!r} unpacks to latents {tuple(latents.shape)}; the set has {shape}")
    return latents.float().contiguous()
