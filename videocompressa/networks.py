"""Students: small video classifiers that are trained on a set to evaluate it.

Every student takes normalized clips (B,T,3,H,W) float and gives logits (B,L). Weights and dropout masks come from
generators that are passed in; the global random state is neither read nor changed.
"""

import contextlib
import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from videocompressa.clip import Normalization
from videocompressa.errors import InputError, check_known


class Dropout(nn.Module):
    """Dropout with masks from its own CPU generator, so a GPU drops the same features."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator = torch.Generator()

    def forward(self, features: Tensor) -> Tensor:
        """Zero each element with `probability` and scale the rest while training; the identity otherwise."""
        if not self.training or self.probability == 0:
            return features
        keep = torch.rand(features.shape, generator=self.generator) >= self.probability
        return features * (keep.to(features.device, features.dtype) / (1 - self.probability))


class Classifier(nn.Module):
    """A video classifier: clips (B,T,3,H,W) float, normalized, to logits (B,L)."""

    num_classes: int
    """L."""
    normalization: Normalization | None = None
    """Of the pixels that it was pretrained on; None takes that of its training clips."""


class FeatureClassifier(Classifier):
    """A classifier that is one linear layer on features."""

    head: nn.Linear
    """D features to L logits."""
    identity: str
    """Hash of all that features depend on."""

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B,L)."""
        return self.classify(self.features(clips))

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits (B,L) of features (B,D)."""
        logits: Tensor = self.head(features)
        return logits

    def features(self, clips: Tensor) -> Tensor:
        """Return features (B,D) of normalized clips (B,T,3,H,W)."""
        raise NotImplementedError


class Student(Classifier, ABC):
    """A classifier of the literature, whose inner features methods match and compare."""

    smallest: ClassVar[tuple[int, int, int]] = (1, 1, 1)
    """Smallest T, H, W that leave something after all pooling."""
    classifier: nn.Linear | nn.Conv3d
    """The last layer: D features to L logits."""

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B,L)."""
        return self._head(self._run(clips))

    def features(self, clips: Tensor) -> Tensor:
        """Return (B,D): what the last layer sees, averaged over the positions that are left."""
        return self._run(clips).flatten(2).mean(2)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits (B,L) of features (B,D), up to rounding those of their clips."""
        return self._head(features[:, :, None, None, None])

    def embed(self, clips: Tensor) -> Tensor:
        """Return (B, D t h w): what the last layer sees at all positions that are left, flattened; no dropout."""
        return self._run(clips).flatten(1)

    def maps_and_logits(self, clips: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the output of every stage before its pooling, each (B,C,t,h,w), and logits (B,L)."""
        maps: list[Tensor] = []
        logits = self._head(self._run(clips, maps))
        return maps, logits

    @abstractmethod
    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        """Take (B,3,T,H,W) to (B,D,t,h,w), adding each stage's output to `maps`."""

    def _head(self, body: Tensor) -> Tensor:
        """Take (B,D,t,h,w) to logits (B,L)."""
        logits: Tensor = self.classifier(body.flatten(2).mean(2))
        return logits

    def _run(self, clips: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        if clips.ndim != 5 or clips.shape[2] != 3:
            raise InputError(
                f"clips is {tuple(clips.shape)}; a student takes normalized float clips (B,T,3,H,W): permute them"
            )
        check_size((clips.shape[1], clips.shape[3], clips.shape[4]), type(self))
        return self._body(_channels_last(clips.transpose(1, 2)), maps)


def survives(size: tuple[int, int, int], kind: type[Student]) -> bool:
    """Return whether clips of `size` (T,H,W) survive the student's pooling."""
    return all(side >= least for side, least in zip(size, kind.smallest, strict=True))


def check_size(size: tuple[int, int, int], kind: type[Student]) -> None:
    """Raise unless clips of `size` (T,H,W) survive the student's pooling."""
    if not survives(size, kind):
        frames, height, width = kind.smallest
        raise InputError(
            f"clips of {size[0]} frames at {size[1]}x{size[2]} px are too small for {kind.__name__}, which pools "
            f"them away; it needs at least {frames} frames at {height}x{width} px (--frames, --size), "
            f"or student 'framenet2d'"
        )


class FrameConv3d(nn.Conv3d):
    """The (3,7,7) convolution of stride (1,2,2) and padding (1,3,3) of the literature's students."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, (3, 7, 7), (1, 2, 2), (1, 3, 3))

    def forward(self, volume: Tensor) -> Tensor:
        """Take (B,C,T,H,W) to (B,C',T,ceil(H/2),ceil(W/2)), with channels last in memory on a CPU.

        Weights stay contiguous in the module (files and flattened parameters need that); converting them at each call
        costs less than it saves.
        """
        weight = _channels_last(self.weight)
        if min(volume.shape[2:]) >= _LEAST_BFLOAT16:
            return functional.conv3d(volume, weight, self.bias, self.stride, self.padding)
        with torch.autocast("cpu", enabled=False):
            return functional.conv3d(volume.to(weight.dtype), weight, self.bias, self.stride, self.padding)


# PyTorch 2.13 (oneDNN) on CPUs with bfloat16 computes garbage, NaN or out-of-bounds writes in the weight gradients of
# bfloat16 convolutions on maps of 1 or 2 positions a side, so those run in float32
# (`test_bfloat16_gradients_of_the_convolution`).
_LEAST_BFLOAT16 = 3


def _channels_last(volume: Tensor) -> Tensor:
    on_cpu = volume.device.type == "cpu"
    return volume.contiguous(memory_format=torch.channels_last_3d) if on_cpu else volume


def _pooled(volume: Tensor, pool: tuple[int, int, int], maps: list[Tensor] | None) -> Tensor:
    """Return ReLU and max-pool of (B,C,t,h,w), keeping the ReLU's output in `maps`."""
    with torch.autocast("cpu", enabled=False):  # autocast would pool a float32 copy: the same values, more slowly
        if maps is None:  # the two commute, and the ReLU has less to do after the pool
            return functional.relu(functional.max_pool3d(volume, pool))
        maps.append(functional.relu(volume))
        return functional.max_pool3d(maps[-1], pool)


# Pools and channels of the three stages, as both protocols have them.
_POOLS = ((1, 2, 2), (2, 2, 2), (2, 2, 2))
_CHANNELS = (64, 128, 128)
# Three times halved rounding up, then halved rounding down: 43 px is the first side that leaves one cell.
_SMALLEST = (4, 43, 43)


class ConvNet3D(Student):
    """The student of VDSD, LVDD, PRISM and others: 3-64-128-128 without norm; 3,647,666 parameters at 50 classes.

    It ends in an average pool of 2 positions a side (1 where only 1 is left, as the literature has it up to 64 px),
    dropout 0.5, a 1x1x1 convolution and the maximum over the remaining time. Sides beyond 122 px leave several
    positions, which are averaged (our choice: the literature's code stops there).
    """

    smallest = _SMALLEST

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels = _scaled(width, *_CHANNELS)
        self.convs = nn.ModuleList(FrameConv3d(*pair) for pair in pairwise([3, *channels]))
        self.dropout = Dropout(0.5)
        self.classifier = nn.Conv3d(channels[-1], num_classes, 1)

    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        for conv, pool in zip(self.convs, _POOLS, strict=True):
            volume = _pooled(conv(volume), pool, maps)
        return functional.avg_pool3d(volume, [min(2, side) for side in volume.shape[2:]], stride=1)

    def _head(self, body: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # one position a side is below `_LEAST_BFLOAT16`
            logits: Tensor = self.classifier(self.dropout(body.to(self.classifier.weight.dtype)))
        return logits.mean((3, 4)).amax(2)


class MiniC3D(Student):
    """Video-DC's student: the convolutions of `ConvNet3D`, each with BatchNorm, then average pool, linear."""

    smallest = _SMALLEST

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        channels = _scaled(width, *_CHANNELS)
        self.convs = nn.ModuleList(FrameConv3d(*pair) for pair in pairwise([3, *channels]))
        self.norms = nn.ModuleList(nn.BatchNorm3d(each) for each in channels)
        self.dropout = Dropout(0.5)
        self.classifier = nn.Linear(channels[-1], num_classes)

    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        for conv, norm, pool in zip(self.convs, self.norms, _POOLS, strict=True):
            volume = _pooled(norm(conv(volume)), pool, maps)
        return volume.to(self.classifier.weight.dtype)  # means over positions in float32

    def _head(self, body: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(body.flatten(2).mean(2)))
        return logits


class _Factorized(nn.Sequential):
    """A 3-D convolution factorized: (1,k,k) in space, norm, ReLU, (3,1,1) in time (Tran et al. 2018, section 3.5)."""

    def __init__(self, channels: int, between: int, out: int, side: int, stride: tuple[int, int]) -> None:
        time, space = stride
        pad = side // 2
        super().__init__(
            nn.Conv3d(channels, between, (1, side, side), (1, space, space), (0, pad, pad), bias=False),
            nn.BatchNorm3d(between),
            nn.ReLU(),
            nn.Conv3d(between, out, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False),
        )


class _Residual(nn.Module):
    """Two convolutions with norm and a shortcut (He et al. 2016), which is projected where the shape changes."""

    def __init__(self, first: nn.Module, second: nn.Module, shortcut: nn.Module, *norms: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.shortcut, self.norms = first, second, shortcut, nn.ModuleList(norms)

    def forward(self, volume: Tensor) -> Tensor:
        inner = functional.relu(self.norms[0](self.first(volume)))
        return functional.relu(self.norms[1](self.second(inner)) + self.shortcut(volume))


class Projection3d(nn.Conv3d):
    """A 1x1x1 convolution of every `every`-th position, which a strided one would be.

    oneDNN writes out of bounds in the weight gradients of strided 1x1 convolutions with fewer than 8 channels, channels
    last, on processors with AVX2 alone (PyTorch 2.13): the process dies.
    """

    def __init__(self, channels: int, out: int, every: int) -> None:
        super().__init__(channels, out, 1, bias=False)
        self.every = every

    def forward(self, volume: Tensor) -> Tensor:
        """Take (B,C,T,H,W) to (B,C',ceil(T/every),ceil(H/every),ceil(W/every))."""
        step = self.every
        return functional.conv3d(volume[..., ::step, ::step, ::step], self.weight)


class Projection2d(nn.Conv2d):
    """The same of every second position of pictures."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 1, bias=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Take (B,C,H,W) to (B,C',ceil(H/2),ceil(W/2))."""
        return functional.conv2d(pictures[..., ::2, ::2], self.weight)


def _residual_3d(channels: int, out: int, stride: int) -> _Residual:
    # As many parameters as the full 3x3x3 kernel; the count of the block's first convolution serves both, as published.
    between = channels * out * 27 // (channels * 9 + 3 * out)
    first = _Factorized(channels, between, out, 3, (stride, stride))
    second = _Factorized(out, between, out, 3, (1, 1))
    projection = nn.Sequential(Projection3d(channels, out, stride), nn.BatchNorm3d(out))
    shortcut = nn.Identity() if stride == 1 and channels == out else projection
    return _Residual(first, second, shortcut, nn.BatchNorm3d(out), nn.BatchNorm3d(out))


class R2Plus1D18(Student):
    """R(2+1)D-18: 31,505,325 parameters at 400 classes (Tran et al. 2018, "A Closer Look at Spatiotemporal
    Convolutions").

    Its last stages see one or two frames, so on a CPU it runs in float32 under autocast too (see `_LEAST_BFLOAT16`).
    """

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        between, *widths = _scaled(width, 45, 64, 128, 256, 512)
        self.stem = nn.Sequential(_Factorized(3, between, widths[0], 7, (1, 2)), nn.BatchNorm3d(widths[0]), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(_residual_3d(channels, out, 2 if stage else 1), _residual_3d(out, out, 1))
            for stage, (channels, out) in enumerate(pairwise([widths[0], *widths]))
        )
        self.classifier = nn.Linear(widths[-1], num_classes)

    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            volume = self.stem(volume)
            for stage in self.stages:
                volume = stage(volume)
                if maps is not None:
                    maps.append(volume)
        return volume


def _residual_2d(channels: int, out: int) -> _Residual:
    shortcut = nn.Sequential(Projection2d(channels, out), nn.BatchNorm2d(out))
    first, second = nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.Conv2d(out, out, 3, 1, 1, bias=False)
    return _Residual(first, second, shortcut, nn.BatchNorm2d(out), nn.BatchNorm2d(out))


class FrameNet2D(Student):
    """A residual net of 8 layers on each frame; its features are averaged over frames, so their order is lost."""

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        widths = _scaled(width, 32, 64, 128, 256)
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.stages = nn.ModuleList(_residual_2d(*pair) for pair in pairwise(widths))
        self.classifier = nn.Linear(widths[-1], num_classes)

    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        frames = volume.shape[2]
        # Three stages each halve the sides after the stem did.
        small = min(volume.shape[3:]) < 16 * _LEAST_BFLOAT16
        with torch.autocast("cpu", enabled=False) if small else contextlib.nullcontext():
            flat: Tensor = self.stem(volume.transpose(1, 2).flatten(0, 1))
            for stage in self.stages:
                flat = stage(flat)
                if maps is not None:
                    maps.append(torch.unflatten(flat, 0, (-1, frames)).transpose(1, 2))
        return torch.unflatten(flat, 0, (-1, frames)).transpose(1, 2)


STUDENTS: dict[str, type[ConvNet3D | MiniC3D | R2Plus1D18 | FrameNet2D]] = {
    "convnet3d": ConvNet3D,
    "minic3d": MiniC3D,
    "r2plus1d18": R2Plus1D18,
    "framenet2d": FrameNet2D,
}


def check_student(name: str) -> None:
    """Raise unless `name` is one of `STUDENTS`."""
    check_known("unknown student", name, STUDENTS)


def build_student(
    name: str, num_classes: int, size: tuple[int, int, int], generator: torch.Generator, *, width: float = 1.0
) -> Student:
    """Build a fresh student of `STUDENTS` for L = `num_classes` >= 1 on the CPU, in training mode.

    `size` is (T,H,W) of its clips; raises `InputError` when they are too small for it. `generator` (CPU) draws every
    weight and the seed of the dropout masks. `width` > 0 is a factor on all channel counts; 1 is the published network.
    """
    check_student(name)
    if num_classes < 1:
        raise InputError(f"num_classes is {num_classes}; a student needs at least 1 class")
    if not 0 < width < math.inf:
        raise InputError(f"width is {width}; the factor on a student's channels must be a number above 0, such as 0.5")
    check_size(size, STUDENTS[name])
    # On the meta device the layers' own initialization draws nothing: the global random state stays as it is.
    with torch.device("meta"):
        student = STUDENTS[name](num_classes, width)
    student.to_empty(device="cpu")
    initialize(student, generator)
    return student


def initialize(student: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights from `generator`: uniform in +-1/sqrt(fan-in), as PyTorch and the literature do.

    Norms become the identity; dropout modules get a generator seeded from `generator`.
    """
    for module in student.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            with torch.no_grad():
                module.weight.uniform_(-bound, bound, generator=generator)
                if module.bias is not None:
                    module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.reset_parameters()
        elif isinstance(module, Dropout):
            seed = torch.randint(2**62, (), generator=generator)
            module.generator = torch.Generator().manual_seed(int(seed))


def _scaled(width: float, *channels: int) -> list[int]:
    return [max(1, round(each * width)) for each in channels]
