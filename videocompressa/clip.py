"""Clips: the T candidate frames of one video, and the candidates of a complete set behind a frozen codec.

Shape letters of the project: N set, B batch, T candidate frames, K keyframes, C channels, H W pixels,
h w latent cells, L classes, D features.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from videocompressa.errors import BadVideo, InputError, check_known, check_least

FITS = ("crop", "pad", "stretch")
"""How frames are fitted into another shape."""

VIDEO_HASH_DIGITS = 10
"""Hexadecimal digits of a video's SHA-256 that tell it from others: 5 bytes, of which a set file holds one each. Two of
10,000 x 10,000 different videos agree with a probability of 1e-4."""


def shape_text(tensor: "Tensor | Latents") -> str:
    """Return dtype and shape for messages, such as "uint8 (8, 3, 64, 64)"."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


@dataclass(frozen=True)
class ClipSpec:
    """How a clip is cut from a video: T frames of it, each fitted into H x W."""

    num_frames: int
    """T, >= 1."""
    height: int
    """H in pixels, >= 1."""
    width: int
    """W in pixels, >= 1."""
    placement: str = "even"
    """Where the T frames are in the video. "even": center of each of T equal spans by presentation time. "strided:S":
    every S-th frame around the middle of the video; where it is shorter than T x S frames, every (frames // T)-th, and
    evenly where it has fewer than T. "motion": centers of T equal spans of its motion (`video.motion`)."""
    fit: str = "crop"
    """How a frame gets H x W: "crop" (the middle of it), "pad" (all of it between black bars) or "stretch" (all of it,
    both sides resized)."""

    def __post_init__(self) -> None:
        check_least(self, "ClipSpec.", num_frames=1, height=1, width=1)
        check_known("fit is", self.fit, FITS)
        if not re.fullmatch(r"even|motion|strided:[1-9][0-9]{0,5}", self.placement):
            raise InputError(
                f"placement is {self.placement!r}; known: 'even', 'motion', or 'strided:S' with S frames from "
                "one to the next, such as 'strided:4'"
            )

    @property
    def size(self) -> tuple[int, int, int]:
        """T, H and W."""
        return self.num_frames, self.height, self.width


@dataclass(frozen=True, eq=False)
class Clip:
    """The T candidate frames of one video."""

    frames: Tensor
    """(T,3,H,W) uint8, RGB."""
    pts_seconds: Tensor
    """(T,) float64, not falling: presentation time of each frame from the start of the video."""
    label: int
    """Class position in [0,L)."""
    video_id: str
    """Path of the video relative to the root of its set, with forward slashes."""
    num_video_frames: int
    """Frames in the complete video, as counted without decoding."""

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.ndim != 4 or self.frames.shape[1] != 3:
            raise InputError(
                f"Clip.frames of {self.video_id!r} is {shape_text(self.frames)}; it must be uint8 (T,3,H,W)"
            )
        if self.pts_seconds.shape != self.frames.shape[:1] or self.pts_seconds.dtype != torch.float64:
            raise InputError(
                f"Clip.pts_seconds of {self.video_id!r} is {shape_text(self.pts_seconds)}; "
                f"it must be float64 ({len(self.frames)},), one time a frame"
            )
        if not bool(torch.isfinite(self.pts_seconds).all()) or bool((self.pts_seconds.diff() < 0).any()):
            raise InputError(f"Clip.pts_seconds of {self.video_id!r} falls or is not finite; give frames in time order")

    def __repr__(self) -> str:
        return f"Clip({self.video_id!r}, label={self.label}, frames={shape_text(self.frames)})"


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each color channel over the training split, pixels in [0,1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, pixels: Tensor) -> Tensor:
        """Normalize (...,3,H,W) pixels in [0,1]; float in, float out."""
        mean, std = pixels.new_tensor((self.mean, self.std)).view(2, 3, 1, 1)
        normalized: Tensor = (pixels - mean) / std
        return normalized


