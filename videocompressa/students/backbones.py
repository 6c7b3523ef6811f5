"""Pretrained backbones of transformers as students, by hub name or folder.

1. Clips are resampled to the backbone's frames: the nearest ones.
2. They are resized and normalized by the model's own preprocessor file (`preprocessor.py`), as it was pretrained.
3. Features (B,D) are what its classifier takes, or its pooled output; of a model of pictures, their mean over frames.
4. A new linear layer gives the logits. What else is trained is the mode's choice (`named.MODES`).
"""

import importlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from videocompressa.errors import InputError
from videocompressa.hub import (
    fault_of,
    model_config,
    model_identity,
    need,
    quiet_transformers,
    with_adapters,
)
from videocompressa.networks import FeatureClassifier
from videocompressa.students.preprocessor import Preprocessor, read_rules

VIDEO_TYPES = ("videomae", "timesformer", "vivit", "vjepa2", "videoprism_vision_model")
"""`model_type` of models that take clips."""
POOLED_TYPES = ("dinov3_vit", "dinov3_convnext", "timm_wrapper")
"""`model_type` of models that take single pictures, and have no classifier in transformers, or one of any name."""
PICTURE_TYPES = ("dinov2", "dinov2_with_registers", "siglip", "siglip2", "clip", *POOLED_TYPES)
"""`model_type` of models that take single pictures."""
ANY_SIZE = ("dinov2", "dinov2_with_registers", *POOLED_TYPES)
"""`model_type` of models that take pictures of the size of their preprocessor's file, whatever their config says."""
LAYER_FILE = "layer.safetensors"
"""The trained layer of a model of `POOLED_TYPES`, beside its weights."""
NEW_WEIGHTS = ("classifier.", "fc_norm.")
"""Beginnings of the names of weights that a pretrained model may lack: they are learned."""
RANK = 16
"""Of mode "lora" (Hu et al. 2022), with alpha twice as large."""


class Backbone(FeatureClassifier):
    """A pretrained model with a new linear layer."""

    def __init__(self, model: Any, mode: str, preprocessor: Preprocessor) -> None:
        """Take a model for L classes, and its preprocessor."""
        super().__init__()
        config = model.config
        self._type, self._input = config.model_type, model.main_input_name
        self.num_classes = config.num_labels
        self.preprocessor, self.normalization = preprocessor, preprocessor.normalization
        self.num_frames: int | None = None
        if self._type in VIDEO_TYPES:
            self.num_frames = getattr(config, "num_frames", None) or config.frames_per_clip
        self.model, self.mode = model, mode
        if self._type in POOLED_TYPES:
            with torch.no_grad():
                width = self._run(torch.zeros(1, 3, *preprocessor.size)).shape[1]
        else:
            width = model.classifier.in_features
            model.classifier = nn.Identity()  # what it would take comes out as its logits
        self.head = nn.Linear(width, self.num_classes)
        rules = json.dumps(preprocessor.rules, sort_keys=True)
        self.identity = model_identity(model, model.config.to_json_string(use_diff=False) + rules)
        model.requires_grad_(mode == "full")
        if mode == "lora":
            self.model = _with_lora(model)

    def features(self, clips: Tensor) -> Tensor:
        """Return features (B,D) of normalized clips (B,T,3,H,W)."""
        batch, frames = clips.shape[:2]
        if self.num_frames is not None and frames != self.num_frames:
            places = (torch.arange(self.num_frames, device=clips.device) + 0.5) * frames / self.num_frames
            clips = clips[:, places.long()]
        pictures = self.preprocessor.resample(clips.flatten(0, 1))
        if self.num_frames is None:
            return self._run(pictures).view(batch, frames, -1).mean(1)
        return self._run(pictures.view(batch, self.num_frames, *pictures.shape[1:])).flatten(1)

    def save(self, folder: Path) -> None:
        """Write the model with its layer into a folder, as transformers reads it."""
        model = self.model.merge_and_unload() if self.mode == "lora" else self.model
        if self._type in POOLED_TYPES:
            model.save_pretrained(folder)
            save_file({name: weight.cpu() for name, weight in self.head.state_dict().items()}, folder / LAYER_FILE)
            return
        model.classifier = self.head
        model.save_pretrained(folder)
        model.classifier = nn.Identity()

    def _run(self, inputs: Tensor) -> Tensor:
        named = {self._input: inputs}
        if self._type == "siglip2":
            named = _patches(inputs, self.model.config.vision_config.patch_size)
        outputs = self.model(**named)
        features: Tensor = outputs.pooler_output if self._type in POOLED_TYPES else outputs.logits
        return features


