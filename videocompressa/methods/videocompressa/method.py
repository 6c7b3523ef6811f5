"""VideoCompressa (arXiv 2511.18831): learned keyframes, tuned as latents by the gradients of students.

Symbols: N videos, B batch, T candidate frames, K keyframes, C,h,w latent, L classes. x clip, s scores, w selection
weights, E/D frozen codec, z latents, f student, phi/theta parameters of selector and students.

1. Candidates.  T frames of each training video, decoded and encoded once (`Candidates`).
2. Scores.      s_BT = g_phi(x).
3. Selection.   w_BKT = Gumbel top-K of s, straight-through (`selector.py`).
4. Latents.     E(select(x)) = select(E(x)) because w is one-hot, so w acts on the cached latents.
5. Joint phase. min over phi, theta of the task loss of the understanding module on the K selected latents, and on all
                T of them, plus a coverage term (`joint.py`).
6. Videos.      Within each class, of the clips that the teacher gets right, the typical ones: facility location on the
                latents of whole clips, weighed by how far pixels move with each channel (`features="pool"` asks
                students instead). Where bytes count and not frames, more videos at a coarser step, with all their
                frames (`spending.py`).
7. Synthesis.   z_syn = select(E(x_chosen); phi) + delta, both tuned against a pool of students (`synthesis.py`).
8. Labels.      Probabilities of a teacher for the decoded synthetic clips, averaged over views.
9. Write.       Whoever calls writes the set; the file quantizes and checks it.

The paper publishes no code. It states 2-5 and 7 in words ("a lightweight ConvNet with Gumbel-Softmax sampling", "a
student model's gradients guide the latent synthesis"); 6, 8 and every constant are our choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import InputError
from videocompressa.methods.typical_clips import SPENDINGS, seen_weights, spread
from videocompressa.methods.videocompressa.pool import Member, PoolConfig, build_pool, pool_features
from videocompressa.methods.videocompressa.synthesis import SynthesisConfig, synthesize
from videocompressa.rng import Streams
from videocompressa.run import KEEP_NOTHING, Stages, Watch, watch_nothing
from videocompressa.selection.gumbel import SelectorConfig
from videocompressa.selection.joint import JointConfig, find_selector
from videocompressa.selection.keyframes import Selector, check_keyframes, check_selector
from videocompressa.selection.videos import FeaturesOf, check_subset, choose_per_class
from videocompressa.students import predict
from videocompressa.students.networks import Student
from videocompressa.students.teachers import RealClips, TeacherConfig, check_labels, real_clips, relabel, train_teachers
from videocompressa.synthetic import Allowance, SyntheticSet, check_fill, gather

FEATURES = ("latents", "pool")
"""What may tell which videos are alike."""


@dataclass(frozen=True)
class VideoCompressaConfig:
    """The method and its ablation switches; every field can be set from the command line with `--set name=value`."""

    selector: str = "gumbel"
    """Who picks keyframes: "gumbel" (learned), "uniform", "random" or "middle"."""
    joint: JointConfig = field(default_factory=JointConfig)
    """Steps 2 to 5; `joint.enabled=false` and `joint.understanding=false` are the paper's ablations."""
    scorer: SelectorConfig = field(default_factory=SelectorConfig)
    """The scoring network of step 2."""
    subset: str = "facility-location"
    """Step 6: rule that chooses videos; a name of `subset.SUBSETS`."""
    features: str = "latents"
    """What that rule compares: "latents", weighed by what is seen, or the features of the "pool"."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """The students of steps 6 and 7."""
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    """Step 7; `synthesis.enabled=false` stores the chosen keyframes as they are."""
    spend: str = "frames"
    """What the budget limits: "frames" takes VPC videos of K keyframes; "bytes" takes as many videos as the file holds
    with all their frames, losing `loss` of what the frames show."""
    loss: float = 0.15
    """Share in (0,1) of the variance of the latents, as far as it is seen, that "bytes" gives away for more videos."""
    labels: str = "soft"
    """Step 8: "soft" or "hard"."""
    fill: str = "linear"
    """How keyframes are placed back on the time line: "hold" or "linear"."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The teacher of steps 6 to 8."""

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        return "videocompressa" if self.spend == "frames" else "videocompressa-bytes"

    @property
    def needs_teacher(self) -> bool:
        """Whether videos, synthesis or soft labels need one."""
        return self.needs_pool or self.labels == "soft"

    @property
    def needs_pool(self) -> bool:
        """Whether videos or synthesis need one."""
        return self.chooses_by_pool or self.synthesis.enabled

    @property
    def chooses_by_pool(self) -> bool:
        """Whether step 6 looks at students' features."""
        return self.subset != "random" and self.features == "pool"

    @property
    def fills_bytes(self) -> bool:
        """Whether it keeps as much as the file holds, whatever VPC and K are."""
        return self.spend == "bytes"

    def __post_init__(self) -> None:
        check_selector(self.selector)
        check_subset(self.subset)
        if self.features not in FEATURES:
            raise InputError(f"features is {self.features!r}; known: {', '.join(FEATURES)}")
        check_labels(self.labels)
        check_fill(self.fill)
        if self.spend not in SPENDINGS:
            raise InputError(f"spend is {self.spend!r}; known: {', '.join(SPENDINGS)}")
        if not 0 < self.loss < 1:
            raise InputError(f"loss is {self.loss}; it must be in (0,1), such as 0.15")


