"""Coresets: real clips, chosen and not changed.

1. Choose K keyframes of every clip (any selector).
2. Choose VPC videos of each class: at random, or by herding, k-center or facility location on features of a student
   trained on the real clips.
3. Store the codec's latents of those keyframes, with hard labels, or soft ones of a teacher.

Same file as every other method, so a coreset is compared at equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.methods.config import MethodConfig
from videocompressa.run import Run
from videocompressa.selection import (
    JointConfig,
    Selector,
    SelectorConfig,
    check_keyframes,
    check_selector,
    check_subset,
    choose_videos,
    find_selector,
)
from videocompressa.students import real_clips, student_features
from videocompressa.synthetic import Budget, SyntheticSet


@dataclass(frozen=True)
class CoresetConfig(MethodConfig):
    """Which real clips are kept."""

    subset: str = "random"
    """Rule that chooses the videos; a name of `selection.SUBSETS`."""
    selector: str = "uniform"
    """Rule that chooses the keyframes; a name of `selection.SELECTORS`, "gumbel" being the learned one."""
    joint: JointConfig = field(default_factory=JointConfig)
    """Training of the learned selector."""
    scorer: SelectorConfig = field(default_factory=SelectorConfig)
    """The learned selector's network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_subset(self.subset)
        check_selector(self.selector)

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return f"{self.subset}-real"

    @property
    def needs_teacher(self) -> bool:
        """Features and soft labels need one; every rule but chance looks at features."""
        return self.subset != "random" or self.labels == "soft"

    @property
    def selector_name(self) -> str:
        """See `MethodConfig.selector_name`."""
        return self.selector

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """See `MethodConfig.training_steps`."""
        learned = self.joint.steps if self.selector == "gumbel" else 0
        return learned + super().training_steps(num_clips, num_classes)

    def learned_selector(self, train_data: Candidates, keyframes: int, run: Run) -> Selector | None:
        """See `MethodConfig.learned_selector`."""
        return self._find_selector(train_data, keyframes, run) if self.selector == "gumbel" else None

    def _find_selector(self, train_data: Candidates, keyframes: int, run: Run) -> Selector:
        return find_selector(
            self.selector, train_data, self.scorer, self.joint, run, keyframes=keyframes, fill=self.fill
        )

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return `budget.videos_per_class` real clips of each class as `budget.keyframes` latents each."""
        check_keyframes(budget.keyframes, train_data.clip.num_frames)
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        features = None
        if self.subset != "random":
            features = student_features(teachers[0], real_clips(train_data), run.device).__getitem__
        rows = choose_videos(train_data, self.subset, budget, run.generator("videos"), features=features)
        selector = self._find_selector(train_data, budget.keyframes, run)
        positions = selector.positions(train_data.frames[rows], budget.keyframes, run.generator("keyframes"))
        return self.relabel(self.gather(train_data, rows, positions, codec, run), teachers, run)
