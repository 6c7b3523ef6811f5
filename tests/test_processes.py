"""Processes of torchrun: what they share, and that the result is that of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import CLIPS, QUICK, STUDENT, TINY, Runner
from safetensors.torch import load_file

from videocompressa import load
from videocompressa.cli.main import main
from videocompressa.methods.videocompressa.synthesis import _share_of
from videocompressa.processes import ALONE, ProcessGroup


def test_pieces_of_work_are_each_done_once() -> None:
    done: list[int] = []
    for rank in range(3):
        ProcessGroup(rank, 3).share(7, done.append)
    assert done == [0, 3, 6, 1, 4, 2, 5]
    ALONE.share(7, lambda number: pytest.fail("who takes the results computes them"))


@pytest.mark.parametrize("classes", [(0, 0, 1, 1, 2), (4, 4, 4), (0, 1, 2, 3)])
def test_every_item_of_a_step_counts_once(classes: tuple[int, ...]) -> None:
    """A class is one process's; the mean of the shares is that of the batch, also where one has no class."""
    labels, rows = torch.tensor([9, *classes]), torch.arange(1, 1 + len(classes))
    shares = [_share_of(rows, labels, ProcessGroup(rank, 2)) for rank in range(2)]
    counted = [share for share in shares if share.of_clips]
    assert sorted(torch.cat([share.rows for share in counted]).tolist()) == rows.tolist()
    assert sum(share.of_clips for share in shares) == pytest.approx(2)
    assert sum(share.of_classes for share in shares) == pytest.approx(2)
    seen = [set(labels[share.rows].tolist()) for share in counted]
    assert len(seen) == 1 or not seen[0] & seen[1]
    for share in shares:
        assert torch.equal(rows[share.within.places], share.rows)  # type: ignore[union-attr]


COMPRESS = (
    *("--method", "videocompressa", "--storage", "float16", "--vpc", 2, "--keyframes", 2, *QUICK, "--threads", 1),
    *("--set", "selector=gumbel", "--set", "teacher.num_teachers=2", "--set", "teacher.train.precision=float32"),
    *("--set", "synthesis.steps=5", *TINY, "--json", "--quiet", "--force"),
)
TRAIN = (*CLIPS, *STUDENT[:-2], "--seeds", 3, "--json", "--quiet")
SCRIPT = """
import json, sys
from videocompressa.cli.main import main
for line in json.loads(sys.argv[1]):
    assert main(line) == 0
"""


@dataclass(frozen=True)
class Both:
    """What two processes of torchrun did: compress some videos, and train on another set of them."""

    folder: Path
    compressed: dict[str, Any]
    trained: dict[str, Any]


@pytest.fixture(scope="module")
def both(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Both commands in the same two processes, because each takes seconds to start."""
    folder = tmp_path_factory.mktemp("both")
    given = ("compress", videos, "-o", folder / "given.safetensors", *TINY, "--method", "random-real", "--vpc", 1)
    assert main([str(part) for part in (*given, "--keyframes", 2, "--cache", folder / "cache", "--quiet")]) == 0
    output, where = folder / "set.safetensors", ("--cache", folder / "cache")
    commands = (
        ("compress", videos, "-o", output, *where, *COMPRESS, "--selector-out", folder / "selector.safetensors"),
        ("train", given[3], "--data", videos, *where, *TRAIN, "--save-model", folder / "model"),
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    lines = json.dumps([[str(part) for part in command] for command in commands])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = [*torchrun, sys.executable, "-c", SCRIPT, lines]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return Both(folder, *map(json.loads, done.stdout.splitlines()))


@pytest.mark.slow
def test_processes_share_teachers_and_synthesis(run: Runner, videos: Path, both: Both, tmp_path: Path) -> None:
    """What each trains alone has equal bytes; the tuned latents differ by the order of sums."""
    path, selector = tmp_path / "set.safetensors", tmp_path / "selector.safetensors"
    ran = run("compress", videos, "-o", path, "--cache", tmp_path / "cache", *COMPRESS, "--selector-out", selector)
    assert ran.code == 0
    assert both.compressed["path"] == str(both.folder / "set.safetensors")
    stages = [{each.name: each for each in root.rglob("stages/*/*")} for root in (tmp_path, both.folder)]
    assert stages[0].keys() == stages[1].keys()
    assert [name.split("-")[0] for name in stages[0]].count("teacher") == 2
    for name in stages[0]:
        first, second = (load_file(each[name]) for each in stages)
        assert all(torch.allclose(first[key], second[key], rtol=0, atol=1e-5) for key in first)
        if name.startswith(("teacher", "pool", "selector")):
            assert all(torch.equal(first[key], second[key]) for key in first)
    alone, shared = load(path), load(both.folder / "set.safetensors")
    assert torch.equal(alone.positions, shared.positions)
    assert torch.allclose(alone.latents, shared.latents, rtol=0, atol=2e-3)  # one unit in the last place of float16
    assert torch.allclose(alone.labels, shared.labels, rtol=0, atol=0.01)


@pytest.mark.slow
def test_processes_share_the_seeds_of_train(run: Runner, videos: Path, both: Both) -> None:
    alone = run("train", both.folder / "given.safetensors", "--data", videos, "--cache", run.cache, *TRAIN).json
    assert len(alone["top1_runs"]) == 3
    for name in ("top1_runs", "per_class", "confusion", "num_diverged"):
        assert both.trained[name] == alone[name]
    assert (both.folder / "model" / "videocompressa.json").is_file()
