"""The work of a benchmark as jobs that each run in a process of their own and leave one small file.

A `RunJob` trains one student on a synthetic set (compressed first by its `SetJob`) or on all videos, and evaluates it;
or, of the control "labeler", evaluates the labeler of a set and trains nothing.
What has its file is not done again. Bad input and lack of memory are answers with a reason, without a file, so that the
next run tries again.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videocompressa.bench.protocols import Protocol
from videocompressa.bench.record import FULL_LONG, LABELER
from videocompressa.codecs import build_codec
from videocompressa.datasets import VideoSet
from videocompressa.engine import keep_freed_memory, peak_memory_bytes
from videocompressa.errors import DivergedError, InputError
from videocompressa.files import write_text
from videocompressa.labeler import Labeler
from videocompressa.methods import MethodConfig
from videocompressa.recipes.compress import compress_folder, method_config
from videocompressa.recipes.data import decode_videos, encode_train, list_videos, sampled, stages_of
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, NumBytes, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.recipes.settings import with_settings
from videocompressa.recipes.tensorboard import logged
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import evaluate, train_seeds
from videocompressa.students.named import parse_student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips, soft_labels
from videocompressa.synthetic import SyntheticSet

LONG = 4
"""How many times as many steps "full-long" takes."""


@dataclass(frozen=True)
class Setting:
    """What all jobs of a benchmark share."""

    data: Path
    videos_hash: str
    """Of the training and evaluation videos, and of their files."""
    candidates: CandidateOptions
    protocol: Protocol
    reading: str
    """Which of the protocol's ways to read a data set."""
    split: str
    """Videos of the evaluation: "test" or "val"."""
    folder: Path
    """Of the files of all jobs."""
    threads: int
    """Of each process."""
    surroundings: Surroundings
    log_dir: Path | None = None
    """Where jobs write what TensorBoard shows."""

    def path(self, kind: str, name: str, key: Mapping[str, Any], suffix: str) -> Path:
        """Return the file of a job: a readable name, and a hash of all that its content depends on."""
        candidates = dataclasses.asdict(self.candidates)
        del candidates["max_seconds_per_video"]  # changes nothing of a video that is read
        shared = {
            "videos": self.videos_hash,
            "candidates": candidates,
            "protocol": [self.protocol.name, self.reading],
            "device": self.surroundings.device.type,
        }
        text = json.dumps({**key, **shared}, sort_keys=True, default=str)
        return self.folder / kind / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}{suffix}"


@dataclass(frozen=True)
class SetJob:
    """One synthetic set to compress."""

    options: CompressOptions
    """With the kind of labels among the settings."""
    labels: str
    budget: BudgetOptions
    reference: "SetJob | None" = None
    """The set whose file size is the limit, for a method that fills bytes under a budget without any."""

    @property
    def name(self) -> str:
        """The readable part of the file's name."""
        budget, options = self.budget, self.options
        size = f"vpc{budget.vpc}" if budget.vpc else f"ratio{budget.ratio:g}" if budget.ratio else f"{budget.bytes}B"
        codec = options.codec.partition(":")[0]
        return f"{options.method}-{self.labels}-{codec}-{size}-k{budget.keyframes}-seed{options.seed}"

    @property
    def config(self) -> MethodConfig:
        """The method with its settings."""
        return method_config(self.options.method, self.options.settings)

    @property
    def codec(self) -> str | None:
        """The codec that opens the file; None where the file holds the streams of a real codec."""
        return None if self.config.stored_as else self.options.codec

    def path(self, setting: Setting) -> Path:
        """Return the file of the set."""
        config = self.config
        key = {"config": dataclasses.asdict(config), "teacher": parse_student(config.teacher.train.student).content}
        return setting.path("sets", self.name, {**dataclasses.asdict(self), **key}, ".safetensors")


