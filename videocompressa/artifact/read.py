"""Reading a set from its file, and what the file costs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videocompressa.artifact.container import Array, parse
from videocompressa.artifact.metadata import Metadata
from videocompressa.artifact.packing import find_packing, unpacked
from videocompressa.artifact.packing.quantization import dequantize, labels_of
from videocompressa.errors import ArtifactError, InputError
from videocompressa.files import read_bytes
from videocompressa.synthetic import Cost, SyntheticSet


def read_set(path: Path) -> SyntheticSet:
    """Read a set: latents float32, positions int64, times float64 in whole ms, labels int64 or float32 summing to 1.

    Raises `ArtifactError` for every way in which the file can be wrong; see "Checks" in `docs/format.md`.
    """
    return set_of(*parse(read_bytes(Path(path), "set file"), str(path)), str(path))


def measure(path: Path) -> Cost:
    """Return what the set at `path` costs, from the file alone. Raises `ArtifactError` as `read_set` does."""
    data = read_bytes(Path(path), "set file")
    return cost_of(*parse(data, str(path)), len(data))


def set_of(arrays: Mapping[str, Array], metadata: Metadata, path: str) -> SyntheticSet:
    """Return the set of parsed tensors and metadata; `SyntheticSet` checks that its numbers make sense."""
    labels = torch.from_numpy(arrays["labels"].astype(np.int64))
    try:
        packed = _packed_tensors(arrays, metadata)
        return SyntheticSet(
            latents=_latents(arrays, metadata, packed).float(),
            positions=torch.tensor(metadata.positions, dtype=torch.int64),
            times_seconds=torch.tensor(metadata.milliseconds, dtype=torch.float64) / 1000,
            labels=labels_of(labels) if labels.ndim == 2 else labels,
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


def _packed_tensors(arrays: Mapping[str, Array], metadata: Metadata) -> dict[str, Tensor]:
    names = [] if metadata.packing == "dense" else list(find_packing(metadata.packing).tensors)
    return {name: torch.from_numpy(arrays[name].astype(arrays[name].dtype.newbyteorder("="))) for name in names}


def _latents(arrays: Mapping[str, Array], metadata: Metadata, packed: Mapping[str, Tensor]) -> Tensor:
    if metadata.packing != "dense":
        cells = metadata.codec.latent_shape(metadata.clip.height, metadata.clip.width)
        return unpacked(metadata.packing, packed, (*metadata.shape, *cells))
    latents = torch.from_numpy(arrays["latents"].copy())
    return dequantize(latents, torch.from_numpy(arrays["scales"].copy())) if "scales" in arrays else latents


def cost_of(arrays: Mapping[str, Array], metadata: Metadata, file_bytes: int) -> Cost:
    """Return what a file of parsed tensors and metadata costs."""
    source = metadata.provenance.source
    num_frames = sum(len(set(times)) for times in metadata.milliseconds)
    return Cost(
        num_videos=metadata.shape[0],
        num_frames=num_frames,
        frame_ratio=num_frames / source.num_frames,
        latent_bytes=sum(array.nbytes for name, array in arrays.items() if name not in ("provenance", "labels")),
        label_bytes=arrays["labels"].nbytes,
        file_bytes=file_bytes,
        byte_ratio=file_bytes / source.video_bytes,
        codec_bytes=metadata.codec.num_bytes,
    )
