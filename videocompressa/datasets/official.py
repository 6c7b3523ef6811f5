"""The official lists of UCF101, HMDB51, Kinetics and Something-Something."""

from __future__ import annotations

from pathlib import Path

from videocompressa.datasets.lists import (
    SPLIT_NAMES,
    Listed,
    Place,
    has_columns,
    read_json,
    read_lines,
    read_rows,
    split_named,
)
from videocompressa.errors import InputError


def ucf101(place: Place) -> list[Listed]:
    """The official split files of UCF101: classInd.txt, trainlist0N.txt, testlist0N.txt."""
    class_files = place.files("classInd.txt")
    if not class_files:
        raise InputError(f"{place.root}: holds no classInd.txt; put UCF101's split files there, or in a folder below")
    folder = class_files[0].parent
    known = {line.split(maxsplit=1)[-1] for _, line in read_lines(class_files[0])}
    stems, listed = place.by_stem(), []
    for split in ("train", "test"):
        source = folder / f"{split}list{place.fold:02d}.txt"
        if not source.is_file():
            raise InputError(f"{source}: there is no such file; choose --fold among {_folds(folder, 'trainlist*.txt')}")
        for where, line in read_lines(source):
            relative = Path(line.split()[0])
            label = relative.parent.name
            if label not in known:
                raise InputError(f"{where}: class {label!r} is not in classInd.txt; a line is CLASS/video.avi [number]")
            listed.append(Listed(_locate(place, stems, relative.stem, label, relative), label, split, where=where))
    return listed


def hmdb51(place: Place) -> list[Listed]:
    """The official split files of HMDB51: 1 is train, 2 is test, 0 is left out, as its authors meant."""
    return _hmdb51_with(place, {"1": "train", "2": "test", "0": ""})


def hmdb51_unused_train(place: Place) -> list[Listed]:
    """HMDB51 as the VDSD line of papers reads it: clips that the authors left unused go into train."""
    return _hmdb51_with(place, {"1": "train", "2": "test", "0": "train"})


def _hmdb51_with(place: Place, split_of: dict[str, str]) -> list[Listed]:
    sources = place.files(f"*_test_split{place.fold}.txt")
    if not sources:
        raise InputError(
            f"{place.root}: holds no CLASS_test_split{place.fold}.txt; "
            f"put HMDB51's split files there, or in a folder below, and choose --fold among 1, 2, 3"
        )
    stems, listed = place.by_stem(), []
    for source in sources:
        label = source.name.removesuffix(f"_test_split{place.fold}.txt")
        for where, line in read_lines(source):
            name, _, mark = line.rpartition(" ")
            if mark not in split_of or not name.strip():
                raise InputError(f"{where}: {line!r} cannot be read; a line is VIDEO.avi and 0, 1 or 2")
            if split_of[mark]:
                relative = Path(label, name.strip())
                path = _locate(place, stems, relative.stem, label, relative)
                listed.append(Listed(path, label, split_of[mark], where=where))
    return listed


KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def kinetics(place: Place) -> list[Listed]:
    """The csv files of Kinetics; videos ID_SSSSSS_EEEEEE.* or ID.* anywhere below."""
    sources = [place.csv] if place.csv else [p for p in place.files("*.csv") if has_columns(p, KINETICS_COLUMNS)]
    if not sources:
        raise InputError(f"{place.root}: holds no csv with the columns {', '.join(KINETICS_COLUMNS)}")
    stems, listed = place.by_stem(), []
    for source in sources:
        for where, row in read_rows(source, KINETICS_COLUMNS):
            if not row["label"] or not row["youtube_id"]:
                raise InputError(f"{where}: the label or the youtube_id is empty; fill it or remove the line")
            try:
                start, end = round(float(row["time_start"])), round(float(row["time_end"]))
            except ValueError:
                raise InputError(f"{where}: time_start or time_end is not a number") from None
            stem = f"{row['youtube_id']}_{start:06d}_{end:06d}"
            path = next((stems[s][0] for s in (stem, row["youtube_id"]) if s in stems), place.root / f"{stem}.mp4")
            split = split_named(row.get("split") or SPLIT_NAMES.get(source.stem, "train"), where)
            listed.append(Listed(path, row["label"], split, row["youtube_id"], where))
    return listed


def ssv2(place: Place) -> list[Listed]:
    """The json lists of Something-Something; videos ID.webm anywhere below. Unlabeled test videos are left out."""
    label_files = place.files("*labels.json")
    if not label_files:
        raise InputError(f"{place.root}: holds no labels.json; put Something-Something's lists there")
    known = set(read_json(label_files[0], dict))
    stems, listed = place.by_stem(), []
    for name, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        for source in sorted(label_files[0].parent.glob(f"*{name}.json")):
            for number, row in enumerate(read_json(source, list), 1):
                where = f"{source}, entry {number}"
                if not isinstance(row, dict) or "id" not in row:
                    raise InputError(f"{where}: has no id; an entry is an object with id and template")
                if "template" not in row:
                    if split == "test":
                        continue
                    raise InputError(f"{where}: has no template; an entry is an object with id and template")
                label = row["template"].replace("[", "").replace("]", "")
                if label not in known:
                    raise InputError(f"{where}: template {label!r} is not in {label_files[0].name}")
                path = stems.get(str(row["id"]), [place.root / f"{row['id']}.webm"])[0]
                listed.append(Listed(path, label, split, where=where))
    return listed


def _locate(place: Place, stems: dict[str, list[Path]], stem: str, label: str, relative: Path) -> Path:
    """Return the file of that name, best in a folder of its class; converted files may have another suffix."""
    found = stems.get(stem, [])
    return next((path for path in found if path.parent.name == label), found[0] if found else place.root / relative)


def _folds(folder: Path, pattern: str) -> str:
    return ", ".join(str(int("".join(filter(str.isdigit, path.stem)))) for path in sorted(folder.glob(pattern)))
