"""Video-language models by hub name or folder; every fault of a folder is reported before anything is trained.

Nothing here needs torchvision: model classes and tokenizers load without it, `AutoProcessor` does not.
"""

import dataclasses
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from videocompressa.errors import InputError, check_known
from videocompressa.hub import fault_of, model_config, model_identity, model_json, need
from videocompressa.vlm.settings import PRECISIONS, LoadOptions
from videocompressa.vlm.tune.families import SPECIAL_TOKENS, VIDEO_PAD, ModelFamily, PixelRules, find_family
from videocompressa.vlm.tune.processor import VideoProcessor

WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")
TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
RULE_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
"""Files of a model folder with the rules for reading videos; the first that exists counts."""


@dataclass(frozen=True, eq=False)
class Vlm:
    """A model with its processor."""

    model: Any
    """A `...ForConditionalGeneration` of transformers."""
    processor: VideoProcessor
    name: str
    """Hub name or folder, as it was given."""
    identity: str
    """Hash of the configuration and of a sample of every weight: another model has another one."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)


def load_vlm(name: str, *, dtype: str, device: torch.device, options: LoadOptions | None = None) -> Vlm:
    """Load a model and its tokenizer: `name` is a hub name such as "Qwen/Qwen2.5-VL-7B-Instruct", or a folder.

    `dtype`, "bfloat16" or "float32", is of the frozen weights. Raises `InputError` when there is no configuration, no
    weights, not all weights, no tokenizer, a tokenizer without vision tokens, or a model of a family that is not known.
    """
    options = options or LoadOptions()
    check_known("precision is", dtype, PRECISIONS)
    _check_folder(name)
    option = f"--model {name}"
    family = find_family(str(model_config(name, option).get("model_type", "")), name)
    model_class = getattr(need("transformers", "a video-language model"), family.model_class)
    with fault_of(option, (OSError, ValueError), "its config.json cannot be used ({})"):
        config = model_class.config_class.from_pretrained(name)
    rules = _pixel_rules(name, family, config.vision_config, options)
    processor = VideoProcessor(_load_tokenizer(name, config), family, rules)
    model = _load_weights(name, model_class, getattr(torch, dtype), device, options)
    return Vlm(model, processor, name, model_identity(model, model.config.to_json_string(use_diff=False)))


@contextmanager
def explain_memory(doing: str) -> Iterator[None]:
    """Turn an exhausted memory into an `InputError` that names the options which help."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)):
            raise
        raise InputError(
            f"not enough memory for {doing}; give --micro-batch 1, a smaller --max-pixels, --gradient-checkpointing, "
            "--four-bit (needs a GPU)"
        ) from error


def _check_folder(name: str) -> None:
    folder = Path(name)
    if not folder.exists():  # A name of the hub.
        return
    if not folder.is_dir():
        raise InputError(f"--model {name}: is a file; give the folder of a model, or a hub name")
    for patterns, problem in (
        (("config.json",), "has no config.json; give the folder that a model was saved to"),
        (WEIGHT_FILES, f"has no weights ({', '.join(WEIGHT_FILES)}); download them, or give another folder"),
        (TOKENIZER_FILES, f"has no tokenizer ({' or '.join(TOKENIZER_FILES)}); copy it from the model's page"),
    ):
        if not any(next(folder.glob(pattern), None) for pattern in patterns):
            raise InputError(f"--model {name}: {problem}")


def _load_tokenizer(name: str, config: Any) -> Any:
    with fault_of(f"--model {name}", (OSError, ValueError, KeyError), "its tokenizer cannot be read ({})"):
        tokenizer = need("transformers", "a video-language model").AutoTokenizer.from_pretrained(name)
    known, expected, vocabulary = tokenizer.get_vocab(), config.video_token_id, config.text_config.vocab_size
    advice = "the two are of different models"
    if missing := [token for token in SPECIAL_TOKENS if token not in known]:
        problem = f"has no {', '.join(missing)}; give the tokenizer of a model that sees videos"
    elif known[VIDEO_PAD] != expected:
        problem = f"has {VIDEO_PAD} at {known[VIDEO_PAD]}, its config.json at {expected}; {advice}"
    elif len(tokenizer) > vocabulary:
        problem = f"has {len(tokenizer)} tokens, the model {vocabulary}; {advice}"
    else:
        return tokenizer
    raise InputError(f"--model {name}: its tokenizer {problem}")


def _load_weights(name: str, model_class: Any, dtype: torch.dtype, device: torch.device, options: LoadOptions) -> Any:
    # Straight to the GPU: the memory of the host need not hold a copy for each process.
    more: dict[str, Any] = {"device_map": {"": device}} if device.type == "cuda" else {}
    if options.four_bit:
        more["quantization_config"] = _four_bit(device)
    faults = (OSError, ValueError, SafetensorError)
    with (
        explain_memory(f"the weights of {name}"),
        fault_of(f"--model {name}", faults, "its weights cannot be read ({})"),
    ):
        model, loading = model_class.from_pretrained(
            name, dtype=dtype, attn_implementation="sdpa", output_loading_info=True, use_safetensors=True, **more
        )
    if missing := sorted(loading["missing_keys"]):
        problem = f"{len(missing)} weights are missing, such as {missing[0]}; download the model again"
        raise InputError(f"--model {name}: {problem}")
    return model.eval()


def _four_bit(device: torch.device) -> Any:
    if device.type != "cuda":
        raise InputError("--four-bit needs a GPU; leave it out, or give --device cuda")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("--four-bit needs bitsandbytes; install it: pip install bitsandbytes")
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    return need("transformers", "--four-bit").BitsAndBytesConfig(load_in_4bit=True, **nf4)


def _pixel_rules(name: str, family: ModelFamily, vision: Any, options: LoadOptions) -> PixelRules:
    """Return the family's rules, replaced by the model's own files and by the options."""
    own: dict[str, Any] = next(filter(None, (model_json(name, file, f"--model {name}") for file in RULE_FILES)), {})
    # The image bounds of preprocessor_config.json hold for videos only where the file is of videos.
    size = (own.get("size") or {}) if own.get("video_processor_type") else {}
    changes = {
        "patch": vision.patch_size,
        "merge": vision.spatial_merge_size,
        "temporal": vision.temporal_patch_size,
        "min_pixels": options.min_pixels or size.get("shortest_edge"),
        "max_pixels": options.max_pixels or size.get("longest_edge"),
        "mean": own.get("image_mean") and tuple(own["image_mean"]),
        "std": own.get("image_std") and tuple(own["image_std"]),
    }
    return dataclasses.replace(family.rules, **{key: value for key, value in changes.items() if value})
