"""The same clips as files, in tars and in parquet give the same candidates; every fault is named."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from cli_runs import TINY, Runner
from fsspec.implementations.memory import MemoryFileSystem
from numbered_videos import numbered

from videocompressa import remote
from videocompressa.clip import Candidates, ClipSpec
from videocompressa.codecs import PixelCodec
from videocompressa.datasets import (
    BadVideo,
    VideoSet,
    candidates,
    encode_pass,
    find_videos,
    hugging_face,
    locate_videos,
)
from videocompressa.datasets.layouts import LAYOUTS as KNOWN
from videocompressa.errors import InputError, VideoError
from videocompressa.recipes.data import list_videos
from videocompressa.recipes.options import CandidateOptions
from videocompressa.video import probe, read_frames, shards
from videocompressa.video.source import ParquetCell, TarMember

CLIP = ClipSpec(4, 16, 16)
CLIPS = {f"{split}/{label}/{n}.mp4": (split, label) for split, count in (("train", 3), ("test", 1))
         for label in ("jump", "walk") for n in range(count)}  # fmt: skip
"""Split and class of the clips, by their path in class folders."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips as SPLIT/CLASS/N.mp4, each of another length."""
    root = tmp_path_factory.mktemp("clips") / "set"
    for n, name in enumerate(CLIPS):
        numbered(root / name, 4 + n, step=20)
    return root


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def as_csv(folders: Path, root: Path) -> str:
    """splits.csv beside a folder of all clips; returns the option that it needs, "" for none."""
    with (root / "splits.csv").open("w") as file:
        rows = [[name.replace("/", "-"), label, split] for name, (split, label) in CLIPS.items()]
        csv.writer(file).writerows([["path", "label", "split"], *rows])
    for name in CLIPS:
        shutil.copy(folders / name, root / name.replace("/", "-"))
    return ""


def as_videofolder(folders: Path, root: Path, *, lines: bool = False) -> str:
    """train/ and test/ with a metadata file each."""
    for split in ("train", "test"):
        (root / split).mkdir()
        rows = [(name.replace("/", "-"), label) for name, (s, label) in CLIPS.items() if s == split]
        for (file_name, _), name in zip(rows, [n for n in CLIPS if n.startswith(split)], strict=True):
            shutil.copy(folders / name, root / split / file_name)
        if lines:
            text = "".join(json.dumps({"file_name": file, "label": label}) + "\n" for file, label in rows)
            (root / split / "metadata.jsonl").write_text(text)
        else:
            (root / split / "metadata.csv").write_text("file_name,label\n" + "".join(f"{f},{x}\n" for f, x in rows))
    return ""


def as_jsonl_videofolder(folders: Path, root: Path) -> str:
    return as_videofolder(folders, root, lines=True)


def as_tars(folders: Path, root: Path) -> str:
    """Two training shards and a test shard in a folder of its own, with the three kinds of labels."""
    shards: dict[str, dict[str, bytes]] = {}
    for n, (name, (split, label)) in enumerate(CLIPS.items()):
        shard = shards.setdefault("test/000.tar" if split == "test" else f"train-00{n % 2}.tar", {})
        key = name.removesuffix(".mp4").replace("/", "-")
        kinds = {"cls": label, "txt": label + "\n", "json": json.dumps({"class": label, "fps": 25})}
        suffix = tuple(kinds)[n % 3]
        shard |= {f"{key}.mp4": (folders / name).read_bytes(), f"{key}.{suffix}": kinds[suffix].encode()}
    for shard_name, members in shards.items():
        write_tar(root / shard_name, members)
    return ""


