"""Students by name: networks of the literature, pretrained backbones, and networks of one's own.

minic3d                   a name of `networks.STUDENTS`, trained from random weights
hf:PLACE[:MODE]           a model of transformers in a folder or on the hub; MODE is one of `MODES`
timm:PLACE[:MODE]         a model of timm, which transformers runs: `hf:timm/PLACE`, or a folder
FILE.py:FUNCTION[:MODE]   what FUNCTION(num_classes, clip: ClipSpec) of a Python file returns: any module from
                          normalized clips (B,T,3,H,W) to logits (B,L), which is trained; with a mode of `FROZEN`, one
                          to features (B,D), which stays as it is
"""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videocompressa.clip import ClipSpec, Normalization
from videocompressa.errors import InputError
from videocompressa.hub import model_identity
from videocompressa.networks import STUDENTS, Classifier, FeatureClassifier, build_student, check_size
from videocompressa.rng import seeded
from videocompressa.students.backbones import load_backbone
from videocompressa.video.shards import Stamp, stamp_of
from videocompressa.video.source import sha256_of

FROZEN = ("probe", "centroid")
"""What is learned on features that stay as they are: a linear layer, or the mean of each class."""
MODES = (*FROZEN, "lora", "full")
"""What is learned of a backbone: one of `FROZEN`; a linear layer and low-rank changes of all others; all of it."""
_FORMS = f"hf:FOLDER_OR_NAME[:{'|'.join(MODES)}], timm:FOLDER_OR_NAME[:MODE] or FILE.py:FUNCTION[:{'|'.join(FROZEN)}]"


@dataclass(frozen=True)
class StudentName:
    """The parts of a student's name."""

    kind: str
    """"network", "hf" or "file"."""
    place: str
    """The network's name, the backbone's folder or hub name, or the Python file."""
    mode: str = ""
    """One of `MODES`; "" for a network that is trained from random weights, or as it is made."""
    function: str = ""
    """Of the Python file."""

    @property
    def is_frozen(self) -> bool:
        """Whether it is trained by `fit_probe`."""
        return self.mode in FROZEN

    @property
    def usual_lr(self) -> float:
        """Highest learning rate that suits it; that of "full" is the one of the tutorials of transformers."""
        return {"full": 5e-5, "lora": 5e-4}.get(self.mode, 2e-3)

    @property
    def portable(self) -> str:
        """The name without folders of this machine, as files record it."""
        place = Path(self.place).name if Path(self.place).exists() else self.place
        parts = {"network": (place,), "hf": ("hf", place, self.mode), "file": (place, self.function, self.mode)}
        return ":".join(part for part in parts[self.kind] if part)

    @property
    def content(self) -> str:
        """Hash of a Python file or of the files of a backbone's folder; "" for what its name identifies."""
        folder = Path(self.place)
        paths = [folder] if self.kind == "file" else sorted(folder.glob("*")) if self.kind == "hf" else []
        digests = [_sha256(path, stamp_of(path)) for path in paths if path.is_file()]
        return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def parse_student(name: str) -> StudentName:
    """Return the parts of a student's name; raises `InputError` when it has none of these forms."""
    if name in STUDENTS:
        return StudentName("network", name)
    place, _, mode = name.rpartition(":")
    if mode not in MODES:
        place, mode = name, ""
    library, _, backbone = place.partition(":")
    if library in ("hf", "timm") and backbone:
        if library == "timm" and not Path(backbone).is_dir():
            backbone = f"timm/{backbone.removeprefix('timm/')}"
        return StudentName("hf", backbone, mode or MODES[0])
    file, _, function = place.rpartition(":")
    if file.endswith(".py") and function.isidentifier() and mode in ("", *FROZEN):
        if not Path(file).is_file():
            raise InputError(f"student {name!r}: there is no file {file}; give FILE.py:FUNCTION")
        return StudentName("file", file, mode, function)
    raise InputError(f"unknown student {name!r}; known: {', '.join(STUDENTS)}, {_FORMS}")


@functools.cache
def _sha256(path: Path, stamp: Stamp) -> str:
    """Return the hash of a file; while its stamp is the same it is read once, because weights may be large."""
    return sha256_of(path)


def _output(network: nn.Module, clips: Tensor, expected: str, width: int | None = None) -> Tensor:
    """Return what a network of the user's gives for clips, if it is (B, `width`), or (B,D) where that is None."""
    output: Any = network(clips)
    if (
        isinstance(output, Tensor)
        and output.ndim == 2
        and len(output) == len(clips)
        and width in (None, output.shape[1])
    ):
        return output
    got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise InputError(
        f"the network {type(network).__name__} gives {got} for clips {tuple(clips.shape)}; it must give {expected}"
    )


def check_clips(name: str, size: tuple[int, int, int]) -> None:
    """Raise `InputError` where clips of `size` (T,H,W) are too small for a student; backbones take any."""
    if (parts := parse_student(name)).kind == "network":
        check_size(size, STUDENTS[parts.place])


class OwnNetwork(Classifier):
    """A module of the user's, whose output is checked."""

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        if not any(weight.requires_grad for weight in network.parameters()):
            raise InputError(f"the network {type(network).__name__} has no weight to train; give one that has some")
        self.network, self.num_classes = network, num_classes

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B,L)."""
        expected = f"logits {(len(clips), self.num_classes)}, one a class"
        return _output(self.network, clips, expected, self.num_classes)


class OwnFeatures(FeatureClassifier):
    """A frozen module of the user's that gives features, with a linear layer.

    A module with an attribute `normalization` (`clip.Normalization`) gets clips that are normalized by it.
    """

    def __init__(self, network: nn.Module, num_classes: int, clip: ClipSpec, code: str) -> None:
        super().__init__()
        self.network, self.num_classes = network.requires_grad_(False), num_classes
        normalization = getattr(network, "normalization", None)
        self.normalization = normalization if isinstance(normalization, Normalization) else None
        self.identity = model_identity(network, code)
        features = self.eval().features(torch.zeros(2, clip.num_frames, 3, clip.height, clip.width))
        self.head = nn.Linear(features.shape[1], num_classes)

    @torch.no_grad()
    def features(self, clips: Tensor) -> Tensor:
        """Return features (B,D) of normalized clips (B,T,3,H,W)."""
        return _output(self.network, clips, f"features ({len(clips)}, D)")


def build_named(
    name: str, classes: tuple[str, ...], clip: ClipSpec, generator: torch.Generator, *, width: float = 1.0
) -> Classifier:
    """Return an untrained student on the CPU, in training mode; a backbone with its pretrained weights.

    `generator` draws all that is random. `width` is of `networks.STUDENTS` only. Raises `InputError`.
    """
    parts = parse_student(name)
    if parts.kind == "network":
        return build_student(name, len(classes), clip.size, generator, width=width)
    with seeded(generator):
        if parts.kind == "file":
            network = _made_by(parts, len(classes), clip)
            if parts.is_frozen:
                return OwnFeatures(network, len(classes), clip, parts.content)
            return OwnNetwork(network, len(classes)).train()
        return load_backbone(parts.place, parts.mode, classes).train()


def _made_by(parts: StudentName, num_classes: int, clip: ClipSpec) -> nn.Module:
    """Return what the function of a Python file makes."""
    spec = importlib.util.spec_from_file_location(Path(parts.place).stem, parts.place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make = getattr(module, parts.function, None)
    if not callable(make):
        raise InputError(f"student {parts.place}:{parts.function}: the file has no function {parts.function}")
    network = make(num_classes, clip)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"student {parts.place}:{parts.function}: gives a {type(network).__name__}; it must give a torch.nn.Module"
        )
    return network
