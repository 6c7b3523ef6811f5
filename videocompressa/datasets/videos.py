"""Lists of labeled videos: the records, and the carving of a validation split by groups."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from videocompressa.errors import InputError
from videocompressa.video.source import VideoSource

SPLITS = ("train", "val", "test")
_MOST_DIGITS = 18
"""Of class names that are ordered as numbers."""


@dataclass(frozen=True)
class VideoEntry:
    """One labeled video of a set; its file need not exist (then it counts as a bad video)."""

    source: VideoSource
    video_id: str
    """Path relative to the root of its set, with forward slashes; of a packed video, see the reader of its layout."""
    label: int
    """Class position in [0,L)."""
    split: str
    """One of `SPLITS`."""
    group: str
    """Videos of one group (a scene, a speaker, one long recording) never cross a split that we carve."""


@dataclass(frozen=True)
class VideoSet:
    """The labeled videos of a data set, in the order of their ids."""

    name: str
    root: Path
    classes: tuple[str, ...]
    """L class names, in order: a label is a position in this tuple."""
    entries: tuple[VideoEntry, ...]
    notes: tuple[str, ...] = ()
    """What was found and left out, for the user."""

    def __post_init__(self) -> None:
        video_ids: set[str] = set()
        for entry in self.entries:
            if entry.video_id in video_ids:
                raise InputError(f"{self.name}: a video is listed twice: {entry.video_id}")
            video_ids.add(entry.video_id)
            if entry.split not in SPLITS:
                raise InputError(f"{entry.video_id}: split {entry.split!r} is not known; known: {', '.join(SPLITS)}")
            if not 0 <= entry.label < len(self.classes):
                raise InputError(f"{entry.video_id}: label {entry.label} leaves [0,{len(self.classes)})")

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={sum(e.split == split for e in self.entries)}" for split in SPLITS)
        return f"VideoSet({self.name!r}, classes={len(self.classes)}, {counts})"

    def select(self, split: str) -> Self:
        """Return the videos of one split, with all classes kept so that labels keep their meaning."""
        if split not in SPLITS:
            raise InputError(f"split {split!r} is not known; known: {', '.join(SPLITS)}")
        return replace(self, entries=tuple(entry for entry in self.entries if entry.split == split))

    @property
    def split_hash(self) -> str:
        """SHA-256 over the sorted ids with their labels, and the classes; the same wherever the set is stored."""
        listed = sorted((entry.video_id, entry.label) for entry in self.entries)
        return hashlib.sha256(json.dumps([listed, self.classes]).encode()).hexdigest()


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in label order: sorted, as numbers where all of them are."""
    names = sorted(names)
    numbers = all(name.isdecimal() and len(name) <= _MOST_DIGITS for name in names)
    return tuple(sorted(names, key=int) if numbers else names)


def keep_classes(videos: VideoSet, names: Sequence[str]) -> VideoSet:
    """Return the videos of the named classes only, with labels in the order of the names.

    Raises `InputError` for names that the set lacks (all are listed), for repeated names, and for fewer than two.
    """
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"{videos.name}: the classes to keep are {', '.join(names) or 'none'}; name two or more, once")
    missing = sorted(set(names) - set(videos.classes))
    if missing:
        raise InputError(
            f"{videos.name}: has no class {', '.join(missing)} ({len(missing)} of the {len(names)} to keep); "
            f"it has {', '.join(videos.classes[:5])}{', ...' if len(videos.classes) > 5 else ''}"
        )
    kept = class_order(names)
    label_of = {videos.classes.index(name): label for label, name in enumerate(kept)}
    entries = tuple(replace(entry, label=label_of[entry.label]) for entry in videos.entries if entry.label in label_of)
    return replace(videos, classes=kept, entries=entries)


def carve_validation(videos: VideoSet, fraction: float, generator: torch.Generator) -> VideoSet:
    """Move about `fraction` of the training videos of each class to "val", in complete groups.

    Groups come in a random order; one moves when it brings the classes in it closer to their shares. A class keeps at
    least one training group, and gives at least one where it has two or more that other classes can spare.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the validation fraction is {fraction}; it must be between 0 and 1")
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    wanted: dict[int, float] = defaultdict(float)
    for entry in videos.entries:
        if entry.split == "train":
            counts[entry.group][entry.label] += 1
            wanted[entry.label] += fraction
    num_groups = Counter(label for labels in counts.values() for label in labels)
    names = sorted(counts)
    order = [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]
    val_groups: set[str] = set()
    num_moved: Counter[int] = Counter()

    def can_move(group: str) -> bool:
        return all(num_groups[label] > 1 for label in counts[group])

    def move(group: str) -> None:
        val_groups.add(group)
        num_moved.update(counts[group])
        num_groups.subtract(counts[group].keys())

    for group in order:
        missing = {label: wanted[label] - num_moved[label] for label in counts[group]}
        gain = sum(abs(missing[label]) - abs(missing[label] - n) for label, n in counts[group].items())
        if gain > 0 and can_move(group):
            move(group)
    for label in sorted(wanted):
        if not num_moved[label]:
            movable = [group for group in order if label in counts[group] and can_move(group)]
            if movable:
                move(min(movable, key=lambda group: counts[group].total()))
    entries = (replace(e, split="val") if e.split == "train" and e.group in val_groups else e for e in videos.entries)
    return replace(videos, entries=tuple(entries))


def sample_train(videos: VideoSet, count: int, generator: torch.Generator) -> VideoSet:
    """Keep `count` random training videos, at least one of each class; classes that have enough are equally large."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row in torch.randperm(len(videos), generator=generator).tolist():
        if videos.entries[row].split == "train":
            rows[videos.entries[row].label].append(row)
    kept: set[int] = set()
    smallest_first = sorted(rows.values(), key=len)
    for number, own in enumerate(smallest_first):
        kept.update(own[: max(1, (count - len(kept)) // (len(smallest_first) - number))])
    entries = (entry for row, entry in enumerate(videos.entries) if row in kept or entry.split != "train")
    return replace(videos, entries=tuple(entries))
