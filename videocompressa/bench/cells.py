"""The work of a benchmark, cut into jobs that each run in a process of their own and leave one small file behind.

A `RunJob` trains one student on a synthetic set (made first, by its `SetJob`, where it is not there yet) or on all
videos, and judges it. What has left its file is not done again; what fails for a reason that a user can mend, or runs
out of memory, answers with that reason and is tried again by the next run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videocompressa.bench.protocols import find_protocol
from videocompressa.bench.record import FULL_LONG
from videocompressa.codecs import build_codec
from videocompressa.datasets import VideoSet, decode_split
from videocompressa.engine import peak_memory_bytes
from videocompressa.errors import DivergedError, InputError
from videocompressa.files import write_text
from videocompressa.recipes.compress import compress_folder, configured
from videocompressa.recipes.data import encode_train, list_videos, stages_of
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.recipes.settings import with_settings
from videocompressa.rng import Streams
from videocompressa.students import LabeledClips, TrainConfig, soft_labels, train_seeds
from videocompressa.students.teachers import RealClips, TeacherConfig, real_clips, train_teachers

LONG = 4
"""How many times as many steps "full-long" takes."""


@dataclass(frozen=True)
class Setting:
    """What all jobs of a benchmark share."""

    data: Path
    videos_hash: str
    """Of the videos that train and judge, and of their files: other videos, other jobs."""
    candidates: CandidateOptions
    protocol: str
    reading: str
    """Which of the protocol's ways to read a data set."""
    split: str
    """Videos that judge: "test" or "val"."""
    folder: Path
    """Where the files of the jobs lie."""
    threads: int
    """Of each process."""
    surroundings: Surroundings

    def path(self, kind: str, name: str, key: Mapping[str, Any], suffix: str) -> Path:
        """Return the file of a job: a name for people, and a hash of all that its content depends on."""
        shared = {
            "videos": self.videos_hash,
            "candidates": dataclasses.asdict(self.candidates),
            "protocol": [self.protocol, self.reading],
            "device": self.surroundings.device.type,
        }
        whole = json.dumps({**key, **shared}, sort_keys=True, default=str)
        return self.folder / kind / f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:10]}{suffix}"


@dataclass(frozen=True)
class SetJob:
    """One synthetic set to make."""

    method: str
    settings: tuple[str, ...]
    """As `compress --set` takes them, the kind of labels among them."""
    labels: str
    codec: str
    budget: BudgetOptions
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        asked = self.budget
        size = f"vpc{asked.vpc}" if asked.vpc else f"ratio{asked.ratio:g}" if asked.ratio else f"{asked.bytes}B"
        codec = self.codec.partition(":")[0]
        return f"{self.method}-{self.labels}-{codec}-{size}-k{asked.keyframes}-seed{self.seed}"

    def path(self, setting: Setting) -> Path:
        """Return where the set lies."""
        config = dataclasses.asdict(configured(self.method, self.settings)[1])  # other defaults, other sets
        return setting.path("sets", self.name, {**dataclasses.asdict(self), "config": config}, ".safetensors")


@dataclass(frozen=True)
class RunJob:
    """One student to train and to judge."""

    made: SetJob | None
    """The set it is trained on; None for all videos."""
    method: str
    labels: str
    student: str
    train: tuple[str, ...]
    """Settings on top of the protocol's training, as `train --set` takes them."""
    teacher: tuple[str, ...]
    """Settings of the teacher that labels all videos; used by full data with soft labels only."""
    codec: str
    keyframes: int
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        trained_on = f"{self.method}-{self.labels}" if self.made is None else self.made.name
        return f"{self.student}-on-{trained_on}-student{self.seed}"

    def path(self, setting: Setting) -> Path:
        """Return where its scores lie."""
        made = None if self.made is None else self.made.path(setting).name
        key = {"made": made, "config": dataclasses.asdict(with_settings(TrainConfig(), self.train))}
        return setting.path("runs", self.name, {**dataclasses.asdict(self), **key, "split": setting.split}, ".json")


Answer = dict[str, Any]
"""What a job answers: what it left in its file, or {"reason": text} when it failed."""


def make_set(setting: Setting, job: SetJob) -> Answer:
    """Make the set of a job, or find it made; return what it holds and what it cost."""
    path = job.path(setting)

    def work() -> Answer:
        outcome = compress_folder(
            setting.data,
            path,
            candidates=setting.candidates,
            budget=job.budget,
            method=job.method,
            codec=job.codec,
            seed=job.seed,
            settings=job.settings,
            overwrite=True,
            surroundings=setting.surroundings,
        )
        return {
            **dataclasses.asdict(outcome.budget),
            "videos_per_class": outcome.videos_per_class,
            "keyframes": outcome.keyframes,
            "compress_seconds": outcome.method_seconds,
        }

    return _answer(setting, path.with_suffix(".json"), work)


