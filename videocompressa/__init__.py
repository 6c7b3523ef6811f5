"""Turn a folder of labeled videos into one small file that trains models.

`load` opens a set file; `SyntheticSet.as_dataset()` is what a PyTorch `DataLoader` takes. Names are imported when they
are first used, so that `import videocompressa` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videocompressa.artifact import measure as measure
    from videocompressa.artifact import write_set as write_set
    from videocompressa.clip import Candidates as Candidates
    from videocompressa.clip import Clip as Clip
    from videocompressa.clip import ClipSpec as ClipSpec
    from videocompressa.codecs import build_codec as build_codec
    from videocompressa.datasets import encode_pass as encode_pass
    from videocompressa.datasets import find_videos as find_videos
    from videocompressa.errors import InputError as InputError
    from videocompressa.methods import METHODS as METHODS
    from videocompressa.recipes.compress import compress_folder as compress_folder
    from videocompressa.recipes.keyframes import extract_keyframes as extract_keyframes
    from videocompressa.recipes.predict import predict_videos as predict_videos
    from videocompressa.recipes.push import pull_set as pull_set
    from videocompressa.recipes.push import push_set as push_set
    from videocompressa.recipes.sets import open_set as load  # noqa: F401
    from videocompressa.recipes.train import fit_module as fit  # noqa: F401
    from videocompressa.recipes.train import train_on as train_on
    from videocompressa.synthetic import Budget as Budget
    from videocompressa.synthetic import Cost as Cost
    from videocompressa.synthetic import SyntheticSet as SyntheticSet
    from videocompressa.vlm.export.check import check_export as check_export
    from videocompressa.vlm.export.run import export_set as export_set
    from videocompressa.vlm.tune.run import finetune_on as finetune_on

__version__ = "0.1.0"

_PUBLIC = {
    "METHODS": ("methods", "METHODS"),
    "Budget": ("synthetic", "Budget"),
    "Candidates": ("clip", "Candidates"),
    "Clip": ("clip", "Clip"),
    "ClipSpec": ("clip", "ClipSpec"),
    "Cost": ("synthetic", "Cost"),
    "InputError": ("errors", "InputError"),
    "SyntheticSet": ("synthetic", "SyntheticSet"),
    "build_codec": ("codecs", "build_codec"),
    "check_export": ("vlm.export.check", "check_export"),
    "compress_folder": ("recipes.compress", "compress_folder"),
    "encode_pass": ("datasets", "encode_pass"),
    "export_set": ("vlm.export.run", "export_set"),
    "extract_keyframes": ("recipes.keyframes", "extract_keyframes"),
    "find_videos": ("datasets", "find_videos"),
    "fit": ("recipes.train", "fit_module"),
    "finetune_on": ("vlm.tune.run", "finetune_on"),
    "load": ("recipes.sets", "open_set"),
    "measure": ("artifact", "measure"),
    "predict_videos": ("recipes.predict", "predict_videos"),
    "pull_set": ("recipes.push", "pull_set"),
    "push_set": ("recipes.push", "push_set"),
    "train_on": ("recipes.train", "train_on"),
    "write_set": ("artifact", "write_set"),
}
"""Module and name of each public name."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'videocompressa' has no attribute {name!r}; it has {', '.join(__dir__())}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(f"videocompressa.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted(["__version__", *_PUBLIC])


if not TYPE_CHECKING:  # type checkers take the imports above
    __all__ = __dir__()
