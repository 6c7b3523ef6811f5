"""The videos of a data set with their labels and splits: one function a layout, all in `LAYOUTS`.

Classes are sorted by name (as numbers where all are) in every layout, whatever number the official lists give them;
labels are positions in that order and the names go into the synthetic set's file.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from videocompressa.datasets.folders import below_classes, folder_videos, left_out, split_depth, walk
from videocompressa.datasets.hugging_face import (
    describes_videos,
    parquet_cells,
    parquet_videos,
    videofolder_videos,
)
from videocompressa.datasets.lerobot import is_lerobot, lerobot_videos
from videocompressa.datasets.lists import (
    SPLIT_NAMES,
    DataFolder,
    ListedVideo,
    has_columns,
    labeled_lines,
    path_beside,
    read_json,
    read_lines,
    read_rows,
    split_named,
)
from videocompressa.datasets.tars import tar_members, tar_videos
from videocompressa.datasets.videos import VideoEntry, VideoSet, class_order
from videocompressa.errors import InputError
from videocompressa.remote import path_of
from videocompressa.video.source import ParquetCell, VideoSource, file_of

UCF_GROUP = re.compile(r"^(v_.+_g\d+)_c\d+$")
"""UCF101 and sets like it: clips of one group are cut from one recording."""

CSV_COLUMNS = ("path", "label")
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")

FOLDER_LAYOUTS = ("folders", "split-folders", "class-split-folders")
"""Those where folders say class and split; by the place of the split."""

PACKED = {".tar": "webdataset", ".parquet": "parquet"}
"""The layouts of files that hold videos."""


def find_videos(
    root: Path | str,
    *,
    layout: str = "auto",
    csv: Path | None = None,
    fold: int = 1,
    label_column: str | None = None,
    video_column: str | None = None,
) -> VideoSet:
    """Return the labeled videos below `root`: a folder, a csv or txt that lists them, a tar or parquet; path or URL.

    `layout` is a key of `LAYOUTS`, or "auto" to recognize one. `fold` chooses among the official splits of ucf101 and
    hmdb51, `label_column` and `video_column` among the columns of tables. Raises `InputError`.
    """
    root, packed = path_of(root), None
    if root.suffix.lower() in PACKED and root.is_file():
        root = root.absolute()
        root, packed = root.parent, root
    if csv is None and root.suffix.lower() in (".csv", ".txt") and root.is_file():
        root, csv = root.absolute().parent, root
    if layout not in ("auto", *LAYOUTS):
        raise InputError(f"layout {layout!r} is not known; known: auto, {', '.join(LAYOUTS)}")
    if not packed and not root.exists():
        raise InputError(f"{root}: there is no such folder; give a folder of labeled videos")
    if not packed and not root.is_dir():
        raise InputError(
            f"{root}: is a file; give a folder of labeled videos, or a .csv, .txt, .tar or .parquet of them"
        )
    if csv is not None and not csv.is_file():
        raise InputError(f"{csv}: there is no such file; give a csv with the columns path and label")
    videos, others = ([], [packed]) if packed else walk(root)
    data = DataFolder(root, csv, fold, videos, others, label_column, video_column)
    chosen = layout
    if layout == "auto":
        chosen = PACKED[packed.suffix.lower()] if packed else _recognize(data)
    if not data.videos and chosen in FOLDER_LAYOUTS:  # Lists may name videos that are not there.
        raise InputError(f"{root}: holds no videos; put them in one folder a class: {root.name}/CLASS/clip.mp4")
    hint = ""
    if chosen in FOLDER_LAYOUTS and chosen != "split-folders":
        hint = below_classes(data, with_splits=chosen == "class-split-folders")
    listed = LAYOUTS[chosen](data)
    found = _video_set(data, listed, hint)
    if chosen in FOLDER_LAYOUTS:
        notes = [*left_out(data), *filter(None, [hint])]
    else:
        notes = [] if any(video.video_id for video in listed) else _unlisted(data, found)
    return replace(found, notes=tuple(notes))


def _unlisted(data: DataFolder, found: VideoSet) -> list[str]:
    """Return a note that counts the videos below the root that no list names, if there are any."""
    listed = {entry.video_id for entry in found.entries}
    others = [name for path in data.videos if (name := path.relative_to(data.root).as_posix()) not in listed]
    return [f"left out: {len(others)} videos that no list names, such as {others[0]}"] if others else []


def locate_videos(root: Path, video_ids: Sequence[str]) -> tuple[VideoSource, ...]:
    """Return where the videos of a set are, given the root of the data that it was made from."""
    packed = _packed_videos(DataFolder(root, None, 1, *walk(root)))
    return tuple(packed.get(video_id, root / video_id) for video_id in video_ids)


def unlabeled_videos(source: Path) -> dict[str, VideoSource]:
    """Return the videos of a folder, or of a tar or parquet file, by names relative to it or to the file's folder."""
    if source.is_dir():
        data = DataFolder(source, None, 1, *walk(source))
    else:
        data = DataFolder(source.parent, None, 1, [], [source])
    files: dict[str, VideoSource] = {path.relative_to(source).as_posix(): path for path in data.videos}
    return _packed_videos(data) or files


