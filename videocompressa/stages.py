"""Finished stages of a run, kept on disk so that the same command goes on from where it was.

A stage is a named computation whose result is a few tensors (a trained selector, a teacher). Its key is everything
the result depends on beside the training data, which the folder stands for. Equal key, equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Stages:
    """Where finished stages are kept; without a folder every stage is computed anew."""

    folder: Path | None = None

    def recall(self, name: str, key: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the tensors of stage `name` with this key from the folder, or make them and keep them.

        `key` holds JSON values only. A file that cannot be read is made again.
        """
        if self.folder is None:
            return make()
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        path = self.folder / f"{name}-{digest}.safetensors"
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
            tensors = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return tensors


KEEP_NOTHING = Stages()
"""The stages of callers who have no folder."""