def parquet_table(rows: list[tuple[bytes | None, str, Any]], *, names: list[str] | None, label: str = "label") -> Any:
    """A table as the Hugging Face library writes it; `names` are the class names in its metadata."""
    pa = pytest.importorskip("pyarrow")
    videos = pa.array(
        [{"bytes": data, "path": path} for data, path, _ in rows],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({"video": videos, label: [value for *_, value in rows], "fps": [25.0] * len(rows)})
    features: dict[str, Any] = {"video": {"_type": "Video"}, "fps": {"dtype": "float64", "_type": "Value"}}
    features[label] = {"names": names, "_type": "ClassLabel"} if names else {"dtype": "string", "_type": "Value"}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_parquet(table: Any, path: Path, row_group_size: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=row_group_size)
    return path


def as_parquet(folders: Path, root: Path) -> str:
    """data/train-... and data/test-... with struct columns and ClassLabels, several row groups each."""
    names = ["walk", "jump"]  # Not sorted: the number is not the position among our classes.
    for split in ("train", "test"):
        rows = [
            ((folders / name).read_bytes(), name.replace("/", "-"), names.index(label))
            for name, (s, label) in CLIPS.items()
            if s == split
        ]
        write_parquet(parquet_table(rows, names=names), root / "data" / f"{split}-00000-of-00001.parquet")
    return ""


def as_binary_parquet(folders: Path, root: Path) -> str:
    """A binary column beside another one, text labels in a column of another name, class folders for splits."""
    pa = pytest.importorskip("pyarrow")
    for split in ("train", "test"):
        chosen = [(name, label) for name, (s, label) in CLIPS.items() if s == split]
        clips = pa.array([(folders / name).read_bytes() for name, _ in chosen])
        table = pa.table({"clip": clips, "sound": [b""] * len(chosen), "Action": [label for _, label in chosen]})
        write_parquet(table, root / split / "0.parquet")
    return "action clip"


LAYOUTS: dict[str, Callable[[Path, Path], str]] = {
    "csv": as_csv,
    "videofolder": as_videofolder,
    "videofolder-jsonl": as_jsonl_videofolder,
    "webdataset": as_tars,
    "parquet": as_parquet,
    "parquet-binary": as_binary_parquet,
}


def encoded(videos: VideoSet, split: str, cache: Path, workers: int = 0) -> Candidates:
    return encode_pass(videos, split, CLIP, PixelCodec(), cache=cache, workers=workers)


def check_same(videos: VideoSet, folders: Path, tmp_path: Path) -> None:
    """Assert that the videos give the candidates that the class folders give, whatever their ids and order."""
    expected_videos = find_videos(folders)
    assert videos.classes == expected_videos.classes == ("jump", "walk")
    for split in ("train", "test"):
        expected = encoded(expected_videos, split, tmp_path / "expected")
        data = encoded(videos, split, tmp_path / "cache")
        # Every clip has a length of its own, which says which is which.
        order, expected_order = data.num_video_frames.argsort(), expected.num_video_frames.argsort()
        for name in ("num_video_frames", "frames", "latents", "labels", "times_seconds", "video_bytes"):
            assert torch.equal(getattr(data, name)[order], getattr(expected, name)[expected_order]), name
        assert data.normalization == expected.normalization
        assert (data.classes, data.bad) == (expected.classes, ())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_clips_give_the_same_candidates(
    layout: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    label_column, _, video_column = LAYOUTS[layout](folders, root).partition(" ")
    options = CandidateOptions(label_column=label_column or None, video_column=video_column or None)
    videos, before = list_videos(root, options), sorted(root.rglob("*"))
    check_same(videos, folders, tmp_path)
    assert sorted(root.rglob("*")) == before  # Nothing is unpacked.
    monkeypatch.setattr(shards, "decode_shard", lambda job: pytest.fail("decoded again"))
    encoded(list_videos(root, options), "train", tmp_path / "cache")
    sources = locate_videos(root, [entry.video_id for entry in videos.entries]) if not video_column else ()
    assert all(source == entry.source for source, entry in zip(sources, videos.entries, strict=False))


def test_workers_read_packed_videos(folders: Path, tmp_path: Path) -> None:
    for layout in ("webdataset", "parquet"):
        root = tmp_path / layout
        root.mkdir()
        LAYOUTS[layout](folders, root)
        here, there = (encoded(find_videos(root), "train", tmp_path / f"{layout}{n}", workers=n) for n in (0, 1))
        assert torch.equal(here.frames, there.frames)


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_every_command_reads_packed_videos(layout: str, folders: Path, tmp_path: Path, run: Runner) -> None:
    root, path = tmp_path / "set", tmp_path / "set.safetensors"
    root.mkdir()
    LAYOUTS[layout](folders, root)
    totals = run("plan", root, *TINY, "--method", "random-real", "--vpc", "1", "--json").json
    assert totals["splits"]["train"]["num_bytes"] == sum((folders / n).stat().st_size for n in CLIPS if "train" in n)
    assert run.compress(root, path).code == 0
    assert run.train(path, "--data", root).code == 0
    ran = run("export", path, "--to", "frames", "-o", tmp_path / "out", "--from-source", root)
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert {row["video"] for row in rows} <= {entry.video_id for entry in find_videos(root).entries}


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "folders"])
def test_videos_without_labels_are_read_from_inside_files_and_behind_urls(
    layout: str, folders: Path, tmp_path: Path, run: Runner
) -> None:
    root, url = tmp_path / "set", f"memory://unlabeled/{layout}"
    write_layout(layout, folders, root)
    fsspec.filesystem("memory").put(f"{root}/", url, recursive=True)
    names = [entry.video_id for entry in find_videos(root).entries]
    keys = ("--selector", "uniform", "--keyframes", "2", "--pictures", "none", "--json")
    outputs = [run("keyframes", place, "-o", tmp_path / f"out{n}", *keys).json for n, place in enumerate((root, url))]
    assert sorted(video["video"] for video in outputs[0]["videos"]) == sorted(names)
    assert {video["num_frames"] for video in outputs[0]["videos"]} == {4 + n for n in range(len(CLIPS))}
    assert outputs[0]["videos"] == outputs[1]["videos"]
    if layout != "folders":
        one = next(path for path in root.rglob("*.*") if path.suffix in (".tar", ".parquet"))
        assert len(run("keyframes", one, "-o", tmp_path / "one", *keys).json["videos"]) == len(videos_in(one))


