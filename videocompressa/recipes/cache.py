"""What the cache holds, and its removal, least recently used first. Removing it loses time, never results."""

import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from videocompressa.errors import InputError

KINDS = {"candidates": "frames and latents of videos", "stages": "trained networks", "features": "features of teachers"}
"""Folders of the cache, and what they hold. Whatever else is in it is left alone."""


@dataclass(frozen=True)
class CachePart:
    """What is kept or removed as one: the candidates of a split, the stages of a training set, the features."""

    kind: str
    """A key of `KINDS`."""
    path: Path
    num_bytes: int
    used: float
    """When a file of it was last read or written, in seconds since 1970."""


def cache_parts(cache: Path) -> list[CachePart]:
    """Return the parts of the cache, the least recently used first; none where there is no such folder."""
    parts = []
    for kind in KINDS:
        folders = (cache / kind,) if kind == "features" else sorted((cache / kind).glob("*/"))
        for folder in folders:
            status = [path.stat() for path in folder.rglob("*") if path.is_file()]
            if status:
                used = max(max(each.st_atime, each.st_mtime) for each in status)
                parts.append(CachePart(kind, folder, sum(map(_disk_bytes, status)), used))
    return sorted(parts, key=lambda part: part.used)


def prune(cache: Path, max_bytes: int = 0) -> tuple[list[CachePart], list[CachePart]]:
    """Remove the least recently used parts until `max_bytes` are left; return what was removed, and what is left.

    Parts that a run is writing stay. Raises `InputError` when the disk refuses.
    """
    parts = cache_parts(cache)
    left, removed = list(parts), []
    for part in parts:
        if total_bytes(left) > max_bytes and _remove(part.path):
            left.remove(part)
            removed.append(part)
    return removed, left


def _disk_bytes(status: os.stat_result) -> int:
    """Return the bytes that a file takes: the clips that are not encoded are holes in theirs."""
    return min(status.st_size, 512 * getattr(status, "st_blocks", status.st_size))  # Windows counts no blocks


def total_bytes(parts: Sequence[CachePart]) -> int:
    """Return the bytes of all of them."""
    return sum(part.num_bytes for part in parts)


def _remove(folder: Path) -> bool:
    """Remove a part unless a run holds its lock."""
    lock = folder / "lock"
    try:
        with FileLock(lock, timeout=0) if lock.exists() else nullcontext():
            shutil.rmtree(folder)
    except Timeout:
        return False
    except OSError as error:
        raise InputError(f"{folder}: cannot be removed: {error.strerror}; check the permissions") from error
    return True
