"""A trained selector as a file: one `.safetensors` that picks keyframes of videos it has not seen.

Tensors are the float32 weights of `GumbelSelector`, under its own names. One metadata key holds canonical JSON: the
network's configuration, K, T and the size of the clips it learned on, the SHA-256 of the weights, and where they come
from. The same selector gives the same bytes.

It is the selector as the joint phase left it. Synthesis goes on to tune a copy on the few chosen videos, which is of no
use for others (our choice).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from videocompressa.artifact import KEY as SET_KEY
from videocompressa.artifact.container import metadata_of
from videocompressa.artifact.metadata import check_schema, json_object, portable
from videocompressa.clip import ClipSpec
from videocompressa.errors import ArtifactError, InputError
from videocompressa.files import check_target, read_whole, write_whole
from videocompressa.selection.gumbel import GumbelSelector, SelectorConfig
from videocompressa.selection.keyframes import check_keyframes

FORMAT = 1
"""Format number that this version writes and reads."""
KEY = "videocompressa-selector"
"""The only metadata key."""

SCHEMA: dict[str, Any] = {
    "clip": {"frames": int, "height": int, "placement": str, "width": int},
    "codec": {"name": str, "sha256": str},
    "config": dict,
    "format": int,
    "keyframes": int,
    "method": str,
    "scorer": {
        "frame_differences": bool,
        "tau_end": float,
        "tau_start": float,
        "temporal_kernel": int,
        "thumbnail": int,
        "width": int,
    },
    "seed": int,
    "sha256": str,
    "source": str,
    "split": str,
}
"""Keys of the JSON and the type of each; all are required, no others allowed."""

MAX_CLIP_BYTES = 2**30
"""Frames that a file asks for take no more memory than this, thumbnails alike."""


@dataclass(frozen=True)
class Origin:
    """Where a selector was trained."""

    source: str
    """Name of the data set."""
    split_hash: str
    """SHA-256 over ids and labels of its training split."""
    method: str
    seed: int
    codec: str
    codec_sha256: str
    config: Mapping[str, Any]
    """`JointConfig` and the fill rule, as JSON."""


@dataclass(frozen=True, eq=False)
class TrainedSelector:
    """A trained selector and what it was trained for."""

    selector: GumbelSelector
    """Frozen, on the CPU."""
    keyframes: int
    """K of the run that trained it."""
    clip: ClipSpec
    """T and the size of the candidate frames it learned on."""
    origin: Origin

    def __post_init__(self) -> None:
        check_keyframes(self.keyframes, self.clip.num_frames)


def write_selector(trained: TrainedSelector, path: Path, *, overwrite: bool = False) -> None:
    """Write a selector to `path`, which is whole or untouched whatever happens. Raises `InputError`."""
    check_target(path, overwrite=overwrite)
    write_whole(path, selector_bytes(trained))


def selector_bytes(trained: TrainedSelector) -> bytes:
    """Return the bytes of the file."""
    clip, origin = trained.clip, trained.origin
    weights = {name: weight.detach().cpu().contiguous() for name, weight in trained.selector.state_dict().items()}
    content = {
        "format": FORMAT,
        "scorer": dataclasses.asdict(trained.selector.config),
        "keyframes": trained.keyframes,
        "clip": {
            "frames": clip.num_frames,
            "height": clip.height,
            "width": clip.width,
            "placement": clip.placement,
        },
        "sha256": _sha256(weights),
        "source": origin.source,
        "split": origin.split_hash,
        "method": origin.method,
        "seed": origin.seed,
        "codec": {"name": portable(origin.codec), "sha256": origin.codec_sha256},
        "config": dict(origin.config),
    }
    return save(weights, {KEY: json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)})


def read_selector(path: Path) -> TrainedSelector:
    """Read a selector. Raises `ArtifactError` for every way in which the file can be wrong."""
    return parse_selector(selector_file_bytes(path), str(path))


def selector_file_bytes(path: Path) -> bytes:
    """Return the bytes of a selector's file, unchecked; raises `ArtifactError` when there are none to read."""
    return read_whole(path, "selector file")


