"""Runs commands in forked copies of itself, which have everything imported, and kills them at a given time.

Reads lines of JSON, {"arguments": [...], "signal": number or null, "seconds": when}, and answers each with {"code":
exit status, "seconds": how long, "orphans": processes left 5 s later}.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from videocompressa.artifact import read_set
from videocompressa.bench import run as bench
from videocompressa.cli.main import main
from videocompressa.demo import videos
from videocompressa.methods import METHODS
from videocompressa.recipes import compress, plan, sets, train
from videocompressa.vlm.export import run as export

IMPORTED = (read_set, bench, videos, METHODS, compress, plan, sets, train, export)
with suppress(ImportError):  # the extras hub and vlm
    import huggingface_hub  # noqa: F401

    from videocompressa.vlm.tune import run as _finetune  # noqa: F401
PR_SET_CHILD_SUBREAPER = 36


def descendants() -> list[int]:
    """Return this process's living children, adopted ones too."""
    found = []
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
            found.append(int(child))
        else:
            os.waitpid(int(child), os.WNOHANG)
    return found


def run(arguments: list[str], number: int | None, seconds: float) -> dict[str, float | list[int]]:
    """Run one command, and kill it after these seconds."""
    started = time.monotonic()
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(null, stream)
        os._exit(main(arguments))
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if number is not None and time.monotonic() - started >= seconds:
            os.kill(child, number)
            number = None
        time.sleep(0.002)
    code = os.waitpid(child, 0)[1]
    took = time.monotonic() - started
    while (left := descendants()) and time.monotonic() - started < took + 5:
        time.sleep(0.02)
    return {"code": code, "seconds": took, "orphans": left}


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.stdout.write("\n")
    for line in sys.stdin:
        task = json.loads(line)
        print(json.dumps(run(task["arguments"], task["signal"], task["seconds"])), flush=True)
