"""The table of codecs by name."""

from collections.abc import Callable
from pathlib import Path

from videocompressa.codecs.codec import Codec
from videocompressa.codecs.diffusers import DiffusersCodec
from videocompressa.codecs.linear import LinearCodec
from videocompressa.codecs.pixels import PixelCodec, YCbCrCodec
from videocompressa.codecs.tiny import TinyCodec
from videocompressa.errors import InputError

CODECS: dict[str, Callable[[], Codec]] = {
    "tiny": TinyCodec.load,
    "linear": LinearCodec.load,
    "pixel": PixelCodec,
    "ycbcr": YCbCrCodec,
}
"""Codecs that need nothing outside the package, by name."""


def build_codec(name: str | Codec) -> Codec:
    """Return the codec of a name: one of `CODECS`, "diffusers:HUB_OR_FOLDER_OR_FILE" or "tiny:FILE".

    A codec is returned as it is. Raises `InputError` when the name is unknown (the known ones are listed), or its
    weights cannot be read.
    """
    if isinstance(name, Codec):
        return name
    if name in CODECS:
        return CODECS[name]()
    kind, _, source = name.partition(":")
    if kind == "diffusers" and source:
        return DiffusersCodec(source)
    if kind == "tiny" and source:
        return TinyCodec.load(Path(source), name)
    known = ", ".join([*CODECS, "diffusers:HUB_OR_FOLDER", "diffusers:FILE.safetensors", "tiny:FILE.safetensors"])
    raise InputError(f"unknown codec {name!r}; known: {known}; or, in Python, codec=OBJECT of a class of yours")
