"""Readers of foreign bytes for seconds each: mutated good files end in a result or in an `InputError`.

`make fuzz` runs the same targets, guided by coverage, for as long as wanted.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TOKENS = [
    b"\xff" * 4,
    b"\0\0\0\0",
    b"\0\0\1\0",
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"{}",
    b"\n",
    b",",
]

# How a file is changed: (kind, place as a share of the file, a number).
change = st.tuples(
    st.sampled_from(["flip", "cut", "zero", "repeat", "drop", "token"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
)
changes = st.lists(change, min_size=1, max_size=4)


def changed(data: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    """Return the file after each of the changes."""
    mutated = bytearray(data)
    for kind, share, number in edits:
        at = int(share * len(mutated))
        if kind == "flip" and mutated:
            mutated[at] ^= number or 255
        elif kind == "cut":
            del mutated[at:]
        elif kind == "zero":
            mutated[at : at + number] = bytes(len(mutated[at : at + number]))
        elif kind == "repeat":
            mutated[at:at] = mutated[at : at + number]
        elif kind == "drop":
            del mutated[at : at + number]
        else:
            token = TOKENS[number % len(TOKENS)]
            mutated[at : at + len(token)] = token
    return bytes(mutated)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    target, folder = TARGETS[name], tmp_path_factory.mktemp("fuzz")
    seeds = target.seeds(folder)
    for data in seeds.values():
        target.call(data, folder)

    @settings(max_examples=20 if name in ("cache", "export") else 100, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(seeds)), changes)
    def check(seed: str, edits: list[tuple[str, float, int]]) -> None:
        target.call(changed(seeds[seed], edits), folder)

    check()


@pytest.mark.slow
def test_videos_cut_at_200_places_are_read_or_refused(tmp_path: Path) -> None:
    target = TARGETS["video"]
    for data in target.seeds(tmp_path).values():
        for number in range(200):
            target.call(data[: len(data) * number // 200], tmp_path)
