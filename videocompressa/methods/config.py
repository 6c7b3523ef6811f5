"""The contract of a method: its settings, what recipes and benchmarks must know about it, and how it compresses.

A method is one file with one frozen dataclass that extends `MethodConfig`, entered in `registry.METHODS`. Recipes,
plans and benchmarks read the properties below and nothing else, so a new method changes none of them.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from videocompressa.artifact import to_bytes
from videocompressa.artifact.fitting import blank_labeler, blank_set, largest_fitting
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import check_known, too_few_bytes
from videocompressa.fill import check_fill
from videocompressa.labeler import Labeler
from videocompressa.matching.tuning import TuningConfig
from videocompressa.run import Run
from videocompressa.selection.gumbel import GumbelSelector, SelectorConfig
from videocompressa.selection.joint import JointConfig, train_selector
from videocompressa.selection.keyframes import FIXED_SELECTORS, SELECTORS, Selector, UniformSelector
from videocompressa.selection.videos import SUBSETS, FeaturesOf, choose_videos
from videocompressa.students.labelers import LabelerConfig, stored_spec, train_labeler
from videocompressa.students.named import parse_student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import (
    LABELS,
    RealClips,
    Teacher,
    TeacherConfig,
    relabel,
    teacher_features,
    train_teachers,
)
from videocompressa.synthetic import Budget, SyntheticSet, gather

MAX_LEARNED_HASHES = {True: 1024, False: 64}
"""Most hashes of the videos that a set's networks learned from which its file holds, 5 bytes each, with a labeler and
without. They are the smallest, so a random sample of the videos: where others share m of N, none of k is among these
with a probability of (1 - k/N)^m. A file without a labeler may have 2 kB, of which 1,024 would be too much."""


@dataclass(frozen=True)
class Teachers:
    """Networks that learned all training videos."""

    networks: Sequence[Teacher] = ()
    labeler: Labeler | None = None
    """Of labels "views"; its network is then the only one."""


@dataclass(frozen=True)
class MethodConfig(ABC):
    """A method with its settings; every field can be set from the command line with `--set name=value`."""

    labels: str = "hard"
    """"hard"; "soft" probabilities of a teacher; or "views": a labeler in the file labels every view of the clips."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher of soft labels and of the method; trained only where it is needed."""
    labeler: LabelerConfig = field(default_factory=LabelerConfig)
    """The labeler of labels "views", which then is the method's teacher too."""

    fills_bytes: ClassVar[bool] = False
    """The method keeps as much as a file of a given size holds, whatever VPC and K are."""
    named_by: ClassVar[tuple[str, ...]] = ()
    """Settings that the name of the method states."""
    storages: ClassVar[tuple[str, ...]] = ("transform", "int8", "float16")
    """Storages of its latents; a set that the method packs itself is stored as it is."""

    def __post_init__(self) -> None:
        check_known("unknown labels", self.labels, LABELS)
        check_fill(self.fill)

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the method in the file."""

    @abstractmethod
    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return the synthetic set of a training split within the budget.

        Raises `InputError` when K > T, when a class has fewer videos than VPC and the budget does not allow fewer, and
        for a method that fills bytes when the budget names none.
        """

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher is trained."""
        return self.labels != "hard"

    @property
    def reads_all_latents(self) -> bool:
        """Whether the latents of nearly all candidates are read, and not those alone that are kept.

        Progress and estimates need it: what is read is encoded in any case.
        """
        as_stored = self.teacher.as_stored > 0 and not parse_student(self.teacher.train.student).is_frozen
        return as_stored and self.needs_teacher and self.labels != "views"

    @property
    def trained(self) -> TrainConfig:
        """How the network that labels is trained: the labeler, or a teacher."""
        return self.labeler.train if self.labels == "views" else self.teacher.train

    @property
    def network(self) -> str:
        """The student whose gradients, features or labels make the set; "" for none."""
        return self.trained.student if self.needs_teacher else ""

    @property
    def selector_name(self) -> str:
        """The setting `selector`: the rule that picks keyframes; "" where the method has none."""
        return str(getattr(self, "selector", ""))

    @property
    def stored_as(self) -> str:
        """The setting `coder`: the real codec whose streams the file holds; "" where the method has none."""
        return str(getattr(self, "coder", ""))

    @property
    def synthesis_steps(self) -> int | None:
        """Steps that tune the set; None where the method has none."""
        return None

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """Return about how many training steps of its teacher the method's work comes to."""
        if not self.needs_teacher:
            return 0
        train, steps = self.trained, self.trained.steps
        if parse_student(train.student).is_frozen:  # its features, once
            steps = math.ceil(num_clips * train.probe_views / train.batch_size)
        return steps * (1 if self.labels == "views" else self.teacher.num_teachers)

    def find_selector(self, train_data: Candidates, keyframes: int, run: Run) -> Selector | None:
        """Return what picks keyframes, learned or from its finished stage; None where the method picks none."""
        return None

    def reference(self) -> "MethodConfig":
        """Return the settings that the file leaves out: those of the method with its defaults."""
        return type(self)(**{name: getattr(self, name) for name in self.named_by})

    def differing_settings(self) -> dict[str, Any]:
        """Return the settings that differ from `reference`, nested as the configuration is, JSON values only."""
        differing = _differences(self, self.reference())
        train = differing.get("teacher", {}).get("train", {})
        if "student" in train:
            train["student"] = parse_student(train["student"]).portable
        spec = differing.get("labeler", {}).get("spec", {})
        if "network" in spec:
            spec["network"] = parse_student(spec["network"]).portable
            for said_by_network in ("features", "identity"):
                spec.pop(said_by_network, None)
        return differing

    def train_teachers(self, train_data: Candidates, codec: Codec, keyframes: int, run: Run) -> Teachers:
        """Train the teachers on clips of `keyframes` as the set stores them, or none where none is needed.

        With labels "views" the labeler is the teacher. Methods of one run with the same K, fill and codec share
        teachers, as stages, and all of them the labeler.
        """
        if not self.needs_teacher:
            return Teachers()
        if self.labels == "views":
            labeler = train_labeler(train_data, self.labeler, run)
            return Teachers([labeler.student], labeler)
        real = RealClips(train_data, codec, keyframes, self.fill, self.teacher.as_stored)
        return Teachers(train_teachers(real, self.teacher, run))

    def gather(
        self,
        train_data: Candidates,
        rows: Tensor,
        positions: Tensor,
        codec: Codec,
        run: Run,
        latents: Tensor | None = None,
    ) -> SyntheticSet:
        """Return the set of `rows` (N,) at `positions` (N,K), with hard labels; `latents` replace the real ones."""
        if latents is None:  # reading them may encode, which is a stage of its own
            run.watch("videos", done=len(rows), total=len(rows))
        origin = self._origin(run.streams.seed)
        return gather(train_data, rows, positions, latents=latents, decoder=codec, **origin)

    def blank(
        self,
        train_data: Candidates,
        rows: Tensor,
        positions: Tensor,
        seed: int,
        packing: str = "dense",
        packed: dict[str, Tensor] | None = None,
    ) -> SyntheticSet:
        """Return the method's `blank_set` of `rows` (N,) at `positions` (N,K)."""
        soft, origin = self.labels == "soft", self._origin(seed)
        blank = blank_set(train_data, rows, positions, soft_labels=soft, packing=packing, packed=packed, **origin)
        if self.labels != "views":
            return blank
        labeler = blank_labeler(stored_spec(self.labeler.spec), len(train_data.classes), train_data.normalization)
        return dataclasses.replace(blank, labeler=labeler)

    def _origin(self, seed: int) -> dict[str, Any]:
        learned = self.labels != "hard" or self.selector_name == "gumbel" or bool(self.synthesis_steps)
        return {
            "method": self.name,
            "config": self.differing_settings(),
            "seed": seed,
            "fill": self.fill,
            "num_learned_hashes": MAX_LEARNED_HASHES[self.labels == "views"] if learned else 0,
        }

    def file_bytes(
        self, data: Candidates, rows: Tensor, positions: Tensor, run: Run, packing: str, packed: dict[str, Tensor]
    ) -> int:
        """Return the size of a file of `rows` (N,), all at the same positions (K,), with blank content."""
        repeated = positions.repeat(len(rows), 1)
        return len(to_bytes(self.blank(data, rows, repeated, run.streams.seed, packing, packed)))

    def rows_within(
        self,
        data: Candidates,
        budget: Budget,
        rule: str,
        size: Callable[[Tensor], int],
        run: Run,
        *,
        features: FeaturesOf | None = None,
        advice: str = "",
    ) -> Tensor:
        """Return the rows, by a subset rule, of as many videos a class as `budget.file_bytes` holds, or VPC if None.

        `size` gives the bytes of a file of some rows. Raises `BudgetError`, with `advice`, when one video a class does
        not fit.
        """

        def choose(count: int) -> Tensor:
            part = dataclasses.replace(budget, videos_per_class=count)
            return choose_videos(data, rule, part, run.generator("videos"), features=features)

        count, limit = budget.videos_per_class, budget.file_bytes
        if limit is not None:
            most = (max if budget.allow_fewer else min)(data.class_sizes.values())
            count = largest_fitting(lambda number: size(choose(number)) <= limit, 1, most)
            if count < 1:
                one = f"one video of each of {len(data.classes)} classes by {self.name}"
                raise too_few_bytes(limit, one, f"{size(choose(1))}{advice}")
        rows = choose(count)
        run.watch("videos", done=len(rows), total=len(rows))
        return rows

    def relabel(self, synthetic: SyntheticSet, teachers: Teachers, run: Run) -> SyntheticSet:
        """Give a set with hard labels those that the settings ask for."""
        if self.labels == "views":
            return dataclasses.replace(synthetic, labeler=teachers.labeler)
        return relabel(synthetic, teachers.networks, self.teacher, run) if self.labels == "soft" else synthetic


