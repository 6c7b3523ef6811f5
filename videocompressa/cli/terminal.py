"""Output for people and scripts: progress on stderr, one table or one JSON object on stdout."""

from __future__ import annotations

import json
import math
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from videocompressa.cli.options import Reporting
from videocompressa.texts import bytes_text, duration_text, percent_text

if TYPE_CHECKING:
    from videocompressa.datasets import BadVideo
    from videocompressa.run import Watch
    from videocompressa.synthetic import Cost


def stdout_console() -> Console:
    """Return a console on stdout; what is piped into a file is not folded to the width of a screen."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


PIPED_WIDTH = 160
"""Characters a line when stdout is no terminal."""


@contextmanager
def progress(reporting: Reporting) -> Iterator[Watch]:
    """Give a watch that shows progress on stderr: bars on a terminal, lines in a log file, nothing when quiet."""
    if reporting.quiet:
        yield _silent
    elif sys.stderr.isatty():
        with _bars() as watch:
            yield watch
    else:
        log = _ProgressLog()
        try:
            yield log.watch
        finally:
            log.stop()


@contextmanager
def _bars() -> Iterator[Watch]:
    """Give a watch that draws a bar a phase, with the time left."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    tasks: dict[str, TaskID] = {}

    def watch(step: str, **numbers: float) -> None:
        done, total = numbers.pop("done"), numbers.pop("total")
        bars.start()  # Not before: a command that fails at once prints one line.
        if step not in tasks:
            tasks[step] = bars.add_task(step, numbers="")
        elif bars.tasks[tasks[step]].finished and done < total:  # The next seed, or the next student of a pool.
            bars.reset(tasks[step])
        bars.update(tasks[step], completed=done, total=total, numbers=_numbers_text(numbers))

    try:
        yield watch
    finally:
        if tasks:
            bars.stop()


class _ProgressLog:
    """Progress for a log file: a line when a phase ends, and one a minute with the time left while it runs."""

    SECONDS_BETWEEN = 60.0

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._last_call = self._last_line = time.monotonic()
        self._state = ""
        self._stopped = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def watch(self, step: str, **numbers: float) -> None:
        """See `run.Watch`; a phase starts when the one before it was last heard of."""
        done, total, now = numbers.pop("done"), numbers.pop("total"), time.monotonic()
        seconds = now - self._started.setdefault(step, self._last_call)
        self._last_call = now
        self._state = f"{step}: {done:g} of {total:g} {_numbers_text(numbers)}".rstrip() + f", {duration_text(seconds)}"
        if done >= total:
            self._line(self._state)
            del self._started[step]
        elif done:
            self._state += f", about {duration_text(seconds / done * (total - done))} left"

    def stop(self) -> None:
        """Print no further lines."""
        self._stopped.set()

    def _tick(self) -> None:
        while not self._stopped.wait(1.0):
            if time.monotonic() - self._last_line >= self.SECONDS_BETWEEN:
                self._line(self._state or "working")

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _numbers_text(numbers: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in numbers.items())


def _silent(step: str, **numbers: float) -> None:
    pass


def note(text: str, reporting: Reporting) -> None:
    """Print a line on stderr, unless quiet."""
    if not reporting.quiet:
        sys.stderr.write(f"{text}\n")


def notes_and_skipped(notes: Iterable[str], skipped: Iterable[BadVideo], reporting: Reporting) -> None:
    """Print notes and the skipped videos on stderr."""
    for text in notes:
        note(f"note: {text}", reporting)
    for video in skipped:
        note(f"skipped: {video.video_id}: {video.reason}", reporting)


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; numbers that are not finite become null."""
    sys.stdout.write(json.dumps(_plain(values), ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def skipped_json(videos: Iterable[BadVideo]) -> list[dict[str, str]]:
    """Return skipped videos as JSON values."""
    return [{"video": video.video_id, "reason": video.reason} for video in videos]


def facts_table(rows: Mapping[str, str], title: str | None = None) -> Table:
    """Return a table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        add_row(table, name, value)
    return table


def add_row(table: Table, *cells: str) -> None:
    """Add a row of texts as they are: a name such as "cat [b].mp4" is no markup."""
    table.add_row(*map(Text, cells))


def peak_memory_bytes(workers: int) -> int:
    """Return the highest memory of this process, and of its workers as if each had been as large as the largest."""
    from videocompressa.engine import peak_memory_bytes as own_peak

    unit = 1 if sys.platform == "darwin" else 1024
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return own_peak() + unit * workers * worker


def cost_rows(cost: Cost) -> dict[str, str]:
    """Return what a set file costs, as rows of a table of facts."""
    keyframes = cost.num_frames // cost.num_videos
    rows = {
        "kept": f"{cost.num_videos} videos x {keyframes} keyframes = {cost.num_frames} frames "
        f"({percent_text(cost.frame_ratio)})",
        "size": f"{bytes_text(cost.file_bytes)} ({percent_text(cost.byte_ratio)} of the training videos): latents "
        f"{bytes_text(cost.latent_bytes)}, labels {bytes_text(cost.label_bytes)}",
    }
    if cost.codec_bytes:
        rows["codec"] = f"{bytes_text(cost.codec_bytes)} of weights to decode it, "
        rows["codec"] += f"{bytes_text(cost.file_and_codec_bytes)} together"
    return rows
