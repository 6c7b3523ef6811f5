"""Scales: how much work every method does. `published` is what the papers did, `small` what two CPU cores can do.

A scale changes lengths (steps, epochs, experts) and widths, never what a method is; what it changes is written into
every set's provenance and beside every table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from videocompressa.errors import InputError


@dataclass(frozen=True)
class Scale:
    """Settings, as `--set` takes them, on top of the methods' own."""

    settings: tuple[str, ...] = ()
    """Of every method that has such a setting."""
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of one method, by name."""
    train: tuple[str, ...] = ()
    """Of every student that judges."""


SCALES: dict[str, Scale] = {
    "published": Scale(),
    "small": Scale(
        settings=("teacher.train.steps=600", "teacher.train.width=0.25"),
        train=("width=0.25", "steps=300", "lr=2e-3", "warmup_steps=15", "precision=bfloat16"),
    ),
}
"""Every scale by name."""


def find_scale(name: str) -> Scale:
    """Return the scale of this name; raises `InputError` with the known names."""
    if name not in SCALES:
        raise InputError(f"unknown scale {name!r}; known: {', '.join(SCALES)}")
    return SCALES[name]
