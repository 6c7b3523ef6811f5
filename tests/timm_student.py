"""Models of timm as students, in all modes: a process of its own, because timm imports torchvision.

python timm_student.py FOLDER [--stub-operators]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torchvision_runs import declare_operators

TRANSFORMS = {"crop_pct": 0.875, "interpolation": "bicubic", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def write_timm(folder: Path, name: str, **values: object) -> Path:
    """Write a tiny model as timm itself does for the hub: with a classifier of 5 classes of its own."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **values)
    model.pretrained_cfg |= {**TRANSFORMS, "input_size": (3, 32, 32)}
    timm.models.save_for_hf(model, folder, model_args=values, safe_serialization=True)
    return folder


def check_pictures(place: Path) -> None:
    """Features are those of timm's own model behind timm's own transforms."""
    import timm
    from PIL import Image

    from videocompressa.students.backbones import load_backbone

    model = timm.create_model(f"local-dir:{place}", pretrained=True, num_classes=0).eval()
    pixels = torch.randint(64, 192, (3, 48, 48, 3), dtype=torch.uint8)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    pictures = torch.stack([transform(Image.fromarray(each.numpy())) for each in pixels])
    student = load_backbone(str(place), "probe", ("a", "b")).eval()
    clips = student.normalization.apply(pixels.permute(0, 3, 1, 2)[None] / 255)
    assert float((student.preprocessor.resample(clips[0]) - pictures).abs().max()) < 2 / 255 / 0.2
    with torch.no_grad():
        torch.testing.assert_close(student.features(clips)[0], model(pictures).mean(0), rtol=0.05, atol=0.02)


def main(folder: Path) -> None:
    from test_backbones import check_modes

    from videocompressa.errors import InputError
    from videocompressa.students.backbones import load_backbone

    tiny = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    transformer = write_timm(folder / "vit", "vit_tiny_patch16_224", **tiny)
    check_pictures(transformer)
    check_modes(f"timm:{transformer}", folder, classes_in="label_names")
    convolutions = write_timm(folder / "resnet", "resnet10t")
    check_pictures(convolutions)
    with pytest.raises(InputError, match="TimmWrapperModel has no linear layers to change; take mode probe or full"):
        load_backbone(str(convolutions), "lora", ("a", "b"))


if __name__ == "__main__":
    library = declare_operators()
    main(Path(sys.argv[1]))
