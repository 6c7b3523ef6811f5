"""`Record`: one cell of a benchmark with its settings and results. Unknown numbers are None, never NaN."""

import dataclasses
import inspect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from videocompressa.errors import InputError

AXES = ("main", "ablation", "steps", "keyframes", "train-steps", "cross")
"""Experiments: the table of methods; one component, the synthesis steps, K or the students' steps varied; other
students."""

REGIMES = {"hard": "hard labels", "soft": "stored soft labels", "views": "views labeled by a network"}
"""Kinds of labels in plain words. Accuracies of different ones are never compared."""

FULL, FULL_LONG = "full", "full-long"
"""Training on all videos: with the steps of every other row, and with more."""

LABELER, NOISE = "labeler", "noise"
"""Controls of labels "views": the labeler as the classifier, without set or student, and clips of noise."""

CHOICES = {"labels": tuple(REGIMES), "axis": AXES, "status": ("ok", "failed")}
NAMED = ("method", "data", "protocol", "student")
"""Texts that must not be empty."""

FRACTION = (0, 1)
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("vpc", "keyframes", "asked_bytes", "train_steps"), (1, math.inf)),
    **dict.fromkeys(("frame_ratio", "top1_mean", "top1_std", "top5_mean", "label_robust_score"), FRACTION),
    **dict.fromkeys(("improvement_over_random", "hard_label_recovery"), (-1, 1)),
}
"""Least and greatest value of a number, where they are not 0 and infinity."""


class Column(NamedTuple):
    """A budget that methods are compared at: VPC, a share of the frames or a number of bytes, whichever was asked."""

    vpc: int | None = None
    ratio: float | None = None
    num_bytes: int | None = None
    keyframes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell of a benchmark: a method, with its settings, at one budget on one set, evaluated by one student.

    Raises `InputError` when a value has the wrong type, is NaN or infinite, leaves its range, or contradicts another.
    """

    method: str
    """Name in `methods.METHODS`; "full" or "full-long" for training on all videos; "labeler" for no training."""
    data: str
    protocol: str
    """Such as "fair", or "vdsd:miniucf": the protocol and the set as it reads it."""
    student: str
    """Student that was trained on the set and evaluated."""
    labels: str = "hard"
    """The regime, one of `REGIMES`: whose labels the students learned."""
    labeler: str = ""
    """What labeled the views, such as "minic3d, width 0.125, 4 bits"; "" where labels are stored."""
    views: tuple[str, ...] = ()
    """How clips were changed in training, as "name=value"; () where it is unknown."""
    selector: str = ""
    """Rule that chose the keyframes; "" where there is none."""
    codec: str = ""
    """"" where nothing is stored."""
    vpc: int | None = None
    """Videos a class OF THE BUDGET, >= 1: the column of the table, even for methods that fill the same bytes with
    another number of frames (see `num_frames`). For a ratio or bytes, the videos of the class that has the most. None
    for all videos."""
    asked_ratio: float | None = None
    """Share of the frames, where the budget was one."""
    asked_bytes: int | None = None
    """Size of the file, >= 1, where the budget was one."""
    keyframes: int | None = None
    """K of the budget, >= 1; None for all frames."""
    steps: int | None = None
    """Synthesis steps, >= 0; None where the method has none."""
    num_frames: int | None = None
    """Frames that the set keeps, over all its items."""
    frame_ratio: float | None = None
    """Kept frames / frames of all training videos, in [0,1]."""
    file_bytes: int | None = None
    """The written file, or the labeler where that is all; None for full data."""
    labeler_bytes: int | None = None
    """Share of `file_bytes` that is the labeler's; 0 without one."""
    codec_bytes: int | None = None
    """Weights needed to decode."""
    file_and_codec_bytes: int | None = field(init=False, default=None)
    """The sum of the two, computed here; None unless both are known."""
    byte_ratio: float | None = None
    """File / training video files, >= 0 (pixels in float32 may exceed 1)."""
    top1_mean: float | None = None
    """In [0,1], over the runs that did not diverge; None when none is left."""
    top1_std: float | None = None
    """Sample standard deviation (n - 1) over those runs, in [0,1]; meaningless for one run, see `spread`."""
    top1_runs: tuple[float, ...] = ()
    """In [0,1], of every run that did not diverge, in the order of the seeds."""
    top5_mean: float | None = None
    """In [0,1]."""
    num_seeds: int | None = None
    """Runs that were asked for, at least those in `top1_runs` and the diverged ones."""
    num_diverged: int = 0
    """Runs whose loss stopped being finite."""
    num_train_clips: int | None = None
    """Clips that a student is trained on: items of the set, or all training videos."""
    train_steps: int | None = None
    """Optimizer steps of each student, >= 1; None where none was trained."""
    compress_seconds: float | None = None
    """Time to compress the set, all stages (teachers and experts included)."""
    train_seconds: float | None = None
    """Time to train the students on it, over all seeds."""
    peak_memory_bytes: int | None = None
    """Peak resident memory of the host while the set was compressed."""
    gpu_peak_memory_bytes: int | None = None
    """The same of the accelerator; None without one."""
    improvement_over_random: float | None = None
    """Difference of top-1 as a plain fraction; see `with_scores`."""
    recovery_of_full: float | None = None
    """Quotient of top-1 as a plain fraction; see `with_scores`."""
    hard_label_recovery: float | None = None
    """HLR of DD-Ranking, a difference of top-1 as a plain fraction (0 or less is best); see `with_scores`."""
    label_robust_score: float | None = None
    """LRS of DD-Ranking, in [0,1]; see `with_scores`."""
    scale: str = ""
    """How much work the methods did, such as "published" or "small"; "" where it is unknown."""
    split: str = "test"
    """Videos that the student was evaluated on."""
    clip: str = ""
    """Input of the students, such as "8 frames of 64x64 px"."""
    train: tuple[str, ...] = ()
    """What `--train` changed, as "name=value"."""
    precision: str = ""
    """Arithmetic of the students, "float32" or "bfloat16", or both where runs differ; "" where it is unknown."""
    device: str = ""
    """Where the students were trained, such as "cpu, 2 threads", each once; "" where it is unknown."""
    settings: tuple[str, ...] = ()
    """What `--set` changed, as "name=value"."""
    axis: str = "main"
    """One of `AXES`: the experiment that the cell belongs to."""
    variant: str = ""
    """Row of an ablation as "component value", such as "codec linear"; "" for the complete method."""
    network: str = ""
    """Network that the method matched in, or that gave features and labels; "" where none was needed."""
    status: str = "ok"
    reason: str = ""
    """Why it failed, in one line; "" where it did not."""

    @property
    def on_all_videos(self) -> bool:
        """Whether nothing was compressed: a baseline, in every column and never marked as the best."""
        return self.method in (FULL, FULL_LONG)

    @property
    def is_control(self) -> bool:
        """Whether it says what the labeler does by itself: below all methods, and never marked as the best."""
        return self.method in (LABELER, NOISE)

    @property
    def column(self) -> Column:
        """Budget of the record, which is its column in a table."""
        asked_for_size = self.asked_ratio is not None or self.asked_bytes is not None
        return Column(None if asked_for_size else self.vpc, self.asked_ratio, self.asked_bytes, self.keyframes)

    @property
    def spread(self) -> float | None:
        """`top1_std` where there are at least two runs, else None."""
        return self.top1_std if len(self.top1_runs) > 1 else None

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            _check_value(self, each.name, inspect.formatannotation(each.type))
        _check_agreement(self)
        if self.file_bytes is not None and self.codec_bytes is not None:
            object.__setattr__(self, "file_and_codec_bytes", self.file_bytes + self.codec_bytes)


