"""How a student is trained."""

from dataclasses import dataclass, field
from itertools import pairwise

from videocompressa.errors import InputError, check_known, check_least, check_within
from videocompressa.students.named import parse_student
from videocompressa.students.precision import PRECISIONS
from videocompressa.views import Views

_CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "step", "constant"),
    "precision": PRECISIONS,
    "loss": ("cross-entropy", "logit-mse"),
}


@dataclass(frozen=True)
class TrainConfig:
    """How a student is trained; the defaults suit small synthetic sets on a CPU."""

    student: str = "minic3d"
    """A name of `networks.STUDENTS`, a backbone or a network of one's own; see `students/named.py`."""
    width: float = 0.25
    """Factor on the student's channel counts, > 0."""
    steps: int = 1600
    """Optimizer steps, >= 1."""
    batch_size: int = 16
    """Clips a step, >= 2 (a norm needs two); a smaller set is taken completely."""
    optimizer: str = "adamw"
    """"adamw" or "sgd"."""
    lr: float = 2e-3
    """Highest learning rate, > 0."""
    weight_decay: float = 0.01
    """>= 0; decoupled for "adamw", in the gradient for "sgd"."""
    momentum: float = 0.9
    """In [0,1); of "sgd" only."""
    schedule: str = "cosine"
    """After the warm-up: "cosine" to 0, "step" (a tenth at each of `milestones`) or "constant"."""
    milestones: tuple[float, ...] = (0.5,)
    """Rising shares of `steps` in (0,1); of "step" only."""
    warmup_steps: int = 20
    """Steps of linear warm-up, >= 0; shorter trainings end in it."""
    views: Views = field(default_factory=Views)
    """How the clips are changed at random."""
    precision: str = "auto"
    """"float32", "bfloat16" (convolutions; weights stay float32), or "auto": where the hardware gains by it."""
    probe_views: int = 8
    """Views of each clip that a backbone's features are taken of, >= 1; of a set with a labeler four times as many, and
    at least 2,000 together. Of modes "probe" and "centroid" only."""
    loss: str = "cross-entropy"
    """"cross-entropy", or "logit-mse" to imitate the teacher's logits (see `logit_mse`): it needs soft labels."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            check_known(f"TrainConfig.{name} is", getattr(self, name), known)
        parse_student(self.student)
        check_least(self, "TrainConfig.", steps=1, batch_size=2, probe_views=1, warmup_steps=0)
        check_within(self, "TrainConfig.", width="(0,inf)", lr="(0,inf)", weight_decay="[0,inf)", momentum="[0,1)")
        if not all(low < high for low, high in pairwise((0.0, *self.milestones, 1.0))):
            raise InputError(
                f"TrainConfig.milestones is {self.milestones}; it must be rising shares of the steps in (0,1), such as "
                "(0.5,)"
            )
        if self.loss == "logit-mse" and self.views.mix:  # mixed labels are not the mixture of the teacher's logits
            raise InputError(
                f"TrainConfig.loss is 'logit-mse', which takes labels as the teacher gave them, but views.mix is "
                f"{self.views.mix}; set views.mix to 0, or loss to 'cross-entropy'"
            )
