"""What the parts of a run share: named random streams, the device, progress, and finished stages on disk.

A stage is a named computation whose result is a few tensors (a trained selector, a teacher). Its key is everything the
result depends on apart from the training data, which determines the folder. Equal key, equal bytes. A loop of a stage
that is `Run.steps` leaves a checkpoint now and then, from which a killed run goes on; a finished stage removes it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videocompressa import checkpoint
from videocompressa.errors import DivergedError
from videocompressa.files import atomic_path
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.rng import Streams

Watch = Callable[..., None]
"""`watch(step, **numbers)`: carries progress out of the silent core. `step` names the phase ("encode", "teacher",
...); `done` and `total` are always among the numbers, `part` (from 1) and `parts` where the phase is one of several,
and "decode" has the mapping `worker_seconds`."""

Compute = Callable[[], dict[str, Tensor]]
"""Computes the tensors of a stage."""


_READ_EVERY = 10
"""Steps of a loop between two readings of its loss."""
_SECONDS_BETWEEN = 30.0
"""Between two checkpoints of a loop, ..."""
_MOST_SHARE = 0.05
"""... and the largest share of its time that they take."""


def watch_nothing(step: str, **numbers: float) -> None:
    """Ignore progress."""


def is_read(step: int, total: int) -> bool:
    """Return whether a loop of `total` steps reads its loss at this one, from 0; the last step is always read.

    A reading waits for the device. A sum of losses stays infinite or NaN: one reading covers all steps before it.
    """
    return step % _READ_EVERY == _READ_EVERY - 1 or step == total - 1


def check_finite(number: Tensor, message: str) -> None:
    """Raise `DivergedError` with this message unless the number is finite; waits for the device."""
    if not bool(torch.isfinite(number)):
        raise DivergedError(message)


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

    seconds_between: float = _SECONDS_BETWEEN
    """Between two checkpoints of a loop, by `clock`; more where one takes over a twentieth of that."""
    in_work: list[Path] = field(default_factory=list)
    """The stages that are being computed, the innermost last."""

    def recall(self, name: str, key: Mapping[str, Any], compute: Compute) -> dict[str, Tensor]:
        """Return the tensors of stage `name` with this key from the folder, or compute and keep them.

        `key` holds JSON values only. A file that cannot be read is computed again.
        """
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}-{key_sha256(key)[:16]}.safetensors"
        with suppress(FileNotFoundError, SafetensorError), safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  the file is no mapping
            if path.name not in self.computed:
                self.recalled_seconds[path.name] = float((file.metadata() or {}).get("seconds", 0.0))
            return tensors
        started = self.worked_seconds()
        with self._being_computed(path):
            tensors = compute()
        seconds = self.worked_seconds() - started
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part, {"seconds": repr(seconds)})
        _remove_checkpoints(path)
        self.computed.add(path.name)
        return tensors

    def worked_seconds(self) -> float:
        """Return a time by `clock` to which the seconds of recalled work are added: that is part of a stage's cost."""
        return self.clock() + sum(self.recalled_seconds.values())

    @contextmanager
    def _being_computed(self, path: Path) -> Iterator[None]:
        """Let loops keep checkpoints for a stage; those of one that diverged are of no use."""
        self.in_work.append(path)
        try:
            yield
        except DivergedError:
            _remove_checkpoints(path)
            raise
        finally:
            self.in_work.pop()

    @contextmanager
    def until_done(self, name: str, key: Mapping[str, Any]) -> Iterator["Stages"]:
        """Give stages of a piece of work whose result is kept elsewhere: they go when the block ends without error."""
        if self.folder is None:
            yield self
            return
        folder = self.folder / f"{name}-{key_sha256(key)[:16]}"
        yield replace(self, folder=folder)
        shutil.rmtree(folder, ignore_errors=True)

    def steps(self, name: str, total: int, parts: Mapping[str, checkpoint.Part]) -> Iterator[int]:
        """Yield the steps of a loop of the stage that is being computed: those that no run before has done.

        `parts` are all that the steps change; the checkpoint is loaded into them before the first step. Outside of a
        stage all steps are done.
        """
        path = self.in_work[-1].with_suffix(f".{name}.checkpoint") if self.in_work else None
        stored = {} if path is None else checkpoint.load(path, parts)
        before = float(stored.get("seconds", 0.0))
        if path is not None and stored:
            self.recalled_seconds[path.name] = before
        started = last = self.clock()
        pause = self.seconds_between
        for step in range(stored.get("done", 0), total):
            yield step
            if path is None or step == total - 1 or (now := self.clock()) - last < pause:
                continue
            checkpoint.save(path, parts, done=step + 1, seconds=before + now - started)
            last = self.clock()
            pause = max(self.seconds_between, (last - now) / _MOST_SHARE)


def key_sha256(key: Any) -> str:
    """Return the hash of JSON values, by which what depends on them is kept."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _remove_checkpoints(path: Path) -> None:
    for leftover in path.parent.glob(f"{path.stem}.*.checkpoint"):
        leftover.unlink(missing_ok=True)


@dataclass(frozen=True)
class Run:
    """What every part of one run is given: random streams, device, progress and finished stages."""

    streams: Streams
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    watch: Watch = watch_nothing
    stages: Stages = Stages()
    group: ProcessGroup = ALONE
    """The processes that run the same together: they share teachers, experts and steps of the synthesis, by stages of
    one folder."""

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

    def steps(self, name: str, total: int, parts: Mapping[str, checkpoint.Part]) -> Iterator[int]:
        """Yield the steps of a loop; see `Stages.steps`."""
        return self.stages.steps(name, total, parts)
