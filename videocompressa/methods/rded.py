"""RDED: realistic crops that a teacher recognizes at once, and nothing optimized (Sun et al. 2024, arXiv 2312.03526).

Symbols: x_i a training clip of T candidate frames with class y_i, f a teacher, c_ij crop j of clip i.

1. Of each class take `pool_per_class` clips at random (the paper's code reads no more).
2. Of each clip draw `num_crops` crops c_ij. A crop is ONE box for all frames (a box a frame would jitter) and a window
   of candidates, of which the K uniform keyframes are kept.
3. Score: l_ij = cross-entropy(f(c_ij), y_i); low means that the crop alone shows the class ("realism").
4. Keep the best crop of each clip, j*(i) = argmin_j l_ij, so that no clip is stored twice ("diversity"), then the VPC
   clips of each class with the lowest l_ij*.
5. Encode the keyframes of the kept crops (they are new pixels), and label them by the teacher.

The paper tiles crops of four pictures into one; like the video version (Video-DC, arXiv 2412.21197, whose released
settings are the defaults here), we keep one crop a clip. Our choice:
- Windows: a random share in [`window`,1] of the candidates (Video-DC: 8 frames at a fixed interval).
- A crop is scored as it is stored (K keyframes, placed back by `fill`), enlarged to the frame and not yet encoded.
- The box has the aspect of the frame (released: 1:1); a soft label is the mean over views (the paper: one a view).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec, weights_sha256
from videocompressa.errors import check_least, check_within
from videocompressa.fill import fill_clips
from videocompressa.methods.config import MethodConfig, first_of_each_class, random_of_each_class
from videocompressa.run import Run
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.selection.videos import check_enough
from videocompressa.students.teachers import Teacher
from videocompressa.synthetic import Budget, SyntheticSet, take_keyframes

CHUNK = 64
"""Crops in memory at once: bounds it whatever the number of clips and crops (our choice)."""


@dataclass(frozen=True)
class Crops:
    """Crops of M clips, J of each, or the best one of each (J = 1)."""

    boxes: Tensor
    """(M,J,4) int64: top, left, height and width in pixels, inside the frame; one box for all frames of a crop."""
    positions: Tensor
    """(M,J,K) int64, rising in [0,T): candidates that are kept."""


@dataclass(frozen=True)
class RdedConfig(MethodConfig):
    """How crops are sampled and stored; the defaults are the released ones of Video-DC for UCF101 and HMDB51."""

    name: ClassVar[str] = "rded"
    labels: str = "soft"
    """"soft" probabilities of the teacher, as published, or "hard"."""
    num_crops: int = 5
    """Random crops of each clip, >= 1 (10 for K400)."""
    pool_per_class: int = 70
    """Clips of each class that are scored, at random (100 for K400); 0 scores all. Never fewer than are kept."""
    crop_scale: float = 0.08
    """Smallest area of a box as a share of the frame, in (0,1]; areas are uniform up to 1."""
    window: float = 0.5
    """Smallest share of the candidates that a window spans, in (0,1]; at least K of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(self, "rded ", num_crops=1, pool_per_class=0)
        check_within(self, "rded ", crop_scale="(0,1]", window="(0,1]")

    @property
    def needs_teacher(self) -> bool:
        """Always: it scores the crops."""
        return True

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return `budget.videos_per_class` items of each class: the crops that the teacher recognizes best."""
        check_keyframes(budget.keyframes, train_data.clip.num_frames)
        check_enough(train_data.class_sizes, budget.videos_per_class, allow_fewer=budget.allow_fewer)
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        pool_size = max(self.pool_per_class, budget.videos_per_class) if self.pool_per_class else len(train_data)
        pool = random_of_each_class(train_data.labels, pool_size, run.generator("pool"))  # 1.
        losses, crops = self._best_crops(train_data, pool, teachers.networks, budget.keyframes, run)  # 2. to 4.
        items = first_of_each_class(losses.argsort(stable=True), train_data.labels[pool], budget.videos_per_class)
        positions = crops.positions[items, 0]
        clips = _cut_clips(train_data, pool[items], positions, crops.boxes[items, 0])
        latents = torch.stack([codec.encode(clip).cpu() for clip in clips])  # 5.
        synthetic = self.gather(train_data, pool[items], positions, codec, run, latents)
        return self.relabel(synthetic, teachers, run)

    def _best_crops(
        self, train_data: Candidates, pool: Tensor, teachers: Sequence[Teacher], keyframes: int, run: Run
    ) -> tuple[Tensor, Crops]:
        """Return the loss (M,) of the best crop of each clip, and that crop; a finished stage."""
        clip = train_data.clip

        def compute() -> dict[str, Tensor]:
            size, draws = (clip.height, clip.width), run.generator("crops")
            crops = draw_crops(len(pool), size, clip.num_frames, self, keyframes=keyframes, generator=draws)
            losses = score_crops(train_data, pool, crops, teachers, self.fill, run)
            best = losses.argmin(1, keepdim=True)
            boxes, positions = take_keyframes(crops.boxes, best), take_keyframes(crops.positions, best)
            return {"losses": losses.gather(1, best)[:, 0], "boxes": boxes, "positions": positions}

        key = {
            "crops": [self.num_crops, self.crop_scale, self.window, self.fill, keyframes],
            "teachers": [weights_sha256(teacher.state_dict()) for teacher in teachers],
            "rows": pool.tolist(),
        }
        stage = run.recall("rded", key, compute)
        return stage["losses"], Crops(stage["boxes"], stage["positions"])


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
    # The middles of K equal spans of the window, like those of the uniform selector.
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
    train_data: Candidates, pool: Tensor, crops: Crops, teachers: Sequence[Teacher], fill: str, run: Run
) -> Tensor:
    """Return the teachers' mean cross-entropy with the true label of every crop: (M,J) float64, `CHUNK` at a time.

    In float32 all crops with 17 and more between two logits would tie at zero.
    """
    num_clips, num_crops = crops.boxes.shape[:2]
    losses = torch.empty(num_clips * num_crops, dtype=torch.float64)
    for numbers in torch.split(torch.arange(len(losses)), CHUNK):
        clips, crop = numbers // num_crops, numbers % num_crops
        positions = crops.positions[clips, crop]
        keyframes = torch.stack([*_cut_clips(train_data, pool[clips], positions, crops.boxes[clips, crop])])
        pixels = fill_clips(keyframes.to(run.device), positions.to(run.device), train_data.clip.num_frames, fill)
        labels, each = train_data.labels[pool[clips]].to(run.device), []
        for teacher in teachers:
            inputs = (teacher.normalization or train_data.normalization).apply(pixels)
            each.append(functional.cross_entropy(teacher(inputs).double(), labels, reduction="none"))
        losses[numbers] = torch.stack(each).mean(0).cpu()
        run.watch("crops", done=int(numbers[-1]) + 1, total=len(losses))
    return losses.view(num_clips, num_crops)


def _cut_clips(train_data: Candidates, rows: Tensor, positions: Tensor, boxes: Tensor) -> Iterator[Tensor]:
    """Yield the pixels (K,3,H,W) of one crop of each of the clips `rows` (N,)."""
    size = (train_data.clip.height, train_data.clip.width)
    for row, places, box in zip(rows.tolist(), positions, boxes, strict=True):
        yield cut(train_data.frames[row][places], box, size)
