"""Every method by name. All have one signature:

`compress(train_data, codec, config, *, budget, rng, device, watch, stages) -> SyntheticSet`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from videocompressa.clip import Candidates, Watch
from videocompressa.errors import InputError
from videocompressa.matching import MTTConfig
from videocompressa.methods import coreset, dm, mtt, vdsd, videocompressa
from videocompressa.methods.coreset import CoresetConfig
from videocompressa.methods.dm import DMSetConfig
from videocompressa.methods.mtt import MTTSetConfig
from videocompressa.methods.vdsd import VDSDConfig
from videocompressa.methods.videocompressa import VideoCompressaConfig
from videocompressa.rng import Streams
from videocompressa.stages import Stages
from videocompressa.synthetic import Allowance, SyntheticSet
from videocompressa.vae import Codec


class Compress(Protocol):
    """The one signature."""

    def __call__(
        self,
        train_data: Candidates,
        codec: Codec,
        config: Any,
        *,
        budget: Allowance,
        rng: Streams,
        device: torch.device,
        watch: Watch = ...,
        stages: Stages = ...,
    ) -> SyntheticSet:
        """Return the synthetic set of the training split within the budget."""
        ...


@dataclass(frozen=True)
class Method:
    """A method and the configuration it has by this name."""

    compress: Compress
    config: Any
    """A frozen dataclass; `--set name=value` replaces fields of it."""


METHODS: dict[str, Method] = {
    "videocompressa": Method(videocompressa.compress, VideoCompressaConfig()),
    "random-real": Method(coreset.compress, CoresetConfig(subset="random")),
    "herding-real": Method(coreset.compress, CoresetConfig(subset="herding")),
    "k-center-real": Method(coreset.compress, CoresetConfig(subset="k-center")),
    "facility-location-real": Method(coreset.compress, CoresetConfig(subset="facility-location")),
    "dm": Method(dm.compress, DMSetConfig()),
    "mtt": Method(mtt.compress, MTTSetConfig()),
    "vdsd-dm": Method(vdsd.compress, VDSDConfig()),
    "vdsd-mtt": Method(vdsd.compress, VDSDConfig(MTTConfig(), steps=10_000, lr=1e4, joiner_lr=1e-3)),
}
"""Methods by name; those that end in "-real" store real keyframes as they are."""


def find_method(name: str) -> Method:
    """Return the method of this name; raises `InputError` with the known names."""
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
