"""What a training run keeps on disk to resume: a checkpoint, and the numbers of each step."""

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videocompressa import checkpoint
from videocompressa.errors import InputError
from videocompressa.files import write_text
from videocompressa.run import Watch


def check_same_run(path: Path, ours: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Raise `InputError` with the names of what differs, unless both keys are equal."""
    differing = sorted(name for name in {*ours, *stored} if ours.get(name) != stored.get(name))
    if differing:
        raise InputError(
            f"{path}: is of a run with other settings ({', '.join(differing)}); give the same ones to resume, "
            "--force to start again, or another -o"
        )


@dataclass(frozen=True)
class Checkpoint:
    """Trained weights, their moments and the losses so far in one file, which is replaced at once."""

    path: Path
    key: Mapping[str, Any]
    """All that the result depends on (JSON values); only a run with the same key resumes."""

    def restore(self, trained: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> list[float]:
        """Load the state if there is one, and return the losses so far."""
        if not self.path.is_file():
            return []
        stored = checkpoint.load(
            self.path,
            {**trained, "optimizer": optimizer},
            check=lambda values: check_same_run(self.path, self.key, values["key"]),
        )
        if not stored:
            raise InputError(f"{self.path}: is no readable checkpoint; give --force to start again")
        return list(stored["losses"])

    def write(self, trained: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, losses: Sequence[float]) -> None:
        """Write the state."""
        checkpoint.save(self.path, {**trained, "optimizer": optimizer}, key=self.key, losses=list(losses))


@contextmanager
def metrics_log(folder: Path, watch: Watch) -> Iterator[Watch]:
    """Give a watch that also writes what `train_vlm` reports to `metrics.jsonl`, and to TensorBoard where installed.

    Its first call drops what an interrupted run wrote after its checkpoint.
    """
    path = folder / "metrics.jsonl"
    with ExitStack() as stack:
        writers: list[Any] = []

        def log(phase: str, *, done: int, total: int, **values: float) -> None:
            watch(phase, done=done, total=total, **values)
            if not values:
                _drop_steps_after(path, done)
                if importlib.util.find_spec("tensorboard"):
                    from torch.utils.tensorboard import SummaryWriter

                    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
                    writers.append(stack.enter_context(writer))
                return
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": done, **values}) + "\n")
            for writer in writers:
                for name, value in values.items():
                    writer.add_scalar(name, value, done)

        yield log


def _drop_steps_after(path: Path, last: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    complete = [line for line in lines if line.endswith("}")]  # A killed run may have left half a line.
    write_text(path, "".join(f"{line}\n" for line in complete if json.loads(line)["step"] <= last))
