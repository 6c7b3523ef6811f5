"""The container: which tensors lie where in the safetensors file, and taking a file apart.

The header is laid out here as safetensors 0.8 does it (a test compares), because the size must be known before there
are tensors (`predict_file_bytes`) and the bytes must not move with the version of a library.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import safetensors

from videocompressa.artifact.folding import unpacked_text
from videocompressa.artifact.metadata import KEY, Metadata, from_json, header_content
from videocompressa.artifact.packing import PACKINGS
from videocompressa.artifact.packing.quantization import LARGEST_CODE
from videocompressa.clip import ClipSpec, CodecSpec
from videocompressa.errors import ArtifactError, InputError

Quantization = Literal["int8", "float16"]
"""How latents lie in the file."""

MAX_HEADER_BYTES = 100_000_000
"""A longer header is refused; safetensors itself draws the same line."""

DTYPES = {"F32": np.float32, "F16": np.float16, "U16": np.uint16, "I8": np.int8, "U8": np.uint8}
"""Names of dtypes in safetensors, in the order in which their tensors lie in the file."""

Array = np.ndarray[Any, Any]
Layout = dict[str, tuple[str, tuple[int, ...]]]
"""Name of each tensor: its dtype and shape."""


def layout_of(
    num_items: int,
    keyframes: int,
    clip: ClipSpec,
    codec: CodecSpec,
    num_classes: int,
    soft: bool,
    quantization: str,
    provenance_bytes: int,
    packed: Layout | None = None,
) -> Layout:
    """Return which tensors a file holds, with dtype and shape; `packed` ones stand in place of dense latents."""
    if quantization not in get_args(Quantization):
        raise InputError(f"quantization is {quantization!r}; known: {', '.join(get_args(Quantization))}")
    cells = codec.latent_shape(clip.height, clip.width)
    _unsigned(clip.num_frames, "candidate frames")
    layout: Layout = {
        "provenance": ("U8", (provenance_bytes,)),
        "labels": ("U8", (num_items, num_classes)) if soft else (_unsigned(num_classes, "classes"), (num_items,)),
    }
    if packed is not None:
        return layout | packed
    layout["latents"] = ("I8" if quantization == "int8" else "F16", (num_items, keyframes, *cells))
    if quantization == "int8":
        layout["scales"] = ("F16", (num_items, codec.channels))
    return layout


def _unsigned(count: int, what: str) -> str:
    """Return the smallest unsigned dtype that numbers `count` things."""
    if count > 65536:
        raise InputError(f"a set has {count} {what}; the file holds up to 65536")
    return "U8" if count <= 256 else "U16"


def order(layout: Layout) -> list[str]:
    """Return the names as they lie in the file: by dtype, widest first, so that each is aligned; then by name."""
    rank = list(DTYPES)
    return sorted(layout, key=lambda name: (rank.index(layout[name][0]), name))


def size_of(code: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of one tensor."""
    return np.dtype(DTYPES[code]).itemsize * math.prod(shape)


def header(layout: Layout, text: str) -> bytes:
    """Return the length and the JSON header of the file."""
    entries: dict[str, Any] = {"__metadata__": {KEY: text}}
    begin = 0
    for name in order(layout):
        code, shape = layout[name]
        end = begin + size_of(code, shape)
        entries[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    encoded = json.dumps(entries, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded


def parse(data: bytes, path: str) -> tuple[dict[str, Array], Metadata]:
    """Take the bytes of the file `path` apart, into tensors of agreeing dtypes and shapes and what is said about them.

    Raises `ArtifactError`. What the numbers mean (labels in range, times not falling) is checked by `SyntheticSet`.
    """
    named = metadata_of(data, path)
    if list(named) != [KEY]:
        raise ArtifactError(
            f"{path} is a safetensors file, but no synthetic set: its metadata keys are "
            f"[{', '.join(sorted(named))}], not [{KEY}]"
        )
    content = header_content(named[KEY], path)
    try:
        found = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"{path} is truncated or damaged ({error}); copy it again") from error
    arrays = {}
    for name, entry in found:
        if entry["dtype"] not in DTYPES:
            raise ArtifactError(f"{path}: tensor {name} has dtype {entry['dtype']}; known: {', '.join(DTYPES)}")
        dtype = np.dtype(DTYPES[entry["dtype"]]).newbyteorder("<")
        arrays[name] = np.frombuffer(bytearray(entry["data"]), dtype=dtype).reshape(entry["shape"])
    for name, shapes in (("labels", ("(N,)", "(N,L)")), ("provenance", ("(bytes,)",))):  # the metadata ask for these
        if name not in arrays:
            raise ArtifactError(f"{path} holds tensors [{', '.join(sorted(arrays))}]; it must hold {name}")
        if not 1 <= arrays[name].ndim <= len(shapes):
            raise ArtifactError(
                f"{path}: tensor {name} has shape {arrays[name].shape}; it must be {' or '.join(shapes)}"
            )
    metadata = from_json(content, unpacked_text(arrays["provenance"].tobytes(), path), path, len(arrays["labels"]))
    _check_arrays(arrays, metadata, path)
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
    named = entries.get("__metadata__", {}) if isinstance(entries, dict) else None
    if not isinstance(named, dict):
        raise ArtifactError(f"{path} is no safetensors file: its header is not an object with metadata")
    return named


def _check_arrays(arrays: Mapping[str, Array], metadata: Metadata, path: str) -> None:
    """Check that the tensors are those that the metadata asks for, with its dtypes and shapes.

    Of packed latents only the dtypes are checked here; their shapes are the packing's own affair.
    """
    quantized = "latents" in arrays and arrays["latents"].dtype == np.int8
    packing = PACKINGS.get(metadata.packing)
    latent_names = ({"latents"} | ({"scales"} if quantized else set())) if packing is None else set(packing.tensors)
    required = {"provenance", "labels"} | latent_names
    if set(arrays) != required:
        raise ArtifactError(
            f"{path} holds tensors [{', '.join(sorted(arrays))}]; it must hold [{', '.join(sorted(required))}]"
        )
    if packing is None and arrays["latents"].ndim != 5:
        raise ArtifactError(f"{path}: tensor latents has shape {arrays['latents'].shape}; it must be (N,K,C,h,w)")
    soft = arrays["labels"].ndim == 2
    try:
        layout = layout_of(
            *metadata.shape,
            metadata.clip,
            metadata.codec,
            len(metadata.classes),
            soft,
            "int8" if quantized else "float16",
            len(arrays["provenance"]),
            {name: (code, arrays[name].shape) for name, code in packing.tensors.items()} if packing else None,
        )
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    for name, (code, shape) in layout.items():
        if arrays[name].dtype != DTYPES[code] or arrays[name].shape != shape:
            raise ArtifactError(
                f"{path}: tensor {name} is {arrays[name].dtype.name} {arrays[name].shape}; "
                f"it must be {np.dtype(DTYPES[code]).name} {shape}"
            )
    if soft and not bool((arrays["labels"].max(1) == LARGEST_CODE).all()):
        raise ArtifactError(f"{path}: a row of soft labels does not reach {LARGEST_CODE}")
    if quantized and not bool((np.isfinite(arrays["scales"]) & (arrays["scales"] > 0)).all()):
        raise ArtifactError(f"{path}: tensor scales holds values that are not finite and positive")
    if quantized and bool((arrays["latents"] == -128).any()):
        raise ArtifactError(f"{path}: tensor latents holds -128; int8 latents lie in [-127,127]")
