"""What the checks of all formats share: a row's types, its messages, its files; each raises `FaultError` in words."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AGAIN = "export again"
"""What always helps."""

Rows = Iterator[tuple[str, Any]]
"""(where, row) of each row."""


class FaultError(Exception):
    """The first fault of a row, or one that ends the reading of a folder."""


def check_keys(row: Any, types: dict[str, type]) -> None:
    """Raise unless a row is an object that has these keys with these types."""
    if not isinstance(row, dict):
        raise FaultError(f"is a {_type_of(row)}; it must be an object with {', '.join(types)}")
    for key, kind in types.items():
        if key not in row:
            raise FaultError(f"lacks {key!r}; add it or {AGAIN}")
        if not isinstance(row[key], kind) or isinstance(row[key], bool):
            raise FaultError(f"{key!r} is a {_type_of(row[key])}; it must be a {_NAMES[kind]}, so mend it or {AGAIN}")


def read_turns(messages: Any, role_key: str, text_key: str, roles: tuple[str, str]) -> list[tuple[str, str]]:
    """Return (role, text) of messages that start with the first role and alternate, one answer for each question."""
    turns = []
    for message in messages or ():
        check_keys(message, {role_key: str, text_key: str})
        turns.append((message[role_key], message[text_key]))
    expected = [roles[place % 2] for place in range(len(turns))]
    if [role for role, _ in turns] != expected or len(turns) < 2 or len(turns) % 2:
        spoken = ", ".join(role for role, _ in turns) or "nobody"
        raise FaultError(f"is spoken by {spoken}; it must be {roles[0]}, {roles[1]} in turn, so mend it or {AGAIN}")
    if any(not text.strip() for _, text in turns):
        raise FaultError(f"has an empty message; write one or {AGAIN}")
    return turns


def check_tags(turns: list[tuple[str, str]], tag: str, count: int) -> None:
    """Raise unless the questions hold `tag` as often as there are media, and the answers never."""
    found = sum(text.count(tag) for _, text in turns)
    asked = sum(text.count(tag) for _, text in turns[::2])
    if found != count or asked != found:
        raise FaultError(
            f"has {found} {tag} in its texts ({asked} in questions) and {count} to put there; write as many in the "
            f"questions as there are, or {AGAIN}"
        )


def same_types(row: Any, first: Any) -> Any:
    """Return the types of the first row; raises when a row's differ: Arrow columns take one type."""
    types = _types(row)
    if first is None:
        return types
    difference = _difference(types, first)
    if difference:
        raise FaultError(f"{difference}; rows must not differ in types, so mend it or {AGAIN}")
    return first


def _types(value: Any) -> Any:
    """Return the types of a JSON value: a name, {key: types}, or [types] of a list."""
    if isinstance(value, dict):
        return {key: _types(inner) for key, inner in value.items()}
    if isinstance(value, list):
        kinds = [_types(inner) for inner in value]
        if any(kind != kinds[0] for kind in kinds):
            raise FaultError(f"a list holds several types ({', '.join(sorted({_type_of(v) for v in value}))}); {AGAIN}")
        return kinds[:1]
    return _type_of(value)


def _difference(here: Any, first: Any, where: str = "") -> str:
    """Say where two types differ, "" when they do not."""
    at = where or "the row"
    if isinstance(here, dict) and isinstance(first, dict):
        for key in sorted(here.keys() | first.keys()):
            if key not in here or key not in first:
                return f"{where}{'.' if where else ''}{key} is {'missing' if key not in here else 'not in row 0'}"
            inner = _difference(here[key], first[key], f"{where}{'.' if where else ''}{key}")
            if inner:
                return inner
        return ""
    if isinstance(here, list) and isinstance(first, list):
        return _difference(here[0], first[0], f"{where}[]") if here and first else ""
    return "" if here == first else f"{at} is {_type_name(here)}, in row 0 {_type_name(first)}"


def _type_name(types: Any) -> str:
    return "an object" if isinstance(types, dict) else "a list" if isinstance(types, list) else f"a {types}"


_NAMES = {str: "text", int: "number", float: "number", list: "list", dict: "object"}


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def json_file(path: Path) -> Any:
    """Return what a json file holds."""
    try:
        content = path.read_bytes()
    except OSError:
        raise FaultError(f"{path.name} is missing; {AGAIN}") from None
    return json_of(content, path.name)


def json_of(content: bytes, name: str) -> Any:
    """Return what json bytes hold; `name` is for the message."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise FaultError(f"{name} is not json ({error}); mend it or {AGAIN}") from error


def json_list(folder: Path, name: str) -> Rows:
    """Yield the rows of a json file that is a list."""
    rows = json_file(folder / name)
    if not isinstance(rows, list):
        raise FaultError(f"{name} holds a {_type_of(rows)}; it must be a list of rows")
    yield from ((f"{name} row {number}", row) for number, row in enumerate(rows))


def picture_sides(content: bytes, name: str) -> tuple[int, int]:
    """Return height and width of a picture that can be decoded to its end."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return picture.height, picture.width
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise FaultError(f"{name} is no whole picture ({' '.join(str(error).split()[:8])}); {AGAIN}") from error