@dataclass(frozen=True)
class RunJob:
    """One student to train and evaluate."""

    trained_on: SetJob | None
    """None for all videos."""
    method: str
    labels: str
    student: str
    train: tuple[str, ...]
    """Settings on top of the protocol's training, as `train --set` takes them."""
    teacher: tuple[str, ...]
    """Settings of the teachers that label all videos, or views of them; () for other runs."""
    codec: str
    keyframes: int
    seed: int

    @property
    def name(self) -> str:
        """The readable part of the file's name."""
        trained_on = f"{self.method}-{self.labels}" if self.trained_on is None else self.trained_on.name
        return f"{re.sub('[^A-Za-z0-9.-]+', '_', self.student)[-60:].lstrip('-_')}-on-{trained_on}-student{self.seed}"

    def path(self, setting: Setting) -> Path:
        """Return the file of its scores."""
        trained_on = None if self.trained_on is None else self.trained_on.path(setting).name
        config = dataclasses.asdict(with_settings(TrainConfig(), self.train))
        key = {"trained_on": trained_on, "config": config, "student_content": parse_student(self.student).content}
        return setting.path("runs", self.name, {**dataclasses.asdict(self), **key, "split": setting.split}, ".json")


Answer = dict[str, Any]
"""What a job leaves in its file, or {"reason": text} when it failed."""


def compress_set(setting: Setting, job: SetJob) -> Answer:
    """Compress the set of a job, unless it is there; return its sizes and what it cost."""
    path, budget = job.path(setting), job.budget
    if job.reference is not None:
        reference = compress_set(setting, job.reference)
        if not _is_set(reference):
            return reference
        budget = dataclasses.replace(budget, vpc=None, ratio=None, bytes=NumBytes(reference["file_bytes"]))

    def work() -> Answer:
        outcome = compress_folder(
            setting.data,
            path,
            job.options,
            candidates=setting.candidates,
            budget=budget,
            overwrite=True,
            surroundings=setting.surroundings,
        )
        return {
            **dataclasses.asdict(outcome.cost),
            "videos_per_class": outcome.videos_per_class,
            "keyframes": outcome.keyframes,
            "compress_seconds": outcome.method_seconds,
        }

    return _answer(setting, path.with_suffix(".json"), work)


def _is_set(answer: Answer | None) -> bool:
    """Return whether a set was compressed: it neither failed nor diverged."""
    return answer is not None and "compress_seconds" in answer


def known(setting: Setting, job: RunJob) -> Answer | None:
    """Return what `run_student` would answer without doing any work, or None where there is work to do."""
    of_set = None if job.trained_on is None else _read(job.trained_on.path(setting).with_suffix(".json"))
    if job.trained_on is not None and not _is_set(of_set):
        return of_set
    answer = _read(job.path(setting))
    return None if answer is None else {**answer, "set": of_set}


def run_student(task: tuple[Setting, RunJob]) -> Answer:
    """Train the student of a job and evaluate it; "set" holds the answer of the set's job."""
    setting, job = task
    keep_freed_memory()
    torch.set_num_threads(setting.threads)
    with logged(setting.log_dir and setting.log_dir / job.name, setting.surroundings.watch) as log:
        setting = dataclasses.replace(setting, surroundings=dataclasses.replace(setting.surroundings, watch=log.watch))
        of_set = None if job.trained_on is None else compress_set(setting, job.trained_on)
        if of_set is not None and not _is_set(of_set):
            return of_set
        if job.trained_on is not None and log.folder is not None:
            log.samples(_opened(setting, job.trained_on))
        return {**_answer(setting, job.path(setting), lambda: _train(setting, job, of_set)), "set": of_set}


def _train(setting: Setting, job: RunJob, of_set: Answer | None) -> Answer:
    around = setting.surroundings
    videos = sampled(list_videos(setting.data, setting.candidates), setting.candidates)
    if job.trained_on is None:
        train, num_frames = _full_data(setting, job, videos)
    else:
        train, num_frames = _of_set(setting, job.trained_on)
    decoded = decode_videos(videos, setting.split, setting.candidates.clip, setting.candidates, around)
    test = real_clips(decoded, train.normalization)
    config = training(setting, job, len(train), None if of_set is None else of_set["videos_per_class"])
    labeling = _labeling(config, train.labeler)
    if job.method == LABELER:
        assert train.labeler is not None
        scores = evaluate(train.labeler.student, test, around.device)
        return {"top1": scores.top1, "top5": scores.top5, **labeling}
    run = Run(Streams(job.seed), around.device, around.watch, Stages(around.cache / "features", around.clock))
    result = train_seeds(train, test, config, run, seeds=(job.seed,), clock=around.clock)
    return {
        "top1": result.top1_mean,
        "top5": result.top5_mean,
        "precision": result.precision,
        "device": result.device,
        "train_seconds": result.train_seconds,
        "train_steps": config.steps,
        "num_train_clips": len(train),
        "num_frames": num_frames,
        **labeling,
    }


