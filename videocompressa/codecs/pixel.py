"""PixelCodec: the identity, so that methods on pixels and on latents return the same kind of set."""

from __future__ import annotations

from torch import Tensor

from videocompressa.clip import CodecSpec
from videocompressa.codecs.codec import Codec


class PixelCodec(Codec):
    """Latents are the pixels: C = 3, no downscale, scaled = (x - 0.5) / 0.25, about unit variance for real frames."""

    def __init__(self) -> None:
        super().__init__(
            CodecSpec(name="pixel", weights_sha256="", channels=3, downscale=1, shift=(0.5,) * 3, scale=(0.25,) * 3)
        )

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Return the pixels (B,3,H,W)."""
        return pixels

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Return the latents (B,3,H,W)."""
        return latents
