"""TinyCodec: our own small convolutional autoencoder, 8x down, with its weights in the package.

Encoder and decoder are each a linear map of 8x8 blocks plus a convolutional branch:

1. raw = P s8(x) + R(x), where s8 gathers each 8x8 block into one cell (space to depth);
2. x' = u8(Q raw) + S(raw), where u8 spreads a cell to its block again (depth to space).

P and Q start as the principal components of the training pictures and the last layers of R and S as zero, so training
starts at the quality of `LinearCodec`. A cell's value does not depend on the rest of the batch. Sources, licenses and
measured quality of the weights, which `tools/train_tiny_codec.py` trains, are in `weights/tiny_codec.md`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from videocompressa.clip import CodecSpec
from videocompressa.codecs.codec import Codec, channel_constants, weights_sha256
from videocompressa.errors import InputError, check_least

BLOCK = 8
"""Pixels a latent cell spans on each side."""

WEIGHTS = Path(__file__).parent / "weights" / "tiny_codec.safetensors"
"""The embedded default weights."""

_METADATA = "tiny_codec"


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the two networks; the default has 1.3 million weights."""

    channels: int = 8
    """C, latent channels."""
    width: int = 96
    """Channels at 1/8 resolution."""
    fine_width: int = 64
    """Channels at 1/4 resolution."""
    encoder_blocks: Sequence[int] = (2, 2)
    """Residual blocks at 1/4 and at 1/8 resolution."""
    decoder_blocks: Sequence[int] = (3, 3)
    """Residual blocks at 1/8 and at 1/4 resolution."""

    def __post_init__(self) -> None:
        check_least(self, "TinyConfig.", channels=1, width=1, fine_width=1)


class ResidualBlock(nn.Module):
    """x + W2 relu(W1 relu(x)), 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.3)  # Our choice: deep branches without normalization start near the identity.

    def forward(self, x: Tensor) -> Tensor:
        """Map (B,width,h,w) to the same shape."""
        change: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + change


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


class TinyEncoder(nn.Module):
    """Pixels (B,3,H,W) in [-0.5,0.5] to raw latents (B,C,H/8,W/8)."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3 * BLOCK**2, config.channels, 1)
        self.first = nn.Conv2d(3 * 16, config.fine_width, 3, padding=1)
        self.fine = _blocks(config.fine_width, config.encoder_blocks[0])
        self.down = nn.Conv2d(4 * config.fine_width, config.width, 1)
        self.coarse = _blocks(config.width, config.encoder_blocks[1])
        self.last = nn.Conv2d(config.width, config.channels, 3, padding=1)
        for values in self.last.parameters():
            nn.init.zeros_(values)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode."""
        features = self.fine(self.first(F.pixel_unshuffle(pixels, 4)))
        features = self.coarse(self.down(F.pixel_unshuffle(features, 2)))
        latents: Tensor = self.linear(F.pixel_unshuffle(pixels, BLOCK)) + self.last(F.relu(features))
        return latents


class TinyDecoder(nn.Module):
    """Raw latents (B,C,h,w) to pixels (B,3,8h,8w), about [-0.5,0.5]."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.linear = nn.Conv2d(config.channels, 3 * BLOCK**2, 1)
        self.first = nn.Conv2d(config.channels, config.width, 3, padding=1)
        self.coarse = _blocks(config.width, config.decoder_blocks[0])
        self.up = nn.Conv2d(config.width, 4 * config.fine_width, 1)
        self.fine = _blocks(config.fine_width, config.decoder_blocks[1])
        self.last = nn.Conv2d(config.fine_width, 3 * 16, 3, padding=1)
        for values in self.last.parameters():
            nn.init.zeros_(values)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        features = F.pixel_shuffle(self.up(self.coarse(self.first(latents))), 2)
        fine = F.pixel_shuffle(self.last(F.relu(self.fine(features))), 4)
        return F.pixel_shuffle(self.linear(latents), BLOCK) + fine


