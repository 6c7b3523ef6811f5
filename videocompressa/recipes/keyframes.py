"""Keyframes of videos without labels: which frames a selector picks, when they are displayed, and their pictures.

1. Candidates: T small frames evenly over the complete video. A frame that a short video repeats counts once.
2. Scores of the trained selector, and the K best; or the picks of a rule that needs no training.
3. Pictures: the picked frames again, uncropped, at the video's own size.
"""

import csv
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from videocompressa.clip import ClipSpec
from videocompressa.datasets import BadVideo, locate_videos
from videocompressa.engine import Workers, run_shards
from videocompressa.errors import InputError, VideoError
from videocompressa.files import check_output_folder, complete_folder, name_of, read_bytes
from videocompressa.recipes.data import none_readable, videos_to_read
from videocompressa.recipes.options import KeyframeOptions
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.selection.keyframes import FIXED_SELECTORS, check_keyframes, top_k_positions
from videocompressa.selection.selector_file import TrainedSelector, parse_selector
from videocompressa.synthetic import SyntheticSet
from videocompressa.video import read_clip, read_frames, read_frames_at
from videocompressa.video.source import VideoSource, file_of
from videocompressa.video.write import write_picture

DEFAULT_KEYFRAMES, DEFAULT_FRAMES, SIDE = 4, 64, 64
"""K, T and the side of the candidates in pixels, for rules (our choice)."""
PICTURES_AT_ONCE = 8
"""Uncropped frames in memory at a time."""
FORMAT = 1
"""Format number of keyframes.json."""


@dataclass(frozen=True)
class Keyframe:
    """One picked frame."""

    index: int
    """Position among the frames that a player shows, from 0."""
    time_seconds: float
    """When it is displayed, from the first frame on."""
    score: float | None
    """Score of the trained selector, in (-3,3), relative to the other candidates of its video; None for a rule."""
    picture: str | None
    """Path relative to the folder."""


@dataclass(frozen=True)
class VideoKeyframes:
    """The keyframes of one video, in time order; fewer than K where it has fewer distinct candidates."""

    video: str
    """Its path as the user gave it, or relative to the folder that the user gave."""
    num_frames: int
    """Frames of the complete video."""
    keyframes: tuple[Keyframe, ...]
    num_replaced: int = 0
    """Candidates in place of a damaged frame."""


