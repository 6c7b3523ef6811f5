"""Spending bytes: how many videos a file of a given size should hold, when it is bytes that count and not frames.

1. Frames.  All T of a clip: a transform over time codes them in about 1.5 times the bytes of every second one.
2. Quality. The coarsest step S at which the weighted error of the latents, sum_c g_c^2 |X' - X|^2, is at most the share
   `loss` of their weighted variance: beyond it, students lose more than further videos teach them. One S for all sets
   would be too coarse for small motion on smooth frames, and too fine for large motion on busy ones (docs/log.md).
3. Videos. As many a class as the file holds at S; step 6 of the method says which. What is left goes into a finer step
   (`storage.FINEST`).

Not in the paper, which counts frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videocompressa.artifact import to_bytes
from videocompressa.artifact.packing import transform
from videocompressa.artifact.storage import last_fitting, sample_of, transform_of
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.selection.videos import choose_per_class
from videocompressa.synthetic import Allowance, gather

SPENDINGS = ("frames", "bytes")
"""What a budget may limit."""
OCTAVE = 8
"""Steps that are tried within a factor of 2."""
_LOWEST, _HIGHEST = -4 * OCTAVE, 6 * OCTAVE


def spread(
    train_data: Candidates,
    weights: Tensor,
    loss: float,
    budget: Allowance,
    *,
    soft_labels: bool,
    said: Mapping[str, Any],
    rng: Streams,
) -> Allowance:
    """Return the allowance of the most videos a class, with all T frames, whose file at S is within the bytes.

    `weights` (C,) are those of the channels (`seen_weights`). `said` is the configuration that the file will tell, as
    its text has bytes, too. At least one video a class, even where it does not fit: the step is coarsened after this.
    Sizes are those of random videos; a class with fewer videos gives all it has. Raises `InputError` without
    `budget.file_bytes`.
    """
    file_bytes = budget.file_bytes
    if file_bytes is None:
        raise InputError("spend=bytes fills a file of a given size, and none was given; give --bytes")
    num_frames, packing = train_data.clip.num_frames, transform_of(train_data.codec)
    step = coarsest_step(sample_of(train_data.latents), weights, loss)

    def size(count: int) -> int:
        rows = choose_per_class(
            torch.zeros(len(train_data), 1), train_data.labels, train_data.classes, count=count, allow_fewer=True,
            name="random", generator=rng.generator("spread"),
        )  # fmt: skip
        blank = gather(
            train_data,
            rows,
            torch.arange(num_frames).expand(len(rows), -1).contiguous(),
            labels=blank_labels(train_data.labels[rows], len(train_data.classes), soft=soft_labels),
            method="videocompressa-bytes",
            config=said,
            seed=rng.seed,
        )
        packed = transform.pack(blank.latents, weights, step, name=packing)
        return len(to_bytes(dataclasses.replace(blank, packing=packing, packed=packed)))

    most = int(torch.bincount(train_data.labels).max())
    # From 1 on, so that the sizes that are tried grow with the file and not with the data.
    count = max(1, last_fitting(lambda number: size(number) <= file_bytes, 1, most, guess=1))
    return Allowance(count, num_frames, allow_fewer=True, file_bytes=file_bytes)


def seen_weights(train_data: Candidates, codec: Codec, rng: Streams) -> Tensor:
    """Return how far pixels move with each channel of the latents: (C,) float32, 1 on average."""
    return transform.channel_weights(codec, sample_of(train_data.latents), rng.generator("channels"))


def coarsest_step(latents: Tensor, weights: Tensor, loss: float) -> float:
    """Step 2: return S for latents (N,K,C,h,w) and the weights g (C,) of their channels."""
    seen = weights[:, None, None] ** 2
    allowed = loss * (seen * (latents - latents.mean((0, 1))).square()).mean()

    def fits(exponent: int) -> bool:
        steps = transform.steps_of(weights, 2 ** (exponent / OCTAVE))
        coded = transform.dequantize(transform.quantize(latents, steps), steps)
        return bool((seen * (coded - latents).square()).mean() <= allowed)

    return float(2 ** (last_fitting(fits, _LOWEST + 1, _HIGHEST, guess=0) / OCTAVE))


def blank_labels(labels: Tensor, num_classes: int, *, soft: bool) -> Tensor:
    """Return labels that take as many bytes as those that are not known yet."""
    return torch.full((len(labels), num_classes), 1 / num_classes) if soft else labels
