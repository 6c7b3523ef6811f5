"""The processes that fine-tune together: who I am, and how gradients and results are brought together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from videocompressa.errors import InputError


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _my_own(rows: list[Any]) -> list[Any]:
    return rows


@dataclass(frozen=True)
class Team:
    """One process of those that fine-tune together; alone by default."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    size: int = 1
    mean: Callable[[Tensor], Tensor] = _as_it_is
    """The mean of a tensor over all processes."""
    gather: Callable[[list[Any]], list[Any]] = _my_own
    """The lists of all processes as one, in the order of their ranks."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise InputError(f"rank {self.rank} leaves [0,{self.size})")

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, in place and at one go."""
        if self.size == 1:
            return
        flat = self.mean(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))
