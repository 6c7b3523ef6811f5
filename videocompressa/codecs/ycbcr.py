"""YCbCrCodec: pixels as luma and chroma, so that three channels which move together are not stored three times."""

from __future__ import annotations

import torch
from torch import Tensor

from videocompressa.clip import CodecSpec
from videocompressa.codecs.codec import Codec

# Full-range BT.601, as in JFIF: of R, G, B in [0,1] it makes Y in [0,1] and Cb, Cr in [-0.5,0.5].
_RED, _BLUE = 0.299, 0.114
_GREEN = 1 - _RED - _BLUE


class YCbCrCodec(Codec):
    """Latents are luma and two chromas of every pixel: C = 3, no downscale, no weights.

    Scaled: (Y - 0.5) / 0.25, Cb / 0.25, Cr / 0.25. Behind the packing `transform` this is a transform codec of whole
    clips: a DCT over time, height and width of each channel, in steps that are alike in pixels (`channel_weights`).
    """

    def __init__(self) -> None:
        super().__init__(
            CodecSpec(name="ycbcr", weights_sha256="", channels=3, downscale=1, shift=(0.5, 0, 0), scale=(0.25,) * 3)
        )

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
