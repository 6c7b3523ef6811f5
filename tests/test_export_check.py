"""What `export --check` finds: every damaged folder is named with its file, row and remedy."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from export_sets import compress_greys, draw_greys, needs_datasets, rows_of
from PIL import Image

from videocompressa.errors import InputError
from videocompressa.video import write_video
from videocompressa.vlm.export.check import check_export
from videocompressa.vlm.export.formats import FORMATS
from videocompressa.vlm.export.rows import FaultError, picture_sides
from videocompressa.vlm.export.run import export_set
from videocompressa.vlm.settings import ExportOptions


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_greys(tmp_path_factory.mktemp("videos") / "grays")


@pytest.fixture(scope="module")
def set_file(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compress_greys(videos, tmp_path_factory.mktemp("sets"))


def change_rows(name: str, change: Callable[[list[Any]], None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        rows = rows_of(folder)
        change(rows)
        lines = "\n".join(json.dumps(row) for row in rows) if name.endswith("l") else json.dumps(rows)
        (folder / name).write_text(lines + "\n")

    return damage


def qwen(change: Callable[[list[Any]], None]) -> tuple[str, Callable[[Path], None]]:
    return "qwen", change_rows("annotations.json", change)


def llama(change: Callable[[list[Any]], None]) -> tuple[str, Callable[[Path], None]]:
    return "llama-factory", change_rows("train.json", change)


def pictures(change: Callable[[list[Any]], None]) -> tuple[str, Callable[[Path], None]]:
    return "frames", change_rows("train.jsonl", change)


def video(fps: float, num_frames: int, side: int = 320) -> Callable[[Path], None]:
    frames = torch.arange(num_frames, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, side, side) * 9
    return lambda folder: write_video(folder / "videos/00001.mp4", frames, fps)


def compress(path: Path) -> None:
    """Compress a tar: one that unpacks to terabytes must not be unpacked."""
    path.write_bytes(gzip.compress(path.read_bytes()))


def truncate(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def shards(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "shard-000000.tar"
        with tarfile.open(path) as shard:
            members = {member.name: shard.extractfile(member).read() for member in shard}  # type: ignore[union-attr]
        with tarfile.open(path, "w") as shard:
            for name, content in change(members).items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                shard.addfile(entry, io.BytesIO(content))

    return damage


def clip_facts(**changes: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(members: dict[str, bytes]) -> dict[str, bytes]:
        return members | {"00001.json": json.dumps(json.loads(members["00001.json"]) | changes).encode()}

    return change


def change_facts(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        facts = json.loads((folder / "classes.json").read_text())
        change(facts)
        (folder / "classes.json").write_text(json.dumps(facts))

    return damage


def table(change: Callable[[list[dict[str, Any]]], None], keep: bool = True) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        path = folder / "data/train-00000-of-00001.parquet"
        old = parquet.read_table(path)
        rows = old.to_pylist()
        change(rows)
        new = pyarrow.Table.from_pylist(rows, schema=old.schema if keep else old.schema.remove_metadata())
        parquet.write_table(new, path)

    return damage


FAULTS: dict[str, tuple[tuple[str, Callable[[Path], None]], str]] = {
    "qwen: video gone": (
        ("qwen", lambda folder: (folder / "videos/00001.mp4").unlink()),
        r"annotations.json row 1: videos/00001.mp4 is missing; put it back or export again",
    ),
    "qwen: other rate": (
        ("qwen", video(25, 4)),
        r"annotations.json row 1: videos/00001.mp4 runs at 25 frames a second, at any but 2 frames are lost; write",
    ),
    "qwen: odd count": (
        ("qwen", video(2, 5)),
        r"row 1: videos/00001.mp4 has 5 frames, the trainer wants an even number of 4 at least; repeat the last one",
    ),
    "qwen: too few": (("qwen", video(2, 2)), r"row 1: videos/00001.mp4 has 2 frames"),
    "qwen: too small": (
        ("qwen", video(2, 4, 64)),
        r"row 1: videos/00001.mp4 is 64x64 px, the trainer wants 100352 pixels at least; enlarge it or",
    ),
    "qwen: too flat": (
        ("qwen", lambda folder: write_video(folder / "videos/00001.mp4", torch.zeros(4, 3, 20, 8000).byte(), 2)),
        r"row 1: videos/00001.mp4 is 20x8000 px, the trainer takes sides up to 200 to 1; crop it or",
    ),
    "qwen: cut": (
        qwen(lambda rows: rows[2]["conversations"][1].update(value="sh" * 5000)),
        r"row 2: may have 10\d\d\d tokens, the command that was printed cuts rows at 8192; give the trainer a larger",
    ),
    "llama-factory: cut": (
        llama(lambda rows: rows[2]["messages"][1].update(content="sh" * 5000)),
        r"row 2: may have 10\d\d\d tokens, the command that was printed cuts rows at 8192; give the trainer a larger",
    ),
    "qwen: broken": (("qwen", truncate("videos/00001.mp4", 300)), r"row 1: videos/00001.mp4: .*; export again"),
    "qwen: list of frames": (
        qwen(lambda rows: rows[2].update(video=["a.png"])),
        r"row 2: video is a list; it must be a text in every row; fix it or export again",
    ),
    "qwen: all lists": (
        qwen(lambda rows: [row.update(video=["a.png"]) for row in rows]),
        r"row 0: video is a list; it must be a text in every row",
    ),
    "qwen: no tag": (
        qwen(lambda rows: rows[3]["conversations"][0].update(value="What?")),
        r"row 3: has 0 <video> in its texts \(0 in questions\) for 1 media; write as many in the questions",
    ),
    "qwen: tag in the answer": (
        qwen(lambda rows: rows[3]["conversations"][1].update(value="<video>")),
        r"row 3: has 2 <video> in its texts \(1 in questions\) for 1 media",
    ),
    "qwen: roles": (
        qwen(lambda rows: rows[0]["conversations"].reverse()),
        r"row 0: is spoken by gpt, human; it must be human, gpt in turn",
    ),
    "qwen: empty text": (
        qwen(lambda rows: rows[0]["conversations"][1].update(value=" ")),
        r"row 0: has an empty message; write one",
    ),
    "qwen: missing key": (
        qwen(lambda rows: rows[1].pop("video")),
        r"row 1: lacks 'video'; add it or export again",
    ),
    "qwen: another key in one row": (
        qwen(lambda rows: rows[1].update(id=3)),
        r"row 1: has 'id', which row 0 lacks; remove it or export again",
    ),
    "qwen: a key of another type": (
        qwen(lambda rows: [row.update(id=str(n) if n == 2 else n) for n, row in enumerate(rows)]),
        r"row 2: id is a text; it must be a number in every row",
    ),
    "qwen: row less": (
        qwen(lambda rows: rows.pop()),
        r"holds 3 rows, export.json has 4; fix the number there or export again",
    ),
    "qwen: leaves the folder": (
        qwen(lambda rows: rows[0].update(video="../a.mp4")),
        r"row 0: '../a.mp4' is no path inside of the folder; name a file in it",
    ),
    "qwen: no list": (
        ("qwen", lambda folder: (folder / "annotations.json").write_text("{}")),
        r"annotations.json holds an object; it must be a list of rows",
    ),
    "qwen: no json": (("qwen", truncate("annotations.json", 30)), r"annotations.json is not json \(.*\); fix it"),
    "qwen: no file": (
        ("qwen", lambda folder: (folder / "annotations.json").unlink()),
        r"annotations.json is missing; export again",
    ),
    "llama-factory: flat list": (
        llama(lambda rows: rows[2].update(videos=rows[2]["videos"][0])),
        r"train.json row 2: videos\[0\] is a text; it must be a list in every row",
    ),
    "llama-factory: all flat": (
        llama(lambda rows: [row.update(videos=row["videos"][0][:1]) for row in rows]),
        r"row 0: videos\[0\] is a text; it must be a list in every row",
    ),
    "llama-factory: odd list": (
        llama(lambda rows: rows[1]["videos"][0].pop()),
        r"row 1: a list in videos has 3 frames, the trainer wants an even number of 2 at least",
    ),
    "llama-factory: two videos": (
        llama(lambda rows: rows[1]["videos"].append(rows[1]["videos"][0])),
        r"row 1: has 1 <video> in its texts \(1 in questions\) for 2 media",
    ),
    "llama-factory: mixed list": (
        llama(lambda rows: rows[1]["videos"][0].append(3)),
        r"row 1: videos\[0\]\[4\] is a number; it must be a text in every row",
    ),
    "llama-factory: broken picture": (
        ("llama-factory", truncate("frames/00002-01.png", 200)),
        r"row 2: frames/00002-01.png is no complete picture",
    ),
    "llama-factory: small picture": (
        ("llama-factory", lambda folder: Image.new("RGB", (64, 48)).save(folder / "frames/00002-01.png")),
        r"row 2: frames/00002-01.png is 48x64 px, the trainer wants 100352 pixels",
    ),
    "llama-factory: no entry": (
        ("llama-factory", lambda folder: (folder / "dataset_info.json").write_text("{}")),
        r"dataset_info.json has no entry 'videocompressa' with a file_name",
    ),
    "llama-factory: other tags": (
        (
            "llama-factory",
            lambda folder: (folder / "dataset_info.json").write_text(
                (folder / "dataset_info.json").read_text().replace('"user"', '"human"')
            ),
        ),
        r'dataset_info.json: tags must be {"role_tag": "role"',
    ),
    "frames: no file": (
        ("frames", lambda folder: (folder / "train.jsonl").unlink()),
        r"train.jsonl is missing; export again",
    ),
    "frames: bad line": (("frames", truncate("train.jsonl", 40)), r"train.jsonl row 0 is not json"),
    "frames: times fall": (
        pictures(lambda rows: rows[1]["times_seconds"].reverse()),
        r"row 1: times_seconds fall; put the frames in time order",
    ),
    "frames: a time less": (
        pictures(lambda rows: rows[1]["times_seconds"].pop()),
        r"row 1: has 3 frames and 2 times; give one time a frame",
    ),
    "frames: times in words": (
        pictures(lambda rows: [row.update(times_seconds=["a", "b", "c"]) for row in rows]),
        r"row 0: times_seconds\[0\] is a text; it must be a number in every row",
    ),
    "frames: no text": (
        ("frames", lambda folder: (folder / "train.jsonl").write_bytes(b"\xff\xfe\n")),
        r"train.jsonl row 0 is not json",
    ),
    "frames: other class": (
        pictures(lambda rows: rows[1].update(label=1 - rows[1]["label"])),
        r"row 1: label . is not class '.*', '.*'; fix it",
    ),
    "frames: no answer": (pictures(lambda rows: rows[0].update(answer="")), r"row 0: answer is empty; write one"),
    "frames: text for a number": (
        pictures(lambda rows: rows[3].update(label="1")),
        r"row 3: label is a text; it must be a number in every row",
    ),
    "frames: not an object": (
        pictures(lambda rows: rows.__setitem__(0, [1])),
        r"row 0: the value is a list; it must be an object with frames, times_seconds, ",
    ),
    "frames: lacks a key": (
        pictures(lambda rows: [row.pop("answer") for row in rows]),
        r"row 0: lacks 'answer'; add it",
    ),
    "webdataset-frames: no shard": (
        ("webdataset-frames", lambda folder: (folder / "shard-000000.tar").unlink()),
        r"holds no shard-NNNNNN.tar",
    ),
    "webdataset-frames: cut": (("webdataset-frames", truncate("shard-000000.tar", 1500)), r"shard-000000.tar"),
    "webdataset-frames: compressed": (
        ("webdataset-frames", lambda folder: compress(folder / "shard-000000.tar")),
        r"shard-000000.tar is no complete tar file \(.*\); export again",
    ),
    "webdataset-frames: scattered": (
        (
            "webdataset-frames",
            shards(lambda members: dict(sorted(members.items(), key=lambda pair: pair[0].partition(".")[2]))),
        ),
        r"sample 00000: lacks 'json'; add it or export again",
    ),
    "webdataset-frames: torn": (
        ("webdataset-frames", shards(lambda members: members | {"00001.09.png": members["00001.00.png"]})),
        r"shard-000000.tar: the files of sample 00001 are not next to each other; export again",
    ),
    "webdataset-frames: no class": (
        ("webdataset-frames", shards(lambda members: {k: v for k, v in members.items() if k != "00001.cls"})),
        r"shard-000000.tar sample 00001: lacks 'cls'; add it or export again",
    ),
    "webdataset-frames: other class": (
        ("webdataset-frames", shards(lambda members: {k: b"7" if k == "00001.cls" else v for k, v in members.items()})),
        r"shard-000000.tar sample 00001: has class '7', its json has",
    ),
    "webdataset-frames: other count": (
        (
            "webdataset-frames",
            shards(lambda members: {k: v.replace(b'"num_frames": 3', b'"num_frames": 2') for k, v in members.items()}),
        ),
        r"shard-000000.tar sample 00000: has 3 pictures, its json has 2",
    ),
    "webdataset-frames: picture less": (
        ("webdataset-frames", shards(lambda members: {k: v for k, v in members.items() if k != "00001.01.png"})),
        r"sample 00001: has 2 frames and 3 times",
    ),
    "webdataset-frames: broken picture": (
        (
            "webdataset-frames",
            shards(lambda members: {k: v[:90] if k == "00001.01.png" else v for k, v in members.items()}),
        ),
        r"00001.01.png is no complete picture",
    ),
    "webdataset: broken video": (
        ("webdataset", shards(lambda members: {k: v[:300] if k == "00001.mp4" else v for k, v in members.items()})),
        r"00001.mp4: .*; export again",
    ),
    "webdataset: no video": (
        ("webdataset", shards(lambda members: {k: v for k, v in members.items() if k != "00001.mp4"})),
        r"shard-000000.tar sample 00001: lacks 'mp4'; add it",
    ),
    "webdataset: other size": (
        ("webdataset", change_facts(lambda facts: facts.update(height=48))),
        r"shard-000000.tar sample 0000.: its mp4 is 4x32x32, classes.json has 4x48x32; export again",
    ),
    "webdataset: other classes": (
        ("webdataset", change_facts(lambda facts: facts["classes"].reverse())),
        r"classes.json has other classes than export.json",
    ),
    "webdataset: no size": (
        ("webdataset", change_facts(lambda facts: facts.pop("width"))),
        r"classes.json: lacks 'width'; add it or export again",
    ),
    "webdataset: no facts": (
        ("webdataset", lambda folder: (folder / "classes.json").unlink()),
        r"classes.json is missing; export again",
    ),
    "webdataset: shares of another sum": (
        ("webdataset", shards(clip_facts(probabilities=[0.7, 0.7]))),
        r"sample 00001: its probabilities are not 2 shares that sum to 1",
    ),
    "webdataset: a share less": (
        ("webdataset", shards(clip_facts(probabilities=[1.0]))),
        r"sample 00001: its probabilities are not 2 shares that sum to 1",
    ),
    "webdataset: less likely class": (
        ("webdataset", shards(clip_facts(probabilities=[0.5, 0.5], label=2))),
        r"sample 00001: label 2, '.*', is not its most likely class; fix it",
    ),
    "webdataset: other name": (
        ("webdataset", shards(clip_facts(**{"class": "golf"}))),
        r"sample 00001: label ., 'golf', is not its most likely class; fix it",
    ),
    "webdataset: other number": (
        ("webdataset", shards(lambda members: {k: b"7" if k == "00001.cls" else v for k, v in members.items()})),
        r"shard-000000.tar sample 00001: has class '7', its json has",
    ),
    "webdataset: sample less": (
        ("webdataset", shards(lambda members: {k: v for k, v in members.items() if not k.startswith("00001")})),
        r"holds 3 rows, export.json has 4",
    ),
    "trl: no pictures": (
        ("trl", table(lambda rows: rows[1].update(images=[]))),
        r"parquet row 1: images is empty; leave the row out",
    ),
    "trl: empty picture": (
        ("trl", table(lambda rows: rows[1]["images"][0].update(bytes=None))),
        r"parquet row 1: images\[0\] holds no picture",
    ),
    "trl: tag": (
        ("trl", table(lambda rows: rows[1]["messages"][0].update(content="<image> What?"))),
        r"row 1: has 1 <image> in its texts \(1 in questions\) for 0 media",
    ),
    "trl: roles": (
        ("trl", table(lambda rows: rows[2]["messages"].pop())),
        r"row 2: is spoken by user; it must be user, assistant in turn",
    ),
    "trl: no features": (
        ("trl", table(lambda rows: None, keep=False)),
        r"declares no features, so pictures would be read as bytes",
    ),
    "trl: cut": (
        ("trl", truncate("data/train-00000-of-00001.parquet", 500)),
        r"is no complete parquet file",
    ),
    "hf: gone": (
        ("hf", lambda folder: shutil.rmtree(folder / "data")),
        r"data/train-00000-of-00001.parquet is missing",
    ),
    "hf: unknown class": (
        ("hf", table(lambda rows: rows[1].update(label=9))),
        r"row 1: label is 9, there are 2 classes",
    ),
    "hf: no label": (
        ("hf", table(lambda rows: rows[1].update(label=None))),
        r"row 1: label is a null; it must be a number",
    ),
    "hf: broken picture": (
        ("hf", table(lambda rows: rows[1]["frames"][2].update(bytes=b"png"))),
        r"row 1: frames\[2\] is no complete picture",
    ),
    "hf: broken clip": (
        ("hf", table(lambda rows: rows[1]["clip"].update(bytes=b"mp4"))),
        r"row 1: clip: not a video",
    ),
    "hf: clip of another row": (
        ("hf", table(lambda rows: rows[1]["frames"].pop() and rows[1]["times_seconds"].pop())),
        r"row 1: its clip has 3 frames, there are 2 pictures; fix it or export again",
    ),
}


@pytest.fixture(scope="module")
def good(set_file: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("good")

    def folder(to: str) -> Path:
        if not (root / to).exists():
            options = ExportOptions() if FORMATS[to].holds_clips else ExportOptions(from_source=videos)
            export_set(set_file, root / to, to=to, options=options)
        return root / to

    return folder


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=needs_datasets if name.startswith(("hf", "trl")) else ()) for name in FAULTS],
)
def test_the_check_names_the_fault(good: Callable[[str], Path], tmp_path: Path, fault: str) -> None:
    (to, damage), message = FAULTS[fault]
    shutil.copytree(good(to), tmp_path / "export")
    damage(tmp_path / "export")
    faults = check_export(tmp_path / "export").faults
    assert faults
    assert re.search(message, str(faults[0])), str(faults[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"--check .*x holds no export.json; give a folder that videocompressa export wrote"),
        ("{", r"export.json is not json"),
        ("[]", r"export.json: the value is a list; it must be an object with version, format in every row"),
        ('{"version": 1, "format": "qwen", "num_rows": "1"}', r"export.json: num_rows is a text; it must be a number"),
        (
            '{"version": 1, "format": "qwen", "num_rows": 1, "classes": []}',
            r"export.json: lacks 'names'; add it or",
        ),
        (
            '{"version": 1, "format": "qwen", "num_rows": 1, "classes": [], "names": [1]}',
            r"export.json: has another number of classes than of names",
        ),
        (
            '{"num_rows": 1, "version": 2, "format": "qwen"}',
            r"of format 'qwen', version 2; known: version 1 of llama-factory",
        ),
        ('{"num_rows": 1, "version": 1, "format": "cog"}', r"of format 'cog', version 1; known"),
    ],
)
def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    (tmp_path / "x").mkdir()
    if content is not None:
        (tmp_path / "x/export.json").write_text(content)
    with pytest.raises(InputError, match=message):
        check_export(tmp_path / "x")


PNG, SHORT_IHDR = b"\x89PNG\r\n\x1a\n", b"IHDR\0\0\0\x20\0"


@pytest.mark.parametrize(
    "content", [PNG + b"\0\0\0\5" + SHORT_IHDR + zlib.crc32(SHORT_IHDR).to_bytes(4, "big"), PNG, b"GIF89a"]
)
def test_pictures_that_end_in_their_header_are_faults(content: bytes) -> None:
    """Regression, found by fuzzing: a short IHDR was a traceback."""
    with pytest.raises(FaultError, match="^a.png is no complete picture"):
        picture_sides(content, "a.png")
