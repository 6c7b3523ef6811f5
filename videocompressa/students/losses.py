"""Losses of a student: cross-entropy with the labels, or the distance to a teacher's logits."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from videocompressa.artifact.packing.quantization import LARGEST_CODE

# Share of a row's largest probability below which a file of soft labels stores zero.
_LEAST_SHARE = (0.5 / LARGEST_CODE) ** 2
# Weight of the hard label in the loss of Video-DC (Chen et al. 2024, arXiv 2412.21197).
_HARD_WEIGHT = 0.1


def logit_mse(logits: Tensor, labels: Tensor) -> Tensor:
    """Return MSE(z, z*) + 0.1 cross-entropy(z, y) of logits z (B,L), by the labels p (B,L) float32 of a teacher.

    The loss of Video-DC (arXiv 2412.21197): z* are the teacher's logits, y the class. A file stores probabilities, from
    which the logits of one softmax are known up to one constant a clip, so z* = log p and both are centered over the
    classes: a constant added to z costs nothing here, where theirs is held to the teacher's. A share of the
    largest probability below (0.5/255)^2, which the file stores as zero, counts as that one. Where p is a mean over
    views or teachers, z* is the logarithm of that mean.
    y is the most likely class of p (the file stores no other).
    """
    target = labels.maximum(_LEAST_SHARE * labels.amax(1, keepdim=True)).log()
    distance = functional.mse_loss(_centered(logits), _centered(target))
    return distance + _HARD_WEIGHT * functional.cross_entropy(logits, labels.argmax(1))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": functional.cross_entropy,
    "logit-mse": logit_mse,
}
"""Losses by name: of logits (B,L) with labels (B,) int64 or (B,L) float32."""


def _centered(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)
