"""DM: distribution matching (Zhao and Bilen 2023, "Dataset Condensation with Distribution Matching"), on video.

1. Start from random real clips: VPC a class, K keyframes each (`tuned.py`).
2. 5,000 steps of SGD: in a freshly initialized student, the mean embedding of each class's synthetic clips is drawn to
   that of a real batch (`matching.py`). Learning rate 30 at VPC 1, momentum 0.5, 64 real clips a class.
3. Hard labels as published, or soft ones of a teacher.

As published with the pixel codec and K = T; with fewer keyframes or a latent codec it is our transfer, and what is
tuned is the codec's scaled latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.matching.objectives import DMConfig, check_tuning
from videocompressa.matching.tune import compress_tuned
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.keyframes import FIXED_SELECTORS, check_selector
from videocompressa.students.teachers import TeacherConfig, check_labels
from videocompressa.synthetic import Allowance, SyntheticSet, check_fill


@dataclass(frozen=True)
class DMSetConfig:
    """How a set is made by DM; the defaults are the published ones."""

    matching: DMConfig = field(default_factory=DMConfig)
    """The objective."""
    steps: int = 5000
    """>= 1."""
    lr: float = 30.0
    """Of the scaled latents, > 0; published for pixels at VPC 1."""
    momentum: float = 0.5
    """In [0,1)."""
    selector: str = "uniform"
    """Rule that chooses the keyframes to start from; a name of `selector.FIXED_SELECTORS`."""
    labels: str = "hard"
    """"hard" (published), or "soft" probabilities of a teacher."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher of soft labels; not trained for hard ones."""

    @property
    def needs_teacher(self) -> bool:
        """Soft labels need one."""
        return self.labels == "soft"

    def __post_init__(self) -> None:
        check_tuning(self.steps, self.lr, self.momentum)
        check_selector(self.selector, tuple(FIXED_SELECTORS))
        check_labels(self.labels)
        check_fill(self.fill)


def compress(
    train_data: Candidates,
    codec: Codec,
    config: DMSetConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Return a set whose classes have the mean embeddings of the real ones."""
    return compress_tuned(
        "dm", train_data, codec, config, budget=budget, rng=rng, device=device, watch=watch, stages=stages
    )
