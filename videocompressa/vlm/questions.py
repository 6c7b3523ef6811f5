"""What a model is asked about a video, and what it should answer: templates in our own words, drawn from a stream.

"open" asks for the class and names none; "choice" lists all classes, shuffled, so that no place is the right one;
"yes-no" asks twice, about the class and about another one, so that both answers are equally frequent. Answers are the
bare class name (or yes, no): the shortest text that a score or a match can be read from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from videocompressa.errors import InputError

OPEN = (
    "What is happening in this video? Answer with a short name.",
    "Name the action or subject that this clip shows.",
    "In a few words, what can be seen in these frames?",
    "Which activity or subject does the video show? Give only its name.",
    "Look at the clip and say in a few words what it is about.",
)
CHOICE = (
    "Which of these does the video show? {options}. Answer with one of them.",
    "Choose the name that fits this clip best: {options}.",
    "One of the following is seen in the video: {options}. Which one?",
    "Pick the right name for these frames from this list: {options}.",
)
YES_NO = (
    'Does this video show "{name}"? Answer yes or no.',
    'Is "{name}" the right name for what is seen in this clip? Answer yes or no.',
    'Would you call what these frames show "{name}"? Answer yes or no.',
)


@dataclass(frozen=True)
class Question:
    """One question about one video."""

    text: str
    """One line, without any media tag."""
    answer: str
    """The class in words, or "yes" or "no"."""


def ask(kind: str, label: int, names: Sequence[str], generator: torch.Generator) -> tuple[Question, ...]:
    """Return the questions of one video: one, or two for "yes-no".

    Parameters
    ----------
    kind:
        A key of `QUESTIONS`.
    label:
        The video's class, in [0,L).
    names:
        L class names in words, in label order.
    generator:
        A stream of this video alone, so that a video left out moves no question of another.
    """
    check_questions(kind, len(names))
    return QUESTIONS[kind](label, names, generator)


def check_questions(kind: str, num_classes: int) -> None:
    """Raise unless `kind` is known and can be asked with so many classes."""
    if kind not in QUESTIONS:
        raise InputError(f"--questions is {kind!r}; known: {', '.join(QUESTIONS)}")
    if kind != "open" and num_classes < 2:
        raise InputError(f"--questions {kind} needs at least 2 classes, the set has {num_classes}; give open")


def _open(label: int, names: Sequence[str], generator: torch.Generator) -> tuple[Question, ...]:
    return (Question(_draw(OPEN, generator), names[label]),)


def _choice(label: int, names: Sequence[str], generator: torch.Generator) -> tuple[Question, ...]:
    template = _draw(CHOICE, generator)
    order = torch.randperm(len(names), generator=generator).tolist()
    return (Question(template.format(options=", ".join(names[place] for place in order)), names[label]),)


def _yes_no(label: int, names: Sequence[str], generator: torch.Generator) -> tuple[Question, ...]:
    other = _draw([name for place, name in enumerate(names) if place != label], generator)
    return tuple(
        Question(_draw(YES_NO, generator).format(name=name), answer)
        for name, answer in ((names[label], "yes"), (other, "no"))
    )


QUESTIONS: dict[str, Callable[[int, Sequence[str], torch.Generator], tuple[Question, ...]]] = {
    "open": _open,
    "choice": _choice,
    "yes-no": _yes_no,
}
"""How each kind of question is asked, by `--questions`."""


def _draw(choices: Sequence[str], generator: torch.Generator) -> str:
    return choices[int(torch.randint(len(choices), (), generator=generator))]
