"""Processes of torchrun: what they share, and that the result is that of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import CLIPS, QUICK, STUDENT, TINY, Runner
from safetensors.torch import load_file

from videocompressa import load
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


def two_processes(*command: object) -> dict[str, Any]:
    """Run a command in two processes of torchrun, and return what it prints as JSON."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = [*torchrun, "videocompressa", *map(str, command)]
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_processes_share_teachers_and_synthesis(run: Runner, videos: Path, tmp_path: Path) -> None:
    """What each trains alone has equal bytes; the tuned latents differ by the order of sums."""
    more = (
        *("--method", "videocompressa", "--storage", "float16", "--vpc", 2, "--keyframes", 2, *QUICK, "--threads", 1),
        *("--set", "selector=gumbel", "--set", "teacher.num_teachers=2", "--set", "teacher.train.precision=float32"),
        *("--set", "synthesis.steps=5", *TINY, "--json", "--quiet"),
    )
    paths = [tmp_path / f"{name}.safetensors" for name in ("alone", "both")]
    outputs = ("--selector-out", tmp_path / "selector.safetensors", "--force")
    assert run("compress", videos, "-o", paths[0], "--cache", tmp_path / "a", *more, *outputs).code == 0
    both = two_processes("compress", videos, "-o", paths[1], "--cache", tmp_path / "b", *more, *outputs)
    assert both["path"] == str(paths[1])
    stages = [{path.name: path for path in sorted((tmp_path / cache).rglob("stages/*/*"))} for cache in ("a", "b")]
    assert stages[0].keys() == stages[1].keys()
    assert [name.split("-")[0] for name in stages[0]].count("teacher") == 2
    for name in stages[0]:
        first, second = (load_file(each[name]) for each in stages)
        assert all(torch.allclose(first[key], second[key], rtol=0, atol=1e-5) for key in first)
        if name.startswith(("teacher", "pool", "selector")):
            assert all(torch.equal(first[key], second[key]) for key in first)
    alone, shared = map(load, paths)
    assert torch.equal(alone.positions, shared.positions)
    assert torch.allclose(alone.latents, shared.latents, rtol=0, atol=2e-3)  # one unit in the last place of float16
    assert torch.allclose(alone.labels, shared.labels, rtol=0, atol=0.01)


@pytest.mark.slow
def test_processes_share_the_seeds_of_train(run: Runner, videos: Path, tmp_path: Path) -> None:
    set_file = tmp_path / "set.safetensors"
    assert run.compress(videos, set_file, "--keyframes", 2).code == 0
    more = ("--data", videos, "--seeds", 3, "--json", "--quiet")
    alone = run.train(set_file, *more).json
    options = (*CLIPS, "--cache", run.cache, *STUDENT[:-2], *more, "--save-model", tmp_path / "model")
    both = two_processes("train", set_file, *options)
    assert len(alone["top1_runs"]) == 3
    for name in ("top1_runs", "per_class", "confusion", "num_diverged"):
        assert both[name] == alone[name]
    assert (tmp_path / "model" / "videocompressa.json").is_file()