def videos_in(path: Path) -> list[str]:
    """Return the names of the videos of a tar, or of the rows of a parquet file."""
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            return [name for name in tar.getnames() if name.endswith(".mp4")]
    return pytest.importorskip("pyarrow.parquet").read_table(path)["video"].to_pylist()


def write_layout(layout: str, folders: Path, root: Path) -> None:
    """Write the clips of the class folders in a layout, which is theirs where it has no writer."""
    root.mkdir()
    LAYOUTS.get(layout, lambda folders, root: shutil.copytree(folders, root, dirs_exist_ok=True))(folders, root)


class TestStores:
    """Behind a URL; the store is in memory, so that only this process sees it."""

    @pytest.mark.parametrize("layout", ["folders", "csv", "videofolder", "webdataset", "parquet"])
    def test_the_same_clips_give_the_same_candidates(
        self, layout: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root, url = tmp_path / "set", f"memory://{layout}/set"
        write_layout(layout, folders, root)
        store = fsspec.filesystem("memory")
        store.put(f"{root}/", url, recursive=True)
        store.pipe_file(f"{url}/train/.hidden.mp4", b"")
        videos, local = find_videos(url), find_videos(root)
        assert [replace(entry, source=Path()) for entry in videos.entries] == [
            replace(entry, source=Path()) for entry in local.entries
        ]
        assert list_videos(Path(url), CandidateOptions()) == videos  # A Path loses a slash.
        check_same(videos, folders, tmp_path)
        assert all(pickle.loads(pickle.dumps(entry)) == entry for entry in videos.entries)
        monkeypatch.setattr(candidates, "hash_shard", lambda sources: pytest.fail("hashed again"))
        encoded(find_videos(url), "train", tmp_path / "cache")

    def test_one_tar_and_commands(self, folders: Path, tmp_path: Path, run: Runner) -> None:
        as_tars(folders, tmp_path)
        fsspec.filesystem("memory").put(f"{tmp_path}/train-000.tar", "memory://one/train-000.tar")
        url = "memory://one/train-000.tar"
        assert find_videos(url).entries[0].video_id.startswith("train-000.tar/train-")
        assert run.compress(url, tmp_path / "set.safetensors", "--classes", "jump", "--classes", "walk").code == 0
        assert "memory://one/set: there is no such folder" in run("plan", "memory://one/set").error

    def test_a_changed_video_is_noticed_and_one_that_is_gone_is_bad(self, folders: Path, tmp_path: Path) -> None:
        store, url = fsspec.filesystem("memory"), "memory://changing/set"
        store.put(f"{folders}/", url, recursive=True)
        videos = find_videos(url)
        before = encoded(videos, "train", tmp_path / "c")
        store.pipe_file(f"{url}/train/jump/0.mp4", (folders / "train/walk/0.mp4").read_bytes())
        after = encoded(videos, "train", tmp_path / "c")
        assert not torch.equal(before.frames[0], after.frames[0])
        store.rm(f"{url}/train/jump/0.mp4")
        with pytest.raises(InputError, match=r"train/jump/0\.mp4 \(file is gone\); fix or remove them"):
            encoded(videos, "train", tmp_path / "c")

    @pytest.mark.parametrize("layout", ["folders", "webdataset", "parquet"])
    def test_a_store_that_cannot_be_reached_stops_the_run(
        self, layout: str, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root, url = tmp_path / "set", f"memory://breaking/{layout}"
        write_layout(layout, folders, root)
        fsspec.filesystem("memory").put(f"{root}/", url, recursive=True)
        videos = find_videos(url)

        def fail(*_: Any, **__: Any) -> None:
            raise ConnectionError("connection\nrefused")

        message = r"memory://breaking/.*: the store cannot be reached \(ConnectionError: connection refused\); check"
        monkeypatch.setattr(remote, "PAUSES_SECONDS", (0.0, 0.0))
        for name in ("_open", "cat_file"):
            monkeypatch.setattr(MemoryFileSystem, name, fail)
        with pytest.raises(InputError, match=message) as caught:
            encoded(videos, "train", tmp_path / "c")
        assert not isinstance(caught.value, VideoError)  # Not a bad video that a later run would skip too.
        monkeypatch.setattr(MemoryFileSystem, "info", fail)
        with pytest.raises(InputError, match=message):
            find_videos(url)

    def test_a_url_of_a_file_is_local(self, folders: Path) -> None:
        assert find_videos(folders.as_uri()) == find_videos(folders)

    def test_a_scheme_that_is_not_known(self) -> None:
        with pytest.raises(InputError, match=r"nostore://x: the store cannot be reached \(.*not known: nostore\)"):
            find_videos("nostore://x")


def test_the_page_names_options_and_layouts_that_there_are(run: Runner) -> None:
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    printed = run("compress", "--help").out + run("train", "--help").out + run("predict", "--help").out
    printed += run("cache", "--help").out
    assert {option for option in re.findall(r"--[a-z][a-z-]+", page) if option not in printed} == set()
    assert all(name in printed for name in KNOWN)


class TestTars:
    def test_ids_splits_and_integer_labels(self, folders: Path, tmp_path: Path) -> None:
        clip = (folders / "train/jump/0.mp4").read_bytes()
        members = {"./a/x.mp4": clip, "./a/x.cls": b"10", "./a/y.webm": clip, "./a/y.cls": b"9", "./._y.cls": b"2"}
        tar = write_tar(tmp_path / "set" / "kinetics-val-000.tar", members)
        videos = find_videos(tmp_path / "set")
        assert videos.classes == ("9", "10")
        assert [(entry.video_id, entry.split) for entry in videos.entries] == [
            ("kinetics-val-000.tar/a/x.mp4", "val"),
            ("kinetics-val-000.tar/a/y.webm", "val"),
        ]
        (tmp_path / "set" / "splits.csv").write_text("path,label\n")
        assert find_videos(tar) == videos

    def test_a_json_names_what_a_cls_numbers(self, tmp_path: Path) -> None:
        members: dict[str, bytes] = {}
        for number, name in enumerate(("walk", "jump", "sit")):
            facts = {"label": number, "class": name} if name != "sit" else {"fps": 25}
            sample = {"mp4": b"1", "cls": b"%d" % number, "json": json.dumps(facts).encode(), "txt": b"a caption"}
            members |= {f"{number}.{suffix}": data for suffix, data in sample.items()}
        write_tar(tmp_path / "0.tar", members)
        assert find_videos(tmp_path).classes == ("2", "jump", "walk")

    def test_reads_the_range_only(self, folders: Path, tmp_path: Path) -> None:
        as_tars(folders, tmp_path)
        source = find_videos(tmp_path).entries[0].source
        assert isinstance(source, TarMember)
        with source.file.open("r+b") as file:  # What is outside the member does not matter any more.
            file.write(b"\xff" * source.start)
            file.truncate(source.start + source.num_bytes)
        assert probe(source).file_bytes == source.num_bytes
        with source.file.open("r+b") as file:
            file.truncate(source.start + source.num_bytes - 1)
        with pytest.raises(VideoError, match=r"\.tar ends inside it"):
            read_frames(source, 2, 8, 8)
        source.file.unlink()
        with pytest.raises(VideoError, match="file is gone"):
            read_frames(source, 2, 8, 8)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"b.cls": None}, r"train\.tar: b has a video and no label; put b\.cls, b\.txt or b\.json beside it"),
            ({"b.mp4": None}, r"train\.tar: b has a label \(b\.cls\) and no video; add b\.mp4, or remove the label"),
            ({"b.cls": None, "b.json": b"{}"}, "b has a video and no label"),
            ({"b.cls": None, "b.json": b'{"label": 1.5}'}, r"b\.json: the label is 1\.5; it must be a text or an int"),
            ({"b.cls": None, "b.json": b"{"}, r"b\.json: cannot be read: Expecting property name .*; it must be UTF-8"),
            ({"b.cls": b"\xff"}, r"train\.tar, b\.cls: cannot be read: .*; it must be UTF-8 text"),
            ({"b.cls": b" "}, r"b\.cls: the label is ' '; it must be a text or an integer"),
        ],
    )
    def test_messages(self, tmp_path: Path, change: dict[str, bytes | None], message: str) -> None:
        members = {"a.mp4": b"1", "a.cls": b"x", "b.mp4": b"2", "b.cls": b"y"} | change
        write_tar(tmp_path / "train.tar", {name: data for name, data in members.items() if data is not None})
        with pytest.raises(InputError, match=message):
            find_videos(tmp_path)

    @pytest.mark.parametrize("num_bytes", [100, 700, 1100, 1536, 2100])
    def test_truncated(self, tmp_path: Path, num_bytes: int) -> None:
        tar = write_tar(tmp_path / "train.tar", {"a.mp4": b"1" * 600, "a.cls": b"x"})
        os.truncate(tar, num_bytes)
        with pytest.raises(InputError, match=r"train\.tar: cannot be read as a tar: .*; copy it again, or remove it"):
            find_videos(tmp_path)

    def test_a_corrupt_video_is_skipped_and_listed(self, folders: Path, tmp_path: Path) -> None:
        as_tars(folders, tmp_path / "set")
        clip = (folders / "train/walk/0.mp4").read_bytes()
        bad = {"bad.mp4": b"no video", "bad.cls": b"walk", "none.mp4": b"", "none.cls": b"walk"}
        write_tar(tmp_path / "set" / "train-9.tar", {"z.mp4": clip, "z.cls": b"walk", **bad})
        data = encode_pass(
            find_videos(tmp_path / "set"), "train", CLIP, PixelCodec(), cache=tmp_path / "c", workers=0, max_bad=0.3
        )
        reason = "not a video: Invalid data found when processing input"
        assert data.bad == (BadVideo("train-9.tar/bad.mp4", reason), BadVideo("train-9.tar/none.mp4", "empty file"))
        assert len(data) == 7

    def test_a_rewritten_tar_is_decoded_again_where_its_videos_changed(self, folders: Path, tmp_path: Path) -> None:
        as_tars(folders, tmp_path / "set")
        before = encoded(find_videos(tmp_path / "set"), "train", tmp_path / "c")
        clips = [(folders / f"train/{label}/0.mp4").read_bytes() for label in ("jump", "walk")]
        names = [entry.source.name for entry in find_videos(tmp_path / "set").select("train").entries]
        members = {"first.txt": b"walk", "first.mp4": clips[1]}
        for name in names[:3]:
            members |= {name: clips[0], name.replace(".mp4", ".cls"): b"jump"}
        write_tar(tmp_path / "set" / "train-000.tar", members)
        changed = find_videos(tmp_path / "set")
        assert torch.equal(
            encoded(changed, "train", tmp_path / "c").frames, encoded(changed, "train", tmp_path / "new").frames
        )
        assert len(before) != len(changed.select("train"))


