"""From an action to the frames of one clip.

1. Draw the person, the room, how fast and how far they move, and where in the clip the action lies: it fills 30 to 45 %
   of 3 to 4 seconds, between idle stretches in which the figure breathes and fidgets.
2. For every frame: pose, camera, figure over room at twice the size, scale down (anti-aliasing), light and noise.
3. An action that is another one backwards is drawn as that one; its frames are put in reverse order at the end.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from math import cos, exp, pi, radians, sin

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from videocompressa.demo.figure import ACTIONS, SIT, Action, Body, Color, Joints, Point, Pose, pose_body
from videocompressa.demo.scene import Dice, Room, draw_body, paint_room, shade
from videocompressa.errors import InputError

FRAMES_PER_SECOND = 12
SUPERSAMPLE = 2  # our choice: lines look smooth, and drawing costs about a millisecond a frame
CANVAS = 1.4  # side of the painted room to that of the picture; the rest is where the camera may go
BALL = 0.05  # radius in body heights


@dataclass(frozen=True)
class Track:
    """What moves in a clip: one pose a frame, and the world about the figure."""

    poses: tuple[Pose, ...]
    seat_top: Point | None
    """Middle of a seat, in body heights, or None."""
    ball: Point | None
    """Where a ball lies on the floor, or None."""
    grab_frame: int | None
    """From this frame on the near hand holds the ball."""
    span: tuple[int, int]
    """First frame of the action, and the first after it."""


@dataclass(frozen=True)
class View:
    """How world coordinates become pixels of one supersampled frame."""

    left: float
    ground: float
    height: float
    """Pixels of a body height."""
    facing: int
    """1 looks to the right, -1 to the left."""

    def pixel(self, point: Point) -> Point:
        """Return the place of a world point in the picture."""
        return self.left + self.facing * point[0] * self.height, self.ground - point[1] * self.height


def draw_clip(
    action: str, generator: torch.Generator, *, size: tuple[int, int], scene: torch.Generator | None = None
) -> Tensor:
    """Return one clip of an action as (T,3,H,W) uint8 frames at `FRAMES_PER_SECOND`, 36 <= T <= 48.

    `size` is (H,W) in pixels, at least 32. With `scene`, the room, the person and where they stand come from that
    generator, and only what is done, when and how it is filmed from the other. Equal generators give equal frames;
    for a pair of which one is the other played backwards they give the same frames in reverse order.
    """
    if action not in ACTIONS:
        raise InputError(f"action {action!r} is unknown; known: {', '.join(ACTIONS)}")
    if min(size) < 32:
        raise InputError(f"drawn clips of {size[0]}x{size[1]} px are too small to show an action; give at least 32x32")
    dice = Dice(generator)
    place = dice if scene is None else Dice(scene)
    height, width = size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE
    ground = height * (CANVAS - 1) / 2 + height * place.uniform(0.88, 0.94)
    room = paint_room(
        place,
        (round(height * CANVAS), round(width * CANVAS)),
        round(ground - height * place.uniform(0.08, 0.2)),
        int(ground),
    )
    body = draw_body(place, room.wall)
    track = draw_track(dice, ACTIONS[action], body)
    facing = place.pick((-1, 1))
    tall = min(height, width) * place.uniform(0.62, 0.72)
    left = width * CANVAS / 2 + width * place.uniform(-0.1, 0.1) - facing * track.poses[-1].travel / 2 * tall
    view = View(left, ground, tall, facing)
    _draw_things(room, view, track, place)
    frames = _shoot(dice, room, view, body, track, ACTIONS[action], (height, width))
    return frames.flip(0) if ACTIONS[action].reverse_of else frames


def draw_track(dice: Dice, action: Action, body: Body) -> Track:
    """Draw when and how a body does an action."""
    num_frames = round(dice.uniform(3, 4) * FRAMES_PER_SECOND)
    length = round(num_frames * dice.uniform(0.3, 0.45))
    start = round((num_frames - length) * dice.uniform(0.2, 0.8))
    own = _vary(action, dice)
    fidgets = [_draw_fidget(dice, num_frames) for _ in range(dice.integer(2, 4))]
    phase, breath = dice.uniform(0, 2 * pi), dice.uniform(0.2, 0.4)
    poses = []
    for frame in range(num_frames):
        pose = own.pose((frame - start) / length)
        wave = sin(phase + 2 * pi * breath * frame / FRAMES_PER_SECOND)
        pose = replace(pose, lean=pose.lean + wave, arm_n=pose.arm_n + 1.5 * wave, arm_f=pose.arm_f - 1.5 * wave)
        for name, center, amount in fidgets:
            bump = amount * exp(-(((frame - center) / 3) ** 2))
            pose = replace(pose, **{name: getattr(pose, name) + bump})
        poses.append(pose)
    seat = ball = grab_frame = None
    if action.seat or (action.feet_planted and dice.chance(0.5)):
        hip = pose_body(body, own.pose(1) if action.seat else SIT, feet_planted=True).hip
        seat = (hip[0] - 0.02, hip[1] - 0.055 * body.girth)
    if action.grab_time is not None:
        ball = pose_body(body, own.pose(action.grab_time), feet_planted=True).hand_n
        ball = (ball[0], max(BALL, ball[1] - BALL))
        grab_frame = start + round(action.grab_time * length)
    elif dice.chance(0.5):
        ball = (dice.uniform(-0.9, 0.9), BALL)
    return Track(tuple(poses), seat, ball, grab_frame, (start, start + length))


def _vary(action: Action, dice: Dice) -> Action:
    """Return the action as this person does it: own posture, own reach, and every key a little off."""
    posture = [dice.uniform(-4, 4) for _ in range(10)]
    reach = dice.uniform(0.9, 1.06)
    first = action.keys[0][1]
    keys = []
    for number, (time, key) in enumerate(action.keys):
        inner = 0 < number < len(action.keys) - 1
        pose = first.moved(key, reach) if inner else key
        offsets = [offset + (dice.uniform(-4, 4) if inner else 0.0) for offset in posture]
        values = astuple(pose)
        angles = [value + offset for value, offset in zip(values[:10], offsets, strict=True)]
        keys.append((time, Pose(*[*angles, pose.lift, pose.travel])))
    return replace(action, keys=tuple(keys))


def _draw_fidget(dice: Dice, num_frames: int) -> tuple[str, float, float]:
    """Return a small movement without meaning: which angle, at which frame, how many degrees."""
    return (
        dice.pick(("nod", "arm_n", "arm_f", "elbow_n", "elbow_f")),
        dice.uniform(0, num_frames),
        dice.uniform(-14, 14),
    )


def _shoot(
    dice: Dice, room: Room, view: View, body: Body, track: Track, action: Action, size: tuple[int, int]
) -> Tensor:
    """Film the track: a slow zoom and pan with a shaking hand, then light and sensor noise."""
    height, width = size
    small = (width // SUPERSAMPLE, height // SUPERSAMPLE)
    num_frames = len(track.poses)
    zoom, zoom_end = dice.uniform(0.95, 1.12), dice.uniform(0.95, 1.12)
    pan_x, pan_y = dice.uniform(-0.04, 0.04) * width, dice.uniform(-0.02, 0.02) * height
    shake = dice.uniform(0, 0.006) * height
    light = np.array([dice.uniform(0.85, 1.12) for _ in range(3)], dtype=np.float32)
    sigma = dice.uniform(1, 6)
    grain = torch.randn((small[1] + 16, small[0] + 16, 3), generator=dice.generator).numpy() * sigma
    ball_color = dice.color(60, 250)
    frames: NDArray[np.uint8] = np.empty((num_frames, small[1], small[0], 3), dtype=np.uint8)
    for number, pose in enumerate(track.poses):
        share = number / (num_frames - 1)
        scale = zoom + (zoom_end - zoom) * share
        box_width, box_height = width / scale, height / scale
        middle_x = room.canvas.width / 2 + pan_x * (2 * share - 1) + shake * dice.uniform(-1, 1)
        middle_y = room.canvas.height / 2 + pan_y * (2 * share - 1) + shake * dice.uniform(-1, 1)
        left, top = middle_x - box_width / 2, middle_y - box_height / 2
        picture = room.canvas.resize(
            (width, height), Image.Resampling.BILINEAR, box=(left, top, left + box_width, top + box_height)
        )
        seen = View((view.left - left) * scale, (view.ground - top) * scale, view.height * scale, view.facing)
        joints = pose_body(body, pose, feet_planted=action.feet_planted)
        draw = ImageDraw.Draw(picture)
        draw_figure(draw, seen, body, joints, pose)
        if track.ball is not None:
            held = track.grab_frame is not None and number >= track.grab_frame
            _disc(draw, seen.pixel(joints.hand_n if held else track.ball), BALL * seen.height, ball_color)
        pixels = np.asarray(picture.reduce(SUPERSAMPLE), dtype=np.float32) * light
        row, column = dice.integer(0, 15), dice.integer(0, 15)
        pixels += grain[row : row + small[1], column : column + small[0]]
        frames[number] = pixels.clip(0, 255).astype(np.uint8)
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def _draw_things(room: Room, view: View, track: Track, dice: Dice) -> None:
    """Paint the seat, which stands still, into the room."""
    if track.seat_top is None:
        return
    draw = ImageDraw.Draw(room.canvas)
    wood = dice.color(50, 130)
    x, top = track.seat_top
    thick = max(3, round(0.035 * view.height))
    for corner in (x - 0.13, x + 0.13):
        draw.line([view.pixel((corner, 0)), view.pixel((corner, top))], fill=shade(wood, 0.8), width=thick)
    draw.line([view.pixel((x - 0.15, top)), view.pixel((x + 0.15, top))], fill=wood, width=thick + 2)
    if dice.chance(0.6):
        draw.line([view.pixel((x - 0.14, top)), view.pixel((x - 0.17, top + 0.36))], fill=wood, width=thick)


def draw_figure(draw: ImageDraw.ImageDraw, view: View, body: Body, joints: Joints, pose: Pose) -> None:
    """Draw the figure from the far side of the body to the near one."""
    place, unit = view.pixel, view.height
    arm, leg = 0.052 * body.girth * unit, 0.078 * body.girth * unit
    feet = (joints.ankle_n[0] + joints.ankle_f[0]) / 2
    middle, ground = place((feet, 0))
    draw.ellipse(
        [middle - 0.2 * unit, ground - 0.02 * unit, middle + 0.2 * unit, ground + 0.025 * unit], fill=(48, 46, 46)
    )

    dim = 0.7  # the far side lies in the shade, which tells the two sides apart
    sleeve = body.shirt if body.sleeves_long else body.skin
    _arm(
        draw,
        [place(p) for p in (joints.shoulder_f, joints.elbow_f, joints.hand_f)],
        arm,
        tuple(shade(c, dim) for c in (body.shirt, sleeve, body.skin)),
    )
    _leg(
        draw,
        view,
        (joints.hip, joints.knee_f, joints.ankle_f),
        pose.hip_f - pose.knee_f,
        leg,
        (shade(body.trousers, dim), shade(body.shoes, dim)),
    )
    _leg(
        draw,
        view,
        (joints.hip, joints.knee_n, joints.ankle_n),
        pose.hip_n - pose.knee_n,
        leg,
        (body.trousers, body.shoes),
    )
    _bone(draw, place(joints.hip), place(joints.shoulder_n), 0.135 * body.girth * unit, body.shirt)
    _bone(draw, place(joints.neck), place(joints.head), 0.05 * unit, body.skin)
    _head(draw, view, body, joints)
    _arm(
        draw,
        [place(p) for p in (joints.shoulder_n, joints.elbow_n, joints.hand_n)],
        arm,
        (shade(body.shirt, 0.88), shade(sleeve, 0.88) if body.sleeves_long else sleeve, body.skin),
    )


def _head(draw: ImageDraw.ImageDraw, view: View, body: Body, joints: Joints) -> None:
    up = (sin(radians(joints.gaze)), cos(radians(joints.gaze)))
    ahead = (up[1], -up[0])
    radius = body.head

    def at(forwards: float, upwards: float) -> Point:
        return view.pixel(
            (
                joints.head[0] + radius * (forwards * ahead[0] + upwards * up[0]),
                joints.head[1] + radius * (forwards * ahead[1] + upwards * up[1]),
            )
        )

    pixels = radius * view.height
    if body.hair_long:
        _bone(draw, at(-0.35, 0.2), at(-0.6, -1.1), pixels * 1.1, body.hair)
    _disc(draw, at(-0.12, 0.14), pixels * 1.05, body.hair)
    _disc(draw, at(0.14, -0.16), pixels * 0.92, body.skin)
    _disc(draw, at(1.02, -0.2), pixels * 0.22, body.skin)
    _disc(draw, at(0.58, 0.05), pixels * 0.15, (24, 22, 26))


def _arm(draw: ImageDraw.ImageDraw, points: list[Point], width: float, colors: tuple[Color, ...]) -> None:
    upper, lower, hand = colors
    _bone(draw, points[1], points[2], width * 0.85, lower)
    _bone(draw, points[0], points[1], width, upper)
    _disc(draw, points[2], width * 0.62, hand)


def _leg(
    draw: ImageDraw.ImageDraw,
    view: View,
    points: tuple[Point, Point, Point],
    shin: float,
    width: float,
    colors: tuple[Color, Color],
) -> None:
    hip, knee, ankle = (view.pixel(point) for point in points)
    # The foot half follows the shin: flat on the floor when standing, pointing when in the air.
    angle = radians(90 + 0.5 * shin)
    toe = view.pixel((points[2][0] + 0.085 * sin(angle), points[2][1] - 0.008 - 0.085 * cos(angle)))
    _bone(draw, ankle, toe, width * 0.62, colors[1])
    _bone(draw, knee, ankle, width * 0.8, colors[0])
    _bone(draw, hip, knee, width, colors[0])


def _bone(draw: ImageDraw.ImageDraw, start: Point, end: Point, width: float, color: Color) -> None:
    """Draw a thick line with round ends."""
    draw.line([start, end], fill=color, width=max(1, round(width)))
    _disc(draw, start, width / 2, color)
    _disc(draw, end, width / 2, color)


def _disc(draw: ImageDraw.ImageDraw, center: Point, radius: float, color: Color) -> None:
    draw.ellipse([center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius], fill=color)
