"""The interface of every codec: frames to scaled latents and back, with frozen weights.

1. raw = E(x), the autoencoder's own latents of pixels x;
2. scaled = (raw - shift) / scale, one constant a channel, so that each channel has about zero mean and unit variance;
3. x' = D(scaled * scale + shift).

Only scaled latents are used outside this package. Shapes: M frames, C channels, H W pixels, h w latent cells.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from videocompressa.clip import CodecSpec, shape_text
from videocompressa.errors import InputError

BATCH_PIXELS = 64 * 128 * 128
"""Pixels encoded at once: bounds memory whatever the number of frames (our choice: below 1 GB for the widest codec)."""


class Codec(nn.Module, ABC):
    """A frozen image autoencoder: a spec and, unless the codec has no weights, a network, which is frozen here."""

    _shift: Tensor
    _scale: Tensor

    def __init__(self, spec: CodecSpec, network: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.network: Any = network
        self.register_buffer("_shift", torch.tensor(spec.shift, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("_scale", torch.tensor(spec.scale, dtype=torch.float32).view(-1, 1, 1))
        self.eval().requires_grad_(False)

    @abstractmethod
    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Encode float32 pixels (B,3,H,W) in [0,1] to the autoencoder's own latents (B,C,h,w)."""

    @abstractmethod
    def decode_raw(self, latents: Tensor) -> Tensor:
        """Decode the autoencoder's own latents (B,C,h,w) to pixels (B,3,H,W), about [0,1]."""

    @final
    def encode(self, frames: Tensor) -> Tensor:
        """Encode (M,3,H,W) uint8, or float in [0,1], to scaled latents (M,C,h,w) float32 on the device of `frames`.

        Works through the frames in batches, so that memory does not grow with M beyond the result. Differentiable
        with respect to float frames that require a gradient; then memory does grow.
        """
        if frames.ndim != 4 or frames.shape[1] != 3 or not (frames.dtype == torch.uint8 or frames.is_floating_point()):
            raise InputError(
                f"frames to encode are {shape_text(frames)}; give (M,3,H,W) as uint8, or as float in [0,1], RGB"
            )
        cells = self.spec.latent_shape(frames.shape[2], frames.shape[3])
        scaled = torch.empty((len(frames), *cells), dtype=torch.float32, device=frames.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and frames.requires_grad):
            for rows in batches(frames):
                raw = self.encode_raw(as_pixels(frames[rows].to(self._shift.device))).float()
                scaled[rows] = (raw - self._shift) / self._scale
        return scaled

    @final
    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents (M,C,h,w) to (M,3,H,W) float32 pixels, about [0,1], on the device of `latents`.

        Not clamped, and differentiable with respect to the latents: the caller clamps, and batches where M is large.
        """
        if latents.ndim != 4 or latents.shape[1] != self.spec.channels or not latents.is_floating_point():
            raise InputError(
                f"codec {self.spec.name!r} decodes float latents (M,{self.spec.channels},h,w), got "
                f"{shape_text(latents)}; give latents of the same codec"
            )
        raw = latents.to(self._shift.device, torch.float32) * self._scale + self._shift
        return self.decode_raw(raw).float().to(latents.device)

    def __repr__(self) -> str:
        spec = self.spec
        return f"{type(self).__name__}({spec.name!r}, channels={spec.channels}, downscale={spec.downscale})"


def as_pixels(frames: Tensor) -> Tensor:
    """Return frames as float32 in [0,1]; uint8 is divided by 255."""
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames.float()


def batches(frames: Tensor) -> Iterator[slice]:
    """Yield the rows of each batch of frames (M,3,H,W) with at most `BATCH_PIXELS`."""
    size = max(1, BATCH_PIXELS // (frames.shape[2] * frames.shape[3]))
    return (slice(start, start + size) for start in range(0, len(frames), size))


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the bytes of all tensors, in sorted order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def channel_constants(raw: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation (never 0) of each channel of raw latents (M,C,h,w), as Python floats.

    Rounded to two figures of the standard deviation, since sums differ in their last bits between machines.
    """
    shift, scale = [], []
    for values in raw.double().transpose(0, 1).flatten(1):
        std = max(float(f"{values.std().item():.1e}"), 1e-6)
        digits = 1 - math.floor(math.log10(std))
        shift.append(round(values.mean().item(), digits) + 0.0)
        scale.append(std)
    return tuple(shift), tuple(scale)
