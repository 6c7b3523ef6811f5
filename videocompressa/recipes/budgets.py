"""Which VPC and K an asked budget allows (section 4 of `docs/design.md`).

A ratio or a size in bytes gives the largest VPC with the asked K that fits; where not even VPC 1 fits, K is lowered;
where not even one keyframe a class fits, `BudgetError` names the smallest budget that works. Sizes are measured on
blank sets (`artifact/fitting.py`). Methods that fill bytes take a size in bytes and nothing else.
"""

import dataclasses
import functools
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from videocompressa.artifact import to_bytes
from videocompressa.artifact.fitting import blank_labeler, largest_fitting
from videocompressa.artifact.packing.weights import packed_bytes
from videocompressa.artifact.storage import Storage, blank_stream, item_bytes, transform_of
from videocompressa.clip import Candidates, Normalization
from videocompressa.codecs import Codec
from videocompressa.errors import BudgetError, InputError
from videocompressa.labeler import LabelerSpec
from videocompressa.methods import MethodConfig
from videocompressa.recipes.options import BudgetOptions, NumBytes
from videocompressa.selection.keyframes import UniformSelector, check_keyframes
from videocompressa.selection.videos import check_enough
from videocompressa.synthetic import Budget

DEFAULT_KEYFRAMES = 8
"""K when none is asked for; T where T is smaller. Of 24 keyframes of 8-frame clips a class, 3 x 8 taught more than 6 x
4 on groups that were held out in turn (docs/log.md)."""
DEFAULT_PER_CLASS = 24
"""Keyframes of each class when no budget is asked for: the paper's 0.13 % of the frames of UCF101."""
WIDTHS = (0.5, 0.375, 0.25, 0.1875, 0.125)
"""Factors on the channels of labelers, from which a size in bytes takes the largest that fits."""
SPARE, SPARE_BYTES = 0.05, 32
"""Room for videos that code worse than the measured ones: a share of the stream, and bytes."""
DRAWS = 8
"""Random choices of videos and keyframes whose files are measured: the text of their paths and times varies."""
MARGIN_BYTES = 16
"""Added to the largest, with a quarter of a byte an item (our choice: on lip_words and fluent16 none of 4,800 other
random sets was larger)."""


