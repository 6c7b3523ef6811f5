"""Labeled clips, to train and to test students on."""

import hashlib
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from videocompressa.clip import Normalization, shape_text
from videocompressa.errors import InputError
from videocompressa.labeler import Labeler
from videocompressa.synthetic import SyntheticSet, check_item_labels, regime_of


@dataclass(frozen=True)
class LabeledClips(Dataset[tuple[Tensor, Tensor]]):
    """Clips with labels; the frames may be memory-mapped, only rows of a batch are copied.

    As a `torch.utils.data.Dataset`, row n is the clip (T,3,H,W) float32 in [0,1], not normalized, and its label.
    """

    frames: Tensor
    """(N,T,3,H,W) uint8, RGB; or float32 pixels in [0,1], as from `SyntheticSet.clips`."""
    labels: Tensor
    """(N,) int64 in [0,L), or (N,L) float32 rows that sum to 1."""
    normalization: Normalization
    """Of the real training split, the same for every set compressed from it."""
    classes: tuple[str, ...]
    """L class names in label order."""
    labeler: Labeler | None = None
    """With it, training shows its views, which it labels, and reads no `labels`; evaluation reads `labels` alone."""

    def __post_init__(self) -> None:
        frames = self.frames
        if frames.ndim != 5 or frames.shape[2] != 3 or frames.dtype not in (torch.uint8, torch.float32):
            raise InputError(f"LabeledClips.frames is {shape_text(frames)}; it must be uint8 or float32 (N,T,3,H,W)")
        check_item_labels("LabeledClips", self.labels, len(frames), len(self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.pixels(torch.tensor([row]), torch.device("cpu"))[0], self.labels[row]

    @classmethod
    def of_set(cls, synthetic: SyntheticSet, device: torch.device | None = None) -> Self:
        """Return the decoded clips of a set, whose views are labeled on `device` if the set has a labeler."""
        labeler = None if synthetic.labeler is None else synthetic.labeler.to(device)
        return cls(synthetic.clips(), synthetic.labels, synthetic.normalization, synthetic.classes, labeler)

    def __repr__(self) -> str:
        frames, labels = shape_text(self.frames), shape_text(self.labels)
        return f"LabeledClips(frames={frames}, labels={labels}, classes={len(self.classes)})"

    @property
    def regime(self) -> str:
        """Whose labels students learn: "hard" or "soft" stored ones, or those of "views" by a network."""
        return regime_of(self.labels, self.labeler)

    @property
    def sha256(self) -> str:
        """Hash of clips and labels, and of what labels them."""
        digest = hashlib.sha256()
        weights = [] if self.labeler is None else list(self.labeler.weights.values())
        for tensor in (self.frames, self.labels, *weights):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def size(self) -> tuple[int, int, int]:
        """T, H and W."""
        _, num_frames, _, height, width = self.frames.shape
        return num_frames, height, width

    @property
    def hard_labels(self) -> Tensor:
        """(N,) int64: the labels, or the most likely class of each soft label."""
        return self.labels if self.labels.ndim == 1 else self.labels.argmax(1)

    def pixels(self, rows: Tensor, device: torch.device) -> Tensor:
        """Return the frames of some clips as (B,T,3,H,W) float32 in [0,1] on the device."""
        chosen = self.frames[rows].to(device)
        return chosen.float() / 255 if chosen.dtype == torch.uint8 else chosen


def probabilities_of(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels (N,) int64 or (N,L) float32 as (N,L) float32 rows that sum to 1."""
    return functional.one_hot(labels, num_classes).float() if labels.ndim == 1 else labels
