"""The train run: students trained on a set file, or on all videos, and judged on videos that they never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videocompressa.clip import ClipSpec
from videocompressa.datasets import BadVideo, VideoSet
from videocompressa.errors import InputError
from videocompressa.recipes.data import check_split, decode_videos, list_videos
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students import LabeledClips, TrainConfig, TrainingResult, train_seeds
from videocompressa.synthetic import SyntheticSet


@dataclass(frozen=True)
class TrainOutcome:
    """The result of a train run."""

    result: TrainingResult
    trained_on: str
    """The set file, or the folder."""
    classes: tuple[str, ...]
    num_train_clips: int
    num_test_clips: int
    split: str
    """Split that the students were judged on."""
    skipped: tuple[BadVideo, ...]
    """Videos that could not be read, of the splits that were used."""


def train_on(
    subject: Path,
    data: Path,
    *,
    config: TrainConfig,
    candidates: CandidateOptions,
    num_seeds: int = 3,
    split: str = "test",
    codec: str | None = None,
    surroundings: Surroundings,
) -> TrainOutcome:
    """Train students on `subject` and judge them on a split of `data`.

    `subject` is a set file, or a folder (or csv) of videos: then on all of its training videos, the reference "full
    data". The steps are the same for either. For a set, T and the size of the frames come from its file. Seeds are 0
    to `num_seeds` - 1. Raises `InputError`, and `DivergedError` when no run ends with a finite loss.
    """
    if num_seeds < 1:
        raise InputError(f"--seeds is {num_seeds}; it must be at least 1")
    videos = list_videos(data, candidates)
    check_split(videos, split, data)
    if subject.is_dir() or subject.suffix.lower() == ".csv":
        train, clip, skipped = _full_data(subject, candidates, surroundings)
    else:
        train, clip = _set_clips(open_set(subject, codec), subject, videos, data, split)
        skipped = ()
    check_classes(train.classes, videos.classes, subject, data)
    test = decode_videos(videos, split, clip, candidates, surroundings)
    result = train_seeds(
        train,
        LabeledClips(test.frames, test.labels, train.normalization, test.classes),
        config,
        Run(Streams(0), surroundings.device, surroundings.watch),
        seeds=range(num_seeds),
        clock=surroundings.clock,
    )
    return TrainOutcome(
        result=result,
        trained_on=str(subject),
        classes=train.classes,
        num_train_clips=len(train),
        num_test_clips=len(test),
        split=split,
        skipped=(*skipped, *test.bad),
    )


def _full_data(
    folder: Path, candidates: CandidateOptions, surroundings: Surroundings
) -> tuple[LabeledClips, ClipSpec, tuple[BadVideo, ...]]:
    videos = list_videos(folder, candidates)
    check_split(videos, "train", folder)
    train = decode_videos(videos, "train", candidates.clip, candidates, surroundings)
    return LabeledClips(train.frames, train.labels, train.normalization, train.classes), candidates.clip, train.bad


def _set_clips(
    synthetic: SyntheticSet, path: Path, videos: VideoSet, data: Path, split: str
) -> tuple[LabeledClips, ClipSpec]:
    check_unseen(synthetic, path, videos, data, split)
    clips = LabeledClips(synthetic.clips(), synthetic.labels, synthetic.normalization, synthetic.classes)
    return clips, synthetic.clip


def check_unseen(synthetic: SyntheticSet, path: Path, videos: VideoSet, data: Path, split: str) -> None:
    """Raise when a set was made from videos that are to judge it."""
    judged = {entry.video_id for entry in videos.select(split).entries}
    both = judged.intersection(synthetic.provenance.video_ids)
    if both and synthetic.provenance.source.name == videos.name:
        raise InputError(
            f"{path}: was made from {len(both)} of the {split} videos of {data}, such as {min(both)}; compress with "
            "the same --hold-out and lists"
        )


def check_classes(own: Sequence[str], theirs: Sequence[str], subject: Path, data: Path) -> None:
    """Raise, with the differences, unless a set and the data that judge it have the same classes."""
    if tuple(own) == tuple(theirs):
        return
    missing, extra = sorted(set(own) - set(theirs)), sorted(set(theirs) - set(own))
    differences = [f"{data} lacks {_names(missing)}"] * bool(missing) + [f"{subject} lacks {_names(extra)}"] * bool(
        extra
    )
    raise InputError(
        f"the classes of {subject} and {data} differ: {'; '.join(differences) or 'another order'}; "
        "give the data that the set was made of"
    )


def _names(classes: Sequence[str]) -> str:
    return ", ".join(map(repr, classes[:5])) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
