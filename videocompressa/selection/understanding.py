"""The video understanding module: the student in latent space whose task loss trains the selector (step 5).

logits = head(mean over T of the temporal blocks of stem(Z)). The stem works on each frame alone, so it commutes with
selection, stem(select(Z)) = select(stem(Z)), and selection can act on the features: the same forward value, but the
loss is far smoother in them, which bounds the bias of the straight-through gradient (Theorem 2, docs/method.md). The
paper names the module and its ablation only; the layers are our choice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def initialize_kaiming(network: nn.Module, generator: torch.Generator) -> None:
    """Move a network from the meta device to the CPU: weights by He et al. 2015 from `generator`, biases 0."""
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class UnderstandingModule(nn.Module):
    """A frame-wise ConvNet on latents, then, if `temporal`, convolutions over time; random weights by `generator`."""

    def __init__(self, channels: int, num_classes: int, temporal: bool, width: int, generator: torch.Generator) -> None:
        super().__init__()
        sides = [(channels, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
        with torch.device("meta"):  # no draw from the global random state
            self.space = nn.ModuleList(nn.Conv2d(a, b, 3, stride, 1, bias=False) for a, b, stride in sides)
            self.norms = nn.ModuleList(nn.GroupNorm(8, b) for _, b, _ in sides)
            self.time = nn.ModuleList(
                nn.Conv1d(2 * width, 2 * width, 3, padding=1) for _ in range(2 if temporal else 0)
            )
            self.head = nn.Linear(2 * width, num_classes)
        initialize_kaiming(self, generator)

    def stem(self, latents: Tensor) -> Tensor:
        """Return features (B,T,D) of every frame of latents (B,T,C,h,w), each frame alone."""
        maps = latents.flatten(0, 1)
        for space, norm in zip(self.space, self.norms, strict=True):
            maps = F.relu(norm(space(maps)))
        return maps.mean((2, 3)).view(*latents.shape[:2], -1)

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
