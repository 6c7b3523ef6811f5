"""The file of a set: read, measured, and written, which is checked by reading the bytes back.

`docs/format.md` describes the file. The same set gives the same bytes, and writing what was read gives them again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor

from videocompressa.artifact.container import (
    DTYPES,
    LEARNED,
    Array,
    Quantization,
    errors_of,
    pack_text,
    parse,
    unsigned,
)
from videocompressa.artifact.metadata import KEY, Metadata, to_json
from videocompressa.artifact.packing import find_packing, unpacked, weights
from videocompressa.artifact.packing.quantization import (
    dequantize,
    label_codes,
    labels_of,
    largest_label_error,
    quantize,
)
from videocompressa.errors import ArtifactError, InputError
from videocompressa.files import check_output, read_bytes, write_bytes
from videocompressa.hub import download_set, is_on_hub
from videocompressa.labeler import Labeler
from videocompressa.synthetic import Cost, SyntheticSet

_NOT_LATENTS = {"provenance", "labels", LEARNED, *weights.TENSORS}


def set_bytes(path: Path | str) -> bytes:
    """Return the bytes of a set file, or of the one of a data set on the hub (hf:USER/NAME[@REVISION]), unchecked."""
    return read_bytes(download_set(str(path)) if is_on_hub(path) else Path(path), "set file")


def read_set(path: Path) -> SyntheticSet:
    """Read a set: latents float32, positions int64, times float64 in whole ms, labels int64 or float32 summing to 1.

    Raises `ArtifactError` for every way in which the file can be wrong; see "Checks" in `docs/format.md`.
    """
    data = set_bytes(path)
    with errors_of(path):
        return set_of(*parse(data))


def measure(path: Path | str) -> Cost:
    """Return what the set at `path` costs, from the file alone. Raises `ArtifactError` as `read_set` does."""
    data = set_bytes(path)
    with errors_of(path):
        return cost_of(*parse(data), len(data))


def write_set(
    synthetic: SyntheticSet, path: Path | str, *, quantization: Quantization = "int8", overwrite: bool = False
) -> Cost:
    """Write the set to `path` (a `.safetensors` file) and return what it costs.

    The bytes are read back and compared in memory first. `path` is complete or untouched. Raises `InputError`.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    data = to_bytes(synthetic, quantization)
    with errors_of(path):
        arrays, metadata = parse(data)
        stored = set_of(arrays, metadata)
    _compare(synthetic, stored, arrays, path)
    write_bytes(path, data)
    return cost_of(arrays, metadata, len(data))


def copy_set(source: Path, path: Path, *, overwrite: bool = False) -> Cost:
    """Write the bytes of a set, checked as by `read_set`, to another file, and return what it costs."""
    check_output(path, overwrite=overwrite)
    data = set_bytes(source)
    with errors_of(source):
        arrays, metadata = parse(data)
        set_of(arrays, metadata)
    write_bytes(path, data)
    return cost_of(arrays, metadata, len(data))


