"""The fill: how K keyframes become the T frames of a clip again."""

import torch
from torch import Tensor

from videocompressa.errors import check_known

FILLS = ("hold", "linear")
"""How K keyframes become T frames: "hold" shows each until the next, "linear" fades between neighbors."""


def check_fill(fill: str) -> None:
    """Raise unless `fill` is one of `FILLS`."""
    check_known("fill is", fill, FILLS)


def fill_weights(positions: Tensor, num_frames: int, fill: str) -> Tensor:
    """Return (N,T,K) float32 weights, rows summing to 1, that place K keyframes on a time line of T frames.

    "hold": frame t shows the last keyframe at or before t (the first one, before it). "linear": frame t fades between
    its neighbors in time; outside the first and last keyframe those are held.
    """
    check_fill(fill)
    times = torch.arange(num_frames, device=positions.device)
    before = (positions[:, None, :] <= times[:, None]).sum(2) - 1  # (N,T) keyframe at or before t
    left = before.clamp(min=0)
    keyframes = positions.shape[1]
    weights = torch.nn.functional.one_hot(left, keyframes).float()
    if fill == "hold":
        return weights
    right = (before + 1).clamp(max=keyframes - 1)
    left_time, right_time = positions.gather(1, left).float(), positions.gather(1, right).float()
    share = ((times - left_time) / (right_time - left_time).clamp(min=1)).clamp(0, 1)[..., None]
    return weights * (1 - share) + torch.nn.functional.one_hot(right, keyframes).float() * share


def fill_clips(keyframes: Tensor, positions: Tensor, num_frames: int, fill: str) -> Tensor:
    """Place keyframes (N,K,...) on T frames: (N,T,...), differentiable in the keyframes."""
    weights = fill_weights(positions, num_frames, fill).to(keyframes.dtype)
    return torch.einsum("ntk,nk...->nt...", weights, keyframes)
