"""The state of a training run in one file: weights that are trained, their moments, the losses so far, and the key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videocompressa.errors import InputError


def check_same_run(path: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raise `InputError`, naming what differs, unless both keys are equal."""
    differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    if differing:
        raise InputError(
            f"{path}: is of a run with other settings ({', '.join(differing)}); give the same ones to go on, "
            "--force to begin anew, or another -o"
        )


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run in one file, replaced at one go."""

    path: Path | None
    key: Mapping[str, Any]

    METADATA = "videocompressa"

    def restore(self, trained: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> list[float]:
        """Load the state where there is one, and return the losses so far."""
        if self.path is None or not self.path.is_file():
            return []
        try:
            with safe_open(self.path, framework="pt") as file:
                told = json.loads((file.metadata() or {}).get(self.METADATA, "{}"))
                check_same_run(self.path, self.key, told.get("key", {}))
                for name, weight in trained.items():
                    with torch.no_grad():
                        weight.copy_(file.get_tensor(f"weight/{name}"))
                    optimizer.state[weight] = {
                        "step": torch.tensor(float(len(told["losses"]))),
                        **{
                            moment: file.get_tensor(f"{moment}/{name}").to(weight.device)
                            for moment in ("exp_avg", "exp_avg_sq")
                        },
                    }
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise InputError(f"{self.path}: is no checkpoint that can be read; give --force to begin anew") from error
        return [float(loss) for loss in told["losses"]]

    def write(self, trained: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, losses: Sequence[float]) -> None:
        """Write the state under a temporary name, and rename it."""
        if self.path is None:
            return
        tensors: dict[str, Tensor] = {}
        for name, weight in trained.items():
            tensors[f"weight/{name}"] = weight.detach()
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}/{name}"] = optimizer.state[weight][moment]
        told = json.dumps({"key": self.key, "losses": list(losses)}, sort_keys=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, {self.METADATA: told})
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)
