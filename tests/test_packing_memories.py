"""Packing "s2d": the joiner against a plain sum, its own fixed point, and every way in which tensors can be wrong."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import Tensor

from videocompressa.artifact import measure, read_set, to_bytes, write_set
from videocompressa.artifact.packing import PACKINGS, find_packing, memories
from videocompressa.clip import ClipSpec, CodecSpec, Normalization
from videocompressa.errors import ArtifactError, InputError
from videocompressa.synthetic import Provenance, Source, SyntheticSet

ITEMS, STATICS, FRAMES, CHANNELS, HEIGHT, WIDTH = 2, 2, 5, 2, 3, 4
SHAPE = (ITEMS, FRAMES, CHANNELS, HEIGHT, WIDTH)


def random_memories(dtype: torch.dtype = torch.float32, kernel: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = [
        (ITEMS, STATICS, CHANNELS, HEIGHT, WIDTH),
        (ITEMS, FRAMES, HEIGHT, WIDTH),
        (CHANNELS, CHANNELS + 1, kernel, kernel, kernel),
        (CHANNELS,),
    ]
    statics, dynamics, weight, bias = (torch.randn(shape, generator=rng).to(dtype) for shape in shapes)
    return statics, dynamics, weight, bias


def make_set() -> SyntheticSet:
    packed = memories.pack(*random_memories())
    return SyntheticSet(
        latents=memories.unpack(packed, SHAPE),
        positions=torch.arange(FRAMES).repeat(ITEMS, 1),
        times_seconds=torch.arange(FRAMES, dtype=torch.float64).repeat(ITEMS, 1) / 4,
        labels=torch.tensor([0, 1]),
        classes=("a", "b"),
        clip=ClipSpec(FRAMES, HEIGHT * 4, WIDTH * 4),
        codec=CodecSpec("tiny", "0f" * 32, CHANNELS, 4, (0.0, 0.0), (1.0, 1.0)),
        normalization=Normalization((0.5,) * 3, (0.25,) * 3),
        provenance=Provenance("vdsd-dm", {}, 0, Source("toy", "ab" * 32, 4, 120, 9000), ("a/0.mp4", "b/0.mp4")),
        packing=memories.NAME,
        packed=packed,
    )


def plain_join(statics: Any, dynamics: Any, weight: Any, bias: Any) -> Any:
    """The definition, tap by tap, in float64 NumPy."""
    items, num_statics, channels, height, width = statics.shape
    frames, side = dynamics.shape[1], weight.shape[2]
    half = side // 2
    volume = np.zeros((items, channels + 1, frames + 2 * half, height + 2 * half, width + 2 * half))
    for t in range(frames):
        inside = (slice(None), slice(None, channels), t + half, slice(half, half + height), slice(half, half + width))
        volume[inside] = statics[:, int(t * num_statics / frames)]
        volume[:, channels, t + half, half : half + height, half : half + width] = dynamics[:, t]
    latents = np.zeros((items, frames, channels, height, width))
    for t, y, x in np.ndindex(frames, height, width):
        cube = volume[:, :, t : t + side, y : y + side, x : x + side]
        latents[:, t, :, y, x] = (cube[:, None] * weight[None]).sum((2, 3, 4, 5)) + bias
    return latents


@pytest.mark.parametrize("kernel", [1, 3])
def test_joining_is_the_plain_sum(kernel: int) -> None:
    parts = random_memories(torch.float64, kernel)
    joined = memories.join(*parts)
    np.testing.assert_allclose(joined.numpy(), plain_join(*(part.numpy() for part in parts)), rtol=1e-12, atol=1e-12)
    stored = memories.unpack(memories.pack(*parts), SHAPE)
    assert stored.dtype == torch.float32
    assert (stored - joined).abs().max() < 0.2  # int8 and float16 of parts of unit variance, 81 of them summed


def test_unpacking_is_the_plain_sum_of_what_is_stored() -> None:
    packed = memories.pack(*random_memories())
    parts = {name: tensor.double().numpy() for name, tensor in packed.items()}
    statics = parts["statics"] * parts["static_scales"][:, None, :, None, None]
    dynamics = parts["dynamics"] * parts["dynamic_scales"][:, None, None, None]
    plain = plain_join(statics, dynamics, parts["joiner_weight"], parts["joiner_bias"])
    # Rounded once: the nearest float32, or its neighbor where float64 sums in another order straddle the middle.
    np.testing.assert_allclose(memories.unpack(packed, SHAPE).numpy(), plain, rtol=2.0**-23, atol=1e-12)


def test_more_items_or_threads_change_no_bit() -> None:
    packed = memories.pack(*random_memories())
    every_item = memories.unpack(packed, SHAPE)
    one = {name: tensor if name.startswith("joiner") else tensor[1:] for name, tensor in packed.items()}
    assert torch.equal(memories.unpack(one, (1, *SHAPE[1:])), every_item[1:])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert torch.equal(memories.unpack(packed, SHAPE), every_item)
    finally:
        torch.set_num_threads(threads)


def test_packing_is_off_by_half_a_step_and_its_own_fixed_point() -> None:
    statics, dynamics, weight, bias = random_memories()
    packed = memories.pack(statics, dynamics, weight, bias)
    stored = memories.stored_statics(packed)
    steps = packed["static_scales"].float()[:, None, :, None, None]
    assert ((stored - statics).abs() <= 0.5001 * steps).all()
    assert (packed["static_scales"].float() - statics.abs().amax((1, 3, 4)) / 127).abs().max() < 1e-4
    dynamics = packed["dynamics"].float() * packed["dynamic_scales"].float()[:, None, None, None]
    again = memories.pack(stored, dynamics, packed["joiner_weight"].float(), packed["joiner_bias"].float())
    assert all(torch.equal(again[name], packed[name]) for name in memories.TENSORS)
    alone = memories.pack_statics(stored)
    assert torch.equal(alone["statics"], packed["statics"])


def test_the_smallest_scale_serves_blank_memories() -> None:
    statics, dynamics, weight, bias = random_memories()
    packed = memories.pack(statics * 0, dynamics * 0, weight, bias)
    assert (packed["dynamic_scales"] > 0).all()
    assert torch.equal(memories.unpack(packed, SHAPE)[0, 0, :, 0, 0], packed["joiner_bias"].float())


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, float("nan"), "statics reach nan; they must be finite and below 8.3e6"),
        (1, 1e7, r"dynamics reach 1e\+07; they must be finite"),
        (2, 1e5, r"joiner_weight leaves the range of float16 \(65504\); choose a lower learning rate"),
        (3, float("nan"), "joiner_bias leaves the range of float16"),
    ],
)
def test_memories_that_cannot_be_stored_are_refused(place: int, value: float, message: str) -> None:
    parts = list(random_memories())
    parts[place] = torch.full_like(parts[place], value)
    with pytest.raises(InputError, match=message):
        memories.pack(*parts)


# ------------------------------------------------------------------------------------------------------------ file


def test_the_file_round_trips_byte_for_byte(tmp_path: Path) -> None:
    synthetic = make_set()
    budget = write_set(synthetic, tmp_path / "a.safetensors")
    back = read_set(tmp_path / "a.safetensors")
    assert back.packing == "s2d"
    assert torch.equal(back.latents, synthetic.latents)
    assert to_bytes(back) == (tmp_path / "a.safetensors").read_bytes() == to_bytes(synthetic)
    cells = HEIGHT * WIDTH
    memory_bytes = ITEMS * (STATICS * CHANNELS + FRAMES) * cells
    scale_bytes = 2 * ITEMS * (CHANNELS + 1)
    joiner_bytes = 2 * (CHANNELS * (CHANNELS + 1) * 27 + CHANNELS)
    assert budget.latent_bytes == memory_bytes + scale_bytes + joiner_bytes
    assert measure(tmp_path / "a.safetensors") == budget


def test_the_packing_is_registered() -> None:
    assert find_packing("s2d") is PACKINGS["s2d"]
    assert set(memories.pack(*random_memories())) == set(PACKINGS["s2d"].tensors)


def test_the_page_lists_its_tensors() -> None:
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    table = page[page.index("## Packing `s2d`") :].split("\n## ")[0]
    assert dict(re.findall(r"^\| `([a-z0-9_]+)` \| ([A-Z0-9]+) \|", table, re.MULTILINE)) == memories.TENSORS


def retensored(**arrays: Any) -> bytes:
    """A good file whose tensors were replaced (or, by None, left out)."""
    data = to_bytes(make_set())
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    tensors = safetensors.numpy.load(data) | arrays
    return safetensors.numpy.save({name: value for name, value in tensors.items() if value is not None}, metadata)


def zeros(*shape: int, dtype: Any = np.int8) -> Any:
    return np.zeros(shape, dtype)


HALF = np.float16
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"dynamics": None}, r"it must hold \[dynamic_scales, dynamics, joiner_bias, joiner_weight, labels,"),
    "dense too": ({"latents": zeros(*SHAPE)}, r"holds tensors \[dynamic_scales, .*, latents, .*; it must hold"),
    "dtype": ({"statics": zeros(2, 2, 2, 3, 4, dtype=HALF)}, r"tensor statics is float16 .* it must be int8"),
    "flat statics": ({"statics": zeros(2, 48)}, r"tensor statics has shape \(2, 48\); it must be \(2, 1, 2, 3, 4\)"),
    "statics": ({"statics": zeros(2, 2, 2, 3, 5)}, r"shape \(2, 2, 2, 3, 5\); it must be \(2, 2, 2, 3, 4\)"),
    "no statics": ({"statics": zeros(2, 0, 2, 3, 4)}, "tensor statics has 0 stills for 5 frames; allowed: 1 to 5"),
    "many statics": ({"statics": zeros(2, 6, 2, 3, 4)}, "tensor statics has 6 stills for 5 frames; allowed: 1 to 5"),
    "static scales": ({"static_scales": zeros(2, dtype=HALF)}, r"static_scales has shape \(2,\); it must be \(2, 2\)"),
    "dynamics": ({"dynamics": zeros(2, 4, 3, 4)}, r"dynamics has shape \(2, 4, 3, 4\); it must be \(2, 5, 3, 4\)"),
    "dynamic scales": (
        {"dynamic_scales": zeros(3, dtype=HALF)},
        r"dynamic_scales has shape \(3,\); it must be \(2,\)",
    ),
    "joiner": (
        {"joiner_weight": zeros(2, 2, 3, 3, 3, dtype=HALF)},
        r"joiner_weight has shape \(2, 2, 3, 3, 3\); it must be \(2, 3, 3, 3, 3\)",
    ),
    "flat joiner": (
        {"joiner_weight": zeros(162, dtype=HALF)},
        r"joiner_weight has shape \(162,\); it must be \(2, 3, 3, 3, 3\)",
    ),
    "even joiner": ({"joiner_weight": zeros(2, 3, 2, 3, 3, dtype=HALF)}, r"kernel \(2, 3, 3\); its sides must be odd"),
    "bias": ({"joiner_bias": zeros(3, dtype=HALF)}, r"joiner_bias has shape \(3,\); it must be \(2,\)"),
    "zero scales": (
        {"static_scales": zeros(2, 2, dtype=HALF)},
        "static_scales holds values that are not finite and positive",
    ),
    "infinite scales": (
        {"dynamic_scales": np.full(2, np.inf, HALF)},
        "dynamic_scales holds values that are not finite and positive",
    ),
    "infinite weight": (
        {"joiner_weight": np.full((2, 3, 3, 3, 3), np.nan, HALF)},
        "joiner_weight holds values that are not finite",
    ),
    "infinite bias": ({"joiner_bias": np.full(2, np.inf, HALF)}, "joiner_bias holds values that are not finite"),
    "-128": (
        {"dynamics": np.full((2, 5, 3, 4), -128, np.int8)},
        r"dynamics holds -128; its int8 numbers must be in \[-127",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_tensors_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(retensored(**arrays))
    with pytest.raises(ArtifactError, match=message):
        read_set(path)


def test_a_set_without_one_of_its_tensors_is_not_written() -> None:
    synthetic = make_set()
    packed = {name: tensor for name, tensor in synthetic.packed.items() if name != "joiner_bias"}
    with pytest.raises(InputError, match=r"packing 's2d' stores tensors \[.*\], but the set has"):
        to_bytes(replace(synthetic, packed=packed))
