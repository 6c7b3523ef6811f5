"""Losses of a student: cross-entropy with the labels, or the distance to a teacher's logits."""

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

    The loss of Video-DC (arXiv 2412.21197), with z* the teacher's logits and y the class. A file stores probabilities,
    which give logits up to a constant a clip, so z* = log p and both are centered over the classes: unlike theirs, a
    constant added to z costs nothing. Shares of the largest probability below (0.5/255)^2, which the file stores as
    zero, count as that share. Of a mean over views or teachers, z* is the logarithm. y is the most likely class of p.
    """
    target = labels.maximum(_LEAST_SHARE * labels.amax(1, keepdim=True)).log()
    centered, wanted = (each - each.mean(1, keepdim=True) for each in (logits, target))
    return functional.mse_loss(centered, wanted) + _HARD_WEIGHT * functional.cross_entropy(logits, labels.argmax(1))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": functional.cross_entropy,
    "logit-mse": logit_mse,
}
"""Losses by name: of logits (B,L) with labels (B,) int64 or (B,L) float32."""
