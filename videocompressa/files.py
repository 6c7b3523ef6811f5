"""Files and folders that are complete or untouched, whatever happens while they are written."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from videocompressa.errors import ArtifactError, InputError

NAME_BYTES = 200
"""Of a text that becomes a name; file systems hold 255, and numbers and suffixes are added."""


def name_of(text: str) -> str:
    """Return a text, such as a class of a file from elsewhere, as the name of one file or folder, never of one above.

    The hash of a long text keeps those of one beginning apart.
    """
    name = re.sub("[/\0]", "_", text)
    name = name if name.strip(".") else f"_{name}"
    if len(data := os.fsencode(name)) <= NAME_BYTES:
        return name
    return f"{data[: NAME_BYTES - 9].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:8]}"


def read_bytes(path: Path, what: str) -> bytes:
    """Return the bytes of a file, unchecked; raises `ArtifactError` that calls it `what` when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactError(f"{what} {path} does not exist") from error
    except OSError as error:
        raise ArtifactError(f"cannot read {what} {path}: {error.strerror}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path next to `path`, with its suffix; sync and rename it when the block ends without an error.

    `path` is complete or untouched, and nothing else is left. Raises `InputError` when the disk refuses.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part{path.suffix}")
    try:
        yield part
        with open(part, "rb+") as file:  # Windows syncs no file that is open for reading alone.
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by `atomic_path`, in place of one that exists."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 by `atomic_path`, in place of one that exists."""
    write_bytes(path, text.encode())


def check_output(path: Path, *, overwrite: bool = False, suffix: str = "") -> None:
    """Raise `InputError` when `path` cannot be written, or has another suffix: to be called before a long run."""
    if not path.name.endswith(suffix):
        raise InputError(f"output {path}: is written as {suffix}; give {path.with_suffix(suffix)}")
    try:
        if path.is_dir():
            raise InputError(f"output {path} is a folder; give the name of a .safetensors file")
        _check_place(path, taken=path.exists() and not overwrite)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextmanager
def complete_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary folder to write into, renamed to `folder` when the block ends without an error, else removed."""
    check_output_folder(folder, overwrite=overwrite)
    part = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}.part")
    try:
        part.mkdir()
        yield part
        if overwrite and folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_output_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise `InputError` when a folder cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {folder} is a file; give the name of a folder")
    _check_place(folder, taken=folder.exists() and any(folder.iterdir()) and not overwrite)


def _check_place(path: Path, *, taken: bool) -> None:
    if taken:
        raise InputError(f"output {path} exists; give --force to replace it, or another name")
    if not path.absolute().parent.is_dir():
        raise InputError(f"output {path}: folder {path.absolute().parent} does not exist; make it first")


_ADVICE = {
    errno.ENOSPC: "no space left; free some or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "permission denied; choose a folder you may write to",
}


def _cannot_write(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}")
