"""Data sets of LeRobot: an episode gives the frames of its times, and every fault of the metadata is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from cli_runs import Runner
from hypothesis import given
from hypothesis import strategies as st
from numbered_videos import numbered

from videocompressa.clip import ClipSpec
from videocompressa.codecs import PixelCodec
from videocompressa.datasets import encode_pass, find_videos, locate_videos
from videocompressa.errors import InputError, VideoError
from videocompressa.video import probe, read_frames, read_frames_at
from videocompressa.video.source import Segment

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NUM_FRAMES = 40
LENGTHS = (9, 14, 10, 7)
"""Frames of the episodes of one file, 25 a second, which are all of its frames."""
CAMERAS = ("observation.images.top", "observation.images.wrist")


@pytest.fixture(scope="module", params=["long.mp4", "short.mp4", "counted.avi"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames with few or many keyframes, and a file whose frames must be counted from its start."""
    options = {"long.mp4": {}, "short.mp4": {"g": "4"}, "counted.avi": {"codec": "mpeg4"}}[request.param]
    return numbered(tmp_path_factory.mktemp("video") / request.param, NUM_FRAMES, **options)


def segment(file: Path, first: int, count: int) -> Segment:
    return Segment(file, "episode", first / 25 + 1e-4, (first + count) / 25 - 1e-4, count / NUM_FRAMES)