BYTES = VideoCompressaConfig(selector="uniform", synthesis=SynthesisConfig(enabled=False), spend="bytes", labels="hard")
"""What wins where bytes count: coarse whole clips of as many videos as fit. What is off here did not earn its bytes or
its seconds beside them (docs/log.md)."""


def compress(
    train_data: Candidates,
    codec: Codec,
    config: VideoCompressaConfig,
    *,
    budget: Allowance,
    rng: Streams,
    device: torch.device,
    watch: Watch = watch_nothing,
    stages: Stages = KEEP_NOTHING,
) -> SyntheticSet:
    """Compress the candidates of a training split into a synthetic set within `budget`.

    Raises `InputError` when K > T, or a class has fewer videos than VPC and the budget does not allow fewer.
    """
    check_keyframes(budget.keyframes, train_data.clip.num_frames)
    weights = seen_weights(train_data, codec, rng)
    if config.spend == "bytes":
        budget = spread(
            train_data, weights, config.loss, budget, soft_labels=config.labels == "soft",
            said=dataclasses.asdict(config), rng=rng,
        )  # fmt: skip
    keyframes = budget.keyframes
    selector = find_selector(
        config.selector, train_data, config.scorer, config.joint, keyframes=keyframes, fill=config.fill, rng=rng,
        device=device, watch=watch, stages=stages,
    )  # fmt: skip
    real = RealClips(train_data, codec, keyframes, config.fill, config.teacher.as_stored)
    teachers: list[Student] = []
    if config.needs_teacher:
        teachers = train_teachers(real, config.teacher, rng=rng, device=device, watch=watch, stages=stages)
    pool: list[Member] = []
    if config.needs_pool:
        pool = build_pool(
            real, config.pool, config.teacher.train, teachers, rng=rng, device=device, watch=watch, stages=stages
        )
    rows = _choose_videos(train_data, weights, teachers, pool, config, budget, rng=rng, device=device)
    chosen = train_data.take(rows)
    positions = selector.positions(chosen.frames, keyframes, rng.generator("keyframes"))
    synthetic = gather(
        train_data,
        rows,
        positions,
        labels=chosen.labels,
        fill=config.fill,
        method=config.name,
        config=dataclasses.asdict(config),
        seed=rng.seed,
        decoder=codec,
    )
    if config.synthesis.enabled:
        key = {
            "config": {**dataclasses.asdict(config), "labels": None},  # hard and soft ones share the latents
            "videos": rows.tolist(),
            "keyframes": keyframes,
            "seed": rng.seed,
        }
        synthetic = _tuned(
            synthetic, chosen, pool, selector, codec, config, key, rng=rng, device=device, watch=watch, stages=stages
        )
    return relabel(synthetic, config.labels, teachers, config.teacher, rng=rng, device=device)


def _tuned(
    synthetic: SyntheticSet,
    chosen: Candidates,
    pool: Sequence[Member],
    selector: Selector,
    codec: Codec,
    config: VideoCompressaConfig,
    key: Mapping[str, Any],
    *,
    rng: Streams,
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> SyntheticSet:
    """Step 7: return the set tuned; a stage of this `key`."""

    def tune() -> dict[str, Tensor]:
        tuned = synthesize(
            synthetic, chosen, pool, selector, codec, config.synthesis, recipe=config.teacher.train,
            rng=rng.child("synthesis"), device=device, watch=watch,
        )  # fmt: skip
        return {"latents": tuned.latents, "positions": tuned.positions}

    found = stages.recall("synthesis", key, tune)
    return dataclasses.replace(
        synthetic,
        latents=found["latents"],
        positions=found["positions"],
        times_seconds=chosen.times_seconds.gather(1, found["positions"]),
    )


def _choose_videos(
    train_data: Candidates,
    weights: Tensor,
    teachers: Sequence[Student],
    pool: Sequence[Member],
    config: VideoCompressaConfig,
    budget: Allowance,
    *,
    rng: Streams,
    device: torch.device,
) -> Tensor:
    """Step 6: rows (N,) chosen in each class, of the clips that the teacher gets right where there are enough."""
    right = torch.ones(len(train_data), dtype=torch.bool)
    if teachers:
        right = predict(teachers[0], real_clips(train_data), device=device).argmax(1) == train_data.labels
    num_right = torch.bincount(train_data.labels[right], minlength=len(train_data.classes))
    eligible = right | (num_right < budget.videos_per_class)[train_data.labels]
    rows = eligible.nonzero()[:, 0]
    look = _look(train_data, weights, pool, config)
    chosen = choose_per_class(
        lambda members: look(rows[members]),
        train_data.labels[rows],
        train_data.classes,
        count=budget.videos_per_class,
        allow_fewer=budget.allow_fewer,
        name=config.subset,
        generator=rng.generator("videos"),
    )
    return rows[chosen]


def _look(train_data: Candidates, weights: Tensor, pool: Sequence[Member], config: VideoCompressaConfig) -> FeaturesOf:
    """Return what step 6 compares; latents class by class, as those of a whole split may not fit into memory."""
    if config.subset == "random":
        return lambda rows: torch.zeros(len(rows), 1)  # chance looks at nothing: no latents are read for it
    if config.features == "pool":
        return pool_features(pool).__getitem__
    return lambda rows: (train_data.latents[rows].float() * weights[:, None, None]).flatten(1)
