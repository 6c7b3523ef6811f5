"""How long a run will take, measured on a few videos and a few training steps, and how long its stages took."""

import dataclasses
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videocompressa.clip import Normalization
from videocompressa.codecs import Codec
from videocompressa.datasets import VideoEntry
from videocompressa.engine import Cluster
from videocompressa.errors import InputError
from videocompressa.methods import MethodConfig
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.rng import Streams
from videocompressa.run import Run, Watch
from videocompressa.students.clips import LabeledClips
from videocompressa.students.training import fit
from videocompressa.video.shards import DecodedShard, decode_jobs, jobs_of

SAMPLE_VIDEOS = 8
"""Videos that are decoded and encoded to measure the pace."""
SAMPLE_STEPS = 3
"""Training steps that are taken to measure the pace."""


class StageTimes:
    """Seconds of each stage of a run, in this process: the time up to a report of progress is of the stage it names.

    Where workers decode ahead, "decode" is the time that this process waited for them, and `worker_seconds` is theirs.
    """

    def __init__(self, watch: Watch, clock: Callable[[], float]) -> None:
        self._watch, self._clock, self._last = watch, clock, clock()
        self.seconds: dict[str, float] = {}
        self.worker_seconds: dict[str, float] = {}

    def watch(self, step: str, **numbers: Any) -> None:
        """Report progress, and count the time since the last report."""
        for stage, seconds in numbers.get("worker_seconds", {}).items():
            self.worker_seconds[stage] = self.worker_seconds.get(stage, 0.0) + seconds
        now = self._clock()
        self.seconds[step], self._last = self.seconds.get(step, 0.0) + now - self._last, now
        self._watch(step, **numbers)


@dataclass(frozen=True, eq=False)
class Sample:
    """A few videos of a split, and how long a video takes."""

    frames: Tensor
    """(n,T,3,H,W) uint8."""
    latents: Tensor
    """(n,T,C,h,w) float32."""
    decode_seconds: float
    encode_seconds: float

    def pass_seconds(self, num_videos: int, num_kept: int, config: MethodConfig) -> float:
        """Return how long it takes to decode some videos, and to encode what the method reads of them."""
        num_encoded = num_videos if config.reads_all_latents else min(num_kept, num_videos)
        return num_videos * self.decode_seconds + num_encoded * self.encode_seconds


def encode_sample(
    entries: list[VideoEntry], candidates: CandidateOptions, codec: Codec, root: Path, surroundings: Surroundings
) -> Sample:
    """Decode (in workers, as the run will) and encode `SAMPLE_VIDEOS` of a split; raises `InputError` when none can be.

    A video that ends its worker is left out.
    """
    sampled = [entries[number * len(entries) // SAMPLE_VIDEOS] for number in range(SAMPLE_VIDEOS)]
    workers, cluster_size = surroundings.workers, 1
    if isinstance(workers, Cluster):  # The videos are here, too, and few.
        cluster_size, workers = workers.count or 1, 1
    jobs = jobs_of([entry.source for entry in sampled], candidates.clip, 1)
    decoded: list[DecodedShard] = []
    with closing(decode_jobs(jobs, workers=workers, max_seconds=candidates.max_seconds_per_video)) as results:
        for shard in results:
            decoded.append(shard)
            surroundings.watch("time a sample", done=len(decoded), total=SAMPLE_VIDEOS + SAMPLE_STEPS)
    frames, started = torch.from_numpy(np.concatenate([shard.frames for shard in decoded])), surroundings.clock()
    if not len(frames):
        first = f"{root}/{sampled[0].video_id} ({decoded[0].rows[0].bad})"
        raise InputError(f"none of {SAMPLE_VIDEOS} sampled training videos can be decoded, such as {first}")
    latents = codec.encode(frames.flatten(0, 1).to(surroundings.device)).cpu()
    seconds = sum(sum(shard.seconds.values()) for shard in decoded)
    return Sample(
        frames,
        latents.view(*frames.shape[:2], *latents.shape[1:]),
        decode_seconds=seconds / len(frames) / max(workers, cluster_size),
        encode_seconds=(surroundings.clock() - started) / len(frames),
    )


def method_seconds(
    frames: Tensor, config: MethodConfig, num_clips: int, classes: tuple[str, ...], surroundings: Surroundings
) -> float:
    """Return the seconds of the method's training, in steps of its teacher, measured on a few of them."""
    steps, student = config.training_steps(num_clips, len(classes)), config.trained
    if not steps:
        return 0.0
    rows = torch.arange(student.batch_size) % len(frames)
    clips = LabeledClips(frames[rows], torch.zeros_like(rows), Normalization((0.5,) * 3, (0.25,) * 3), classes)
    seconds = 0.0
    for num_steps in (1, SAMPLE_STEPS):  # The first step also loads what training needs, and is not counted.
        started = surroundings.clock()
        few = dataclasses.replace(student, steps=num_steps, warmup_steps=0)
        fit(clips, few, Run(Streams(0, "plan"), surroundings.device))
        seconds = surroundings.clock() - started
    surroundings.watch("time a sample", done=SAMPLE_VIDEOS + SAMPLE_STEPS, total=SAMPLE_VIDEOS + SAMPLE_STEPS)
    return steps * seconds / SAMPLE_STEPS
