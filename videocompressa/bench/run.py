"""The benchmark: every method at every budget under one protocol, cell by cell.

1. Rows.    A `Row` (`rows.py`) is a cell of the table: a method with its settings, the kind of labels, a budget, the
            student that judges. `rows_of` lists those of the table and of the experiments that were asked for.
2. Jobs.    Each seed of a row makes a set of its own and trains a student of its own on it (`cells.py`), so that the
            spread is that of the whole method, not of the student alone. Every job runs in a process of its own.
3. Records. A row's jobs become a `Record`; after each job all files are written anew, so that an interrupted benchmark
            shows what it has, and the same command goes on from there.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from videocompressa.bench import figures
from videocompressa.bench.cells import Answer, RunJob, Setting, known, run_student
from videocompressa.bench.protocols import find_protocol
from videocompressa.bench.record import Record
from videocompressa.bench.rows import (
    FAIR,
    BenchOptions,
    Row,
    configuration,
    job_of,
    protocol_of,
    rows_of,
    teacher_settings,
)
from videocompressa.bench.tables import ablation_markdown, cross_markdown, markdown, to_csv, to_json, with_scores
from videocompressa.clip import ClipSpec
from videocompressa.codecs import build_codec
from videocompressa.datasets import VideoSet
from videocompressa.engine import WorkerError, run_apart
from videocompressa.errors import InputError
from videocompressa.files import write_text
from videocompressa.recipes.data import check_split, decode_videos, encode_train, list_videos
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.run import watch_nothing
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.video.shards import stamp_of

PLOTS: dict[str, tuple[str, Callable[[Sequence[Record], Path], object]]] = {
    "accuracy_against_frames.png": ("main", figures.accuracy_against_ratio),
    "accuracy_against_bytes.png": ("main", functools.partial(figures.accuracy_against_ratio, ratio="bytes")),
    "cost_against_accuracy.png": ("main", figures.cost_against_accuracy),
    "ablation.png": ("ablation", figures.ablation),
    "accuracy_against_steps.png": ("steps", figures.accuracy_against_steps),
    "accuracy_against_keyframes.png": ("keyframes", figures.accuracy_against_keyframes),
}
"""Every plot: its file, the experiment it shows, and who draws it."""


@dataclass(frozen=True)
class BenchOutcome:
    """What a benchmark made."""

    records: tuple[Record, ...]
    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def bench(
    data: Path,
    folder: Path,
    *,
    options: BenchOptions,
    candidates: CandidateOptions,
    jobs: int,
    surroundings: Surroundings,
) -> BenchOutcome:
    """Run what is not yet in `folder`, and write results.json, results.csv, results.md and plots there.

    `jobs` processes run at a time, each with its share of this one's threads. Raises `InputError` for what can be
    known to be wrong before the videos are read; a cell that fails later is a record that says why.
    """
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}; it must be at least 1")
    protocol, reading = protocol_of(options)
    if protocol != FAIR:
        candidates = _as_published(find_protocol(protocol).reading(reading).options, candidates, options.protocol)
    for keyframes in options.keyframes:
        check_keyframes(keyframes, candidates.clip.num_frames)
    rows = rows_of(options)
    videos = list_videos(data, candidates)
    for split in ("train", options.split):
        check_split(videos, split, data)
    setting = Setting(
        data=data,
        videos_hash=_videos_hash(videos, options.split),
        candidates=candidates,
        protocol=protocol,
        reading=reading,
        split=options.split,
        folder=folder,
        threads=max(1, torch.get_num_threads() // jobs),
        surroundings=dataclasses.replace(surroundings, watch=watch_nothing, workers=0),
    )
    folder.mkdir(parents=True, exist_ok=True)
    _read_videos(videos, rows, setting, surroundings)
    teacher = teacher_settings(protocol, len(videos.select("train").entries))
    tasks = {(row, seed): job_of(row, seed, options, teacher) for row in rows for seed in range(options.num_seeds)}
    unique = list(dict.fromkeys(tasks.values()))
    answers = {job: answer for job in unique if (answer := known(setting, job))}
    waiting = [job for job in unique if job not in answers]

    def show() -> list[Record]:
        records = _records(rows, tasks, answers, videos.name, candidates.clip, options)
        _write(records, folder)
        surroundings.watch("bench", done=len(answers), total=len(unique))
        return records

    records = show()
    ended = run_apart(run_student, [(setting, job) for job in waiting], workers=jobs, name=lambda task: task[1].name)
    for position, ending in ended:
        answers[waiting[position]] = {"reason": str(ending)} if isinstance(ending, WorkerError) else ending
        records = show()
    return BenchOutcome(tuple(records), folder, *_draw(records, folder))


def _as_published(published: CandidateOptions, asked: CandidateOptions, protocol: str) -> CandidateOptions:
    """Return how a protocol of the literature reads the videos; raises where the user asked for something else."""
    own = ("csv", "fold", "hold_out", "max_bad")
    for option in dataclasses.fields(asked):
        name, value = option.name, getattr(asked, option.name)
        if name not in own and value not in (option.default, getattr(published, name)):
            raise InputError(
                f"--{name} is {value}, but --protocol {protocol} has {getattr(published, name)}; leave the option "
                f"away, or give --protocol {FAIR}"
            )
    return dataclasses.replace(published, **{name: getattr(asked, name) for name in own})


def _videos_hash(videos: VideoSet, split: str) -> str:
    """Return a hash of which videos train and judge, and of their files' stamps: other files, other jobs."""
    parts = [videos.select(name) for name in ("train", split)]
    stamps = [stamp_of(entry.path) for part in parts for entry in part.entries]
    return hashlib.sha256(json.dumps([*(part.split_hash for part in parts), stamps]).encode()).hexdigest()