@dataclass(frozen=True)
class BlankFiles:
    """Sizes of the files that a method would write of these videos."""

    data: Candidates
    config: MethodConfig
    storage: Storage
    seed: int
    stream_bytes: Callable[[int], float]
    """K to the mean bytes of an item's entropy-coded latents."""

    def size(self, videos_per_class: int, keyframes: int) -> int:
        """Return the size of a file of VPC and K: the largest of `DRAWS` random choices, and a small margin.

        Paths and times are packed, so another choice may be larger: code that promises bytes must check the file.
        Random keyframes pack worse than uniform ones.
        """
        members = [(self.data.labels == label).nonzero()[:, 0].tolist() for label in range(len(self.data.classes))]
        draw = random.Random(0)  # the same draws in every run
        sizes = []
        for _ in range(DRAWS):
            rows = [row for some in members for row in draw.sample(some, min(videos_per_class, len(some)))]
            positions = [sorted(draw.sample(range(self.data.clip.num_frames), keyframes)) for _ in rows]
            sizes.append(self._measured(torch.tensor(rows), torch.tensor(positions)) + len(rows) // 4)
        return max(sizes) + MARGIN_BYTES

    def _measured(self, rows: Tensor, positions: Tensor) -> int:
        packing, packed = "dense", None
        if self.storage.name == "transform":
            stream = len(rows) * self.stream_bytes(positions.shape[1])
            packing = transform_of(self.data.codec)
            packed = blank_stream(self.data.codec, math.ceil(stream * (1 + SPARE)) + SPARE_BYTES)
        blank = self.config.blank(self.data, rows, positions, self.seed, packing, packed)
        return len(to_bytes(blank, self.storage.quantization))


def blank_files(
    data: Candidates, config: MethodConfig, storage: Storage, seed: int, sample: Callable[[], Tensor], codec: Codec
) -> BlankFiles:
    """Return the sizes of files of `data`, with streams measured on the latents (n,T,C,h,w) of `sample()`."""

    @functools.cache
    def stream_bytes(keyframes: int) -> float:
        latents = sample()
        positions = UniformSelector().positions(latents[:1], keyframes, torch.Generator())[0]
        return item_bytes(latents[:, positions], codec, storage, seed=seed)

    return BlankFiles(data, config, storage, seed, stream_bytes)


def check_classes(counts: Mapping[str, int], asked: BudgetOptions) -> None:
    """Raise when a class has no video, or fewer than an asked VPC; for use before the long pass over the videos."""
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        more = f" (and {len(empty) - 1} more classes)" if len(empty) > 1 else ""
        raise InputError(
            f"class {empty[0]!r} has no training videos{more}; add some, or remove the class from the list"
        )
    check_enough(counts, asked.vpc or 1, allow_fewer=asked.allow_fewer)


def resolve_budget(asked: BudgetOptions, files: BlankFiles) -> tuple[Budget, tuple[str, ...]]:
    """Return what a method may keep, and notes for the user: where K was lowered, or VPC stopped at a class.

    Raises `InputError` for K > T and for a class with fewer videos than an asked VPC, `BudgetError` for a budget that
    does not hold one keyframe a class.
    """
    data = files.data
    keyframes = asked.keyframes or min(DEFAULT_KEYFRAMES, data.clip.num_frames)
    check_keyframes(keyframes, data.clip.num_frames)
    check_classes(sizes := data.class_sizes, asked)
    if files.config.fills_bytes or (asked.ratio is None and asked.bytes is None):
        if asked.vpc is not None or asked.bytes is not None:
            vpc = 1 if asked.vpc is None else asked.vpc
            return Budget(vpc, keyframes, asked.allow_fewer, asked.bytes), ()
        vpc = max(1, DEFAULT_PER_CLASS // keyframes)
        small = [f"class {name!r} has only {size} of {vpc} videos" for name, size in sizes.items() if size < vpc]
        return Budget(vpc, keyframes, allow_fewer=True), tuple(small[:1])
    fits = _fits(asked, files)
    kept = next((fewer for fewer in range(keyframes, 0, -1) if fits(1, fewer)), None)
    if kept is None:
        raise _too_small(asked, files)
    most = (max if asked.allow_fewer else min)(sizes.values())
    vpc = largest_fitting(lambda vpc: fits(vpc, kept), 1, most)
    notes = []
    if kept < keyframes:
        notes.append(f"the budget holds only {kept} of {keyframes} keyframes a video")
    elif vpc == most and fits(most + 1, kept):
        notes.append(_stopped(most, sizes))
    return Budget(vpc, kept, asked.allow_fewer, asked.bytes), tuple(notes)


def with_labeler(
    config: MethodConfig, labeler: str, budget: BudgetOptions, num_classes: int, *, needed: bool
) -> tuple[MethodConfig, tuple[str, ...]]:
    """Return the method with the labeler that the option `--labeler` asks for, and notes for the user.

    Without room for one, the set stores soft labels, unless it is `needed`. Sizes are those of weights that compress
    least, so the real ones fit. Raises `InputError` for an unknown value and `BudgetError` for a size that fits none,
    or is more than the file.
    """
    if labeler == "off":
        return (dataclasses.replace(config, labels="soft") if config.labels == "views" else config), ()
    if labeler != "auto":
        limit: int = _labeler_limit(labeler, budget)
        fitting = _labelers_within(config, limit, num_classes)
        if not fitting:
            least = labeler_bytes(_of_width(config, WIDTHS[-1]).labeler.spec, num_classes)
            raise BudgetError(f"--labeler {labeler} is too small for a labeler; give at least --labeler {least}")
        return dataclasses.replace(fitting[0], labels="views"), ()
    if config.labels != "views" or budget.bytes is None:
        return config, ()
    own = labeler_bytes(config.labeler.spec, num_classes)
    if 2 * own <= budget.bytes:
        return config, ()
    if fitting := _labelers_within(config, min(budget.bytes // 2, own), num_classes):
        return fitting[0], (f"the labeler has {fitting[0].labeler.spec.width:g} of its full width, for --bytes",)
    enough = 2 * min(own, labeler_bytes(_of_width(config, WIDTHS[-1]).labeler.spec, num_classes))
    if needed:
        raise BudgetError(f"--bytes {budget.bytes} has no room for a labeler; give at least --bytes {enough}")
    note = f"--bytes {budget.bytes} has no room for a labeler, so the file stores soft labels; from {enough} on it has"
    return dataclasses.replace(config, labels="soft"), (note,)


@functools.cache
def labeler_bytes(spec: LabelerSpec, num_classes: int) -> int:
    """Return the most bytes that the weights of a labeler take in a file."""
    weights = blank_labeler(spec, num_classes, Normalization((0.0,) * 3, (1.0,) * 3)).weights
    # Other random weights may take a few bytes more.
    return packed_bytes(weights, spec.bits) + MARGIN_BYTES


def _labeler_limit(labeler: str, budget: BudgetOptions) -> int:
    try:
        limit = NumBytes(labeler)
    except InputError:
        raise InputError(f"--labeler {labeler}: known: auto, off, or a size such as 40kB") from None
    if budget.bytes is not None and limit >= budget.bytes:
        raise BudgetError(
            f"--labeler {labeler} is as large as --bytes {budget.bytes}, which the labeler is a part of; give a larger "
            "--bytes or a smaller --labeler"
        )
    return limit


def _of_width(config: MethodConfig, width: float) -> MethodConfig:
    spec = dataclasses.replace(config.labeler.spec, width=width)
    return dataclasses.replace(config, labeler=dataclasses.replace(config.labeler, spec=spec))


def _labelers_within(config: MethodConfig, limit: int, num_classes: int) -> list[MethodConfig]:
    """Return the method with each labeler of `WIDTHS` that fits, the largest first."""
    several = [_of_width(config, width) for width in WIDTHS]
    return [each for each in several if labeler_bytes(each.labeler.spec, num_classes) <= limit]


def num_items(data: Candidates, videos_per_class: int) -> int:
    """Return the items of a set with at most `videos_per_class` videos a class."""
    return sum(min(size, videos_per_class) for size in data.class_sizes.values())


def _fits(asked: BudgetOptions, files: BlankFiles) -> Callable[[int, int], bool]:
    """Return whether (VPC, K) is within the asked budget."""
    if (limit := asked.bytes) is not None:
        return lambda vpc, keyframes: files.size(vpc, keyframes) <= limit
    assert asked.ratio is not None
    allowed = asked.ratio * int(files.data.num_video_frames.sum()) * (1 + 1e-9)
    return lambda vpc, keyframes: num_items(files.data, vpc) * keyframes <= allowed


def _too_small(asked: BudgetOptions, files: BlankFiles) -> BudgetError:
    """Return the error for a budget that does not hold one keyframe a class."""
    num_classes = len(files.data.classes)
    if asked.bytes is not None:
        return BudgetError(
            f"--bytes {asked.bytes} is too small for one keyframe of each of {num_classes} classes; "
            f"give at least --bytes {files.size(1, 1)}"
        )
    assert asked.ratio is not None
    total = int(files.data.num_video_frames.sum())
    smallest = math.ceil(num_classes / total * 10**6) / 10**4
    return BudgetError(
        f"--ratio {100 * asked.ratio:g}% of {total} frames is less than one keyframe for each of {num_classes} "
        f"classes; give at least --ratio {smallest:g}%"
    )


def _stopped(most: int, sizes: Mapping[str, int]) -> str:
    if most == max(sizes.values()):
        return "the budget holds all training videos"
    name = next(name for name, size in sizes.items() if size == most)
    return f"VPC stops at {most}, for class {name!r} has no more; --allow-fewer continues with the others"
