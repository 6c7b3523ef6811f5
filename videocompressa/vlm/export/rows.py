"""The rows of exported files and their types; each reader and check raises `FaultError` in words.

A schema is the name of a type (`TEXT`, ...), {key: schema} of an object, or [schema] of a list.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from videocompressa.errors import VideoError
from videocompressa.video import probe, read_frames
from videocompressa.video.source import ReadVideo
from videocompressa.vlm.export.formats import PARQUET

Rows = Iterator[tuple[str, Any]]
"""(where, row) of each row."""

TEXT, NUMBER, LIST = "a text", "a number", "a list"
_TYPES = {str: TEXT, int: NUMBER, float: NUMBER, list: LIST, dict: "an object", bool: "a boolean", type(None): "a null"}


class FaultError(Exception):
    """The first fault of a row, or one that ends the reading of a folder; to export again always helps."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(" ".join(f"{problem}; {f'{remedy} or ' if remedy else ''}export again".split()))


def types_of(value: Any, schema: Any = None) -> Any:
    """Return `schema` with what the value, a first row, has in addition: Arrow columns take one type for all rows."""
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
        problem = f"{where or 'the value'} is {_type_name(value)}; it must be {expected}{keys} in every row"
        raise FaultError(problem, "fix it")
    if isinstance(schema, dict):
        at = f"{where}: " if where else ""
        for key, inner in schema.items():
            if key not in value:
                raise FaultError(f"{at}lacks {key!r}", "add it")
            check_types(value[key], inner, f"{where}.{key}" if where else key)
        if unknown := [key for key in value if key not in schema]:
            raise FaultError(f"{at}has {unknown[0]!r}, which row 0 lacks", "remove it")
    elif isinstance(schema, list) and schema:
        for place, inner in enumerate(value):
            check_types(inner, schema[0], f"{where}[{place}]")


def _type_name(value: Any) -> str:
    return _TYPES.get(type(value), type(value).__name__)


def read_file(folder: Path, name: str) -> bytes:
    """Return the bytes of a file that the format must have."""
    if not (folder / name).is_file():
        raise FaultError(f"{name} is missing")
    return (folder / name).read_bytes()


def parse_json(content: bytes, name: str) -> Any:
    """Return what JSON bytes hold; `name` is for the message."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise FaultError(f"{name} is not json ({error})", "fix it") from error


def json_list(folder: Path, name: str) -> Rows:
    """Yield the rows of a file that holds one JSON list."""
    rows = parse_json(read_file(folder, name), name)
    if not isinstance(rows, list):
        raise FaultError(f"{name} holds {_type_name(rows)}; it must be a list of rows")
    yield from ((f"{name} row {number}", row) for number, row in enumerate(rows))


def json_lines(folder: Path, name: str) -> Rows:
    """Yield the rows of a file with one JSON value a line."""
    for number, line in enumerate(read_file(folder, name).splitlines()):
        where = f"{name} row {number}"
        yield where, parse_json(line, where)


def shard_rows(folder: Path) -> Rows:
    """Yield the samples of tar shards: {extension: content}.

    "png" is the (height, width) of each picture, "mp4" the [T, height, width] of the video.
    """
    shards = sorted(folder.glob("shard-*.tar"))
    if not shards:
        raise FaultError("holds no shard-NNNNNN.tar")
    for path in shards:
        try:
            with tarfile.open(path, "r:") as shard:
                yield from _samples(path.name, shard)
        except (tarfile.TarError, EOFError) as error:
            raise FaultError(f"{path.name} is no complete tar file ({error})") from error


def _samples(name: str, shard: tarfile.TarFile) -> Rows:
    finished: set[str] = set()
    for stem, members in groupby(shard, key=lambda member: member.name.partition(".")[0]):
        if stem in finished:
            raise FaultError(f"{name}: the files of sample {stem} are not next to each other")
        finished.add(stem)
        sample: dict[str, Any] = {}
        for member in members:
            file, kind = shard.extractfile(member), member.name.partition(".")[2]
            content = b"" if file is None else file.read()
            if kind.endswith("png"):
                sample.setdefault("png", []).append(picture_sides(content, member.name))
            elif kind == "mp4":
                sample[kind] = video_size(content, member.name)
            elif kind == "json":
                sample[kind] = parse_json(content, member.name)
            else:
                sample[kind] = content.decode(errors="replace")
        yield f"{name} sample {stem}", sample


def table_rows(folder: Path, columns: Sequence[str]) -> Rows:
    """Yield the rows of the parquet table: these columns, one row in memory at a time."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(folder / PARQUET) as file:
            schema = file.schema_arrow
            if missing := [name for name in columns if name not in schema.names]:
                raise FaultError(f"{PARQUET} has no column {missing[0]!r}")
            if b"huggingface" not in (schema.metadata or {}):
                raise FaultError(f"{PARQUET} declares no features, so pictures would be read as bytes")
            for number, batch in enumerate(file.iter_batches(batch_size=1, columns=list(columns))):
                yield f"{PARQUET} row {number}", batch.to_pylist()[0]
    except FileNotFoundError:
        raise FaultError(f"{PARQUET} is missing") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise FaultError(f"{PARQUET} is no complete parquet file ({error})") from error


def picture_sides(content: bytes, name: str) -> tuple[int, int]:
    """Return height and width of a picture that can be decoded to its end."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return picture.height, picture.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()[:8])
        raise FaultError(f"{name} is no complete picture ({reason})") from error


def video_size(content: bytes, name: str) -> list[int]:
    """Return [T, height, width] of a video that can be decoded to its end."""
    source = ReadVideo(Path(name), name, content)
    try:
        video = probe(source)
        read = read_frames(source, video.num_frames, video.height, video.width)
    except VideoError as error:
        raise FaultError(f"{name}: {error}") from error
    if read.num_replaced:
        raise FaultError(f"{name}: {read.num_replaced} of {video.num_frames} frames are damaged")
    return [video.num_frames, video.height, video.width]
