"""VDSD / S2D (Wang et al. 2024, "Dancing with Still Images", arXiv 2312.00362): still images, and what moves in them.

Symbols: V videos a class, S statics of a video, T frames, C channels; s statics, d dynamics (one channel of T frames),
W b joiner, D codec, z latents, clip = normalize(clamp(D(z))).

1. Videos.   V random videos of each class; s starts from S of its frames, evenly spaced.
2. Stage 1.  Statics are distilled as images: s is tuned by DM on stills, one random frame of each real video,
             held for a complete clip, so that the same students serve. Then s is quantized and frozen.
3. Stage 2.  d starts from N(0,1), W and b as a fresh convolution; z = W * [s; d] + b (`packing/memories.py`). d, W
             and b are tuned by DM ("vdsd-dm") or MTT ("vdsd-mtt") on complete clips, W and b with a rate of their own.
4. Pack.     The file holds s, d, W and b; the set's latents are what they unpack to, all T frames of them.
5. Labels.   Hard as published, or soft ones of a teacher.

The defaults are published for pixels of MiniUCF at V = 1 (paper and scripts); at V = 5 the rates of DM are 1e3 (d) and
1e-6 (W, b). Our choice: s, d and W on the latent grid of any codec; one dynamic an item, whose statics share the time
line (the published code has two, and draws a pair each time a clip is read); DM in stage 1 (the authors refer to DC,
whose settings for video are stated nowhere).
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from videocompressa.artifact.packing import memories
from videocompressa.clip import Candidates, DecodedSplit
from videocompressa.codecs import Codec
from videocompressa.errors import DivergedError, InputError, check_known, check_least, check_within
from videocompressa.matching.objectives import DMConfig, MTTConfig
from videocompressa.matching.tuning import TuningConfig, into_range, tune
from videocompressa.methods.config import MethodConfig, TunedConfig
from videocompressa.networks import initialize
from videocompressa.run import Run
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.synthetic import Budget, SyntheticSet, take_keyframes

STARTS = ("random", "still")
"""How a joiner starts: "random" as published; "still" passes the statics on (our choice: for runs of few steps)."""


@dataclass(frozen=True)
class StaticsConfig(TuningConfig):
    """Stage 1: how the statics of a video are tuned, on stills; 0 `steps` keep real frames."""

    per_video: int = 2
    """S, in [1,T]."""
    matching: DMConfig = field(default_factory=DMConfig)
    least_steps: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_least(self, "statics.", per_video=1, steps=0)
        super().__post_init__()


@dataclass(frozen=True)
class VDSDConfig(TunedConfig):
    """How memories are tuned; `matching`, `steps` and `momentum` are of stage 2. Defaults are published, with DM."""

    statics: StaticsConfig = field(default_factory=StaticsConfig)
    """Stage 1."""
    lr: float = 1e-4
    """Of the dynamics, > 0."""
    joiner_lr: float = 1e-5
    """Of the joiner, > 0."""
    momentum: float = 0.95
    kernel: int = 3
    """Side of the joiner in time and space, odd."""
    joiner_start: str = "random"
    """A name of `STARTS`."""
    fills_bytes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_within(self, "", joiner_lr="(0,inf)")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise InputError(f"kernel is {self.kernel}; the joiner's side must be odd, such as 3")
        check_known("unknown joiner_start", self.joiner_start, STARTS)

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return f"vdsd-{self.matching.name}"

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """See `MethodConfig.training_steps`."""
        batch_size = self.teacher.train.batch_size
        stage_1 = self.statics.matching.training_steps(self.statics.steps, num_clips, num_classes, batch_size)
        return stage_1 + super().training_steps(num_clips, num_classes)

    def reference(self) -> MethodConfig:
        """See `MethodConfig.reference`."""
        return VDSD_MTT if isinstance(self.matching, MTTConfig) else VDSD_DM

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return static and dynamic memories of as many videos a class as fit `budget.file_bytes`, else of VPC.

        Every item has all T frames, whatever `budget.keyframes`. Raises `InputError` when S > T, `BudgetError` when one
        video a class does not fit, and `DivergedError` when a loss stops being finite.
        """
        num_frames = train_data.clip.num_frames
        check_keyframes(budget.keyframes, num_frames)  # not used, but a number that no method takes is a mistake
        if self.statics.per_video > num_frames:
            raise InputError(
                f"statics.per_video is {self.statics.per_video}, but a clip has {num_frames} frames; "
                f"choose at most {num_frames}"
            )
        rows = self._choose_videos(train_data, budget, run)
        tuning = _Tuning(self, train_data, codec, rows, run)
        packed = tuning.memories(tuning.statics())
        positions = torch.arange(num_frames).repeat(len(rows), 1)
        shape = (*positions.shape, *train_data.codec.latent_shape(train_data.clip.height, train_data.clip.width))
        synthetic = self.gather(train_data, rows, positions, codec, run, memories.unpack(packed, shape))
        synthetic = dataclasses.replace(synthetic, packing=memories.NAME, packed=packed)
        return self.relabel(synthetic, self.train_teachers(train_data, codec, num_frames, run), run)

    def _choose_videos(self, train_data: Candidates, budget: Budget, run: Run) -> Tensor:
        """Step 1: random rows (N,), V of each class; a larger V adds to those of a smaller one."""
        num_frames, side = train_data.clip.num_frames, self.kernel
        channels, height, width = train_data.codec.latent_shape(train_data.clip.height, train_data.clip.width)

        def size(rows: Tensor) -> int:  # it does not depend on what the memories hold
            packed = memories.pack(
                torch.zeros(len(rows), self.statics.per_video, channels, height, width),
                torch.zeros(len(rows), num_frames, height, width),
                torch.zeros(channels, channels + 1, side, side, side),
                torch.zeros(channels),
            )
            return self.file_bytes(train_data, rows, torch.arange(num_frames), run, memories.NAME, packed)

        return self.rows_within(train_data, budget, "random", size, run)


