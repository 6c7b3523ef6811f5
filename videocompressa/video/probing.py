"""What a few videos hold, found by a worker. No torch here, so that workers start fast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videocompressa.errors import VideoError
from videocompressa.video import VideoInfo, probe


@dataclass(frozen=True)
class Probed:
    """What a probe says of one video."""

    info: VideoInfo | None
    """None when the video cannot be read."""
    reason: str = ""
    """Why it cannot be read."""


def probe_paths(paths: tuple[str, ...]) -> list[Probed]:
    """Probe every video: its packets are counted and its first frame is decoded."""
    probed = []
    for path in paths:
        try:
            probed.append(Probed(probe(Path(path))))
        except VideoError as error:
            probed.append(Probed(None, str(error)))
    return probed
