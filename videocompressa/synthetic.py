"""The synthetic set: a few keyframes of a few videos a class as tuned latents, with all that training needs."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, StackDataset

from videocompressa import __version__
from videocompressa.clip import Candidates, ClipSpec, CodecSpec, Normalization, shape_text
from videocompressa.errors import InputError
from videocompressa.fill import check_fill, fill_clips
from videocompressa.labeler import LabeledViews, Labeler


class Decoder(Protocol):
    """What a synthetic set needs of a codec: its spec and the way back to pixels."""

    @property
    def spec(self) -> CodecSpec:
        """Which codec this is."""

    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents (B,C,h,w) to pixels (B,3,H,W), float, about [0,1]."""


@dataclass(frozen=True)
class Budget:
    """What a method may keep: the same number of videos of each class, the same number of keyframes of each video."""

    videos_per_class: int
    """VPC, >= 1."""
    keyframes: int
    """K, in [1,T]."""
    allow_fewer: bool = False
    """Take all videos of a class that has fewer than VPC, instead of raising."""
    file_bytes: int | None = None
    """Most bytes of the file; methods with `fills_bytes` keep as much as fits. None where only VPC and K count."""

    def __post_init__(self) -> None:
        for option, value in (("vpc", self.videos_per_class), ("keyframes", self.keyframes)):
            if value < 1:
                raise InputError(f"--{option} is {value}; it must be at least 1")


@dataclass(frozen=True)
class Source:
    """The training videos that a synthetic set replaces."""

    name: str
    """Name of the data set (its folder)."""
    split_hash: str
    """SHA-256 over the ids and labels of the training videos."""
    num_videos: int
    num_frames: int
    """Frames of all training videos."""
    video_bytes: int
    """Bytes of all training video files."""
    num_skipped: int = 0
    """Videos that could not be read."""


@dataclass(frozen=True)
class Provenance:
    """Where a synthetic set comes from; enough to compress it again, and nothing of the machine or the clock."""

    method: str
    config: Mapping[str, Any]
    """The method's settings that differ from the defaults of `version`, JSON values only."""
    seed: int
    source: Source
    video_ids: tuple[str, ...]
    """N paths relative to the root: which video each item started from."""
    version: str = __version__
    """Version of videocompressa that compressed it."""
    video_hashes: tuple[str, ...] = ()
    """The first `clip.VIDEO_HASH_DIGITS` of the SHA-256 of each of these videos; () where they are not known."""
    learned_hashes: tuple[str, ...] = ()
    """Likewise, rising, the smallest ones of all videos that its networks learned from; () where nothing is learned."""


@dataclass(frozen=True)
class Cost:
    """What a synthetic set costs, measured on its file."""

    num_videos: int
    num_frames: int
    """N x K keyframes; one that a short video shows twice, to fill T, counts once."""
    frame_ratio: float
    """Kept frames / frames of all training videos."""
    latent_bytes: int
    label_bytes: int
    labeler_bytes: int
    """Weights of the labeler; 0 without one."""
    file_bytes: int
    byte_ratio: float
    """File / training video files."""
    codec_bytes: int
    """Weights needed to decode; reported separately, and added by `file_and_codec_bytes`."""

    @property
    def file_and_codec_bytes(self) -> int:
        """File and codec weights together."""
        return self.file_bytes + self.codec_bytes


