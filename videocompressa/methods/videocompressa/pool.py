"""The pool: frozen students of all ages that guide the synthesis (step 7), and choose videos where asked to.

Fresh students are trained on the synthetic set, so it must look right to students that have learned nothing yet, a
little, and everything: a few are trained for one step (random features, as in DM, Zhao and Bilen 2023), some for
longer, and the teachers are added (our choice of ages).
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.codecs import weights_sha256
from videocompressa.errors import InputError, check_least
from videocompressa.methods.config import random_of_each_class
from videocompressa.networks import Student
from videocompressa.run import Run
from videocompressa.students.precision import autocast
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import RealClips, teacher_features
from videocompressa.views import augmented


@dataclass(frozen=True)
class PoolConfig:
    """Which students guide the synthesis."""

    ages: tuple[int, ...] = (1, 1, 1, 1, 20, 60, 150, 300)
    """Training steps of each student, each from a seed of its own; teachers are added."""
    task_from: int = 100
    """Students trained for at least so many steps give the task loss."""
    real_per_class: int = 48
    """Real clips a class whose feature maps are averaged."""

    def __post_init__(self) -> None:
        check_least(self, "pool.", task_from=0, real_per_class=1)
        if min(self.ages, default=1) < 1:
            raise InputError(f"pool.ages is {self.ages}; each must be at least 1")


@dataclass(frozen=True)
class Member:
    """A frozen student and the features of the real clips to it."""

    student: Student
    class_maps: list[Tensor]
    """One (L,D) float32 a stage: mean feature maps of each class."""
    spreads: list[float]
    """Mean squared distance of the class means to their mean, a stage."""
    gives_task: bool


def build_pool(
    real: RealClips, config: PoolConfig, recipe: TrainConfig, teachers: Sequence[Student], run: Run
) -> list[Member]:
    """Train the students by `recipe` (each a stage of its own) and compute the features of the real classes to each."""

    def train(number: int) -> Student:
        age = config.ages[number]
        young = dataclasses.replace(recipe, steps=age, warmup_steps=min(age, 20))
        return real.train(young, run.child(f"pool/{number}").part(number, len(config.ages)), name="pool")

    run.group.share(len(config.ages), train)
    students = [(train(number), age) for number, age in enumerate(config.ages)]
    students += [(teacher, recipe.steps) for teacher in teachers]
    pool = []
    for number, (student, age) in enumerate(students):
        key = {"weights": weights_sha256(student.state_dict()), "clips": config.real_per_class}
        compute = functools.partial(_class_features, student, real.train_data, config, recipe, run)
        stage = run.recall("pool-features", key, compute)
        maps = [stage[f"maps/{number}"].to(run.device) for number in range(len(stage))]
        spreads = [float((each - each.mean(0)).square().mean()) + 1e-8 for each in maps]
        pool.append(Member(student, maps, spreads, gives_task=age >= config.task_from))
        run.watch("pool features", done=number + 1, total=len(students))
    return pool


def clip_features(pool: Sequence[Member], train_data: Candidates, run: Run) -> Tensor:
    """Return (N, sum of D) float32: what each student gives for every real clip, centered, with a spread of 1."""
    return torch.cat([_spread_evenly(teacher_features(member.student, train_data, run)) for member in pool], 1)


def _spread_evenly(features: Tensor) -> Tensor:
    centered = features - features.mean(0)
    return centered / (centered.square().sum(1).mean().sqrt() + 1e-8)


def summary(stage: Tensor) -> Tensor:
    """Return (B,D) float32 of feature maps (B,C,t,h,w): averaged to 4 x 4 places, time kept (our choice)."""
    time, height, width = stage.shape[2:]
    return F.adaptive_avg_pool3d(stage.float(), (time, min(4, height), min(4, width))).flatten(1)


@torch.no_grad()
def _class_features(
    student: Student, train_data: Candidates, config: PoolConfig, recipe: TrainConfig, run: Run
) -> dict[str, Tensor]:
    """Return "maps/0", "maps/1", ... (L,D): mean maps of the classes over augmented clips, a stage."""
    rows = random_of_each_class(train_data.labels, config.real_per_class, run.generator("real"))
    num_classes = len(train_data.classes)
    counts = torch.bincount(train_data.labels[rows], minlength=num_classes).clamp(min=1).to(run.device)
    views = run.generator("real-views")
    totals: list[Tensor] = []
    for batch in torch.split(rows, 64):
        pixels = train_data.frames[batch].to(run.device).float() / 255
        clips = train_data.normalization.apply(augmented(pixels, recipe.views, views))
        with autocast(recipe.precision, run.device):
            maps, _ = student.maps_and_logits(clips)
        one_hot = F.one_hot(train_data.labels[batch], num_classes).float().to(run.device)
        sums = [one_hot.T @ summary(stage) for stage in maps]
        totals = [total + each for total, each in zip(totals, sums, strict=True)] if totals else sums
    return {f"maps/{stage}": (total / counts[:, None]).cpu() for stage, total in enumerate(totals)}
