"""Typical clips: as many complete clips as a file holds at the coarsest quality that still teaches; nothing is trained.

Our own baseline for budgets in bytes; "Spending bytes" in docs/method.md gives the reasons.

1. Frames.  All T of a clip.
2. Quality. The coarsest step S at which the weighted error of the latents, sum_c g_c^2 |X' - X|^2, is at most the share
   `loss` of their weighted variance: beyond it, students lose more than further videos teach them.
3. Number.  As many videos a class as the file holds at S.
4. Videos.  Of each class the typical ones ("Which videos" there); with soft labels, of those the teacher gets right.
5. Store.   The rest of the file goes into a finer step (`storage.STEP` at the finest).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from videocompressa.artifact.fitting import largest_fitting
from videocompressa.artifact.packing import transform
from videocompressa.artifact.storage import sample_of, transform_of
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import InputError, check_known, check_within
from videocompressa.methods.config import MethodConfig
from videocompressa.run import Run
from videocompressa.selection.videos import SUBSETS, choose_videos, visible_latents
from videocompressa.students.teachers import recognized
from videocompressa.synthetic import Budget, SyntheticSet

OCTAVE = 8
"""Steps that are tried within a factor of 2."""
_LOWEST, _HIGHEST = -4 * OCTAVE, 6 * OCTAVE


@dataclass(frozen=True)
class TypicalClipsConfig(MethodConfig):
    """Which clips are kept, and how coarsely."""

    name: ClassVar[str] = "typical-clips"
    subset: str = "facility-location"
    """Step 4: rule that chooses videos; a name of `selection.SUBSETS`."""
    loss: float = 0.15
    """Step 2: share in (0,1) of the weighted variance of the latents that is lost for more videos."""
    fills_bytes: ClassVar[bool] = True
    storages: ClassVar[tuple[str, ...]] = ("transform",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("unknown subset rule", self.subset, SUBSETS)
        check_within(self, "", loss="(0,1)")

    @property
    def reads_all_latents(self) -> bool:
        """See `MethodConfig.reads_all_latents`."""
        return self.subset != "random" or super().reads_all_latents

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return as many complete clips of each class as `budget.file_bytes` holds; a class with fewer gives all.

        At least one video a class, even where it does not fit: storage then takes a coarser step.
        """
        if budget.file_bytes is None:
            raise InputError(f"{self.name} fills a file of a given size, and none was given; give --bytes")
        weights = transform.channel_weights(codec, sample_of(train_data.latents), run.generator("channels"))
        step = coarsest_step(sample_of(train_data.latents), weights, self.loss)
        count = self._videos_per_class(train_data, weights, step, budget.file_bytes, run)
        positions = torch.arange(train_data.clip.num_frames)
        teachers = self.train_teachers(train_data, codec, len(positions), run)
        features = None if self.subset == "random" else visible_latents(train_data, weights)
        rows = choose_videos(
            train_data,
            self.subset,
            Budget(count, len(positions), allow_fewer=True),
            run.generator("videos"),
            features=features,
            eligible=recognized(train_data, teachers.networks, run),
        )
        synthetic = self.gather(train_data, rows, positions.repeat(len(rows), 1), codec, run)
        return self.relabel(synthetic, teachers, run)

    def _videos_per_class(self, train_data: Candidates, weights: Tensor, step: float, file_bytes: int, run: Run) -> int:
        """Step 3: the most videos a class of which a file of random ones is within the bytes, at least 1."""
        packing, positions = transform_of(train_data.codec), torch.arange(train_data.clip.num_frames)

        def size(count: int) -> int:
            budget = Budget(count, len(positions), allow_fewer=True)
            rows = choose_videos(train_data, "random", budget, run.generator("spread"))
            packed = transform.pack(train_data.latents[rows].float(), weights, step, name=packing)
            return self.file_bytes(train_data, rows, positions, run, packing, packed)

        most = max(train_data.class_sizes.values())
        return max(1, largest_fitting(lambda number: size(number) <= file_bytes, 1, most))


def coarsest_step(latents: Tensor, weights: Tensor, loss: float) -> float:
    """Step 2: return S for latents (N,K,C,h,w) and the weights g (C,) of their channels."""
    squares = weights[:, None, None] ** 2
    allowed = loss * (squares * (latents - latents.mean((0, 1))).square()).mean()

    def fits(exponent: int) -> bool:
        steps = transform.steps_of(weights, 2 ** (exponent / OCTAVE))
        coded = transform.rounded(latents, steps)
        return bool((squares * (coded - latents).square()).mean() <= allowed)

    return float(2 ** (largest_fitting(fits, _LOWEST + 1, _HIGHEST, start=0) / OCTAVE))
