"""Keyframe selection: which K of a clip's T candidate frames to keep (steps 2 and 3 of the method; docs/method.md).

1. Score.   s_BT = g_phi(x): a light 2-D ConvNet on thumbnails and frame differences, then a temporal convolution.
2. Perturb. a = s + G, G ~ Gumbel(0,1). The K largest a are a sample WITHOUT replacement (Theorem 1; Kool et al. 2019).
3. Relax.   Pick j of K is y_j = onehot(argmax a over the frames not yet picked), relaxed to p_j = softmax(a / tau) over
            them: a successive softmax (Xie and Ermon 2019), but without log(1 - p), which underflows (our choice).
4. Straight-through (Bengio et al. 2013): w = y + p - stop(p), with tau falling geometrically. At inference no noise.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videocompressa.errors import InputError, check_least
from videocompressa.selection.keyframes import Selector, check_keyframes, top_k_positions
from videocompressa.selection.understanding import initialize_kaiming

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
    """Add the differences to the previous and next frame as six channels."""
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
        check_least(self, "selector.", width=1, thumbnail=1)
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
    """Pick the K largest perturbed scores, hard forward and relaxed backward; return (w_BKT, p_BKT).

    w: float weights, one-hot rows in time order; their gradient is that of the successive softmax at `tau`.
    p: the relaxed weights themselves, rows in the same order, each summing to 1.
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

    Weights are random, from `generator`; the global random state is not touched.
    """

    def __init__(self, config: SelectorConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config, width = config, config.width
        channels = [9 if config.frame_differences else 3, width, 2 * width, 2 * width]
        with torch.device("meta"):  # no draw from the global random state
            self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(channels))
            self.norms = nn.ModuleList(nn.GroupNorm(4, each) for each in channels[1:])
            self.temporal = nn.Conv1d(4 * width, width, config.temporal_kernel, padding=config.temporal_kernel // 2)
            self.head = nn.Conv1d(width, 1, 1)
        initialize_kaiming(self, generator)
        nn.init.normal_(self.head.weight, std=0.01, generator=generator)  # our choice: start near uniform sampling

    def thumbnails(self, frames: Tensor) -> Tensor:
        """Return (B,T,3|9,h',w') float32 from (B,T,3,H,W) uint8: pixels in [-1,1] and, by the settings, differences."""
        side = self.config.thumbnail
        resize = F.adaptive_avg_pool2d if min(frames.shape[3:]) >= side else F.interpolate
        pixels = resize(frames.flatten(0, 1).float() / 127.5 - 1, side).view(*frames.shape[:3], side, side)
        if not self.config.frame_differences:
            return pixels
        padded = F.pad(pixels.diff(dim=1), (0, 0, 0, 0, 0, 0, 1, 1))
        return torch.cat([pixels, padded[:, :-1], padded[:, 1:]], dim=2)

    def score(self, thumbnails: Tensor) -> Tensor:
        """Return scores (B,T) float32 in (-BOUND,BOUND) of `thumbnails`.

        Only differences between frames of a clip matter, so their mean is subtracted; the bound lets the noise
        overrule a wrong early preference (our choice: unbounded scores saturate and stop learning).
        """
        maps = thumbnails.flatten(0, 1)
        for stage, norm in zip(self.stages, self.norms, strict=True):
            maps = F.relu(norm(stage(maps)))
        features = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)  # (BT,4*width)
        features = features.view(*thumbnails.shape[:2], -1).transpose(1, 2)
        scores: Tensor = self.head(F.relu(self.temporal(features)))[:, 0]
        return BOUND * torch.tanh((scores - scores.mean(1, keepdim=True)) / BOUND)

    def sample(self, scores: Tensor, keyframes: int, tau: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return `top_k_straight_through` of scores (B,T) plus new Gumbel noise."""
        noise = gumbel_noise(tuple(scores.shape), generator).to(scores)
        return top_k_straight_through(scores + noise, keyframes, tau)

    @torch.no_grad()
    def scores(self, frames: Tensor) -> Tensor:
        """Return scores (B,T) float32 on the CPU, in (-BOUND,BOUND), of frames (B,T,3,H,W) uint8."""
        device = self.head.weight.device
        return torch.cat([self.score(self.thumbnails(batch.to(device))).cpu() for batch in torch.split(frames, 64)])

    def _positions(self, frames: Tensor, keyframes: int, generator: torch.Generator) -> Tensor:
        return top_k_positions(self.scores(frames), keyframes)
