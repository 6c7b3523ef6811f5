"""The contract of a method: its settings, what recipes and benchmarks must know of it, and how it compresses.

A method is one file with one frozen dataclass that extends `MethodConfig`, entered in `registry.METHODS`. Recipes,
plans and benchmarks read the properties below and nothing else, so a new method changes none of them.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from videocompressa.artifact.fitting import blank_set
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.run import Run
from videocompressa.selection import JointConfig, Selector, SelectorConfig, check_selector, find_selector
from videocompressa.students import RealClips, Student, TeacherConfig, check_labels, train_teachers
from videocompressa.students.teachers import relabel
from videocompressa.synthetic import Budget, SyntheticSet, check_fill, gather


@dataclass(frozen=True)
class MethodConfig(ABC):
    """A method with its settings; every field can be set from the command line with `--set name=value`."""

    labels: str = "hard"
    """"hard", or "soft" probabilities of a teacher."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher, of soft labels and whatever else the method needs one for; trained only where it is needed."""

    fills_bytes: ClassVar[bool] = False
    """The method keeps as much as a file of a given size holds, whatever VPC and K are."""
    storages: ClassVar[tuple[str, ...]] = ("transform", "int8", "float16")
    """Storages of its latents; a set that the method packs itself is stored as it is."""

    def __post_init__(self) -> None:
        check_labels(self.labels)
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
        return self.labels == "soft"

    @property
    def network(self) -> str:
        """The student whose gradients, features or labels the set is made of; "" for none."""
        return self.teacher.train.student if self.needs_teacher else ""

    @property
    def selector_name(self) -> str:
        """The rule that picks keyframes; "" where the method picks none."""
        return ""

    @property
    def stored_as(self) -> str:
        """The real codec whose streams the file holds; "" where it holds latents of the codec."""
        return ""

    @property
    def synthesis_steps(self) -> int | None:
        """Steps that tune the set; None where the method has none."""
        return None

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """Return about how many training steps of its teacher the method's work comes to."""
        return self.teacher.train.steps * self.teacher.num_teachers if self.needs_teacher else 0

    def find_selector(self, train_data: Candidates, keyframes: int, run: Run) -> Selector | None:
        """Return what picks keyframes, learned or from its finished stage; None where the method picks none."""
        return None

    def reference(self) -> MethodConfig:
        """Return the settings that the file leaves out: those of the method with its defaults."""
        return type(self)()

    def differing_settings(self) -> dict[str, Any]:
        """Return the settings that differ from `reference`, nested as the configuration is, JSON values only."""
        return _differences(self, self.reference())

    # ---------------------------------------------------------------------------------------- parts that methods share

    def train_teachers(self, train_data: Candidates, codec: Codec, keyframes: int, run: Run) -> list[Student]:
        """Train the teachers on clips of `keyframes` as the set stores them, or none where none is needed.

        Methods of one run with the same K, fill and codec share them, as stages.
        """
        if not self.needs_teacher:
            return []
        real = RealClips(train_data, codec, keyframes, self.fill, self.teacher.as_stored)
        return train_teachers(real, self.teacher, run)

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
        return gather(
            train_data,
            rows,
            positions,
            method=self.name,
            config=self.differing_settings(),
            seed=run.streams.seed,
            latents=latents,
            fill=self.fill,
            decoder=codec,
        )

    def blank(
        self,
        train_data: Candidates,
        rows: Tensor,
        positions: Tensor,
        seed: int,
        packing: str = "dense",
        packed: dict[str, Tensor] | None = None,
    ) -> SyntheticSet:
        """Return a set whose file is as large as that of these rows and positions (`fitting.blank_set`)."""
        return blank_set(
            train_data,
            rows,
            positions,
            soft_labels=self.labels == "soft",
            method=self.name,
            config=self.differing_settings(),
            seed=seed,
            fill=self.fill,
            packing=packing,
            packed=packed,
        )

    def relabel(self, synthetic: SyntheticSet, teachers: list[Student], run: Run) -> SyntheticSet:
        """Give a set with hard labels those that the settings ask for."""
        return relabel(synthetic, teachers, self.teacher, run) if self.labels == "soft" else synthetic


@dataclass(frozen=True)
class SelectingConfig(MethodConfig):
    """A method that picks keyframes by any selector, the learned one included."""

    selector: str = "uniform"
    """Rule that picks keyframes; a name of `selection.SELECTORS`, "gumbel" being the learned one."""
    joint: JointConfig = field(default_factory=JointConfig)
    """Training of the learned selector."""
    scorer: SelectorConfig = field(default_factory=SelectorConfig)
    """The learned selector's network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_selector(self.selector)

    @property
    def selector_name(self) -> str:
        """See `MethodConfig.selector_name`."""
        return self.selector

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """See `MethodConfig.training_steps`."""
        learned = self.joint.steps if self.selector == "gumbel" else 0
        return learned + super().training_steps(num_clips, num_classes)

    def find_selector(self, train_data: Candidates, keyframes: int, run: Run) -> Selector:
        """See `MethodConfig.find_selector`."""
        return find_selector(
            self.selector, train_data, self.scorer, self.joint, run, keyframes=keyframes, fill=self.fill
        )


def _differences(config: Any, reference: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from those of another one, as JSON values."""
    differing = {}
    for each in dataclasses.fields(config):
        value, usual = getattr(config, each.name), getattr(reference, each.name, None)
        if value == usual:
            continue
        if dataclasses.is_dataclass(value) and type(value) is type(usual):
            differing[each.name] = _differences(value, usual)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            differing[each.name] = dataclasses.asdict(value)
        else:
            differing[each.name] = value
    return differing
