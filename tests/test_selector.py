"""Selectors: properties of the picks, both theorems, and the planted truth."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from videocompressa.errors import InputError, check_known
from videocompressa.selection.gumbel import (
    GumbelSelector,
    SelectorConfig,
    gumbel_noise,
    temperature,
    top_k_straight_through,
)
from videocompressa.selection.keyframes import FIXED_SELECTORS, SELECTORS, top_k_positions


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_frames(num_clips: int, num_frames: int, side: int = 32, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (num_clips, num_frames, 3, side, side), dtype=torch.uint8, generator=generator(seed))


shapes = st.integers(1, 12).flatmap(lambda frames: st.tuples(st.just(frames), st.integers(1, frames)))


@given(shapes, st.integers(0, 2**31))
def test_hard_picks_are_the_top_k_in_time_order(shape: tuple[int, int], seed: int) -> None:
    num_frames, keyframes = shape
    scores = torch.randn(3, num_frames, generator=generator(seed))
    weights, relaxed = top_k_straight_through(scores, keyframes, 0.7)
    picks = weights.argmax(2)
    assert torch.allclose(weights.sum(2), torch.ones(3, keyframes))
    assert torch.allclose(weights.amax(2), torch.ones(3, keyframes))
    assert torch.equal(picks, top_k_positions(scores, keyframes))
    assert bool((picks.diff(dim=1) > 0).all())
    assert torch.allclose(relaxed.sum(2), torch.ones(3, keyframes), atol=1e-5)


@given(shapes)
def test_every_selector_gives_rising_positions_in_range(shape: tuple[int, int]) -> None:
    num_frames, keyframes = shape
    frames = random_frames(2, num_frames, side=8)
    config = SelectorConfig(width=8, thumbnail=8)
    for selector in [*(make() for make in FIXED_SELECTORS.values()), GumbelSelector(config, generator())]:
        positions = selector.positions(frames, keyframes, generator())
        assert positions.shape == (2, keyframes)
        assert positions.dtype == torch.int64
        assert int(positions.min()) >= 0
        assert int(positions.max()) < num_frames
        assert bool((positions.diff(dim=1) > 0).all())
        if keyframes == num_frames:
            assert torch.equal(positions, torch.arange(num_frames).expand(2, -1))


def test_uniform_and_middle_have_fixed_positions() -> None:
    frames = random_frames(1, 8, side=8)
    assert FIXED_SELECTORS["uniform"]().positions(frames, 4, generator()).tolist() == [[1, 3, 5, 7]]
    assert FIXED_SELECTORS["middle"]().positions(frames, 4, generator()).tolist() == [[2, 3, 4, 5]]


def test_random_selector_takes_every_frame_equally_often() -> None:
    positions = FIXED_SELECTORS["random"]().positions(random_frames(6000, 5, side=1), 2, generator())
    frequencies = torch.bincount(positions.flatten(), minlength=5) / 6000
    assert torch.allclose(frequencies, torch.full((5,), 0.4), atol=0.03)


def test_scores_follow_a_permutation_of_frames_when_frames_are_scored_alone() -> None:
    selector = GumbelSelector(SelectorConfig(temporal_kernel=1, frame_differences=False), generator())
    frames = random_frames(2, 6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    scores = selector.score(selector.thumbnails(frames))
    permuted = selector.score(selector.thumbnails(frames[:, order]))
    assert torch.allclose(permuted, scores[:, order], atol=1e-6)
    assert float(scores.detach().std()) > 0


def test_size_of_the_learned_selector_and_no_global_randomness() -> None:
    before = torch.random.get_rng_state()
    selector = GumbelSelector(SelectorConfig(), generator())
    assert torch.equal(before, torch.random.get_rng_state())
    assert sum(weights.numel() for weights in selector.parameters()) < 200_000
    twin = GumbelSelector(SelectorConfig(), generator())
    assert all(torch.equal(a, b) for a, b in zip(selector.parameters(), twin.parameters(), strict=True))


def test_temperature_falls_geometrically() -> None:
    config = SelectorConfig(tau_start=4.0, tau_end=0.25)
    schedule = [temperature(step, 5, config) for step in range(5)]
    assert schedule == pytest.approx([4.0, 2.0, 1.0, 0.5, 0.25])


def test_theorem_1_gumbel_max_frequencies_equal_softmax() -> None:
    scores = torch.tensor([0.3, -1.0, 1.2, 0.0])
    draws = 200_000
    winners = (scores + gumbel_noise((draws, 4), generator())).argmax(1)
    frequencies = torch.bincount(winners, minlength=4) / draws
    assert torch.allclose(frequencies, scores.softmax(0), atol=0.005)


def test_theorem_1_top_k_frequencies_equal_plackett_luce() -> None:
    scores = torch.tensor([0.3, -1.0, 1.2, 0.0])
    draws = 200_000
    weights, _ = top_k_straight_through(scores + gumbel_noise((draws, 4), generator(1)), 2, 1.0)
    picks = weights.argmax(2)
    odds = scores.exp().tolist()
    for low, high in itertools.combinations(range(4), 2):
        expected = sum(odds[a] / sum(odds) * odds[b] / (sum(odds) - odds[a]) for a, b in [(low, high), (high, low)])
        observed = float(((picks[:, 0] == low) & (picks[:, 1] == high)).float().mean())
        assert observed == pytest.approx(expected, abs=0.005)


def _gradients(scores: Tensor, target: Tensor, keyframes: int, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """Straight-through and relaxed gradient of l(W) = |W A - target|^2 / 2 for one clip, and the relaxed weights."""
    leaf = scores.clone().requires_grad_()
    weights, relaxed = top_k_straight_through(leaf[None], keyframes, tau)
    (straight,) = torch.autograd.grad(_loss(weights[0], target), leaf, retain_graph=True)
    (smooth,) = torch.autograd.grad(_loss(relaxed[0], target), leaf)
    return straight, smooth, relaxed[0].detach()


_FEATURES = torch.randn(6, 5, generator=generator(7), dtype=torch.float64)
_BETA = float(torch.linalg.matrix_norm(_FEATURES @ _FEATURES.T, 2))


def _loss(weights: Tensor, target: Tensor) -> Tensor:
    return (weights @ _FEATURES - target).square().sum() / 2


@pytest.mark.parametrize("keyframes", [1, 2, 4])
@pytest.mark.parametrize("tau", [0.05, 0.3, 1.0, 3.0])
def test_theorem_2a_bounds_every_draw(keyframes: int, tau: float) -> None:
    draw = generator(3)
    ratios = []
    for _ in range(200):
        scores = torch.randn(6, generator=draw, dtype=torch.float64)
        scores = scores + gumbel_noise((6,), draw).double()
        target = torch.randn(keyframes, 5, generator=draw, dtype=torch.float64)
        straight, smooth, relaxed = _gradients(scores, target, keyframes, tau)
        eps = 1 - relaxed.amax(1)
        jacobians = torch.minimum(torch.tensor(0.5, dtype=torch.float64), 2 * eps).square().sum().sqrt()
        bound = _BETA / tau * jacobians * (2 * eps.square()).sum().sqrt()
        error = (straight - smooth).norm()
        assert error <= bound * (1 + 1e-6) + 1e-12
        ratios.append(float(error / bound) if bound > 1e-12 else 0.0)
    assert max(ratios) > 0.02  # the bound is of the size of what it bounds, not a triviality


@pytest.mark.parametrize("tau", [0.05, 0.3, 1.0, 3.0])
def test_theorem_2b_bounds_the_mean_over_noise(tau: float) -> None:
    draw = generator(4)
    scores = torch.randn(6, generator=draw, dtype=torch.float64)
    target = torch.randn(1, 5, generator=draw, dtype=torch.float64)
    errors = []
    for _ in range(1500):
        straight, smooth, _ = _gradients(scores + gumbel_noise((6,), draw).double(), target, 1, tau)
        errors.append(float((straight - smooth).norm()))
    assert sum(errors) / len(errors) <= math.sqrt(2) * _BETA * (math.log(5) / 2 + 7 / 16)


def test_gap_of_perturbed_scores_is_at_least_exponential() -> None:
    perturbed = torch.tensor([2.0, 0.0, -1.0]) + gumbel_noise((100_000, 3), generator(5))
    top = perturbed.topk(2, dim=1).values
    gaps = top[:, 0] - top[:, 1]
    for level in (0.25, 0.5, 1.0, 2.0):
        assert float((gaps > level).float().mean()) >= math.exp(-level) - 0.005


def test_straight_through_equals_relaxed_for_a_linear_loss() -> None:
    scores = torch.randn(6, generator=generator(6), dtype=torch.float64, requires_grad=True)
    weights, relaxed = top_k_straight_through(scores[None], 3, 0.5)
    slope = torch.randn(3, 6, generator=generator(8), dtype=torch.float64)
    (straight,) = torch.autograd.grad((weights[0] * slope).sum(), scores, retain_graph=True)
    (smooth,) = torch.autograd.grad((relaxed[0] * slope).sum(), scores)
    assert torch.allclose(straight, smooth)
    assert float(straight.norm()) > 0


def test_relaxed_gradient_agrees_with_finite_differences() -> None:
    scores = torch.tensor([[0.5, -0.2, 1.0, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: top_k_straight_through(s, 2, 0.8)[1], (scores,))


def test_messages() -> None:
    scores = torch.zeros(1, 4)
    with pytest.raises(InputError, match=r"--keyframes is 5, but a clip has 4 candidate frames; choose 1 to 4"):
        top_k_positions(scores, 5)
    with pytest.raises(InputError, match="the temperature is 0; it must be positive"):
        top_k_straight_through(scores, 1, 0)
    with pytest.raises(InputError, match="unknown selector 'best'; known: gumbel, uniform, random, middle"):
        check_known("unknown selector", "best", SELECTORS)
    with pytest.raises(InputError, match=r"tau_start is 0.1 and selector.tau_end is 0.3"):
        SelectorConfig(tau_start=0.1)
    with pytest.raises(InputError, match="temporal_kernel is 2; it must be odd"):
        SelectorConfig(temporal_kernel=2)


def test_shot_selector_keeps_the_middle_of_each_shot() -> None:
    shades = [10, 12, 11, 90, 92, 200, 205, 201]  # shots of 3, 2 and 3 frames
    frames = torch.tensor(shades, dtype=torch.uint8).view(1, 8, 1, 1, 1).expand(1, 8, 3, 6, 6)
    assert FIXED_SELECTORS["shots"]().positions(frames, 3, generator()).tolist() == [[1, 3, 6]]


@given(st.integers(1, 40), st.integers(1, 40))
def test_shot_selector_spreads_the_cuts_of_still_clips(keyframes: int, num_frames: int) -> None:
    still = torch.zeros(1, max(keyframes, num_frames), 3, 4, 4, dtype=torch.uint8)
    positions = FIXED_SELECTORS["shots"]().positions(still, keyframes, generator())[0]
    even = FIXED_SELECTORS["uniform"]().positions(still, keyframes, generator())[0]
    assert bool(((positions - even).abs() <= 1).all())


def test_shot_selector_spreads_cuts_that_are_left_over() -> None:
    shades = torch.tensor([0] * 95 + [200] * 5, dtype=torch.uint8)
    frames = shades.view(1, 100, 1, 1, 1).expand(1, 100, 3, 2, 2)
    assert FIXED_SELECTORS["shots"]().positions(frames, 4, generator()).tolist() == [[16, 49, 80, 97]]
