"""Judging a video-language model on labeled videos by what it says their class is.

1. The prompt (video, question) goes through the model once; its keys and values are kept.
2. Constrained: for each class name y_1..y_M (with the end of the turn), the score is the length-normalized
   log-likelihood (1/M) sum_m log p(y_m | video, question, y_1..y_{m-1}); the best class is the prediction. The end
   counts, or a name would win by being the start of a longer one.
3. Free: the greedy answer, matched to the classes: equal after lower-casing and without signs, or else the only class
   whose name stands in it as whole words (the longest where they overlap). Others count as wrong, and are counted.

The question is drawn for each video from a stream of its own, so that every model is asked the same.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.vlm.words import ask
from videocompressa.vlm.tune.clips import Clips
from videocompressa.vlm.tune.finetune import arithmetic
from videocompressa.vlm.tune.models import Vlm, told_of_memory
from videocompressa.vlm.tune.processor import Prompt, collate, to_device
from videocompressa.vlm.tune.team import Team

MAX_ANSWER_TOKENS = 24
"""Tokens of a free answer (our choice: three times the longest class names of UCF101)."""

ASKED = ("choice", "open")
"""Kinds of question that a class name answers."""

UNMATCHED = -1
"""Class of a free answer that names none."""


@dataclass(frozen=True)
class Answer:
    """What the model said of one video."""

    video_id: str
    label: int
    scores: tuple[float, ...]
    """L length-normalized log-likelihoods, <= 0."""
    text: str
    """The free answer; "" where none was asked for."""
    matched: int
    """Class of the free answer, or `UNMATCHED`."""
    num_tokens: int
    """Tokens of the prompt."""

    @property
    def predicted(self) -> int:
        """The class with the best score; of equal ones the first."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)


@dataclass(frozen=True)
class Judgment:
    """What the answers to all videos come to."""

    answers: tuple[Answer, ...]
    """In the order of the videos."""
    num_classes: int
    generated: bool
    """Whether free answers were asked for."""

    def __post_init__(self) -> None:
        if not self.answers:
            raise InputError("there is no video to judge on; give DATA with test videos")

    @property
    def accuracy(self) -> float:
        """Share of the videos whose best-scored class is theirs, in [0,1]."""
        return sum(answer.predicted == answer.label for answer in self.answers) / len(self.answers)

    @property
    def accuracy_generated(self) -> float | None:
        """Share of the videos whose free answer names their class, in [0,1]; None without free answers."""
        if not self.generated:
            return None
        return sum(answer.matched == answer.label for answer in self.answers) / len(self.answers)

    @property
    def num_unmatched(self) -> int | None:
        """Free answers that name no class; None without free answers."""
        return sum(answer.matched == UNMATCHED for answer in self.answers) if self.generated else None

    @property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """(L,L) counts: row the video's class, column the best-scored one."""
        counts = [[0] * self.num_classes for _ in range(self.num_classes)]
        for answer in self.answers:
            counts[answer.label][answer.predicted] += 1
        return tuple(map(tuple, counts))

    @property
    def num_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(answer.num_tokens for answer in self.answers)


def judge(
    vlm: Vlm,
    clips: Clips,
    names: Sequence[str],
    *,
    questions: str = "choice",
    precision: str = "float32",
    generate: bool = True,
    classes_at_once: int = 16,
    rng: Streams,
    team: Team | None = None,
    watch: Watch = watch_nothing,
    step: str = "judge",
) -> Judgment:
    """Ask the model about every clip, each process about its share, and return all answers.

    Parameters
    ----------
    names:
        L class names in words, in label order.
    questions:
        "choice" or "open".
    classes_at_once:
        Class names that are scored together; fewer take less memory.
    step:
        Name of the phase for `watch`.

    Raises
    ------
    InputError
        When the kind of question is not one of `ASKED`, or the memory does not suffice.
    """
    if questions not in ASKED:
        raise InputError(f"questions for judging are {questions!r}; known: {', '.join(ASKED)}")
    team = team or Team(vlm.device)
    codes = [vlm.processor.answer(name) for name in names]
    mine = range(team.rank, len(clips.labels), team.size)
    vlm.model.eval()
    own: list[tuple[int, Answer]] = []
    watch(step, done=0, total=len(mine))
    for row in mine:
        draw = rng.generator(f"question/{clips.video_ids[row]}")
        question = ask(questions, clips.labels[row], names, draw)[0]
        prompt = vlm.processor.prompt(clips.frames(row), question.text)
        with torch.no_grad(), told_of_memory("judging"), arithmetic(vlm.device, precision):
            scores, text = _ask(vlm, prompt, codes, generate, classes_at_once)
        answer = Answer(
            video_id=clips.video_ids[row],
            label=clips.labels[row],
            scores=tuple(scores),
            text=text,
            matched=match_class(text, names) if generate else UNMATCHED,
            num_tokens=len(prompt.ids),
        )
        own.append((row, answer))
        watch(step, done=len(own), total=len(mine))
    answers = tuple(answer for _, answer in sorted(team.gather(own), key=lambda pair: pair[0]))
    return Judgment(answers, len(names), generate)


