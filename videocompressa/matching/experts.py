"""Experts: students trained on all real clips, whose parameters are kept at every epoch (Cazenavette et al. 2022).

A trajectory holds the flattened parameters theta_0, theta_1, ..., theta_epochs of one expert, without buffers (running
statistics of a norm). Each expert is a stage, so a stopped run resumes at the next one. The paper augments while
training experts; the video protocol of the literature trains without, and so do we.
"""

from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from videocompressa.clip import DecodedSplit
from videocompressa.errors import check_least
from videocompressa.networks import Classifier
from videocompressa.run import Run
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips
from videocompressa.students.training import fit
from videocompressa.views import UNCHANGED


@dataclass(frozen=True)
class ExpertConfig:
    """How experts are trained; the defaults are the published ones."""

    student: str = "convnet3d"
    """A name of `students.STUDENTS`."""
    width: float = 1.0
    """Factor on the student's channel counts, > 0."""
    num_experts: int = 30
    """>= 1."""
    epochs: int = 50
    """Epochs of each, >= 1; a trajectory holds one more."""
    lr: float = 0.01
    """Learning rate of SGD, constant, > 0."""
    momentum: float = 0.0
    """In [0,1)."""
    batch_size: int = 256
    """Real clips a step, >= 2; a smaller set is one batch, and an incomplete last batch of an epoch is left out."""

    def __post_init__(self) -> None:
        check_least(self, "experts.", num_experts=1, epochs=1)
        self.recipe(self.batch_size)

    def recipe(self, num_clips: int) -> TrainConfig:
        """Return the training of one expert on so many real clips; raises `InputError` for values out of range."""
        return TrainConfig(
            student=self.student,
            width=self.width,
            steps=self.epochs * self.steps_per_epoch(num_clips),
            batch_size=self.batch_size,
            optimizer="sgd",
            lr=self.lr,
            weight_decay=0.0,
            momentum=self.momentum,
            schedule="constant",
            warmup_steps=0,
            views=UNCHANGED,
            precision="float32",
        )

    def steps_per_epoch(self, num_clips: int) -> int:
        """Return the number of complete batches in so many clips, at least 1."""
        return max(1, num_clips // max(1, self.batch_size))


def train_experts(train_data: DecodedSplit, config: ExpertConfig, run: Run) -> list[Tensor]:
    """Return one trajectory (epochs + 1, P) float32 on the CPU for each expert, P its number of parameters.

    Expert e draws from stream "experts/e" alone, so its bytes do not depend on the others. From a folder of stages
    trajectories come memory-mapped: at published settings they take 0.7 GB each. Raises `DivergedError` when the loss
    or a weight of an expert stops being finite.
    """
    # How many experts there are is not part of the key, so more can be added.
    key = {"config": {name: value for name, value in asdict(config).items() if name != "num_experts"}}

    def train(number: int) -> Tensor:
        part = run.child(f"experts/{number}").part(number, config.num_experts)
        compute = partial(_trajectory, train_data, config, part)
        stage = part.recall("expert", key, compute)
        if run.stages.folder is not None:  # read back, so that what was just computed leaves the memory
            stage = part.recall("expert", key, compute)
        return stage["parameters"]

    run.group.share(config.num_experts, train)
    return [train(number) for number in range(config.num_experts)]


def flat_parameters(student: nn.Module) -> Tensor:
    """Return a copy (P,) of all parameters, detached, in the order of `named_parameters`."""
    # `cat` copies. The released code kept `p.detach().cpu()`, on a CPU the live weight itself, so that every checkpoint
    # of a trajectory was the last epoch.
    return torch.cat([parameter.detach().flatten() for parameter in student.parameters()])


def named_views(flat: Tensor, student: nn.Module) -> dict[str, Tensor]:
    """Return views of (P,) parameters by the names and shapes of the student's, differentiable in `flat`."""
    named = dict(student.named_parameters())
    parts = torch.split(flat, [parameter.numel() for parameter in named.values()])
    return {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}


def _trajectory(train_data: DecodedSplit, config: ExpertConfig, run: Run) -> dict[str, Tensor]:
    steps_per_epoch = config.steps_per_epoch(len(train_data))
    snapshots: list[Tensor] = []

    def keep(steps_done: int, student: Classifier) -> None:
        if steps_done % steps_per_epoch == 0:
            snapshots.append(flat_parameters(student).cpu())

    fit(real_clips(train_data), config.recipe(len(train_data)), run, step_name="expert", each_step=keep, kept=snapshots)
    return {"parameters": torch.stack(snapshots)}
