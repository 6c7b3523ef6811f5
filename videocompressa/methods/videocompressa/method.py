"""VideoCompressa (arXiv 2511.18831): keyframes as latents, learned and tuned by the gradients of students if asked.

Symbols are those of docs/method.md.

1. Candidates.  T frames of each training video, decoded once (`Candidates`).
2. Scores.      s_BT = g_phi(x).
3. Selection.   w_BKT = Gumbel top-K of s, straight-through (`gumbel.py`).
                By default keyframes are uniform, and steps 2 to 5 are left out.
4. Latents.     E(select(x)) = select(E(x)) because w is one-hot, so w acts on cached latents.
5. Joint phase. min over phi, theta of the task loss of the understanding module on the K selected and on all T
                latents, plus a coverage term (`joint.py`).
6. Videos.      Within each class, by a rule of `selection.SUBSETS`: facility location in the features of the labeler,
                or at random where there is none.
7. Synthesis.   z_syn = select(E(x_chosen); phi) + delta, both tuned against a pool of students (`synthesis.py`).
                By default delta is 0.
8. Labels.      A labeler in the file, probabilities of a teacher for the decoded clips, or the classes.

The paper publishes no code. It states 2-5 and 7 in words ("a lightweight ConvNet with Gumbel-Softmax sampling", "a
student model's gradients guide the latent synthesis"); 6, 8 and every constant are our choice.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from videocompressa.artifact.packing import transform
from videocompressa.artifact.storage import sample_of
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import InputError, check_known
from videocompressa.methods.config import SelectingConfig, Teachers
from videocompressa.methods.videocompressa.pool import Member, PoolConfig, build_pool, clip_features
from videocompressa.methods.videocompressa.synthesis import SynthesisConfig, synthesize
from videocompressa.networks import STUDENTS, Student
from videocompressa.run import Run
from videocompressa.selection.keyframes import Selector, check_keyframes
from videocompressa.selection.videos import SUBSETS, FeaturesOf, choose_videos, visible_latents
from videocompressa.students.named import parse_student
from videocompressa.students.teachers import RealClips, recognized, teacher_features
from videocompressa.synthetic import Budget, SyntheticSet

FEATURES = ("latents", "pool", "labeler")
PAPER = ("selector=gumbel", "subset=facility-location", "synthesis.enabled=true")
"""Settings of the complete method of the paper; the defaults leave out what did not pay (docs/log.md)."""


@dataclass(frozen=True)
class VideoCompressaConfig(SelectingConfig):
    """The method and its ablation switches."""

    name: ClassVar[str] = "videocompressa"
    subset_rules: ClassVar[tuple[str, ...]] = ("auto", *SUBSETS)
    labels: str = "views"
    """Step 8: "views" (a labeler in the file), "soft" or "hard"."""
    selector: str = "uniform"
    """Steps 2 to 5: "gumbel" (learned; `joint.enabled=false` and `joint.understanding=false` are ablations) or a fixed
    rule. Uniform by default: with labeled views, learned keyframes taught less (docs/log.md)."""
    subset: str = "auto"
    """Step 6: rule that chooses videos; a name of `selection.SUBSETS`, or "auto": facility location in the features of
    the labeler where there is one, else "random"."""
    features: str = "latents"
    """What that rule compares, unless it is "auto": "latents", weighted by how far pixels move with them, or the
    features of the "pool" or of the "labeler"."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """The students of steps 6 and 7."""
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    """Step 7; `synthesis.enabled=false` stores the chosen keyframes as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("features is", self.features, FEATURES)
        if self._choice[1] == "labeler" and self.labels != "views":
            raise InputError("features is 'labeler', but there is no labeler; give features=latents, or labels=views")
        if self.needs_pool and parse_student(self.teacher.train.student).is_frozen:
            raise InputError(
                f"teacher.train.student is {self.teacher.train.student!r}, but synthesis and features=pool need one of "
                f"{', '.join(STUDENTS)}: they look at all of its stages"
            )

    @property
    def _choice(self) -> tuple[str, str | None]:
        """The rule of step 6 and what it compares; nothing at random."""
        rule, features = self.subset, self.features
        if rule == "auto":
            rule, features = ("facility-location", "labeler") if self.labels == "views" else ("random", features)
        return rule, None if rule == "random" else features

    @property
    def needs_teacher(self) -> bool:
        """Videos, synthesis or soft labels need one."""
        return self.needs_pool or super().needs_teacher

    @property
    def reads_all_latents(self) -> bool:
        """See `MethodConfig.reads_all_latents`."""
        compared = self._choice[1] == "latents"
        return compared or (self.needs_pool and self.teacher.as_stored > 0) or super().reads_all_latents

    @property
    def needs_pool(self) -> bool:
        """Whether videos or synthesis need the pool."""
        return self.synthesis.enabled or self._choice[1] == "pool"

    @property
    def synthesis_steps(self) -> int:
        """See `MethodConfig.synthesis_steps`."""
        return self.synthesis.steps if self.synthesis.enabled else 0

    def training_steps(self, num_clips: int, num_classes: int) -> int:
        """See `MethodConfig.training_steps`."""
        pool = sum(self.pool.ages) if self.needs_pool else 0
        return pool + self.synthesis_steps + super().training_steps(num_clips, num_classes)

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return the synthetic set of steps 2 to 8."""
        check_keyframes(budget.keyframes, train_data.clip.num_frames)
        selector = self.find_selector(train_data, budget.keyframes, run)  # 2. to 5.
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        pool: list[Member] = []
        if self.needs_pool:
            real = RealClips(train_data, codec, budget.keyframes, self.fill, self.teacher.as_stored)
            students = [teacher for teacher in teachers.networks if isinstance(teacher, Student)]
            pool = build_pool(real, self.pool, self.teacher.train, students, run)
        rows = choose_videos(  # 6.
            train_data,
            self._choice[0],
            budget,
            run.generator("videos"),
            features=self._features(train_data, codec, teachers, pool, run),
            eligible=recognized(train_data, teachers.networks, run),
        )
        positions = selector.positions(train_data.frames[rows], budget.keyframes, run.generator("keyframes"))
        synthetic = self.gather(train_data, rows, positions, codec, run)
        if self.synthesis.enabled:
            synthetic = self._tuned(synthetic, train_data, rows, pool, selector, codec, run)  # 7.
        return self.relabel(synthetic, teachers, run)  # 8.

    def _features(
        self, train_data: Candidates, codec: Codec, teachers: Teachers, pool: Sequence[Member], run: Run
    ) -> FeaturesOf | None:
        """Return what step 6 compares; nothing at random."""
        features = self._choice[1]
        if features is None:
            return None
        if features == "labeler":
            return teacher_features(teachers.networks[0], train_data, run).__getitem__
        if features == "pool":
            return clip_features(pool, train_data, run).__getitem__
        weights = transform.channel_weights(codec, sample_of(train_data.latents), run.generator("channels"))
        return visible_latents(train_data, weights)

    def _tuned(
        self,
        start: SyntheticSet,
        train_data: Candidates,
        rows: Tensor,
        pool: Sequence[Member],
        selector: Selector,
        codec: Codec,
        run: Run,
    ) -> SyntheticSet:
        """Step 7; a finished stage."""
        chosen, part = train_data.take(rows), run.child("synthesis")
        key = {
            "config": {**dataclasses.asdict(self), "labels": None},  # hard and soft ones share the latents
            "videos": rows.tolist(),
            "keyframes": start.positions.shape[1],
        }

        def compute() -> dict[str, Tensor]:
            return synthesize(start, chosen, pool, selector, codec, self.synthesis, self.teacher.train, part)

        stage = run.recall("synthesis", key, compute)
        positions = stage["positions"]
        times_seconds = chosen.times_seconds.gather(1, positions)
        return dataclasses.replace(start, latents=stage["latents"], positions=positions, times_seconds=times_seconds)
