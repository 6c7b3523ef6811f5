"""Tucker packing: the errors of an HOSVD in NumPy, fixed bytes, and every way in which its tensors can be wrong."""

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
from videocompressa.artifact.packing import PACKINGS, find_packing, tucker, unpacked
from videocompressa.artifact.packing.tucker import MODES, blank, pack, ranks_of, unpack
from videocompressa.clip import ClipSpec, CodecSpec, Normalization
from videocompressa.errors import ArtifactError, InputError
from videocompressa.synthetic import Provenance, Source, SyntheticSet

SHAPE = (6, 5, 3, 8, 7)


def smooth(shape: tuple[int, ...] = SHAPE, seed: int = 0, decay: float = 0.5) -> Tensor:
    """Draw latents whose energy falls along the modes that are cut."""
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    for mode in MODES.values():
        basis = torch.linalg.qr(torch.randn(shape[mode], shape[mode], generator=torch.Generator().manual_seed(mode)))[0]
        weights = basis * decay ** torch.arange(shape[mode])
        latents = torch.tensordot(latents, weights, dims=([mode], [1])).movedim(-1, mode)
    return latents / latents.std()


def numpy_hosvd(latents: Tensor, ratio: float) -> np.ndarray[Any, Any]:
    """Project on the leading left singular vectors of each unfolding, without any rounding."""
    exact = latents.double().numpy()
    result = exact
    for mode in (1, 3, 4):
        unfolded = np.moveaxis(exact, mode, 0).reshape(exact.shape[mode], -1)
        left = np.linalg.svd(unfolded, full_matrices=False)[0][:, : max(1, int(exact.shape[mode] * ratio))]
        result = np.moveaxis(np.tensordot(left @ left.T, result, axes=(1, mode)), 0, mode)
    return result


def error(latents: Tensor, back: object) -> float:
    """Relative Frobenius error."""
    exact = latents.double().numpy()
    return float(np.linalg.norm(exact - np.asarray(back, dtype=np.float64)) / np.linalg.norm(exact))


def round_trip(latents: Tensor, ratio: float) -> Tensor:
    return unpack(pack(latents, ratio), tuple(latents.shape))


def rounding(latents: Tensor, ratio: float) -> float:
    """Bound of the relative error that int8 adds: half a step in each number of the core."""
    packed = pack(latents, ratio)
    steps = packed["core_scales"].double()[:, None, :, None, None].expand(packed["core"].shape)
    return float((0.5 * steps).norm() / latents.double().norm())


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_the_error_is_that_of_an_hosvd_in_numpy(ratio: float, decay: float) -> None:
    latents = smooth(decay=decay)
    expected, got = error(latents, numpy_hosvd(latents, ratio)), error(latents, round_trip(latents, ratio))
    # Float16 factors turn the subspaces by 2^-11, int8 adds at most half a step a number.
    assert got >= expected - 1e-3
    assert got**2 <= (expected + 1e-3) ** 2 + rounding(latents, ratio) ** 2 * 1.01


def test_full_ratio_is_exact_up_to_the_rounding_of_the_core() -> None:
    latents = smooth(decay=1.0)
    assert error(latents, round_trip(latents, 1.0)) <= 1.01 * rounding(latents, 1.0) < 0.03


