"""Synthesis: the chosen keyframes become a synthetic set, tuned by the gradients of students (step 7).

Each step, for one frozen student of the pool (`pool.py`) and a batch of items z of some classes, which several
processes share class by class (the same up to the order of sums):

1. z      = w E(x_chosen) + delta: phi still picks the frames (straight-through, no noise), delta is learnable.
2. clip   = fill(D(z)), augmented as a student's training would.
3. match  = sum over stages of |mean_c feature(syn) - mean_c feature(real)|^2 / spread between classes, c a class (DM,
            Zhao and Bilen 2023; in trained students too: our choice). The means are those of the complete set, of
            which a batch is a part (`complete_mean_distance`).
4. task   = cross-entropy of the student on the synthetic clips; of trained students only.
5. stay   = |E(D(z)) - z|^2 of one random keyframe a clip: near the codec's manifold, so that it decodes to a picture.
6. One step of gradient descent with momentum on delta and phi for match_weight*match + task_weight*task +
   manifold_weight*stay, without computing terms of weight 0. The gradient of each item is scaled to a root mean square
   of 1, so that `lr` is in standard deviations of a latent and cells that matter move most. (Adam moves every cell
   equally far: noise; docs/log.md.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videocompressa.checkpoint import Part, Repeated
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import check_least
from videocompressa.fill import fill_clips
from videocompressa.methods.videocompressa.pool import Member, summary
from videocompressa.processes import ProcessGroup
from videocompressa.run import Run, check_finite, is_read
from videocompressa.selection.gumbel import GumbelSelector, top_k_straight_through
from videocompressa.selection.keyframes import Selector
from videocompressa.students.precision import autocast
from videocompressa.students.settings import TrainConfig
from videocompressa.synthetic import SyntheticSet, take_keyframes
from videocompressa.views import Within, augmented


@dataclass(frozen=True)
class SynthesisConfig:
    """Tuning of latents and selector; `enabled=False` keeps the chosen real keyframes (ablation)."""

    enabled: bool = False
    """Tune the chosen keyframes; off stores them as they are."""
    steps: int = 100
    """Optimizer steps, >= 1."""
    batch_size: int = 16
    """Synthetic clips a step; complete classes, at least two."""
    lr: float = 0.015
    """Highest root mean square of an item's step, in standard deviations of a latent; half-period cosine to 0."""
    selector_lr: float = 1e-3
    """Learning rate of the selector; 0 freezes the frames."""
    match_weight: float = 1.0
    """Weight of the matching of class features."""
    task_weight: float = 0.1
    """Weight of the students' task loss."""
    manifold_weight: float = 0.1
    """Weight of the distance from the codec's manifold."""

    def __post_init__(self) -> None:
        weights = {"match_weight": 0, "task_weight": 0, "manifold_weight": 0}
        check_least(self, "synthesis.", steps=1, batch_size=2, lr=0, selector_lr=0, **weights)


