"""Real clips re-encoded by a real codec: a strong baseline without any distillation, and of no paper.

1. Order the clips of each class so that every beginning is a choice: at random, or by herding (Welling 2009) on
   features of a student trained on the real clips.
2. Frames: all T candidates of a clip for H.264 and AV1; K keyframes in the middles of equal spans for WebP.
3. The file may have B bytes (`budget.file_bytes`), shared by how many clips of a class are kept (n) and how finely
   they are coded (q):
   a. n is the largest number at which the file fits at the moderate q of the config; 1 when none does;
   b. q is then the finest setting at which n clips a class fit.
4. Store the coded bytes, with hard labels, or soft ones of a teacher that sees the decoded clips.

Our choice: the moderate q, the last one before blocks and smears hide faces and hands in real clips of 64 px. Each clip
is coded by itself: a size is a sum, and the search never codes a clip twice.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from videocompressa.artifact import to_bytes
from videocompressa.artifact.fitting import largest_fitting
from videocompressa.artifact.packing import unpacked
from videocompressa.artifact.packing.streams import CODERS, CodedClip, FrameCoder, joined
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec, PixelCodec
from videocompressa.errors import InputError, check_known, too_few_bytes
from videocompressa.methods.config import MethodConfig, Teachers, features_of_student
from videocompressa.run import Run
from videocompressa.selection.keyframes import UniformSelector, check_keyframes
from videocompressa.selection.videos import choose_videos
from videocompressa.synthetic import Budget, SyntheticSet

MODERATE = {"h264": 36.0, "av1": 50.0, "webp": 20.0}
"""Setting at which the number of clips is chosen."""
NESTED = ("random", "herding")
"""Subset rules of which the choice of n begins the choice of n + 1."""


@dataclass(frozen=True)
class ReencodeConfig(MethodConfig):
    """Which clips, and how they are coded."""

    coder: str = "h264"
    """The real codec; a name of `packing.streams.CODERS`."""
    subset: str = "random"
    """Rule that orders the videos of a class: "random" or "herding"."""
    crf: float | None = None
    """Setting at which the number of clips is chosen: crf of h264 and av1 in quarters, integer quality of webp; None
    takes that of `MODERATE`."""
    fills_bytes: ClassVar[bool] = True
    named_by: ClassVar[tuple[str, ...]] = ("coder", "subset")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("unknown coder", self.coder, CODERS)
        if self.subset not in NESTED:
            raise InputError(f"subset is {self.subset!r}; re-encoding takes {' or '.join(NESTED)}")
        coder = CODERS[self.coder]
        if self.setting not in _settings(coder):
            low, high = sorted((coder.coarsest, coder.finest))
            raise InputError(
                f"crf is {self.setting:g}; {self.coder} takes {low:g} to {high:g} in steps of {coder.step:g}"
            )

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return f"{'real' if self.subset == 'random' else self.subset}-{self.coder}"

    @property
    def setting(self) -> float:
        """The setting at which the number of clips is chosen."""
        return MODERATE[self.coder] if self.crf is None else self.crf

    @property
    def needs_teacher(self) -> bool:
        """Features and soft labels need one."""
        return self.subset != "random" or super().needs_teacher

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return as many coded clips of each class as `budget.file_bytes` holds; a class with fewer gives all it has.

        The set holds pixels; `codec` and `budget.keyframes` are those of the compared methods, which share the teacher.
        Raises `BudgetError` when one clip a class does not fit.
        """
        check_keyframes(budget.keyframes, train_data.clip.num_frames)
        if budget.file_bytes is None:
            raise InputError(f"{self.name} fills a file of a given size, and none was given; give --bytes")
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        ordered, ranks = self._order(train_data, teachers, run)
        kept = train_data.clip.num_frames if CODERS[self.coder].packing == "video" else budget.keyframes
        positions = UniformSelector().positions(train_data.frames[:1], kept, torch.Generator())[0]  # 2.
        trials = _Trials(self, _pixels(train_data), positions, run)

        def size(count: int, setting: float) -> int:
            return len(to_bytes(trials.blank(ordered[ranks < count], setting)))

        count, setting = self._fill(size, int(ranks.max()) + 1, len(train_data.classes), budget.file_bytes)
        return self.relabel(trials.decoded(ordered[ranks < count], setting), teachers, run)

    def _order(self, train_data: Candidates, teachers: Teachers, run: Run) -> tuple[Tensor, Tensor]:
        """Step 1: return all rows (N,), grouped by class, best first, and the rank of each in its class."""
        features = features_of_student(train_data, self.subset, teachers, run)
        all_rows = Budget(max(train_data.class_sizes.values()), 1, allow_fewer=True)
        rows = choose_videos(train_data, self.subset, all_rows, run.generator("videos"), features=features)
        labels = train_data.labels[rows]
        firsts = torch.searchsorted(labels, labels)  # rows are grouped by class in class order
        return rows, torch.arange(len(rows)) - firsts

    def _fill(self, size: Callable[[int, float], int], most: int, num_classes: int, limit: int) -> tuple[int, float]:
        """Step 3: return clips a class and the setting that fill `limit` bytes."""
        coder, settings = CODERS[self.coder], _settings(CODERS[self.coder])
        count = max(1, largest_fitting(lambda number: size(number, self.setting) <= limit, 1, most))
        start, last = settings.index(self.setting), len(settings) - 1
        best = largest_fitting(lambda index: size(count, settings[index]) <= limit, 0, last, start=start)
        if best < 0:
            coarsest = f"{coder.setting} {coder.coarsest:g} of {self.coder}"
            one = f"one clip of each of {num_classes} classes even at {coarsest}"
            raise too_few_bytes(limit, one, size(1, coder.coarsest))
        return count, settings[best]


