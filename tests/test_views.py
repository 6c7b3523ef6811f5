"""Views: shares that sum to one, time ramps that stay ramps, labels of what was mixed, and the text of each error."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelers import STRONG
from torch import Tensor

from videocompressa.clip import Normalization
from videocompressa.errors import InputError
from videocompressa.students import training
from videocompressa.students.clips import LabeledClips
from videocompressa.views import UNCHANGED, Views, mixed, random_views, slowed

shares = st.sampled_from([0.0, 0.3, 1.0])
any_views = st.builds(
    Views, crop=st.sampled_from([0.3, 1.0]), mirror=st.booleans(), color=st.sampled_from([0.0, 0.5]),
    time=shares, scenes=shares, mix=shares,
)  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips(count: int = 5, frames: int = 4, side: int = 8, seed: int = 9) -> Tensor:
    return torch.rand(count, frames, 3, side, side, generator=generator(seed))


# --- All of them ---


@given(views=any_views, count=st.integers(1, 6), frames=st.integers(1, 5), seed=st.integers(0, 99))
def test_views_are_clips_and_their_shares_sum_to_one(views: Views, count: int, frames: int, seed: int) -> None:
    pixels = clips(count, frames)
    seen, parts = random_views(pixels, views, generator(seed))
    assert (seen.shape, seen.dtype) == (pixels.shape, torch.float32)
    assert float(seen.min()) >= -1e-6
    assert float(seen.max()) <= 1 + 1e-6
    assert parts.shape == (count, count)
    assert bool((parts >= 0).all())
    torch.testing.assert_close(parts.sum(1), torch.ones(count))
    if views.mix == 0:
        assert torch.equal(parts, torch.eye(count))
    again, same = random_views(pixels, views, generator(seed))
    assert torch.equal(again, seen)
    assert torch.equal(same, parts)


def test_another_seed_gives_other_views() -> None:
    pixels = clips()
    assert not torch.equal(random_views(pixels, STRONG, generator(0))[0], random_views(pixels, STRONG, generator(1))[0])


def test_unchanged_returns_the_clips_themselves_and_draws_nothing() -> None:
    pixels, draws = clips(), generator(3)
    seen, parts = random_views(pixels, UNCHANGED, draws)
    assert seen is pixels
    assert torch.equal(parts, torch.eye(5))
    assert torch.equal(draws.get_state(), generator(3).get_state())


@pytest.mark.parametrize(
    "views", [replace(UNCHANGED, **{name: value}) for name, value in
              (("crop", 0.5), ("mirror", True), ("color", 0.5), ("time", 1.0), ("scenes", 1.0), ("mix", 1.0))],
    ids=lambda views: next(each.name for each in fields(views) if vars(views)[each.name] != vars(UNCHANGED)[each.name]),
)  # fmt: skip
def test_each_setting_alone_changes_clips_and_not_the_given_tensor(views: Views) -> None:
    pixels = clips(8)
    before = pixels.clone()
    seen, _ = random_views(pixels, views, generator(1))
    assert not torch.equal(seen, before)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("name", ["color", "time", "scenes", "mix", "crop"])
def test_a_clip_is_changed_the_same_way_in_all_frames(name: str) -> None:
    """What does not move still does not: only time itself changes from frame to frame."""
    still = clips(6, 1).expand(-1, 4, -1, -1, -1)
    seen, _ = random_views(still, replace(UNCHANGED, **{name: 0.5 if name in ("color", "crop") else 1.0}), generator(2))
    torch.testing.assert_close(seen, seen[:, :1].expand_as(seen))


# --- Time ---


@given(frames=st.integers(2, 12), share=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 99))
def test_a_clip_that_brightens_evenly_still_does_and_by_less(frames: int, share: float, seed: int) -> None:
    """A ramp in time stays one, within the range, at 60 to 100 % of its slope."""
    ramp = torch.linspace(0, 1, frames).view(1, frames, 1, 1, 1).expand(20, frames, 3, 2, 2)
    seen = slowed(ramp, share, generator(seed))
    times = seen[:, :, 0, 0, 0]
    torch.testing.assert_close(seen, times[..., None, None, None].expand_as(seen))
    steps = times.diff(dim=1) * (frames - 1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), rtol=0, atol=1e-4)
    assert float(steps.min()) >= 0.6 - 1e-4
    assert float(steps.max()) <= 1 + 1e-4
    assert float(times.min()) >= 0
    assert float(times.max()) <= 1 + 1e-6
    complete = (steps[:, 0] > 1 - 1e-4) & (times[:, 0] < 1e-6) & (times[:, -1] > 1 - 1e-6)
    if share == 0:
        assert seen is ramp
        assert bool(complete.all())
    if share == 1:
        assert not bool(complete.all())


def test_slowed_parts_lie_anywhere_and_the_others_stay() -> None:
    ramp = torch.linspace(0, 1, 8).view(1, 8, 1, 1, 1).expand(400, 8, 3, 1, 1)
    times = slowed(ramp, 0.5, generator(0))[:, :, 0, 0, 0]
    first, last = times[:, 0], times[:, -1]
    kept = (first < 1e-6) & (last > 1 - 1e-6)
    assert 150 < int(kept.sum()) < 250
    torch.testing.assert_close(times[kept], ramp[kept][:, :, 0, 0, 0], rtol=0, atol=1e-6)
    assert float(first.max()) > 0.25  # the last 60 %, nearly
    assert float(last[~kept].min()) < 0.75
    assert float((last - first).min()) < 0.65


def test_one_frame_has_no_time_to_change() -> None:
    pixels = clips(3, 1)
    assert slowed(pixels, 1.0, generator()) is pixels


# --- Mixing ---


@given(seed=st.integers(0, 300))
def test_shares_are_those_of_the_pixels(seed: int) -> None:
    """Clip i has the constant value i / 10: the mean of a view is the shares' mean of these values."""
    values = torch.arange(5) / 10
    pixels = values.view(5, 1, 1, 1, 1).expand(5, 2, 3, 20, 20)
    seen, parts = mixed(pixels, 1.0, generator(seed))
    torch.testing.assert_close(seen.mean((1, 2, 3, 4)), parts @ values)
    assert bool((parts > 0).sum(1).le(3).all())
    torch.testing.assert_close(parts.sum(1), torch.ones(5))