def test_the_error_falls_with_the_ratio() -> None:
    latents = smooth(decay=0.8)
    errors = [error(latents, round_trip(latents, ratio)) for ratio in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 3 * errors[-1]


def test_latents_of_low_rank_lose_nothing_but_rounding() -> None:
    latents = smooth((4, 1, 3, 2, 7), decay=1.0).repeat(1, 6, 1, 4, 1)  # rank 1 in time, 2 in height
    packed = pack(latents, 0.5)
    assert error(latents, unpack(packed, tuple(latents.shape))) > 0.1  # width is cut to 3
    packed = pack(latents[..., :1].repeat(1, 1, 1, 1, 6), 0.5)
    assert error(latents[..., :1].repeat(1, 1, 1, 1, 6), unpack(packed, (4, 6, 3, 8, 6))) < 0.01
    # Directions that hold nothing are zero and not wherever rounding pointed.
    assert not packed["factor_time"][:, 1:].any()
    assert not packed["factor_height"][:, 2:].any()
    assert not packed["factor_width"][:, 1:].any()


def test_ranks_are_cut_down_and_at_least_one() -> None:
    assert ranks_of((9, 8, 4, 14, 10), 0.75) == {"factor_time": 6, "factor_height": 10, "factor_width": 7}
    assert ranks_of((9, 1, 4, 10, 10), 0.7) == {"factor_time": 1, "factor_height": 7, "factor_width": 7}


def test_tensors_are_as_promised_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    latents = smooth()
    packed, empty = pack(latents, 0.75), blank(SHAPE, 0.75)
    assert packed["core"].shape == (6, 3, 3, 6, 5)
    assert set(packed) == set(tucker.TENSORS) == set(empty)
    for name, tensor in packed.items():
        assert (tensor.shape, tensor.dtype) == (empty[name].shape, empty[name].dtype), name
    monkeypatch.setattr(tucker, "CHUNK", 1)
    again = pack(latents, 0.75)
    assert all(torch.equal(packed[name], again[name]) for name in packed)
    assert torch.equal(unpack(packed, SHAPE), unpack(again, SHAPE))


def test_signs_are_fixed() -> None:
    packed, mirrored = pack(smooth(), 0.75), pack(-smooth(), 0.75)
    for name in MODES:
        assert torch.equal(packed[name], mirrored[name])
        largest = packed[name].gather(0, packed[name].abs().float().argmax(0)[None])
        assert (largest > 0).all()
    assert torch.equal(packed["core"], -mirrored["core"])


# ----------------------------------------------------------------------------------------------------------- the file


def make_set(**changes: Any) -> SyntheticSet:
    """Draw a packed set of 2 items with 3 keyframes of 2 channels and 4x4 cells."""
    packed = changes.pop("packed", None) or pack(smooth((2, 3, 2, 4, 4)), 0.75)
    fields: dict[str, Any] = {
        "latents": unpack(packed, (2, 3, 2, 4, 4)),
        "positions": torch.tensor([[0, 2, 7]]).repeat(2, 1),
        "times_seconds": torch.tensor([[0.1, 0.5, 1.75]], dtype=torch.float64).repeat(2, 1),
        "labels": torch.arange(2),
        "classes": ("jump", "sit down"),
        "clip": ClipSpec(8, 16, 16),
        "codec": CodecSpec("tiny", "0f" * 32, 2, 4, (0.125, -1.5), (1.0, 0.7), 123456),
        "normalization": Normalization((0.45, 0.4, 0.35), (0.25, 0.2, 0.1)),
        "provenance": Provenance("lvdd", {"ratio": 0.75}, 7, Source("toy", "ab" * 32, 40, 1200, 999_000), ("a", "b")),
        "packing": "tucker",
        "packed": packed,
    }
    return SyntheticSet(**(fields | changes))


def edited(**arrays: Any) -> bytes:
    """Return a good file whose tensors were replaced (or, by None, left out)."""
    data = to_bytes(make_set())
    (length,) = struct.unpack("<Q", data[:8])
    tensors = safetensors.numpy.load(data) | arrays
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    return safetensors.numpy.save({name: array for name, array in tensors.items() if array is not None}, metadata)


def test_write_read_write_gives_the_same_bytes_and_keeps_what_is_needed_to_use_the_set(tmp_path: Path) -> None:
    synthetic = make_set()
    budget = write_set(synthetic, tmp_path / "a.safetensors")
    back = read_set(tmp_path / "a.safetensors")
    write_set(back, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert torch.equal(back.latents, synthetic.latents)
    # LVDD's own files hold none of these.
    for name in ("classes", "codec", "normalization", "clip", "provenance", "packing"):
        assert getattr(back, name) == getattr(synthetic, name), name
    assert torch.equal(back.labels, synthetic.labels)
    core, scales, factors = 2 * 2 * 2 * 3 * 3, 2 * 2 * 2, 2 * (3 * 2 + 4 * 3 + 4 * 3)
    assert budget.latent_bytes == core + scales + factors
    assert measure(tmp_path / "a.safetensors") == budget


def test_golden_numbers() -> None:
    # Worked by hand: the second frame is -2 times the first, and the second column is stretched by 4.
    packed = {
        "core": torch.tensor([[[[[127, -3], [0, 5]]]]], dtype=torch.int8),
        "core_scales": torch.tensor([[0.5]], dtype=torch.float16),
        "factor_time": torch.tensor([[1.0], [-2.0]], dtype=torch.float16),
        "factor_height": torch.eye(2, dtype=torch.float16),
        "factor_width": torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float16),
    }
    frames = [[[[63.5, -6.0], [0.0, 10.0]]], [[[-127.0, 12.0], [0.0, -20.0]]]]
    assert torch.equal(unpack(packed, (1, 2, 1, 2, 2)), torch.tensor([frames]))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"factor_time": None}, r"holds tensors .* it must hold \[core, core_scales, factor_height"),
    "dense": ({"latents": np.zeros((2, 3, 2, 4, 4), np.int8)}, r"holds tensors \[core, .* latents"),
    "core dtype": ({"core": np.zeros((2, 2, 2, 3, 3), np.float16)}, "tensor core is float16 .* it must be int8"),
    "core flat": ({"core": np.zeros((2, 72), np.int8)}, r"tensor core has shape \(2, 72\); it must be \(N,k,C,a,b\)"),
    "core items": (
        {"core": np.zeros((3, 2, 2, 3, 3), np.int8)},
        r"tensor core has shape \(3, 2, 2, 3, 3\); it must be \(2, 2, 2, 3, 3\)",
    ),
    "core channels": ({"core": np.zeros((2, 2, 1, 3, 3), np.int8)}, r"tensor core has shape .* \(2, 2, 2, 3, 3\)"),
    "scales": ({"core_scales": np.ones((2, 3), np.float16)}, r"core_scales has shape \(2, 3\); it must be \(2, 2\)"),
    "factor rows": (
        {"factor_height": np.ones((5, 3), np.float16)},
        r"factor_height has shape \(5, 3\); it must be \(4, 3\)",
    ),
    "factor columns": (
        {"factor_width": np.ones((4, 2), np.float16)},
        r"factor_width has shape \(4, 2\); it must be \(4, 3\)",
    ),
    "no rank": (
        {"core": np.zeros((2, 0, 2, 3, 3), np.int8), "factor_time": np.ones((3, 0), np.float16)},
        "factor_time has 0 columns; it must have 1 to 3",
    ),
    "too much rank": (
        {"core": np.zeros((2, 4, 2, 3, 3), np.int8), "factor_time": np.ones((3, 4), np.float16)},
        "factor_time has 4 columns; it must have 1 to 3",
    ),
    "factor nan": (
        {"factor_time": np.full((3, 2), np.nan, np.float16)},
        "factor_time holds values that are not finite",
    ),
    "scale zero": (
        {"core_scales": np.zeros((2, 2), np.float16)},
        "core_scales holds values that are not finite and pos",
    ),
    "scale inf": ({"core_scales": np.full((2, 2), np.inf, np.float16)}, "core_scales holds values that are not finite"),
    "core -128": ({"core": np.full((2, 2, 2, 3, 3), -128, np.int8)}, "core holds -128; its int8 numbers must be in"),
}


