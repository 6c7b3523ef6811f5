"""Where a video is: in a file of its own (a `Path`), or a part of another file (a `PackedVideo`).

Packed and remote videos are read into memory one at a time and never written to disk. Reading a tar imports nothing;
only parquet needs pyarrow.
"""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from videocompressa.errors import VideoError
from videocompressa.remote import RemotePath, reached, retried


@dataclass(frozen=True)
class PackedVideo(ABC):
    """A video inside another file; small enough to be sent to a worker."""

    file: Path
    """The other file."""
    name: str
    """Name of the video inside it; the suffix may help to recognize its format."""

    def __str__(self) -> str:
        return f"{self.file}/{self.name}"

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Return the bytes of the video; raises `VideoError` or `OSError`."""

    def count_bytes(self) -> int:
        """Return the size of the video; raises as `read_bytes` does."""
        return len(self.read_bytes())


VideoSource = Path | PackedVideo


@dataclass(frozen=True)
class TarMember(PackedVideo):
    """A member of a tar, which is a range of its bytes; the rest of the tar is not read."""

    start: int
    num_bytes: int

    @retried
    def read_bytes(self) -> bytes:
        """Read the range."""
        with reached(self.file), self.file.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.num_bytes)
        if len(data) < self.num_bytes:
            raise VideoError(f"{self.file.name} ends inside it")
        return data

    def count_bytes(self) -> int:
        """Return the size that the tar states; nothing is read."""
        return self.num_bytes


@dataclass(frozen=True)
class ParquetCell(PackedVideo):
    """A cell of a parquet file: binary, or a struct with the field `bytes`."""

    column: str
    row_group: int
    row: int
    """Position in the row group."""

    def __str__(self) -> str:
        return f"{self.file}, row group {self.row_group}, row {self.row}"

    def read_bytes(self) -> bytes:
        """Read the column of its row group, which stays in memory until another one is read."""
        from pyarrow import ArrowException

        status = self.file.stat()
        try:
            cell = _read_column(self.file, self.column, self.row_group, status.st_mtime_ns)[self.row].as_py()
        except (ArrowException, LookupError, ValueError, OSError) as error:
            reason = str(error).partition("\n")[0]
            raise VideoError(f"{self.file.name}, row group {self.row_group} cannot be read: {reason}") from None
        data: bytes | None = cell["bytes"] if isinstance(cell, dict) else cell
        if data is None:
            raise VideoError("its row holds no bytes; write the parquet file with the videos in it")
        return data


@dataclass(frozen=True)
class Segment(PackedVideo):
    """A range of time of a longer video: the frames displayed from `start_seconds` to before `end_seconds`.

    A file on disk is read where it is; one behind a URL once for all of its segments that are read one after another.
    """

    start_seconds: float
    end_seconds: float
    share: float
    """Of the file's bytes, in (0,1]."""

    def read_bytes(self) -> bytes:
        """Read the complete file, which stays in memory until another one is read."""
        return _read_file(self.file, self.file.stat().st_mtime_ns)

    def count_bytes(self) -> int:
        """Return its share of the file."""
        return round(self.share * self.file.stat().st_size)


@lru_cache(maxsize=1)
def _read_file(file: Path, mtime_ns: int) -> bytes:
    return file.read_bytes()


@lru_cache(maxsize=1)
def _sha256_of_file(path: Path, mtime_ns: int) -> str:
    if isinstance(path, RemotePath):
        return hashlib.sha256(_read_file(path, mtime_ns)).hexdigest()
    return sha256_of(path)


@lru_cache(maxsize=1)
@retried
def _read_column(file: Path, column: str, row_group: int, mtime_ns: int) -> Any:
    """Return a column of a row group; a changed file has another `mtime_ns` and is read again."""
    from pyarrow.parquet import ParquetFile

    with reached(file), file.open("rb") as opened, ParquetFile(opened) as parquet:
        return parquet.read_row_group(row_group, columns=[column], use_threads=False).column(column)


@dataclass(frozen=True)
class ReadVideo(PackedVideo):
    """A video that is in memory."""

    data: bytes

    def read_bytes(self) -> bytes:
        """Return its bytes."""
        return self.data


def in_memory(source: VideoSource) -> VideoSource:
    """Return a video that would be fetched each time as one that was fetched, if it is there; raises `VideoError`."""
    if isinstance(source, PackedVideo | RemotePath) and not isinstance(source, Segment):
        with suppress(OSError):
            return ReadVideo(file_of(source), source.name, source.read_bytes())
    return source


def file_of(source: VideoSource) -> Path:
    """Return the file that holds the video."""
    return source.file if isinstance(source, PackedVideo) else source


def num_bytes_of(source: VideoSource) -> int:
    """Return the size of the video itself."""
    return source.count_bytes() if isinstance(source, PackedVideo) else source.stat().st_size


def sha256_of(source: VideoSource) -> str:
    """Return the SHA-256 of the video itself; of a segment, of its file and its times."""
    if isinstance(source, Segment):
        whole = _sha256_of_file(source.file, source.file.stat().st_mtime_ns)
        return hashlib.sha256(f"{whole} {source.start_seconds} {source.end_seconds}".encode()).hexdigest()
    if isinstance(source, PackedVideo | RemotePath):
        return hashlib.sha256(source.read_bytes()).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class NamedBytes(io.BytesIO):
    """Bytes with the name of their file, as PyAV takes them."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name
