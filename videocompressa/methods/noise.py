"""Noise: a control, not a method to compress with. Its clips show random colors, and nothing of any video.

With labels "views" it says what the labeler alone teaches: students see random views of noise, labeled by it.

1. Choose VPC videos of each class at random, and K evenly spaced frames of each, for their times and class names only.
2. Draw for every keyframe a grid of 4 x 4 colors, uniform in [0,1], and resize it bilinearly (our choice: finer noise
   would take more bytes than real keyframes do, and would not be comparable).
3. Store the codec's latents of these pictures, with the labels that were asked for.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.methods.config import MethodConfig
from videocompressa.run import Run
from videocompressa.selection.keyframes import UniformSelector, check_keyframes
from videocompressa.selection.videos import choose_videos
from videocompressa.synthetic import Budget, SyntheticSet

GRID = 4
"""Colors along each side."""


@dataclass(frozen=True)
class NoiseConfig(MethodConfig):
    """Random colors in place of real keyframes: a control."""

    name: ClassVar[str] = "noise"

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """Return `budget.videos_per_class` clips of noise for each class as `budget.keyframes` latents each."""
        clip = train_data.clip
        check_keyframes(budget.keyframes, clip.num_frames)
        rows = choose_videos(train_data, "random", budget, run.generator("videos"))
        frames, draws = train_data.frames[rows], run.generator("keyframes")
        positions = UniformSelector().positions(frames, budget.keyframes, draws)
        colors = torch.rand(positions.numel(), 3, GRID, GRID, generator=run.generator("colors"))
        latents = codec.encode(functional.interpolate(colors, (clip.height, clip.width), mode="bilinear"))
        latents = latents.view(*positions.shape, *latents.shape[1:])
        synthetic = self.gather(train_data, rows, positions, codec, run, latents)
        return self.relabel(synthetic, self.train_teachers(train_data, codec, budget.keyframes, run), run)
