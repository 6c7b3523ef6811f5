"""Shards on many machines, by Ray: a task a shard, and in each Ray worker the local engine with one process.

So a video that crashes or hangs its decoder costs what it costs on one machine, and only Ray's own losses (a node that
is killed, a Ray worker that is) are retried by Ray. Shards go out as paths and come back as small results, a bounded
number ahead of the caller. Nothing here needs torch, which Ray workers do not load.
"""

import os
import pickle
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from videocompressa.engine import IN_FLIGHT, Cluster, Result, Shard, WorkerError, run_shards
from videocompressa.errors import InputError

MAX_RETRIES = 3
"""How often Ray gives a shard to another worker before it counts as lost (our choice)."""
MEMORY_BYTES = 600_000_000
"""What Ray keeps for a worker: 1.25 times what one takes of 1080p (docs/scale.md)."""
CONNECT_SECONDS = 10.0
"""Until an address counts as wrong; Ray itself would try for minutes."""


@dataclass(frozen=True)
class RayCluster(Cluster):
    """The workers of a Ray cluster."""

    count: int | None = None
    """Shards in work at once; None: two a core of the cluster, of which one waits. Nodes may join and leave."""
    address: str | None = None
    """HOST:PORT of the head node, or auto for the cluster that this machine is part of; None starts Ray here."""

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise InputError(f"--workers is {self.count}; --engine ray needs at least 1, only local takes 0")

    def answers(
        self,
        function: Callable[[Shard], Result],
        shards: Sequence[Shard],
        *,
        num_yielded: Callable[[], int],
        **limits: Any,
    ) -> Generator[tuple[int, Result | WorkerError], None, None]:
        """See `Cluster`."""
        if not shards:
            return
        with self._connected() as ray:
            task = ray.remote(num_cpus=1, memory=MEMORY_BYTES, max_retries=MAX_RETRIES)(_answer)
            work = ray.put(ray.cloudpickle.dumps((function, limits)))
            busy: dict[Any, int] = {}
            num_sent = 0
            try:
                while busy or num_sent < len(shards):
                    at_once = self.count or IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 0)))
                    end = min(num_yielded() + IN_FLIGHT * at_once, len(shards))
                    while len(busy) < at_once and num_sent < end:
                        busy[task.remote(work, shards[num_sent], os.getcwd())] = num_sent
                        num_sent += 1
                    for answer in ray.wait(list(busy))[0]:
                        position = busy.pop(answer)
                        yield position, _result(ray, answer, limits["name"](shards[position]))
            finally:
                for answer in busy:
                    ray.cancel(answer, force=True)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Give Ray, connected; a connection that the caller's program has made is used and left open."""
        from videocompressa.hub import fault_of, need  # they load torch

        ray = need("ray", "--engine ray", "ray")
        if ray.is_initialized():
            yield ray
            return
        _check_address(self.address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Nothing is reported to anyone unless the user asks.
        own = {"include_dashboard": False, "num_cpus": self.count} if self.address is None else {}
        advice = f"Ray does not start ({{}}); {HOW_TO_ADDRESS}"
        with fault_of(f"--ray-address {self.address or '(not given)'}", Exception, advice):
            ray.init(self.address or "local", log_to_driver=False, logging_level="ERROR", **own)
        try:
            yield ray
        finally:
            ray.shutdown()


HOW_TO_ADDRESS = (
    "give HOST:PORT of a head node that `ray start --head --port PORT` started, auto on a machine of the cluster, "
    "or no address to use this machine alone; a cluster with a token needs RAY_AUTH_MODE=token here too"
)


def _check_address(address: str | None) -> None:
    """Raise unless somebody answers there."""
    if address in (None, "auto"):
        return
    host, _, port = str(address).rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise InputError(f"--ray-address is {address!r}; {HOW_TO_ADDRESS}")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--ray-address {address}: nobody answers there ({error}); {HOW_TO_ADDRESS}") from error


def _result(ray: Any, answer: Any, shard: str) -> Any:
    """Return the result of a shard, or a `WorkerError` when Ray has given it up; raise the error of the function."""
    try:
        error, result = ray.get(answer)
    except ray.exceptions.RayTaskError as fault:
        reason = str(fault).strip().splitlines()[-1]
        raise InputError(
            f"--engine ray: a node cannot run the code ({reason}); install the same version of videocompressa, with "
            "the extra ray, on every node"
        ) from fault
    except ray.exceptions.RayError as fault:
        reason = str(fault).strip().splitlines()[0]
        lost = WorkerError(f"Ray gave up {shard} after {MAX_RETRIES} retries ({reason}); see the logs of its nodes")
        lost.how = f"its Ray workers died ({reason})"
        return lost
    if error is not None:
        raise error
    return result


def _answer(work: bytes, shard: Any, folder: str) -> tuple[Exception | None, Any]:
    """Answer one shard. Runs in a Ray worker, in the caller's `folder` where the node has it, for relative paths."""
    with suppress(OSError):
        os.chdir(folder)
    shards, results = _local_engine(work)
    shards.append(shard)
    try:
        return None, next(results)
    except Exception as error:  # noqa: BLE001  The caller raises it, whatever it is.
        _local_engine.cache_clear()  # No results follow an error.
        return error, None


@lru_cache(maxsize=1)
def _local_engine(work: bytes) -> tuple[list[Any], Generator[Any, None, None]]:
    """Return a list, and the results of the shards that are appended to it, from a process that stays for the next."""
    function, limits = pickle.loads(work)
    shards: list[Any] = []
    return shards, run_shards(function, shards, workers=1, **limits)
