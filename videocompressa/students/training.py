"""One student, trained from scratch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from videocompressa.clip import ClipSpec
from videocompressa.errors import DivergedError, InputError
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.students.clips import LabeledClips
from videocompressa.students.losses import LOSSES
from videocompressa.students.networks import Student, build_student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.views import augmented, mixed, moved

# The loss is read this often: reading it waits for the device.
_CHECK_EVERY = 10


Show = Callable[[Tensor, Tensor], Tensor]
"""(rows (B,) int64, pixels (B,T,3,H,W) float32 in [0,1]) -> pixels of the same shape."""


def fit(
    data: LabeledClips,
    config: TrainConfig,
    *,
    clip: ClipSpec,
    streams: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    watch_name: str = "train",
    show: Show | None = None,
    each_step: Callable[[int, Student], None] | None = None,
) -> Student:
    """Train a fresh student and return it in evaluation mode, on `device`.

    `show(rows, pixels)` may replace the pixels (B,T,3,H,W) of a batch before they are augmented.
    `each_step(steps_done, student)` sees the live student before the first step (0) and after each; clone what is kept.

    Streams "init", "batches" and "augment" are drawn from; equal seeds give equal bytes on a CPU with equal threads.

    Raises
    ------
    DivergedError
        When the loss or a weight stops being finite.
    """
    _check_set(data, clip, config)
    student = build_student(
        config.student,
        num_classes=len(data.classes),
        clip=clip,
        generator=streams.generator("init"),
        width=config.width,
    ).to(device)
    mean_student = copy.deepcopy(student) if config.ema else None
    optimizer = _optimizer(student, config)
    batches = _batches(len(data), config.batch_size, streams.generator("batches"))
    draws = streams.generator("augment")
    total = torch.zeros((), device=device)
    if each_step is not None:
        each_step(0, student)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _lr_share(step, config)
        rows = next(batches)
        pixels = data.pixels(rows, device)
        if show is not None:
            pixels = show(rows, pixels)
        pixels = augmented(moved(pixels, config.background, draws), config, draws)
        clips, labels = mixed(data.normalization.apply(pixels), data.labels[rows].to(device), data, config, draws)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = student(clips)
        loss = LOSSES[config.loss](logits.float(), labels, config)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if mean_student is not None:
            _update_mean(mean_student, student, config.ema, step)
        if each_step is not None:
            each_step(step + 1, student)
        total += loss.detach()  # once infinite or NaN it stays so: one reading covers all steps before it
        if step % _CHECK_EVERY == _CHECK_EVERY - 1 or step == config.steps - 1:
            _check_finite(total, config, step)
            watch(watch_name, done=step + 1, total=config.steps, loss=float(loss.detach()))
    for weights in student.parameters():
        _check_finite(weights.detach().sum(), config, config.steps - 1)
    return (student if mean_student is None else mean_student).eval()


def _check_set(data: LabeledClips, clip: ClipSpec, config: TrainConfig) -> None:
    if len(data) < 2:
        raise InputError(f"the training set holds {len(data)} clips; training needs at least 2")
    expected = (clip.num_frames, 3, clip.height, clip.width)
    if tuple(data.frames.shape[1:]) != expected:
        raise InputError(f"training clips are {tuple(data.frames.shape[1:])}; the clip spec says {expected}")
    if config.loss == "logit-mse" and data.labels.ndim == 1:
        raise InputError(
            "TrainConfig.loss is 'logit-mse', which needs the soft labels of a teacher, but the clips have hard ones; "
            "compress with --set labels=soft, or train with loss 'cross-entropy'"
        )


def _batches(num_clips: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield rows without end: each epoch in a new order, whole batches only (the rest of an epoch is left out)."""
    size = min(batch_size, num_clips)
    while True:
        order = torch.randperm(num_clips, generator=generator)
        yield from order[: num_clips // size * size].view(-1, size)


def _optimizer(student: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            student.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(student.parameters(), config.lr, weight_decay=config.weight_decay)


def _lr_share(step: int, config: TrainConfig) -> float:
    """Return the share of `lr` in [0,1] at a step; cosine is half a period over the steps after the warm-up."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return float(0.1 ** sum(step >= share * config.steps for share in config.milestones))
    if config.schedule == "cosine":
        return (1 + math.cos(math.pi * (step - config.warmup_steps) / (config.steps - config.warmup_steps))) / 2
    return 1.0


@torch.no_grad()
def _update_mean(mean: nn.Module, student: nn.Module, decay: float, step: int) -> None:
    # The decay grows into its value, so that the first weights do not linger in short runs.
    share = 1 - min(decay, (1 + step) / (10 + step))
    for old, new in zip(mean.parameters(), student.parameters(), strict=True):
        old.lerp_(new, share)
    for kept, last in zip(mean.buffers(), student.buffers(), strict=True):
        kept.copy_(last)


def _check_finite(value: Tensor, config: TrainConfig, step: int) -> None:
    if not bool(torch.isfinite(value)):
        raise DivergedError(
            f"training {config.student!r} diverged by step {step + 1} of {config.steps}: its loss or weights are not "
            f"finite at lr {config.lr:g}; choose a lower lr, or a student with norms such as 'minic3d'"
        )
