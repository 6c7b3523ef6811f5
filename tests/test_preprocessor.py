"""Pictures as pretrained models take them: by the files of the official processors, and equal to what those compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from official_pixels import official_pixels
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision_runs import run_with_torchvision

from videocompressa.students.backbones import _patches
from videocompressa.students.preprocessor import Preprocessor, read_rules

pytest.importorskip("transformers", reason="needs the extra backbones")

SIZES = ((48, 48), (224, 224), (300, 300), (60, 96))


def frames_of(size: tuple[int, int], low: int = 64, high: int = 192) -> Tensor:
    """Random pixels, by default so gray that bicubic resizing stays within their range."""
    draws = torch.Generator().manual_seed(0)
    return torch.randint(low, high, (4, 3, *size), dtype=torch.uint8, generator=draws)


def distances(folder: Path, frames: Tensor, official: Tensor) -> Tensor:
    """How many steps of a pixel of 8 bits ours are away from the official ones."""
    ours = Preprocessor(read_rules(str(folder), {}, "student"), (1, 1))
    pictures = ours.resample(ours.normalization.apply(frames.float() / 255))
    return (pictures - official).abs() * 255 * torch.tensor(ours.normalization.std).view(3, 1, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["BitImageProcessorPil", "SiglipImageProcessorPil", "CLIPImageProcessorPil"])
def test_pictures_are_those_of_pillow(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    """Pillow rounds to 8 bits after each of the two directions of a resize; we do not."""
    gray, full = frames_of(size), frames_of(size, 0, 256)
    away = distances(tmp_path, gray, official_pixels(name, gray, tmp_path)["pixel_values"])
    assert float(away.max()) < (1e-3 if size == (224, 224) else 2)
    # Between the two directions Pillow also cuts what bicubic adds to black and white: a few pixels of pure noise.
    assert float(distances(tmp_path, full, official_pixels(name, full, tmp_path)["pixel_values"]).mean()) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "edge"),
    [
        ("VideoMAEVideoProcessor", 224),
        ("VivitVideoProcessor", 256),
        ("VJEPA2VideoProcessor", 292),
        ("TimesformerVideoProcessor", 224),
        ("DINOv3ViTImageProcessor", 224),
    ],
)
def test_pictures_are_those_of_torchvision(name: str, edge: int, tmp_path: Path) -> None:
    """Video processors round to 8 bits after a resize; we do not. Without a resize to `edge`, all are equal."""
    frames = {str(size): frames_of(size, 0, 256) for size in (*SIZES, (edge, edge))}
    save_file(frames, tmp_path / "frames.safetensors")
    run_with_torchvision("official_pixels.py", name, tmp_path / "frames.safetensors", tmp_path)
    for size, official in load_file(tmp_path / "pixels.safetensors").items():
        away = distances(tmp_path, frames[size], official)
        assert float(away.max()) < (1e-3 if size == str((edge, edge)) else 1.01), size


def test_patches_are_those_of_siglip_2(tmp_path: Path) -> None:
    frames = frames_of((256, 256))
    official = official_pixels("Siglip2ImageProcessorPil", frames, tmp_path)
    ours = Preprocessor(read_rules(str(tmp_path), {}, "student"), (256, 256))
    patches = _patches(ours.resample(ours.normalization.apply(frames.float() / 255)), 16)
    torch.testing.assert_close(patches["pixel_values"], official["pixel_values"], rtol=0, atol=1e-5)
    for name in ("spatial_shapes", "pixel_attention_mask"):
        assert patches[name].tolist() == official[name].tolist()
