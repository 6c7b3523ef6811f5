"""The state of a training loop in one file, from which a killed run goes on and ends with the same bytes."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videocompressa import __version__
from videocompressa.files import atomic_path

Item = TypeVar("Item")

METADATA = "videocompressa"


class HasState(Protocol):
    """A module, an optimizer, a schedule: what gives its state as nested dicts of tensors and JSON values."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take a state."""
        ...


class Repeated(Iterator[Item]):
    """Endless cheap draws, of which it counts those that were taken; a loaded one draws as many again."""

    def __init__(self, draw: Callable[[], Iterator[Item]]) -> None:
        self._draw = draw
        self.load_state_dict({"count": 0})

    def __next__(self) -> Item:
        """Return the next item."""
        self._count += 1
        return next(self._items)

    def state_dict(self) -> dict[str, Any]:
        """Return how many were taken."""
        return {"count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin again, and take as many."""
        self._items, self._count = self._draw(), 0
        while self._count < state_dict["count"]:
            next(self)


class GlobalRandom:
    """The random state of torch itself, on the CPU and on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def state_dict(self) -> dict[str, Any]:
        """Return both."""
        on_gpu = self._device.type == "cuda"
        return {"cpu": torch.get_rng_state(), "gpu": torch.cuda.get_rng_state(self._device) if on_gpu else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set both."""
        torch.set_rng_state(state_dict["cpu"])
        if state_dict["gpu"] is not None:
            torch.cuda.set_rng_state(state_dict["gpu"], self._device)


Part = HasState | torch.Generator | Tensor | list[Tensor]
"""What a loop changes. Tensors are leaves, changed in place; a list may grow."""


def save(path: Path, parts: Mapping[str, Part], **more: Any) -> None:
    """Write the state of the parts, and JSON values, in place of what is there."""
    tensors: dict[str, Tensor] = {}
    state = {name: _packed(_state_of(part), tensors) for name, part in parts.items()}
    text = json.dumps({"version": __version__, "state": state, **more})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as written:
        save_file(tensors, written, {METADATA: text})


def load(
    path: Path, parts: Mapping[str, Part], check: Callable[[Mapping[str, Any]], None] = lambda values: None
) -> dict[str, Any]:
    """Load the state into the parts and return the JSON values; {} where no file of these parts can be read.

    `check` is given the values first, and may raise.
    """
    try:
        with safe_open(path, framework="pt") as file:
            values: dict[str, Any] = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  the file is no mapping
    except (FileNotFoundError, SafetensorError):
        return {}
    if values.pop("version", "") != __version__ or (state := values.pop("state")).keys() != parts.keys():
        return {}
    check(values)
    for name, part in parts.items():
        _set_state(part, _unpacked(state[name], tensors))
    return values


def _state_of(part: Part) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    return part if isinstance(part, Tensor | list) else part.state_dict()


def _set_state(part: Part, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    elif isinstance(part, Tensor):
        with torch.no_grad():
            part.copy_(state)
    elif isinstance(part, list):
        part[:] = state
    else:
        part.load_state_dict(state)


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a nested state as JSON values; its tensors are added to `tensors` and named in their places.

    JSON has no keys but texts, and the state of an optimizer has numbers: a dict becomes pairs.
    """
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"pairs": [[key, _packed(each, tensors)] for key, each in value.items()]}
    return [_packed(each, tensors) for each in value] if isinstance(value, list | tuple) else value


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    return {key: _unpacked(each, tensors) for key, each in value["pairs"]}
