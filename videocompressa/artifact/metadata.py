"""The metadata of the file, as canonical JSON (sorted keys, no spaces, ASCII, shortest floats, no NaN).

There are two texts: the header's, readable in the raw file, and the provenance, which is long and packed in a tensor.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PureWindowsPath
from typing import Any, TypeVar

import torch
from torch import Tensor

from videocompressa.artifact.marks import marks_of, positions_of
from videocompressa.artifact.packing import PACKINGS
from videocompressa.clip import VIDEO_HASH_DIGITS, ClipSpec, CodecSpec, Normalization
from videocompressa.errors import InputError
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.synthetic import Provenance, Source, SyntheticSet
from videocompressa.views import Views

FORMAT = 1
"""Format number that this version writes and reads."""
KEY = "videocompressa"
"""The only metadata key."""

Schema = Mapping[str, Any]
RecordType = TypeVar("RecordType")

CLIP_SCHEMA: Schema = {"fit?": str, "frames": int, "height": int, "placement": str, "width": int}
"""Likewise of a clip; "?" marks what is left out at its default, so that it costs no bytes."""

SCHEMA: Schema = {
    "clip": CLIP_SCHEMA,
    "codec": str,
    "fill": str,
    "format": int,
    "keyframes": int,
    "method": str,
    "packing": str,
    "seed": int,
    "source": {"bytes": int, "frames": int, "name": str, "skipped": int, "videos": int},
    "version": str,
}
"""Keys of the header's JSON and the type of each; `[type]` is a list of them. All are required, no others allowed."""

PROVENANCE_SCHEMA: Schema = {
    "classes": [str],
    "codec": {"bytes": int, "channels": int, "downscale": int, "scale": [float], "sha256": str, "shift": [float]},
    "config": dict,
    "hashes?": str,
    "labeler": dict,
    "normalization": {"mean": [float], "std": [float]},
    "positions": str,
    "split": str,
    "times": [int],
    "videos": [str],
}
"""Likewise of the JSON in the tensor `provenance`."""

LABELER_SCHEMA: Schema = {
    "agreement": float,
    "bits": int,
    "features?": int,
    "identity?": str,
    "network": str,
    "views": {
        "color": float,
        "crop": float,
        "mirror": bool,
        "mix": float,
        "scenes": float,
        "time": float,
    },
    "width": float,
}
"""Likewise of its key `labeler`, which is an empty object where the file has none."""

MAX_MILLISECONDS = 10**12
"""Times are within +- this (30 years); a float64 of seconds holds them with room to spare."""

_KEYS = {
    "num_bytes": "bytes",
    "num_frames": "frames",
    "num_skipped": "skipped",
    "num_videos": "videos",
    "split_hash": "split",
    "video_bytes": "bytes",
    "weights_sha256": "sha256",
}
"""Fields of records whose keys in the JSON have other names."""

_ABSOLUTE = re.compile(r"/|\\\\|[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class Metadata:
    """The fields of a `SyntheticSet` that the metadata of its file hold."""

    positions: Tensor
    """(N,K) int64, at least one."""
    times_seconds: Tensor
    """(N,K) float64, multiples of a millisecond."""
    classes: tuple[str, ...]
    clip: ClipSpec
    codec: CodecSpec
    normalization: Normalization
    provenance: Provenance
    fill: str
    packing: str
    labeler: tuple[LabelerSpec, float] | None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N,K,C,h,w) of the latents; raises `InputError` for sides that the codec does not take."""
        return *self.positions.shape, *self.codec.latent_shape(self.clip.height, self.clip.width)


def to_json(synthetic: SyntheticSet) -> tuple[str, str]:
    """Return the header's canonical JSON and the provenance's.

    Raises `InputError` for what JSON cannot hold, for absolute paths, and for times out of range.
    """
    provenance = synthetic.provenance
    _refuse_places(provenance)
    header = {
        "format": FORMAT,
        "clip": clip_content(synthetic.clip),
        "codec": portable(synthetic.codec.name),
        "fill": synthetic.fill,
        "packing": synthetic.packing,
        "keyframes": synthetic.positions.shape[1],
        "method": provenance.method,
        "seed": provenance.seed,
        "source": content_of(provenance.source, SCHEMA["source"]),
        "version": provenance.version,
    }
    content = {
        "classes": synthetic.classes,
        "codec": content_of(synthetic.codec, PROVENANCE_SCHEMA["codec"]),
        # Six digits: pixels have 256 levels, and the rest of a float64 would be noise that costs 40 bytes.
        "normalization": {
            name: [float(f"{number:.6g}") for number in numbers]
            for name, numbers in vars(synthetic.normalization).items()
        },
        "labeler": _labeler_content(synthetic.labeler),
        "positions": marks_of(synthetic.positions.tolist(), synthetic.clip.num_frames),
        "split": provenance.source.split_hash,
        "times": _time_steps(synthetic.times_seconds),
        "videos": provenance.video_ids,
    }
    if provenance.video_hashes:
        content["hashes"] = "".join(provenance.video_hashes)
    try:
        # Once through JSON, so that keys which are no strings sort as the strings they become.
        content["config"] = json.loads(json.dumps(dict(provenance.config), allow_nan=False))
        return canonical(header), canonical(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"the provenance of method {provenance.method!r} cannot be stored as JSON: {error}; "
            "its config may hold only numbers, text, lists and mappings"
        ) from error


def canonical(content: Mapping[str, Any]) -> str:
    """Return the one JSON text of the content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_of(record: object, keys: Iterable[str]) -> dict[str, Any]:
    """Return those fields of a record that have these keys."""
    fields = {_KEYS.get(name, name): value for name, value in vars(record).items()}
    return {key: fields[key] for key in keys}


