"""What every verb takes besides its own options: how to run, and how to report."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from videocompressa.errors import InputError
from videocompressa.recipes.options import Surroundings

if TYPE_CHECKING:
    from videocompressa.run import Watch

CACHE_VARIABLE = "VIDEOCOMPRESSA_CACHE"

RUNNING = Group("Running", sort_key=90)
REPORTING = Group("Reporting", sort_key=91)


@dataclass(frozen=True)
class Running:
    """How to run."""

    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(group=RUNNING)] = "auto"
    """Where networks run; auto takes a GPU when there is one."""
    threads: Annotated[int | None, Parameter(group=RUNNING)] = None
    """Threads of the networks on a CPU; all cores when not given."""
    workers: Annotated[int | None, Parameter(group=RUNNING)] = None
    """Processes that decode videos; one a core when not given, 0 decodes in this process."""
    cache: Annotated[Path | None, Parameter(group=RUNNING)] = None
    """Folder that keeps candidates and finished stages, so that the same command resumes;
    $VIDEOCOMPRESSA_CACHE or the user's cache folder when not given. It may be deleted."""

    def surroundings(self, watch: Watch) -> Surroundings:
        """Look up what the machine has."""
        import torch

        if self.threads is not None:
            if self.threads < 1:
                raise InputError(f"--threads is {self.threads}; it must be at least 1")
            torch.set_num_threads(self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: this machine has no GPU that torch can use; give --device cpu")
        kind = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        return Surroundings(
            cache=self.cache or default_cache(),
            device=torch.device(kind),
            workers=(os.cpu_count() or 1) if self.workers is None else self.workers,
            clock=time.perf_counter,
            watch=watch,
        )


@dataclass(frozen=True)
class Reporting:
    """How to report."""

    quiet: Annotated[bool, Parameter(group=REPORTING, negative="")] = False
    """No progress and no notes on stderr; errors are still printed."""
    json: Annotated[bool, Parameter(group=REPORTING, negative="")] = False
    """Print exactly one JSON object on stdout."""


def default_cache() -> Path:
    """Return the cache folder when none is given."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "videocompressa"
