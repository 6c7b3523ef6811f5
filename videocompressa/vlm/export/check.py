"""Checking an exported folder as its trainer would read it: every fault names the file and row, and what to do.

The schemas are those that the trainers publish (LLaMA-Factory: data/README.md, its sharegpt converter and its Qwen
plugin; qwen-vl-finetune: README.md and its message builder; TRL: `prepare_multimodal_messages`), not those of our
writers, so that a folder edited by hand is checked as well.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from videocompressa.errors import InputError, VideoError
from videocompressa.hub import check_packages
from videocompressa.video import probe
from videocompressa.vlm.export import rows
from videocompressa.vlm.export.formats import (
    CLASSES_FILE,
    DATASET,
    DATASET_INFO,
    FORMATS,
    FPS,
    LEAST_CUTOFF,
    MANIFEST,
    VERSION,
)
from videocompressa.vlm.export.items import MOST_RATIO, FrameRules
from videocompressa.vlm.export.rows import LIST, NUMBER, TEXT, FaultError

MOST_ROUNDING = 1e-2
"""How far the sum of probabilities may be from 1, as for the labels of a `SyntheticSet`."""


@dataclass(frozen=True)
class Checked:
    """The result of a check."""

    to: str
    num_rows: int
    faults: tuple[str, ...]
    """What a trainer would fail on, such as "train.json row 3: ...", and what to do; rows count from 0."""


def check_export(folder: Path | str) -> Checked:
    """Check an exported folder; raises `InputError` when it is none."""
    folder = Path(folder)
    manifest = _read_manifest(folder)
    to, expected = manifest["format"], manifest["num_rows"]
    check_packages(FORMATS[to].packages, f"--check of a {to} folder")
    length = manifest.get("cutoff_tokens", LEAST_CUTOFF)
    check, export = CHECKS[to], _Export(folder, manifest["classes"], manifest["names"], FORMATS[to].rules, length)
    faults: list[str] = []
    num_rows, schema = 0, check.schema
    try:
        for where, row in check.read(folder):
            schema = schema if num_rows else rows.types_of(row, schema)
            num_rows += 1
            try:
                rows.check_types(row, schema)
                check.row(export, row)
            except FaultError as error:
                faults.append(f"{where}: {error}")
        if num_rows != expected:
            raise FaultError(f"holds {num_rows} rows, {MANIFEST} has {expected}", "fix the number there")
    except FaultError as error:
        faults.append(str(error))
    return Checked(to, num_rows, tuple(faults))


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not (folder / MANIFEST).is_file():
        problem = f"holds no {MANIFEST}" if folder.is_dir() else "is no folder"
        raise InputError(f"--check {folder} {problem}; give a folder that videocompressa export wrote")
    try:
        manifest: dict[str, Any] = rows.parse_json((folder / MANIFEST).read_bytes(), MANIFEST)
        rows.check_types(manifest, rows.types_of(manifest, {"version": NUMBER, "format": TEXT}))
        if manifest["version"] != VERSION or manifest["format"] not in FORMATS:
            version = f"is of format {manifest['format']!r}, version {manifest['version']!r}"
            raise FaultError(f"{version}; known: version {VERSION} of {', '.join(FORMATS)}")
        rows.check_types(manifest, rows.types_of(manifest, {"num_rows": NUMBER, "classes": LIST, "names": LIST}))
        if len(manifest["classes"]) != len(manifest["names"]):
            raise FaultError("has another number of classes than of names")
    except FaultError as error:
        raise InputError(f"--check {folder}: {MANIFEST}: {error}") from error
    return manifest


@dataclass(frozen=True)
class _Export:
    """The folder that is checked, with what all formats check in it."""

    folder: Path
    classes: list[str]
    names: list[str]
    rules: FrameRules
    cutoff_tokens: int
    """Length at which the command that the export printed cuts rows."""

    def file(self, path: str) -> Path:
        """Return a file that a row names."""
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise FaultError(f"{path!r} is no path inside of the folder", "name a file in it")
        if not (self.folder / path).is_file():
            raise FaultError(f"{path} is missing", "put it back")
        return self.folder / path

    def check_pictures(self, pictures: list[Any], column: str) -> tuple[int, int]:
        """Check pictures that are paths of files, or cells of a table; return height and width of the largest."""
        if not pictures:
            raise FaultError(f"{column} is empty", "leave the row out")
        sides = []
        for place, picture in enumerate(pictures):
            name, cell = f"{column}[{place}]", picture
            if isinstance(picture, str):
                name, cell = picture, {"bytes": self.file(picture).read_bytes()}
            if not cell or not cell.get("bytes"):
                raise FaultError(f"{name} holds no picture")
            sides.append(rows.picture_sides(cell["bytes"], name))
            self.check_size(name, *sides[-1])
        return max(sides, key=math.prod)

    def check_size(self, name: str, height: int, width: int) -> None:
        least = self.rules.min_pixels
        if height * width < least:
            raise FaultError(f"{name} is {height}x{width} px, the trainer wants {least} pixels at least", "enlarge it")
        if not self.rules.accepts(height, width):
            raise FaultError(
                f"{name} is {height}x{width} px, the trainer takes sides up to {MOST_RATIO} to 1", "crop it"
            )

    def check_length(self, tokens: int) -> None:
        if tokens > self.cutoff_tokens:
            problem = f"may have {tokens} tokens, the command that was printed cuts rows at {self.cutoff_tokens}"
            raise FaultError(problem, "give the trainer a larger --cutoff_len or --model_max_length")

    def check_count(self, count: int, name: str) -> None:
        least = self.rules.min_frames
        if count < least or (least > 1 and count % 2):
            problem = f"{name} has {count} frames, the trainer wants an even number of {least} at least"
            raise FaultError(problem, "repeat the last one")

    def check_facts(self, row: dict[str, Any], num_frames: int) -> None:
        """Check times, class, question and answer of a row."""
        times, label = row["times_seconds"], row["label"]
        if not 0 < num_frames == len(times):
            raise FaultError(f"has {num_frames} frames and {len(times)} times", "give one time a frame")
        if any(later < earlier for earlier, later in pairwise(times)):
            raise FaultError("times_seconds fall", "put the frames in time order")
        if label not in range(len(self.classes)):
            raise FaultError(f"label is {label}, there are {len(self.classes)} classes", "fix it")
        name = self.names[int(label)]
        stored = row["class"], row.get("name", name)
        if stored != (self.classes[int(label)], name):
            raise FaultError(f"label {label} is not class {stored[0]!r}, {stored[1]!r}", "fix it")
        for key in ("question", "answer"):
            if not row[key].strip():
                raise FaultError(f"{key} is empty", "write one")


def _check_messages(
    messages: list[dict[str, str]], tag: str, num_media: int, roles: Sequence[str] = ("user", "assistant")
) -> None:
    """Raise unless messages alternate, question and answer, with a `tag` for each medium in the questions."""
    speakers, texts = [turn["role"] for turn in messages], [turn["content"] for turn in messages]
    if not messages or speakers != [*roles] * (len(messages) // 2):
        by = ", ".join(speakers) or "no one"
        raise FaultError(f"is spoken by {by}; it must be {roles[0]}, {roles[1]} in turn", "fix it")
    if not all(map(str.strip, texts)):
        raise FaultError("has an empty message", "write one")
    total, asked = (sum(text.count(tag) for text in part) for part in (texts, texts[::2]))
    if not total == asked == num_media:
        problem = f"has {total} {tag} in its texts ({asked} in questions) for {num_media} media"
        raise FaultError(problem, "write as many in the questions as there are media")


def _check_qwen(export: _Export, row: dict[str, Any]) -> None:
    messages = [{"role": turn["from"], "content": turn["value"]} for turn in row["conversations"]]
    _check_messages(messages, "<video>", 1, ("human", "gpt"))
    path = row["video"]
    try:
        video = probe(export.file(path))
    except VideoError as error:
        raise FaultError(f"{path}: {error}") from error
    export.check_count(video.num_frames, path)
    rate = video.num_frames / video.duration_seconds
    if abs(rate - FPS) > 0.01:
        problem = f"{path} runs at {rate:.3g} frames a second, at any but {FPS:g} frames are lost"
        raise FaultError(problem, f"write it at {FPS:g}")
    export.check_size(path, video.height, video.width)
    texts = [turn["value"] for turn in row["conversations"]]
    export.check_length(export.rules.tokens(video.num_frames, video.height, video.width, texts))


def _llama_factory_rows(folder: Path) -> rows.Rows:
    info = rows.parse_json(rows.read_file(folder, "dataset_info.json"), "dataset_info.json")
    entry = info.get(DATASET) if isinstance(info, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
        raise FaultError(f"dataset_info.json has no entry {DATASET!r} with a file_name")
    for key, value in (DATASET_INFO | {"file_name": entry["file_name"]}).items():
        if entry.get(key) != value:
            raise FaultError(f"dataset_info.json: {key} must be {json.dumps(value)}", "fix it")
    return rows.json_list(folder, entry["file_name"])


def _check_llama_factory(export: _Export, row: dict[str, Any]) -> None:
    _check_messages(row["messages"], "<video>", len(row["videos"]))
    tokens = 0
    texts = [turn["content"] for turn in row["messages"]]
    for frames in row["videos"]:
        export.check_count(len(frames), "a list in videos")
        sides = export.check_pictures(frames, "videos")
        tokens += export.rules.tokens(len(frames), *sides, () if tokens else texts)
    export.check_length(tokens)


def _check_trl(export: _Export, row: dict[str, Any]) -> None:
    _check_messages(row["messages"], "<image>", 0)
    export.check_pictures(row["images"], "images")


def _check_frames(export: _Export, row: dict[str, Any]) -> None:
    export.check_facts(row, len(row["frames"]))
    export.check_pictures(row["frames"], "frames")


def _check_hf(export: _Export, row: dict[str, Any]) -> None:
    _check_frames(export, row)
    num_frames = rows.video_size(row["clip"]["bytes"], "clip")[0]
    if num_frames != len(row["frames"]):
        raise FaultError(f"its clip has {num_frames} frames, there are {len(row['frames'])} pictures", "fix it")


def _check_sample(export: _Export, row: dict[str, Any]) -> None:
    facts, num_pictures = row["json"], len(row["png"])
    export.check_facts(facts, num_pictures)
    if facts["num_frames"] != num_pictures:
        raise FaultError(f"has {num_pictures} pictures, its json has {facts['num_frames']}")
    _check_class(row)


def _check_class(row: dict[str, Any]) -> None:
    if row["cls"] != str(row["json"]["label"]):
        raise FaultError(f"has class {row['cls']!r}, its json has {row['json']['label']}")


def _clip_rows(folder: Path) -> rows.Rows:
    training = rows.parse_json(rows.read_file(folder, CLASSES_FILE), CLASSES_FILE)
    yield from ((where, row | {CLASSES_FILE: training}) for where, row in rows.shard_rows(folder))


def _check_clip(export: _Export, row: dict[str, Any]) -> None:
    facts, training = row["json"], row[CLASSES_FILE]
    if training["classes"] != export.classes:
        raise FaultError(f"{CLASSES_FILE} has other classes than {MANIFEST}")
    sizes = row["mp4"], [training[name] for name in ("num_frames", "height", "width")]
    if sizes[0] != sizes[1]:
        clip, expected = ("x".join(map(str, size)) for size in sizes)
        raise FaultError(f"its mp4 is {clip}, {CLASSES_FILE} has {expected}")
    shares, label = facts["probabilities"], facts["label"]
    if len(shares) != len(export.classes) or min(shares) < 0 or abs(sum(shares) - 1) > MOST_ROUNDING:
        raise FaultError(f"its probabilities are not {len(export.classes)} shares that sum to 1")
    if label not in range(len(shares)) or shares[label] < max(shares) or facts["class"] != export.classes[label]:
        raise FaultError(f"label {label}, {facts['class']!r}, is not its most likely class", "fix it")
    _check_class(row)


@dataclass(frozen=True)
class _Check:
    """How one format is checked."""

    read: Callable[[Path], rows.Rows]
    """Yields the rows; raises `FaultError` when the folder cannot be read any further."""
    schema: dict[str, Any]
    """Types of a row, see `rows`; a first row may have more, and then all must."""
    row: Callable[[_Export, dict[str, Any]], None]
    """Raises `FaultError` with the first fault of a row that has these types."""


_MESSAGES = [{"role": TEXT, "content": TEXT}]
_FACTS = {"times_seconds": [NUMBER], "label": NUMBER, **dict.fromkeys(("class", "question", "answer", "video"), TEXT)}
_NAMED = {**_FACTS, "name": TEXT}
_TRL = {"messages": _MESSAGES, "images": LIST}
_HF = {"clip": {"bytes": "bytes", "path": TEXT}, "frames": LIST, **_FACTS}
_SIZE = dict.fromkeys(("num_frames", "height", "width"), NUMBER)
_SHARES = {"label": NUMBER, "class": TEXT, "probabilities": [NUMBER], "video": TEXT}
_CLIP = {"json": _SHARES, "cls": TEXT, "mp4": LIST, CLASSES_FILE: {"classes": [TEXT], **_SIZE}}

CHECKS: dict[str, _Check] = {
    "llama-factory": _Check(_llama_factory_rows, {"messages": _MESSAGES, "videos": [[TEXT]]}, _check_llama_factory),
    "qwen": _Check(
        partial(rows.json_list, name="annotations.json"),
        {"video": TEXT, "conversations": [{"from": TEXT, "value": TEXT}]},
        _check_qwen,
    ),
    "trl": _Check(partial(rows.table_rows, columns=tuple(_TRL)), _TRL, _check_trl),
    "hf": _Check(partial(rows.table_rows, columns=tuple(_HF)), _HF, _check_hf),
    "webdataset": _Check(_clip_rows, _CLIP, _check_clip),
    "webdataset-frames": _Check(
        rows.shard_rows, {"json": {"num_frames": NUMBER, **_NAMED}, "cls": TEXT, "png": LIST}, _check_sample
    ),
    "frames": _Check(partial(rows.json_lines, name="train.jsonl"), {"frames": [TEXT], **_NAMED}, _check_frames),
}
"""How each format is checked, by `--to`."""
