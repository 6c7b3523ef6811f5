"""The metadata of the file, as canonical JSON (sorted keys, no spaces, ASCII, shortest floats, no NaN).

There are two texts: the header's, readable in the raw file, and the provenance, which is long and packed in a tensor.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import PureWindowsPath
from typing import Any

from videocompressa.artifact.marks import marks_of, positions_of
from videocompressa.artifact.packing import PACKINGS
from videocompressa.clip import ClipSpec, CodecSpec, Normalization
from videocompressa.errors import ArtifactError, InputError
from videocompressa.synthetic import Provenance, Source

FORMAT = 1
"""Format number that this version writes and reads."""
KEY = "videocompressa"
"""The only metadata key."""

SCHEMA: dict[str, Any] = {
    "clip": {"frames": int, "height": int, "placement": str, "width": int},
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

PROVENANCE_SCHEMA: dict[str, Any] = {
    "classes": [str],
    "codec": {"bytes": int, "channels": int, "downscale": int, "scale": [float], "sha256": str, "shift": [float]},
    "config": dict,
    "normalization": {"mean": [float], "std": [float]},
    "positions": str,
    "split": str,
    "times": [int],
    "videos": [str],
}
"""Likewise of the JSON in the tensor `provenance`."""

MAX_MILLISECONDS = 10**12
"""Times lie within +- this (30 years); a float64 of seconds holds them with room to spare."""

_ABSOLUTE = re.compile(r"/|\\\\|[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class Metadata:
    """All that a file says about its tensors."""

    clip: ClipSpec
    codec: CodecSpec
    normalization: Normalization
    provenance: Provenance
    classes: tuple[str, ...]
    fill: str
    packing: str
    positions: tuple[tuple[int, ...], ...]
    """N x K, at least one: where each keyframe stands among the candidates."""
    milliseconds: tuple[tuple[int, ...], ...]
    """N x K: when each keyframe is shown in its video."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and K."""
        return len(self.positions), len(self.positions[0])


