"""Subset rules: random, herding, k-center, facility location, k-means and k-DPP on features.

Each takes features (M,D) of one class and returns `count` distinct rows, best first. Distances and products are in
float64, so the choice is the same at any thread count; ties go to the lower row.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.errors import InputError, check_known
from videocompressa.synthetic import Budget

SubsetRule = Callable[[Tensor, int, torch.Generator], list[int]]
"""(features (M,D), count, generator) -> `count` rows."""
FeaturesOf = Callable[[Tensor], Tensor]
"""Rows (M,) int64 -> their features (M,D)."""


def random_subset(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Every subset equally likely."""
    return torch.randperm(len(features), generator=generator)[:count].tolist()


def herding(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Herding (Welling 2009): each row makes || mean(all) - mean(chosen + row) || least."""
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

    Starts at the row nearest the mean (our choice: no randomness, and no outlier as the only pick at count 1).
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
    distance = _distances(features, features)
    similarity = distance.max() - distance
    best = torch.zeros(len(features), dtype=torch.float64)
    chosen: list[int] = []
    for _ in range(count):
        gain = (similarity - best[:, None]).clamp(min=0).sum(0)
        chosen.append(_least(-gain, chosen))
        best = torch.maximum(best, similarity[:, chosen[-1]])
    return chosen


LLOYD_STEPS = 100
"""Most steps of `k_means`; it stops earlier when no row changes its cluster."""


def k_means(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """The row nearest each of `count` centroids (Lloyd 1982, from k-means++ starts), the largest cluster's first.

    An empty cluster restarts at the row farthest from its centroid (our choice).
    """
    points = features.double()
    centroids = points[_k_means_starts(points, count, generator)]
    nearest = torch.full((len(points),), -1)
    for _ in range(LLOYD_STEPS):
        distance = _distances(points, centroids)
        before, nearest = nearest, distance.argmin(1)
        if torch.equal(before, nearest):
            break
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)
        centroids = sums / sizes.clamp(min=1)[:, None]
        far = distance.gather(1, nearest[:, None])[:, 0].argsort(descending=True, stable=True)
        empty = (sizes == 0).nonzero()[:, 0]
        centroids[empty] = points[far[: len(empty)]]
    distance = _distances(points, centroids)
    largest_first = torch.bincount(nearest, minlength=count).argsort(descending=True, stable=True)
    chosen: list[int] = []
    for cluster in largest_first.tolist():
        chosen.append(_least(distance[:, cluster], chosen))
    return chosen


def _k_means_starts(points: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """k-means++ (Arthur and Vassilvitskii 2007): each start by squared distance to the others."""
    squared = torch.ones(len(points), dtype=torch.float64)
    starts: list[int] = []
    for _ in range(count):
        squared[starts] = 0
        weights = squared
        if not squared.any():  # only copies of the starts are left: any of them
            weights = torch.ones_like(squared)
            weights[starts] = 0
        starts.append(_draw(weights, generator))
        latest = (points - points[starts[-1]]).square().sum(1)
        squared = latest if len(starts) == 1 else torch.minimum(squared, latest)
    return starts


def paper_kernel(features: Tensor) -> Tensor:
    """exp(-distance), (M,M): the kernel of LVDD's released code, on features standardized by cell.

    Latents have thousands of cells, so distances are large, this is nearly the identity, and its k-DPP a uniform draw.
    """
    return torch.exp(-_distances(features, features))


def scaled_kernel(features: Tensor) -> Tensor:
    """exp(-distance^2 / (2 sigma^2)), (M,M): the kernel of LVDD's text (section 3.2).

    The text leaves sigma open; ours is the median distance of distinct rows (the usual heuristic).
    """
    distance = _distances(features, features)
    apart = distance[distance > 0]
    return torch.exp(-((distance / apart.median()) ** 2) / 2) if len(apart) else torch.ones_like(distance)


def sample_k_dpp(kernel: Tensor, count: int, generator: torch.Generator) -> list[int]:
    """Draw `count` rows with a chance proportional to det(kernel of those rows): (M,M), positive semidefinite.

    Exact, by Kulesza and Taskar (2011, Algorithm 1): draw eigenvectors by elementary symmetric polynomials of the
    eigenvalues (as logarithms: they overflow), then rows one by one. 1e-10 of the identity is added, so that copies of
    a row can be drawn when no others are left.
    """
    num_rows = len(kernel)
    eigenvalues, eigenvectors = torch.linalg.eigh(kernel.double() + 1e-10 * torch.eye(num_rows, dtype=torch.float64))
    logs = eigenvalues.clamp(min=1e-12).log()
    # polynomials[m, l]: logarithm of the l-th elementary symmetric polynomial of the first m eigenvalues.
    polynomials = torch.full((num_rows + 1, count + 1), -torch.inf, dtype=torch.float64)
    polynomials[:, 0] = 0
    for m in range(num_rows):
        polynomials[m + 1, 1:] = torch.logaddexp(polynomials[m, 1:], logs[m] + polynomials[m, :-1])
    uniform = torch.rand(num_rows, dtype=torch.float64, generator=generator)
    taken: list[int] = []
    for m in range(num_rows, 0, -1):
        left = count - len(taken)
        if left == 0:
            break
        chance = logs[m - 1] + polynomials[m - 1, left - 1] - polynomials[m, left]
        if left == m or uniform[m - 1].log() < chance:
            taken.append(m - 1)
    return _sample_projection(eigenvectors[:, taken], generator)


def _sample_projection(basis: Tensor, generator: torch.Generator) -> list[int]:
    """Draw from the projection DPP of orthonormal columns (M,k), by Gram-Schmidt on the rows drawn so far."""
    weights = basis.square().sum(1)
    removed = torch.zeros_like(basis)
    chosen: list[int] = []
    for taken in range(basis.shape[1]):
        chosen.append(row := _draw(weights, generator))
        rest = basis @ basis[row] - removed[:, :taken] @ removed[row, :taken]
        removed[:, taken] = rest / weights[row].sqrt()
        weights = (weights - removed[:, taken].square()).clamp(min=0)
        weights[chosen] = 0
    return chosen


SUBSETS: dict[str, SubsetRule] = {
    "random": random_subset,
    "herding": herding,
    "k-center": k_center,
    "facility-location": facility_location,
    "k-means": k_means,
    "dpp": lambda features, count, generator: sample_k_dpp(paper_kernel(features), count, generator),
    "dpp-scaled": lambda features, count, generator: sample_k_dpp(scaled_kernel(features), count, generator),
}
"""Subset rules by name; "dpp" is LVDD's selection ("DAPS") as released, "dpp-scaled" as in its text."""


def check_enough(sizes: Mapping[str, int], count: int, *, allow_fewer: bool) -> None:
    """Raise when a class (name to number of videos) has fewer than `count`, unless that is allowed."""
    short = [f"{name!r} has {size}" for name, size in sizes.items() if size < count]
    if short and not allow_fewer:
        raise InputError(
            f"--vpc is {count}, but class {', '.join(short[:5])} training videos"
            f"{f' (and {len(short) - 5} more classes)' if len(short) > 5 else ''}; "
            f"lower --vpc to {max(1, min(sizes.values()))}, or give --allow-fewer"
        )


def choose_videos(
    data: Candidates,
    rule: str,
    budget: Budget,
    generator: torch.Generator,
    *,
    features: FeaturesOf | None = None,
    eligible: Tensor | None = None,
) -> Tensor:
    """Choose VPC videos of each class by the subset rule; rows (N,) int64, grouped by class in class order.

    `features` maps rows to features, so that large ones need not be in memory all at once; "random" needs none. Of a
    class with at least VPC `eligible` (N,) bool rows, only these are chosen.

    Raises `InputError` for an unknown rule, and for a class with fewer videos unless the budget allows fewer.
    """
    check_known("unknown subset rule", rule, SUBSETS)
    count = budget.videos_per_class
    check_enough(data.class_sizes, count, allow_fewer=budget.allow_fewer)
    rows = []
    for label in range(len(data.classes)):
        members = (data.labels == label).nonzero()[:, 0]
        if eligible is not None and int(eligible[members].sum()) >= count:
            members = members[eligible[members]]
        if len(members):
            points = torch.zeros(len(members), 1) if features is None else features(members)
            members = members[SUBSETS[rule](points, min(count, len(members)), generator)]
        rows.append(members)
    return torch.cat(rows)


def visible_latents(data: Candidates, weights: Tensor) -> FeaturesOf:
    """Return features (M,D): the latents of complete clips, flattened, times how far pixels move with a channel.

    `weights` (C,) are those of `transform.channel_weights`. Latents are read for some rows at a time.
    """
    return lambda rows: (data.latents[rows].float() * weights[:, None, None]).flatten(1)


def _least(values: Tensor, taken: list[int]) -> int:
    """Return the position of the least value that is not taken."""
    values = values.clone()
    values[taken] = torch.inf
    return int(values.argmin())


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """Return Euclidean distances (M,P) float64, by differences: products would lose digits of small ones."""
    return torch.cdist(left.double(), right.double(), compute_mode="donot_use_mm_for_euclid_dist")


def _draw(weights: Tensor, generator: torch.Generator) -> int:
    """Draw a position with a chance proportional to its weight (M,) float64, not all zero."""
    cumulative = weights.cumsum(0)
    level = torch.rand((), dtype=torch.float64, generator=generator) * cumulative[-1]
    position = int(torch.searchsorted(cumulative, level, right=True))
    return min(position, int(weights.nonzero()[-1, 0]))