def clip_content(clip: ClipSpec) -> dict[str, Any]:
    """Return the JSON of a clip."""
    return content_of(clip, [key for key in map(_bare, CLIP_SCHEMA) if key != "fit" or clip.fit != "crop"])


def _bare(key: str) -> str:
    return key.removesuffix("?")


def record_from(kind: type[RecordType], content: Mapping[str, Any], **more: Any) -> RecordType:
    """Return the record whose fields are in `content`, by key, or in `more`."""
    keys = {name: _KEYS.get(name, name) for name in kind.__annotations__}
    return kind(**({name: content[key] for name, key in keys.items() if key in content} | more))


def _labeler_content(labeler: Labeler | None) -> dict[str, Any]:
    if labeler is None:
        return {}
    spec = labeler.spec
    content = {**vars(spec), "views": vars(spec.views), "agreement": labeler.agreement}
    if not spec.is_layer:
        del content["features"], content["identity"]
    return content


def _labeler_from(content: Mapping[str, Any]) -> tuple[LabelerSpec, float] | None:
    if not content:
        return None
    check_schema(content, LABELER_SCHEMA, "provenance.labeler")
    spec = record_from(LabelerSpec, content, views=record_from(Views, content["views"]))
    if spec.is_layer and spec.features < 1:
        raise InputError(f"metadata provenance.labeler has no features of {spec.network!r}; a layer takes at least 1")
    return spec, content["agreement"]


def _time_steps(times_seconds: Tensor) -> list[int]:
    """Return the milliseconds from each keyframe of an item to the next, the first from 0."""
    # Rounding by 0.5 ms is a quarter of half a frame at 240 frames a second.
    times = (1000 * times_seconds.cpu()).round()
    if bool((times.abs() > MAX_MILLISECONDS).any()):
        raise InputError(f"times_seconds leave +-{MAX_MILLISECONDS // 1000} seconds, which is all that the file holds")
    steps: list[int] = times.diff(prepend=torch.zeros_like(times[:, :1])).long().flatten().tolist()
    return steps


def from_json(header: Mapping[str, Any], content: Mapping[str, Any], num_items: int) -> Metadata:
    """Return the metadata in the header's JSON and the provenance's, whose schemas are checked, of a file of N items.

    Raises `InputError` for what `to_json` would not write. A file has as many times as N x K, so a small one that
    claims a large N or K is refused before anything of that size is allocated.
    """
    codec, keyframes = content["codec"], header["keyframes"]
    if header["packing"] not in ("dense", *PACKINGS):
        raise InputError(
            f"the file has packing {header['packing']!r}; this version reads {', '.join(['dense', *PACKINGS])}"
        )
    if codec["channels"] < 1 or codec["downscale"] < 1:
        raise InputError("metadata provenance.codec has channels or downscale below 1")
    for name in ("shift", "scale"):
        _check_numbers(f"codec.{name}", codec[name], codec["channels"])
    for name, numbers in content["normalization"].items():
        _check_numbers(f"normalization.{name}", numbers, 3)
    source = record_from(Source, header["source"], split_hash=content["split"])
    provenance = Provenance(
        header["method"],
        content["config"],
        header["seed"],
        source,
        tuple(content["videos"]),
        header["version"],
        _hashes_of(content, num_items),
    )
    _refuse_places(provenance)
    clip = record_from(ClipSpec, header["clip"])
    if num_items < 1:
        raise InputError("the file has no items; a set must hold at least one keyframe")
    if not 1 <= keyframes <= clip.num_frames:
        raise InputError(f"the file has keyframes {keyframes}; they must be 1 to {clip.num_frames}")
    times = _milliseconds(content["times"], num_items, keyframes)
    normalization = {name: tuple(map(float, numbers)) for name, numbers in content["normalization"].items()}
    return Metadata(
        positions=positions_of(content["positions"], num_items, keyframes, clip.num_frames),
        times_seconds=torch.tensor(times, dtype=torch.float64) / 1000,
        classes=tuple(content["classes"]),
        clip=clip,
        codec=record_from(CodecSpec, codec, name=header["codec"]),
        normalization=record_from(Normalization, normalization),
        provenance=provenance,
        fill=header["fill"],
        packing=header["packing"],
        labeler=_labeler_from(content["labeler"]),
    )


