"""Views of a batch: cropped, mirrored and recolored clips, and clips mixed with each other."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.students.settings import TrainConfig

# Largest aspect ratio of a crop, as in Szegedy et al. 2015.
_ASPECT = 4 / 3


def augmented(pixels: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """Recolor, crop and mirror clips (B,T,3,H,W), each by its own draws, the same for all its frames; same shape.

    A crop takes an area in [crop_scale,1] of the frame at an aspect ratio in [3/4,4/3], anywhere inside, and resizes
    it bilinearly. One sampling grid a clip does crop and mirror at once, with time folded into the channels.
    Differentiable in the pixels. Colors change for every value of `augment`.
    """
    pixels = recolored(pixels, config.color, generator)
    if config.augment == "none" or (config.crop_scale == 1 and not config.flip):
        return pixels
    batch, height, width = len(pixels), *pixels.shape[3:]
    area, aspect, down, right, mirror = torch.rand(5, batch, generator=generator)
    mirrored = torch.where(mirror < 0.5, -1.0, 1.0) if config.flip else torch.ones(batch)
    if config.crop_scale == 1:
        return torch.where((mirrored < 0).view(-1, 1, 1, 1, 1).to(pixels.device), pixels.flip(-1), pixels)
    side = (config.crop_scale + (1 - config.crop_scale) * area).sqrt()
    stretch = ((2 * aspect - 1) * math.log(_ASPECT) / 2).exp()
    tall, wide = (side / stretch).clamp(max=1), (side * stretch).clamp(max=1)
    # Rows of the affine maps from the view to the frame, both in [-1,1].
    maps = torch.zeros(batch, 2, 3)
    maps[:, 0, 0], maps[:, 0, 2] = wide * mirrored, (2 * right - 1) * (1 - wide)
    maps[:, 1, 1], maps[:, 1, 2] = tall, (2 * down - 1) * (1 - tall)
    grid = functional.affine_grid(maps.to(pixels.device), [batch, 1, height, width], align_corners=False)
    views = functional.grid_sample(
        pixels.flatten(1, 2), grid.to(pixels.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return views.view_as(pixels)


def recolored(pixels: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Change the colors of clips (B,T,3,H,W) in [0,1], each by its own draws, the same for all its frames.

    With c = `amount`, uniform a clip: contrast (distance from the clip's mean) times [1-c,1+c], each channel times
    [1-c/2,1+c/2], plus brightness in [-c/2,c/2]; then clamped. Color jitter (Krizhevsky et al. 2012) without hues.
    """
    if amount == 0:
        return pixels
    draws = (2 * torch.rand(5, len(pixels), 1, 1, 1, 1, generator=generator) - 1).to(pixels.device)
    contrast, brightness = 1 + amount * draws[0], amount / 2 * draws[1]
    balance = 1 + amount / 2 * torch.cat([*draws[2:]], dim=2)
    mean = pixels.mean((1, 2, 3, 4), keepdim=True)
    return torch.clamp(((pixels - mean) * contrast + mean) * balance + brightness, 0, 1)


def mixed_with_background(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Give a share of clips (B,T,3,H,W) in [0,1] the still picture of another clip of the batch as background.

    x' = x + r (mean of y over time - mean of x over time), clamped, with r uniform in [0,1]: only the still part is
    mixed, so that a student cannot tell a class by its scene. Similar to Wang et al. 2021 ("Removing the Background by
    Adding the Background"), who add a still frame of the same video.
    """
    if share == 0:
        return pixels
    chosen, strength = torch.rand(2, len(pixels), 1, 1, 1, 1, generator=generator)
    order = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    still = pixels.mean(1, keepdim=True)
    strength = (strength * (chosen < share)).to(pixels.device)
    return torch.clamp(pixels + strength * (still[order] - still), 0, 1)


def mixed(
    clips: Tensor, labels: Tensor, num_classes: int, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix a batch with itself in another order, with chances `mixup` and `cutmix`; labels become soft then."""
    if config.mixup + config.cutmix == 0:
        return clips, labels
    odds, share, down, right = torch.rand(4, generator=generator).tolist()
    order = torch.randperm(len(clips), generator=generator).to(clips.device)
    if labels.ndim == 1:
        labels = functional.one_hot(labels, num_classes).float()
    if odds >= config.mixup + config.cutmix:
        return clips, labels
    if odds < config.mixup:
        return share * clips + (1 - share) * clips[order], share * labels + (1 - share) * labels[order]
    height, width = clips.shape[-2:]
    tall, wide = round(height * math.sqrt(1 - share)), round(width * math.sqrt(1 - share))
    top, left = round(down * (height - tall)), round(right * (width - wide))
    clips = clips.clone()
    clips[..., top : top + tall, left : left + wide] = clips[order][..., top : top + tall, left : left + wide]
    kept = 1 - tall * wide / (height * width)
    return clips, kept * labels + (1 - kept) * labels[order]
