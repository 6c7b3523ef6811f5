"""Keyframe selection: which K of a clip's T candidate frames to keep (steps 2 and 3 of the method).

1. Score.   s_BT = g_phi(x): a light 2-D ConvNet on thumbnails and their frame differences, then a small temporal
            convolution; under 200k parameters.
2. Perturb. a_BT = s_BT + G_BT with G ~ Gumbel(0,1). The K largest a are a sample of K frames WITHOUT replacement from
            the Plackett-Luce distribution of s; for K = 1 frame t wins with probability softmax(s)_t.
            (Theorem 1: Gumbel-max; Kool et al. 2019 for top-K)
3. Relax.   Pick j of K is y_j = onehot(argmax a over the frames not yet picked), relaxed to
            p_j = softmax(a / tau over the same frames): a successive softmax (Xie and Ermon 2019) in which earlier
            picks are taken out by their hard outcome. Our choice: no log(1 - p) that underflows, and every pick is a
            plain softmax, so Theorem 2 (docs/method.md) holds pick by pick.
4. Straight-through (Bengio et al. 2013). w = y + p - stop(p): one-hot forward, relaxed backward.
5. Temperature. tau falls geometrically from `tau_start` to `tau_end` over training.

At inference no noise: the K best scores, in time order; ties go to the earlier frame.

The paper names "a lightweight ConvNet with Gumbel-Softmax sampling"; every other choice here is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videocompressa.errors import InputError
from videocompressa.selection.keyframes import Selector, check_keyframes, top_k_positions

BOUND = 3.0
"""Largest absolute score: one frame is at most e^6 times as likely as another."""


@dataclass(frozen=True)
class SelectorConfig:
    """The scoring network and its temperature schedule."""

    thumbnail: int = 32
    """Side of the thumbnails in pixels."""
    width: int = 32
    """Channels of the first stage; stages two and three have twice as many."""
    temporal_kernel: int = 3
    """Frames that the temporal convolution sees; 1 scores each frame alone."""
    frame_differences: bool = True
    """Show the differences to the previous and next frame as six extra channels."""
    tau_start: float = 2.0
    """Temperature at the first step, > 0."""
    tau_end: float = 0.3
    """Temperature at the last step, > 0."""

    def __post_init__(self) -> None:
        if not self.tau_start >= self.tau_end > 0:
            raise InputError(
                f"selector.tau_start is {self.tau_start} and selector.tau_end is {self.tau_end}; "
                "they must be positive and must not rise"
            )
        if self.temporal_kernel % 2 == 0:
            raise InputError(f"selector.temporal_kernel is {self.temporal_kernel}; it must be odd")


def temperature(step: int, num_steps: int, config: SelectorConfig) -> float:
    """Geometric schedule: tau_start at step 0, tau_end at the last step."""
    share = step / max(1, num_steps - 1)
    return float(config.tau_start ** (1 - share) * config.tau_end**share)


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw Gumbel(0,1) noise, float32, on the CPU: G = -log E with E ~ Exp(1)."""
    return -torch.empty(shape).exponential_(generator=generator).clamp_min(1e-20).log()


def top_k_straight_through(perturbed_BT: Tensor, keyframes: int, tau: float) -> tuple[Tensor, Tensor]:
    """Pick the K largest perturbed scores, hard forward and relaxed backward.

    Returns
    -------
    w_BKT:
        Float weights, one-hot rows in time order; their gradient is that of the successive softmax at `tau`.
    p_BKT:
        The relaxed weights themselves, rows in the same order, each summing to 1.
    """
    check_keyframes(keyframes, perturbed_BT.shape[1])
    if tau <= 0:
        raise InputError(f"the temperature is {tau}; it must be positive")
    remaining = perturbed_BT
    picks, relaxed = [], []
    for _ in range(keyframes):
        relaxed.append(F.softmax(remaining / tau, dim=1))
        picks.append(remaining.argmax(1))
        remaining = remaining.scatter(1, picks[-1][:, None], -torch.inf)
    picks_BK, order_BK = torch.stack(picks, 1).sort(1)
    p_BKT = torch.stack(relaxed, 1)
    p_BKT = p_BKT.gather(1, order_BK[..., None].expand_as(p_BKT))
    y_BKT = F.one_hot(picks_BK, perturbed_BT.shape[1]).to(p_BKT.dtype)
    return y_BKT + p_BKT - p_BKT.detach(), p_BKT


