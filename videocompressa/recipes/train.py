"""The train run: students trained on a set file, or on all videos, and evaluated on other videos."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeGuard

import torch
from torch import nn

from videocompressa.clip import ClipSpec, DecodedSplit
from videocompressa.codecs import Codec
from videocompressa.datasets import BadVideo, VideoSet
from videocompressa.datasets.layouts import PACKED
from videocompressa.errors import InputError
from videocompressa.files import check_output_folder
from videocompressa.hub import holds_set, is_on_hub
from videocompressa.networks import Classifier
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.recipes.data import check_split, decode_videos, list_videos, sampled
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages, Watch, watch_nothing
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import TrainingResult, train_seeds
from videocompressa.students.labelers import with_network
from videocompressa.students.model_folder import TrainedModel, write_model
from videocompressa.students.named import OwnNetwork, parse_student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips
from videocompressa.students.training import fit
from videocompressa.synthetic import Provenance, SyntheticSet
from videocompressa.texts import names_text


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
    student: nn.Module | None = field(default=None, repr=False)
    """The first student that this process trained, in evaluation mode: from normalized clips (B,T,3,H,W) to logits."""
    notes: tuple[str, ...] = ()
    """What was found in the folders of videos and left out, and replaced frames of evaluated videos."""


def train_on(
    subject: Path | SyntheticSet,
    data: Path,
    *,
    config: TrainConfig,
    candidates: CandidateOptions,
    num_seeds: int = 3,
    split: str = "test",
    codec: str | Codec | None = None,
    labeler: str | None = None,
    module: nn.Module | None = None,
    stored_labels: bool = False,
    save_model: Path | None = None,
    overwrite: bool = False,
    group: ProcessGroup = ALONE,
    surroundings: Surroundings,
) -> TrainOutcome:
    """Train students on `subject` and evaluate them on a split of `data`.

    `subject` is a set or its file, or a folder (or csv) of videos: then on its training videos, at most
    `candidates.train_sample`: the reference "full data". Students are those of `config.student`, or copies of `module`,
    which stays as it is. The steps are the same for either. The views of a set with a labeler are labeled by it, unless
    `stored_labels`; a labeler that is a layer needs its network: `labeler`, or that of the student. For a set, T and
    the size of the frames come from its file. Seeds are 0 to `num_seeds` - 1. `save_model` is a folder for the first
    student (`write_model`). The processes of `group` share the seeds. Raises `InputError`, and `DivergedError` when no
    run ends with a finite loss.
    """
    if num_seeds < 1:
        raise InputError(f"--seeds is {num_seeds}; it must be at least 1")
    if save_model is not None:
        _check_save_model(save_model, module, overwrite=overwrite)
    videos = _videos_of(data, split, candidates)
    if holds_videos(subject):
        source = _source_of_videos(subject, candidates, surroundings)
    else:
        synthetic = subject if isinstance(subject, SyntheticSet) else open_set(subject, codec, labeler)
        source = _source_of_set(synthetic, config.student, surroundings.device, stored_labels=stored_labels)
    train, clip, known = source.clips, source.clip, source.known
    check_same_classes(train.classes, videos.classes, subject, data)
    test = decode_videos(videos, split, clip, candidates, surroundings)
    check_unseen(known, subject, test, data, split)
    test_clips = real_clips(test, train.normalization)
    stages = Stages(surroundings.cache / "features", surroundings.clock)
    run = Run(Streams(0), surroundings.device, surroundings.watch, stages)
    student: Classifier | None = None

    def keep(seed: int, trained: Classifier) -> None:
        nonlocal student
        student = trained if student is None else student

    seeds, clock = range(num_seeds), surroundings.clock
    result = train_seeds(
        train, test_clips, config, run, seeds=seeds, clock=clock, keep=keep, group=group, module=module
    )
    centroid = None
    if module is None and parse_student(config.student).mode == "probe":
        nearest = dataclasses.replace(config, student=f"{config.student.removesuffix(':probe')}:centroid")
        centroid = train_seeds(train, test_clips, nearest, run, seeds=[0], clock=clock).top1_mean
    if save_model is not None and group.is_main and student is not None:
        facts = (config.student, config.width, train.classes, clip, train.normalization, _hashes_of(known))
        write_model(TrainedModel(student, *facts), save_model, overwrite=overwrite)
    return TrainOutcome(
        result=result,
        trained_on=str(subject),
        classes=train.classes,
        regime=train.regime,
        num_train_clips=len(train),
        num_test_clips=len(test),
        split=split,
        skipped=(*(known.bad if isinstance(known, DecodedSplit) else ()), *test.bad),
        centroid_top1=centroid,
        student=student.network if isinstance(student, OwnNetwork) else student,
        notes=tuple(dict.fromkeys((*videos.notes, *source.notes, *test.notes))),
    )


class _Source(NamedTuple):
    """What students learn from."""

    clips: LabeledClips
    clip: ClipSpec
    known: Provenance | DecodedSplit
    """Which videos these are, or were made from."""
    notes: tuple[str, ...] = ()


def _source_of_videos(data: Path, candidates: CandidateOptions, surroundings: Surroundings) -> _Source:
    """Return the training videos of a folder."""
    videos = _videos_of(data, "train", candidates)
    decoded = decode_videos(videos, "train", candidates.clip, candidates, surroundings)
    return _Source(real_clips(decoded), candidates.clip, decoded, videos.notes)


def _source_of_set(synthetic: SyntheticSet, student: str, device: torch.device, *, stored_labels: bool) -> _Source:
    """Return the clips of a set; its labeler, unless stored labels are asked for, may need the student's network."""
    labeler = None if stored_labels else synthetic.labeler
    if labeler is not None and parse_student(student).is_frozen:
        labeler = with_network(labeler, student, synthetic.classes, synthetic.clip)
    clips = LabeledClips.of_set(dataclasses.replace(synthetic, labeler=labeler), device)
    return _Source(clips, synthetic.clip, synthetic.provenance)