def _packed_videos(data: DataFolder) -> dict[str, VideoSource]:
    """Return the videos inside other files by their ids; none where a folder holds video files of its own."""
    if is_lerobot(data):
        return {video.video_id: video.source for video in lerobot_videos(data)}
    return {} if data.videos else {**tar_members(data), **parquet_cells(data)}


def _recognize(data: DataFolder) -> str:
    if data.list_file is not None:
        return "kinetics" if has_columns(data.list_file, KINETICS_COLUMNS) else "csv"
    if is_lerobot(data):
        return "lerobot"
    if (data.root / "splits.csv").is_file():
        return "csv"
    if data.files("classInd.txt"):
        return "ucf101"
    if data.files("*_test_split[0-9].txt"):
        return "hmdb51"
    if data.files("*labels.json") and data.files("*train.json"):
        return "ssv2"
    if _kinetics_lists(data):
        return "kinetics"
    if not data.videos and (packed := data.named(*PACKED)):
        return PACKED[packed[0].suffix.lower()]
    parts = [path.relative_to(data.root).parts for path in data.videos]
    in_class_folders = all(len(each) > (2 if each[0].lower() in SPLIT_NAMES else 1) for each in parts)
    if describes_videos(data, with_labels=in_class_folders):
        return "videofolder"
    depth = split_depth(data)
    return "folders" if depth is None else FOLDER_LAYOUTS[1 + depth]


def _kinetics_lists(data: DataFolder) -> list[Path]:
    return [path for path in data.files("*.csv") if has_columns(path, KINETICS_COLUMNS)]


def _video_set(data: DataFolder, listed: list[ListedVideo], hint: str) -> VideoSet:
    classes = class_order({video.label for video in listed})
    if len(classes) < 2:
        only = f"only one class, {classes[0]!r}" if classes else "no videos"
        raise InputError(
            f"{data.list_file or data.root}: lists {only}; at least two classes are needed{hint and '; '}{hint}"
        )
    label_of = {label: i for i, label in enumerate(classes)}
    entries: dict[str, VideoEntry] = {}
    for video in listed:
        # As written, links not followed: an id is where the video is listed, not where it is stored.
        video_id = video.video_id or Path(os.path.relpath(file_of(video.source), data.root)).as_posix()
        if ".." in video_id.split("/") or "\0" in video_id:
            raise InputError(
                f"{video.where or data.root}: {video_id!r} is no file below {data.root}; give a folder that holds all "
                "videos as DATA, and the list by --csv"
            )
        if video_id in entries:
            raise InputError(f"{video.where or data.root}: {video_id} is listed twice; keep one of its lines")
        match = UCF_GROUP.match(PurePosixPath(video.source.name).stem)
        group = video.group or (match[1] if match else video_id)
        entries[video_id] = VideoEntry(video.source, video_id, label_of[video.label], video.split, group)
    in_order = tuple(sorted(entries.values(), key=_place))
    return VideoSet(data.root.absolute().name, data.root, classes, in_order)


def _place(entry: VideoEntry) -> tuple[str, int, int]:
    """Return what videos are ordered by: their ids; in parquet as they are stored, to read each row group once."""
    cell = entry.source
    return (str(cell.file), cell.row_group, cell.row) if isinstance(cell, ParquetCell) else (entry.video_id, 0, 0)


def _csv(data: DataFolder) -> list[ListedVideo]:
    """Columns path, label[, split[, group]] in any order, or a .txt of lines PATH LABEL; paths are relative to it."""
    source = data.list_file or data.root / "splits.csv"
    bare = source.suffix.lower() == ".txt" and not has_columns(source, CSV_COLUMNS)
    listed = []
    for where, row in labeled_lines(source) if bare else read_rows(source, CSV_COLUMNS):
        split = split_named(row.get("split") or "train", where)
        listed.append(ListedVideo(path_beside(source, row["path"]), row["label"], split, row.get("group") or "", where))
    return listed


