"""What the parts of a run share: named random streams, the device, progress, and finished stages on disk.

A stage is a named computation whose result is a few tensors (a trained selector, a teacher). Its key is everything the
result depends on apart from the training data, which determines the folder. Equal key, equal bytes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videocompressa.files import atomic_path
from videocompressa.rng import Streams

Watch = Callable[..., None]
"""`watch(step, **numbers)`: carries progress out of the silent core. `step` names the phase ("encode", "teacher",
...); `done` and `total` are always among the numbers, `part` (from 1) and `parts` where the phase is one of several."""

Compute = Callable[[], dict[str, Tensor]]
"""Computes the tensors of a stage."""


def watch_nothing(step: str, **numbers: float) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Stages:
    """Where finished stages are kept; without a folder every stage is computed again."""

    folder: Path | None = None
    clock: Callable[[], float] = lambda: 0.0
    """Seconds, such as `time.perf_counter`: with it, a stage keeps how long it took."""
    recalled_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds that each stage read from the folder took when it was computed: the cost of a run that reuses work."""
    computed: set[str] = field(default_factory=set)
    """Stages that this run computed, whose seconds are its own: reading them back adds none."""

    def recall(self, name: str, key: Mapping[str, Any], compute: Compute) -> dict[str, Tensor]:
        """Return the tensors of stage `name` with this key from the folder, or compute and keep them.

        `key` holds JSON values only. A file that cannot be read is computed again.
        """
        if self.folder is None:
            return compute()
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        path = self.folder / f"{name}-{digest}.safetensors"
        with suppress(FileNotFoundError, SafetensorError), safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  the file is no mapping
            if path.name not in self.computed:
                self.recalled_seconds[path.name] = float((file.metadata() or {}).get("seconds", 0.0))
            return tensors
        started, before = self.clock(), sum(self.recalled_seconds.values())
        tensors = compute()
        # The seconds of stages recalled on the way are part of this stage's cost.
        seconds = self.clock() - started + sum(self.recalled_seconds.values()) - before
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part, {"seconds": repr(seconds)})
        self.computed.add(path.name)
        return tensors


@dataclass(frozen=True)
class Run:
    """What every part of one run is given: random streams, device, progress and finished stages."""

    streams: Streams
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    watch: Watch = watch_nothing
    stages: Stages = Stages()

    def child(self, name: str) -> Self:
        """Return the run of a part, with random streams of its own."""
        return replace(self, streams=self.streams.child(name))

    def part(self, number: int, total: int) -> Self:
        """Return the run of number `number` (from 0) of `total` equal parts; reports of progress carry both."""
        return self if total == 1 else replace(self, watch=partial(self.watch, part=number + 1, parts=total))

    def generator(self, name: str) -> torch.Generator:
        """Return a fresh generator of the stream `name`."""
        return self.streams.generator(name)

    def recall(self, name: str, key: Mapping[str, Any], compute: Compute) -> dict[str, Tensor]:
        """Return a finished stage, or compute and keep it; the seed and scope of the streams are part of its key."""
        return self.stages.recall(name, {**key, "seed": [self.streams.seed, self.streams.scope]}, compute)
