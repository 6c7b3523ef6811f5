"""Fine-tuning a video-language model to answer with the class of a clip.

1. Weights: adapters, or more (`adapting.prepare`).
2. Batches of B clips without replacement; a clip is asked a question drawn anew in every epoch (`questions.ask`).
3. Loss of a batch: the mean over its clips of the mean over the answer's tokens of -log p(token | clip, question,
   tokens before). Every clip counts the same (our choice), so that the same batch cut into micro-batches, or shared
   among processes, gives the same gradient.
4. AdamW, linear warm-up, cosine to zero, gradient norm clipped.
5. Every `save_every` steps weights, moments and losses are written to one file. Order, questions and dropout of a step
   depend on seed and step only: a run that was killed ends with the bytes of one that was not (on the CPU).

VideoCompressa (arXiv 2511.18831) says that Qwen2.5-VL-7B was fine-tuned, not how: every number here is our choice,
near the usual ones of LoRA. The loop is our own where a trainer of transformers or TRL could stand: they draw from the
global seed, and their resumed runs repeat neither order nor questions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.errors import DivergedError, InputError
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.vlm.words import ask, check_questions
from videocompressa.vlm.tune.adapting import Prepared, seeded
from videocompressa.vlm.tune.checkpoint import Checkpoint
from videocompressa.vlm.tune.clips import Clips
from videocompressa.vlm.tune.models import Vlm, told_of_memory
from videocompressa.vlm.tune.processor import IGNORED, Prompt, collate, to_device
from videocompressa.vlm.settings import FinetuneConfig
from videocompressa.vlm.tune.team import Team

STEP = "finetune"
"""How `watch` calls training by default."""


@dataclass(frozen=True)
class Tuned:
    """What a training run did."""

    losses: tuple[float, ...]
    """Loss of each step, those before an interruption included."""
    first_step: int
    """Step that this run went on from, 0 for a fresh one."""
    num_tokens: int
    """Tokens that went through the model in this run and process, padding not counted."""
    num_trained: int
    """Weights that were trained."""


def fit(
    prepared: Prepared,
    clips: Clips,
    names: Sequence[str],
    config: FinetuneConfig,
    *,
    rng: Streams,
    team: Team | None = None,
    watch: Watch = watch_nothing,
    step_name: str = STEP,
    checkpoint: Path | None = None,
    key: Mapping[str, Any] | None = None,
) -> Tuned:
    """Train the prepared model on labeled clips, in place; steps 2 to 5.

    Parameters
    ----------
    names:
        L class names in words, in label order.
    step_name:
        Name of the phase for `watch`.
    checkpoint:
        File that keeps the state; a run of the same `key`, configuration and model goes on from it.
    key:
        JSON values that say what the clips are.

    Raises
    ------
    InputError
        When the checkpoint is of another run, the memory does not suffice, or a clip cannot be read.
    DivergedError
        When a loss is not finite.
    """
    team = team or Team(prepared.vlm.device)
    check_questions(config.questions, len(names))
    if config.batch_size % team.size:
        raise InputError(
            f"batch_size is {config.batch_size}, which {team.size} processes cannot share; give a multiple of them"
        )
    weights = list(prepared.trained.values())
    optimizer = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)
    saved = Checkpoint(checkpoint, _key(prepared, clips, names, config, team, rng, key or {}))
    losses = saved.restore(prepared.trained, optimizer)
    first, num_tokens = len(losses), 0
    prepared.vlm.model.train()
    watch(step_name, done=first, total=config.steps)
    for step in range(first, config.steps):
        loss, tokens = _step(prepared, optimizer, clips, names, config, step, rng, team)
        losses.append(loss)
        num_tokens += tokens
        if not math.isfinite(loss):
            raise DivergedError(f"the loss of fine-tuning is {loss} at step {step}; lower --lr (it was {config.lr:g})")
        if team.leads and ((step + 1) % config.save_every == 0 or step + 1 == config.steps):
            saved.write(prepared.trained, optimizer, losses)
        watch(step_name, done=step + 1, total=config.steps, loss=loss, lr=rate(config, step), tokens=num_tokens)
    prepared.vlm.model.eval()
    return Tuned(tuple(losses), first, num_tokens, prepared.num_trained)


def _step(
    prepared: Prepared,
    optimizer: torch.optim.Optimizer,
    clips: Clips,
    names: Sequence[str],
    config: FinetuneConfig,
    step: int,
    rng: Streams,
    team: Team,
) -> tuple[float, int]:
    """Take one step; return the batch's loss over all processes, and the tokens of this one."""
    places = range(step * config.batch_size + team.rank, (step + 1) * config.batch_size, team.size)
    prompts, answers = example_batch(prepared.vlm, clips, names, config.questions, places, rng)
    vlm, total = prepared.vlm, torch.zeros(1, device=prepared.vlm.device)
    optimizer.zero_grad(set_to_none=True)
    with told_of_memory("training"), seeded(rng, f"dropout/{step}/{team.rank}", vlm.device):
        for start in range(0, len(prompts), config.micro_batch):
            part = slice(start, start + config.micro_batch)
            loss = clip_losses(vlm, prompts[part], answers[part], config.precision).sum() / len(prompts)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        weights = list(prepared.trained.values())
        for weight in weights:  # A layer that a batch did not reach, on this process only, must not hold up the others.
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        team.average([weight.grad for weight in weights if weight.grad is not None])
        torch.nn.utils.clip_grad_norm_(weights, config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate(config, step)
        optimizer.step()
    num_tokens = sum(len(prompt.ids) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    return float(team.mean(total)), num_tokens


def example_batch(
    vlm: Vlm, clips: Clips, names: Sequence[str], questions: str, places: Sequence[int], rng: Streams
) -> tuple[list[Prompt], list[tuple[int, ...]]]:
    """Return prompts and answers of places in the endless order of epochs; step 2."""
    num_clips = len(clips.labels)
    prompts, answers = [], []
    for place in places:
        epoch, turn = divmod(place, num_clips)
        row = int(torch.randperm(num_clips, generator=rng.generator(f"order/{epoch}"))[turn])
        draw = rng.generator(f"question/{epoch}/{clips.video_ids[row]}")
        asked = ask(questions, clips.labels[row], names, draw)
        chosen = asked[int(torch.randint(len(asked), (), generator=draw))]
        prompts.append(vlm.processor.prompt(clips.frames(row), chosen.text))
        answers.append(vlm.processor.answer(chosen.answer))
    return prompts, answers


def clip_losses(vlm: Vlm, prompts: Sequence[Prompt], answers: Sequence[Sequence[int]], precision: str) -> Tensor:
    """Return (B,) float32: mean over each answer's tokens of their negative log-likelihood."""
    inputs = to_device(collate(prompts, answers, vlm.processor), vlm.device)
    labels = inputs.pop("labels")[:, 1:]
    learned = labels != IGNORED
    with arithmetic(vlm.device, precision):
        hidden = vlm.model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        logits = vlm.model.lm_head(hidden[learned])  # Only where an answer is: the vocabulary is the widest layer.
    each = functional.cross_entropy(logits.float(), labels[learned], reduction="none")
    sums = torch.zeros(len(prompts), device=each.device).index_add(0, learned.nonzero()[:, 0], each)
    return sums / learned.sum(1)


def rate(config: FinetuneConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine to zero."""
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm))) / 2


def arithmetic(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which the model computes in `precision`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _key(
    prepared: Prepared,
    clips: Clips,
    names: Sequence[str],
    config: FinetuneConfig,
    team: Team,
    rng: Streams,
    key: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all that the result depends on."""
    listed = json.dumps([list(clips.video_ids), list(clips.labels), list(names)])
    rules = asdict(prepared.vlm.processor.rules)
    parts = {
        **config.result_settings(),
        **{f"pixels.{name}": value for name, value in rules.items()},
        "model": prepared.vlm.identity,
        "clips and names": hashlib.sha256(listed.encode()).hexdigest(),
        "seed": [rng.seed, rng.scope],
        "processes": team.size,
        **key,
    }
    loaded: dict[str, Any] = json.loads(json.dumps(parts))
    return loaded
