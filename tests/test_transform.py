"""Transform packing: a second decoder written from the page of the format, fixed bytes, entropy, and abuse."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from videocompressa.artifact import measure, read_set, to_bytes, write_set
from videocompressa.artifact.packing import PACKINGS, range_coder, transform, unpacked
from videocompressa.artifact.packing.coefficients import LEAST_CHANCE, MOST_PER_BYTE, NEIGHBORS, walk
from videocompressa.artifact.packing.range_coder import ONE, RangeDecoder, RangeEncoder
from videocompressa.artifact.packing.transform import (
    channel_weights,
    dequantize,
    fitting_step,
    pack,
    quantize,
    steps_of,
    unpack,
)
from videocompressa.clip import ClipSpec, CodecSpec, Normalization
from videocompressa.codecs import build_codec
from videocompressa.datasets import encode_pass, find_videos
from videocompressa.datasets.videos import keep_classes
from videocompressa.errors import ArtifactError, BudgetError, InputError
from videocompressa.synthetic import Provenance, Source, SyntheticSet

SHAPE = (5, 4, 3, 6, 5)
EVEN = torch.ones(3)


def random_latents(shape: tuple[int, ...] = SHAPE, seed: int = 0, decay: float = 0.6) -> Tensor:
    """Return random latents whose coefficients fall along K, h and w, of about unit variance."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for mode in (1, 3, 4):
        place = [1] * 5
        place[mode] = shape[mode]
        numbers = numbers * (decay ** torch.arange(shape[mode]).double()).reshape(place)
        numbers = torch.tensordot(numbers, cosines(shape[mode]), dims=([mode], [0])).movedim(-1, mode)
    return (numbers / numbers.std()).float()


def cosines(size: int) -> Tensor:
    """Return the orthonormal DCT-II, entry by entry."""
    rows = [
        [math.sqrt((1 if f == 0 else 2) / size) * math.cos(math.pi * (2 * x + 1) * f / (2 * size)) for x in range(size)]
        for f in range(size)
    ]
    return torch.tensor(rows, dtype=torch.float64)


def coefficients(latents: Tensor) -> Tensor:
    """Return the DCT of (N,K,C,h,w) in float64."""
    _, keyframes, _, height, width = latents.shape
    return torch.einsum("nkchw,tk,uh,vw->ntcuv", latents.double(), cosines(keyframes), cosines(height), cosines(width))


def written(numbers: np.ndarray[Any, Any], step: float = 1.0) -> bytes:
    """Return the stream of (N,K,C,h,w) integers."""
    encoder = RangeEncoder()
    walk(encoder, numbers.shape, np.full(numbers.shape[2], step), numbers.astype(np.int16))
    return encoder.finish()


def read(data: bytes, shape: tuple[int, ...], step: float = 1.0) -> np.ndarray[Any, Any]:
    """Return the numbers of a stream."""
    decoder = RangeDecoder(data)
    numbers = walk(decoder, shape, np.full(shape[2], step))
    decoder.finish()
    return numbers


# A second decoder: docs/format.md in plain Python, one coefficient at a time.


