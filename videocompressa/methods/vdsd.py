"""VDSD / S2D (Wang et al. 2024, "Dancing with Still Images", arXiv 2312.00362): still images, and what moves in them.

Symbols: V videos a class, S statics of a video, T frames, C channels; s statics, d dynamics (one channel of T frames),
W b joiner, D codec, z latents, clip = normalize(clamp(D(z))).

1. Videos.   V random videos of each class; s starts from S of its frames, evenly spaced.
2. Stage 1.  Statics are distilled as images: s is tuned by DM on stills, one random frame of each real video, each
             shown for a whole clip, so that the same students serve. Then s is quantized and frozen.
3. Stage 2.  d starts from N(0,1), W and b as a fresh convolution; z = W * [s; d] + b (`packing/memories.py`). d, W
             and b are tuned by DM ("vdsd-dm") or MTT ("vdsd-mtt") on whole clips, W and b with a rate of their own.
4. Pack.     The file holds s, d, W and b; the set's latents are what they unpack to, all T frames of them.
5. Labels.   Hard as published, or soft ones of a teacher.

As published with the pixel codec. On latents, s, d and W live on the latent grid: our transfer.

Published, for MiniUCF at V = 1 (paper and the authors' scripts): two statics; DM 5,000 steps with rates 1e-4 (d) and
1e-5 (W, b), at V = 5 1e3 and 1e-6; MTT 10,000 steps with 1e4 and 1e-3; momentum 0.95; a joiner of kernel 3 without
activation; one frame a video in stage 1; the initial values of step 3.
Ours: an item of the published code has 2 statics and 2 dynamics, one random pair of which is a clip each time it is
looked at; a file must hold fixed clips, so an item has one dynamic, and its statics share the time line. For stage 1
the authors refer to another method (DC) whose settings for video are stated nowhere; ours is DM as published for video.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from videocompressa.artifact import to_bytes
from videocompressa.artifact.packing import memories
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import DivergedError, InputError, too_few_bytes
from videocompressa.matching.objectives import DMConfig, MTTConfig, build_matching, check_tuning, tune
from videocompressa.matching.tune import into_range
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.selection.videos import choose_per_class
from videocompressa.students.networks import initialize
from videocompressa.students.teachers import TeacherConfig, check_labels, relabel, teachers_of
from videocompressa.synthetic import Allowance, SyntheticSet, gather

STARTS = ("random", "still")
"""How a joiner starts: "random" as published; "still" passes the statics on as they are, so that clips are pictures
from the first step on (our choice: for runs of few steps)."""


@dataclass(frozen=True)
class StaticsConfig:
    """Stage 1: how the stills of a video are made."""

    per_video: int = 2
    """S, in [1,T]."""
    matching: DMConfig = field(default_factory=DMConfig)
    """The objective, on stills."""
    steps: int = 5000
    """>= 0; 0 keeps real frames."""
    lr: float = 30.0
    """Of the scaled latents, > 0."""
    momentum: float = 0.5
    """In [0,1)."""

    def __post_init__(self) -> None:
        if self.per_video < 1 or self.steps < 0:
            raise InputError(
                f"statics.per_video is {self.per_video} (allowed: 1 or more), statics.steps {self.steps} "
                f"(allowed: 0 or more)"
            )
        check_tuning(max(1, self.steps), self.lr, self.momentum)


@dataclass(frozen=True)
class VDSDConfig:
    """How static and dynamic memories are made; the defaults are the published ones with DM."""

    matching: DMConfig | MTTConfig = field(default_factory=DMConfig)
    """The objective of stage 2."""
    statics: StaticsConfig = field(default_factory=StaticsConfig)
    """Stage 1."""
    steps: int = 5000
    """Of stage 2, >= 1."""
    lr: float = 1e-4
    """Of the dynamics, > 0."""
    joiner_lr: float = 1e-5
    """Of the joiner, > 0."""
    momentum: float = 0.95
    """In [0,1)."""
    kernel: int = 3
    """Side of the joiner in time and space, odd."""
    joiner_start: str = "random"
    """A name of `STARTS`."""
    labels: str = "hard"
    """"hard" (published), or "soft" probabilities of a teacher."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher of soft labels; not trained for hard ones."""
    fills_bytes: ClassVar[bool] = True
    """It keeps as much as the file holds, whatever VPC and K are."""

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return "vdsd-dm" if isinstance(self.matching, DMConfig) else "vdsd-mtt"

    @property
    def needs_teacher(self) -> bool:
        """Soft labels need one."""
        return self.labels == "soft"

    def __post_init__(self) -> None:
        check_tuning(self.steps, self.lr, self.momentum)
        check_tuning(self.steps, self.joiner_lr, self.momentum)
        check_labels(self.labels)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise InputError(f"kernel is {self.kernel}; the joiner's side must be odd, such as 3")
        if self.joiner_start not in STARTS:
            raise InputError(f"unknown joiner_start {self.joiner_start!r}; known: {', '.join(STARTS)}")


