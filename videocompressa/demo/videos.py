"""The rendered demo set: real mp4 files of an articulated figure, rendered by our own code from a seed.

1. Choose a scene (background, person, place) and a motion: the action fills 30 to 45 % of 3 to 4 seconds, between idle
   stretches in which the figure only sways a little.
2. Turn the joints of every frame into strokes; a disc is a stroke of one point.
3. Paint them over the background at `SUPERSAMPLE` times the size, reduce (anti-aliasing), add sensor noise.
4. Write the clips to `root/train/CLASS/NNN.mp4` and `root/test/CLASS/NNN.mp4`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from videocompressa.demo import figure
from videocompressa.demo.figure import ACTIONS, FAR, HEAD, NEAR, Action, Array, Joints, joints_of
from videocompressa.errors import InputError
from videocompressa.files import atomic_path
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.video import write_video

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

DEFAULT_ACTIONS = ("sit_down", "stand_up", "raise_arms", "lower_arms", "wave", "jump", "kick", "punch", "bow")
"""Nine actions, the first four in two pairs that only time tells apart."""

MARKER = ".rendered.json"  # the settings of the set in a folder; hidden, so that readers of videos skip it

Stroke = tuple[Array, float, Array]
"""A thick line with round ends in T frames: (T,n,2) points, a width in body heights, and an (R,G,B) color."""


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
    """(R,G,B) by name of a part."""


def render_set(
    root: Path,
    *,
    clips_per_class: tuple[int, int] = (20, 10),
    size: tuple[int, int] = (96, 128),
    seed: int = 0,
    watch: Watch = watch_nothing,
    actions: Sequence[str] = DEFAULT_ACTIONS,
    num_scenes: int = 4,
) -> None:
    """Write a rendered set to `root`, or finish the one that was begun there with the same settings.

    `clips_per_class` are the training and the test clips of each action, `size` is (H,W) in pixels, even, and `actions`
    are keys of `ACTIONS`. Each action is done in each of `num_scenes` scenes (a background, a person, where they stand)
    in turn, so that a small student can learn to ignore them. Equal seeds and settings give equal bytes; the draws of a
    clip depend on seed, split, action and number only. `watch("render", done=, total=)` counts clips.

    Raises `InputError` when an action is unknown, a number is out of range, or `root` holds something else.
    """
    counts = dict(zip(("train", "test"), clips_per_class, strict=True))
    _check(actions, counts, size, num_scenes)
    settings = {"actions": actions, "clips_per_class": counts, "num_scenes": num_scenes, "seed": seed, "size": size}
    _claim(root, json.dumps({**settings, "version": 2}, sort_keys=True))
    streams = Streams(seed, "demo")
    work = [(split, action, number) for split, count in counts.items() for action in actions for number in range(count)]
    for done, (split, action, number) in enumerate(work, start=1):
        path = root / split / action / f"{number:03d}.mp4"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            scene = streams.generator(f"scene/{number % num_scenes}")
            frames = render_clip(action, streams.child(split).generator(f"{action}/{number}"), size=size, scene=scene)
            with atomic_path(path) as part:
                write_video(part, frames, FRAMES_PER_SECOND)
        watch("render", done=done, total=len(work))


def _check(actions: Sequence[str], counts: dict[str, int], size: tuple[int, int], num_scenes: int) -> None:
    known = ", ".join(ACTIONS)
    if not actions:
        raise InputError(f"the list of actions is empty; known: {known}")
    if unknown := [action for action in actions if action not in ACTIONS]:
        raise InputError(f"action {unknown[0]!r} is unknown; known: {known}")
    if min(counts.values()) < 1:
        raise InputError(f"clips_per_class is {counts}; every split needs at least 1 clip of each action")
    if min(size) < 32 or size[0] % 2 or size[1] % 2:
        raise InputError(f"size of a rendered set is {size[0]}x{size[1]} px; give even sides of at least 32 px")
    if num_scenes < 1:
        raise InputError(f"num_scenes is {num_scenes}; it must be at least 1")


def _claim(root: Path, settings: str) -> None:
    """Write the settings of the set into its folder, or check that the set there has the same."""
    marker = root / MARKER
    if marker.is_file():
        if marker.read_text() != settings:
            raise InputError(f"{root} holds a set rendered with other settings; choose an empty folder or remove it")
    elif root.exists() and any(root.iterdir()):
        raise InputError(f"{root} is not empty and holds no rendered set; choose an empty folder")
    else:
        root.mkdir(parents=True, exist_ok=True)
        marker.write_text(settings)


def render_clip(action: str, generator: torch.Generator, *, size: tuple[int, int], scene: torch.Generator) -> Tensor:
    """Return one clip of an action as (T,3,H,W) uint8 frames of `size` (H,W) at `FRAMES_PER_SECOND`, 36 <= T <= 48.

    The background, the person and where they stand come from `scene`; when and how the action is done and filmed, from
    `generator`. Equal generators give equal frames; for an action that is another one played backward they give the
    frames of that one in reverse order.
    """
    chosen, rng = ACTIONS[action], numpy_generator(generator)
    place, (poses, _) = choose_scene(numpy_generator(scene), size), choose_motion(rng, chosen)
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


def _strokes(colors: dict[str, Array], joints: Joints) -> list[Stroke]:
    """Return what is painted over the background, from the back to the front; the far side of the body is darker."""
    skin, shirt, trousers, arms, legs = colors["skin"], colors["shirt"], colors["trousers"], joints.arms, joints.legs
    hip, neck, head, face = joints.spine.swapaxes(0, 1)[:, :, None]
    # The stool is in every clip, or it would give some actions away.
    seat, top = joints_of(figure.SIT[None]).spine[0, 0] - (0.02, 0.07)
    stool = [(-0.1, -top), (-0.1, 0), (-0.13, 0), (0.13, 0), (0.1, 0), (0.1, -top)]
    return [
        (np.tile(np.add(stool, (seat, top)), (len(face), 1, 1)), 0.035, colors["stool"]),
        (arms[:, FAR, 1:], 0.045, 0.7 * skin),
        (arms[:, FAR, :2], 0.055, 0.7 * shirt),
        (legs[:, FAR, 2:], 0.05, SHOES),
        (legs[:, FAR, :3], 0.068, 0.7 * trousers),
        (legs[:, NEAR, 2:], 0.05, SHOES),
        (legs[:, NEAR, :3], 0.068, trousers),
        (joints.spine[:, 1:3], 0.05, skin),
        (np.concatenate((hip, 0.12 * hip + 0.88 * neck), axis=1), 0.135, shirt),
        (head, 2 * HEAD, colors["hair"]),
        (0.8 * head + 0.2 * face, 1.7 * HEAD, skin),
        (face, 0.4 * HEAD, skin),
        (arms[:, NEAR, 1:], 0.045, 0.88 * skin),
        (arms[:, NEAR, :2], 0.055, 0.88 * shirt),
    ]


def _film(rng: np.random.Generator, scene: Scene, strokes: list[Stroke], size: tuple[int, int]) -> Tensor:
    """Return (T,3,H,W) frames by a camera that pans slowly in a shaking hand, with sensor noise."""
    height, width = (side * SUPERSAMPLE for side in size)
    num_frames = len(strokes[0][0])
    start, end = rng.uniform(-0.9, 0.9, (2, 2)) * (1, 0.4)
    way = start + (end - start) * np.linspace(0, 1, num_frames)[:, None] + rng.uniform(-0.1, 0.1, (num_frames, 2))
    camera = np.rint((np.array(scene.canvas.size) - (width, height)) / 2 * (1 + way)).astype(int)
    light = rng.uniform(0.86, 1.12, 3)
    frames = np.empty((num_frames, *size, 3))
    for number, (left, top) in enumerate(camera.tolist()):
        picture = scene.canvas.crop((left, top, left + width, top + height))
        draw = ImageDraw.Draw(picture)
        for points, thickness, color in strokes:
            # Round ends and joints; a disc where there is one point.
            path = [(x, y) for x, y in (scene.place + points[number] * scene.scale - (left, top)).tolist()]
            pixels, fill = -thickness * scene.scale[1], tuple(map(int, color))
            draw.line(path, fill=fill, width=max(1, round(pixels)))
            for center in path:
                draw.circle(center, pixels / 2, fill=fill)
        frames[number] = np.asarray(picture.reduce(SUPERSAMPLE)) * light
    frames += rng.integers(-5, 5, frames.shape, dtype=np.int8, endpoint=True)
    return torch.from_numpy(frames.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()
