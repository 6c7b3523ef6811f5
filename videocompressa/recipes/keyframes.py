"""Keyframes of videos without labels: which frames a selector picks, when they are shown, and the frames as pictures.

1. Candidates: T frames evenly over the whole video, small, as the selector learned on them. A frame that fills several
   places of a short video stands once.
2. Scores of the trained selector, and the K best; or the picks of a rule that needs no training.
3. Pictures: the picked frames again, whole and at the video's own size.

One video at a time (a worker), so that memory does not grow with their number or length.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from videocompressa.datasets import BadVideo, walk_videos
from videocompressa.engine import run_shards
from videocompressa.errors import InputError, VideoError
from videocompressa.files import check_folder, whole_folder
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.selection.keyframes import FIXED_SELECTORS, check_keyframes, top_k_positions
from videocompressa.selection.selector_file import TrainedSelector, parse_selector, selector_file_bytes
from videocompressa.video import read_frames, read_frames_at, write_picture

DEFAULT_SELECTOR = "shots"
"""Needs no training and looks at the pictures."""
DEFAULT_KEYFRAMES, DEFAULT_FRAMES, SIDE = 4, 64, 64
"""K, T and the side of the candidates in pixels, for selectors that were not trained for others (our choice)."""
PICTURES_AT_ONCE = 8
"""Whole frames in memory at a time."""
NAME_BYTES = 200
"""Bytes of a video's name that the names of its pictures keep."""
FORMAT = 1
"""Number of the form of keyframes.json."""

Pictures = Literal["jpg", "png", "none"]


@dataclass(frozen=True)
class Keyframe:
    """One picked frame."""

    index: int
    """Place among the frames that the video shows, from 0."""
    time_seconds: float
    """When it is shown, from the first frame on."""
    score: float | None
    """How much the trained selector wants it, in (-3,3), against the other candidates of its video; None by rule."""
    picture: str | None
    """Path below the folder."""


@dataclass(frozen=True)
class VideoKeyframes:
    """The keyframes of one video, in time order; fewer than K where it has fewer distinct candidates."""

    video: str
    """As it was named, or found below the folder that was named."""
    num_frames: int
    """Frames of the whole video."""
    keyframes: tuple[Keyframe, ...]


