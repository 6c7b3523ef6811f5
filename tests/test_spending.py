"""Spending bytes: more videos, all their frames, at the quality asked for, within the file."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_methods import CPU, FRAMES, SMALL, candidates, noise

from videocompressa.artifact import to_bytes
from videocompressa.artifact.packing import transform
from videocompressa.artifact.storage import TRANSFORM, Storage, stored
from videocompressa.clip import Candidates
from videocompressa.codecs import PixelCodec
from videocompressa.errors import InputError
from videocompressa.methods.typical_clips import coarsest_step, spread
from videocompressa.methods.videocompressa import BYTES, VideoCompressaConfig, compress
from videocompressa.rng import Streams
from videocompressa.synthetic import Allowance

VIDEOS, SIDE = 40, 16


@pytest.fixture(scope="module")
def smooth() -> Candidates:
    """Clips of coarse random blocks that get brighter: much that a transform can save."""
    blocks = noise((VIDEOS, 1, 3, 4, 4), 0).repeat_interleave(4, -1).repeat_interleave(4, -2) // 2
    frames = blocks + (8 * torch.arange(FRAMES)).to(torch.uint8)[None, :, None, None, None]
    return candidates(frames, torch.arange(VIDEOS) % 2)


def allowed(data: Candidates, file_bytes: int | None, loss: float = 0.11) -> Allowance:
    budget = Allowance(1, 2, file_bytes=file_bytes)
    return spread(data, torch.ones(3), loss, budget, soft_labels=False, said={}, rng=Streams(0))


@pytest.mark.parametrize("loss", [0.02, 0.11, 0.4])
def test_the_step_loses_the_share_that_is_asked_for(smooth: Candidates, loss: float) -> None:
    latents, weights = smooth.latents.float(), torch.ones(3)
    step = coarsest_step(latents, weights, loss)

    def lost(step: float) -> float:
        steps = transform.steps_of(weights, step)
        coded = transform.dequantize(transform.quantize(latents, steps), steps)
        return float((coded - latents).square().mean() / (latents - latents.mean((0, 1))).square().mean())

    assert lost(step) <= loss * 1.02
    assert lost(2 * step) > loss


def test_more_bytes_hold_more_videos_and_all_their_frames(smooth: Candidates) -> None:
    found = [allowed(smooth, size) for size in (1000, 2000, 4000, 10**6)]
    counts = [each.videos_per_class for each in found]
    assert counts == sorted(counts)
    assert 1 <= counts[0] < counts[2]
    assert counts[-1] == VIDEOS // 2
    assert {each.keyframes for each in found} == {FRAMES}


def test_coarser_pictures_leave_room_for_more_videos(smooth: Candidates) -> None:
    counts = [allowed(smooth, 3000, loss).videos_per_class for loss in (0.02, 0.11, 0.4)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_the_method_fills_the_file_and_shows_what_it_was_told_to_lose(smooth: Candidates) -> None:
    config = dataclasses.replace(
        SMALL, spend="bytes", labels="hard", synthesis=dataclasses.replace(SMALL.synthesis, enabled=False)
    )
    made = compress(smooth, PixelCodec(), config, budget=Allowance(1, 2, file_bytes=3000), rng=Streams(0), device=CPU)
    kept = stored(made, PixelCodec(), TRANSFORM, limit=3000)
    assert made.positions.shape[1] == FRAMES
    assert len(made) > 2
    assert 2700 < len(to_bytes(kept)) <= 3000
    fixed = stored(made, PixelCodec(), Storage("transform", coarsest_step(smooth.latents.float(), torch.ones(3), 0.11)))
    assert len(to_bytes(fixed)) <= 3000


def test_a_file_is_filled_by_finer_steps_unless_a_step_was_asked_for(smooth: Candidates) -> None:
    made = compress(smooth, PixelCodec(), BYTES, budget=Allowance(1, 2, file_bytes=10**5), rng=Streams(0), device=CPU)

    def size(step: float | None, *, fill: bool) -> int:
        return len(to_bytes(stored(made, PixelCodec(), Storage(step=step), limit=10**5, fill=fill)))

    assert size(None, fill=False) == size(1.0, fill=False) == size(1.0, fill=True) < size(None, fill=True) <= 10**5


def test_planted_truth_clips_that_stand_for_many_are_chosen() -> None:
    """Each class is three heaps of like clips, one of them large, and some that are like nothing else."""
    heap = torch.tensor([0, 1, 1, 2, 2, 2, 0, 1, 1, 2, 2, 2, 3, 4, 5, 6])
    centers = noise((7, 1, 3, SIDE, SIDE), 1)
    frames = torch.cat([(centers[heap] // 2 + noise((16, FRAMES, 3, SIDE, SIDE), seed) // 16) for seed in (2, 3)])
    labels = torch.arange(2).repeat_interleave(16)
    data = candidates(frames, labels)
    config = dataclasses.replace(BYTES, spend="frames")
    made = compress(data, PixelCodec(), config, budget=Allowance(3, 2), rng=Streams(0), device=CPU)
    rows = [data.video_ids.index(name) for name in made.provenance.video_ids]
    assert {heap[row % 16].item() for row in rows[:3]} == {0, 1, 2} == {heap[row % 16].item() for row in rows[-3:]}


def test_typical_videos_are_told_without_training(smooth: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not BYTES.needs_teacher
    assert not BYTES.needs_pool
    by_pool = dataclasses.replace(BYTES, features="pool")
    assert by_pool.needs_teacher
    assert by_pool.needs_pool
    for name in ("train_teachers", "build_pool"):
        monkeypatch.delattr(f"videocompressa.methods.videocompressa.method.{name}")
    budget = Allowance(1, 2, file_bytes=3000)
    chosen = {
        compress(smooth, PixelCodec(), BYTES, budget=budget, rng=Streams(seed), device=CPU).provenance.video_ids
        for seed in (0, 1)
    }
    assert len(chosen) == 1  # there is nothing to draw


def test_messages(smooth: Candidates) -> None:
    with pytest.raises(InputError, match=r"spend=bytes fills a file of a given size, and none was given; give --bytes"):
        allowed(smooth, None)
    with pytest.raises(InputError, match=r"spend is 'money'; known: frames, bytes"):
        VideoCompressaConfig(spend="money")
    with pytest.raises(InputError, match=r"features is 'colors'; known: latents, pool"):
        VideoCompressaConfig(features="colors")
    with pytest.raises(InputError, match=r"loss is 1.5; it must be in \(0,1\), such as 0.15"):
        VideoCompressaConfig(loss=1.5)