def synthesize(
    start: SyntheticSet,
    chosen: Candidates,
    pool: Sequence[Member],
    selector: Selector,
    codec: Codec,
    config: SynthesisConfig,
    recipe: TrainConfig,
    run: Run,
) -> dict[str, Tensor]:
    """Return the tuned "latents" (N,K,C,h,w) of `start`, and "positions" (N,K), which the tuned selector may change.

    `chosen` are the candidates of its videos, `recipe` is how students are trained. Raises `DivergedError`.
    """
    keyframes = start.positions.shape[1]
    candidates = chosen.latents[:].float()
    delta = torch.zeros(*start.latents.shape, device=run.device, requires_grad=True)
    live = selector if isinstance(selector, GumbelSelector) and config.selector_lr > 0 else None
    optimizer = _optimizer(delta, live, config)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    augment, members = run.generator("augment"), run.generator("members")
    batches = Repeated(lambda: class_batches(start.labels, config.batch_size, run.generator("classes")))
    counts = torch.bincount(start.labels, minlength=len(start.classes)).to(run.device)
    weights = torch.tensor([config.match_weight, config.task_weight, config.manifold_weight]).float().to(run.device)
    total = torch.zeros((), device=run.device)
    parts: dict[str, Part] = {"delta": delta, "optimizer": optimizer, "schedule": schedule}
    parts |= {"augment": augment, "members": members, "classes": batches}
    parts |= {} if live is None else {"selector": live}
    for step in run.steps("synthesis", config.steps, parts):
        share = _share_of(next(batches), start.labels, run.group)
        rows = share.rows
        if live is None:
            positions = start.positions[rows]
            base = take_keyframes(candidates[rows], positions)
        else:
            base, positions = _selected(live, chosen.frames[rows].to(run.device), candidates[rows], keyframes)
        latents = base.to(run.device) + delta[rows]
        pixels = codec.decode(latents.flatten(0, 1))
        pixels = pixels.view(*latents.shape[:2], *pixels.shape[1:])
        clips = fill_clips(pixels, positions.to(run.device), start.clip.num_frames, start.fill)
        clips = start.normalization.apply(augmented(clips, recipe.views, augment, share.within))
        member = pool[int(torch.randint(len(pool), (), generator=members))]
        match, task = match_and_task(member, clips, start.labels[rows].to(run.device), counts, config, recipe)
        one = int(torch.randint(keyframes, (), generator=members))
        stay = 0 * latents.sum()  # a gradient of 0 where no term has one
        if config.manifold_weight:
            stay = (codec.encode(pixels[:, one]) - latents[:, one]).square().mean()
        terms = torch.stack([share.of_classes * match, share.of_clips * task, share.of_clips * stay])
        means = _descend(terms, weights, delta, share.all_rows, optimizer, run.group)  # 6.
        schedule.step()
        total += means @ weights
        if is_read(step, config.steps):
            check_finite(total, "the loss of the synthesis stopped being finite; choose a lower synthesis.lr")
            match, task, _ = means.tolist()
            run.watch("synthesis", done=step + 1, total=config.steps, match=match, task=task)
    positions = start.positions
    if live is not None:
        live.requires_grad_(False)
        positions = live.positions(chosen.frames, keyframes, run.generator("keyframes"))
    return {"latents": take_keyframes(candidates, positions) + delta.detach().cpu(), "positions": positions}


@dataclass(frozen=True)
class _Share:
    """What one process computes of a step: some classes of the batch."""

    rows: Tensor
    """(b,) int64: its items."""
    all_rows: Tensor
    """(B,) int64: those of all processes."""
    within: Within | None
    """Where the first are among the second; None for one process."""
    of_classes: float = 1.0
    """Its share of the batch's classes, times the number of processes, whose mean is taken."""
    of_clips: float = 1.0
    """The same of the items."""


def _share_of(rows: Tensor, labels: Tensor, group: ProcessGroup) -> _Share:
    """Return the share of this process; one that no class is left for computes an item that does not count."""
    if group.size == 1:
        return _Share(rows, rows, None)
    classes, index = torch.unique(labels[rows], return_inverse=True)
    places = (index % group.size == group.rank).nonzero()[:, 0]
    own_classes = len(range(group.rank, len(classes), group.size))
    of_classes, of_clips = group.size * own_classes / len(classes), group.size * len(places) / len(rows)
    places = places if own_classes else torch.zeros(1, dtype=torch.int64)
    return _Share(rows[places], rows, Within(places, len(rows)), of_classes, of_clips)


def _descend(
    terms: Tensor,
    weights: Tensor,
    delta: Tensor,
    rows: Tensor,
    optimizer: torch.optim.Optimizer,
    group: ProcessGroup,
) -> Tensor:
    """Step 6: one step of descent on the terms match, task and stay, whose means over processes it returns."""
    means = group.mean(terms.detach().clone())
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(terms @ weights)
    for parameter in (each for part in optimizer.param_groups for each in part["params"]):
        if parameter.grad is not None:
            parameter.grad = group.mean(parameter.grad)
    assert delta.grad is not None
    size = delta.grad[rows].flatten(1).square().mean(1).sqrt().clamp(min=1e-12)
    delta.grad[rows] /= size.view(-1, *[1] * (delta.ndim - 1))
    optimizer.step()
    return means


