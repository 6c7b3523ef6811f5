"""Storage: how the latents of a set are stored in its file, chosen after the method and the same for every method.

| storage | what a file holds | bytes of a 64-px keyframe behind `tiny` |
|---|---|---|
| `transform` | entropy-coded DCT coefficients (`packing/transform.py`) | 3 to 60, depending on the content |
| `int8` | one byte a number, a scale an item and channel | 512 |
| `float16` | two bytes a number | 1,024 |

A set that its method packed itself (a coded video, Tucker factors, memories) is left as it is.
"""

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from videocompressa.artifact.container import Quantization
from videocompressa.artifact.packing import transform
from videocompressa.artifact.set_file import to_bytes
from videocompressa.clip import CodecSpec, Latents
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.synthetic import Decoder, SyntheticSet

StorageName = Literal["transform", "int8", "float16"]
"""Every storage by name."""

STEP = 0.25
"""Behind `ycbcr`, every keyframe of four real data sets is within 30 dB of its frame (docs/log.md)."""
COARSE = 1.0
"""Where the size of the file decides, videos are counted at this step, and are stored as finely as the rest allows."""
_SAMPLE = 64


@dataclass(frozen=True)
class Storage:
    """How latents are stored."""

    name: StorageName = "transform"
    step: float | None = None
    """Of "transform": how coarse, in units of the codec's latents weighted by how far pixels move (see
    `transform.steps_of`). None is `STEP`; a file that may not be larger gets a coarser one."""

    def __post_init__(self) -> None:
        if self.step is not None and not 0 < self.step < float("inf"):
            raise InputError(f"--step is {self.step}; it must be above 0 (larger is coarser)")

    def counting(self, limit: int | None) -> Self:
        """Return the storage at which the videos of a file of `limit` bytes are counted."""
        return self if limit is None or self.step is not None else dataclasses.replace(self, step=COARSE)

    @property
    def quantization(self) -> Quantization:
        """How dense latents are stored."""
        return "float16" if self.name == "float16" else "int8"


def stored(synthetic: SyntheticSet, decoder: Decoder, storage: Storage, *, limit: int | None = None) -> SyntheticSet:
    """Return the set as its file will hold it: of dense latents, the unpacked ones and their packed tensors.

    With `limit`, "transform" takes a coarser step where the file would have more bytes. Where no step is coarse enough,
    the set is returned as asked: code that promises bytes must check the file.
    """
    if synthetic.packing != "dense" or storage.name != "transform":
        return synthetic
    weights = weights_of(decoder, synthetic.latents, synthetic.provenance.seed)
    finest = storage.step or STEP
    packing = transform_of(synthetic.codec)
    tensors = transform.pack(synthetic.latents, weights, finest, name=packing)
    if limit is not None:
        size = len(to_bytes(dataclasses.replace(synthetic, packing=packing, packed=tensors)))
        if size > limit:
            # The header is padded to eights and holds the stream's length in digits: a few bytes to spare.
            stream_limit = limit - (size - tensors["stream"].numel()) + 2 * len(weights) - 8
            with suppress(InputError):
                step = transform.fitting_step(synthetic.latents, weights, stream_limit, name=packing)
                tensors = transform.pack(synthetic.latents, weights, step, name=packing)
    latents = transform.rounded(synthetic.latents, tensors["steps"])
    return dataclasses.replace(synthetic, latents=latents, packing=packing, packed=tensors)


def item_bytes(latents: Tensor, decoder: Decoder, storage: Storage, *, seed: int) -> float:
    """Return the mean bytes of an item of "transform", measured on `sample_of` latents (N,K,C,h,w)."""
    sample = sample_of(latents)
    weights = weights_of(decoder, sample, seed)
    tensors = transform.pack(sample, weights, storage.step or STEP, name=transform_of(decoder.spec))
    return tensors["stream"].numel() / len(sample)


def blank_stream(codec: CodecSpec, num_bytes: int) -> dict[str, Tensor]:
    """Return the packed tensors of "transform" with a stream of this length, for sizes (`MethodConfig.blank`)."""
    return {"steps": torch.ones(codec.channels).half(), "stream": torch.zeros(num_bytes, dtype=torch.uint8)}


def sample_of(latents: Latents) -> Tensor:
    """Return up to 64 evenly spaced items of (N,...) as float32: what is measured in place of a complete split."""
    return latents[torch.linspace(0, len(latents) - 1, min(_SAMPLE, len(latents))).long()].float()


def weights_of(decoder: Decoder, latents: Tensor, seed: int) -> Tensor:
    """Return the weights (C,) of the channels of latents (N,K,C,h,w)."""
    return transform.channel_weights(decoder, latents, Streams(seed, "storage").generator("channels"))


def transform_of(codec: CodecSpec) -> str:
    """Return which packing "transform" is behind this codec: pixels leave their high frequencies out."""
    return transform.LOW if codec.downscale == 1 else transform.NAME