class GumbelSelector(nn.Module, Selector):
    """The learned selector: scores from a light ConvNet, Gumbel top-K while training, top-K after.

    Weights are drawn from `generator`; the global random state is not touched.
    """

    def __init__(self, config: SelectorConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        channels = 9 if config.frame_differences else 3
        width = config.width
        sides = [channels, width, 2 * width, 2 * width]
        with torch.device("meta"):  # no draw from the global random state
            self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(sides))
            self.norms = nn.ModuleList(nn.GroupNorm(4, side) for side in sides[1:])
            self.temporal = nn.Conv1d(4 * width, width, config.temporal_kernel, padding=config.temporal_kernel // 2)
            self.head = nn.Conv1d(width, 1, 1)
        self.to_empty(device="cpu")
        for norm in self.norms:
            assert isinstance(norm, nn.GroupNorm)
            norm.reset_parameters()
        for layer in (*self.stages, self.temporal, self.head):
            assert isinstance(layer, nn.Conv1d | nn.Conv2d)
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head.weight, std=0.01, generator=generator)  # our choice: start near uniform sampling

    def thumbnails(self, frames: Tensor) -> Tensor:
        """Return (B,T,3|9,h',w') float32 in [-1,1] from (B,T,3,H,W) uint8: pixels and, if asked, differences."""
        num_clips, num_frames, _, height, width = frames.shape
        side = self.config.thumbnail
        pixels = frames.flatten(0, 1).float() / 127.5 - 1
        if (height, width) != (side, side):
            pixels = F.adaptive_avg_pool2d(pixels, side) if min(height, width) >= side else F.interpolate(pixels, side)
        pixels = pixels.view(num_clips, num_frames, 3, side, side)
        if not self.config.frame_differences:
            return pixels
        change = pixels.diff(dim=1)
        still = torch.zeros_like(pixels[:, :1])
        return torch.cat([pixels, torch.cat([still, change], 1), torch.cat([change, still], 1)], dim=2)

    def score(self, thumbnails: Tensor) -> Tensor:
        """Return scores (B,T) float32 in (-BOUND,BOUND) of thumbnails made by `thumbnails`.

        Only differences between frames of a clip matter, so their mean is taken out; the bound keeps the noise able
        to overrule a wrong early preference (our choice: unbounded scores saturate and stop learning).
        """
        num_clips, num_frames = thumbnails.shape[:2]
        maps = thumbnails.flatten(0, 1)
        for stage, norm in zip(self.stages, self.norms, strict=True):
            maps = F.relu(norm(stage(maps)))
        features = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)  # (BT,4*width)
        features = features.view(num_clips, num_frames, -1).transpose(1, 2)
        scores: Tensor = self.head(F.relu(self.temporal(features)))[:, 0]
        return BOUND * torch.tanh((scores - scores.mean(1, keepdim=True)) / BOUND)

    def sample(
        self, scores_BT: Tensor, keyframes: int, tau: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Perturb and pick: `top_k_straight_through` of the scores plus fresh Gumbel noise."""
        noise = gumbel_noise(tuple(scores_BT.shape), generator).to(scores_BT)
        return top_k_straight_through(scores_BT + noise, keyframes, tau)

    @torch.no_grad()
    def scores(self, frames: Tensor) -> Tensor:
        """Return scores (B,T) float32 on the CPU, in (-BOUND,BOUND), of frames (B,T,3,H,W) uint8."""
        device = self.head.weight.device
        return torch.cat([self.score(self.thumbnails(batch.to(device))).cpu() for batch in torch.split(frames, 64)])

    def positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        """See `Selector.positions`."""
        return top_k_positions(self.scores(frames), keyframes)
