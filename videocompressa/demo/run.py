"""The demo: everything on a set of videos that our own code renders, in under five minutes on two cores.

1. Render the videos (once), 2. compress them by videocompressa and by random selection, at the same VPC, K and codec,
and by videocompressa-bytes into the bytes of these, 3. train students on each file and on all videos, with the same
steps, 4. write a table and a contact sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from videocompressa.bench.record import FULL, Record
from videocompressa.demo.videos import render_set
from videocompressa.files import check_output, write_text
from videocompressa.methods import find_method
from videocompressa.recipes.compress import CompressOutcome, compress_folder
from videocompressa.recipes.contact_sheet import contact_sheet
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, NumBytes, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.recipes.train import TrainOutcome, train_on
from videocompressa.students import TrainConfig
from videocompressa.texts import bytes_text, count_text, markdown_table, mean_text, percent_text

CLIPS_PER_CLASS = (24, 8)
"""Training and test videos of each action."""

SIZE = (64, 64)
"""Height and width of the rendered videos in pixels."""

NUM_SCENES = 4
"""Backgrounds and persons. With new ones for each clip, students would need far more videos than can be rendered, and
trained on, in five minutes: they stay at chance."""

CANDIDATES = CandidateOptions(size=64, frames=8)
BUDGET = BudgetOptions(vpc=2, keyframes=4)
STUDENTS = TrainConfig(width=0.25, steps=250, lr=5e-4, crop_scale=0.8, flip=False)
NUM_SEEDS = 3

SETTINGS = (
    "joint.steps=200",
    "teacher.train.steps=400",
    "teacher.train.lr=5e-4",
    "teacher.train.crop_scale=0.8",
    "teacher.train.flip=false",
    "pool.ages=1,1,20,60,150",
    "synthesis.steps=100",
)
"""Less work than the method's defaults, which are for real videos and take their time."""


@dataclass(frozen=True)
class DemoOutcome:
    """What the demo made."""

    videos: Path
    """Folder of the rendered set."""
    set_path: Path
    table_path: Path
    sheet_path: Path
    records: tuple[Record, ...]


def demo(folder: Path, *, seed: int = 0, overwrite: bool = False, surroundings: Surroundings) -> DemoOutcome:
    """Run the demo in `folder`; videos that were rendered there before are kept.

    The table is written last: where it is missing, an earlier demo did not end, and this one goes on from there.
    Raises `InputError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_path, typical_path, random_path = (folder / f"{name}.safetensors" for name in ("set", "typical", "random"))
    table_path, sheet_path, videos = folder / "table.md", folder / "sheet.png", folder / "videos"
    check_output(table_path, overwrite=overwrite)
    render_set(
        videos,
        clips_per_class=CLIPS_PER_CLASS,
        size=SIZE,
        seed=seed,
        watch=surroundings.watch,
        num_scenes=NUM_SCENES,
    )
    learned = CompressOptions("videocompressa", seed=seed, settings=SETTINGS)
    by_paper = _compress(videos, set_path, BUDGET, learned, surroundings)
    same_bytes = BudgetOptions(bytes=NumBytes(by_paper.cost.file_bytes))
    typical = _compress(videos, typical_path, same_bytes, CompressOptions("typical-clips", seed=seed), surroundings)
    random = _compress(videos, random_path, BUDGET, CompressOptions("random-real", seed=seed), surroundings)
    records = (
        _record(FULL, _train(videos, videos, surroundings), None),
        _record("videocompressa", _train(set_path, videos, surroundings), by_paper),
        _record("typical-clips", _train(typical_path, videos, surroundings), typical),
        _record("random-real", _train(random_path, videos, surroundings), random),
    )
    contact_sheet(open_set(set_path), path=sheet_path)
    write_text(table_path, markdown_table(table_lines(records)))
    return DemoOutcome(videos, set_path, table_path, sheet_path, records)


def _compress(
    videos: Path, path: Path, budget: BudgetOptions, options: CompressOptions, surroundings: Surroundings
) -> CompressOutcome:
    return compress_folder(
        videos,
        path,
        options,
        candidates=CANDIDATES,
        budget=budget,
        overwrite=True,
        surroundings=surroundings,
    )


def _train(subject: Path, videos: Path, surroundings: Surroundings) -> TrainOutcome:
    return train_on(
        subject, videos, config=STUDENTS, candidates=CANDIDATES, num_seeds=NUM_SEEDS, surroundings=surroundings
    )


def _record(method: str, trained: TrainOutcome, compressed: CompressOutcome | None) -> Record:
    result = trained.result
    return Record(
        method=method,
        data="rendered actions",
        protocol="demo",
        student=STUDENTS.student,
        labels="hard" if compressed is None else find_method(method).labels,
        vpc=None if compressed is None else compressed.videos_per_class,
        keyframes=None if compressed is None else compressed.keyframes,
        file_bytes=None if compressed is None else compressed.cost.file_bytes,
        codec_bytes=None if compressed is None else compressed.cost.codec_bytes,
        byte_ratio=None if compressed is None else compressed.cost.byte_ratio,
        top1_mean=result.top1_mean,
        top1_std=result.top1_std,
        top1_runs=tuple(result.top1_runs),
        num_diverged=result.num_diverged,
    )


COLUMNS: dict[str, Callable[[Record], str]] = {
    "method": lambda record: "all videos" if record.on_all_videos else record.method,
    "VPC": lambda record: count_text(record.vpc),
    "keyframes": lambda record: count_text(record.keyframes),
    "file": lambda record: bytes_text(record.file_bytes),
    "file + codec": lambda record: bytes_text(record.file_and_codec_bytes),
    "of all bytes": lambda record: percent_text(record.byte_ratio),
    "top-1 %": lambda record: mean_text(record.top1_mean, record.spread),
    "runs": lambda record: str(len(record.top1_runs)),
    "diverged": lambda record: str(record.num_diverged),
}
"""Columns of the table by heading."""


def table_lines(records: Sequence[Record]) -> list[list[str]]:
    """Return the table of results, its heading first; "file + codec" only where a codec has weights."""
    hidden = set() if any(record.codec_bytes for record in records) else {"file + codec"}
    columns = {heading: column for heading, column in COLUMNS.items() if heading not in hidden}
    return [list(columns), *([column(record) for column in columns.values()] for record in records)]
