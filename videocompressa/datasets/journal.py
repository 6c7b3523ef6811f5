"""The cache of the pass over the videos: an append-only binary file with a journal of its complete shards.

`frames.bin` holds the good videos' frames, `frames.jsonl` one line a finished shard, written after its bytes are on the
disk. After an interruption, bytes beyond the last line are cut off and the work resumes there. Each line carries a hash
chained over all lines before it, and a checksum of its bytes, which are read when the cache is opened: what a disk
damaged is done again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from filelock import FileLock, Timeout

from videocompressa.errors import InputError
from videocompressa.run import Watch, watch_nothing

Line = Mapping[str, Any]
"""One shard in a journal: `end` (bytes of the binary file after it), `crc32` of its own bytes, `chain`, and what its
writer adds."""


class Journal:
    """An append-only binary file and its journal; use within `locked`."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.journal = binary.with_suffix(".jsonl")
        self.lines: list[Line] = self._complete_lines()

    def _complete_lines(self) -> list[Line]:
        """Read the lines up to the first that is torn or altered, or whose bytes are."""
        lines: list[Line] = []
        with suppress(FileNotFoundError, ValueError, LookupError, TypeError), self.binary.open("rb") as file:
            for written in self.journal.read_text(encoding="utf-8").split("\n")[:-1]:
                line = json.loads(written)
                if line["chain"] != chain(lines, line) or line["crc32"] != crc32(file.read(line["end"] - file.tell())):
                    break
                lines.append(line)
        return lines

    def keep(self, count: int) -> None:
        """Cut both files back to the first `count` shards (creating them when there are none)."""
        drops_shards = count < len(self.lines)
        self.lines = self.lines[:count]
        with writable(self.binary.parent):
            if drops_shards:
                # Another run may have mapped the file: it keeps the old one while a copy takes its name.
                copy = self.binary.with_suffix(".new")
                shutil.copyfile(self.binary, copy)
                os.truncate(copy, self.end)
                os.replace(copy, self.binary)
            self.binary.touch()
            os.truncate(self.binary, self.end)
            copy = self.journal.with_suffix(".new")
            copy.write_text("".join(map(_as_text, self.lines)), encoding="utf-8")
            os.replace(copy, self.journal)

    def append(self, data: bytes | memoryview, **values: Any) -> None:
        """Append one shard: its bytes first, then its line."""
        line = {**values, "end": self.end + memoryview(data).nbytes, "crc32": crc32(data)}
        line["chain"] = chain(self.lines, line)
        with writable(self.binary.parent):
            with self.binary.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self.journal.open("a", encoding="utf-8") as lines:
                lines.write(_as_text(line))
        self.lines.append(line)

    @property
    def end(self) -> int:
        """Bytes of the complete shards."""
        return int(self.lines[-1]["end"]) if self.lines else 0


def chain(before: list[Line], line: Line) -> str:
    """Return the hash of a line and all before it; stamps may change while the content stays."""
    content = {key: value for key, value in line.items() if key not in ("chain", "stamps")}
    previous = before[-1]["chain"] if before else ""
    return hashlib.sha256((previous + json.dumps(content, sort_keys=True)).encode()).hexdigest()


def _as_text(line: Line) -> str:
    return json.dumps(line, sort_keys=True) + "\n"


@contextmanager
def locked(folder: Path, watch: Watch = watch_nothing) -> Iterator[None]:
    """Hold the cache folder for this run alone, once other runs have released it.

    While another run holds it, which can take long, `watch("wait for another run", done=, total=)` reports so.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        with suppress(Timeout):
            lock.acquire(blocking=False)
    if not lock.is_locked:
        watch("wait for another run", done=0, total=1)
        lock.acquire()
        watch("wait for another run", done=1, total=1)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def writable(cache: Path) -> Iterator[None]:
    """Raise the errors of a full or read-only disk as `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{cache}: the cache cannot be written: {error.strerror}; free some space, or give another --cache"
        ) from error