@dataclass(frozen=True)
class Extracted:
    """What was written."""

    folder: Path
    selector: str
    """Name of the rule, or of the selector's file."""
    sha256: str | None
    """Hash of the selector's file."""
    num_candidates: int
    num_keyframes: int
    """K."""
    videos: tuple[VideoKeyframes, ...]
    skipped: tuple[BadVideo, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """One video, with all that a worker needs."""

    path: Path
    video: str
    place: str
    """Where its pictures lie, below `folder`, without number and suffix."""
    folder: Path
    rule: str
    """A key of `FIXED_SELECTORS`; "" for a trained selector."""
    selector: bytes
    """The trained selector's file; empty for a rule."""
    num_frames: int
    sides: tuple[int, int]
    keyframes: int
    pictures: Pictures
    size: int | None
    seed: int
    apart: bool
    """In a process of its own: one thread there, since there are as many workers as the user wants."""

    def __str__(self) -> str:
        return self.video


def extract_keyframes(
    sources: Sequence[Path],
    folder: Path,
    *,
    selector: str = DEFAULT_SELECTOR,
    keyframes: int | None = None,
    frames: int | None = None,
    pictures: Pictures = "jpg",
    size: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    workers: int = 0,
    watch: Watch = watch_nothing,
) -> Extracted:
    """Pick keyframes of videos and write `folder` with keyframes.json, keyframes.csv and the pictures.

    The folder appears only when it is whole. A video that cannot be read is skipped and listed.

    Parameters
    ----------
    sources:
        Videos, and folders in which all videos are taken.
    folder:
        The folder to make.
    selector:
        A file that `compress --selector-out` wrote, or a key of `selector.FIXED_SELECTORS`.
    keyframes, frames:
        K and T; None takes those that the selector was trained with, and 4 of 64 for a rule.
    pictures:
        "jpg", "png" or "none".
    size:
        Short side of the pictures in pixels, where the video is larger; None leaves the video's own size.
    seed:
        Draws what the rule "random" picks.
    overwrite:
        Replace the folder.
    workers:
        Processes; 0 works in this one.
    watch:
        Told of each video.

    Raises
    ------
    InputError
        When an option cannot be followed, a source is gone, or no video can be read.
    """
    check_folder(folder, overwrite=overwrite)
    if pictures not in get_args(Pictures):
        raise InputError(f"--pictures is {pictures!r}; known: {', '.join(get_args(Pictures))}")
    for name, value in (("size", size), ("frames", frames)):
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}; it must be at least 1")
    trained, data = _selector(selector)
    num_frames = frames or (trained.clip.num_frames if trained else DEFAULT_FRAMES)
    usual = min(trained.keyframes if trained else DEFAULT_KEYFRAMES, num_frames)
    count = usual if keyframes is None else keyframes
    check_keyframes(count, num_frames)
    found = _find(sources)
    _keep_inputs(folder, [path for path, _ in found] + ([] if trained is None else [Path(selector)]))
    made: list[VideoKeyframes] = []
    skipped: list[BadVideo] = []
    with whole_folder(folder, overwrite=overwrite) as part:
        jobs = [
            _Job(
                path=path,
                video=video,
                place=place,
                folder=part,
                rule="" if trained else selector,
                selector=data,
                num_frames=num_frames,
                sides=(trained.clip.height, trained.clip.width) if trained else (SIDE, SIDE),
                keyframes=count,
                pictures=pictures,
                size=size,
                seed=seed,
                apart=workers > 0,
            )
            for (path, video), place in zip(found, _places(video for _, video in found), strict=True)
        ]
        for done, result in enumerate(run_shards(_keyframes_of, jobs, workers=workers), 1):
            if isinstance(result, BadVideo):
                skipped.append(result)
            else:
                made.append(result)
            watch("keyframes", done=done, total=len(jobs))
        if not made:
            raise InputError(
                f"none of the {len(skipped)} videos can be read ({skipped[0].video_id}: {skipped[0].reason}); "
                "give videos that FFmpeg reads"
            )
        extracted = Extracted(
            folder=folder,
            selector=Path(selector).name if trained else selector,
            sha256=hashlib.sha256(data).hexdigest() if trained else None,
            num_candidates=num_frames,
            num_keyframes=count,
            videos=tuple(made),
            skipped=tuple(skipped),
            notes=_notes(trained, num_frames, count, made),
        )
        (part / "keyframes.json").write_text(
            json.dumps(as_json(extracted), ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
        _write_csv(part / "keyframes.csv", made)
    return extracted


def as_json(extracted: Extracted) -> dict[str, Any]:
    """Return what keyframes.json holds; `docs/keyframes.md` shows one."""
    return {
        "format": FORMAT,
        "selector": {"name": extracted.selector, "sha256": extracted.sha256},
        "num_candidates": extracted.num_candidates,
        "num_keyframes": extracted.num_keyframes,
        "videos": [dataclasses.asdict(video) for video in extracted.videos],
        "skipped": [{"video": video.video_id, "reason": video.reason} for video in extracted.skipped],
    }


def _keyframes_of(job: _Job) -> VideoKeyframes | BadVideo:
    """Steps 1 to 3 for one video."""
    if job.apart:
        torch.set_num_threads(1)
    try:
        decoded = read_frames(job.path, job.num_frames, *job.sides)
        last_of = {place: n for n, place in enumerate(decoded.positions)}
        distinct = list(last_of.values())
        candidates = torch.from_numpy(decoded.frames)[distinct]
        positions, scores = _pick(job, candidates)
        times = [float(decoded.pts_seconds[distinct[n]]) for n in positions]
        indices = [decoded.positions[distinct[n]] for n in positions]
        pictures = _write_pictures(job, indices, times) if job.pictures != "none" else [None] * len(times)
    except VideoError as error:
        return BadVideo(job.video, str(error))
    rows = zip(indices, times, scores, pictures, strict=True)
    keyframes = tuple(Keyframe(index, round(seconds, 6), score, picture) for index, seconds, score, picture in rows)
    return VideoKeyframes(job.video, decoded.num_video_frames, keyframes)


def _pick(job: _Job, candidates: Tensor) -> tuple[list[int], list[float | None]]:
    """Return the places of the K picks among the candidates (T,3,H,W), rising, and their scores."""
    count = min(job.keyframes, len(candidates))
    if job.rule:
        draws = Streams(job.seed, "keyframes").generator(job.video)
        positions = FIXED_SELECTORS[job.rule]().positions(candidates[None], count, draws)[0].tolist()
        return positions, [None] * count
    scores = _parsed(job.selector).selector.scores(candidates[None])
    positions = top_k_positions(scores, count)[0].tolist()
    return positions, [round(float(scores[0, place]), 4) for place in positions]


@functools.lru_cache(maxsize=1)
def _parsed(data: bytes) -> TrainedSelector:
    return parse_selector(data, "the selector")


def _write_pictures(job: _Job, indices: Sequence[int], times: Sequence[float]) -> list[str | None]:
    """Write the picked frames, and return their paths below the folder; all or, of a video that breaks, none."""
    names = [f"pictures/{job.place}-{index:06d}.{job.pictures}" for index in indices]
    (job.folder / names[0]).parent.mkdir(parents=True, exist_ok=True)
    try:
        for start in range(0, len(times), PICTURES_AT_ONCE):
            rows = slice(start, start + PICTURES_AT_ONCE)
            frames = read_frames_at(job.path, times[rows]).frames
            for name, frame in zip(names[rows], frames, strict=True):
                write_picture(job.folder / name, frame, short_side=job.size)
    except VideoError:
        for name in names:
            (job.folder / name).unlink(missing_ok=True)
        raise
    return list(names)


def _selector(name: str) -> tuple[TrainedSelector | None, bytes]:
    """Return the trained selector of a file with the file's bytes; None for a rule."""
    if name in FIXED_SELECTORS:
        return None, b""
    path = Path(name)
    if not path.exists():
        raise InputError(
            f"--selector {name!r} is no file and no rule; give a file that compress --selector-out wrote, or one of "
            f"{', '.join(FIXED_SELECTORS)}"
        )
    data = selector_file_bytes(path)
    return parse_selector(data, name), data


def _find(sources: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return the path and the name of every video, each once; of a folder, all below it in sorted order."""
    found: dict[Path, str] = {}
    if not sources:
        raise InputError("VIDEO is missing; give videos, or folders of them")
    for source in sources:
        if source.is_dir():
            below = list(walk_videos(source))
            if not below:
                raise InputError(f"{source}: holds no videos; give a folder with some, or a video")
            for path in below:
                found.setdefault(path.absolute(), _text(path.relative_to(source)))
        elif source.exists():
            found.setdefault(source.absolute(), _text(source))
        else:
            raise InputError(f"{source}: there is no such file or folder; give videos, or folders of them")
    return list(found.items())


def _text(path: Path) -> str:
    """Return a path as text that any file can hold, whatever bytes the name has."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _places(videos: Iterable[str]) -> list[str]:
    """Return where the pictures of each video lie: its name without suffix, numbered where that is taken."""
    taken: set[str] = set()
    places = []
    for video in videos:
        path = Path(video)
        parts = [] if path.is_absolute() or ".." in path.parts else list(path.parent.parts)
        stem = "/".join(_short(part) for part in (*parts, path.stem))
        place, number = stem, 2
        while place.casefold() in taken:
            place, number = f"{stem}-{number}", number + 1
        taken.add(place.casefold())
        places.append(place)
    return places


def _short(name: str) -> str:
    """Return a name that leaves room for a number: file systems hold 255 bytes."""
    return name.encode()[:NAME_BYTES].decode(errors="ignore")


def _keep_inputs(folder: Path, inputs: Sequence[Path]) -> None:
    """Refuse to replace a folder that holds what is read."""
    target = folder.resolve()
    for path in inputs:
        if target in path.resolve().parents or target in path.absolute().parents:
            raise InputError(f"output {folder} holds {path}, which is read; give another folder")


def _notes(trained: TrainedSelector | None, frames: int, count: int, made: Sequence[VideoKeyframes]) -> tuple[str, ...]:
    notes = []
    if trained and frames != trained.clip.num_frames:
        notes.append(f"the selector was trained on {trained.clip.num_frames} candidates a video, not {frames}")
    if trained and trained.clip.placement != "even":
        notes.append(
            f"the selector was trained on candidates placed {trained.clip.placement}; here they are spread over the "
            "whole video"
        )
    if few := sum(len(video.keyframes) < count for video in made):
        notes.append(f"{few} of {len(made)} videos have fewer than {count} frames; all of them were taken")
    return tuple(notes)


def _write_csv(path: Path, videos: Sequence[VideoKeyframes]) -> None:
    fields = [field.name for field in dataclasses.fields(Keyframe)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["video", *fields])
        for video in videos:
            for keyframe in video.keyframes:
                row = dataclasses.astuple(keyframe)
                writer.writerow([video.video, *("" if value is None else value for value in row)])
