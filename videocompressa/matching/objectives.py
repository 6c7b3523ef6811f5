"""Two matching objectives that make synthetic clips teach what real ones do, behind one interface.

**DM**, distribution matching (Zhao and Bilen 2023, Eq. 6). Each step, with psi the flattened features of a freshly
initialized student: loss = sum_c |mean psi(real clips of class c) - mean psi(synthetic ones)|^2.
Our choices: no siamese augmentation, as in the video protocol of the literature; a norm uses the statistics of all real
clips of the step together, and of all synthetic ones.

**MTT**, matching training trajectories (Cazenavette et al. 2022, Algorithm 1). Each step: take epochs theta_t and
theta_{t+M} of an expert; from theta_t, some inner steps theta <- theta - alpha grad CE(synthetic clips);
loss = |theta - theta_{t+M}|^2 / |theta_t - theta_{t+M}|^2 (Eq. 2); alpha is learned with the clips.
Our choices: every expert once a round, in random order; no dropout, and norms use the statistics of their batch, so
that the loss is a smooth function of the clips; a learned rate that is no longer positive counts as divergence.

The same seed and step give the same loss.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from videocompressa.clip import DecodedSplit
from videocompressa.errors import DivergedError, InputError, check_least, check_within
from videocompressa.matching.experts import ExpertConfig, named_views, train_experts
from videocompressa.networks import Dropout, Student, build_student, check_student
from videocompressa.run import Run
from videocompressa.students.teachers import real_clips

ShowClips = Callable[[Tensor], Tensor]
"""Rows (B,) int64 of the synthetic set -> normalized clips (B,T,3,H,W) float32 on the device, differentiable in
whatever is tuned."""


class Matching(ABC):
    """An objective over synthetic clips."""

    parameter_lr: float = 0.0
    """Learning rate of `parameters()`."""

    @abstractmethod
    def loss(self, show: ShowClips, labels: Tensor, step: int) -> Tensor:
        """Return the scalar loss of step `step` (>= 0, a number once in a run) for synthetic labels (N,) int64."""

    def parameters(self) -> list[Tensor]:
        """Return what the objective itself learns, to be tuned with the clips."""
        return []


@dataclass(frozen=True)
class DMConfig:
    """Distribution matching; the defaults are the published ones."""

    name: ClassVar[str] = "dm"
    student: str = "convnet3d"
    """A name of `networks.STUDENTS`: the network of random features."""
    width: float = 1.0
    """Factor on its channel counts, > 0."""
    real_per_class: int = 64
    """Real clips of each class a step, >= 1; a smaller class is taken completely."""
    classes_per_step: int = 0
    """Classes a step, 0 for all (published). Fewer bound memory; each class then moves once a round of all classes."""

    def __post_init__(self) -> None:
        check_student(self.student)
        check_least(self, "DMConfig.", real_per_class=1, classes_per_step=0)
        check_within(self, "DMConfig.", width="(0,inf)")

    @property
    def network(self) -> str:
        """The student that it matches in; a name of `networks.STUDENTS`."""
        return self.student

    def build(self, train_data: DecodedSplit, run: Run) -> Matching:
        """Return the objective on real clips."""
        return DistributionMatching(self, train_data, run.child("dm"))

    def training_steps(self, steps: int, num_clips: int, num_classes: int, batch_size: int) -> int:
        """Estimate the tuning in training steps of `batch_size` clips; a forward pass of the real ones is a third."""
        return steps * (1 + num_classes * self.real_per_class // (3 * batch_size))


@dataclass(frozen=True)
class MTTConfig:
    """Trajectory matching; the defaults are the published ones."""

    name: ClassVar[str] = "mtt"
    experts: ExpertConfig = field(default_factory=ExpertConfig)
    """The experts, and the student that is trained inside."""
    max_start_epoch: int = 10
    """Latest start epoch, >= 0."""
    target_epochs: int = 1
    """Expert epochs from start to target (M), >= 1."""
    inner_steps: int = 10
    """Steps on the synthetic clips, >= 1."""
    batch_size: int = 0
    """Synthetic clips an inner step, 0 for all (published)."""
    inner_lr: float = 0.01
    """First value of the learned inner learning rate, > 0: that of the experts."""
    inner_lr_lr: float = 1e-5
    """Learning rate of the inner learning rate, >= 0."""

    def __post_init__(self) -> None:
        check_least(self, "MTTConfig.", max_start_epoch=0, target_epochs=1, inner_steps=1, batch_size=0)
        check_within(self, "MTTConfig.", inner_lr="(0,inf)", inner_lr_lr="[0,inf)")
        if self.max_start_epoch + self.target_epochs > self.experts.epochs:
            raise InputError(
                f"experts.epochs is {self.experts.epochs}, but max_start_epoch {self.max_start_epoch} and "
                f"target_epochs {self.target_epochs} need {self.max_start_epoch + self.target_epochs}; "
                f"train experts longer, or start earlier"
            )

    @property
    def network(self) -> str:
        """The student that it matches in; a name of `networks.STUDENTS`."""
        return self.experts.student

    def build(self, train_data: DecodedSplit, run: Run) -> Matching:
        """Return the objective on real clips; experts are trained here, stages that methods of equal `run` share."""
        trajectories = train_experts(train_data, self.experts, run)
        return TrajectoryMatching(self, train_data, trajectories, run.child("mtt"))

    def training_steps(self, steps: int, num_clips: int, num_classes: int, batch_size: int) -> int:
        """Estimate experts and tuning in training steps of `batch_size` clips; a second-order gradient is three."""
        experts = self.experts.num_experts * self.experts.epochs * math.ceil(num_clips / batch_size)
        return experts + steps * 3 * self.inner_steps


MatchingConfig = DMConfig | MTTConfig
"""Settings of an objective: a field of a method's configuration."""


