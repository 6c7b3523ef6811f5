"""Reading the text files that list videos: csv, json, plain lines; every fault names the file and the line."""

from __future__ import annotations

import csv as csv_module
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What lists and folders call a split, and what we call it."""


@dataclass(frozen=True)
class Listed:
    """One line of a list: a video with its class still by name."""

    path: Path
    label: str
    split: str
    group: str = ""
    """"" for a group of its own."""
    where: str = ""
    """File and line that listed it, for messages."""


@dataclass(frozen=True)
class Place:
    """What a layout function is given."""

    root: Path
    csv: Path | None
    fold: int
    videos: list[Path] = field(repr=False)
    """Every video file below the root, sorted."""

    def by_stem(self) -> dict[str, list[Path]]:
        """Return the video files by name without suffix."""
        found: dict[str, list[Path]] = defaultdict(list)
        for path in self.videos:
            found[path.stem].append(path)
        return found

    def files(self, pattern: str) -> list[Path]:
        """Return the files of that pattern in the root, or in the first folder just below that has any."""
        folders = [self.root, *sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))]
        return next((found for folder in folders if (found := sorted(folder.glob(pattern)))), [])


def split_named(name: str, where: str) -> str:
    """Return our name of a split."""
    if name.lower() not in SPLIT_NAMES:
        raise InputError(f"{where}: split {name!r} is not known; known: {', '.join(SPLIT_NAMES)}")
    return SPLIT_NAMES[name.lower()]


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
    for number, line in enumerate(read_text(source).splitlines(), 1):
        if line.strip():
            yield f"{source}, line {number}", line.strip()


def has_columns(source: Path, columns: tuple[str, ...]) -> bool:
    """Tell whether the first line of a csv names all these columns."""
    header = next(csv_module.reader(read_text(source).splitlines()[:1]), [])
    return set(columns) <= {name.strip().lower() for name in header}


def read_rows(source: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield ("file, line n", row) of a csv with a header; cells are stripped, column names in small letters."""
    reader = csv_module.reader(read_text(source).splitlines(keepends=True), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            where = f"{source}, line {reader.line_num}"
            if not any(cells):
                continue
            if not header:
                header = [cell.lower() for cell in cells]
                missing = [name for name in needed if name not in header]
                if missing:
                    raise InputError(
                        f"{where}: the columns are {', '.join(header)}; {', '.join(missing)} missing: "
                        f"the first line must name {', '.join(needed)}"
                    )
                continue
            if len(cells) != len(header):
                raise InputError(f"{where}: has {len(cells)} values for {len(header)} columns ({', '.join(header)})")
            yield where, dict(zip(header, cells, strict=True))
    except csv_module.Error as error:
        raise InputError(f"{source}, line {reader.line_num}: cannot be read as csv: {error}") from None
    if not header:
        raise InputError(f"{source}: is empty; the first line must name {', '.join(needed)}")


def read_json(source: Path, kind: type) -> Any:
    """Return what a json file holds; it must be of this kind (list or dict)."""
    try:
        value = json.loads(read_text(source))
    except json.JSONDecodeError as error:
        raise InputError(f"{source}, line {error.lineno}: cannot be read as json: {error.msg}") from None
    if not isinstance(value, kind):
        raise InputError(f"{source}: holds a {type(value).__name__}; it must be a {kind.__name__}")
    return value