def parse_selector(data: bytes, path: str) -> TrainedSelector:
    """Return the selector in the bytes of the file `path`; raises `ArtifactError`."""
    content = _content(data, path)
    try:
        config = SelectorConfig(**content["scorer"])
        clip = ClipSpec(
            content["clip"]["frames"], content["clip"]["height"], content["clip"]["width"], content["clip"]["placement"]
        )
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    if not 1 <= content["keyframes"] <= clip.num_frames:
        raise ArtifactError(
            f"{path} picks {content['keyframes']} of {clip.num_frames} frames; it must pick 1 to {clip.num_frames}"
        )
    _check_sizes(config, clip, path)
    weights = _weights(data, path)
    selector = _built(config, weights, path)
    if _sha256(weights) != content["sha256"]:
        raise ArtifactError(f"{path} is damaged: its weights are not those that were written; copy it again")
    return TrainedSelector(
        selector=selector,
        keyframes=content["keyframes"],
        clip=clip,
        origin=Origin(
            source=content["source"],
            split_hash=content["split"],
            method=content["method"],
            seed=content["seed"],
            codec=content["codec"]["name"],
            codec_sha256=content["codec"]["sha256"],
            config=content["config"],
        ),
    )


def _content(data: bytes, path: str) -> dict[str, Any]:
    """Return the JSON of the file, with keys and types as the schema has them."""
    named = metadata_of(data, path)
    if list(named) == [SET_KEY]:
        raise ArtifactError(f"{path} is a synthetic set, no selector; write one with compress --selector-out")
    if list(named) != [KEY]:
        raise ArtifactError(
            f"{path} is a safetensors file, but no selector: its metadata keys are "
            f"[{', '.join(sorted(named))}], not [{KEY}]"
        )
    content = json_object(named[KEY], KEY, path)
    found = content.get("format")
    if type(found) is not int:
        raise ArtifactError(f"{path}: metadata {KEY!r} has no format number")
    if found != FORMAT:
        advice = "upgrade videocompressa" if found > FORMAT else "write it again with compress --selector-out"
        raise ArtifactError(f"{path} has selector format {found}, this version reads format {FORMAT}; {advice}")
    check_schema(content, SCHEMA, KEY, path)
    return content


def _check_sizes(config: SelectorConfig, clip: ClipSpec, path: str) -> None:
    """Refuse numbers that would fill the memory; those of the network are bounded by the tensors of the file."""
    if not (math.isfinite(config.tau_start) and config.thumbnail >= 1):
        raise ArtifactError(
            f"{path}: its scorer has thumbnail {config.thumbnail} and tau_start {config.tau_start}; "
            "they must be at least 1 and finite"
        )
    side = max(clip.height * clip.width, 12 * config.thumbnail**2)
    if 3 * clip.num_frames * side > MAX_CLIP_BYTES:
        raise ArtifactError(
            f"{path} asks for {clip.num_frames} frames of {clip.height}x{clip.width} px and thumbnails of "
            f"{config.thumbnail} px, more than {MAX_CLIP_BYTES} bytes"
        )


def _weights(data: bytes, path: str) -> dict[str, Tensor]:
    try:
        found = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"{path} is truncated or damaged ({error}); copy it again") from error
    weights = {}
    for name, entry in found:
        if entry["dtype"] != "F32":
            raise ArtifactError(f"{path}: tensor {name} has dtype {entry['dtype']}; it must be F32")
        numbers = np.frombuffer(bytearray(entry["data"]), dtype="<f4").reshape(entry["shape"])
        if not bool(np.isfinite(numbers).all()):
            raise ArtifactError(f"{path}: tensor {name} holds numbers that are not finite")
        weights[name] = torch.from_numpy(numbers.astype(np.float32))
    return weights


def _built(config: SelectorConfig, weights: Mapping[str, Tensor], path: str) -> GumbelSelector:
    """Return the network with these weights, built only when they bound its size."""
    first, last = ((weights[name].shape if name in weights else ()) for name in ("norms.0.weight", "temporal.weight"))
    width = config.width
    if tuple(first) != (width,) or tuple(last) != (width, 4 * width, config.temporal_kernel) or width < 4 or width % 4:
        raise ArtifactError(
            f"{path}: tensors norms.0.weight {tuple(first)} and temporal.weight {tuple(last)} do not fit width {width} "
            f"(a multiple of 4) and temporal_kernel {config.temporal_kernel}"
        )
    selector = GumbelSelector(config, torch.Generator().manual_seed(0))
    wanted = {name: tuple(weight.shape) for name, weight in selector.state_dict().items()}
    got = {name: tuple(weight.shape) for name, weight in weights.items()}
    if wanted != got:
        wrong = sorted(name for name in {*wanted, *got} if wanted.get(name) != got.get(name))
        raise ArtifactError(
            f"{path}: tensor {wrong[0]} is {got.get(wrong[0], 'missing')}; it must be {wanted.get(wrong[0], 'absent')}"
        )
    selector.load_state_dict(dict(weights))
    return selector.eval().requires_grad_(False)


def _sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the hash of the names and the little-endian bytes of all weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + b"\0" + weights[name].numpy().astype("<f4").tobytes())
    return digest.hexdigest()