def _hashes_of(content: Mapping[str, Any], num_items: int) -> tuple[str, ...]:
    if "hashes" not in content:
        return ()
    text, length = content["hashes"], VIDEO_HASH_DIGITS
    if not re.fullmatch(f"[0-9a-f]{{{length * num_items}}}", text):
        raise InputError(
            f"metadata provenance.hashes has {len(text)} characters; it must have {length} hexadecimal digits (0-9, "
            f"a-f) for each of {num_items} items"
        )
    return hashes_in(text)


def hashes_in(text: str) -> tuple[str, ...]:
    """Return the hashes of videos that were joined."""
    return tuple(text[start : start + VIDEO_HASH_DIGITS] for start in range(0, len(text), VIDEO_HASH_DIGITS))


def _milliseconds(steps: list[int], num_items: int, keyframes: int) -> list[list[int]]:
    if len(steps) != num_items * keyframes:
        raise InputError(f"metadata provenance.times has {len(steps)} numbers; it must have {num_items} x {keyframes}")
    times = [list(accumulate(steps[start : start + keyframes])) for start in range(0, len(steps), keyframes)]
    if any(abs(time) > MAX_MILLISECONDS for item in times for time in item):
        raise InputError(f"metadata provenance.times leave +-{MAX_MILLISECONDS} milliseconds")
    return times


def _check_numbers(name: str, values: list[float], count: int) -> None:
    if len(values) != count:
        raise InputError(f"metadata provenance.{name} has {len(values)} numbers; it must have {count}")
    if not all(abs(value) <= sys.float_info.max for value in values):  # 1e999 is JSON and overflows
        raise InputError(f"metadata provenance.{name} holds numbers that are not finite")


def json_object(text: object, where: str) -> dict[str, Any]:
    """Return the JSON object in the text, named `where`; raises `InputError`."""
    try:
        content = parse_json(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"metadata {where!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"metadata {where!r} is not an object")
    return content


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds; raises `ValueError`, also for NaN and for a key that comes twice."""
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeats)


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} comes twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def check_schema(value: object, schema: Any, where: str) -> None:
    """Raise `InputError` unless the value has the schema's keys and types."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise InputError(f"metadata {where} is not an object")
        known = {_bare(key): inner for key, inner in schema.items()}
        if missing := sorted(key for key in schema if not key.endswith("?") and key not in value):
            raise InputError(f"metadata {where} lacks {', '.join(missing)}")
        if unknown := sorted(set(value) - set(known)):
            raise InputError(f"metadata {where} has unknown keys {', '.join(unknown)}")
        for key in [key for key in known if key in value]:
            check_schema(value[key], known[key], f"{where}.{key}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise InputError(f"metadata {where} is not a list")
        for item in value:
            check_schema(item, schema[0], f"{where}[]")
    elif type(value) is not schema and not (schema is float and type(value) is int):
        raise InputError(f"metadata {where} is {value!r}; it must be {schema.__name__}")


def _refuse_places(provenance: Provenance) -> None:
    """Refuse what shows where the set was compressed, and sources without a size to compare with."""
    for video_id in provenance.video_ids:
        if _ABSOLUTE.match(video_id) or ".." in video_id.replace("\\", "/").split("/"):
            raise InputError(f"video id {video_id!r} must be a path relative to the root of its set, without '..'")
    if _ABSOLUTE.match(provenance.source.name):
        raise InputError(f"Source.name is {provenance.source.name!r}; give the name of the folder, not its path")
    _refuse_places_in(provenance.config, "config")
    for name in ("num_frames", "video_bytes"):
        if getattr(provenance.source, name) < 1:
            raise InputError(f"Source.{name} is {getattr(provenance.source, name)}; budgets need it to be at least 1")


def _refuse_places_in(value: object, where: str) -> None:
    if isinstance(value, str) and _ABSOLUTE.match(value):
        raise InputError(f"{where} holds the absolute path {value!r}; a set stores nothing of the machine")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_places_in(inner, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _refuse_places_in(inner, f"{where}[]")


def portable(name: str) -> str:
    """Return a codec's name with the last part alone of an absolute folder; its weights are known by their hash."""
    kind, colon, folder = name.partition(":")
    if not colon or not _ABSOLUTE.match(folder):
        return name
    return f"{kind}:{PureWindowsPath(folder).name}"  # reads both kinds of slash
