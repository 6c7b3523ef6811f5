"""What a row of each format must be, by what its trainer reads.

The schemas are those that the trainers publish (LLaMA-Factory: data/README.md, its sharegpt converter and its Qwen
plugin; qwen-vl-finetune: README.md and its message builder; TRL: `prepare_multimodal_messages`), written down here a
second time and not taken from the writers, so that a folder edited by hand is checked as well as one of ours.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from videocompressa.errors import VideoError
from videocompressa.video import probe
from videocompressa.vlm.export.faults import (
    AGAIN,
    FaultError,
    Rows,
    check_keys,
    check_tags,
    json_file,
    json_list,
    json_of,
    picture_sides,
    read_turns,
)
from videocompressa.vlm.export.formats import DATASET, FPS, find_format
from videocompressa.vlm.export.tables import PARQUET

_FACTS = {"label": int, "class": str, "name": str, "question": str, "answer": str, "video": str}


class Check:
    """Base of the checks: how a folder is read row by row, and what a row must be."""

    is_json = True
    """Whether nothing but the rows themselves says their types."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.shape = find_format(manifest["format"]).shape
        self._seen: dict[str, tuple[int, int]] = {}

    def rows(self) -> Rows:
        """Yield the rows; raises `FaultError` when the folder cannot be read any further."""
        raise NotImplementedError

    def row(self, row: Any) -> None:
        """Raise `FaultError` with the first fault of a row."""
        raise NotImplementedError

    def picture(self, path: Any) -> None:
        """Check a picture that a row names; once, if many rows name it."""
        file = self.file(path)
        if path not in self._seen:
            self._seen[path] = picture_sides(file.read_bytes(), path)
        self.large_enough(path, *self._seen[path])

    def large_enough(self, what: str, height: int, width: int) -> None:
        """Check the size of a picture."""
        least = self.shape.least_pixels
        if height * width < least:
            raise FaultError(
                f"{what} is {height}x{width} px, the trainer wants {least} pixels at least; enlarge it or {AGAIN}"
            )

    def file(self, path: Any) -> Path:
        """Return a file that a row names."""
        if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise FaultError(f"{path!r} is no path inside of the folder; name a file of it")
        if not (self.folder / path).is_file():
            raise FaultError(f"{path} is missing; put it back or {AGAIN}")
        return self.folder / path

    def even(self, count: int, what: str) -> None:
        """Check a number of frames."""
        least = self.shape.least_frames
        if count < least or (least > 1 and count % 2):
            raise FaultError(
                f"{what} has {count} frames, the trainer wants an even number of {least} at least; repeat the last "
                f"one or {AGAIN}"
            )


class _Qwen(Check):
    def rows(self) -> Rows:
        return json_list(self.folder, "annotations.json")

    def row(self, row: Any) -> None:
        check_keys(row, {"video": str, "conversations": list})
        turns = read_turns(row["conversations"], "from", "value", ("human", "gpt"))
        check_tags(turns, "<video>", 1)
        path = row["video"]
        try:
            video = probe(self.file(path))
        except VideoError as error:
            raise FaultError(f"{path}: {error}; {AGAIN}") from error
        self.even(video.num_frames, path)
        rate = video.num_frames / video.duration_seconds
        if abs(rate - FPS) > 0.01:
            raise FaultError(
                f"{path} runs at {rate:.3g} frames a second, at any but {FPS:g} frames are lost; write it at "
                f"{FPS:g} or {AGAIN}"
            )
        self.large_enough(path, video.height, video.width)


class _LlamaFactory(Check):
    def rows(self) -> Rows:
        info = json_file(self.folder / "dataset_info.json")
        entry = info.get(DATASET) if isinstance(info, dict) else None
        wanted = {
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "videos": "videos"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
        }
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
            raise FaultError(f"dataset_info.json has no entry {DATASET!r} with a file_name; {AGAIN}")
        wrong = [key for key, value in wanted.items() if entry.get(key) != value]
        if wrong:
            raise FaultError(
                f"dataset_info.json: {wrong[0]} must be {json.dumps(wanted[wrong[0]])}; mend it or {AGAIN}"
            )
        yield from json_list(self.folder, entry["file_name"])

    def row(self, row: Any) -> None:
        check_keys(row, {"messages": list, "videos": list})
        turns = read_turns(row["messages"], "role", "content", ("user", "assistant"))
        check_tags(turns, "<video>", len(row["videos"]))
        for frames in row["videos"]:
            if not isinstance(frames, list):
                raise FaultError(f"videos holds {frames!r}; it must hold lists of frames in every row, so {AGAIN}")
            self.even(len(frames), "a list in videos")
            for path in frames:
                self.picture(path)


class _Pictures(Check):
    def rows(self) -> Rows:
        path = self.folder / "train.jsonl"
        if not path.is_file():
            raise FaultError(f"train.jsonl is missing; {AGAIN}")
        with path.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise FaultError(f"train.jsonl row {number} is not json ({error}); mend it or {AGAIN}") from error
                yield f"train.jsonl row {number}", row

    def row(self, row: Any) -> None:
        check_keys(row, {"frames": list, "times_seconds": list, **_FACTS})
        _fact_values(row, len(row["frames"]), self.manifest)
        for path in row["frames"]:
            self.picture(path)


