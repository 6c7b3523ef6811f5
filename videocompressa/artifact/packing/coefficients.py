"""Entropy model of transform coefficients: integers become yes/no decisions with good chances (`range_coder`).

Symbols and formulas are in `docs/format.md` (packing `transform`), whose paragraphs are the steps: 1 order, 2 and 3
expected magnitudes of a band (E) and of a coefficient (M), 4 contexts, 5 size, 6 rest, 7 sign.

This is backward adaptation as in context-based image coders (Wu and Memon 1997, CALIC: an expected magnitude from
neighbors, quantized to contexts). Step 2 is our choice and has the largest effect: items of a set differ in their
pictures, but little in the statistics of a band. Weights and counts were chosen on latents of two small data sets.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videocompressa.artifact.packing.range_coder import ONE, Bits, Integers, RangeCoder
from videocompressa.errors import InputError

LARGEST = 32767
"""Largest magnitude of a number."""
LEAST_CHANCE = 16
"""Chances stay this far from 0 and 65536; so a coefficient costs at least 1/2840 bits."""
MOST_PER_BYTE = 22800
"""Coefficients that a byte can hold, because of `LEAST_CHANCE`."""

NEIGHBORS = {
    (0, 0, 1, 0): 5,
    (0, 0, 0, 1): 2,
    (0, 0, 2, 0): 6,
    (0, 0, 0, 2): 6,
    (0, 1, 0, 0): 1,
    (0, 2, 0, 0): 1,
    (1, 0, 0, 0): 3,
    (2, 0, 0, 0): 2,
}
"""Offsets (t,c,u,v) from a band down to its J neighbors, and their weights."""
_WEIGHTS = np.array(list(NEIGHBORS.values()))[:, None]
_ADJACENT = ((0, 0, 1, 0), (0, 0, -1, 0), (0, 0, 0, 1), (0, 0, 0, -1), (1, 0, 0, 0), (-1, 0, 0, 0))

_THRESHOLDS = np.array(sorted([2 << k for k in range(26)] + [3 << k for k in range(26)]), dtype=np.int64)
_LEVEL_MEANS = np.concatenate([[1], (_THRESHOLDS[:-1] + _THRESHOLDS[1:]) // 2, _THRESHOLDS[-1:]])
_FIRST_CONTEXTS = 8 * len(_LEVEL_MEANS)
_QUESTIONS, _MOST_DIGITS = 14, 15


def walk(
    coder: RangeCoder, shape: tuple[int, ...], steps: NDArray[np.float64], numbers: NDArray[np.int16] | None = None
) -> NDArray[np.int16]:
    """Pass all numbers of `shape` (N,K,C,h,w) through `coder`, and return them; `steps` (C,) are those of channels.

    An encoder takes the `numbers`; a decoder takes None. Raises `InputError` for bytes that no encoder writes.
    """
    count, num_bands = shape[0], math.prod(shape[1:])
    grid, model = _Grid(shape[1:], steps), _Model(coder)
    coded = np.zeros((num_bands, count), np.int16)
    # A decoder ignores the decisions of the numbers that it is given.
    given = coded if numbers is None else numbers.reshape(count, num_bands).T[grid.order]
    sizes = np.zeros((num_bands + 1, count), np.uint8)  # a; the last row stands for all bands outside: always 0
    sums, size_sums = np.zeros(num_bands, np.int64), np.zeros(num_bands, np.int64)  # D and S
    for group in _groups(count):
        expected = _expected(grid, size_sums, group.start)
        usual = 2 * ONE + (_WEIGHTS * expected[grid.neighbors]).sum(0)
        signs = np.minimum(7, 8 * np.abs(sums) // (size_sums + 2))
        for wave in grid.waves:
            mean, contexts = _contexts(grid, expected, usual, wave, sizes[:, group])
            truth = given[wave, group].astype(np.int64)
            values = model.magnitudes(mean, contexts, np.abs(truth).reshape(-1)).reshape(truth.shape)
            sizes[wave, group] = np.minimum(values, 255)
            rows, columns = np.nonzero(values)
            bands = wave.start + rows
            minus = model.signs(signs[bands], sums[bands] < 0, truth[rows, columns] < 0)
            values[rows, columns] *= np.where(minus, -1, 1)
            coded[wave, group] = values
        sums += np.clip(coded[:, group], -255, 255).sum(1, dtype=np.int64)
        size_sums += sizes[:-1, group].sum(1, dtype=np.int64)
    result = np.empty((count, num_bands), np.int16)
    result[:, grid.order] = coded.T
    return result.reshape(shape)


def _groups(count: int) -> Iterator[slice]:
    """Step 1: yield the items of each group."""
    begin = 0
    while begin < count:
        end = min(count, begin + (1 if begin < 12 else begin // 8))
        yield slice(begin, end)
        begin = end


class _Grid:
    """Places of the B bands (t,c,u,v) of (K,C,h,w), which are numbered in the order of coding."""

    def __init__(self, shape: tuple[int, ...], steps: NDArray[np.float64]) -> None:
        place = np.indices(shape).reshape(4, -1)
        self.order = np.argsort(place.sum(0), kind="stable")  # (B,): place of each band in the flattened (K,C,h,w)
        place, rank, bands = place[:, self.order], np.argsort(self.order), np.arange(place.shape[1])
        ends = np.cumsum(np.bincount(place.sum(0))).tolist()
        self.waves = [slice(begin, end) for begin, end in itertools.pairwise([0, *ends])]  # step 1

        def shifted(offset: tuple[int, ...], outside: Integers | int) -> Integers:
            other = place - np.array(offset)[:, None]
            inside = ((other >= 0) & (other < np.array(shape)[:, None])).all(0)
            return np.where(inside, rank[np.ravel_multi_index(other, shape, mode="clip")], outside)

        self.neighbors = np.stack([shifted(offset, len(bands)) for offset in NEIGHBORS])  # (J,B) bands; B for none
        self.adjacent = np.stack([shifted(offset, bands) for offset in _ADJACENT])  # (6,B) bands
        t, c, u, v = place
        self.moving = (t > 0).astype(np.int64)  # (B,)
        x = (1.0 + u) * (1.0 + v)
        prior = 0.75 * ONE / (steps[c] * (1.0 + t) * np.sqrt(x * np.sqrt(x)))  # roots are exact by IEEE 754
        self.prior = np.minimum(prior, 64 * ONE).astype(np.int64)  # (B,): P


def _expected(grid: _Grid, size_sums: Integers, done: int) -> Integers:
    """Step 2: return E (B+1,), 0 for bands outside."""
    smooth = (2 * grid.prior + size_sums[grid.adjacent].sum(0) * ONE // 6) // (2 + done)
    return np.append(np.maximum(1, (6 * smooth + size_sums * ONE) // (6 + done)), 0)


def _contexts(
    grid: _Grid, expected: Integers, usual: Integers, wave: slice, sizes: NDArray[np.uint8]
) -> tuple[Integers, Integers]:
    """Steps 3 and 4: return M (n,) and both contexts (2,n) of a wave; `sizes` (B+1,items) are those of the group."""
    near = sizes[grid.neighbors[:, wave]].astype(np.int64)
    expected, usual = expected[wave, None], usual[wave, None]
    live = ONE * (2 + (_WEIGHTS[:, None] * near).sum(0))
    mean = expected * live // usual
    activity = (2 * live > usual).astype(np.int64) + (live > 2 * usual) + (live > 6 * usual)
    first = 8 * np.searchsorted(_THRESHOLDS, mean, side="right") + 2 * activity + grid.moving[wave, None]
    second = 6 * np.searchsorted(_THRESHOLDS, expected, side="right") + np.minimum(near[:4].sum(0), 5)
    return mean.reshape(-1), np.stack([first, _FIRST_CONTEXTS + second]).reshape(2, -1)


@dataclass(eq=False)
class _Counts:
    """How often the answer was yes in each context, in units of 1/256 decision, so that they can begin as fractions."""

    ones: Integers
    total: Integers

    def decide(self, coder: RangeCoder, contexts: Integers, bits: Bits) -> Bits:
        """Pass decisions (n,) through the coder at the mean chance of their contexts (P,n), and count them in each."""
        chances = (self.ones * ONE // self.total)[contexts].sum(0) // len(contexts)
        bits = coder.code(np.minimum(np.maximum(chances, LEAST_CHANCE), ONE - LEAST_CHANCE), bits)
        np.add.at(self.ones, contexts[:, bits].reshape(-1), 256)
        np.add.at(self.total, contexts.reshape(-1), 256)
        return bits


class _Model:
    """Steps 5 to 7, with all counts. Each method passes values through the coder: of an encoder, those it is given."""

    def __init__(self, coder: RangeCoder) -> None:
        self.coder = coder
        # Step 5 begins with geometric distributions: first contexts, eight a level, then second ones, six a level.
        means = np.concatenate([np.repeat(_LEVEL_MEANS, 8), np.repeat(_LEVEL_MEANS, 6)])
        total = np.repeat([8 * 256, 4 * 256], [8 * len(_LEVEL_MEANS), 6 * len(_LEVEL_MEANS)])
        self.planes = [_Counts(np.maximum(1, total * means // (means + ONE)), total.copy()) for _ in range(4)]
        # Steps 6 and 7 begin at 2 of 4.
        self.more, self.sign = (_Counts(np.full(size, 512), np.full(size, 1024)) for size in (_MOST_DIGITS, 8))

    def magnitudes(self, mean: Integers, contexts: Integers, truth: Integers) -> Integers:
        """Step 5: return |q| (n,)."""
        sizes = np.zeros(len(truth), np.int64)
        alive = np.arange(len(truth))
        for question in range(_QUESTIONS):
            larger = self.planes[min(question, 3)].decide(self.coder, contexts, truth[alive] > question)
            alive, contexts = alive[larger], contexts[:, larger]
            if len(alive) == 0:
                return sizes
            sizes[alive] += 1
        sizes[alive] += self._rest(mean[alive], truth[alive] - _QUESTIONS)
        if bool((sizes > LARGEST).any()):
            raise InputError(f"the stream holds a number above {LARGEST}; the file is damaged")
        return sizes

    def signs(self, contexts: Integers, expected: Bits, truth: Bits) -> Bits:
        """Step 7: return whether q < 0 (n,); `expected` is whether D < 0."""
        same = self.sign.decide(self.coder, contexts[None], truth == expected)
        return np.equal(same, expected)

    def _rest(self, mean: Integers, truth: Integers) -> Integers:
        """Step 6: return r (n,)."""
        offset = 1 << np.maximum(0, _digits(mean // ONE) - 1)
        truth, digits = truth + offset, _digits(offset)
        alive = np.arange(len(mean))
        for extra in range(_MOST_DIGITS):
            longer = _digits(truth[alive]) > digits[alive]
            alive = alive[self.more.decide(self.coder, np.full((1, len(alive)), extra), longer)]
            if len(alive) == 0:
                break
            digits[alive] += 1
        values = np.ones(len(mean), np.int64)
        for place in reversed(range(int(digits.max()) - 1)):
            alive = np.flatnonzero(digits > place + 1)
            even = np.full(len(alive), ONE // 2)
            values[alive] = 2 * values[alive] + self.coder.code(even, (truth[alive] >> place) % 2 == 1)
        rest: Integers = values - offset
        return rest


def _digits(numbers: Integers) -> Integers:
    """Return how many binary digits integers below 2^53 have; 0 has none."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)