def to_json(metadata: Metadata) -> tuple[str, str]:
    """Return the header's canonical JSON and the provenance's.

    Raises `InputError` for what JSON cannot hold and for absolute paths.
    """
    _refuse_places(metadata.provenance)
    provenance = metadata.provenance
    try:
        return _canonical(_header(metadata)), _canonical(_provenance(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"the provenance of method {provenance.method!r} cannot be stored as JSON: {error}; "
            "its config may hold only numbers, text, lists and mappings"
        ) from error


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _header(metadata: Metadata) -> dict[str, Any]:
    clip, source = metadata.clip, metadata.provenance.source
    return {
        "format": FORMAT,
        "clip": {
            "frames": clip.num_frames,
            "height": clip.height,
            "width": clip.width,
            "placement": clip.placement,
        },
        "codec": portable(metadata.codec.name),
        "fill": metadata.fill,
        "packing": metadata.packing,
        "keyframes": metadata.shape[1],
        "method": metadata.provenance.method,
        "seed": metadata.provenance.seed,
        "source": {
            "name": source.name,
            "videos": source.num_videos,
            "frames": source.num_frames,
            "bytes": source.video_bytes,
            "skipped": source.num_skipped,
        },
        "version": metadata.provenance.version,
    }


def _provenance(metadata: Metadata) -> dict[str, Any]:
    codec, normalization = metadata.codec, metadata.normalization
    return {
        "classes": list(metadata.classes),
        "codec": {
            "sha256": codec.weights_sha256,
            "channels": codec.channels,
            "downscale": codec.downscale,
            "shift": list(codec.shift),
            "scale": list(codec.scale),
            "bytes": codec.num_bytes,
        },
        # Once through JSON, so that keys which are no strings sort as the strings they become.
        "config": json.loads(json.dumps(dict(metadata.provenance.config), allow_nan=False)),
        # Six digits: pixels have 256 levels, and the rest of a float64 would be noise that costs 40 bytes.
        "normalization": {
            "mean": [float(f"{number:.6g}") for number in normalization.mean],
            "std": [float(f"{number:.6g}") for number in normalization.std],
        },
        "positions": marks_of(metadata.positions, metadata.clip.num_frames),
        "split": metadata.provenance.source.split_hash,
        "times": [
            here - before
            for times in metadata.milliseconds
            for before, here in zip((0, *times[:-1]), times, strict=True)
        ],
        "videos": list(metadata.provenance.video_ids),
    }


def from_json(header: Mapping[str, Any], provenance_text: str, path: str, num_items: int) -> Metadata:
    """Return what the two JSONs of the file `path` of N items say.

    Raises `ArtifactError` for what `to_json` would not write. A file has as many times as N x K, so a small one that
    claims a large N or K is refused before anything of that size is made.
    """
    content = json_object(provenance_text, "provenance", path)
    check_schema(header, SCHEMA, KEY, path)
    check_schema(content, PROVENANCE_SCHEMA, "provenance", path)
    codec, norm, clip = content["codec"], content["normalization"], header["clip"]
    if header["packing"] not in ("dense", *PACKINGS):
        raise ArtifactError(
            f"{path} has packing {header['packing']!r}; this version reads {', '.join(['dense', *PACKINGS])}"
        )
    if codec["channels"] < 1 or codec["downscale"] < 1:
        raise ArtifactError(f"{path}: metadata provenance.codec has channels or downscale below 1")
    shift, scale = (_numbers(codec[name], codec["channels"], f"codec.{name}", path) for name in ("shift", "scale"))
    mean, std = (_numbers(norm[name], 3, f"normalization.{name}", path) for name in ("mean", "std"))
    provenance = _provenance_of(header, content)
    try:
        _refuse_places(provenance)
        clip_spec = ClipSpec(clip["frames"], clip["height"], clip["width"], clip["placement"])
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error
    keyframes = header["keyframes"]
    if num_items < 1:
        raise ArtifactError(f"{path} has no items; a set must hold at least one keyframe")
    if not 1 <= keyframes <= clip_spec.num_frames:
        raise ArtifactError(f"{path} has keyframes {keyframes}; they must be 1 to {clip_spec.num_frames}")
    milliseconds = _milliseconds(content["times"], num_items, keyframes, path)
    return Metadata(
        clip=clip_spec,
        codec=CodecSpec(
            header["codec"], codec["sha256"], codec["channels"], codec["downscale"], shift, scale, codec["bytes"]
        ),
        normalization=Normalization((mean[0], mean[1], mean[2]), (std[0], std[1], std[2])),
        provenance=provenance,
        classes=tuple(content["classes"]),
        fill=header["fill"],
        packing=header["packing"],
        positions=positions_of(content["positions"], num_items, keyframes, clip_spec.num_frames, path),
        milliseconds=milliseconds,
    )


def _provenance_of(header: Mapping[str, Any], content: Mapping[str, Any]) -> Provenance:
    source = header["source"]
    return Provenance(
        method=header["method"],
        config=content["config"],
        seed=header["seed"],
        source=Source(
            name=source["name"],
            split_hash=content["split"],
            num_videos=source["videos"],
            num_frames=source["frames"],
            video_bytes=source["bytes"],
            num_skipped=source["skipped"],
        ),
        video_ids=tuple(content["videos"]),
        version=header["version"],
    )


def _milliseconds(steps: list[int], num_items: int, keyframes: int, path: str) -> tuple[tuple[int, ...], ...]:
    if len(steps) != num_items * keyframes:
        raise ArtifactError(
            f"{path}: metadata provenance.times has {len(steps)} numbers; it must have {num_items} x {keyframes}"
        )
    times = tuple(tuple(accumulate(steps[item * keyframes : (item + 1) * keyframes])) for item in range(num_items))
    if any(abs(time) > MAX_MILLISECONDS for item in times for time in item):
        raise ArtifactError(f"{path}: metadata provenance.times leave +-{MAX_MILLISECONDS} milliseconds")
    return times


def _numbers(values: list[float], count: int, name: str, path: str) -> tuple[float, ...]:
    if len(values) != count:
        raise ArtifactError(f"{path}: metadata provenance.{name} has {len(values)} numbers; it must have {count}")
    if not all(math.isfinite(value) for value in values):  # 1e999 is JSON and overflows
        raise ArtifactError(f"{path}: metadata provenance.{name} holds numbers that are not finite")
    return tuple(float(value) for value in values)


def header_content(text: object, path: str) -> dict[str, Any]:
    """Return the JSON of the metadata key, unchecked but for its format; raises `ArtifactError`."""
    content = json_object(text, KEY, path)
    if type(content.get("format")) is not int:
        raise ArtifactError(f"{path}: metadata {KEY!r} has no format number")
    if content["format"] != FORMAT:
        advice = "upgrade videocompressa" if content["format"] > FORMAT else "compress the videos again"
        raise ArtifactError(f"{path} has format {content['format']}, this version reads format {FORMAT}; {advice}")
    return content


def json_object(text: object, where: str, path: str) -> dict[str, Any]:
    """Return the JSON object in the text, named `where` in the file `path`; raises `ArtifactError`."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: metadata {where!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{path}: metadata {where!r} is not an object")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def check_schema(value: object, schema: Any, where: str, path: str) -> None:
    """Raise `ArtifactError` unless the value has the schema's keys and types."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise ArtifactError(f"{path}: metadata {where} is not an object")
        if missing := sorted(set(schema) - set(value)):
            raise ArtifactError(f"{path}: metadata {where} lacks {', '.join(missing)}")
        if unknown := sorted(set(value) - set(schema)):
            raise ArtifactError(f"{path}: metadata {where} has unknown keys {', '.join(unknown)}")
        for key, inner in schema.items():
            check_schema(value[key], inner, f"{where}.{key}", path)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise ArtifactError(f"{path}: metadata {where} is not a list")
        for item in value:
            check_schema(item, schema[0], f"{where}[]", path)
    elif type(value) is not schema and not (schema is float and type(value) is int):
        raise ArtifactError(f"{path}: metadata {where} is {value!r}; it must be {schema.__name__}")


def _refuse_places(provenance: Provenance) -> None:
    """Refuse what tells where the set was made, and sources without a size to compare with."""
    for video_id in provenance.video_ids:
        if _ABSOLUTE.match(video_id) or ".." in video_id.replace("\\", "/").split("/"):
            raise InputError(f"video id {video_id!r} must be a path relative to the root of its set, without '..'")
    if _ABSOLUTE.match(provenance.source.name):
        raise InputError(f"Source.name is {provenance.source.name!r}; give the name of the folder, not its place")
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
