"""Named random streams: every draw belongs to a stream made from (seed, name), and none changes the global seed.

A stream is a `torch.Generator` on the CPU, seeded by SHA-256 of the run's seed and the stream's name, so adding a
draw to one stream never moves another one, and the same seed gives the same bytes on CPU.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch


@dataclass(frozen=True)
class Streams:
    """The random streams of one run."""

    seed: int
    """Any integer; runs with equal seeds draw equal numbers."""
    scope: str = ""
    """Path of names above this one, for streams inside a part of a run (see `child`)."""

    def generator(self, name: str) -> torch.Generator:
        """Return a fresh generator of the stream `name`; calling twice gives the same draws twice."""
        digest = hashlib.sha256(f"{self.seed}/{self.scope}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)

    def child(self, name: str) -> Self:
        """Return the streams of a part of the run, independent of this one's."""
        return replace(self, scope=f"{self.scope}/{name}")


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's own generators, which foreign modules draw from, by `generator`; afterwards they are as before."""
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield
