"""RDED: realistic crops that a teacher recognizes at once, and nothing optimized (Sun et al. 2024, arXiv 2312.03526).

Symbols: x_i a training clip of T candidate frames with class y_i, f a teacher, c_ij crop j of clip i.

1. Of each class take `pool_per_class` clips at random (the paper's code reads no more).
2. Of each clip draw `num_crops` crops c_ij. A crop is ONE box for all frames (a box a frame would jitter) and a window
   of candidates, of which the K uniform keyframes are kept.
3. Score: l_ij = cross-entropy(f(c_ij), y_i); low means that the crop alone tells the class ("realism").
4. Keep the best crop of each clip, j*(i) = argmin_j l_ij, so that no clip is shown twice ("diversity"), then the VPC
   clips of each class with the lowest l_ij*.
5. Encode the keyframes of the kept crops (they are new pixels), and label them by the teacher.

For pictures the paper tiles 2x2 crops of four pictures into one. The video version (Video-DC, arXiv 2412.21197, whose
released settings are the defaults here: 5 crops, 70 clips a class, no tiling) keeps one crop a clip: `stitch=1`. With
`stitch=2` an item is made of the four next best clips; its positions, times and video id are those of the FIRST of
them, the upper left one.

Left open by both, or not possible in a file (our choice):
- Windows: Video-DC takes 8 frames at a fixed interval from a random start. Here the candidates span the whole video, so
  a window spans a random share in [`window`,1] of them, like the area of the box.
- A crop is scored as it will be stored (K keyframes, placed back by `fill`), enlarged to the whole frame and not yet
  encoded.
- The box has the aspect of the frame (the released 1:1, for frames that are not square).
- One soft label an item, the mean over views, where the paper asks the teacher anew for every augmented view.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec, weights_sha256
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.selection.videos import check_enough
from videocompressa.students.networks import Student
from videocompressa.students.teachers import RealClips, TeacherConfig, check_labels, relabel, train_teachers
from videocompressa.synthetic import Allowance, SyntheticSet, check_fill, fill_clips, gather

CHUNK = 64
"""Crops in memory at once: bounds it whatever the number of clips and crops (our choice)."""


@dataclass(frozen=True)
class RdedConfig:
    """How crops are drawn and stored; the defaults are the released ones of Video-DC for UCF101 and HMDB51."""

    num_crops: int = 5
    """Crops drawn of each clip, >= 1 (10 for K400)."""
    pool_per_class: int = 70
    """Clips of each class that are looked at, at random (100 for K400); 0 looks at all. Never fewer than are kept."""
    crop_scale: float = 0.08
    """Smallest area of a box as a share of the frame, in (0,1]; areas are uniform up to 1."""
    window: float = 0.5
    """Smallest share of the candidates that a window spans, in (0,1]; at least K of them."""
    stitch: int = 1
    """Crops along each side of a stored picture: 1 as for video, 2 as for pictures."""
    labels: str = "soft"
    """"soft" probabilities of the teacher, as published, or "hard"."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher that scores and labels."""

    @property
    def needs_teacher(self) -> bool:
        """Always: it chooses."""
        return True

    def __post_init__(self) -> None:
        ranges = {
            "num_crops": (self.num_crops >= 1, "at least 1"),
            "pool_per_class": (self.pool_per_class >= 0, "at least 0 (0: all clips)"),
            "crop_scale": (0 < self.crop_scale <= 1, "in (0,1]"),
            "window": (0 < self.window <= 1, "in (0,1]"),
            "stitch": (self.stitch in (1, 2), "1 or 2"),
        }
        for name, (good, allowed) in ranges.items():
            if not good:
                raise InputError(f"rded {name} is {getattr(self, name)}; it must be {allowed}")
        check_labels(self.labels)
        check_fill(self.fill)


@dataclass(frozen=True)
class Crops:
    """Crops of M clips, J of each, or the best one of each (J = 1)."""

    boxes: Tensor
    """(M,J,4) int64: top, left, height and width in pixels, inside the frame; one box for all frames of a crop."""
    positions: Tensor
    """(M,J,K) int64, rising in [0,T): candidates that are kept."""

    def of(self, clips: Tensor, numbers: Tensor) -> Crops:
        """Return crop `numbers` (M') of clips (M') as crops (M',1)."""
        return Crops(self.boxes[clips, numbers][:, None], self.positions[clips, numbers][:, None])


