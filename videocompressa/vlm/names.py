"""Class names as a person writes them: "TableTennisShot" and "table_tennis_shot" become "table tennis shot".

1. Break at underscores, hyphens, dots, slashes and blanks, and where a small letter or a digit meets a capital or a run
   of capitals meets a word ("TVShow" is "tv show").
2. Lower case, one blank between words. A json of {class: words} replaces what the rule gets wrong.

Two classes with the same words could not be told apart by their names, so they are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError

_BETWEEN_WORDS = re.compile(r"[\s_\-./\\]+")

MEDIA_TAGS = ("<video>", "<image>", "<audio>")
"""What trainers replace by media, wherever it stands in a text."""


def readable_name(class_name: str) -> str:
    """Return a class name in words; one without any letter or digit is returned as it is."""
    neighbors = zip(f" {class_name}", class_name, f"{class_name[1:]} ", strict=False)  # Before, sign, after.
    broken = "".join(f" {near[1]}" if _starts_word(*near) else near[1] for near in neighbors)
    words = " ".join(_BETWEEN_WORDS.sub(" ", broken).split()).lower()
    return words if any(sign.isalnum() for sign in words) else class_name


def readable_names(classes: Sequence[str], path: Path | None = None) -> tuple[str, ...]:
    """Return L different names in words, in label order.

    Parameters
    ----------
    classes:
        L class names, in label order.
    path:
        A json file with {class: words}; it must name every class, and may name others. None takes the rule.

    Raises
    ------
    InputError
        When the file cannot be used or lacks a class, when two classes have the same words, or a name is a media tag.
    """
    names = tuple(readable_name(name) for name in classes) if path is None else _from_file(path, classes)
    where = "the class names" if path is None else f"--names {path}"
    owner: dict[str, str] = {}
    for class_name, name in zip(classes, names, strict=True):
        if name in owner:
            raise InputError(
                f"{where}: classes {owner[name]!r} and {class_name!r} both read {name!r}; give --names a json in which "
                "they differ"
            )
        owner[name] = class_name
        if any(tag in name for tag in MEDIA_TAGS):
            raise InputError(
                f"{where}: class {class_name!r} reads {name!r}, which trainers take for a picture or video; "
                f"give --names a json without {', '.join(MEDIA_TAGS)}"
            )
    return names


def _starts_word(before: str, sign: str, after: str) -> bool:
    """Tell whether a word starts at `sign` though nothing stands between it and the sign before."""
    return sign.isupper() and (before.islower() or (after.islower() and (before.isupper() or before.isdigit())))


def _from_file(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    try:
        given: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--names {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"--names {path}: is not json ({error}); write an object of class: words") from error
    if not isinstance(given, dict):
        raise InputError(f"--names {path}: holds a {type(given).__name__}; write an object of class: words")
    missing = [name for name in classes if name not in given]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise InputError(
            f"--names {path}: lacks {', '.join(map(repr, missing[:5]))}{more}; "
            f"name all {len(classes)} classes of the set"
        )
    for name in classes:
        if not isinstance(given[name], str) or not given[name].strip():
            raise InputError(f"--names {path}: class {name!r} is {given[name]!r}; give it words")
    return tuple(" ".join(given[name].split()) for name in classes)
