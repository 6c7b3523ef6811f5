"""`--set name=value`: replacing fields of a nested, frozen configuration by their names."""

import dataclasses
import types
from collections.abc import Sequence
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from videocompressa.errors import InputError

Config = TypeVar("Config")

_BOOLS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """Return `config` (a dataclass) with `name=value` settings; names are dotted for nested fields.

    Values are read by the type of the field; a tuple is written 1,2,3. Raises `InputError` that lists the known names,
    or states what a field takes.
    """
    nested: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: has no value; write --set name=value")
        *parts, last = name.strip().split(".")
        level = nested
        for part in parts:
            level = level.setdefault(part, {})
            if not isinstance(level, dict):
                raise InputError(f"--set {setting}: {part} is set to a value elsewhere; give it once")
        level[last] = value.strip()
    replaced: Config = _replace(config, nested, prefix="", known=setting_names(config))
    return replaced


def setting_names(config: Any) -> list[str]:
    """Return the dotted names of all fields that `--set` can change."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = dataclasses.is_dataclass(value)
        names += [f"{field.name}.{name}" for name in setting_names(value)] if nested else [field.name]
    return names


def _replace(config: Any, changes: dict[str, Any], *, prefix: str, known: Sequence[str]) -> Any:
    hints = get_type_hints(type(config))
    values = {}
    for name, change in changes.items():
        path = f"{prefix}{name}"
        current = getattr(config, name, None) if name in hints else None
        if name not in hints or isinstance(change, dict) != dataclasses.is_dataclass(current):
            raise InputError(f"--set {path}: is not a setting; known: {', '.join(known)}")
        if isinstance(change, dict):
            values[name] = _replace(current, change, prefix=f"{path}.", known=known)
            continue
        try:
            values[name] = _parse(change, hints[name])
        except ValueError:
            raise InputError(f"--set {path}={change}: it takes {_type_text(hints[name])}, such as {current}") from None
    return dataclasses.replace(config, **values)


def _parse(text: str, kind: Any) -> Any:
    """Return the value of a text by the type of its field; raises `ValueError`."""
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() == "none":
            return None
        kind = next(inner for inner in get_args(kind) if inner is not type(None))
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return tuple(_parse(part.strip(), inner) for part in text.strip("()").split(",") if part.strip())
    if kind is bool and text.lower() in _BOOLS:
        return _BOOLS[text.lower()]
    if kind in (int, float, str):
        return kind(text)
    raise ValueError(text)


def _type_text(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return "numbers with commas between them"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a value")
