"""Tiny candidates and settings with which every method runs in a moment."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import PixelCodec
from videocompressa.matching.experts import ExpertConfig
from videocompressa.matching.objectives import DMConfig, MTTConfig
from videocompressa.methods import METHODS, MethodConfig
from videocompressa.methods.vdsd import StaticsConfig
from videocompressa.methods.videocompressa.method import VideoCompressaConfig
from videocompressa.methods.videocompressa.pool import PoolConfig
from videocompressa.methods.videocompressa.synthesis import SynthesisConfig
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages, watch_nothing
from videocompressa.selection.gumbel import SelectorConfig
from videocompressa.selection.joint import JointConfig
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig
from videocompressa.synthetic import Budget, SyntheticSet
from videocompressa.views import Views

SIDE, FRAMES = 16, 6
TEACHER = TeacherConfig(
    train=TrainConfig(
        student="framenet2d",
        width=0.25,
        steps=4,
        batch_size=8,
        lr=1e-3,
        warmup_steps=0,
        views=Views(scenes=0.0),
        precision="float32",
    ),
    num_views=2,
)
SMALL = VideoCompressaConfig(
    labels="soft",
    selector="gumbel",
    subset="facility-location",
    joint=JointConfig(steps=3, batch_size=8, width=8),
    scorer=SelectorConfig(thumbnail=16, width=8),
    synthesis=SynthesisConfig(enabled=True, steps=3, batch_size=8, selector_lr=1e-3),
    pool=PoolConfig(ages=(1, 2), task_from=2),
    teacher=TEACHER,
)
_DM = DMConfig(student="framenet2d", width=0.1)
_MTT = MTTConfig(
    experts=ExpertConfig(student="framenet2d", width=0.1, num_experts=2, epochs=1), max_start_epoch=0, inner_steps=2
)
_TUNING = {"steps": 2, "lr": 1.0}
_CHANGES: dict[str, dict[str, Any]] = {
    "dm": {"matching": _DM, **_TUNING},
    "mtt": {"matching": _MTT, **_TUNING},
    "vdsd-dm": {"matching": _DM, "statics": StaticsConfig(matching=_DM, **_TUNING), **_TUNING},
    "vdsd-mtt": {"matching": _MTT, "statics": StaticsConfig(matching=_DM, **_TUNING), **_TUNING},
}
SMALL_METHODS: dict[str, MethodConfig] = {
    name: dataclasses.replace(config, teacher=TEACHER, **_CHANGES.get(name, {})) for name, config in METHODS.items()
} | {"videocompressa": SMALL}
"""Every method with a small teacher, and few steps."""


def candidates(frames: Tensor, labels: Tensor, num_classes: int = 2) -> Candidates:
    """Clips as an encode pass with the pixel codec would give them."""
    codec = PixelCodec()
    num_videos, num_frames = frames.shape[:2]
    latents = codec.encode(frames.flatten(0, 1)).view(num_videos, num_frames, *frames.shape[2:]).half()
    return Candidates(
        frames=frames,
        latents=latents,
        times_seconds=torch.arange(num_frames, dtype=torch.float64).expand(num_videos, -1) / 10,
        labels=labels,
        video_ids=tuple(f"{int(label)}/{row:03d}.mp4" for row, label in enumerate(labels)),
        num_video_frames=torch.full((num_videos,), 30),
        video_bytes=torch.full((num_videos,), 1000),
        classes=tuple("abcdefgh"[:num_classes]),
        clip=ClipSpec(num_frames, *frames.shape[3:]),
        codec=codec.spec,
        normalization=Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        source="planted",
        split_hash="0" * 64,
    )


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def dark_and_bright() -> Candidates:
    """Twelve clips of noise: class "a" is dark and class "b" bright."""
    labels = torch.arange(12) % 2
    frames = noise((12, FRAMES, 3, SIDE, SIDE), 0) // 2 + (labels * 100).to(torch.uint8)[:, None, None, None, None]
    return candidates(frames, labels)


def compress(
    data: Candidates, config: MethodConfig, *, seed: int = 0, stages: Stages | None = None, watch: Any = watch_nothing,
    **budget: Any,
) -> SyntheticSet:  # fmt: skip
    """Run a method with the pixel codec, of 2 videos a class and 3 keyframes by default."""
    run = Run(Streams(seed), watch=watch, stages=stages or Stages())
    return config.compress(data, PixelCodec(), Budget(**{"videos_per_class": 2, "keyframes": 3} | budget), run)
