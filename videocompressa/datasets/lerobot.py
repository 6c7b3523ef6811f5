"""Data sets of LeRobot 3.0: episodes that follow each other in a few mp4 files, cut out by their times.

`meta/info.json` names the cameras, the splits and the place of video files; `meta/episodes/*/*.parquet` has a row an
episode: its tasks, and for every camera the file and the times in it (huggingface.co/docs/lerobot/lerobot-dataset-v3).
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videocompressa.datasets.hugging_face import opened_parquet
from videocompressa.datasets.lists import DataFolder, ListedVideo, label_text, read_json, split_named
from videocompressa.errors import InputError
from videocompressa.remote import retried
from videocompressa.video.source import Segment

INFO = "info.json"
VERSION = "v3."
PLACE = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
"""Columns of every camera: the file, and seconds in it."""


def is_lerobot(data: DataFolder) -> bool:
    """Return whether the folder is a data set of LeRobot."""
    return data.root / "meta" / INFO in data.others


def lerobot_videos(data: DataFolder) -> list[ListedVideo]:
    """Return every episode by one camera (`video_column`), with its task as label, or another column of the episodes.

    Splits are those of info.json, else train. An id is episode_000012.
    """
    source = data.root / "meta" / INFO
    info = read_json(source, dict)
    if not str(info.get("codebase_version")).startswith(VERSION):
        raise InputError(
            f"{source}: codebase_version is {info.get('codebase_version')!r}; convert the set to {VERSION}0"
        )
    camera, column = _camera(info, data.video_column, source), data.label_column or "tasks"
    segments = defaultdict(list)
    for file in data.named(".parquet"):
        if file.relative_to(data.root).parts[:2] == ("meta", "episodes"):
            for where, row in _episodes(file, camera, column):
                segments[data.root / _video_path(info, camera, row, source)].append((where, row))
    if not segments:
        raise InputError(f"{data.root}: holds no episodes; meta/episodes must have parquet files with a row an episode")
    splits, listed = _splits(info, source), []
    for file, rows in segments.items():
        total = sum(row["to_timestamp"] - row["from_timestamp"] for _, row in rows)
        for where, row in rows:
            number, start, end = row["episode_index"], row["from_timestamp"], row["to_timestamp"]
            episode = Segment(file, f"episode_{number:06d}", start, end, share=(end - start) / total)
            split, label = splits.get(number, "train"), _label(row[column], where)
            listed.append(ListedVideo(episode, label, split, where=where, video_id=episode.name))
    return listed


def _camera(info: Mapping[str, Any], asked: str | None, source: Path) -> str:
    features = info.get("features")
    features = features if isinstance(features, dict) else {}
    cameras = [name for name, each in features.items() if isinstance(each, dict) and each.get("dtype") == "video"]
    if asked is not None and asked in cameras:
        return asked
    if not cameras:
        raise InputError(f"{source}: names no camera that is stored as video (features with dtype video)")
    if asked is None and len(cameras) == 1:
        return str(cameras[0])
    which = f"--video-column {asked} is none of them" if asked else "which is meant is unclear"
    raise InputError(f"{source}: the cameras are {', '.join(cameras)}; {which}: give --video-column {cameras[0]}")


@retried
def _episodes(file: Path, camera: str, column: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (where, row) of every episode, with the columns of the camera by their last names; all are checked."""
    names = {"episode_index": "episode_index", column: column, **{f"videos/{camera}/{name}": name for name in PLACE}}
    with opened_parquet(file) as parquet:
        known = parquet.schema_arrow.names
        if missing := [name for name in names if name not in known]:
            listed = ", ".join(name for name in known if "/" not in name)
            raise InputError(f"{file}: lacks {', '.join(missing)}; labels may be one of {listed} (--label-column)")
        written = parquet.read(columns=list(names)).to_pylist()
    rows = [(f"{file}, row {n}", {short: row[name] for name, short in names.items()}) for n, row in enumerate(written)]
    for where, row in rows:
        for name in ("episode_index", *PLACE):
            kind = float if name.endswith("timestamp") else int
            if not isinstance(row[name], int | kind) or not row[name] >= 0:
                raise InputError(f"{where}: {name} is {row[name]}; it must be a number from 0 on")
        if not row["from_timestamp"] < row["to_timestamp"]:
            times = f"from_timestamp {row['from_timestamp']}, to_timestamp {row['to_timestamp']}"
            raise InputError(f"{where}: the episode has no length ({times}); write the metadata again")
    return rows


def _video_path(info: Mapping[str, Any], camera: str, row: Mapping[str, Any], source: Path) -> str:
    template = str(info.get("video_path"))
    try:
        path = template.format(video_key=camera, chunk_index=row["chunk_index"], file_index=row["file_index"])
        if Path(path).suffix:
            return path
        raise ValueError
    except (AttributeError, LookupError, ValueError):
        known = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        raise InputError(f"{source}: video_path is {template!r}; it must be like {known}") from None


def _splits(info: Mapping[str, Any], source: Path) -> dict[int, str]:
    """Return the split of every episode that info.json gives one, as {"train": "0:50"}."""
    splits: dict[int, str] = {}
    spans = info.get("splits")
    for name, span in spans.items() if isinstance(spans, dict) else ():
        found = re.fullmatch(r"(\d+):(\d+)", str(span))
        if found is None:
            raise InputError(f"{source}: the split {name} is {span!r}; it must be episodes as 0:50")
        splits |= dict.fromkeys(range(int(found[1]), int(found[2])), split_named(name, str(source)))
    return splits


def _label(value: Any, where: str) -> str:
    """Return the task; a column of another name may hold it without a list."""
    if isinstance(value, list):
        if len(value) != 1:
            raise InputError(
                f"{where}: has {len(value)} tasks; an episode must have one, or give another --label-column"
            )
        value = value[0]
    return label_text(value, where)
