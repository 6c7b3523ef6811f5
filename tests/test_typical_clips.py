"""Typical clips: as many complete clips as the file holds, at the quality asked for, of the videos that are typical."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from method_runs import FRAMES, SIDE, candidates, compress, noise

from videocompressa.artifact import to_bytes
from videocompressa.artifact.packing import transform
from videocompressa.artifact.storage import STEP, Storage, stored
from videocompressa.clip import Candidates
from videocompressa.codecs import PixelCodec
from videocompressa.errors import InputError
from videocompressa.methods import METHODS
from videocompressa.methods.typical_clips import TypicalClipsConfig, coarsest_step
from videocompressa.methods.videocompressa.method import VideoCompressaConfig

VIDEOS = 40
TYPICAL = TypicalClipsConfig()


@pytest.fixture(scope="module")
def smooth() -> Candidates:
    """Clips of coarse random blocks that get brighter: a transform saves much of them."""
    blocks = noise((VIDEOS, 1, 3, 4, 4), 0).repeat_interleave(4, -1).repeat_interleave(4, -2) // 2
    frames = blocks + (8 * torch.arange(FRAMES)).to(torch.uint8)[None, :, None, None, None]
    return candidates(frames, torch.arange(VIDEOS) % 2)


def num_clips(data: Candidates, file_bytes: int, loss: float = 0.11) -> int:
    return len(compress(data, TypicalClipsConfig(loss=loss), file_bytes=file_bytes))


@pytest.mark.parametrize("loss", [0.02, 0.11, 0.4])
def test_the_step_loses_the_share_that_is_asked_for(smooth: Candidates, loss: float) -> None:
    latents, weights = smooth.latents.float(), torch.ones(3)
    step = coarsest_step(latents, weights, loss)

    def lost(step: float) -> float:
        steps = transform.steps_of(weights, step)
        coded = transform.rounded(latents, steps)
        return float((coded - latents).square().mean() / (latents - latents.mean((0, 1))).square().mean())

    assert lost(step) <= loss * 1.02
    assert lost(2 * step) > loss


@pytest.mark.slow
def test_more_bytes_hold_more_videos_and_all_their_frames(smooth: Candidates) -> None:
    counts = [num_clips(smooth, size) for size in (1200, 2200, 4200, 10**6)]
    assert counts == sorted(counts)
    assert 2 <= counts[0] < counts[2]
    assert counts[-1] == VIDEOS
    assert compress(smooth, TYPICAL, file_bytes=10**6).positions.tolist() == [list(range(FRAMES))] * VIDEOS


@pytest.mark.slow
def test_coarser_pictures_leave_bytes_for_more_videos(smooth: Candidates) -> None:
    counts = [num_clips(smooth, 3000, loss) for loss in (0.02, 0.11, 0.4)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


@pytest.mark.slow
def test_the_method_fills_the_file_and_loses_what_it_may(smooth: Candidates) -> None:
    synthetic = compress(smooth, TYPICAL, file_bytes=3000)
    file = stored(synthetic, PixelCodec(), Storage(), limit=3000)
    assert len(synthetic) > 2
    assert 2700 < len(to_bytes(file)) <= 3000
    step = coarsest_step(smooth.latents.float(), torch.ones(3), TYPICAL.loss)
    assert len(to_bytes(stored(synthetic, PixelCodec(), Storage("transform", step)))) <= 3000


@pytest.mark.slow
def test_a_file_is_filled_by_finer_steps_unless_a_step_was_asked_for(smooth: Candidates) -> None:
    synthetic = compress(smooth, TYPICAL, file_bytes=10**5)

    def size(step: float | None) -> int:
        return len(to_bytes(stored(synthetic, PixelCodec(), Storage(step=step), limit=10**5)))

    assert size(1.0) < size(None) == size(STEP) <= 10**5


def heaps() -> tuple[Candidates, torch.Tensor]:
    """Each class is three heaps of similar clips, one of them large, and some that resemble nothing else."""
    heap = torch.tensor([0, 1, 1, 2, 2, 2, 0, 1, 1, 2, 2, 2, 3, 4, 5, 6])
    centers = noise((7, 1, 3, SIDE, SIDE), 1)
    frames = torch.cat([(centers[heap] // 2 + noise((16, FRAMES, 3, SIDE, SIDE), seed) // 16) for seed in (2, 3)])
    return candidates(frames, torch.arange(2).repeat_interleave(16)), heap


def chosen_heaps(video_ids: tuple[str, ...], data: Candidates, heap: torch.Tensor) -> list[set[int]]:
    rows = [data.video_ids.index(name) for name in video_ids]
    return [{int(heap[row % 16]) for row in part} for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]


def test_planted_truth_clips_that_resemble_many_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    data, heap = heaps()
    monkeypatch.setattr(TypicalClipsConfig, "_videos_per_class", lambda *_: 3)
    synthetic = compress(data, TYPICAL, file_bytes=10**5)
    assert chosen_heaps(synthetic.provenance.video_ids, data, heap) == [{0, 1, 2}] * 2


def test_the_paper_s_method_chooses_the_same_videos() -> None:
    data, heap = heaps()
    plain = VideoCompressaConfig(labels="hard", selector="uniform", subset="facility-location")
    plain = dataclasses.replace(plain, synthesis=dataclasses.replace(plain.synthesis, enabled=False))
    synthetic = compress(data, plain, videos_per_class=3)
    assert chosen_heaps(synthetic.provenance.video_ids, data, heap) == [{0, 1, 2}] * 2


def test_typical_videos_are_chosen_without_training(smooth: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    assert METHODS["typical-clips"] == TYPICAL
    assert not TYPICAL.needs_teacher
    assert TYPICAL.training_steps(100, 10) == 0
    monkeypatch.setattr("videocompressa.methods.config.train_teachers", None)
    ids = {compress(smooth, TYPICAL, seed=seed, file_bytes=3000).provenance.video_ids for seed in (0, 1)}
    assert len(ids) == 1  # there is nothing to draw


def test_messages(smooth: Candidates) -> None:
    with pytest.raises(InputError, match="typical-clips fills a file of a given size, and none was given; give --byt"):
        compress(smooth, TYPICAL)
    with pytest.raises(InputError, match=r"features is 'colors'; known: latents, pool"):
        VideoCompressaConfig(features="colors")
    with pytest.raises(InputError, match=r"loss is 1.5; it must be in \(0,1\)"):
        TypicalClipsConfig(loss=1.5)
    with pytest.raises(InputError, match="unknown subset rule 'best'"):
        TypicalClipsConfig(subset="best")
