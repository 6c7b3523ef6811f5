"""Scales: how much work every method does. `published` is what the papers did, `small` what two CPU cores can do.

A scale changes lengths (steps, epochs, experts), widths, and the rates that go with them, and is in every set's
provenance. `small` shortens the longest most: DM to 100 of 5,000 steps, MTT to 40 of 8,000 and to 6 of 1,500 expert
epochs, VDSD in the same way; our teacher and our labeler to 600 of 1,600, and our
selector to 200 of 400 steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scale:
    """Settings, as `--set` takes them, on top of the methods' own."""

    settings: tuple[str, ...] = ()
    """Of every method that has such a setting."""
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of one method, by name."""
    train: tuple[str, ...] = ()
    """Of every student that is evaluated."""


_MATCHING = ("matching.width=0.25", "matching.real_per_class=8", "matching.classes_per_step=4")
_EXPERTS = (
    "matching.experts.width=0.25",
    "matching.experts.num_experts=2",
    "matching.experts.epochs=3",
    "matching.experts.batch_size=64",
    "matching.max_start_epoch=2",
    "matching.inner_steps=5",
    "matching.batch_size=16",
    "matching.inner_lr=0.03",
)
_STATICS = (
    "statics.steps=60",
    "statics.lr=6",
    "statics.matching.width=0.25",
    "statics.matching.real_per_class=8",
    "statics.matching.classes_per_step=4",
    "joiner_start=still",
)

SCALES: dict[str, Scale] = {
    "published": Scale(),
    "small": Scale(
        settings=("teacher.train.steps=600", "labeler.steps=600", "joint.steps=200"),
        methods={
            # Rates for scaled latents, chosen by the training objective (docs/log.md).
            "dm": (*_MATCHING, "steps=100", "lr=6"),
            "mtt": (*_EXPERTS, "matching.inner_lr_lr=1e-7", "steps=40", "lr=1"),
            "vdsd-dm": (*_STATICS, *_MATCHING, "steps=100", "lr=3", "joiner_lr=0.01"),
            # At 1e-7 the learned inner rate of VDSD's sharper clips fell below 0 within 10 to 35 steps.
            "vdsd-mtt": (*_STATICS, *_EXPERTS, "matching.inner_lr_lr=1e-8", "steps=40", "lr=1", "joiner_lr=0.003"),
        },
        train=("width=0.25", "steps=400", "lr=2e-3"),
    ),
}
"""Every scale by name."""
