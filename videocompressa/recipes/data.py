"""The candidates of a folder of videos, and the folder where stages that depend on them are kept."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videocompressa.clip import Candidates, ClipSpec, DecodedSplit
from videocompressa.codecs import Codec
from videocompressa.datasets import decode_split, encode_pass, find_videos, unlabeled_videos
from videocompressa.datasets.layouts import PACKED
from videocompressa.datasets.videos import SPLITS, VideoSet, carve_validation, keep_classes, sample_train
from videocompressa.errors import BadVideo, InputError, check_least
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.remote import at_revision, path_of
from videocompressa.rng import Streams
from videocompressa.run import Stages, key_sha256
from videocompressa.texts import utf8_text
from videocompressa.video.source import VideoSource


def list_videos(data: Path, options: CandidateOptions) -> VideoSet:
    """Return the labeled videos of DATA; with `hold_out`, some training videos are its split "val".

    The held-out videos come from a random stream of their own, so that every command with the same share holds
    out the same ones, whatever its seed.
    """
    videos = find_videos(
        at_revision(data, options.revision),
        layout=options.layout,
        csv=options.csv,
        fold=options.fold,
        label_column=options.label_column,
        video_column=options.video_column,
    )
    if options.classes:
        videos = keep_classes(videos, options.classes)
    if options.hold_out:
        videos = carve_validation(videos, options.hold_out, Streams(0).generator("hold-out"))
    return videos


def sampled(videos: VideoSet, options: CandidateOptions) -> VideoSet:
    """Return the videos with at most `options.train_sample` training ones, always the same; a note says so."""
    check_least(options, "--", train_sample=len(videos.classes))
    total = len(videos.select("train"))
    if total <= options.train_sample:
        return videos
    few = sample_train(videos, options.train_sample, Streams(0).generator("train-sample"))
    number = len(few.select("train"))
    note = f"{number} of {total} training videos are read, and shares are of these (--train-sample)"
    return dataclasses.replace(few, notes=(*few.notes, note))


def encode_train(
    videos: VideoSet, options: CandidateOptions, codec: Codec, surroundings: Surroundings, *, encode_all: bool = False
) -> Candidates:
    """Decode the training videos, or take them from the cache; see `encode_pass` for when they are encoded."""
    return encode_pass(videos, "train", options.clip, codec, encode_all=encode_all, **_reading(options, surroundings))


def decode_videos(
    videos: VideoSet, split: str, clip: ClipSpec, options: CandidateOptions, surroundings: Surroundings
) -> DecodedSplit:
    """Decode the videos of a split as `clip` asks, or take them from the cache."""
    return decode_split(videos, split, clip, **_reading(options, surroundings))


def _reading(options: CandidateOptions, surroundings: Surroundings) -> dict[str, Any]:
    cache, workers, watch = surroundings.cache / "candidates", surroundings.workers, surroundings.watch
    limits = {"max_bad": options.max_bad, "max_seconds": options.max_seconds_per_video}
    return {"cache": cache, "workers": workers, "watch": watch, **limits}


def stages_of(train_data: Candidates, surroundings: Surroundings) -> Stages:
    """Return where finished stages over these candidates are kept; other content, another folder.

    The content is identified by the hash of every video, and what was read of them: all times, frame counts and sizes,
    and the exact mean and spread of all pixels.
    """
    identity = {
        "ids": train_data.video_ids,
        "hashes": train_data.video_hashes,
        "labels": train_data.labels.tolist(),
        "frames": train_data.num_video_frames.tolist(),
        "bytes": train_data.video_bytes.tolist(),
        "times": train_data.times_seconds.tolist(),
        "classes": train_data.classes,
        "clip": dataclasses.asdict(train_data.clip),
        "codec": dataclasses.asdict(train_data.codec),
        "normalization": dataclasses.asdict(train_data.normalization),
        "device": surroundings.device.type,
    }
    return Stages(surroundings.cache / "stages" / key_sha256(identity)[:20], surroundings.clock)


def check_split(videos: VideoSet, split: str, data: Path) -> None:
    """Raise unless the set has videos of the split, saying how to make some."""
    if videos.select(split).entries:
        return
    counts = {name: len(videos.select(name)) for name in SPLITS}
    others = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if split == "val":
        advice = "hold some training videos out with --hold-out 20%, the same in compress and train"
    else:
        advice = (
            f"name them in the column split of a splits.csv, put them in {data.name}/{split}/CLASS/ (of packed ones, "
            f"into files such as {split}-000.tar or .parquet), or evaluate on held-out ones: --split val --hold-out 20%"
        )
    raise InputError(f"{data}: has no {split} videos (only {others}); {advice}")


def evaluation_split(videos: VideoSet, data: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the split that students can be evaluated on, and a note where there is none."""
    for split in ("test", "val"):
        if videos.select(split).entries:
            return split, ()
    note = (
        f"{data} has no test videos, so that nothing can say how good a set of all of them is: add --hold-out 20% to "
        "this command and to train, and --split val to train"
    )
    return None, (note,)


def none_readable(skipped: Sequence[BadVideo]) -> InputError:
    """Return the error of a run that could read none of its videos."""
    return InputError(
        f"none of the {len(skipped)} videos can be read ({skipped[0].video_id}: {skipped[0].reason}); "
        "give videos that FFmpeg reads"
    )


def videos_to_read(sources: Sequence[Path | str]) -> dict[VideoSource, str]:
    """Return the name of every video, each once: of a folder, a tar or a parquet file all in it, in sorted order."""
    names: dict[VideoSource, str] = {}
    if not sources:
        raise InputError("VIDEO is missing; give videos, or folders of them")
    for source in map(path_of, sources):
        if not source.exists():
            raise InputError(f"{source}: there is no such file or folder; give videos, or folders of them")
        if source.suffix.lower() in PACKED or source.is_dir():
            videos = unlabeled_videos(source.absolute())
        else:
            videos = {str(source): source.absolute()}
        if not videos:
            raise InputError(f"{source}: holds no videos; give a folder with some, or a video")
        for name, video in videos.items():
            names.setdefault(video, utf8_text(name))
    return names