@dataclass(frozen=True)
class Extracted:
    """The content of the folder."""

    folder: Path
    selector: str
    """Name of the rule, or of the selector's file."""
    sha256: str | None
    """Hash of the selector's file."""
    num_candidates: int
    """T."""
    num_keyframes: int
    """K."""
    videos: tuple[VideoKeyframes, ...]
    skipped: tuple[BadVideo, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Picker:
    """What every job shares."""

    options: KeyframeOptions
    selector: bytes
    """The trained selector's file; empty for a rule."""
    clip: ClipSpec
    """T and the size of the candidates; those of the selector's training unless the user chooses T."""
    num_keyframes: int
    """K."""

    @functools.cached_property
    def trained(self) -> TrainedSelector | None:
        """The trained selector; None for a rule. Every worker parses its bytes once."""
        return parse_selector(self.selector, self.options.selector) if self.selector else None


class _Job(NamedTuple):
    """One video."""

    path: VideoSource
    video: str
    stem: str
    """Path of its pictures relative to the folder, without number and suffix."""


def extract_keyframes(
    sources: Sequence[Path | str],
    folder: Path | str,
    options: KeyframeOptions | None = None,
    *,
    overwrite: bool = False,
    workers: Workers = 0,
    watch: Watch = watch_nothing,
) -> Extracted:
    """Pick keyframes of videos and write `folder` with keyframes.json, keyframes.csv and the pictures.

    `sources` are videos, and folders, tars and parquet files in which all videos are taken; `workers` = 0 reads them in
    this process. The folder appears only when it is complete. A video that cannot be read is skipped and listed.

    Raises `InputError` when an option cannot be followed, a source does not exist, or no video can be read.
    """
    folder = Path(folder)
    check_output_folder(folder, overwrite=overwrite)
    picker = _picker(options or KeyframeOptions())
    videos = videos_to_read(sources)
    for path in [*map(file_of, videos), *([Path(picker.options.selector)] if picker.selector else [])]:
        if folder.resolve() in {*path.resolve().parents, *path.absolute().parents}:
            raise InputError(f"output {folder} holds {path}, which is read; give another folder")
    with complete_folder(folder, overwrite=overwrite) as part:
        jobs = [_Job(*row) for row in zip(videos, videos.values(), _stems(videos.values()), strict=True)]
        work = functools.partial(_keyframes_of, picker, part, in_worker=workers != 0)
        results = []
        with closing(run_shards(work, jobs, workers=workers, name=lambda job: job.video)) as finished:
            for result in finished:
                results.append(result)
                watch("keyframes", done=len(results), total=len(jobs))
        extracted = _extracted(folder, picker, results)
        content = json.dumps(as_json(extracted), ensure_ascii=False, indent=1) + "\n"
        (part / "keyframes.json").write_text(content, encoding="utf-8")
        _write_csv(part / "keyframes.csv", extracted.videos)
    return extracted


def as_json(extracted: Extracted) -> dict[str, Any]:
    """Return the content of keyframes.json; `docs/keyframes.md` has an example."""
    return {
        "format": FORMAT,
        "selector": {"name": extracted.selector, "sha256": extracted.sha256},
        "num_candidates": extracted.num_candidates,
        "num_keyframes": extracted.num_keyframes,
        "videos": [dataclasses.asdict(video) for video in extracted.videos],
        "skipped": [{"video": video.video_id, "reason": video.reason} for video in extracted.skipped],
    }


def candidate_scores(synthetic: SyntheticSet, data: Path, selector: Path) -> Tensor:
    """Return (N,T) float32: what the selector of a file gives all candidates of the set's videos below `data`.

    Equal scores stand for a video that cannot be read. Raises `InputError` for a selector of other clips.
    """
    trained = parse_selector(read_bytes(selector, "selector file"), str(selector))
    if trained.clip != synthetic.clip:
        raise InputError(
            f"--selector {selector}: it learned from {trained.clip}, the set has {synthetic.clip}; give the file that "
            "compress --selector-out wrote beside the set"
        )
    scores, video_ids = torch.zeros(len(synthetic), synthetic.clip.num_frames), synthetic.provenance.video_ids
    for row, (video_id, source) in enumerate(zip(video_ids, locate_videos(data, video_ids), strict=True)):
        with suppress(VideoError):  # the page names it
            frames = read_clip(source, synthetic.clip, label=0, video_id=video_id).frames
            scores[row] = trained.selector.scores(frames[None])[0]
    return scores


def _picker(options: KeyframeOptions) -> _Picker:
    """Read the selector, and look up the K and T that the user leaves open."""
    if options.selector in FIXED_SELECTORS:
        data, clip, keyframes = b"", ClipSpec(DEFAULT_FRAMES, SIDE, SIDE), DEFAULT_KEYFRAMES
    else:
        path = Path(options.selector)
        if not path.exists():
            raise InputError(
                f"--selector {options.selector!r} is no file and no rule; give a file that compress --selector-out "
                f"wrote, or one of {', '.join(FIXED_SELECTORS)}"
            )
        data = read_bytes(path, "selector file")
        trained = parse_selector(data, options.selector)
        clip, keyframes = trained.clip, trained.keyframes
    clip = dataclasses.replace(clip, num_frames=options.frames or clip.num_frames)
    num_keyframes = min(keyframes, clip.num_frames) if options.keyframes is None else options.keyframes
    check_keyframes(num_keyframes, clip.num_frames)
    return _Picker(options, data, clip, num_keyframes)


def _extracted(folder: Path, picker: _Picker, results: Sequence[VideoKeyframes | BadVideo]) -> Extracted:
    videos = tuple(result for result in results if isinstance(result, VideoKeyframes))
    skipped = tuple(result for result in results if isinstance(result, BadVideo))
    if not videos:
        raise none_readable(skipped)
    return Extracted(
        folder=folder,
        selector=Path(picker.options.selector).name,
        sha256=hashlib.sha256(picker.selector).hexdigest() if picker.selector else None,
        num_candidates=picker.clip.num_frames,
        num_keyframes=picker.num_keyframes,
        videos=videos,
        skipped=skipped,
        notes=tuple(_notes(picker, videos)),
    )


def _keyframes_of(picker: _Picker, folder: Path, job: _Job, *, in_worker: bool) -> VideoKeyframes | BadVideo:
    """Steps 1 to 3 for one video."""
    if in_worker:
        torch.set_num_threads(1)  # There are as many workers as the user wants.
    pictures, keyframes = picker.options.pictures, []
    try:
        decoded = read_frames(job.path, *picker.clip.size, fit=picker.clip.fit)
        distinct = list({position: n for n, position in enumerate(decoded.positions)}.values())
        for pick, score in zip(*_pick(picker, job.video, torch.from_numpy(decoded.frames)[distinct]), strict=True):
            index, seconds = decoded.positions[distinct[pick]], float(decoded.pts_seconds[distinct[pick]])
            picture = None if pictures == "none" else f"pictures/{job.stem}-{index:06d}.{pictures}"
            keyframes.append(Keyframe(index, round(seconds, 6), score, picture))
        if pictures != "none":
            _write_pictures(job.path, keyframes, folder, picker.options.size)
    except VideoError as error:
        return BadVideo(job.video, str(error))
    return VideoKeyframes(job.video, decoded.num_video_frames, tuple(keyframes), decoded.num_replaced)


def _pick(picker: _Picker, video: str, candidates: Tensor) -> tuple[list[int], list[float | None]]:
    """Return the positions of the K picks among the candidates (T,3,H,W), increasing, and their scores."""
    count = min(picker.num_keyframes, len(candidates))
    if picker.trained is None:
        generator = Streams(picker.options.seed, "keyframes").generator(video)
        positions = FIXED_SELECTORS[picker.options.selector]().positions(candidates[None], count, generator)[0].tolist()
        return positions, [None] * count
    scores = picker.trained.selector.scores(candidates[None])
    positions = top_k_positions(scores, count)[0].tolist()
    return positions, [round(float(scores[0, position]), 4) for position in positions]


def _write_pictures(video: VideoSource, keyframes: Sequence[Keyframe], folder: Path, short_side: int | None) -> None:
    """Write the picked frames to their paths below the folder; no file stays of a video that breaks."""
    paths = [folder / str(keyframe.picture) for keyframe in keyframes]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    try:
        for start in range(0, len(paths), PICTURES_AT_ONCE):
            rows = slice(start, start + PICTURES_AT_ONCE)
            frames = read_frames_at(video, [keyframe.time_seconds for keyframe in keyframes[rows]]).frames
            for path, frame in zip(paths[rows], frames, strict=True):
                write_picture(path, frame, short_side=short_side)
    except VideoError:
        for path in paths:
            path.unlink(missing_ok=True)
        raise


def _stems(videos: Iterable[str]) -> list[str]:
    """Return the stem of each video's pictures: its name without suffix, numbered where that is taken."""
    stems: dict[str, str] = {}
    for video in videos:
        path = Path(video)
        parts = [] if path.is_absolute() or ".." in path.parts else path.parent.parts
        name = "/".join(map(name_of, (*parts, path.stem)))
        stem, number = name, 2
        while stem.casefold() in stems:
            stem, number = f"{name}-{number}", number + 1
        stems[stem.casefold()] = stem
    return list(stems.values())


def _notes(picker: _Picker, videos: Sequence[VideoKeyframes]) -> Iterator[str]:
    if picker.trained:
        clip = picker.trained.clip
        if picker.clip.num_frames != clip.num_frames:
            yield f"the selector was trained on {clip.num_frames} candidates a video, not {picker.clip.num_frames}"
        if clip.placement != "even":
            yield f"the selector was trained on candidates placed {clip.placement}; here they cover the complete video"
    for video in videos:
        if video.num_replaced:
            yield f"{video.video}: {video.num_replaced} candidates are damaged; the nearest good frames were taken"
    if few := sum(len(video.keyframes) < picker.num_keyframes for video in videos):
        yield f"{few} of {len(videos)} videos have fewer than {picker.num_keyframes} frames; all of them were taken"


def _write_csv(path: Path, videos: Sequence[VideoKeyframes]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["video", *(field.name for field in dataclasses.fields(Keyframe))])
        for video in videos:
            writer.writerows([video.video, *dataclasses.astuple(keyframe)] for keyframe in video.keyframes)
