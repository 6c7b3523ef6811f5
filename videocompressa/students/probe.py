"""A linear layer on the features of a frozen network: a student that a CPU trains in seconds.

1. Views of every clip, the first one the clip itself where its own label is learned.
2. Their features, once: they are kept on disk, by the content of clips and backbone.
3. Multinomial logistic regression on standardized features, to its optimum (L-BFGS); or, of mode "centroid", the
   nearest mean of a class, which trains nothing.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.clip import ClipSpec
from videocompressa.errors import DivergedError
from videocompressa.networks import Classifier, FeatureClassifier
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips, probabilities_of
from videocompressa.students.named import build_named, parse_student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import labeled_views
from videocompressa.views import Views

_BATCH = 16
_ITERATIONS = 300
_LEAST_STD = 1e-6
LABELED_VIEWS, LEAST_LABELED = 4, 2000
"""Where a labeler gives each view a label of its own, times as many views of a clip are shown, and at least so many of
all clips together: a few clips seen often taught more (docs/log.md)."""


def fit_probe(
    data: LabeledClips, config: TrainConfig, run: Run, student: FeatureClassifier | None = None
) -> FeatureClassifier:
    """Train a linear layer on `config.probe_views` views of every clip; the network below it is as it was.

    `student` is that of `config` where it was built before; its layer is replaced. Labels of views are those that `fit`
    gives them. Raises `DivergedError` when features or the loss are not finite.
    """
    if student is None:
        built = build_named(config.student, data.classes, ClipSpec(*data.size), run.generator("init"))
        assert isinstance(built, FeatureClassifier)
        student = built
    student.to(run.device).eval()
    features, labels = _features_and_labels(student, data, config, run)
    std, mean = torch.std_mean(features, 0)
    std = std.clamp(min=_LEAST_STD)
    features = (features - mean) / std
    if parse_student(config.student).mode == "centroid":
        weight, bias = nearest_mean(features, labels)
    else:  # views of one clip are new examples where each has a label of its own
        examples = len(data) if data.labeler is None else len(features)
        weight, bias = logistic_regression(features, labels, l2=1 / examples)
    with torch.no_grad():
        student.head.weight.copy_(weight / std)
        student.head.bias.copy_(bias - student.head.weight @ mean)
    if not bool(torch.isfinite(student.head.weight).all()):
        raise DivergedError(
            f"features of {config.student!r} or the fit to them are not finite; choose another backbone"
        )
    return student


@torch.no_grad()
def predict_probe(student: Classifier, data: LabeledClips, run: Run) -> Tensor:
    """Return class probabilities (N,L) of unchanged clips on the CPU; their features are kept for other seeds."""
    assert isinstance(student, FeatureClassifier)
    features = features_of(student, data, run)
    logits: Tensor = student.head(features.to(run.device))
    return logits.softmax(1).cpu()


def features_of(student: FeatureClassifier, data: LabeledClips, run: Run) -> Tensor:
    """Return features (N,D) float32 of unchanged clips, on the CPU, from the run's finished stages or computed."""
    normalization = student.normalization or data.normalization
    key = {
        "network": student.identity,
        "frames": hashlib.sha256(data.frames.contiguous().numpy().data).hexdigest(),
        "normalization": dataclasses.asdict(normalization),
    }

    @torch.no_grad()
    def compute() -> dict[str, Tensor]:
        features = []
        for rows in torch.split(torch.arange(len(data)), _BATCH):
            clips = normalization.apply(data.pixels(rows, run.device))
            features.append(student.features(clips).float().cpu())
            run.watch("features", done=int(rows[-1]) + 1, total=len(data))
        return {"features": torch.cat(features)}

    return run.stages.recall("features", key, compute)["features"]


def logistic_regression(features: Tensor, labels: Tensor, *, l2: float) -> tuple[Tensor, Tensor]:
    """Return W (L,D) and b (L,) that minimize cross-entropy(X W' + b, P) + l2 |W|^2 / 2, for X (N,D) and P (N,L)."""
    weight = torch.zeros(labels.shape[1], features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(labels.shape[1], device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(features @ weight.T + bias, labels) + l2 / 2 * weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    step: Callable[[Callable[[], Tensor]], object] = optimizer.step
    step(closure)
    return weight.detach(), bias.detach()


def nearest_mean(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return W (L,D) and b (L,) whose largest logit is the class with the nearest mean, for X (N,D) and P (N,L)."""
    count = labels.sum(0)
    means = labels.T @ features / count.clamp(min=_LEAST_STD)[:, None]
    return means, torch.where(count > 0, -means.square().sum(1) / 2, -torch.inf)


def _features_and_labels(
    student: FeatureClassifier, data: LabeledClips, config: TrainConfig, run: Run
) -> tuple[Tensor, Tensor]:
    """Steps 1 and 2: features (V N,D) and probabilities (V N,L) of V views of N clips."""
    features, labels, number = [], [], config.probe_views
    if data.labeler is not None:
        number = max(LABELED_VIEWS * number, math.ceil(LEAST_LABELED / len(data)))
    else:
        features.append(features_of(student, data, run))
        labels.append(probabilities_of(data.labels, len(data.classes)))
        number -= 1
    if number:
        key = {
            "network": student.identity,
            "clips": data.sha256,
            "normalization": dataclasses.asdict(student.normalization or data.normalization),
            "views": dataclasses.asdict(config.views if data.labeler is None else data.labeler.spec.views),
            "number": number,
        }
        views = run.recall("views", key, lambda: _features_of_views(student, data, config.views, number, run))
        features.append(views["features"])
        labels.append(views["labels"])
    return torch.cat(features).to(run.device), torch.cat(labels).to(run.device)


@torch.no_grad()
def _features_of_views(
    student: FeatureClassifier, data: LabeledClips, views: Views, number: int, run: Run
) -> dict[str, Tensor]:
    """Return features and labels of this number of random views of every clip, on the CPU."""
    draws = run.generator("augment")
    features: list[Tensor] = []
    labels: list[Tensor] = []
    normalization = student.normalization or data.normalization
    labeler = data.labeler if data.labeler is not None and data.labeler.knows(student) else None
    if labeler is not None:  # it labels the features: one pass of the network for both
        data, views = dataclasses.replace(data, labeler=None), labeler.spec.views
    for _ in run.steps("views", number, {"draws": draws, "features": features, "labels": labels}):
        for rows in torch.split(torch.randperm(len(data), generator=draws), _BATCH):
            pixels, own = labeled_views(data, rows, views, run.device, draws)
            seen = student.features(normalization.apply(pixels))
            own = own if labeler is None else labeler.of_features(seen)
            features.append(seen.float().cpu())
            labels.append(probabilities_of(own, len(data.classes)).cpu())
            run.watch("features of views", done=sum(map(len, features)), total=number * len(data))
    return {"features": torch.cat(features), "labels": torch.cat(labels)}
