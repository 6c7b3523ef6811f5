"""The articulated figure: a body, its poses, and the actions as key poses (all angles are our choice).

The figure is seen from the side. World coordinates are in body heights: x forward (the way it faces), y up from the
floor. Angles are in degrees: 0 hangs straight down, positive swings forward.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = tuple[float, float]

NEAR, FAR = 0, 1  # sides of the body
SOLE, HEAD = 0.03, 0.078  # height of the ankle above the floor and radius of the head, in body heights
TORSO, THIGH, SHIN, UPPER_ARM, FOREARM, FOOT = 0.29, 0.245, 0.24, 0.165, 0.15, 0.085  # lengths in body heights

NUM_ANGLES, NUM_UPPER_ANGLES = 10, 6  # the first values of a pose are angles, and the first of them those above the hip


def pose(
    lean: float = 0,
    nod: float = 0,
    arms: Pair = (7, -5),
    elbows: Pair = (10, 10),
    hips: Pair = (4, -4),
    knees: Pair = (4, 2),
    lift: float = 0,
    travel: float = 0,
) -> Array:
    """Return a pose as 12 values in the order of the arguments; a pair is (near side, far side).

    `lean` is the torso's angle from upright and `nod` the head's relative to it; elbows and knees bend relative to the
    limb above. `lift` is the height of the lower foot above the floor, `travel` the way of the hips from the figure's
    place.
    """
    return np.array([lean, nod, *arms, *elbows, *hips, *knees, lift, travel], dtype=np.float64)


@dataclass(frozen=True)
class Action:
    """Key poses of an action at rising times from 0 to 1; before it the first one is held, after it the last one."""

    times: tuple[float, ...]
    keys: tuple[Array, ...]
    reverse_of: str | None = None
    """Name of the action that this one plays backward: both show the same frames, and only their order differs."""


STAND = pose()
SIT_HALF = pose(38, 5, arms=(45, 40), elbows=(30, 30), hips=(62, 56), knees=(78, 74))
SIT = pose(4, arms=(38, 34), elbows=(42, 42), hips=(84, 80), knees=(84, 82))
ARMS_AHEAD = pose(arms=(88, 80), elbows=(12, 12))
ARMS_UP = pose(-3, -8, arms=(170, 160), elbows=(8, 10))
REACH = pose(72, 15, arms=(14, -28), elbows=(4, 12), hips=(52, 42), knees=(86, 80))
CARRY = pose(-2, arms=(22, -5), elbows=(78, 10))
WAVE_FRONT = pose(nod=-4, arms=(112, -5), elbows=(22, 10))
WAVE_BACK = pose(nod=-4, arms=(118, -5), elbows=(92, 10))
CROUCH = pose(30, arms=(-38, -45), elbows=(15, 15), hips=(48, 40), knees=(84, 80))
LAND = pose(30, arms=(30, 20), elbows=(15, 15), hips=(48, 40), knees=(84, 80))
FLY = pose(-4, arms=(148, 140), elbows=(12, 12), hips=(-4, -10), knees=(12, 18), lift=0.26)
KICK_BACK = pose(10, arms=(40, -35), elbows=(25, 10), hips=(-32, -4), knees=(58, 8))
KICK = pose(-16, arms=(-38, 48), elbows=(12, 30), hips=(92, 2), knees=(4, 6))
GUARD = pose(6, arms=(25, 32), elbows=(112, 104), hips=(16, -14), knees=(14, 8))
PUNCH_NEAR = pose(14, arms=(92, 32), elbows=(0, 104), hips=(16, -14), knees=(14, 8))
PUNCH_FAR = pose(14, arms=(25, 92), elbows=(112, 0), hips=(16, -14), knees=(14, 8))
BOW = pose(78, 12, arms=(12, 6), elbows=(6, 6), hips=(-6, -10), knees=(0, 0))
SQUAT = pose(38, arms=(88, 84), elbows=(4, 4), hips=(86, 80), knees=(122, 118))

# Two steps and a half: legs and arms swing in opposition, the swinging knee bends half-way.
PASS_NEAR = pose(4, hips=(18, -2), knees=(48, 2), travel=-0.225)
STEP_NEAR = pose(3, arms=(-26, 26), elbows=(20, 20), hips=(23, -23), knees=(2, 10), travel=-0.075)
PASS_FAR = pose(4, hips=(-2, 18), knees=(2, 48), travel=0.075)
STEP_FAR = pose(3, arms=(26, -26), elbows=(20, 20), hips=(-23, 23), knees=(10, 2), travel=0.225)
STEPS = (pose(travel=-0.375), PASS_NEAR, STEP_NEAR, PASS_FAR, STEP_FAR, pose(travel=0.375))
WAVES = (WAVE_FRONT, WAVE_BACK, WAVE_FRONT, WAVE_BACK, WAVE_FRONT)
PUNCHES = (GUARD, PUNCH_NEAR, GUARD, PUNCH_FAR, GUARD)

FORWARD = {
    "sit_down": Action((0, 0.5, 1), (STAND, SIT_HALF, SIT)),
    "raise_arms": Action((0, 0.5, 1), (STAND, ARMS_AHEAD, ARMS_UP)),
    "pick_up": Action((0, 0.45, 0.55, 1), (STAND, REACH, REACH, CARRY)),
    "walk_forwards": Action((0, 0.2, 0.4, 0.6, 0.8, 1), STEPS),
    "wave": Action((0, 0.2, 0.35, 0.5, 0.65, 0.8, 1), (STAND, *WAVES, STAND)),
    "jump": Action((0, 0.35, 0.58, 0.82, 1), (STAND, CROUCH, FLY, LAND, STAND)),
    "kick": Action((0, 0.3, 0.55, 0.65, 1), (STAND, KICK_BACK, KICK, KICK, STAND)),
    "punch": Action((0, 0.2, 0.36, 0.52, 0.68, 0.84, 1), (STAND, *PUNCHES, STAND)),
    "bow": Action((0, 0.4, 0.6, 1), (STAND, BOW, BOW, STAND)),
    "squat": Action((0, 0.4, 0.6, 1), (STAND, SQUAT, SQUAT, STAND)),
}
REVERSE = {"stand_up": "sit_down", "lower_arms": "raise_arms", "put_down": "pick_up", "walk_backwards": "walk_forwards"}
ACTIONS = FORWARD | {name: replace(FORWARD[other], reverse_of=other) for name, other in REVERSE.items()}
"""Every action by name."""


def interpolate(times: tuple[float, ...], keys: Array, at: Array) -> Array:
    """Return (T,12) poses at (T,) times, by the smoothstep 3u^2 - 2u^3 from each of the (keys,12) poses to the next."""
    place = np.interp(at, times, range(len(times)))
    before = place.astype(int).clip(max=len(times) - 2)
    share = (place - before)[:, None]
    poses: Array = keys[before] + (keys[before + 1] - keys[before]) * share**2 * (3 - 2 * share)
    return poses


class Joints(NamedTuple):
    """World coordinates (x,y) of the joints in T poses; sides are `NEAR` and `FAR`."""

    legs: Array
    """(T,sides,4,2): hip, knee, ankle, toe."""
    arms: Array
    """(T,sides,3,2): shoulder, elbow, hand."""
    spine: Array
    """(T,4,2): hip, neck, center of the head, and the point of the head that looks ahead."""


def limb(start: Array, length: float, angle: Array) -> Array:
    """Return the far ends (...,2) of limbs that hang from (...,2) starts at (...) world angles in degrees."""
    radians = np.radians(angle)
    return start + length * np.stack((np.sin(radians), -np.cos(radians)), axis=-1)


def joints_of(poses: Array) -> Joints:
    """Return the joints of the body in (T,12) poses; the far foot stays in place where no pose travels."""
    lean, nod, lift, travel = poses[:, [0, 1, -2, -1]].T
    arms, elbows, hips, knees = poses[:, 2:NUM_ANGLES].reshape(-1, 4, 2).swapaxes(0, 1)
    knee = limb(np.zeros((*hips.shape, 2)), THIGH, hips)
    ankle = limb(knee, SHIN, hips - knees)
    # The foot half follows the shin: flat on the floor when standing, pointing when in the air.
    toe = limb(ankle, FOOT, 90 + (hips - knees) / 2)
    left = travel if travel.any() else -ankle[:, FAR, 0]
    hip = np.stack((left, SOLE + lift - ankle[..., 1].min(axis=1)), axis=-1)
    neck = limb(hip, TORSO, 180 - lean)
    gaze = 180 - 0.75 * lean - nod
    head = limb(neck, HEAD * 1.25, gaze)
    # The shoulders are a little below the neck and apart, so that both arms show in a side view.
    shoulder = limb(hip, TORSO * 0.92, 180 - lean)[:, None] + np.array([[-0.02, 0], [0.025, 0]])
    elbow = limb(shoulder, UPPER_ARM, arms)
    hand = limb(elbow, FOREARM, arms + elbows)
    return Joints(
        legs=np.stack((np.zeros_like(knee), knee, ankle, toe), axis=2) + hip[:, None, None],
        arms=np.stack((shoulder, elbow, hand), axis=2),
        spine=np.stack((hip, neck, head, limb(head, HEAD, gaze - 100)), axis=1),
    )