@dataclass(frozen=True, eq=False)
class SyntheticSet:
    """What compression makes: N items of K keyframes as scaled latents, with labels and provenance."""

    latents: Tensor
    """(N,K,C,h,w) float32, scaled."""
    positions: Tensor
    """(N,K) int64, rising in [0,T): place of each keyframe among the candidates."""
    times_seconds: Tensor
    """(N,K) float64, not falling: presentation time of each keyframe in its video."""
    labels: Tensor
    """(N,) int64 in [0,L), or (N,L) float32 rows that sum to 1."""
    classes: tuple[str, ...]
    """L class names in label order."""
    clip: ClipSpec
    codec: CodecSpec
    normalization: Normalization
    provenance: Provenance
    fill: str = "linear"
    """How keyframes are placed back on the time line; a name of `FILLS`."""
    packing: str = "dense"
    """How the file holds the latents: "dense", or a name of `packing.PACKINGS`."""
    packed: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    """What the file holds in place of `latents`, which are what it unpacks to; empty for "dense"."""
    labeler: Labeler | None = field(default=None, repr=False, compare=False)
    """What says the labels of views of the clips; None for a set that is trained on by its labels alone."""
    decoder: Decoder | None = field(default=None, repr=False, compare=False)
    """The codec, when it is at hand (`videocompressa.load` attaches it)."""

    def __post_init__(self) -> None:
        if self.latents.ndim != 5 or self.latents.dtype != torch.float32:
            raise InputError(f"SyntheticSet.latents is {shape_text(self.latents)}; it must be float32 (N,K,C,h,w)")
        num_items, keyframes = self.latents.shape[:2]
        cells = self.codec.latent_shape(self.clip.height, self.clip.width)
        if tuple(self.latents.shape[2:]) != cells:
            got = shape_text(self.latents)
            raise InputError(f"SyntheticSet.latents is {got}; codec {self.codec.name!r} makes cells of {cells}")
        if self.latents.numel() and not bool(torch.stack(self.latents.aminmax()).isfinite().all()):
            raise InputError("SyntheticSet.latents hold values that are not finite")
        self._check_positions(num_items, keyframes)
        check_item_labels("SyntheticSet", self.labels, num_items, len(self.classes))
        check_fill(self.fill)
        if (self.packing == "dense") == bool(self.packed):
            raise InputError(
                f"SyntheticSet.packing is {self.packing!r} with packed tensors [{', '.join(sorted(self.packed))}]; "
                "give them exactly when the packing is not 'dense'"
            )
        if len(self.provenance.video_ids) != num_items:
            raise InputError(f"Provenance.video_ids has {len(self.provenance.video_ids)} entries for {num_items} items")
        if (num_hashes := len(self.provenance.video_hashes)) not in (0, num_items):
            raise InputError(f"Provenance.video_hashes has {num_hashes} entries for {num_items} items")
        if self.decoder is not None:
            self._check_decoder(self.decoder)

    def _check_decoder(self, decoder: Decoder) -> None:
        # The name may be that of another folder, and the size on disk that of another format, of the same weights.
        if replace(decoder.spec, name=self.codec.name, num_bytes=self.codec.num_bytes) != self.codec:
            raise InputError(
                f"the set was compressed with codec {self.codec.name!r} (weights {self.codec.weights_sha256[:12]}), "
                f"but {decoder.spec.name!r} (weights {decoder.spec.weights_sha256[:12]}) was given; give the same codec"
            )

    def _check_positions(self, num_items: int, keyframes: int) -> None:
        for name, dtype in (("positions", torch.int64), ("times_seconds", torch.float64)):
            tensor: Tensor = getattr(self, name)
            if tuple(tensor.shape) != (num_items, keyframes) or tensor.dtype != dtype:
                raise InputError(
                    f"SyntheticSet.{name} is {shape_text(tensor)}; it must be {dtype} ({num_items},{keyframes})"
                )
        if self.positions.numel() == 0:
            raise InputError("a SyntheticSet must hold at least one keyframe")
        if int(self.positions.min()) < 0 or int(self.positions.max()) >= self.clip.num_frames:
            raise InputError(f"SyntheticSet.positions leave [0,{self.clip.num_frames})")
        if bool((self.positions.diff(dim=1) <= 0).any()):
            raise InputError("SyntheticSet.positions must rise within each item")
        if not bool(torch.isfinite(self.times_seconds).all()) or bool((self.times_seconds.diff(dim=1) < 0).any()):
            raise InputError("SyntheticSet.times_seconds must be finite and must not fall within an item")

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        return (
            f"SyntheticSet({self.provenance.method!r}, latents={shape_text(self.latents)}, "
            f"labels={shape_text(self.labels)}, classes={len(self.classes)}, codec={self.codec.name!r}, "
            f"fill={self.fill!r})"
        )

    @property
    def hard_labels(self) -> Tensor:
        """(N,) int64: the labels, or the most likely class of each soft label."""
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)

    def keyframes(self, decoder: Decoder | None = None) -> Tensor:
        """Decode the keyframes to (N,K,3,H,W) float32 pixels in [0,1], item by item."""
        decoder = decoder or self.decoder
        if decoder is None:
            raise InputError(
                f"this set has no decoder at hand: give codec {self.codec.name!r}, or read it with videocompressa.load"
            )
        self._check_decoder(decoder)
        with torch.no_grad():
            return torch.stack([decoder.decode(item).clamp(0, 1).cpu() for item in self.latents])

    def clips(self, decoder: Decoder | None = None) -> Tensor:
        """Decode to complete clips (N,T,3,H,W) float32 in [0,1]: keyframes placed back on the time line by `fill`."""
        return fill_clips(self.keyframes(decoder), self.positions, self.clip.num_frames, self.fill)

    def as_dataset(
        self, decoder: Decoder | None = None, *, views: bool = False, lazy: bool = False
    ) -> Dataset[tuple[Tensor, ...]]:
        """Return a `torch.utils.data.Dataset` of (clip, label), decoded once; with `lazy`, whenever they are read.

        All clips take N x T x H x W x 12 bytes; the set itself, which `lazy` keeps instead, takes its latents.
        A clip is (T,3,H,W) float32 in [0,1]; `normalization.apply` standardizes it. A label is an int64 scalar, or
        the (L,) float32 probabilities of a soft label; `torch.nn.CrossEntropyLoss` takes either. With `views`, a clip
        is a new random view each time, and its label the (L,) probabilities that the labeler gives it.
        """
        if views and self.labeler is None:
            raise InputError(
                f"views=True: this set, compressed by {self.provenance.method!r}, has no labeler; compress with "
                "--labeler auto, or augment the clips yourself"
            )
        clips = LazyClips(self, decoder) if lazy else self.clips(decoder)
        if self.labeler is None or not views:
            return StackDataset(clips, self.labels)  # type: ignore[arg-type]  # it takes whatever has rows
        return LabeledViews(clips, self.labeler)


