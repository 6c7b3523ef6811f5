"""The labeler: a small network that a set file carries, which says what is in a view of the set's clips.

It learned all training videos, and keeps what it learned in some hundred kB (the paper's video understanding module;
HeLlO, arXiv 2408.08201, stores label projectors of images). Students of the set ask it for the label of every view
(function matching: Beyer et al. 2022, arXiv 2106.05237).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from videocompressa.clip import Normalization
from videocompressa.errors import InputError, check_least
from videocompressa.networks import STUDENTS, Student
from videocompressa.views import Views, random_views

MOST_BITS = 8
MOST_WIDTH = 2.0
"""Of a labeler's network; bounds the weights that a file can claim."""


@dataclass(frozen=True)
class LabelerSpec:
    """What a labeler is, apart from its weights."""

    network: str = "minic3d"
    """A name of `networks.STUDENTS`."""
    width: float = 0.25
    """Factor on the network's channels, in (0,2]."""
    bits: int = 5
    """Of each stored weight, 2 to 8, with a scale for each output channel."""
    views: Views = field(default_factory=lambda: Views(mix=1.0))
    """The views that it labels; training on the set shows such views. They are those of hard labels, all of them mixed:
    a label that is given to the mixture costs no truth (docs/method.md)."""

    def __post_init__(self) -> None:
        if self.network not in STUDENTS:
            raise InputError(f"labeler.network is {self.network!r}; known: {', '.join(STUDENTS)}")
        check_least(self, "labeler.", bits=2)
        if self.bits > MOST_BITS:
            raise InputError(f"labeler.bits is {self.bits}; it must be at most {MOST_BITS}")
        if not 0 < self.width <= MOST_WIDTH:
            raise InputError(f"labeler.width is {self.width}; it must be above 0, and at most {MOST_WIDTH:g}")

    def shapes(self, num_classes: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight that is stored, by name; takes no memory."""
        with torch.device("meta"):
            state = STUDENTS[self.network](num_classes, self.width).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in state.items() if tensor.is_floating_point()}


class Labeler(nn.Module):
    """Pixels (B,T,3,H,W) float in [0,1] to probabilities (B,L) float32; frozen, in evaluation mode."""

    def __init__(
        self,
        spec: LabelerSpec,
        weights: Mapping[str, Tensor],
        normalization: Normalization,
        agreement: float = 1.0,
    ) -> None:
        """Take the weights of `spec.shapes(L)` by name, float32 and finite.

        `agreement` in [0,1] is the share of views on which they name the class that they named before being rounded.
        """
        super().__init__()
        if not 0 <= agreement <= 1:
            raise InputError(f"labeler.agreement is {agreement}; it must be in [0,1]")
        self.spec, self.normalization, self.agreement = spec, normalization, agreement
        num_classes = len(weights["classifier.bias"])
        with torch.device("meta"):
            student: Student = STUDENTS[spec.network](num_classes, spec.width)
        student.to_empty(device="cpu")
        # What is left out counts batches, which evaluation does not read.
        student.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
        self.student = student.eval().requires_grad_(False)
        self.training = False  # `train` leaves it so

    def train(self, mode: bool = True) -> "Labeler":
        """Stay in evaluation mode, whatever model this is a part of."""
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the class probabilities of clips."""
        with torch.no_grad():
            logits: Tensor = self.student(self.normalization.apply(pixels))
        return logits.float().softmax(1)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.student.classifier.weight.device

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights that a file holds, by name, float32 on the CPU."""
        state = self.student.state_dict()
        return {name: tensor.cpu() for name, tensor in state.items() if tensor.is_floating_point()}


class Clips(Protocol):
    """A tensor of clips, or what gives some of them as one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: list[int]) -> Tensor: ...


class LabeledViews(Dataset[tuple[Tensor, Tensor]]):
    """Endless views of clips, each labeled when it is taken: pairs (view, probabilities).

    A `DataLoader` asks for complete batches, which are changed and labeled at once. Draws come from torch's own
    generator, as those of a `DataLoader` do: each worker process and each epoch sees others, and `torch.manual_seed`
    repeats them.
    """

    def __init__(self, clips: Clips, labeler: Labeler) -> None:
        """Take clips (N,T,3,H,W) float32 in [0,1]."""
        self.clips, self.labeler = clips, labeler

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        """Return a view (T,3,H,W) float32 in [0,1] of one clip and its probabilities (L,), both on the CPU."""
        other = int(torch.randint(len(self), ()))  # the scene, or what is mixed in
        return self.__getitems__([range(len(self))[row], other])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return views of several clips, which are also what these are mixed with."""
        pixels, _ = random_views(self.clips[list(rows)], self.labeler.spec.views, torch.default_generator)
        labels = self.labeler(pixels.to(self.labeler.device)).cpu()
        return list(zip(pixels, labels, strict=True))
