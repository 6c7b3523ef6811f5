"""LVDD: which clips it takes, how many fit in the bytes, and what its file keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from videocompressa.artifact import measure, read_set, to_bytes, write_set
from videocompressa.artifact.packing import tucker
from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import Codec, LinearCodec, PixelCodec
from videocompressa.errors import BudgetError, InputError
from videocompressa.methods import METHODS
from videocompressa.methods.lvdd import LvddConfig
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.selection.videos import SUBSETS
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig
from videocompressa.synthetic import Budget, SyntheticSet, take_keyframes
from videocompressa.views import Views

SIDE, FRAMES = 16, 6
TEACHER = TeacherConfig(
    train=TrainConfig(
        student="framenet2d", width=0.25, steps=2, batch_size=4, lr=1e-3, warmup_steps=0, views=Views(scenes=0.0)
    ),
    num_views=2,
)


def candidates(codec: Codec, sizes: tuple[int, ...] = (12, 12), side: int = SIDE, seed: int = 0) -> Candidates:
    """Noise clips behind a codec, `sizes` of each class, with ids of unequal length."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    stream = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (len(labels), FRAMES, 3, side, side), dtype=torch.uint8, generator=stream)
    cells = codec.spec.latent_shape(side, side)
    return Candidates(
        frames=frames,
        latents=codec.encode(frames.flatten(0, 1)).view(len(labels), FRAMES, *cells).half(),
        times_seconds=torch.arange(FRAMES, dtype=torch.float64).expand(len(labels), -1) / 10,
        labels=labels,
        video_ids=tuple(f"{int(label)}/{'long' * (row % 5)}{row:03d}.mp4" for row, label in enumerate(labels)),
        num_video_frames=torch.full((len(labels),), 30),
        video_bytes=torch.full((len(labels),), 1000),
        classes=tuple("abcdefgh"[: len(sizes)]),
        clip=ClipSpec(FRAMES, side, side),
        codec=codec.spec,
        normalization=Normalization((0.5, 0.4, 0.3), (0.25, 0.2, 0.1)),
        source="planted",
        split_hash="0" * 64,
    )


@pytest.fixture(scope="module", params=["pixel", "linear"])
def behind(request: pytest.FixtureRequest) -> tuple[Candidates, Codec]:
    """Two classes of noise behind pixels as they are, and behind a latent codec."""
    codec: Codec = PixelCodec() if request.param == "pixel" else LinearCodec.load()
    return candidates(codec), codec


def run(data: Candidates, codec: Codec, config: LvddConfig, seed: int = 0, **budget: Any) -> SyntheticSet:
    config = dataclasses.replace(config, teacher=TEACHER)
    kept = Budget(**{"videos_per_class": 2, "keyframes": 3} | budget)
    return config.compress(data, codec, kept, Run(Streams(seed)))


def rows_of(data: Candidates, synthetic: SyntheticSet) -> list[int]:
    return [data.video_ids.index(video) for video in synthetic.provenance.video_ids]


def test_the_set_is_real_clips_through_the_packing(behind: tuple[Candidates, Codec]) -> None:
    data, codec = behind
    synthetic = run(data, codec, LvddConfig())
    rows = rows_of(data, synthetic)
    assert data.labels[rows].tolist() == synthetic.labels.tolist() == [0, 0, 1, 1]
    assert synthetic.positions.tolist() == [list(range(FRAMES))] * 4
    packed = tucker.pack(data.latents[rows].float(), 0.75)
    assert synthetic.packing == "tucker"
    assert all(torch.equal(synthetic.packed[name], packed[name]) for name in tucker.TENSORS)
    assert torch.equal(synthetic.latents, tucker.unpack(packed, tuple(synthetic.latents.shape)))
    assert torch.equal(synthetic.times_seconds, data.times_seconds[rows])
    assert synthetic.clips().shape == (4, FRAMES, 3, SIDE, SIDE)


def test_at_full_ratio_the_clips_are_the_real_ones_but_for_rounding(behind: tuple[Candidates, Codec]) -> None:
    data, codec = behind
    synthetic = run(data, codec, LvddConfig(ratio=1.0, frames="keyframes"))
    real = take_keyframes(data.latents[rows_of(data, synthetic)].float(), synthetic.positions)
    assert synthetic.positions.tolist() == [[1, 3, 5]] * 4
    assert float((synthetic.latents - real).norm() / real.norm()) < 0.05


@pytest.mark.parametrize("name", sorted(name for name in METHODS if name.startswith("lvdd")))
def test_same_seed_same_bytes_and_the_name_is_that_of_the_table(name: str) -> None:
    codec = LinearCodec.load()
    data, config = candidates(codec), METHODS[name]
    first, again, other = (run(data, codec, config, seed) for seed in (1, 1, 2))
    assert to_bytes(first) == to_bytes(again)
    assert first.provenance.method == name
    assert rows_of(data, first) != rows_of(data, other)


def test_soft_labels_change_the_labels_alone(behind: tuple[Candidates, Codec]) -> None:
    data, codec = behind
    hard, soft = run(data, codec, LvddConfig()), run(data, codec, LvddConfig(labels="soft"))
    assert soft.labels.shape == (4, 2)
    assert torch.equal(hard.latents, soft.latents)
    assert soft.packing == "tucker"
    assert not LvddConfig().needs_teacher
    assert LvddConfig(labels="soft").needs_teacher