@dataclass(frozen=True)
class _Run:
    """What all steps of one run share."""

    train_data: Candidates
    codec: Codec
    config: VDSDConfig
    rows: Tensor
    """(N,) int64: the chosen videos, grouped by class."""
    rng: Streams
    device: torch.device
    watch: Watch
    stages: Stages

    @property
    def labels(self) -> Tensor:
        """(N,) int64."""
        return self.train_data.labels[self.rows]

    def show(self, latents: Tensor) -> Tensor:
        """Return normalized frames (M,3,H,W) of latents (M,C,h,w), in the range that the set's decoder clamps to."""
        return self.train_data.normalization.apply(into_range(self.codec.decode(latents)))

    def key(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return all that a stage with these settings depends on beside the training data."""
        return {
            "config": settings,
            "rows": self.rows.tolist(),
            "codec": self.codec.spec.weights_sha256,
            "seed": [self.rng.seed, self.rng.scope],
        }


def compress(
    train_data: Candidates,
    codec: Codec,
    config: VDSDConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Return a set of static and dynamic memories: as many videos a class as fit `budget.file_bytes`, where given,
    else `budget.videos_per_class`. Every item has all T frames, whatever `budget.keyframes`.

    Raises `InputError` when S > T or a class has fewer videos, `BudgetError` when one video a class does not fit.
    """
    num_frames = train_data.clip.num_frames
    check_keyframes(budget.keyframes, num_frames)  # not used, but a number that no method takes is a slip
    if config.statics.per_video > num_frames:
        raise InputError(
            f"statics.per_video is {config.statics.per_video}, but a clip has {num_frames} frames; "
            f"choose at most {num_frames}"
        )
    run = _Run(train_data, codec, config, _choose(train_data, codec, config, budget, rng), rng, device, watch, stages)
    teachers = teachers_of(
        config, train_data, codec, keyframes=num_frames, fill="hold", rng=rng, device=device, watch=watch,
        stages=stages,
    )  # fmt: skip
    statics = _statics(run)
    packed = _memories(run, statics)
    return relabel(_set(run, packed), config.labels, teachers, config.teacher, rng=rng, device=device)


def _statics(run: _Run) -> Tensor:
    """Stage 1: statics (N,S,C,h,w) float32, as a file holds them."""
    config, clip = run.config.statics, run.train_data.clip
    stills = (2 * torch.arange(config.per_video) + 1) * clip.num_frames // (2 * config.per_video)
    start = run.train_data.latents[run.rows][:, stills].float()
    labels = run.labels.repeat_interleave(config.per_video)

    def make() -> dict[str, Tensor]:
        statics = start.flatten(0, 1).to(run.device, copy=True).requires_grad_()

        def show(rows: Tensor) -> Tensor:
            return run.show(statics[rows.to(run.device)])[:, None].expand(-1, clip.num_frames, -1, -1, -1)

        if config.steps > 0:
            rng = run.rng.child("stills")
            real = one_still_each(run.train_data, rng.generator("frames"))
            matching = build_matching(
                config.matching, real, rng=rng, device=run.device, watch=run.watch, stages=run.stages
            )
            tune(
                [statics], matching, show, labels, steps=config.steps, lr=config.lr, momentum=config.momentum,
                watch=run.watch, name="vdsd-statics",
            )  # fmt: skip
        return memories.pack_statics(statics.detach().view(start.shape))

    return memories.stored_statics(run.stages.recall("vdsd-statics", run.key(dataclasses.asdict(config)), make))


def _memories(run: _Run, statics: Tensor) -> dict[str, Tensor]:
    """Stage 2: the packed memories, around statics (N,S,C,h,w) that stay as they are."""
    config = run.config
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("labels", "teacher")}

    def make() -> dict[str, Tensor]:
        frozen = statics.to(run.device)
        dynamics, weight, bias = _start(run, statics)
        # `tune` has one rate. A parameter q = unit * p, p tuned in its place at rate lr, moves as q at unit^2 * lr.
        unit = (config.joiner_lr / config.lr) ** 0.5
        tuned = [each.to(run.device).requires_grad_() for each in (dynamics, weight / unit, bias / unit)]

        def show(rows: Tensor) -> Tensor:
            rows = rows.to(run.device)
            latents = memories.join(frozen[rows], tuned[0][rows], tuned[1] * unit, tuned[2] * unit)
            frames = run.show(latents.flatten(0, 1))
            return frames.view(*latents.shape[:2], *frames.shape[1:])

        matching = build_matching(
            config.matching, run.train_data, rng=run.rng, device=run.device, watch=run.watch, stages=run.stages
        )
        tune(
            tuned, matching, show, run.labels, steps=config.steps, lr=config.lr, momentum=config.momentum,
            watch=run.watch, name=config.name,
        )  # fmt: skip
        dynamics, weight, bias = tuned[0].detach(), tuned[1].detach() * unit, tuned[2].detach() * unit
        _check_stored(config, dynamics, weight, bias)
        return memories.pack(statics, dynamics, weight, bias)

    return run.stages.recall(config.name, run.key(settings), make)


