"""Coded synthesis: tuned within the file's bytes, read back as it was tuned, moved where students look."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from test_methods import CPU, SMALL, TEACHER, candidates, noise

from videocompressa.artefact import read_set, to_bytes, write_set
from videocompressa.clip import Candidates, watch_nothing
from videocompressa.errors import InputError
from videocompressa.methods import METHODS
from videocompressa.methods.videocompressa import CODED, VideoCompressaConfig, compress
from videocompressa.methods.videocompressa.coded import code
from videocompressa.methods.videocompressa.pool import PoolConfig, build_pool
from videocompressa.methods.videocompressa.spending import spread
from videocompressa.methods.videocompressa.synthesis import SynthesisConfig
from videocompressa.packing import transform
from videocompressa.rng import Streams
from videocompressa.stages import Stages
from videocompressa.storage import TRANSFORM, stored
from videocompressa.synthetic import Allowance, SyntheticSet, gather
from videocompressa.teachers import RealClips
from videocompressa.vae import PixelCodec

VIDEOS, FRAMES, SIDE, BYTES = 12, 2, 8, 1600
CONFIG = dataclasses.replace(
    CODED,
    pool=SMALL.pool,
    teacher=TEACHER,
    synthesis=dataclasses.replace(CODED.synthesis, steps=6, batch_size=8),
)


@pytest.fixture(scope="module")
def smooth() -> Candidates:
    """Clips of coarse random blocks; class "b" is brighter."""
    labels = torch.arange(VIDEOS) % 2
    blocks = noise((VIDEOS, 1, 3, 4, 4), 0).repeat_interleave(2, -1).repeat_interleave(2, -2) // 2
    frames = blocks + (60 * labels[:, None] + 4 * torch.arange(FRAMES)).to(torch.uint8)[:, :, None, None, None]
    return candidates(frames, labels)


def made(
    data: Candidates, config: VideoCompressaConfig, file_bytes: int = BYTES, folder: Path | None = None
) -> SyntheticSet:
    budget = Allowance(1, 2, file_bytes=file_bytes)
    return compress(data, PixelCodec(), config, budget=budget, rng=Streams(0), device=CPU, stages=Stages(folder))


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_file_holds_what_was_tuned_and_no_more_bytes(smooth: Candidates, labels: str, tmp_path: Path) -> None:
    synthetic = made(smooth, dataclasses.replace(CONFIG, labels=labels))
    kept = stored(synthetic, PixelCodec(), TRANSFORM, limit=BYTES)
    assert kept is synthetic
    assert synthetic.provenance.method == "videocompressa-coded"
    assert synthetic.positions.shape[1] == FRAMES
    assert BYTES // 2 < len(to_bytes(kept)) <= BYTES
    write_set(kept, tmp_path / "set.safetensors")
    assert torch.equal(read_set(tmp_path / "set.safetensors").latents, synthetic.latents)


def test_room_is_left_for_what_tuning_adds(smooth: Candidates) -> None:
    little, much = (
        spread(
            smooth, PixelCodec(), 0.05, Allowance(1, 2, file_bytes=BYTES), growth=growth, soft_labels=False, said={},
            rng=Streams(0),
        ).videos_per_class
        for growth in (1.0, 4.0)
    )  # fmt: skip
    assert 1 <= much < little


def test_the_same_seed_gives_the_same_and_a_finished_stage_is_taken(
    smooth: Candidates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(smooth, CONFIG, folder=tmp_path)
    assert torch.equal(first.latents, made(smooth, CONFIG).latents)

    def no_more(*_: object, **__: object) -> None:
        raise AssertionError("tuned again")

    monkeypatch.setattr("videocompressa.methods.videocompressa.coded._tune", no_more)
    again = made(smooth, CONFIG, folder=tmp_path)
    assert torch.equal(first.latents, again.latents)
    with pytest.raises(AssertionError, match="tuned again"):
        made(smooth, CONFIG, BYTES + 200, folder=tmp_path)


def test_no_teacher_is_trained_for_hard_labels(smooth: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not CONFIG.needs_teacher
    assert CONFIG.needs_pool
    assert dataclasses.replace(CONFIG, labels="soft").needs_teacher
    monkeypatch.delattr("videocompressa.methods.videocompressa.train_teachers")
    made(smooth, CONFIG)


@pytest.mark.slow
def test_planted_truth_bytes_go_where_classes_differ() -> None:
    """All clips are grey, but for one cell that is bright in class "b", and that tuning does not start from."""
    labels, shape = torch.arange(16) % 2, (16, FRAMES, 3, 16, 16)
    blank = torch.full(shape, 100, dtype=torch.uint8) + noise(shape, 3) // 16
    frames = blank.clone()
    frames[labels == 1, :, :, 4:8, 4:8] += 100
    real, start = candidates(frames, labels), candidates(blank, labels)
    young = dataclasses.replace(TEACHER.train, augment="none")
    pool = build_pool(
        RealClips(real, PixelCodec(), FRAMES, "linear", 0.0), PoolConfig(ages=(20, 40)), young, (), rng=Streams(0),
        device=CPU, watch=watch_nothing, stages=Stages(),
    )  # fmt: skip
    rows, positions = torch.tensor([0, 2, 1, 3]), torch.arange(FRAMES).expand(4, -1).contiguous()
    before = gather(
        start, rows, positions, labels=labels[rows], method="planted", config={}, seed=0, decoder=PixelCodec()
    )
    config = SynthesisConfig(steps=150, lr=0.3, batch_size=8, task_weight=0.0, rate_weight=0.1, growth=8.0)
    after = code(
        before, before, pool, PixelCodec(), config, file_bytes=4000, key={}, recipe=young, rng=Streams(0), device=CPU,
        watch=watch_nothing, stages=Stages(),
    )  # fmt: skip
    assert len(to_bytes(after)) <= 4000
    moved = (after.latents - before.latents)[2:].mean((0, 1, 2))
    inside, outside = moved[4:8, 4:8].mean(), torch.cat([moved[:3].flatten(), moved[9:].flatten()]).abs().mean()
    assert inside > 0.15
    assert inside > 2 * outside


def test_the_rate_is_what_keeps_bytes_down(smooth: Candidates) -> None:
    free, dear = (
        dataclasses.replace(CONFIG, synthesis=dataclasses.replace(CONFIG.synthesis, rate_weight=weight, lr=0.3))
        for weight in (0.0, 100.0)
    )
    sizes = [made(smooth, config, 4000).packed["stream"].numel() for config in (free, dear)]
    assert sizes[1] < sizes[0]


def test_what_outgrows_the_file_loses_its_smallest_numbers(smooth: Candidates) -> None:
    wild = dataclasses.replace(CONFIG, synthesis=dataclasses.replace(CONFIG.synthesis, rate_weight=0.0, lr=1.0))
    still = dataclasses.replace(CONFIG, synthesis=dataclasses.replace(CONFIG.synthesis, steps=1, lr=1e-9))
    tuned, real = made(smooth, wild), made(smooth, still)
    assert BYTES - 200 < len(to_bytes(tuned)) <= BYTES
    assert (tuned.latents - real.latents).square().mean() > 0.1 * real.latents.square().mean()


def test_messages() -> None:
    assert METHODS["videocompressa-coded"].config is CODED
    with pytest.raises(InputError, match=r"synthesis.growth is 0.5; it must be at least 1"):
        SynthesisConfig(growth=0.5)
    with pytest.raises(InputError, match=r"rate_weight must not be negative"):
        SynthesisConfig(rate_weight=-1)


def test_the_forward_and_inverse_transform_agree_and_pass_gradients() -> None:
    values = torch.randn(
        2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    assert torch.allclose(transform.inverse_dct(transform.dct(values)), values, atol=1e-9)
    torch.autograd.backward(transform.dct(values).square().sum())
    assert torch.allclose(values.grad, 2 * values, atol=1e-9)  # orthonormal: energy is kept