def test_the_file_keeps_labels_classes_codec_and_normalization(
    behind: tuple[Candidates, Codec], tmp_path: Path
) -> None:
    # LVDD's released files hold none of these.
    data, codec = behind
    synthetic = run(data, codec, LvddConfig(labels="soft"))
    write_set(synthetic, tmp_path / "a.safetensors")
    back = read_set(tmp_path / "a.safetensors")
    assert back.classes == ("a", "b")
    assert back.codec == codec.spec
    assert back.normalization == data.normalization
    assert torch.equal(back.latents, synthetic.latents)
    assert torch.allclose(back.labels, synthetic.labels, atol=1e-3)
    write_set(back, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


# ------------------------------------------------------------------------------------------------------ which clips


def clones(codec: Codec) -> Candidates:
    """A class of six near copies of one clip, then six clips of their own; and a class of noise."""
    data = candidates(codec)
    stream = torch.Generator().manual_seed(5)
    near = data.latents[:1].float() + 0.05 * torch.randn(data.latents[:6].shape, generator=stream)
    return dataclasses.replace(data, latents=torch.cat([near.half(), data.latents[6:]]))


def num_copies(kernel: str) -> list[int]:
    """How many of four clips of that class are copies, by seed."""
    data = clones(PixelCodec())
    taken = []
    for seed in range(12):
        rows = rows_of(data, run(data, PixelCodec(), LvddConfig(kernel=kernel), seed, videos_per_class=4))
        taken.append(sum(row < 6 for row in rows))
    return taken


def test_the_paper_kernel_draws_at_random_and_the_scaled_one_keeps_copies_apart() -> None:
    # Copies differ by noise in every cell, which to exp(-distance) is as far as anything: at random 2 of 4 are copies.
    assert max(num_copies("scaled")) <= 1
    assert 18 <= sum(num_copies("paper")) <= 30


def test_cells_are_standardized_for_the_dpp(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def first_rows(features: Tensor, count: int, generator: torch.Generator) -> list[int]:
        seen.append(features)
        return list(range(count))

    monkeypatch.setitem(SUBSETS, "dpp", first_rows)
    data = candidates(PixelCodec())
    latents = data.latents.clone()
    latents[:, 0, 0] = 3.0  # cells that never change
    run(dataclasses.replace(data, latents=latents), PixelCodec(), LvddConfig())
    features = torch.cat(seen).view(len(data), FRAMES, -1)
    assert torch.allclose(features.mean(0), torch.zeros(()).double(), atol=1e-9)
    assert torch.allclose(features[:, 1:].std(0, correction=0), torch.ones(()).double())
    assert not features[:, 0, : SIDE * SIDE].any()


# --------------------------------------------------------------------------------------------------------- how many


@pytest.mark.parametrize(
    "config",
    [LvddConfig(), LvddConfig(labels="soft"), LvddConfig(frames="keyframes", select="k-means", ratio=0.5)],
    ids=["published", "soft", "keyframes"],
)
@pytest.mark.parametrize("extra", [0, 700])
def test_the_bytes_are_filled_and_not_passed(behind: tuple[Candidates, Codec], config: LvddConfig, extra: int) -> None:
    data, codec = behind
    limit = len(to_bytes(run(data, codec, config, videos_per_class=4))) + extra
    synthetic = run(data, codec, config, file_bytes=limit)
    count = len(synthetic) // 2
    assert synthetic.hard_labels.shape == (2 * count,)
    assert torch.bincount(data.labels[rows_of(data, synthetic)]).tolist() == [count, count]
    assert len(to_bytes(synthetic)) <= limit
    if extra == 0:
        assert count >= 4
    if count < 12:
        assert len(to_bytes(run(data, codec, config, videos_per_class=count + 1))) > limit


def test_bytes_for_more_than_there_is_take_the_smallest_class_or_all(tmp_path: Path) -> None:
    codec = LinearCodec.load()
    data = candidates(codec, sizes=(5, 3))
    balanced = run(data, codec, LvddConfig(), file_bytes=10**6)
    assert balanced.labels.tolist() == [0] * 3 + [1] * 3
    everything = run(data, codec, LvddConfig(), file_bytes=10**6, allow_fewer=True)
    assert everything.labels.tolist() == [0] * 5 + [1] * 3
    assert write_set(balanced, tmp_path / "a.safetensors") == measure(tmp_path / "a.safetensors")


def test_too_few_bytes_say_how_many_it_takes() -> None:
    codec = LinearCodec.load()
    data = candidates(codec)
    with pytest.raises(BudgetError, match=r"100 bytes .* too few for one video of each of 2 classes by lvdd;") as it:
        run(data, codec, LvddConfig(), file_bytes=100)
    least = int(str(it.value).split("give at least --bytes ")[1].split(",")[0])
    assert len(run(data, codec, LvddConfig(), file_bytes=least)) == 2
    with pytest.raises(BudgetError, match=f"at least --bytes {least}"):
        run(data, codec, LvddConfig(), file_bytes=least - 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LvddConfig(select="best"), "select is 'best'; known: dpp, k-means, random"),
        (lambda: LvddConfig(kernel="best"), "kernel is 'best'; known: paper, scaled"),
        (lambda: LvddConfig(frames="some"), "frames is 'some'; known: all, keyframes"),
        (lambda: LvddConfig(ratio=0.0), r"ratio is 0.0; it must be in \(0,1\]"),
        (lambda: LvddConfig(ratio=1.5), "ratio is 1.5"),
        (lambda: LvddConfig(labels="none"), "unknown labels 'none'"),
        (lambda: LvddConfig(fill="loop"), "fill is 'loop'; known: hold, linear"),
        (
            lambda: run(candidates(PixelCodec(), (3, 2)), PixelCodec(), LvddConfig(), videos_per_class=3),
            "--vpc is 3, but class 'b' has 2 training videos",
        ),
    ],
)
def test_messages(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
