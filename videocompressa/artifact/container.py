"""The container: a safetensors file with the tensors of a set, one metadata key, and the packed provenance text.

Which tensors a file holds, with dtypes and shapes, follows from its metadata (`_check_arrays`), so a file whose tensors
and metadata disagree is refused before anything is unpacked.
"""

import dataclasses
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import torch

from videocompressa.artifact.lzma_stream import pack_bytes, unpack_bytes
from videocompressa.artifact.metadata import (
    FORMAT,
    KEY,
    PROVENANCE_SCHEMA,
    SCHEMA,
    Metadata,
    Schema,
    check_schema,
    from_json,
    hashes_in,
    json_object,
    parse_json,
)
from videocompressa.artifact.packing import PACKINGS, weights
from videocompressa.artifact.packing.quantization import LARGEST_CODE, check_stored
from videocompressa.clip import VIDEO_HASH_DIGITS
from videocompressa.errors import ArtifactError, InputError

Quantization = Literal["int8", "float16"]
"""How dense latents are stored."""

MAX_HEADER_BYTES = 100_000_000
"""A longer header is refused; safetensors itself has the same limit."""
MAX_TEXT_BYTES = 1 << 24
"""A longer provenance text is neither written nor read, so that a small file cannot fill the memory."""

DTYPES = {"F32": np.float32, "F16": np.float16, "U16": np.uint16, "I8": np.int8, "U8": np.uint8}
"""Names of dtypes in safetensors."""

LEARNED = "learned"
"""The tensor of `Provenance.learned_hashes`, which a file may lack: bytes, because they do not pack as text."""

Array = np.ndarray[Any, Any]


def pack_text(text: str) -> bytes:
    """Return an ASCII text as one raw LZMA2 stream, the same each time; raises `InputError` above `MAX_TEXT_BYTES`."""
    if len(text) > MAX_TEXT_BYTES:
        raise InputError(
            f"the provenance of the set has {len(text)} characters; a file holds up to {MAX_TEXT_BYTES}: "
            "shorten the paths of the videos, or make the set smaller"
        )
    return pack_bytes(text.encode("ascii"))


def unpack_text(data: bytes) -> str:
    """Return the text of a stream; raises `InputError` for all that `pack_text` does not write."""
    text = unpack_bytes(data, MAX_TEXT_BYTES, "tensor provenance")
    try:
        return text.decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError("tensor provenance is no ASCII text; the file is damaged") from error


@contextmanager
def errors_of(path: Path | str) -> Iterator[None]:
    """Raise each `InputError` of the block as an `ArtifactError` that names the file `path`."""
    try:
        yield
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error


def parse(data: bytes) -> tuple[dict[str, Array], Metadata]:
    """Return the tensors and the metadata in the bytes of a file; their dtypes and shapes agree. Raises `InputError`.

    What the numbers mean (labels in range, times not falling) is checked by `SyntheticSet`.
    """
    header = header_of(data, KEY, FORMAT, SCHEMA, "synthetic set", "compress the videos again")
    arrays = deserialized(data)
    for name, shapes in (("labels", ("(N,)", "(N,L)")), ("provenance", ("(bytes,)",))):  # the metadata need them
        if name not in arrays:
            raise InputError(f"the file holds tensors [{', '.join(sorted(arrays))}]; it must hold {name}")
        if not 1 <= arrays[name].ndim <= len(shapes):
            raise InputError(f"tensor {name} has shape {arrays[name].shape}; it must be {' or '.join(shapes)}")
    provenance = json_object(unpack_text(arrays["provenance"].tobytes()), "provenance")
    check_schema(provenance, PROVENANCE_SCHEMA, "provenance")
    metadata = from_json(header, provenance, len(arrays["labels"]))
    _check_arrays(arrays, metadata)
    if LEARNED not in arrays:
        return arrays, metadata
    learned = hashes_in(arrays[LEARNED].tobytes().hex())
    if not learned or list(learned) != sorted({*learned}):
        raise InputError(f"tensor {LEARNED} must have rows, which must rise; the file is damaged")
    return arrays, dataclasses.replace(
        metadata, provenance=dataclasses.replace(metadata.provenance, learned_hashes=learned)
    )


