"""Functions mapped over shards in worker processes: `run_shards` reuses a few, `run_apart` starts one for every job.

`run_shards` also takes the workers of a `Cluster`, which `engine_ray` is.

Results do not depend on the number of workers, and no worker outlives the iterator. `concurrent.futures` does not fit:
all its start methods but fork, which can deadlock once torch has run, import the caller's main script again, and its
error does not name the shard on which a worker died.
"""

import ctypes
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from videocompressa.errors import InputError

Shard = TypeVar("Shard")
Result = TypeVar("Result")

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
OUT_OF_MEMORY = 112
"""Exit code of a worker that got no more memory."""

IN_FLIGHT = 2
"""Shards a worker that are in work, or finished and not yet yielded: bounds the memory."""


class WorkerError(RuntimeError):
    """A worker process ended without an answer (killed, out of memory, crashed in a library, over its time)."""

    how = "ended"
    """How, in a few words."""


class Cluster(ABC):
    """Workers on other machines."""

    count: int | None
    """How many; None takes all that there are."""

    @abstractmethod
    def answers(
        self,
        function: Callable[[Shard], Result],
        shards: Sequence[Shard],
        *,
        num_yielded: Callable[[], int],
        **limits: Any,
    ) -> Generator[tuple[int, Result | WorkerError], None, None]:
        """Yield (position, result) as shards finish, a bounded number beyond `num_yielded()`.

        `limits` are those of `run_shards` for one worker. Without an answer after retries, it is a `WorkerError`.
        """


Workers = int | Cluster
"""The number of processes of this machine, 0 for this process alone; or those of a cluster."""


