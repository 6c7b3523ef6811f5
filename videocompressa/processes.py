"""The processes that torchrun starts to train together, and how gradients and results are combined."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from videocompressa.errors import InputError

Value = TypeVar("Value")


@dataclass(frozen=True)
class ProcessGroup:
    """One process of a group; alone by default."""

    rank: int = 0
    size: int = 1
    mean: Callable[[Tensor], Tensor] = lambda tensor: tensor
    """The mean of a tensor over all processes."""
    gather: Callable[[list[Any]], list[Any]] = lambda values: values
    """The lists of all processes as one, in the order of their ranks."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise InputError(f"rank {self.rank} leaves [0,{self.size})")

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when every process has come here."""
        self.gather([])

    def main_first(self, compute: Callable[[], Value]) -> Value:
        """Compute in the main process first; the others then find it in the cache, one after another."""
        results = []
        for rank in range(self.size):
            if rank == self.rank:
                results.append(compute())
            self.wait()
        return results[0]

    def share(self, count: int, work: Callable[[int], object]) -> None:
        """Do every `size`-th of so many pieces of work, whose results are kept as stages, and wait for the others'.

        One process alone does nothing: who takes the results computes them.
        """
        if self.size > 1:
            for number in range(self.rank, count, self.size):
                work(number)
            self.wait()


ALONE = ProcessGroup()


def started_by_torchrun(device: torch.device) -> tuple[ProcessGroup, torch.device]:
    """Return the processes that torchrun started, connected, and this one's device; or this one alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size < 2:
        return ALONE, device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def mean(tensor: Tensor) -> Tensor:
        total = tensor.to(device)
        distributed.all_reduce(total)
        return (total / size).to(tensor.device)

    def gather(values: list[Any]) -> list[Any]:
        parts: list[list[Any]] = [[]] * size
        distributed.all_gather_object(parts, values)
        return [value for part in parts for value in part]

    return ProcessGroup(distributed.get_rank(), size, mean, gather), device