def compress(
    train_data: Candidates,
    codec: Codec,
    config: RdedConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Return `budget.videos_per_class` items of each class, each the crop of a clip that the teacher likes best.

    Raises `InputError` when K > T, when a class has too few clips, or when `stitch` leaves less than a pixel a crop.
    """
    num_frames, height, width = train_data.clip.num_frames, train_data.clip.height, train_data.clip.width
    check_keyframes(budget.keyframes, num_frames)
    _check_clips(train_data, config, budget)
    real = RealClips(train_data, codec, budget.keyframes, config.fill, config.teacher.as_stored)
    teachers = train_teachers(real, config.teacher, rng=rng, device=device, watch=watch, stages=stages)
    # 1.
    least = budget.videos_per_class * config.stitch**2
    rows = _pool(train_data, max(config.pool_per_class, least) if config.pool_per_class else 0, rng.generator("pool"))

    def make() -> dict[str, Tensor]:
        crops = draw_crops(
            len(rows), (height, width), num_frames, config, keyframes=budget.keyframes, generator=rng.generator("crops")
        )  # 2.
        losses = score_crops(train_data, rows, crops, teachers, config.fill, device=device, watch=watch)  # 3.
        best = losses.argmin(1)  # 4.
        mine = torch.arange(len(rows))
        kept = crops.of(mine, best)
        return {"losses": losses[mine, best], "boxes": kept.boxes, "positions": kept.positions}

    key = {
        "crops": [config.num_crops, config.crop_scale, config.window, config.fill, budget.keyframes],
        "teachers": [weights_sha256(teacher.state_dict()) for teacher in teachers],
        "rows": rows.tolist(),
        "seed": [rng.seed, rng.scope],
    }
    found = stages.recall("rded", key, make)
    best = Crops(found["boxes"], found["positions"])
    items = choose_clips(found["losses"], train_data.labels[rows], len(train_data.classes), budget, config.stitch)
    first = items[:, 0]
    latents = _encode(train_data, rows, best, items, codec, config.stitch)  # 5.
    synthetic = gather(
        train_data,
        rows[first],
        best.positions[first, 0],
        labels=train_data.labels[rows[first]],
        latents=latents,
        fill=config.fill,
        method="rded",
        config=dataclasses.asdict(config),
        seed=rng.seed,
        decoder=codec,
    )
    return relabel(synthetic, config.labels, teachers, config.teacher, rng=rng, device=device)


def draw_crops(
    num_clips: int,
    size: tuple[int, int],
    num_frames: int,
    config: RdedConfig,
    *,
    keyframes: int,
    generator: torch.Generator,
) -> Crops:
    """Draw `config.num_crops` crops of each clip: a box inside `size` (H,W), and K uniform places of a window of T."""
    area, down, right, span, start = torch.rand(5, num_clips, config.num_crops, generator=generator).double()
    side = (config.crop_scale + (1 - config.crop_scale) * area).sqrt()
    height, width = ((side * edge).round().clamp(1, edge).long() for edge in size)
    top = (down * (size[0] - height + 1)).long()
    left = (right * (size[1] - width + 1)).long()
    shortest = max(keyframes, round(config.window * num_frames))
    length = shortest + (span * (num_frames - shortest + 1)).long()
    begin = (start * (num_frames - length + 1)).long()
    # The middles of K equal spans of the window, as the uniform selector takes them of the whole clip.
    places = (torch.arange(keyframes, dtype=torch.float64) + 0.5) / keyframes
    positions = begin[..., None] + (places * length[..., None]).floor().long()
    return Crops(torch.stack([top, left, height, width], -1), positions)


def cut(frames: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut ONE box (4,) out of all frames (K,3,H,W) uint8 and resize it: (K,3,*size) float32 pixels in [0,1]."""
    top, left, height, width = box.tolist()
    part = frames[..., top : top + height, left : left + width].float() / 255
    if tuple(part.shape[-2:]) == size:
        return part
    return functional.interpolate(part, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


@torch.no_grad()
def score_crops(
    train_data: Candidates,
    rows: Tensor,
    crops: Crops,
    teachers: Sequence[Student],
    fill: str,
    *,
    device: torch.device,
    watch: Watch = watch_nothing,
) -> Tensor:
    """Return the teachers' mean cross-entropy with the true label of every crop: (M,J) float64, `CHUNK` at a time.

    In float32 all crops that a sure teacher knows (17 and more between two logits) would tie at zero.
    """
    clip = train_data.clip
    num_clips, num_crops = crops.boxes.shape[:2]
    losses = torch.empty(num_clips * num_crops, dtype=torch.float64)
    for start in range(0, len(losses), CHUNK):
        numbers = torch.arange(start, min(start + CHUNK, len(losses)))
        mine, crop = numbers // num_crops, numbers % num_crops
        positions = crops.positions[mine, crop]
        keyframes = torch.stack(
            [
                cut(train_data.frames[row][places], box, (clip.height, clip.width))
                for row, places, box in zip(rows[mine].tolist(), positions, crops.boxes[mine, crop], strict=True)
            ]
        )
        seen = fill_clips(keyframes.to(device), positions.to(device), clip.num_frames, fill)
        normal, labels = train_data.normalization.apply(seen), train_data.labels[rows[mine]].to(device)
        each = [functional.cross_entropy(teacher(normal).double(), labels, reduction="none") for teacher in teachers]
        losses[numbers] = torch.stack(each).mean(0).cpu()
        watch("crops", done=int(numbers[-1]) + 1, total=len(losses))
    return losses.view(num_clips, num_crops)


def choose_clips(losses: Tensor, labels: Tensor, num_classes: int, budget: Allowance, stitch: int) -> Tensor:
    """Return which clips make each item: (N,stitch^2) int64, best first, in class order; ties go to the earlier clip.

    A class with too few clips gives the items that it can.
    """
    each = stitch**2
    items = []
    for label in range(num_classes):
        members = (labels == label).nonzero()[:, 0]
        ranked = members[losses[members].argsort(stable=True)]
        count = min(budget.videos_per_class, len(ranked) // each)
        items.append(ranked[: count * each].view(count, each))
    return torch.cat(items)


def _check_clips(train_data: Candidates, config: RdedConfig, budget: Allowance) -> None:
    """Raise unless every class has enough clips, and a tile some pixels."""
    sizes = torch.bincount(train_data.labels, minlength=len(train_data.classes)).tolist()
    named = dict(zip(train_data.classes, sizes, strict=True))
    check_enough(named, budget.videos_per_class, allow_fewer=budget.allow_fewer)
    each = config.stitch**2
    if each == 1:
        return
    if min(train_data.clip.height, train_data.clip.width) < config.stitch:
        raise InputError("rded stitch is 2, but a frame has sides below 2 pixels; raise --size or set stitch=1")
    needed = each if budget.allow_fewer else budget.videos_per_class * each
    name, fewest = min(named.items(), key=lambda entry: entry[1])
    if fewest < needed:
        raise InputError(
            f"rded stitch is {config.stitch}, so --vpc {budget.videos_per_class} takes {needed} clips of each class, "
            f"but {name!r} has {fewest}; lower --vpc, or set stitch=1"
        )


def _pool(train_data: Candidates, count: int, generator: torch.Generator) -> Tensor:
    """Return at most `count` random rows of each class (0: all), rising."""
    if count == 0:
        return torch.arange(len(train_data))
    order = torch.randperm(len(train_data), generator=generator)
    labels = train_data.labels[order]
    return torch.cat([order[labels == label][:count] for label in range(len(train_data.classes))]).sort().values


def _encode(train_data: Candidates, rows: Tensor, best: Crops, items: Tensor, codec: Codec, stitch: int) -> Tensor:
    """Return the scaled latents (N,K,C,h,w) float32 of the items, item by item."""
    encoded = []
    for members in items.tolist():
        tiles = []
        for number, member in enumerate(members):
            size = tile_size(number, stitch, (train_data.clip.height, train_data.clip.width))
            frames = train_data.frames[int(rows[member])][best.positions[member, 0]]
            tiles.append(cut(frames, best.boxes[member, 0], size))
        lines = [torch.cat(tiles[line : line + stitch], dim=-1) for line in range(0, stitch**2, stitch)]
        encoded.append(codec.encode(torch.cat(lines, dim=-2)).cpu())
    return torch.stack(encoded)


def tile_size(number: int, stitch: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of tile `number` (row by row) of `stitch` x `stitch` that fill `size` without a gap."""
    places = divmod(number, stitch)
    tall, wide = (
        (place + 1) * edge // stitch - place * edge // stitch for place, edge in zip(places, size, strict=True)
    )
    return tall, wide