def regime_of(labels: Tensor, labeler: Labeler | None) -> str:
    """Return whose labels students learn: "views" of a labeler, or stored ones: "hard" (N,), or "soft" (N,L)."""
    return "views" if labeler is not None else "hard" if labels.ndim == 1 else "soft"


class LazyClips:
    """The clips of a set, decoded whenever they are read."""

    def __init__(self, synthetic: SyntheticSet, decoder: Decoder | None) -> None:
        self._synthetic, self._decoder = synthetic, decoder

    def __len__(self) -> int:
        return len(self._synthetic)

    def __getitem__(self, rows: int | list[int]) -> Tensor:
        """Return a clip (T,3,H,W), or clips (B,T,3,H,W), float32 in [0,1]."""
        clips = items_of(self._synthetic, [rows] if isinstance(rows, int) else rows).clips(self._decoder)
        return clips[0] if isinstance(rows, int) else clips


def items_of(synthetic: SyntheticSet, rows: list[int]) -> SyntheticSet:
    """Return the set of some items, as dense latents; one at a time, memory does not grow with the set."""
    tensors = {name: getattr(synthetic, name)[rows] for name in ("latents", "positions", "times_seconds", "labels")}
    names: dict[str, Any] = {
        name: tuple(all_names[row] for row in rows) if (all_names := getattr(synthetic.provenance, name)) else ()
        for name in ("video_ids", "video_hashes")
    }
    return replace(synthetic, **tensors, provenance=replace(synthetic.provenance, **names), packing="dense", packed={})


def check_item_labels(record: str, labels: Tensor, num_items: int, num_classes: int) -> None:
    """Raise unless these are a class in [0,L) or a row of L probabilities for each item of a record."""
    hard = labels.dtype == torch.int64 and tuple(labels.shape) == (num_items,)
    soft = labels.dtype == torch.float32 and tuple(labels.shape) == (num_items, num_classes)
    if not hard and not soft:
        raise InputError(
            f"{record}.labels is {shape_text(labels)}; it must be int64 ({num_items},) "
            f"or float32 ({num_items},{num_classes})"
        )
    if hard and num_items and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise InputError(f"{record}.labels leave [0,{num_classes})")
    if soft and not bool((labels >= 0).all() and ((labels.sum(1) - 1).abs() < 1e-2).all()):
        raise InputError(f"soft {record}.labels must be finite, not negative, and sum to 1 in each row")


def gather(
    candidates: Candidates,
    rows: Tensor,
    positions: Tensor,
    *,
    method: str,
    config: Mapping[str, Any],
    seed: int,
    latents: Tensor | None = None,
    fill: str = "linear",
    num_learned_hashes: int = 0,
    decoder: Decoder | None = None,
) -> SyntheticSet:
    """Return the set of `rows` (N,) at `positions` (N,K) with hard labels; `latents` (N,K,C,h,w) replace real ones.

    `num_learned_hashes` is the most that its provenance gets.
    """
    if latents is None:
        latents = candidates.latents[rows[:, None], positions].float()
    video_ids, video_hashes = candidates.names_of(rows.tolist())
    source = Source(
        name=candidates.source,
        split_hash=candidates.split_hash,
        num_videos=len(candidates),
        num_frames=int(candidates.num_video_frames.sum()),
        video_bytes=int(candidates.video_bytes.sum()),
        num_skipped=len(candidates.bad),
    )
    return SyntheticSet(
        latents=latents,
        positions=positions,
        times_seconds=candidates.times_seconds[rows].gather(1, positions),
        labels=candidates.labels[rows],
        classes=candidates.classes,
        clip=candidates.clip,
        codec=candidates.codec,
        normalization=candidates.normalization,
        fill=fill,
        decoder=decoder,
        provenance=Provenance(
            method,
            config,
            seed,
            source,
            video_ids,
            video_hashes=video_hashes,
            learned_hashes=tuple(heapq.nsmallest(num_learned_hashes, {*candidates.video_hashes})),
        ),
    )


def take_keyframes(frames: Tensor, positions: Tensor) -> Tensor:
    """Return (N,K,...) of (N,T,...) at `positions` (N,K)."""
    return frames[torch.arange(len(frames))[:, None], positions]
