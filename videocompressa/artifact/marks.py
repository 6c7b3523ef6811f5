"""Positions of keyframes as text: a bit for each candidate frame, four to a hexadecimal digit (`docs/format.md`).

Our choice, measured on random positions after packing: 1.1 bytes an item for 4 of 8 against 2.7 for a list of steps;
and marks cannot fall or come twice.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from videocompressa.errors import InputError


def marks_of(positions: Sequence[Sequence[int]], num_frames: int) -> str:
    """Return the marks of N rows of K positions, rising in [0,T), T = `num_frames`; raises `InputError`."""
    if all(list(row) == list(range(num_frames)) for row in positions):
        return ""
    for row in positions:
        if sorted({position for position in row if 0 <= position < num_frames}) != list(row):
            raise InputError(f"positions {list(row)} must rise within [0,{num_frames})")
    digits = _digits(num_frames)
    return "".join(f"{sum(1 << (4 * digits - 1 - position) for position in row):0{digits}x}" for row in positions)


def positions_of(marks: str, num_items: int, keyframes: int, num_frames: int) -> Tensor:
    """Return the positions (N,K) int64 that the marks mean.

    Raises `InputError` for all that `marks_of` would not write. The caller has bounded N x K.
    """
    if keyframes == num_frames:
        if marks:
            raise InputError(f"metadata provenance.positions must be empty, for all {num_frames} are kept")
        return torch.arange(num_frames).repeat(num_items, 1)
    digits = _digits(num_frames)
    if len(marks) != num_items * digits:
        raise InputError(f"metadata provenance.positions has {len(marks)} digits; it must have {num_items} x {digits}")
    if set(marks) - set("0123456789abcdef"):
        raise InputError("metadata provenance.positions holds other characters than 0-9 and a-f")
    digit = torch.tensor([int(mark, 16) for mark in marks], dtype=torch.uint8)
    bits = (digit[:, None] >> torch.tensor([3, 2, 1, 0], dtype=torch.uint8) & 1).view(num_items, 4 * digits)
    if bool(bits[:, num_frames:].any()):
        raise InputError(f"metadata provenance.positions leave [0,{num_frames})")
    if wrong := set(bits.sum(1).tolist()) - {keyframes}:
        raise InputError(f"metadata provenance.positions has {min(wrong)} of an item; it must have {keyframes}")
    return bits.nonzero()[:, 1].view(num_items, keyframes)


def _digits(num_frames: int) -> int:
    return -(-num_frames // 4)
