"""The articulated figure: a body, its poses, and the actions as key poses.

The figure is seen from the side. World coordinates are in body heights: x forwards (the way it faces), y up from the
floor. A pose holds world angles in degrees: 0 hangs straight down, positive swings forwards; `lean` is the torso's
angle from upright. Between key poses every angle moves with the smoothstep 3u^2 - 2u^3, which starts and stops softly.

Some actions are another one played backwards (`Action.reverse_of`): such a pair shows exactly the same frames, and
only their order in time tells which it is. All key angles are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from math import cos, radians, sin

Point = tuple[float, float]
Color = tuple[int, int, int]


@dataclass(frozen=True)
class Pose:
    """World angles in degrees of one moment; N is the near side of the body, F the far one."""

    lean: float = 0.0
    nod: float = 0.0
    arm_n: float = 7.0
    elbow_n: float = 10.0
    arm_f: float = -5.0
    elbow_f: float = 10.0
    hip_n: float = 4.0
    knee_n: float = 4.0
    hip_f: float = -4.0
    knee_f: float = 2.0
    lift: float = 0.0
    """Height of the lower foot above the floor, in body heights."""
    travel: float = 0.0
    """Way forwards since the start, in body heights."""

    def moved(self, target: Pose, share: float) -> Pose:
        """Return the pose `share` (0 to 1, beyond for more) of the way to `target`."""
        pairs = zip(astuple(self), astuple(target), strict=True)
        return Pose(*(a + (b - a) * share for a, b in pairs))


@dataclass(frozen=True)
class Body:
    """Lengths in body heights and colors of one person."""

    torso: float
    thigh: float
    shin: float
    upper_arm: float
    forearm: float
    head: float
    """Radius."""
    girth: float
    """Factor on the width of torso and limbs."""
    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color
    sleeves_long: bool
    hair_long: bool


@dataclass(frozen=True)
class Joints:
    """Where the joints of a posed body are, in world coordinates."""

    hip: Point
    neck: Point
    shoulder_n: Point
    elbow_n: Point
    hand_n: Point
    shoulder_f: Point
    elbow_f: Point
    hand_f: Point
    knee_n: Point
    ankle_n: Point
    knee_f: Point
    ankle_f: Point
    head: Point
    gaze: float
    """Angle of the head from upright, degrees."""


@dataclass(frozen=True)
class Action:
    """What a figure does: poses at rising times from 0 to 1."""

    keys: Sequence[tuple[float, Pose]]
    """The first pose is held before the action, the last one after it."""
    reverse_of: str | None = None
    """Name of the action that this one plays backwards."""
    feet_planted: bool = True
    """The far foot stays where it is; otherwise the hips follow `Pose.travel`."""
    seat: bool = False
    """The figure ends on a seat."""
    grab_time: float | None = None
    """Moment at which the near hand takes the ball from the floor."""

    def pose(self, time: float) -> Pose:
        """Return the pose at `time` in [0,1]; before and after, the first and the last pose."""
        for (start, pose), (end, target) in zip(self.keys, self.keys[1:], strict=False):
            if time < end:
                share = min(max((time - start) / (end - start), 0.0), 1.0)
                return pose.moved(target, share * share * (3 - 2 * share))
        return self.keys[-1][1]


SOLE = 0.03  # height of the ankle above the floor, in body heights

STAND = Pose()
SIT = Pose(4, 0, 38, 42, 34, 42, 84, 84, 80, 82)
ARMS_UP = replace(STAND, lean=-3, nod=-8, arm_n=170, elbow_n=8, arm_f=160, elbow_f=10)
CROUCH = replace(STAND, lean=30, arm_n=-38, elbow_n=15, arm_f=-45, elbow_f=15, hip_n=48, knee_n=84, hip_f=40, knee_f=80)
FLY = replace(STAND, lean=-4, arm_n=148, elbow_n=12, arm_f=140, elbow_f=12, hip_n=-4, knee_n=12, hip_f=-10, knee_f=18)
GUARD = replace(STAND, lean=6, arm_n=25, elbow_n=112, arm_f=32, elbow_f=104, hip_n=16, knee_n=14, hip_f=-14, knee_f=8)
BOW = replace(STAND, lean=78, nod=12, arm_n=12, elbow_n=6, arm_f=6, elbow_f=6, hip_n=-6, knee_n=0, hip_f=-10, knee_f=0)
SQUAT = replace(STAND, lean=38, arm_n=88, elbow_n=4, arm_f=84, elbow_f=4, hip_n=86, knee_n=122, hip_f=80, knee_f=118)
REACH = replace(STAND, lean=72, nod=15, arm_n=14, elbow_n=4, arm_f=-28, elbow_f=12, hip_n=52, knee_n=86, hip_f=42)
REACH = replace(REACH, knee_f=80)
CARRY = replace(STAND, lean=-2, arm_n=22, elbow_n=78)
WAVE_FRONT = replace(STAND, arm_n=112, elbow_n=22, nod=-4)
WAVE_BACK = replace(STAND, arm_n=118, elbow_n=92, nod=-4)
KICK_BACK = replace(STAND, lean=10, arm_n=40, elbow_n=25, arm_f=-35, hip_n=-32, knee_n=58, knee_f=8)
KICK = replace(STAND, lean=-16, arm_n=-38, elbow_n=12, arm_f=48, elbow_f=30, hip_n=92, knee_n=4, hip_f=2, knee_f=6)
PUNCH_NEAR = replace(GUARD, lean=14, arm_n=92, elbow_n=0)
PUNCH_FAR = replace(GUARD, lean=14, arm_f=92, elbow_f=0)


def _walk(steps: int, stride: float) -> tuple[tuple[float, Pose], ...]:
    """Key poses of walking: legs and arms swing in opposition, the swinging knee bends half-way."""
    keys = [(0.0, STAND)]
    for step in range(steps):
        side = 1 if step % 2 == 0 else -1
        passing = replace(
            STAND, lean=4, knee_n=48.0 if side > 0 else 4, knee_f=48.0 if side < 0 else 2, travel=stride * step
        )
        passing = replace(passing, hip_n=18.0 if side > 0 else -2, hip_f=18.0 if side < 0 else -2)
        contact = replace(
            STAND, lean=3, arm_n=-26.0 * side, arm_f=26.0 * side, elbow_n=20, elbow_f=20, hip_n=23.0 * side
        )
        contact = replace(contact, hip_f=-23.0 * side, knee_n=2 if side > 0 else 10, knee_f=2 if side < 0 else 10)
        keys.append(((step + 0.5) / (steps + 0.5), replace(passing, travel=stride * (step + 0.5))))
        keys.append(((step + 1) / (steps + 0.5), replace(contact, travel=stride * (step + 1))))
    return (*keys, (1.0, replace(STAND, travel=stride * (steps + 0.5))))


def _reversed(name: str, forward: Action) -> Action:
    return replace(forward, reverse_of=name)


_SIT_DOWN = Action(((0, STAND), (0.5, Pose(38, 5, 45, 30, 40, 30, 62, 78, 56, 74)), (1, SIT)), seat=True)
_RAISE = Action(((0, STAND), (0.5, replace(STAND, arm_n=88, elbow_n=12, arm_f=80, elbow_f=12)), (1, ARMS_UP)))
_PICK_UP = Action(((0, STAND), (0.45, REACH), (0.55, REACH), (1, CARRY)), grab_time=0.5)
_WALK = Action(_walk(steps=3, stride=0.3), feet_planted=False)

ACTIONS: dict[str, Action] = {
    "sit_down": _SIT_DOWN,
    "stand_up": _reversed("sit_down", _SIT_DOWN),
    "raise_arms": _RAISE,
    "lower_arms": _reversed("raise_arms", _RAISE),
    "pick_up": _PICK_UP,
    "put_down": _reversed("pick_up", _PICK_UP),
    "walk_forwards": _WALK,
    "walk_backwards": _reversed("walk_forwards", _WALK),
    "wave": Action(
        (
            (0, STAND),
            (0.2, WAVE_FRONT),
            (0.35, WAVE_BACK),
            (0.5, WAVE_FRONT),
            (0.65, WAVE_BACK),
            (0.8, WAVE_FRONT),
            (1, STAND),
        )
    ),
    "jump": Action(
        (
            (0, STAND),
            (0.3, CROUCH),
            (0.42, replace(FLY, lift=0.03)),
            (0.58, replace(FLY, lift=0.26)),
            (0.74, replace(FLY, lift=0.0)),
            (0.85, replace(CROUCH, arm_n=30, arm_f=20)),
            (1, STAND),
        )
    ),
    "kick": Action(((0, STAND), (0.3, KICK_BACK), (0.55, KICK), (0.65, KICK), (1, STAND))),
    "punch": Action(
        ((0, STAND), (0.2, GUARD), (0.36, PUNCH_NEAR), (0.52, GUARD), (0.68, PUNCH_FAR), (0.84, GUARD), (1, STAND))
    ),
    "bow": Action(((0, STAND), (0.4, BOW), (0.6, BOW), (1, STAND))),
    "squat": Action(((0, STAND), (0.4, SQUAT), (0.6, SQUAT), (1, STAND))),
}
"""Every action by name."""


def limb(start: Point, length: float, angle: float) -> Point:
    """Return the far end of a limb that hangs from `start` at a world angle in degrees."""
    return start[0] + length * sin(radians(angle)), start[1] - length * cos(radians(angle))


def pose_body(body: Body, pose: Pose, *, feet_planted: bool) -> Joints:
    """Return the joints of `body` in `pose`, its lower foot `pose.lift` above the floor."""
    knee_n, knee_f = limb((0, 0), body.thigh, pose.hip_n), limb((0, 0), body.thigh, pose.hip_f)
    ankle_n = limb(knee_n, body.shin, pose.hip_n - pose.knee_n)
    ankle_f = limb(knee_f, body.shin, pose.hip_f - pose.knee_f)
    left = pose.travel - (ankle_f[0] if feet_planted else 0.0)
    up = SOLE + pose.lift - min(ankle_n[1], ankle_f[1])

    def placed(point: Point) -> Point:
        return point[0] + left, point[1] + up

    hip = placed((0, 0))
    neck = limb(hip, body.torso, 180 - pose.lean)
    # The shoulders sit a little below the neck and apart, so that both arms show in a side view.
    chest = limb(hip, body.torso * 0.92, 180 - pose.lean)
    shoulder_n, shoulder_f = (chest[0] - 0.02, chest[1]), (chest[0] + 0.025, chest[1])
    elbow_n = limb(shoulder_n, body.upper_arm, pose.arm_n)
    elbow_f = limb(shoulder_f, body.upper_arm, pose.arm_f)
    gaze = pose.lean * 0.75 + pose.nod
    return Joints(
        hip=hip,
        neck=neck,
        shoulder_n=shoulder_n,
        elbow_n=elbow_n,
        hand_n=limb(elbow_n, body.forearm, pose.arm_n + pose.elbow_n),
        shoulder_f=shoulder_f,
        elbow_f=elbow_f,
        hand_f=limb(elbow_f, body.forearm, pose.arm_f + pose.elbow_f),
        knee_n=placed(knee_n),
        ankle_n=placed(ankle_n),
        knee_f=placed(knee_f),
        ankle_f=placed(ankle_f),
        head=limb(neck, body.head * 1.25, 180 - gaze),
        gaze=gaze,
    )
