"""Weights in few bits: fixed points, exact round trips, fewer bytes than the bits, and every refusal."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from videocompressa.artifact.lzma_stream import pack_bytes, unpack_bytes
from videocompressa.artifact.packing.weights import TENSORS, pack, rounded, unpack
from videocompressa.errors import InputError

SHAPES = {"b.weight": (3, 2, 1, 2, 2), "b.bias": (3,), "a.weight": (4, 5), "norm.mean": (6,)}
Weights = dict[str, Tensor]


MATRIX: dict[str, tuple[int, ...]] = {"w": (100, 600), "bias": (2,)}


def draw(seed: int = 0, shapes: dict[str, tuple[int, ...]] = SHAPES, size: float = 1.0) -> Weights:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=rng) * size for name, shape in shapes.items()}


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def with_special_rows(weights: Weights, exponent: float) -> Weights:
    """Set one row to zeros, one so small that its scale is no normal float16, and one large."""
    matrix = weights["a.weight"].clone()
    matrix[0] = 0
    matrix[1] *= 2.0**exponent
    matrix[2] *= 1000
    return weights | {"a.weight": matrix}


# --- Numbers ---


@given(bits=st.integers(2, 8), seed=st.integers(0, 999), exponent=st.floats(-30, 0))
def test_rounding_is_its_own_fixed_point_and_files_are_exact(bits: int, seed: int, exponent: float) -> None:
    once = rounded(with_special_rows(draw(seed), exponent), bits)
    assert same(rounded(once, bits), once)
    tensors = pack(once, bits)
    assert tensors.keys() == TENSORS.keys()
    assert (tensors["labeler"].dtype, tensors["labeler_scales"].dtype) == (torch.uint8, torch.float16)
    back = unpack(tensors, SHAPES, bits)
    assert same(back, once)
    assert all(weight.dtype == torch.float32 for weight in back.values())
    again = pack(back, bits)
    assert all(torch.equal(again[name], tensors[name]) for name in TENSORS)


@given(bits=st.integers(2, 8), seed=st.integers(0, 999))
def test_each_row_takes_at_most_the_levels_of_its_bits(bits: int, seed: int) -> None:
    for row in rounded(draw(seed, MATRIX), bits)["w"]:
        levels = row.abs().unique()
        assert len(levels) <= 2 ** (bits - 1)
        step = float(levels[levels > 0].min())
        torch.testing.assert_close(levels / step, (levels / step).round(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_more_bits_err_less_and_the_chosen_scale_beats_that_of_the_largest_weight(seed: int) -> None:
    weights = draw(seed, MATRIX)
    errors = [float((rounded(weights, bits)["w"] - weights["w"]).square().mean()) for bits in range(2, 9)]
    assert all(more < 0.6 * fewer for fewer, more in pairwise(errors))
    most = 7
    largest = weights["w"].abs().amax(1, keepdim=True) / most
    plain = ((weights["w"] / largest).round() * largest - weights["w"]).square().mean()
    assert errors[2] < 0.95 * float(plain)


def test_the_best_of_the_tried_scales_by_hand() -> None:
    """Two bits are -1, 0 and 1: fifty weights of 0.5 and one of 1 are nearer to 0.5 than to 1 or 0."""
    row = torch.tensor([[0.5] * 50 + [1.0]])
    assert rounded({"w": row}, 2)["w"].tolist() == [[0.5] * 51]


@pytest.mark.parametrize("size", [2.0**-40, 2.0**-24, 2.0**-15, 1.0, 2.0**20])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rows_of_any_size_keep_their_fixed_point(bits: int, size: float) -> None:
    weights = draw(1, MATRIX, size) | {"bias": torch.ones(2)}
    once = rounded(weights, bits)
    assert same(rounded(once, bits), once)
    assert same(unpack(pack(once, bits), MATRIX, bits), once)
    assert bool(torch.isfinite(once["w"]).all())


def test_the_given_weights_are_left_alone() -> None:
    weights = draw()
    before = {name: weight.clone() for name, weight in weights.items()}
    rounded(weights, 4)["b.bias"][0] = 7
    assert same(weights, before)


def test_vectors_are_kept_as_float16() -> None:
    weights = draw()
    assert torch.equal(rounded(weights, 2)["b.bias"], weights["b.bias"].half().float())


# --- Bytes ---


@pytest.mark.parametrize("bits", range(2, 9))
def test_gaussian_weights_take_less_than_their_bits(bits: int) -> None:
    tensors = pack(rounded(draw(0, MATRIX), bits), bits)
    assert len(tensors["labeler"]) < bits / 8 * 100 * 600 + 50
    assert sum(tensor.nbytes for tensor in tensors.values()) == len(tensors["labeler"]) + 2 * (100 + 2)


def test_the_order_of_the_names_is_that_of_the_file() -> None:
    """As docs/format.md says: matrices by name, each row-major, a signed byte a weight."""
    weights = {"b": torch.tensor([[1.0, -1.0]]), "a": torch.tensor([[0.0, 3.0], [-7.0, 7.0]]), "v": torch.ones(1)}
    once = rounded(weights, 4)
    tensors = pack(dict(reversed(once.items())), 4)
    codes = torch.frombuffer(bytearray(unpack_bytes(tensors["labeler"].numpy().tobytes(), 99, "x")), dtype=torch.int8)
    assert codes.tolist() == [0, 7, -7, 7, 7, -7]
    rows = torch.cat([once["a"], once["b"]])
    assert torch.equal(codes.view(3, 2) * tensors["labeler_scales"].float()[:, None], rows)
    assert tensors["labeler_vectors"].tolist() == [1.0]


# --- Refusals ---


def changed(**tensors: Tensor) -> Callable[[], dict[str, Tensor]]:
    return lambda: pack(rounded(draw(), 4), 4) | tensors


def stream(codes: Any) -> Tensor:
    data = pack_bytes(torch.tensor(codes, dtype=torch.int8).numpy().tobytes())
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


GOOD = pack(rounded(draw(), 4), 4)
NUM_WEIGHTS, NUM_ROWS, NUM_ENTRIES = 44, 7, 9
BAD: dict[str, tuple[Callable[[], dict[str, Tensor]], str]] = {
    "few scales": (changed(labeler_scales=torch.ones(6).half()), r"labeler_scales has shape \(6,\); it must be \(7,\)"),
    "flat scales": (
        changed(labeler_scales=torch.ones(7, 1).half()),
        r"labeler_scales has shape \(7, 1\); it must be \(7,\)",
    ),
    "more entries": (
        changed(labeler_vectors=torch.ones(10).half()),
        r"labeler_vectors has shape \(10,\); it must be \(9,\)",
    ),
    "flat codes": (
        changed(labeler=GOOD["labeler"][None]),
        rf"labeler has shape \(1, {len(GOOD['labeler'])}\); it must be \(bytes,\)",
    ),
    "scales NaN": (
        changed(labeler_scales=torch.full((7,), torch.nan).half()),
        "tensor labeler_scales holds weights that are not finite",
    ),
    "vectors infinite": (
        changed(labeler_vectors=torch.full((9,), torch.inf).half()),
        "tensor labeler_vectors holds weights that are not finite",
    ),
    "scales negative": (
        changed(labeler_scales=-torch.ones(7).half()),
        "tensor labeler_scales holds negative scales; the file is damaged",
    ),
    "codes beyond": (changed(labeler=stream([8] * 44)), "tensor labeler holds weights beyond 4 bits; the file is dam"),
    "codes below": (changed(labeler=stream([-8] * 44)), "tensor labeler holds weights beyond 4 bits; the file is dam"),
    "codes -128": (changed(labeler=stream([-128] * 44)), "tensor labeler holds weights beyond 4 bits; the file is d"),
    "codes few": (changed(labeler=stream([1] * 43)), "tensor labeler unpacks to 43 weights; the network has 44"),
    "codes more": (changed(labeler=stream([1] * 45)), "tensor labeler unpacks to over 44 bytes; the file is damaged"),
    "bomb": (changed(labeler=stream([0] * 10**6)), "tensor labeler unpacks to over 44 bytes; the file is damaged"),
    "cut": (changed(labeler=GOOD["labeler"][:-1]), "tensor labeler ends too early; the file is damaged"),
    "empty": (changed(labeler=GOOD["labeler"][:0]), "tensor labeler ends too early; the file is damaged"),
    "more bytes": (
        changed(labeler=torch.cat([GOOD["labeler"], torch.zeros(1, dtype=torch.uint8)])),
        "tensor labeler has bytes after its end; the file is damaged",
    ),
    "noise": (
        changed(labeler=torch.full((9,), 77, dtype=torch.uint8)),
        "tensor labeler is no LZMA stream; the file is damaged",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_tensors_that_cannot_be_are_refused(name: str) -> None:
    make, message = BAD[name]
    with pytest.raises(InputError, match=message):
        unpack(make(), SHAPES, 4)


def test_eight_bits_still_leave_out_the_lowest_code() -> None:
    tensors = pack(rounded(draw(), 8), 8) | {"labeler": stream([-127] * 22 + [127] * 22)}
    assert unpack(tensors, SHAPES, 8)
    with pytest.raises(InputError, match="beyond 8 bits"):
        unpack(tensors | {"labeler": stream([-128] * 44)}, SHAPES, 8)
