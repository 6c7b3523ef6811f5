"""Where work runs: over shards, in this process or a few worker processes; apart, every job in a process of its own.

`Engine` is the seam: whatever maps a function over shards, in order, can take the place of `run_shards` (a cluster's
scheduler, for one). Results come back in the order of the shards whatever the number of workers, at most two shards a
worker are in flight, and nothing outlives the iterator.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from videocompressa.errors import InputError

Shard = TypeVar("Shard")
Result = TypeVar("Result")

IN_FLIGHT = 2
"""Shards a worker that are decoded or wait to be taken: bounds the memory."""


class Engine(Protocol):
    """Maps a function over shards; results in the order of the shards."""

    def __call__(
        self,
        function: Callable[[Shard], Result],
        shards: Sequence[Shard],
        *,
        workers: int,
        name: Callable[[Shard], str] = str,
    ) -> Generator[Result, None, None]:
        """Yield `function(shard)` for every shard in order; see `run_shards`."""
        ...


class WorkerError(RuntimeError):
    """A worker process ended without an answer (killed, out of memory, crashed in a library)."""


def run_shards(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    *,
    workers: int,
    name: Callable[[Shard], str] = str,
) -> Generator[Result, None, None]:
    """Yield `function(shard)` for every shard in order.

    `workers` = 0 runs in this process. Otherwise `function` (importable by name) and the shards are sent to that many
    processes. An error in a worker is raised here; a worker that dies raises `WorkerError` with the shard's `name`.
    """
    if workers < 0:
        raise InputError(f"--workers is {workers}; it must be 0 (this process) or more")
    if workers == 0 or len(shards) == 0:
        return (function(shard) for shard in shards)
    return _run_in_workers(function, shards, min(workers, len(shards)), name)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    shard: int | None = None
    """Position of the shard it works on."""


def _run_in_workers(
    function: Callable[[Shard], Result], shards: Sequence[Shard], workers: int, name: Callable[[Shard], str]
) -> Generator[Result, None, None]:
    crew: list[_Worker] = []
    finished: dict[int, Result] = {}
    asked = given = 0
    try:
        crew += [_start(function) for _ in range(workers)]
        while given < len(shards):
            for worker in crew:
                if worker.shard is None and asked < len(shards) and asked - given < IN_FLIGHT * workers:
                    _ask(worker, asked, shards, name)
                    asked += 1
            busy = [worker for worker in crew if worker.shard is not None]
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection in ready and worker.shard is not None:
                    finished[worker.shard] = _answer(worker, name(shards[worker.shard]))
                    worker.shard = None
            while given in finished:
                yield finished.pop(given)
                given += 1
    finally:
        _stop(crew)


def run_apart(
    function: Callable[[Shard], Result],
    jobs: Sequence[Shard],
    *,
    workers: int,
    name: Callable[[Shard], str] = str,
) -> Generator[tuple[int, Result | WorkerError], None, None]:
    """Yield (position, result) as jobs end, each in a fresh process of its own, `workers` at a time.

    So a job's peak memory is its own, and one that dies (killed, out of memory) is a `WorkerError` among the results.
    An error that `function` raises is raised here, and ends all; nothing outlives the iterator.
    """
    if workers < 1:
        raise InputError(f"--jobs is {workers}; it must be at least 1")
    waiting = list(range(len(jobs)))
    crew: list[_Worker] = []
    try:
        while waiting or crew:
            while waiting and len(crew) < workers:
                crew.append(_start(function))
                position = waiting.pop(0)
                with suppress(WorkerError):  # Seen again when it does not answer.
                    _ask(crew[-1], position, jobs, name)
            ready = wait([worker.connection for worker in crew])
            for worker in [each for each in crew if each.connection in ready]:
                assert worker.shard is not None
                crew.remove(worker)
                try:
                    answer = _answer(worker, name(jobs[worker.shard]))
                except WorkerError as error:
                    answer = error
                finally:
                    _stop([worker])
                yield worker.shard, answer
    finally:
        _stop(crew)


def peak_memory_bytes() -> int:
    """Return the largest resident memory that this process has had."""
    with suppress(OSError):  # Linux: what getrusage tells there includes the parent at the time of the fork.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


WORKER = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from videocompressa.engine import serve; serve({})"
"""A fresh interpreter: a fork after torch has run can deadlock, and multiprocessing's own start methods would import
the caller's main script again. It imports only what the function needs."""


def _start(function: Callable[[Shard], Result]) -> _Worker:
    ours, theirs = Pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER.format(theirs.fileno()), json.dumps(sys.path)],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # Standard output is the caller's alone.
        process_group=0,  # Ctrl-C in a terminal goes to the parent, which stops its workers.
    )
    theirs.close()  # So that a dead worker is seen as the end of its pipe.
    worker = _Worker(process, ours)
    with suppress(BrokenPipeError, ConnectionResetError):  # Told apart when it does not answer.
        ours.send(function)
    return worker


def serve(file_number: int) -> None:
    """Answer shards until the pipe closes, which it also does when the parent dies. Runs in a worker process."""
    connection: Connection = Connection(file_number)
    with suppress(EOFError, OSError):
        function = connection.recv()
        while True:
            shard = connection.recv()
            answer: tuple[Exception | None, Any]
            try:
                answer = (None, function(shard))
            except Exception as error:  # noqa: BLE001  Whatever it is, the parent is the one to see it.
                answer = (error, None)
            connection.send(answer)


def _ask(worker: _Worker, position: int, shards: Sequence[Shard], name: Callable[[Shard], str]) -> None:
    worker.shard = position
    try:
        worker.connection.send(shards[position])
    except (BrokenPipeError, ConnectionResetError):
        raise _died(worker, name(shards[position])) from None


def _answer(worker: _Worker, shard: str) -> Any:
    try:
        error, result = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        raise _died(worker, shard) from None
    if error is not None:
        raise error
    return result


def _died(worker: _Worker, shard: str) -> WorkerError:
    code = worker.process.wait()
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return WorkerError(
        f"a worker died ({how}) on {shard}; run again with --workers 0 to see why, "
        "or with fewer --workers (bench: fewer --jobs) if memory ran out"
    )


def _stop(crew: Sequence[_Worker]) -> None:
    for worker in crew:
        worker.connection.close()
        worker.process.kill()  # Workers hold no state and write no file.
    for worker in crew:
        worker.process.wait()
