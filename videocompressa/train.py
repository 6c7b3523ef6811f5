"""Training students on labelled clips, and judging them.

1. `fit` trains a fresh student: batches without replacement, one augmentation for all frames of a clip, fixed
   normalisation. It never sees test data.
2. `evaluate` reads a test set once, on unchanged clips.
3. `soft_labels` lets trained students (teachers) label clips: mean probabilities over teachers and augmented views.
4. `train_seeds` repeats 1 and 2 over seeds. A run whose loss stops being finite is counted, never averaged.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from videocompressa.artefact.numbers import LARGEST_CODE
from videocompressa.clip import ClipSpec, Normalisation, Watch, shape_text, watch_nothing
from videocompressa.errors import DivergedError, InputError
from videocompressa.rng import Streams
from videocompressa.students import Student, build_student, check_name

_CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "step", "constant"),
    "augment": ("none", "flip-crop"),
    "precision": ("float32", "bfloat16"),
    "loss": ("cross-entropy", "logit-mse"),
}
# Largest relative deviation of a crop's aspect ratio, as in Szegedy et al. 2015 and everywhere since.
_ASPECT = 4 / 3
# Share of a row's largest probability below which a file of soft labels holds zero (`artefact/numbers.py`).
_LEAST_SHARE = (0.5 / LARGEST_CODE) ** 2
# Weight of the hard label in the loss of Video-DC (Chen et al. 2024, arXiv 2412.21197).
_HARD_WEIGHT = 0.1
# The loss is read this often: reading it waits for the device.
_CHECK_EVERY = 10


Show = Callable[[Tensor, Tensor], Tensor]
"""(rows (B,) int64, pixels (B,T,3,H,W) float32 in [0,1]) -> pixels of the same shape."""


@dataclass(frozen=True)
class TrainConfig:
    """How a student is trained; the defaults suit small synthetic sets on a CPU."""

    student: str = "minic3d"
    """A name of `students.STUDENTS`."""
    width: float = 1.0
    """Factor on the student's channel counts, > 0."""
    steps: int = 300
    """Optimiser steps, >= 1."""
    batch_size: int = 16
    """Clips a step, >= 2 (a norm needs two); a smaller set is taken whole."""
    optimizer: str = "adamw"
    """"adamw" or "sgd"."""
    lr: float = 1e-3
    """Highest learning rate, > 0."""
    weight_decay: float = 0.01
    """>= 0; decoupled for "adamw", in the gradient for "sgd"."""
    momentum: float = 0.9
    """In [0,1); of "sgd" only."""
    schedule: str = "cosine"
    """After the warm-up: "cosine" to 0, "step" (a tenth at each of `milestones`) or "constant"."""
    milestones: tuple[float, ...] = (0.5,)
    """Rising shares of `steps` in (0,1); of "step" only."""
    warmup_steps: int = 0
    """Steps of linear warm-up, in [0,steps]."""
    augment: str = "flip-crop"
    """"none", or "flip-crop": a random resized crop, the same for all frames of a clip, and a mirror (see `flip`)."""
    crop_scale: float = 0.8
    """Smallest area of a crop as a share of the frame, in (0,1]; 1 turns the crop off."""
    flip: bool = True
    """Mirror half of the clips; turn it off where left and right tell classes apart."""
    mixup: float = 0.0
    """Share of batches in [0,1] that blend each clip with another one (Zhang et al. 2018, lambda uniform)."""
    cutmix: float = 0.0
    """Share of batches in [0,1] that paste a box of another clip (Yun et al. 2019); `mixup` + `cutmix` <= 1."""
    label_smoothing: float = 0.0
    """Share of each label spread over all classes, in [0,1)."""
    precision: str = "float32"
    """"float32", or "bfloat16" for the arithmetic of convolutions (weights stay float32)."""
    loss: str = "cross-entropy"
    """"cross-entropy", or "logit-mse" to imitate the teacher's logits (see `logit_mse`): it needs soft labels."""
    ema: float = 0.0
    """Decay of the running mean of the weights which is returned, in [0,1); 0 returns the last weights."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"TrainConfig.{name} is {getattr(self, name)!r}; known: {', '.join(known)}")
        check_name(self.student)
        ranges: dict[str, tuple[bool, str]] = {
            "width": (0 < self.width < math.inf, "above 0"),
            "steps": (self.steps >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2, because a norm needs two clips"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0"),
            "momentum": (0 <= self.momentum < 1, "in [0,1)"),
            "milestones": (
                all(low < high for low, high in zip((0.0, *self.milestones), (*self.milestones, 1.0), strict=True)),
                "rising shares of the steps in (0,1), such as (0.5,)",
            ),
            "warmup_steps": (0 <= self.warmup_steps <= self.steps, f"in [0,{self.steps}], the steps"),
            "crop_scale": (0 < self.crop_scale <= 1, "in (0,1]"),
            "mixup": (0 <= self.mixup <= 1, "in [0,1]"),
            "cutmix": (0 <= self.cutmix <= 1 - self.mixup, f"in [0,{1 - self.mixup:g}], what mixup leaves"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "in [0,1)"),
            "ema": (0 <= self.ema < 1, "in [0,1)"),
        }
        for name, (good, allowed) in ranges.items():
            if not good:
                raise InputError(f"TrainConfig.{name} is {getattr(self, name)}; it must be {allowed}")
        # The logits of mixed or smoothed labels are not the mixture of the teacher's logits.
        changed = [name for name in ("mixup", "cutmix", "label_smoothing") if getattr(self, name)]
        if self.loss == "logit-mse" and changed:
            raise InputError(
                f"TrainConfig.loss is 'logit-mse', which takes labels as the teacher gave them, but {changed[0]} is "
                f"{getattr(self, changed[0])}; set {changed[0]} to 0, or loss to 'cross-entropy'"
            )


@dataclass(frozen=True)
class LabelledClips:
    """Clips with labels, to train or to test on; the frames may be memory-mapped, only rows of a batch are copied."""

    frames: Tensor
    """(N,T,3,H,W) uint8, RGB; or float32 pixels in [0,1], as `SyntheticSet.clips` makes them."""
    labels: Tensor
    """(N,) int64 in [0,L), or (N,L) float32 rows that sum to 1."""
    normalisation: Normalisation
    """Of the real training split, the same for every set that stands for it."""
    classes: tuple[str, ...]
    """L class names in label order."""

    def __post_init__(self) -> None:
        frames, labels, num_classes = self.frames, self.labels, len(self.classes)
        if frames.ndim != 5 or frames.shape[2] != 3 or frames.dtype not in (torch.uint8, torch.float32):
            raise InputError(f"LabelledClips.frames is {shape_text(frames)}; it must be uint8 or float32 (N,T,3,H,W)")
        hard = labels.dtype == torch.int64 and tuple(labels.shape) == (len(frames),)
        soft = labels.dtype == torch.float32 and tuple(labels.shape) == (len(frames), num_classes)
        if not hard and not soft:
            raise InputError(
                f"LabelledClips.labels is {shape_text(labels)}; it must be int64 ({len(frames)},) "
                f"or float32 ({len(frames)},{num_classes})"
            )
        if hard and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise InputError(f"LabelledClips.labels leave [0,{num_classes})")
        if soft and not bool((labels >= 0).all() and ((labels.sum(1) - 1).abs() < 1e-2).all()):
            raise InputError("soft LabelledClips.labels must be finite, not negative, and sum to 1 in each row")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"LabelledClips(frames={shape_text(self.frames)}, labels={shape_text(self.labels)}, "
            f"classes={len(self.classes)})"
        )

    @property
    def hard_labels(self) -> Tensor:
        """(N,) int64: the labels, or the most likely class of each soft label."""
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)

    def pixels(self, rows: Tensor, device: torch.device) -> Tensor:
        """Return the frames of some clips as (B,T,3,H,W) float32 in [0,1] on the device."""
        chosen = self.frames[rows].to(device)
        return chosen.float() / 255 if chosen.dtype == torch.uint8 else chosen


@dataclass(frozen=True)
class Scores:
    """How well one student does on one test set."""

    top1: float
    """In [0,1]."""
    top5: float
    """In [0,1]: the label is among the 5 likeliest classes (among all L where L < 5)."""
    per_class: Tensor
    """(L,) float64: top-1 in [0,1] of each class, NaN where the test set has no clip of it."""
    confusion: Tensor
    """(L,L) int64: clips of class (row) taken for class (column)."""
    num_clips: int


@dataclass(frozen=True)
class Result:
    """How well students of several seeds do; only runs that did not diverge are averaged."""

    seeds: tuple[int, ...]
    """All seeds, in the order given."""
    top1_runs: tuple[float, ...]
    """Top-1 in [0,1] of each run that did not diverge, in the order of `seeds`."""
    top1_mean: float
    top1_std: float
    """Sample standard deviation over runs (n - 1); 0 for one run."""
    top5_mean: float
    per_class: Tensor
    """(L,) float64: mean over runs, NaN where the test set has no clip of the class."""
    confusion: Tensor
    """(L,L) int64: sum over runs."""
    num_diverged: int
    """Seeds whose loss stopped being finite."""
    train_seconds: float
    """Seconds of `fit` over all seeds, diverged ones included; evaluation is not in it."""


def fit(
    data: LabelledClips,
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
        pixels = augmented(pixels if show is None else show(rows, pixels), config, draws)
        clips, labels = _mixed(data.normalisation.apply(pixels), data.labels[rows].to(device), data, config, draws)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = student(clips)
        loss = _LOSSES[config.loss](logits.float(), labels, config)
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


@torch.no_grad()
def student_features(student: Student, data: LabelledClips, *, device: torch.device, batch_size: int = 64) -> Tensor:
    """Return features (N,D) float32 on the CPU, of unchanged clips, by a student in evaluation mode."""
    batches = torch.split(torch.arange(len(data)), batch_size)
    return torch.cat(
        [student.features(data.normalisation.apply(data.pixels(rows, device))).float().cpu() for rows in batches]
    )


def predict(student: Student, data: LabelledClips, *, device: torch.device, batch_size: int = 64) -> Tensor:
    """Return class probabilities (N,L) float32 on the CPU; the student is left in the mode it came in."""
    return _probabilities(student, data, device=device, batch_size=batch_size)


def evaluate(student: Student, data: LabelledClips, *, device: torch.device, batch_size: int = 64) -> Scores:
    """Judge a student on unchanged clips; soft labels count by their most likely class."""
    probabilities = predict(student, data, device=device, batch_size=batch_size)
    return score(probabilities, data.hard_labels)


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """Score predictions (N,L) float against labels (N,) int64; ties go to the lower class."""
    num_clips, num_classes = probabilities.shape
    if num_clips == 0:
        raise InputError("the test set holds no clips; give at least one to evaluate on")
    ranked = probabilities.argsort(dim=1, descending=True, stable=True)
    hits = ranked[:, :5] == labels[:, None]
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    confusion.index_put_((labels, ranked[:, 0]), torch.ones_like(labels), accumulate=True)
    return Scores(
        top1=float(hits[:, 0].double().mean()),
        top5=float(hits.any(1).double().mean()),
        per_class=confusion.diagonal().double() / confusion.sum(1).double(),
        confusion=confusion,
        num_clips=num_clips,
    )


def soft_labels(
    teachers: Sequence[Student],
    data: LabelledClips,
    *,
    num_views: int,
    config: TrainConfig,
    temperature: float,
    streams: Streams,
    device: torch.device,
    batch_size: int = 64,
) -> Tensor:
    """Label clips by teachers: mean of softmax(logits / temperature) over teachers and views, (N,L) float32.

    The first view is the clip itself; the others are augmented as `config` says, the same views for every teacher.
    Stream "views" is drawn from.
    """
    if not teachers:
        raise InputError("soft labels need at least one teacher, got none; train one or use hard labels")
    if num_views < 1:
        raise InputError(f"num_views is {num_views}; it must be at least 1 (1: the clip itself)")
    if not 0 < temperature < math.inf:
        raise InputError(f"temperature is {temperature}; it must be above 0 (1: probabilities as they are)")
    total = torch.zeros(len(data), len(data.classes), dtype=torch.float64)
    for view in range(num_views):
        for teacher in teachers:
            draws = None if view == 0 else streams.generator(f"views/{view}")
            total += _probabilities(
                teacher, data, device=device, batch_size=batch_size, temperature=temperature, config=config, draws=draws
            )
    return (total / total.sum(1, keepdim=True)).float()


def train_seeds(
    train: LabelledClips,
    test: LabelledClips,
    config: TrainConfig,
    *,
    clip: ClipSpec,
    seeds: Sequence[int],
    device: torch.device,
    clock: Callable[[], float],
    watch: Watch = watch_nothing,
) -> Result:
    """Train and judge one student a seed; the test set is read once a seed, after its last step.

    `clock` gives seconds (such as `time.perf_counter`) and is handed in: only here can training be told apart from
    evaluation, and the core reads no clock of its own.
    """
    if not seeds:
        raise InputError("no seeds given; --seeds must be at least 1")
    if train.classes != test.classes:
        raise InputError(
            f"training classes {_some(train.classes)} differ from test classes {_some(test.classes)}; "
            f"both must be the same names in the same order"
        )
    scores: list[Scores] = []
    seconds = 0.0
    for number, seed in enumerate(seeds):
        started = clock()
        try:
            student = fit(train, config, clip=clip, streams=Streams(seed, "train"), device=device, watch=watch)
        except DivergedError:
            continue
        finally:
            seconds += clock() - started
            watch("seeds", done=number + 1, total=len(seeds))
        scores.append(evaluate(student, test, device=device))
    if not scores:
        raise DivergedError(
            f"all {len(seeds)} runs of {config.student!r} diverged at lr {config.lr:g}; choose a lower lr"
        )
    top1 = torch.tensor([each.top1 for each in scores], dtype=torch.float64)
    return Result(
        seeds=tuple(seeds),
        top1_runs=tuple(top1.tolist()),
        top1_mean=float(top1.mean()),
        top1_std=float(top1.std()) if len(scores) > 1 else 0.0,
        top5_mean=sum(each.top5 for each in scores) / len(scores),
        per_class=torch.stack([each.per_class for each in scores]).mean(0),
        confusion=torch.stack([each.confusion for each in scores]).sum(0),
        num_diverged=len(seeds) - len(scores),
        train_seconds=seconds,
    )


def augmented(pixels: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Crop and mirror clips (B,T,3,H,W), each in its own way and all frames of a clip alike; same shape.

    A crop takes an area in [crop_scale,1] of the frame at an aspect ratio in [3/4,4/3], anywhere inside, and resizes
    it bilinearly. One sampling grid a clip does crop and mirror at once, with time folded into the channels.
    Differentiable in the pixels.
    """
    if config.augment == "none" or (config.crop_scale == 1 and not config.flip):
        return pixels
    batch, frames, channels, height, width = pixels.shape
    area, aspect, down, right, mirror = torch.rand(5, batch, generator=generator)
    mirrored = torch.where(mirror < 0.5, -1.0, 1.0) if config.flip else torch.ones(batch)
    if config.crop_scale == 1:
        return torch.where((mirrored < 0).view(-1, 1, 1, 1, 1).to(pixels.device), pixels.flip(-1), pixels)
    side = (config.crop_scale + (1 - config.crop_scale) * area).sqrt()
    stretch = ((2 * aspect - 1) * math.log(_ASPECT) / 2).exp()
    tall, wide = (side / stretch).clamp(max=1), (side * stretch).clamp(max=1)
    # Rows of the affine maps from the view to the frame, both in [-1,1].
    maps = torch.zeros(batch, 2, 3)
    maps[:, 0, 0], maps[:, 0, 2] = wide * mirrored, (2 * right - 1) * (1 - wide)
    maps[:, 1, 1], maps[:, 1, 2] = tall, (2 * down - 1) * (1 - tall)
    grid = functional.affine_grid(maps.to(pixels.device), [batch, 1, height, width], align_corners=False)
    seen = functional.grid_sample(
        pixels.flatten(1, 2), grid.to(pixels.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return seen.view(batch, frames, channels, height, width)


def cross_entropy(logits: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    """Return the mean cross-entropy of logits (B,L) with labels (B,) int64 or (B,L) float32."""
    return functional.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)


def logit_mse(logits: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    """Return MSE(z, z*) + 0.1 cross-entropy(z, y) of logits z (B,L), by the labels p (B,L) float32 of a teacher.

    The loss of Video-DC (arXiv 2412.21197): z* are the teacher's logits, y the class. A file holds probabilities, from
    which the logits of one softmax are known up to one constant a clip, so z* = log p and both are centred over the
    classes: a constant added to z costs nothing here, where theirs is held to the teacher's. A share of the
    largest probability below (0.5/255)^2, which the file holds as zero, counts as that one. Where p is a mean over
    views or teachers, z* is the logarithm of that mean.
    y is the most likely class of p (the file keeps no other).
    """
    target = labels.maximum(_LEAST_SHARE * labels.amax(1, keepdim=True)).log()
    distance = functional.mse_loss(_centred(logits), _centred(target))
    return distance + _HARD_WEIGHT * functional.cross_entropy(logits, labels.argmax(1))


_LOSSES = {"cross-entropy": cross_entropy, "logit-mse": logit_mse}


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)


def _check_set(data: LabelledClips, clip: ClipSpec, config: TrainConfig) -> None:
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


def _mixed(
    clips: Tensor, labels: Tensor, data: LabelledClips, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix a batch with itself in another order, by the odds of `mixup` and `cutmix`; labels become soft then."""
    if config.mixup + config.cutmix == 0:
        return clips, labels
    odds, share, down, right = torch.rand(4, generator=generator).tolist()
    order = torch.randperm(len(clips), generator=generator).to(clips.device)
    if labels.ndim == 1:
        labels = functional.one_hot(labels, len(data.classes)).float()
    if odds >= config.mixup + config.cutmix:
        return clips, labels
    if odds < config.mixup:
        return share * clips + (1 - share) * clips[order], share * labels + (1 - share) * labels[order]
    height, width = clips.shape[-2:]
    tall, wide = round(height * math.sqrt(1 - share)), round(width * math.sqrt(1 - share))
    top, left = round(down * (height - tall)), round(right * (width - wide))
    clips = clips.clone()
    clips[..., top : top + tall, left : left + wide] = clips[order][..., top : top + tall, left : left + wide]
    kept = 1 - tall * wide / (height * width)
    return clips, kept * labels + (1 - kept) * labels[order]


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


@torch.no_grad()
def _probabilities(
    student: Student,
    data: LabelledClips,
    *,
    device: torch.device,
    batch_size: int,
    temperature: float = 1.0,
    config: TrainConfig | None = None,
    draws: torch.Generator | None = None,
) -> Tensor:
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    if student.num_classes != len(data.classes):
        raise InputError(f"the student knows {student.num_classes} classes, the clips have {len(data.classes)}")
    was_training = student.training
    student.to(device).eval()
    rows: list[Tensor] = []
    for start in range(0, len(data), batch_size):
        pixels = data.pixels(torch.arange(start, min(start + batch_size, len(data))), device)
        if config is not None and draws is not None:
            pixels = augmented(pixels, config, draws)
        logits = student(data.normalisation.apply(pixels)).float()
        rows.append((logits / temperature).softmax(1).cpu())
    student.train(was_training)
    return torch.cat(rows) if rows else torch.zeros(0, student.num_classes)


def _some(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)})"
