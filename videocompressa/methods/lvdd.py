"""LVDD: real clips as latents, chosen for diversity, packed by one Tucker decomposition; no gradients.

1. Z (M,D): of each class, the codec's scaled latents of its M clips, flattened; all T frames, or K uniform ones.
2. Choose n clips of each class: a k-DPP sample ("DAPS"), k-means or chance. For the k-DPP each cell is standardized
   over the training clips, and the kernel is exp(-||z_i - z_j||).
3. Pack the n x L latents by a truncated Tucker decomposition (`packing/tucker.py`), ratio 0.75 on T, h and w.
4. n is as many as fit in the budget's bytes; where none are given, it is VPC.
5. Hard labels, or soft ones of a teacher that sees the unpacked clips.

Li et al. 2025, "Latent Video Dataset Distillation", arXiv 2504.17132. What text and released code say differently, and
what we do: the text's kernel is exp(-||z_i - z_j||^2 / (2 sigma^2)) without a sigma, the code's exp(-||z_i - z_j||),
which on real latents is the identity (a uniform draw): `kernel` is "paper" (as coded) or "scaled" (the text's, sigma
the median distance). The text counts n by the bytes of one float32 pixel clip a class; here by bytes of the file.
k-means as coded draws clips at random from ten clusters; ours takes the clip nearest each of n centroids (no second
draw, and n clusters for n clips). The codec is any of ours, not the paper's pruned CV-VAE; latents are its mode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from videocompressa.artifact import to_bytes
from videocompressa.artifact.packing import tucker
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import InputError, too_few_bytes
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.keyframes import UniformSelector, check_keyframes
from videocompressa.selection.videos import SUBSETS, check_enough
from videocompressa.students.teachers import TeacherConfig, check_labels, relabel, teachers_of
from videocompressa.synthetic import Allowance, SyntheticSet, check_fill, gather

SELECTIONS = ("dpp", "k-means", "random")
"""How clips are chosen."""
KERNELS = {"paper": "dpp", "scaled": "dpp-scaled"}
"""Kernels of the k-DPP, and the rule of `subset.SUBSETS` that has each."""
FRAMES = ("all", "keyframes")
"""What is kept of a clip: its T candidates, or K uniform ones."""
CHUNK = 64
"""Clips read at a time for the moments of cells."""


@dataclass(frozen=True)
class LvddConfig:
    """What LVDD does; the defaults are the published ones."""

    select: str = "dpp"
    """"dpp" (k-DPP sample), "k-means" or "random"."""
    kernel: str = "paper"
    """Kernel of the k-DPP: "paper" (as coded: the identity on real latents) or "scaled" (median bandwidth)."""
    frames: str = "all"
    """"all" keeps the T candidates of a clip, "keyframes" K uniform ones."""
    ratio: float = 0.75
    """Share in (0,1] of frames, height and width that the decomposition keeps."""
    sweeps: int = 0
    """Sweeps of HOOI after HOSVD, >= 0."""
    labels: str = "hard"
    """"hard", or "soft" probabilities of a teacher."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher of soft labels; not trained for hard ones."""
    fills_bytes: ClassVar[bool] = True
    """It keeps as much as the file holds, whatever VPC and K are."""

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        if self.select != "dpp":
            return f"lvdd-{self.select}"
        return "lvdd" if self.kernel == "paper" else f"lvdd-{self.kernel}"

    @property
    def rule(self) -> str:
        """The rule of `subset.SUBSETS` that chooses clips."""
        return KERNELS[self.kernel] if self.select == "dpp" else self.select

    @property
    def needs_teacher(self) -> bool:
        """Soft labels need one."""
        return self.labels == "soft"

    def __post_init__(self) -> None:
        for option, known in (("select", SELECTIONS), ("kernel", tuple(KERNELS)), ("frames", FRAMES)):
            if getattr(self, option) not in known:
                raise InputError(f"{option} is {getattr(self, option)!r}; known: {', '.join(known)}")
        if not 0 < self.ratio <= 1:
            raise InputError(f"ratio is {self.ratio}; it must be in (0,1]")
        if self.sweeps < 0:
            raise InputError(f"sweeps is {self.sweeps}; it must be at least 0")
        check_labels(self.labels)
        check_fill(self.fill)


