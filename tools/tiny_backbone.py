"""Write the folder of a tiny backbone with random weights, to try `--student hf:FOLDER` with: it learns in seconds.

python tools/tiny_backbone.py FOLDER [--type videomae]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from videocompressa.hub import quiet_transformers

SIDE, FRAMES, WIDTH = 32, 4, 32
STD = 0.15
"""Of the weights: those of so narrow a model must be larger than usual to pass on what they see."""
_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_CONVOLUTIONS = {"hidden_sizes": [16, WIDTH], "depths": [1, 1], "layer_scale_init_value": 1.0}
_PATCHES = {"image_size": SIDE, "patch_size": 8}
_CLIPS = {"image_size": SIDE, "num_frames": FRAMES}
CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "videomae": ("VideoMAE", "VideoClassification", {**_SIZES, **_PATCHES, "num_frames": FRAMES, "tubelet_size": 2}),
    "timesformer": ("Timesformer", "VideoClassification", {**_SIZES, **_PATCHES, "num_frames": FRAMES}),
    "vivit": ("Vivit", "VideoClassification", {**_SIZES, **_CLIPS, "tubelet_size": [2, 8, 8]}),
    "vjepa2": (
        "VJEPA2",
        "VideoClassification",
        {
            "crop_size": SIDE, "patch_size": 8, "frames_per_clip": FRAMES, "hidden_size": WIDTH,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_pooler_layers": 1, "pred_hidden_size": WIDTH,
            "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1,
        },
    ),
    "videoprism": (
        "VideoPrismVision",
        "VideoClassification",
        {
            **_CLIPS, "tubelet_size": [1, 8, 8], "hidden_size": WIDTH, "num_spatial_layers": 1,
            "num_temporal_layers": 1, "num_auxiliary_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
        },
    ),
    "dinov2": ("Dinov2", "ImageClassification", {**_SIZES, **_PATCHES}),
    "dinov2_with_registers": ("Dinov2WithRegisters", "ImageClassification", {**_SIZES, **_PATCHES}),
    "dinov3_vit": ("DINOv3ViT", "", {**_SIZES, **_PATCHES}),
    "dinov3_convnext": ("DINOv3ConvNext", "", {"image_size": SIDE, **_CONVOLUTIONS}),
    "siglip": ("Siglip", "ImageClassification", {"vision_config": {**_SIZES, **_PATCHES}}),
    "siglip2": ("Siglip2", "ImageClassification", {"vision_config": {**_SIZES, "patch_size": 8, "num_patches": 16}}),
    "clip": ("CLIP", "ImageClassification", {"vision_config": {**_SIZES, **_PATCHES}}),
}  # fmt: skip
"""By type: the beginning of its names in transformers, what its automatic class ends in, and its configuration."""
RULES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "do_normalize": True}


def write_backbone(folder: Path, name: str, *, rules: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """Write a model of three classes, and the file of its preprocessor."""
    import transformers

    kind, task, values = CONFIGS[name]
    config = getattr(transformers, f"{kind}Config")(num_labels=3, initializer_range=STD, **values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"AutoModelFor{task}" if task else "AutoModel").from_config(config)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(RULES if rules is None else rules))
    return folder


def main() -> None:
    """Write a model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--type", choices=list(CONFIGS), default="videomae")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    quiet_transformers("tiny_backbone.py")
    print(f"wrote {write_backbone(options.folder, options.type, seed=options.seed)}")


if __name__ == "__main__":
    main()
