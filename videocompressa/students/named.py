"""Students by name: networks of the literature, pretrained backbones, and networks of one's own.

minic3d            a name of `networks.STUDENTS`, trained from random weights
hf:PLACE[:MODE]    a model of transformers in a folder or on the hub; MODE is one of `MODES`
FILE.py:FUNCTION   what FUNCTION(num_classes, clip: ClipSpec) of a Python file returns: any module from normalized clips
                   (B,T,3,H,W) to logits (B,L)
"""

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from videocompressa.clip import ClipSpec
from videocompressa.errors import InputError
from videocompressa.networks import STUDENTS, Classifier, build_student
from videocompressa.rng import seeded
from videocompressa.students.backbones import load_backbone
from videocompressa.video.shards import Stamp, stamp_of
from videocompressa.video.source import sha256_of

MODES = ("probe", "lora", "full")
"""What is trained of a backbone: a linear layer on its features; also low-rank changes of all its layers; all of it."""
_FORMS = "hf:FOLDER_OR_NAME[:probe|lora|full] or FILE.py:FUNCTION"


@dataclass(frozen=True)
class StudentName:
    """The parts of a student's name."""

    kind: str
    """"network", "hf" or "file"."""
    place: str
    """The network's name, the backbone's folder or hub name, or the Python file."""
    part: str = ""
    """The backbone's mode, or the file's function."""

    @property
    def is_probe(self) -> bool:
        """Whether it is trained by `fit_probe`."""
        return self.kind == "hf" and self.part == "probe"

    @property
    def usual_lr(self) -> float:
        """Highest learning rate that suits it; that of "full" is the one of the tutorials of transformers."""
        return {"full": 5e-5, "lora": 5e-4}.get(self.part if self.kind == "hf" else "", 2e-3)

    @property
    def content(self) -> str:
        """Hash of a Python file or of the files of a backbone's folder; "" for what its name identifies."""
        folder = Path(self.place)
        paths = [folder] if self.kind == "file" else sorted(folder.glob("*")) if self.kind == "hf" else []
        digests = [_sha256(path, stamp_of(path)) for path in paths if path.is_file()]
        return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def parse_student(name: str) -> StudentName:
    """Return the parts of a student's name; raises `InputError` when it has none of the three forms."""
    if name in STUDENTS:
        return StudentName("network", name)
    place, _, part = name.rpartition(":")
    if name.startswith("hf:"):
        place, part = (place[3:], part) if part in MODES else (name[3:], MODES[0])
        if place:
            return StudentName("hf", place, part)
    elif place.endswith(".py") and part.isidentifier():
        if not Path(place).is_file():
            raise InputError(f"student {name!r}: there is no file {place}; give FILE.py:FUNCTION")
        return StudentName("file", place, part)
    raise InputError(f"unknown student {name!r}; known: {', '.join(STUDENTS)}, {_FORMS}")


@functools.cache
def _sha256(path: Path, stamp: Stamp) -> str:
    """Return the hash of a file; while its stamp is the same it is read once, because weights may be large."""
    return sha256_of(path)


class OwnNetwork(Classifier):
    """A module of the user's, whose output is checked."""

    def __init__(self, network: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.network, self.num_classes = network, num_classes

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B,L)."""
        logits = self.network(clips)
        expected = (len(clips), self.num_classes)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(
                f"the network {type(self.network).__name__} gives {got} for clips {tuple(clips.shape)}; it must give "
                f"logits {expected}, one a class"
            )
        return logits


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
            return OwnNetwork(_made_by(parts, len(classes), clip), len(classes)).train()
        return load_backbone(parts.place, parts.part, classes).train()


def _made_by(parts: StudentName, num_classes: int, clip: ClipSpec) -> nn.Module:
    """Return what the function of a Python file makes."""
    spec = importlib.util.spec_from_file_location(Path(parts.place).stem, parts.place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make = getattr(module, parts.part, None)
    if not callable(make):
        raise InputError(f"student {parts.place}:{parts.part}: the file has no function {parts.part}")
    network = make(num_classes, clip)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"student {parts.place}:{parts.part}: gives a {type(network).__name__}; it must return a torch.nn.Module"
        )
    return network
