"""What fits into a file of a given size: a search over sizes that are measured on the bytes of a file.

How large a file is depends on shapes, ids, times and settings. Before the content exists, a blank set stands for it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from videocompressa.artifact.packing.weights import rounded
from videocompressa.clip import Candidates, Normalization
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.synthetic import SyntheticSet, gather


def blank_set(
    data: Candidates,
    rows: Tensor,
    positions: Tensor,
    *,
    soft_labels: bool,
    packing: str = "dense",
    packed: dict[str, Tensor] | None = None,
    **origin: Any,
) -> SyntheticSet:
    """Return a set of `rows` (N,) at `positions` (N,K) whose file is as large as that of the real content.

    Its latents are 0 and take no memory; `packed` tensors of the right shapes stand for them in the file. `origin`
    (method, config, seed, fill) goes to `gather`.
    """
    latent_shape = data.codec.latent_shape(data.clip.height, data.clip.width)
    latents = torch.zeros(()).expand(*positions.shape, *latent_shape)
    blank = gather(data, rows, positions, latents=latents, **origin)
    num_classes = len(data.classes)
    labels = torch.full((len(rows), num_classes), 1 / num_classes) if soft_labels else blank.labels
    return dataclasses.replace(blank, labels=labels, packing=packing, packed=packed or {})


@functools.cache
def blank_labeler(spec: LabelerSpec, num_classes: int, normalization: Normalization) -> Labeler:
    """Return a labeler of L classes whose weights take the most bytes that they can: random ones."""
    most, generator = 2 ** (spec.bits - 1) - 1, torch.Generator().manual_seed(0)
    weights = {
        name: torch.randint(-most, most + 1, shape, generator=generator).float()
        for name, shape in spec.shapes(num_classes).items()
    }
    return Labeler(spec, rounded(weights, spec.bits), normalization)


def largest_fitting(fits: Callable[[int], bool], low: int, high: int, *, start: int | None = None) -> int:
    """Return the largest number in [low,high] that fits, or low - 1; steps double from `start` (low), then halve.

    So numbers far above the answer are not tried. Where sizes do not strictly grow with the number, what is returned
    fits nevertheless.
    """
    good, bad, probe, step = low - 1, high + 1, low if start is None else start, 1
    while bad - good > 1:
        good, bad = (probe, bad) if fits(probe) else (good, probe)
        if good < low:
            probe = max(low, bad - step)
        elif bad > high:
            probe = min(high, good + step)
        else:
            probe = (good + bad) // 2
        step *= 2
    return good
