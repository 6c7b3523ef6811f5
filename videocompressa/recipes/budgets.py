"""Which VPC and K an asked budget gives (section 4 of `docs/design.md`).

A ratio or a size in bytes gives the largest VPC with the asked K that fits; where not even VPC 1 fits, K is lowered;
where not even one keyframe a class fits, `BudgetError` says the smallest budget that works. How large a file will be is
known but for a few bytes (`most_bytes`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from videocompressa.artifact import predict_file_bytes
from videocompressa.artifact.storage import NOMINAL_BITS, TRANSFORM, Storage, transform_of
from videocompressa.clip import Candidates, ClipSpec, CodecSpec, Normalization
from videocompressa.errors import BudgetError, InputError
from videocompressa.recipes.options import BudgetOptions
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.selection.videos import check_enough
from videocompressa.synthetic import Allowance, Source

DEFAULT_KEYFRAMES = 4
"""K when none is asked for (our choice: what the paper's tables use most); T where T is smaller."""

SPARE, SPARE_BYTES = 0.05, 32
"""Room for videos that code worse than those which were measured: a share of the stream, and bytes."""
DRAWS = 8
"""Random sets whose sizes are computed."""
MARGIN_BYTES = 16
"""Added to the largest, and a quarter of a byte an item (our choice: on lip_words and fluent16 none of 4,800 other
random sets was larger)."""


@dataclass(frozen=True)
class TrainFacts:
    """What a budget must know of the training videos; a probe can tell it as well as the encode pass."""

    clip: ClipSpec
    codec: CodecSpec
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    """N class positions."""
    video_ids: tuple[str, ...]
    times_seconds: tuple[tuple[float, ...], ...]
    """N x T: when each candidate frame is shown in its video, at least about."""
    source: Source
    normalization: Normalization | None = None
    """None before decoding."""

    @classmethod
    def of(cls, train_data: Candidates) -> TrainFacts:
        """Return the facts of candidates."""
        return cls(
            clip=train_data.clip,
            codec=train_data.codec,
            classes=train_data.classes,
            labels=tuple(train_data.labels.tolist()),
            video_ids=train_data.video_ids,
            times_seconds=tuple(map(tuple, train_data.times_seconds.tolist())),
            source=Source.of(train_data),
            normalization=train_data.normalization,
        )

    @property
    def counts(self) -> list[int]:
        """Videos of each class."""
        return torch.bincount(torch.tensor(self.labels, dtype=torch.int64), minlength=len(self.classes)).tolist()

    def num_items(self, vpc: int) -> int:
        """Items of a set with at most `vpc` videos a class."""
        return sum(min(count, vpc) for count in self.counts)


@dataclass(frozen=True)
class FileFacts:
    """What else decides the size of the file."""

    method: str
    config: Mapping[str, Any]
    soft_labels: bool
    seed: int
    storage: Storage = TRANSFORM
    item_bytes: Callable[[int], float] | None = None
    """K to the bytes of one item's latents where they are entropy-coded, measured; None before decoding (nominal)."""

    extra_bytes: int = 0
    """What a file was found to have above what was foreseen."""

    def packed(self, num_items: int, keyframes: int, facts: TrainFacts) -> dict[str, Any]:
        """Return the packing and the tensors that such a file holds in place of dense latents, where it does."""
        if self.storage.name != "transform":
            return {}
        channels, height, width = facts.codec.latent_shape(facts.clip.height, facts.clip.width)
        nominal = keyframes * channels * height * width * NOMINAL_BITS / 8
        each = nominal if self.item_bytes is None else self.item_bytes(keyframes)
        stream_bytes = math.ceil(num_items * each * (1 + SPARE)) + SPARE_BYTES
        layout = {"steps": ("F16", (channels,)), "stream": ("U8", (stream_bytes,))}
        return {"packing": transform_of(facts.codec), "packed": layout}


@dataclass(frozen=True)
class ResolvedBudget:
    """What an asked budget comes to."""

    allowance: Allowance
    num_items: int
    """N."""
    most_bytes: int
    """The file will be about as large and hardly ever larger: how its small text packs depends on what is chosen."""
    notes: tuple[str, ...]
    """What a user should know: where K was lowered, or VPC stopped at a class."""


def check_classes(counts: Mapping[str, int], options: BudgetOptions) -> None:
    """Raise when a class has no video, or fewer than an asked VPC; for use before the long pass over the videos."""
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        more = f" (and {len(empty) - 1} more classes)" if len(empty) > 1 else ""
        raise InputError(
            f"class {empty[0]!r} has no training videos{more}; add some, or remove the class from the list"
        )
    check_enough(counts, options.vpc or 1, allow_fewer=options.allow_fewer)


def resolve_budget(
    options: BudgetOptions, facts: TrainFacts, file: FileFacts, reference: FileFacts | None = None
) -> ResolvedBudget:
    """Return VPC and K of an asked budget, and the bytes for methods that fill bytes.

    Those are the asked bytes, or the size of a file like `reference` (default: `file`) with that VPC and K.

    Raises `InputError` for K > T and for a class with fewer videos than an asked VPC, `BudgetError` for a budget that
    does not hold one keyframe a class.
    """
    num_frames = facts.clip.num_frames
    keyframes = min(DEFAULT_KEYFRAMES, num_frames) if options.keyframes is None else options.keyframes
    check_keyframes(keyframes, num_frames)
    counts = facts.counts
    check_classes(dict(zip(facts.classes, counts, strict=True)), options)
    notes: list[str] = []
    if options.ratio is None and options.bytes is None:
        vpc = 1 if options.vpc is None else options.vpc
    else:
        fits, too_small = _asked(options, facts, file)
        asked = keyframes
        while keyframes and not fits(1, keyframes):
            keyframes -= 1
        if not keyframes:
            raise too_small
        if keyframes < asked:
            notes.append(f"the budget holds only {keyframes} of {asked} keyframes a video")
        most = max(counts) if options.allow_fewer else min(counts)
        vpc = _largest(most, lambda vpc: fits(vpc, keyframes))
        if vpc == most and fits(most + 1, keyframes) and keyframes == asked:
            notes.append(_stopped(most, counts, facts, allow_fewer=options.allow_fewer))
    allowance = Allowance(vpc, keyframes, options.allow_fewer)  # refuses a VPC of 0 before anything is computed of it
    file_bytes = options.bytes or most_bytes(facts, reference or file, vpc, keyframes)
    allowance = replace(allowance, file_bytes=file_bytes)
    return ResolvedBudget(allowance, facts.num_items(vpc), most_bytes(facts, file, vpc, keyframes), tuple(notes))


def most_bytes(facts: TrainFacts, file: FileFacts, vpc: int, keyframes: int) -> int:
    """Return the size of the largest of `DRAWS` files of random videos and keyframes, and a little more.

    Paths and times are packed, so no choice of videos is surely the largest. Random keyframes pack worse than uniform
    ones. Who promises bytes must look at the file, as `compress_folder` does.
    """
    members: list[list[int]] = [[] for _ in facts.classes]
    for row, label in enumerate(facts.labels):
        members[label].append(row)
    draw = random.Random(0)  # any draws do, as long as they are always the same
    sizes = []
    for _ in range(DRAWS):
        rows = [row for some in members for row in draw.sample(some, min(vpc, len(some)))]
        positions = [sorted(draw.sample(range(facts.clip.num_frames), keyframes)) for _ in rows]
        size = predict_file_bytes(
            [facts.video_ids[row] for row in rows],
            [
                [facts.times_seconds[row][place] for place in places]
                for row, places in zip(rows, positions, strict=True)
            ],
            positions,
            clip=facts.clip,
            codec=facts.codec,
            classes=facts.classes,
            source=facts.source,
            soft_labels=file.soft_labels,
            method=file.method,
            config=file.config,
            seed=file.seed,
            normalization=facts.normalization,
            quantization=file.storage.quantization,
            **file.packed(len(rows), keyframes, facts),
        )
        sizes.append(size + MARGIN_BYTES + len(rows) // 4 + file.extra_bytes)
    return max(sizes)


def _asked(
    options: BudgetOptions, facts: TrainFacts, file: FileFacts
) -> tuple[Callable[[int, int], bool], BudgetError]:
    """Return whether (VPC, K) is within the asked budget, and the error for a budget that holds nothing."""
    if options.ratio is not None:
        ratio, total, num_classes = options.ratio, facts.source.num_frames, len(facts.classes)
        smallest = math.ceil(num_classes / total * 10**6) / 10**4
        error = BudgetError(
            f"--ratio {100 * ratio:g}% of {total} frames is less than one keyframe for each of {num_classes} classes; "
            f"give at least --ratio {smallest:g}%"
        )
        return lambda vpc, keyframes: facts.num_items(vpc) * keyframes <= ratio * total * (1 + 1e-9), error
    assert options.bytes is not None
    limit, least = options.bytes, most_bytes(facts, file, 1, 1)
    error = BudgetError(
        f"--bytes {limit} is too small for one keyframe of each of {len(facts.classes)} classes; "
        f"give at least --bytes {least}"
    )
    return lambda vpc, keyframes: most_bytes(facts, file, vpc, keyframes) <= limit, error


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number in [1,most] that fits, when 1 does; halving, for `fits` is monotone."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _stopped(most: int, counts: list[int], facts: TrainFacts, *, allow_fewer: bool) -> str:
    if allow_fewer or min(counts) == max(counts):
        return "the budget holds all training videos"
    name = facts.classes[counts.index(most)]
    return f"VPC stops at {most}, for class {name!r} has no more; --allow-fewer goes on with the others"