class TestParquet:
    def rows(self, folders: Path) -> list[tuple[bytes | None, str, Any]]:
        return [((folders / name).read_bytes(), name, label) for name, (_, label) in CLIPS.items()]

    def test_ids_are_the_paths_where_each_has_one_of_its_own(self, folders: Path, tmp_path: Path) -> None:
        rows = self.rows(folders)
        file = write_parquet(parquet_table(rows, names=None), tmp_path / "data" / "train.parquet")
        assert {entry.video_id for entry in find_videos(tmp_path).entries} == set(CLIPS)
        for path in ("", "/tmp/a.mp4", "train/walk/0.mp4"):
            changed = [(rows[0][0], path, rows[0][2]), *rows[1:]]
            write_parquet(parquet_table(changed, names=None), file)
            ids = [entry.video_id for entry in find_videos(tmp_path).entries]
            assert ids == [f"data/train.parquet/{n}" for n in range(len(rows))]
        assert find_videos(file).entries[0].video_id == "train.parquet/0"

    def test_videos_are_in_stored_order_so_that_a_row_group_is_read_once(self, folders: Path, tmp_path: Path) -> None:
        write_parquet(parquet_table(self.rows(folders)[::-1], names=None), tmp_path / "train.parquet", 3)
        places = [entry.source for entry in find_videos(tmp_path).entries]
        assert all(isinstance(place, ParquetCell) for place in places)
        assert [(p.row_group, p.row) for p in places] == [(n // 3, n % 3) for n in range(8)]  # type: ignore[union-attr]

    def test_class_names_in_the_readme(self, tmp_path: Path) -> None:
        rows: list[tuple[bytes | None, str, Any]] = [(b"1", "a", 0), (b"2", "b", 1), (b"3", "c", -1)]
        table = parquet_table(rows, names=None).replace_schema_metadata(None)
        write_parquet(table, tmp_path / "train.parquet")
        labels = {entry.video_id: entry.label for entry in find_videos(tmp_path).entries}
        assert labels == {"a": 1, "b": 2, "c": 0}  # Integers without names keep their text: -1, 0, 1.
        (tmp_path / "README.md").write_text(
            "---\ndataset_info:\n  features:\n  - name: video\n    dtype: video\n  - name: label\n    dtype:\n"
            "      class_label:\n        names:\n          '0': it's\n          '1': 'on ''it'''\n---\n"
        )
        videos = find_videos(tmp_path)
        assert videos.classes == ("it's", "on 'it'")
        assert [entry.video_id for entry in videos.entries] == ["a", "b"]  # The third one is not labeled.

    def test_missing_columns(self, folders: Path, tmp_path: Path) -> None:
        table = parquet_table(self.rows(folders), names=None, label="action")
        file = write_parquet(table, tmp_path / "train.parquet")
        columns = r"train\.parquet: the columns are video, action, fps; "
        with pytest.raises(InputError, match=columns + "none is named label or labels or class: .*--label-column"):
            find_videos(tmp_path)
        with pytest.raises(InputError, match=columns + "none is named x: "):
            find_videos(tmp_path, label_column="x")
        with pytest.raises(InputError, match=columns + "--video-column fps is none of .*: give --video-column video"):
            find_videos(tmp_path, label_column="action", video_column="fps")
        write_parquet(table.append_column("other", [[b"1"] * 8]), file)
        with pytest.raises(InputError, match="which holds the videos is unclear: give --video-column video or other"):
            find_videos(tmp_path, label_column="action")
        write_parquet(table.drop_columns("video"), file)
        with pytest.raises(InputError, match=r"unclear: none of them holds videos \(bytes\)"):
            find_videos(tmp_path, label_column="action")

    def test_bad_labels(self, tmp_path: Path) -> None:
        file = write_parquet(parquet_table([(b"1", "a", 0), (b"2", "b", 5)], names=["x", "y"]), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=r"a\.parquet, row 1: label is 5; it must be below the number .*, 2"):
            find_videos(tmp_path)
        write_parquet(parquet_table([(b"1", "a", None), (b"2", "b", "x")], names=None), file)
        with pytest.raises(InputError, match=r"a\.parquet, row 0: the label is None; it must be a text or an integer"):
            find_videos(tmp_path)

    def test_broken_files_and_cells(self, folders: Path, tmp_path: Path) -> None:
        rows = [*self.rows(folders)[:2], (None, "c.mp4", "walk"), (b"no video", "d.mp4", "walk")]
        file = write_parquet(parquet_table(rows, names=None), tmp_path / "train.parquet")
        sources = [entry.source for entry in find_videos(tmp_path).entries]
        with pytest.raises(VideoError, match="its row holds no bytes; write the parquet file with the videos in it"):
            probe(sources[2])
        with pytest.raises(VideoError, match="not a video: Invalid data"):
            probe(sources[3])
        write_parquet(parquet_table(rows[:1], names=None), file)
        os.utime(file, ns=(5, 5))
        with pytest.raises(VideoError, match=r"train\.parquet, row group 1 cannot be read: "):
            probe(sources[3])
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(InputError, match=r"train\.parquet: cannot be read as parquet: .*; copy it again"):
            find_videos(tmp_path)

    def test_damaged_texts_and_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good = parquet_table([(b"1", "aa.mp4", 0), (b"2", "bb.mp4", 1)], names=["x", "y"])
        file = write_parquet(good, tmp_path / "train.parquet")
        data = file.read_bytes()
        file.write_bytes(data.replace(b"aa.mp4", b"\xff\xfe.mp4"))
        with pytest.raises(InputError, match=r"train\.parquet: cannot be read as parquet: 'utf-8' codec can't decode"):
            find_videos(tmp_path)
        for features in (b"{", b"[]", b'{"info": 3}', b'{"info": {"features": [1]}}'):
            write_parquet(good.replace_schema_metadata({"huggingface": features}), file)
            if features == b"{":
                with pytest.raises(InputError, match=r"train\.parquet: cannot be read as parquet: Expecting property"):
                    find_videos(tmp_path)
            else:
                assert find_videos(tmp_path).classes == ("0", "1")
        names = json.dumps({"info": {"features": {"label": {"names": [1, 2]}}}})
        write_parquet(good.replace_schema_metadata({"huggingface": names}), file)
        with pytest.raises(InputError, match=r"classes of label are \[1, 2\]; they must be a list of texts"):
            find_videos(tmp_path)
        write_parquet(good, file)
        monkeypatch.setattr(hugging_face, "_labels", lambda file, data: iter(["x"]))
        with pytest.raises(InputError, match=r"its \.parquet files hold 2 videos and 1 labels; copy them again"):
            find_videos(tmp_path)

    def test_more_rows_than_bytes_are_not_believed(self, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        nothing = pa.table({"video": pa.array([None] * 300_000, pa.binary()), "label": ["x"] * 300_000})
        write_parquet(nothing, tmp_path / "a.parquet", row_group_size=300_000)
        with pytest.raises(InputError, match=r"a\.parquet: cannot be read as parquet: it states 300000 rows and has"):
            find_videos(tmp_path)


class TestVideofolder:
    def test_one_metadata_file_for_all(self, folders: Path, tmp_path: Path) -> None:
        shutil.copytree(folders, tmp_path / "set")
        rows = "".join(f"{name},{label}s\n" for name, (_, label) in CLIPS.items())
        (tmp_path / "set" / "metadata.csv").write_text("file_name,Class\n" + rows)
        videos = find_videos(tmp_path / "set")
        assert videos.classes == ("jumps", "walks")
        assert {entry.video_id: entry.split for entry in videos.entries} == {n: s for n, (s, _) in CLIPS.items()}

    def test_class_folders_need_no_label_column(self, folders: Path, tmp_path: Path) -> None:
        shutil.copytree(folders, tmp_path / "set")
        (tmp_path / "set" / "train" / "metadata.csv").write_text("file_name,fps\njump/0.mp4,25\n")
        assert find_videos(tmp_path / "set").entries[0].video_id == "test/jump/0.mp4"
        assert find_videos(tmp_path / "set").classes == ("jump", "walk")

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            (
                "metadata.csv",
                "file_name,fps\na.mp4,2\n",
                r"metadata\.csv, line 2: the columns are file_name, fps; none",
            ),
            ("metadata.csv", "file_name,label\na.mp4,\n", r"metadata\.csv, line 2: the label is ''; it must be a text"),
            (
                "metadata.jsonl",
                '{"file_name": "a.mp4"}',
                r"metadata\.jsonl, line 1: the columns are file_name; none is",
            ),
            ("metadata.jsonl", '{"file_name": "a.mp4", "label": "x"}\n{', "line 2: cannot be read as json: Expecting"),
            (
                "metadata.jsonl",
                '{"file_name": "a.mp4", "label": "x"}\n[]',
                "line 2: has no file_name; a line is an obj",
            ),
        ],
    )
    def test_messages(self, folders: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
        (tmp_path / "train").mkdir()
        shutil.copy(folders / "train/jump/0.mp4", tmp_path / "train" / "a.mp4")
        (tmp_path / "train" / name).write_text(text)
        with pytest.raises(InputError, match=message):
            find_videos(tmp_path)
