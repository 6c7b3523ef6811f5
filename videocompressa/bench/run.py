"""The benchmark: every method at every budget under one protocol, cell by cell.

1. Rows.    A `Row` is a cell of the table or of an experiment: a method with its settings, labels, budget and student.
2. Jobs.    Each seed of a row compresses a set of its own and trains a student of its own on it (`cells.py`), so that
            the spread is that of the complete method. Every job runs in a process of its own.
3. Records. A row's jobs become a `Record`. All files are written again after each job, so that an interrupted
            benchmark shows its finished cells, and the same command resumes it.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from videocompressa.bench import figures
from videocompressa.bench.cells import Answer, RunJob, Setting, known, run_student
from videocompressa.bench.record import LABELER, Record
from videocompressa.bench.rows import (
    FAIR,
    BenchOptions,
    Row,
    configuration,
    job_of,
    known_settings,
    protocol_of,
    rows_of,
    teacher_settings,
)
from videocompressa.bench.scores import with_scores
from videocompressa.bench.tables import (
    ablation_markdown,
    cross_markdown,
    markdown,
    to_csv,
    to_json,
    train_steps_markdown,
)
from videocompressa.clip import ClipSpec
from videocompressa.codecs import build_codec
from videocompressa.datasets import VideoSet
from videocompressa.engine import WorkerError, run_apart
from videocompressa.errors import InputError
from videocompressa.files import write_text
from videocompressa.recipes.data import check_split, decode_videos, encode_train, list_videos, sampled
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, Surroundings
from videocompressa.recipes.tensorboard import check_log_dir
from videocompressa.recipes.train import check_unseen
from videocompressa.run import key_sha256, watch_nothing
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.video.shards import stamp_of

PLOTS: dict[str, tuple[str, Callable[[Sequence[Record], Path], object]]] = {
    **{
        f"accuracy_against_{name}.png": (axis, functools.partial(figures.accuracy_against, quantity=name))
        for name, (axis, *_) in figures.QUANTITIES.items()
    },
    "cost_against_accuracy.png": ("main", figures.cost_against_accuracy),
    "ablation.png": ("ablation", figures.ablation),
}
"""Every plot: its file, the experiment it shows, and the function that draws it."""

TABLES = {
    "main": markdown,
    "ablation": ablation_markdown,
    "train-steps": train_steps_markdown,
    "cross": cross_markdown,
}
"""Markdown of results.md by experiment."""

OF_ROW = ("method", "student", "labels", "axis", "variant", "train_steps")
OF_OPTIONS = ("protocol", "scale", "split", "train")
OF_SET = ("num_frames", "frame_ratio", "file_bytes", "labeler_bytes", "codec_bytes", "byte_ratio")
"""Fields of a record with the names that they have in a row, in the options and in the answer of a `SetJob`."""


@dataclass(frozen=True)
class BenchOutcome:
    """Results of a benchmark, and its files."""

    records: tuple[Record, ...]
    folder: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    candidates: CandidateOptions
    """How the videos were read."""
    best: tuple[Path, str | None] | None = None
    """The first seed's set of the most accurate row of the table, controls left out, and the codec that opens it."""