class DistributionMatching(Matching):
    """DM; see the module's docstring."""

    def __init__(self, config: DMConfig, train_data: DecodedSplit, run: Run) -> None:
        self._config, self._run = config, run
        self._clips = real_clips(train_data)
        self._members = [(train_data.labels == label).nonzero()[:, 0] for label in range(len(train_data.classes))]

    def loss(self, show: ShowClips, labels: Tensor, step: int) -> Tensor:
        """Return the summed squared distance of mean embeddings."""
        draws = self._run.generator(f"step/{step}")
        config, clips = self._config, self._clips
        network = build_student(config.student, len(clips.classes), clips.size, draws, width=config.width)
        network.to(self._run.device).requires_grad_(False)
        classes = self._classes(labels, step)
        real = self._real_means(network, classes, draws)
        rows = torch.isin(labels, classes).nonzero()[:, 0]
        synthetic = network.embed(show(rows))
        return mean_distance(real, synthetic, torch.searchsorted(classes, labels[rows]).to(self._run.device))

    def _classes(self, labels: Tensor, step: int) -> Tensor:
        """Return the classes of a step, rising: all of the set's, or some of them, each once a round."""
        classes: Tensor = torch.unique(labels)
        count = self._config.classes_per_step
        if count == 0 or count >= len(classes):
            return classes
        round_number, turn = divmod(step, math.ceil(len(classes) / count))
        order = torch.randperm(len(classes), generator=self._run.generator(f"classes/{round_number}"))
        return classes[torch.split(order, count)[turn]].sort().values

    @torch.no_grad()
    def _real_means(self, network: Student, classes: Tensor, draws: torch.Generator) -> Tensor:
        """Return (c,D') mean embeddings of a real batch of each class."""
        members = [self._members[label] for label in classes.tolist()]
        batches = [rows[torch.randperm(len(rows), generator=draws)[: self._config.real_per_class]] for rows in members]
        # A norm would see one class only; without norms, going class by class bounds memory and changes nothing.
        together = any(isinstance(module, _BatchNorm) for module in network.modules())
        groups = [torch.cat(batches)] if together else batches
        pixels = (self._clips.pixels(group, self._run.device) for group in groups)
        features = torch.cat([network.embed(self._clips.normalization.apply(each)) for each in pixels])
        return torch.stack([part.mean(0) for part in torch.split(features, [len(batch) for batch in batches])])


