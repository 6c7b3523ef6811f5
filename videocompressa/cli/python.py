"""The verbs as Python functions: options by their names on the command line, strings or paths, progress shown.

They look up what the machine has, as the command line does, so that nobody builds `Surroundings`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, get_args, get_origin, get_type_hints

from videocompressa.cli import terminal
from videocompressa.cli.app import Reading, Reporting, Running
from videocompressa.cli.train import TrainArguments
from videocompressa.errors import InputError
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, NumBytes, Share
from videocompressa.recipes.settings import setting_texts
from videocompressa.remote import path_of

if TYPE_CHECKING:
    from torch import nn

    from videocompressa.codecs import Codec
    from videocompressa.methods import MethodConfig
    from videocompressa.recipes.compress import CompressOutcome
    from videocompressa.recipes.options import Surroundings
    from videocompressa.recipes.train import TrainOutcome
    from videocompressa.students.clips import LabeledClips
    from videocompressa.synthetic import SyntheticSet

Place = str | Path
Settings = Mapping[str, Any] | Sequence[str]
"""{"views.mirror": True}, or as `--set` takes them: ["views.mirror=true"]."""
Record = TypeVar("Record")


class RunKeywords(TypedDict, total=False):
    """Options of `Running` and `Reading`: how to run."""

    device: Literal["auto", "cpu", "cuda"]
    threads: int | None
    cache: Place | None
    workers: int | None
    engine: Literal["local", "ray"]
    ray_address: str | None


class DataKeywords(RunKeywords, total=False):
    """And those of `CandidateOptions`: which videos, and how they are cut."""

    size: int
    fit: Literal["crop", "pad", "stretch"]
    frames: int
    placement: str
    layout: str
    csv: Place | None
    fold: int
    label_column: str | None
    video_column: str | None
    revision: str | None
    classes: Sequence[str]
    hold_out: str | float
    train_sample: int
    max_bad: str | float
    max_seconds_per_video: float


class CompressKeywords(DataKeywords, total=False):
    """And those of `BudgetOptions` and `CompressOptions`, except method, codec and settings."""

    vpc: int | None
    ratio: str | float | None
    bytes: str | int | None
    keyframes: int | None
    allow_fewer: bool
    seed: int
    labeler: str
    storage: Literal["transform", "int8", "float16"]
    step: float | None


class StudentKeywords(RunKeywords, total=False):
    """Options of `TrainArguments` that are of the training alone."""

    steps: int
    batch_size: int
    lr: float | None


class TrainKeywords(StudentKeywords, DataKeywords, total=False):
    """Both, and the others of `TrainArguments`, except student and settings."""

    seeds: int
    width: float
    stored_labels: bool
    split: Literal["test", "val"]


def compress(
    data: Place,
    output: Place,
    *,
    method: str | MethodConfig = "videocompressa",
    codec: str | Codec = "ycbcr",
    settings: Settings = (),
    selector_out: Place | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **options: Unpack[CompressKeywords],
) -> CompressOutcome:
    """Compress the training videos of `data` into the file `output` (.safetensors), and return what it cost.

    `method` and `codec` are names, or objects of classes of your own. `options` are those of `videocompressa compress`
    with underscores; without any, 24 keyframes a class and a labeler. Equal input, options and seed give equal bytes on
    a CPU; an interrupted call resumes when it is made again. Raises `InputError`.
    """
    from videocompressa.recipes.compress import compress_folder

    named = {"method": method} if isinstance(method, str) else {}
    named |= {"codec": codec} if isinstance(codec, str) else {}
    kinds = (CompressOptions, BudgetOptions, CandidateOptions, Running, Reading)
    what, budget, candidates, running, reading = _records(CompressKeywords, options, *kinds, settings=settings, **named)
    with _around(running, reading, progress=progress) as (around, report):
        outcome = compress_folder(
            path_of(data),
            Path(output),
            what,
            candidates=candidates,
            budget=budget,
            selector_out=None if selector_out is None else Path(selector_out),
            overwrite=overwrite,
            method=None if isinstance(method, str) else method,
            codec=None if isinstance(codec, str) else codec,
            surroundings=around,
            announce=report.announce if progress else None,
        )
    report.notes(outcome.notes, outcome.skipped)
    return outcome


def train(
    subject: Place | SyntheticSet,
    data: Place | None = None,
    *,
    student: str | nn.Module = "minic3d",
    codec: str | Codec | None = None,
    labeler: str | None = None,
    settings: Settings = (),
    save_model: Place | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **options: Unpack[TrainKeywords],
) -> TrainOutcome:
    """Train students on a set, or on all videos of a folder, and evaluate them on the test videos of `data`.

    `student` is a name as `--student` takes it, or a module from normalized clips (B,T,3,H,W) to logits (B,L): each
    seed trains a copy, from the module's weights on, and the module stays as it is. The first trained one is
    `outcome.student`. `options` are those of `videocompressa train` with underscores. Raises `InputError`, and
    `DivergedError` when no run ends with a finite loss.
    """
    from videocompressa.recipes.train import holds_videos, train_on

    subject = path_of(subject) if isinstance(subject, (str, Path)) else subject
    if data is None:
        if not holds_videos(subject):
            raise InputError("data is missing; give the folder whose test videos the students classify")
        data = subject
    named = {"student": student} if isinstance(student, str) else {}
    kinds = (TrainArguments, CandidateOptions, Running, Reading)
    training, candidates, running, reading = _records(TrainKeywords, options, *kinds, settings=settings, **named)
    with _around(running, reading, progress=progress) as (around, report):
        outcome = train_on(
            subject,
            path_of(data),
            config=training.config(),
            candidates=candidates,
            num_seeds=training.seeds,
            split=training.split,
            codec=codec,
            labeler=labeler,
            module=None if isinstance(student, str) else student,
            stored_labels=training.stored_labels,
            save_model=None if save_model is None else Path(save_model),
            overwrite=overwrite,
            surroundings=around,
        )
    report.notes(outcome.notes, outcome.skipped)
    return outcome


def fit(
    subject: Place | SyntheticSet,
    model: nn.Module,
    *,
    seed: int = 0,
    codec: str | Codec | None = None,
    settings: Settings = (),
    progress: bool = True,
    **options: Unpack[StudentKeywords],
) -> nn.Module:
    """Train a copy of a module of your own on a set, from its weights on, and return it in evaluation mode.

    The module takes normalized clips (B,T,3,H,W) float32 and gives logits (B,L); it stays as it is. Views and labels
    are those that students get: of the set's labeler if it has one. The default rate suits networks that start from
    random weights. Raises `InputError` for another output, `DivergedError`.
    """
    from videocompressa.recipes.sets import open_set
    from videocompressa.recipes.train import fit_module

    synthetic = open_set(subject, codec) if isinstance(subject, (str, Path)) else subject
    training, running, reading = _records(StudentKeywords, options, TrainArguments, Running, Reading, settings=settings)
    with _around(running, reading, progress=progress) as (around, _):
        return fit_module(synthetic, model, training.config(), seed=seed, device=around.device, watch=around.watch)


def real_clips(
    data: Place,
    split: Literal["train", "val", "test"] = "test",
    *,
    like: Place | SyntheticSet,
    codec: str | Codec | None = None,
    progress: bool = True,
    **options: Unpack[DataKeywords],
) -> LabeledClips:
    """Return the real clips of a split of `data`, cut as those of the set `like`, to judge a training loop of your own.

    A `torch.utils.data.Dataset`: a row is a clip (T,3,H,W) float32 in [0,1] and its label, an int64 scalar; the set's
    normalization standardizes it, as for the set's own clips. `options` say which videos, as `videocompressa train`
    takes them. Raises `InputError`, also when the set was made from some of the videos, or has other classes.
    """
    from videocompressa.recipes.sets import open_set
    from videocompressa.recipes.train import clips_like

    synthetic = open_set(like, codec) if isinstance(like, (str, Path)) else like
    candidates, running, reading = _records(DataKeywords, options, CandidateOptions, Running, Reading)
    with _around(running, reading, progress=progress) as (around, report):
        clips, notes = clips_like(synthetic, path_of(data), split, candidates=candidates, surroundings=around)
    report.notes(notes)
    return clips


@contextmanager
def _around(running: Running, reading: Reading, *, progress: bool) -> Iterator[tuple[Surroundings, terminal.Reporter]]:
    """Give what a run gets from the machine, and what reports as the command line does."""
    with terminal.progress(Reporting(quiet=not progress)) as report:
        yield replace(running, reading=reading).surroundings(report.watch), report


def _records(keywords: type, options: Mapping[str, Any], *kinds: type, settings: Settings = (), **named: str) -> Any:
    """Return a record of each kind, whose fields are the options of these names; raises `InputError` for others."""
    texts = setting_texts(settings) if isinstance(settings, Mapping) else settings
    values = {**options, **named, "settings": tuple(texts)}
    if unknown := sorted(set(options) - set(keywords.__annotations__)):
        raise InputError(f"{unknown[0]!r} is no option; known: {', '.join(sorted(keywords.__annotations__))}")
    return [
        kind(**{name: _converted(hint, values[name]) for name, hint in get_type_hints(kind).items() if name in values})
        for kind in kinds
    ]


def _converted(kind: Any, value: Any) -> Any:
    """Return a value as a field of type `kind` holds it: a share of "20%", a number of bytes of "2MB", a path."""
    for each in (kind, *get_args(kind)):
        if each in (Share, NumBytes, Path) and value is not None:
            return each(value)
    return tuple(value) if get_origin(kind) is tuple else value
