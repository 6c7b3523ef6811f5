"""LVDD: real clips as latents, chosen for diversity, packed by one Tucker decomposition; no gradients.

1. Z (M,D): of each class, the codec's scaled latents of its M clips, flattened; all T frames, or K uniform ones.
2. Choose n clips of each class: a k-DPP sample ("DAPS"), k-means or random. For the k-DPP each cell is standardized
   over the training clips, and the kernel is exp(-||z_i - z_j||).
3. Pack the n x L latents by a truncated Tucker decomposition (`packing/tucker.py`), ratio 0.75 on T, h and w.
4. n is as many as fit in the budget's bytes; where none are given, it is VPC.
5. Hard labels, or soft ones of a teacher that sees the unpacked clips.

Li et al. 2025, "Latent Video Dataset Distillation", arXiv 2504.17132. The text's kernel is
exp(-||z_i - z_j||^2 / (2 sigma^2)) without a sigma, the code's exp(-||z_i - z_j||), which on real latents is the
identity (a uniform draw): `kernel` is "paper" (as coded) or "scaled" (the text's, sigma the median distance). Our
choice: n by bytes of the file; k-means takes the clip nearest each of n centroids; any of our codecs.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from videocompressa.artifact.packing import tucker
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import check_known, check_within
from videocompressa.methods.config import MethodConfig
from videocompressa.run import Run
from videocompressa.selection.keyframes import UniformSelector, check_keyframes
from videocompressa.selection.videos import FeaturesOf
from videocompressa.synthetic import Budget, SyntheticSet

SELECTIONS, FRAMES = ("dpp", "k-means", "random"), ("all", "keyframes")
KERNELS = {"paper": "dpp", "scaled": "dpp-scaled"}
"""Kernels of the k-DPP, and the rule of `selection.SUBSETS` that has each."""
CHUNK = 64
"""Clips read at a time for the moments of cells."""


@dataclass(frozen=True)
class LvddConfig(MethodConfig):
    """Settings of LVDD; the defaults are the published ones."""

    select: str = "dpp"
    """"dpp" (k-DPP sample), "k-means" or "random"."""
    kernel: str = "paper"
    """Kernel of the k-DPP: "paper" (as coded: the identity on real latents) or "scaled" (median bandwidth)."""
    frames: str = "all"
    """"all" keeps the T candidates of a clip, "keyframes" K uniform ones."""
    ratio: float = 0.75
    """Share in (0,1] of frames, height and width that the decomposition keeps."""
    fills_bytes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("select is", self.select, SELECTIONS)
        check_known("kernel is", self.kernel, KERNELS)
        check_known("frames is", self.frames, FRAMES)
        check_within(self, "", ratio="(0,1]")

    @property
    def reads_all_latents(self) -> bool:
        """See `MethodConfig.reads_all_latents`."""
        return self.select != "random" or super().reads_all_latents

    @property
    def name(self) -> str:
        """Name of the method in the file."""
        if self.select != "dpp":
            return f"lvdd-{self.select}"
        return "lvdd" if self.kernel == "paper" else f"lvdd-{self.kernel}"

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return Tucker-packed latents of as many real clips a class as `budget.file_bytes` holds, else of VPC."""
        num_frames = train_data.clip.num_frames
        check_keyframes(budget.keyframes, num_frames)
        keyframes = num_frames if self.frames == "all" else budget.keyframes
        kept = UniformSelector().positions(train_data.frames[:1], keyframes, run.generator("keyframes"))[0]
        rows = self._choose_clips(train_data, kept, budget, run)
        latents = train_data.latents[rows][:, kept].float()
        packed = tucker.pack(latents, self.ratio)
        positions = kept.expand(len(rows), -1).contiguous()
        synthetic = self.gather(train_data, rows, positions, codec, run, tucker.unpack(packed, tuple(latents.shape)))
        synthetic = dataclasses.replace(synthetic, packing="tucker", packed=packed)
        return self.relabel(synthetic, self.train_teachers(train_data, codec, keyframes, run), run)

    def _choose_clips(self, train_data: Candidates, kept: Tensor, budget: Budget, run: Run) -> Tensor:
        """Steps 2 and 4: rows (N,) of the chosen clips, n of each class."""
        dpp = self.select == "dpp"
        features = None if self.select == "random" else _cell_features(train_data, kept, standardize=dpp)
        rule = KERNELS[self.kernel] if dpp else self.select

        def size(rows: Tensor) -> int:
            packed = tucker.blank((len(rows), len(kept), *train_data.latents.shape[2:]), self.ratio)
            return self.file_bytes(train_data, rows, kept, run, "tucker", packed)

        advice = ", or --set ratio or --set frames=keyframes for smaller clips"
        return self.rows_within(train_data, budget, rule, size, run, features=features, advice=advice)


def _cell_features(train_data: Candidates, kept: Tensor, *, standardize: bool) -> FeaturesOf:
    """Step 1: return what gives the flattened latents (M,D) float64 of some clips; a class is read at a time."""
    shift, scale = _moments(train_data, kept) if standardize else (torch.zeros(()), torch.ones(()))
    return lambda rows: ((train_data.latents[rows][:, kept].double() - shift) / scale).flatten(1)


def _moments(train_data: Candidates, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (K,C,h,w) float64 of each latent cell over the training clips; never 0."""
    chunks = torch.split(torch.arange(len(train_data)), CHUNK)
    mean, squares = torch.zeros((2, len(kept), *train_data.latents.shape[2:]), dtype=torch.float64)
    for rows in chunks:
        mean += train_data.latents[rows][:, kept].double().sum(0) / len(train_data)
    for rows in chunks:
        squares += (train_data.latents[rows][:, kept].double() - mean).square().sum(0)
    deviation = (squares / len(train_data)).sqrt()
    return mean, torch.where(deviation > 0, deviation, 1.0)
