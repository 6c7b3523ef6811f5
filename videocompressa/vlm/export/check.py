"""Checking an exported folder as its trainer would read it: every fault names the file and row, and what to do.

The schemas are those that the trainers publish (LLaMA-Factory: data/README.md, its sharegpt converter and its Qwen
plugin; qwen-vl-finetune: README.md and its message builder; TRL: `prepare_multimodal_messages`), written down here a
second time and not taken from the writers, so that a folder edited by hand is checked as well as one of ours.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from videocompressa.errors import InputError, VideoError
from videocompressa.video import probe
from videocompressa.vlm.export import rows
from videocompressa.vlm.export.formats import DATASET, FORMATS, FPS, MANIFEST, VERSION
from videocompressa.vlm.export.items import FrameRules
from videocompressa.vlm.export.rows import AGAIN, LIST, NUMBER, TEXT, FaultError
from videocompressa.vlm.export.tables import check_packages


@dataclass(frozen=True)
class Checked:
    """The result of a check."""

    to: str
    num_rows: int
    faults: tuple[str, ...]
    """What a trainer would fail on, such as "train.json row 3: ...", and what to do; rows count from 0."""


def check_export(folder: Path) -> Checked:
    """Check an exported folder; raises `InputError` when it is none."""
    manifest = _read_manifest(folder)
    to, expected = manifest["format"], manifest["num_rows"]
    check_packages(FORMATS[to].packages, f"--check of a {to} folder")
    check, export = CHECKS[to], _Export(folder, manifest["classes"], manifest["names"], FORMATS[to].rules)
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
            raise FaultError(f"holds {num_rows} rows, {MANIFEST} has {expected}; {AGAIN}, or fix the number there")
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
            raise FaultError(
                f"is of format {manifest['format']!r}, version {manifest['version']!r}; known: version {VERSION} of "
                f"{', '.join(FORMATS)}"
            )
        rows.check_types(manifest, rows.types_of(manifest, {"num_rows": NUMBER, "classes": LIST, "names": LIST}))
        if len(manifest["classes"]) != len(manifest["names"]):
            raise FaultError(f"has another number of classes than of names; {AGAIN}")
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

    def file(self, path: str) -> Path:
        """Return a file that a row names."""
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise FaultError(f"{path!r} is no path inside of the folder; name a file in it")
        if not (self.folder / path).is_file():
            raise FaultError(f"{path} is missing; put it back or {AGAIN}")
        return self.folder / path

    def check_files(self, paths: Sequence[str]) -> None:
        """Check pictures that are files."""
        for path in paths:
            self.check_size(path, *rows.picture_sides(self.file(path).read_bytes(), path))

    def check_cells(self, cells: list[Any], column: str) -> None:
        """Check the pictures in one cell of a table."""
        if not cells:
            raise FaultError(f"{column} is empty; leave the row out or {AGAIN}")
        for place, cell in enumerate(cells):
            name = f"{column}[{place}]"
            if not cell or not cell.get("bytes"):
                raise FaultError(f"{name} holds no picture; {AGAIN}")
            self.check_size(name, *rows.picture_sides(cell["bytes"], name))

    def check_size(self, name: str, height: int, width: int) -> None:
        least = self.rules.min_pixels
        if height * width < least:
            raise FaultError(
                f"{name} is {height}x{width} px, the trainer wants {least} pixels at least; enlarge it or {AGAIN}"
            )

    def check_count(self, count: int, name: str) -> None:
        least = self.rules.min_frames
        if count < least or (least > 1 and count % 2):
            raise FaultError(
                f"{name} has {count} frames, the trainer wants an even number of {least} at least; repeat the last "
                f"one or {AGAIN}"
            )

    def check_facts(self, row: dict[str, Any], num_frames: int) -> None:
        """Check times, class, question and answer of a row."""
        times, label = row["times_seconds"], row["label"]
        if not 0 < num_frames == len(times):
            raise FaultError(f"has {num_frames} frames and {len(times)} times; give one time a frame")
        if any(later < earlier for earlier, later in pairwise(times)):
            raise FaultError("times_seconds fall; put the frames in time order")
        if label not in range(len(self.classes)):
            raise FaultError(f"label is {label}, there are {len(self.classes)} classes; fix it or {AGAIN}")
        class_name, name = self.classes[int(label)], self.names[int(label)]
        if (class_name, name) != (row["class"], row.get("name", name)):
            raise FaultError(
                f"label {label} is not class {row['class']!r}, {row.get('name', name)!r}; fix it or {AGAIN}"
            )
        for key in ("question", "answer"):
            if not row[key].strip():
                raise FaultError(f"{key} is empty; write one or {AGAIN}")


def _check_turns(turns: Sequence[tuple[str, str]], roles: tuple[str, str], tag: str, num_media: int) -> None:
    """Raise unless (role, text) turns alternate, question and answer, with a `tag` for each medium in the questions."""
    spoken, texts = [role for role, _ in turns], [text for _, text in turns]
    if not turns or spoken != [*roles] * (len(turns) // 2):
        speakers = ", ".join(spoken) or "nobody"
        raise FaultError(f"is spoken by {speakers}; it must be {roles[0]}, {roles[1]} in turn, so fix it or {AGAIN}")
    if not all(map(str.strip, texts)):
        raise FaultError(f"has an empty message; write one or {AGAIN}")
    total, asked = (sum(text.count(tag) for text in part) for part in (texts, texts[::2]))
    if not total == asked == num_media:
        raise FaultError(
            f"has {total} {tag} in its texts ({asked} in questions) for {num_media} media; write as many in the "
            f"questions as there are media, or {AGAIN}"
        )


def _check_messages(row: dict[str, Any], tag: str, num_media: int) -> None:
    turns = [(message["role"], message["content"]) for message in row["messages"]]
    _check_turns(turns, ("user", "assistant"), tag, num_media)


def _check_qwen(export: _Export, row: dict[str, Any]) -> None:
    _check_turns([(turn["from"], turn["value"]) for turn in row["conversations"]], ("human", "gpt"), "<video>", 1)
    path = row["video"]
    try:
        video = probe(export.file(path))
    except VideoError as error:
        raise FaultError(f"{path}: {error}; {AGAIN}") from error
    export.check_count(video.num_frames, path)
    rate = video.num_frames / video.duration_seconds
    if abs(rate - FPS) > 0.01:
        raise FaultError(
            f"{path} runs at {rate:.3g} frames a second, at any but {FPS:g} frames are lost; write it at {FPS:g} or "
            f"{AGAIN}"
        )
    export.check_size(path, video.height, video.width)


_DATASET_INFO: dict[str, Any] = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "videos": "videos"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}


def _llama_factory_rows(folder: Path) -> rows.Rows:
    info = rows.parse_json(rows.read_file(folder, "dataset_info.json"), "dataset_info.json")
    entry = info.get(DATASET) if isinstance(info, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
        raise FaultError(f"dataset_info.json has no entry {DATASET!r} with a file_name; {AGAIN}")
    for key, value in _DATASET_INFO.items():
        if entry.get(key) != value:
            raise FaultError(f"dataset_info.json: {key} must be {json.dumps(value)}; fix it or {AGAIN}")
    yield from rows.json_list(folder, entry["file_name"])


def _check_llama_factory(export: _Export, row: dict[str, Any]) -> None:
    _check_messages(row, "<video>", len(row["videos"]))
    for frames in row["videos"]:
        export.check_count(len(frames), "a list in videos")
        export.check_files(frames)


def _check_frames(export: _Export, row: dict[str, Any]) -> None:
    export.check_facts(row, len(row["frames"]))
    export.check_files(row["frames"])


def _check_sample(export: _Export, row: dict[str, Any]) -> None:
    facts, num_pictures = row["json"], len(row["png"])
    export.check_facts(facts, num_pictures)
    if facts["num_frames"] != num_pictures:
        raise FaultError(f"has {num_pictures} pictures, its json has {facts['num_frames']}; {AGAIN}")
    if row["cls"] != str(facts["label"]):
        raise FaultError(f"has class {row['cls']!r}, its json has {facts['label']}; {AGAIN}")


def _check_trl(export: _Export, row: dict[str, Any]) -> None:
    _check_messages(row, "<image>", 0)
    export.check_cells(row["images"], "images")


def _check_hf(export: _Export, row: dict[str, Any]) -> None:
    export.check_facts(row, len(row["frames"]))
    export.check_cells(row["frames"], "frames")


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
_HF = {"frames": LIST, **_FACTS}

CHECKS: dict[str, _Check] = {
    "llama-factory": _Check(_llama_factory_rows, {"messages": _MESSAGES, "videos": [[TEXT]]}, _check_llama_factory),
    "qwen": _Check(
        partial(rows.json_list, name="annotations.json"),
        {"video": TEXT, "conversations": [{"from": TEXT, "value": TEXT}]},
        _check_qwen,
    ),
    "trl": _Check(partial(rows.table_rows, columns=tuple(_TRL)), _TRL, _check_trl),
    "hf": _Check(partial(rows.table_rows, columns=tuple(_HF)), _HF, _check_hf),
    "webdataset": _Check(
        rows.shard_rows, {"json": {"num_frames": NUMBER, **_NAMED}, "cls": TEXT, "png": LIST}, _check_sample
    ),
    "frames": _Check(partial(rows.json_lines, name="train.jsonl"), {"frames": [TEXT], **_NAMED}, _check_frames),
}
"""How each format is checked, by `--to`."""
