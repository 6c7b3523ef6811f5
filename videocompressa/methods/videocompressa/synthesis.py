"""Synthesis: the chosen keyframes become a synthetic set, tuned by the gradients of students (step 7).

Pool.  Students trained on the real clips for few to many steps, frozen; with the teachers they judge the set at every
       age that a fresh student will pass through. For each, the mean feature maps of every class over the real clips
       are computed once.
Each step, for one student of the pool and a batch of items z of some classes:

1. z      = w E(x_chosen) + delta: phi still picks the frames (straight-through, no noise), delta is learnable.
2. clip   = fill(D(z)), augmented as a student's training would.
3. match  = sum over stages of |mean_c feature(syn) - mean_c feature(real)|^2 / spread between classes: class by class,
            the set must look like all real clips to every student (DM, Zhao and Bilen 2023; in trained students too:
            our choice).
4. task   = cross-entropy of the student on the synthetic clips; of trained students only.
5. stay   = |E(D(z)) - z|^2: near the codec's manifold, so that what is stored decodes to a picture.
6. One Adam step on delta and phi for match_weight*match + task_weight*task + manifold_weight*stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videocompressa.clip import Candidates, Watch
from videocompressa.errors import DivergedError, InputError
from videocompressa.rng import Streams
from videocompressa.selector import GumbelSelector, Selector, top_k_straight_through
from videocompressa.stages import Stages
from videocompressa.students import Student
from videocompressa.synthetic import SyntheticSet, fill_clips, take_keyframes
from videocompressa.teachers import RealClips, TeacherConfig
from videocompressa.train import TrainConfig, augmented
from videocompressa.vae import Codec


@dataclass(frozen=True)
class SynthesisConfig:
    """Tuning of latents and selector; `enabled=False` keeps the chosen real keyframes (ablation)."""

    enabled: bool = True
    steps: int = 200
    """Optimiser steps, >= 1."""
    batch_size: int = 32
    """Synthetic clips a step; whole classes, at least two."""
    lr: float = 0.1
    """Adam's highest learning rate of delta (latents have unit variance); half-period cosine to 0."""
    selector_lr: float = 1e-4
    """Adam's learning rate of the selector; 0 freezes the frames."""
    pool_steps: tuple[int, ...] = (5, 40, 150, 400)
    """Training steps of each student in the pool; teachers are added."""
    task_from: int = 100
    """Students trained for at least so many steps give the task loss."""
    real_per_class: int = 100
    """Real clips a class whose features are averaged."""
    match_weight: float = 1.0
    task_weight: float = 0.1
    manifold_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise InputError(
                f"synthesis.steps is {self.steps} (allowed: 1 or more), "
                f"synthesis.batch_size {self.batch_size} (allowed: 2 or more)"
            )
        if min(self.match_weight, self.task_weight, self.manifold_weight) < 0:
            raise InputError("synthesis.match_weight, task_weight and manifold_weight must not be negative")


@dataclass(frozen=True)
class PoolMember:
    """A frozen student and what the real classes look like to it."""

    student: Student
    class_maps: list[Tensor]
    """One (L,D) float32 a stage: mean feature maps of each class."""
    spreads: list[float]
    """Mean squared distance of the class means to their mean, a stage."""
    gives_task: bool