class TinyNet(nn.Module):
    """Encoder, decoder and the scaling constants of one TinyCodec."""

    shift: Tensor
    scale: Tensor

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = TinyEncoder(config)
        self.decoder = TinyDecoder(config)
        self.register_buffer("shift", torch.zeros(config.channels))
        self.register_buffer("scale", torch.ones(config.channels))

    def start_from(self, mean: Tensor, basis: Tensor, std: Tensor) -> None:
        """Set the linear maps to a PCA of blocks: mean (192,), orthonormal rows (C,192), std (C,) of the components."""
        analysis, synthesis = basis / std[:, None], (basis * std[:, None]).T
        self.encoder.linear.load_state_dict({"weight": analysis[:, :, None, None], "bias": -analysis @ mean})
        self.decoder.linear.load_state_dict({"weight": synthesis[:, :, None, None], "bias": mean})

    def set_constants(self, pixels: Tensor) -> None:
        """Measure shift and scale of the raw latents on pixels (M,3,H,W) in [0,1]."""
        with torch.no_grad():
            shift, scale = channel_constants(self.encoder(pixels - 0.5))
            self.shift.copy_(torch.tensor(shift))
            self.scale.copy_(torch.tensor(scale))

    def to_bytes(self) -> bytes:
        """Return the weights file: safetensors, float16 (constants float32), one metadata key with the sizes."""
        weights = {
            name: tensor.detach().cpu().contiguous().to(torch.float32 if name in ("shift", "scale") else torch.float16)
            for name, tensor in self.state_dict().items()
        }
        sizes = json.dumps(asdict(self.config), sort_keys=True, separators=(",", ":"))
        return save(weights, metadata={_METADATA: sizes})


class TinyCodec(Codec):
    """The codec of a `TinyNet` with its constants set; "tiny" is the embedded one.

    `name` is what `build_codec` takes, `num_bytes` the size of the weights file, and `sha256` the hash of the weights
    as stored; None hashes those of `net`.
    """

    def __init__(self, net: TinyNet, name: str = "tiny", *, num_bytes: int = 0, sha256: str | None = None) -> None:
        spec = CodecSpec(
            name=name,
            weights_sha256=weights_sha256(net.state_dict()) if sha256 is None else sha256,
            channels=net.config.channels,
            downscale=BLOCK,
            shift=tuple(net.shift.tolist()),
            scale=tuple(net.scale.tolist()),
            num_bytes=num_bytes,
        )
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
        super().__init__(spec, net)

    @classmethod
    def load(cls, path: Path = WEIGHTS, name: str = "tiny") -> Self:
        """Read a weights file written by `TinyNet.to_bytes`; raises `InputError` when it is none."""
        try:
            with safe_open(path, framework="pt") as file:
                sizes = (file.metadata() or {}).get(_METADATA)
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no iterator there
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path} is no TinyCodec file ({error}); write one with train_tiny_codec") from None
        if sizes is None:
            raise InputError(f"{path} has no metadata key {_METADATA!r}; write one with train_tiny_codec")
        try:
            net = TinyNet(TinyConfig(**json.loads(sizes)))
            net.load_state_dict(weights)
        except (IndexError, TypeError, ValueError, RuntimeError):
            raise InputError(f"{path} does not fit its sizes {sizes}; write one with train_tiny_codec") from None
        return cls(net, name, num_bytes=path.stat().st_size, sha256=weights_sha256(weights))

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Encode float32 pixels (B,3,H,W) in [0,1] to raw latents (B,C,h,w)."""
        encoded: Tensor = self.network.encoder((pixels - 0.5).contiguous(memory_format=torch.channels_last))
        return encoded

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Decode raw latents (B,C,h,w) to pixels (B,3,H,W), about [0,1]."""
        decoded: Tensor = self.network.decoder(latents.contiguous(memory_format=torch.channels_last))
        return decoded + 0.5
