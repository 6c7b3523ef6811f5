"""Class names in words, and the questions asked about a video."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.vlm.words import QUESTIONS, ask, readable_name, readable_names

NAMES = ("brush hair", "yo yo", "table tennis shot", "row boat")


def generator(item: int = 0, seed: int = 0):
    return Streams(seed).generator(f"questions/{item}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TableTennisShot", "table tennis shot"),
        ("brush_hair", "brush hair"),
        ("playing-guitar", "playing guitar"),
        ("noFight", "no fight"),
        ("CleanAndJerk", "clean and jerk"),
        ("TVShow", "tv show"),
        ("Class10Jump", "class10 jump"),
        ("sports/Ice_Skating", "sports ice skating"),
        ("Pushing something  left", "pushing something left"),
        ("ÉcoleÉtude", "école étude"),
        ("走る", "走る"),
        ("run", "run"),
        ("__", "__"),
    ],
)
def test_names_become_words(name: str, words: str) -> None:
    assert readable_name(name) == words


@given(st.text(min_size=1, max_size=20))
def test_words_stay_as_they_are_when_read_again(name: str) -> None:
    once = readable_name(name)
    assert once
    if any(sign.isalnum() for sign in once):
        assert readable_name(once) == once


def test_a_json_names_the_classes(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"b": "  to  jump", "a": "to run", "of another set": "x"}))
    assert readable_names(("a", "b"), path) == ("to run", "to jump")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "to run"}', r"names.json: lacks 'b'; name all 2 classes"),
        ("[1]", r"--names .*names.json: holds a list; it must be a dict; write an object of class: words"),
        ("{", r"--names .*names.json, line 1: cannot be read as json: .*; write an object of class: words"),
        ('{"a": "x", "b": " "}', r"class 'b' is ' '; give it words"),
        ('{"a": "x", "b": 3}', r"class 'b' is 3; give it words"),
        ('{"a": "x", "b": "x"}', r"classes 'a' and 'b' both read 'x'"),
        (None, r"cannot be read: No such file"),
    ],
)
def test_a_json_that_names_badly_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "names.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        readable_names(("a", "b"), path)


def test_classes_with_the_same_words_are_refused() -> None:
    with pytest.raises(InputError, match=r"'brush_hair' and 'BrushHair' both read 'brush hair'; give --names"):
        readable_names(("brush_hair", "BrushHair"))


def test_a_class_without_words_is_refused() -> None:
    with pytest.raises(InputError, match=r"class ' ' has no words; give --names a json with some"):
        readable_names(("a", " "))


def test_a_class_that_reads_as_a_media_tag_is_refused() -> None:
    with pytest.raises(InputError, match="class 'a <video> of mine' reads .*, which trainers take for a picture"):
        readable_names(("a <video> of mine", "b"))


def test_an_open_question_names_no_class() -> None:
    asked = {ask("open", 1, NAMES, generator(item)) for item in range(60)}
    assert {question.text for (question,) in asked} == set(QUESTIONS["open"])
    assert {question.answer for (question,) in asked} == {"yo yo"}


def test_a_choice_lists_every_class_with_the_answer_anywhere() -> None:
    places = Counter()
    for item in range(200):
        (question,) = ask("choice", 2, NAMES, generator(item))
        assert all(question.text.count(name) == 1 for name in NAMES)
        assert question.answer == "table tennis shot"
        places[sum(question.text.index(name) < question.text.index(question.answer) for name in NAMES)] += 1
    assert set(places) == {0, 1, 2, 3}
    assert min(places.values()) > 25


def test_yes_and_no_are_asked_about_the_class_and_another() -> None:
    others = set()
    for item in range(60):
        yes, no = ask("yes-no", 0, NAMES, generator(item))
        assert (yes.answer, no.answer) == ("yes", "no")
        assert "brush hair" in yes.text
        assert "brush hair" not in no.text
        others |= {name for name in NAMES if name in no.text}
    assert others == set(NAMES[1:])


@pytest.mark.parametrize("kind", QUESTIONS)
def test_the_same_stream_asks_the_same(kind: str) -> None:
    assert ask(kind, 0, NAMES, generator(3)) == ask(kind, 0, NAMES, generator(3))
    assert len({ask(kind, 0, NAMES, generator(3, seed)) for seed in range(8)}) > 1


def test_templates_are_one_line_without_media_tags() -> None:
    assert all("\n" not in text and "<" not in text for texts in QUESTIONS.values() for text in texts)


def test_questions_that_cannot_be_asked_are_refused() -> None:
    with pytest.raises(InputError, match="--questions is 'why'; known: open, choice, yes-no"):
        ask("why", 0, NAMES, generator())
    with pytest.raises(InputError, match="--questions yes-no needs at least 2 classes, the set has 1; give open"):
        ask("yes-no", 0, ("run",), generator())
