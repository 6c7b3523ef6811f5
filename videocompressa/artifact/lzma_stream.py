"""One raw LZMA2 stream, with all settings given, so that the same bytes are written by any version of the library."""

import lzma
from typing import Any

from videocompressa.errors import InputError

# lc = pb = 0 is 1 to 2 % smaller for texts of a kilobyte than the usual 3 and 2 (measured).
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


def pack_bytes(data: bytes) -> bytes:
    """Return the stream of the data, the same each time."""
    return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_FILTERS)


def unpack_bytes(data: bytes, most: int, where: str) -> bytes:
    """Return the data of a stream named `where`; raises `InputError` for more than `most` bytes, or a damaged one."""
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        unpacked = decoder.decompress(data, max_length=most + 1)
    except lzma.LZMAError as error:
        raise InputError(f"{where} is no LZMA stream; the file is damaged") from error
    if len(unpacked) > most:
        raise InputError(f"{where} unpacks to over {most} bytes; the file is damaged")
    if not decoder.eof:
        raise InputError(f"{where} ends too early; the file is damaged")
    if decoder.unused_data:
        raise InputError(f"{where} has bytes after its end; the file is damaged")
    return unpacked
