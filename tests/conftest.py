"""Fixtures of several tests: real clips and models next to the repository, very small videos, and the command line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import Runner, draw_videos
from hypothesis import settings

os.environ.pop("COLUMNS", None)  # of workers of pytest-xdist; what is piped has no width

SHARED = Path(__file__).parents[1].parent / "shared"

# Derandomized, so that a red run is red again; no deadline, because two busy cores make times meaningless.
settings.register_profile("project", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("project")


def _shared_folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{name} next to the repository, which is not there")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real video sets (`lip_words`, `fluent16`, ...)."""
    return _shared_folder("data")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Folder of the real codec weights."""
    return _shared_folder("models")


@pytest.fixture(scope="session")
def rendered_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a rendered set: 3 actions x (6 train + 3 test) mp4 clips of 48x64 px, two of them a reversed pair."""
    from videocompressa.demo.videos import render_set

    root = tmp_path_factory.mktemp("rendered")
    render_set(root, clips_per_class=(6, 3), size=(48, 64), seed=7, actions=("sit_down", "stand_up", "jump"))
    return root


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of very small videos of two classes, dark and light, as train/CLASS and test/CLASS."""
    return draw_videos(tmp_path_factory.mktemp("videos") / "shades")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the commands of one test file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], cache: Path) -> Runner:
    """The command line, run in this process."""
    return Runner(capsys, cache)


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The jobs of a benchmark in this process: one of its own takes seconds of every job to import torch."""

    def run_here(function: Callable[[Any], Any], jobs: Sequence[Any], **_: object) -> Iterator[tuple[int, Any]]:
        return enumerate(map(function, jobs))

    monkeypatch.setattr("videocompressa.bench.run.run_apart", run_here)
    monkeypatch.setattr("videocompressa.bench.cells.keep_freed_memory", lambda: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, started."""
    reason = "needs playwright: pip install playwright"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs a Chromium that plays H.264, as `chromium` or `google-chrome`")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
