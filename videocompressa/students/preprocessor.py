"""How a pretrained model takes pictures: by the file of its own processor.

1. Resize, antialiased: to `size`, or the shorter side to its `shortest_edge`.
2. Cut the middle of `crop_size` out.
3. Rescale, subtract the mean, divide by the deviation.

The student is given normalized pictures, so 3 comes first: it commutes with the others, but for the bounds that bicubic
resizing may leave, which are cut here as they are there.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.clip import Normalization
from videocompressa.errors import InputError
from videocompressa.hub import model_json

FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Files with the rules of a model; the first that has a normalization counts."""
_BICUBIC = (1, 3)
"""`resample` of Pillow: Lanczos, which torch does not have, and bicubic. All others are bilinear here."""


class Preprocessor:
    """The rules of a processor, and what they do to pictures."""

    def __init__(self, rules: dict[str, Any], usual: tuple[int, int]) -> None:
        """Take the content of the file, and the size of the model's inputs, which counts where the file has none."""
        self.rules, size = rules, rules.get("size")
        self.normalization = _normalization(rules)
        exact, edge = _sides(size), size.get("shortest_edge") if isinstance(size, dict) else size
        crop = _sides(rules.get("crop_size")) if rules.get("do_center_crop", True) else None
        self.size = crop or exact or _sides(edge) or usual
        """Height and width in pixels."""
        self._resized, self._edge = exact or self.size, max(edge, *crop) if crop and edge else None
        self._mode = "bicubic" if rules.get("resample") in _BICUBIC else "bilinear"

    def resample(self, pictures: Tensor) -> Tensor:
        """Return normalized pictures (B,3,H,W) at the model's size."""
        sides, resized = tuple(pictures.shape[2:]), self._resized
        if self._edge:
            resized = (self._edge * sides[0] // min(sides), self._edge * sides[1] // min(sides))
        if sides != resized:
            pictures = functional.interpolate(pictures, resized, mode=self._mode, antialias=True, align_corners=False)
            black, white = self.normalization.apply(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1))
            pictures = pictures.clamp(black.to(pictures), white.to(pictures))
        top, left = ((side - kept) // 2 for side, kept in zip(resized, self.size, strict=True))
        return pictures[:, :, top : top + self.size[0], left : left + self.size[1]]


def read_rules(place: str, config: dict[str, Any], option: str) -> dict[str, Any]:
    """Return the rules of a model (hub name or folder) with this config.json; raises `InputError` for none."""
    if "pretrained_cfg" in config:
        return _timm_rules(config["pretrained_cfg"])
    for file in FILES:
        values = model_json(place, file, option)
        for rules in (values, values.get("video_processor") or {}, values.get("image_processor") or {}):
            if "image_mean" in rules or rules.get("do_normalize") is False:
                return dict(rules)
    raise InputError(
        f"{option}: has no normalization in {', '.join(FILES)}; copy the preprocessor's file from the model's page"
    )


def _timm_rules(values: dict[str, Any]) -> dict[str, Any]:
    """Return what timm's transforms do, in the names of transformers: the crop is a share of the resized picture.

    Where the border is odd, transformers halves it downward, which may be a pixel away from timm's crop.
    """
    height, width = values["input_size"][1:]
    return {
        "image_mean": values["mean"],
        "image_std": values["std"],
        "size": {"shortest_edge": math.floor(min(height, width) / values.get("crop_pct", 0.875))},
        "crop_size": {"height": height, "width": width},
        "resample": 2 if values.get("interpolation") == "bilinear" else 3,
    }


def _sides(size: Any) -> tuple[int, int] | None:
    """Return height and width of a size of a file; None where it gives only an edge, or nothing."""
    if isinstance(size, int):
        return size, size
    return (size["height"], size["width"]) if size and "height" in size else None


def _normalization(rules: dict[str, Any]) -> Normalization:
    """Return the normalization of pixels in [0,1] that these rules are: rescale, offset, then mean and deviation."""
    rescaled = rules.get("do_rescale", True)
    scale = 255 * rules.get("rescale_factor", 1 / 255) if rescaled else 255.0
    # The processor of Vivit always has the offset; its newer files do not mention it.
    offset = (
        1.0 if rescaled and rules.get("offset", rules.get("video_processor_type") == "VivitVideoProcessor") else 0.0
    )
    mean, std = [0.0] * 3, [1.0] * 3
    if rules.get("do_normalize", True):
        mean, std = rules["image_mean"], rules["image_std"]
    shifted = [(each + offset) / scale for each in mean]
    scaled = [each / scale for each in std]
    return Normalization((shifted[0], shifted[1], shifted[2]), (scaled[0], scaled[1], scaled[2]))
