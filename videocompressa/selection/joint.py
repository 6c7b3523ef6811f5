"""The joint phase: the selector and the understanding module learn together which frames matter (step 5).

The real clips are split into two halves A and B. The student learns on A, the selector on the student's loss on B:
a student that has memorized its clips reads their labels off any frame, and then no frame matters (our choice; the
two-halves idea is that of DARTS, Liu et al. 2019, at first order). Each step, with latents Z = E(x):

1. s_BT = g_phi(x), w_BkT = Gumbel top-k of s at temperature tau (one-hot forward, relaxed backward), with k drawn
   from 1..K: once K frames solve the task together, only fewer frames still show which of them matter (our choice).
2. z_Bk = w Z: the keyframes. Placed back on the time line by the fill rule, F w Z, as the synthetic set will be.
   The student's stem is frame-wise, so f(F w Z) is computed as classify(F w stem(Z)): the same value, a better
   gradient.
3. theta: one Adam step on A for CE(f_theta(F w' Z), y) + CE(f_theta(Z), y), w' being k frames at RANDOM: the student
   reads clips of few frames as well as whole ones, and never learns a code between it and the selector. Trained on the
   selector's own picks it would ("informative frames for class a, dull ones for class b"): the leak that Jethani et al.
   2021 describe and fix in this way.
4. phi:   one Adam step on B for CE(f_theta(F w Z), y) + coverage_weight * coverage, where
   coverage = |F w Z - Z|^2 / |Z - mean_t Z|^2 is how much of the clip's change the keyframes miss: it falls when they
   are spread over what happens (our choice of form).

Ablations: `understanding=False` uses a frame-wise 2-D student (blind to order); `enabled=False` trains the student
first, on whole clips, and freezes it while the selector learns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.errors import DivergedError, InputError
from videocompressa.run import Run
from videocompressa.selection.gumbel import (
    GumbelSelector,
    SelectorConfig,
    gumbel_noise,
    temperature,
    top_k_straight_through,
)
from videocompressa.selection.keyframes import FIXED_SELECTORS, Selector
from videocompressa.selection.understanding import UnderstandingModule
from videocompressa.synthetic import fill_weights


@dataclass(frozen=True)
class JointConfig:
    """Training of selector and understanding module."""

    enabled: bool = True
    """Train both together; off: the understanding module first, then the selector against it, frozen."""
    understanding: bool = True
    """A student that sees time; off: a frame-wise 2-D one."""
    steps: int = 400
    """Optimizer steps, >= 1."""
    batch_size: int = 32
    """Clips a step."""
    lr: float = 2e-3
    """Adam's highest learning rate of the selector; half-period cosine to 0."""
    student_lr: float = 5e-3
    """The same of the understanding module."""
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


def find_selector(
    name: str,
    train_data: Candidates,
    scorer: SelectorConfig,
    config: JointConfig,
    run: Run,
    *,
    keyframes: int,
    fill: str,
) -> Selector:
    """Return the selector of a name: a fixed one, or "gumbel", learned on the candidates (kept as a stage).

    K = T leaves nothing to learn.
    """
    if keyframes == train_data.clip.num_frames:
        return FIXED_SELECTORS["uniform"]()
    if name != "gumbel":
        return FIXED_SELECTORS[name]()
    part = run.child("joint")

    def compute() -> dict[str, Tensor]:
        trained = train_selector(train_data, scorer, config, part, keyframes=keyframes, fill=fill)
        return {key: value.cpu() for key, value in trained.state_dict().items()}

    key = {
        "scorer": dataclasses.asdict(scorer),
        "joint": dataclasses.asdict(config),
        "keyframes": keyframes,
        "fill": fill,
    }
    selector = GumbelSelector(scorer, part.generator("selector"))
    selector.load_state_dict(part.recall("selector", key, compute))
    return selector.to(run.device)


def train_selector(
    train_data: Candidates,
    scorer: SelectorConfig,
    config: JointConfig,
    run: Run,
    *,
    keyframes: int,
    fill: str,
) -> GumbelSelector:
    """Return the selector trained on the candidates; raises `DivergedError` when the loss is not finite."""
    selector = GumbelSelector(scorer, run.generator("selector")).to(run.device)
    student = UnderstandingModule(
        train_data.codec.channels,
        len(train_data.classes),
        temporal=config.understanding,
        width=config.width,
        generator=run.generator("student"),
    ).to(run.device)
    half_a, half_b = _halves(train_data.labels, run.generator("halves"))
    batches_a = _batches(half_a, config.batch_size, run.generator("batches/a"))
    batches_b = _batches(half_b, config.batch_size, run.generator("batches/b"))
    if not config.enabled:
        _train_alone(student, train_data, batches_a, config, run)
    phi = torch.optim.Adam(selector.parameters(), config.lr)
    theta = torch.optim.Adam(student.parameters(), config.student_lr)
    noise, counts = run.generator("gumbel"), run.generator("counts")
    for step in range(config.steps):
        tau = temperature(step, config.steps, scorer)
        count = int(torch.randint(1, keyframes + 1, (), generator=counts))
        cosine = (1 + math.cos(math.pi * step / config.steps)) / 2
        phi.param_groups[0]["lr"], theta.param_groups[0]["lr"] = cosine * config.lr, cosine * config.student_lr
        if config.enabled:
            latents, labels = _batch(train_data, next(batches_a), run.device)
            random = gumbel_noise(tuple(latents.shape[:2]), noise).to(run.device)
            weights, _ = top_k_straight_through(random, count, tau)
            features = student.stem(latents)
            few, all_frames = student.classify(place(weights, features, fill)), student.classify(features)
            _step(F.cross_entropy(few, labels) + F.cross_entropy(all_frames, labels), theta)
        rows = next(batches_b)
        latents, labels = _batch(train_data, rows, run.device)
        scores = selector.score(selector.thumbnails(train_data.frames[rows].to(run.device)))
        weights, _ = selector.sample(scores, count, tau, noise)
        task = F.cross_entropy(student.classify(place(weights, student.stem(latents), fill)), labels)
        coverage = uncovered(place(weights, latents, fill), latents)
        _step(task + config.coverage_weight * coverage, phi)
        run.watch("selector", done=step + 1, total=config.steps, loss=float(task.detach()))
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
    student: UnderstandingModule, train_data: Candidates, batches: Iterator[Tensor], config: JointConfig, run: Run
) -> None:
    """Train the understanding module on complete clips and freeze it: the ablation without joint training."""
    optimizer = torch.optim.Adam(student.parameters(), config.student_lr)
    for step in range(config.steps):
        latents, labels = _batch(train_data, next(batches), run.device)
        _step(F.cross_entropy(student(latents), labels), optimizer)
        run.watch("understanding", done=step + 1, total=config.steps)


def _step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    if not torch.isfinite(loss):
        raise DivergedError("the loss of the joint phase stopped being finite; choose a lower joint.lr")
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()


def _batch(train_data: Candidates, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    return train_data.latents[rows].to(device).float(), train_data.labels[rows].to(device)


def _halves(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split the rows of every class at random into two halves; a class of one video is in both."""
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        middle = (len(members) + 1) // 2
        halves[0].append(members[:middle])
        halves[1].append(members[middle:] if len(members) > 1 else members)
    return torch.cat(halves[0]), torch.cat(halves[1])


def _batches(rows: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end, each epoch in a new order."""
    while True:
        yield from torch.split(rows[torch.randperm(len(rows), generator=generator)], batch_size)
