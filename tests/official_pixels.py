"""The pictures that an official processor gives to its model, and its file.

    python official_pixels.py PROCESSOR FRAMES.safetensors FOLDER [--stub-operators]

FRAMES holds videos (F,3,H,W) uint8. FOLDER gets the processor's file, and its outputs as `pixels.safetensors`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision_runs import declare_operators


def official_pixels(name: str, frames: Tensor, folder: Path) -> dict[str, Tensor]:
    """Return what the processor makes of the frames; its file is written to the folder."""
    import transformers

    processor = getattr(transformers, name)()
    processor.save_pretrained(folder)
    given = [frames] if "VideoProcessor" in name else list(frames)
    return {key.removesuffix("_videos"): value for key, value in processor(given, return_tensors="pt").items()}


if __name__ == "__main__":
    library = declare_operators()
    out, pixels = Path(sys.argv[3]), {}
    for key, frames in load_file(sys.argv[2]).items():
        pixels[key] = official_pixels(sys.argv[1], frames, out)["pixel_values"].flatten(0, -4).contiguous()
    save_file(pixels, out / "pixels.safetensors")
