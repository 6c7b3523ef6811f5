"""Checkpoints of loops: a killed stage goes on, and ends with the bytes of one that nobody disturbed."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import Runner
from labelers import SMALL_SPEC
from method_runs import SMALL, SMALL_METHODS, compress, dark_and_bright
from test_train import QUICK, moving_squares
from torch import Tensor, nn

from videocompressa.artifact import to_bytes
from videocompressa.checkpoint import GlobalRandom, Repeated, load, save
from videocompressa.errors import DivergedError
from videocompressa.rng import Streams, seeded
from videocompressa.run import Run, Stages
from videocompressa.students.evaluation import TrainingResult, train_seeds
from videocompressa.students.labelers import LabelerConfig
from videocompressa.students.probe import fit_probe


def always(folder: Path) -> Stages:
    """Stages whose loops keep a checkpoint after every step."""
    return Stages(folder, seconds_between=0)


class Killed(BaseException):
    """As abrupt as a signal."""


def kill_after(monkeypatch: pytest.MonkeyPatch, loop: str, number: int) -> None:
    """Raise when a loop has written this many checkpoints."""
    written: list[Path] = []

    def save_and_die(path: Path, parts: Any, **more: Any) -> None:
        save(path, parts, **more)
        if f".{loop}." in path.name:
            written.append(path)
        if len(written) == number:
            raise Killed

    monkeypatch.setattr("videocompressa.checkpoint.save", save_and_die)


def checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.checkpoint"))


# State


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.tied = self.layer.weight

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows)


def everything(seed: int) -> dict[str, Any]:
    """One part of each kind, after a step."""
    model, draws = Model(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 + seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    model(torch.rand(4, 3, generator=draws)).sum().backward()
    optimizer.step()
    schedule.step()
    numbers = Repeated(lambda: iter(torch.arange(100)))
    next(itertools.islice(numbers, seed, None))
    kept = [torch.full((n,), float(seed)) for n in range(seed)]
    leaf = torch.full((2, 2), float(seed), requires_grad=True)
    return {
        "model": model, "optimizer": optimizer, "schedule": schedule, "draws": draws, "numbers": numbers, "kept": kept,
        "leaf": leaf, "global": GlobalRandom(torch.device("cpu")),
    }  # fmt: skip


def test_every_part_is_as_it_was(tmp_path: Path) -> None:
    with seeded(torch.Generator()):
        first, other = everything(3), everything(5)
        save(tmp_path / "a", first, done=7)
        expected = torch.rand(())
        assert load(tmp_path / "a", other) == {"done": 7}
        assert torch.rand(()) == expected
    assert next(other["numbers"]) == next(first["numbers"]) == 4
    assert torch.equal(torch.rand(3, generator=other["draws"]), torch.rand(3, generator=first["draws"]))
    assert torch.equal(other["leaf"], first["leaf"])
    assert [tuple(each.shape) for each in other["kept"]] == [(0,), (1,), (2,)]
    for parts in (first, other):
        parts["optimizer"].zero_grad()
        parts["model"](torch.ones(1, 3)).sum().backward()
        parts["optimizer"].step()
        parts["schedule"].step()
    assert all(map(torch.equal, first["model"].state_dict().values(), other["model"].state_dict().values()))
    assert first["schedule"].get_last_lr() == other["schedule"].get_last_lr()


@pytest.mark.parametrize("damage", ["gone", "cut", "other parts", "other version"])
def test_what_cannot_be_read_changes_nothing(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, leaf = tmp_path / "a", torch.zeros(2)
    save(path, {"leaf": torch.ones(2)}, done=1)
    if damage == "gone":
        path.unlink()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-3])
    if damage == "other version":
        monkeypatch.setattr("videocompressa.checkpoint.__version__", "0")
    parts = {"leaf": leaf, "more": leaf} if damage == "other parts" else {"leaf": leaf}
    assert load(path, parts) == {}
    assert leaf.sum() == 0


# Loops


def counted(stages: Stages, total: int, end: int) -> Iterator[int]:
    """A stage that counts in a tensor, and is killed before step `end`."""
    count = torch.zeros(1)

    def compute() -> dict[str, Tensor]:
        for step in stages.steps("count", total, {"count": count}):
            if step == end:
                raise Killed
            done.append(step)
            count.add_(1)
        return {"count": count}

    done: list[int] = []
    with suppress(Killed):
        assert stages.recall("stage", {}, compute)["count"] == total
    return iter(done)


def test_a_loop_goes_on_and_a_finished_stage_leaves_no_checkpoint(tmp_path: Path) -> None:
    assert list(counted(always(tmp_path), 10, end=4)) == [0, 1, 2, 3]
    assert len(checkpoints(tmp_path)) == 1
    assert list(counted(always(tmp_path), 10, end=7)) == [4, 5, 6]
    assert list(counted(always(tmp_path), 10, end=99)) == [7, 8, 9]
    assert checkpoints(tmp_path) == []


def test_checkpoints_are_rare_and_their_seconds_count(tmp_path: Path) -> None:
    ticks = itertools.count(0, 4)
    stages = Stages(tmp_path, clock=lambda: float(next(ticks)), seconds_between=30)
    saves: list[int] = []
    folder_before = checkpoints(tmp_path)

    def compute() -> dict[str, Tensor]:
        for step in stages.steps("count", 20, {}):
            if checkpoints(tmp_path) != folder_before and not saves:
                saves.append(step)
            if step == 19:
                raise Killed
        return {}

    with pytest.raises(Killed):
        stages.recall("stage", {}, compute)
    assert saves == [8]
    again = Stages(tmp_path)
    assert next(counted(again, 20, end=99)) == 0  # other parts: not a checkpoint of this loop
    assert "count" not in again.recalled_seconds


def test_the_seconds_of_the_killed_run_are_part_of_the_cost(tmp_path: Path) -> None:
    ticks = itertools.count()
    list(counted(Stages(tmp_path, clock=lambda: float(next(ticks)), seconds_between=5), 10, end=8))
    again = Stages(tmp_path)
    assert next(counted(again, 10, end=99)) == 5
    assert sum(again.recalled_seconds.values()) == 5


def test_a_stage_that_diverged_keeps_no_checkpoint(tmp_path: Path) -> None:
    stages = always(tmp_path)

    def compute() -> dict[str, Tensor]:
        for step in stages.steps("loop", 5, {}):
            if step == 3:
                raise DivergedError("planted")
        return {}

    with pytest.raises(DivergedError):
        stages.recall("stage", {}, compute)
    assert checkpoints(tmp_path) == []


# Every loop of the package

VIEWS = replace(
    SMALL,
    labels="views",
    selector="uniform",
    synthesis=replace(SMALL.synthesis, enabled=False),
    labeler=LabelerConfig(spec=SMALL_SPEC, steps=4),
)
LOOPS = {
    "selector": SMALL,
    "understanding": replace(SMALL, joint=replace(SMALL.joint, enabled=False)),
    "teacher": SMALL,
    "pool": replace(SMALL, pool=replace(SMALL.pool, ages=(1, 5))),
    "synthesis": SMALL,
    "labeler": VIEWS,
    "dm": SMALL_METHODS["dm"],
    "expert": SMALL_METHODS["mtt"],
    "mtt": SMALL_METHODS["mtt"],
    "vdsd-statics": SMALL_METHODS["vdsd-dm"],
}
"""Methods by the loop that is killed."""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_killed_loop_ends_with_the_same_set(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = dark_and_bright(), LOOPS[loop]
    budget = {"file_bytes": 100_000} if config.fills_bytes else {}
    if loop == "expert":
        config = replace(config, matching=replace(config.matching, experts=replace(config.matching.experts, epochs=4)))
    with monkeypatch.context() as patched:
        kill_after(patched, loop, 1)
        with pytest.raises(Killed):
            compress(data, config, stages=always(tmp_path / "a"), **budget)
    (left,) = [path for path in checkpoints(tmp_path) if f".{loop}." in path.name]
    stages = always(tmp_path / "a")
    resumed = compress(data, config, stages=stages, **budget)
    assert left.name in stages.recalled_seconds
    assert checkpoints(tmp_path) == []
    assert to_bytes(resumed) == to_bytes(compress(data, config, **budget))


def test_finished_students_are_kept_until_all_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, config = moving_squares(8, 0), replace(QUICK, steps=6, student="convnet3d")

    def train() -> TrainingResult:
        run = Run(Streams(0), stages=always(tmp_path))
        return train_seeds(data, data, config, run, seeds=[4, 5, 6], clock=lambda: 0.0)

    with monkeypatch.context() as patched:
        kill_after(patched, "train", 8)  # five of the first student
        with pytest.raises(Killed):
            train()
    steps: list[int] = []
    loop = Stages.steps

    def counted(stages: Stages, name: str, total: int, parts: Any) -> Iterator[int]:
        for step in loop(stages, name, total, parts):
            steps.append(step)
            yield step

    monkeypatch.setattr(Stages, "steps", counted)
    resumed = train()
    assert steps == [3, 4, 5, *range(6)]
    assert list(tmp_path.iterdir()) == []
    undisturbed = train_seeds(data, data, config, Run(Streams(0)), seeds=[4, 5, 6], clock=lambda: 0.0)
    assert resumed.top1_runs == undisturbed.top1_runs
    assert torch.equal(resumed.confusion, undisturbed.confusion)


def test_features_of_views_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\ndef make(num_classes, clip):\n    torch.manual_seed(1)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(clip.num_frames * 3 * 43 * 43, 5))\n"
    )
    data, config = moving_squares(8, 0), replace(QUICK, student=f"{tmp_path / 'net.py'}:make:probe", probe_views=5)

    def train(folder: Path | None) -> Tensor:
        return fit_probe(data, config, Run(Streams(0), stages=Stages(folder, seconds_between=0))).head.weight

    with monkeypatch.context() as patched:
        kill_after(patched, "views", 2)
        with pytest.raises(Killed):
            train(tmp_path / "a")
    assert torch.equal(train(tmp_path / "a"), train(None))


# Signals

DIE = """
import itertools, os, signal, sys, time
ticks = itertools.count(0, 31)
time.perf_counter = lambda: float(next(ticks))  # checkpoints are due at once
from videocompressa import checkpoint
save, count, loop = checkpoint.save, itertools.count(1), sys.argv[1]
def save_and_die(path, parts, **more):
    save(path, parts, **more)
    if f".{loop}." in path.name and next(count) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save = save_and_die