@dataclass(frozen=True)
class SelectingConfig(MethodConfig):
    """A method that picks videos by a subset rule, and keyframes by any selector, the learned one included."""

    subset_rules: ClassVar[tuple[str, ...]] = tuple(SUBSETS)
    """What `subset` may be."""
    subset: str = "random"
    """Rule that chooses videos; a name of `selection.SUBSETS`."""
    selector: str = "uniform"
    """Rule that picks keyframes; a name of `selection.SELECTORS`, "gumbel" being the learned one."""
    joint: JointConfig = field(default_factory=JointConfig)
    """Training of the learned selector."""
    scorer: SelectorConfig = field(default_factory=SelectorConfig)
    """The learned selector's network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("unknown selector", self.selector, SELECTORS)
        check_known("unknown subset rule", self.subset, self.subset_rules)

    @property
    def reads_all_latents(self) -> bool:
        """See `MethodConfig.reads_all_latents`."""
        return self.selector == "gumbel" or super().reads_all_latents

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """See `MethodConfig.training_steps`."""
        learned = self.joint.steps if self.selector == "gumbel" else 0
        return learned + super().training_steps(num_clips, num_classes)

    def find_selector(self, train_data: Candidates, keyframes: int, run: Run) -> Selector:
        """See `MethodConfig.find_selector`."""
        if keyframes == train_data.clip.num_frames:  # nothing to learn
            return UniformSelector()
        if self.selector != "gumbel":
            return FIXED_SELECTORS[self.selector]()
        part = run.child("joint")

        def compute() -> dict[str, Tensor]:
            trained = train_selector(train_data, self.scorer, self.joint, part, keyframes=keyframes, fill=self.fill)
            return {name: weight.cpu() for name, weight in trained.state_dict().items()}

        settings = {"scorer": dataclasses.asdict(self.scorer), "joint": dataclasses.asdict(self.joint)}
        selector = GumbelSelector(self.scorer, part.generator("selector"))
        key = {**settings, "keyframes": keyframes, "fill": self.fill}
        selector.load_state_dict(run.group.main_first(lambda: part.recall("selector", key, compute)))
        return selector.to(run.device)


@dataclass(frozen=True)
class TunedConfig(TuningConfig, MethodConfig):
    """A method that tunes its set by a matching objective."""

    def __post_init__(self) -> None:
        TuningConfig.__post_init__(self)
        MethodConfig.__post_init__(self)

    @property
    def network(self) -> str:
        """See `MethodConfig.network`."""
        return self.matching.network

    @property
    def synthesis_steps(self) -> int:
        """See `MethodConfig.synthesis_steps`."""
        return self.steps

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """See `MethodConfig.training_steps`."""
        batch_size = self.teacher.train.batch_size
        tuning = self.matching.training_steps(self.steps, num_clips, num_classes, batch_size)
        return tuning + super().training_steps(num_clips, num_classes)


def features_of_student(train_data: Candidates, subset: str, teachers: Teachers, run: Run) -> FeaturesOf | None:
    """Return what gives the first teacher's features of the real clips; None for the rule "random"."""
    if subset == "random":
        return None
    return teacher_features(teachers.networks[0], train_data, run).__getitem__


def first_of_each_class(order: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the first `count` rows of each class, or all it has, of rows in some order; grouped by class."""
    return torch.cat([order[labels[order] == label][:count] for label in torch.unique(labels)])


def random_of_each_class(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return at most `count` random rows of each class, rising."""
    return first_of_each_class(torch.randperm(len(labels), generator=generator), labels, count).sort().values


def _differences(config: Any, reference: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from those of another one of its class."""
    differing = {}
    for each in dataclasses.fields(config):
        value, usual = getattr(config, each.name), getattr(reference, each.name)
        if value != usual:
            differing[each.name] = _differences(value, usual) if dataclasses.is_dataclass(value) else value
    return differing
