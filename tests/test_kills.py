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
from typing import Any

import hub_server
import pytest
from cli_runs import CLIPS, QUICK, STUDENT, TINY, draw_videos, everything_in
from vlm_models import write_model

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
    """The process that runs commands, the hub that it pushes to, and its folder of temporary files."""

    process: subprocess.Popen[str]
    hub: hub_server.Hub
    temporary: Path

    def __call__(self, arguments: list[str], number: int | None = None, seconds: float = 0.0) -> dict:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "signal": number, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("temporary")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    environment |= {"TMPDIR": str(folder), "HF_HOME": str(tmp_path_factory.mktemp("hub"))}
    command = [sys.executable, str(Path(__file__).with_name("kill_server.py"))]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with hub_server.serve() as hub:
        environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": hub_server.TOKEN, "HF_HUB_DISABLE_XET": "1"}
        with subprocess.Popen(command, text=True, env=environment, **streams) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "\n"
            yield Server(process, hub, folder)
            assert process.stdin is not None
            process.stdin.close()


Command = Callable[[Path, Path], list[object]]
"""(the folder of videos and a set, the output) -> arguments."""

VPC = ("--vpc", 1, "--force")
TUNE = (
    *("--min-pixels", "1", "--precision", "float32", "--questions", "open", "--lora-rank", "0", "--vision", "all"),
    *("--lr", "5e-3", "--steps", "6", "--save-every", "2", "--batch-size", "4", "--micro-batch", "4", "--no-generate"),
)
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
    "finetune": lambda given, out: [
        *("finetune", given / "set.safetensors", "--model", given / "model", "--data", given / "videos", "-o", out),
        *(*CLIPS[4:], *TUNE),
    ],
    "push": lambda given, out: ["push", given / "set.safetensors", "ann/shades"],
}  # fmt: skip
CACHED = ("compress", "encode", "train", "bench", "finetune")
NEEDS = {"finetune": ("transformers", "peft"), "push": ("huggingface_hub",)}
IN_PARTS = ("bench", "finetune")
"""They write what is finished while they go on."""
UNCOMPARED = (".json", ".csv", ".md", ".png", "index.html")
"""Ends of files that state what was measured."""
MEASURED = ("second", "memory", "first_step", "train_tokens")
"""In the names of numbers that differ from run to run; the last two count from where a run resumed."""


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


def outputs(work: Path, serve: Server) -> dict[str, bytes]:
    """Return what the command wrote here and on the hub, without what was measured."""
    content = {f"hub/{name}": data for hub in serve.hub.repositories.values() for name, data in hub.files().items()}
    for name in everything_in(work):
        if name.endswith("results.json"):
            content[name] = json.dumps(without_measured(json.loads((work / name).read_text()))).encode()
        elif name.startswith("out") and name.endswith(".jsonl"):
            rows = map(json.loads, (work / name).read_text().splitlines())
            content[name] = json.dumps(list(map(without_measured, rows))).encode()
        elif name.startswith("out") and not name.endswith(UNCOMPARED) and "tfevents" not in name:
            content[name] = (work / name).read_bytes()
    return content


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_measured(v) for k, v in value.items() if not any(m in k for m in MEASURED)}
    return list(map(without_measured, value)) if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_ends_with_the_same_bytes_when_it_is_run_again(
    name: str, given: Path, tmp_path: Path, serve: Server
) -> None:
    for package in NEEDS.get(name, ()):
        pytest.importorskip(package)
    if name == "finetune":
        write_model(given / "model", "qwen2_5_vl")
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    whole = serve(arguments_of(name, given, undisturbed))
    assert whole["code"] == 0
    expected = outputs(undisturbed, serve)
    assert expected
    serve.hub.repositories.clear()
    draws = random.Random(name)
    for kill in range(KILLS):
        work = tmp_path / str(kill // IN_A_ROW)
        work.mkdir(exist_ok=True)
        number = SIGNALS[kill % 3]
        ended = serve(arguments_of(name, given, work), number, draws.uniform(0, whole["seconds"]))
        assert ended["orphans"] == [], (kill, number)
        if name not in IN_PARTS:
            assert outputs(work, serve) in ({}, expected), (kill, number)
        left = list(serve.temporary.glob("tmp*"))
        assert not left or number == signal.SIGKILL, (kill, number)
        for folder in left:
            shutil.rmtree(folder)
        if kill % IN_A_ROW == IN_A_ROW - 1 or kill == KILLS - 1:
            assert serve(arguments_of(name, given, work))["code"] == 0, (kill, number)
            assert outputs(work, serve) == expected, (kill, number)
            left = [n for n in everything_in(work) if n.endswith((".new", ".tmp")) or ".part" in n or "checkpoint" in n]
            assert left == []
            shutil.rmtree(work)
            serve.hub.repositories.clear()
            serve.hub.objects.clear()
