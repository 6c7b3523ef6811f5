"""A path behind a URL, such as s3://bucket/videos: what readers of data ask of a `Path`, answered by fsspec."""

from __future__ import annotations

import re
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path, PosixPath
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote, unquote

from videocompressa.errors import InputError, how_to_install

P = ParamSpec("P")
T = TypeVar("T")

URL = re.compile(r"^[a-z][a-z0-9+-]+:/+")
HUB_SET = re.compile(r"^hf://datasets/[^/@]+/[^/@]+(?=/|$)")
BLOCK_BYTES = 2**16
"""Read at once from a store; more where more is asked for (our choice: headers of a tar are far apart)."""

PAUSES_SECONDS = (0.5, 2.0)
"""Before a store that failed is asked again (our choice)."""

HUB_FAULTS = {
    "RepositoryNotFoundError": "the hub has no such data set, or a private one; check the name, or run: hf auth login",
    "RevisionNotFoundError": "the data set has no such revision; check --revision",
    "GatedRepoError": "its owner must give you access; ask for it on the data set's page, then run: hf auth login",
    "HfUriError": "is no data set of the hub; write hf:USER/NAME",
}
"""What to do about errors of the Hugging Face hub, which is an optional package: by their names."""


class StoreError(InputError):
    """A store or the network failed; it may work again."""


def path_of(text: str | Path) -> Path:
    """Return the path of a file or a URL; a `Path` made of a URL, which has lost a slash, is one again.

    "hf:USER/NAME" is the data set of the Hugging Face hub, hf://datasets/USER/NAME.
    """
    if str(text).startswith("file:/"):
        return Path("/", str(text).removeprefix("file:").lstrip("/"))
    if str(text).startswith("hf:") and not str(text).startswith("hf:/"):
        return RemotePath(f"hf://datasets/{str(text).removeprefix('hf:')}")
    return RemotePath(text) if URL.match(str(text)) else Path(text)


def at_revision(path: Path, revision: str | None) -> Path:
    """Return the path of a data set of the hub at a branch, tag or commit; None changes nothing."""
    if revision is None:
        return path
    found = HUB_SET.match(str(path := path_of(path)))
    if found is None:
        raise InputError(
            f"--revision {revision}: {path} is no data set of the hub, or names its own; give hf:USER/NAME"
        )
    return RemotePath(f"{found[0]}@{quote(revision, safe='')}{str(path)[found.end() :]}")


@contextmanager
def reached(path: Path) -> Iterator[None]:
    """Raise the errors of a store and of the network as `StoreError`; those of files and of their content pass."""
    try:
        yield
    except (InputError, tarfile.TarError):
        raise
    except Exception as error:  # Every store has errors of its own.
        # Over http and from the hub, a file "is not found" where the network or the access fails.
        fault = error.__cause__ if isinstance(error, FileNotFoundError) else error
        if not isinstance(path, RemotePath) or not isinstance(fault, Exception) or _is_of_content(fault):
            raise
        raise _fault(path, fault) from error


def _is_of_content(fault: Exception) -> bool:
    """Return whether a file is not there or not what it should be: the store works."""
    if isinstance(fault, ValueError):  # A bare one is fsspec's, of a server that sends no ranges.
        return type(fault) is not ValueError and type(fault).__name__ not in HUB_FAULTS
    return isinstance(fault, FileNotFoundError | LookupError) or getattr(fault, "status", 0) == 404


def _fault(path: Path, error: Exception) -> InputError:
    if advice := HUB_FAULTS.get(type(error).__name__):
        return InputError(f"{path}: {advice}")
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, ImportError):
        return InputError(f"{path}: {reason}; for https: and hf: {how_to_install('hub')}")
    kind = InputError if isinstance(error, ValueError) else StoreError
    return kind(f"{path}: the store cannot be reached ({reason}); check the address, the network and your access to it")


def retried(read: Callable[P, T]) -> Callable[P, T]:
    """Call a function that reads from a store again, after a pause, where it raised `StoreError`."""

    @wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> T:
        for pause in PAUSES_SECONDS:
            with suppress(StoreError):
                return read(*args, **kwargs)
            time.sleep(pause)
        return read(*args, **kwargs)

    return reading


class RemotePath(PosixPath):
    """A path that begins with the scheme of a URL; only for listing and reading."""

    def __str__(self) -> str:
        return URL.sub(lambda found: found[0].rstrip("/") + "//", super().__str__())

    def _store(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            store, path = url_to_fs(str(self))
        except (ImportError, ValueError) as error:
            raise _fault(self, error) from error
        return store, path

    @retried
    def _info(self) -> dict[str, Any] | None:
        store, path = self._store()
        try:
            with reached(self):
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

    @retried
    def files(self) -> list[RemotePath]:
        """Return all files below it."""
        store, path = self._store()
        with reached(self):
            names = [name.removeprefix(path).lstrip("/") for name in store.find(path)]
        # A page of links quotes the names of files.
        return [self / (unquote(name) if path.startswith("http") else name) for name in names]

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

    @retried
    def read_bytes(self) -> bytes:
        """Read all of it."""
        store, path = self._store()
        with reached(self):
            data: bytes = store.cat_file(path)
            return data

    def read_text(self, encoding: str | None = None, *_: Any, **__: Any) -> str:
        """Read all of it as text."""
        return self.read_bytes().decode(encoding or "utf-8").replace("\r\n", "\n")

    def absolute(self) -> RemotePath:
        """Return it: a URL is absolute."""
        return self
