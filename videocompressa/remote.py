"""A path behind a URL, such as s3://bucket/videos: what readers of data ask of a `Path`, answered by fsspec."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PosixPath
from types import SimpleNamespace
from typing import Any

from videocompressa.errors import InputError

URL = re.compile(r"^[a-z][a-z0-9+-]+:/+")
BLOCK_BYTES = 2**16
"""Read at once from a store; more where more is asked for (our choice: headers of a tar are far apart)."""


def path_of(text: str | Path) -> Path:
    """Return the path of a file or a URL; a `Path` made of a URL, which has lost a slash, is one again."""
    if str(text).startswith("file:/"):
        return Path("/", str(text).removeprefix("file:").lstrip("/"))
    return RemotePath(text) if URL.match(str(text)) else Path(text)


@contextmanager
def reached(path: Path) -> Iterator[None]:
    """Raise the errors of a store and of the network as `InputError`; those of files and of their content pass."""
    try:
        yield
    except (FileNotFoundError, ValueError, LookupError, tarfile.TarError):
        raise
    except Exception as error:  # Every store has errors of its own.
        if not isinstance(path, RemotePath):
            raise
        raise _unreachable(path, error) from error


def _unreachable(path: Path, error: Exception) -> InputError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return InputError(
        f"{path}: the store cannot be reached ({reason}); check the address, the network and your access to it"
    )


class RemotePath(PosixPath):
    """A path that begins with the scheme of a URL; only for listing and reading."""

    def __str__(self) -> str:
        return URL.sub(lambda found: found[0].rstrip("/") + "//", super().__str__())

    def _store(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            store, path = url_to_fs(str(self))
        except (ImportError, ValueError) as error:
            raise _unreachable(self, error) from error
        return store, path

    def _info(self) -> dict[str, Any] | None:
        store, path = self._store()
        with reached(self):
            try:
                return dict(store.info(path))
            except FileNotFoundError:
                return None

    def exists(self) -> bool:
        """Return whether the store has it, as a file or as a folder."""
        return self._info() is not None

    def is_file(self) -> bool:
        """Return whether it is a file."""
        info = self._info()
        return info is not None and info["type"] == "file"

    def is_dir(self) -> bool:
        """Return whether it is a folder, which over http is a page that lists files."""
        info, (store, path) = self._info(), self._store()
        return info is not None and (info["type"] == "directory" or bool(store.isdir(path)))

    def files(self) -> list[RemotePath]:
        """Return all files below it."""
        store, path = self._store()
        with reached(self):
            return [self / name.removeprefix(path).lstrip("/") for name in store.find(path)]

    def stat(self, **_: Any) -> Any:
        """Return its size, and in place of a time a number that changes with it."""
        if (info := self._info()) is None:
            raise FileNotFoundError(str(self))
        store, path = self._store()
        with reached(self):
            return SimpleNamespace(st_size=info["size"] or 0, st_mtime_ns=store.checksum(path) % 2**63)

    def open(self, mode: str = "r", buffering: int = -1, **how: Any) -> Any:  # type: ignore[override]
        """Open it for reading."""
        store, path = self._store()
        with reached(self):
            return store.open(path, mode, block_size=BLOCK_BYTES, **how)

    def read_bytes(self) -> bytes:
        """Read all of it."""
        store, path = self._store()
        with reached(self):
            data: bytes = store.cat_file(path)
            return data

    def absolute(self) -> RemotePath:
        """Return it: a URL is absolute."""
        return self
