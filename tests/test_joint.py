"""The joint phase, step by step: who learns from which clips, at what rate, and what is reported."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from method_runs import FRAMES, candidates, dark_and_bright
from readings import all_steps, num_readings, spoiled_once
from torch import Tensor

from videocompressa.errors import DivergedError
from videocompressa.fill import fill_clips
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.selection import joint
from videocompressa.selection.gumbel import GumbelSelector, SelectorConfig, temperature
from videocompressa.selection.joint import JointConfig, coverage_loss, log_probability, train_selector, uncovered
from videocompressa.selection.understanding import UnderstandingModule

SCORER = SelectorConfig(thumbnail=8, width=8)
CONFIG = JointConfig(steps=6, batch_size=4, width=8)


class Watched:
    """A run of the joint phase, and what its parts were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, config: JointConfig, keyframes: int = 2, seed: int = 0) -> None:
        self.reports: list[tuple[str, dict[str, float]]] = []
        self.updates: list[tuple[float, float]] = []
        """(loss, learning rate) of every update."""
        self.rows: list[list[int]] = []
        """Clips of every update."""
        self.samples: list[tuple[int, float, bool]] = []
        """(number of frames, temperature, whether all scores were 0) of every draw of frames."""
        update, load, sample = joint._step, joint._load, GumbelSelector.sample

        def noted_update(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
            self.updates.append((float(loss.detach()), optimizer.param_groups[0]["lr"]))
            return update(loss, optimizer)

        def noted_load(data: Any, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
            self.rows.append(rows.tolist())
            return load(data, rows, device)

        def noted_sample(
            selector: GumbelSelector, scores: Tensor, count: int, tau: float, draws: torch.Generator
        ) -> Any:
            self.samples.append((count, tau, not bool(scores.any())))
            return sample(selector, scores, count, tau, draws)

        monkeypatch.setattr(joint, "is_read", all_steps)
        monkeypatch.setattr(joint, "_step", noted_update)
        monkeypatch.setattr(joint, "_load", noted_load)
        monkeypatch.setattr(GumbelSelector, "sample", noted_sample)
        self.data = dark_and_bright()
        run = Run(Streams(seed), watch=lambda step, **numbers: self.reports.append((step, numbers)))
        self.selector = train_selector(self.data, SCORER, config, run, keyframes=keyframes, fill="hold")
        monkeypatch.undo()


def cosine(step: int) -> float:
    return (1 + math.cos(math.pi * step / CONFIG.steps)) / 2


def test_student_and_selector_learn_by_turns_at_falling_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, CONFIG)
    rates = [rate for _, rate in watched.updates]
    assert rates[::2] == pytest.approx([cosine(step) * CONFIG.student_lr for step in range(CONFIG.steps)])
    assert rates[1::2] == pytest.approx([cosine(step) * CONFIG.lr for step in range(CONFIG.steps)])
    # The student learns few frames at random and complete clips: twice the loss of guessing, the selector's but once.
    assert watched.updates[0][0] == pytest.approx(2 * math.log(2), abs=0.7)


def test_they_learn_from_different_halves_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, CONFIG)
    of_student, of_selector = ({row for rows in watched.rows[turn::2] for row in rows} for turn in (0, 1))
    assert of_student | of_selector == set(range(12))
    assert not of_student & of_selector
    assert [row % 2 for row in sorted(of_student)].count(0) == 3
    assert {len(rows) for rows in watched.rows} == {4, 2}  # six clips, four at a time


def test_the_student_sees_frames_at_random_as_many_as_the_selector(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, dataclasses.replace(CONFIG, steps=40), keyframes=3)
    counts = [count for count, _, _ in watched.samples]
    assert counts[::2] == counts[1::2]
    assert set(counts) == {1, 2, 3}
    assert [at_random for _, _, at_random in watched.samples] == [True, False] * 40
    assert [tau for _, tau, _ in watched.samples[1::2]] == [temperature(step, 40, SCORER) for step in range(40)]


def test_what_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, CONFIG)
    assert [step for step, _ in watched.reports] == ["selector"] * CONFIG.steps
    for step, (_, numbers) in enumerate(watched.reports):
        assert set(numbers) == {"done", "total", "loss", "temperature", "entropy"}
        assert (numbers["done"], numbers["total"]) == (step + 1, CONFIG.steps)
        assert numbers["temperature"] == temperature(step, CONFIG.steps, SCORER)
        assert math.log(FRAMES) - 0.5 < numbers["entropy"] <= math.log(FRAMES) + 1e-6