def _error(record: Record, text: str) -> InputError:
    return InputError(f"Record of {record.method!r} {text}")


def _check_value(record: Record, name: str, kind: str) -> None:
    """Check one field against its annotation, which is `kind`, and against its choices or range."""
    value = getattr(record, name)
    if kind == "str":
        if not isinstance(value, str):
            raise _error(record, f"has {name}={value!r}; it must be a text")
        if name in NAMED and not value:
            raise _error(record, f"has an empty {name}; give its name")
        if value not in CHOICES.get(name, (value,)):
            raise _error(record, f"has {name}={value!r}; known: {', '.join(CHOICES[name])}")
    elif kind.startswith("tuple"):
        if not isinstance(value, tuple):
            raise _error(record, f"has {name}={value!r}; it must be a tuple")
        for part in value:
            if kind == "tuple[float, ...]":
                _check_number(record, name, part, "float", FRACTION)
            elif not isinstance(part, str) or "=" not in part:
                raise _error(record, f"has the setting {part!r}; each is a text name=value")
    elif value is not None or "None" not in kind:
        _check_number(record, name, value, kind, RANGES.get(name, (0, math.inf)))


def _check_number(record: Record, name: str, value: Any, kind: str, limits: tuple[float, float]) -> None:
    (least, greatest), is_int = limits, kind.startswith("int")
    fits = isinstance(value, int if is_int else (int, float)) and not isinstance(value, bool)
    if not fits or not math.isfinite(value) or not least <= value <= greatest:
        allowed = f"of at least {least}" if greatest == math.inf else f"in [{least},{greatest}]"
        number = "a whole number" if is_int else "a finite number"
        unless = ", or None if unknown" if "None" in kind else ""
        raise _error(record, f"has {name}={value!r}; it must be {number} {allowed}{unless}")


def _check_agreement(record: Record) -> None:
    runs, mean = record.top1_runs, record.top1_mean
    if (record.status == "failed") != bool(record.reason):
        raise _error(record, f"has status={record.status!r} and reason={record.reason!r}; give a reason when it failed")
    if record.status == "failed" and (runs or mean is not None):
        raise _error(record, "failed but has an accuracy; a failed cell has none")
    if (mean is None) != (len(runs) == 0):
        raise _error(record, f"has top1_mean={mean} over {len(runs)} runs; give a mean exactly when a run is left")
    if mean is not None and abs(mean - sum(runs) / len(runs)) > 1e-6:
        raise _error(record, f"has top1_mean={mean} but its runs have the mean {sum(runs) / len(runs):.6g}")
    if record.num_seeds is not None and len(runs) + record.num_diverged > record.num_seeds:
        ended = f"{len(runs)} runs and {record.num_diverged} diverged ones"
        raise _error(record, f"has {ended} of num_seeds={record.num_seeds}; num_seeds counts all runs")


def of_axis(records: Sequence[Record], axis: str) -> list[Record]:
    """Return the records of an experiment; raises `InputError` where there is none."""
    chosen = [record for record in records if record.axis == axis]
    if not chosen:
        raise InputError(f"none of {len(records)} records has axis {axis!r}; give bench the options that make them")
    return chosen


def grouped(records: Iterable[Record], *names: str) -> dict[tuple[Any, ...], list[Record]]:
    """Return the records by the values of these fields or properties, in order of appearance."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(getattr(record, name) for name in names), []).append(record)
    return groups
