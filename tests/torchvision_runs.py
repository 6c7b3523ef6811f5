"""Scripts that need torchvision, in processes of their own: one for another torch would break transformers here.

    python torchvision_runs.py [--stub-operators]

exits with 0 where torchvision can be imported. With `--stub-operators`, the compiled operators that processors and
timm do not use are declared without any code: a wheel for CUDA can then be imported with a torch for the CPU.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

STUB = "--stub-operators"


def declare_operators() -> torch.library.Library | None:
    """Declare the operators where the command line says so, for as long as the result is kept."""
    if STUB not in sys.argv:
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def run_with_torchvision(script: str, *arguments: object, packages: tuple[str, ...] = ()) -> None:
    """Run a script of this folder, or skip where torchvision or another package is missing."""
    for name in ("torchvision", *packages):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}, which is not installed")
    flags = _flags()
    if flags is None:
        pytest.skip("torchvision cannot be imported")
    done = _run(script, *arguments, *flags)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def _flags() -> tuple[str, ...] | None:
    """Return the options with which torchvision can be imported; None where it cannot."""
    return next((flags for flags in ((), (STUB,)) if _run("torchvision_runs.py", *flags).returncode == 0), None)


def _run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


if __name__ == "__main__":
    library = declare_operators()
    import torchvision  # noqa: F401
