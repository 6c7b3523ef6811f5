"""What fits: blank sets are as large as the real ones, and searches find the last that fits."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from method_runs import FRAMES, SMALL_METHODS, compress, dark_and_bright

from videocompressa.artifact import to_bytes
from videocompressa.artifact.container import Quantization
from videocompressa.artifact.fitting import largest_fitting
from videocompressa.artifact.storage import Storage, blank_stream, stored, transform_of
from videocompressa.codecs import PixelCodec
from videocompressa.methods import METHODS

BY_ITEMS = sorted(
    name for name, config in SMALL_METHODS.items() if not config.fills_bytes and name not in ("mtt", "dm")
)


@pytest.mark.parametrize("quantization", ["int8", "float16"])
@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("name", BY_ITEMS)
def test_a_blank_file_is_as_large_as_that_of_the_real_latents_and_labels(
    name: str, labels: str, quantization: Quantization
) -> None:
    data, config = dark_and_bright(), dataclasses.replace(SMALL_METHODS[name], labels=labels)
    synthetic = compress(data, config)
    rows = torch.tensor([data.video_ids.index(video) for video in synthetic.provenance.video_ids])
    blank = config.blank(data, rows, synthetic.positions, seed=0)
    assert len(to_bytes(blank, quantization)) == len(to_bytes(synthetic, quantization))
    assert blank.latents.stride() == (0,) * 5  # no memory


@pytest.mark.parametrize(
    ("name", "settings", "most"),
    [
        ("random-real", {}, 0),
        ("herding-real", {}, 0),
        ("random-real", {"selector": "gumbel"}, 64),
        ("random-real", {"labels": "soft"}, 64),
        ("random-real", {"labels": "views"}, 1024),
        ("dm", {}, 64),
    ],
)
def test_a_set_has_a_bounded_sample_of_the_videos_that_it_learned_from(
    name: str, settings: dict[str, str], most: int
) -> None:
    data = dark_and_bright()
    many = data.take(torch.arange(len(data)).repeat(1500 // len(data)))
    many = dataclasses.replace(many, video_hashes=tuple(f"{number:010x}" for number in reversed(range(len(many)))))
    config = dataclasses.replace(METHODS[name], **({"labels": "hard"} | settings))
    blank = config.blank(many, torch.tensor([0, 1]), torch.tensor([[0, 1]] * 2), seed=0)
    assert blank.provenance.learned_hashes == tuple(f"{number:010x}" for number in range(most))


def test_a_blank_stream_stands_for_the_entropy_coded_one() -> None:
    data, config, codec = dark_and_bright(), SMALL_METHODS["random-real"], PixelCodec()
    file = stored(compress(data, config), codec, Storage())
    rows = torch.tensor([data.video_ids.index(video) for video in file.provenance.video_ids])
    packed = blank_stream(codec.spec, file.packed["stream"].numel())
    blank = config.blank(data, rows, file.positions, 0, transform_of(codec.spec), packed)
    assert len(to_bytes(blank)) == len(to_bytes(file))


def test_the_settings_of_a_file_are_those_that_differ_from_the_defaults() -> None:
    data = dark_and_bright()
    assert set(compress(data, SMALL_METHODS["random-real"]).provenance.config) == {"teacher"}
    assert compress(data, METHODS["random-real"]).provenance.config == {}
    usual = METHODS["random-real"].teacher
    train = dataclasses.replace(
        usual.train, student="framenet2d", steps=7, views=dataclasses.replace(usual.train.views, mix=0.125)
    )
    teacher = dataclasses.replace(usual, train=train)
    changed = dataclasses.replace(METHODS["random-real"], selector="middle", teacher=teacher)
    assert compress(data, changed).provenance.config == {
        "selector": "middle",
        "teacher": {"train": {"student": "framenet2d", "steps": 7, "views": {"mix": 0.125}}},
    }


@given(low=st.integers(-5, 5), length=st.integers(0, 40), limit=st.integers(-10, 60), start=st.integers(0, 40))
def test_the_largest_that_fits_is_found_without_asking_twice(low: int, length: int, limit: int, start: int) -> None:
    high = low + length
    asked: list[int] = []

    def fits(number: int) -> bool:
        asked.append(number)
        return number <= limit

    largest = largest_fitting(fits, low, high, start=min(high, low + start))
    assert largest == max(low - 1, min(high, limit))
    assert len(asked) == len(set(asked)) <= 13
    assert all(low <= number <= high for number in asked)


def test_numbers_far_above_the_answer_are_not_tried() -> None:
    asked: list[int] = []
    largest_fitting(lambda number: asked.append(number) or number <= 3, 1, 10**6)
    assert max(asked) <= 8


def test_all_frames_fit_where_the_budget_is_large() -> None:
    data = dark_and_bright()
    synthetic = compress(data, SMALL_METHODS["typical-clips"], file_bytes=10**6)
    assert synthetic.positions.shape == (len(data), FRAMES)
