"""The drawn demo set: real mp4 files of an articulated figure, rendered by our own code from a seed.

`figure` holds the body and the actions, `scene` the room, `render` makes clips of them; this file writes the folders
`root/train/CLASS/NNN.mp4` and `root/test/CLASS/NNN.mp4`. Nobody's pictures are in it, and it needs no network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from videocompressa.demo.figure import ACTIONS
from videocompressa.demo.render import FRAMES_PER_SECOND, draw_clip
from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.video import write_video

__all__ = ["ACTIONS", "DEFAULT_ACTIONS", "FRAMES_PER_SECOND", "draw_clip", "draw_set"]

DEFAULT_ACTIONS = (
    "sit_down",
    "stand_up",
    "raise_arms",
    "lower_arms",
    "wave",
    "jump",
    "kick",
    "punch",
    "bow",
)
"""Nine actions, the first four in two pairs that only time tells apart."""

MARKER = ".drawn.json"  # says how the set in a folder was drawn; hidden, so that no reader of videos meets it


def draw_set(
    root: Path,
    *,
    clips_per_class: Mapping[str, int] | tuple[int, int] = (20, 10),
    size: tuple[int, int] = (96, 128),
    seed: int = 0,
    watch: Watch = watch_nothing,
    actions: Sequence[str] | None = None,
    num_scenes: int | None = None,
) -> None:
    """Write a drawn set to `root`, or finish the one that was begun there with the same settings.

    Parameters
    ----------
    root:
        Folder of the set; made when it is not there.
    clips_per_class:
        Clips of each action, as {"train": 20, "test": 10} or (20, 10); every number at least 1.
    size:
        (H,W) in pixels, even.
    seed:
        Equal seeds and settings give equal bytes; the draws of a clip depend on seed, split, action and number only.
    watch:
        Called as `watch("draw", done=..., total=...)` after each clip.
    actions:
        Names out of `ACTIONS`, or None for `DEFAULT_ACTIONS`.
    num_scenes:
        Every action of every split is done in each of so many scenes (a room, a person, where they stand) in turn, so
        that a small student can learn to look past them; None draws a new scene for each clip.

    Raises
    ------
    InputError
        An action is unknown, a number is out of range, or `root` holds something else.
    """
    chosen = tuple(DEFAULT_ACTIONS if actions is None else actions)
    counts = (
        dict(clips_per_class)
        if isinstance(clips_per_class, Mapping)
        else dict(zip(("train", "test"), clips_per_class, strict=True))
    )
    _check(chosen, counts, size)
    if num_scenes is not None and num_scenes < 1:
        raise InputError(f"num_scenes is {num_scenes}; it must be at least 1, or None for a new scene each clip")
    settings = {"actions": chosen, "clips_per_class": counts, "num_scenes": num_scenes, "seed": seed, "size": size}
    _claim(root, {**settings, "version": 1})
    streams = Streams(seed, "demo")
    work = [(split, action, number) for split, count in counts.items() for action in chosen for number in range(count)]
    for done, (split, action, number) in enumerate(work, start=1):
        path = root / split / action / f"{number:03d}.mp4"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            scene = None if num_scenes is None else streams.generator(f"scene/{number % num_scenes}")
            frames = draw_clip(action, streams.child(split).generator(f"{action}/{number}"), size=size, scene=scene)
            unfinished = path.with_name(f".unfinished-{path.name}")
            write_video(unfinished, frames, FRAMES_PER_SECOND)
            unfinished.replace(path)
        watch("draw", done=done, total=len(work))


def _check(actions: Sequence[str], counts: Mapping[str, int], size: tuple[int, int]) -> None:
    if not actions:
        raise InputError(f"the list of actions is empty; known: {', '.join(ACTIONS)}")
    for action in actions:
        if action not in ACTIONS:
            raise InputError(f"action {action!r} is unknown; known: {', '.join(ACTIONS)}")
    if not counts or min(counts.values()) < 1:
        raise InputError(f"clips_per_class is {dict(counts)}; every split needs at least 1 clip of each action")
    if min(size) < 32 or size[0] % 2 or size[1] % 2:
        raise InputError(f"size of a drawn set is {size[0]}x{size[1]} px; give even sides of at least 32 px")


def _claim(root: Path, settings: Mapping[str, object]) -> None:
    """Write how the set is drawn, or check that what lies there was drawn so."""
    text = json.dumps(settings, sort_keys=True)
    marker = root / MARKER
    if marker.is_file():
        if marker.read_text() != text:
            raise InputError(f"{root} holds a set drawn with other settings; choose an empty folder or remove it")
        return
    if root.exists() and any(root.iterdir()):
        raise InputError(f"{root} is not empty and holds no drawn set; choose an empty folder")
    root.mkdir(parents=True, exist_ok=True)
    marker.write_text(text)
