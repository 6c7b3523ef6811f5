"""Words for a video-language model: class names as a person writes them, and questions about a video.

A name breaks at underscores, hyphens, dots, slashes and blanks, where a small letter or a digit meets a capital, and
where a run of capitals meets a word ("TVShow" is "tv show"). A choice is shuffled, so that no place is the right one,
and yes and no are equally frequent. Answers are the shortest text to score or match. The templates are our own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from videocompressa.datasets.lists import read_json
from videocompressa.errors import InputError, check_known
from videocompressa.texts import names_text

MEDIA_TAGS = ("<video>", "<image>", "<audio>")
"""What trainers replace by media, anywhere in a text."""

QUESTIONS = {
    "open": (
        "What is happening in this video? Answer with a short name.",
        "Name the action or subject that this clip shows.",
        "In a few words, what can be seen in these frames?",
        "Which activity or subject does the video show? Give only its name.",
        "Look at the clip and say in a few words what it is about.",
    ),
    "choice": (
        "Which of these does the video show? {options}. Answer with one of them.",
        "Choose the name that fits this clip best: {options}.",
        "One of the following is seen in the video: {options}. Which one?",
        "Pick the right name for these frames from this list: {options}.",
    ),
    "yes-no": (
        'Does this video show "{name}"? Answer yes or no.',
        'Is "{name}" the right name for what is seen in this clip? Answer yes or no.',
        'Would you call what these frames show "{name}"? Answer yes or no.',
    ),
}
"""Templates of each kind of question, by `--questions`."""

_BETWEEN_WORDS = re.compile(r"[\s_\-./\\]+")


def readable_name(class_name: str) -> str:
    """Return a class name in words; one without any letter or digit is returned as it is."""
    neighbors = zip(f" {class_name}", class_name, f"{class_name[1:]} ", strict=False)  # Before, character, after.
    broken = "".join(f" {near[1]}" if _starts_word(*near) else near[1] for near in neighbors)
    words = " ".join(_BETWEEN_WORDS.sub(" ", broken).split()).lower()
    return words if any(map(str.isalnum, words)) else class_name


def _starts_word(before: str, character: str, after: str) -> bool:
    """Return whether a word starts at `character` without a separator before it."""
    return character.isupper() and (before.islower() or (after.islower() and (before.isupper() or before.isdigit())))


def readable_names(classes: Sequence[str], path: Path | None = None) -> tuple[str, ...]:
    """Return L different names in words, in label order.

    `path` is a json file with {class: words}; it must name all L classes, and may name others. None takes the rule.
    Raises `InputError` when the file cannot be used or lacks a class, when two classes have the same words, or a name
    is empty or holds a media tag.
    """
    names = tuple(map(readable_name, classes)) if path is None else _names_of_file(path, classes)
    where = "the class names" if path is None else f"--names {path}"
    class_of: dict[str, str] = {}
    for class_name, name in zip(classes, names, strict=True):
        if not name.strip():
            raise InputError(f"{where}: class {class_name!r} has no words; give --names a json with some")
        if (other := class_of.setdefault(name, class_name)) != class_name:
            problem = f"classes {other!r} and {class_name!r} both read {name!r}"
            raise InputError(f"{where}: {problem}; give --names a json in which they differ")
        if any(tag in name for tag in MEDIA_TAGS):
            problem = f"class {class_name!r} reads {name!r}, which trainers take for a picture or video"
            raise InputError(f"{where}: {problem}; give --names a json without {', '.join(MEDIA_TAGS)}")
    return names


def _names_of_file(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    where = f"--names {path}"
    try:
        words = read_json(path, dict)
    except InputError as error:
        raise InputError(f"--names {error}; write an object of class: words") from error
    if missing := [name for name in classes if name not in words]:
        raise InputError(f"{where}: lacks {names_text(missing)}; name all {len(classes)} classes of the set")
    for name in classes:
        if not isinstance(words[name], str) or not words[name].strip():
            raise InputError(f"{where}: class {name!r} is {words[name]!r}; give it words")
    return tuple(" ".join(words[name].split()) for name in classes)


@dataclass(frozen=True)
class Question:
    """One question about one video."""

    text: str
    """One line, without any media tag."""
    answer: str
    """The class in words, or "yes" or "no"."""


def ask(kind: str, label: int, names: Sequence[str], generator: torch.Generator) -> tuple[Question, ...]:
    """Return the questions about one video of class `label` in [0,L): one, or two for "yes-no".

    `kind` is a key of `QUESTIONS`; `names` are L class names in words, in label order; `generator` is a stream of this
    video alone, so that a video left out changes no question about another.
    """
    check_questions(kind, len(names))
    name = names[label]
    if kind == "yes-no":
        other = _sample([other for place, other in enumerate(names) if place != label], generator)
        return tuple(
            Question(_sample(QUESTIONS[kind], generator).format(name=asked), answer)
            for asked, answer in ((name, "yes"), (other, "no"))
        )
    text = _sample(QUESTIONS[kind], generator)
    if kind == "choice":
        order = torch.randperm(len(names), generator=generator).tolist()
        text = text.format(options=", ".join(names[place] for place in order))
    return (Question(text, name),)


def check_questions(kind: str, num_classes: int) -> None:
    """Raise unless `kind` is known and can be asked with so many classes."""
    check_known("--questions is", kind, QUESTIONS)
    if kind != "open" and num_classes < 2:
        raise InputError(f"--questions {kind} needs at least 2 classes, the set has {num_classes}; give open")


def _sample(choices: Sequence[str], generator: torch.Generator) -> str:
    return choices[int(torch.randint(len(choices), (), generator=generator))]
