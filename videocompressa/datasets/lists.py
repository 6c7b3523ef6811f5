"""Reading the text files that list videos: csv, json, plain lines; every error names the file and the line."""

import csv
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError
from videocompressa.remote import RemotePath
from videocompressa.video.source import VideoSource

VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".wmv", ".flv", ".f4v", ".ts", ".mts",
    ".m2ts", ".3gp", ".ogv", ".vob", ".asf", ".mxf", ".3g2", ".divx", ".m2v", ".m2t", ".dv", ".ogm", ".qt",
})  # fmt: skip
"""Files taken for videos, in any case."""

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Names of splits in lists and folders, and our names."""


@dataclass(frozen=True)
class ListedVideo:
    """One line of a list: a video with its class still by name."""

    source: VideoSource
    label: str
    split: str
    group: str = ""
    """"" for a group of its own."""
    where: str = ""
    """File and line that listed it, for messages."""
    video_id: str = ""
    """"" for the path relative to the root."""


@dataclass(frozen=True)
class DataFolder:
    """What a layout reads: the folder of a set, and the options that choose among its lists."""

    root: Path
    list_file: Path | None
    """The csv that the user named."""
    fold: int
    videos: list[Path] = field(repr=False)
    """Every video file below the root, sorted."""
    others: list[Path] = field(repr=False)
    """Every other file below the root, sorted."""
    label_column: str | None = None
    """Where tables have it; None for the usual names."""
    video_column: str | None = None
    """Where tables have it; None for the only one."""

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in self.videos:
            by_stem[path.stem.lower()].append(path)
        return by_stem

    def locate(self, *relatives: str | Path) -> Path:
        """Return the video of the first of these names that exists, else where the first should be.

        A file anywhere below the root matches by its name without suffix (videos may have been converted), best in the
        same case (UCF101 lists v_Handstand... for v_HandStand...), then in a folder of the same name as in the list.
        """
        for relative in map(Path, relatives):
            if paths := self._by_stem.get(relative.stem.lower(), []):
                paths = [path for path in paths if path.stem == relative.stem] or paths
                return next((path for path in paths if path.parent.name == relative.parent.name), paths[0])
        return self.root / relatives[0]

    def files(self, pattern: str) -> list[Path]:
        """Return the files of that pattern in the highest, then first, folder that has any; none of a URL.

        That is the root, or one up to two levels below it: HMDB51's lists are unpacked into a folder in a folder.
        """
        if isinstance(self.root, RemotePath):
            return []
        depths = {path: len(path.relative_to(self.root).parts) for path in self.others if path.match(pattern)}
        near = sorted((depth, path) for path, depth in depths.items() if depth <= 3)
        return [path for _, path in near if path.parent == near[0][1].parent]

    def named(self, *names: str) -> list[Path]:
        """Return those of `others` that have one of these names or suffixes."""
        return [path for path in self.others if {path.name.lower(), path.suffix.lower()} & set(names)]


def split_named(name: str, where: str) -> str:
    """Return our name of a split."""
    if name.lower() not in SPLIT_NAMES:
        raise InputError(f"{where}: split {name!r} is not known; known: {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[name.lower()]


def split_of(relative: Path) -> str:
    """Return the split that a file's name, else the nearest folder above it, has as a word; else train."""
    for part in (relative.stem, *reversed(relative.parent.parts)):
        for word in re.split("[^a-z]+", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return "train"


def label_column_of(columns: Sequence[str], asked: str | None, where: str | Path) -> str:
    """Return the column of a table that holds the classes: the one asked for, else one of the usual names."""
    names = ("label", "labels", "class") if asked is None else (asked,)
    for name in names:
        for column in columns:
            if column.lower() == name.lower():
                return column
    raise InputError(
        f"{where}: the columns are {', '.join(columns)}; none is named {' or '.join(names)}: "
        "give the one that holds the classes with --label-column"
    )


def label_text(value: object, where: str) -> str:
    """Return the class name of a label that is a text or an integer."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not (text := str(value).strip()):
        raise InputError(f"{where}: the label is {value!r}; it must be a text or an integer")
    return text


def read_text(source: Path) -> str:
    """Return a UTF-8 file's text, without a byte-order mark."""
    try:
        return source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(f"{source}, line {line}: is not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None


def read_lines(source: Path) -> Iterator[tuple[str, str]]:
    """Yield ("file, line n", line) of every line that is not empty; lines are stripped."""
    for number, line in enumerate(read_text(source).split("\n"), 1):
        if line.strip():
            yield f"{source}, line {number}", line.strip()


def path_beside(source: Path, text: str) -> Path:
    """Return the path that a list names, relative to the list's folder.

    A backslash separates folders, as in lists from Windows, unless there is a file of that name.
    """
    path = source.parent / text
    if "\\" in text and not path.exists():
        path = source.parent / text.replace("\\", "/")
    return type(source)(os.path.normpath(path))


def csv_columns(source: Path) -> list[str]:
    """Return the columns that the first line of a csv names, in lower case."""
    header: list[str] = next(_csv_reader(read_text(source).partition("\n")[0], strict=False), [])
    return [name.strip().lower() for name in header]


def _csv_reader(text: str, *, strict: bool = True) -> Any:
    """Return a reader of a csv with commas, tabs or semicolons: the first of them that its first line has."""
    header = text.partition("\n")[0]
    delimiter = next((each for each in ",\t;" if each in header), ",")
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=strict)


def has_columns(source: Path, columns: tuple[str, ...]) -> bool:
    """Return whether the first line of a csv names all these columns."""
    return set(columns) <= set(csv_columns(source))


def read_rows(source: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("file, line n", row) of a csv with a header that fills the columns `needed`; cells are stripped."""
    reader = _csv_reader(read_text(source))
    stripped = ([cell.strip() for cell in row] for row in reader)
    rows = ((f"{source}, line {reader.line_num}", cells) for cells in stripped if any(cells))
    try:
        where, header = next(rows, ("", []))
        if not header:
            raise InputError(f"{source}: is empty; the first line must name {', '.join(needed)}")
        header = [name.lower() for name in header]
        if missing := [name for name in needed if name not in header]:
            raise InputError(
                f"{where}: the columns are {', '.join(header)}; {', '.join(missing)} missing: "
                f"the first line must name {', '.join(needed)}"
            )
        for where, cells in rows:
            if len(cells) != len(header):
                raise InputError(f"{where}: has {len(cells)} values for {len(header)} columns ({', '.join(header)})")
            row = dict(zip(header, cells, strict=True))
            if empty := [name for name in needed if not row[name]]:
                raise InputError(f"{where}: the {empty[0]} is empty; fill it or remove the line")
            yield where, row
    except csv.Error as error:
        raise InputError(f"{source}, line {reader.line_num}: cannot be read as csv: {error}") from None


def labeled_lines(source: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("file, line n", row) of lines PATH LABEL, as `read_rows` does; the split is a word of the file's name."""
    for where, line in read_lines(source):
        *path, label = line.rsplit(maxsplit=1)
        if not path:
            raise InputError(f"{where}: {line!r} cannot be read; a line is PATH LABEL, such as walk/a.mp4 walk")
        yield where, {"path": path[0], "label": label, "split": split_of(Path(source.name))}


def read_json(source: Path, kind: type) -> Any:
    """Return the content of a json file; it must be of this kind (list or dict)."""
    try:
        value = json.loads(read_text(source))
    except json.JSONDecodeError as error:
        raise InputError(f"{source}, line {error.lineno}: cannot be read as json: {error.msg}") from None
    if not isinstance(value, kind):
        raise InputError(f"{source}: holds a {type(value).__name__}; it must be a {kind.__name__}")
    return value
