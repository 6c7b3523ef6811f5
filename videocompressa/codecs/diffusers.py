"""DiffusersCodec: any image autoencoder of the diffusers library, or a plain TAESD-style weights file.

1. Weights: a hub name, a folder in diffusers' layout (or one with a `vae` folder inside), or one safetensors file with
   the names of `AutoencoderTiny` (`encoder.layers.0.weight`, ...), whose sizes follow from its tensors.
2. diffusers' autoencoders see pixels in [-1,1], `AutoencoderTiny` with TAESD's own files too; ours are in [0,1].
3. Shift and scale of the latents: from the configuration where it states them, else measured on fixed random pictures.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from videocompressa.clip import CodecSpec
from videocompressa.codecs.codec import Codec, channel_constants, weights_sha256
from videocompressa.errors import InputError, how_to_install
from videocompressa.rng import Streams

ENCODERS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "AutoencoderTiny": lambda network, pixels: network.encode(pixels).latents,
    "AutoencoderKL": lambda network, pixels: network.encode(pixels).latent_dist.mode(),
    "AutoencoderDC": lambda network, pixels: network.encode(pixels).latent,
}
"""How each class of diffusers gives its latents; the mode of a distribution, so that encoding is deterministic."""

_PICTURE_SIDE = 128


class DiffusersCodec(Codec):
    """An image autoencoder of diffusers from `source`: a hub name, folder, or safetensors file.

    Raises `InputError` when diffusers is not installed, or `source` holds no autoencoder that we know.
    """

    def __init__(self, source: str) -> None:
        network = load_autoencoder(source).eval().requires_grad_(False)
        encoder = ENCODERS[type(network).__name__]
        with torch.no_grad():
            raw = encoder(network, fixed_pictures() * 2 - 1)
        weights = network.state_dict()
        shift, scale = stated_constants(network.config, raw.shape[1]) or channel_constants(raw)
        spec = CodecSpec(
            name=f"diffusers:{source}",
            weights_sha256=weights_sha256(weights),
            channels=raw.shape[1],
            downscale=_PICTURE_SIDE // raw.shape[2],
            shift=shift,
            scale=scale,
            num_bytes=sum(tensor.nbytes for tensor in weights.values()),
        )
        super().__init__(spec, network)
        self._encoder = encoder

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Encode float32 pixels (B,3,H,W) in [0,1] to raw latents (B,C,h,w)."""
        return self._encoder(self.network, pixels * 2 - 1)

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Decode raw latents (B,C,h,w) to pixels (B,3,H,W), about [0,1]."""
        decoded: Tensor = self.network.decode(latents).sample
        return decoded / 2 + 0.5


def load_autoencoder(source: str) -> Any:
    """Return the diffusers autoencoder of a hub name, folder or safetensors file, in float32."""
    try:
        import diffusers
    except ImportError:
        raise InputError(
            f"codec 'diffusers:{source}' needs the diffusers library; "
            f"{how_to_install('diffusers')}, or use --codec tiny"
        ) from None
    if Path(source).is_file():
        return _from_file(diffusers, Path(source))
    inner = Path(source) / "vae"
    folder = str(inner) if inner.is_dir() else source
    try:
        config = diffusers.AutoencoderTiny.load_config(folder)
        kind = str(config.get("_class_name", "of no class"))
        if kind not in ENCODERS:
            raise InputError(f"{source} holds an autoencoder {kind}; known: {', '.join(ENCODERS)}")
        return getattr(diffusers, kind).from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    except (OSError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"no autoencoder at {source!r} ({reason}); of a hub name, check it and the network, or give a folder with "
            "config.json, or a file"
        ) from None


def _from_file(diffusers: Any, path: Path) -> nn.Module:
    try:
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is no safetensors file ({error}); give AutoencoderTiny weights") from None
    network: nn.Module = diffusers.AutoencoderTiny(**_tiny_sizes(weights, path))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{path} does not fit AutoencoderTiny: {str(error).splitlines()[-1].strip()}") from None
    return network


def _tiny_sizes(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return the arguments of `AutoencoderTiny` (channels of latents and of layers) that fit a weights file."""
    ends = {}
    for part, name in (("encoder", "latent_channels"), ("decoder", "out_channels")):
        layers = [int(key.split(".")[2]) for key in weights if re.fullmatch(rf"{part}\.layers\.\d+\.[^.]+", key)]
        last = f"{part}.layers.{max(layers, default=0)}.weight"
        if last not in weights or weights[last].ndim != 4:
            raise InputError(
                f"{path} has no {part}.layers.N.weight; give weights with the names of diffusers' AutoencoderTiny"
            )
        ends[name] = weights[last].shape[0]
    first = weights.get("encoder.layers.0.weight")
    widths = (64 if first is None else first.shape[0],) * 4
    return {**ends, "encoder_block_out_channels": widths, "decoder_block_out_channels": widths}


def stated_constants(config: Mapping[str, Any], channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return shift and scale (C,) that a configuration states, or None where it leaves them at their neutral values.

    diffusers: scaled = (raw - shift_factor) * scaling_factor; a scaling factor of 1 is the default and states nothing.
    """
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean and std:
        return tuple(map(float, mean)), tuple(map(float, std))
    factor = config.get("scaling_factor")
    if not factor or math.isclose(factor, 1.0):
        return None
    return (float(config.get("shift_factor") or 0.0),) * channels, (1 / float(factor),) * channels


def fixed_pictures() -> Tensor:
    """Return eight random pictures (8,3,128,128) float32 in [0,1], always the same: smooth color at many scales.

    Noise of falling strength from coarse to fine, as in photographs (amplitude about 1 / frequency).
    """
    generator = Streams(0).generator("fixed_pictures")
    pictures = torch.full((8, 3, _PICTURE_SIDE, _PICTURE_SIDE), 0.5)
    for level in range(1, 7):
        cells = 2**level
        gray = torch.rand(8, 1, cells, cells, generator=generator) - 0.5
        tint = torch.rand(8, 3, cells, cells, generator=generator) - 0.5
        noise = (gray + 0.3 * tint) * (1.2 / level)
        pictures += nn.functional.interpolate(noise, _PICTURE_SIDE, mode="bilinear", align_corners=False)
    return pictures.clamp(0, 1)
