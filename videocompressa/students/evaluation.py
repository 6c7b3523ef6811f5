"""Predictions of trained students, their scores, and the mean and spread of scores over seeds."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from videocompressa.errors import DivergedError, InputError
from videocompressa.networks import Classifier, Student
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages
from videocompressa.students.clips import LabeledClips
from videocompressa.students.named import OwnNetwork, parse_student
from videocompressa.students.precision import resolved_precision
from videocompressa.students.probe import fit_probe, predict_probe
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import fit, fit_kept
from videocompressa.texts import names_text, number_text

Augment = Callable[[Tensor], Tensor]
"""Pixels (B,T,3,H,W) float32 in [0,1] -> pixels of the same shape."""
BATCH_SIZE = 64
"""Clips of one forward pass."""


@dataclass(frozen=True)
class Scores:
    """Scores of one student on one test set."""

    top1: float
    """In [0,1]."""
    top5: float
    """In [0,1]: the label is among the 5 most likely classes (among all L where L < 5)."""
    per_class: Tensor
    """(L,) float64: top-1 in [0,1] of each class, NaN where the test set has no clip of it."""
    confusion: Tensor
    """(L,L) int64: clips of class (row) predicted as class (column)."""


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
    device: str
    """Where, such as "cpu, 2 threads": another number of threads rounds sums in another order."""


def student_features(student: Student, data: LabeledClips, device: torch.device) -> Tensor:
    """Return features (N,D) float32 of unchanged clips on the CPU; the student must be in evaluation mode."""
    return _over_batches(data, device, lambda clips: student.features(clips).float())


def predict(
    student: Classifier,
    data: LabeledClips,
    device: torch.device,
    temperature: float = 1.0,
    augment: Augment | None = None,
) -> Tensor:
    """Return class probabilities softmax(logits / temperature) (N,L) float32 on the CPU, in evaluation mode.

    `augment` may change the pixels of a batch. The student is left in the mode it came in.
    """
    if student.num_classes != len(data.classes):
        raise InputError(f"the student knows {student.num_classes} classes, the clips have {len(data.classes)}")
    was_training = student.training
    student.to(device).eval()
    if student.normalization is not None:
        data = replace(data, normalization=student.normalization)
    probabilities = _over_batches(
        data, device, lambda clips: (student(clips).float() / temperature).softmax(1), augment
    )
    student.train(was_training)
    return probabilities.view(len(data), student.num_classes)


def evaluate(student: Classifier, data: LabeledClips, device: torch.device) -> Scores:
    """Score a student on unchanged clips; soft labels count by their most likely class."""
    return score(predict(student, data, device), data.hard_labels)


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """Score predictions (N,L) float against labels (N,) int64; ties go to the lower class."""
    num_classes = probabilities.shape[1]
    if len(labels) == 0:
        raise InputError("the test set holds no clips; give at least one to evaluate on")
    ranked = probabilities.argsort(dim=1, descending=True, stable=True)
    hits = ranked[:, :5] == labels[:, None]
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    confusion.index_put_((labels, ranked[:, 0]), torch.ones_like(labels), accumulate=True)
    return Scores(
        top1=float(hits[:, 0].double().mean()),
        top5=float(hits.any(1).double().mean()),
        per_class=confusion.diagonal().double() / confusion.sum(1).double(),
        confusion=confusion,
    )


def train_seeds(
    train: LabeledClips,
    test: LabeledClips,
    config: TrainConfig,
    run: Run,
    *,
    seeds: Sequence[int],
    clock: Callable[[], float],
    keep: Callable[[int, Classifier], None] = lambda seed, student: None,
    group: ProcessGroup = ALONE,
    module: nn.Module | None = None,
) -> TrainingResult:
    """Train and evaluate one student a seed; the test set is read once a seed, after its last step.

    Each seed has random streams of its own in place of those of `run`. `clock` gives seconds, such as
    `time.perf_counter`: it times training without evaluation, and the core reads no clock of its own.
    `keep(seed, student)` is given every student that did not diverge, once it is evaluated. The processes of `group`
    share the seeds, and return the same result. `module` is a network that each student starts as a copy of, in
    place of `config.student`; it stays as it is.
    """
    if not seeds:
        raise InputError("no seeds given; --seeds must be at least 1")
    if train.classes != test.classes:
        raise InputError(
            f"training classes {names_text(train.classes)} differ from test classes {names_text(test.classes)}; "
            f"both must be the same names in the same order"
        )
    own: list[tuple[int, Scores | None, float]] = []
    with _until_done(train, config, run, seeds, module) as stages:
        for number in range(group.rank, len(seeds), group.size):
            part = replace(run, streams=Streams(seeds[number], "train")).part(number, len(seeds))
            started, before = clock(), sum(stages.recalled_seconds.values())
            student = _student(train, config, part, stages, module)
            seconds = clock() - started + sum(stages.recalled_seconds.values()) - before
            scored = None
            if student is not None:
                frozen = parse_student(config.student).is_frozen and module is None
                probabilities = predict_probe(student, test, run) if frozen else predict(student, test, run.device)
                scored = score(probabilities, test.hard_labels)
                keep(seeds[number], student)
            own.append((number, scored, seconds))
        results = sorted(group.gather(own), key=lambda result: result[0])
    scores = [scored for _, scored, _ in results if scored is not None]
    if not scores:
        name = repr(config.student) if module is None else type(module).__name__
        raise DivergedError(f"all {len(seeds)} runs of {name} diverged at lr {config.lr:g}; choose a lower lr")
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
        train_seconds=sum(seconds for *_, seconds in results),
        precision=resolved_precision(config.precision, run.device),
        device=_device_text(run.device),
    )


def _device_text(device: torch.device) -> str:
    return f"cpu, {number_text(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else device.type


def _student(
    train: LabeledClips, config: TrainConfig, run: Run, stages: Stages, module: nn.Module | None
) -> Classifier | None:
    """Return a trained student, of these stages if one of a run before is among them; None for one that diverged."""
    with suppress(DivergedError):
        if module is not None:
            return fit(train, config, run, student=OwnNetwork(copy.deepcopy(module), len(train.classes)))
        if parse_student(config.student).is_frozen:
            return fit_probe(train, config, run)
        return fit_kept(train, config, replace(run, stages=stages))
    return None


@contextmanager
def _until_done(
    train: LabeledClips, config: TrainConfig, run: Run, seeds: Sequence[int], module: nn.Module | None
) -> Iterator[Stages]:
    """Give the stages of students, which an interrupted training finds again; they go when all seeds have results."""
    if run.stages.folder is None or module is not None:  # what a module computes has no name
        yield run.stages
        return
    key = {
        "config": asdict(config),
        "student": parse_student(config.student).content,
        "clips": train.sha256,
        "normalization": asdict(train.normalization),
        "labeler": None if train.labeler is None else asdict(train.labeler.spec),
        "seeds": list(seeds),
        "device": run.device.type,
    }
    with run.stages.until_done("train", key) as stages:
        yield stages


@torch.no_grad()
def _over_batches(
    data: LabeledClips, device: torch.device, function: Callable[[Tensor], Tensor], augment: Augment | None = None
) -> Tensor:
    """Return `function` of all normalized clips, batch by batch, on the CPU."""
    results = []
    for rows in torch.split(torch.arange(len(data)), BATCH_SIZE):
        pixels = data.pixels(rows, device)
        clips = data.normalization.apply(pixels if augment is None else augment(pixels))
        results.append(function(clips).cpu())
    return torch.cat(results) if results else torch.zeros(0)
