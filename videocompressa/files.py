"""Files and folders that are complete or untouched, whatever happens while they are written."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from videocompressa.errors import ArtifactError, InputError

with suppress(ImportError):  # Windows has none
    import fcntl

NAME_BYTES = 200
"""Of a text that becomes a name; file systems hold 255, and numbers and suffixes are added."""


REPLACED = ".replaced"
"""Name of a folder between the moment that another one takes its place and its removal."""


def name_of(text: str) -> str:
    """Return a text, such as a class of a file from elsewhere, as the name of one file or folder, never of one above.

    What separates folders on any system is replaced. The hash of a long text keeps those of one beginning apart.
    """
    name = re.sub(r"[/\\:\0]", "_", text)
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
        if path.is_dir():
            raise ArtifactError(f"{what} {path} is a folder; give the file itself") from error
        raise ArtifactError(f"cannot read {what} {path}: {error.strerror}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; sync and rename it when the block ends without an error.

    `path` is complete or untouched, and nothing else is left; after a kill, what is left is removed when `path` is
    written again. Raises `InputError` when the disk refuses.
    """
    try:
        with _unfinished(path) as folder, _errors_of_the_disk():
            part = folder / f"{secrets.token_hex(4)}{path.suffix}"
            try:
                yield part
                with open(part, "rb+") as file:  # Windows syncs no file that is open for reading alone.
                    os.fsync(file.fileno())
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


@contextmanager
def _errors_of_the_disk() -> Iterator[None]:
    """Raise what safetensors makes of an error of the disk as the `OSError` that it was."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@contextmanager
def _unfinished(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """Give the folder beside `path` for what is not finished, without what killed processes left; removed at the end.

    Processes that write the same `path` share it, unless this one must be `alone`: then `InputError` says who is not.
    """
    folder = path.with_name(f".{name_of(path.name)}.part")
    if sys.platform == "win32":  # Folders cannot be opened and locked there.
        folder.mkdir(exist_ok=True)
        yield folder
        with suppress(OSError):
            folder.rmdir()
        return
    handle = _opened_alone(folder, path) if alone else _opened_shared(folder)
    try:
        yield folder
    finally:
        if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB) is not False:
            with suppress(OSError):
                folder.rmdir()
        os.close(handle)


def _opened_alone(folder: Path, path: Path) -> int:
    """Return the folder, made, opened and locked for this process alone; what a killed one had replaced comes back."""
    while True:
        handle = _opened(folder)
        free = _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if free is False:
            os.close(handle)
            raise InputError(f"output {path}: another process is writing it; wait for it, or give another name")
        if _is(folder, handle):
            _put_back(folder / REPLACED, path)
            if free:
                _empty(folder)
            return handle
        os.close(handle)


def _put_back(replaced: Path, path: Path) -> None:
    if replaced.exists() and not path.exists():
        replaced.replace(path)


def _opened_shared(folder: Path) -> int:
    """Return the folder, made, opened, and locked against processes that would empty it."""
    while True:
        handle = _opened(folder)
        if _lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):  # Nobody who lives is writing.
            _empty(folder)
        _lock(handle, fcntl.LOCK_SH)
        if _is(folder, handle):
            return handle
        os.close(handle)


def _opened(folder: Path) -> int:
    while True:
        folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # Another process has just removed it.
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)


def _is(folder: Path, handle: int) -> bool:
    """Return whether the folder is still the one that was opened."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), folder.stat())
    return False


def _lock(handle: int, kind: int) -> bool | None:
    """Return whether the lock is held now; None on file systems without locks."""
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _empty(folder: Path) -> None:
    with suppress(FileNotFoundError):
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file by `atomic_path`, in place of one that exists."""
    with atomic_path(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8 by `atomic_path`, in place of one that exists.

    Bytes of a file name that are no UTF-8 become escapes, which JSON reads back as what they were.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


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
    with _unfinished(folder, alone=True) as place, _errors_of_the_disk():
        part, replaced = place / folder.name, place / REPLACED
        try:
            part.mkdir()
            yield part
            if overwrite and folder.exists():
                folder.replace(replaced)
            part.replace(folder)
        finally:
            _put_back(replaced, folder)
            for each in (part, replaced):
                shutil.rmtree(each, ignore_errors=True)


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