@given(first=st.integers(0, NUM_FRAMES - 1), count=st.integers(1, NUM_FRAMES), num_frames=st.integers(1, 12))
def test_a_segment_is_read_as_a_video_of_its_frames(video: Path, first: int, count: int, num_frames: int) -> None:
    count = min(count, NUM_FRAMES - first)
    whole = read_frames(video, NUM_FRAMES, 32, 32).frames
    source = segment(video, first, count)
    decoded = read_frames(source, num_frames, 32, 32)
    even = [(2 * i + 1) * count // (2 * num_frames) for i in range(num_frames)]
    assert decoded.positions == tuple(even)
    assert (decoded.frames == whole[[first + i for i in even]]).all()
    assert decoded.pts_seconds == pytest.approx([i / 25 for i in even])
    info = probe(source)
    assert (info.num_frames, info.duration_seconds) == (count, pytest.approx(count / 25))
    assert info.file_bytes == round(count / NUM_FRAMES * video.stat().st_size)
    again = read_frames_at(source, decoded.pts_seconds.tolist())
    assert again.positions == decoded.positions
    assert (again.frames == decoded.frames).all()


def test_a_file_that_ends_before_the_segment(video: Path) -> None:
    for first in (NUM_FRAMES - 3, NUM_FRAMES + 2):
        with pytest.raises(VideoError, match=r"its segment is 1\.\d+ to 1\.\d+ s, its file ends at 1\.\d+ s: another"):
            read_frames(segment(video, first, 7), 4, 32, 32)


def episodes(camera_of: Callable[[int], str] = lambda _: "pick") -> list[dict[str, Any]]:
    """Eight episodes in two files, in turn "pick it" and "place it"."""
    rows = []
    for number in range(2 * len(LENGTHS)):
        file, place = divmod(number, len(LENGTHS))
        start, end = (sum(LENGTHS[:n]) / 25 for n in (place, place + 1))
        row = {"episode_index": number, "tasks": [("pick it", "place it")[number % 2]], "success": number < 3}
        row |= {"quality": number // 4, "stats/action/mean": [0.5]}
        for camera in CAMERAS:
            row |= {f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": file}
            row |= {f"videos/{camera}/from_timestamp": start, f"videos/{camera}/to_timestamp": end}
        rows.append(row)
    return rows


def info_of(*cameras: str) -> dict[str, Any]:
    features = {camera: {"dtype": "video", "shape": [32, 32, 3]} for camera in cameras}
    return {
        "codebase_version": "v3.0",
        "fps": 25,
        "splits": {"train": "0:6", "test": "6:8"},
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {**features, "action": {"dtype": "float32", "shape": [2]}},
    }


def write_metadata(root: Path, rows: list[dict[str, Any]], info: dict[str, Any]) -> None:
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    parquet.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    parquet.write_table(pa.table({"task_index": [0]}), root / "data/chunk-000/file-000.parquet")


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight episodes by two cameras; frame n of the first has gray level 6n, of the other 5n."""
    root = tmp_path_factory.mktemp("lerobot") / "robot"
    for camera, step in zip(CAMERAS, (6, 5), strict=True):
        for file in (0, 1):
            numbered(root / f"videos/{camera}/chunk-000/file-{file:03d}.mp4", NUM_FRAMES, step=step, g="6")
    write_metadata(root, episodes(), info_of(*CAMERAS))
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_episodes_with_their_tasks_and_frames(robot: Path, tmp_path: Path, workers: int) -> None:
    videos = find_videos(robot, video_column=CAMERAS[1])
    assert videos.classes == ("pick it", "place it")
    assert [(e.video_id, e.label, e.split) for e in videos.entries] == [
        (f"episode_{n:06d}", n % 2, "train" if n < 6 else "test") for n in range(8)
    ]
    data = encode_pass(videos, "train", ClipSpec(3, 32, 32), PixelCodec(), cache=tmp_path, workers=workers)
    assert data.num_video_frames.tolist() == [*LENGTHS, *LENGTHS[:2]]
    starts = [sum(LENGTHS[:n]) for n in range(len(LENGTHS))]
    for episode, frames in enumerate(data.frames):
        start, length = starts[episode % 4], LENGTHS[episode % 4]
        planted = [5 * (start + (2 * i + 1) * length // 6) for i in range(3)]
        assert frames.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx(planted, abs=3)
    total = sum(path.stat().st_size for path in (robot / "videos" / CAMERAS[1]).rglob("*.mp4"))
    assert sum(probe(entry.source).file_bytes for entry in videos.entries) == pytest.approx(total, abs=8)
    top = find_videos(robot, video_column=CAMERAS[0], label_column="quality")
    assert top.classes == ("0", "1")
    assert torch.equal(torch.tensor([e.label for e in top.entries]), torch.arange(8) // 4)


def test_behind_a_url_a_file_is_read_once_for_its_episodes(
    robot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, url, reads = fsspec.filesystem("memory"), "memory://lerobot/robot", []
    store.put(f"{robot}/", url, recursive=True)
    read = type(store).cat_file
    monkeypatch.setattr(
        type(store), "cat_file", lambda self, path, **how: reads.append(path) or read(self, path, **how)
    )
    there, here = (find_videos(root, video_column=CAMERAS[0]) for root in (url, robot))
    assert [replace(e, source=Path()) for e in there.entries] == [replace(e, source=Path()) for e in here.entries]
    reads.clear()
    codec = PixelCodec()
    data = [encode_pass(v, "train", ClipSpec(4, 16, 16), codec, cache=tmp_path / v.root.name / str(n), workers=0)
            for n, v in enumerate((there, here))]  # fmt: skip
    assert torch.equal(data[0].frames, data[1].frames)
    assert len(reads) <= 4  # Two files, for hashes and for frames.


def test_commands(robot: Path, tmp_path: Path, run: Runner) -> None:
    root, path = tmp_path / "robot", tmp_path / "set.safetensors"
    (root / "videos").mkdir(parents=True)
    (root / "videos" / CAMERAS[0]).symlink_to(robot / "videos" / CAMERAS[0])
    write_metadata(root, episodes(), info_of(CAMERAS[0]))
    assert run.compress(root, path).code == 0
    assert run.train(path, "--data", root).code == 0
    ran = run("export", path, "--to", "frames", "-o", tmp_path / "out", "--from-source", root)
    assert ran.code == 0, ran.err
    sources = locate_videos(root, ["episode_000005"])
    assert sources == (find_videos(root).entries[5].source,)
    assert (
        "the cameras are observation.images.top, observation.images.wrist; which is meant" in run("plan", robot).error
    )


def changed(**values: Any) -> Callable[[list[dict[str, Any]], dict[str, Any]], None]:
    """Change the second episode; a name beginning with "_" is one of the camera's columns."""

    def change(rows: list[dict[str, Any]], info: dict[str, Any]) -> None:
        for name, value in values.items():
            rows[1][name if name[0] != "_" else f"videos/{CAMERAS[0]}/{name[1:]}"] = value

    return change


def without(name: str) -> Callable[[list[dict[str, Any]], dict[str, Any]], None]:
    return lambda rows, info: [row.pop(name) for row in rows]  # type: ignore[func-returns-value, return-value]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows, info: info.update(codebase_version="v2.1"),
            r"info\.json: codebase_version is 'v2\.1'; convert the",
        ),
        (lambda rows, info: info.update(features={}), r"info\.json: names no camera that is stored as video"),
        (
            lambda rows, info: info.update(video_path="v/{key}.mp4"),
            r"info\.json: video_path is 'v/\{key\}\.mp4'; it must",
        ),
        (lambda rows, info: info.update(video_path=None), r"info\.json: video_path is 'None'; it must be like videos/"),
        (
            lambda rows, info: info.update(splits={"train": "all"}),
            "the split train is 'all'; it must be episodes as 0:50",
        ),
        (lambda rows, info: info.update(splits={"half": "0:4"}), "split 'half' is not known; known: train, "),
        (
            without("tasks"),
            r"file-000\.parquet: lacks tasks; labels may be one of episode_index, success, quality \(--la",
        ),
        (without(f"videos/{CAMERAS[0]}/to_timestamp"), "lacks videos/observation.images.top/to_timestamp; labels may"),
        (changed(tasks=["a", "b"]), "row 1: has 2 tasks; an episode must have one, or give another --label-column"),
        (changed(tasks=[""]), "row 1: the label is ''; it must be a text or an integer"),
        (changed(_from_timestamp=None), "row 1: from_timestamp is None; it must be a number from 0 on"),
        (changed(_to_timestamp=0.1), r"row 1: the episode has no length \(from_timestamp 0\.36, to_timestamp 0\.1\)"),
        (changed(episode_index=-1), "row 1: episode_index is -1; it must be a number from 0 on"),
        (changed(episode_index=0), "row 1: episode_000000 is listed twice"),
    ],
)
def test_messages(change: Callable[[list[dict[str, Any]], dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    rows, info = episodes(), info_of(CAMERAS[0])
    change(rows, info)
    write_metadata(tmp_path, rows, info)
    with pytest.raises(InputError, match=message):
        find_videos(tmp_path)


def test_messages_of_options_and_missing_files(tmp_path: Path) -> None:
    write_metadata(tmp_path, episodes(), info_of(*CAMERAS))
    with pytest.raises(
        InputError, match="--video-column top is none of them: give --video-column observation.images.t"
    ):
        find_videos(tmp_path, video_column="top")
    with pytest.raises(VideoError, match="file is gone"):
        probe(find_videos(tmp_path, video_column=CAMERAS[0]).entries[0].source)
    (tmp_path / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(InputError, match="holds no episodes; meta/episodes must have parquet files with a row an epis"):
        find_videos(tmp_path, video_column=CAMERAS[0])
    (tmp_path / "meta/info.json").write_text("{")
    with pytest.raises(InputError, match=r"info\.json, line 1: cannot be read as json"):
        find_videos(tmp_path)
