"""The small text of the file: JSON against a fixed dictionary, then LZMA.

A set of a few kilobytes would spend a third of them on its method's configuration and its codec's constants, which are
nearly always the same. So:

1. *Fold.* The text is ASCII. Going from left to right, each longest run of at least 8 characters that stands in the
   dictionary (at its first place) becomes the byte 128 and two big-endian 16-bit numbers: where the run begins there,
   and its length.
2. *LZMA.* The result is one raw LZMA2 stream (no container: no magic number, size or checksum).

Our choice: LZMA rather than deflate with a preset dictionary, which is as small, because builds of zlib disagree about
the bytes (zlib, zlib-ng); and a step of our own for the dictionary, because Python's lzma takes none.
"""

from __future__ import annotations

import lzma
import re
import struct
from typing import Any

from videocompressa.artifact.dictionary import DICTIONARY
from videocompressa.errors import ArtifactError, InputError

MAX_TEXT_BYTES = 1 << 24
"""A longer text is neither written nor read, so that a small file cannot fill the memory."""

_SHORTEST = 8
_LONGEST = 65535
_FOLD = b"\x80"
_FOLDED = re.compile(rb"\x80(..)(..)", re.DOTALL)
_PLACES: dict[str, list[int]] = {}
for _place in range(len(DICTIONARY) - _SHORTEST + 1):
    _PLACES.setdefault(DICTIONARY[_place : _place + _SHORTEST], []).append(_place)

# lc = pb = 0: measured 1 to 2 % smaller for texts of a kilobyte than the usual 3 and 2. All are given, for the presets
# of a later version of the library may differ.
_FILTERS: list[dict[str, Any]] = [
    {
        "id": lzma.FILTER_LZMA2,
        "dict_size": 1 << 16,
        "lc": 0,
        "lp": 0,
        "pb": 0,
        "mode": lzma.MODE_NORMAL,
        "nice_len": 273,
        "mf": lzma.MF_BT4,
        "depth": 512,
    }
]


def packed_text(text: str) -> bytes:
    """Return the bytes of an ASCII text; the same each time. Raises `InputError` above `MAX_TEXT_BYTES`."""
    if len(text) > MAX_TEXT_BYTES:
        raise InputError(
            f"the provenance of the set has {len(text)} characters; a file holds up to {MAX_TEXT_BYTES}: "
            "shorten the paths of the videos, or make the set smaller"
        )
    return lzma.compress(_folded(text), format=lzma.FORMAT_RAW, filters=_FILTERS)


def unpacked_text(data: bytes, path: str) -> str:
    """Return the text of the file `path`; raises `ArtifactError` for all that `packed_text` would not write."""
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        folded = decoder.decompress(data, max_length=MAX_TEXT_BYTES + 1)
    except lzma.LZMAError as error:
        raise ArtifactError(f"{path}: tensor provenance is no LZMA stream; the file is damaged") from error
    runs = [struct.unpack(">HH", place + length) for place, length in _FOLDED.findall(folded)]
    if len(folded) + sum(length for _, length in runs) > MAX_TEXT_BYTES:
        raise ArtifactError(f"{path}: tensor provenance unpacks to over {MAX_TEXT_BYTES} bytes; the file is damaged")
    if not decoder.eof:
        raise ArtifactError(f"{path}: tensor provenance ends too early; the file is damaged")
    if decoder.unused_data:
        raise ArtifactError(f"{path}: tensor provenance has bytes behind its end; the file is damaged")
    if any(place + length > len(DICTIONARY) for place, length in runs):
        raise ArtifactError(f"{path}: tensor provenance points behind the dictionary; the file is damaged")
    try:
        return _FOLDED.sub(_unfold, folded).decode("ascii")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: tensor provenance is no ASCII text; the file is damaged") from error


def _unfold(match: re.Match[bytes]) -> bytes:
    place, length = struct.unpack(">HH", match[1] + match[2])
    return DICTIONARY[place : place + length].encode()


def _folded(text: str) -> bytes:
    pieces, begin, here = [], 0, 0
    while here < len(text):
        places = _PLACES.get(text[here : here + _SHORTEST])
        if places is None:
            here += 1
            continue
        length, place = max((_common(text, here, place), -place) for place in places)
        pieces += [text[begin:here].encode("ascii"), _FOLD, struct.pack(">HH", -place, length)]
        begin = here = here + length
    return b"".join([*pieces, text[begin:].encode("ascii")])


def _common(text: str, here: int, place: int) -> int:
    """Return how many characters of the text from `here` are those of the dictionary from `place`."""
    length, most = _SHORTEST, min(len(text) - here, len(DICTIONARY) - place, _LONGEST)
    while length < most and text[here + length] == DICTIONARY[place + length]:
        length += 1
    return length