@dataclass
class Reader:
    data: bytes
    taken: int = 0

    def __post_init__(self) -> None:
        self.code = int.from_bytes((self.data + bytes(6))[:6], "big")
        self.span = 2**48 - 1
        self.counts: dict[Any, list[int]] = {}
        self.late: list[tuple[list[int], bool]] = []

    def ask(self, chance: int) -> bool:
        part = self.span // 65536 * chance
        yes = self.code < part
        if yes:
            self.span = part
        else:
            self.code, self.span = self.code - part, self.span - part
        while self.span < 2**40:
            byte = self.data[6 + self.taken] if 6 + self.taken < len(self.data) else 0
            self.code, self.span, self.taken = self.code * 256 + byte, self.span * 256, self.taken + 1
        return yes

    def count(self, name: Any, ones: int = 512, total: int = 1024) -> list[int]:
        return self.counts.setdefault(name, [ones, total])

    def ask_counts(self, counts: list[list[int]]) -> bool:
        chance = sum(65536 * ones // total for ones, total in counts) // len(counts)
        yes = self.ask(min(65520, max(16, chance)))
        self.late += [(count, yes) for count in counts]
        return yes

    def learn(self) -> None:
        for count, yes in self.late:
            count[0] += 256 * yes
            count[1] += 256
        self.late = []


THRESHOLDS = sorted([2**i for i in range(1, 27)] + [3 * 2**i for i in range(26)])


def level(value: int) -> int:
    return sum(threshold <= value for threshold in THRESHOLDS)


def first_count(weight: int, at: int) -> tuple[int, int]:
    y = 1 if at == 0 else 3 * 2**25 if at == 52 else (THRESHOLDS[at - 1] + THRESHOLDS[at]) // 2
    return max(1, 256 * weight * y // (y + 65536)), 256 * weight


def slow_decoder(data: bytes, shape: tuple[int, ...], steps: list[float]) -> np.ndarray[Any, Any]:
    reader, count = Reader(data), shape[0]
    q = np.zeros(shape, np.int64)
    bands = sorted(np.ndindex(shape[1:]), key=lambda band: (sum(band), band))
    waves = [[band for band in bands if sum(band) == wave] for wave in range(sum(shape[1:]) - 3)]
    n = 0
    while n < count:
        group = range(n, min(count, n + (1 if n < 12 else n // 8)))
        a = np.minimum(np.abs(q), 255)
        S = {band: int(a[(slice(0, n), *band)].sum()) for band in bands}
        D = {band: int(np.clip(q[(slice(0, n), *band)], -255, 255).sum()) for band in bands}
        E = {}
        for t, c, u, v in bands:
            x = (1 + u) * (1 + v)
            prior = int(min(64 * 65536, 49152 / (steps[c] * (1 + t) * math.sqrt(x * math.sqrt(x)))))
            near = [
                (t, c, u - 1, v),
                (t, c, u + 1, v),
                (t, c, u, v - 1),
                (t, c, u, v + 1),
                (t - 1, c, u, v),
                (t + 1, c, u, v),
            ]
            around = sum(S.get(band, S[t, c, u, v]) for band in near)
            blurred = (2 * prior + around * 65536 // 6) // (2 + n)
            E[t, c, u, v] = max(1, (6 * blurred + 65536 * S[t, c, u, v]) // (6 + n))
        for wave in waves:
            slow_wave(reader, q, wave, group, S, D, E)
        n = group.stop
    assert len(data) in (max(1, reader.taken), reader.taken + 1)
    return q


def slow_wave(reader: Reader, q: Any, wave: Any, group: range, S: Any, D: Any, E: Any) -> None:
    below = [
        (0, 0, 1, 0),
        (0, 0, 0, 1),
        (0, 0, 2, 0),
        (0, 0, 0, 2),
        (0, 1, 0, 0),
        (0, 2, 0, 0),
        (1, 0, 0, 0),
        (2, 0, 0, 0),
    ]
    scenes = {}
    for band in wave:
        for item in group:
            lower = [tuple(int(x - y) for x, y in zip(band, offset, strict=True)) for offset in below]
            a = [min(255, abs(int(q[(item, *other)]))) if other in E else 0 for other in lower]
            e = [E.get(other, 0) for other in lower]
            live = 65536 * (2 + sum(w * value for w, value in zip((5, 2, 6, 6, 1, 1, 3, 2), a, strict=True)))
            usual = 2 * 65536 + sum(w * value for w, value in zip((5, 2, 6, 6, 1, 1, 3, 2), e, strict=True))
            M = E[band] * live // usual
            true = (2 * live > usual) + (live > 2 * usual) + (live > 6 * usual)
            scenes[item, band] = (M, (level(M), true, band[0] > 0), (level(E[band]), min(5, sum(a[:4]))))
    alive, sizes = list(scenes), dict.fromkeys(scenes, 0)
    for k in range(14):
        plane, yes = min(k, 3), []
        for one in alive:
            _, first, second = scenes[one]
            counts = [
                reader.count(("first", plane, first), *first_count(8, first[0])),
                reader.count(("second", plane, second), *first_count(4, second[0])),
            ]
            if reader.ask_counts(counts):
                yes.append(one)
        reader.learn()
        alive = yes
        for one in alive:
            sizes[one] += 1
    j = {one: max(0, (scenes[one][0] // 65536).bit_length() - 1) for one in alive}
    digits, more = dict(j), alive
    for e in range(15):
        more = [one for one in more if reader.ask_counts([reader.count(("more", e))])]
        reader.learn()
        for one in more:
            digits[one] += 1
    values = dict.fromkeys(alive, 1)
    for place in reversed(range(max(digits.values(), default=0))):
        for one in alive:
            if digits[one] > place:
                values[one] = 2 * values[one] + reader.ask(32768)
    for one in alive:
        sizes[one] += values[one] - 2 ** j[one]
    for (item, band), size in sizes.items():
        if size:
            same = reader.ask_counts([reader.count(("sign", min(7, 8 * abs(D[band]) // (S[band] + 2))))])
            q[(item, *band)] = size if same == (D[band] >= 0) else -size
    reader.learn()


@pytest.mark.parametrize(
    ("shape", "step"),
    [((14, 2, 2, 3, 3), 0.5), ((1, 3, 2, 4, 2), 0.02), ((30, 1, 1, 2, 2), 2.0), ((3, 1, 2, 1, 5), 0.001)],
)
def test_a_decoder_written_from_the_page_reads_the_same(shape: tuple[int, ...], step: float) -> None:
    steps = steps_of(torch.arange(1, shape[2] + 1).float(), step)
    numbers = quantize(random_latents(shape), steps)
    encoder = RangeEncoder()
    walk(encoder, shape, steps.double().numpy(), numbers)
    assert np.array_equal(slow_decoder(encoder.finish(), shape, steps.tolist()), numbers)


def test_golden_bytes() -> None:
    numbers = (np.arange(48).reshape(2, 2, 2, 3, 2) * 7 % 11 - 5) // 2
    numbers[1, 1] = 0
    numbers[1, 0, 0, 0, 0] = -400
    data = written(numbers)
    assert data.hex() == "13395a0c63077c7481c4ec86631f6b41a4d8670b98a9"
    assert np.array_equal(read(data, numbers.shape), numbers)
    assert np.array_equal(slow_decoder(data, numbers.shape, [1.0, 1.0]), numbers)


@given(
    shape=st.tuples(*(st.integers(1, most) for most in (15, 4, 3, 4, 4))),
    seed=st.integers(0, 99),
    step=st.sampled_from([2**-12, 0.01, 0.3, 1.0, 30.0, 6e4]),
    size=st.sampled_from([0.0, 0.3, 2.0, 40.0, 32767.0]),
)
@example(shape=(15, 4, 3, 4, 4), seed=0, step=1.0, size=0.3)
@example(shape=(1, 1, 1, 1, 1), seed=0, step=1.0, size=32767.0)
def test_any_numbers_come_back(shape: tuple[int, ...], seed: int, step: float, size: float) -> None:
    rng = np.random.default_rng(seed)
    numbers = np.clip(np.rint(rng.standard_normal(shape) * size * rng.random(shape) ** 3), -32767, 32767).astype(
        np.int16
    )
    data = written(numbers, step)
    assert np.array_equal(read(data, shape, step), numbers)
    assert numbers.size <= MOST_PER_BYTE * (len(data) + 1)


def test_the_largest_numbers_come_back() -> None:
    numbers = np.full((3, 2, 1, 2, 2), 32767)
    numbers[1] = -32767
    numbers[2, 0] = 14
    assert np.array_equal(read(written(numbers), numbers.shape), numbers)


def test_latents_come_back_as_numbers_times_steps() -> None:
    latents = random_latents()
    weights = torch.tensor([2.0, 0.7, 0.3])
    packed = pack(latents, weights, 0.4)
    assert torch.equal(packed["steps"], (0.4 / weights.double()).half())
    steps = packed["steps"].double()[:, None, None]
    scaled = coefficients(latents) / steps
    numbers = (scaled.abs() + 0.35).floor() * scaled.sign()
    exact = torch.einsum("ntcuv,tk,uh,vw->nkchw", numbers * steps, cosines(4), cosines(6), cosines(5))
    back = unpack(packed, SHAPE)
    assert back.dtype == torch.float32
    assert torch.allclose(back.double(), exact, atol=1e-6)
    assert torch.equal(back, unpack(packed, SHAPE))
    # What comes back is packed as the same bytes: a fixed point.
    assert torch.equal(pack(back, weights, 0.4)["stream"], packed["stream"])


def test_a_dead_zone_is_off_by_0_65_of_a_step_at_most() -> None:
    latents = random_latents()
    steps = steps_of(EVEN, 0.3)
    off = coefficients(dequantize(quantize(latents, steps), steps)) - coefficients(latents)
    assert float(off.abs().max()) <= (1 - transform.ROUNDING) * float(steps[0]) + 1e-5


def static_bits(numbers: np.ndarray[Any, Any]) -> float:
    """Return the entropy of each band on its own, with a table that costs nothing: what no adaptive coder has."""
    bits = 0.0
    for band in numbers.reshape(len(numbers), -1).T:
        _, counts = np.unique(band, return_counts=True)
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
    return bits


def laplace(shape: tuple[int, ...], spread: np.ndarray[Any, Any], seed: int = 0) -> np.ndarray[Any, Any]:
    return np.rint(np.random.default_rng(seed).laplace(size=shape) * spread).astype(np.int16)


def test_a_stream_costs_little_more_than_the_entropy_of_its_bands() -> None:
    shape = (200, 2, 2, 4, 4)
    _, t, c, u, v = np.indices(shape)
    for spread in (3.0 / (1 + t + u + v), 0.6 / (1 + t + c + u + v), np.where(u == v, 2.0, 0.05)):
        numbers = laplace(shape, spread)
        # The tables of `static_bits` fit these very numbers, which saves it about half a logarithm a symbol.
        tables = sum((len(np.unique(band)) - 1) * 0.5 * math.log2(200) for band in numbers.reshape(200, -1).T)
        assert 8 * len(written(numbers)) < 1.04 * (static_bits(numbers) + tables)


def test_zeros_cost_next_to_nothing() -> None:
    nothing = written(np.zeros((80, 4, 8, 8, 8), np.int16))
    assert len(nothing) < 80 * 4 * 0.15  # 0.15 bytes a frame
    numbers = np.zeros((80, 2, 4, 6, 6), np.int16)
    places = np.random.default_rng(0).choice(numbers.size, 100, replace=False)
    numbers.reshape(-1)[places] = 1
    share = 100 / numbers.size
    entropy = -numbers.size * (share * math.log2(share) + (1 - share) * math.log2(1 - share)) + 100
    assert 8 * len(written(numbers)) < 1.12 * entropy


def test_signs_and_sizes_of_a_band_are_learned_from_other_items() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(-3, 4, (1, 2, 2, 4, 4))
    same = written(np.repeat(one, 40, 0))
    other = written(rng.permuted(np.repeat(one, 40, 0).reshape(40, -1), axis=1).reshape(40, 2, 2, 4, 4))
    assert len(same) < 0.45 * len(other)


def test_a_clip_that_does_not_move_costs_hardly_more_when_it_is_longer() -> None:
    still = random_latents((20, 1, 3, 6, 6))
    # A constant over K frames has the coefficient sqrt(K) times itself, so equal numbers need a step as much larger.
    short = pack(still, EVEN, 0.5)["stream"]
    long = pack(still.repeat(1, 8, 1, 1, 1), EVEN, 0.5 * 8**0.5)["stream"]
    assert len(long) < 1.06 * len(short) + 10
    moving = pack(random_latents((20, 8, 3, 6, 6), decay=0.9), EVEN, 0.5 * 8**0.5)["stream"]
    assert len(moving) > 2 * len(long)


def test_coarser_steps_cost_less_and_err_more() -> None:
    latents = random_latents((12, 4, 3, 6, 6), decay=0.8)
    sizes, errors = [], []
    for step in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2):
        packed = pack(latents, EVEN, step)
        sizes.append(len(packed["stream"]))
        errors.append(float((unpack(packed, tuple(latents.shape)) - latents).square().mean()))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert sizes[0] > 10 * sizes[-1]


@pytest.mark.parametrize("limit", [60, 200, 1000])
def test_the_fitting_step_is_the_smallest_that_fits(limit: int) -> None:
    latents = random_latents((8, 3, 3, 5, 5))
    step = fitting_step(latents, EVEN, limit)

    def size(tried: float) -> int:
        return sum(tensor.nbytes for tensor in pack(latents, EVEN, tried).values())

    assert size(step) <= limit < size(step * 2 ** (-1 / 32)) + 2  # the measure may be off by a byte


def test_a_fitting_step_starts_where_numbers_fit_into_the_stream() -> None:
    latents = random_latents((2, 1, 3, 2, 2)) * 1e5
    step = fitting_step(latents, EVEN, 10_000)
    assert step > 2
    assert len(pack(latents, EVEN, step)["stream"]) < 10_000


@dataclass
class Linear:
    """Pixels that move by known gains with each channel."""

    gains: tuple[float, ...]
    spec: Any = None

    def decode(self, latents: Tensor) -> Tensor:
        return torch.einsum("bchw,c->bhw", latents, torch.tensor(self.gains))[:, None].expand(-1, 3, -1, -1)


def test_channel_weights_are_the_gains_of_a_linear_decoder() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = channel_weights(Linear((4.0, 2.0, 0.0)), random_latents((3, 4, 3, 16, 16)), generator)
    assert torch.allclose(weights, torch.tensor([2.0, 1.0, 1 / 64]), rtol=0.03)


def make_set(**changes: Any) -> SyntheticSet:
    latents = random_latents((2, 3, 2, 4, 4))
    packed = changes.pop("packed", pack(latents, torch.ones(2), 0.2))
    fields: dict[str, Any] = {
        "latents": unpack(packed, (2, 3, 2, 4, 4)),
        "positions": torch.tensor([[0, 3, 6], [1, 2, 7]]),
        "times_seconds": torch.tensor([[0.25, 1.0, 2.5]], dtype=torch.float64).repeat(2, 1),
        "labels": torch.arange(2),
        "classes": ("jump", "sit down"),
        "clip": ClipSpec(8, 16, 16),
        "codec": CodecSpec("tiny", "0f" * 32, 2, 4, (0.125, -1.5), (1.0, 0.7), 123456),
        "normalization": Normalization((0.45, 0.4, 0.35), (0.25, 0.2, 0.1)),
        "provenance": Provenance("real", {"step": 0.2}, 7, Source("toy", "ab" * 32, 40, 1200, 999_000), ("a", "b")),
        "packing": "transform",
        "packed": packed,
    }
    return SyntheticSet(**(fields | changes))


def test_a_set_is_written_read_and_written_as_the_same_bytes(tmp_path: Path) -> None:
    synthetic = make_set()
    budget = write_set(synthetic, tmp_path / "a.safetensors")
    back = read_set(tmp_path / "a.safetensors")
    write_set(back, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert torch.equal(back.latents, synthetic.latents)
    assert budget.latent_bytes == 2 * 2 + len(synthetic.packed["stream"])
    assert measure(tmp_path / "a.safetensors") == budget


def test_a_cut_file_is_refused_by_name(tmp_path: Path) -> None:
    good = make_set()
    path = tmp_path / "cut.safetensors"
    path.write_bytes(to_bytes(replace(good, packed=good.packed | {"stream": good.packed["stream"][:-9].clone()})))
    with pytest.raises(ArtifactError, match=r"cut\.safetensors.*the file is damaged"):
        read_set(path)


def test_cut_and_longer_streams_are_detected() -> None:
    latents = random_latents((6, 2, 3, 4, 4))
    packed = pack(latents, EVEN, 0.3)
    stream, refused = packed["stream"], 0
    lengths = range(1, len(stream), 3)
    for length in lengths:
        try:
            unpack(packed | {"stream": stream[:length]}, tuple(latents.shape))
        except InputError as error:
            refused += "damaged" in str(error)
    assert refused >= 0.95 * len(lengths)
    with pytest.raises(InputError, match=r"stream has \d+ bytes, but its numbers end after \d+; the file is damaged"):
        unpack(packed | {"stream": torch.cat([stream, stream[:3]])}, tuple(latents.shape))


def test_pixels_leave_out_the_frequencies_that_are_all_zero() -> None:
    """`transform-low` gives the latents of `transform`; its stream is three numbers and the code of what is left."""
    latents = random_latents((6, 5, 3, 24, 22), decay=0.4)
    plain, low = pack(latents, EVEN, 0.5), pack(latents, EVEN, 0.5, name=transform.LOW)
    numbers = quantize(latents, plain["steps"])
    k, h, w = np.frombuffer(bytes(low["stream"][:6].tolist()), "<u2").tolist()
    assert max(h, w) < 20
    for rest in (numbers[:, k:], numbers[..., h:, :], numbers[..., w:]):
        assert not rest.any()
    for last in (numbers[:, k - 1], numbers[..., h - 1, :], numbers[..., w - 1]):
        assert last.any()
    kept = np.ascontiguousarray(numbers[:, :k, :, :h, :w])
    stream = bytes(low["stream"][6:].tolist())
    assert np.array_equal(slow_decoder(stream, kept.shape, low["steps"].tolist()), kept)
    assert torch.equal(unpacked(transform.LOW, low, tuple(latents.shape)), unpack(plain, tuple(latents.shape)))
    assert len(low["stream"]) <= len(plain["stream"]) + 6
    step = fitting_step(latents, EVEN, 300, name=transform.LOW)
    assert 280 < sum(tensor.nbytes for tensor in pack(latents, EVEN, step, name=transform.LOW).values()) <= 300


def test_pixels_that_are_all_zero_keep_one_frequency() -> None:
    packed = pack(torch.zeros(SHAPE), EVEN, 1.0, name=transform.LOW)
    assert bytes(packed["stream"][:6].tolist()) == b"\x01\x00\x01\x00\x01\x00"
    assert torch.equal(unpacked(transform.LOW, packed, SHAPE), torch.zeros(SHAPE))


@given(data=st.binary(min_size=1, max_size=300), step=st.sampled_from([2**-14, 0.5, 6e4]))
def test_any_bytes_give_latents_or_a_message(data: bytes, step: float) -> None:
    tensors = {
        "steps": torch.full((3,), step, dtype=torch.float16),
        "stream": torch.frombuffer(bytearray(data), dtype=torch.uint8),
    }
    try:
        latents = unpack(tensors, SHAPE)
    except InputError as error:
        message = str(error)
    else:
        message = "damaged" if bool(torch.isfinite(latents).all()) else "not finite"
    assert "damaged" in message


def test_a_small_stream_cannot_ask_for_a_large_set() -> None:
    begun_at = time.perf_counter()
    for length, shape in (
        (100, (100, 4, 8, 64, 64)),
        (100, (65536, 65536, 8, 8192, 8192)),
        (2_000, (1, 16, 8, 256, 256)),
        (20_000, (400, 16, 8, 80, 80)),
    ):
        tensors = {"steps": torch.ones(8).half(), "stream": torch.zeros(length, dtype=torch.uint8)}
        with pytest.raises(InputError, match=f"{length} bytes, which cannot hold latents"):
            unpack(tensors, shape)
    assert time.perf_counter() - begun_at < 1


def test_a_byte_cannot_hold_more_numbers_than_documented() -> None:
    cheapest = -math.log2(1 - LEAST_CHANCE / ONE)
    assert 8 / cheapest < MOST_PER_BYTE < 8.05 / cheapest


def test_carries_run_through_bytes_of_255(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    carry = range_coder._carry

    def watched(out: bytearray) -> None:
        runs.append(len(out) - len(out.rstrip(b"\xff")))
        carry(out)

    monkeypatch.setattr(range_coder, "_carry", watched)
    rng = np.random.default_rng(0)
    for _ in range(400):
        # A yes of half the interval and then sure noes: low ends in 255s just below where the next half begins.
        chances = np.array([32768] + [65535] * 3 + rng.choice([1, 7, 65535, 32768], 40).tolist())
        bits = np.array([True] + [False] * 3 + (rng.random(40) < 0.4).tolist())
        encoder = RangeEncoder()
        encoder.code(chances, bits)
        decoder = RangeDecoder(encoder.finish())
        assert np.array_equal(decoder.code(chances, ~bits), bits)
        decoder.finish()
    assert max(runs) >= 2


def test_a_range_coder_reaches_the_entropy() -> None:
    rng = np.random.default_rng(0)
    for chance in (0.5, 0.9, 0.01):
        bits = rng.random(40_000) < chance
        encoder = RangeEncoder()
        chances = np.full(len(bits), round(chance * ONE))
        encoder.code(chances, bits)
        data = encoder.finish()
        ideal = -(np.log2(chance) * bits.sum() + np.log2(1 - chance) * (~bits).sum()) / 8
        assert abs(len(data) - ideal) < 0.001 * ideal + 2
        decoder = RangeDecoder(data)
        assert np.array_equal(decoder.code(chances, ~bits), bits)


NOT_FINITE = torch.full(SHAPE, float("nan"))
PACKED = pack(random_latents(), EVEN, 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pack(random_latents()[0], EVEN, 1.0), r"takes latents \(N,K,C,h,w\), not \(4, 3, 6, 5\)"),
        (lambda: pack(random_latents(), torch.ones(2), 1.0), "got 2 weights for 3 channels"),
        (
            lambda: pack(random_latents(), torch.tensor([1.0, 0.0, 1.0]), 1.0),
            r"weights of the .* \(C,\), finite and positive",
        ),
        (
            lambda: pack(random_latents(), EVEN, 0.0),
            "step of the transform packing is 0.0; it must be finite and positive",
        ),
        (
            lambda: pack(random_latents(), EVEN, 1e5),
            r"step 100000 makes steps of channels 100000 .* in \[2\^-14,65504\]",
        ),
        (lambda: pack(NOT_FINITE, EVEN, 1.0), "latents to pack reach nan steps; they must be finite and within 32767"),
        (lambda: pack(random_latents() * 1e5, EVEN, 1.0), "latents to pack reach .* 32767 steps: give a larger step$"),
        (
            lambda: pack(torch.zeros(()).expand(2, 1024, 3, 512, 512), EVEN, 1.0),
            "latents have 1610612736 numbers; transform packing takes at most 268435456: keep fewer clips, or take a "
            "codec with a downscale, such as 'tiny'$",
        ),
        (
            lambda: pack(torch.zeros(()).expand(1, 16, 3, 512, 512), EVEN, 1.0),
            "an item has 12582912 numbers; transform packing takes at most 4194304",
        ),
        (
            lambda: fitting_step(random_latents(), EVEN, 3),
            "3 bytes are too few for 5 items .* step 1024; allow at least 7",
        ),
        (lambda: fitting_step(NOT_FINITE, EVEN, 99), "latents to pack reach nan steps"),
        (
            lambda: channel_weights(Linear((0.0, 0.0, 0.0)), random_latents(), torch.Generator()),
            "pixels do not move with its latents",
        ),
        (lambda: unpacked("transform", {"steps": torch.ones(3)}, SHAPE), "packing 'transform' lacks tensors stream"),
        (lambda: unpack(PACKED, (5, 4, 2, 6, 5)), r"tensor steps has shape \(3,\); it must be \(2,\)"),
        (lambda: unpack(PACKED | {"steps": torch.zeros(3).half()}, SHAPE), "tensor steps holds values .* at least 2"),
        (lambda: unpack(PACKED | {"steps": torch.full((3,), math.inf).half()}, SHAPE), "steps holds values that are"),
        (
            lambda: unpack(PACKED | {"stream": PACKED["stream"][:0]}, SHAPE),
            r"tensor stream has shape \(0,\); it must be \(bytes,\), not empty",
        ),
        (
            lambda: unpacked(transform.LOW, PACKED | {"stream": PACKED["stream"][:6]}, SHAPE),
            "stream has 6 bytes; .* more than 6",
        ),
        (
            lambda: unpacked(
                transform.LOW, PACKED | {"stream": torch.tensor([5, 0, 1, 0, 1, 0, 9]).to(torch.uint8)}, SHAPE
            ),
            r"keeps \(5, 1, 1\) frequencies of \(4, 6, 5\); the file is damaged",
        ),
        (
            lambda: unpacked(
                transform.LOW, PACKED | {"stream": torch.tensor([0, 0, 1, 0, 1, 0, 9]).to(torch.uint8)}, SHAPE
            ),
            r"keeps \(0, 1, 1\) frequencies",
        ),
        (lambda: unpack(PACKED | {"stream": PACKED["stream"][None]}, SHAPE), r"stream has shape \(1, \d+\)"),
        (
            lambda: unpack(PACKED | {"stream": PACKED["stream"][: len(PACKED["stream"]) // 2]}, SHAPE),
            r"the stream ends after \d+ bytes, before its numbers do",
        ),
    ],
)
def test_messages(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_number_that_is_too_large_is_refused() -> None:
    numbers = np.full((1, 1, 1, 1, 1), 40_000, np.int64)
    encoder = RangeEncoder()
    with pytest.raises(InputError, match="stream holds a number above 32767; the file is damaged"):
        walk(encoder, numbers.shape, np.ones(1), numbers)  # type: ignore[arg-type]


def test_too_few_bytes_is_a_matter_of_budget() -> None:
    with pytest.raises(BudgetError):
        fitting_step(random_latents(), EVEN, 6)
    assert fitting_step(random_latents(), EVEN, 7) <= 1024


def test_the_packing_is_registered() -> None:
    assert torch.equal(unpacked("transform", PACKED, SHAPE), unpack(PACKED, SHAPE))
    assert PACKINGS["transform"].tensors == transform.TENSORS


def test_the_format_page_matches_the_code() -> None:
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    section = page.split("## Packing `transform`")[1].split("\n## ")[0]
    prose = " ".join(section.split())
    assert dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)) == transform.TENSORS
    offsets = ", ".join(str(offset).replace(" ", "") for offset in NEIGHBORS)
    weights = ", ".join(str(weight) for weight in NEIGHBORS.values())
    assert f"{offsets} below, of weights w = {weights};" in prose
    assert f"at most {MOST_PER_BYTE} (bytes + 1)" in prose
    assert range_coder.ONE == 65536


@pytest.mark.slow
def test_real_keyframes_cost_a_tenth_of_int8(shared_data: Path, tmp_path: Path) -> None:
    videos = find_videos(shared_data / "fluent16")
    videos = keep_classes(videos, videos.classes[:4])
    codec = build_codec("tiny")
    clip = ClipSpec(4, 64, 64)
    real = encode_pass(videos, "train", clip, codec, cache=tmp_path, workers=0)
    latents, frames = real.latents[::8].float(), real.frames[::8].float() / 255
    weights = channel_weights(codec, latents, torch.Generator().manual_seed(0))

    def decibels(rendered: Tensor) -> float:
        with torch.no_grad():
            pixels = torch.stack([codec.decode(item).clamp(0, 1) for item in rendered])
        return float(-10 * (pixels - frames).square().flatten(2).mean(2).log10().mean())

    packed = pack(latents, weights, 0.5)
    assert len(packed["stream"]) < 0.14 * latents.numel()
    assert decibels(unpack(packed, tuple(latents.shape))) > decibels(latents) - 3
    step = fitting_step(latents, weights, latents.numel() // 20)
    rendered = unpack(pack(latents, weights, step), tuple(latents.shape))
    assert decibels(rendered) > 22
    # The decoder's weights help: equal steps in latents look worse at the same bytes.
    even = torch.ones(latents.shape[2])
    level_step = fitting_step(latents, even, latents.numel() // 20)
    assert decibels(rendered) > decibels(unpack(pack(latents, even, level_step), tuple(latents.shape))) + 0.3