def _of_set(setting: Setting, job: SetJob) -> tuple[LabeledClips, int]:
    """Return the clips of a set and its number of frames."""
    synthetic = _opened(setting, job)
    return LabeledClips.of_set(synthetic, setting.surroundings.device), synthetic.positions.numel()


def _opened(setting: Setting, job: SetJob) -> SyntheticSet:
    spec = job.config.labeler.spec
    return open_set(job.path(setting), job.codec, spec.network if spec.is_layer else None)


def _labeling(config: TrainConfig, labeler: Labeler | None) -> Answer:
    """Return the fields of an answer that say what labeled the clips, and how they were changed."""
    text, views = "", config.views
    if labeler is not None:
        spec, views = labeler.spec, labeler.spec.views
        width = "" if spec.is_layer else f", width {spec.width:g}"
        text = f"{spec.network}{width}, {spec.bits} bits"
    return {"labeler": text, "views": [f"{name}={value}" for name, value in vars(views).items()]}


def training(setting: Setting, job: RunJob, num_clips: int, videos_per_class: int | None) -> TrainConfig:
    """Return how the student of a job is trained: by the protocol, with the job's student and settings."""
    config = setting.protocol.train_config(
        setting.reading, num_clips=num_clips, videos_per_class=videos_per_class, labels=job.labels
    )
    config = dataclasses.replace(config, student=job.student)
    if (student := parse_student(job.student)).mode:  # protocols know networks that start from nothing
        config = dataclasses.replace(config, lr=student.usual_lr)
    config = with_settings(config, job.train)
    return dataclasses.replace(config, steps=LONG * config.steps) if job.method == FULL_LONG else config


def _full_data(setting: Setting, job: RunJob, videos: VideoSet) -> tuple[LabeledClips, int]:
    """Return all training clips and the number of frames of their videos.

    Soft labels and labelers are those of the same seed's sets.
    """
    around = setting.surroundings
    codec = build_codec(job.codec).to(around.device)
    train_data = encode_train(videos, setting.candidates, codec, around)
    clips, num_frames = real_clips(train_data), int(train_data.num_video_frames.sum())
    if job.labels == "hard":
        return clips, num_frames
    config = method_config("random-real", (*job.teacher, f"labels={job.labels}"))
    run = Run(Streams(job.seed, "compress"), around.device, around.watch, stages_of(train_data, around))
    teachers = config.train_teachers(train_data, codec, job.keyframes, run)
    if job.labels == "soft":
        labels = soft_labels(teachers.networks, clips, config.teacher, run)
        return dataclasses.replace(clips, labels=labels), num_frames
    return dataclasses.replace(clips, labeler=teachers.labeler), num_frames


def _read(path: Path) -> Answer | None:
    try:
        answer: Answer = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return answer


def _answer(setting: Setting, path: Path, work: Callable[[], Answer]) -> Answer:
    """Return the answer in the file of a job, or do the work and write it there."""
    if (answer := _read(path)) is not None:
        return answer
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        answer = work()
    except DivergedError as error:
        answer = {"diverged": str(error)}
    except InputError as error:
        return {"reason": str(error)}
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"reason": f"out of memory: {error}"}
    on_gpu = setting.surroundings.device.type == "cuda"
    answer["peak_memory_bytes"] = peak_memory_bytes()
    answer["gpu_peak_memory_bytes"] = torch.cuda.max_memory_allocated() if on_gpu else None
    write_text(path, json.dumps(answer, sort_keys=True))
    return answer
