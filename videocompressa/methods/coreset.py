"""Coresets: real clips, chosen and not changed.

1. Choose K keyframes of every clip (any selector).
2. Choose VPC videos of each class: at random, or by herding, k-center or facility location on features of a student
   trained on the real clips.
3. Store the codec's latents of those keyframes, with hard labels, or soft ones of a teacher.
"""

from dataclasses import dataclass
from typing import ClassVar

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.methods.config import SelectingConfig, features_of_student
from videocompressa.run import Run
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.selection.videos import choose_videos
from videocompressa.synthetic import Budget, SyntheticSet


@dataclass(frozen=True)
class CoresetConfig(SelectingConfig):
    """Which real clips are kept."""

    named_by: ClassVar[tuple[str, ...]] = ("subset",)

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return f"{self.subset}-real"

    @property
    def needs_teacher(self) -> bool:
        """Features and soft labels need one; every rule but "random" compares features."""
        return self.subset != "random" or super().needs_teacher

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return `budget.videos_per_class` real clips of each class as `budget.keyframes` latents each."""
        check_keyframes(budget.keyframes, train_data.clip.num_frames)
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        features = features_of_student(train_data, self.subset, teachers, run)
        rows = choose_videos(train_data, self.subset, budget, run.generator("videos"), features=features)
        selector = self.find_selector(train_data, budget.keyframes, run)
        positions = selector.positions(train_data.frames[rows], budget.keyframes, run.generator("keyframes"))
        return self.relabel(self.gather(train_data, rows, positions, codec, run), teachers, run)
