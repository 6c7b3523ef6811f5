"""Tuned sets: random real clips whose latents are tuned against a matching (`matching.py`); what DM and MTT share.

1. Start.   VPC random videos of each class, K keyframes by a fixed rule: the very set that `random-real` stores of the
            same seed, so that what tuning adds can be read off.
2. Show.    clip = normalize(fill(clamp(D(z)))), z the scaled latents. With `PixelCodec` z is the pixel, normalized.
3. Tune.    SGD on z (`matching.tune`), the whole of it a finished stage. K keyframes and their times stay.

Our choice: pixels are clamped to [0,1], as a set's decoder does when students are trained on it. Outside, a gradient
passes only where it leads back in, so that noisy steps neither run away nor stick to the border.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.matching.objectives import Matching, Show, build_matching, tune
from videocompressa.rng import Streams
from videocompressa.run import Stages, Watch
from videocompressa.selection.keyframes import FIXED_SELECTORS, check_keyframes
from videocompressa.selection.videos import choose_per_class
from videocompressa.students.teachers import relabel, teachers_of
from videocompressa.synthetic import Allowance, SyntheticSet, fill_clips, gather


def compress_tuned(
    name: str,
    train_data: Candidates,
    codec: Codec,
    config: Any,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> SyntheticSet:
    """Return the set of method `name`: steps 1 to 3 with the matching of `config`, then its labels.

    `config` has matching, steps, lr, momentum, selector, fill, labels and teacher, as those of DM and MTT have.
    """
    start = real_start(
        train_data,
        codec,
        budget=budget,
        selector=config.selector,
        fill=config.fill,
        method=name,
        config=dataclasses.asdict(config),
        rng=rng,
    )
    teachers = teachers_of(
        config, train_data, codec, keyframes=budget.keyframes, fill=config.fill, rng=rng, device=device, watch=watch,
        stages=stages,
    )  # fmt: skip
    synthetic = tune_set(
        start,
        codec,
        lambda: build_matching(config.matching, train_data, rng=rng, device=device, watch=watch, stages=stages),
        steps=config.steps,
        lr=config.lr,
        momentum=config.momentum,
        key=tuning_key(config, budget, codec, rng),
        device=device,
        watch=watch,
        stages=stages,
    )
    return relabel(synthetic, config.labels, teachers, config.teacher, rng=rng, device=device)


def real_start(
    train_data: Candidates,
    codec: Codec,
    *,
    budget: Allowance,
    selector: str,
    fill: str,
    method: str,
    config: Mapping[str, Any],
    rng: Streams,
) -> SyntheticSet:
    """Step 1: return random real clips within the budget, with hard labels; streams "videos", "keyframes" are drawn.

    Raises `InputError` when K > T, or a class has fewer videos than VPC and the budget does not allow fewer.
    """
    check_keyframes(budget.keyframes, train_data.clip.num_frames)
    rows = choose_per_class(
        torch.zeros(len(train_data), 1),
        train_data.labels,
        train_data.classes,
        count=budget.videos_per_class,
        allow_fewer=budget.allow_fewer,
        name="random",
        generator=rng.generator("videos"),
    )
    picker = FIXED_SELECTORS[selector]()
    positions = picker.positions(train_data.frames[rows], budget.keyframes, rng.generator("keyframes"))
    return gather(
        train_data,
        rows,
        positions,
        labels=train_data.labels[rows],
        fill=fill,
        method=method,
        config=config,
        seed=rng.seed,
        decoder=codec,
    )


def decoded_show(latents: Tensor, start: SyntheticSet, codec: Codec) -> Show:
    """Step 2: return what shows `latents` (N,K,C,h,w) as clips of the set `start`; differentiable in `latents`."""

    def show(rows: Tensor) -> Tensor:
        chosen = latents[rows.to(latents.device)]
        pixels = into_range(codec.decode(chosen.flatten(0, 1)))
        keyframes = pixels.view(*chosen.shape[:2], *pixels.shape[1:])
        positions = start.positions[rows.to(start.positions.device)].to(latents.device)
        return start.normalization.apply(fill_clips(keyframes, positions, start.clip.num_frames, start.fill))

    return show


def tune_set(
    start: SyntheticSet,
    codec: Codec,
    build: Callable[[], Matching],
    *,
    steps: int,
    lr: float,
    momentum: float,
    key: Mapping[str, Any],
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> SyntheticSet:
    """Step 3: return `start` with tuned latents; `build` is called only where the stage is not finished yet."""
    name = start.provenance.method

    def make() -> dict[str, Tensor]:
        latents = start.latents.to(device, copy=True).requires_grad_()
        show = decoded_show(latents, start, codec)
        tune([latents], build(), show, start.labels, steps=steps, lr=lr, momentum=momentum, watch=watch, name=name)
        return {"latents": latents.detach().cpu()}

    return dataclasses.replace(start, latents=stages.recall(name, key, make)["latents"])


def tuning_key(config: Any, budget: Allowance, codec: Codec, rng: Streams) -> dict[str, Any]:
    """Return all that a tuned set depends on beside the training data; not labels and teacher, which come after."""
    settings = dataclasses.asdict(config)
    return {
        "config": {name: value for name, value in settings.items() if name not in ("labels", "teacher")},
        "budget": dataclasses.asdict(budget),
        "codec": codec.spec.weights_sha256,
        "seed": [rng.seed, rng.scope],
    }


def into_range(pixels: Tensor) -> Tensor:
    """Clamp pixels to [0,1]; where one is outside, its gradient passes only if descent leads back in."""
    inside: Tensor = _IntoRange.apply(pixels)  # type: ignore[no-untyped-call]
    return inside


class _IntoRange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(pixels)
        return pixels.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (pixels,) = ctx.saved_tensors
        outward = ((pixels < 0) & (gradient > 0)) | ((pixels > 1) & (gradient < 0))
        return gradient.masked_fill(outward, 0.0)
