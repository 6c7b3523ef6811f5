"""A run in TensorBoard: the numbers that it reports of its steps, and decoded samples of its set."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from videocompressa.errors import InputError, how_to_install
from videocompressa.run import Watch
from videocompressa.synthetic import SyntheticSet, items_of

NOT_SHOWN = ("part", "parts", "worker_seconds")
NUM_SAMPLES = 16
"""Items, evenly over the set, whose keyframes are shown."""


@dataclass(frozen=True)
class Log:
    """Where progress goes: to the watch of the run and, with a folder, to TensorBoard."""

    folder: Path | None
    inner: Watch
    _writers: dict[int, Any] = field(default_factory=dict)
    _last: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Number of the run and last step of each phase."""

    def watch(self, step: str, *, done: float, total: float, **numbers: Any) -> None:
        """Report progress; a phase that begins again (the next student) is a further run of TensorBoard."""
        self.inner(step, done=done, total=total, **numbers)
        shown = {name: value for name, value in numbers.items() if name not in NOT_SHOWN}
        if self.folder is None or not shown:
            return
        number, last = self._last.get(step, (0, 0.0))
        number += done <= last
        self._last[step] = number, done
        for name, value in shown.items():
            self._writer(number).add_scalar(f"{step}/{name}", value, int(done))

    def samples(self, synthetic: SyntheticSet) -> None:
        """Show decoded keyframes of a set with its decoder; there must be a folder."""
        for row in torch.linspace(0, len(synthetic) - 1, min(NUM_SAMPLES, len(synthetic))).round().long().tolist():
            name = synthetic.classes[int(synthetic.hard_labels[row])]
            self._writer(0).add_images(f"samples/{row:05d} {name}", items_of(synthetic, [row]).keyframes()[0], 0)

    def close(self) -> None:
        """Write what is left."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, number: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if number not in self._writers:
            assert self.folder is not None
            self._writers[number] = SummaryWriter(str(self.folder / f"run-{number}"))
        return self._writers[number]


def check_log_dir(folder: Path | None) -> None:
    """Raise `InputError` when a folder was asked for, and TensorBoard is not installed."""
    if folder is not None and not importlib.util.find_spec("tensorboard"):
        raise InputError(f"--log-dir needs tensorboard; run: {how_to_install('tensorboard')}")


@contextmanager
def logged(folder: Path | None, watch: Watch) -> Iterator[Log]:
    """Give the log of a run."""
    check_log_dir(folder)
    log = Log(folder, watch)
    try:
        yield log
    finally:
        log.close()
