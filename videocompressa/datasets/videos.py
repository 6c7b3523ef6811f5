"""Lists of labeled videos: the records, and the carving of a validation split by whole groups."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from videocompressa.errors import InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class VideoEntry:
    """One labeled video of a set; the file itself need not exist (then it counts as a bad video)."""

    path: Path
    video_id: str
    """Path relative to the root of its set, with forward slashes."""
    label: int
    """Class position in [0,L)."""
    split: str
    """One of `SPLITS`."""
    group: str
    """Videos of one group (a scene, a speaker, one long recording) never cross a split that we make."""


@dataclass(frozen=True)
class VideoSet:
    """The labeled videos of a data set, in the order of their ids."""

    name: str
    root: Path
    classes: tuple[str, ...]
    """L class names, sorted: a label is a place in this tuple."""
    entries: tuple[VideoEntry, ...]

    def __post_init__(self) -> None:
        ids = [entry.video_id for entry in self.entries]
        if len(set(ids)) != len(ids):
            raise InputError(f"{self.name}: a video is listed twice: {_first_repeated(ids)}")
        for entry in self.entries:
            if entry.split not in SPLITS:
                raise InputError(f"{entry.video_id}: split {entry.split!r} is not known; known: {', '.join(SPLITS)}")
            if not 0 <= entry.label < len(self.classes):
                raise InputError(f"{entry.video_id}: label {entry.label} leaves [0,{len(self.classes)})")

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={sum(e.split == split for e in self.entries)}" for split in SPLITS)
        return f"VideoSet({self.name!r}, classes={len(self.classes)}, {counts})"

    def select(self, split: str) -> VideoSet:
        """Return the videos of one split, with all classes kept so that labels keep their meaning."""
        if split not in SPLITS:
            raise InputError(f"split {split!r} is not known; known: {', '.join(SPLITS)}")
        return replace(self, entries=tuple(entry for entry in self.entries if entry.split == split))

    @property
    def split_hash(self) -> str:
        """SHA-256 over the sorted ids with their labels, and the classes; the same wherever the set lies."""
        listed = sorted((entry.video_id, entry.label) for entry in self.entries)
        return hashlib.sha256(json.dumps([listed, self.classes]).encode()).hexdigest()


def keep_classes(videos: VideoSet, names: Sequence[str]) -> VideoSet:
    """Return the videos of the named classes only, with labels in the order of the sorted names.

    Raises `InputError` for names that the set has not (all are listed), that are named twice, or fewer than two.
    """
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"{videos.name}: the classes to keep are {', '.join(names) or 'none'}; name two or more, once")
    missing = sorted(set(names) - set(videos.classes))
    if missing:
        raise InputError(
            f"{videos.name}: has no class {', '.join(missing)} ({len(missing)} of the {len(names)} to keep); "
            f"it has {', '.join(videos.classes[:5])}{', ...' if len(videos.classes) > 5 else ''}"
        )
    kept = tuple(sorted(names))
    label_of = {videos.classes.index(name): label for label, name in enumerate(kept)}
    entries = tuple(replace(entry, label=label_of[entry.label]) for entry in videos.entries if entry.label in label_of)
    return replace(videos, classes=kept, entries=entries)


def carve_validation(videos: VideoSet, fraction: float, generator: torch.Generator) -> VideoSet:
    """Move about `fraction` of the training videos of each class to "val", whole groups at a time.

    Groups are drawn in a random order; one moves when it brings every class it touches closer to its share. A class
    keeps at least one training group, and gives at least one where it has two or more that others can spare.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the validation fraction is {fraction}; it must lie between 0 and 1")
    members: dict[str, list[VideoEntry]] = defaultdict(list)
    for entry in videos.entries:
        if entry.split == "train":
            members[entry.group].append(entry)
    groups_of: dict[int, set[str]] = defaultdict(set)
    wanted: dict[int, float] = defaultdict(float)
    for group, entries in members.items():
        for entry in entries:
            groups_of[entry.label].add(group)
            wanted[entry.label] += fraction
    names = sorted(members)
    order = [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]
    moved: set[str] = set()
    given: dict[int, int] = defaultdict(int)

    def spare(group: str) -> bool:
        return all(len(groups_of[entry.label] - moved) > 1 for entry in members[group])

    def move(group: str) -> None:
        moved.add(group)
        for entry in members[group]:
            given[entry.label] += 1

    for group in order:
        counts = _counts(members[group])
        gain = sum(abs(wanted[c] - given[c]) - abs(wanted[c] - given[c] - n) for c, n in counts.items())
        if gain > 0 and spare(group):
            move(group)
    for label in sorted(groups_of):
        if not given[label]:
            candidates = [group for group in order if group in groups_of[label] and spare(group)]
            if candidates:
                move(min(candidates, key=lambda group: len(members[group])))
    return replace(
        videos,
        entries=tuple(
            replace(entry, split="val") if entry.split == "train" and entry.group in moved else entry
            for entry in videos.entries
        ),
    )


def _counts(entries: list[VideoEntry]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for entry in entries:
        counts[entry.label] += 1
    return counts


def _first_repeated(ids: list[str]) -> str:
    seen: set[str] = set()
    return next(video_id for video_id in ids if video_id in seen or seen.add(video_id))  # type: ignore[func-returns-value]
