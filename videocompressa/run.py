"""Finished stages of a run, kept on disk so that the same command goes on from where it was.

A stage is a named computation whose result is a few tensors (a trained selector, a teacher). Its key is everything
the result depends on beside the training data, which the folder stands for. Equal key, equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

Watch = Callable[..., None]
"""`watch(step, **numbers)`: carries progress out of the silent core. `step` names the phase ("encode", "teacher",
...); `done` and `total` are always among the numbers."""


def watch_nothing(step: str, **numbers: float) -> None:
    """The watch of callers who do not look."""


@dataclass(frozen=True)
class Stages:
    """Where finished stages are kept; without a folder every stage is computed anew."""

    folder: Path | None = None
    clock: Callable[[], float] | None = None
    """Seconds, such as `time.perf_counter`: with it, a stage keeps how long it took."""
    recalled_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds that each stage which was found finished had taken: a run that reuses work can still tell its cost."""
    made: set[str] = field(default_factory=set)
    """Stages that this run made, whose seconds are its own: reading them back adds none."""

    def recall(self, name: str, key: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the tensors of stage `name` with this key from the folder, or make them and keep them.

        `key` holds JSON values only. A file that cannot be read is made again.
        """
        if self.folder is None:
            return make()
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        path = self.folder / f"{name}-{digest}.safetensors"
        try:
            return self._load(path)
        except (FileNotFoundError, SafetensorError):
            started, before = self._now(), sum(self.recalled_seconds.values())
            tensors = make()
            # What was recalled on the way is part of this stage's cost.
            seconds = self._now() - started + sum(self.recalled_seconds.values()) - before
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            whole = {key: tensor.contiguous() for key, tensor in tensors.items()}
            save_file(whole, temporary, {"seconds": repr(seconds)})
            temporary.replace(path)
            self.made.add(path.name)
        finally:
            temporary.unlink(missing_ok=True)
        return tensors

    def _load(self, path: Path) -> dict[str, Tensor]:
        with safe_open(path, framework="pt") as file:
            seconds = float((file.metadata() or {}).get("seconds", 0.0))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  the file is no mapping
        if path.name not in self.made:
            self.recalled_seconds[path.name] = seconds
        return tensors

    def _now(self) -> float:
        return 0.0 if self.clock is None else self.clock()


KEEP_NOTHING = Stages()
"""The stages of callers who have no folder."""
