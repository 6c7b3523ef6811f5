"""Students of several seeds, and the mean and spread of their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videocompressa.errors import DivergedError, InputError
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import Scores, evaluate
from videocompressa.students.precision import resolved_precision
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import fit


@dataclass(frozen=True)
class TrainingResult:
    """Scores of students of several seeds; only runs that did not diverge are averaged."""

    seeds: tuple[int, ...]
    """All seeds, in the order given."""
    top1_runs: tuple[float, ...]
    """Top-1 in [0,1] of each run that did not diverge, in the order of `seeds`."""
    top1_mean: float
    top1_std: float
    """Sample standard deviation over runs (n - 1); 0 for one run."""
    top5_mean: float
    per_class: Tensor
    """(L,) float64: mean over runs, NaN where the test set has no clip of the class."""
    confusion: Tensor
    """(L,L) int64: sum over runs."""
    num_diverged: int
    """Seeds whose loss stopped being finite."""
    train_seconds: float
    """Seconds of `fit` over all seeds, diverged ones included; evaluation is not in it."""
    precision: str
    """"float32" or "bfloat16": the arithmetic that the students were trained in."""


def train_seeds(
    train: LabeledClips,
    test: LabeledClips,
    config: TrainConfig,
    run: Run,
    *,
    seeds: Sequence[int],
    clock: Callable[[], float],
) -> TrainingResult:
    """Train and evaluate one student a seed; the test set is read once a seed, after its last step.

    Each seed has random streams of its own in place of those of `run`. `clock` gives seconds, such as
    `time.perf_counter`: it times training without evaluation, and the core reads no clock of its own.
    """
    if not seeds:
        raise InputError("no seeds given; --seeds must be at least 1")
    if train.classes != test.classes:
        raise InputError(
            f"training classes {_some(train.classes)} differ from test classes {_some(test.classes)}; "
            f"both must be the same names in the same order"
        )
    scores: list[Scores] = []
    seconds = 0.0
    for number, seed in enumerate(seeds):
        started = clock()
        try:
            student = fit(train, config, replace(run, streams=Streams(seed, "train")))
        except DivergedError:
            continue
        finally:
            seconds += clock() - started
            run.watch("seeds", done=number + 1, total=len(seeds))
        scores.append(evaluate(student, test, run.device))
    if not scores:
        raise DivergedError(
            f"all {len(seeds)} runs of {config.student!r} diverged at lr {config.lr:g}; choose a lower lr"
        )
    top1 = torch.tensor([each.top1 for each in scores], dtype=torch.float64)
    return TrainingResult(
        seeds=tuple(seeds),
        top1_runs=tuple(top1.tolist()),
        top1_mean=float(top1.mean()),
        top1_std=float(top1.std()) if len(scores) > 1 else 0.0,
        top5_mean=sum(each.top5 for each in scores) / len(scores),
        per_class=torch.stack([each.per_class for each in scores]).mean(0),
        confusion=torch.stack([each.confusion for each in scores]).sum(0),
        num_diverged=len(seeds) - len(scores),
        train_seconds=seconds,
        precision=resolved_precision(config.precision, run.device),
    )


def _some(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)})"
