"""How whole numbers that stand for transform coefficients become decisions with good chances (`range_coder`).

Symbols: q (N,K,C,h,w) whole numbers, |q| <= 32767; a band b = (t,c,u,v) is one place in (K,C,h,w); a = min(|q|, 255);
s_c the quantizer's step of channel c; all means are in units of 1/65536. Whole-number division cuts downwards.

1. Order. Items come in groups: twelve of one item, then groups an eighth as long as what was coded before. In a group,
   bands come in waves of equal t + c + u + v, so that all lower neighbors of a band are known; in a wave, bands come
   in the order of (t,c,u,v), and of each band all items of the group.
2. What a band expects. n items are done, S_b is the sum of a over them, and around b lie the bands at u+-1, v+-1, t+-1
   (b itself where the grid ends):
     P_b = 0.75 * 65536 / (s_c (1+t) x^0.75), x = (1+u)(1+v)        before anything is known; at most 64 * 65536
     P'_b = (2 P_b + sum of the six S around b * 65536 // 6) // (2 + n)
     E_b = max(1, (6 P'_b + 65536 S_b) // (6 + n))
3. What a coefficient expects, from the neighbors j of its own item and their weights w_j (`NEIGHBOURS`; none outside):
     live = 2 * 65536 + 65536 sum of w_j a_j,  usual = 2 * 65536 + sum of w_j E_j,  M = E_b live // usual
4. Contexts. level(M) counts the thresholds 2,3,4,6,8,12,..,2^26, 3 * 2^25 that are not above M; the first context is
   (level(M), how many of live > usual/2, live > 2 usual, live > 6 usual hold, t > 0); the second is (level(E_b),
   min(5, sum of a at the first four neighbors)).
5. Size: "is |q| > k?" for k = 0..13 while the answer is yes: first of all coefficients of the wave with k = 0, then of
   those that said yes with k = 1, and so on. Each context has counts of its own for k = 0, 1, 2 and 3 or more. A count
   (ones, total) begins as a geometric distribution of the level's mean would have it, with the weight of 8 (first) and
   4 (second) decisions; the chance is the mean of 65536 ones // total of the two contexts, within [16, 65520].
   Counts are updated after each question.
6. |q| = 14 + r: r + 2^j = 1bbb.. in binary, of j + e + 1 digits, j = max(0, digits of M // 65536 - 1): e as "more?" (at
   most 15), with a count for each e that begins at 2 of 4; then the digits behind the first one, highest first, even.
7. Sign of what is not 0: is it that of D_b, the sum of the band's numbers within [-255,255] over the items done (plus,
   when D_b = 0)? The count of the context min(7, 8 |D_b| // (S_b + 2)) begins at 2 of 4.

This is backward adaptation as in context-based image coders (Wu and Memon 1997, CALIC: an expected magnitude from
neighbors, quantized to contexts); step 2, by which a set's bands are learned from one item to the next, is our choice
and its largest part: of two neighbors in a set the statistics of a band are alike, though their pictures are not.
Weights and counts were chosen on latents of two small data sets, and matter by a few percent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from videocompressa.artifact.packing.range_coder import ONE, Bits, Coder, Integers
from videocompressa.errors import InputError

LARGEST = 32767
"""Largest magnitude of a number."""
LEAST_CHANCE = 16
"""Chances stay this far from 0 and 65536; so a coefficient costs at least 1/2840 bits."""
MOST_PER_BYTE = 22800
"""Coefficients that a byte can hold, because of `LEAST_CHANCE`."""

NEIGHBOURS = (
    ((0, 0, 1, 0), 5),
    ((0, 0, 0, 1), 2),
    ((0, 0, 2, 0), 6),
    ((0, 0, 0, 2), 6),
    ((0, 1, 0, 0), 1),
    ((0, 2, 0, 0), 1),
    ((1, 0, 0, 0), 3),
    ((2, 0, 0, 0), 2),
)
"""How far below a band its neighbors lie in (t,c,u,v), and their weights."""
_AROUND = ((0, 0, 1, 0), (0, 0, -1, 0), (0, 0, 0, 1), (0, 0, 0, -1), (1, 0, 0, 0), (-1, 0, 0, 0))

_THRESHOLDS = np.array(sorted([2 << k for k in range(26)] + [3 << k for k in range(26)]), dtype=np.int64)
_MEANS = np.concatenate([[1], (_THRESHOLDS[:-1] + _THRESHOLDS[1:]) // 2, _THRESHOLDS[-1:]])
"""About the mean of each level."""
_UNIT = 256
"""A decision in the counts; finer than 1, so that they can begin with fractions."""
_QUESTIONS, _PLANES = 14, 4
_MOST_DIGITS = 15


def walk(
    coder: Coder,
    shape: tuple[int, ...],
    steps: NDArray[np.float64],
    numbers: NDArray[np.int16] | None = None,
) -> NDArray[np.int16]:
    """Pass all numbers of `shape` (N,K,C,h,w) through `coder`, and return them; `steps` (C,) are those of channels.

    A writer gives the `numbers`; a reader gives None, and gets them. Raises `InputError` when what is read cannot be.
    """
    count, bands = shape[0], int(np.prod(shape[1:]))
    grid = _Grid.of(shape[1:], steps)
    model, past = _Model(), _Past(np.zeros(bands, np.int64), np.zeros(bands, np.int64))
    found = np.zeros((bands, count), np.int16)
    sizes = np.zeros((bands + 1, count), np.uint8)  # the last band is what lies outside: always 0
    known = None if numbers is None else numbers.reshape(count, bands).T
    for begin, end in _groups(count):
        expected = past.expected(grid, begin)
        for wave in grid.waves:
            scene = _Scene.of(grid, past, expected, wave, sizes[:, begin:end])
            truth = None if known is None else known[wave, begin:end].reshape(-1).astype(np.int64)
            values = model.code(coder, scene, truth).reshape(len(wave), end - begin)
            found[wave, begin:end] = values
            sizes[wave, begin:end] = np.minimum(np.abs(values), 255)
        past.add(found[:, begin:end], sizes[:-1, begin:end])
    return np.ascontiguousarray(found.T).reshape(shape)


def _groups(count: int) -> Iterator[tuple[int, int]]:
    """Step 1: yield where each group of items begins and ends."""
    begin = 0
    while begin < count:
        end = min(count, begin + (1 if begin < 12 else begin // 8))
        yield begin, end
        begin = end


@dataclass(frozen=True)
class _Grid:
    """Where bands (B of them) lie to each other."""

    times: Integers
    """(B,) t."""
    waves: list[Integers]
    """Bands of equal t + c + u + v."""
    neighbors: Integers
    """(J,B) bands; B for none."""
    around: Integers
    """(6,B) bands."""
    prior: Integers
    """(B,) P."""

    @classmethod
    def of(cls, shape: tuple[int, ...], steps: NDArray[np.float64]) -> _Grid:
        """Return the grid of (K,C,h,w) bands."""
        place = np.indices(shape).reshape(4, -1)
        bands = place.shape[1]

        def shifted(offset: tuple[int, ...], outside: Integers) -> Integers:
            moved = place - np.array(offset)[:, None]
            inside = ((moved >= 0) & (moved < np.array(shape)[:, None])).all(0)
            return np.where(inside, np.ravel_multi_index(moved, shape, mode="clip"), outside)

        order = np.argsort(place.sum(0), kind="stable")
        ends = np.cumsum(np.bincount(place.sum(0)))[:-1]
        t, c, u, v = place
        area = (1.0 + u) * (1.0 + v)
        prior = 0.75 * ONE / (steps[c] * (1.0 + t) * np.sqrt(area * np.sqrt(area)))  # roots are exact by IEEE 754
        return cls(
            times=t,
            waves=np.split(order, ends),
            neighbors=np.stack([shifted(offset, np.full(bands, bands)) for offset, _ in NEIGHBOURS]),
            around=np.stack([shifted(offset, np.arange(bands)) for offset in _AROUND]),
            prior=np.minimum(prior, 64 * ONE).astype(np.int64),
        )


@dataclass(frozen=True)
class _Past:
    """Sums over the items done, (B,) each."""

    sizes: Integers
    """S: of magnitudes."""
    numbers: Integers
    """D: of numbers."""

    def expected(self, grid: _Grid, done: int) -> Integers:
        """Step 2: return E (B+1,), 0 outside."""
        near = (2 * grid.prior + self.sizes[grid.around].sum(0) * ONE // 6) // (2 + done)
        return np.append(np.maximum(1, (6 * near + self.sizes * ONE) // (6 + done)), 0)

    def add(self, numbers: NDArray[np.int16], sizes: NDArray[np.uint8]) -> None:
        """Add items: (B,n) numbers and magnitudes."""
        self.sizes[:] += sizes.sum(1, dtype=np.int64)
        self.numbers[:] += np.clip(numbers, -255, 255).sum(1, dtype=np.int64)


@dataclass(frozen=True)
class _Scene:
    """What is known of the n coefficients of a wave before they are coded, (n,) each."""

    mean: Integers
    """M."""
    first: Integers
    """First context."""
    second: Integers
    """Second context."""
    sign: Integers
    """Context of the sign."""
    falling: Bits
    """Whether a minus is what the sign's context speaks of."""

    @classmethod
    def of(cls, grid: _Grid, past: _Past, expected: Integers, wave: Integers, sizes: NDArray[np.uint8]) -> _Scene:
        """Steps 3 and 4; `sizes` (B+1,n) are magnitudes of the group."""
        lower = grid.neighbors[:, wave]
        near = sizes[lower].astype(np.int64)  # (J,W,n)
        weights = np.array([weight for _, weight in NEIGHBOURS])
        live = ONE * (2 + (weights[:, None, None] * near).sum(0))
        usual = (2 * ONE + (weights[:, None] * expected[lower]).sum(0))[:, None]
        mean = expected[wave][:, None] * live // usual
        activity = (2 * live > usual).astype(np.int64) + (live > 2 * usual) + (live > 6 * usual)
        later = (grid.times[wave] > 0)[:, None]
        crowd = np.minimum(near[:4].sum(0), 5)
        lean = past.numbers[wave]
        n = sizes.shape[1]
        return cls(
            mean=mean.reshape(-1),
            first=(_level(mean) * 8 + activity * 2 + later).reshape(-1),
            second=(_level(expected[wave])[:, None] * 6 + crowd).reshape(-1),
            sign=np.repeat(np.minimum(7, 8 * np.abs(lean) // (past.sizes[wave] + 2)), n),
            falling=np.repeat(lean < 0, n),
        )


def _level(mean: Integers) -> Integers:
    return np.searchsorted(_THRESHOLDS, mean, side="right").astype(np.int64)


@dataclass(frozen=True)
class _Counts:
    """How often a decision was a yes in each context."""

    ones: Integers
    total: Integers

    @classmethod
    def geometric(cls, weight: int, repeats: int) -> _Counts:
        """Return the counts of `repeats` contexts a level, as they begin."""
        ones = np.maximum(1, weight * _UNIT * _MEANS // (_MEANS + ONE))
        return cls(np.repeat(ones, repeats), np.full(len(ones) * repeats, weight * _UNIT))

    @classmethod
    def even(cls, contexts: int) -> _Counts:
        """Return counts that begin at 2 of 4."""
        return cls(np.full(contexts, 2 * _UNIT), np.full(contexts, 4 * _UNIT))

    def chances(self, context: Integers) -> Integers:
        """Return the chances (n,) of a yes in contexts (n,)."""
        chances: Integers = self.ones[context] * ONE // self.total[context]
        return chances

    def add(self, context: Integers, bits: Bits) -> None:
        """Count decisions (n,)."""
        self.ones[:] += _UNIT * np.bincount(context[bits], minlength=len(self.ones))
        self.total[:] += _UNIT * np.bincount(context, minlength=len(self.total))


@dataclass(frozen=True)
class _Model:
    """All counts."""

    first: list[_Counts] = field(default_factory=lambda: [_Counts.geometric(8, 8) for _ in range(_PLANES)])
    second: list[_Counts] = field(default_factory=lambda: [_Counts.geometric(4, 6) for _ in range(_PLANES)])
    sign: _Counts = field(default_factory=lambda: _Counts.even(8))
    digits: _Counts = field(default_factory=lambda: _Counts.even(_MOST_DIGITS))

    def code(self, coder: Coder, scene: _Scene, truth: Integers | None) -> Integers:
        """Steps 5 to 7: pass the coefficients (n,) of a wave through the coder."""
        sizes = np.zeros(len(scene.mean), np.int64)
        alive = np.arange(len(sizes))
        wanted = None if truth is None else np.abs(truth)
        for question in range(_QUESTIONS):
            parts = (
                (self.first[min(question, _PLANES - 1)], scene.first[alive]),
                (
                    self.second[min(question, _PLANES - 1)],
                    scene.second[alive],
                ),
            )
            bits = _decide(coder, parts, None if wanted is None else wanted[alive] > question)
            alive = alive[bits]
            sizes[alive] += 1
            if len(alive) == 0:
                break
        else:
            sizes[alive] += self._rest(coder, scene.mean[alive], None if wanted is None else wanted[alive] - _QUESTIONS)
        if bool((sizes > LARGEST).any()):
            raise InputError(f"the stream holds a number above {LARGEST}; the file is damaged")
        some = np.flatnonzero(sizes)
        falling = scene.falling[some]
        same = None if truth is None else (truth[some] < 0) == falling
        same = _decide(coder, ((self.sign, scene.sign[some]),), same)
        sizes[some] *= np.where(same == falling, -1, 1)
        return sizes

    def _rest(self, coder: Coder, mean: Integers, truth: Integers | None) -> Integers:
        """Step 6: return r (n,) of coefficients of |q| = 14 + r."""
        fixed = np.maximum(0, _digits(mean // ONE) - 1)
        wanted = None if truth is None else truth + (1 << fixed)
        lengths = fixed.copy()
        alive = np.arange(len(mean))
        for extra in range(_MOST_DIGITS):
            longer = None if wanted is None else _digits(wanted[alive]) - 1 > lengths[alive]
            bits = _decide(coder, ((self.digits, np.full(len(alive), extra)),), longer)
            alive = alive[bits]
            lengths[alive] += 1
            if len(alive) == 0:
                break
        values = np.ones(len(mean), np.int64)
        for place in reversed(range(int(lengths.max()))):
            alive = np.flatnonzero(lengths > place)
            digit = None if wanted is None else (wanted[alive] >> place) % 2 == 1
            values[alive] = 2 * values[alive] + coder.code(np.full(len(alive), ONE // 2), digit)
        rest: Integers = values - (1 << fixed)
        return rest


def _decide(coder: Coder, parts: tuple[tuple[_Counts, Integers], ...], bits: Bits | None) -> Bits:
    """Pass decisions (n,) through the coder at the mean chance of their contexts, and count them in each."""
    chances = sum((counts.chances(context) for counts, context in parts), np.zeros(len(parts[0][1]), np.int64))
    bits = coder.code(np.clip(chances // len(parts), LEAST_CHANCE, ONE - LEAST_CHANCE), bits)
    for counts, context in parts:
        counts.add(context, bits)
    return bits


def _digits(numbers: Integers) -> Integers:
    """Return how many binary digits whole numbers below 2^53 have; 0 has none."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)
