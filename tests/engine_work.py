"""What the engine's tests send to worker processes; imports little, so that workers start fast."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from videocompressa.engine import peak_memory_bytes
from videocompressa.errors import VideoError
from videocompressa.video import shards
from videocompressa.video.shards import DecodedShard, Job, decode_apart, decode_shard


def square(number: int) -> int:
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise VideoError("three is bad")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def exhaust(number: int) -> int:
    return len(bytearray(1 << 60))


def die_at_two(number: int) -> int:
    return die(number) if number == 2 else number


def fill_megabytes(count: int) -> int:
    block = bytearray(os.urandom(1) * (count * 1_000_000))
    return peak_memory_bytes() + 0 * len(block)


def nap(number: int) -> int:
    time.sleep(30)
    return number


def tell_and_nap(file: str) -> int:
    """Write this process's number to a file, complete, and take long."""
    with open(f"{file}.new", "w") as opened:
        opened.write(str(os.getpid()))
    os.replace(f"{file}.new", file)
    return nap(0)


def two_megabytes(number: int) -> bytes:
    return bytes([number]) * 2_000_000


def decode_or_fail(job: Job) -> DecodedShard:
    """Stand in for a decoder that a video crashes, another one never ends in, and one takes all memory."""
    for source in job.sources:
        if "crash" in str(source):
            die(0)
        if "hang" in str(source):
            nap(0)
        if "hungry" in str(source):
            exhaust(0)
    return decode_shard(job)


def decode_until_killed(job: Job) -> DecodedShard:
    """Decode; but never end the third shard or a later one on the node to be killed, which others wait for.

    A file beside the folder of videos then says that this node is in the middle of a shard.
    """
    mark = Path(str(job.sources[0])).parents[3] / "in_the_middle"
    if job.position >= 2 and "NODE_TO_KILL" in os.environ:
        mark.touch()
        nap(0)
    while job.position >= 2 and not mark.exists():
        time.sleep(0.05)
    return decode_shard(job)


def negative(number: int, **limits: float) -> int:
    return -number


def late_square(number: int) -> tuple[int, int]:
    """Take a while; say on which node of Ray, by the process that runs it."""
    time.sleep(0.3)
    return number * number, int(os.environ["RAY_RAYLET_PID"])


def apart_or_lost(job: Job, *, workers: int, max_seconds: float) -> DecodedShard:
    """Decode apart with the decoder that fails."""
    shards.decode_shard = decode_or_fail
    return decode_apart(job, workers=workers, max_seconds=max_seconds)


def kill_parent_at_two(number: int) -> int:
    if number == 2:
        os.kill(os.getppid(), signal.SIGKILL)
    return number