def _check_stored(config: VDSDConfig, dynamics: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raise `DivergedError` for memories that a file cannot hold: finite, but far from anything that makes a clip."""
    joiner = max(float(weight.abs().max()), float(bias.abs().max()))
    largest = float(dynamics.abs().max())
    if joiner > memories.LARGEST_JOINER or largest > memories.LARGEST_MEMORY:
        raise DivergedError(
            f"{config.name} diverged: its dynamics reach {largest:g} (allowed: {memories.LARGEST_MEMORY:g}), its "
            f"joiner {joiner:g} (allowed: {memories.LARGEST_JOINER:g}); choose a lower lr than {config.lr:g}, "
            f"or a lower joiner_lr than {config.joiner_lr:g}"
        )


def _start(run: _Run, statics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return dynamics (N,T,h,w) from N(0,1), and a fresh joiner's weight and bias, float32 on the CPU."""
    channels, (height, width) = statics.shape[2], statics.shape[3:]
    shape = (len(statics), run.train_data.clip.num_frames, height, width)
    dynamics = torch.randn(shape, generator=run.rng.generator("dynamics"))
    with torch.device("meta"):
        joiner = nn.Conv3d(channels + 1, channels, run.config.kernel)
    joiner.to_empty(device="cpu")
    initialize(joiner, run.rng.generator("joiner"))
    weight, bias = joiner.weight.detach(), joiner.bias.detach()  # type: ignore[union-attr]
    if run.config.joiner_start == "still":
        middle = run.config.kernel // 2
        weight[:, :channels] = 0
        weight[:, :channels, middle, middle, middle] = torch.eye(channels)
        bias.zero_()
    return dynamics, weight, bias


def one_still_each(train_data: Candidates, generator: torch.Generator) -> Candidates:
    """Return the real stills of stage 1: one random frame of each video for a whole clip (views, no copies)."""
    num_frames = train_data.clip.num_frames
    times = torch.randint(num_frames, (len(train_data),), generator=generator)
    rows = torch.arange(len(train_data))
    shown = {
        name: getattr(train_data, name)[rows, times][:, None].expand(-1, num_frames, -1, -1, -1)
        for name in ("frames", "latents")
    }
    return dataclasses.replace(train_data, **shown)


def _set(run: _Run, packed: dict[str, Tensor], latents: Tensor | None = None) -> SyntheticSet:
    """Step 4: the set that packed memories stand for, with hard labels."""
    data = run.train_data
    num_frames = data.clip.num_frames
    if latents is None:
        shape = (len(run.rows), num_frames, *data.codec.latent_shape(data.clip.height, data.clip.width))
        latents = memories.unpack(packed, shape)
    dense = gather(
        data,
        run.rows,
        torch.arange(num_frames).repeat(len(run.rows), 1),
        labels=run.labels,
        latents=latents,
        method=run.config.name,
        config=dataclasses.asdict(run.config),
        seed=run.rng.seed,
        decoder=run.codec,
    )
    return dataclasses.replace(dense, packing=memories.NAME, packed=packed)


def _choose(train_data: Candidates, codec: Codec, config: VDSDConfig, budget: Allowance, rng: Streams) -> Tensor:
    """Step 1: random rows (N,), V of each class; a larger V adds to those of a smaller one."""

    def rows(count: int) -> Tensor:
        return choose_per_class(
            torch.zeros(len(train_data), 1),
            train_data.labels,
            train_data.classes,
            count=count,
            allow_fewer=budget.allow_fewer,
            name="random",
            generator=rng.generator("videos"),
        )

    if budget.file_bytes is None:
        return rows(budget.videos_per_class)
    sizes = torch.bincount(train_data.labels, minlength=len(train_data.classes))
    below, above = 0, int(sizes.max() if budget.allow_fewer else sizes.min()) + 1  # `below` fits, `above` does not
    while above - below > 1:
        count = (below + above) // 2
        # Content does not matter to the size, so blank memories are measured, and only where their cells alone fit.
        fits = _least_bytes(train_data, config, count) <= budget.file_bytes
        if fits and _blank_bytes(train_data, codec, config, rows(count), rng) <= budget.file_bytes:
            below = count
        else:
            above = count
    if below == 0:
        one = f"{config.name} with one video of each of {len(train_data.classes)} classes"
        raise too_few_bytes(budget.file_bytes, one, _blank_bytes(train_data, codec, config, rows(1), rng))
    return rows(below)


def _least_bytes(train_data: Candidates, config: VDSDConfig, count: int) -> int:
    """Return the bytes of the memories alone, for `count` videos of each class or all that it has."""
    channels, height, width = train_data.codec.latent_shape(train_data.clip.height, train_data.clip.width)
    sizes = torch.bincount(train_data.labels, minlength=len(train_data.classes))
    num_planes = config.statics.per_video * channels + train_data.clip.num_frames
    return int(sizes.clamp(max=count).sum()) * num_planes * height * width


def _blank_bytes(train_data: Candidates, codec: Codec, config: VDSDConfig, rows: Tensor, rng: Streams) -> int:
    """Return the bytes of the file for these rows."""
    channels, height, width = train_data.codec.latent_shape(train_data.clip.height, train_data.clip.width)
    num_items, num_frames, side = len(rows), train_data.clip.num_frames, config.kernel
    packed = memories.pack(
        torch.zeros(num_items, config.statics.per_video, channels, height, width),
        torch.zeros(num_items, num_frames, height, width),
        torch.zeros(channels, channels + 1, side, side, side),
        torch.zeros(channels),
    )
    run = _Run(train_data, codec, config, rows, rng, torch.device("cpu"), watch_nothing, KEEP_NOTHING)
    blank = _set(run, packed, torch.zeros(num_items, num_frames, channels, height, width))
    if config.labels == "soft":
        num_classes = len(train_data.classes)
        blank = dataclasses.replace(blank, labels=torch.full((num_items, num_classes), 1 / num_classes))
    return len(to_bytes(blank))
