"""What a video-language model is shown: of the set its K keyframes, of every other video as many frames.

All at the set's size, or all at the videos' own size with `from_source`; other videos are read where the set's
candidates would have been.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from videocompressa.clip import ClipSpec
from videocompressa.datasets import BadVideo, DecodedSplit, VideoSet, decode_split
from videocompressa.recipes.options import Surroundings
from videocompressa.run import watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.vlm.tune.clips import Clips, FileClips, HeldClips
from videocompressa.vlm.tune.team import Team

Made = TypeVar("Made")


@dataclass(frozen=True)
class Shown:
    """The clips of a run, made when they are asked for."""

    synthetic: SyntheticSet
    videos: VideoSet
    max_bad: float
    """Share of a split's videos that may be unreadable."""
    from_source: Path | None
    """Folder of the videos that the set was made of: frames at their own size."""
    team: Team
    surroundings: Surroundings

    @property
    def clip(self) -> ClipSpec:
        """How videos are shown that are not the set's."""
        return shown_clip(self.synthetic)

    def of_set(self) -> Clips:
        """Return the set's clips; raises `InputError` when a source video is gone."""
        if self.from_source is None:
            return keyframe_clips(self.synthetic)
        ids = self.synthetic.provenance.video_ids
        return FileClips(
            paths=tuple(self.from_source / video_id for video_id in ids),
            video_ids=ids,
            labels=tuple(self.synthetic.hard_labels.tolist()),
            shown=self.synthetic.times_seconds,
        )

    def of_split(self, split: str) -> tuple[Clips, tuple[BadVideo, ...]]:
        """Return the readable videos of a split; they are all decoded once, at the set's size."""
        decoded = _leader_first(self.team, lambda: self._decode(split))
        labels = tuple(decoded.labels.tolist())
        if self.from_source is None:
            return HeldClips(decoded.frames, decoded.times_seconds, labels, decoded.video_ids), decoded.bad
        path_of = {entry.video_id: entry.path for entry in self.videos.entries}
        paths = tuple(path_of[video_id] for video_id in decoded.video_ids)
        return FileClips(paths, decoded.video_ids, labels, self.clip), decoded.bad

    def notes(self) -> list[str]:
        """Return what a user should know."""
        if self.from_source is not None:
            return changed_pictures(self.synthetic)
        return [
            f"frames are the set's own, {self.synthetic.clip.height}x{self.synthetic.clip.width} px, enlarged to what "
            "the model takes; --from-source ROOT shows the videos' own size"
        ]

    def _decode(self, split: str) -> DecodedSplit:
        return decode_split(
            self.videos,
            split,
            self.clip,
            cache=self.surroundings.cache / "candidates",
            workers=self.surroundings.workers,
            max_bad=self.max_bad,
            watch=self.surroundings.watch if self.team.leads else watch_nothing,
        )


def changed_pictures(synthetic: SyntheticSet) -> list[str]:
    """Return a note where frames of the source may differ from what the set holds."""
    method = synthetic.provenance.method
    if method.endswith("-real"):
        return []
    return [
        f"method {method} may have changed the pictures of its set; --from-source shows the frames that it started from"
    ]


def shown_clip(synthetic: SyntheticSet) -> ClipSpec:
    """Return how other videos are shown: K frames, made even, over the span that the set's candidates cover."""
    frames = max(2, synthetic.latents.shape[1] + synthetic.latents.shape[1] % 2)
    stride = synthetic.clip.stride
    placement = f"strided:{max(1, round(stride * synthetic.clip.num_frames / frames))}" if stride else "even"
    return dataclasses.replace(synthetic.clip, num_frames=frames, placement=placement)


def keyframe_clips(synthetic: SyntheticSet) -> HeldClips:
    """Return the set's keyframes, decoded; soft labels count as their most likely class."""
    return HeldClips(
        (synthetic.keyframes() * 255).round().to(torch.uint8),
        synthetic.times_seconds,
        tuple(synthetic.hard_labels.tolist()),
        synthetic.provenance.video_ids,
    )


def _leader_first(team: Team, make: Callable[[], Made]) -> Made:
    """Let the leading process make something that the others then find in the cache, one after another."""
    made: Made | None = make() if team.leads else None
    team.gather([])
    for rank in range(1, team.size):
        if rank == team.rank:
            made = make()
        team.gather([])
    assert made is not None
    return made