def match_class(text: str, names: Sequence[str]) -> int:
    """Return the class that a free answer names, or `UNMATCHED` where it names none or several."""
    said, plain = _plain(text), [_plain(name) for name in names]
    if said in plain:
        return plain.index(said)
    found = [place for place, name in enumerate(plain) if name and f" {name} " in f" {said} "]
    longest = [a for a in found if not any(a != b and f" {plain[a]} " in f" {plain[b]} " for b in found)]
    return longest[0] if len(longest) == 1 else UNMATCHED


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))


def _ask(
    vlm: Vlm, prompt: Prompt, codes: Sequence[tuple[int, ...]], generate: bool, classes_at_once: int
) -> tuple[list[float], str]:
    """Return the scores of all classes and the free answer; steps 1 to 3."""
    inputs = to_device(collate([prompt], [()], vlm.processor), vlm.device)
    del inputs["labels"]
    out = vlm.model.model(**inputs, use_cache=True)
    # Rotary positions go on after the video's own, which are fewer than its tokens.
    start = len(prompt.ids) + int(vlm.model.model.rope_deltas.reshape(-1)[0])
    first = vlm.model.lm_head(out.last_hidden_state[:, -1]).float()
    scores: list[float] = []
    for place in range(0, len(codes), classes_at_once):
        scores += _likelihoods(vlm, out.past_key_values, first, codes[place : place + classes_at_once], start)
    return scores, _greedy(vlm, out.past_key_values, first, start) if generate else ""


def _likelihoods(vlm: Vlm, past: Any, first: Tensor, codes: Sequence[tuple[int, ...]], start: int) -> list[float]:
    """Return the length-normalized log-likelihood of each answer after the prompt; step 2."""
    longest = max(map(len, codes))
    tokens = torch.full((len(codes), longest), vlm.processor.end_id, device=first.device)
    counted = torch.zeros(len(codes), longest, dtype=torch.bool, device=first.device)
    for row, code in enumerate(codes):
        tokens[row, : len(code)] = torch.tensor(code, device=first.device)
        counted[row, : len(code)] = True
    own = copy.deepcopy(past)
    own.batch_repeat_interleave(len(codes))
    hidden = _forward(vlm, own, tokens[:, :-1], start)
    logits = torch.cat([first.expand(len(codes), -1)[:, None], vlm.model.lm_head(hidden).float()], dim=1)
    each = functional.log_softmax(logits, dim=-1).gather(2, tokens[..., None])[..., 0].double()
    return [float(value) for value in (each * counted).sum(1) / counted.sum(1)]


def _greedy(vlm: Vlm, past: Any, first: Tensor, start: int) -> str:
    """Return the greedy answer; `past` grows."""
    said: list[int] = []
    logits = first
    while len(said) < MAX_ANSWER_TOKENS:
        token = int(logits.argmax())
        if token == vlm.processor.end_id:
            break
        said.append(token)
        hidden = _forward(vlm, past, torch.tensor([[token]], device=first.device), start + len(said) - 1)
        logits = vlm.model.lm_head(hidden[:, -1]).float()
    return vlm.processor.text_of(said)


def _forward(vlm: Vlm, past: Any, tokens: Tensor, start: int) -> Tensor:
    """Return the hidden states of text tokens (B,M) after what `past` holds, at rotary positions from `start` on."""
    positions = torch.arange(start, start + tokens.shape[1], device=tokens.device).expand(3, len(tokens), -1)
    out = vlm.model.model(input_ids=tokens, position_ids=positions, past_key_values=past, use_cache=True)
    hidden: Tensor = out.last_hidden_state
    return hidden
