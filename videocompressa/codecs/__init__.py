"""Codecs: frozen image autoencoders behind one interface."""

from videocompressa.codecs.codec import Codec, weights_sha256
from videocompressa.codecs.linear import LinearCodec
from videocompressa.codecs.pixels import PixelCodec
from videocompressa.codecs.registry import CODECS, build_codec
from videocompressa.codecs.tiny import TinyCodec

__all__ = ["CODECS", "Codec", "LinearCodec", "PixelCodec", "TinyCodec", "build_codec", "weights_sha256"]
