"""Experts: students trained on all real clips, whose parameters are kept at every epoch (Cazenavette et al. 2022).

1. Expert e starts from a fresh initialization theta_0 and is trained by plain SGD on the real clips.
2. After each epoch its parameters are copied: a trajectory theta_0, theta_1, ..., theta_epochs, flattened.
3. Each expert is a finished stage of its own, so a run that is stopped goes on at the next expert.

Buffers (running statistics of a norm) are no parameters and are not kept: matching uses the statistics of its batches.
The paper augments while training experts; the video protocol of the literature trains without, and so do we.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from videocompressa.clip import Candidates
from videocompressa.errors import InputError
from videocompressa.run import Run
from videocompressa.students import Student, TrainConfig, fit, real_clips


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
    """Real clips a step, >= 2; a smaller set is taken whole, and what is over at the end of an epoch is left out."""

    def __post_init__(self) -> None:
        if self.num_experts < 1 or self.epochs < 1:
            raise InputError(
                f"experts.num_experts is {self.num_experts} and experts.epochs {self.epochs}; each must be at least 1"
            )
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
            augment="none",
            precision="float32",
        )

    def steps_per_epoch(self, num_clips: int) -> int:
        """Return the number of whole batches in so many clips, at least 1."""
        return max(1, num_clips // max(1, self.batch_size))


def train_experts(train_data: Candidates, config: ExpertConfig, run: Run) -> list[Tensor]:
    """Return one trajectory (epochs + 1, P) float32 on the CPU for each expert, P its number of parameters.

    Stream "experts/e" is drawn from for expert e alone, so its bytes do not depend on the others. From a folder of
    stages trajectories come memory-mapped: at published settings they take 0.7 GB each.

    Raises
    ------
    DivergedError
        When the loss or a weight of an expert stops being finite.
    """
    trajectories = []
    for number in range(config.num_experts):
        part = run.child(f"experts/{number}")

        def compute(part: Run = part) -> dict[str, Tensor]:
            return {"parameters": _trajectory(train_data, config, part)}

        stage = part.recall("expert", {"config": _one_expert(config)}, compute)
        if run.stages.folder is not None:  # read back, so that what was just computed leaves the memory
            stage = part.recall("expert", {"config": _one_expert(config)}, compute)
        trajectories.append(stage["parameters"])
        run.watch("experts", done=number + 1, total=config.num_experts)
    return trajectories


def flat_parameters(student: nn.Module) -> Tensor:
    """Return a copy (P,) of all parameters, detached, in the order of `named_parameters`."""
    # `cat` makes new memory. The released code kept `p.detach().cpu()`: on a CPU that is the live weight itself, and
    # every checkpoint of a trajectory showed the last epoch.
    return torch.cat([parameter.detach().flatten() for parameter in student.parameters()])


def named_views(flat: Tensor, student: nn.Module) -> dict[str, Tensor]:
    """Return views of (P,) parameters by the names and shapes of the student's, differentiable in `flat`."""
    named = dict(student.named_parameters())
    parts = torch.split(flat, [parameter.numel() for parameter in named.values()])
    return {name: part.view_as(named[name]) for name, part in zip(named, parts, strict=True)}


def _one_expert(config: ExpertConfig) -> dict[str, object]:
    """Return what the bytes of one expert depend on: how many there are is not part of it, so more can be added."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "num_experts"}


def _trajectory(train_data: Candidates, config: ExpertConfig, run: Run) -> Tensor:
    every = config.steps_per_epoch(len(train_data))
    snapshots: list[Tensor] = []

    def keep(steps_done: int, student: Student) -> None:
        if steps_done % every == 0:
            snapshots.append(flat_parameters(student).cpu())

    fit(real_clips(train_data), config.recipe(len(train_data)), run, step_name="expert", each_step=keep)
    return torch.stack(snapshots)
