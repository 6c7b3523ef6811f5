"""The container: a safetensors file with the tensors of a set, one metadata key, and the packed provenance text.

Which tensors a file holds, with dtypes and shapes, follows from its metadata (`_expected`), so a file whose tensors and
metadata disagree is refused before anything is unpacked.
"""

import json
import lzma
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import safetensors
import torch

from videocompressa.artifact.metadata import (
    KEY,
    PROVENANCE_SCHEMA,
    SCHEMA,
    Metadata,
    check_schema,
    from_json,
    header_content,
    json_object,
)
from videocompressa.artifact.packing import PACKINGS
from videocompressa.artifact.packing.quantization import LARGEST_CODE, check_stored
from videocompressa.errors import ArtifactError, InputError

Quantization = Literal["int8", "float16"]
"""How dense latents are stored."""

MAX_HEADER_BYTES = 100_000_000
"""A longer header is refused; safetensors itself has the same limit."""
MAX_TEXT_BYTES = 1 << 24
"""A longer provenance text is neither written nor read, so that a small file cannot fill the memory."""

DTYPES = {"F32": np.float32, "F16": np.float16, "U16": np.uint16, "I8": np.int8, "U8": np.uint8}
"""Names of dtypes in safetensors."""

Array = np.ndarray[Any, Any]
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Name of each tensor: its dtype and shape."""

# lc = pb = 0 is 1 to 2 % smaller for texts of a kilobyte than the usual 3 and 2 (measured). All settings are given,
# because the presets of a later version of the library may differ.
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


def pack_text(text: str) -> bytes:
    """Return an ASCII text as one raw LZMA2 stream, the same each time; raises `InputError` above `MAX_TEXT_BYTES`."""
    if len(text) > MAX_TEXT_BYTES:
        raise InputError(
            f"the provenance of the set has {len(text)} characters; a file holds up to {MAX_TEXT_BYTES}: "
            "shorten the paths of the videos, or make the set smaller"
        )
    return lzma.compress(text.encode("ascii"), format=lzma.FORMAT_RAW, filters=_FILTERS)


def unpack_text(data: bytes) -> str:
    """Return the text of a stream; raises `ArtifactError` for all that `pack_text` does not write."""
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        text = decoder.decompress(data, max_length=MAX_TEXT_BYTES + 1)
    except lzma.LZMAError as error:
        raise ArtifactError("tensor provenance is no LZMA stream; the file is damaged") from error
    if len(text) > MAX_TEXT_BYTES:
        raise ArtifactError(f"tensor provenance unpacks to over {MAX_TEXT_BYTES} bytes; the file is damaged")
    if not decoder.eof:
        raise ArtifactError("tensor provenance ends too early; the file is damaged")
    if decoder.unused_data:
        raise ArtifactError("tensor provenance has bytes after its end; the file is damaged")
    try:
        return text.decode("ascii")
    except UnicodeDecodeError as error:
        raise ArtifactError("tensor provenance is no ASCII text; the file is damaged") from error


@contextmanager
def errors_of(path: str) -> Iterator[None]:
    """Raise each `InputError` of the block as an `ArtifactError` that names the file `path`."""
    try:
        yield
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error


def parse(data: bytes, path: str) -> tuple[dict[str, Array], Metadata]:
    """Return the tensors and the metadata in the bytes of the file `path`; their dtypes and shapes agree.

    Raises `ArtifactError`. What the numbers mean (labels in range, times not falling) is checked by `SyntheticSet`.
    """
    keys = metadata_of(data, path)
    if list(keys) != [KEY]:
        raise ArtifactError(
            f"{path} is a safetensors file, but no synthetic set: its metadata keys are "
            f"[{', '.join(sorted(keys))}], not [{KEY}]"
        )
    header = header_content(keys[KEY], path)
    arrays = _deserialized(data, path)
    with errors_of(path):
        for name, shapes in (("labels", ("(N,)", "(N,L)")), ("provenance", ("(bytes,)",))):  # the metadata need them
            if name not in arrays:
                raise ArtifactError(f"the file holds tensors [{', '.join(sorted(arrays))}]; it must hold {name}")
            if not 1 <= arrays[name].ndim <= len(shapes):
                raise ArtifactError(f"tensor {name} has shape {arrays[name].shape}; it must be {' or '.join(shapes)}")
        text = unpack_text(arrays["provenance"].tobytes())
    provenance = json_object(text, "provenance", path)
    check_schema(header, SCHEMA, KEY, path)
    check_schema(provenance, PROVENANCE_SCHEMA, "provenance", path)
    with errors_of(path):
        metadata = from_json(header, provenance, len(arrays["labels"]))
        _check_arrays(arrays, metadata)
    return arrays, metadata


def metadata_of(data: bytes, path: str) -> dict[str, Any]:
    """Return the metadata entry of a safetensors header."""
    if len(data) < 8:
        raise ArtifactError(f"{path} is no safetensors file: it has {len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER_BYTES:
        raise ArtifactError(f"{path} is no safetensors file: its header would have {length} bytes")
    if length > len(data) - 8:
        raise ArtifactError(f"{path} is truncated: its header has {length} bytes, the file {len(data)}; copy it again")
    try:
        entries = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is no safetensors file: its header is not JSON") from error
    keys = entries.get("__metadata__", {}) if isinstance(entries, dict) else None
    if not isinstance(keys, dict):
        raise ArtifactError(f"{path} is no safetensors file: its header is not an object with metadata")
    return keys


def _deserialized(data: bytes, path: str) -> dict[str, Array]:
    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"{path} is truncated or damaged ({error}); copy it again") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in DTYPES:
            raise ArtifactError(f"{path}: tensor {name} has dtype {entry['dtype']}; known: {', '.join(DTYPES)}")
        dtype = np.dtype(DTYPES[entry["dtype"]]).newbyteorder("<")
        arrays[name] = np.frombuffer(bytearray(entry["data"]), dtype=dtype).reshape(entry["shape"])
    return arrays


def unsigned(count: int, what: str) -> str:
    """Return the smallest unsigned dtype that numbers `count` things; raises `InputError`."""
    if count > 65536:
        raise InputError(f"a set has {count} {what}; the file holds up to 65536")
    return "U8" if count <= 256 else "U16"


def _expected(arrays: Mapping[str, Array], metadata: Metadata) -> Layout:
    """Return the tensors that the metadata ask for; shapes of packed latents are checked by their packing."""
    unsigned(metadata.clip.num_frames, "candidate frames")
    num_items, num_classes, soft = len(metadata.positions), len(metadata.classes), arrays["labels"].ndim == 2
    layout: Layout = {
        "provenance": ("U8", (len(arrays["provenance"]),)),
        "labels": ("U8", (num_items, num_classes)) if soft else (unsigned(num_classes, "classes"), (num_items,)),
    }
    if metadata.packing != "dense":
        codes = PACKINGS[metadata.packing].tensors
        return layout | {name: (code, arrays[name].shape if name in arrays else ()) for name, code in codes.items()}
    quantized = "latents" in arrays and arrays["latents"].dtype == np.int8
    layout["latents"] = ("I8" if quantized else "F16", metadata.shape)
    return layout | ({"scales": ("F16", (num_items, metadata.codec.channels))} if quantized else {})


def _check_arrays(arrays: Mapping[str, Array], metadata: Metadata) -> None:
    """Raise `InputError` unless the tensors are those that the metadata ask for."""
    layout = _expected(arrays, metadata)
    if set(arrays) != set(layout):
        raise ArtifactError(
            f"the file holds tensors [{', '.join(sorted(arrays))}]; it must hold [{', '.join(sorted(layout))}]"
        )
    for name, (code, shape) in layout.items():
        if arrays[name].dtype != DTYPES[code] or arrays[name].shape != shape:
            raise ArtifactError(
                f"tensor {name} is {arrays[name].dtype.name} {arrays[name].shape}; "
                f"it must be {np.dtype(DTYPES[code]).name} {shape}"
            )
    if arrays["labels"].ndim == 2 and not bool((arrays["labels"].max(1) == LARGEST_CODE).all()):
        raise ArtifactError(f"a row of soft labels does not reach {LARGEST_CODE}")
    if "scales" in layout:
        quantized = {name: torch.from_numpy(arrays[name]) for name in ("latents", "scales")}
        check_stored(quantized, {name: layout[name][1] for name in quantized})
