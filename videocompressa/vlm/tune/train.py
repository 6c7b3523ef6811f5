"""Fine-tuning a video-language model to answer with the class of a clip.

1. Weights: LoRA (Hu et al. 2021, arXiv 2106.09685) on the linear layers of the language model, or all of its weights
   (rank 0). The vision tower is frozen unless asked otherwise.
2. Batches of B clips without replacement; in every epoch a clip gets a new question (`words.ask`).
3. Loss of a batch: the mean over its clips of the mean over the answer's tokens of -log p(token | clip, question,
   tokens before). Every clip counts the same (our choice), so that the same batch cut into micro-batches, or shared
   among processes, gives the same gradient.
4. AdamW, linear warm-up, cosine to zero, gradient norm clipped.
5. Every `save_every` steps weights, moments and losses are written to one file. Order, questions and dropout of a step
   depend on seed and step only: a resumed run ends with the bytes of one that was not interrupted (on the CPU).

VideoCompressa (arXiv 2511.18831) states that Qwen2.5-VL-7B was fine-tuned, not how: every number here is our choice,
near the usual ones of LoRA. docs/vlm.md states why the loop is our own.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.errors import DivergedError, InputError
from videocompressa.hub import model_json, need, with_adapters
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.rng import seeded
from videocompressa.run import Run
from videocompressa.students.precision import autocast
from videocompressa.vlm.settings import TARGETS, FinetuneConfig
from videocompressa.vlm.tune.clips import Clips
from videocompressa.vlm.tune.models import RULE_FILES, Vlm, explain_memory
from videocompressa.vlm.tune.processor import IGNORED, Prompt, collate
from videocompressa.vlm.tune.progress import Checkpoint
from videocompressa.vlm.words import ask, check_questions

Batch = tuple[list[Prompt], list[tuple[int, ...]]]
"""Prompts, and the token ids of their answers."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model of which some weights are to be trained."""

    vlm: Vlm
    config: FinetuneConfig
    adapters: Any
    """The `PeftModel` around it; None at rank 0."""
    trained: dict[str, Tensor]
    """Weights that are trained, by name."""

    @property
    def adapters_only(self) -> bool:
        """Whether nothing but the adapters is trained."""
        return self.adapters is not None and self.config.vision == "frozen"

    def save(self, folder: Path) -> None:
        """Write what was trained: the adapters, or the complete model where more than adapters changed.

        The latter merges the adapters into the weights; do not train the model afterwards.
        """
        if self.adapters_only:
            self.adapters.save_pretrained(folder)
            return
        model = self.vlm.model if self.adapters is None else self.adapters.merge_and_unload()
        model.save_pretrained(folder)
        self.vlm.processor.tokenizer.save_pretrained(folder)
        for name in RULE_FILES:
            if values := model_json(self.vlm.name, name, f"--model {self.vlm.name}"):
                (folder / name).write_text(json.dumps(values, indent=1), encoding="utf-8")


def prepare(vlm: Vlm, config: FinetuneConfig, run: Run) -> Prepared:
    """Freeze and adapt the model (in place) as the configuration asks; step 1."""
    model = vlm.model
    model.requires_grad_(False)
    adapters = _add_adapters(model, config, run) if config.lora_rank else None
    if adapters is None:
        model.model.language_model.requires_grad_(True)
        model.lm_head.requires_grad_(True)
    if config.vision != "frozen":
        for name, weight in model.model.visual.float().named_parameters():
            weight.requires_grad_(config.vision == "all" or "merger" in name)
    if config.gradient_checkpointing:
        # The name changed from one version of transformers to the next.
        newer = getattr(model, "activation_checkpointing_enable", None)
        (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    return Prepared(vlm, config, adapters, trained)


def _add_adapters(model: Any, config: FinetuneConfig, run: Run) -> Any:
    peft = need("peft", "LoRA")
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=rf".*language_model\..*\.({'|'.join(config.lora_targets)})",
        task_type="CAUSAL_LM",
    )
    try:
        with seeded(run.generator("adapters")):
            return with_adapters(model, settings)
    except ValueError as error:
        if "target" not in str(error).lower():
            raise
        raise InputError(
            f"lora_targets are {', '.join(config.lora_targets)}; the model has no such layers; "
            f"known: {', '.join(TARGETS)}"
        ) from error


@dataclass(frozen=True)
class TrainingLog:
    """What a training run did."""

    losses: tuple[float, ...]
    """Loss of each step, those before an interruption included."""
    first_step: int
    """Step that this run resumed at, 0 for a new one."""
    num_tokens: int
    """Tokens that went through the model in this run and process, padding not counted."""


