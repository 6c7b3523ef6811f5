"""Where the videos of a data set lie and which label and split each has: one function a layout, all in `LAYOUTS`.

Classes are sorted by name in every layout, whatever number the official lists give them; labels are places in that
order and the names go into the synthetic set's file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from videocompressa.datasets.lists import SPLIT_NAMES, Listed, Place, has_columns, read_rows, split_named
from videocompressa.datasets.official import KINETICS_COLUMNS, hmdb51, hmdb51_unused_train, kinetics, ssv2, ucf101
from videocompressa.datasets.videos import VideoEntry, VideoSet
from videocompressa.errors import InputError

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".wmv", ".flv", ".f4v", ".ts", ".mts",
    ".m2ts", ".3gp", ".ogv", ".vob", ".asf", ".mxf",
})  # fmt: skip
"""Files taken for videos, in any case."""

UCF_GROUP = re.compile(r"^(v_.+_g\d+)_c\d+$")
"""UCF101 and its kin: clips of one group are cut from one recording."""


Layout = Callable[[Place], list[Listed]]


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
    # Lists name their videos; only then may a set without any file present be described.
    place = Place(root, csv, fold, list(walk_videos(root)))
    chosen = _recognize(place) if layout == "auto" else layout
    if not place.videos and chosen in ("folders", "split-folders"):
        raise InputError(f"{root}: holds no videos; put them in one folder a class: {root.name}/CLASS/clip.mp4")
    return _build(place, LAYOUTS[chosen](place))


def _recognize(place: Place) -> str:
    if place.csv is not None:
        return "kinetics" if has_columns(place.csv, KINETICS_COLUMNS) else "csv"
    if (place.root / "splits.csv").is_file():
        return "csv"
    if place.files("classInd.txt"):
        return "ucf101"
    if place.files("*_test_split[0-9].txt"):
        return "hmdb51"
    if place.files("*labels.json") and place.files("*train.json"):
        return "ssv2"
    if any(has_columns(path, KINETICS_COLUMNS) for path in place.files("*.csv")):
        return "kinetics"
    tops = {path.relative_to(place.root).parts[0] for path in place.videos}
    deep = all(len(path.relative_to(place.root).parts) > 2 for path in place.videos)
    return "split-folders" if tops and deep and tops <= set(SPLIT_NAMES) else "folders"


def walk_videos(root: Path) -> Iterator[Path]:
    """Yield video files below the root in sorted order, following links, leaving out what is hidden."""
    seen: set[str] = set()
    found: list[Path] = []
    for folder, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            names.clear()  # A link that leads back up.
            continue
        seen.add(real)
        names[:] = sorted(name for name in names if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
        ]
    yield from sorted(found, key=lambda path: path.as_posix())


def _build(place: Place, listed: list[Listed]) -> VideoSet:
    classes = tuple(sorted({item.label for item in listed}))
    name = place.root.absolute().name
    if len(classes) < 2:
        only = f"only one class, {classes[0]!r}" if classes else "no videos"
        raise InputError(f"{place.csv or place.root}: lists {only}; at least two classes are needed")
    label_of = {label: i for i, label in enumerate(classes)}
    entries: dict[str, VideoEntry] = {}
    for item in listed:
        # As written, links not followed: an id is where the video is listed, not where it is stored.
        video_id = Path(os.path.relpath(item.path, place.root)).as_posix()
        if video_id in entries:
            raise InputError(f"{item.where or place.root}: {video_id} is listed twice; keep one line of it")
        match = UCF_GROUP.match(item.path.stem)
        group = item.group or (match[1] if match else video_id)
        entries[video_id] = VideoEntry(item.path, video_id, label_of[item.label], item.split, group)
    return VideoSet(name, place.root, classes, tuple(entries[video_id] for video_id in sorted(entries)))


def _folders(place: Place) -> list[Listed]:
    """root/CLASS/.../clip.mp4, all training videos."""
    return [_in_class_folder(path, path.relative_to(place.root).parts, "train", place) for path in place.videos]


def _split_folders(place: Place) -> list[Listed]:
    """root/SPLIT/CLASS/.../clip.mp4."""
    listed = []
    for path in place.videos:
        top, *rest = path.relative_to(place.root).parts
        if top not in SPLIT_NAMES:
            raise InputError(f"{place.root / top}: is not a split; known: {', '.join(SPLIT_NAMES)}")
        listed.append(_in_class_folder(path, tuple(rest), SPLIT_NAMES[top], place))
    return listed


def _in_class_folder(path: Path, parts: tuple[str, ...], split: str, place: Place) -> Listed:
    if len(parts) < 2:
        raise InputError(f"{path}: lies in no class folder; move it to {place.root.name}/CLASS/{path.name}")
    return Listed(path, parts[0], split)


def _csv(place: Place) -> list[Listed]:
    """Columns path, label[, split[, group]] in any order; paths are relative to the csv's folder."""
    source = place.csv or place.root / "splits.csv"
    listed = []
    for where, row in read_rows(source, ("path", "label")):
        path, label = row["path"], row["label"]
        for column, value in (("path", path), ("label", label)):
            if not value:
                raise InputError(f"{where}: the {column} is empty; fill it or remove the line")
        split = split_named(row.get("split") or "train", where)
        normal = Path(os.path.normpath(source.parent / path))
        listed.append(Listed(normal, label, split, row.get("group") or "", where))
    return listed


LAYOUTS: dict[str, Layout] = {
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
