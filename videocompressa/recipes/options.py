"""What a user can ask of a run. Defaults and their explanation are only here: the command line's help reads them.

No torch here, so that help appears at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from videocompressa.errors import InputError, check_known, check_least

if TYPE_CHECKING:
    import torch

    from videocompressa.clip import ClipSpec
    from videocompressa.engine import Workers
    from videocompressa.run import Watch

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Share(float):
    """A share, written as "5%" or 0.05; in [0,1]."""

    is_unclear = False
    """Whether a percent sign may have been forgotten: above 0.05, and written as a number alone."""

    def __new__(cls, value: str | float) -> Self:
        """Parse and check."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            raise InputError(f"{text!r} is no share; write it as 5% or 0.05, from 0 to 1")
        made = super().__new__(cls, share)
        made.is_unclear = isinstance(value, str) and share > 0.05 and not text.endswith("%")
        return made


_NOTHING, _FIVE_PERCENT = Share(0), Share("5%")


class NumBytes(int):
    """A number of bytes, written as 300kB, 2MB, 1.5GB (1 kB = 1000), 2MiB (1 KiB = 1024) or 12345; at least 1."""

    def __new__(cls, value: str | int) -> Self:
        """Parse and check."""
        match = re.fullmatch(r"([0-9.]+)\s*([a-z]*)", str(value).strip().lower())
        try:
            number = float(match[1]) * _UNITS[match[2]] if match else 0.0
        except (KeyError, ValueError):
            number = 0.0
        if number < 1:
            raise InputError(f"{str(value)!r} is no number of bytes; write it as 300kB, 2MB, 1.5GB or 12345")
        return super().__new__(cls, int(number))


@dataclass(frozen=True)
class CandidateOptions:
    """Which videos, and how candidate frames are cut from them."""

    size: int = 48
    """Height and width of the candidate frames in pixels."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How a frame becomes square: crop (its middle), pad (all of it, between black bars) or stretch (all of it, out of
    proportion). Frames of train and test are those of the set's file."""
    frames: int = 8
    """Candidate frames of each video (T)."""
    placement: str = "even"
    """Their places in the video: even (over the complete video), motion (at equal spans of what moves in it: for videos
    with idle stretches), or strided:S (every S-th frame around its middle)."""
    layout: str = "auto"
    """How the folder lists its videos: auto, folders, split-folders (SPLIT/CLASS), class-split-folders
    (CLASS/SPLIT), csv, ucf101, hmdb51, hmdb51-unused-train, kinetics, ssv2, webdataset (tars), parquet or videofolder
    (both of Hugging Face), lerobot."""
    csv: Path | None = None
    """A csv with the columns path and label, and perhaps split and group."""
    fold: int = 1
    """Which official split of ucf101 or hmdb51, 1 to 3."""
    label_column: str | None = None
    """Column of parquet or videofolder that holds the classes; label, labels or class when not given. Of lerobot's
    episodes, tasks."""
    video_column: str | None = None
    """Column of parquet that holds the videos, or camera of lerobot; the only one when not given."""
    revision: str | None = None
    """Branch, tag or commit of a data set of the Hugging Face hub; its newest version when not given."""
    classes: tuple[str, ...] = ()
    """Only videos of these classes; all when none is named. Repeat for more."""
    hold_out: Share = _NOTHING
    """Share of the training videos that becomes the split "val", by complete groups. Give every command the same."""
    train_sample: int = 20_000
    """Training videos that are read, at random, as many of each class, the same by every command: more are listed and
    not decoded."""
    max_bad: Share = _FIVE_PERCENT
    """Share of the videos of a split that may be unreadable (they are skipped and listed); more stops the run."""
    max_seconds_per_video: float = 60.0
    """Time for a video; one that takes longer, or crashes the decoder, is skipped and listed (not with --workers 0)."""

    @property
    def clip(self) -> ClipSpec:
        """The clip that these options ask for."""
        from videocompressa.clip import ClipSpec

        check_least(self, "--", size=1, frames=1)
        return ClipSpec(self.frames, self.size, self.size, self.placement, self.fit)


@dataclass(frozen=True)
class BudgetOptions:
    """How large the set may be: at most one of vpc, ratio and bytes; 24 keyframes a class when none is given."""

    vpc: int | None = None
    """Videos per class."""
    ratio: Share | None = None
    """Share of all frames of the training videos that may be kept, such as 0.13%."""
    bytes: NumBytes | None = None
    """Size of the file, such as 2MB or 300kB; it will not be larger."""
    keyframes: int | None = None
    """Keyframes of each video (K), at most T; 8 when not given. A tight ratio or bytes lowers it."""
    allow_fewer: bool = False
    """Take all videos of a class that has fewer than VPC, instead of stopping."""

    def __post_init__(self) -> None:
        given = [f"--{name}" for name in ("vpc", "ratio", "bytes") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} were given; a budget is one of --vpc, --ratio and --bytes")
        if self.ratio is not None and self.ratio.is_unclear:
            number, percent = f"{self.ratio:g}", f"{100 * self.ratio:g}"
            raise InputError(
                f"--ratio {number} is {percent} % of all frames; write {percent}% if that is meant, or {number}%"
            )


