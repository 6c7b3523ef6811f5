"""The numbers of a training run on disk: a json line a step, and TensorBoard where it is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from videocompressa.run import Watch
from videocompressa.vlm.tune.finetune import STEP


class MetricsLog:
    """A watch that also writes what training tells, and drops what an interrupted run wrote after its checkpoint.

    Parameters
    ----------
    folder:
        Gets `metrics.jsonl` (step, loss, lr, tokens) and, with `tensorboard`, a folder of that name.
    watch:
        Called with everything.
    step:
        Name of the phase that is written.
    tensorboard:
        Write for TensorBoard, too, if it is installed.
    """

    def __init__(self, folder: Path, watch: Watch, *, step: str = STEP, tensorboard: bool = True) -> None:
        self.path, self.watch, self.step = folder / "metrics.jsonl", watch, step
        self.events = folder / "tensorboard" if tensorboard and importlib.util.find_spec("tensorboard") else None
        self._writer: Any = None

    def __call__(self, step: str, **numbers: float) -> None:
        """Pass on, and write."""
        self.watch(step, **numbers)
        if step != self.step:
            return
        if "loss" not in numbers:
            self._begin(int(numbers["done"]))
            return
        at = int(numbers["done"])
        values = {name: value for name, value in numbers.items() if name not in ("done", "total")}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": at, **values}) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, at)

    def close(self) -> None:
        """Write out what is pending."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(self, done: int) -> None:
        """Keep the lines of the first `done` steps only."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
        whole = [line for line in lines if line.endswith("}")]  # A killed run may have left half a line.
        kept = [line for line in whole if json.loads(line)["step"] <= done]
        part = self.path.with_suffix(".part")
        part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        part.replace(self.path)
        if self.events is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.events), purge_step=done + 1)