def bench(
    data: Path,
    folder: Path,
    *,
    options: BenchOptions,
    candidates: CandidateOptions,
    jobs: int,
    log_dir: Path | None = None,
    surroundings: Surroundings,
) -> BenchOutcome:
    """Run what is not yet in `folder`, and write results.json, results.csv, results.md and plots there.

    `jobs` processes run at a time, each with its share of this one's threads, and what they report goes to TensorBoard
    in `log_dir`, a folder each. Raises `InputError` for options that cannot be used, before the videos are read; a cell
    that fails later is a record with the reason.
    """
    check_log_dir(log_dir)
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}; it must be at least 1")
    protocol, reading = protocol_of(options)
    if protocol.name != FAIR:
        candidates = _as_published(protocol.reading(reading).options, candidates, options.protocol)
    for keyframes in options.keyframes:
        check_keyframes(keyframes, candidates.clip.num_frames)
    rows = rows_of(options)
    videos = sampled(list_videos(data, candidates), candidates)
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
        log_dir=log_dir,
        threads=max(1, torch.get_num_threads() // jobs),
        surroundings=dataclasses.replace(surroundings, watch=watch_nothing, workers=0),
    )
    folder.mkdir(parents=True, exist_ok=True)
    # Once, before any job: the pass over the videos is the same for every method.
    test = decode_videos(videos, options.split, candidates.clip, candidates, surroundings)
    for codec in dict.fromkeys(row.codec for row in rows):
        train_data = encode_train(videos, candidates, build_codec(codec).to(surroundings.device), surroundings)
        check_unseen(train_data, data, test, data, options.split)
    teacher = teacher_settings(protocol, len(videos.select("train").entries))
    jobs_of = {row: [job_of(row, seed, options, teacher) for seed in range(options.num_seeds)] for row in rows}
    unique = list(dict.fromkeys(job for same in jobs_of.values() for job in same))
    answers = {job: answer for job in unique if (answer := known(setting, job))}
    waiting = [job for job in unique if job not in answers]

    def show() -> list[Record]:
        complete = {row: [answers[job] for job in jobs_of[row]] for row in rows if answers.keys() >= {*jobs_of[row]}}
        records = with_scores(
            [record_of(row, ended, videos.name, candidates.clip, options) for row, ended in complete.items()]
        )
        _write(records, folder)
        surroundings.watch("bench", done=len(answers), total=len(unique))
        return records

    records = show()
    ended = run_apart(run_student, [(setting, job) for job in waiting], workers=jobs, name=lambda task: task[1].name)
    for position, ending in ended:
        answers[waiting[position]] = {"reason": str(ending)} if isinstance(ending, WorkerError) else ending
        records = show()
    files, notes = _draw(records, folder)
    best = _best_set([(record, jobs_of[row][0]) for row, record in zip(rows, records, strict=True)], setting)
    return BenchOutcome(tuple(records), folder, files, (*videos.notes, *notes), candidates, best)


def _best_set(judged: Sequence[tuple[Record, RunJob]], setting: Setting) -> tuple[Path, str | None] | None:
    """Return the set of the most accurate record of the table, controls left out, and the codec that opens it."""
    sets = [
        (record.top1_mean, job.trained_on.path(setting), job.trained_on.codec)
        for record, job in judged
        if record.axis == "main" and record.top1_mean is not None and not record.is_control
        if job.trained_on is not None
    ]
    return max(sets, key=itemgetter(0))[1:] if sets else None


def _as_published(published: CandidateOptions, given: CandidateOptions, protocol: str) -> CandidateOptions:
    """Return how a protocol of the literature reads the videos; raises where the user gave other values."""
    own = (
        "csv",
        "fold",
        "label_column",
        "video_column",
        "revision",
        "hold_out",
        "train_sample",
        "max_bad",
        "max_seconds_per_video",
    )
    for option in dataclasses.fields(given):
        name, value = option.name, getattr(given, option.name)
        if name not in own and value not in (option.default, getattr(published, name)):
            raise InputError(
                f"--{name} is {value}, but --protocol {protocol} has {getattr(published, name)}; leave the option "
                f"away, or give --protocol {FAIR}"
            )
    return dataclasses.replace(published, **{name: getattr(given, name) for name in own})


def _videos_hash(videos: VideoSet, split: str) -> str:
    """Return a hash of the training and evaluation videos, and of the stamps of their files."""
    parts = [videos.select(name) for name in ("train", split)]
    stamps = [stamp_of(entry.source) for part in parts for entry in part.entries]
    return key_sha256([*(part.split_hash for part in parts), stamps])


