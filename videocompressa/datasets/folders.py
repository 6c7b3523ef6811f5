"""Labeled videos by their folders: the walk over a root, and where in a path the class and the split are."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from videocompressa.datasets.lists import SPLIT_NAMES, VIDEO_SUFFIXES, DataFolder, ListedVideo
from videocompressa.errors import InputError
from videocompressa.remote import RemotePath

_MOST_KINDS = 5
"""Suffixes that a note names."""


def walk(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the video files below the root, and all other files, in sorted order.

    Links are followed and count where they are; only loops are cut. What is hidden is left out.
    """
    paths = sorted(_walk_remote(root) if isinstance(root, RemotePath) else _walk_local(root), key=Path.as_posix)
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    return videos, [path for path in paths if path.suffix.lower() not in VIDEO_SUFFIXES]


def _walk_remote(root: RemotePath) -> Iterator[Path]:
    for path in root.files():
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _walk_local(root: Path) -> Iterator[Path]:
    above: dict[str, tuple[str, ...]] = {str(root): (os.path.realpath(root),)}
    for folder, subfolders, files in os.walk(root, onerror=_refuse, followlinks=True):
        reals = above.pop(folder)
        for name in list(subfolders):
            path = os.path.join(folder, name)
            real = os.path.realpath(path)
            if name.startswith(".") or real in reals:  # A link that leads back up.
                subfolders.remove(name)
            else:
                above[path] = (*reals, real)
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}); make it readable, or move it elsewhere")


def split_depth(data: DataFolder) -> int | None:
    """Return at which place of the paths of videos splits are: 0 for SPLIT/CLASS, 1 for CLASS/SPLIT; None for none.

    Videos in other places are an error of the layout, not classes: a folder beside train/ and test/ is a mistake more
    often than a class. A single class may be called "test", where no folders are in it.
    """
    parts = [path.relative_to(data.root).parts for path in data.videos]
    for depth in (0, 1):
        names = [each[depth].lower() if len(each) > depth + 1 else "" for each in parts]
        splits = {SPLIT_NAMES.get(name) for name in names} - {None}
        deep = any(name in SPLIT_NAMES and len(each) > 2 for name, each in zip(names, parts, strict=True))
        if splits and (all(name in SPLIT_NAMES for name in names) or (deep and (depth == 0 or len(splits) > 1))):
            return depth
    return None


def folder_videos(data: DataFolder, *, depth: int | None = None) -> list[ListedVideo]:
    """root/CLASS/.../clip.mp4, all training videos; splits at `depth` 0, root/SPLIT/CLASS/, or 1, root/CLASS/SPLIT/."""
    listed = []
    linked = _linked(data) if depth == 0 else set()
    for path in data.videos:
        split, parts = "train", list(path.relative_to(data.root).parts)
        if depth is not None:
            name = parts.pop(depth) if len(parts) > depth + 1 else ""
            if name.lower() not in SPLIT_NAMES and os.path.realpath(path) in linked:
                continue  # The folder that links in train/ and test/ lead to.
            split = _split_of(name, data.root, data.root / (name or path.name) if depth == 0 else path.parent)
        if len(parts) < 2:
            place = data.root if depth is None else path.parent
            raise InputError(f"{path}: is in no class folder; move it to {place.name}/CLASS/{path.name}")
        listed.append(ListedVideo(path, parts[0], split))
    return listed


def below_classes(data: DataFolder, *, with_splits: bool) -> str:
    """Return a hint where all class folders hold nothing but folders, several each; else "".

    They may be recordings or persons, or the classes: then the folder is one level too high. `with_splits` says that
    paths are CLASS/SPLIT/.
    """
    inner: dict[str, set[str]] = {}
    for path in data.videos:
        parts = list(path.relative_to(data.root).parts)
        if with_splits and len(parts) > 2:
            parts.pop(1)
        inner.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    name, folders = min(inner.items())
    if any(len(each) < 2 or "" in each for each in inner.values()):
        return ""
    few = ", ".join(sorted(folders)[:3]) + (", ..." if len(folders) > 3 else "")
    return f"class {name!r} holds only folders ({few}); if those are the classes, give {data.root / name} instead"


def _split_of(name: str, root: Path, where: Path) -> str:
    if name.lower() not in SPLIT_NAMES:
        raise InputError(
            f"{where}: is not a split; known: {', '.join(SPLIT_NAMES)}; move it away, or give --layout folders, where "
            f"each folder is a class; if folders of {root} are data sets, give one of them"
        )
    return SPLIT_NAMES[name.lower()]


def _linked(data: DataFolder) -> set[str]:
    """Return the real paths of the videos in split folders."""
    inside = (path for path in data.videos if path.relative_to(data.root).parts[0].lower() in SPLIT_NAMES)
    return {os.path.realpath(path) for path in inside}


def left_out(data: DataFolder) -> list[str]:
    """Return notes that name what is among class folders and is not read: files that are no videos, broken links."""
    local = data.others if not isinstance(data.root, RemotePath) else []
    gone = {path for path in local if path.is_symlink() and not path.exists()}
    notes = [f"left out: {path} is a link to what is not there" for path in sorted(gone)]
    suffixes = Counter(path.suffix.lower() or path.name for path in data.others if path not in gone)
    if suffixes:
        shown = suffixes.most_common(_MOST_KINDS)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(shown))
        more = f", and {len(suffixes) - len(shown)} more kinds" if len(suffixes) > len(shown) else ""
        notes.append(f"left out: files that are no videos by their suffix ({kinds}{more})")
    return notes
