"""Keyframes by rule: selectors that need no training, and the interface that the learned one shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from videocompressa.errors import InputError


def check_keyframes(keyframes: int, num_frames: int) -> None:
    """Raise unless 1 <= K <= T."""
    if not 1 <= keyframes <= num_frames:
        raise InputError(
            f"--keyframes is {keyframes}, but a clip has {num_frames} candidate frames; "
            f"choose 1 to {num_frames}, or more candidates with --frames"
        )


def top_k_positions(scores_BT: Tensor, keyframes: int) -> Tensor:
    """Return the positions (B,K) int64 of the K best scores, in time order; ties go to the earlier frame."""
    check_keyframes(keyframes, scores_BT.shape[1])
    return scores_BT.sort(dim=1, descending=True, stable=True).indices[:, :keyframes].sort(1).values


class Selector(ABC):
    """Picks K of T candidate frames of each clip."""

    @abstractmethod
    def positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """Return positions (B,K) int64, rising in [0,T), for frames (B,T,3,H,W) uint8. Draws only where it must."""


class UniformSelector(Selector):
    """The middles of K equal spans of the T candidates."""

    def positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """See `Selector.positions`."""
        num_clips, num_frames = frames.shape[:2]
        check_keyframes(keyframes, num_frames)
        row = ((torch.arange(keyframes) + 0.5) * num_frames / keyframes).floor().long()
        return row.expand(num_clips, -1).clone()


class RandomSelector(Selector):
    """K distinct frames, all subsets alike likely."""

    def positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """See `Selector.positions`."""
        num_clips, num_frames = frames.shape[:2]
        check_keyframes(keyframes, num_frames)
        return top_k_positions(torch.rand((num_clips, num_frames), generator=generator), keyframes)


class MiddleSelector(Selector):
    """The K neighboring frames around the middle of the clip."""

    def positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """See `Selector.positions`."""
        num_clips, num_frames = frames.shape[:2]
        check_keyframes(keyframes, num_frames)
        return ((num_frames - keyframes) // 2 + torch.arange(keyframes)).expand(num_clips, -1).clone()


class ShotSelector(Selector):
    """The middles of K shots: cuts where the color histogram changes most between neighboring frames.

    What keyframe extractors do without labels or training (color difference, as in shot detection since Zhang et al.
    1993); always K shots, so that sets stay rectangular (our choice). Ties go to the earlier frame.
    """

    bins = 8

    def positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """See `Selector.positions`."""
        num_frames = frames.shape[1]
        check_keyframes(keyframes, num_frames)
        rows = []
        for clip in frames:
            change = self.histograms(clip).diff(dim=0).abs().sum(1)
            cuts = 1 + change.sort(descending=True, stable=True).indices[: keyframes - 1].sort().values
            edges = [0, *cuts.tolist(), num_frames]
            rows.append([(start + end - 1) // 2 for start, end in pairwise(edges)])
        return torch.tensor(rows, dtype=torch.int64).view(len(frames), keyframes)

    def histograms(self, clip: Tensor) -> Tensor:
        """Return (T,3*bins) int64 counts of each color of (T,3,H,W) uint8."""
        level = (clip.flatten(2).long() * self.bins) >> 8  # (T,3,HW)
        counts = torch.zeros(*clip.shape[:2], self.bins, dtype=torch.int64)
        return counts.scatter_add_(2, level, torch.ones_like(level)).flatten(1)


FIXED_SELECTORS: dict[str, Callable[[], Selector]] = {
    "uniform": UniformSelector,
    "random": RandomSelector,
    "middle": MiddleSelector,
    "shots": ShotSelector,
}
"""Selectors that need no training, by name."""

SELECTORS = ("gumbel", *FIXED_SELECTORS)
"""Every selector's name; "gumbel" is the learned one."""


def check_selector(name: str, known: tuple[str, ...] = SELECTORS) -> None:
    """Raise when no selector has this name."""
    if name not in known:
        raise InputError(f"unknown selector {name!r}; known: {', '.join(known)}")
