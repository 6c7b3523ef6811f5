"""Frames at equal spans of motion: planted actions, still and short videos, files, and sets of idle videos."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_runs import Runner
from hypothesis import given
from hypothesis import strategies as st
from numbered_videos import gray, numbered, write
from numpy.typing import NDArray

from videocompressa.clip import ClipSpec
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.selection.keyframes import FIXED_SELECTORS, UniformSelector
from videocompressa.video import read_clip
from videocompressa.video.motion import MOST_SEEN, motion_positions

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from idle_videos import write_idle


def levels(*values: float, side: int = 16) -> NDArray[np.uint8]:
    """Return flat gray frames (M,3,side,side)."""
    return np.broadcast_to(np.array(values, np.uint8).reshape(-1, 1, 1, 1), (len(values), 3, side, side)).copy()


class TestPositions:
    @given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.integers(1, 20), st.integers(1, 30))
    def test_rise_and_never_repeat_where_there_are_enough(self, values: list[int], count: int, side: int) -> None:
        positions = motion_positions(levels(*values, side=side), count)
        assert len(positions) == count
        assert 0 <= positions[0] <= positions[-1] < len(values)
        steps = [b - a for a, b in pairwise(positions)]
        assert min(steps, default=1) >= (1 if count <= len(values) else 0)
        if count >= len(values):
            assert set(positions) == set(range(len(values)))

    def test_an_action_between_idle_stretches_is_found(self) -> None:
        idle = [10] * 6
        assert motion_positions(levels(*idle, 40, 80, 120, 160, *[160] * 6), 4) == [6, 7, 8, 9]

    def test_spans_are_of_motion(self) -> None:
        """Of 180 levels in all, after 45 and after 135: the second half of the change is a fifth of the time."""
        assert motion_positions(levels(*range(0, 100, 5), *range(100, 200, 20)), 2) == [9, 22]

    @pytest.mark.parametrize("count", [1, 3, 8])
    def test_a_still_video_is_read_evenly(self, count: int) -> None:
        chosen = np.array(motion_positions(levels(*[90] * 24), count))
        assert np.abs(chosen - (np.arange(count) + 0.5) * 23 / count).max() <= 0.5

    def test_noise_of_the_camera_is_little_motion(self) -> None:
        frames = np.random.default_rng(0).normal(60, 3, (40, 3, 48, 48))
        frames[15:25, :, 12:36] += 12 * np.arange(10).reshape(-1, 1, 1, 1)
        frames[25:, :, 12:36] += 108
        chosen = motion_positions(frames.clip(0, 255).astype(np.uint8), 8)
        assert sum(15 <= position < 25 for position in chosen) >= 4  # by time it would be 2


class TestFiles:
    def test_the_frames_of_an_action_with_their_times(self, tmp_path: Path) -> None:
        shades = [20] * 20 + [50, 80, 110, 140] + [140] * 20
        path = write(tmp_path / "a.mp4", [gray(shade) for shade in shades])
        clip = read_clip(path, ClipSpec(5, 8, 8, "motion"), label=0, video_id="a")
        assert [round(int(frame[0, 4, 4]) / 10) for frame in clip.frames] == [2, 5, 8, 11, 14]
        assert clip.pts_seconds.tolist() == pytest.approx([0.76, 0.8, 0.84, 0.88, 0.92])
        assert clip.num_video_frames == len(shades)

    def test_a_video_of_fewer_frames_is_read_evenly(self, tmp_path: Path) -> None:
        path = numbered(tmp_path / "a.mp4", 3)
        clip = read_clip(path, ClipSpec(5, 8, 8, "motion"), label=0, video_id="a")
        assert [round(int(frame[0, 4, 4]) / 5) for frame in clip.frames] == [0, 0, 1, 2, 2]

    def test_a_long_video_is_seen_in_part(self, tmp_path: Path) -> None:
        path = numbered(tmp_path / "a.mp4", 4 * MOST_SEEN, step=0)
        clip = read_clip(path, ClipSpec(2, 8, 8, "motion"), label=0, video_id="a")
        assert (clip.pts_seconds / 0.04).round().long().tolist() == [66, 190]  # of every fourth frame, from 2 on


def test_the_selector_keeps_the_moving_candidates() -> None:
    clips = torch.from_numpy(np.stack([levels(*[9] * 4, 40, 80, *[80] * 6), levels(*[200] * 8, 90, 10, *[10] * 2)]))
    positions = FIXED_SELECTORS["motion"]().positions(clips, 2, Streams(0).generator("none"))
    assert positions.tolist() == [[4, 5], [7, 8]]
    none = FIXED_SELECTORS["motion"]().positions(clips[:0], 2, Streams(0).generator("none"))
    assert (none.shape, none.dtype) == ((0, 2), torch.int64)
    assert not torch.equal(positions, UniformSelector().positions(clips, 2, Streams(0).generator("none")))


def test_the_set_and_the_videos_that_judge_it_are_read_by_motion(run: Runner, tmp_path: Path) -> None:
    data, file = tmp_path / "videos", tmp_path / "set.safetensors"
    for number, name in enumerate(("train/a/1", "train/b/2", "test/a/3", "test/b/4")):
        shades = [10 + number] * 30 + [70, 130, 190, 250] + [250] * 30
        write(data / f"{name}.mp4", [gray(shade) for shade in shades])
    made = run.compress(data, file, "--placement", "motion", "--keyframes", "4")
    assert made.code == 0, made.err
    synthetic = open_set(file)
    assert synthetic.clip.placement == "motion"
    assert synthetic.times_seconds.min() > 1.1  # of 2.56 s
    assert synthetic.times_seconds.max() < 1.4
    trained = run.train(file, "--data", data, "--json", "--seeds", "1")
    assert trained.json["num_test_clips"] == 2


def test_the_tool_surrounds_videos_with_idle_frames(tmp_path: Path) -> None:
    """Nine frames, of which three in a row are those of the video, to the noise."""
    for name in ("train/a/1", "train/b/2"):
        write(tmp_path / "videos" / f"{name}.mp4", [gray(shade) for shade in (60, 120, 180)])
    write_idle(tmp_path / "videos", tmp_path / "idle", 3)
    paths = sorted((tmp_path / "idle").glob("*/*/*.mp4"))
    assert [path.relative_to(tmp_path / "idle").as_posix() for path in paths] == ["train/a/1.mp4", "train/b/2.mp4"]
    for path in paths:
        shades = read_clip(path, ClipSpec(9, 8, 8), label=0, video_id="a").frames.float().mean((1, 2, 3))
        seen = (shades / 60).round().long().tolist()
        assert seen == sorted(seen)
        assert seen.count(2) == 1
        assert {1, 3} <= set(seen)