from videocompressa.cli.main import main
sys.exit(main(sys.argv[3:]))
"""


def run_killed(loop: str, number: int, *arguments: object) -> None:
    """Run a command until it has written this many checkpoints of a loop, and kill it."""
    command = [sys.executable, "-c", DIE, loop, str(number), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
def test_killed_commands_go_on(run: Runner, videos: Path, tmp_path: Path) -> None:
    cache, where = tmp_path / "cache", ("--quiet", "--frames", 4, "--workers", 0, "--device", "cpu", "--threads", 1)
    more = ("--set", "labeler.steps=60", "--set", "labeler.spec.network=framenet2d")
    killed = ("compress", videos, "-o", tmp_path / "set.safetensors", *where, *more, "--vpc", 1)
    run_killed("labeler", 2, *killed, "--cache", cache)
    assert not (tmp_path / "set.safetensors").exists()
    assert len(checkpoints(cache)) == 1
    assert run(*killed, "--cache", cache).code == 0
    assert checkpoints(cache) == []
    other = ("compress", videos, "-o", tmp_path / "other.safetensors", *where, *more, "--vpc", 1)
    assert run(*other, "--cache", tmp_path / "b").code == 0
    assert (tmp_path / "set.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()

    command = ("train", tmp_path / "set.safetensors", "--data", videos, *where, "--steps", 60, "--seeds", 3)
    command += ("--student", "framenet2d", "--width", 0.25, "--batch-size", 4)
    run_killed("train", 4, *command, "--cache", cache, "--save-model", tmp_path / "a")
    assert len(list(cache.rglob("train-*/train-*.safetensors"))) == 1  # the first student; the second has a checkpoint
    assert len(checkpoints(cache)) == 1
    resumed = run(*command, "--cache", cache, "--save-model", tmp_path / "a", "--json")
    assert not list((cache / "features").rglob("train-*"))
    fresh = run(*command, "--cache", tmp_path / "b", "--save-model", tmp_path / "b-model", "--json")
    for name in ("top1_runs", "confusion"):
        assert resumed.json[name] == fresh.json[name]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b-model" / path.name).read_bytes()
