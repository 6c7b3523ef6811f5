"""The video understanding module: the student in latent space whose task loss trains the selector (step 5).

1. h_BTD = stem(Z): a 2-D ConvNet on the latents of each frame alone.
2. logits = head(mean over T of the temporal blocks of h): convolutions over three neighboring frames, with residuals.

It reads scaled latents, so it costs a small fraction of a student on pixels. The stem is frame-wise, so it commutes
with selection, stem(select(Z)) = select(stem(Z)), and selection can act on h instead of Z: the same forward value, but
the loss as a function of the selected features is far smoother, which is what bounds the bias of the straight-through
gradient (Theorem 2, docs/method.md). Without `temporal` (the ablation) every frame is classified alone and the student
is blind to order: a frame-wise 2-D student.

The paper names the module and its ablation only; the layers are our choice.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UnderstandingModule(nn.Module):
    """A frame-wise ConvNet on latents, then convolutions over time. Weights are drawn from `generator`."""

    def __init__(
        self, channels: int, num_classes: int, *, temporal: bool, width: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        sides = [(channels, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
        features = 2 * width
        with torch.device("meta"):  # no draw from the global random state
            self.space = nn.ModuleList(nn.Conv2d(a, b, 3, stride, 1, bias=False) for a, b, stride in sides)
            self.norms = nn.ModuleList(nn.GroupNorm(8, b) for _, b, _ in sides)
            self.time = nn.ModuleList(nn.Conv1d(features, features, 3, padding=1) for _ in range(2 if temporal else 0))
            self.head = nn.Linear(features, num_classes)
        self.to_empty(device="cpu")
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def stem(self, latents: Tensor) -> Tensor:
        """Return features (B,T,D) of every frame of latents (B,T,C,h,w), each frame alone."""
        num_clips, num_frames = latents.shape[:2]
        maps = latents.flatten(0, 1)
        for space, norm in zip(self.space, self.norms, strict=True):
            maps = F.relu(norm(space(maps)))
        return maps.mean((2, 3)).view(num_clips, num_frames, -1)

    def classify(self, features: Tensor) -> Tensor:
        """Return logits (B,L) from the features (B,T,D) of a clip's frames in time order."""
        series = features.transpose(1, 2)
        for convolution in self.time:
            series = series + F.relu(convolution(series))
        logits: Tensor = self.head(series.mean(2))
        return logits

    def forward(self, latents: Tensor) -> Tensor:
        """Return logits (B,L) of clips of latents (B,T,C,h,w)."""
        return self.classify(self.stem(latents))
