"""The verb `cache`: sizes, what is removed first, and what is not removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cli_runs import Runner

from videocompressa.datasets.journal import locked
from videocompressa.recipes import cache as recipe


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """Five parts of 1000 bytes, of ages that rise with their number, and a file that is not ours."""
    for age, name in enumerate(("stages/a", "candidates/train-1", "features", "candidates/test-2", "stages/b")):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1000))
        os.utime(folder / "file", (10**9 - age, 10**9 - age))
    (tmp_path / "cache" / "mine.txt").write_bytes(b"1")
    return tmp_path / "cache"


def names(parts: list[dict]) -> list[str]:
    return [part["path"].rpartition("cache/")[2] for part in parts]


def test_parts_are_listed_and_the_least_recently_used_removed(filled: Path, run: Runner) -> None:
    order = ["stages/b", "candidates/test-2", "features", "candidates/train-1", "stages/a"]
    shown = run("cache", "--cache", filled, "--json").json
    assert (names(shown["parts"]), shown["num_bytes"], shown["removed"]) == (order, 5000, [])
    assert "5.0 kB in " in run("cache", "--info", "--cache", filled).out
    pruned = run("cache", "--prune", "--max-bytes", "3kB", "--cache", filled, "--json").json
    assert (names(pruned["removed"]), names(pruned["parts"])) == (order[:2], order[2:])
    assert not (filled / "stages" / "b").exists()
    assert "removed 3.0 kB in 3 parts" in run("cache", "--prune", "--cache", filled).out
    assert (filled / "mine.txt").exists()
    assert run("cache", "--cache", filled / "absent", "--json").json["num_bytes"] == 0


def test_what_a_run_writes_stays(filled: Path, run: Runner) -> None:
    with locked(filled / "candidates" / "train-1"):
        pruned = run("cache", "--prune", "--cache", filled, "--json").json
        assert names(pruned["parts"]) == ["candidates/train-1"]
    assert names(run("cache", "--prune", "--cache", filled, "--json").json["removed"]) == ["candidates/train-1"]


def test_messages(filled: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    both = run("cache", "--info", "--prune", "--cache", filled).error
    assert both == "error: --info and --prune exclude each other; give one of them"
    assert "--max-bytes 9000 is for --prune; give it too" in run("cache", "--max-bytes", "9kB").error

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(recipe.shutil, "rmtree", refuse)
    assert "stages/b: cannot be removed: Permission denied; check" in run("cache", "--prune", "--cache", filled).error
