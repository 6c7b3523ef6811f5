"""Clips, codec specs, candidates, errors and random streams."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from videocompressa import errors
from videocompressa.clip import Candidates, Clip, ClipSpec, CodecSpec, Normalization, shape_text
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.run import watch_nothing
from videocompressa.video.timeline import stride_of

PINNED = {"gumbel": [275, 376, 54, 446], "fit/gumbel": [692, 813, 618, 892]}

CODEC = CodecSpec("pixel", "", 3, 4, (0.5,) * 3, (0.25,) * 3)


def make_clip(**changes: Any) -> Clip:
    fields: dict[str, Any] = {
        "frames": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        "pts_seconds": torch.tensor([0.0, 0.5], dtype=torch.float64),
        "label": 1,
        "video_id": "sit/a.mp4",
        "num_video_frames": 30,
    }
    return Clip(**(fields | changes))


def make_candidates(**changes: Any) -> Candidates:
    fields: dict[str, Any] = {
        "frames": torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1, 1).expand(3, 2, 3, 8, 8),
        "latents": torch.zeros(3, 2, 3, 2, 2, dtype=torch.float16),
        "times_seconds": torch.zeros(3, 2, dtype=torch.float64),
        "labels": torch.tensor([0, 1, 1]),
        "video_ids": ("a", "b", "c"),
        "num_video_frames": torch.tensor([10, 20, 30]),
        "video_bytes": torch.tensor([100, 200, 300]),
        "classes": ("sit", "stand"),
        "clip": ClipSpec(2, 8, 8),
        "codec": CODEC,
        "normalization": Normalization((0.5,) * 3, (0.25,) * 3),
        "source": "toy",
    }
    return Candidates(**(fields | changes))


@pytest.mark.parametrize("name", ["num_frames", "height", "width"])
def test_clip_specs_have_sizes(name: str) -> None:
    with pytest.raises(InputError, match=f"ClipSpec.{name} is 0; it must be at least 1"):
        replace(ClipSpec(8, 64, 64), **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("placement", ["window", "strided", "strided:", "strided:0", "strided:-1", "strided:4 "])
def test_unknown_placements_are_refused(placement: str) -> None:
    with pytest.raises(InputError, match=f"placement is '{placement}'; known: 'even', 'motion', or 'strided:S' with S"):
        ClipSpec(8, 64, 64, placement)


def test_unknown_fits_are_refused() -> None:
    with pytest.raises(InputError, match="^fit is 'squeeze'; known: crop, pad, stretch"):
        ClipSpec(8, 64, 64, fit="squeeze")


def test_placements_name_their_stride() -> None:
    assert stride_of(ClipSpec(8, 64, 64).placement) == stride_of(ClipSpec(8, 64, 64, "motion").placement) == 0
    assert stride_of(ClipSpec(8, 64, 64, "strided:12").placement) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": torch.zeros(2, 3, 8, 8)}, r"frames of 'sit/a.mp4' is float32 \(2, 3, 8, 8\); it must be uint8"),
        ({"frames": torch.zeros(2, 8, 8, 3, dtype=torch.uint8)}, r"uint8 \(2, 8, 8, 3\); it must be uint8 \(T,3,H,W\)"),
        ({"frames": torch.zeros(3, 8, 8, dtype=torch.uint8)}, r"it must be uint8 \(T,3,H,W\)"),
        (
            {"pts_seconds": torch.zeros(3, dtype=torch.float64)},
            r"float64 \(3,\); it must be float64 \(2,\), one time a",
        ),
        ({"pts_seconds": torch.zeros(2)}, r"pts_seconds of 'sit/a.mp4' is float32 \(2,\)"),
        ({"pts_seconds": torch.tensor([1.0, 0.5], dtype=torch.float64)}, "falls or is not finite"),
        ({"pts_seconds": torch.tensor([0.0, float("nan")], dtype=torch.float64)}, "falls or is not finite"),
    ],
)
def test_wrong_clips_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_clip(**changes)


def test_frames_shown_at_one_time_are_allowed() -> None:
    assert len(make_clip(pts_seconds=torch.zeros(2, dtype=torch.float64)).frames) == 2


def test_records_show_shapes_and_not_pixels() -> None:
    assert repr(make_clip()) == "Clip('sit/a.mp4', label=1, frames=uint8 (2, 3, 8, 8))"
    assert repr(make_candidates()) == (
        "Candidates('toy', frames=uint8 (3, 2, 3, 8, 8), latents=float16 (3, 2, 3, 2, 2), classes=2)"
    )
    assert shape_text(torch.zeros(())) == "float32 ()"


def test_latent_shapes_follow_the_downscale() -> None:
    assert CODEC.latent_shape(8, 16) == (3, 2, 4)


@pytest.mark.parametrize(("height", "width", "advice"), [(9, 8, 8), (8, 10, 8), (1, 1, 4), (63, 63, 64)])
def test_sides_that_do_not_fit_the_codec_are_refused(height: int, width: int, advice: int) -> None:
    with pytest.raises(InputError, match=f"multiples of 4 pixels, got {height}x{width}; choose --size {advice}$"):
        CODEC.latent_shape(height, width)


def test_normalized_pixels_have_mean_zero_and_deviation_one() -> None:
    pixels = torch.rand(5, 2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    std, mean = torch.std_mean(pixels, dim=(0, 1, 3, 4))
    out = Normalization(tuple(mean.tolist()), tuple(std.tolist())).apply(pixels)
    torch.testing.assert_close(out.mean((0, 1, 3, 4)), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(out.std((0, 1, 3, 4)), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": torch.zeros(3, 1, 3, 8, 8, dtype=torch.uint8)}, r"Candidates.frames is uint8 \(3, 1, 3, 8, 8\)"),
        ({"latents": torch.zeros(3, 2, 3, 4, 4)}, r"Candidates.latents is .*; it must be \(3, 2, 3, 2, 2\)"),
        ({"times_seconds": torch.zeros(3)}, r"Candidates.times_seconds is .*; it must be \(3, 2\)"),
        ({"num_video_frames": torch.zeros(2)}, r"Candidates.num_video_frames is .*; it must be \(3,\)"),
        ({"video_bytes": torch.zeros(2)}, r"Candidates.video_bytes is .*; it must be \(3,\)"),
        ({"video_ids": ("a",)}, "Candidates.video_ids has 1 entries for 3 videos"),
        ({"labels": torch.tensor([0, 1, 2])}, r"Candidates.labels leave \[0,2\)"),
        ({"labels": torch.tensor([0, -1, 1])}, r"Candidates.labels leave \[0,2\)"),
    ],
)
def test_wrong_candidates_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_candidates(**changes)


@pytest.mark.parametrize("rows", [[2, 0], torch.tensor([2, 0])])
def test_taking_rows_keeps_all_fields_together(rows: Any) -> None:
    taken = make_candidates().take(rows)
    assert len(taken) == 2
    assert taken.video_ids == ("c", "a")
    assert taken.labels.tolist() == [1, 0]
    assert taken.frames[:, 0, 0, 0, 0].tolist() == [2, 0]
    assert taken.num_video_frames.tolist() == [30, 10]
    assert taken.video_bytes.tolist() == [300, 100]


def test_taking_nothing_is_allowed() -> None:
    assert len(make_candidates().take([])) == 0


def test_input_errors_are_value_errors_and_divergence_is_none() -> None:
    for kind in (errors.VideoError, errors.ArtifactError, errors.BudgetError):
        assert issubclass(kind, InputError)
    assert issubclass(InputError, ValueError)
    assert not issubclass(errors.DivergedError, ValueError)


def test_watching_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    watch_nothing("encode", done=1, total=2)
    assert capsys.readouterr() == ("", "")


def test_first_numbers_of_a_stream_are_pinned() -> None:
    # A change here changes every result that was ever reported with a seed.
    draws = torch.randint(0, 1000, (4,), generator=Streams(0).generator("gumbel"))
    assert draws.tolist() == PINNED["gumbel"]
    draws = torch.randint(0, 1000, (4,), generator=Streams(0).child("fit").generator("gumbel"))
    assert draws.tolist() == PINNED["fit/gumbel"]


def draw(streams: Streams, name: str) -> list[float]:
    return torch.rand(5, generator=streams.generator(name)).tolist()


def test_a_stream_gives_the_same_numbers_each_time_it_is_asked_for() -> None:
    streams = Streams(3)
    first = draw(streams, "init")
    draw(streams, "clips")
    assert draw(streams, "init") == first == draw(Streams(3), "init")


def test_streams_of_other_seeds_names_and_scopes_differ() -> None:
    draws = [
        tuple(draw(streams, name))
        for streams in (Streams(0), Streams(1), Streams(-1), Streams(0).child("a"), Streams(0).child("a").child("b"))
        for name in ("init", "clips")
    ]
    assert len(set(draws)) == len(draws)


def test_streams_are_not_correlated() -> None:
    numbers = torch.stack([torch.randn(4000, generator=Streams(0).generator(f"stream {i}")) for i in range(20)])
    off_diagonal = torch.corrcoef(numbers) - torch.eye(20)
    assert off_diagonal.abs().max() < 5 / 4000**0.5


def test_streams_and_the_global_generator_leave_each_other_alone() -> None:
    torch.manual_seed(0)
    alone = torch.rand(3)
    torch.manual_seed(0)
    first = draw(Streams(7), "init")
    assert torch.equal(torch.rand(3), alone)
    assert draw(Streams(7), "init") == first
