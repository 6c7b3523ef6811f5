"""Every method by name. All have one signature:

`compress(train_data, codec, config, *, budget, rng, device, watch, stages) -> SyntheticSet`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.errors import InputError
from videocompressa.matching.objectives import MTTConfig
from videocompressa.methods import coreset, dm, lvdd, mtt, rded, reencode, vdsd, videocompressa
from videocompressa.methods.coreset import CoresetConfig
from videocompressa.methods.dm import DMSetConfig
from videocompressa.methods.lvdd import LvddConfig
from videocompressa.methods.mtt import MTTSetConfig
from videocompressa.methods.rded import RdedConfig
from videocompressa.methods.reencode import ReencodeConfig
from videocompressa.methods.vdsd import VDSDConfig
from videocompressa.methods.videocompressa import VideoCompressaConfig
from videocompressa.rng import Streams
from videocompressa.run import Stages, Watch
from videocompressa.synthetic import Allowance, SyntheticSet


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
    "videocompressa-bytes": Method(videocompressa.compress, videocompressa.BYTES),
    "random-real": Method(coreset.compress, CoresetConfig(subset="random")),
    "herding-real": Method(coreset.compress, CoresetConfig(subset="herding")),
    "k-center-real": Method(coreset.compress, CoresetConfig(subset="k-center")),
    "facility-location-real": Method(coreset.compress, CoresetConfig(subset="facility-location")),
    "rded": Method(rded.compress, RdedConfig()),
    "dm": Method(dm.compress, DMSetConfig()),
    "mtt": Method(mtt.compress, MTTSetConfig()),
    "lvdd": Method(lvdd.compress, LvddConfig()),
    "lvdd-random": Method(lvdd.compress, LvddConfig(select="random")),
    "lvdd-k-means": Method(lvdd.compress, LvddConfig(select="k-means")),
    "lvdd-scaled": Method(lvdd.compress, LvddConfig(kernel="scaled")),
    "real-h264": Method(reencode.compress, ReencodeConfig("h264")),
    "real-av1": Method(reencode.compress, ReencodeConfig("av1")),
    "real-webp": Method(reencode.compress, ReencodeConfig("webp")),
    "herding-h264": Method(reencode.compress, ReencodeConfig("h264", "herding")),
    "herding-av1": Method(reencode.compress, ReencodeConfig("av1", "herding")),
    "herding-webp": Method(reencode.compress, ReencodeConfig("webp", "herding")),
    "vdsd-dm": Method(vdsd.compress, VDSDConfig()),
    "vdsd-mtt": Method(vdsd.compress, VDSDConfig(MTTConfig(), steps=10_000, lr=1e4, joiner_lr=1e-3)),
}
"""Methods by name; those that end in "-real" store real keyframes as they are, those that end in the
name of a real codec fill a given size with re-encoded clips."""


def find_method(name: str) -> Method:
    """Return the method of this name; raises `InputError` with the known names."""
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