@dataclass(frozen=True)
class CodecSpec:
    """Which frozen codec made the latents; a set is refused by any codec whose spec differs."""

    name: str
    """Name by which `build_codec` finds it, such as "tiny" or "diffusers:FOLDER"."""
    weights_sha256: str
    """Hash of the weights, "" for a codec without any."""
    channels: int
    """C."""
    downscale: int
    """Pixels a latent cell spans on each side; H and W must be multiples of it."""
    shift: tuple[float, ...]
    """(C,) mean of the raw latents: scaled = (raw - shift) / scale."""
    scale: tuple[float, ...]
    """(C,) standard deviation of the raw latents."""
    num_bytes: int = 0
    """Size of the weights on disk; counted apart from the file and shown with it."""

    def __post_init__(self) -> None:
        # Codecs compute in float32: the shortest decimals that give the same float32 are equal and cheap to store.
        for name in ("shift", "scale"):
            object.__setattr__(self, name, tuple(float(str(np.float32(value))) for value in getattr(self, name)))

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Return (C,h,w) of an H x W frame, or raise when the sides are not multiples of `downscale`."""
        if height % self.downscale or width % self.downscale:
            raise InputError(
                f"codec {self.name!r} needs sides in multiples of {self.downscale} pixels, got {height}x{width}; "
                f"choose --size {max(1, round(height / self.downscale)) * self.downscale}"
            )
        return self.channels, height // self.downscale, width // self.downscale


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DecodedSplit:
    """The candidate frames of every readable video of one split, in the order of the ids.

    Tensors may be memory-mapped: index rows, do not copy them all.
    """

    frames: Tensor
    """(N,T,3,H,W) uint8, RGB."""
    times_seconds: Tensor
    """(N,T) float64."""
    labels: Tensor
    """(N,) int64 in [0,L)."""
    video_ids: tuple[str, ...]
    """N paths relative to the root."""
    num_video_frames: Tensor
    """(N,) int64: frames of each complete video."""
    video_bytes: Tensor
    """(N,) int64: size of each video file."""
    classes: tuple[str, ...]
    """L class names in label order."""
    clip: ClipSpec
    normalization: Normalization
    """Of the pixels of the train split; of its own pixels where a split is only decoded."""
    source: str = ""
    """Name of the data set."""
    split_hash: str = ""
    """SHA-256 over ids and labels of the split, those of bad videos included."""
    bad: tuple[BadVideo, ...] = ()
    """Videos of the split that were skipped."""
    notes: tuple[str, ...] = ()
    """Videos of which damaged frames were replaced."""
    video_hashes: tuple[str, ...] = ()
    """The first `VIDEO_HASH_DIGITS` of the SHA-256 of each video's bytes; () where they are not known."""

    def __len__(self) -> int:
        return len(self.labels)

    def names_of(self, rows: Sequence[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return `video_ids` and `video_hashes` of some videos."""
        hashes = tuple(self.video_hashes[row] for row in rows) if self.video_hashes else ()
        return tuple(self.video_ids[row] for row in rows), hashes

    def __repr__(self) -> str:
        shapes = [f"{name}={shape_text(vars(self)[name])}" for name in ("frames", "latents") if name in vars(self)]
        return f"{type(self).__name__}({self.source!r}, {', '.join(shapes)}, classes={len(self.classes)})"


@runtime_checkable
class Latents(Protocol):
    """Latents of N clips: a tensor, or what encodes clips when they are read (`datasets.latents`)."""

    @property
    def shape(self) -> torch.Size:
        """(N,T,C,h,w)."""

    @property
    def dtype(self) -> torch.dtype:
        """Of what is read."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, index: Any, /) -> Tensor:
        """Return what an index picks of the tensor."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Candidates(DecodedSplit):
    """The candidate frames of one split, decoded and encoded once (steps 1 and 4 of the method)."""

    latents: Latents
    """(N,T,C,h,w) float16, scaled; `latents[rows]` is a tensor."""
    codec: CodecSpec

    def __post_init__(self) -> None:
        num_videos, (num_frames, height, width) = len(self.labels), self.clip.size
        expected = {
            "frames": (num_videos, num_frames, 3, height, width),
            "latents": (num_videos, num_frames, *self.codec.latent_shape(height, width)),
            "times_seconds": (num_videos, num_frames),
            "num_video_frames": (num_videos,),
            "video_bytes": (num_videos,),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise InputError(f"Candidates.{name} is {shape_text(getattr(self, name))}; it must be {shape}")
        if len(self.video_ids) != num_videos:
            raise InputError(f"Candidates.video_ids has {len(self.video_ids)} entries for {num_videos} videos")
        if num_videos and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise InputError(f"Candidates.labels leave [0,{len(self.classes)})")

    @property
    def class_sizes(self) -> dict[str, int]:
        """Number of videos of each class, by name in label order."""
        sizes = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, sizes, strict=True))

    def take(self, rows: Sequence[int] | Tensor) -> Self:
        """Return the candidates of the given videos, in the given order."""
        index = torch.as_tensor(rows, dtype=torch.int64)
        tensors = {name: tensor[index] for name, tensor in vars(self).items() if isinstance(tensor, Latents)}
        video_ids, video_hashes = self.names_of(index.tolist())
        changes: dict[str, Any] = {**tensors, "video_ids": video_ids, "video_hashes": video_hashes}
        return replace(self, **changes)
