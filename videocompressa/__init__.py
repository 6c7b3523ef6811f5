"""Turn a folder of labelled videos into one tiny file that trains models as well as all the videos did.

`load` opens a set file; `SyntheticSet.as_dataset()` is what a PyTorch `DataLoader` takes. Names are imported when they
are first used, so that `import videocompressa` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videocompressa.artefact import measure, write_set
    from videocompressa.clip import Candidates, Clip, ClipSpec
    from videocompressa.datasets import encode_pass, find_videos
    from videocompressa.errors import InputError
    from videocompressa.methods import METHODS
    from videocompressa.recipes.compress import compress_folder
    from videocompressa.recipes.export import check_export, export_set
    from videocompressa.recipes.finetune import finetune_on
    from videocompressa.recipes.keyframes import extract_keyframes
    from videocompressa.recipes.sets import open_set as load
    from videocompressa.recipes.train import train_on
    from videocompressa.synthetic import Allowance, Budget, SyntheticSet
    from videocompressa.vae import build_codec

__version__ = "0.1.0"

_PUBLIC = {
    "METHODS": ("methods", "METHODS"),
    "Allowance": ("synthetic", "Allowance"),
    "Budget": ("synthetic", "Budget"),
    "Candidates": ("clip", "Candidates"),
    "Clip": ("clip", "Clip"),
    "ClipSpec": ("clip", "ClipSpec"),
    "InputError": ("errors", "InputError"),
    "SyntheticSet": ("synthetic", "SyntheticSet"),
    "build_codec": ("vae", "build_codec"),
    "check_export": ("recipes.export", "check_export"),
    "compress_folder": ("recipes.compress", "compress_folder"),
    "encode_pass": ("datasets", "encode_pass"),
    "export_set": ("recipes.export", "export_set"),
    "extract_keyframes": ("recipes.keyframes", "extract_keyframes"),
    "find_videos": ("datasets", "find_videos"),
    "finetune_on": ("recipes.finetune", "finetune_on"),
    "load": ("recipes.sets", "open_set"),
    "measure": ("artefact", "measure"),
    "train_on": ("recipes.train", "train_on"),
    "write_set": ("artefact", "write_set"),
}
"""Where each public name lives."""

__all__ = [
    "METHODS",
    "Allowance",
    "Budget",
    "Candidates",
    "Clip",
    "ClipSpec",
    "InputError",
    "SyntheticSet",
    "__version__",
    "build_codec",
    "check_export",
    "compress_folder",
    "encode_pass",
    "export_set",
    "extract_keyframes",
    "find_videos",
    "finetune_on",
    "load",
    "measure",
    "train_on",
    "write_set",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'videocompressa' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(f"videocompressa.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