def record_of(row: Row, answers: Sequence[Answer], data: str, clip: ClipSpec, options: BenchOptions) -> Record:
    """Return the record of a row whose every seed has answered; sizes are those of its largest set."""
    values: dict[str, Any] = {
        **{name: getattr(row, name) for name in OF_ROW},
        **{name: getattr(options, name) for name in OF_OPTIONS},
        "data": data,
        "clip": f"{clip.num_frames} frames of {clip.height}x{clip.width} px",
        "num_seeds": len(answers),
    }
    if row.budget is not None:
        values |= _of_budget(row, row.budget, options)
    if reasons := [answer["reason"] for answer in answers if "reason" in answer]:
        return Record(**values, status="failed", reason=" ".join(reasons[0].split()))
    sets = [answer["set"] for answer in answers if answer.get("set")]
    if sets:
        largest = max(sets, key=lambda each: each["file_bytes"])
        values |= _labeler_alone(largest) if row.method == LABELER else {name: largest.get(name) for name in OF_SET}
        values["vpc"] = values["vpc"] or largest["videos_per_class"]
        values["compress_seconds"] = mean(each["compress_seconds"] for each in sets)
    elif row.budget is None:
        values |= {"num_frames": answers[0].get("num_frames"), "frame_ratio": 1.0, "byte_ratio": 1.0}
    runs = [answer for answer in answers if "top1" in answer]
    return Record(
        **(values | (_scores(runs) if runs else {})),
        num_diverged=len(answers) - len(runs),
        peak_memory_bytes=max(each["peak_memory_bytes"] for each in sets or answers),
        gpu_peak_memory_bytes=max(each["gpu_peak_memory_bytes"] or 0 for each in sets or answers) or None,
    )


def _of_budget(row: Row, budget: BudgetOptions, options: BenchOptions) -> dict[str, Any]:
    """Return the fields of a record that describe its column, and the method of a set."""
    config = configuration(row, options)
    column = {
        "keyframes": row.keyframes,
        "vpc": budget.vpc,
        "asked_ratio": budget.ratio,
        "asked_bytes": budget.bytes,
        "settings": (*known_settings(row.set_method, options.settings), *row.settings),
    }
    if row.method == LABELER:
        return {**column, "network": config.labeler.spec.network}
    return {
        **column,
        "selector": config.selector_name,
        "codec": config.stored_as or row.codec,
        "steps": config.synthesis_steps,
        "network": config.network,
    }


def _labeler_alone(of_set: Answer) -> dict[str, Any]:
    """Return the sizes of the labeler of a set, without the set."""
    size = of_set["labeler_bytes"]
    ratio = of_set["byte_ratio"] * size / of_set["file_bytes"]
    return {"num_frames": 0, "file_bytes": size, "labeler_bytes": size, "codec_bytes": 0, "byte_ratio": ratio}


def _scores(runs: Sequence[Answer]) -> dict[str, Any]:
    """Return the fields of a record that come from the runs that did not diverge; some a labeler alone has not."""
    top1 = tuple(float(run["top1"]) for run in runs)
    several = {name: [run[name] for run in runs if name in run] for name in ("num_train_clips", "train_steps")}
    return {
        "top1_mean": mean(top1),
        "top1_std": stdev(top1) if len(top1) > 1 else 0.0,
        "top1_runs": top1,
        "top5_mean": mean(run["top5"] for run in runs),
        **{name: max(numbers, default=None) for name, numbers in several.items()},
        "train_seconds": sum(run.get("train_seconds", 0.0) for run in runs),
        "labeler": runs[0].get("labeler", ""),
        "views": tuple(runs[0].get("views", ())),
        **{name: "; ".join(sorted({run[name] for run in runs if name in run})) for name in ("precision", "device")},
    }


def _write(records: Sequence[Record], folder: Path) -> None:
    axes = {record.axis for record in records}
    tables = "\n".join(table(records) for axis, table in TABLES.items() if axis in axes)
    texts = {"results.json": to_json(records), "results.csv": to_csv(records), "results.md": tables}
    for name, text in texts.items() if records else ():
        write_text(folder / name, text)


def _draw(records: Sequence[Record], folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Draw what the records allow; return the files, and notes on the plots left out."""
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
