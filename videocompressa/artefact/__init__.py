"""The file: one `.safetensors` that holds a whole synthetic set, and what it costs.

Layout, rules and one real example stand in `docs/format.md`. In short: int8 `latents` with float16 `scales` (or float16
latents without), `labels`, one metadata key `videocompressa` with canonical JSON, and `provenance`, which is packed
JSON: classes, configuration, constants, video ids, positions and times. The same set gives the same bytes, and writing
what was read gives them again.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videocompressa.artefact.container import (
    DTYPES,
    Array,
    Layout,
    Quantisation,
    header,
    layout_of,
    order,
    parse,
    size_of,
)
from videocompressa.artefact.folding import packed_text
from videocompressa.artefact.metadata import (
    FORMAT,
    KEY,
    MAX_MILLISECONDS,
    PROVENANCE_SCHEMA,
    SCHEMA,
    Metadata,
    to_json,
)
from videocompressa.artefact.numbers import label_codes, labels_of, largest_label_error
from videocompressa.clip import ClipSpec, CodecSpec, Normalisation
from videocompressa.errors import ArtefactError, InputError
from videocompressa.packing import find_packing, unpacked
from videocompressa.packing.int8 import dequantise, quantise
from videocompressa.synthetic import Budget, Provenance, Source, SyntheticSet

__all__ = [
    "FORMAT",
    "KEY",
    "PROVENANCE_SCHEMA",
    "SCHEMA",
    "Quantisation",
    "check_target",
    "dequantise",
    "label_codes",
    "largest_label_error",
    "measure",
    "predict_file_bytes",
    "quantise",
    "read_set",
    "read_whole",
    "to_bytes",
    "write_set",
    "write_whole",
]


def write_set(
    synthetic: SyntheticSet, path: Path, *, quantisation: Quantisation = "int8", overwrite: bool = False
) -> Budget:
    """Write the set to `path` (a `.safetensors` file) and return what it costs.

    The bytes are read back and compared in memory first, then written beside `path` under a temporary name, synced
    and renamed: whatever happens, `path` is whole or untouched, and nothing else is left. Raises `InputError`.
    """
    path = Path(path)
    check_target(path, overwrite=overwrite)
    data = to_bytes(synthetic, quantisation)
    arrays, metadata = parse(data, str(path))
    _compare(synthetic, _to_set(arrays, metadata, str(path)), arrays, path)
    write_whole(path, data)
    return _budget(arrays, metadata, len(data))


def read_whole(path: Path, what: str) -> bytes:
    """Return the bytes of a file, unchecked; raises `ArtefactError`, which calls it `what`, when there are none."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactError(f"{what} {path} does not exist") from error
    except OSError as error:
        raise ArtefactError(f"cannot read {what} {path}: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync and rename it: `path` is whole or untouched. Raises `InputError`."""
    part = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Raise `InputError` when `path` cannot be written: for callers who want to know before a long run."""
    path = Path(path)
    probe = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        if path.is_dir():
            raise InputError(f"output {path} is a folder; give the name of a .safetensors file")
        if path.exists() and not overwrite:
            raise InputError(f"output {path} exists; give --force to replace it, or another name")
        if not path.parent.is_dir():
            raise InputError(f"output {path}: folder {path.parent} does not exist; make it first")
        with open(probe, "xb"):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def read_set(path: Path) -> SyntheticSet:
    """Read a set, with latents as float32, positions int64, times float64 in whole
    milliseconds, labels int64 or float32 summing to 1.

    Raises `ArtefactError` for every way in which the file can be wrong; see "Checks" in `docs/format.md`.
    """
    return _to_set(*parse(read_whole(Path(path), "set file"), str(path)), str(path))


def measure(path: Path) -> Budget:
    """Return what the set at `path` costs, from the file alone. Raises `ArtefactError` as `read_set` does."""
    data = read_whole(Path(path), "set file")
    return _budget(*parse(data, str(path)), len(data))


def to_bytes(synthetic: SyntheticSet, quantisation: Quantisation = "int8") -> bytes:
    """Return the bytes of the file; the same set gives the same bytes in any process on any machine."""
    text, provenance_text = to_json(
        Metadata(
            clip=synthetic.clip,
            codec=synthetic.codec,
            normalisation=synthetic.normalisation,
            provenance=synthetic.provenance,
            classes=synthetic.classes,
            fill=synthetic.fill,
            packing=synthetic.packing,
            positions=tuple(map(tuple, synthetic.positions.tolist())),
            milliseconds=_milliseconds(synthetic.times_seconds.tolist()),
        )
    )
    provenance = np.frombuffer(packed_text(provenance_text), dtype=np.uint8)
    layout = layout_of(
        synthetic.positions.shape[0],
        synthetic.positions.shape[1],
        synthetic.clip,
        synthetic.codec,
        len(synthetic.classes),
        synthetic.labels.ndim == 2,
        quantisation,
        len(provenance),
        _packed_layout(synthetic),
    )
    arrays = _arrays(synthetic, layout) | {"provenance": provenance}
    return header(layout, text) + b"".join(arrays[name].tobytes() for name in order(layout))


def predict_file_bytes(
    video_ids: Sequence[str],
    times_seconds: Sequence[Sequence[float]],
    positions: Sequence[Sequence[int]],
    *,
    clip: ClipSpec,
    codec: CodecSpec,
    classes: Sequence[str],
    source: Source,
    soft_labels: bool,
    method: str = "videocompressa",
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    normalisation: Normalisation | None = None,
    quantisation: Quantisation = "int8",
    packing: str = "dense",
    packed: Layout | None = None,
) -> int:
    """Return the size in bytes that `write_set` would give, without making any latents.

    Sets of a `packing` other than "dense" have `packed` tensors of these dtypes and shapes.

    It is exact for items of these `video_ids` (N), `times_seconds` (N,K) and `positions` (N,K), in this order; others
    compress a little better or worse. Without `normalisation` its six numbers are taken to be of full length.
    """
    if not video_ids or not len(video_ids) == len(times_seconds) == len(positions):
        raise InputError(
            f"cannot predict the size of {len(video_ids)} items with {len(times_seconds)} rows of times and "
            f"{len(positions)} of positions; all must be the same, at least 1"
        )
    text, provenance_text = to_json(
        Metadata(
            clip=clip,
            codec=codec,
            normalisation=normalisation or Normalisation((0.123457,) * 3, (0.345678,) * 3),
            provenance=Provenance(method, config or {}, seed, source, tuple(video_ids)),
            classes=tuple(classes),
            fill="linear",
            packing=packing,
            positions=tuple(map(tuple, positions)),
            milliseconds=_milliseconds(times_seconds),
        )
    )
    keyframes, folded = len(times_seconds[0]), packed_text(provenance_text)
    layout = layout_of(
        len(video_ids), keyframes, clip, codec, len(classes), soft_labels, quantisation, len(folded), packed
    )
    return len(header(layout, text)) + sum(size_of(*entry) for entry in layout.values())


def _milliseconds(times_seconds: Sequence[Sequence[float]]) -> tuple[tuple[int, ...], ...]:
    # 0.5 ms is a quarter of half a frame at 240 frames a second.
    times = tuple(tuple(round(1000 * seconds) for seconds in item) for item in times_seconds)
    if any(abs(time) > MAX_MILLISECONDS for item in times for time in item):
        raise InputError(f"times_seconds leave +-{MAX_MILLISECONDS // 1000} seconds, which is all that the file holds")
    return times


def _arrays(synthetic: SyntheticSet, layout: Layout) -> dict[str, Array]:
    """Return the tensors of the file but the provenance, little-endian."""
    tensors = {
        **synthetic.packed,
        "labels": label_codes(synthetic.labels) if synthetic.labels.ndim == 2 else synthetic.labels,
    }
    if "scales" in layout:
        tensors["latents"], tensors["scales"] = quantise(synthetic.latents)
    elif "latents" in layout:
        tensors["latents"] = synthetic.latents.half()
        if not bool(torch.isfinite(tensors["latents"]).all()):
            raise InputError("latents leave the range of float16 (65504); write them as int8")
    return {
        name: tensors[name].detach().cpu().numpy().astype(np.dtype(DTYPES[code]).newbyteorder("<"))
        for name, (code, _) in layout.items()
        if name != "provenance"
    }


def _packed_layout(synthetic: SyntheticSet) -> Layout | None:
    """Return dtype and shape of packed tensors; None for dense latents."""
    if synthetic.packing == "dense":
        return None
    codes = find_packing(synthetic.packing).tensors
    if set(codes) != set(synthetic.packed):
        raise InputError(
            f"packing {synthetic.packing!r} stores tensors [{', '.join(sorted(codes))}], "
            f"but the set has [{', '.join(sorted(synthetic.packed))}]"
        )
    return {name: (code, tuple(synthetic.packed[name].shape)) for name, code in codes.items()}


def _to_set(arrays: Mapping[str, Array], metadata: Metadata, path: str) -> SyntheticSet:
    """Return the set that tensors and metadata make; `SyntheticSet` checks that its numbers make sense."""
    try:
        packed = _packed_tensors(arrays, metadata)
        latents = _latents(arrays, metadata, packed)
    except InputError as error:
        raise ArtefactError(f"{path}: {error}") from error
    labels = torch.from_numpy(arrays["labels"].astype(np.int64))
    if labels.ndim == 2:
        labels = labels_of(labels)
    try:
        return SyntheticSet(
            latents=latents.float(),
            positions=torch.tensor(metadata.positions, dtype=torch.int64),
            times_seconds=torch.tensor(metadata.milliseconds, dtype=torch.float64) / 1000,
            labels=labels,
            classes=metadata.classes,
            clip=metadata.clip,
            codec=metadata.codec,
            normalisation=metadata.normalisation,
            provenance=metadata.provenance,
            fill=metadata.fill,
            packing=metadata.packing,
            packed=packed,
        )
    except InputError as error:
        raise ArtefactError(f"{path}: {error}") from error


def _packed_tensors(arrays: Mapping[str, Array], metadata: Metadata) -> dict[str, torch.Tensor]:
    names = [] if metadata.packing == "dense" else list(find_packing(metadata.packing).tensors)
    return {name: torch.from_numpy(arrays[name].astype(arrays[name].dtype.newbyteorder("="))) for name in names}


def _latents(arrays: Mapping[str, Array], metadata: Metadata, packed: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if metadata.packing != "dense":
        cells = metadata.codec.latent_shape(metadata.clip.height, metadata.clip.width)
        return unpacked(metadata.packing, packed, (*metadata.shape, *cells))
    latents = torch.from_numpy(arrays["latents"].copy())
    return dequantise(latents, torch.from_numpy(arrays["scales"].copy())) if "scales" in arrays else latents


def _compare(wanted: SyntheticSet, got: SyntheticSet, arrays: Mapping[str, Array], path: Path) -> None:
    """Raise unless `got`, decoded from the bytes, is `wanted` within the steps of its dtypes."""
    if "scales" in arrays:
        steps = torch.from_numpy(arrays["scales"].astype(np.float32))[:, None, :, None, None]
    elif wanted.packed:
        steps = torch.full((), 1e-4)  # unpacked twice from the same tensors
    else:
        steps = (wanted.latents.cpu().abs() * 2.0**-10).clamp(min=2.0**-24)
    # A hair over one half: the division before rounding is itself rounded to float32.
    near = ((got.latents - wanted.latents.detach().cpu()).abs() <= 0.5001 * steps).all()
    times = torch.allclose(got.times_seconds, wanted.times_seconds.cpu(), rtol=1e-15, atol=0.000501)
    labels = wanted.labels.detach().cpu()
    if labels.ndim == 2:
        labels = labels / labels.sum(1, keepdim=True)
    tolerance = largest_label_error(len(wanted.classes)) + 1e-6 if labels.ndim == 2 else 0
    near_labels = torch.allclose(got.labels, labels, rtol=0, atol=tolerance)
    if not (bool(near) and times and near_labels and torch.equal(got.positions, wanted.positions.cpu())):
        raise ArtefactError(f"{path} was not written: its bytes do not decode to the set; please report this")


def _budget(arrays: Mapping[str, Array], metadata: Metadata, file_bytes: int) -> Budget:
    source = metadata.provenance.source
    num_frames = sum(len(set(times)) for times in metadata.milliseconds)
    return Budget(
        num_videos=metadata.shape[0],
        num_frames=num_frames,
        frame_ratio=num_frames / source.num_frames,
        latent_bytes=sum(array.nbytes for name, array in arrays.items() if name not in _ABOUT_LATENTS),
        label_bytes=arrays["labels"].nbytes,
        file_bytes=file_bytes,
        byte_ratio=file_bytes / source.video_bytes,
        codec_bytes=metadata.codec.num_bytes,
    )


_ABOUT_LATENTS = {"provenance", "labels"}

_ADVICE = {
    errno.ENOSPC: "no space left; free some or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "permission denied; choose a folder you may write to",
}


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}")
