"""Codecs without weights and without downscale: RGB pixels as they are, and pixels as luma and chroma."""

import torch
from torch import Tensor

from videocompressa.clip import CodecSpec
from videocompressa.codecs.codec import Codec

# Full-range BT.601, as in JFIF: R, G, B in [0,1] give Y in [0,1] and Cb, Cr in [-0.5,0.5].
_RED, _BLUE = 0.299, 0.114
_GREEN = 1 - _RED - _BLUE


def _spec(name: str, shift: tuple[float, float, float]) -> CodecSpec:
    return CodecSpec(name=name, weights_sha256="", channels=3, downscale=1, shift=shift, scale=(0.25,) * 3)


class PixelCodec(Codec):
    """The identity, so that methods on pixels and on latents return the same kind of set.

    C = 3, no downscale; scaled = (x - 0.5) / 0.25 has about unit variance for real frames.
    """

    def __init__(self) -> None:
        super().__init__(_spec("pixel", (0.5, 0.5, 0.5)))

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Return the pixels (B,3,H,W)."""
        return pixels

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Return the latents (B,3,H,W)."""
        return latents


class YCbCrCodec(Codec):
    """Luma and two chromas of every pixel, so that three channels which vary together are not stored three times.

    C = 3, no downscale; scaled: (Y - 0.5) / 0.25, Cb / 0.25, Cr / 0.25. With the packing `transform` this is a
    transform codec of complete clips: a DCT over time, height and width of each channel, in steps that are equal in
    pixels (`channel_weights`).
    """

    def __init__(self) -> None:
        super().__init__(_spec("ycbcr", (0.5, 0, 0)))

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Return Y, Cb, Cr (B,3,H,W) of RGB pixels (B,3,H,W)."""
        red, green, blue = pixels.unbind(1)
        luma = _RED * red + _GREEN * green + _BLUE * blue
        return torch.stack([luma, (blue - luma) / (2 - 2 * _BLUE), (red - luma) / (2 - 2 * _RED)], 1)

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Return RGB (B,3,H,W) of Y, Cb, Cr (B,3,H,W)."""
        luma, cb, cr = latents.unbind(1)
        red, blue = luma + (2 - 2 * _RED) * cr, luma + (2 - 2 * _BLUE) * cb
        return torch.stack([red, (luma - _RED * red - _BLUE * blue) / _GREEN, blue], 1)
