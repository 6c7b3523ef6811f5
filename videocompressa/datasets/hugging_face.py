"""Data set folders of Hugging Face: parquet files that hold videos, or metadata beside video files (videofolder)."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from videocompressa.datasets.lists import (
    SPLIT_NAMES,
    DataFolder,
    ListedVideo,
    csv_columns,
    label_column_of,
    label_text,
    path_beside,
    read_lines,
    read_rows,
    read_text,
    split_of,
)
from videocompressa.errors import InputError, how_to_install
from videocompressa.remote import reached, retried
from videocompressa.video.source import ParquetCell

METADATA = ("metadata.csv", "metadata.jsonl")
UNLABELED = -1
"""Label of a video whose class is not published."""


def parquet_videos(data: DataFolder) -> list[ListedVideo]:
    """Rows of *.parquet with a column of videos and one of classes; unlabeled videos are left out.

    The split is a word of the file's name or of a folder above it. An id is the path that the videos' column gives,
    where it gives each video a relative one of its own, else FILE/ROW.
    """
    if not data.named(".parquet"):
        raise InputError(f"{data.root}: holds no .parquet; give the folder of the data set")
    labels = [label for file in data.named(".parquet") for label in _labels(file, data)]
    cells = parquet_cells(data)
    if len(cells) != len(labels):
        raise InputError(
            f"{data.root}: its .parquet files hold {len(cells)} videos and {len(labels)} labels; copy them again"
        )
    return [
        ListedVideo(cell, label, split_of(cell.file.relative_to(data.root)), where=str(cell.file), video_id=video_id)
        for (video_id, cell), label in zip(cells.items(), labels, strict=True)
        if label is not None
    ]


def parquet_cells(data: DataFolder) -> dict[str, ParquetCell]:
    """Return every video of the parquet files by its id, in stored order."""
    cells = [cell for file in data.named(".parquet") for cell in _cells(file, data.video_column)]
    paths = [cell.name for cell in cells]
    if len(set(paths)) == len(paths) and all(path and not PurePosixPath(path).is_absolute() for path in paths):
        return dict(zip(paths, cells, strict=True))
    num_rows: Counter[Path] = Counter()
    by_row = {}
    for cell in cells:
        by_row[f"{cell.file.relative_to(data.root).as_posix()}/{num_rows[cell.file]}"] = cell
        num_rows[cell.file] += 1
    return by_row


@contextmanager
def opened_parquet(file: Path) -> Iterator[Any]:
    """Open a parquet file as pyarrow's `ParquetFile`; raises `InputError` when it cannot be read."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(
            f"{file}: parquet needs pyarrow, which is not installed; {how_to_install('parquet')}"
        ) from None
    try:
        with reached(file), file.open("rb") as opened, ParquetFile(opened) as parquet:
            # A video has a byte at least: a damaged count must not fill the memory.
            stated, size = parquet.metadata.num_rows, file.stat().st_size
            if not 0 <= stated <= size:
                raise OSError(f"it states {stated} rows and has {size} bytes")
            yield parquet
    except InputError:
        raise
    except (ArrowException, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{file}: cannot be read as parquet: {reason}; copy it again, or remove it") from None


@retried
def _cells(file: Path, asked: str | None) -> list[ParquetCell]:
    cells = []
    with opened_parquet(file) as parquet:
        schema = parquet.schema_arrow
        column = _video_column(schema, asked, file)
        has_paths = "path" in _fields(schema.field(column))
        for group in range(parquet.num_row_groups):
            paths = [""] * parquet.metadata.row_group(group).num_rows
            if has_paths:
                structs = parquet.read_row_group(group, columns=[f"{column}.path"]).column(column).to_pylist()
                paths = [(struct and struct["path"]) or "" for struct in structs]
            cells += [ParquetCell(file, path, column, group, row) for row, path in enumerate(paths)]
    return cells


def _video_column(schema: Any, asked: str | None, file: Path) -> str:
    """Return the column that holds videos: binary, or a struct with the field bytes, and marked as no other media."""
    features = _features(schema)
    holding: list[str] = [
        field.name
        for field in schema
        if ("bytes" in _fields(field) or str(field.type) in ("binary", "large_binary"))
        and features.get(field.name, {}).get("_type", "Video") == "Video"
    ]
    if asked in holding:
        return asked
    if asked is None and len(holding) == 1:
        return holding[0]
    which = f"--video-column {asked} is none of the columns of videos" if asked else "which holds the videos is unclear"
    advice = f"give --video-column {' or '.join(holding)}" if holding else "none of them holds videos (bytes)"
    raise InputError(f"{file}: the columns are {', '.join(schema.names)}; {which}: {advice}")


def _fields(field: Any) -> list[str]:
    """Return the names of the fields of a struct column."""
    return [field.type.field(number).name for number in range(field.type.num_fields)]


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return what the Hugging Face library wrote about the columns."""
    written = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        written = written.get(key, {}) if isinstance(written, dict) else {}
    features = written.items() if isinstance(written, dict) else ()
    return {name: feature for name, feature in features if isinstance(feature, dict)}


def _labels(file: Path, data: DataFolder) -> Iterator[str | None]:
    """Yield the class name of every row, None for an unlabeled one."""
    column, names, values = _label_values(file, data)
    for row, value in enumerate(values):
        where = f"{file}, row {row}"
        if not names or not isinstance(value, int):
            yield label_text(value, where)
        elif value == UNLABELED:
            yield None
        elif 0 <= value < len(names):
            yield names[value]
        else:
            raise InputError(f"{where}: {column} is {value}; it must be below the number of class names, {len(names)}")


@retried
def _label_values(file: Path, data: DataFolder) -> tuple[str, list[str], list[Any]]:
    """Return the column of labels, the class names, and the value of every row."""
    with opened_parquet(file) as parquet:
        column = label_column_of(parquet.schema_arrow.names, data.label_column, file)
        names = _features(parquet.schema_arrow).get(column, {}).get("names") or _names_in_readme(data.root, column)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{file}: the names of the classes of {column} are {names!r}; they must be a list of texts"
            )
        return column, names, parquet.read(columns=[column]).column(column).to_pylist()


def _names_in_readme(root: Path, column: str) -> list[str]:
    """Return the class names in README.md's dataset_info, as the Hugging Face library writes it; [] for none."""
    readme = root / "README.md"
    start = rf"- name: {re.escape(column)}\n +dtype:\n +class_label:\n +names:\n"
    found = re.search(rf"{start}((?: +'\d+': .+\n)+)", read_text(readme)) if readme.is_file() else None
    lines = found[1].splitlines() if found else []
    quoted = [line.partition(": ")[2].strip() for line in lines]
    return [name[1:-1].replace("''", "'") if name[:1] == name[-1:] == "'" else name.strip('"') for name in quoted]


def videofolder_videos(data: DataFolder) -> list[ListedVideo]:
    """Video files with a metadata.csv or .jsonl: its column file_name is relative to its folder.

    The split is the name of the first folder that is one, such as train/ or test/.
    """
    if not data.named(*METADATA):
        raise InputError(f"{data.root}: holds no metadata.csv or metadata.jsonl with the column file_name")
    listed = []
    for source in data.named(*METADATA):
        for where, row in _metadata_rows(source):
            column = label_column_of(list(row), data.label_column, where)
            path = path_beside(source, row["file_name"])
            folders = Path(os.path.relpath(path, data.root)).parts[:-1]
            split = next((SPLIT_NAMES[name.lower()] for name in folders if name.lower() in SPLIT_NAMES), "train")
            listed.append(ListedVideo(path, label_text(row[column], where), split, where=where))
    return listed


def describes_videos(data: DataFolder, *, with_labels: bool) -> bool:
    """Return whether a metadata file has the column file_name, and one of labels if that is asked."""
    for source in data.named(*METADATA):
        columns = _metadata_columns(source)
        if "file_name" in columns:
            with suppress(InputError):
                return not with_labels or bool(label_column_of(columns, data.label_column, source))
    return False


def _metadata_columns(source: Path) -> list[str]:
    if source.suffix == ".csv":
        return csv_columns(source)
    with suppress(ValueError):
        row = json.loads(next(iter(read_lines(source)), ("", ""))[1])
        return list(row) if isinstance(row, dict) else []
    return []


def _metadata_rows(source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if source.suffix == ".csv":
        yield from read_rows(source, ("file_name",))
        return
    for where, line in read_lines(source):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: cannot be read as json: {error.msg}") from None
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise InputError(f"{where}: has no file_name; a line is an object with file_name and the label")
        yield where, row