def train_vlm(
    prepared: Prepared, clips: Clips, run: Run, *, group: ProcessGroup = ALONE, checkpoint: Checkpoint | None = None
) -> TrainingLog:
    """Train the prepared model on labeled clips, in place; steps 2 to 5.

    Raises `InputError` when the checkpoint is of another run, the memory does not suffice or a clip cannot be read,
    `DivergedError` when a loss is not finite.
    """
    config = prepared.config
    check_questions(config.questions, len(clips.names))
    if config.batch_size % group.size:
        raise InputError(
            f"batch_size is {config.batch_size}, which {group.size} processes cannot share; give a multiple of them"
        )
    weights = list(prepared.trained.values())
    optimizer = torch.optim.AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)
    losses = [] if checkpoint is None else checkpoint.restore(prepared.trained, optimizer)
    first, num_tokens = len(losses), 0
    prepared.vlm.model.train()
    run.watch("finetune", done=first, total=config.steps)
    for step in range(first, config.steps):
        places = range(step * config.batch_size + group.rank, (step + 1) * config.batch_size, group.size)
        batch = example_batch(prepared.vlm, clips, config.questions, places, run)
        tokens = sum(len(prompt.ids) + len(answer) for prompt, answer in zip(*batch, strict=True))
        num_tokens += tokens
        optimizer.param_groups[0]["lr"] = rate = learning_rate(config, step)
        with explain_memory("training"), seeded(run.generator(f"dropout/{step}/{group.rank}")):
            losses.append(_step(prepared, optimizer, batch, group))
        if not math.isfinite(losses[-1]):
            raise DivergedError(
                f"the loss of fine-tuning is {losses[-1]} at step {step}; lower --lr (it was {config.lr:g})"
            )
        done = step + 1
        if checkpoint and group.is_main and (done % config.save_every == 0 or done == config.steps):
            checkpoint.write(prepared.trained, optimizer, losses)
        run.watch("finetune", done=done, total=config.steps, loss=losses[-1], lr=rate, tokens=tokens)
    prepared.vlm.model.eval()
    return TrainingLog(tuple(losses), first, num_tokens)


def _step(prepared: Prepared, optimizer: torch.optim.Optimizer, batch: Batch, group: ProcessGroup) -> float:
    """Take one step, and return the batch's loss over all processes."""
    config, (prompts, answers), total = prepared.config, batch, torch.zeros(1, device=prepared.vlm.device)
    optimizer.zero_grad(set_to_none=True)
    for start in range(0, len(prompts), config.micro_batch):
        part = slice(start, start + config.micro_batch)
        loss = clip_losses(prepared.vlm, prompts[part], answers[part], config.precision).sum() / len(prompts)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    weights = list(prepared.trained.values())
    for weight in weights:
        # A layer that a batch did not reach, in this process only, must not keep the others waiting.
        weight.grad = group.mean(torch.zeros_like(weight) if weight.grad is None else weight.grad)
    torch.nn.utils.clip_grad_norm_(weights, config.clip_norm)
    optimizer.step()
    return float(group.mean(total))


def example_batch(vlm: Vlm, clips: Clips, questions: str, places: Sequence[int], run: Run) -> Batch:
    """Return the examples at these places of the endless order of epochs; step 2."""
    num_clips = len(clips.labels)
    prompts, answers = [], []
    for place in places:
        epoch, turn = divmod(place, num_clips)
        row = int(torch.randperm(num_clips, generator=run.generator(f"order/{epoch}"))[turn])
        generator = run.generator(f"question/{epoch}/{clips.video_ids[row]}")
        asked = ask(questions, clips.labels[row], clips.names, generator)
        question = asked[int(torch.randint(len(asked), (), generator=generator))]
        prompts.append(vlm.processor.prompt(clips.frames(row), question.text))
        answers.append(vlm.processor.answer(question.answer))
    return prompts, answers


def clip_losses(vlm: Vlm, prompts: Sequence[Prompt], answers: Sequence[Sequence[int]], precision: str) -> Tensor:
    """Return (B,) float32: mean over each answer's tokens of their negative log-likelihood."""
    inputs, labels = collate(prompts, answers, vlm.processor, vlm.device)
    labels = labels[:, 1:]
    learned = labels != IGNORED
    with autocast(precision, vlm.device):
        hidden = vlm.model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        logits = vlm.model.lm_head(hidden[learned])  # Only where an answer is: the vocabulary is the widest layer.
    each = functional.cross_entropy(logits.float(), labels[learned], reduction="none")
    sums = torch.zeros(len(prompts), device=each.device).index_add(0, learned.nonzero()[:, 0], each)
    return sums / learned.sum(1)


def learning_rate(config: FinetuneConfig, step: int) -> float:
    """Return the learning rate of a step: linear warm-up, then cosine to zero."""
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * (1 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm))) / 2
