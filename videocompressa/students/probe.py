"""A linear layer on the features of a frozen backbone: a student that a CPU trains in seconds.

1. Views of every clip, the first one the clip itself where its own label is learned.
2. Their features, once: they are kept on disk, by the content of clips and backbone.
3. Multinomial logistic regression on standardized features, to its optimum (L-BFGS).
"""

import dataclasses
import hashlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.clip import ClipSpec
from videocompressa.errors import DivergedError
from videocompressa.networks import Classifier
from videocompressa.run import Run
from videocompressa.students.backbones import Backbone
from videocompressa.students.clips import LabeledClips
from videocompressa.students.named import build_named
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import labeled_views
from videocompressa.views import UNCHANGED

_BATCH = 16
_ITERATIONS = 300
_LEAST_STD = 1e-6


def fit_probe(data: LabeledClips, config: TrainConfig, run: Run) -> Classifier:
    """Train a linear layer on `config.probe_views` views of every clip; the backbone is as it was.

    Labels of views are those that `fit` gives them. Raises `DivergedError` when features or the loss are not finite.
    """
    student = build_named(config.student, data.classes, ClipSpec(*data.size), run.generator("init"))
    assert isinstance(student, Backbone)
    student.to(run.device).eval()
    key = {
        "backbone": student.identity,
        "clips": _sha256(data),
        "views": dataclasses.asdict(config.views if data.labeler is None else data.labeler.spec.views),
        "number": config.probe_views,
    }
    kept = run.recall("features", key, lambda: _features_of_views(student, data, config, run))
    features, labels = kept["features"].to(run.device), kept["labels"].to(run.device)
    std, mean = torch.std_mean(features, 0)
    std = std.clamp(min=_LEAST_STD)
    # As many examples as clips: views of one clip are no new ones.
    weight, bias = logistic_regression((features - mean) / std, labels, l2=1 / len(data))
    with torch.no_grad():
        student.head.weight.copy_(weight / std)
        student.head.bias.copy_(bias - student.head.weight @ mean)
    if not bool(torch.isfinite(student.head.weight).all()):
        raise DivergedError(
            f"features of {config.student!r} or the fit to them are not finite; choose another backbone"
        )
    return student


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


@torch.no_grad()
def _features_of_views(student: Backbone, data: LabeledClips, config: TrainConfig, run: Run) -> dict[str, Tensor]:
    """Steps 1 and 2: features (V N,D) and probabilities (V N,L) of V views of N clips, on the CPU."""
    draws, features, labels, done = run.generator("augment"), [], [], 0
    normalization = student.normalization or data.normalization
    for number in range(config.probe_views):
        for rows in torch.split(torch.randperm(len(data), generator=draws), _BATCH):
            pixels, own = labeled_views(data, rows, config.views if number else UNCHANGED, run.device, draws)
            probabilities = functional.one_hot(own, len(data.classes)).float() if own.ndim == 1 else own
            features.append(student.features(normalization.apply(pixels)).float().cpu())
            labels.append(probabilities.cpu())
            done += len(rows)
            run.watch("features", done=done, total=config.probe_views * len(data))
    return {"features": torch.cat(features), "labels": torch.cat(labels)}


def _sha256(data: LabeledClips) -> str:
    """Return the hash of clips and labels, and of what labels them."""
    digest = hashlib.sha256()
    weights = [] if data.labeler is None else list(data.labeler.weights.values())
    for tensor in (data.frames, data.labels, *weights):
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
