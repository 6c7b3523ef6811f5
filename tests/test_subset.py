"""Subset rules: what each promises, against brute force where that is small."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videocompressa.errors import InputError
from videocompressa.subset import SUBSETS, choose_per_class, facility_location, herding, k_center


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
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    features = torch.cat([centre + 0.1 * points(5, 2, seed) for seed, centre in enumerate(centres)])
    assert sorted(row // 5 for row in facility_location(features, 3, generator())) == [0, 1, 2]


def test_choose_per_class_is_grouped_by_class_and_follows_the_seed() -> None:
    labels = torch.tensor([1, 0, 1, 0, 1, 0, 0])
    options = {"count": 2, "allow_fewer": False, "name": "random"}
    rows = choose_per_class(points(7), labels, ("a", "b"), **options, generator=generator(1))
    again = choose_per_class(points(7), labels, ("a", "b"), **options, generator=generator(1))
    assert labels[rows].tolist() == [0, 0, 1, 1]
    assert torch.equal(rows, again)


def test_too_few_videos_of_a_class() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    options = {"count": 2, "name": "herding", "generator": generator()}
    with pytest.raises(
        InputError, match=r"--vpc is 2, but class 'b' has 1 training videos; lower --vpc to 1, or .*few"
    ):
        choose_per_class(points(4), labels, ("a", "b"), allow_fewer=False, **options)
    rows = choose_per_class(points(4), labels, ("a", "b"), allow_fewer=True, **options)
    assert labels[rows].tolist() == [0, 0, 1]


def test_unknown_rule_lists_the_known() -> None:
    with pytest.raises(InputError, match="unknown subset rule 'best'; known: random, herding, k-center, facility"):
        choose_per_class(
            points(2), torch.tensor([0, 1]), ("a", "b"), count=1, allow_fewer=False, name="best", generator=generator()
        )
