"""Which weights of a video-language model are trained: adapters, the language model, its vision tower; and saving them.

LoRA (Hu et al. 2021, arXiv 2106.09685) on the linear layers of the language model; or all of its weights (rank 0). The
vision tower is frozen unless asked otherwise.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videocompressa.errors import InputError
from videocompressa.rng import Streams
from videocompressa.vlm.settings import TARGETS, FinetuneConfig
from videocompressa.vlm.tune.models import RULE_FILES, Vlm, model_json, need


@dataclass(frozen=True, eq=False)
class Prepared:
    """A model of which some weights are to be trained."""

    vlm: Vlm
    adapters: Any
    """The `PeftModel` around it; None at rank 0."""
    trained: dict[str, Tensor]
    """Weights that are trained, by name."""
    adapters_only: bool
    """Whether nothing but the adapters is trained."""

    @property
    def num_trained(self) -> int:
        """Numbers that are trained."""
        return sum(weight.numel() for weight in self.trained.values())

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
            if values := model_json(self.vlm.name, name):
                (folder / name).write_text(json.dumps(values, indent=1), encoding="utf-8")


def prepare(vlm: Vlm, config: FinetuneConfig, rng: Streams) -> Prepared:
    """Freeze and adapt the model (in place) as the configuration asks."""
    model = vlm.model
    model.requires_grad_(False)
    adapters = _add_adapters(model, config, rng) if config.lora_rank else None
    if adapters is None:
        model.model.language_model.requires_grad_(True)
        model.lm_head.requires_grad_(True)
    if config.vision != "frozen":
        visual = model.model.visual.float()
        for name, weight in visual.named_parameters():
            weight.requires_grad_(config.vision == "all" or "merger" in name)
    if config.gradient_checkpointing:
        # The name changed from one version of transformers to the next.
        newer = getattr(model, "activation_checkpointing_enable", None)
        (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    return Prepared(vlm, adapters, trained, adapters_only=adapters is not None and config.vision == "frozen")


def _add_adapters(model: Any, config: FinetuneConfig, rng: Streams) -> Any:
    peft = need("peft", "LoRA")
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=rf".*language_model\..*\.({'|'.join(config.lora_targets)})",
        task_type="CAUSAL_LM",
    )
    try:
        with seeded(rng, "adapters", torch.device(model.device)), warnings.catch_warnings():
            # peft 0.21 asks transformers 5.23 by a name that its version 6 will drop.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            return peft.get_peft_model(model, settings)
    except ValueError as error:
        if "target" not in str(error).lower():
            raise
        raise InputError(
            f"lora_targets are {', '.join(config.lora_targets)}; the model has no such layers; "
            f"known: {', '.join(TARGETS)}"
        ) from error


@contextmanager
def seeded(rng: Streams, name: str, device: torch.device) -> Iterator[None]:
    """Seed the global generators, which libraries draw from, by the stream `name`; restore them at the end."""
    seed = int(torch.randint(2**62, (), generator=rng.generator(name)))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
        torch.manual_seed(seed)
        yield