def compress(
    train_data: Candidates,
    codec: Codec,
    config: LvddConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Return Tucker-packed latents of real clips: as many a class as `budget.file_bytes` holds, else VPC of each."""
    num_frames = train_data.clip.num_frames
    check_keyframes(budget.keyframes, num_frames)
    keyframes = num_frames if config.frames == "all" else budget.keyframes
    positions = UniformSelector().positions(train_data.frames[:1], keyframes, rng.generator("keyframes"))[0]
    choose = _chooser(train_data, positions, config, rng, watch)
    if budget.file_bytes is None:
        check_enough(_class_sizes(train_data), budget.videos_per_class, allow_fewer=budget.allow_fewer)
        rows = choose(budget.videos_per_class)
    else:
        rows = _fill(budget.file_bytes, train_data, positions, choose, config, rng, budget.allow_fewer)
    latents = train_data.latents[rows][:, positions].float()
    synthetic = _packed(train_data, rows, positions, tucker.pack(latents, config.ratio, config.sweeps), config, rng)
    teachers = teachers_of(
        config, train_data, codec, keyframes=keyframes, fill=config.fill, rng=rng, device=device, watch=watch,
        stages=stages,
    )  # fmt: skip
    synthetic = dataclasses.replace(synthetic, decoder=codec)
    return relabel(synthetic, config.labels, teachers, config.teacher, rng=rng, device=device)


def _packed(
    train_data: Candidates, rows: Tensor, positions: Tensor, packed: dict[str, Tensor], config: LvddConfig, rng: Streams
) -> SyntheticSet:
    """Return the set of `rows` (N,) at `positions` (K,) whose latents are what `packed` unpacks to."""
    shape = (len(rows), len(positions), *train_data.latents.shape[2:])
    synthetic = gather(
        train_data,
        rows,
        positions.expand(len(rows), -1).contiguous(),
        labels=train_data.labels[rows],
        latents=tucker.unpack(packed, shape),
        fill=config.fill,
        method=config.name,
        config=dataclasses.asdict(config),
        seed=rng.seed,
    )
    return dataclasses.replace(synthetic, packing="tucker", packed=packed)


# ------------------------------------------------------------------------------------------------- steps 1 and 2: clips


def _chooser(
    train_data: Candidates, positions: Tensor, config: LvddConfig, rng: Streams, watch: Watch
) -> Callable[[int], Tensor]:
    """Return a function from n to the rows (N,) int64 of n clips of each class, by class; fewer where it has fewer.

    One class is read at a time, and equal n give equal rows.
    """
    shift, scale = torch.zeros(()), torch.ones(())
    if config.select == "dpp":
        shift, scale = _moments(train_data, positions)

    def features(members: Tensor) -> Tensor:
        if config.select == "random":
            return torch.zeros((len(members), 1))
        return ((train_data.latents[members][:, positions].double() - shift) / scale).flatten(1)

    def choose(count: int) -> Tensor:
        generator = rng.generator("videos")
        rows = []
        for label in range(len(train_data.classes)):
            members = (train_data.labels == label).nonzero()[:, 0]
            if len(members):
                chosen = SUBSETS[config.rule](features(members), min(count, len(members)), generator)
                rows.append(members[chosen])
            watch("choose clips", done=label + 1, total=len(train_data.classes), a_class=count)
        return torch.cat(rows)

    return choose


def _moments(train_data: Candidates, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (K,C,h,w) float64 of each latent cell over the training clips; 1 where it is still."""
    chunks = [torch.arange(len(train_data))[start : start + CHUNK] for start in range(0, len(train_data), CHUNK)]
    cells = (len(positions), *train_data.latents.shape[2:])
    mean, squares = torch.zeros(cells, dtype=torch.float64), torch.zeros(cells, dtype=torch.float64)
    for rows in chunks:
        mean += train_data.latents[rows][:, positions].double().sum(0) / len(train_data)
    for rows in chunks:
        squares += (train_data.latents[rows][:, positions].double() - mean).square().sum(0)
    deviation = (squares / len(train_data)).sqrt()
    return mean, torch.where(deviation > 0, deviation, 1.0)


# ------------------------------------------------------------------------------------------------------- step 4: bytes


def _fill(
    file_bytes: int,
    train_data: Candidates,
    positions: Tensor,
    choose: Callable[[int], Tensor],
    config: LvddConfig,
    rng: Streams,
    allow_fewer: bool,
) -> Tensor:
    """Return the rows of the largest n whose file has at most `file_bytes` while that of n + 1 has more.

    Halving over the first n clips of each class finds n but for the lengths of ids, without choosing at each step;
    then n is settled with the clips that would be chosen. Raises `BudgetError` when one a class is too much.
    """
    sizes = _class_sizes(train_data)
    check_enough(sizes, 1, allow_fewer=allow_fewer)
    most = (max if allow_fewer else min)(sizes.values())
    members = [(train_data.labels == label).nonzero()[:, 0] for label in range(len(train_data.classes))]

    def size(rows: Tensor) -> int:
        return _file_bytes(train_data, rows, positions, config, rng)

    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        fits = size(torch.cat([some[:middle] for some in members])) <= file_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    rows = choose(low)
    while size(rows) > file_bytes:
        if low == 1:
            smaller = f"{size(rows)}, or --set ratio or --set frames=keyframes for smaller clips"
            raise too_few_bytes(file_bytes, f"one clip of each of {len(sizes)} classes by {config.name}", smaller)
        low -= 1
        rows = choose(low)
    while low < most and size(more := choose(low + 1)) <= file_bytes:
        low, rows = low + 1, more
    return rows


def _file_bytes(train_data: Candidates, rows: Tensor, positions: Tensor, config: LvddConfig, rng: Streams) -> int:
    """Return the size of the file of these rows: shapes, ids and kind of labels decide it, latents do not."""
    shape = (len(rows), len(positions), *train_data.latents.shape[2:])
    synthetic = _packed(train_data, rows, positions, tucker.blank(shape, config.ratio), config, rng)
    if config.labels == "soft":
        num_classes = len(train_data.classes)
        labels = torch.full((len(rows), num_classes), 1 / num_classes)
        synthetic = dataclasses.replace(synthetic, labels=labels)
    return len(to_bytes(synthetic))


def _class_sizes(train_data: Candidates) -> dict[str, int]:
    sizes = torch.bincount(train_data.labels, minlength=len(train_data.classes)).tolist()
    return dict(zip(train_data.classes, sizes, strict=True))
