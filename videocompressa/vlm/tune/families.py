"""The families of video-language models that can be fine-tuned, and how each of them reads a video.

| family | bounds on the size | time |
|---|---|---|
| Qwen2-VL (arXiv 2409.12191) | pixels of each frame | order only |
| Qwen2.5-VL (arXiv 2502.13923) | the same | seconds from patch to patch, in rotary positions |
| Qwen3-VL (arXiv 2511.21631) | pixels of the complete video | "<1.5 seconds>" in words before each temporal patch |

Numbers are those of the published preprocessor files; a model folder's own files replace them (`models.load_vlm`).
"""

import math
from dataclasses import dataclass

from videocompressa.errors import InputError

VISION_START, VIDEO_PAD, VISION_END = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
VIDEO_BLOCK = f"{VISION_START}{VIDEO_PAD}{VISION_END}"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (VISION_START, VIDEO_PAD, VISION_END, TURN_START, TURN_END)
"""What a tokenizer must have as single tokens."""

MAX_ASPECT = 200
"""Long side / short side that the models take at most."""


@dataclass(frozen=True)
class PixelRules:
    """How frames become patches."""

    patch: int
    """Pixels of a patch on each side."""
    mean: tuple[float, float, float]
    """Of each color channel, pixels in [0,1]."""
    std: tuple[float, float, float]
    min_pixels: int
    """Frames with fewer pixels are enlarged, >= 1."""
    max_pixels: int
    """Frames with more pixels are shrunk."""
    per_video: bool = False
    """Whether the bounds count the pixels of all frames together, or those of each frame."""
    merge: int = 2
    """Patches on each side that become one token."""
    temporal: int = 2
    """Frames that become one temporal patch."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_pixels <= self.max_pixels:
            raise InputError(
                f"--min-pixels {self.min_pixels} and --max-pixels {self.max_pixels}: give at least 1, and no more for "
                "the smallest than for the largest"
            )

    @property
    def factor(self) -> int:
        """Pixels that a token spans on each side."""
        return self.patch * self.merge

    def target_size(self, num_frames: int, height: int, width: int) -> tuple[int, int]:
        """Return the (H,W) that frames are resized to: multiples of `factor`, within the bounds, about the same shape.

        The published rule of each family, for an even number of frames.
        """
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise InputError(f"frames of {height}x{width} px are too long; the models take at most {MAX_ASPECT} to 1")
        if self.per_video and min(height, width) < self.factor:
            scale = max(self.factor / height, self.factor / width)
            height, width = int(height * scale), int(width * scale)
        share = num_frames if self.per_video else 1
        area = share * height * width
        # At least one token: the published rule gives none where the lower bound is next to nothing.
        target = [max(1, round(side / self.factor)) for side in (height, width)]
        pixels = share * target[0] * target[1] * self.factor**2
        if pixels > self.max_pixels:
            shrink = math.sqrt(area / self.max_pixels)
            target = [max(1, math.floor(side / shrink / self.factor)) for side in (height, width)]
        elif pixels < self.min_pixels:
            grow = math.sqrt(self.min_pixels / area)
            target = [math.ceil(side * grow / self.factor) for side in (height, width)]
        return target[0] * self.factor, target[1] * self.factor


@dataclass(frozen=True)
class ModelFamily:
    """One family of models."""

    model_class: str
    """Class of transformers."""
    rules: PixelRules
    system: str = ""
    """How the published chat template begins."""
    seconds_in_positions: bool = False
    """Whether the model takes `second_per_grid_ts`."""
    seconds_in_words: bool = False
    """Whether each temporal patch is a block of its own after its time."""


_QWEN2 = PixelRules(
    patch=14,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    min_pixels=128 * 28 * 28,
    max_pixels=768 * 28 * 28,
)
_QWEN3 = PixelRules(
    patch=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), min_pixels=4096, max_pixels=25_165_824, per_video=True
)
_ASSISTANT = "You are a helpful assistant."

MODEL_FAMILIES: dict[str, ModelFamily] = {
    "qwen2_vl": ModelFamily("Qwen2VLForConditionalGeneration", _QWEN2, _ASSISTANT),
    "qwen2_5_vl": ModelFamily("Qwen2_5_VLForConditionalGeneration", _QWEN2, _ASSISTANT, seconds_in_positions=True),
    "qwen3_vl": ModelFamily("Qwen3VLForConditionalGeneration", _QWEN3, seconds_in_words=True),
}
"""Every family by the `model_type` of its config.json."""


def find_family(model_type: str, where: str) -> ModelFamily:
    """Return the family of a model; raises `InputError` with the known ones."""
    if model_type not in MODEL_FAMILIES:
        known = ", ".join(f"{name} ({family.model_class})" for name, family in MODEL_FAMILIES.items())
        raise InputError(f"--model {where}: is of type {model_type!r}, which is not supported; known: {known}")
    return MODEL_FAMILIES[model_type]
