"""One student, trained from random weights, and its losses: cross-entropy, or the distance to a teacher's logits."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from videocompressa.artifact.packing.quantization import LARGEST_CODE
from videocompressa.checkpoint import GlobalRandom, Part, Repeated
from videocompressa.clip import ClipSpec, Normalization
from videocompressa.errors import InputError
from videocompressa.networks import Classifier
from videocompressa.rng import seeded
from videocompressa.run import Run, check_finite, is_read
from videocompressa.students.clips import LabeledClips, probabilities_of
from videocompressa.students.named import build_named
from videocompressa.students.precision import autocast
from videocompressa.students.settings import TrainConfig
from videocompressa.views import Views, random_views

# Share of a row's largest probability below which a file of soft labels stores zero.
_LEAST_SHARE = (0.5 / LARGEST_CODE) ** 2
# Weight of the hard label in the loss of Video-DC (Chen et al. 2024, arXiv 2412.21197).
_HARD_WEIGHT = 0.1
# Clips that give norms their statistics: more change little.
_MOST_COUNTED = 1024


def logit_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Return MSE(z, z*) + 0.1 cross-entropy(z, y) of logits z (B,L), by the labels p (B,L) float32 of a teacher.

    The loss of Video-DC (arXiv 2412.21197), with z* the teacher's logits and y the class. A file stores probabilities,
    which give logits up to a constant a clip, so z* = log p and both are centered over the classes: unlike theirs, a
    constant added to z costs nothing. Shares of the largest probability below (0.5/255)^2, which the file stores as
    zero, count as that share. Of a mean over views or teachers, z* is the logarithm. y is the most likely class of p.
    """
    target = labels.maximum(_LEAST_SHARE * labels.amax(1, keepdim=True)).log()
    centered, wanted = (each - each.mean(1, keepdim=True) for each in (logits, target))
    return functional.mse_loss(centered, wanted) + _HARD_WEIGHT * functional.cross_entropy(logits, labels.argmax(1))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": functional.cross_entropy,
    "logit-mse": logit_mse,
}
"""Losses by name: of logits (B,L) with labels (B,) int64 or (B,L) float32."""

View = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""(rows (B,) int64, pixels (B,T,3,H,W) float32 in [0,1], random stream) -> pixels of the same shape."""


def fit(
    data: LabeledClips,
    config: TrainConfig,
    run: Run,
    *,
    student: Classifier | None = None,
    step_name: str = "train",
    view: View | None = None,
    each_step: Callable[[int, Classifier], None] = lambda steps_done, student: None,
    kept: list[Tensor] | None = None,
) -> Classifier:
    """Train a fresh student, or `student` from its own weights on; return it in evaluation mode on the run's device.

    `view(rows, pixels, generator)` may replace the pixels (B,T,3,H,W) of a batch before they are augmented.
    `each_step(steps_done, student)` sees the live student before the first step (0) and after each; it may append
    clones to the list `kept`. A run that goes on from a checkpoint (`Run.steps`) has those of the steps before.

    Draws from streams "init", "batches", "stored" (for `view`) and "augment"; equal seeds give equal bytes on a CPU
    with equal threads.
    Raises `DivergedError` when the loss or a weight stops being finite.
    """
    _check_set(data, config)
    clip, generator = ClipSpec(*data.size), run.generator("init")
    if student is None:
        student = build_named(config.student, data.classes, clip, generator, width=config.width)
    student.to(run.device).train()
    optimizer = _optimizer(student, config)
    batches = Repeated(lambda: _batches(len(data), config.batch_size, run.generator("batches")))
    draws, stored = run.generator("augment"), run.generator("stored")
    change = None if view is None else lambda rows, pixels: view(rows, pixels, stored)
    total = torch.zeros((), device=run.device)
    normalization = student.normalization or data.normalization
    parts: dict[str, Part] = {"student": student, "optimizer": optimizer, "batches": batches, "draws": draws}
    parts |= {"stored": stored, "kept": [] if kept is None else kept, **_random_parts(student, run.device)}
    with seeded(run.generator("foreign")):  # our own students draw from generators of their own
        each_step(0, student)
        run.watch(step_name, done=0, total=config.steps)
        for step in run.steps(step_name, config.steps, parts):
            optimizer.param_groups[0]["lr"] = config.lr * _lr_share(step, config)
            clips, labels = labeled_views(data, next(batches), config.views, run.device, draws, change)
            clips = normalization.apply(clips)
            with autocast(config.precision, run.device):
                logits = student(clips)
            loss = LOSSES[config.loss](logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            each_step(step + 1, student)
            total += loss.detach()
            if is_read(step, config.steps):
                _check_finite(total, config, step)
                run.watch(step_name, done=step + 1, total=config.steps, loss=float(loss.detach()))
    for weights in student.parameters():
        _check_finite(weights.detach().sum(), config, config.steps - 1)
    if (config.views if data.labeler is None else data.labeler.spec.views).mix:
        _count_unmixed(student, data, normalization, config, run)
    return student.eval()


def _count_unmixed(
    student: Classifier, data: LabeledClips, normalization: Normalization, config: TrainConfig, run: Run
) -> None:
    """Give the norms of a student of mixed views the statistics of clips that are not mixed, which it will classify."""
    rows = torch.randperm(len(data), generator=run.generator("norms"))[:_MOST_COUNTED]
    batches = rows.chunk(math.ceil(len(rows) / config.batch_size))
    with autocast(config.precision, run.device):
        update_bn((normalization.apply(data.pixels(each, run.device)) for each in batches), student)


def _random_parts(student: nn.Module, device: torch.device) -> dict[str, Part]:
    """Return what a student draws from: generators of its own (dropout), or those of torch."""
    values = (value for module in student.modules() for value in vars(module).values())
    own = [value for value in values if isinstance(value, torch.Generator)]
    return {"foreign": GlobalRandom(device), **{f"own/{number}": each for number, each in enumerate(own)}}


def fit_kept(
    data: LabeledClips,
    config: TrainConfig,
    run: Run,
    *,
    name: str = "train",
    key: Mapping[str, Any] | None = None,
    view: View | None = None,
) -> Classifier:
    """Return `fit`'s fresh student as a finished stage `name`; `key` is what it depends on besides `config`."""
    fitted: list[Classifier] = []

    def compute() -> dict[str, Tensor]:
        fitted.append(fit(data, config, run, step_name=name, view=view))
        return {key: value.cpu().clone() for key, value in fitted[0].state_dict().items()}

    weights = run.recall(name, {"config": dataclasses.asdict(config), **(key or {})}, compute)
    if fitted:
        return fitted[0]
    student = build_named(config.student, data.classes, ClipSpec(*data.size), run.generator("init"), width=config.width)
    student.load_state_dict(weights)
    return student.to(run.device).eval()


