"""Commands killed at random points: the same command then ends with the bytes of one that nobody disturbed.

KILLS= sets how often each command is killed (`make kills`); a few times in the suite.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_runs import CLIPS, QUICK, STUDENT, TINY, draw_videos, everything_in

KILLS = int(os.environ.get("KILLS", "3"))
SET = ".safetensors"
IN_A_ROW = 3
"""Kills before the command may finish."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
WORKER = ("--size", "32", "--frames", "4", "--workers", "1", "--device", "cpu", "--codec", "tiny")
SMALL = ("--train", "steps=2", "--train", "batch_size=4", "--train", "width=0.25", "--vpc", "1", "--keyframes", "2")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux, to find orphans")


@dataclass(frozen=True)
class Server:
    """The process that runs commands."""

    process: subprocess.Popen[str]

    def __call__(self, arguments: list[str], number: int | None = None, seconds: float = 0.0) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "signal": number, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def serve() -> Iterator[Server]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(Path(__file__).with_name("kill_server.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


Command = Callable[[Path, Path], list[object]]
"""(the folder of videos and a set, the output) -> arguments."""

VPC = ("--vpc", 1, "--force")
STUDENTS = ("--students", "framenet2d", "--labels", "hard", "--methods", "random-real", "--seeds", 1, *SMALL)
COMMANDS: dict[str, Command] = {
    "compress": lambda given, out: ["compress", given / "videos", "-o", out.with_suffix(SET), *TINY, *QUICK, *VPC],
    "encode": lambda given, out: [
        *("compress", given / "videos", "-o", out.with_suffix(SET)),
        *(*WORKER, *VPC, "--method", "random-real"),
    ],
    "train": lambda given, out: [
        *("train", given / "set.safetensors", "--data", given / "videos", *STUDENT, *CLIPS[4:]),
        *("--save-model", out, "--force"),
    ],
    "export": lambda given, out: ["export", given / "set.safetensors", "--to", "frames", "-o", out, "--force"],
    "decode": lambda given, out: ["decode", given / "set.safetensors", "-o", out, "--force"],
    "bench": lambda given, out: ["bench", given / "videos", "-o", out, "--size", 48, *CLIPS[2:], *STUDENTS],
}  # fmt: skip
CACHED = ("compress", "encode", "train", "bench")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, serve: Server) -> Path:
    folder = tmp_path_factory.mktemp("given")
    draw_videos(folder / "videos")
    assert serve(arguments_of("encode", folder, folder))["code"] == 0
    (folder / "out.safetensors").rename(folder / "set.safetensors")
    return folder


def arguments_of(name: str, given: Path, work: Path) -> list[str]:
    cache = ["--cache", work / "cache"] if name in CACHED else []
    return [str(part) for part in [*COMMANDS[name](given, work / "out"), *cache]]


def outputs(work: Path) -> dict[str, bytes]:
    """Return what the command wrote; seconds and bytes of memory differ from run to run."""
    content = {}
    for name in everything_in(work):
        if name.startswith("out") and not name.endswith((".json", ".csv", ".md", ".png")):
            content[name] = (work / name).read_bytes()
        elif name.endswith("results.json"):
            records = json.loads((work / name).read_text())
            measured = ("seconds", "memory")
            kept = [{k: v for k, v in record.items() if not any(m in k for m in measured)} for record in records]
            content[name] = json.dumps(kept).encode()
    return content


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_ends_with_the_same_bytes_when_it_is_run_again(
    name: str, given: Path, tmp_path: Path, serve: Server
) -> None:
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    whole = serve(arguments_of(name, given, undisturbed))
    assert whole["code"] == 0
    expected = outputs(undisturbed)
    assert expected
    draws = random.Random(name)
    for kill in range(KILLS):
        work = tmp_path / str(kill // IN_A_ROW)
        work.mkdir(exist_ok=True)
        number = SIGNALS[kill % 3]
        ended = serve(arguments_of(name, given, work), number, draws.uniform(0, whole["seconds"]))
        assert ended["orphans"] == [], (kill, number)
        if name != "bench":  # which writes its table after every cell
            written = {n: (work / n).read_bytes() for n in everything_in(work) if n.startswith("out")}
            assert not written or {n: written.get(n) for n in expected} == expected, (kill, number)
        if kill % IN_A_ROW == IN_A_ROW - 1 or kill == KILLS - 1:
            assert serve(arguments_of(name, given, work))["code"] == 0, (kill, number)
            assert outputs(work) == expected, (kill, number)
            left = [n for n in everything_in(work) if n.endswith((".new", ".tmp")) or ".part" in n]
            assert left == []
            shutil.rmtree(work)
