"""WebDataset tars: KEY.mp4 (or another video) with its label in KEY.cls, KEY.txt or KEY.json beside it."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from posixpath import basename, normpath, splitext

from videocompressa.datasets.lists import VIDEO_SUFFIXES, DataFolder, ListedVideo, label_text, split_of
from videocompressa.errors import InputError
from videocompressa.remote import reached, retried
from videocompressa.video.source import TarMember

LABEL_SUFFIXES = (".json", ".cls", ".txt")
"""The first that names a class counts: a .json names what a .cls only numbers, or holds other facts; a .txt may be a
caption."""


def tar_videos(data: DataFolder) -> list[ListedVideo]:
    """Members KEY.mp4 and KEY.cls, .txt or .json ({"label": ...} or {"class": ...}) of *.tar.

    The split is a word of the tar's name or of a folder above it. An id is the tar's path with the member's name.
    """
    tars = data.named(".tar")
    if not tars:
        raise InputError(f"{data.root}: holds no .tar; give the folder of the shards")
    return [video for tar in tars for video in _read_tar(tar, tar.relative_to(data.root))]


def tar_members(data: DataFolder) -> dict[str, TarMember]:
    """Return every video of the tars by its id."""
    found: dict[str, TarMember] = {}
    for tar in data.named(".tar"):
        videos = _videos_of(tar)
        found |= {f"{tar.relative_to(data.root).as_posix()}/{video.name}": video for video in videos.values()}
    return found


@retried
def _videos_of(tar: Path) -> dict[str, TarMember]:
    with _opened(tar) as (_, members):
        return _videos(tar, members)


@retried
def _read_tar(tar: Path, relative: Path) -> list[ListedVideo]:
    with _opened(tar) as (opened, members):
        videos = _videos(tar, members)
        labels = {name: _label(tar, opened, members, splitext(name)[0]) for name in videos}
    keys = {splitext(name)[0] for name in videos}
    for name in members:
        key, suffix = splitext(name)
        if suffix in LABEL_SUFFIXES and key not in keys:
            raise InputError(f"{tar}: {key} has a label ({name}) and no video; add {key}.mp4, or remove the label")
    split, folder = split_of(relative), relative.as_posix()
    return [
        ListedVideo(video, labels[name], split, where=str(tar), video_id=f"{folder}/{name}")
        for name, video in videos.items()
    ]


@contextmanager
def _opened(tar: Path) -> Iterator[tuple[tarfile.TarFile, Mapping[str, tarfile.TarInfo]]]:
    """Open a tar, with its files by name; raises `InputError` when it does not end as a tar does."""
    try:
        with reached(tar), tar.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as opened:
            members = {normpath(member.name): member for member in opened if member.isreg()}
            file.seek(opened.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"it breaks off or is damaged after {opened.offset} bytes")
            yield opened, {name: member for name, member in members.items() if not basename(name).startswith(".")}
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{tar}: cannot be read as a tar: {error}; copy it again, or remove it") from None


def _videos(tar: Path, members: Mapping[str, tarfile.TarInfo]) -> dict[str, TarMember]:
    return {
        name: TarMember(tar, name, member.offset_data, member.size)
        for name, member in members.items()
        if splitext(name)[1].lower() in VIDEO_SUFFIXES
    }


def _label(tar: Path, opened: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], key: str) -> str:
    """Return the label beside a video."""
    for name in (key + suffix for suffix in LABEL_SUFFIXES if key + suffix in members):
        where, file = f"{tar}, {name}", opened.extractfile(members[name])
        try:
            text = (file.read() if file else b"").decode("utf-8-sig")
            value = json.loads(text) if name.endswith(".json") else text
        except ValueError as error:
            raise InputError(f"{where}: cannot be read: {error}; it must be UTF-8 text (.json: an object)") from None
        if isinstance(value, dict):
            value = value.get("class", value.get("label"))
        if value is not None:
            return label_text(value, where)
    raise InputError(f"{tar}: {key} has a video and no label; put {key}.cls, {key}.txt or {key}.json beside it")
