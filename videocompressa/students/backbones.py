"""Pretrained backbones of transformers as students, by hub name or folder.

1. Clips are resampled to the backbone's frames and size: the nearest frame, bilinear with antialiasing.
2. They are normalized by the model's own preprocessor file, as it was pretrained.
3. Features (B,D) are what its classifier takes; of a model of pictures, their mean over the frames.
4. A new linear layer gives the logits. What else is trained is the mode's choice (`named.MODES`).
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from videocompressa.clip import Normalization
from videocompressa.errors import InputError
from videocompressa.hub import (
    fault_of,
    model_config,
    model_identity,
    model_json,
    need,
    quiet_transformers,
    with_adapters,
)
from videocompressa.networks import FeatureClassifier

VIDEO_TYPES = ("videomae", "timesformer", "vivit", "vjepa2", "videoprism_vision_model")
"""`model_type` of models that take clips."""
PICTURE_TYPES = ("dinov2", "dinov2_with_registers", "siglip", "siglip2", "clip", "timm_wrapper")
"""`model_type` of models that take single pictures."""
RULE_FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Files with the normalization of a model; the first that has one counts."""
NEW_WEIGHTS = ("classifier.", "fc_norm.")
"""Beginnings of the names of weights that a pretrained model may lack: they are learned."""
RANK = 16
"""Of mode "lora" (Hu et al. 2022), with alpha twice as large."""


class Backbone(FeatureClassifier):
    """A pretrained model with a new linear layer."""

    def __init__(self, model: Any, mode: str, rules: dict[str, Any]) -> None:
        """Take a `...ForVideoClassification` or `...ForImageClassification` for L classes, and its preprocessor."""
        super().__init__()
        config = model.config
        vision = getattr(config, "vision_config", config)
        self.num_classes = config.num_labels
        self.normalization, self.rules = _normalization(rules), rules
        self.num_frames: int | None = None
        if config.model_type in VIDEO_TYPES:
            self.num_frames = getattr(config, "num_frames", None) or config.frames_per_clip
        size = getattr(vision, "image_size", None) or vision.crop_size
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else tuple(size)
        self._input = model.main_input_name
        self.head = nn.Linear(model.classifier.in_features, self.num_classes)
        model.classifier = nn.Identity()  # what it would take comes out as its logits
        self.identity = model_identity(model, model.config.to_json_string(use_diff=False))
        self.mode, self.model = mode, model
        model.requires_grad_(mode == "full")
        if mode == "lora":
            self.model = _with_lora(model)

    def features(self, clips: Tensor) -> Tensor:
        """Return features (B,D) of normalized clips (B,T,3,H,W)."""
        batch, frames = clips.shape[:2]
        if self.num_frames is not None and frames != self.num_frames:
            places = (torch.arange(self.num_frames, device=clips.device) + 0.5) * frames / self.num_frames
            clips = clips[:, places.long()]
        pictures = clips.flatten(0, 1)
        if pictures.shape[2:] != self.size:
            pictures = functional.interpolate(pictures, self.size, mode="bilinear", antialias=True, align_corners=False)
        if self.num_frames is None:
            return self._run(pictures).view(batch, frames, -1).mean(1)
        return self._run(pictures.view(batch, self.num_frames, *pictures.shape[1:])).flatten(1)

    def save(self, folder: Path) -> None:
        """Write the model with its layer and its preprocessor into a folder, as transformers reads it."""
        model = self.model.merge_and_unload() if self.mode == "lora" else self.model
        model.classifier = self.head
        model.save_pretrained(folder)
        model.classifier = nn.Identity()

    def _run(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.model(**{self._input: inputs}).logits
        return features


def load_backbone(place: str, mode: str, classes: tuple[str, ...]) -> Backbone:
    """Load a backbone with a new layer for the classes; raises `InputError` for what cannot be used.

    Weights come from safetensors files only, and no code of the model's own is run. The new layer is drawn from
    torch's own generator.
    """
    labels = {"num_labels": len(classes), "id2label": dict(enumerate(classes))}
    labels["label2id"] = {name: label for label, name in enumerate(classes)}
    model, rules = _load(place, f"student hf:{place}", NEW_WEIGHTS, ignore_mismatched_sizes=True, **labels)
    return Backbone(model, mode, rules)


def load_trained(folder: Path) -> Backbone:
    """Load what `Backbone.save` wrote, with its layer; raises `InputError`."""
    model, rules = _load(str(folder), f"model {folder}", ())
    layer = model.classifier
    backbone = Backbone(model, "probe", rules)
    backbone.head = layer
    return backbone


def _load(place: str, option: str, new_weights: tuple[str, ...], **changes: Any) -> tuple[Any, dict[str, Any]]:
    """Return a model of transformers and its preprocessor's rules; all weights but `new_weights` must be there."""
    quiet_transformers(option)
    transformers = need("transformers", option, "backbones")
    values = model_config(place, option)
    kind = values.get("model_type", "")
    if kind not in (*VIDEO_TYPES, *PICTURE_TYPES):
        own_code = "; it needs code of its own, which is not run" if "auto_map" in values else ""
        raise InputError(
            f"{option}: is a model of type {kind!r}{own_code}; known: {', '.join((*VIDEO_TYPES, *PICTURE_TYPES))}"
        )
    rules = _rules(place, option)
    loader = transformers.AutoModelForVideoClassification
    if kind in PICTURE_TYPES:
        loader = transformers.AutoModelForImageClassification
    with fault_of(option, (OSError, ValueError, SafetensorError), "its weights cannot be read ({}); give safetensors"):
        model, loading = loader.from_pretrained(place, use_safetensors=True, output_loading_info=True, **changes)
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith(new_weights))
    if missing:
        raise InputError(
            f"{option}: {len(missing)} weights are missing, such as {missing[0]}; give a model with all of them"
        )
    return model, rules


def _rules(place: str, option: str) -> dict[str, Any]:
    """Return the content of the preprocessor file that has a normalization."""
    for file in RULE_FILES:
        values = model_json(place, file, option)
        for rules in (values, values.get("video_processor") or {}, values.get("image_processor") or {}):
            if "image_mean" in rules or rules.get("do_normalize") is False:
                return dict(rules)
    raise InputError(
        f"{option}: has no normalization in {', '.join(RULE_FILES)}; copy the preprocessor's file from the model's page"
    )


def _normalization(rules: dict[str, Any]) -> Normalization:
    """Return the normalization of pixels in [0,1] that these rules are: rescale, offset, then mean and deviation."""
    scale = 255 * rules.get("rescale_factor", 1 / 255) if rules.get("do_rescale", True) else 255.0
    offset = 1.0 if rules.get("offset") and rules.get("do_rescale", True) else 0.0
    mean, std = [0.0] * 3, [1.0] * 3
    if rules.get("do_normalize", True):
        mean, std = rules["image_mean"], rules["image_std"]
    shifted = [(each + offset) / scale for each in mean]
    scaled = [each / scale for each in std]
    return Normalization((shifted[0], shifted[1], shifted[2]), (scaled[0], scaled[1], scaled[2]))


def _with_lora(model: Any) -> Any:
    """Return the model with low-rank changes of all its linear layers, which alone are trained."""
    peft = need("peft", "mode lora", "backbones")
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return with_adapters(model, peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=layers))
