"""The official lists of UCF101, HMDB51, Kinetics and Something-Something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videocompressa.datasets.lists import (
    SPLIT_NAMES,
    DataFolder,
    ListedVideo,
    has_columns,
    read_json,
    read_lines,
    read_rows,
    split_named,
)
from videocompressa.errors import InputError

KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def ucf101(data: DataFolder) -> list[ListedVideo]:
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
            folds = [
                str(int(path.stem.removeprefix("trainlist"))) for path in sorted(folder.glob("trainlist[0-9]*.txt"))
            ]
            raise InputError(f"{source}: there is no such file; choose --fold among {', '.join(folds)}")
        for where, line in read_lines(source):
            relative = Path(line.split()[0])
            label = relative.parent.name
            if label not in classes:
                raise InputError(f"{where}: class {label!r} is not in classInd.txt; a line is CLASS/video.avi [number]")
            listed.append(ListedVideo(data.locate(relative), label, split, where=where))
    return listed


def hmdb51(data: DataFolder, unused: str = "") -> list[ListedVideo]:
    """The official split files of HMDB51: 1 is train, 2 is test, 0 is `unused`, left out as its authors meant."""
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


def hmdb51_unused_train(data: DataFolder) -> list[ListedVideo]:
    """HMDB51 as the VDSD line of papers reads it: clips that the authors left unused go into train."""
    return hmdb51(data, unused="train")


def kinetics(data: DataFolder) -> list[ListedVideo]:
    """The csv files of Kinetics; videos ID_SSSSSS_EEEEEE.* or ID.* anywhere below."""
    sources = [data.list_file] if data.list_file else kinetics_lists(data)
    if not sources:
        raise InputError(f"{data.root}: holds no csv with the columns {', '.join(KINETICS_COLUMNS)}")
    listed = []
    for source in sources:
        for where, row in read_rows(source, KINETICS_COLUMNS):
            label, youtube_id = row["label"], row["youtube_id"]
            if not label or not youtube_id:
                raise InputError(f"{where}: the label or the youtube_id is empty; fill it or remove the line")
            try:
                start, end = round(float(row["time_start"])), round(float(row["time_end"]))
            except ValueError:
                raise InputError(f"{where}: time_start or time_end is not a number") from None
            path = data.locate(f"{youtube_id}_{start:06d}_{end:06d}.mp4", f"{youtube_id}.mp4")
            split = split_named(row.get("split") or SPLIT_NAMES.get(source.stem, "train"), where)
            listed.append(ListedVideo(path, label, split, youtube_id, where))
    return listed


def kinetics_lists(data: DataFolder) -> list[Path]:
    """Return the csv files that have the columns of Kinetics."""
    return [path for path in data.files("*.csv") if has_columns(path, KINETICS_COLUMNS)]


def ssv2(data: DataFolder) -> list[ListedVideo]:
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
                _check_entry(row, split, where)
                if "template" not in row:
                    continue
                label = row["template"].replace("[", "").replace("]", "")
                if label not in classes:
                    raise InputError(f"{where}: template {label!r} is not in {label_files[0].name}")
                listed.append(ListedVideo(data.locate(f"{row['id']}.webm"), label, split, where=where))
    return listed


def _check_entry(row: Any, split: str, where: str) -> None:
    for key in ("id",) if split == "test" else ("id", "template"):
        if not isinstance(row, dict) or key not in row:
            raise InputError(f"{where}: has no {key}; an entry is an object with id and template")
