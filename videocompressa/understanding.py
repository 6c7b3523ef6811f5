"""The video understanding module: the student in latent space whose task loss trains the selector (step 5).

It reads clips of scaled latents (B,T,C,h,w), so it costs a small fraction of a student on pixels, and it sees exactly
what the synthetic set will store. With `temporal` it understands video: after each 2-D convolution a convolution over
three frames. Without it (the ablation) every frame is judged alone and the logits are averaged: a frame-wise 2-D
student, blind to order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UnderstandingModule(nn.Module):
    """A small (2+1)-D ConvNet on latents: logits (B,L) from (B,T,C,h,w).

    Our choice of layers: the paper names the module and its ablation only. Weights are drawn from `generator`.
    """

    def __init__(
        self, channels: int, num_classes: int, *, temporal: bool, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.temporal = temporal
        sides = [(channels, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
        with torch.device("meta"):  # no draw from the global random state
            self.space = nn.ModuleList(nn.Conv2d(a, b, 3, stride, 1, bias=False) for a, b, stride in sides)
            self.norms = nn.ModuleList(nn.GroupNorm(8, b) for _, b, _ in sides)
            self.time = nn.ModuleList(nn.Conv1d(b, b, 3, padding=1) for _, b, _ in sides)
            self.head = nn.Linear(2 * width, num_classes)
        self.to_empty(device="cpu")
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, latents: Tensor) -> Tensor:
        """Return (B,T,D) features of every frame of (B,T,C,h,w)."""
        num_clips, num_frames = latents.shape[:2]
        maps = latents.flatten(0, 1)
        for space, norm, time in zip(self.space, self.norms, self.time, strict=True):
            maps = F.relu(norm(space(maps)))
            if self.temporal:
                maps = F.relu(maps + _over_time(time, maps, num_clips))
        return maps.mean((2, 3)).view(num_clips, num_frames, -1)

    def forward(self, latents: Tensor) -> Tensor:
        """Return logits (B,L)."""
        logits: Tensor = self.head(self.features(latents)).mean(1)
        return logits


def _over_time(conv: nn.Module, maps: Tensor, num_clips: int) -> Tensor:
    """Apply a convolution over the T frames at every cell of (B*T,C,h,w) maps."""
    _, channels, height, width = maps.shape
    series = maps.view(num_clips, -1, channels, height * width).permute(0, 3, 2, 1)  # (B,hw,C,T)
    mixed: Tensor = conv(series.flatten(0, 1)).view(num_clips, height * width, channels, -1)
    return mixed.permute(0, 3, 2, 1).reshape(-1, channels, height, width)
