"""Storage: the file holds the set, within its bytes, for every way to store latents."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videocompressa.artifact import read_set, to_bytes, write_set
from videocompressa.artifact.packing import tucker
from videocompressa.artifact.storage import Storage, item_bytes, stored
from videocompressa.clip import ClipSpec, Normalization
from videocompressa.codecs import TinyCodec
from videocompressa.errors import InputError
from videocompressa.synthetic import Provenance, Source, SyntheticSet

SIDE, ITEMS, KEYFRAMES = 32, 12, 3


@pytest.fixture(scope="module")
def codec() -> TinyCodec:
    return TinyCodec.load()


@pytest.fixture(scope="module")
def dense(codec: TinyCodec) -> SyntheticSet:
    """A set of smooth drawn pictures that drift."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(ITEMS, 3, 6, 6, generator=draw)
    pictures = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    frames = torch.stack([pictures.roll(shift, -1) for shift in range(KEYFRAMES)], 1)
    with torch.no_grad():
        latents = torch.stack([codec.encode(item) for item in frames])
    return SyntheticSet(
        latents=latents,
        positions=torch.arange(KEYFRAMES).expand(ITEMS, -1),
        times_seconds=torch.arange(KEYFRAMES).double().expand(ITEMS, -1) / 8,
        labels=torch.arange(ITEMS) % 2,
        classes=("a", "b"),
        clip=ClipSpec(4, SIDE, SIDE),
        codec=codec.spec,
        normalization=Normalization((0.5,) * 3, (0.25,) * 3),
        provenance=Provenance(
            "test", {}, 0, Source("set", "0" * 64, ITEMS, 99, 10**6), tuple(f"a/{item}.mp4" for item in range(ITEMS))
        ),
        decoder=codec,
    )


def psnr(decoded: Tensor, original: Tensor) -> float:
    return float(-10 * (decoded - original).square().mean().log10())


def test_the_file_holds_the_latents_of_the_set(dense: SyntheticSet, codec: TinyCodec, tmp_path: Path) -> None:
    kept = stored(dense, codec, Storage(step=1.0))
    assert kept.packing == "transform"
    write_set(kept, tmp_path / "set.safetensors")
    back = read_set(tmp_path / "set.safetensors")
    assert torch.equal(back.latents, kept.latents)
    assert to_bytes(back) == to_bytes(kept)
    assert psnr(kept.keyframes(), dense.keyframes()) > 25
    assert len(to_bytes(dense)) - len(to_bytes(kept)) > 0.8 * dense.latents.numel()


def test_a_coarser_step_costs_less_and_shows_less(dense: SyntheticSet, codec: TinyCodec) -> None:
    kept = [stored(dense, codec, Storage("transform", step)) for step in (0.25, 1.0, 4.0)]
    sizes = [len(to_bytes(each)) for each in kept]
    quality = [psnr(each.keyframes(), dense.keyframes()) for each in kept]
    assert sizes == sorted(sizes, reverse=True)
    assert quality == sorted(quality, reverse=True)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_a_limit_is_kept_and_nearly_used(dense: SyntheticSet, codec: TinyCodec, share: float) -> None:
    sizes = [len(to_bytes(stored(dense, codec, Storage("transform", step)))) for step in (0.25, 64)]
    limit = round(share * sizes[0] + (1 - share) * sizes[1])
    size = len(to_bytes(stored(dense, codec, Storage("transform", 0.25), limit=limit)))
    assert limit - 60 <= size <= limit


def test_a_limit_below_everything_else_returns_the_set_as_asked(dense: SyntheticSet, codec: TinyCodec) -> None:
    assert to_bytes(stored(dense, codec, Storage(), limit=100)) == to_bytes(stored(dense, codec, Storage()))


def test_one_number_a_cell_and_packed_sets_stay_as_they_are(dense: SyntheticSet, codec: TinyCodec) -> None:
    packed = tucker.pack(dense.latents)
    factors = dataclasses.replace(
        dense, latents=tucker.unpack(packed, tuple(dense.latents.shape)), packing="tucker", packed=packed
    )
    assert stored(dense, codec, Storage("int8")) is dense
    assert stored(dense, codec, Storage("float16")) is dense
    assert stored(factors, codec, Storage()) is factors


def test_the_bytes_of_an_item_are_those_of_the_file(dense: SyntheticSet, codec: TinyCodec) -> None:
    stream = stored(dense, codec, Storage()).packed["stream"]
    assert item_bytes(dense.latents, codec, Storage(), seed=0) == stream.numel() / ITEMS


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_must_be_above_zero(step: float) -> None:
    with pytest.raises(InputError, match=r"--step is .*; it must be above 0"):
        Storage("transform", step)
