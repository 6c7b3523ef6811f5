"""Views: clips as a student sees them in training, changed at random in time, scene, color and place, and mixed.

One record of settings, `Views`, says how much of each; a set file with a labeler stores it. Steps of `random_views`:

1. Time.   A share of the clips shows a part of its time, at a lower speed.
2. Scene.  A share of the clips gets the still picture of another clip as background.
3. Color.  Contrast, brightness and color balance.
4. Place.  A random resized crop (Szegedy et al. 2015), and a mirror.
5. Mixing. A share of the batches is blended with, or gets boxes of, the same batch in two other orders (mixup, Zhang
           et al. 2018; cutmix, Yun et al. 2019), which is which by a coin.

Every draw is of one clip, the same for all its frames, and comes from the generator that is passed in.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.errors import check_within

# Largest aspect ratio of a crop, as in Szegedy et al. 2015.
_ASPECT = 4 / 3
# Shortest part of the time that step 1 shows (our choice).
_SHORTEST = 0.6
# Clips that step 5 mixes, and the sides of a box as shares of the frame's (our choice).
_MIXED = 3
_SHORT_BOX, _LONG_BOX = 0.3, 0.8


@dataclass(frozen=True)
class Views:
    """How clips are changed at random when a student is trained on them."""

    crop: float = 0.8
    """Smallest area of a crop as a share of the frame, in (0,1]; 1 turns crops off."""
    mirror: bool = False
    """Mirror half of the clips; only where left and right tell no classes apart."""
    color: float = 0.0
    """Largest change of brightness, contrast and color balance, in [0,1); see `recolored`."""
    time: float = 0.0
    """Share of clips in [0,1] that show a part of their time; see `slowed`."""
    scenes: float = 0.5
    """Share of clips in [0,1] before the still picture of another clip; see `before_other_scenes`."""
    mix: float = 0.0
    """Share of batches in [0,1] that are mixed; see `mixed`."""

    def __post_init__(self) -> None:
        check_within(self, "views.", crop="(0,1]", color="[0,1)", time="[0,1]", scenes="[0,1]", mix="[0,1]")


UNCHANGED = Views(crop=1.0, scenes=0.0)
"""No change at all."""


def random_views(pixels: Tensor, views: Views, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return one view of every clip (B,T,3,H,W) float in [0,1], same shape, and the share of each clip in each view.

    Shares (B,B) sum to 1 in each row; they are the identity where nothing is mixed. A view's label is their product
    with the labels (B,L) of the clips, unless a labeler says it.
    """
    pixels = slowed(pixels, views.time, generator)
    pixels = before_other_scenes(pixels, views.scenes, generator)
    return mixed(augmented(pixels, views, generator), views.mix, generator)


@dataclass(frozen=True)
class Within:
    """Where some clips are in a batch, of which another process has the rest: both draw for the complete batch."""

    places: Tensor
    """(B,) int64."""
    size: int
    """Clips of the complete batch."""


def _uniform(rows: int, pixels: Tensor, generator: torch.Generator, within: Within | None) -> Tensor:
    """Return (rows,B) draws from [0,1), B clips."""
    if within is None:
        return torch.rand(rows, len(pixels), generator=generator)
    return torch.rand(rows, within.size, generator=generator)[:, within.places]


