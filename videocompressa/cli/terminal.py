"""Output for people and scripts: progress on stderr, one table or one JSON object on stdout."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import sys
import threading
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from videocompressa.cli.app import Reporting
from videocompressa.texts import duration_text, percent_text, printable

if TYPE_CHECKING:
    from videocompressa.datasets import BadVideo
    from videocompressa.engine import Workers
    from videocompressa.labeler import Labeler
    from videocompressa.run import Watch


def escape_unwritable() -> None:
    """Let stdout and stderr write characters that their encoding lacks as escapes, and not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdout_console() -> Console:
    """Return a console on stdout; lines have 160 characters, or COLUMNS, where it is piped into a file."""
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160, highlight=False)


class Reporter:
    """Says on stderr what a run will do, how far it is, and what people should know; nothing when quiet."""

    def __init__(self, reporting: Reporting, watch: Watch = lambda step, **numbers: None) -> None:
        self._quiet, self.watch, self._shown = reporting.quiet, watch, set[str]()

    def note(self, text: str) -> None:
        """Print a line."""
        if not self._quiet:
            sys.stderr.write(f"{printable(text)}\n")

    def notes(self, notes: Iterable[str], skipped: Iterable[BadVideo] = ()) -> None:
        """Print notes, each once, and skipped videos."""
        for text in notes:
            if text not in self._shown:
                self.note(f"note: {text}")
                self._shown.add(text)
        for video in skipped:
            self.note(f"skipped: {video.video_id}: {video.reason}")

    def announce(self, rows: Mapping[str, str], notes: Iterable[str]) -> None:
        """Print what a run will do, as rows of names and texts, and notes."""
        width = max(map(len, rows))
        for name, text in rows.items():
            self.note(f"{name:<{width}}  {text}")
        self.notes(notes)
        sys.stderr.flush()

    def next_command(self, words: Iterable[object]) -> None:
        """Print the command that comes next, as it is typed."""
        self.note(f"next: {shlex.join(['videocompressa', *map(str, words)])}")


@contextmanager
def progress(reporting: Reporting) -> Iterator[Reporter]:
    """Give a reporter that shows progress: bars on a terminal, lines in a log file.

    What libraries print meanwhile (Ray: that a node died) also goes to stderr.
    """
    with redirect_stdout(sys.stderr):
        if reporting.quiet:
            yield Reporter(reporting)
            return
        display = _ProgressBars() if sys.stderr.isatty() else _ProgressLog()
        try:
            yield Reporter(reporting, display.watch)
        finally:
            display.stop()