VDSD_DM = VDSDConfig()
VDSD_MTT = VDSDConfig(matching=MTTConfig(), steps=10_000, lr=1e4, joiner_lr=1e-3)


@dataclass(frozen=True)
class _Tuning:
    """The two stages of one set."""

    config: VDSDConfig
    train_data: Candidates
    codec: Codec
    rows: Tensor
    """(N,) int64: the chosen videos, grouped by class."""
    run: Run

    def show(self, latents: Tensor) -> Tensor:
        """Return normalized frames (M,3,H,W) of latents (M,C,h,w), clamped as the set's decoder does."""
        return self.train_data.normalization.apply(into_range(self.codec.decode(latents)))

    def key(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what a stage with these settings depends on, without the training data and the seed."""
        return {"config": settings, "rows": self.rows.tolist(), "codec": self.codec.spec.weights_sha256}

    def statics(self) -> Tensor:
        """Stage 1: statics (N,S,C,h,w) float32, as a file holds them."""
        config, clip, device = self.config.statics, self.train_data.clip, self.run.device
        stills = (2 * torch.arange(config.per_video) + 1) * clip.num_frames // (2 * config.per_video)
        start = self.train_data.latents[self.rows][:, stills].float()
        labels = self.train_data.labels[self.rows].repeat_interleave(config.per_video)

        def compute() -> dict[str, Tensor]:
            statics = start.flatten(0, 1).to(device, copy=True).requires_grad_()

            def show(rows: Tensor) -> Tensor:
                return self.show(statics[rows.to(device)])[:, None].expand(-1, clip.num_frames, -1, -1, -1)

            if config.steps > 0:
                part = self.run.child("stills")
                matching = config.matching.build(one_still_each(self.train_data, part.generator("frames")), part)
                tune([statics], matching, show, labels, config, run=self.run, name="vdsd-statics")
            return memories.pack_statics(statics.detach().view(start.shape))

        stage = self.run.recall("vdsd-statics", self.key(dataclasses.asdict(config)), compute)
        return memories.stored_statics(stage)

    def memories(self, statics: Tensor) -> dict[str, Tensor]:
        """Stage 2: the packed memories, around statics (N,S,C,h,w) that stay as they are."""
        config, device = self.config, self.run.device
        settings = {k: v for k, v in dataclasses.asdict(config).items() if k not in ("labels", "teacher", "fill")}

        def compute() -> dict[str, Tensor]:
            frozen = statics.to(device)
            dynamics, weight, bias = self._start(statics)
            # `tune` has one rate. A parameter q = unit * p, p tuned in its place at rate lr, moves as q at unit^2 * lr.
            unit = (config.joiner_lr / config.lr) ** 0.5
            tuned = [each.to(device).requires_grad_() for each in (dynamics, weight / unit, bias / unit)]

            def show(rows: Tensor) -> Tensor:
                rows = rows.to(device)
                latents = memories.join(frozen[rows], tuned[0][rows], tuned[1] * unit, tuned[2] * unit)
                frames = self.show(latents.flatten(0, 1))
                return frames.view(*latents.shape[:2], *frames.shape[1:])

            matching, labels = config.matching.build(self.train_data, self.run), self.train_data.labels[self.rows]
            tune(tuned, matching, show, labels, config, run=self.run, name=config.name)
            dynamics, weight, bias = tuned[0].detach(), tuned[1].detach() * unit, tuned[2].detach() * unit
            _check_stored(config, dynamics, weight, bias)
            return memories.pack(statics, dynamics, weight, bias)

        return self.run.recall(config.name, self.key(settings), compute)

    def _start(self, statics: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return dynamics (N,T,h,w) from N(0,1), and a fresh joiner's weight and bias, float32 on the CPU."""
        num_items, _, channels, height, width = statics.shape
        shape = (num_items, self.train_data.clip.num_frames, height, width)
        dynamics = torch.randn(shape, generator=self.run.generator("dynamics"))
        joiner = nn.utils.skip_init(nn.Conv3d, channels + 1, channels, self.config.kernel)  # type: ignore[no-untyped-call]
        initialize(joiner, self.run.generator("joiner"))
        weight, bias = (parameter.detach() for parameter in joiner.parameters())
        if self.config.joiner_start == "still":
            middle = self.config.kernel // 2
            weight[:, :channels] = 0
            weight[:, :channels, middle, middle, middle] = torch.eye(channels)
            bias.zero_()
        return dynamics, weight, bias


def _check_stored(config: VDSDConfig, dynamics: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raise `DivergedError` for finite memories that a file cannot hold."""
    joiner = max(float(values.abs().max()) for values in (weight, bias))
    largest = float(dynamics.abs().max())
    if joiner > memories.LARGEST_JOINER or largest > memories.LARGEST_MEMORY:
        raise DivergedError(
            f"{config.name} diverged: its dynamics reach {largest:g} (allowed: {memories.LARGEST_MEMORY:g}), its "
            f"joiner {joiner:g} (allowed: {memories.LARGEST_JOINER:g}); choose a lower lr than {config.lr:g}, "
            f"or a lower joiner_lr than {config.joiner_lr:g}"
        )


def one_still_each(train_data: DecodedSplit, generator: torch.Generator) -> DecodedSplit:
    """Return the real stills of stage 1: one random frame of each video, held for a complete clip (views)."""
    times = torch.randint(train_data.clip.num_frames, (len(train_data), 1), generator=generator)
    frames = take_keyframes(train_data.frames, times).expand_as(train_data.frames)
    return dataclasses.replace(train_data, frames=frames)