def _read_videos(videos: VideoSet, rows: Sequence[Row], setting: Setting, surroundings: Surroundings) -> None:
    """Decode and encode once, before any job: the pass over the videos is the same for every method."""
    for codec in dict.fromkeys(row.codec for row in rows):
        encode_train(videos, setting.candidates, build_codec(codec).to(surroundings.device), surroundings)
    decode_videos(videos, setting.split, setting.candidates.clip, setting.candidates, surroundings)


def _records(
    rows: Sequence[Row],
    tasks: Mapping[tuple[Row, int], RunJob],
    answers: Mapping[RunJob, Answer],
    data: str,
    clip: ClipSpec,
    options: BenchOptions,
) -> list[Record]:
    """Return the records of all rows whose every seed has ended, with their scores."""
    records = []
    for row in rows:
        told = [answers.get(tasks[row, seed]) for seed in range(options.num_seeds)]
        ended = [answer for answer in told if answer is not None]
        if len(ended) == len(told):
            records.append(record_of(row, ended, data, clip, options))
    return with_scores(records)


def record_of(row: Row, answers: Sequence[Answer], data: str, clip: ClipSpec, options: BenchOptions) -> Record:
    """Return the record of a row whose every seed has answered; sizes are those of its largest set."""
    reasons = [answer["reason"] for answer in answers if "reason" in answer]
    config = None if row.budget is None else configuration(row, options)
    protocol = options.protocol
    shared: dict[str, Any] = {
        "method": row.method,
        "data": data,
        "protocol": protocol,
        "student": row.student,
        "labels": row.labels,
        "selector": "" if config is None else config.selector_name,
        "codec": "" if config is None else config.stored_as or row.codec,
        "keyframes": None if row.budget is None else row.keyframes,
        "vpc": None if row.budget is None else row.budget.vpc,
        "asked_ratio": None if row.budget is None else row.budget.ratio,
        "asked_bytes": None if row.budget is None else row.budget.bytes,
        "steps": None if config is None else config.synthesis_steps,
        "scale": options.scale,
        "split": options.split,
        "clip": f"{clip.num_frames} frames of {clip.height}x{clip.width} px",
        "train": options.train,
        "num_seeds": len(answers),
        "settings": row.settings,
        "axis": row.axis,
        "variant": row.variant,
        "network": "" if config is None else config.network,
    }
    if reasons:
        return Record(**shared, status="failed", reason=" ".join(reasons[0].split()))
    sets = [answer["set"] for answer in answers if answer.get("set")]
    runs = [answer for answer in answers if "top1" in answer]
    top1 = tuple(float(answer["top1"]) for answer in runs)
    largest: Mapping[str, Any] = max(sets, key=lambda made: made["file_bytes"], default={})
    whole = 1.0 if row.budget is None else None
    return Record(
        **{**shared, "vpc": shared["vpc"] or largest.get("videos_per_class")},
        num_frames=largest.get("num_frames", answers[0].get("num_frames")),
        frame_ratio=largest.get("frame_ratio", whole),
        file_bytes=largest.get("file_bytes"),
        codec_bytes=largest.get("codec_bytes"),
        byte_ratio=largest.get("byte_ratio", whole),
        top1_mean=mean(top1) if top1 else None,
        top1_std=stdev(top1) if len(top1) > 1 else 0.0 if top1 else None,
        top1_runs=top1,
        top5_mean=mean(answer["top5"] for answer in runs) if runs else None,
        num_diverged=len(answers) - len(runs),
        num_train_clips=max((answer["num_train_clips"] for answer in runs), default=None),
        compress_seconds=mean(made["compress_seconds"] for made in sets) if sets else None,
        train_seconds=sum(answer["train_seconds"] for answer in runs) if runs else None,
        peak_memory_bytes=max((each["peak_memory_bytes"] for each in sets or answers), default=None),
        gpu_peak_memory_bytes=max(each["gpu_peak_memory_bytes"] or 0 for each in sets or answers) or None,
    )


def _write(records: Sequence[Record], folder: Path) -> None:
    if not records:
        return
    texts = {"results.json": to_json(records), "results.csv": to_csv(records), "results.md": _tables(records)}
    for name, text in texts.items():
        write_text(folder / name, text)


def _tables(records: Sequence[Record]) -> str:
    axes = {record.axis for record in records}
    tables = [markdown(records)] if "main" in axes else []
    tables += [
        table(records) for axis, table in (("ablation", ablation_markdown), ("cross", cross_markdown)) if axis in axes
    ]
    return "\n".join(tables)


def _draw(records: Sequence[Record], folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Draw what the records allow; returns the files, and notes on what was left out and why."""
    files: list[Path] = []
    notes: list[str] = []
    axes = {record.axis for record in records if record.top1_mean is not None}
    for name, (axis, draw) in PLOTS.items():
        if axis not in axes:
            continue
        try:
            draw(records, folder / name)
            files.append(folder / name)
        except InputError as error:
            notes.append(f"{name}: {error}")
    return tuple(files), tuple(notes)