def _check_save_model(folder: Path, module: nn.Module | None, *, overwrite: bool) -> None:
    """Raise when no student can be written there, or it has no name to be read by."""
    if module is not None:
        raise InputError(
            "save_model: a module of yours is in the outcome, for torch.save; leave save_model out, or name the "
            "student as FILE.py:FUNCTION"
        )
    check_output_folder(folder, overwrite=overwrite)


def _videos_of(data: Path, split: str, candidates: CandidateOptions) -> VideoSet:
    """Return the videos of a folder, a split of which is read."""
    videos = list_videos(data, candidates)
    check_split(videos, split, data)
    return sampled(videos, candidates) if split == "train" else videos


def holds_videos(subject: Path | SyntheticSet) -> TypeGuard[Path]:
    """Return whether students are trained on labeled videos, and not on a set."""
    if isinstance(subject, SyntheticSet):
        return False
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
    """Train a copy of a module of one's own on a set (`load`), from its weights on; return it in evaluation mode.

    The module takes normalized clips (B,T,3,H,W) float32 and gives logits (B,L). Views and labels are those that
    students get: of the set's labeler if it has one. Of `config`, `student` and `width` are not read; its default rate
    suits networks that start from random weights. Raises `InputError` for another output, `DivergedError`.
    """
    trained = copy.deepcopy(model)
    student = OwnNetwork(trained, len(synthetic.classes))
    run = Run(Streams(seed, "train"), device or torch.device("cpu"), watch)
    fit(LabeledClips.of_set(synthetic, run.device), config or TrainConfig(), run, student=student)
    return trained


def clips_like(
    synthetic: SyntheticSet, data: Path, split: str, *, candidates: CandidateOptions, surroundings: Surroundings
) -> tuple[LabeledClips, tuple[str, ...]]:
    """Return the real clips of a split, cut as those of a set and with its normalization, and notes on the videos.

    See `check_unseen`.
    """
    videos = _videos_of(data, split, candidates)
    check_same_classes(synthetic.classes, videos.classes, "the set", data)
    decoded = decode_videos(videos, split, synthetic.clip, candidates, surroundings)
    if split != "train":
        check_unseen(synthetic.provenance, "the set", decoded, data, split)
    return real_clips(decoded, synthetic.normalization), (*videos.notes, *decoded.notes)


def check_unseen(
    known: Provenance | DecodedSplit, subject: object, test: DecodedSplit, data: object, split: str
) -> None:
    """Raise when videos of an evaluation are among those that the students, or their set, were made from.

    Videos are the same when their bytes are, whatever their names and folders. Ids are compared too: in data of the
    same name, whose copy may be encoded anew, and where the hashes are not known, as in older set files.
    """
    name = known.source if isinstance(known, DecodedSplit) else known.source.name
    ids = set(known.video_ids) if name == test.source or not known.video_hashes else set()
    kept = dict(zip(known.video_hashes, known.video_ids, strict=False))
    hashes, test_hashes = {*_hashes_of(known)}, test.video_hashes or ("",) * len(test)
    both = {
        video_id: video_hash
        for video_id, video_hash in zip(test.video_ids, test_hashes, strict=True)
        if video_id in ids or video_hash in hashes
    }
    if not both:
        return
    names = [
        f"{video_id} = {kept[each]}" if kept.get(each, video_id) != video_id else video_id
        for video_id, each in both.items()
    ]
    raise InputError(
        f"{subject}: was made from {len(both)} of the {len(test)} {split} videos of {data} "
        f"({names_text(names, 20 if name == test.source else 5)}), which so cannot judge it"
        f"{_learned_text(known, both)}; give other {split} videos: the data that was compressed, with the same "
        "--hold-out and lists; copies of training videos must be removed, or left out of the list of --csv"
    )


def _hashes_of(known: Provenance | DecodedSplit) -> tuple[str, ...]:
    """Return the hashes of all videos of which it is known that students were made from them."""
    learned = known.learned_hashes if isinstance(known, Provenance) else ()
    return tuple(dict.fromkeys((*known.video_hashes, *learned)))


def _learned_text(known: Provenance | DecodedSplit, both: Mapping[str, str]) -> str:
    """Return how many of these videos, with their hashes, the networks of a set learned from, if any."""
    if isinstance(known, DecodedSplit):
        return ""
    learned = sum(each in known.learned_hashes for each in both.values())
    least = "at least " if len(known.learned_hashes) < known.source.num_videos else ""
    return f" (its networks learned from {least}{learned} of them)" if learned else ""


def check_same_classes(own: Sequence[str], theirs: Sequence[str], subject: object, data: object) -> None:
    """Raise, with the differences, unless a set and the data of its evaluation have the same classes."""
    if tuple(own) == tuple(theirs):
        return
    missing = {data: sorted(set(own) - set(theirs)), subject: sorted(set(theirs) - set(own))}
    differences = "; ".join(f"{path} lacks {names_text(names)}" for path, names in missing.items() if names)
    raise InputError(
        f"the classes of {subject} and {data} differ: {differences or 'another order'}; "
        "give the data that was compressed"
    )