def mean_distance(real_means: Tensor, synthetic: Tensor, index: Tensor) -> Tensor:
    """Return the DM loss (Eq. 6) of real means (c,D) and rows (B,D), whose classes `index` (B,) must cover all c."""
    one_hot = F.one_hot(index, len(real_means)).to(synthetic)
    means = (one_hot / one_hot.sum(0)).T @ synthetic
    return (real_means - means).square().sum()


class TrajectoryMatching(Matching):
    """MTT; see the module's docstring. `trajectories`: one (epochs + 1, P) an expert."""

    def __init__(self, config: MTTConfig, train_data: DecodedSplit, trajectories: Sequence[Tensor], run: Run) -> None:
        self._config, self._run, self._trajectories = config, run, trajectories
        self.parameter_lr = config.inner_lr_lr
        self._inner_lr = torch.tensor(config.inner_lr, device=run.device, requires_grad=True)
        # The network's own weights are not used: they are the experts'.
        clips, generator, experts = real_clips(train_data), run.generator("shape"), config.experts
        network = build_student(experts.student, len(clips.classes), clips.size, generator, width=experts.width)
        self._network = stateless(network.to(run.device))

    def parameters(self) -> list[Tensor]:
        """Return the inner learning rate, a scalar."""
        return [self._inner_lr]

    def loss(self, show: ShowClips, labels: Tensor, step: int) -> Tensor:
        """Return the normalized distance of the inner student to the expert's target."""
        config, device = self._config, self._run.device
        rate = float(self._inner_lr.detach())
        if rate <= 0:
            raise DivergedError(
                f"mtt diverged: its learned inner learning rate fell to {rate:g} by step {step + 1}; "
                f"choose a lower inner_lr_lr than {config.inner_lr_lr:g}, or a lower lr"
            )
        draws = self._run.generator(f"step/{step}")
        trajectory = self._trajectories[self._expert(step)]
        epoch = int(torch.randint(config.max_start_epoch + 1, (), generator=draws))
        start, target = trajectory[epoch].to(device), trajectory[epoch + config.target_epochs].to(device)
        batches = self._inner_batches(len(labels), draws)
        used = torch.unique(torch.cat(batches))
        clips = show(used)  # once, however often inner steps return to a row: decoding is not repeated
        labels = labels[used].to(device)
        if config.batch_size == 0:
            inner = [(clips, labels)] * config.inner_steps
        else:
            positions = [torch.searchsorted(used, batch).to(device) for batch in batches]
            inner = [(clips[each], labels[each]) for each in positions]
        return trajectory_distance(self._network, start, target, inner, self._inner_lr)

    def _expert(self, step: int) -> int:
        """Return the expert of a step: each once a round, in a new order."""
        count = len(self._trajectories)
        return int(torch.randperm(count, generator=self._run.generator(f"experts/{step // count}"))[step % count])

    def _inner_batches(self, num_rows: int, draws: torch.Generator) -> list[Tensor]:
        """Return the rows of each inner step: parts of a shuffled set, shuffled again after the last part."""
        batches: list[Tensor] = []
        while len(batches) < self._config.inner_steps:
            batches += torch.split(torch.randperm(num_rows, generator=draws), self._config.batch_size or num_rows)
        return batches[: self._config.inner_steps]


def stateless(student: nn.Module) -> nn.Module:
    """Turn dropout off and let norms use the statistics of their batch, in place; return the module, to train."""
    for module in student.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
        if isinstance(module, Dropout):
            module.probability = 0.0
    return student.train().requires_grad_(False)


def trajectory_distance(
    network: nn.Module, start: Tensor, target: Tensor, inner: Sequence[tuple[Tensor, Tensor]], inner_lr: Tensor
) -> Tensor:
    """Cazenavette et al. 2022, Eq. 2, after one inner step on each (clips, labels (B,)) from flat `start` (P,).

    Differentiable twice over in the clips and once in `inner_lr`; the network must be `stateless`.
    """
    theta = start.clone().requires_grad_()
    for clips, labels in inner:
        logits = functional_call(network, named_views(theta, network), (clips,))
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels), theta, create_graph=True)
        theta = theta - inner_lr * gradient
    return (theta - target).square().sum() / (start - target).square().sum()