class _ProgressBars:
    """A bar a phase, with the time left; above that of a phase which is one of several, one for all of them."""

    def __init__(self) -> None:
        self._bars = Progress(
            "{task.description}",
            BarColumn(),
            "{task.fields[count]}",
            "{task.fields[rate]}",
            "{task.fields[numbers]}",
            TimeElapsedColumn(),
            "left",
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def watch(self, step: str, **numbers: Any) -> None:
        done, total, part, parts = _progress_of(numbers)
        self._bars.start()  # Not before: a command that fails at once prints one line.
        if parts > 1:
            self._show(f"all of {step}", part - 1 + done / total, parts, f"{step} {part:g}/{parts:g}")
        self._show(step, done, total, step, _numbers_text(numbers))

    def _show(self, name: str, done: float, total: float, text: str, numbers: str = "") -> None:
        bars, tasks, count = self._bars, self._tasks, f"{int(done)}/{int(total)}"
        if name not in tasks:
            tasks[name] = bars.add_task(name, count=count, rate="", numbers="")
        elif bars.tasks[tasks[name]].finished and done < total:  # The next seed, or the next student of a pool.
            bars.reset(tasks[name])
        rate = _rate_text(done, total, bars.tasks[tasks[name]].elapsed or 0.0)
        bars.update(tasks[name], completed=done, total=total, description=text, count=count, rate=rate, numbers=numbers)

    def stop(self) -> None:
        if self._tasks:
            self._bars.stop()


class _ProgressLog:
    """Progress for a log file: a line when a phase ends, and one a minute with the time left while it runs."""

    SECONDS_BETWEEN = 60.0

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._last_call = self._last_line = time.monotonic()
        self._state = ("working", self._last_call, "")  # What runs, since when, its rate and the time left.
        self._stopped = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def watch(self, step: str, **numbers: Any) -> None:
        # A phase starts at the last call of the phase before it.
        (done, total, part, parts), now = _progress_of(numbers), time.monotonic()
        started = self._started.setdefault(step, self._last_call)
        self._last_call = now
        name = f"{step} {part:g}/{parts:g}" if parts > 1 else step
        paces = [_rate_text(done, total, now - started)]
        if 0 < done < total:
            paces.append(f"about {duration_text((now - started) / done * (total - done))} left")
        text = f"{name}: {done:g} of {total:g} {_numbers_text(numbers)}".rstrip()
        self._state = (text, started, "".join(f", {each}" for each in paces if each))
        if done >= total:
            self._line()
            del self._started[step]
            self._state = ("working", now, "")

    def stop(self) -> None:
        self._stopped.set()

    def _tick(self) -> None:
        while not self._stopped.wait(1.0):
            if time.monotonic() - self._last_line >= self.SECONDS_BETWEEN:
                self._line()

    def _line(self) -> None:
        (text, started, left), self._last_line = self._state, time.monotonic()
        sys.stderr.write(f"{text}, {duration_text(self._last_line - started)}{left}\n")
        sys.stderr.flush()


def _progress_of(numbers: dict[str, Any]) -> tuple[float, float, float, float]:
    """Take `done`, `total`, `part` and `parts` out of the numbers of a report."""
    return numbers.pop("done"), numbers.pop("total"), numbers.pop("part", 1), numbers.pop("parts", 1)


def _rate_text(done: float, total: float, seconds: float) -> str:
    """Return how fast a phase goes, such as "12/s" or "3.4 s each"; "" for a single step, and before the first."""
    if total <= 1 or not done or not seconds:
        return ""
    return f"{done / seconds:.3g}/s" if done > seconds else f"{seconds / done:.3g} s each"


def _numbers_text(numbers: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in numbers.items() if not isinstance(value, Mapping))


def unused(stem: str, suffix: str) -> str:
    """Return a name that no file here has: the stem, or the first number behind it that is free."""
    return next(
        name for name in (f"{stem}{each}{suffix}" for each in ("", *range(2, 10**6))) if not Path(name).exists()
    )


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout, in ASCII where that is not UTF-8; numbers that are not finite become null."""
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    sys.stdout.write(json.dumps(_plain(values), ensure_ascii=ascii_only) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def skipped_json(videos: Iterable[BadVideo]) -> list[dict[str, str]]:
    """Return skipped videos as JSON values."""
    return [{"video": video.video_id, "reason": video.reason} for video in videos]


def facts_of(outcome: Any, record: str) -> dict[str, Any]:
    """Return the fields that the `repr` of an outcome shows as JSON values, those of its field `record` among them."""
    fields: dict[str, Any] = {each.name: getattr(outcome, each.name) for each in dataclass_fields(outcome) if each.repr}
    fields |= vars(fields.pop(record))
    if (labeler := fields.get("labeler")) is not None:
        fields["labeler"] = labeler_json(labeler)
    return fields | {"skipped": skipped_json(outcome.skipped)}


def facts_table(rows: Mapping[str, object]) -> Table:
    """Return a table of names and values."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        add_row(table, name, str(value))
    return table


def table(*headings: str, right: Container[str] = (), title: str | None = None) -> Table:
    """Return a table with these columns; those in `right` are aligned to the right."""
    columns = Table(title=title, title_justify="left")
    for heading in headings:
        columns.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return columns


def times_table(title: str, seconds: Mapping[str, float]) -> Table:
    """Return a table of stages with their share of the time."""
    rows, total = table(title, "time", "share", right=("time", "share")), sum(seconds.values())
    for stage, each in seconds.items():
        add_row(rows, stage, duration_text(each), percent_text(each / total))
    return rows


def add_row(table: Table, *cells: str) -> None:
    """Add a row of texts as they are: a name such as "cat [b].mp4" is no markup."""
    table.add_row(*(Text(printable(each)) for each in cells))


def peak_memory_bytes(workers: Workers) -> int:
    """Return the highest memory of this process, and of its workers as if each had been as large as the largest.

    Those of a cluster are not counted.
    """
    from videocompressa.engine import largest_memory_bytes
    from videocompressa.engine import peak_memory_bytes as own_peak

    return own_peak() + (workers * largest_memory_bytes("RUSAGE_CHILDREN") if isinstance(workers, int) else 0)


def labeler_json(labeler: Labeler) -> dict[str, Any]:
    """Return what a labeler is as JSON values."""
    return {**asdict(labeler.spec), "agreement": labeler.agreement}
