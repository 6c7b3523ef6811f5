"""Choosing a few rows that stand for many: random, herding, k-center and facility location on feature vectors.

Each function takes features (M,D) of one class and returns `count` distinct rows, best first. Distances and products
are computed in float64, so the choice is the same at any thread count; ties go to the lower row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from videocompressa.errors import InputError

Choose = Callable[[Tensor, int, torch.Generator], list[int]]
"""(features (M,D), count, generator) -> `count` rows."""


def random_subset(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Every subset alike likely."""
    return torch.randperm(len(features), generator=generator)[:count].tolist()


def herding(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Herding (Welling 2009): greedily keep the mean of the chosen close to the mean of all.

    Row t is the one whose choice makes || mean(all) - mean(chosen + row) || least.
    """
    points = features.double()
    target = points.mean(0)
    total = torch.zeros_like(target)
    chosen: list[int] = []
    for taken in range(1, count + 1):
        distance = ((total + points) / taken - target).norm(dim=1)
        chosen.append(_least(distance, chosen))
        total += points[chosen[-1]]
    return chosen


def k_center(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Greedy k-center (Gonzalez 1985; Sener and Savarese 2018): always the row farthest from all chosen ones.

    Starts at the row nearest the mean (our choice: no draw, and no outlier as the only pick at count 1).
    """
    points = features.double()
    chosen = [_least((points - points.mean(0)).norm(dim=1), [])]
    nearest = (points - points[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        chosen.append(_least(-nearest, chosen))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).norm(dim=1))
    return chosen


def facility_location(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Greedy facility location (Nemhauser et al. 1978): each row adds the most to sum_i max_chosen similarity(i, .).

    Similarity is the largest distance minus the distance, so it is never negative.
    """
    points = features.double()
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    similarity = distance.max() - distance
    best = torch.zeros(len(points), dtype=torch.float64)
    chosen: list[int] = []
    for _ in range(count):
        gain = (similarity - best[:, None]).clamp(min=0).sum(0)
        chosen.append(_least(-gain, chosen))
        best = torch.maximum(best, similarity[:, chosen[-1]])
    return chosen


SUBSETS: dict[str, Choose] = {
    "random": random_subset,
    "herding": herding,
    "k-center": k_center,
    "facility-location": facility_location,
}


def check_subset(name: str) -> None:
    """Raise when no subset rule has this name."""
    if name not in SUBSETS:
        raise InputError(f"unknown subset rule {name!r}; known: {', '.join(SUBSETS)}")


def check_enough(sizes: Mapping[str, int], count: int, *, allow_fewer: bool) -> None:
    """Raise when a class (name to number of videos) has fewer than `count`, unless that is allowed."""
    short = [f"{name!r} has {size}" for name, size in sizes.items() if size < count]
    if short and not allow_fewer:
        raise InputError(
            f"--vpc is {count}, but class {', '.join(short[:5])} training videos"
            f"{f' (and {len(short) - 5} more classes)' if len(short) > 5 else ''}; "
            f"lower --vpc to {max(1, min(sizes.values()))}, or go on with --allow-fewer"
        )


def choose_per_class(
    features: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    count: int,
    allow_fewer: bool,
    name: str,
    generator: torch.Generator,
) -> Tensor:
    """Choose `count` rows of each class by the subset rule `name`; rows (N,) int64, grouped by class in class order.

    Raises `InputError` for an unknown rule, and for a class with fewer rows unless `allow_fewer`.
    """
    check_subset(name)
    sizes = torch.bincount(labels, minlength=len(classes)).tolist()
    check_enough(dict(zip(classes, sizes, strict=True)), count, allow_fewer=allow_fewer)
    rows = []
    for label, size in enumerate(sizes):
        members = (labels == label).nonzero()[:, 0]
        rows.append(members[SUBSETS[name](features[members], min(count, size), generator)] if size else members)
    return torch.cat(rows)


def _least(values: Tensor, taken: list[int]) -> int:
    values = values.clone()
    values[taken] = torch.inf
    return int(values.argmin())