def run_shards(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    *,
    workers: Workers,
    name: Callable[[Shard], str] = str,
    max_seconds: float = math.inf,
    lost: Callable[..., Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield `function(shard)` for every shard in order, also for those that are appended to `shards` meanwhile.

    `workers` = 0 runs in this process. Otherwise `function` (importable by name) and the shards are sent to that many
    processes. An error in a worker is raised here. A worker that dies, or is killed because it took more than
    `max_seconds` for a shard (its own start does not count), raises `WorkerError` with the shard's `name`; or
    `lost(shard, workers=, max_seconds=)` is the result.
    """
    if isinstance(workers, int) and workers < 0:
        raise InputError(f"--workers is {workers}; it must be 0 (this process) or more")
    if workers == 0:
        yield from map(function, shards)
        return
    finished: dict[int, Result] = {}
    num_yielded = 0
    if isinstance(workers, Cluster):
        limits = {"name": name, "max_seconds": max_seconds, "lost": lost}
        results = workers.answers(function, shards, num_yielded=lambda: num_yielded, **limits)
        local = 1
    else:
        local = workers
        results = _in_workers(
            function, shards, local, name, max_seconds, reuse=True, end=lambda: num_yielded + IN_FLIGHT * local
        )
    with closing(results):
        for position, result in results:
            if isinstance(result, WorkerError):
                if lost is None:
                    raise result
                finished[position] = lost(shards[position], workers=local, max_seconds=max_seconds)
            else:
                finished[position] = result
            while num_yielded in finished:
                yield finished.pop(num_yielded)
                num_yielded += 1


def run_apart(
    function: Callable[[Shard], Result],
    jobs: Sequence[Shard],
    *,
    workers: int,
    name: Callable[[Shard], str] = str,
    max_seconds: float = math.inf,
) -> Generator[tuple[int, Result | WorkerError], None, None]:
    """Yield (position, result) as jobs end, each in a fresh process of its own, `workers` at a time.

    So a job's peak memory is its own, and one that dies (killed, out of memory), or is killed after `max_seconds`, is a
    `WorkerError` among the results.
    An error that `function` raises is raised here and stops the other jobs; no process outlives the iterator.
    """
    if workers < 1:
        raise InputError(f"--jobs is {workers}; it must be at least 1")
    return _in_workers(function, jobs, workers, name, max_seconds, reuse=False, end=lambda: len(jobs))


def peak_memory_bytes() -> int:
    """Return the largest resident memory that this process has had."""
    with suppress(OSError):  # Linux: getrusage would include the parent's memory at the time of the fork.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return largest_memory_bytes("RUSAGE_SELF")


def largest_memory_bytes(who: str) -> int:
    """Return the largest resident memory by getrusage, of RUSAGE_SELF or of the largest of RUSAGE_CHILDREN.

    0 on Windows, which has no such call.
    """
    if sys.platform == "win32":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(getattr(resource, who)).ru_maxrss


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that were freed, for the next batch.

    glibc gives every block of over 32 MB back to the system, which zeroes it page by page when it is needed again: half
    of the CPU time of a pretrained network on clips of 112 px (docs/benchmarks.md). Elsewhere this does nothing.
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many cores this process may use: those of its affinity, within the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # No such file outside of a container; "max" is no number.
        allowed, period = map(int, quota.read_text().split())
        cores = min(cores, max(1, allowed // period))
    return cores


def _in_workers(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    workers: int,
    name: Callable[[Shard], str],
    max_seconds: float,
    *,
    reuse: bool,
    end: Callable[[], int],
) -> Generator[tuple[int, Result | WorkerError], None, None]:
    """Yield (position, result) as shards finish; positions from `end()` on wait until that number grows."""
    idle: list[_Worker] = []
    busy: list[_Worker] = []
    num_sent = 0
    try:
        while busy or num_sent < len(shards):
            while len(busy) < workers and num_sent < min(end(), len(shards)):
                worker = idle.pop() if idle else _start(function)
                busy.append(worker)
                worker.position, worker.end = num_sent, time.monotonic() + max_seconds if worker.ready else math.inf
                with suppress(BrokenPipeError, ConnectionResetError):  # `_answer` reports that it died.
                    worker.connection.send(shards[num_sent])
                num_sent += 1
            left = min(worker.end for worker in busy) - time.monotonic()
            ready = wait([worker.connection for worker in busy], None if left == math.inf else max(0.0, left))
            for worker in [worker for worker in busy if worker.connection in ready or worker.end <= time.monotonic()]:
                if not worker.ready and _is_ready(worker):
                    worker.ready, worker.end = True, time.monotonic() + max_seconds
                    continue
                busy.remove(worker)
                idle.append(worker)
                late = worker.connection not in ready
                if late:
                    worker.process.kill()
                answer = _answer(worker, name(shards[worker.position]), f"took over {max_seconds:g} s" if late else "")
                if not reuse or isinstance(answer, WorkerError):
                    _stop([idle.pop()])
                yield worker.position, answer
    finally:
        _stop([*idle, *busy])


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    position: int = 0
    """Which shard it works on."""
    end: float = math.inf
    """When that has taken too long, as `time.monotonic` counts; its start does not count."""
    ready: bool = False
    """Whether it has started: its interpreter runs and all that the function needs is imported."""


WORKER = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from videocompressa.engine import serve; serve({})"
"""Code of a worker: a fresh interpreter that imports only what the function needs."""


def _start(function: Callable[[Shard], Result]) -> _Worker:
    ours, theirs = Pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER.format(theirs.fileno()), json.dumps(sys.path)],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # Standard output is the caller's alone.
        process_group=0,  # Ctrl-C in a terminal goes to the parent, which stops its workers.
    )
    theirs.close()  # A dead worker then shows as the end of its pipe.
    with suppress(BrokenPipeError, ConnectionResetError):  # `_answer` reports that it died.
        ours.send(function)
    return _Worker(process, ours)


def serve(file_number: int) -> None:
    """Answer shards until the pipe closes. Runs in a worker process, which ends when its parent does."""
    connection: Connection = Connection(file_number)
    threading.Thread(target=_end_with_parent, args=(file_number,), daemon=True).start()
    with suppress(EOFError, OSError):
        function = connection.recv()
        connection.send(None)  # ready
        while True:
            shard = connection.recv()
            answer: tuple[Exception | None, Any]
            try:
                answer = (None, function(shard))
            except MemoryError:
                os._exit(OUT_OF_MEMORY)  # the memory is free again, and the caller gives the shard to others
            except Exception as error:  # noqa: BLE001  The parent raises it, whatever it is.
                answer = (error, None)
            connection.send(answer)


def _end_with_parent(file_number: int) -> None:
    """End this process, in the middle of a shard, once the other end of its pipe is closed, as by a killed parent."""
    poll = select.poll()
    poll.register(file_number, 0)  # Only that the other end is closed.
    poll.poll()
    os._exit(1)


def _is_ready(worker: _Worker) -> bool:
    """Take what a starting worker sends once it is ready; False when it died before."""
    with suppress(EOFError, ConnectionResetError):
        worker.connection.recv()
        return True
    return False


def _answer(worker: _Worker, shard: str, late: str) -> Any:
    """Return the result of the worker's shard, or a `WorkerError` when it died; raise the error of the function.

    `late` says that it was killed because of its time.
    """
    try:
        error, result = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        code = worker.process.wait()
        died = WorkerError(
            f"a worker died ({_how(code)}) on {shard}; run again with --workers 0 to see why, "
            "or with fewer --workers (bench: fewer --jobs) if memory ran out"
        )
        died.how = late or f"the process that read it died ({_how(code)})"
        return died
    if error is not None:
        raise error
    return result


def _how(code: int) -> str:
    """Return how a process ended."""
    if code == OUT_OF_MEMORY:
        return "out of memory"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.connection.close()
        worker.process.kill()  # Workers hold no state and write no file.
    for worker in workers:
        worker.process.wait()