def test_half_of_the_mixed_batches_are_blended_and_the_others_get_boxes() -> None:
    pixels = (torch.arange(6) / 10).view(6, 1, 1, 1, 1).expand(6, 1, 3, 16, 16)
    blended = boxed = kept = 0
    for seed in range(300):
        seen, parts = mixed(pixels, 0.8, generator(seed))
        if torch.equal(parts, torch.eye(6)):
            kept += 1
        elif bool((seen == seen[..., :1, :1]).all()):
            blended += 1
        else:
            boxed += 1
            first = seen[(seen != seen[..., :1, :1]).flatten(1).any(1)][0, 0, 0]
            assert len(first.unique()) in (2, 3)
    # Orders may leave every clip in its place, which looks like a blend.
    assert 30 < kept < 95
    assert 85 < blended < 160
    assert 75 < boxed < 150


def test_labels_of_a_mixed_batch_are_the_shares_of_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training: hard labels become probabilities, soft ones their mixture."""
    parts = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    monkeypatch.setattr(training, "random_views", lambda pixels, views, draws: (pixels, parts))
    hard = LabeledClips(clips(2), torch.tensor([2, 0]), Normalization((0.0,) * 3, (1.0,) * 3), ("a", "b", "c"))
    soft = replace(hard, labels=torch.tensor([[0.0, 0.4, 0.6], [0.5, 0.5, 0.0]]))
    rows, cpu = torch.arange(2), torch.device("cpu")
    mix, plain = Views(mix=0.5), Views(mix=0.0)
    _, labels = training.labeled_views(hard, rows, mix, cpu, generator())
    assert labels.tolist() == [[0.75, 0.0, 0.25], [0.0, 0.0, 1.0]]
    _, labels = training.labeled_views(soft, rows, mix, cpu, generator())
    torch.testing.assert_close(labels, torch.tensor([[0.375, 0.475, 0.15], [0.0, 0.4, 0.6]]))
    _, labels = training.labeled_views(hard, rows, plain, cpu, generator())
    assert labels.tolist() == [2, 0]


# --- Refusals ---


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("crop", 0.0, r"in \(0,1\]"),
        ("crop", 1.1, r"in \(0,1\]"),
        ("crop", float("nan"), r"in \(0,1\]"),
        ("color", 1.0, r"in \[0,1\)"),
        ("color", -0.1, r"in \[0,1\)"),
        ("time", 1.1, r"in \[0,1\]"),
        ("time", float("nan"), r"in \[0,1\]"),
        ("scenes", -0.1, r"in \[0,1\]"),
        ("mix", float("inf"), r"in \[0,1\]"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(InputError, match=rf"^views\.{name} is {value}; it must be {allowed}$"):
        Views(**{name: value})


def test_every_number_is_checked() -> None:
    for field in fields(Views):
        if not isinstance(field.default, bool):
            with pytest.raises(InputError, match=f"views.{field.name} is -1"):
                Views(**{field.name: -1})
