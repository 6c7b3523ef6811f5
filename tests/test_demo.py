"""The drawn set: the same bytes from the same seed, readable files, pairs that only time tells apart."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from videocompressa.clip import ClipSpec
from videocompressa.demo.figure import SOLE, STAND, Body, Pose, pose_body
from videocompressa.demo.render import draw_track
from videocompressa.demo.scene import MIN_CONTRAST, Dice, contrast, draw_body, paint_room
from videocompressa.demo.videos import ACTIONS, DEFAULT_ACTIONS, FRAMES_PER_SECOND, draw_clip, draw_set
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.video import read_clip

SMALL = (48, 64)
PAIRS = [(name, action.reverse_of) for name, action in ACTIONS.items() if action.reverse_of]


def generator(name: str, seed: int = 0) -> torch.Generator:
    return Streams(seed, "test").generator(name)


def a_body(seed: int = 0) -> Body:
    return draw_body(Dice(generator("body", seed)), (200, 200, 200))


def read(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.mp4"))


# -- the set ----------------------------------------------------------------------------------------------------------


def test_set_has_the_folders_a_reader_of_videos_expects(drawn_set):
    actions = ("jump", "sit_down", "stand_up")
    expected = [f"test/{action}/{number:03d}.mp4" for action in actions for number in range(3)]
    expected += [f"train/{action}/{number:03d}.mp4" for action in actions for number in range(6)]
    assert files(drawn_set) == sorted(expected)


def test_files_are_readable_h264_of_three_to_four_seconds(drawn_set):
    for name in files(drawn_set)[::5]:
        with av.open(str(drawn_set / name)) as container:
            assert container.streams.video[0].codec_context.name == "h264"
        frames = read(drawn_set / name)
        assert frames.shape[1:] == (*SMALL, 3)
        assert 3 * FRAMES_PER_SECOND <= len(frames) <= 4 * FRAMES_PER_SECOND


def test_file_shows_the_drawn_frames_in_order(drawn_set):
    stream = Streams(7, "demo").child("train").generator("jump/2")
    drawn = draw_clip("jump", stream, size=SMALL).permute(0, 2, 3, 1).numpy().astype(float)
    shown = read(drawn_set / "train/jump/002.mp4").astype(float)
    assert np.abs(drawn - shown).mean() < 6
    assert np.abs(drawn[::-1] - shown).mean() > np.abs(drawn - shown).mean() + 0.5


def test_same_seed_same_bytes_whatever_else_is_drawn(drawn_set, tmp_path):
    draw_set(tmp_path, clips_per_class={"test": 1}, size=SMALL, seed=7, actions=("wave", "jump"))
    assert (tmp_path / "test/jump/000.mp4").read_bytes() == (drawn_set / "test/jump/000.mp4").read_bytes()


def test_all_clips_of_a_set_differ_train_from_test_too(drawn_set):
    pictures = {(drawn_set / name).read_bytes() for name in files(drawn_set)}
    assert len(pictures) == len(files(drawn_set))
    backgrounds = {
        split: {read(drawn_set / name)[0, 2, 2:62:6].tobytes() for name in files(drawn_set) if name.startswith(split)}
        for split in ("train", "test")
    }
    assert not backgrounds["train"] & backgrounds["test"]


def test_drawing_goes_on_where_it_stopped_and_reports_progress(tmp_path):
    seen = []
    settings = {"clips_per_class": (2, 1), "size": (32, 48), "actions": ("bow", "kick")}
    draw_set(tmp_path, **settings, watch=lambda step, **numbers: seen.append((step, numbers["done"], numbers["total"])))
    assert seen == [("draw", done, 6) for done in range(1, 7)]
    lost, kept = tmp_path / "train/bow/001.mp4", tmp_path / "test/kick/000.mp4"
    first, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    draw_set(tmp_path, **settings)
    assert lost.read_bytes() == first
    assert kept.stat().st_mtime_ns == stamp
    assert not list(tmp_path.rglob("*unfinished*"))


def test_default_actions_are_at_least_eight_with_two_reversed_pairs():
    assert len(DEFAULT_ACTIONS) >= 8
    assert len([1 for one, other in PAIRS if one in DEFAULT_ACTIONS and other in DEFAULT_ACTIONS]) >= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"actions": ("bow", "fly")}, "action 'fly' is unknown; known: sit_down, stand_up"),
        ({"actions": ()}, "list of actions is empty; known: sit_down"),
        ({"clips_per_class": (3, 0)}, r"clips_per_class is \{'train': 3, 'test': 0\}; every split needs at least 1"),
        ({"clips_per_class": {}}, r"clips_per_class is \{\}; every split needs at least 1"),
        ({"size": (30, 64)}, "size of a drawn set is 30x64 px; give even sides of at least 32 px"),
        ({"size": (48, 65)}, "size of a drawn set is 48x65 px; give even sides"),
    ],
)
def test_wrong_settings_are_refused_and_leave_nothing(settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        draw_set(tmp_path / "set", **settings)
    assert not (tmp_path / "set").exists()


def test_folder_of_another_set_or_of_other_things_is_left_alone(tmp_path):
    settings = {"clips_per_class": {"train": 1}, "size": (32, 32), "actions": ("bow",)}
    draw_set(tmp_path / "set", **settings)
    with pytest.raises(InputError, match="holds a set drawn with other settings; choose an empty folder or remove it"):
        draw_set(tmp_path / "set", **settings, seed=1)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "diary.txt").write_text("mine")
    with pytest.raises(InputError, match="own is not empty and holds no drawn set; choose an empty folder"):
        draw_set(tmp_path / "own", **settings)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["diary.txt"]


def test_a_clip_refuses_unknown_actions_and_tiny_pictures():
    with pytest.raises(InputError, match="action 'dance' is unknown; known: sit_down"):
        draw_clip("dance", generator("clip"), size=SMALL)
    with pytest.raises(
        InputError, match="drawn clips of 16x64 px are too small to show an action; give at least 32x32"
    ):
        draw_clip("bow", generator("clip"), size=(16, 64))


# -- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backwards", "forwards"), PAIRS)
def test_a_pair_shows_the_same_frames_in_reverse_order(backwards, forwards):
    one = draw_clip(forwards, generator("pair"), size=SMALL)
    other = draw_clip(backwards, generator("pair"), size=SMALL)
    assert torch.equal(one, other.flip(0))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", list(ACTIONS))
def test_action_moves_and_idle_stretches_hardly_do(name):
    """Joints wander during the action, and little before and after it, where the figure breathes and fidgets."""
    for seed in range(5):
        body, action = a_body(seed), ACTIONS[name]
        track = draw_track(Dice(generator(name, seed)), action, body)
        start, stop = track.span
        places = np.array(
            [
                [*joints.hand_n, *joints.hand_f, *joints.ankle_n, *joints.ankle_f, *joints.head]
                for joints in (pose_body(body, pose, feet_planted=action.feet_planted) for pose in track.poses)
            ]
        )
        busy = np.ptp(places[start : stop + 1], axis=0).max()
        idle = max(np.ptp(places[:start], axis=0).max(), np.ptp(places[stop + 1 :], axis=0).max())
        assert busy > 0.25
        assert idle < 0.13


@pytest.mark.parametrize("name", list(ACTIONS))
def test_action_fills_a_third_of_the_clip_between_idle_stretches(name):
    for seed in range(20):
        track = draw_track(Dice(generator(name, seed)), ACTIONS[name], a_body(seed))
        start, stop = track.span
        assert 0.27 <= (stop - start) / len(track.poses) <= 0.48
        assert start >= 2
        assert len(track.poses) - stop >= 2


def test_seats_and_balls_stand_about_in_clips_that_do_not_need_them():
    tracks = [draw_track(Dice(generator("wave", seed)), ACTIONS["wave"], a_body()) for seed in range(60)]
    assert 15 <= sum(track.seat_top is not None for track in tracks) <= 45
    assert 15 <= sum(track.ball is not None for track in tracks) <= 45


def test_ball_lies_where_the_hand_grabs_it():
    for seed in range(10):
        body = a_body(seed)
        track = draw_track(Dice(generator("ball", seed)), ACTIONS["pick_up"], body)
        assert track.ball is not None
        assert track.grab_frame is not None
        hand = pose_body(body, track.poses[track.grab_frame], feet_planted=True).hand_n
        assert abs(hand[0] - track.ball[0]) < 0.1
        assert abs(hand[1] - track.ball[1]) < 0.2


# -- the figure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(ACTIONS))
def test_lower_foot_is_on_the_floor_unless_lifted(name):
    body = a_body()
    for time in np.linspace(-0.2, 1.2, 29):
        pose = ACTIONS[name].pose(float(time))
        joints = pose_body(body, pose, feet_planted=ACTIONS[name].feet_planted)
        assert min(joints.ankle_n[1], joints.ankle_f[1]) == pytest.approx(SOLE + pose.lift)


@pytest.mark.parametrize("name", list(ACTIONS))
def test_poses_run_through_their_keys_and_hold_the_ends(name):
    action = ACTIONS[name]
    times = [time for time, _ in action.keys]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (0, 1)
    for time, key in action.keys:
        assert action.pose(time) == key
    assert action.pose(-3) == action.keys[0][1]
    assert action.pose(3) == action.keys[-1][1]


def test_limbs_keep_their_lengths_in_any_pose():
    body = a_body()
    draws = Dice(generator("poses"))
    for _ in range(30):
        joints = pose_body(body, Pose(*(draws.uniform(-170, 170) for _ in range(10))), feet_planted=True)
        for start, end, length in (
            (joints.hip, joints.knee_n, body.thigh),
            (joints.knee_f, joints.ankle_f, body.shin),
            (joints.shoulder_n, joints.elbow_n, body.upper_arm),
            (joints.elbow_f, joints.hand_f, body.forearm),
            (joints.hip, joints.neck, body.torso),
        ):
            assert np.hypot(end[0] - start[0], end[1] - start[1]) == pytest.approx(length)


def test_a_standing_body_is_about_one_height_tall():
    for seed in range(20):
        body = a_body(seed)
        assert 0.85 < pose_body(body, STAND, feet_planted=True).head[1] + body.head < 1.1


def test_half_way_between_keys_is_half_of_the_way_and_starts_softly():
    raise_arms = ACTIONS["raise_arms"]
    (first, start), (second, end) = raise_arms.keys[:2]
    half = raise_arms.pose((first + second) / 2)
    assert half.arm_n == pytest.approx((start.arm_n + end.arm_n) / 2)
    early = raise_arms.pose(first + 0.1 * (second - first))
    assert abs(early.arm_n - start.arm_n) < 0.03 * abs(end.arm_n - start.arm_n)


def test_clothes_stand_out_from_wall_and_from_each_other():
    for seed in range(60):
        dice = Dice(generator("room", seed))
        room = paint_room(dice, (60, 80), 40, 55)
        body = draw_body(dice, room.wall)
        assert contrast(body.shirt, room.wall) > MIN_CONTRAST
        assert contrast(body.trousers, room.wall) > MIN_CONTRAST
        assert contrast(body.shirt, body.trousers) > MIN_CONTRAST


def test_scenes_are_shared_by_actions_and_splits(tmp_path: Path) -> None:
    """The first frame shows room and person, before anything is done; with two scenes there are two of them."""
    draw_set(tmp_path, clips_per_class=(3, 1), size=(32, 32), actions=("wave", "punch"), num_scenes=2)

    def first(split: str, action: str, number: int) -> torch.Tensor:
        path = tmp_path / split / action / f"{number:03d}.mp4"
        return read_clip(path, ClipSpec(8, 32, 32), label=0, video_id="clip").frames[0].float()

    def apart(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one - other).abs().mean())

    here, elsewhere = first("train", "wave", 0), first("train", "wave", 1)
    for same in (first("train", "wave", 2), first("train", "punch", 0), first("test", "punch", 0)):
        assert apart(here, same) < apart(here, elsewhere) / 2


def test_a_set_needs_a_scene(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_scenes is 0; it must be at least 1"):
        draw_set(tmp_path / "set", num_scenes=0)