def _ucf101(data: DataFolder) -> list[ListedVideo]:
    """The official split files of UCF101: classInd.txt, trainlist0N.txt, testlist0N.txt."""
    class_files = data.files("classInd.txt")
    if not class_files:
        raise InputError(f"{data.root}: holds no classInd.txt; put UCF101's split files there, or in a folder below")
    folder = class_files[0].parent
    classes = {line.split(maxsplit=1)[-1] for _, line in read_lines(class_files[0])}
    listed = []
    for split in ("train", "test"):
        source = folder / f"{split}list{data.fold:02d}.txt"
        if not source.is_file():
            numbers = [int(path.stem.removeprefix("trainlist")) for path in folder.glob("trainlist[0-9]*.txt")]
            folds = ", ".join(map(str, sorted(numbers)))
            raise InputError(f"{source}: there is no such file; choose --fold among {folds}")
        for where, line in read_lines(source):
            relative = Path(line.split()[0])
            label = relative.parent.name
            if label not in classes:
                raise InputError(f"{where}: class {label!r} is not in classInd.txt; a line is CLASS/video.avi [number]")
            listed.append(ListedVideo(data.locate(relative), label, split, where=where))
    return listed


def _hmdb51(data: DataFolder, unused: str = "") -> list[ListedVideo]:
    """The official split files of HMDB51: 1 is train, 2 is test, 0 is `unused`, left out as its authors meant.

    The VDSD line of papers (hmdb51-unused-train) trains on the unused clips too.
    """
    ending, split_of = f"_test_split{data.fold}.txt", {"1": "train", "2": "test", "0": unused}
    sources = data.files(f"*{ending}")
    if not sources:
        raise InputError(
            f"{data.root}: holds no CLASS{ending}; "
            f"put HMDB51's split files there, or in a folder below, and choose --fold among 1, 2, 3"
        )
    listed = []
    for source in sources:
        label = source.name.removesuffix(ending)
        for where, line in read_lines(source):
            name, _, mark = line.rpartition(" ")
            if mark not in split_of or not name.strip():
                raise InputError(f"{where}: {line!r} cannot be read; a line is VIDEO.avi and 0, 1 or 2")
            if split_of[mark]:
                listed.append(ListedVideo(data.locate(Path(label, name.strip())), label, split_of[mark], where=where))
    return listed


def _kinetics(data: DataFolder) -> list[ListedVideo]:
    """The csv files of Kinetics; videos ID_SSSSSS_EEEEEE.* or ID.* anywhere below."""
    sources = [data.list_file] if data.list_file else _kinetics_lists(data)
    if not sources:
        raise InputError(f"{data.root}: holds no csv with the columns {', '.join(KINETICS_COLUMNS)}")
    listed = []
    for source in sources:
        for where, row in read_rows(source, KINETICS_COLUMNS):
            label, youtube_id = row["label"], row["youtube_id"]
            try:
                start, end = round(float(row["time_start"])), round(float(row["time_end"]))
            except ValueError:
                raise InputError(f"{where}: time_start or time_end is not a number") from None
            path = data.locate(f"{youtube_id}_{start:06d}_{end:06d}.mp4", f"{youtube_id}.mp4")
            split = split_named(row.get("split") or SPLIT_NAMES.get(source.stem, "train"), where)
            listed.append(ListedVideo(path, label, split, youtube_id, where))
    return listed


def _ssv2(data: DataFolder) -> list[ListedVideo]:
    """The json lists of Something-Something; videos ID.webm anywhere below. Unlabeled test videos are left out."""
    label_files = data.files("*labels.json")
    if not label_files:
        raise InputError(f"{data.root}: holds no labels.json; put Something-Something's lists there")
    classes = set(read_json(label_files[0], dict))
    listed = []
    for name, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        for source in sorted(label_files[0].parent.glob(f"*{name}.json")):
            for number, row in enumerate(read_json(source, list), 1):
                where = f"{source}, entry {number}"
                for key in ("id",) if split == "test" else ("id", "template"):
                    if not isinstance(row, dict) or key not in row:
                        raise InputError(f"{where}: has no {key}; an entry is an object with id and template")
                if "template" not in row:
                    continue
                label = row["template"].replace("[", "").replace("]", "")
                if label not in classes:
                    raise InputError(f"{where}: template {label!r} is not in {label_files[0].name}")
                listed.append(ListedVideo(data.locate(f"{row['id']}.webm"), label, split, where=where))
    return listed


LAYOUTS: dict[str, Callable[[DataFolder], list[ListedVideo]]] = {
    "folders": folder_videos,
    "split-folders": partial(folder_videos, depth=0),
    "class-split-folders": partial(folder_videos, depth=1),
    "csv": _csv,
    "ucf101": _ucf101,
    "hmdb51": _hmdb51,
    "hmdb51-unused-train": partial(_hmdb51, unused="train"),
    "kinetics": _kinetics,
    "ssv2": _ssv2,
    "webdataset": tar_videos,
    "parquet": parquet_videos,
    "videofolder": videofolder_videos,
    "lerobot": lerobot_videos,
}
"""Every layout by name."""
