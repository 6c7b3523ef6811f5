"""From an action to the frames of one clip.

1. Choose a scene (background, person, place) and a motion: the action fills 30 to 45 % of 3 to 4 seconds, between idle
   stretches in which the figure only sways a little.
2. Turn the joints of every frame into strokes; a disc is a stroke of one point.
3. Paint them over the background at `SUPERSAMPLE` times the size, reduce (anti-aliasing), add sensor noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from videocompressa.demo import figure
from videocompressa.demo.figure import FAR, HEAD, NEAR, Action, Array, Joints, joints_of

FRAMES_PER_SECOND = 12
SUPERSAMPLE = 2  # our choice: lines look smooth, and a frame costs about 0.4 ms
MARGIN = 0.12  # of the picture's sides: where the camera may go
SHOES = np.array([48.0, 44.0, 48.0])
SKINS = ((255, 224, 196), (241, 194, 152), (224, 172, 125), (198, 134, 88), (141, 85, 50), (92, 56, 36))
HAIRS = ((30, 24, 22), (72, 46, 28), (128, 82, 42), (196, 156, 84), (150, 60, 30), (150, 150, 150))
CLOTHES = (
    *((204, 44, 44), (30, 60, 200), (60, 170, 30), (236, 176, 32)),
    *((120, 52, 160), (24, 150, 164), (216, 92, 148), (32, 34, 44)),
)
WALL_CHANNELS = (180, 240)  # of pale walls, from which all clothes stand out


@dataclass(frozen=True)
class Scene:
    """What a clip shows besides the action; lengths in supersampled pixels."""

    canvas: Image.Image
    """The background, larger than the picture by `MARGIN` on each side."""
    place: Array
    """Place of the figure on the canvas, from left and top."""
    scale: Array
    """Of world coordinates (x,y); x is negative where the figure faces left, and y always."""
    colors: dict[str, Array]
    """(R,G,B) of "stool", "skin", "hair", "shirt" and "trousers"."""


class Stroke(NamedTuple):
    """A thick line with round ends in T frames: (T,n,2) points and a width in body heights; the color is (R,G,B)."""

    points: Array
    width: float
    color: Array


def render_clip(action: str, generator: torch.Generator, *, size: tuple[int, int], scene: torch.Generator) -> Tensor:
    """Return one clip of an action as (T,3,H,W) uint8 frames of `size` (H,W) at `FRAMES_PER_SECOND`, 36 <= T <= 48.

    The background, the person and where they stand come from `scene`; when and how the action is done and filmed, from
    `generator`. Equal generators give equal frames; for an action that is another one played backward they give the
    frames of that one in reverse order.
    """
    chosen, rng = figure.ACTIONS[action], numpy_generator(generator)
    place = choose_scene(numpy_generator(scene), size)
    poses, _ = choose_motion(rng, chosen)
    frames = _film(rng, place, _strokes(place.colors, joints_of(poses)), size)
    return frames.flip(0) if chosen.reverse_of else frames


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Return a NumPy generator that is seeded by the next draw of a torch one."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def choose_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Choose background, person and place for pictures of (H,W) pixels."""
    height, width = (round(side * SUPERSAMPLE * (1 + 2 * MARGIN)) for side in size)
    bottom = SUPERSAMPLE * size[0] * (MARGIN + rng.uniform(0.84, 0.9))
    horizon = round(bottom - height * rng.uniform(0.06, 0.16))
    light = Image.fromarray(rng.integers(0, 50, (3, 4), dtype=np.uint8)).resize((width, height))
    canvas = np.asarray(light, dtype=np.int64)[..., None] - np.full(3, 25)
    canvas[:horizon] += rng.integers(*WALL_CHANNELS, 3)
    canvas[horizon:] += rng.integers(70, 190, 3)
    shirt, trousers = rng.choice(CLOTHES, 2, replace=False)
    return Scene(
        canvas=Image.fromarray(canvas.clip(0, 255).astype(np.uint8)),
        place=np.array([width * rng.uniform(0.42, 0.58), bottom]),
        scale=min(size) * SUPERSAMPLE * rng.uniform(0.62, 0.72) * np.array([rng.choice((-1, 1)), -1]),
        colors={
            "stool": rng.uniform(50, 160, 3),
            "skin": rng.choice(SKINS),
            "hair": rng.choice(HAIRS),
            "shirt": shirt,
            "trousers": trousers,
        },
    )


