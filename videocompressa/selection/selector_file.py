"""A trained selector as a file: one `.safetensors` that picks keyframes of videos it has not seen.

Tensors are the float32 weights of `GumbelSelector`; one metadata key holds canonical JSON (`SCHEMA`). The same selector
gives the same bytes. It is the selector at the end of the joint phase: synthesis tunes a copy on the few chosen videos,
which fits no others (our choice).
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from videocompressa.artifact.container import deserialized, errors_of, header_of, metadata_of
from videocompressa.artifact.metadata import (
    CLIP_SCHEMA,
    Schema,
    canonical,
    clip_content,
    content_of,
    portable,
    record_from,
)
from videocompressa.artifact.metadata import KEY as SET_KEY
from videocompressa.clip import ClipSpec, shape_text
from videocompressa.errors import InputError
from videocompressa.files import check_output, write_bytes
from videocompressa.selection.gumbel import GumbelSelector, SelectorConfig
from videocompressa.selection.keyframes import check_keyframes

FORMAT = 1
"""Format number that this version writes and reads."""
KEY = "videocompressa-selector"
"""The only metadata key."""

SCHEMA: Schema = {
    "clip": CLIP_SCHEMA,
    "codec": {"name": str, "sha256": str},
    "config": dict,
    "format": int,
    "keyframes": int,
    "method": str,
    "scorer": {field.name: type(field.default) for field in dataclasses.fields(SelectorConfig)},
    "seed": int,
    "sha256": str,
    "source": str,
    "split": str,
}
"""Keys of the JSON and the type of each; all are required, no others allowed."""

MAX_CLIP_BYTES = 2**30
"""Most memory that the frames of a file may take, and their thumbnails."""


@dataclass(frozen=True)
class Origin:
    """The training that a selector comes from."""

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
    """A trained selector with the numbers of its training."""

    selector: GumbelSelector
    """Frozen, on the CPU."""
    keyframes: int
    """K in training."""
    clip: ClipSpec
    """T and the size of the candidate frames in training."""
    origin: Origin

    def __post_init__(self) -> None:
        check_keyframes(self.keyframes, self.clip.num_frames)


def write_selector(trained: TrainedSelector, path: Path, *, overwrite: bool = False) -> None:
    """Write a selector to `path`, which is complete or untouched whatever happens. Raises `InputError`."""
    check_output(path, overwrite=overwrite)
    write_bytes(path, selector_bytes(trained))


def selector_bytes(trained: TrainedSelector) -> bytes:
    """Return the bytes of the file."""
    origin = trained.origin
    weights = {name: weight.detach().cpu().contiguous() for name, weight in trained.selector.state_dict().items()}
    content = {
        "format": FORMAT,
        "scorer": dataclasses.asdict(trained.selector.config),
        "keyframes": trained.keyframes,
        "clip": clip_content(trained.clip),
        "sha256": _sha256(weights),
        "codec": {"name": portable(origin.codec), "sha256": origin.codec_sha256},
        **content_of(origin, ("config", "method", "seed", "source", "split")),
    }
    return save(weights, {KEY: canonical(content)})


def parse_selector(data: bytes, path: str) -> TrainedSelector:
    """Return the selector in the bytes of the file `path`; raises `ArtifactError`."""
    with errors_of(path):
        if list(metadata_of(data)) == [SET_KEY]:
            raise InputError("the file is a synthetic set, no selector; write one with compress --selector-out")
        content = header_of(data, KEY, FORMAT, SCHEMA, "selector", "write it again with compress --selector-out")
        clip, config = record_from(ClipSpec, content["clip"]), SelectorConfig(**content["scorer"])
        keyframes, codec = content["keyframes"], content["codec"]
        if not 1 <= keyframes <= clip.num_frames:
            raise InputError(
                f"the file picks {keyframes} of {clip.num_frames} frames; it must pick 1 to {clip.num_frames}"
            )
        _check_sizes(config, clip)
        selector = _network(config, data)
        if _sha256(selector.state_dict()) != content["sha256"]:
            raise InputError("the file is damaged: its weights are not those that were written; copy it again")
    origin = record_from(Origin, content, codec=codec["name"], codec_sha256=codec["sha256"])
    return TrainedSelector(selector, keyframes, clip, origin)


def _check_sizes(config: SelectorConfig, clip: ClipSpec) -> None:
    """Refuse sizes that would fill the memory; those of the network are bounded by the tensors of the file."""
    if not (math.isfinite(config.tau_start) and config.thumbnail >= 1):
        raise InputError(
            f"the scorer has thumbnail {config.thumbnail} and tau_start {config.tau_start}; "
            "they must be at least 1 and finite"
        )
    side = max(clip.height * clip.width, 12 * config.thumbnail**2)
    if 3 * clip.num_frames * side > MAX_CLIP_BYTES:
        raise InputError(
            f"the file asks for {clip.num_frames} frames of {clip.height}x{clip.width} px and thumbnails of "
            f"{config.thumbnail} px, more than {MAX_CLIP_BYTES} bytes"
        )


def _network(config: SelectorConfig, data: bytes) -> GumbelSelector:
    """Return the network with the weights of the file, built only when they bound its size."""
    weights = {name: torch.from_numpy(array) for name, array in deserialized(data).items()}
    for name, weight in weights.items():
        if weight.dtype != torch.float32:
            raise InputError(f"tensor {name} is {shape_text(weight)}; it must be float32")
        if not bool(torch.isfinite(weight).all()):
            raise InputError(f"tensor {name} holds numbers that are not finite")
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    first, last, width = shapes.get("norms.0.weight", ()), shapes.get("temporal.weight", ()), config.width
    if first != (width,) or last != (width, 4 * width, config.temporal_kernel) or width < 4 or width % 4:
        raise InputError(
            f"tensors norms.0.weight {first} and temporal.weight {last} do not fit width {width} "
            f"(a multiple of 4) and temporal_kernel {config.temporal_kernel}"
        )
    selector = GumbelSelector(config, torch.Generator().manual_seed(0))
    expected = {name: tuple(weight.shape) for name, weight in selector.state_dict().items()}
    for name in sorted({*expected, *shapes}):
        if expected.get(name) != shapes.get(name):
            raise InputError(
                f"tensor {name} is {shapes.get(name, 'missing')}; it must be {expected.get(name, 'absent')}"
            )
    selector.load_state_dict(weights)
    return selector.eval().requires_grad_(False)


def _sha256(weights: Mapping[str, Tensor]) -> str:
    """Return the hash of the names and the little-endian bytes of all weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + b"\0" + weights[name].numpy().astype("<f4").tobytes())
    return digest.hexdigest()
