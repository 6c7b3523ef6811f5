"""A reader of set files written from docs/format.md alone, in NumPy: it shares no line with the package."""

from __future__ import annotations

import json
import lzma
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "U16": "<u2", "I8": "<i1", "U8": "<u1"}
FILTER = {"id": lzma.FILTER_LZMA2, "dict_size": 65536, "lc": 0, "lp": 0, "pb": 0}


def unpack(tensor: np.ndarray) -> bytes:
    """Return what one raw LZMA2 stream holds."""
    return lzma.decompress(tensor.tobytes(), format=lzma.FORMAT_RAW, filters=[FILTER])


def read(path: Path) -> dict[str, Any]:
    """Return header, provenance, latents, labels, positions and times of a set whose latents are dense or Tucker's."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    header = json.loads(entries.pop("__metadata__")["videocompressa"])
    assert header["format"] == 1
    tensors = {}
    for name, entry in entries.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    provenance = json.loads(unpack(tensors["provenance"]))
    labels, k = tensors["labels"], header["keyframes"]
    steps = np.array(provenance["times"]).reshape(len(labels), k)
    return {
        "header": header,
        "provenance": provenance,
        "latents": latents_of(tensors, header["packing"]),
        "labels": probabilities(labels) if labels.ndim == 2 else labels,
        "positions": positions_of(provenance["positions"], len(labels), header["clip"]["frames"]),
        "times": [list(accumulate(row)) for row in steps.tolist()],
        "learned": [row.tobytes().hex() for row in tensors.get("learned", [])],
        "matrices": matrices_of(tensors) if "labeler" in tensors else None,
    }


def latents_of(tensors: dict[str, np.ndarray], packing: str) -> np.ndarray:
    """Return the scaled latents."""
    if packing == "dense" and "scales" not in tensors:
        return tensors["latents"].astype(np.float32)
    integers, scales = (
        tensors[name] for name in (("latents", "scales") if packing == "dense" else ("core", "core_scales"))
    )
    numbers = integers.astype(np.float32) * scales.astype(np.float32)[:, None, :, None, None]
    if packing == "dense":
        return numbers
    factors = [tensors[f"factor_{name}"].astype(np.float64) for name in ("time", "height", "width")]
    return np.einsum("nicjl,ti,yj,xl->ntcyx", numbers.astype(np.float64), *factors).astype(np.float32)


def probabilities(codes: np.ndarray) -> np.ndarray:
    squares = codes.astype(np.float64) ** 2
    return squares / squares.sum(1, keepdims=True)


def positions_of(marks: str, num_items: int, frames: int) -> list[list[int]]:
    if not marks:
        return [list(range(frames))] * num_items
    digits = -(-frames // 4)
    rows = [f"{int(marks[n * digits : (n + 1) * digits], 16):0{4 * digits}b}" for n in range(num_items)]
    return [[place for place, bit in enumerate(row) if bit == "1"] for row in rows]


def matrices_of(tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the labeler's codes, and the steps of its rows."""
    return np.frombuffer(unpack(tensors["labeler"]), np.int8), tensors["labeler_scales"].astype(np.float32)
