"""Text files of a run: whole or untouched, whatever happens while one is written."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from videocompressa.errors import ArtifactError, InputError


@contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; the file takes the name `path` when the block ends without an error."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 beside `path` under a temporary name, and rename it."""
    with complete_file(path) as part:
        part.write_text(text, encoding="utf-8")


def read_whole(path: Path, what: str) -> bytes:
    """Return the bytes of a file, unchecked; raises `ArtifactError`, which calls it `what`, when there are none."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(f"{what} {path} does not exist") from error
    except OSError as error:
        raise ArtifactError(f"cannot read {what} {path}: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync and rename it: `path` is whole or untouched. Raises `InputError`."""
    part = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Raise `InputError` when `path` cannot be written: for callers who want to know before a long run."""
    path = Path(path)
    probe = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        if path.is_dir():
            raise InputError(f"output {path} is a folder; give the name of a .safetensors file")
        if path.exists() and not overwrite:
            raise InputError(f"output {path} exists; give --force to replace it, or another name")
        if not path.parent.is_dir():
            raise InputError(f"output {path}: folder {path.parent} does not exist; make it first")
        with open(probe, "xb"):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write into, which takes its name only when the block ends without an error; else it is gone."""
    check_folder(folder, overwrite=overwrite)
    part = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
        yield part
        if overwrite and folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise when a folder of decoded clips cannot be put there."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {folder} is a file; give the name of a folder")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"output {folder} exists; give --force to replace it, or another name")
    if not folder.absolute().parent.is_dir():
        raise InputError(f"output {folder}: folder {folder.absolute().parent} does not exist; make it first")


_ADVICE = {
    errno.ENOSPC: "no space left; free some or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "permission denied; choose a folder you may write to",
}


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}")
