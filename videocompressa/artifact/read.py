"""Reading a set from its file, and what the file costs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from videocompressa.artifact.container import Array, errors_of, parse
from videocompressa.artifact.metadata import Metadata
from videocompressa.artifact.packing import unpacked
from videocompressa.artifact.packing.quantization import dequantize, labels_of
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
    tensors = {
        name: torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
        for name, array in arrays.items()
        if name not in ("provenance", "labels")
    }
    labels = torch.from_numpy(arrays["labels"].astype(np.int64))
    with errors_of(path):
        if metadata.packing != "dense":
            latents = unpacked(metadata.packing, tensors, metadata.shape)
        elif "scales" in tensors:
            latents = dequantize(tensors["latents"], tensors["scales"])
        else:
            latents = tensors["latents"].float()
        return SyntheticSet(
            latents=latents,
            labels=labels_of(labels) if labels.ndim == 2 else labels,
            packed={} if metadata.packing == "dense" else tensors,
            **vars(metadata),
        )


def cost_of(arrays: Mapping[str, Array], metadata: Metadata, file_bytes: int) -> Cost:
    """Return what a file of parsed tensors and metadata costs."""
    source = metadata.provenance.source
    num_frames = sum(len(set(times)) for times in metadata.times_seconds.tolist())
    return Cost(
        num_videos=len(metadata.positions),
        num_frames=num_frames,
        frame_ratio=num_frames / source.num_frames,
        latent_bytes=sum(array.nbytes for name, array in arrays.items() if name not in ("provenance", "labels")),
        label_bytes=arrays["labels"].nbytes,
        file_bytes=file_bytes,
        byte_ratio=file_bytes / source.video_bytes,
        codec_bytes=metadata.codec.num_bytes,
    )