def augmented(pixels: Tensor, views: Views, generator: torch.Generator, within: Within | None = None) -> Tensor:
    """Recolor, crop and mirror clips (B,T,3,H,W) (steps 3 and 4): what changes no clip's motion; same shape.

    A crop takes an area in [crop,1] of the frame at an aspect ratio in [3/4,4/3], anywhere inside, and resizes it
    bilinearly. One sampling grid a clip does crop and mirror at once, with time folded into the channels.
    Differentiable in the pixels. The clips may be a part of a batch.
    """
    pixels = recolored(pixels, views.color, generator, within)
    if views.crop == 1 and not views.mirror:
        return pixels
    batch, height, width = len(pixels), *pixels.shape[3:]
    area, aspect, down, right, mirror = _uniform(5, pixels, generator, within)
    mirrored = torch.where(mirror < 0.5, -1.0, 1.0) if views.mirror else torch.ones(batch)
    if views.crop == 1:
        return torch.where((mirrored < 0).view(-1, 1, 1, 1, 1).to(pixels.device), pixels.flip(-1), pixels)
    side = (views.crop + (1 - views.crop) * area).sqrt()
    stretch = ((2 * aspect - 1) * math.log(_ASPECT) / 2).exp()
    tall, wide = (side / stretch).clamp(max=1), (side * stretch).clamp(max=1)
    # Rows of the affine maps from the view to the frame, both in [-1,1].
    maps = torch.zeros(batch, 2, 3)
    maps[:, 0, 0], maps[:, 0, 2] = wide * mirrored, (2 * right - 1) * (1 - wide)
    maps[:, 1, 1], maps[:, 1, 2] = tall, (2 * down - 1) * (1 - tall)
    grid = functional.affine_grid(maps.to(pixels.device), [batch, 1, height, width], align_corners=False)
    seen = functional.grid_sample(
        pixels.flatten(1, 2), grid.to(pixels.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )
    return seen.view_as(pixels)


def slowed(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Show a share of clips (B,T,3,H,W) in part: 60 to 100 % of their time, anywhere, blended linearly to T frames."""
    num_frames = pixels.shape[1]
    if share == 0 or num_frames < 2:
        return pixels
    chosen, length, start = torch.rand(3, len(pixels), 1, generator=generator)
    length = torch.where(chosen < share, _SHORTEST + (1 - _SHORTEST) * length, 1.0) * (num_frames - 1)
    times = (num_frames - 1 - length) * start + torch.linspace(0, 1, num_frames) * length
    before = times.floor().long().clamp(0, num_frames - 2)
    rows = torch.arange(len(pixels), device=pixels.device)[:, None]
    after_share = (times - before).to(pixels).view(*times.shape, 1, 1, 1)
    before = before.to(pixels.device)
    return torch.lerp(pixels[rows, before], pixels[rows, before + 1], after_share)


def recolored(pixels: Tensor, amount: float, generator: torch.Generator, within: Within | None = None) -> Tensor:
    """Change the colors of clips (B,T,3,H,W) in [0,1], each by its own draws, the same for all its frames.

    With c = `amount`, uniform a clip: contrast (distance from the clip's mean) times [1-c,1+c], each channel times
    [1-c/2,1+c/2], plus brightness in [-c/2,c/2]; then clamped. Color jitter (Krizhevsky et al. 2012) without hues.
    """
    if amount == 0:
        return pixels
    draws = (2 * _uniform(5, pixels, generator, within) - 1).view(5, -1, 1, 1, 1, 1).to(pixels.device)
    contrast, brightness = 1 + amount * draws[0], amount / 2 * draws[1]
    balance = 1 + amount / 2 * torch.cat([*draws[2:]], dim=2)
    mean = pixels.mean((1, 2, 3, 4), keepdim=True)
    return torch.clamp(((pixels - mean) * contrast + mean) * balance + brightness, 0, 1)


def before_other_scenes(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
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


def mixed(pixels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """With chance `share`, mix a batch (B,T,3,H,W) with itself in two other orders; return it and the shares (B,B).

    Half of these batches are blended, each clip by weights that are uniform over all that sum to 1; in the others, a
    box of each other order is pasted in, with sides of 30 to 80 % of the frame's. Three clips taught as much as two, or
    more (docs/log.md).
    """
    batch, (height, width) = len(pixels), pixels.shape[-2:]
    own = torch.eye(batch, device=pixels.device)
    if share == 0:
        return pixels, own
    odds = float(torch.rand((), generator=generator))
    orders = [torch.randperm(batch, generator=generator).to(pixels.device) for _ in range(_MIXED - 1)]
    if odds >= share:
        return pixels, own
    sources = torch.stack([own, *(own[order] for order in orders)])
    if odds < share / 2:
        draws = torch.rand(_MIXED, batch, 1, generator=generator).clamp(min=1e-6).log()
        weights = (draws / draws.sum(0)).to(own)
        shares = (weights * sources).sum(0)
        return (shares.to(pixels) @ pixels.flatten(1)).clamp(0, 1).view_as(pixels), shares
    view, owner = pixels.clone(), torch.zeros(height, width, dtype=torch.int64)
    for number, order in enumerate(orders, start=1):
        tall, wide, down, right = torch.rand(4, generator=generator).tolist()
        rows, columns = _box_side(tall, down, height), _box_side(wide, right, width)
        view[..., rows, columns] = pixels[..., rows, columns][order]
        owner[rows, columns] = number
    areas = torch.bincount(owner.flatten(), minlength=_MIXED) / owner.numel()
    return view, (areas.view(-1, 1, 1).to(own) * sources).sum(0)


def _box_side(length: float, start: float, side: int) -> slice:
    """Return the pixels of a box on one side of the frame, by two draws in [0,1)."""
    pixels = round(side * (_SHORT_BOX + (_LONG_BOX - _SHORT_BOX) * length))
    first = round(start * (side - pixels))
    return slice(first, first + pixels)