def load_backbone(place: str, mode: str, classes: tuple[str, ...]) -> Backbone:
    """Load a backbone with a new layer for the classes; raises `InputError` for what cannot be used.

    Weights come from safetensors files only, and no code of the model's own is run. The new layer is drawn from
    torch's own generator.
    """
    labels = {"num_labels": len(classes), "id2label": dict(enumerate(classes))}
    labels["label2id"] = {name: label for label, name in enumerate(classes)}
    model, preprocessor = _load(place, f"student hf:{place}", NEW_WEIGHTS, ignore_mismatched_sizes=True, **labels)
    return Backbone(model, mode, preprocessor)


def load_trained(folder: Path) -> Backbone:
    """Load what `Backbone.save` wrote, with its layer; raises `InputError`."""
    model, preprocessor = _load(str(folder), f"model {folder}", ())
    layer = getattr(model, "classifier", None)
    backbone = Backbone(model, "probe", preprocessor)
    if layer is not None:
        backbone.head = layer
        return backbone
    unread = (OSError, SafetensorError, RuntimeError)
    with fault_of(f"model {folder}", unread, f"{LAYER_FILE} does not hold its layer ({{}}); train and save it again"):
        backbone.head.load_state_dict(load_file(folder / LAYER_FILE))
    return backbone


def _load(place: str, option: str, new_weights: tuple[str, ...], **changes: Any) -> tuple[Any, Preprocessor]:
    """Return a model of transformers and its preprocessor; all weights but `new_weights` must be there."""
    quiet_transformers(option)
    transformers = need("transformers", option, "backbones")
    values = model_config(place, option)
    kind = values.get("model_type", "timm_wrapper" if "pretrained_cfg" in values else "")
    if kind not in (*VIDEO_TYPES, *PICTURE_TYPES):
        own_code = "; it needs code of its own, which is not run" if "auto_map" in values else ""
        raise InputError(
            f"{option}: is a model of type {kind!r}{own_code}; known: {', '.join((*VIDEO_TYPES, *PICTURE_TYPES))}"
        )
    if kind == "timm_wrapper":
        needs = f"needs timm, and the torchvision that was built for torch {torch.__version__}"
        with fault_of(option, (ImportError, RuntimeError), needs + " ({}); install both from the index of torch"):
            importlib.import_module("timm")
        arguments = values.get("model_args") or {}  # timm 1.0.31 writes the number of classes, too, which is ours
        changes["model_args"] = {name: value for name, value in arguments.items() if name != "num_classes"}
    rules = read_rules(place, values, option)
    loader = transformers.AutoModelForVideoClassification
    if kind in PICTURE_TYPES:
        loader = transformers.AutoModel if kind in POOLED_TYPES else transformers.AutoModelForImageClassification
    with fault_of(option, (OSError, ValueError, SafetensorError), "its weights cannot be read ({}); give safetensors"):
        model, loading = loader.from_pretrained(place, use_safetensors=True, output_loading_info=True, **changes)
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith(new_weights))
    if missing:
        raise InputError(
            f"{option}: {len(missing)} weights are missing, such as {missing[0]}; give a model with all of them"
        )
    takes = _input_size(model.config)
    preprocessor = Preprocessor(rules, takes)
    if kind not in ANY_SIZE and takes != preprocessor.size:
        raise InputError(
            f"{option}: takes pictures of {takes} px, but its preprocessor's file gives {preprocessor.size}; copy that "
            "file from the model's page"
        )
    return model, preprocessor


def _input_size(config: Any) -> tuple[int, int]:
    """Return height and width of the pictures that a configuration states; zeros where it states none."""
    vision = getattr(config, "vision_config", config)
    if config.model_type == "siglip2":
        size = math.isqrt(vision.num_patches) * vision.patch_size
    else:
        size = getattr(vision, "image_size", None) or getattr(vision, "crop_size", 0)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _patches(pictures: Tensor, side: int) -> dict[str, Tensor]:
    """Return pictures (B,3,H,W) as SigLIP 2 of any size takes them: patches (B,P,side side 3), and their grid."""
    batch, _, height, width = pictures.shape
    rows, columns = height // side, width // side
    blocks = pictures.reshape(batch, 3, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": blocks.reshape(batch, rows * columns, -1),
        "pixel_attention_mask": torch.ones(batch, rows * columns, dtype=torch.int64, device=pictures.device),
        "spatial_shapes": torch.tensor([[rows, columns]], device=pictures.device).expand(batch, 2),
    }


def _with_lora(model: Any) -> Any:
    """Return the model with low-rank changes of all its linear layers, which alone are trained."""
    peft = need("peft", "mode lora", "backbones")
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise InputError(f"mode lora: {type(model).__name__} has no linear layers to change; take mode probe or full")
    return with_adapters(model, peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=layers))
