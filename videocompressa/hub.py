"""Optional packages, and pretrained models by hub name or folder: every fault becomes one line that says what to do.

Nothing here needs torchvision: the classes of transformers load without it.
"""

import hashlib
import importlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from videocompressa.errors import InputError, how_to_install


def check_packages(packages: Sequence[str], user: str, extra: str = "vlm") -> None:
    """Raise unless the packages can be imported; `user` is the option that needs them, `extra` installs them."""
    # A folder of the user's that is called "datasets" has a spec, too, but no origin.
    missing = [name for name in packages if getattr(importlib.util.find_spec(name), "origin", None) is None]
    if missing:
        raise InputError(f"{user} needs {' and '.join(missing)}; run: {how_to_install(extra)}")


def need(module: str, user: str, extra: str = "vlm") -> Any:
    """Return an optional module, or raise `InputError` with the command that installs it."""
    check_packages([module], user, extra)
    return importlib.import_module(module)


def model_json(name: str, file: str, option: str, *, required: bool = False) -> dict[str, Any]:
    """Return a json file of a model (hub name or folder); empty where it has none of that name, unless `required`.

    `option` begins the message of a fault.
    """
    hub = need("transformers.utils.hub", option)
    path = hub.cached_file(name, file, _raise_exceptions_for_missing_entries=required)
    if path is None:
        return {}
    with fault_of(option, ValueError, f"{file} is not json ({{}}); download it again"):
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    return values if isinstance(values, dict) else {}


def model_config(name: str, option: str) -> dict[str, Any]:
    """Return the config.json of a model (hub name or folder); raises `InputError` where there is none."""
    no_model = "is no folder, and the hub gave no model of that name ({}); check name and network, or give a folder"
    with fault_of(option, OSError, no_model):
        return model_json(name, "config.json", option, required=True)


@contextmanager
def fault_of(option: str, faults: type[Exception] | tuple[type[Exception], ...], problem: str) -> Iterator[None]:
    """Raise `InputError` about an option for these faults; {} of `problem` is the first line of the error."""
    try:
        yield
    except faults as error:
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{option}: {problem.format(first_line)}") from error


def model_identity(model: Any, code: str) -> str:
    """Return the hash of what computes a model and of a sample of every weight: another model has another one."""
    digest = hashlib.sha256(code.encode())
    for name, weight in sorted(model.state_dict().items()):
        sample = weight.detach().reshape(-1)[:16].cpu().contiguous().view(torch.uint8)
        digest.update(name.encode() + sample.numpy().tobytes())
    return digest.hexdigest()


def quiet_transformers(user: str) -> None:
    """Keep the bars and advice of transformers and the hub off the terminal, where ours are."""
    transformers_log = need("transformers", user).utils.logging
    transformers_log.set_verbosity_error()
    transformers_log.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # It reports each retry.


def with_adapters(model: Any, settings: Any) -> Any:
    """Return a model with the adapters of a `peft.LoraConfig`."""
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 by a name that its version 6 will drop.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return need("peft", "LoRA").get_peft_model(model, settings)