def match_and_task(
    member: Member, clips: Tensor, labels: Tensor, counts: Tensor, config: SynthesisConfig, recipe: TrainConfig
) -> tuple[Tensor, Tensor]:
    """Return (match, task) of one batch of synthetic clips; task is 0 for a student trained too little to give it.

    `counts` (L,) int64: how many clips of each class the complete set has, of which the batch is a part. A term whose
    weight is 0 is 0, too.
    """
    match = task = clips.new_zeros(())
    gives_task = member.gives_task and config.task_weight > 0
    if not (config.match_weight or gives_task):
        return match, task
    with autocast(recipe.precision, clips.device):
        maps, logits = member.student.maps_and_logits(clips)
    if config.match_weight:
        classes, index = torch.unique(labels, return_inverse=True)
        for stage, real, spread in zip(maps, member.class_maps, member.spreads, strict=True):
            match = match + complete_mean_distance(summary(stage), index, real[classes], counts[classes]) / spread
    if gives_task:
        task = F.cross_entropy(logits.float(), labels)
    return match, task


def complete_mean_distance(features: Tensor, index: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Return the mean over classes and features of |mean f - target|^2, the mean over ALL clips of a class, estimated.

    `features` (B,D) are those of some clips, `index` (B,) their classes, `targets` (c,D), `counts` (c,) int64 the clips
    of a class in the set. A U-statistic (Hoeffding 1948; "Class means from batches" in docs/method.md): the square of a
    batch's mean is biased, and its gradient would pull all clips of a class to one point.
    """
    offsets = features - targets[index]
    one_hot = F.one_hot(index, len(targets)).to(features)
    sizes = one_hot.sum(0)[:, None]
    squares = one_hot.T @ offsets.square()
    pairs = ((one_hot.T @ offsets).square() - squares) / (sizes * (sizes - 1)).clamp(min=1)
    # One clip of a class has no pairs.
    alone = torch.where(sizes > 1, 1 / counts[:, None].to(features), torch.ones_like(sizes))
    return ((1 - alone) * pairs + alone * squares / sizes).mean()


def _selected(selector: GumbelSelector, frames: Tensor, latents_BT: Tensor, keyframes: int) -> tuple[Tensor, Tensor]:
    """Return keyframe latents (B,K,C,h,w), straight-through in the selector, and their positions (B,K)."""
    scores = selector.score(selector.thumbnails(frames))
    weights, _ = top_k_straight_through(scores, keyframes, selector.config.tau_end)
    base = torch.einsum("bkt,bt...->bk...", weights, latents_BT.to(weights.device))
    return base, weights.detach().argmax(2)


def _optimizer(delta: Tensor, live: GumbelSelector | None, config: SynthesisConfig) -> torch.optim.Optimizer:
    groups: list[dict[str, object]] = [{"params": [delta], "lr": config.lr, "momentum": 0.5}]
    if live is not None:
        live.requires_grad_(True)
        groups.append({"params": list(live.parameters()), "lr": config.selector_lr, "momentum": 0.9})
    return torch.optim.SGD(groups)


def class_batches(labels: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end: all items of as many classes as fit, in a new order each round.

    A class with more items than fit comes in random parts of at least two.
    """
    classes = torch.unique(labels)
    members = [(labels == label).nonzero()[:, 0] for label in classes]
    per_class = max(1, min(max(len(rows) for rows in members), batch_size // min(len(classes), 4)))
    at_once = max(2, batch_size // per_class)
    while True:
        for group in torch.split(torch.randperm(len(classes), generator=generator), at_once):
            parts = [members[c][torch.randperm(len(members[c]), generator=generator)[:per_class]] for c in group]
            yield torch.cat(parts).sort().values
