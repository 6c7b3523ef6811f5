"""Keyframes by rule: selectors that need no training, and the interface that the learned one shares."""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor

from videocompressa.errors import InputError
from videocompressa.video.motion import motion_positions


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

    def positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """Return positions (B,K) int64, rising in [0,T), for frames (B,T,3,H,W) uint8. Draws only where it must."""
        check_keyframes(keyframes, frames.shape[1])
        positions = self._positions(frames, keyframes, generator)
        return positions.expand(len(frames), -1).clone() if positions.ndim == 1 else positions

    @abstractmethod
    def _positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """Return positions (B,K), or (K,) where they are the same for every clip."""


class UniformSelector(Selector):
    """The middles of K equal spans of the T candidates."""

    def _positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        return ((torch.arange(keyframes) + 0.5) * frames.shape[1] / keyframes).floor().long()


class RandomSelector(Selector):
    """K distinct frames, all subsets equally likely."""

    def _positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        return top_k_positions(torch.rand(frames.shape[:2], generator=generator), keyframes)


class MiddleSelector(Selector):
    """The K neighboring frames around the middle of the clip."""

    def _positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        return (frames.shape[1] - keyframes) // 2 + torch.arange(keyframes)


class ShotSelector(Selector):
    """The middles of K shots: cuts where the color histogram changes most between neighboring frames.

    The rule of keyframe extractors without labels or training (color difference, as in shot detection since Zhang et
    al. 1993); always K shots, so that sets stay rectangular (our choice). Ties go to the earlier frame.
    """

    def _positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        rows = []
        for clip in frames:
            change = self._histograms(clip).diff(dim=0).abs().sum(1)
            edges = [0, *self._cuts(change, keyframes - 1), len(clip)]
            rows.append([(start + end - 1) // 2 for start, end in pairwise(edges)])
        return torch.tensor(rows, dtype=torch.int64).view(len(frames), keyframes)

    def _cuts(self, change: Tensor, count: int) -> list[int]:
        """Return the frames (count,), rising, that begin a shot, of changes (T-1,)."""
        if not count:
            return []
        least = change.sort(descending=True).values[count - 1]
        sure, tied = ((change > least).nonzero()[:, 0], (change == least).nonzero()[:, 0])
        missing = count - len(sure)
        spread = (torch.arange(missing) + 1) * len(tied) // (missing + 1)
        return (1 + torch.cat([sure, tied[spread]]).sort().values).tolist()

    def _histograms(self, clip: Tensor) -> Tensor:
        """Return (T,24) int64: how many pixels of (T,3,H,W) uint8 have each of 8 levels of each color."""
        level = clip.flatten(2).long() >> 5  # (T,3,HW)
        counts = torch.zeros(*clip.shape[:2], 8, dtype=torch.int64)
        return counts.scatter_add_(2, level, torch.ones_like(level)).flatten(1)


class MotionSelector(Selector):
    """The middles of K equal spans of the clip's motion (`video.motion`)."""

    def _positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        rows = [motion_positions(clip.numpy(), keyframes) for clip in frames]
        return torch.tensor(rows, dtype=torch.int64).view(len(frames), keyframes)


FIXED_SELECTORS: dict[str, type[Selector]] = {
    "uniform": UniformSelector,
    "random": RandomSelector,
    "middle": MiddleSelector,
    "shots": ShotSelector,
    "motion": MotionSelector,
}
"""Selectors that need no training, by name."""

SELECTORS = ("gumbel", *FIXED_SELECTORS)
"""Every selector's name; "gumbel" is the learned one."""
