"""`Record`: one cell of a benchmark, what was run and what came out. Numbers that are unknown are None, never NaN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from videocompressa.errors import InputError

AXES = ("main", "ablation", "steps", "keyframes", "cross")
"""Experiments a cell can belong to: the table of methods, then one component, the synthesis steps or K varied, then
students other than the one the set was made with."""

FULL, FULL_LONG = "full", "full-long"
"""Training on all videos: with the steps of every other row (its accuracy counts as whole), and with more."""

LABELS = ("hard", "soft")
STATUSES = ("ok", "failed")

NAMED = ("method", "data", "protocol", "student")
SAID = ("network", "scale", "split", "clip", "status", "reason")
TEXTS = (*NAMED, "labels", "selector", "codec", "axis", "variant", *SAID)
POSITIVE = ("vpc", "keyframes", "asked_bytes")
SIZES = ("file_bytes", "codec_bytes", "peak_memory_bytes", "gpu_peak_memory_bytes")
COUNTS = (*POSITIVE, *SIZES, "steps", "num_frames", "num_diverged", "num_seeds", "num_train_clips")
AMOUNTS = (
    "frame_ratio",
    "byte_ratio",
    "asked_ratio",
    "top1_std",
    "compress_seconds",
    "train_seconds",
    "recovery_of_full",
)
FRACTIONS = ("top1_mean", "top1_std", "top5_mean")


class Column(NamedTuple):
    """A budget that methods are compared at: one of VPC, a share of the frames or bytes was asked for, and K."""

    vpc: int | None
    ratio: float | None
    num_bytes: int | None
    keyframes: int | None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One cell of a benchmark: a method, with its settings, at one budget on one set, judged by one student.

    Raises `InputError` when a value has the wrong type, is NaN or infinite, leaves its range, or contradicts another.
    """

    method: str
    """Name in `methods.METHODS`, or "full" for training on all videos."""
    data: str
    """Name of the set of videos."""
    protocol: str
    """"fair", "vdsd" or "video-dc"."""
    student: str
    """Student that was trained on the set and judged."""
    labels: str = "hard"
    """"hard" or "soft"."""
    selector: str = ""
    """Rule that chose the keyframes; "" where there is none."""
    codec: str = ""
    """Name of the codec; "" where nothing is stored."""
    vpc: int | None = None
    """Videos a class OF THE BUDGET, >= 1. A method that fills the same bytes in another way keeps it, for it names the
    column of the table; what was really kept is `num_frames`. Where a ratio or bytes were asked for, the videos of the
    class that has the most. None for all videos."""
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
    """The written file; None for full data."""
    codec_bytes: int | None = None
    """Weights needed to decode."""
    file_and_codec_bytes: int | None = field(init=False, default=None)
    """The sum of the two, computed here; None unless both are known."""
    byte_ratio: float | None = None
    """File / training video files, >= 0 (pixels in float32 may exceed 1)."""
    top1_mean: float | None = None
    """In [0,1], over the runs that did not diverge; None when none is left."""
    top1_std: float | None = None
    """Sample standard deviation (n - 1) over those runs; says nothing for one run."""
    top1_runs: tuple[float, ...] = ()
    """Top-1 in [0,1] of every run that did not diverge, in the order of the seeds."""
    top5_mean: float | None = None
    """In [0,1]."""
    num_seeds: int | None = None
    """Runs that were asked for: at least those in `top1_runs` and the diverged ones."""
    num_diverged: int = 0
    """Runs whose loss stopped being finite."""
    num_train_clips: int | None = None
    """Clips that a student is trained on: items of the set, or all training videos."""
    compress_seconds: float | None = None
    """Making the set, all stages (teachers and experts included)."""
    train_seconds: float | None = None
    """Training the students on it, over all seeds."""
    peak_memory_bytes: int | None = None
    """Peak resident memory of the host while the set was made."""
    gpu_peak_memory_bytes: int | None = None
    """Peak memory of the accelerator while the set was made; None without one."""
    improvement_over_random: float | None = None
    """Difference of top-1 as a plain fraction; see `with_scores`."""
    recovery_of_full: float | None = None
    """Quotient of top-1 as a plain fraction; see `with_scores`."""
    scale: str = ""
    """How much work the methods did, such as "published" or "small"; "" where it is not known."""
    split: str = "test"
    """Videos that judged."""
    clip: str = ""
    """What students see of a video, such as "8 frames of 64x64 px"."""
    train: tuple[str, ...] = ()
    """What `--train` changed, as "name=value"."""
    settings: tuple[str, ...] = ()
    """What `--set` changed, as "name=value"."""
    axis: str = "main"
    """One of `AXES`: the experiment that the cell belongs to."""
    variant: str = ""
    """Row of an ablation as "component value", such as "codec linear"; "" for the complete method."""
    network: str = ""
    """Network that the method matched in, or that gave features and labels; "" where none was needed."""
    status: str = "ok"
    """"ok" or "failed"."""
    reason: str = ""
    """Why it failed, in a line; "" where it did not."""

    @property
    def on_all_videos(self) -> bool:
        """Whether nothing was compressed: the record stands beside every column and does not compete."""
        return self.method in (FULL, FULL_LONG)

    @property
    def column(self) -> Column:
        """Where the record stands in a table."""
        asked_for_size = self.asked_ratio is not None or self.asked_bytes is not None
        return Column(None if asked_for_size else self.vpc, self.asked_ratio, self.asked_bytes, self.keyframes)

    def __post_init__(self) -> None:
        _check_texts(self)
        _check_numbers(self)
        _check_agreement(self)
        known = self.file_bytes is not None and self.codec_bytes is not None
        total = (self.file_bytes or 0) + (self.codec_bytes or 0) if known else None
        object.__setattr__(self, "file_and_codec_bytes", total)