@dataclass(frozen=True)
class _Trials:
    """Sets of clips coded at some setting; clips are coded once however many sets hold them."""

    config: ReencodeConfig
    data: Candidates
    """With pixels as latents."""
    positions: Tensor
    run: Run
    coded: dict[tuple[int, float], CodedClip] = field(default_factory=dict)

    def blank(self, rows: Tensor, setting: float) -> SyntheticSet:
        """Return a set whose file is as large as that of these clips, without decoding them."""
        packing, seed = CODERS[self.config.coder].packing, self.run.streams.seed
        positions = self.positions.repeat(len(rows), 1)
        blank = self.config.blank(self.data, rows, positions, seed, packing, self._packed(rows, setting))
        crf = int(setting) if int(setting) == setting else setting
        provenance = dataclasses.replace(blank.provenance, config={**blank.provenance.config, "crf": crf})
        return dataclasses.replace(blank, provenance=provenance)

    def decoded(self, rows: Tensor, setting: float) -> SyntheticSet:
        """Return the set of these clips, with hard labels."""
        blank = self.blank(rows, setting)
        latents = unpacked(blank.packing, blank.packed, tuple(blank.latents.shape))
        return dataclasses.replace(blank, latents=latents, labels=self.data.labels[rows], decoder=PixelCodec())

    def _packed(self, rows: Tensor, setting: float) -> dict[str, Tensor]:
        coder = CODERS[self.config.coder]
        missing = [row for row in rows.tolist() if (row, setting) not in self.coded]
        for done, row in enumerate(missing, 1):
            self.coded[row, setting] = coder.encode(self.data.frames[row][self.positions], setting)
            self.run.watch("reencode", done=done, total=len(missing))
        return {coder.tensor: joined([self.coded[row, setting] for row in rows.tolist()])}


def _pixels(train_data: Candidates) -> Candidates:
    """Return the candidates as the pixel codec would give them, with blank latents."""
    spec, clip = PixelCodec().spec, train_data.clip
    shape = (*train_data.frames.shape[:2], *spec.latent_shape(clip.height, clip.width))
    return dataclasses.replace(train_data, latents=torch.zeros((), dtype=torch.float16).expand(shape), codec=spec)


def _settings(coder: FrameCoder) -> list[float]:
    """Return every setting, coarsest first."""
    step = coder.step if coder.finest > coder.coarsest else -coder.step
    count = round((coder.finest - coder.coarsest) / step) + 1
    return [coder.coarsest + number * step for number in range(count)]