def choose_motion(rng: np.random.Generator, action: Action) -> tuple[Array, slice]:
    """Choose when and how an action is done: own posture and reach, every key a little off, swaying throughout.

    Returns (T,12) poses (see `figure.pose`) and the frames of the action.
    """
    num_frames = round(rng.uniform(3, 4) * FRAMES_PER_SECOND)
    length = round(num_frames * rng.uniform(0.3, 0.45))
    start = round((num_frames - length) * rng.uniform(0.2, 0.8))
    keys = np.array(action.keys)
    keys[1:-1] = keys[0] + (keys[1:-1] - keys[0]) * rng.uniform(0.9, 1.06)
    angles = keys[:, : figure.NUM_ANGLES]
    angles[1:-1] += rng.uniform(-4, 4, angles[1:-1].shape)
    angles += rng.uniform(-4, 4, figure.NUM_ANGLES)
    frames = np.arange(num_frames)
    poses = figure.interpolate(action.times, keys, (frames - start) / length)
    upper = poses[:, : figure.NUM_UPPER_ANGLES]
    hertz, phase, degrees = (rng.uniform(0, high, upper.shape[1]) for high in (0.5, 1, 5))
    upper += degrees * np.sin(2 * np.pi * (hertz * frames[:, None] / FRAMES_PER_SECOND + phase))
    return poses, slice(start, start + length)


def _strokes(colors: Mapping[str, Array], joints: Joints) -> list[Stroke]:
    """Return what is painted over the background, from the back to the front; the far side of the body is darker."""
    skin, shirt, trousers, arms, legs = colors["skin"], colors["shirt"], colors["trousers"], joints.arms, joints.legs
    hip, neck, head = joints.spine.swapaxes(0, 1)[:, :, None]
    face = joints.face[:, None]
    # The stool is in every clip, or it would give some actions away.
    seat, top = joints_of(figure.SIT[None]).spine[0, 0] - (0.02, 0.07)
    stool = [(-0.1, -top), (-0.1, 0), (-0.13, 0), (0.13, 0), (0.1, 0), (0.1, -top)]
    return [
        Stroke(np.tile(np.add(stool, (seat, top)), (len(face), 1, 1)), 0.035, colors["stool"]),
        Stroke(arms[:, FAR, 1:], 0.045, 0.7 * skin),
        Stroke(arms[:, FAR, :2], 0.055, 0.7 * shirt),
        Stroke(legs[:, FAR, 2:], 0.05, SHOES),
        Stroke(legs[:, FAR, :3], 0.068, 0.7 * trousers),
        Stroke(legs[:, NEAR, 2:], 0.05, SHOES),
        Stroke(legs[:, NEAR, :3], 0.068, trousers),
        Stroke(joints.spine[:, 1:], 0.05, skin),
        Stroke(np.concatenate((hip, 0.12 * hip + 0.88 * neck), axis=1), 0.135, shirt),
        Stroke(head, 2 * HEAD, colors["hair"]),
        Stroke(0.8 * head + 0.2 * face, 1.7 * HEAD, skin),
        Stroke(face, 0.4 * HEAD, skin),
        Stroke(arms[:, NEAR, 1:], 0.045, 0.88 * skin),
        Stroke(arms[:, NEAR, :2], 0.055, 0.88 * shirt),
    ]


def _film(rng: np.random.Generator, scene: Scene, strokes: list[Stroke], size: tuple[int, int]) -> Tensor:
    """Return (T,3,H,W) frames by a camera that pans slowly in a shaking hand, with sensor noise."""
    height, width = (side * SUPERSAMPLE for side in size)
    num_frames = len(strokes[0].points)
    start, end = rng.uniform(-0.9, 0.9, (2, 2)) * (1, 0.4)
    way = start + (end - start) * np.linspace(0, 1, num_frames)[:, None] + rng.uniform(-0.1, 0.1, (num_frames, 2))
    camera = np.rint((np.array(scene.canvas.size) - (width, height)) / 2 * (1 + way)).astype(int)
    paths = [(scene.place + stroke.points * scene.scale - camera[:, None]).tolist() for stroke in strokes]
    light = rng.uniform(0.86, 1.12, 3)
    frames = np.empty((num_frames, *size, 3))
    for number, (left, top) in enumerate(camera.tolist()):
        picture = scene.canvas.crop((left, top, left + width, top + height))
        draw = ImageDraw.Draw(picture)
        for stroke, path in zip(strokes, paths, strict=True):
            # Round ends and joints; a disc where there is one point.
            color, thickness = tuple(map(int, stroke.color)), -stroke.width * scene.scale[1]
            draw.line([(x, y) for x, y in path[number]], fill=color, width=max(1, round(thickness)))
            for x, y in path[number]:
                draw.circle((x, y), thickness / 2, fill=color)
        frames[number] = np.asarray(picture.reduce(SUPERSAMPLE)) * light
    frames += rng.integers(-5, 5, frames.shape, dtype=np.int8, endpoint=True)
    return torch.from_numpy(frames.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()
