"""Tuning by SGD on a matching objective (`objectives.py`) of whatever synthetic clips are computed from.

Our choice: pixels are clamped to [0,1], as a set's decoder does when students are trained on it. Outside, a gradient
passes only where it leads back in, so that noisy steps neither run away nor stick to the border.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from videocompressa.checkpoint import Part
from videocompressa.codecs import Codec
from videocompressa.errors import check_least, check_within
from videocompressa.fill import fill_clips
from videocompressa.matching.objectives import DMConfig, Matching, MatchingConfig, ShowClips
from videocompressa.run import Run, check_finite, is_read
from videocompressa.synthetic import SyntheticSet


def decoded_clips(latents: Tensor, start: SyntheticSet, codec: Codec) -> ShowClips:
    """Return the function that decodes `latents` (N,K,C,h,w) to clips of the set `start`; differentiable."""

    def show(rows: Tensor) -> Tensor:
        chosen = latents[rows.to(latents.device)]
        pixels = into_range(codec.decode(chosen.flatten(0, 1)))
        keyframes = pixels.view(*chosen.shape[:2], *pixels.shape[1:])
        positions = start.positions[rows.to(start.positions.device)].to(latents.device)
        return start.normalization.apply(fill_clips(keyframes, positions, start.clip.num_frames, start.fill))

    return show


@dataclass(frozen=True)
class TuningConfig:
    """How synthetic clips are tuned; the defaults are the published ones of DM."""

    matching: MatchingConfig = field(default_factory=DMConfig)
    """The objective."""
    steps: int = 5000
    """>= 1."""
    lr: float = 30.0
    """Of the scaled latents, > 0; published for pixels at VPC 1."""
    momentum: float = 0.5
    """In [0,1)."""
    least_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_least(self, "", steps=self.least_steps)
        check_within(self, "", lr="(0,inf)", momentum="[0,1)")


def tune(
    parameters: Sequence[Tensor],
    matching: Matching,
    show: ShowClips,
    labels: Tensor,
    config: TuningConfig,
    *,
    run: Run,
    name: str,
) -> None:
    """Tune leaf tensors, which `show` reads, and what the matching learns, by SGD on its loss; in place.

    `labels` (N,) int64 of the synthetic set, on the CPU. `name` names the phase to `run.watch` and in messages. Raises
    `DivergedError` when the loss or a tuned value stops being finite.
    """
    own = matching.parameters()
    groups: list[dict[str, Any]] = [{"params": list(parameters)}, {"params": own, "lr": matching.parameter_lr}]
    optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    also = f", or a lower inner_lr_lr than {matching.parameter_lr:g}" if own else ""
    advice = f"choose a lower lr than {config.lr:g}{also}"
    steps, total = config.steps, torch.zeros((), device=run.device)
    parts: dict[str, Part] = {str(number): each for number, each in enumerate((*parameters, *own))}
    for step in run.steps(name, steps, parts | {"optimizer": optimizer}):
        loss = matching.loss(show, labels, step)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.detach()
        if is_read(step, steps):
            check_finite(total, f"{name} diverged by step {step + 1} of {steps}: its loss is not finite; {advice}")
            run.watch(name, done=step + 1, total=steps, loss=float(loss.detach()))
    for parameter in (*parameters, *own):
        check_finite(parameter.detach().sum(), f"{name} diverged: a value that it tunes is not finite; {advice}")


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
