"""Coresets: real clips, chosen and not changed.

1. Choose K keyframes of every clip (any selector).
2. Choose VPC videos of each class: at random, or by herding, k-center or facility location on features of a student
   trained on the real clips.
3. Store the codec's latents of those keyframes, with hard labels, or soft ones of a teacher.

Same file as every other method, so a coreset is compared at equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.methods.config import SelectingConfig
from videocompressa.run import Run
from videocompressa.selection import check_keyframes, check_subset, choose_videos
from videocompressa.students import real_clips, student_features
from videocompressa.synthetic import Budget, SyntheticSet


@dataclass(frozen=True)
class CoresetConfig(SelectingConfig):
    """Which real clips are kept."""

    subset: str = "random"
    """Rule that chooses the videos; a name of `selection.SUBSETS`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_subset(self.subset)

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return f"{self.subset}-real"

    @property
    def needs_teacher(self) -> bool:
        """Features and soft labels need one; every rule but chance looks at features."""
        return self.subset != "random" or self.labels == "soft"

    def reference(self) -> CoresetConfig:
        """See `MethodConfig.reference`; the rule is in the name."""
        return CoresetConfig(subset=self.subset)

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return `budget.videos_per_class` real clips of each class as `budget.keyframes` latents each."""
        check_keyframes(budget.keyframes, train_data.clip.num_frames)
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        features = None
        if self.subset != "random":
            features = student_features(teachers[0], real_clips(train_data), run.device).__getitem__
        rows = choose_videos(train_data, self.subset, budget, run.generator("videos"), features=features)
        selector = self.find_selector(train_data, budget.keyframes, run)
        positions = selector.positions(train_data.frames[rows], budget.keyframes, run.generator("keyframes"))
        return self.relabel(self.gather(train_data, rows, positions, codec, run), teachers, run)
