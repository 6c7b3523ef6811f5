"""The rendered demo set: real mp4 files of an articulated figure, rendered by our own code from a seed.

`figure` holds the body and the actions, `rendering` makes clips of them; this file writes the folders
`root/train/CLASS/NNN.mp4` and `root/test/CLASS/NNN.mp4`. It needs no pictures and no network.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from videocompressa.demo.figure import ACTIONS
from videocompressa.demo.rendering import FRAMES_PER_SECOND, render_clip
from videocompressa.errors import InputError
from videocompressa.files import atomic_path
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.video import write_video

DEFAULT_ACTIONS = ("sit_down", "stand_up", "raise_arms", "lower_arms", "wave", "jump", "kick", "punch", "bow")
"""Nine actions, the first four in two pairs that only time tells apart."""

MARKER = ".rendered.json"  # the settings of the set in a folder; hidden, so that readers of videos skip it


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
        return
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root} is not empty and holds no rendered set; choose an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    marker.write_text(settings)
