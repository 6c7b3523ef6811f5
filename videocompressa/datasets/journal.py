"""The cache of the encode pass: append-only binary files, each with a journal that says how much of it is whole.

One folder a split and clip spec. `frames.bin` holds the good videos' frames one after the other, `frames.jsonl` one
line a finished shard. A line is written after its bytes are on the disk, so after an interruption the bytes beyond the
last line are cut off and work goes on there: the files end the same, byte for byte. Each line carries a hash chained
over all lines before it; the journal of latents names the chain of the frames it was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from videocompressa.errors import InputError
from videocompressa.run import Watch, watch_nothing

Line = Mapping[str, Any]
"""One shard in a journal: `end` (bytes of the binary file after it), `chain`, and what its writer adds."""


class Journal:
    """An append-only binary file and its journal; use within `locked`."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary
        self.journal = binary.with_suffix(".jsonl")
        self.lines: list[Line] = self._whole_lines()

    def _whole_lines(self) -> list[Line]:
        """Read the lines up to the first that is torn, altered or lacks its bytes."""
        try:
            size, text = self.binary.stat().st_size, self.journal.read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        lines: list[Line] = []
        for written in text.split("\n")[:-1]:
            try:
                line = json.loads(written)
                whole = line["end"] <= size and line["chain"] == chain(lines, line)
            except (json.JSONDecodeError, KeyError, TypeError):
                break
            if not whole:
                break
            lines.append(line)
        return lines

    def keep(self, count: int) -> None:
        """Cut both files back to the first `count` shards (creating them when there are none)."""
        dropped = count < len(self.lines)
        self.lines = self.lines[:count]
        with writable(self.binary.parent):
            self.binary.touch()
            if dropped:
                # Another run may have mapped the file: it keeps the old one while a copy takes its name.
                new = self.binary.with_suffix(".new")
                with self.binary.open("rb") as source, new.open("wb") as target:
                    _copy(source, target, self.end)
                os.replace(new, self.binary)
            else:
                os.truncate(self.binary, self.end)
            new = self.journal.with_suffix(".new")
            new.write_text("".join(_written(line) for line in self.lines), encoding="utf-8")
            os.replace(new, self.journal)

    def append(self, data: bytes | memoryview, **values: Any) -> None:
        """Append one shard: its bytes first, then its line."""
        line = {**values, "end": self.end + memoryview(data).nbytes}
        line["chain"] = chain(self.lines, line)
        with writable(self.binary.parent):
            with self.binary.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with self.journal.open("a", encoding="utf-8") as lines:
                lines.write(_written(line))
        self.lines.append(line)

    @property
    def end(self) -> int:
        """Bytes of the whole shards."""
        return int(self.lines[-1]["end"]) if self.lines else 0

    def start_of(self, position: int) -> int:
        """Where the bytes of a shard begin."""
        return int(self.lines[position - 1]["end"]) if position else 0


def chain(before: list[Line], line: Line) -> str:
    """Return the hash of a line and all before it; stamps may change while the content stays."""
    known = {key: value for key, value in line.items() if key not in ("chain", "stamps")}
    previous = before[-1]["chain"] if before else ""
    return hashlib.sha256((previous + json.dumps(known, sort_keys=True)).encode()).hexdigest()


def _copy(source: BinaryIO, target: BinaryIO, num_bytes: int) -> None:
    while num_bytes:
        block = source.read(min(num_bytes, 2**20))
        target.write(block)
        num_bytes -= len(block)


def _written(line: Line) -> str:
    return json.dumps(line, sort_keys=True) + "\n"


@contextmanager
def locked(folder: Path, watch: Watch = watch_nothing) -> Iterator[None]:
    """Hold the cache folder for this run alone, once other runs that fill or read it have let go.

    Where there is one, `watch("wait for another run", done=, total=)` says so: it may have a long pass to do.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            watch("wait for another run", done=0, total=1)
            fcntl.flock(file, fcntl.LOCK_EX)
            watch("wait for another run", done=1, total=1)
        yield


@contextmanager
def writable(cache: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{cache}: the cache cannot be written: {error.strerror}; free some space, or give another --cache"
        ) from error
