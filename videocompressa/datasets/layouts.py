"""The videos of a data set with their labels and splits: one function a layout, all in `LAYOUTS`.

Classes are sorted by name in every layout, whatever number the official lists give them; labels are positions in that
order and the names go into the synthetic set's file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from videocompressa.datasets.lists import SPLIT_NAMES, DataFolder, ListedVideo, has_columns, read_rows, split_named
from videocompressa.datasets.official import (
    KINETICS_COLUMNS,
    hmdb51,
    hmdb51_unused_train,
    kinetics,
    kinetics_lists,
    ssv2,
    ucf101,
)
from videocompressa.datasets.videos import VideoEntry, VideoSet
from videocompressa.errors import InputError

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".wmv", ".flv", ".f4v", ".ts", ".mts",
    ".m2ts", ".3gp", ".ogv", ".vob", ".asf", ".mxf",
})  # fmt: skip
"""Files taken for videos, in any case."""

UCF_GROUP = re.compile(r"^(v_.+_g\d+)_c\d+$")
"""UCF101 and sets like it: clips of one group are cut from one recording."""


def find_videos(root: Path, *, layout: str = "auto", csv: Path | None = None, fold: int = 1) -> VideoSet:
    """Return the labeled videos below `root` (a folder, or a csv file that lists them).

    `layout` is a key of `LAYOUTS`, or "auto" to recognize one. `fold` chooses among the official splits of ucf101 and
    hmdb51. Raises `InputError`.
    """
    if csv is None and root.suffix.lower() == ".csv" and root.is_file():
        root, csv = root.absolute().parent, root
    if layout not in ("auto", *LAYOUTS):
        raise InputError(f"layout {layout!r} is not known; known: auto, {', '.join(LAYOUTS)}")
    if not root.exists():
        raise InputError(f"{root}: there is no such folder; give a folder of labeled videos")
    if not root.is_dir():
        raise InputError(f"{root}: is a file; give a folder of labeled videos, or a .csv that lists them")
    if csv is not None and not csv.is_file():
        raise InputError(f"{csv}: there is no such file; give a csv with the columns path and label")
    data = DataFolder(root, csv, fold, list(walk_videos(root)))
    chosen = _recognize(data) if layout == "auto" else layout
    if not data.videos and chosen in ("folders", "split-folders"):  # Lists may name videos that are not there.
        raise InputError(f"{root}: holds no videos; put them in one folder a class: {root.name}/CLASS/clip.mp4")
    return _video_set(data, LAYOUTS[chosen](data))


def _recognize(data: DataFolder) -> str:
    if data.list_file is not None:
        return "kinetics" if has_columns(data.list_file, KINETICS_COLUMNS) else "csv"
    if (data.root / "splits.csv").is_file():
        return "csv"
    if data.files("classInd.txt"):
        return "ucf101"
    if data.files("*_test_split[0-9].txt"):
        return "hmdb51"
    if data.files("*labels.json") and data.files("*train.json"):
        return "ssv2"
    if kinetics_lists(data):
        return "kinetics"
    parts = [path.relative_to(data.root).parts for path in data.videos]
    in_splits = all(len(each) > 2 and each[0] in SPLIT_NAMES for each in parts)
    return "split-folders" if parts and in_splits else "folders"


def walk_videos(root: Path) -> Iterator[Path]:
    """Yield video files below the root in sorted order, following links, leaving out what is hidden."""
    visited: set[str] = set()
    videos: list[Path] = []
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()  # A link that leads back up.
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        paths = [Path(folder, name) for name in files if not name.startswith(".")]
        videos += [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    yield from sorted(videos, key=lambda path: path.as_posix())


def _video_set(data: DataFolder, listed: list[ListedVideo]) -> VideoSet:
    classes = tuple(sorted({video.label for video in listed}))
    if len(classes) < 2:
        only = f"only one class, {classes[0]!r}" if classes else "no videos"
        raise InputError(f"{data.list_file or data.root}: lists {only}; at least two classes are needed")
    label_of = {label: i for i, label in enumerate(classes)}
    entries: dict[str, VideoEntry] = {}
    for video in listed:
        # As written, links not followed: an id is where the video is listed, not where it is stored.
        video_id = Path(os.path.relpath(video.path, data.root)).as_posix()
        if video_id in entries:
            raise InputError(f"{video.where or data.root}: {video_id} is listed twice; keep one line of it")
        match = UCF_GROUP.match(video.path.stem)
        group = video.group or (match[1] if match else video_id)
        entries[video_id] = VideoEntry(video.path, video_id, label_of[video.label], video.split, group)
    in_order = tuple(entries[video_id] for video_id in sorted(entries))
    return VideoSet(data.root.absolute().name, data.root, classes, in_order)


def _folders(data: DataFolder) -> list[ListedVideo]:
    """root/CLASS/.../clip.mp4, all training videos."""
    return [ListedVideo(path, _class_folder(path, data, depth=0), "train") for path in data.videos]


def _split_folders(data: DataFolder) -> list[ListedVideo]:
    """root/SPLIT/CLASS/.../clip.mp4."""
    listed = []
    for path in data.videos:
        top = path.relative_to(data.root).parts[0]
        if top not in SPLIT_NAMES:
            raise InputError(f"{data.root / top}: is not a split; known: {', '.join(SPLIT_NAMES)}")
        listed.append(ListedVideo(path, _class_folder(path, data, depth=1), SPLIT_NAMES[top]))
    return listed


def _class_folder(path: Path, data: DataFolder, depth: int) -> str:
    parts = path.relative_to(data.root).parts
    if len(parts) < depth + 2:
        raise InputError(f"{path}: is in no class folder; move it to {data.root.name}/CLASS/{path.name}")
    return parts[depth]


def _csv(data: DataFolder) -> list[ListedVideo]:
    """Columns path, label[, split[, group]] in any order; paths are relative to the csv's folder."""
    source = data.list_file or data.root / "splits.csv"
    listed = []
    for where, row in read_rows(source, ("path", "label")):
        for column in ("path", "label"):
            if not row[column]:
                raise InputError(f"{where}: the {column} is empty; fill it or remove the line")
        split = split_named(row.get("split") or "train", where)
        path = Path(os.path.normpath(source.parent / row["path"]))
        listed.append(ListedVideo(path, row["label"], split, row.get("group") or "", where))
    return listed


LAYOUTS: dict[str, Callable[[DataFolder], list[ListedVideo]]] = {
    "folders": _folders,
    "split-folders": _split_folders,
    "csv": _csv,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "hmdb51-unused-train": hmdb51_unused_train,
    "kinetics": kinetics,
    "ssv2": ssv2,
}
"""Every layout by name."""
