"""Evaluating a video-language model on labeled videos by the class that it answers.

1. The prompt (video, question) goes through the model once; its keys and values are kept.
2. Constrained: for each class name y_1..y_M (with the end of the turn), the score is the length-normalized
   log-likelihood (1/M) sum_m log p(y_m | video, question, y_1..y_{m-1}); the best class is the prediction. The end
   counts, or a name would win by being the start of a longer one.
3. Free: the greedy answer, matched to the classes (`match_class`). Those that match none are wrong, and counted.

The question is drawn for each video from its own stream, so that every model gets the same ones.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from videocompressa.errors import InputError
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.run import Run
from videocompressa.students.precision import autocast
from videocompressa.vlm.settings import FinetuneConfig
from videocompressa.vlm.tune.clips import Clips
from videocompressa.vlm.tune.models import Vlm, explain_memory
from videocompressa.vlm.tune.processor import IGNORED, Prompt, collate
from videocompressa.vlm.words import ask

MAX_ANSWER_TOKENS = 24
"""Tokens of a free answer (our choice: three times the longest class names of UCF101)."""

CLASSES_AT_ONCE = 16
"""Class names that are scored together (our choice); fewer take less memory."""

UNMATCHED = -1
"""Class of a free answer that names none."""


@dataclass(frozen=True)
class Prediction:
    """What the model answered about one video."""

    video_id: str
    label: int
    scores: tuple[float, ...]
    """L length-normalized log-likelihoods, <= 0."""
    num_tokens: int
    """Tokens of the prompt."""
    text: str = ""
    """The free answer."""
    matched: int | None = None
    """Class of the free answer, or `UNMATCHED`; None when none was asked for."""

    @property
    def best(self) -> int:
        """The class with the best score; of equal ones the first."""
        return max(range(len(self.scores)), key=self.scores.__getitem__)

    def row(self, names: Sequence[str]) -> dict[str, Any]:
        """Return it as JSON values, with the classes in words."""
        matched = UNMATCHED if self.matched is None else self.matched
        return {
            "video": self.video_id,
            "class": names[self.label],
            "predicted": names[self.best],
            "answer": self.text,
            "answer_class": None if matched == UNMATCHED else names[matched],
            "scores": [round(score, 6) for score in self.scores],
        }


def evaluate_vlm(
    vlm: Vlm, clips: Clips, config: FinetuneConfig, run: Run, *, generate: bool = True, group: ProcessGroup = ALONE
) -> tuple[Prediction, ...]:
    """Ask the model about every clip, each process about its share, and return all predictions in order.

    The questions and the arithmetic are those of `config`; `generate` also asks for free answers. Raises `InputError`
    when the memory does not suffice.
    """
    codes = [vlm.processor.answer(name) for name in clips.names]
    rows = range(group.rank, len(clips.labels), group.size)
    vlm.model.eval()
    own: list[tuple[int, Prediction]] = []
    run.watch("evaluate", done=0, total=len(rows))
    for row in rows:
        video_id, label = clips.video_ids[row], clips.labels[row]
        question = ask(config.evaluation_questions, label, clips.names, run.generator(f"question/{video_id}"))[0]
        prompt = vlm.processor.prompt(clips.frames(row), question.text)
        with explain_memory("evaluation"), torch.no_grad(), autocast(config.precision, vlm.device):
            scores, text = _answer(vlm, prompt, codes, generate)
        matched = match_class(text, clips.names) if generate else None
        own.append((row, Prediction(video_id, label, tuple(scores), len(prompt.ids), text, matched)))
        run.watch("evaluate", done=len(own), total=len(rows))
    return tuple(prediction for _, prediction in sorted(group.gather(own), key=lambda pair: pair[0]))


def summarize(predictions: Sequence[Prediction], num_classes: int) -> dict[str, Any]:
    """Return the fields of `PhaseScores` that predictions give."""
    if not predictions:
        raise InputError("there is no video to evaluate on; give DATA with test videos")
    confusion = [[0] * num_classes for _ in range(num_classes)]
    for prediction in predictions:
        confusion[prediction.label][prediction.best] += 1
    free = [prediction for prediction in predictions if prediction.matched is not None]
    correct = sum(prediction.matched == prediction.label for prediction in free)
    return {
        "accuracy": sum(counts[label] for label, counts in enumerate(confusion)) / len(predictions),
        "accuracy_generated": correct / len(free) if free else None,
        "num_unmatched": sum(prediction.matched == UNMATCHED for prediction in free) if free else None,
        "num_clips": len(predictions),
        "evaluation_tokens": sum(prediction.num_tokens for prediction in predictions),
        "confusion": tuple(map(tuple, confusion)),
    }


def match_class(text: str, names: Sequence[str]) -> int:
    """Return the class that a free answer names, or `UNMATCHED` where it names none or several.

    It equals the name but for case and punctuation, or contains it as complete words; of overlapping names the longest.
    """
    answer, plain = _plain(text), [_plain(name) for name in names]
    if answer in plain:
        return plain.index(answer)
    named = [place for place, name in enumerate(plain) if name and f" {name} " in f" {answer} "]
    longest = [a for a in named if not any(a != b and f" {plain[a]} " in f" {plain[b]} " for b in named)]
    return longest[0] if len(longest) == 1 else UNMATCHED


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))


def _answer(vlm: Vlm, prompt: Prompt, codes: Sequence[tuple[int, ...]], generate: bool) -> tuple[list[float], str]:
    """Return the scores of all classes and the free answer; steps 1 to 3."""
    inputs, _ = collate([prompt], [()], vlm.processor, vlm.device)
    out = vlm.model.model(**inputs, use_cache=True)
    # Rotary positions continue after the video's own, which are fewer than its tokens.
    start = len(prompt.ids) + int(vlm.model.model.rope_deltas.reshape(-1)[0])
    first = vlm.model.lm_head(out.last_hidden_state[:, -1]).float()
    scores: list[float] = []
    for place in range(0, len(codes), CLASSES_AT_ONCE):
        scores += _likelihoods(vlm, out.past_key_values, first, codes[place : place + CLASSES_AT_ONCE], start)
    return scores, _greedy(vlm, out.past_key_values, first, start) if generate else ""


def _likelihoods(vlm: Vlm, past: Any, first: Tensor, codes: Sequence[tuple[int, ...]], start: int) -> list[float]:
    """Return the length-normalized log-likelihood of each answer after the prompt; step 2."""
    padded = pad_sequence([torch.tensor(code) for code in codes], batch_first=True, padding_value=IGNORED)
    tokens, counted = padded.clamp(min=0).to(first.device), (padded != IGNORED).to(first.device)
    own = copy.deepcopy(past)
    own.batch_repeat_interleave(len(codes))
    hidden = _forward(vlm, own, tokens[:, :-1], start)
    logits = torch.cat([first.expand(len(codes), -1)[:, None], vlm.model.lm_head(hidden).float()], dim=1)
    each = functional.log_softmax(logits, dim=-1).gather(2, tokens[..., None])[..., 0].double()
    scores: list[float] = ((each * counted).sum(1) / counted.sum(1)).tolist()
    return scores


def _greedy(vlm: Vlm, past: Any, first: Tensor, start: int) -> str:
    """Return the greedy answer; `past` grows."""
    answer: list[int] = []
    token = first.argmax()
    while len(answer) < MAX_ANSWER_TOKENS and token != vlm.processor.end_id:
        hidden = _forward(vlm, past, token.reshape(1, 1), start + len(answer))
        answer.append(int(token))
        token = vlm.model.lm_head(hidden[:, -1]).float().argmax()
    return vlm.processor.text_of(answer)


def _forward(vlm: Vlm, past: Any, tokens: Tensor, start: int) -> Tensor:
    """Return the hidden states of text tokens (B,M) after what `past` holds, at rotary positions from `start` on."""
    positions = torch.arange(start, start + tokens.shape[1], device=tokens.device).expand(3, len(tokens), -1)
    out = vlm.model.model(input_ids=tokens, position_ids=positions, past_key_values=past, use_cache=True)
    hidden: Tensor = out.last_hidden_state
    return hidden
