"""Coded synthesis: clips are tuned as the numbers that the file will hold, for what students see and what bytes cost.

Symbols: X latents, s_c steps, P = DCT(X) / s real numbers, q whole ones (`packing/transform.py`), R bytes allowed.

1. Start.  s is the finest step at which the real clips take R / growth bytes: what is left is for what tuning adds.
2. Code.   q = sign(P) floor(|P| + rounding), straight-through (Bengio et al. 2013, arXiv 1308.3432): students see in
           tuning what a reader of the file will get.
3. Clip.   fill(D(inverse DCT of q s)), augmented as a student's training would.
4. Match.  Class means of feature maps, to a student of the pool, as in `synthesis.py`.
5. Rate.   mean log2(1 + |P|), about what a number costs in bits, with the weight rate_weight (bytes / R)^8, where the
           bytes of the coded set are measured now and then: nearly free while there is room, dear beyond it.
6. One step of Adam on P for match + weight * rate. All frames are kept, so there is no selector to move.
7. Fit.    What tuning leaves of the bytes goes into a finer step: P still has the clips' detail below one step. What
           has outgrown them gets a wider dead zone: the smallest numbers of all become 0.

Tuning before coding (`synthesis.py`) nearly doubles the bytes of a clip, and coding undoes part of it; here both are
one problem, the rate-distortion problem of a codec whose distortion is what students see. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from videocompressa.artefact import to_bytes
from videocompressa.clip import Watch
from videocompressa.errors import DivergedError
from videocompressa.methods.videocompressa.pool import Member
from videocompressa.methods.videocompressa.synthesis import SynthesisConfig, class_batches, judge
from videocompressa.packing import transform
from videocompressa.rng import Streams
from videocompressa.stages import Stages
from videocompressa.storage import last_fitting, packed, weights_of
from videocompressa.synthetic import SyntheticSet, fill_clips
from videocompressa.train import TrainConfig, augmented
from videocompressa.tuned import into_range
from videocompressa.vae import Codec

MEASURE_EVERY = 20
"""Steps between two measurements of the coded set."""
OCTAVE, WIDEST = 8, 120
"""Dead zones that step 7 tries within a factor of 2, and the widest, at which nothing is left."""


def code(
    start: SyntheticSet,
    sized: SyntheticSet,
    pool: Sequence[Member],
    codec: Codec,
    config: SynthesisConfig,
    *,
    file_bytes: int,
    key: Mapping[str, Any],
    recipe: TrainConfig,
    rng: Streams,
    device: torch.device,
    watch: Watch,
    stages: Stages,
) -> SyntheticSet:
    """Return `start`, real clips with all frames, with tuned latents that are packed into a file of `file_bytes`.

    `sized` is `start` with labels of the kind that the file will have; `key` is all that the tuned numbers depend on
    beside size and step. Raises `BudgetError` where no step is coarse enough.
    """
    weights = weights_of(codec, start.latents, start.provenance.seed)
    example = transform.pack(start.latents, weights, 1.0)
    beside = len(to_bytes(packed(sized, example))) - example["stream"].numel()
    room = max(1, file_bytes - beside - 8)  # the header is padded to eights, and says the stream's length in digits
    table = 2 * len(weights)
    step = transform.fitting_step(start.latents, weights, int(room / config.growth) + table)
    steps = transform.steps_of(weights, step)

    def make() -> dict[str, Tensor]:
        tuned = _tune(start, pool, codec, config, steps, room=room, recipe=recipe, rng=rng, device=device, watch=watch)
        return {"numbers": tuned}

    numbers = stages.recall("coded", {**key, "step": step, "room": room}, make)["numbers"]
    exact = _latents(numbers, steps)
    if (finer := transform.fitting_step(exact, weights, room + table)) <= step:
        return packed(start, transform.pack(exact, weights, finer))

    def tensors(width: int) -> dict[str, Tensor]:
        kept = _rounded(numbers) * (numbers.abs() >= 2 ** (width / OCTAVE) * (1 - transform.ROUNDING))
        return transform.pack(_latents(kept, steps), weights, step)

    def fits(width: int) -> bool:
        return len(to_bytes(packed(sized, tensors(width)))) <= file_bytes

    too_narrow = last_fitting(lambda width: not fits(width), 0, WIDEST, guess=0)
    return packed(start, tensors(too_narrow + 1))


def _tune(
    start: SyntheticSet,
    pool: Sequence[Member],
    codec: Codec,
    config: SynthesisConfig,
    steps: Tensor,
    *,
    room: int,
    recipe: TrainConfig,
    rng: Streams,
    device: torch.device,
    watch: Watch,
) -> Tensor:
    """Steps 2 to 6: return P (N,K,C,h,w) float32."""
    numbers = (transform.dct(start.latents.double()) / steps.double()[:, None, None]).float().requires_grad_()
    optimiser = torch.optim.Adam([numbers], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    augment, members = rng.generator("augment"), rng.generator("members")
    batches = class_batches(start.labels, config.batch_size, rng.generator("classes"))
    weight = config.rate_weight
    for step, rows in zip(range(config.steps), batches, strict=False):
        exact = numbers[rows]
        whole = exact + (_rounded(exact.detach()) - exact.detach())
        latents = _latents(whole, steps).to(device)
        pixels = into_range(codec.decode(latents.flatten(0, 1)))
        pixels = pixels.view(*latents.shape[:2], *pixels.shape[1:])
        clips = fill_clips(pixels, start.positions[rows].to(device), start.clip.num_frames, start.fill)
        clips = start.normalisation.apply(augmented(clips, recipe, augment))
        member = pool[int(torch.randint(len(pool), (), generator=members))]
        match, task = judge(member, clips, start.labels[rows].to(device), recipe)
        rate = torch.log2(1 + exact.abs()).mean()
        loss = (config.match_weight * match + config.task_weight * task).cpu() + weight * rate
        if not torch.isfinite(loss):
            raise DivergedError("the loss of the synthesis stopped being finite; choose a lower synthesis.lr")
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % MEASURE_EVERY == MEASURE_EVERY - 1:
            size = transform.about_bytes(_rounded(numbers.detach()).to(torch.int16).numpy(), steps)
            weight = config.rate_weight * (size / room) ** 8
            watch("synthesis", done=step + 1, total=config.steps, match=float(match.detach()), bytes=float(size))
    return numbers.detach()


def _latents(numbers: Tensor, steps: Tensor) -> Tensor:
    return transform.inverse_dct(numbers.double() * steps.double()[:, None, None]).float()


def _rounded(numbers: Tensor) -> Tensor:
    return (numbers.abs() + transform.ROUNDING).floor() * numbers.sign()