def set_of(arrays: Mapping[str, Array], metadata: Metadata) -> SyntheticSet:
    """Return the set of parsed tensors and metadata; `SyntheticSet` checks that its numbers make sense."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in _NOT_LATENTS}
    labels = torch.from_numpy(arrays["labels"].astype(np.int64))
    if metadata.packing != "dense":
        latents = unpacked(metadata.packing, tensors, metadata.shape)
    elif "scales" in tensors:
        latents = dequantize(tensors["latents"], tensors["scales"])
    else:
        latents = tensors["latents"].float()
    fields = {**vars(metadata), "labeler": _labeler_of(arrays, metadata)}
    return SyntheticSet(
        latents=latents,
        labels=labels_of(labels) if labels.ndim == 2 else labels,
        packed={} if metadata.packing == "dense" else tensors,
        **fields,
    )


def _labeler_of(arrays: Mapping[str, Array], metadata: Metadata) -> Labeler | None:
    if metadata.labeler is None:
        return None
    spec, agreement = metadata.labeler
    tensors = {name: torch.from_numpy(arrays[name]) for name in weights.TENSORS}
    unpacked_weights = weights.unpack(tensors, spec.shapes(len(metadata.classes)), spec.bits)
    return Labeler(spec, unpacked_weights, metadata.normalization, agreement)


def cost_of(arrays: Mapping[str, Array], metadata: Metadata, file_bytes: int) -> Cost:
    """Return what a file of parsed tensors and metadata costs."""
    source = metadata.provenance.source
    num_frames = sum(len(set(times)) for times in metadata.times_seconds.tolist())
    return Cost(
        num_videos=len(metadata.positions),
        num_frames=num_frames,
        frame_ratio=num_frames / source.num_frames,
        latent_bytes=sum(array.nbytes for name, array in arrays.items() if name not in _NOT_LATENTS),
        label_bytes=arrays["labels"].nbytes,
        labeler_bytes=sum(array.nbytes for name, array in arrays.items() if name in weights.TENSORS),
        file_bytes=file_bytes,
        byte_ratio=file_bytes / source.video_bytes,
        codec_bytes=metadata.codec.num_bytes,
    )


def to_bytes(synthetic: SyntheticSet, quantization: Quantization = "int8") -> bytes:
    """Return the bytes of the file; the same set gives the same bytes in any process on any machine."""
    if quantization not in get_args(Quantization):
        raise InputError(f"quantization is {quantization!r}; known: {', '.join(get_args(Quantization))}")
    unsigned(synthetic.clip.num_frames, "candidate frames")
    header, provenance = to_json(synthetic)
    if synthetic.labels.ndim == 2:
        labels = label_codes(synthetic.labels).numpy()
    else:
        labels = _array(synthetic.labels, unsigned(len(synthetic.classes), "classes"))
    arrays = {
        "provenance": np.frombuffer(pack_text(provenance), dtype=np.uint8),
        "labels": labels,
        **_latent_arrays(synthetic, quantization),
    }
    if learned := synthetic.provenance.learned_hashes:
        arrays[LEARNED] = np.frombuffer(bytes.fromhex("".join(learned)), np.uint8).reshape(len(learned), -1)
    if (labeler := synthetic.labeler) is not None:
        packed = weights.pack(labeler.weights, labeler.spec.bits)
        arrays |= {name: _array(packed[name], code) for name, code in weights.TENSORS.items()}
    return save(arrays, {KEY: header})


def _latent_arrays(synthetic: SyntheticSet, quantization: Quantization) -> dict[str, Array]:
    """Return the tensors that stand for the latents: packed ones, or dense ones in int8 or float16."""
    if synthetic.packing != "dense":
        codes = find_packing(synthetic.packing).tensors
        if set(codes) != set(synthetic.packed):
            raise InputError(
                f"packing {synthetic.packing!r} stores tensors [{', '.join(sorted(codes))}], "
                f"but the set has [{', '.join(sorted(synthetic.packed))}]"
            )
        return {name: _array(synthetic.packed[name], code) for name, code in codes.items()}
    if quantization == "int8":
        latents, scales = quantize(synthetic.latents)
        return {"latents": _array(latents, "I8"), "scales": _array(scales, "F16")}
    half = synthetic.latents.half()
    if not bool(torch.isfinite(half).all()):
        raise InputError("latents leave the range of float16 (65504); write them as int8")
    return {"latents": _array(half, "F16")}


def _array(tensor: Tensor, code: str) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.dtype(DTYPES[code]).newbyteorder("<")))


def _compare(wanted: SyntheticSet, stored: SyntheticSet, arrays: Mapping[str, Array], path: Path) -> None:
    """Raise unless `stored`, decoded from the bytes, is `wanted` within the steps of its dtypes."""
    if "scales" in arrays:
        steps = torch.from_numpy(arrays["scales"].astype(np.float32))[:, None, :, None, None]
    elif wanted.packed:
        steps = torch.full((), 1e-4)  # unpacked twice from the same tensors
    else:
        steps = (wanted.latents.cpu().abs() * 2.0**-10).clamp(min=2.0**-24)
    # Slightly over one half: the division before rounding is itself rounded to float32.
    near = ((stored.latents - wanted.latents.detach().cpu()).abs_() <= 0.5001 * steps).all()
    times = torch.allclose(stored.times_seconds, wanted.times_seconds.cpu(), rtol=1e-15, atol=0.000501)
    labels = wanted.labels.detach().cpu()
    if labels.ndim == 2:
        labels = labels / labels.sum(1, keepdim=True)
    tolerance = largest_label_error(len(wanted.classes)) + 1e-6 if labels.ndim == 2 else 0
    near_labels = torch.allclose(stored.labels, labels, rtol=0, atol=tolerance)
    same_labeler = _same_weights(stored.labeler, wanted.labeler)
    same_positions = torch.equal(stored.positions, wanted.positions.cpu())
    if not (bool(near) and times and near_labels and same_positions and same_labeler):
        raise ArtifactError(f"{path} was not written: its bytes do not decode to the set; please report this")


def _same_weights(stored: Labeler | None, wanted: Labeler | None) -> bool:
    if stored is None or wanted is None:
        return stored is wanted
    weights_of_wanted = wanted.weights
    return all(torch.equal(weight, weights_of_wanted[name]) for name, weight in stored.weights.items())