class _Shards(Check):
    def rows(self) -> Rows:
        shards = sorted(self.folder.glob("train-*.tar"))
        if not shards:
            raise FaultError(f"holds no train-NNNNNN.tar; {AGAIN}")
        for path in shards:
            try:
                with tarfile.open(path) as shard:
                    yield from _samples(path.name, shard)
            except (tarfile.TarError, EOFError) as error:
                raise FaultError(f"{path.name} is no whole tar file ({error}); {AGAIN}") from error

    def row(self, row: Any) -> None:
        check_keys(row["json"], {"num_frames": int, "times_seconds": list, **_FACTS})
        _fact_values(row["json"], len(row["png"]), self.manifest)
        if row["json"]["num_frames"] != len(row["png"]):
            raise FaultError(f"has {len(row['png'])} pictures, its json says {row['json']['num_frames']}; {AGAIN}")
        if row["cls"] != str(row["json"]["label"]):
            raise FaultError(f"has class {row['cls']!r}, its json says {row['json']['label']}; {AGAIN}")


def _samples(name: str, shard: tarfile.TarFile) -> Rows:
    """Yield the samples of a shard as {"json": ..., "cls": text, "png": [sides of each]}."""
    done: set[str] = set()
    key, sample = "", dict[str, Any]()
    for member in shard:
        stem, _, kind = member.name.partition(".")
        if stem != key:
            if key:
                yield f"{name} sample {key}", _complete(f"{name} sample {key}", sample)
            if stem in done:
                raise FaultError(f"{name}: the files of sample {stem} do not stand together; {AGAIN}")
            done.add(stem)
            key, sample = stem, {"png": []}
        file = shard.extractfile(member)
        content = b"" if file is None else file.read()
        if kind.endswith("png"):
            sample["png"].append(picture_sides(content, member.name))
        else:
            sample[kind] = json_of(content, member.name) if kind == "json" else content.decode(errors="replace")
    if key:
        yield f"{name} sample {key}", _complete(f"{name} sample {key}", sample)


def _complete(where: str, sample: dict[str, Any]) -> dict[str, Any]:
    for kind in ("json", "cls"):
        if kind not in sample:
            raise FaultError(f"{where} has no .{kind}; {AGAIN}")
    return sample


class _Table(Check):
    is_json = False
    columns: tuple[str, ...] = ()

    def rows(self) -> Rows:
        import pyarrow
        from pyarrow import parquet

        path = self.folder / PARQUET
        try:
            with parquet.ParquetFile(path) as file:
                schema = file.schema_arrow
                missing = [name for name in self.columns if name not in schema.names]
                if missing:
                    raise FaultError(f"{PARQUET} has no column {missing[0]!r}; {AGAIN}")
                if b"huggingface" not in (schema.metadata or {}):
                    raise FaultError(f"{PARQUET} says no features, so pictures would be read as bytes; {AGAIN}")
                for number, batch in enumerate(file.iter_batches(batch_size=1)):
                    yield f"{PARQUET} row {number}", batch.to_pylist()[0]
        except FileNotFoundError:
            raise FaultError(f"{PARQUET} is missing; {AGAIN}") from None
        except (pyarrow.ArrowException, OSError) as error:
            raise FaultError(f"{PARQUET} is no whole parquet file ({error}); {AGAIN}") from error

    def images(self, images: Any, what: str) -> None:
        """Check a column of pictures."""
        if not images:
            raise FaultError(f"{what} is empty; leave the row out or {AGAIN}")
        for place, image in enumerate(images):
            name = f"{what}[{place}]"
            if not image or not image.get("bytes"):
                raise FaultError(f"{name} holds no picture; {AGAIN}")
            self.large_enough(name, *picture_sides(image["bytes"], name))


class _Trl(_Table):
    columns = ("messages", "images")

    def row(self, row: Any) -> None:
        turns = read_turns(row["messages"], "role", "content", ("user", "assistant"))
        check_tags(turns, "<image>", 0)
        self.images(row["images"], "images")


class _Hf(_Table):
    columns = ("frames", "times_seconds", "label", "class", "question", "answer", "video")

    def row(self, row: Any) -> None:
        names = self.manifest["names"]
        check_keys(
            row, {"frames": list, "times_seconds": list, **{key: _FACTS[key] for key in _FACTS if key != "name"}}
        )
        if not 0 <= row["label"] < len(names):
            raise FaultError(f"label is {row['label']}, there are {len(names)} classes; {AGAIN}")
        _fact_values({**row, "name": names[row["label"]]}, len(row["frames"]), self.manifest)
        self.images(row["frames"], "frames")


def _fact_values(row: dict[str, Any], num_frames: int, manifest: dict[str, Any]) -> None:
    if num_frames == 0 or len(row["times_seconds"]) != num_frames:
        raise FaultError(f"has {num_frames} frames and {len(row['times_seconds'])} times; give one time a frame")
    if not all(isinstance(seconds, int | float) for seconds in row["times_seconds"]):
        raise FaultError("times_seconds holds what is no number; give seconds")
    if any(later < earlier for earlier, later in zip(row["times_seconds"], row["times_seconds"][1:], strict=False)):
        raise FaultError("times_seconds fall; put the frames in time order")
    classes, names = manifest["classes"], manifest["names"]
    if not 0 <= row["label"] < len(classes) or (classes[row["label"]], names[row["label"]]) != (
        row["class"],
        row["name"],
    ):
        raise FaultError(f"label {row['label']} is not class {row['class']!r}, {row['name']!r}; mend it or {AGAIN}")
    for key in ("question", "answer"):
        if not row[key].strip():
            raise FaultError(f"{key} is empty; write one or {AGAIN}")


CHECKS: dict[str, Callable[[Path, dict[str, Any]], Check]] = {
    "llama-factory": _LlamaFactory,
    "qwen": _Qwen,
    "trl": _Trl,
    "hf": _Hf,
    "webdataset": _Shards,
    "frames": _Pictures,
}
"""How each format is checked."""
