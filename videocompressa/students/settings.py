"""How a student is trained."""

import math
from dataclasses import dataclass
from itertools import pairwise

from videocompressa.errors import InputError
from videocompressa.students.networks import check_student
from videocompressa.students.precision import PRECISIONS

_CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "step", "constant"),
    "augment": ("none", "flip-crop"),
    "precision": PRECISIONS,
    "loss": ("cross-entropy", "logit-mse"),
}


@dataclass(frozen=True)
class TrainConfig:
    """How a student is trained; the defaults suit small synthetic sets on a CPU."""

    student: str = "minic3d"
    """A name of `networks.STUDENTS`."""
    width: float = 1.0
    """Factor on the student's channel counts, > 0."""
    steps: int = 300
    """Optimizer steps, >= 1."""
    batch_size: int = 16
    """Clips a step, >= 2 (a norm needs two); a smaller set is taken completely."""
    optimizer: str = "adamw"
    """"adamw" or "sgd"."""
    lr: float = 1e-3
    """Highest learning rate, > 0."""
    weight_decay: float = 0.01
    """>= 0; decoupled for "adamw", in the gradient for "sgd"."""
    momentum: float = 0.9
    """In [0,1); of "sgd" only."""
    schedule: str = "cosine"
    """After the warm-up: "cosine" to 0, "step" (a tenth at each of `milestones`) or "constant"."""
    milestones: tuple[float, ...] = (0.5,)
    """Rising shares of `steps` in (0,1); of "step" only."""
    warmup_steps: int = 0
    """Steps of linear warm-up, in [0,steps]."""
    augment: str = "flip-crop"
    """"none", or "flip-crop": a random resized crop, the same for all frames of a clip, and a mirror (see `flip`)."""
    crop_scale: float = 0.8
    """Smallest area of a crop as a share of the frame, in (0,1]; 1 turns the crop off."""
    flip: bool = True
    """Mirror half of the clips; turn it off where left and right tell classes apart."""
    color: float = 0.0
    """Largest change of brightness, contrast and color balance of a clip, in [0,1); see `recolored`."""
    background: float = 0.0
    """Share of clips in [0,1] that get the still picture of another clip as background; see `mixed_with_background`."""
    mixup: float = 0.0
    """Share of batches in [0,1] that blend each clip with another one (Zhang et al. 2018, lambda uniform)."""
    cutmix: float = 0.0
    """Share of batches in [0,1] that paste a box of another clip (Yun et al. 2019); `mixup` + `cutmix` <= 1."""
    precision: str = "auto"
    """"float32", "bfloat16" (convolutions; weights stay float32), or "auto": where the hardware gains by it."""
    loss: str = "cross-entropy"
    """"cross-entropy", or "logit-mse" to imitate the teacher's logits (see `logit_mse`): it needs soft labels."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"TrainConfig.{name} is {getattr(self, name)!r}; known: {', '.join(known)}")
        check_student(self.student)
        rising = all(low < high for low, high in pairwise((0.0, *self.milestones, 1.0)))
        ranges: dict[str, tuple[bool, str]] = {
            "width": (0 < self.width < math.inf, "above 0"),
            "steps": (self.steps >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2, because a norm needs two clips"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "momentum": (0 <= self.momentum < 1, "in [0,1)"),
            "milestones": (rising, "rising shares of the steps in (0,1), such as (0.5,)"),
            "warmup_steps": (0 <= self.warmup_steps <= self.steps, f"in [0,{self.steps}], the steps"),
            "crop_scale": (0 < self.crop_scale <= 1, "in (0,1]"),
            "color": (0 <= self.color < 1, "in [0,1)"),
            "background": (0 <= self.background <= 1, "in [0,1]"),
            "mixup": (0 <= self.mixup <= 1, "in [0,1]"),
            "cutmix": (0 <= self.cutmix <= 1 - self.mixup, f"in [0,{1 - self.mixup:g}], what mixup leaves"),
        }
        for name, (good, allowed) in ranges.items():
            if not good:
                raise InputError(f"TrainConfig.{name} is {getattr(self, name)}; it must be {allowed}")
        for name in ("mixup", "cutmix"):  # the logits of mixed labels are not the mixture of the teacher's logits
            if self.loss == "logit-mse" and getattr(self, name):
                raise InputError(
                    f"TrainConfig.loss is 'logit-mse', which takes labels as the teacher gave them, but {name} is "
                    f"{getattr(self, name)}; set {name} to 0, or loss to 'cross-entropy'"
                )