def labeled_views(
    data: LabeledClips,
    rows: Tensor,
    views: Views,
    device: torch.device,
    draws: torch.Generator,
    view: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return views of some clips (B,T,3,H,W) in [0,1], and their labels: of the labeler if there is one.

    The labeler's own views replace `views`. Labels are (B,) int64 where they are hard and nothing is mixed, else (B,L).
    """
    pixels = data.pixels(rows, device)
    if view is not None:
        pixels = view(rows, pixels)
    if (labeler := data.labeler) is not None:
        pixels, _ = random_views(pixels, labeler.spec.views, draws)
        return pixels, labeler(pixels)
    labels = data.labels[rows].to(device)
    pixels, shares = random_views(pixels, views, draws)
    if views.mix:
        labels = shares @ probabilities_of(labels, len(data.classes))
    return pixels, labels


def _check_set(data: LabeledClips, config: TrainConfig) -> None:
    if len(data) < 2:
        raise InputError(f"the training set holds {len(data)} clips; training needs at least 2")
    if config.loss == "logit-mse" and data.labels.ndim == 1 and data.labeler is None:
        raise InputError(
            "TrainConfig.loss is 'logit-mse', which needs the soft labels of a teacher, but the clips have hard ones; "
            "compress with --set labels=soft, or train with loss 'cross-entropy'"
        )


def _batches(num_clips: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end: each epoch in a new order, full batches only (the rest of an epoch is left out)."""
    size = min(batch_size, num_clips)
    while True:
        order = torch.randperm(num_clips, generator=generator)
        yield from order[: num_clips // size * size].view(-1, size)


def _optimizer(student: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    parameters, decay = [each for each in student.parameters() if each.requires_grad], config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, config.lr, momentum=config.momentum, weight_decay=decay)
    return torch.optim.AdamW(parameters, config.lr, weight_decay=decay)


def _lr_share(step: int, config: TrainConfig) -> float:
    """Return the share of `lr` in [0,1] at a step; cosine is half a period over the steps after the warm-up."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return float(0.1 ** sum(step >= share * config.steps for share in config.milestones))
    if config.schedule == "cosine":
        return (1 + math.cos(math.pi * (step - config.warmup_steps) / (config.steps - config.warmup_steps))) / 2
    return 1.0


def _check_finite(value: Tensor, config: TrainConfig, step: int) -> None:
    check_finite(
        value,
        f"training {config.student!r} diverged by step {step + 1} of {config.steps}: its loss or weights are not "
        f"finite at lr {config.lr:g}; choose a lower lr, or a student with norms such as 'minic3d'",
    )
