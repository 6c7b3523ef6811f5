"""The rendered set: the same bytes from the same seed, readable files, pairs that only time tells apart."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from videocompressa.clip import ClipSpec
from videocompressa.demo.figure import (
    ACTIONS,
    FAR,
    FOOT,
    FOREARM,
    HEAD,
    NEAR,
    SHIN,
    SIT,
    SOLE,
    STAND,
    THIGH,
    TORSO,
    UPPER_ARM,
    interpolate,
    joints_of,
)
from videocompressa.demo.videos import (
    CLOTHES,
    DEFAULT_ACTIONS,
    FRAMES_PER_SECOND,
    WALL_CHANNELS,
    choose_motion,
    choose_scene,
    numpy_generator,
    render_clip,
    render_set,
)
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.video import read_clip

SMALL = (48, 64)
PAIRS = [(name, action.reverse_of) for name, action in ACTIONS.items() if action.reverse_of]


def generator(name: str, seed: int = 0) -> torch.Generator:
    return Streams(seed, "test").generator(name)


def read(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.mp4"))


# -- the set ----------------------------------------------------------------------------------------------------------


def test_set_has_the_folders_a_reader_of_videos_expects(rendered_set):
    actions = ("jump", "sit_down", "stand_up")
    expected = [f"test/{action}/{number:03d}.mp4" for action in actions for number in range(3)]
    expected += [f"train/{action}/{number:03d}.mp4" for action in actions for number in range(6)]
    assert files(rendered_set) == sorted(expected)


def test_files_are_readable_h264_of_three_to_four_seconds(rendered_set):
    for name in files(rendered_set)[::5]:
        with av.open(str(rendered_set / name)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
        frames = read(rendered_set / name)
        assert frames.shape[1:] == (*SMALL, 3)
        assert 3 * FRAMES_PER_SECOND <= len(frames) <= 4 * FRAMES_PER_SECOND


def test_file_holds_the_rendered_frames_in_order(rendered_set):
    streams = Streams(7, "demo")
    scene, motion = streams.generator("scene/2"), streams.child("train").generator("jump/2")
    rendered = render_clip("jump", motion, size=SMALL, scene=scene).permute(0, 2, 3, 1).numpy().astype(float)
    decoded = read(rendered_set / "train/jump/002.mp4").astype(float)
    assert np.abs(rendered - decoded).mean() < 6
    assert np.abs(rendered[::-1] - decoded).mean() > np.abs(rendered - decoded).mean() + 0.5


def test_same_seed_same_bytes_whatever_else_is_rendered(rendered_set, tmp_path):
    render_set(tmp_path, clips_per_class=(1, 1), size=SMALL, seed=7, actions=("wave", "jump"))
    assert (tmp_path / "test/jump/000.mp4").read_bytes() == (rendered_set / "test/jump/000.mp4").read_bytes()


def test_all_clips_of_a_set_differ_train_from_test_too(rendered_set):
    pictures = {(rendered_set / name).read_bytes() for name in files(rendered_set)}
    assert len(pictures) == len(files(rendered_set))


def test_rendering_resumes_where_it_stopped_and_reports_progress(tmp_path):
    seen = []
    settings = {"clips_per_class": (2, 1), "size": (32, 48), "actions": ("bow", "kick")}
    render_set(
        tmp_path, **settings, watch=lambda step, **numbers: seen.append((step, numbers["done"], numbers["total"]))
    )
    assert seen == [("render", done, 6) for done in range(1, 7)]
    lost, kept = tmp_path / "train/bow/001.mp4", tmp_path / "test/kick/000.mp4"
    first, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    render_set(tmp_path, **settings)
    assert lost.read_bytes() == first
    assert kept.stat().st_mtime_ns == stamp
    assert not list(tmp_path.rglob("*part*"))


def test_default_actions_are_at_least_eight_with_two_reversed_pairs():
    assert len(DEFAULT_ACTIONS) >= 8
    assert len([1 for one, other in PAIRS if one in DEFAULT_ACTIONS and other in DEFAULT_ACTIONS]) >= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"actions": ("bow", "fly")}, "action 'fly' is unknown; known: sit_down, raise_arms"),
        ({"actions": ()}, "list of actions is empty; known: sit_down"),
        ({"clips_per_class": (3, 0)}, r"clips_per_class is \{'train': 3, 'test': 0\}; every split needs at least 1"),
        ({"size": (30, 64)}, "size of a rendered set is 30x64 px; give even sides of at least 32 px"),
        ({"size": (48, 65)}, "size of a rendered set is 48x65 px; give even sides"),
        ({"num_scenes": 0}, "num_scenes is 0; it must be at least 1"),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        render_set(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()


def test_folder_of_another_set_or_of_other_things_is_left_alone(tmp_path):
    settings = {"clips_per_class": (1, 1), "size": (32, 32), "actions": ("bow",)}
    render_set(tmp_path / "set", **settings)
    with pytest.raises(
        InputError, match="holds a set rendered with other settings; choose an empty folder or remove it"
    ):
        render_set(tmp_path / "set", **settings, seed=1)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="own is not empty and holds no rendered set; choose an empty folder"):
        render_set(tmp_path / "own", **settings)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["diary.txt"]


# -- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backwards", "forwards"), PAIRS)
def test_a_pair_shows_the_same_frames_in_reverse_order(backwards, forwards):
    one, other = (
        render_clip(name, generator("pair"), size=SMALL, scene=generator("scene")) for name in (forwards, backwards)
    )
    assert torch.equal(one, other.flip(0))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", list(ACTIONS))
def test_action_moves_and_idle_stretches_hardly_do(name):
    """Joints move during the action, and little before and after it, where the figure only sways."""
    for seed in range(5):
        poses, span = choose_motion(numpy_generator(generator(name, seed)), ACTIONS[name])
        joints = joints_of(poses)
        parts = (joints.arms[:, :, 2], joints.legs[:, :, 2], joints.spine[:, :3])
        places = np.concatenate([part.reshape(len(poses), -1) for part in parts], axis=1)
        busy = np.ptp(places[span.start : span.stop + 1], axis=0).max()
        idle = max(np.ptp(places[: span.start], axis=0).max(), np.ptp(places[span.stop + 1 :], axis=0).max())
        assert busy > 0.25
        assert idle < 0.13


@pytest.mark.parametrize("name", list(ACTIONS))
def test_action_fills_a_third_of_the_clip_between_idle_stretches(name):
    for seed in range(20):
        poses, span = choose_motion(numpy_generator(generator(name, seed)), ACTIONS[name])
        assert 0.27 <= (span.stop - span.start) / len(poses) <= 0.48
        assert span.start >= 2
        assert len(poses) - span.stop >= 2


def test_actions_that_are_no_pair_differ_in_their_poses():
    times = np.linspace(0, 1, 20)
    forward = [(name, action) for name, action in ACTIONS.items() if action.reverse_of is None]
    poses = {name: interpolate(action.times, np.array(action.keys), times) for name, action in forward}
    assert len(poses) == len(ACTIONS) - len(PAIRS)
    for one, other in combinations(poses, 2):
        assert np.abs(poses[one] - poses[other])[:, :10].max() > 30, (one, other)  # degrees


# -- the figure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ACTIONS))
def test_lower_foot_is_on_the_floor_unless_lifted(name):
    action = ACTIONS[name]
    poses = interpolate(action.times, np.array(action.keys), np.linspace(-0.2, 1.2, 29))
    ankles = joints_of(poses).legs[:, :, 2, 1]
    assert ankles.min(axis=1) == pytest.approx(SOLE + poses[:, -2])


@pytest.mark.parametrize("name", list(ACTIONS))
def test_poses_run_through_their_keys_and_hold_the_ends(name):
    action = ACTIONS[name]
    assert list(action.times) == sorted(set(action.times))
    assert (action.times[0], action.times[-1]) == (0, 1)
    keys = np.array(action.keys)
    assert len(keys) == len(action.times)
    assert interpolate(action.times, keys, np.array(action.times)) == pytest.approx(keys)
    assert interpolate(action.times, keys, np.array([-3.0, 3.0])) == pytest.approx(keys[[0, -1]])


def test_limbs_keep_their_lengths_in_any_pose():
    poses = np.random.default_rng(0).uniform(-170, 170, (30, 12))
    joints = joints_of(poses)
    for chain, lengths in (
        (joints.legs, (THIGH, SHIN, FOOT)),
        (joints.arms, (UPPER_ARM, FOREARM)),
        (joints.spine[:, None, :2], (TORSO,)),
    ):
        steps = np.linalg.norm(np.diff(chain, axis=2), axis=-1)
        assert steps == pytest.approx(np.broadcast_to(lengths, steps.shape))


def test_planted_foot_stays_and_the_walk_travels():
    still = joints_of(np.array(ACTIONS["kick"].keys))
    assert still.legs[:, FAR, 2, 0] == pytest.approx(0)
    walk = ACTIONS["walk_forwards"]
    hips = joints_of(np.array(walk.keys)).legs[:, NEAR, 0, 0]
    assert np.all(np.diff(hips) > 0)


def test_a_standing_body_is_about_one_height_tall():
    spine = joints_of(STAND[None]).spine
    assert 0.85 < spine[0, 2, 1] + HEAD < 1.1
    assert joints_of(SIT[None]).spine[0, 2, 1] < spine[0, 2, 1] - 0.15


def test_half_way_between_keys_is_half_of_the_way_and_starts_softly():
    times, keys = ACTIONS["raise_arms"].times, np.array(ACTIONS["raise_arms"].keys)
    early, half = interpolate(times, keys, np.array([0.1, 0.5]) * times[1])
    assert half == pytest.approx((keys[0] + keys[1]) / 2)
    assert np.all(np.abs(early - keys[0]) <= 0.03 * np.abs(keys[1] - keys[0]))


def test_clothes_stand_out_from_walls_and_from_each_other():
    walls = product((WALL_CHANNELS[0], WALL_CHANNELS[1] - 1), repeat=3)
    inside = [np.clip(clothes, WALL_CHANNELS[0], WALL_CHANNELS[1] - 1) for clothes in CLOTHES]  # the nearest walls
    for clothes in CLOTHES:
        assert all(np.abs(np.subtract(clothes, wall)).sum() > 110 for wall in (*walls, *inside))
    assert all(np.abs(np.subtract(one, other)).sum() > 110 for one, other in combinations(CLOTHES, 2))


def test_people_and_places_vary_with_the_scene():
    scenes = [choose_scene(numpy_generator(generator("scene", seed)), SMALL) for seed in range(40)]
    assert len({tuple(scene.colors["shirt"]) for scene in scenes}) > 4
    assert {np.sign(scene.scale[0]) for scene in scenes} == {-1, 1}
    assert np.ptp([scene.place[0] for scene in scenes]) > 5
    assert all(not np.array_equal(scene.colors["shirt"], scene.colors["trousers"]) for scene in scenes)


def test_scenes_are_shared_by_actions_and_splits(tmp_path: Path) -> None:
    """The first frame shows background and person, before anything is done; with two scenes there are two of them."""
    render_set(tmp_path, clips_per_class=(3, 1), size=(32, 32), actions=("wave", "punch"), num_scenes=2)

    def tint(split: str, action: str, number: int) -> torch.Tensor:
        """Color of the wall relative to that of the floor: the light of a clip does not change it."""
        path = tmp_path / split / action / f"{number:03d}.mp4"
        frame = read_clip(path, ClipSpec(8, 32, 32), label=0, video_id="clip").frames[0].float()
        return frame[:, :3].mean(dim=(1, 2)) / frame[:, -1:].mean(dim=(1, 2))

    def apart(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one - other).abs().max())

    here, elsewhere = tint("train", "wave", 0), tint("train", "wave", 1)
    for same in (tint("train", "wave", 2), tint("train", "punch", 0), tint("test", "punch", 0)):
        assert apart(here, same) < apart(here, elsewhere) / 2
