"""Optional packages, and what is on the hub: pretrained models by name or folder, sets as hf:USER/NAME[@REVISION].

Every fault becomes one line that says what to do.

Nothing here needs torchvision: the classes of transformers load without it.
"""

import hashlib
import importlib
import importlib.util
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import torch

from videocompressa.errors import InputError, how_to_install

ON_HUB = "hf:"
"""What the name of a data set on the hub begins with where a set file is expected."""


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


def is_on_hub(path: str | Path) -> bool:
    """Return whether a path is a data set on the hub: hf:USER/NAME[@REVISION], or that as hf://datasets/..."""
    return str(path).startswith(ON_HUB)


def holds_set(address: str) -> bool:
    """Return whether a data set on the hub has a set file; where the hub cannot be reached, one may be in the cache."""
    name, revision = _name_and_revision(address)
    with hub_client(name) as api:
        try:
            files = api.dataset_info(name, revision=revision).siblings
        except Exception as error:
            if not _is_unreachable(error):
                raise
            return True
    return any(file.rfilename.endswith(".safetensors") for file in files or ())


def download_set(address: str) -> Path:
    """Return the copy, in the cache of huggingface_hub, of the one .safetensors file of hf:USER/NAME[@REVISION].

    Without a network, it is the one that was downloaded last. Raises `InputError`.
    """
    name, revision = _name_and_revision(address)
    asked = {"repo_type": "dataset", "revision": revision}
    with hub_client(name) as api:
        try:
            info = api.dataset_info(name, revision=asked["revision"], files_metadata=True)
        except Exception as error:
            if not _is_unreachable(error):
                raise
            with suppress(Exception):
                cached = Path(api.snapshot_download(name, **asked, local_files_only=True))
                return cached / _one_set(address, [str(path.relative_to(cached)) for path in cached.rglob("*")])
            raise
        files = {file.rfilename: file for file in info.siblings or ()}
        file = files[_one_set(address, list(files))]
        path = Path(api.hf_hub_download(name, file.rfilename, **asked))
    if file.lfs is not None and hashlib.sha256(path.read_bytes()).hexdigest() != file.lfs.sha256:
        raise InputError(
            f"{address}: {path} has another SHA-256 than the file on the hub; delete it and run this again"
        )
    return path


def _name_and_revision(address: str) -> tuple[str, str | None]:
    name, _, revision = re.sub("^hf:(/+datasets/)?", "", address).partition("@")
    return name, unquote(revision) or None


def _one_set(address: str, files: Sequence[str]) -> str:
    sets = sorted(name for name in files if name.endswith(".safetensors"))
    if len(sets) != 1:
        held = f"{len(sets)} .safetensors files ({', '.join(sets[:3])})" if sets else "no .safetensors file"
        raise InputError(f"{address}: holds {held}; name a data set that `videocompressa push` wrote")
    return sets[0]


@contextmanager
def hub_client(name: str) -> Iterator[Any]:
    """Give the client of the hub, without its progress bars; faults about the data set `name` become `InputError`."""
    check_packages(["huggingface_hub"], f"{ON_HUB}{name}", "hub")
    from huggingface_hub import HfApi, errors, utils

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise InputError(f"{name!r} is no data set on the hub; give USER/NAME")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # It reports each retry.
    try:
        with utils.disable_progress_bars():
            yield HfApi()
    except InputError:
        raise
    except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:
        # An upload that fails is a RuntimeError, with the reason as its cause.
        cause = error.__cause__ if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception) else error
        raise InputError(f"{name}: {_hub_problem(cause)}") from error


def _is_unreachable(error: Exception) -> bool:
    """Return whether an error of huggingface_hub is one of the network, and not an answer of the hub."""
    from huggingface_hub import errors

    offline = (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)
    return isinstance(error, offline) or (isinstance(error, errors.HTTPError) and not hasattr(error, "response"))


def _hub_problem(error: Exception) -> str:
    from huggingface_hub.errors import RevisionNotFoundError

    first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if _is_unreachable(error):
        return f"the hub cannot be reached ({first_line}); check the network"
    if isinstance(error, RevisionNotFoundError):
        return "has no such revision; give a branch, a tag or a commit of it"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    log_in = "run `hf auth login` or set HF_TOKEN"
    answers = {
        401: f"is not on the hub, or is private and the hub does not know you; check the name, and {log_in}",
        403: f"your token does not allow this; {log_in} to one that does",
        404: "is not on the hub, or your token may not see it; check the name (USER/NAME)",
    }
    return answers.get(status, f"the hub did not do it ({getattr(error, 'server_message', None) or first_line})")
