"""A binary range coder: turns yes/no decisions with known chances into nearly as few bytes as their entropy.

`docs/format.md` (packing `transform`) describes how decisions are read. A writer keeps `low` (48 bits) and `span`, the
interval that the decisions so far leave, from 0 and 2^48 - 1 on; a top byte of low is written where a reader takes the
next byte. When low exceeds 48 bits, one is added to the bytes already written. The end is the smallest multiple of 2^40
that is not below low: its top byte is written unless it is zero (and other bytes were written).

After Martin (1979, "Range encoding") with the carry handled on bytes. Integers only: the same everywhere.
Our choice, instead of a library: the format depends on no version of a package. 3 to 6 million decisions a second.
"""

import numpy as np
from numpy.typing import NDArray

from videocompressa.errors import InputError

Integers = NDArray[np.int64]
Bits = NDArray[np.bool_]

ONE = 1 << 16
"""A chance of 1."""
_TOP, _SHIFT, _LEAST = 1 << 48, 40, 1 << 40


class RangeEncoder:
    """Writes decisions."""

    def __init__(self) -> None:
        self._low, self._span, self._out = 0, _TOP - 1, bytearray()

    def code(self, chances: Integers, bits: Bits) -> Bits:
        """Write and return decisions `bits` (n,) whose chances of a yes are `chances` (n,) in [1,65535] / 65536."""
        low, span, out = self._low, self._span, self._out
        for chance, bit in zip(chances.tolist(), bits.tolist(), strict=True):
            part = (span >> 16) * chance
            if bit:
                span = part
            else:
                low += part
                span -= part
            while span < _LEAST:
                if low >= _TOP:
                    low -= _TOP
                    _carry(out)
                out.append(low >> _SHIFT)
                low = (low & (_LEAST - 1)) << 8
                span <<= 8
        self._low, self._span = low, span
        return bits

    def finish(self) -> bytes:
        """Return all bytes, at least one."""
        out, last = self._out.copy(), (self._low + _LEAST - 1) >> _SHIFT
        if last >= 256:
            _carry(out)
            last -= 256
        if last or not out:
            out.append(last)
        return bytes(out)


class RangeDecoder:
    """Reads decisions; raises `InputError` as soon as more are asked for than the bytes can hold."""

    def __init__(self, data: bytes) -> None:
        self._data, self._position, self._span = data, 6, _TOP - 1
        self._code = int.from_bytes(data[:6].ljust(6, b"\0"), "big")

    def code(self, chances: Integers, bits: Bits) -> Bits:
        """Return the decisions (n,) that were written at these chances (n,); `bits` is ignored."""
        data, position, span, code = self._data, self._position, self._span, self._code
        size, read = len(data), []
        for chance in chances.tolist():
            part = (span >> 16) * chance
            if code < part:
                span = part
                read.append(True)
            else:
                code -= part
                span -= part
                read.append(False)
            while span < _LEAST:
                code = code << 8 | (data[position] if position < size else 0)
                position += 1
                span <<= 8
        self._position, self._span, self._code = position, span, code
        if position - 6 > size:
            raise InputError(f"the stream ends after {size} bytes, before its numbers do; the file is damaged")
        return np.array(read, dtype=np.bool_)

    def finish(self) -> None:
        """Raise `InputError` unless the bytes end where the encoder would have ended them."""
        size, shifted = len(self._data), self._position - 6
        expected = max(1, shifted)
        if size != expected and not (size == shifted + 1 and self._data[-1]):
            raise InputError(f"the stream has {size} bytes, but its numbers end after {expected}; the file is damaged")


RangeCoder = RangeEncoder | RangeDecoder
"""What decisions pass through."""


def _carry(out: bytearray) -> None:
    """Add one to the number that the bytes make."""
    place = len(out) - 1
    while out[place] == 255:
        out[place] = 0
        place -= 1
    out[place] += 1