def typed(*records: Any) -> list[str]:
    """Return the options in these records that differ from their defaults, as words of a command."""
    words: list[str] = []
    for record in records:
        for field in fields(record):
            value = getattr(record, field.name)
            if is_dataclass(value):
                words += typed(value)
            elif value != field.default:
                name = "--set" if field.name == "settings" else f"--{field.name.replace('_', '-')}"
                for each in value if isinstance(value, tuple) else (value,):
                    words += [name] if each is True else [name, _word(each)]
    return words


def _word(value: object) -> str:
    if not isinstance(value, Share):
        return str(value)
    percent = f"{100 * value:g}%"
    return percent if Share(percent) == value else repr(float(value))


PictureFormat = Literal["jpg", "png", "none"]


@dataclass(frozen=True)
class KeyframeOptions:
    """Which keyframes of videos without labels, and how they are written."""

    selector: str = "shots"
    """A file that compress --selector-out wrote; or a rule that needs no training: shots (the middles of the K spans
    between the greatest changes of color), motion (at equal spans of what moves), uniform, middle or random."""
    keyframes: int | None = None
    """Keyframes of each video (K); that of the selector's training when not given, 4 for a rule."""
    frames: int | None = None
    """Candidate frames of each video (T), evenly over it; that of the selector's training when not given, 64 for a
    rule. More are finer and take longer."""
    pictures: PictureFormat = "jpg"
    """jpg, png or none."""
    size: int | None = None
    """Short side of the pictures in pixels, for videos that are larger; the video's own size when not given."""
    seed: int = 0
    """Seed of the rule random."""

    def __post_init__(self) -> None:
        check_known("--pictures is", self.pictures, get_args(PictureFormat))
        check_least(self, "--", size=1, frames=1)


@dataclass(frozen=True)
class CompressOptions:
    """Which method compresses, behind which codec, and how latents are stored."""

    method: str = "videocompressa"
    """videocompressa (keyframes of typical videos and a labeler; learning keyframes and tuning are settings of it) or
    typical-clips (complete clips, coarsely stored, of the most typical videos that --bytes holds; trains nothing); for
    comparison random-real, herding-real, k-center-real or facility-location-real (real keyframes), rded (crops that a
    teacher recognizes), dm, mtt, vdsd-dm or vdsd-mtt (clips tuned by matching), lvdd, lvdd-random, lvdd-k-means or
    lvdd-scaled (factors of latents), real-h264, real-av1, real-webp, herding-h264, herding-av1 or herding-webp
    (re-encoded clips), noise (a control: random colors)."""
    codec: str = "ycbcr"
    """ycbcr (pixels as luma and chroma, no weights), tiny (a small autoencoder), linear, pixel, or diffusers:NAME with
    a hub name, folder or file."""
    seed: int = 0
    """Equal seeds give equal files."""
    labeler: str = "auto"
    """The small network in the file that labels every view of its clips: a size such as 40kB; off stores soft labels
    instead; auto takes 230,000 weights, fewer where they would be more than half of --bytes. Or a pretrained network,
    such as hf:FOLDER (as --student): the file holds a layer on it, which is trained here, and not the network."""
    settings: tuple[str, ...] = ()
    """A setting of the method, as name=value, such as teacher.num_teachers=2; repeat for more."""
    storage: Literal["transform", "int8", "float16"] = "transform"
    """How latents are stored: transform (entropy-coded, a few bytes a keyframe), int8 or float16 (a number a cell)."""
    step: float | None = None
    """How coarse transform is: 2 takes about 0.4 of the bytes of 1, and 0.5 twice as many. When not given, 0.25, where
    keyframes look like their frames, or as fine as --bytes allows."""


@dataclass(frozen=True)
class Surroundings:
    """What a run gets from the machine it runs on; nothing below the command line looks these up itself."""

    cache: Path
    """Folder where candidates and finished stages are kept, so that the same command resumes."""
    device: torch.device
    workers: Workers
    """Processes that decode videos; 0 decodes in this one."""
    clock: Callable[[], float]
    """Seconds, such as `time.perf_counter`."""
    watch: Watch
