"""The train run: students trained on a set file, or on all videos, and evaluated on other videos."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from videocompressa.datasets import BadVideo, VideoSet
from videocompressa.datasets.layouts import PACKED
from videocompressa.errors import InputError
from videocompressa.files import check_output_folder
from videocompressa.hub import holds_set, is_on_hub
from videocompressa.networks import Classifier
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.recipes.data import check_split, decode_videos, list_videos
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages, Watch, watch_nothing
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import TrainingResult, train_seeds
from videocompressa.students.model_folder import TrainedModel, write_model
from videocompressa.students.named import OwnNetwork, parse_student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import fit
from videocompressa.synthetic import SyntheticSet


@dataclass(frozen=True)
class TrainOutcome:
    """The result of a train run."""

    result: TrainingResult
    trained_on: str
    """The set file, or the folder."""
    classes: tuple[str, ...]
    regime: str
    """Whose labels students learned: "hard", "soft" (both stored) or "views" (of a labeler)."""
    num_train_clips: int
    num_test_clips: int
    split: str
    """Split that the students were evaluated on."""
    skipped: tuple[BadVideo, ...]
    """Videos of the used splits that could not be read."""
    centroid_top1: float | None = None
    """Of a probe: top-1 in [0,1] of the nearest class mean of the same features, which trains nothing."""
    notes: tuple[str, ...] = ()
    """What was found in the evaluated folder and left out, and replaced frames of its videos."""


def train_on(
    subject: Path,
    data: Path,
    *,
    config: TrainConfig,
    candidates: CandidateOptions,
    num_seeds: int = 3,
    split: str = "test",
    codec: str | None = None,
    stored_labels: bool = False,
    save_model: Path | None = None,
    overwrite: bool = False,
    group: ProcessGroup = ALONE,
    surroundings: Surroundings,
) -> TrainOutcome:
    """Train students on `subject` and evaluate them on a split of `data`.

    `subject` is a set file, or a folder (or csv) of videos: then on all of its training videos, the reference "full
    data". The steps are the same for either. The views of a set with a labeler are labeled by it, unless
    `stored_labels`. For a set, T and the size of the frames come from its file. Seeds are 0 to `num_seeds` - 1.
    `save_model` is a folder for the first student (`write_model`). The processes of `group` share the seeds. Raises
    `InputError`, and `DivergedError` when no run ends with a finite loss.
    """
    if num_seeds < 1:
        raise InputError(f"--seeds is {num_seeds}; it must be at least 1")
    if save_model is not None:
        check_output_folder(save_model, overwrite=overwrite)
    videos = list_videos(data, candidates)
    check_split(videos, split, data)
    if holds_videos(subject):
        clip = candidates.clip
        train, skipped = _all_videos(subject, candidates, surroundings)
    else:
        synthetic = open_set(subject, codec)
        check_unseen(synthetic, subject, videos, data, split)
        if stored_labels:
            synthetic = dataclasses.replace(synthetic, labeler=None)
        train = LabeledClips.of_set(synthetic, surroundings.device)
        clip, skipped = synthetic.clip, ()
    check_same_classes(train.classes, videos.classes, subject, data)
    test = decode_videos(videos, split, clip, candidates, surroundings)
    test_clips = LabeledClips(test.frames, test.labels, train.normalization, test.classes)
    stages = Stages(surroundings.cache / "features", surroundings.clock)
    run = Run(Streams(0), surroundings.device, surroundings.watch, stages)
    trained: dict[int, Classifier] = {}

    def keep(seed: int, student: Classifier) -> None:
        if save_model is not None and group.is_main and not trained:
            trained[seed] = student

    seeds, clock = range(num_seeds), surroundings.clock
    result = train_seeds(train, test_clips, config, run, seeds=seeds, clock=clock, keep=keep, group=group)
    centroid = None
    if parse_student(config.student).mode == "probe":
        nearest = dataclasses.replace(config, student=f"{config.student.removesuffix(':probe')}:centroid")
        centroid = train_seeds(train, test_clips, nearest, run, seeds=[0], clock=clock).top1_mean
    for student in trained.values():
        assert save_model is not None
        model = TrainedModel(student, config.student, config.width, train.classes, clip, train.normalization)
        write_model(model, save_model, overwrite=overwrite)
    return TrainOutcome(
        result=result,
        trained_on=str(subject),
        classes=train.classes,
        regime=train.regime,
        num_train_clips=len(train),
        num_test_clips=len(test),
        split=split,
        skipped=(*skipped, *test.bad),
        centroid_top1=centroid,
        notes=(*videos.notes, *test.notes),
    )


def _all_videos(
    data: Path, candidates: CandidateOptions, surroundings: Surroundings
) -> tuple[LabeledClips, tuple[BadVideo, ...]]:
    """Return all training clips, and the videos that cannot be read."""
    videos = list_videos(data, candidates)
    check_split(videos, "train", data)
    decoded = decode_videos(videos, "train", candidates.clip, candidates, surroundings)
    return LabeledClips(decoded.frames, decoded.labels, decoded.normalization, decoded.classes), decoded.bad


def holds_videos(subject: Path) -> bool:
    """Return whether students are trained on labeled videos, and not on a set file."""
    if is_on_hub(subject):
        return not holds_set(str(subject))
    return subject.is_dir() or subject.suffix.lower() in (".csv", *PACKED)


def fit_module(
    synthetic: SyntheticSet,
    model: nn.Module,
    config: TrainConfig | None = None,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    watch: Watch = watch_nothing,
) -> nn.Module:
    """Train a module of one's own on a set (`load`) from its weights on, in place; return it in evaluation mode.

    The module takes normalized clips (B,T,3,H,W) float32 and gives logits (B,L). Views and labels are those that
    students get: of the set's labeler if it has one. Of `config`, `student` and `width` are not read; its default rate
    suits networks that start from random weights. Raises `InputError` for another output, `DivergedError`.
    """
    student = OwnNetwork(model, len(synthetic.classes))
    run = Run(Streams(seed, "train"), device or torch.device("cpu"), watch)
    fit(LabeledClips.of_set(synthetic, run.device), config or TrainConfig(), run, student=student)
    return model


def check_unseen(synthetic: SyntheticSet, path: Path, videos: VideoSet, data: Path, split: str) -> None:
    """Raise when a set holds videos of its own evaluation."""
    evaluated = {entry.video_id for entry in videos.select(split).entries}
    both = evaluated.intersection(synthetic.provenance.video_ids)
    if both and synthetic.provenance.source.name == videos.name:
        raise InputError(
            f"{path}: was compressed from {len(both)} of the {split} videos of {data}, such as {min(both)}; compress "
            "with the same --hold-out and lists"
        )


def check_same_classes(own: Sequence[str], theirs: Sequence[str], subject: Path, data: Path) -> None:
    """Raise, with the differences, unless a set and the data of its evaluation have the same classes."""
    if tuple(own) == tuple(theirs):
        return
    missing = {data: sorted(set(own) - set(theirs)), subject: sorted(set(theirs) - set(own))}
    differences = "; ".join(f"{path} lacks {_names(names)}" for path, names in missing.items() if names)
    raise InputError(
        f"the classes of {subject} and {data} differ: {differences or 'another order'}; "
        "give the data that was compressed"
    )


def _names(classes: Sequence[str]) -> str:
    return ", ".join(map(repr, classes[:5])) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")
