"""The labeler: a small network that a set file carries, which says what is in a view of the set's clips.

It learned all training videos, and keeps what it learned in some hundred kB (the paper's video understanding module;
HeLlO, arXiv 2408.08201, stores label projectors of images). Students of the set ask it for the label of every view
(function matching: Beyer et al. 2022, arXiv 2106.05237).

A labeler may also be a layer on a pretrained network: the file holds the layer, and training on the set needs the
network too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from videocompressa.clip import Normalization
from videocompressa.errors import InputError, check_within
from videocompressa.networks import STUDENTS, FeatureClassifier, Student
from videocompressa.views import Views, random_views

MOST_BITS = 8
MOST_WIDTH, MOST_FEATURES = 2.0, 2**16
"""Of a labeler's network; they bound the weights that a file can claim."""
LEAST_SPREAD = 2.0**-14
"""Of a pretrained network's feature; a smaller one has fewer digits in the file."""


@dataclass(frozen=True)
class LabelerSpec:
    """What a labeler is, apart from its weights."""

    network: str = "minic3d"
    """A name of `networks.STUDENTS`, or of a frozen pretrained network (`students/named.py`)."""
    width: float = 0.25
    """Factor on the channels of a network of `STUDENTS`, in (0,2]."""
    bits: int = 5
    """Of each stored weight, 2 to 8, with a scale for each output channel."""
    views: Views = field(default_factory=lambda: Views(mix=1.0))
    """The views that it labels; training on the set shows such views. They are those of hard labels, all of them mixed:
    a label that is given to the mixture costs no truth (docs/method.md)."""
    features: int = 0
    """D, the features of a pretrained network, which its layer takes; 0 for a network of `STUDENTS`."""
    identity: str = ""
    """Hash of a pretrained network (`FeatureClassifier.identity`)."""

    def __post_init__(self) -> None:
        if self.network not in STUDENTS and ":" not in self.network:
            raise InputError(
                f"labeler.network is {self.network!r}; known: {', '.join(STUDENTS)}, or a pretrained network such as "
                "hf:FOLDER:probe"
            )
        if not 0 <= self.features <= (MOST_FEATURES if self.is_layer else 0):
            raise InputError(
                f"labeler.features is {self.features}; it must be 0, or at most {MOST_FEATURES} of a pretrained network"
            )
        check_within(self, "labeler.", bits=f"[2,{MOST_BITS}]", width=f"(0,{MOST_WIDTH:g}]")

    @property
    def is_layer(self) -> bool:
        """Whether a file holds only the layer of a pretrained network."""
        return self.network not in STUDENTS

    def shapes(self, num_classes: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight that is stored, by name; takes no memory."""
        if self.is_layer:
            return {"bias": (num_classes,), "spread": (self.features,), "weight": (num_classes, self.features)}
        with torch.device("meta"):
            state = STUDENTS[self.network](num_classes, self.width).state_dict()
        return {name: tuple(tensor.shape) for name, tensor in state.items() if tensor.is_floating_point()}


class Layer(FeatureClassifier):
    """The layer that a file holds, on the features of a pretrained network that is given separately."""

    def __init__(self, spec: LabelerSpec, weights: Mapping[str, Tensor], network: FeatureClassifier | None) -> None:
        super().__init__()
        self.name, self.network, self.identity = spec.network, network, spec.identity
        self.normalization = None if network is None else network.normalization
        self.num_classes = len(weights["bias"])
        self.head = nn.Linear(spec.features, self.num_classes)
        weight = weights["weight"] / weights["spread"].clamp(min=LEAST_SPREAD)
        self.head.load_state_dict({"weight": weight, "bias": weights["bias"]})

    def features(self, clips: Tensor) -> Tensor:
        """Return features (B,D) of normalized clips (B,T,3,H,W)."""
        if self.network is None:
            raise InputError(
                f"the labeler of this set is a layer of {self.name}, which is not in the file; give that network: "
                "train ... --labeler hf:FOLDER, or load(..., labeler='hf:FOLDER')"
            )
        return self.network.features(clips)


class Labeler(nn.Module):
    """Pixels (B,T,3,H,W) float in [0,1] to probabilities (B,L) float32; frozen, in evaluation mode."""

    def __init__(
        self,
        spec: LabelerSpec,
        weights: Mapping[str, Tensor],
        normalization: Normalization,
        agreement: float = 1.0,
        network: FeatureClassifier | None = None,
    ) -> None:
        """Take the weights of `spec.shapes(L)` by name, float32 and finite; and the network of a layer, where known.

        `agreement` in [0,1] is the share of views on which they name the class that they named before being rounded.
        """
        super().__init__()
        if not 0 <= agreement <= 1:
            raise InputError(f"labeler.agreement is {agreement}; it must be in [0,1]")
        self.spec, self.normalization, self.agreement = spec, normalization, agreement
        self.weights = {name: weight.float().cpu() for name, weight in weights.items()}
        """Those that a file holds, by name, float32 on the CPU."""
        self.student = Layer(spec, self.weights, network) if spec.is_layer else _student(spec, self.weights)
        self.student.eval().requires_grad_(False)
        self.training = False  # `train` leaves it so

    def with_network(self, network: FeatureClassifier) -> "Labeler":
        """Return a labeler that is a layer with its network; raises `InputError` for another network."""
        if network.identity != self.spec.identity:
            raise InputError(
                f"the labeler of this set is a layer of {self.spec.network}, but the network that was given has other "
                "weights or another preprocessor; give the same one"
            )
        return Labeler(self.spec, self.weights, self.normalization, self.agreement, network)

    @property
    def is_complete(self) -> bool:
        """Whether it can label: its network is there."""
        return not isinstance(self.student, Layer) or self.student.network is not None

    def train(self, mode: bool = True) -> "Labeler":
        """Stay in evaluation mode, whatever model this is a part of."""
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the class probabilities of clips."""
        normalization = self.student.normalization or self.normalization
        with torch.no_grad():
            logits: Tensor = self.student(normalization.apply(pixels))
        return logits.float().softmax(1)

    def knows(self, network: FeatureClassifier) -> bool:
        """Return whether this is a layer on the features of such a network."""
        return self.spec.is_layer and self.spec.identity == network.identity

    def of_features(self, features: Tensor) -> Tensor:
        """Return the class probabilities (B,L) of features (B,D), of a layer."""
        assert isinstance(self.student, Layer)
        with torch.no_grad():
            logits: Tensor = self.student.head(features)
        return logits.float().softmax(1)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.parameters()).device


def _student(spec: LabelerSpec, weights: Mapping[str, Tensor]) -> Student:
    """Return a network of `STUDENTS` with these weights."""
    with torch.device("meta"):
        student: Student = STUDENTS[spec.network](len(weights["classifier.bias"]), spec.width)
    student.to_empty(device="cpu")
    # What is left out counts batches, which evaluation does not read.
    student.load_state_dict(dict(weights), strict=False)
    return student


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