@pytest.mark.parametrize(("arrays", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_tensors_in_a_file(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(edited(**arrays))
    with pytest.raises(ArtifactError, match=message) as caught:
        read_set(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pack(smooth()[0]), r"takes latents \(N,K,C,h,w\), not \(5, 3, 8, 7\)"),
        (lambda: pack(smooth(), 0.0), r"ratio of the Tucker packing is 0.0; it must be in \(0,1\]"),
        (lambda: pack(smooth(), 1.1), r"ratio of the Tucker packing is 1.1"),
        (lambda: pack(smooth() / 0), "latents to pack hold values that are not finite"),
        (lambda: pack(smooth() * 1e9), "latents reach .* below 8.3e6"),
        (
            lambda: unpacked("tucker", {"core": torch.zeros(1)}, SHAPE),
            "packing 'tucker' lacks tensors core_scales, factor_time",
        ),
        (lambda: find_packing("zip"), "packing is 'zip'; known: dense, tucker"),
        (
            lambda: to_bytes(replace(make_set(), packed={"core": torch.zeros(1)})),
            r"packing 'tucker' stores tensors \[core, core_scales, .*but the set has \[core\]",
        ),
    ],
)
def test_messages(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_the_packing_is_registered() -> None:
    latents = smooth()
    assert torch.equal(unpacked("tucker", pack(latents), SHAPE), round_trip(latents, 0.75))
    assert PACKINGS["tucker"].tensors == tucker.TENSORS


def test_the_page_of_the_format_lists_the_tensors() -> None:
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    section = page.split("## Packing `tucker`")[1].split("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)) == tucker.TENSORS


def test_small_tensors_of_huge_latents_are_refused_before_they_are_multiplied() -> None:
    tensors = {
        "core": torch.ones((1, 1, 1, 1, 1), dtype=torch.int8),
        "core_scales": torch.ones((1, 1)).half(),
        "factor_time": torch.ones((2, 1)).half(),
        "factor_height": torch.ones((1 << 15, 1)).half(),
        "factor_width": torch.ones((1 << 15, 1)).half(),
    }
    with pytest.raises(InputError, match=r"packing 'tucker' has 131079 bytes for 2147483648 numbers \(1, 2, .*damaged"):
        unpacked("tucker", tensors, (1, 2, 1, 1 << 15, 1 << 15))
