"""Codecs: frozen image autoencoders behind one interface, and the table of their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from videocompressa.codecs.codec import Codec
from videocompressa.codecs.diffusers import DiffusersCodec
from videocompressa.codecs.linear import LinearCodec
from videocompressa.codecs.pixel import PixelCodec
from videocompressa.codecs.tiny import TinyCodec
from videocompressa.codecs.ycbcr import YCbCrCodec
from videocompressa.errors import InputError

CODECS: dict[str, Callable[[], Codec]] = {
    "tiny": TinyCodec.load,
    "linear": LinearCodec.load,
    "pixel": PixelCodec,
    "ycbcr": YCbCrCodec,
}
"""Codecs that need nothing beside the package, by name."""

_DIFFUSERS, _TINY_FILE = "diffusers:", "tiny:"


def build_codec(name: str) -> Codec:
    """Return the codec of a name: one of `CODECS`, "diffusers:HUB_OR_FOLDER_OR_FILE" or "tiny:FILE".

    Raises
    ------
    InputError
        When the name is unknown (the known ones are listed), or its weights cannot be read.
    """
    if name in CODECS:
        return CODECS[name]()
    if name.startswith(_DIFFUSERS) and len(name) > len(_DIFFUSERS):
        return DiffusersCodec(name.removeprefix(_DIFFUSERS))
    if name.startswith(_TINY_FILE) and len(name) > len(_TINY_FILE):
        return TinyCodec.load(Path(name.removeprefix(_TINY_FILE)), name)
    known = ", ".join([*CODECS, "diffusers:HUB_OR_FOLDER", "diffusers:FILE.safetensors", "tiny:FILE.safetensors"])
    raise InputError(f"unknown codec {name!r}; known: {known}")
