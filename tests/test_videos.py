"""Subset rules: what each promises, against brute force where that is small."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import PixelCodec
from videocompressa.errors import InputError
from videocompressa.selection.videos import (
    SUBSETS,
    choose_videos,
    facility_location,
    herding,
    k_center,
    k_means,
    paper_kernel,
    sample_k_dpp,
    scaled_kernel,
)
from videocompressa.synthetic import Budget


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int, dims: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dims, generator=generator(seed))


@given(st.sampled_from(sorted(SUBSETS)), st.integers(1, 9), st.integers(0, 1000))
def test_rows_are_distinct_and_in_range(name: str, count: int, seed: int) -> None:
    rows = SUBSETS[name](points(9, seed=seed), count, generator(seed))
    assert len(rows) == len(set(rows)) == count
    assert set(rows) <= set(range(9))


def test_each_step_of_herding_is_the_best_one() -> None:
    features = points(8).double()
    rows = herding(features, 5, generator())
    for taken in range(1, 6):
        before = rows[: taken - 1]
        distances = {
            row: float((features[[*before, row]].mean(0) - features.mean(0)).norm())
            for row in range(8)
            if row not in before
        }
        assert rows[taken - 1] == min(distances, key=distances.__getitem__)


def test_k_center_is_within_twice_the_best_radius() -> None:
    features = points(9).double()

    def radius(rows: tuple[int, ...]) -> float:
        return float(torch.cdist(features, features[list(rows)]).amin(1).max())

    best = min(radius(rows) for rows in itertools.combinations(range(9), 3))
    assert radius(tuple(k_center(features, 3, generator()))) <= 2 * best + 1e-9


def test_k_center_takes_the_outlier_second() -> None:
    features = torch.cat([points(6) * 0.1, torch.full((1, 3), 9.0)])
    assert k_center(features, 2, generator())[1] == 6


def test_facility_location_takes_one_of_each_cluster() -> None:
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    features = torch.cat([center + 0.1 * points(5, 2, seed) for seed, center in enumerate(centers)])
    assert sorted(row // 5 for row in facility_location(features, 3, generator())) == [0, 1, 2]


def labeled(labels: list[int], classes: tuple[str, ...] = ("a", "b")) -> Candidates:
    """Return videos of one pixel with these labels."""
    count = len(labels)
    return Candidates(
        frames=torch.zeros(count, 1, 3, 1, 1, dtype=torch.uint8),
        latents=torch.zeros(count, 1, 3, 1, 1, dtype=torch.float16),
        times_seconds=torch.zeros(count, 1, dtype=torch.float64),
        labels=torch.tensor(labels),
        video_ids=tuple(f"{row}.mp4" for row in range(count)),
        num_video_frames=torch.ones(count, dtype=torch.int64),
        video_bytes=torch.ones(count, dtype=torch.int64),
        classes=classes,
        clip=ClipSpec(1, 1, 1),
        codec=PixelCodec().spec,
        normalization=Normalization((0.5,) * 3, (0.3,) * 3),
    )


def test_videos_are_grouped_by_class_and_follow_the_seed() -> None:
    data, features = labeled([1, 0, 1, 0, 1, 0, 0]), points(7).__getitem__
    rows = choose_videos(data, "random", Budget(2, 1), generator(1), features=features)
    assert data.labels[rows].tolist() == [0, 0, 1, 1]
    assert torch.equal(rows, choose_videos(data, "random", Budget(2, 1), generator(1), features=features))
    assert torch.equal(rows, choose_videos(data, "random", Budget(2, 1), generator(1)))


def test_too_few_videos_of_a_class() -> None:
    data, features = labeled([0, 0, 0, 1]), points(4).__getitem__
    message = r"--vpc is 2, but class 'b' has 1 training videos; lower --vpc to 1, or .*few"
    with pytest.raises(InputError, match=message):
        choose_videos(data, "herding", Budget(2, 1), generator(), features=features)
    rows = choose_videos(data, "herding", Budget(2, 1, allow_fewer=True), generator(), features=features)
    assert data.labels[rows].tolist() == [0, 0, 1]


def test_unknown_rule_lists_the_known() -> None:
    with pytest.raises(InputError, match="unknown subset rule 'best'; known: random, herding, k-center, facility"):
        choose_videos(labeled([0, 1]), "best", Budget(1, 1), generator())


def test_only_eligible_videos_are_chosen_where_there_are_enough() -> None:
    data = labeled([0, 0, 0, 0, 1, 1])
    eligible = torch.tensor([False, True, False, True, True, False])
    rows = choose_videos(data, "random", Budget(2, 1), generator(), eligible=eligible)
    assert sorted(rows.tolist()) == [1, 3, 4, 5]


def test_k_means_takes_one_of_each_cluster_and_its_middle() -> None:
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    around = torch.tensor([[0.1, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    features = torch.cat([center + around for center in centers] + [centers[1:2] + 0.5])
    rows = k_means(features, 3, generator())
    assert sorted(rows) == [0, 5, 10]
    assert rows[0] == 5  # the largest cluster's


def test_k_means_of_copies_still_gives_distinct_rows() -> None:
    assert sorted(k_means(torch.zeros(5, 2), 5, generator())) == list(range(5))
    features = torch.tensor([[0.0], [0.0], [0.0], [9.0]])
    rows = k_means(features, 3, generator())
    assert len(set(rows)) == 3
    assert 3 in rows


def test_k_means_comes_near_the_best_centroids() -> None:
    features = points(8).double()

    def spread(groups: tuple[int, ...]) -> float:
        members = [features[torch.tensor(groups) == group] for group in set(groups)]
        return sum(float((rows - rows.mean(0)).square().sum()) for rows in members)

    # Brute force over all ways to make two groups; the rows nearest their centroids are what k-means must give
    # from the best of a few seeds.
    best = min(itertools.product((0, 1), repeat=8), key=spread)
    nearest = set()
    for group in (0, 1):
        rows = (torch.tensor(best) == group).nonzero()[:, 0]
        nearest.add(int((features - features[rows].mean(0)).norm(dim=1).argmin()))
    assert nearest in [set(k_means(features, 2, generator(seed))) for seed in range(8)]


@pytest.mark.parametrize("count", [1, 3])
def test_k_dpp_frequencies_are_the_determinants(count: int) -> None:
    kernel = scaled_kernel(points(6, 2) * torch.tensor([1.0, 0.3])) + 0.2 * torch.eye(6)
    subsets = list(itertools.combinations(range(6), count))
    weights = torch.tensor([float(torch.linalg.det(kernel[list(rows)][:, list(rows)])) for rows in subsets])
    chances = weights / weights.sum()
    stream, num_samples = generator(1), 800
    samples = [tuple(sorted(sample_k_dpp(kernel, count, stream))) for _ in range(num_samples)]
    counts = torch.tensor([float(samples.count(rows)) for rows in subsets])
    assert counts.sum() == num_samples
    expected = num_samples * chances
    freedom = len(subsets) - 1
    # Chi-square is within 4 deviations of its mean; a uniform one would be far outside.
    assert float(((counts - expected) ** 2 / expected).sum()) < freedom + 4 * (2 * freedom) ** 0.5
    uniform = torch.full_like(expected, num_samples / len(subsets))
    if count > 1:
        assert float(((counts - uniform) ** 2 / uniform).sum()) > 3 * (freedom + 4 * (2 * freedom) ** 0.5)


def test_the_scaled_kernel_is_gaussian_in_median_distances() -> None:
    features = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 2, 3
    expected = {(0, 1): -1 / 8, (1, 2): -1 / 2, (0, 2): -9 / 8, (1, 1): 0.0}
    kernel = scaled_kernel(features)
    assert [float(kernel[pair].log()) for pair in expected] == pytest.approx(list(expected.values()))
    assert torch.equal(scaled_kernel(torch.ones(3, 2)), torch.ones(3, 3, dtype=torch.float64))


@pytest.mark.parametrize("rule", ["random", "k-means", "dpp", "dpp-scaled"])
def test_draws_follow_the_generator_alone(rule: str) -> None:
    features = points(12, 3)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = SUBSETS[rule](features, 4, generator(1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert SUBSETS[rule](features, 4, generator(1)) == first
    assert any(SUBSETS[rule](features, 4, generator(seed)) != first for seed in range(2, 6))


def test_k_dpp_of_copies_takes_the_distinct_ones_first() -> None:
    features = torch.tensor([[0.0], [0.0], [0.0], [3.0], [6.0]])
    for seed in range(10):
        rows = SUBSETS["dpp-scaled"](features, 3, generator(seed))
        assert {3, 4} < set(rows)
        assert sorted(SUBSETS["dpp-scaled"](features, 5, generator(seed))) == list(range(5))


def test_k_dpp_of_many_rows_does_not_overflow() -> None:
    rows = sample_k_dpp(torch.eye(300) * 1e6, 150, generator())
    assert len(set(rows)) == 150


def test_the_paper_kernel_is_the_identity_on_latents_of_real_size_and_the_scaled_one_is_not() -> None:
    latents = points(40, 16 * 4 * 14 * 14)
    off = ~torch.eye(40, dtype=torch.bool)
    assert float(paper_kernel(latents)[off].max()) < 1e-60
    assert float(scaled_kernel(latents)[off].min()) > 0.5


def test_features_are_computed_class_by_class() -> None:
    features, sizes = points(30, 4), []

    def features_of(rows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(rows))
        return features[rows]

    data = labeled([row % 3 for row in range(30)], ("a", "b", "c"))
    rows = choose_videos(data, "facility-location", Budget(4, 1), generator(), features=features_of)
    expected = [3 * row + label for label in range(3) for row in facility_location(features[label::3], 4, generator())]
    assert rows.tolist() == expected
    assert sizes == [10, 10, 10]
