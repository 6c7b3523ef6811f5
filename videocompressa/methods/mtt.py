"""MTT: matching training trajectories (Cazenavette et al. 2022), on video.

1. Train 30 experts for 50 epochs on the real clips and keep their parameters at every epoch (`experts.py`).
2. Start from random real clips: VPC a class, K keyframes each (`tuned.py`).
3. 8,000 steps of SGD: a student that starts at an expert's epoch and takes 10 steps on the synthetic clips is drawn to
   where the expert was one epoch later (`matching.py`); the inner learning rate is learned too.
4. Hard labels as published, or soft ones of a teacher. Inside, labels are hard.

As published with the pixel codec and K = T; with fewer keyframes or a latent codec it is our transfer, and what is
tuned is the codec's scaled latents. The learning rates of clips (1000) and of the inner rate (1e-5) and the
momentum (0.5) are those of the image paper: we know of none stated for video.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.matching.objectives import MTTConfig, check_tuning
from videocompressa.matching.tune import compress_tuned
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.keyframes import FIXED_SELECTORS, check_selector
from videocompressa.students.teachers import TeacherConfig, check_labels
from videocompressa.synthetic import Allowance, SyntheticSet, check_fill


@dataclass(frozen=True)
class MTTSetConfig:
    """How a set is made by MTT; the defaults are the published ones."""

    matching: MTTConfig = field(default_factory=MTTConfig)
    """The objective and its experts."""
    steps: int = 8000
    """>= 1."""
    lr: float = 1000.0
    """Of the scaled latents, > 0; of the image paper, for pixels."""
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
    config: MTTSetConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Return a set on which a student moves as experts do on all real clips."""
    return compress_tuned(
        "mtt", train_data, codec, config, budget=budget, rng=rng, device=device, watch=watch, stages=stages
    )
