"""The joint phase: the selector and the understanding module learn together which frames matter (step 5).

Each step, on a batch of real clips x with latents Z = E(x):

1. s_BT = g_phi(x), w_BKT = Gumbel top-K of s at temperature tau (one-hot forward, relaxed backward).
2. z_BK = w Z: the K keyframes. Placed back on the time line by the fill rule, F z, as the synthetic set will be.
3. task      = CE(f_theta(F w Z), y) + CE(f_theta(Z), y): the student must read clips with K frames as well as whole
               ones, because a student trained on the set is tested on whole clips (our choice).
4. coverage  = || F w Z - Z ||^2 / || Z - mean_t Z ||^2: how much of the clip's change the K keyframes miss. It falls
               when they stand apart where something happens (our choice of form).
5. One Adam step on phi and theta for task + coverage_weight * coverage.

Ablations: `understanding=False` uses a frame-wise 2-D student (blind to order); `enabled=False` trains the student
first, on whole clips, and freezes it while the selector learns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videocompressa.clip import Candidates, Watch
from videocompressa.errors import DivergedError, InputError
from videocompressa.rng import Streams
from videocompressa.selector import GumbelSelector, SelectorConfig, temperature
from videocompressa.synthetic import fill_weights
from videocompressa.understanding import UnderstandingModule


@dataclass(frozen=True)
class JointConfig:
    """Training of selector and understanding module."""

    enabled: bool = True
    """Train both together; off: the understanding module first, then the selector against it, frozen."""
    understanding: bool = True
    """A student that sees time; off: a frame-wise 2-D one."""
    steps: int = 400
    """Optimiser steps, >= 1."""
    batch_size: int = 32
    """Clips a step."""
    lr: float = 2e-3
    """Adam's highest learning rate, for selector and student; half-period cosine to 0."""
    width: int = 32
    """Channels of the understanding module's first stage, a multiple of 8."""
    coverage_weight: float = 0.3
    """Weight of the coverage term, >= 0."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise InputError(
                f"joint.steps is {self.steps} and joint.batch_size {self.batch_size}; both must be at least 1"
            )
        if self.width % 8 or self.width < 8:
            raise InputError(f"joint.width is {self.width}; it must be a multiple of 8")
        if self.coverage_weight < 0:
            raise InputError(f"joint.coverage_weight is {self.coverage_weight}; it must not be negative")


def train_selector(
    train_data: Candidates,
    scorer: SelectorConfig,
    config: JointConfig,
    *,
    keyframes: int,
    fill: str,
    rng: Streams,
    device: torch.device,
    watch: Watch,
) -> GumbelSelector:
    """Return the selector trained on the candidates; raises `DivergedError` when the loss is not finite."""
    selector = GumbelSelector(scorer, rng.generator("selector")).to(device)
    student = UnderstandingModule(
        train_data.codec.channels,
        len(train_data.classes),
        temporal=config.understanding,
        width=config.width,
        generator=rng.generator("student"),
    ).to(device)
    if not config.enabled:
        _train_alone(student, train_data, config, rng=rng, device=device, watch=watch)
    parameters = [*selector.parameters(), *(student.parameters() if config.enabled else [])]
    optimiser = torch.optim.Adam(parameters, config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    noise = rng.generator("gumbel")
    batches = _batches(len(train_data), config.batch_size, rng.generator("batches"))
    for step, rows in zip(range(config.steps), batches, strict=False):
        latents, labels = _batch(train_data, rows, device)
        scores = selector.score(selector.thumbnails(train_data.frames[rows].to(device)))
        weights, _ = selector.sample(scores, keyframes, temperature(step, config.steps, scorer), noise)
        filled = place(weights, latents, fill)
        loss = F.cross_entropy(student(filled), labels) + config.coverage_weight * uncovered(filled, latents)
        if config.enabled:
            loss = loss + F.cross_entropy(student(latents), labels)
        _step(loss, optimiser)
        schedule.step()
        watch("selector", done=step + 1, total=config.steps, loss=float(loss.detach()))
    return selector.eval().requires_grad_(False)


def place(weights_BKT: Tensor, frames_BT: Tensor, fill: str) -> Tensor:
    """Select K frames by weights and place them back on the time line: F w Z, (B,T,...) like `frames_BT`.

    F depends on where the hard picks stand and carries no gradient; w carries it.
    """
    positions = weights_BKT.detach().argmax(2)
    spread = fill_weights(positions, frames_BT.shape[1], fill).to(frames_BT.dtype)
    return torch.einsum("btk,bks,bs...->bt...", spread, weights_BKT, frames_BT)


def uncovered(filled_BT: Tensor, frames_BT: Tensor) -> Tensor:
    """Share of the clips' variance over time that the placed keyframes miss; 0 when every frame is kept."""
    missed = (filled_BT - frames_BT).square().mean()
    spread = (frames_BT - frames_BT.mean(1, keepdim=True)).square().mean()
    return missed / (spread + 1e-4)


def _train_alone(
    student: UnderstandingModule,
    train_data: Candidates,
    config: JointConfig,
    *,
    rng: Streams,
    device: torch.device,
    watch: Watch,
) -> None:
    """Train the understanding module on whole clips and freeze it: the ablation without joint training."""
    optimiser = torch.optim.Adam(student.parameters(), config.lr)
    batches = _batches(len(train_data), config.batch_size, rng.generator("alone"))
    for step, rows in zip(range(config.steps), batches, strict=False):
        latents, labels = _batch(train_data, rows, device)
        _step(F.cross_entropy(student(latents), labels), optimiser)
        watch("understanding", done=step + 1, total=config.steps)
    student.requires_grad_(False)


def _step(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    if not torch.isfinite(loss):
        raise DivergedError("the loss of the joint phase stopped being finite; choose a lower joint.lr")
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()


def _batch(train_data: Candidates, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    return train_data.latents[rows].to(device).float(), train_data.labels[rows].to(device)


def _batches(num_clips: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end, each epoch in a new order."""
    while True:
        yield from torch.split(torch.randperm(num_clips, generator=generator), batch_size)
