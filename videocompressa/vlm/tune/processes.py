"""The processes that fine-tune together, and how gradients and results are combined."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

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


ALONE = ProcessGroup()
