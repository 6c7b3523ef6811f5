"""`--set name=value`: replacing fields of a nested, frozen configuration by their names."""

import dataclasses
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse_from_object

from videocompressa.errors import InputError

Config = TypeVar("Config")

_BOOLS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def with_settings(config: Config, settings: Sequence[str]) -> Config:
    """Return `config` (a dataclass) with `name=value` settings; names are dotted for nested fields.

    Values are read by the type of the field; a tuple is written 1,2,3. Raises `InputError` that lists the known names,
    or states what a field takes.
    """
    known, texts = setting_names(config), {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: has no value; write --set name=value")
        if name.strip() not in known:
            raise InputError(f"--set {name.strip()}: is not a setting; known: {', '.join(known)}")
        texts[name.strip()] = value.strip()
    replaced: Config = _replace(config, texts, prefix="")
    return replaced


def setting_names(config: Any) -> list[str]:
    """Return the dotted names of all fields that `--set` can change."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = dataclasses.is_dataclass(value)
        names += [f"{field.name}.{name}" for name in setting_names(value)] if nested else [field.name]
    return names


@dataclass(frozen=True)
class Setting:
    """A setting, for people."""

    name: str
    default: str
    """As `--set` takes it."""
    allowed: str
    meaning: str


def list_settings(config: Any) -> list[Setting]:
    """Return all settings of a dataclass in the order of its fields.

    Meanings are the docstrings of the fields. What is allowed is what the dataclass itself says of values that it
    refuses, so that it cannot be wrong.
    """
    return [
        Setting(name, _text_of(value), _allowed(config, name, value, kind), meaning)
        for name, value, kind, meaning in _leaves(config)
    ]


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, str]]:
    """Yield name, value, type and docstring of every field, of nested dataclasses too."""
    hints, docs = get_type_hints(type(config)), dict[str, str]()
    for kind in reversed(type(config).__mro__):
        if dataclasses.is_dataclass(kind):
            docs |= {each.arg_name: each.description for each in parse_from_object(kind).params if each.description}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value, hints[field.name], " ".join(docs.get(field.name, "").split())


def _text_of(value: Any) -> str:
    if isinstance(value, list | tuple):  # A file, which is JSON, has lists.
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _allowed(config: Any, name: str, value: Any, kind: Any) -> str:
    """Return what values a setting takes, from the errors of values that none takes."""
    if isinstance(value, bool):
        return _type_text(bool)
    found = dict.fromkeys(
        allowed for bad in ("?", "-1e6", "1e6", "-1000000", "1000000") if (allowed := _refusal(config, name, bad))
    )
    return ", ".join(found) or _type_text(kind)


def _refusal(config: Any, name: str, bad: str) -> str | None:
    """Return what the error of a bad value says is allowed; None where there is none, or it is about the type."""
    try:
        with_settings(config, [f"{name}={bad}"])
    except InputError as error:
        text = str(error)
        if text.startswith("--set"):
            return None
        told = re.search(r"(?:must be|known:|takes) (.*)", text)
        return told[1] if told else None
    return None


def setting_texts(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return settings, {name: value or settings}, as `--set` takes them."""
    texts = []
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        texts += setting_texts(value, f"{prefix}{name}.") if nested else [f"{prefix}{name}={_text_of(value)}"]
    return texts


def _replace(config: Any, texts: Mapping[str, str], *, prefix: str) -> Any:
    hints, values = get_type_hints(type(config)), {}
    for field in dataclasses.fields(config):
        name, kind, current = f"{prefix}{field.name}", hints[field.name], getattr(config, field.name)
        if dataclasses.is_dataclass(current):
            values[field.name] = _replace(current, texts, prefix=f"{name}.")
        elif name in texts:
            try:
                values[field.name] = _parse(texts[name], kind)
            except ValueError:
                text = f"--set {name}={texts[name]}: it takes {_type_text(kind)}, such as {current}"
                raise InputError(text) from None
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
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(kind, "a value")
