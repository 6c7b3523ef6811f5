"""The file: one `.safetensors` that holds a whole synthetic set, and what it costs.

Layout, rules and one real example stand in `docs/format.md`. In short: int8 `latents` with float16 `scales` (or float16
latents without), `labels`, one metadata key `videocompressa` with canonical JSON, and `provenance`, which is packed
JSON: classes, configuration, constants, video ids, positions and times. The same set gives the same bytes, and writing
what was read gives them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videocompressa.artifact.container import (
    DTYPES,
    Array,
    Layout,
    Quantization,
    header,
    layout_of,
    order,
    parse,
    size_of,
)
from videocompressa.artifact.folding import packed_text
from videocompressa.artifact.metadata import MAX_MILLISECONDS, Metadata, to_json
from videocompressa.artifact.packing import find_packing, unpacked
from videocompressa.artifact.packing.quantization import (
    dequantize,
    label_codes,
    labels_of,
    largest_label_error,
    quantize,
)
from videocompressa.clip import ClipSpec, CodecSpec, Normalization
from videocompressa.errors import ArtifactError, InputError
from videocompressa.files import check_target, read_whole, write_whole
from videocompressa.synthetic import Budget, Provenance, Source, SyntheticSet


def write_set(
    synthetic: SyntheticSet, path: Path, *, quantization: Quantization = "int8", overwrite: bool = False
) -> Budget:
    """Write the set to `path` (a `.safetensors` file) and return what it costs.

    The bytes are read back and compared in memory first, then written beside `path` under a temporary name, synced
    and renamed: whatever happens, `path` is whole or untouched, and nothing else is left. Raises `InputError`.
    """
    path = Path(path)
    check_target(path, overwrite=overwrite)
    data = to_bytes(synthetic, quantization)
    arrays, metadata = parse(data, str(path))
    _compare(synthetic, _to_set(arrays, metadata, str(path)), arrays, path)
    write_whole(path, data)
    return _budget(arrays, metadata, len(data))


def read_set(path: Path) -> SyntheticSet:
    """Read a set, with latents as float32, positions int64, times float64 in whole
    milliseconds, labels int64 or float32 summing to 1.

    Raises `ArtifactError` for every way in which the file can be wrong; see "Checks" in `docs/format.md`.
    """
    return _to_set(*parse(read_whole(Path(path), "set file"), str(path)), str(path))


def measure(path: Path) -> Budget:
    """Return what the set at `path` costs, from the file alone. Raises `ArtifactError` as `read_set` does."""
    data = read_whole(Path(path), "set file")
    return _budget(*parse(data, str(path)), len(data))


def to_bytes(synthetic: SyntheticSet, quantization: Quantization = "int8") -> bytes:
    """Return the bytes of the file; the same set gives the same bytes in any process on any machine."""
    text, provenance_text = to_json(
        Metadata(
            clip=synthetic.clip,
            codec=synthetic.codec,
            normalization=synthetic.normalization,
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
        quantization,
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
    normalization: Normalization | None = None,
    quantization: Quantization = "int8",
    packing: str = "dense",
    packed: Layout | None = None,
) -> int:
    """Return the size in bytes that `write_set` would give, without making any latents.

    Sets of a `packing` other than "dense" have `packed` tensors of these dtypes and shapes.

    It is exact for items of these `video_ids` (N), `times_seconds` (N,K) and `positions` (N,K), in this order; others
    compress a little better or worse. Without `normalization` its six numbers are taken to be of full length.
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
            normalization=normalization or Normalization((0.123457,) * 3, (0.345678,) * 3),
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
        len(video_ids), keyframes, clip, codec, len(classes), soft_labels, quantization, len(folded), packed
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
        tensors["latents"], tensors["scales"] = quantize(synthetic.latents)
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
        raise ArtifactError(f"{path}: {error}") from error
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
            normalization=metadata.normalization,
            provenance=metadata.provenance,
            fill=metadata.fill,
            packing=metadata.packing,
            packed=packed,
        )
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error


def _packed_tensors(arrays: Mapping[str, Array], metadata: Metadata) -> dict[str, torch.Tensor]:
    names = [] if metadata.packing == "dense" else list(find_packing(metadata.packing).tensors)
    return {name: torch.from_numpy(arrays[name].astype(arrays[name].dtype.newbyteorder("="))) for name in names}


def _latents(arrays: Mapping[str, Array], metadata: Metadata, packed: Mapping[str, torch.Tensor]) -> torch.Tensor:
    if metadata.packing != "dense":
        cells = metadata.codec.latent_shape(metadata.clip.height, metadata.clip.width)
        return unpacked(metadata.packing, packed, (*metadata.shape, *cells))
    latents = torch.from_numpy(arrays["latents"].copy())
    return dequantize(latents, torch.from_numpy(arrays["scales"].copy())) if "scales" in arrays else latents


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
        raise ArtifactError(f"{path} was not written: its bytes do not decode to the set; please report this")


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
