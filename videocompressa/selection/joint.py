"""The joint phase: the selector and the understanding module learn together which frames matter (step 5).

The student learns on one half A of the real clips, the selector on the student's loss on the other half B: a student
that has memorized its clips knows their labels from any frame (our choice, after DARTS, Liu et al. 2019, first order).
Each step, with latents Z = E(x) and k drawn from 1..K, because few frames alone reveal which matter (our choice):

1. theta: one Adam step on A for CE(f(F w' Z), y) + CE(f(Z), y), w' being k frames at RANDOM. Trained on the selector's
   own picks it would learn a code ("informative frames for class a, dull ones for class b"): the leak that Jethani et
   al. 2021 describe and fix in this way.
2. phi: one Adam step on B for CE(f(F w Z), y) + coverage_weight * coverage, w the Gumbel top-k of s = g_phi(x).
   coverage = E |F w Z - Z|^2 / |Z - mean_t Z|^2 is how much of the clip's change K keyframes miss (our choice). The
   straight-through gradient leaves F as it is, so it sees what a frame would show in the place of another, and not that
   an idle stretch needs one frame: on videos that are idle for two thirds it picked idle frames. Coverage therefore has
   the score function's gradient (`coverage_loss`).

F w Z are the keyframes placed back on the time line by the fill rule. The student's stem is frame-wise, so f(F w Z) is
computed as classify(F w stem(Z)): the same value, a better gradient. Two fields of `JointConfig` are ablations.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videocompressa.checkpoint import Part, Repeated
from videocompressa.clip import Candidates
from videocompressa.errors import InputError, check_least
from videocompressa.fill import fill_clips, fill_weights
from videocompressa.run import Run, check_finite, is_read
from videocompressa.selection.gumbel import GumbelSelector, SelectorConfig, gumbel_noise, temperature
from videocompressa.selection.understanding import UnderstandingModule
from videocompressa.synthetic import take_keyframes

_DIVERGED = "the loss of the joint phase stopped being finite; choose a lower joint.lr"


@dataclass(frozen=True)
class JointConfig:
    """Training of selector and understanding module."""

    enabled: bool = True
    """Train both together; off: the understanding module first, on complete clips; frozen, it trains the selector."""
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
        check_least(self, "joint.", steps=1, batch_size=1, lr=0, student_lr=0, coverage_weight=0)
        if self.width % 8 or self.width < 8:
            raise InputError(f"joint.width is {self.width}; it must be a multiple of 8")


# Of the understanding module: latents of pixels have as many cells as pixels, and 48 a side took 30 times as long.
_MOST_CELLS = 16
# Draws of keyframes a clip for the coverage (our choice).
_SAMPLES = 4


def train_selector(
    train_data: Candidates, scorer: SelectorConfig, config: JointConfig, run: Run, *, keyframes: int, fill: str
) -> GumbelSelector:
    """Return the selector trained on the candidates; raises `DivergedError` when the loss is not finite."""
    selector = GumbelSelector(scorer, run.generator("selector")).to(run.device)
    student = UnderstandingModule(
        train_data.codec.channels, len(train_data.classes), config.understanding, config.width, run.generator("student")
    ).to(run.device)
    half_a, half_b = _halves(train_data.labels, run.generator("halves"))
    batches_a = Repeated(lambda: _batches(half_a, config.batch_size, run.generator("batches/a")))
    batches_b = Repeated(lambda: _batches(half_b, config.batch_size, run.generator("batches/b")))
    if not config.enabled:
        _train_alone(student, train_data, batches_a, config, run)
    phi = torch.optim.Adam(selector.parameters(), config.lr)
    theta = torch.optim.Adam(student.parameters(), config.student_lr)
    noise, counts, total = run.generator("gumbel"), run.generator("counts"), torch.zeros((), device=run.device)
    parts: dict[str, Part] = {"selector": selector, "student": student, "phi": phi, "theta": theta}
    parts |= {"batches/a": batches_a, "batches/b": batches_b, "gumbel": noise, "counts": counts}
    for step in run.steps("selector", config.steps, parts):
        tau = temperature(step, config.steps, scorer)
        count = int(torch.randint(1, keyframes + 1, (), generator=counts))
        cosine = (1 + math.cos(math.pi * step / config.steps)) / 2
        phi.param_groups[0]["lr"], theta.param_groups[0]["lr"] = cosine * config.lr, cosine * config.student_lr
        if config.enabled:
            latents, labels = _load(train_data, next(batches_a), run.device)
            weights, _ = selector.sample(latents.new_zeros(latents.shape[:2]), count, tau, noise)  # k frames at random
            features = student.stem(latents)
            few, all_frames = student.classify(place(weights, features, fill)), student.classify(features)
            total += _step(F.cross_entropy(few, labels) + F.cross_entropy(all_frames, labels), theta)
        latents, labels = _load(train_data, rows := next(batches_b), run.device)
        scores = selector.score(selector.thumbnails(train_data.frames[rows].to(run.device)))
        weights, _ = selector.sample(scores, count, tau, noise)
        task = F.cross_entropy(student.classify(place(weights, student.stem(latents), fill)), labels)
        coverage = coverage_loss(scores, latents, keyframes, fill, noise) if config.coverage_weight else 0.0
        total += _step(task + config.coverage_weight * coverage, phi)
        if is_read(step, config.steps):
            check_finite(total, _DIVERGED)
            numbers = {"loss": float(task.detach()), "temperature": tau, "entropy": _entropy(scores.detach())}
            run.watch("selector", done=step + 1, total=config.steps, **numbers)
    return selector.eval().requires_grad_(False)


def place(weights_BKT: Tensor, frames_BT: Tensor, fill: str) -> Tensor:
    """Select K frames by weights and place them back on the time line: F w Z, (B,T,...) like `frames_BT`.

    F depends on the positions of the hard picks and carries no gradient; w carries it.
    """
    positions = weights_BKT.detach().argmax(2)
    spread = fill_weights(positions, frames_BT.shape[1], fill).to(frames_BT.dtype)
    return torch.einsum("btk,bks,bs...->bt...", spread, weights_BKT, frames_BT)


def coverage_loss(
    scores_BT: Tensor, frames_BT: Tensor, keyframes: int, fill: str, generator: torch.Generator
) -> Tensor:
    """Return a loss whose gradient is an unbiased one of the mean of `uncovered`, and whose value means nothing.

    REINFORCE over the ordered K picks of `_SAMPLES` Gumbel draws a clip, each against the mean of the others (Williams
    1992; Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!").
    """
    scores, frames = (each.repeat(_SAMPLES, *[1] * (each.ndim - 1)) for each in (scores_BT, frames_BT))
    noise = gumbel_noise(tuple(scores.shape), generator).to(scores)
    order = (scores.detach() + noise).topk(keyframes, 1).indices
    positions = order.sort(1).values
    missed = uncovered(fill_clips(take_keyframes(frames, positions), positions, frames.shape[1], fill), frames)
    missed = missed.view(_SAMPLES, -1)
    advantage = (missed - missed.mean(0)) * _SAMPLES / (_SAMPLES - 1)
    return (advantage.flatten() * log_probability(scores, order)).mean()


def log_probability(scores_BT: Tensor, order_BK: Tensor) -> Tensor:
    """Return (B,) log P of picking K frames in this order, without replacement (Theorem 1)."""
    remaining, total = scores_BT, scores_BT.new_zeros(len(scores_BT))
    for pick in torch.split(order_BK, 1, 1):
        total = total + remaining.log_softmax(1).gather(1, pick)[:, 0]
        remaining = remaining.scatter(1, pick, -torch.inf)
    return total


def uncovered(filled_BT: Tensor, frames_BT: Tensor) -> Tensor:
    """Share (B,) of each clip's variance over time that its placed keyframes miss; 0 when every frame is kept."""
    missed = (filled_BT - frames_BT).square().flatten(1).mean(1)
    spread = (frames_BT - frames_BT.mean(1, keepdim=True)).square().flatten(1).mean(1)
    return missed / (spread + 1e-4)


def _entropy(scores_BT: Tensor) -> float:
    """Mean entropy, in nats, of the first pick that scores stand for (Theorem 1): log T where all frames are equal."""
    logs = scores_BT.log_softmax(1)
    return -float((logs.exp() * logs).sum(1).mean())


def _train_alone(
    student: UnderstandingModule, train_data: Candidates, batches: Repeated[Tensor], config: JointConfig, run: Run
) -> None:
    """Train the understanding module on complete clips and freeze it: the ablation without joint training."""
    optimizer = torch.optim.Adam(student.parameters(), config.student_lr)
    parts: dict[str, Part] = {"student": student, "optimizer": optimizer, "batches": batches}
    total = torch.zeros((), device=run.device)
    for step in run.steps("understanding", config.steps, parts):
        latents, labels = _load(train_data, next(batches), run.device)
        total += _step(F.cross_entropy(student(latents), labels), optimizer)
        if is_read(step, config.steps):
            check_finite(total, _DIVERGED)
            run.watch("understanding", done=step + 1, total=config.steps)


def _step(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    """Take a step, and return the loss."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


def _halves(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split the rows of every class at random into two halves; a class of one video is in both."""
    first, second = [], []
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        middle = (len(members) + 1) // 2
        first.append(members[:middle])
        second.append(members[middle:] if len(members) > 1 else members)
    return torch.cat(first), torch.cat(second)


def _batches(half: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end, each epoch in a new order."""
    while True:
        yield from torch.split(half[torch.randperm(len(half), generator=generator)], batch_size)


def _load(train_data: Candidates, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the latents and labels of some rows."""
    return _coarse(train_data.latents[rows].to(device).float()), train_data.labels[rows].to(device)


def _coarse(latents: Tensor) -> Tensor:
    """Return latents (B,T,C,h,w) averaged to at most `_MOST_CELLS` cells a side."""
    height, width = (min(side, _MOST_CELLS) for side in latents.shape[3:])
    return F.adaptive_avg_pool2d(latents.flatten(0, 1), (height, width)).view(*latents.shape[:3], height, width)
