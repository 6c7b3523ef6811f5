"""What the checks of all formats share: reading rows, their types, their messages; each raises `FaultError` in words.

A schema is the name of a type ("text", "number", "list", ...), {key: schema} of an object, or [schema] of a list.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from videocompressa.vlm.export.tables import PARQUET

AGAIN = "export again"
"""What always helps."""

Rows = Iterator[tuple[str, Any]]
"""(where, row) of each row."""

_TYPES = {str: "text", int: "number", float: "number", list: "list", dict: "object", bool: "true or false"}


class FaultError(Exception):
    """The first fault of a row, or one that ends the reading of a folder."""


def types_of(value: Any, schema: Any = None) -> Any:
    """Return `schema` with what the value, a first row, has besides: Arrow columns take one type for all rows."""
    if isinstance(value, dict) and (schema is None or isinstance(schema, dict)):
        known = schema or {}
        return known | {key: types_of(inner, known.get(key)) for key, inner in value.items()}
    if isinstance(value, list) and (schema is None or isinstance(schema, list)):
        return [types_of(value[0], schema[0] if schema else None)] if value else schema or []
    return schema or _type_name(value)


def check_types(value: Any, schema: Any, where: str = "") -> None:
    """Raise unless a value has the types of a schema; `where` is its place in the row."""
    expected = schema if isinstance(schema, str) else _type_name(schema)
    if _type_name(value) != expected:
        keys = f" with {', '.join(schema)}" if isinstance(schema, dict) else ""
        raise FaultError(
            f"{where or 'the value'} is {_a(_type_name(value))}; it must be {_a(expected)}{keys} in every row, so "
            f"fix it or {AGAIN}"
        )
    at = f"{where}: " if where else ""
    if isinstance(schema, dict):
        for key, inner in schema.items():
            if key not in value:
                raise FaultError(f"{at}lacks {key!r}; add it or {AGAIN}")
            check_types(value[key], inner, f"{where}.{key}" if where else key)
        if unknown := [key for key in value if key not in schema]:
            raise FaultError(f"{at}has {unknown[0]!r}, which row 0 lacks; remove it or {AGAIN}")
    elif isinstance(schema, list) and schema:
        for place, inner in enumerate(value):
            check_types(inner, schema[0], f"{where}[{place}]")


def _type_name(value: Any) -> str:
    return "null" if value is None else _TYPES.get(type(value), type(value).__name__)


def _a(name: str) -> str:
    return f"an {name}" if name == "object" else f"a {name}"


def check_turns(turns: Sequence[tuple[str, str]], roles: tuple[str, str], tag: str, num_media: int) -> None:
    """Raise unless (role, text) turns alternate, question and answer, with a `tag` for each medium in the questions."""
    if not turns or len(turns) % 2 or any(role != roles[place % 2] for place, (role, _) in enumerate(turns)):
        speakers = ", ".join(role for role, _ in turns) or "nobody"
        raise FaultError(f"is spoken by {speakers}; it must be {roles[0]}, {roles[1]} in turn, so fix it or {AGAIN}")
    if any(not text.strip() for _, text in turns):
        raise FaultError(f"has an empty message; write one or {AGAIN}")
    total = sum(text.count(tag) for _, text in turns)
    asked = sum(text.count(tag) for _, text in turns[::2])
    if total != num_media or asked != total:
        raise FaultError(
            f"has {total} {tag} in its texts ({asked} in questions) for {num_media} media; write as many in the "
            f"questions as there are media, or {AGAIN}"
        )


def read_json_file(path: Path) -> Any:
    """Return what a json file holds."""
    try:
        content = path.read_bytes()
    except OSError:
        raise FaultError(f"{path.name} is missing; {AGAIN}") from None
    return parse_json(content, path.name)


def parse_json(content: bytes, name: str) -> Any:
    """Return what json bytes hold; `name` is for the message."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise FaultError(f"{name} is not json ({error}); fix it or {AGAIN}") from error


def list_rows(folder: Path, name: str) -> Rows:
    """Yield the rows of a json file that is a list."""
    rows = read_json_file(folder / name)
    if not isinstance(rows, list):
        raise FaultError(f"{name} holds {_a(_type_name(rows))}; it must be a list of rows")
    yield from ((f"{name} row {number}", row) for number, row in enumerate(rows))


def line_rows(folder: Path, name: str) -> Rows:
    """Yield the rows of a file with one json a line."""
    if not (folder / name).is_file():
        raise FaultError(f"{name} is missing; {AGAIN}")
    with (folder / name).open("rb") as file:
        for number, line in enumerate(file):
            where = f"{name} row {number}"
            yield where, parse_json(line, where)


def shard_rows(folder: Path) -> Rows:
    """Yield the samples of tar shards as {"json": value, "cls": text, "png": [(height, width) of each]}."""
    shards = sorted(folder.glob("train-*.tar"))
    if not shards:
        raise FaultError(f"holds no train-NNNNNN.tar; {AGAIN}")
    for path in shards:
        try:
            with tarfile.open(path) as shard:
                yield from _samples(path.name, shard)
        except (tarfile.TarError, EOFError) as error:
            raise FaultError(f"{path.name} is no complete tar file ({error}); {AGAIN}") from error


def _samples(name: str, shard: tarfile.TarFile) -> Rows:
    finished: set[str] = set()
    for stem, members in groupby(shard, key=lambda member: member.name.partition(".")[0]):
        if stem in finished:
            raise FaultError(f"{name}: the files of sample {stem} are not next to each other; {AGAIN}")
        finished.add(stem)
        where, sample = f"{name} sample {stem}", dict[str, Any](png=[])
        for member in members:
            file, kind = shard.extractfile(member), member.name.partition(".")[2]
            content = b"" if file is None else file.read()
            if kind.endswith("png"):
                sample["png"].append(picture_sides(content, member.name))
            else:
                is_json = kind == "json"
                sample[kind] = parse_json(content, member.name) if is_json else content.decode(errors="replace")
        for kind in ("json", "cls"):
            if kind not in sample:
                raise FaultError(f"{where} has no .{kind}; {AGAIN}")
        yield where, sample


def table_rows(folder: Path, columns: Sequence[str]) -> Rows:
    """Yield the rows of the parquet table: these columns, one row in memory at a time."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(folder / PARQUET) as file:
            schema = file.schema_arrow
            if missing := [name for name in columns if name not in schema.names]:
                raise FaultError(f"{PARQUET} has no column {missing[0]!r}; {AGAIN}")
            if b"huggingface" not in (schema.metadata or {}):
                raise FaultError(f"{PARQUET} declares no features, so pictures would be read as bytes; {AGAIN}")
            for number, batch in enumerate(file.iter_batches(batch_size=1, columns=list(columns))):
                yield f"{PARQUET} row {number}", batch.to_pylist()[0]
    except FileNotFoundError:
        raise FaultError(f"{PARQUET} is missing; {AGAIN}") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise FaultError(f"{PARQUET} is no complete parquet file ({error}); {AGAIN}") from error


def picture_sides(content: bytes, name: str) -> tuple[int, int]:
    """Return height and width of a picture that can be decoded to its end."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return picture.height, picture.width
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        reason = " ".join(str(error).split()[:8])
        raise FaultError(f"{name} is no complete picture ({reason}); {AGAIN}") from error