def _is_set(made: Answer | None) -> bool:
    """Tell whether a set was made: it did not fail, nor diverge."""
    return made is not None and "compress_seconds" in made


def known(setting: Setting, job: RunJob) -> Answer | None:
    """Return what `run_student` would answer without doing any work, or None where there is work to do."""
    made = None if job.made is None else _read(job.made.path(setting).with_suffix(".json"))
    if job.made is not None and not _is_set(made):
        return made
    answer = _read(job.path(setting))
    return None if answer is None else {**answer, "set": made}


def run_student(task: tuple[Setting, RunJob]) -> Answer:
    """Train the student of a job and tell how well it does; "set" holds the answer of the set's job."""
    setting, job = task
    torch.set_num_threads(setting.threads)
    made = None if job.made is None else make_set(setting, job.made)
    if made is not None and not _is_set(made):
        return made
    return {**_answer(setting, job.path(setting), lambda: _train(setting, job, made)), "set": made}


def _train(setting: Setting, job: RunJob, made: Answer | None) -> Answer:
    videos = list_videos(setting.data, setting.candidates)
    train, num_frames = _full_data(setting, job, videos) if job.made is None else _set_data(setting, job.made)
    clip, around = setting.candidates.clip, setting.surroundings
    test = decode_split(
        videos, setting.split, clip, cache=around.cache / "candidates", workers=around.workers,
        max_bad=setting.candidates.max_bad,
    )  # fmt: skip
    result = train_seeds(
        train,
        LabeledClips(test.frames, test.labels, train.normalization, test.classes),
        training(setting, job, len(train), None if made is None else made["videos_per_class"]),
        clip=clip,
        seeds=(job.seed,),
        device=around.device,
        clock=around.clock,
    )
    return {
        "top1": result.top1_mean,
        "top5": result.top5_mean,
        "train_seconds": result.train_seconds,
        "num_train_clips": len(train),
        "num_frames": num_frames,
    }


def training(setting: Setting, job: RunJob, num_clips: int, videos_per_class: int | None) -> TrainConfig:
    """Return how the student of a job is trained: the protocol's way, for its student, with the job's settings."""
    protocol = find_protocol(setting.protocol)
    if videos_per_class is None:
        config = protocol.full_config(num_clips=num_clips)
        config = dataclasses.replace(config, loss=protocol.on_set.config.loss if job.labels == "soft" else config.loss)
    else:
        config = protocol.train_config(
            setting.reading, num_clips=num_clips, videos_per_class=videos_per_class, labels=job.labels
        )
    config = with_settings(dataclasses.replace(config, student=job.student), job.train)
    return dataclasses.replace(config, steps=LONG * config.steps) if job.method == FULL_LONG else config


def _set_data(setting: Setting, made: SetJob) -> tuple[LabeledClips, int]:
    synthetic = open_set(made.path(setting), made.codec if ":" in made.codec else None)
    clips = LabeledClips(synthetic.clips(), synthetic.labels, synthetic.normalization, synthetic.classes)
    return clips, synthetic.positions.numel()


def _full_data(setting: Setting, job: RunJob, videos: VideoSet) -> tuple[LabeledClips, int]:
    """Return all training clips, labeled by a teacher where soft labels are asked for, and the frames of all videos"""
    around, codec = setting.surroundings, build_codec(job.codec).to(setting.surroundings.device)
    train_data = encode_train(videos, setting.candidates, codec, around).candidates
    clips, num_frames = real_clips(train_data), int(train_data.num_video_frames.sum())
    if job.labels == "hard":
        return clips, num_frames
    teacher, rng = with_settings(TeacherConfig(), job.teacher), Streams(job.seed, "compress")
    real = RealClips(train_data, codec, job.keyframes, "linear", teacher.as_stored)
    stages = stages_of(train_data, around)
    teachers = train_teachers(real, teacher, rng=rng, device=around.device, watch=around.watch, stages=stages)
    labels = soft_labels(
        teachers,
        clips,
        num_views=teacher.num_views,
        config=teacher.train,
        temperature=teacher.temperature,
        streams=rng.child("labels"),
        device=around.device,
    )
    return dataclasses.replace(clips, labels=labels), num_frames


def _read(path: Path) -> Answer | None:
    try:
        found: Answer = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


def _answer(setting: Setting, path: Path, work: Callable[[], Answer]) -> Answer:
    """Return the answer in the file of a job, or do the work and leave it there."""
    if (found := _read(path)) is not None:
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    on_gpu = setting.surroundings.device.type == "cuda"
    try:
        answer = work()
    except DivergedError as error:
        answer = {"diverged": str(error)}
    except InputError as error:
        return {"reason": str(error)}
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"reason": f"out of memory: {error}"}
    answer["peak_memory_bytes"] = peak_memory_bytes()
    answer["gpu_peak_memory_bytes"] = torch.cuda.max_memory_allocated() if on_gpu else None
    write_text(path, json.dumps(answer, sort_keys=True))
    return answer
