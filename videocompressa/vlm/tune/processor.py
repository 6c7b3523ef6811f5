"""Clips and questions as the pixel patches and token ids of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, without torchvision.

1. Frames: an odd count becomes even by repeating the last frame (and its time).
2. Size: (H,W) to multiples of a token's side within the family's bounds (`PixelRules.target_size`), bicubic with
   antialiasing on uint8.
3. Patches: normalized frames are cut to (t,h,w) patches of `temporal` x `patch` x `patch` pixels, ordered so that the
   `merge` x `merge` patches of one token are next to each other.
4. Text: the family's chat template around one <|video_pad|>, which is then repeated for every token of the video;
   Qwen3-VL has a block for every temporal patch, after its time in seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from videocompressa.errors import InputError
from videocompressa.vlm.export.items import VideoFrames
from videocompressa.vlm.tune.families import TURN_END, TURN_START, VIDEO_BLOCK, VIDEO_PAD, ModelFamily, PixelRules

IGNORED = -100
"""Label of a token that is not learned."""
VIDEO_TYPE = 2
"""Type of a video token, for the rotary positions (text is 0, image 1)."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """One clip and one question, up to where the model answers."""

    ids: tuple[int, ...]
    """S token ids."""
    patches: Tensor
    """(t*h*w, 3*temporal*patch*patch) float32."""
    grid: tuple[int, int, int]
    """Patches (t,h,w)."""
    seconds_per_patch: float
    """Seconds from one temporal patch to the next."""


class VideoProcessor:
    """Makes prompts and answers for a family, with a tokenizer that has `families.SPECIAL_TOKENS`."""

    def __init__(self, tokenizer: Any, family: ModelFamily, rules: PixelRules) -> None:
        self.tokenizer, self.family, self.rules = tokenizer, family, rules
        self.video_id = int(tokenizer.convert_tokens_to_ids(VIDEO_PAD))
        self.end_id = int(tokenizer.convert_tokens_to_ids(TURN_END))

    def prompt(self, video: VideoFrames, question: str) -> Prompt:
        """Return the prompt of a clip and a question (one line of text)."""
        even = video.padded(self.rules.temporal)
        patches, grid = to_patches(even.frames, self.rules)
        blocks = [VIDEO_BLOCK]
        if self.family.seconds_in_words:
            times = even.times_seconds.reshape(grid[0], -1)
            middles = (times[:, 0] + times[:, -1]) / 2
            blocks = [f"<{seconds:.1f} seconds>{VIDEO_BLOCK}" for seconds in middles.tolist()]
        system = f"{TURN_START}system\n{self.family.system}{TURN_END}\n" if self.family.system else ""
        user = f"{TURN_START}user\n{''.join(blocks)}{question}{TURN_END}\n"
        ids = self._encode(f"{system}{user}{TURN_START}assistant\n")
        if ids.count(self.video_id) != len(blocks):
            raise InputError(f"question {question!r} holds {VIDEO_PAD}; write it without any token of the model")
        tokens_a_block = len(patches) // self.rules.merge**2 // len(blocks)
        spread = tuple(token for token in ids for _ in range(tokens_a_block if token == self.video_id else 1))
        return Prompt(spread, patches, grid, seconds_per_patch(even.times_seconds, self.rules.temporal))

    def answer(self, text: str) -> tuple[int, ...]:
        """Return the token ids of an answer, with the end of the turn: a name is not taken for a longer one's start."""
        return (*self._encode(text), self.end_id)

    def text_of(self, ids: Sequence[int]) -> str:
        """Return the words of token ids, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _encode(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(text, add_special_tokens=False)]


def to_patches(frames: Tensor, rules: PixelRules) -> tuple[Tensor, tuple[int, int, int]]:
    """Return the normalized patches of (F,3,H,W) uint8 frames and their grid (t,h,w).

    F is a multiple of `rules.temporal`. Patches are (t*h*w, 3*temporal*patch*patch) float32.
    """
    num_frames, channels, height, width = frames.shape
    target = rules.target_size(num_frames, height, width)
    if target != (height, width):
        # uint8 in and out: the official processors round to integer pixel values here, too.
        frames = functional.interpolate(frames, target, mode="bicubic", antialias=True, align_corners=False)
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (rules.mean, rules.std))
    pixels = (frames.float() - mean) / std
    time, patch, merge = rules.temporal, rules.patch, rules.merge
    grid = (num_frames // time, target[0] // patch, target[1] // patch)
    cut = pixels.reshape(grid[0], time, channels, grid[1] // merge, merge, patch, grid[2] // merge, merge, patch)
    ordered = cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return ordered.reshape(grid[0] * grid[1] * grid[2], -1), grid


def seconds_per_patch(times_seconds: Tensor, temporal: int) -> float:
    """Return the mean seconds from one temporal patch to the next; one second a frame where all times are equal.

    Keyframes are not evenly spaced, and the model takes one number a video: our choice is the mean.
    """
    span = float(times_seconds[-1] - times_seconds[0])
    steps = int((times_seconds.diff() > 0).sum())
    return temporal * (span / steps if steps else 1.0)


def collate(
    prompts: Sequence[Prompt], answers: Sequence[Sequence[int]], processor: VideoProcessor, device: torch.device
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the model's inputs for B prompts with their answers, padded on the right, and the labels, on `device`.

    The labels (B,S) hold the answers' tokens and `IGNORED` elsewhere; with empty answers, prompts alone.
    """
    pairs = list(zip(prompts, answers, strict=True))
    rows = [torch.tensor([*prompt.ids, *answer]) for prompt, answer in pairs]
    labels = [torch.tensor([IGNORED] * len(prompt.ids) + [*answer]) for prompt, answer in pairs]
    ids = pad_sequence(rows, batch_first=True, padding_value=processor.end_id)
    inputs = {
        "input_ids": ids,
        "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
        "mm_token_type_ids": (ids == processor.video_id).int() * VIDEO_TYPE,
        "pixel_values_videos": torch.cat([prompt.patches for prompt in prompts]),
        "video_grid_thw": torch.tensor([prompt.grid for prompt in prompts]),
    }
    if processor.family.seconds_in_positions:
        inputs["second_per_grid_ts"] = torch.tensor([prompt.seconds_per_patch for prompt in prompts])
    padded = pad_sequence(labels, batch_first=True, padding_value=IGNORED)
    return {name: tensor.to(device) for name, tensor in inputs.items()}, padded.to(device)