def test_the_loss_of_the_selector_adds_the_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {}
    for weight in (0.0, 1.0, 3.0):
        monkeypatch.setattr(joint, "coverage_loss", lambda scores, *_: 0.5 + 0 * scores.sum())  # its own says nothing
        watched = Watched(monkeypatch, dataclasses.replace(CONFIG, steps=1, coverage_weight=weight))
        first[weight] = watched.updates[1][0]
        assert watched.reports[0][1]["loss"] == pytest.approx(first[0.0], abs=1e-5)
    assert first[1.0] > first[0.0] + 0.1
    assert first[1.0] - first[0.0] == pytest.approx(0.5, rel=1e-4)
    assert first[3.0] - first[0.0] == pytest.approx(3 * (first[1.0] - first[0.0]), rel=1e-4)


def test_without_joint_training_the_student_learns_alone_first(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(CONFIG, enabled=False, steps=20)
    watched = Watched(monkeypatch, config)
    assert [step for step, _ in watched.reports] == ["understanding"] * 20 + ["selector"] * 20
    assert [numbers for _, numbers in watched.reports[:20]] == [{"done": n + 1, "total": 20} for n in range(20)]
    assert [rate for _, rate in watched.updates[:20]] == [config.student_lr] * 20
    assert watched.updates[20][1] == config.lr
    assert len(watched.updates) == 40
    assert watched.updates[19][0] < 0.7 * watched.updates[0][0]
    assert {row for rows in watched.rows[:20] for row in rows}.isdisjoint(
        row for rows in watched.rows[20:] for row in rows
    )


def test_the_selector_is_frozen_and_follows_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    one, again, other = (Watched(monkeypatch, CONFIG, seed=seed) for seed in (0, 0, 1))
    assert not one.selector.training
    assert not any(weight.requires_grad for weight in one.selector.parameters())
    scores = [watched.selector.scores(watched.data.frames) for watched in (one, again, other)]
    assert torch.equal(scores[0], scores[1])
    assert not torch.allclose(scores[0], scores[2])


@pytest.mark.parametrize("enabled", [True, False])
def test_a_loss_that_was_infinite_once_ends_the_run(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "_step", spoiled_once(joint._step, at=3))
    with pytest.raises(
        DivergedError, match="^the loss of the joint phase stopped being finite; choose a lower joint.lr$"
    ):
        trained(dataclasses.replace(CONFIG, enabled=enabled))


@pytest.mark.parametrize("rate", ["lr", "student_lr"])
def test_a_rate_that_is_too_high_ends_the_run(rate: str) -> None:
    with pytest.raises(DivergedError, match="joint phase"):
        trained(dataclasses.replace(CONFIG, steps=30, **{rate: 1e30}))


@pytest.mark.parametrize("enabled", [True, False])
def test_losses_are_read_once_in_ten_steps(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)  # Adam reads its number of steps, which is on the CPU
    config = dataclasses.replace(CONFIG, enabled=enabled)
    few, more = (num_readings(partial(trained, dataclasses.replace(config, steps=steps))) for steps in (11, 20))
    assert 0 < few == more


def trained(config: JointConfig) -> GumbelSelector:
    return train_selector(dark_and_bright(), SCORER, config, Run(Streams(0)), keyframes=2, fill="hold")


def test_one_video_of_a_class_is_in_both_halves() -> None:
    first, second = joint._halves(torch.tensor([0, 1, 1, 1, 0, 0, 2]), torch.Generator())
    assert (len(first), len(second)) == (5, 3)
    assert set(first.tolist()) & set(second.tolist()) == {6}
    assert set(first.tolist()) | set(second.tolist()) == set(range(7))


def test_each_epoch_has_a_new_order() -> None:
    half = torch.tensor([3, 5, 7, 9, 11])
    batches = joint._batches(half, 2, torch.Generator().manual_seed(0))
    epochs = [[row for _ in range(3) for row in next(batches).tolist()] for _ in range(3)]
    assert all(sorted(epoch) == half.tolist() for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3


def test_entropy_is_that_of_the_first_pick() -> None:
    assert joint._entropy(torch.zeros(2, 8)) == pytest.approx(math.log(8))
    assert joint._entropy(torch.tensor([[0.0, math.log(3)]])) == pytest.approx(math.log(4) - 0.75 * math.log(3))


def test_coverage_is_a_share_of_the_variance_over_time() -> None:
    frames = torch.tensor([0.0, 2.0]).view(1, 2, 1).expand(3, 2, 4)
    mean, first = frames.mean(1, keepdim=True).expand_as(frames), frames[:, :1].expand_as(frames)
    assert uncovered(mean, frames).tolist() == pytest.approx([1] * 3, abs=1e-3)
    assert uncovered(first, frames).tolist() == pytest.approx([2] * 3, abs=1e-3)


def test_probabilities_of_ordered_picks_sum_to_one() -> None:
    scores = torch.tensor([[0.5, -1.0, 2.0, 0.0]], dtype=torch.float64)
    orders = torch.tensor(list(itertools.permutations(range(4), 2)))
    chances = log_probability(scores.expand(len(orders), -1), orders).exp()
    assert float(chances.sum()) == pytest.approx(1)
    shares = scores[0].softmax(0)
    assert float(chances[0]) == pytest.approx(float(shares[0] * shares[1] / (1 - shares[0])))


def test_the_gradient_of_the_coverage_is_that_of_its_mean() -> None:
    """Against the sum over all ordered picks of 2 of 4 frames; 8,192 clips of 4 draws each."""
    frames = torch.tensor([0.0, 0.2, 1.0, -0.5], dtype=torch.float64).view(1, 4, 1)
    start = [0.5, -1.0, 1.0, 0.0]
    scores = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    orders = torch.tensor(list(itertools.permutations(range(4), 2)))
    positions = orders.sort(1).values
    missed = uncovered(fill_clips(frames[0, positions], positions, 4, "linear"), frames.expand(len(orders), -1, -1))
    torch.autograd.backward((log_probability(scores.expand(len(orders), -1), orders).exp() * missed).sum())
    drawn = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    many, draws = drawn.expand(8192, -1), torch.Generator().manual_seed(0)
    torch.autograd.backward(coverage_loss(many, frames.expand(8192, -1, -1), 2, "linear", draws))
    assert scores.grad is not None
    assert drawn.grad is not None
    assert float(scores.grad.abs().max()) > 0.05
    assert torch.allclose(drawn.grad, scores.grad, atol=0.02)


def test_it_finds_the_action_between_idle_stretches() -> None:
    """Clips of 12 frames, of which 4 in a row change, anywhere; of 4 kept ones, a third would be there by chance."""
    draws = torch.Generator().manual_seed(0)
    shades = torch.randint(0, 256, (64, 5, 3, 1, 1), generator=draws, dtype=torch.uint8)
    starts = torch.randint(1, 8, (64,), generator=draws)
    steps = (torch.arange(12) - starts[:, None] + 1).clamp(0, 4)
    frames = shades[torch.arange(64)[:, None], steps].expand(-1, -1, -1, 8, 8)
    config = JointConfig(steps=150, batch_size=32, width=8, lr=1e-2, coverage_weight=1.0)
    selector = train_selector(
        candidates(frames, torch.arange(64) % 2), SCORER, config, Run(Streams(0)), keyframes=4, fill="hold"
    )
    positions = selector.positions(frames, 4, draws)
    inside = (positions >= starts[:, None]) & (positions < starts[:, None] + 4)
    assert float(inside.double().mean()) > 0.6


@pytest.mark.parametrize(("sides", "coarse"), [((48, 32), (16, 16)), ((8, 32), (8, 16)), ((16, 4), (16, 4))])
def test_many_cells_are_averaged(sides: tuple[int, int], coarse: tuple[int, int]) -> None:
    latents = torch.randn(2, 3, 4, *sides, generator=torch.Generator().manual_seed(0))
    averaged = joint._coarse(latents)
    assert averaged.shape == (2, 3, 4, *coarse)
    assert torch.allclose(averaged.mean((3, 4)), latents.mean((3, 4)), atol=1e-6)
    assert sides != coarse or torch.equal(averaged, latents)


@pytest.mark.parametrize("temporal", [True, False])
def test_the_stem_sees_frames_alone_and_time_is_an_option(temporal: bool) -> None:
    module = UnderstandingModule(3, 5, temporal, 8, torch.Generator().manual_seed(0))
    latents = torch.randn(2, 6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    features = module.stem(latents)
    assert features.shape == (2, 6, 16)
    assert torch.allclose(module.stem(latents[:, order]), features[:, order], atol=1e-6)
    logits = module(latents)
    assert logits.shape == (2, 5)
    assert torch.equal(logits, module.classify(features))
    assert torch.allclose(module(latents[:, order]), logits, atol=1e-5) is not temporal
