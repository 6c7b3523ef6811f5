"""Turn a folder of labeled videos into one small file that trains models.

`compress` makes a set file and `train` proves it; `load` opens one, and `SyntheticSet.as_dataset()` is what a PyTorch
`DataLoader` takes. Names are imported when they are first used, so that `import videocompressa` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videocompressa.artifact import measure as measure
    from videocompressa.artifact import write_set as write_set
    from videocompressa.cli.python import compress as compress
    from videocompressa.cli.python import fit as fit
    from videocompressa.cli.python import real_clips as real_clips
    from videocompressa.cli.python import train as train
    from videocompressa.clip import Candidates as Candidates
    from videocompressa.clip import Clip as Clip
    from videocompressa.clip import ClipSpec as ClipSpec
    from videocompressa.clip import CodecSpec as CodecSpec
    from videocompressa.codecs import Codec as Codec
    from videocompressa.codecs import build_codec as build_codec
    from videocompressa.datasets import encode_pass as encode_pass
    from videocompressa.datasets import find_videos as find_videos
    from videocompressa.errors import InputError as InputError
    from videocompressa.methods import METHODS as METHODS
    from videocompressa.methods import MethodConfig as MethodConfig
    from videocompressa.recipes.keyframes import extract_keyframes as extract_keyframes
    from videocompressa.recipes.predict import predict_videos as predict_videos
    from videocompressa.recipes.push import pull_set as pull_set
    from videocompressa.recipes.push import push_set as push_set
    from videocompressa.recipes.sets import open_set as load  # noqa: F401
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
    "Codec": ("codecs", "Codec"),
    "CodecSpec": ("clip", "CodecSpec"),
    "Cost": ("synthetic", "Cost"),
    "InputError": ("errors", "InputError"),
    "MethodConfig": ("methods", "MethodConfig"),
    "SyntheticSet": ("synthetic", "SyntheticSet"),
    "build_codec": ("codecs", "build_codec"),
    "check_export": ("vlm.export.check", "check_export"),
    "compress": ("cli.python", "compress"),
    "encode_pass": ("datasets", "encode_pass"),
    "export_set": ("vlm.export.run", "export_set"),
    "extract_keyframes": ("recipes.keyframes", "extract_keyframes"),
    "find_videos": ("datasets", "find_videos"),
    "fit": ("cli.python", "fit"),
    "finetune_on": ("vlm.tune.run", "finetune_on"),
    "load": ("recipes.sets", "open_set"),
    "measure": ("artifact", "measure"),
    "predict_videos": ("recipes.predict", "predict_videos"),
    "pull_set": ("recipes.push", "pull_set"),
    "push_set": ("recipes.push", "push_set"),
    "real_clips": ("cli.python", "real_clips"),
    "train": ("cli.python", "train"),
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