def _say(record: Record, text: str) -> InputError:
    return InputError(f"Record of {record.method!r} {text}")


def _check_texts(record: Record) -> None:
    for name in TEXTS:
        if not isinstance(getattr(record, name), str):
            raise _say(record, f"has {name}={getattr(record, name)!r}; it must be a text")
    for name in NAMED:
        if not getattr(record, name):
            raise _say(record, f"has an empty {name}; give its name")
    for name, known in (("labels", LABELS), ("axis", AXES), ("status", STATUSES)):
        if getattr(record, name) not in known:
            raise _say(record, f"has {name}={getattr(record, name)!r}; known: {', '.join(known)}")
    for name in ("top1_runs", "settings", "train"):
        if not isinstance(getattr(record, name), tuple):
            raise _say(record, f"has {name}={getattr(record, name)!r}; it must be a tuple")
    for text in (*record.settings, *record.train):
        if not isinstance(text, str) or "=" not in text:
            raise _say(record, f"has the setting {text!r}; each is a text name=value")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_numbers(record: Record) -> None:
    for name in COUNTS:
        value, least = getattr(record, name), int(name in POSITIVE)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise _say(record, f"has {name}={value!r}; it must be a whole number of at least {least}, or None")
    for name in AMOUNTS:
        value = getattr(record, name)
        if value is not None and (not _is_number(value) or value < 0):
            raise _say(record, f"has {name}={value!r}; it must be finite and at least 0, or None if unknown")
    for value in (*(getattr(record, name) for name in FRACTIONS), *record.top1_runs, record.frame_ratio):
        if value is not None and (not _is_number(value) or not 0 <= value <= 1):
            raise _say(record, f"has an accuracy or frame ratio of {value!r}; they lie in [0,1], or None if unknown")
    change = record.improvement_over_random
    if change is not None and (not _is_number(change) or not -1 <= change <= 1):
        raise _say(record, f"has improvement_over_random={change!r}; it lies in [-1,1], or None if unknown")


def _check_agreement(record: Record) -> None:
    runs, mean = record.top1_runs, record.top1_mean
    if (record.status == "failed") != bool(record.reason):
        raise _say(record, f"has status={record.status!r} and reason={record.reason!r}; give a reason when it failed")
    if record.status == "failed" and (runs or mean is not None):
        raise _say(record, "failed but has an accuracy; a failed cell has none")
    if (mean is None) != (len(runs) == 0):
        raise _say(record, f"has top1_mean={mean} over {len(runs)} runs; give a mean exactly when a run is left")
    if mean is not None and abs(mean - sum(runs) / len(runs)) > 1e-6:
        raise _say(record, f"has top1_mean={mean} but its runs have the mean {sum(runs) / len(runs):.6g}")
    if record.num_seeds is not None and len(runs) + record.num_diverged > record.num_seeds:
        ended = f"{len(runs)} runs and {record.num_diverged} diverged ones"
        raise _say(record, f"has {ended} of num_seeds={record.num_seeds}; num_seeds counts all runs")


def of_axis(records: Sequence[Record], axis: str) -> list[Record]:
    """Return the records of an experiment; raises `InputError` where there is none."""
    found = [record for record in records if record.axis == axis]
    if not found:
        raise InputError(f"none of {len(records)} records has axis {axis!r}; run bench so that it makes them")
    return found
