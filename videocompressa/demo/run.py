"""The demo: everything on a set of videos that our own code renders, in under five minutes on two cores.

1. Render the videos (once), 2. compress them by videocompressa and by random selection, at the same VPC, K and codec,
and by typical-clips into the bytes of the first, 3. train students on each file and on all videos, with the same
steps, 4. write a table, a contact sheet and a page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from videocompressa.bench.record import FULL, Record
from videocompressa.demo.videos import render_set
from videocompressa.files import check_output, write_text
from videocompressa.methods import find_method
from videocompressa.page.contents import accuracy_of, student_seconds
from videocompressa.page.write import write_page
from videocompressa.recipes.compress import CompressOutcome, compress_folder
from videocompressa.recipes.contact_sheet import contact_sheet
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, NumBytes, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.recipes.train import train_on
from videocompressa.run import Watch
from videocompressa.students.settings import TrainConfig
from videocompressa.synthetic import SyntheticSet
from videocompressa.texts import bytes_text, count_text, markdown_table, mean_text, percent_text

CLIPS_PER_CLASS = (24, 8)
"""Training and test videos of each action."""

SIZE = (64, 64)
"""Height and width of the rendered videos in pixels."""

NUM_SCENES = 4
"""Backgrounds and persons. With new ones for each clip, students would need far more videos than can be rendered, and
trained on, in five minutes: they stay at chance."""

CANDIDATES = CandidateOptions(size=48, frames=8)
BUDGET, SMALLEST = BudgetOptions(), BudgetOptions(bytes=NumBytes("8kB"))
STUDENTS = TrainConfig(steps=200)
NUM_SEEDS = 3

SETTINGS = ("labeler.steps=600",)
"""Less work than the method's defaults, which are for real videos and take their time."""


@dataclass(frozen=True)
class DemoOutcome:
    """The files that the demo wrote, and its results."""

    videos: Path
    """Folder of the rendered set."""
    set_path: Path
    table_path: Path
    sheet_path: Path
    page_path: Path
    records: tuple[Record, ...]


def demo(folder: Path, *, seed: int = 0, overwrite: bool = False, surroundings: Surroundings) -> DemoOutcome:
    """Run the demo in `folder`; videos that were rendered there before are kept.

    The table is written last: where it is missing, an earlier demo did not end, and this one resumes it. Raises
    `InputError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcome = DemoOutcome(
        folder / "videos",
        folder / "set.safetensors",
        folder / "table.md",
        folder / "sheet.png",
        folder / "index.html",
        records=(),
    )
    check_output(outcome.table_path, overwrite=overwrite)
    render_set(
        outcome.videos,
        clips_per_class=CLIPS_PER_CLASS,
        size=SIZE,
        seed=seed,
        watch=surroundings.watch,
        num_scenes=NUM_SCENES,
    )

    def compress(path: Path, budget: BudgetOptions, options: CompressOptions) -> CompressOutcome:
        return compress_folder(
            outcome.videos,
            path,
            options,
            candidates=CANDIDATES,
            budget=budget,
            overwrite=True,
            surroundings=surroundings,
        )

    ours = compress(outcome.set_path, BUDGET, CompressOptions("videocompressa", seed=seed, settings=SETTINGS))
    typical = compress(folder / "typical.safetensors", SMALLEST, CompressOptions("typical-clips", seed=seed))
    random = compress(folder / "random.safetensors", BUDGET, CompressOptions("random-real", seed=seed))
    rows = {FULL: None, "videocompressa": ours, "typical-clips": typical, "random-real": random}
    records = tuple(_record(method, compressed, outcome.videos, surroundings) for method, compressed in rows.items())
    synthetic = open_set(outcome.set_path)
    contact_sheet(synthetic, path=outcome.sheet_path)
    _write_page(synthetic, ours, outcome, records, surroundings.watch)
    write_text(outcome.table_path, markdown_table(table_lines(records)))
    return replace(outcome, records=records)


def _write_page(
    synthetic: SyntheticSet, ours: CompressOutcome, outcome: DemoOutcome, records: Sequence[Record], watch: Watch
) -> None:
    of_full, of_set = (None if each.top1_mean is None else (each.top1_mean, each.spread) for each in records[:2])
    how = f"Top-1 on {len(synthetic.classes) * CLIPS_PER_CLASS[1]} test videos, {NUM_SEEDS} runs of {STUDENTS.student}"
    accuracy = replace(
        accuracy_of(of_set, of_full, f"{how} ({STUDENTS.steps} steps) for each."),
        student_seconds=student_seconds(records[1].train_seconds, records[0].train_seconds),
    )
    write_page(
        synthetic,
        ours.cost,
        outcome.page_path,
        data=outcome.videos,
        origins=ours.origins(),
        accuracy=accuracy,
        records=records,
        watch=watch,
    )


def _record(method: str, compressed: CompressOutcome | None, videos: Path, surroundings: Surroundings) -> Record:
    """Train the students on the file of a method, or on all videos, and return the row of the table."""
    result = train_on(
        compressed.path if compressed else videos,
        videos,
        config=STUDENTS,
        candidates=CANDIDATES,
        num_seeds=NUM_SEEDS,
        surroundings=surroundings,
    ).result
    record = Record(
        method=method,
        data="rendered actions",
        protocol="demo",
        student=STUDENTS.student,
        top1_mean=result.top1_mean,
        top1_std=result.top1_std,
        top1_runs=tuple(result.top1_runs),
        num_diverged=result.num_diverged,
        train_seconds=result.train_seconds,
    )
    if compressed is None:
        return record
    return replace(
        record,
        labels=find_method(method).labels,
        vpc=compressed.videos_per_class,
        keyframes=compressed.keyframes,
        file_bytes=compressed.cost.file_bytes,
        codec_bytes=compressed.cost.codec_bytes,
        byte_ratio=compressed.cost.byte_ratio,
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