def header_of(data: bytes, key: str, number: int, schema: Schema, what: str, advice: str) -> dict[str, Any]:
    """Return the JSON of the only metadata key of a file that is a `what` of format `number`; raises `InputError`.

    `advice` is what to do with a file of an earlier format.
    """
    keys = metadata_of(data)
    if list(keys) != [key]:
        raise InputError(
            f"the file is a safetensors file, but no {what}: its metadata keys are [{', '.join(sorted(keys))}], "
            f"not [{key}]"
        )
    content = json_object(keys[key], key)
    got = content.get("format")
    if type(got) is not int:
        raise InputError(f"metadata {key!r} has no format number")
    if got != number:
        advice = "upgrade videocompressa" if got > number else advice
        raise InputError(f"the file has {what} format {got}, this version reads format {number}; {advice}")
    check_schema(content, schema, key)
    return content


def metadata_of(data: bytes) -> dict[str, Any]:
    """Return the metadata entry of a safetensors header; raises `InputError`."""
    if len(data) < 8:
        raise InputError(f"the file is no safetensors file: it has {len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER_BYTES:
        raise InputError("the file is no safetensors file, so not a set file; give one that videocompressa wrote")
    if length > len(data) - 8:
        raise InputError(f"the file is truncated: its header has {length} bytes, the file {len(data)}; copy it again")
    try:
        entries = parse_json(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file is no safetensors file: its header is not JSON ({error})") from error
    keys = entries.get("__metadata__", {}) if isinstance(entries, dict) else None
    if not isinstance(keys, dict):
        raise InputError("the file is no safetensors file: its header is not an object with metadata")
    return keys


def deserialized(data: bytes) -> dict[str, Array]:
    """Return the tensors in the bytes of a safetensors file by name; raises `InputError`."""
    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise InputError(f"the file is truncated or damaged ({error}); copy it again") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in DTYPES:
            raise InputError(f"tensor {name} has dtype {entry['dtype']}; known: {', '.join(DTYPES)}")
        dtype = np.dtype(DTYPES[entry["dtype"]])
        numbers = np.frombuffer(bytearray(entry["data"]), dtype=dtype.newbyteorder("<"))
        arrays[name] = numbers.reshape(entry["shape"]).astype(dtype, copy=False)
    return arrays


def unsigned(count: int, what: str) -> str:
    """Return the smallest unsigned dtype that numbers `count` things; raises `InputError`."""
    if count > 65536:
        raise InputError(f"a set has {count} {what}; the file holds up to 65536")
    return "U8" if count <= 256 else "U16"


def _check_arrays(arrays: Mapping[str, Array], metadata: Metadata) -> None:
    """Raise `InputError` unless the tensors are those that the metadata ask for; packings check their own shapes."""
    unsigned(metadata.clip.num_frames, "candidate frames")
    num_items, num_classes, soft = len(metadata.positions), len(metadata.classes), arrays["labels"].ndim == 2
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "provenance": ("U8", (len(arrays["provenance"]),)),
        "labels": ("U8", (num_items, num_classes)) if soft else (unsigned(num_classes, "classes"), (num_items,)),
    }
    if LEARNED in arrays:
        layout[LEARNED] = ("U8", (len(arrays[LEARNED]), VIDEO_HASH_DIGITS // 2))
    if metadata.labeler is not None:  # `weights.unpack` checks the shapes
        layout |= {name: (code, arrays[name].shape if name in arrays else ()) for name, code in weights.TENSORS.items()}
    if metadata.packing != "dense":
        codes = PACKINGS[metadata.packing].tensors
        layout |= {name: (code, arrays[name].shape if name in arrays else ()) for name, code in codes.items()}
    elif "latents" in arrays and arrays["latents"].dtype == np.int8:
        layout |= {"latents": ("I8", metadata.shape), "scales": ("F16", (num_items, metadata.codec.channels))}
    else:
        layout["latents"] = ("F16", metadata.shape)
    if set(arrays) != set(layout):
        raise InputError(
            f"the file holds tensors [{', '.join(sorted(arrays))}]; it must hold [{', '.join(sorted(layout))}]"
        )
    for name, (code, shape) in layout.items():
        if arrays[name].dtype != DTYPES[code] or arrays[name].shape != shape:
            raise InputError(
                f"tensor {name} is {arrays[name].dtype.name} {arrays[name].shape}; "
                f"it must be {np.dtype(DTYPES[code]).name} {shape}"
            )
    if arrays["labels"].ndim == 2 and not bool((arrays["labels"].max(1) == LARGEST_CODE).all()):
        raise InputError(f"a row of soft labels does not reach {LARGEST_CODE}")
    if "scales" in layout:
        quantized = {name: torch.from_numpy(arrays[name]) for name in ("latents", "scales")}
        check_stored(quantized, {name: layout[name][1] for name in quantized})
