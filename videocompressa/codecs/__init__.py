"""Codecs: frozen image autoencoders behind one interface."""

from videocompressa.codecs.codec import Codec, weights_sha256
from videocompressa.codecs.diffusers import DiffusersCodec
from videocompressa.codecs.linear import BlockPCA, LinearCodec
from videocompressa.codecs.pixels import PixelCodec, YCbCrCodec
from videocompressa.codecs.registry import CODECS, build_codec
from videocompressa.codecs.tiny import TinyCodec, TinyConfig, TinyNet

__all__ = [
    "CODECS",
    "BlockPCA",
    "Codec",
    "DiffusersCodec",
    "LinearCodec",
    "PixelCodec",
    "TinyCodec",
    "TinyConfig",
    "TinyNet",
    "YCbCrCodec",
    "build_codec",
    "weights_sha256",
]