def synthesise(
    start: SyntheticSet,
    chosen: Candidates,
    real: RealClips,
    selector: Selector,
    codec: Codec,
    config: SynthesisConfig,
    *,
    teachers: list[Student],
    teacher_config: TeacherConfig,
    rng: Streams,
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> SyntheticSet:
    """Return `start` with tuned latents and, where the selector moved, other frames of the same videos."""
    train_data = real.train_data
    pool = _pool(real, config, teachers, teacher_config, rng=rng, device=device, watch=watch, stages=stages)
    keyframes = start.positions.shape[1]
    candidates = chosen.latents.float()
    delta = torch.zeros(*start.latents.shape, requires_grad=True)
    live = selector if isinstance(selector, GumbelSelector) and config.selector_lr > 0 else None
    optimiser = _optimiser(delta, live, config)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    augment, members = rng.generator("augment"), rng.generator("members")
    batches = _class_batches(start.labels, config.batch_size, rng.generator("classes"))
    for step, rows in zip(range(config.steps), batches, strict=False):
        if live is None:
            positions = start.positions[rows]
            base = take_keyframes(candidates[rows], positions)
        else:
            base, positions = _selected(live, chosen.frames[rows].to(device), candidates[rows], keyframes)
        latents = (base + delta[rows]).to(device)
        pixels = codec.decode(latents.flatten(0, 1))
        clips = fill_clips(
            pixels.view(*latents.shape[:2], *pixels.shape[1:]), positions.to(device), start.clip.num_frames, start.fill
        )
        clips = train_data.normalisation.apply(augmented(clips, teacher_config.train, augment))
        member = pool[int(torch.randint(len(pool), (), generator=members))]
        match, task = _judge(member, clips, start.labels[rows].to(device), teacher_config.train)
        stay = (codec.encode(pixels) - latents.flatten(0, 1)).square().mean()
        loss = config.match_weight * match + config.task_weight * task + config.manifold_weight * stay
        if not torch.isfinite(loss):
            raise DivergedError("the loss of the synthesis stopped being finite; choose a lower synthesis.lr")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        watch("synthesis", done=step + 1, total=config.steps, match=float(match.detach()), task=float(task.detach()))
    positions = start.positions
    if live is not None:
        live.requires_grad_(False)
        positions = live.positions(chosen.frames, keyframes, rng.generator("keyframes"))
    return dataclasses.replace(
        start,
        latents=(take_keyframes(candidates, positions) + delta.detach()).contiguous(),
        positions=positions,
        times_seconds=chosen.times_seconds.gather(1, positions),
    )


def _judge(member: PoolMember, clips: Tensor, labels: Tensor, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Return (match, task) of one batch of synthetic clips; task is 0 for a student too young to give it."""
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        maps, logits = member.student.maps_and_logits(clips)
    classes, index = torch.unique(labels, return_inverse=True)
    match = clips.new_zeros(())
    for stage, real, spread in zip(maps, member.class_maps, member.spreads, strict=True):
        means = _class_means(summary(stage), index, len(classes))
        match = match + (means - real.to(means.device)[classes]).square().mean() / spread
    task = F.cross_entropy(logits.float(), labels) if member.gives_task else clips.new_zeros(())
    return match, task


def summary(stage: Tensor) -> Tensor:
    """Return (B,D) float32 of feature maps (B,C,t,h,w): averaged to 4 x 4 places, time kept (our choice)."""
    time, height, width = stage.shape[2:]
    return F.adaptive_avg_pool3d(stage.float(), (time, min(4, height), min(4, width))).flatten(1)


def _class_means(features: Tensor, index: Tensor, num_classes: int) -> Tensor:
    one_hot = F.one_hot(index, num_classes).to(features.dtype)
    return (one_hot / one_hot.sum(0)).T @ features


def _pool(
    real: RealClips,
    config: SynthesisConfig,
    teachers: list[Student],
    teacher_config: TeacherConfig,
    *,
    rng: Streams,
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> list[PoolMember]:
    """Train the pool (each member a stage of its own) and compute what the real classes look like to each."""
    students = []
    for number, steps in enumerate(config.pool_steps):
        recipe = dataclasses.replace(teacher_config.train, steps=steps, warmup_steps=min(steps, 20))
        streams = rng.child(f"pool/{number}")
        students.append(real.train(recipe, name="pool", streams=streams, device=device, watch=watch, stages=stages))
    rows = _some_of_each_class(real.train_data.labels, config.real_per_class, rng.generator("real"))
    ages = [*config.pool_steps, *([teacher_config.train.steps] * len(teachers))]
    pool = []
    for done, (student, age) in enumerate(zip([*students, *teachers], ages, strict=True), start=1):
        maps = _real_maps(student, real.train_data, rows, teacher_config.train, rng.generator("real-views"), device)
        spreads = [float((stage - stage.mean(0)).square().mean()) + 1e-8 for stage in maps]
        pool.append(PoolMember(student, maps, spreads, gives_task=age >= config.task_from))
        watch("pool", done=done, total=len(ages))
    return pool


@torch.no_grad()
def _real_maps(
    student: Student,
    train_data: Candidates,
    rows: Tensor,
    config: TrainConfig,
    views: torch.Generator,
    device: torch.device,
) -> list[Tensor]:
    """Mean feature maps (L,D) of every class over augmented real clips, one a stage."""
    num_classes = len(train_data.classes)
    totals: list[Tensor] = []
    for batch in torch.split(rows, 64):
        pixels = train_data.frames[batch].to(device).float() / 255
        clips = train_data.normalisation.apply(augmented(pixels, config, views))
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            maps = student.feature_maps(clips)
        one_hot = F.one_hot(train_data.labels[batch], num_classes).float().to(device)
        sums = [one_hot.T @ summary(stage) for stage in maps]
        totals = [total + each for total, each in zip(totals, sums, strict=True)] if totals else sums
    counts = torch.bincount(train_data.labels[rows], minlength=num_classes).clamp(min=1)
    return [total / counts.to(total)[:, None] for total in totals]


def _some_of_each_class(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(labels), generator=generator)
    rank = torch.zeros_like(labels)
    for label in torch.unique(labels):
        members = order[labels[order] == label]
        rank[members] = torch.arange(len(members))
    return (rank < count).nonzero()[:, 0]


def _selected(selector: GumbelSelector, frames: Tensor, latents_BT: Tensor, keyframes: int) -> tuple[Tensor, Tensor]:
    """Return keyframe latents (B,K,C,h,w), straight-through in the selector, and their positions (B,K)."""
    scores = selector.score(selector.thumbnails(frames))
    weights, _ = top_k_straight_through(scores, keyframes, selector.config.tau_end)
    base = torch.einsum("bkt,bt...->bk...", weights, latents_BT.to(weights.device))
    return base, weights.detach().argmax(2).cpu()


def _optimiser(delta: Tensor, live: GumbelSelector | None, config: SynthesisConfig) -> torch.optim.Optimizer:
    groups: list[dict[str, object]] = [{"params": [delta], "lr": config.lr, "betas": (0.5, 0.9)}]
    if live is not None:
        live.requires_grad_(True)
        groups.append({"params": list(live.parameters()), "lr": config.selector_lr})
    return torch.optim.Adam(groups)


def _class_batches(labels: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end: all items of as many classes as fit, in a new order each round.

    A class with more items than fit is seen in random parts of at least two.
    """
    classes = torch.unique(labels)
    members = [(labels == label).nonzero()[:, 0] for label in classes]
    per_class = max(1, min(max(len(rows) for rows in members), batch_size // min(len(classes), 4)))
    at_once = max(2, batch_size // per_class)
    while True:
        for group in torch.split(torch.randperm(len(classes), generator=generator), at_once):
            parts = [members[c][torch.randperm(len(members[c]), generator=generator)[:per_class]] for c in group]
            yield torch.cat(parts).sort().values
