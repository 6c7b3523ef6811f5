"""`--log-dir`: what a run reports, in TensorBoard."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import pytest
from cli_runs import QUICK, STUDENT, Runner
from PIL import Image

from videocompressa.recipes.tensorboard import logged

needs_tensorboard = pytest.mark.skipif(
    not importlib.util.find_spec("tensorboard"), reason="needs the extra tensorboard"
)


def read(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, list[bytes]]]:
    """Return scalars as (step, value) and pictures by tag, of one run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    scalars = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return scalars, {tag: [each.encoded_image_string for each in events.Images(tag)] for tag in events.Tags()["images"]}


@needs_tensorboard
def test_numbers_go_on_and_a_phase_that_begins_again_is_a_further_run(tmp_path: Path) -> None:
    reports = []
    with logged(tmp_path, lambda step, **numbers: reports.append((step, numbers))) as log:
        log.watch("decode", done=1, total=1, part=1, parts=2, worker_seconds={"a": 1.0})
        for _ in range(2):
            log.watch("student", done=1, total=2, loss=3.0)
            log.watch("student", done=2, total=2, loss=1.5)
    assert len(reports) == 5
    assert reports[-1] == ("student", {"done": 2, "total": 2, "loss": 1.5})
    for run in ("run-0", "run-1"):
        assert read(tmp_path / run)[0] == {"student/loss": [(1, 3.0), (2, 1.5)]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-0", "run-1"]


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with logged(None, lambda step, **numbers: None) as log:
        log.watch("student", done=1, total=2, loss=3.0)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(run: Runner, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ran in (
        run.compress(videos, tmp_path / "set.safetensors", "--log-dir", tmp_path / "log"),
        run("bench", videos, "-o", tmp_path / "bench", "--log-dir", tmp_path / "log"),
    ):
        assert '--log-dir needs tensorboard; run: pip install ".[tensorboard]" in a clone' in ran.error
    assert list(tmp_path.iterdir()) == []


@needs_tensorboard
@pytest.mark.slow
def test_compress_and_train_log_losses_selection_and_samples(run: Runner, videos: Path, tmp_path: Path) -> None:
    ran = run.compress(
        videos,
        tmp_path / "set.safetensors",
        *("--method", "videocompressa", "--keyframes", 2, "--set", "selector=gumbel"),
        *(*QUICK, "--set", "joint.steps=20", "--log-dir", tmp_path / "log"),
    )
    assert ran.code == 0, ran.err
    scalars, pictures = read(tmp_path / "log" / "run-0")
    (_, first), (_, last) = scalars["selector/temperature"]
    assert first > last > 0
    assert all(0 < entropy < 1.4 for _, entropy in scalars["selector/entropy"])  # at most log 4
    assert {"selector/loss", "synthesis/match", "synthesis/task"} <= scalars.keys()
    assert pictures
    assert {tag.split()[1].partition("/")[0] for tag in pictures} <= {"dark", "light"}  # as a weak teacher says
    picture = next(iter(pictures.values()))[0]
    assert Image.open(io.BytesIO(picture)).height == 32
    assert run.train(tmp_path / "set.safetensors", "--data", videos, "--log-dir", tmp_path / "train").code == 0
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["run-0", "run-1"]  # two students
    scalars, pictures = read(tmp_path / "train" / "run-0")
    assert [step for step, _ in next(iter(scalars.values()))] == [int(STUDENT[3])]
    assert pictures


@needs_tensorboard
@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_a_benchmark_logs_each_job_and_writes_the_page_of_its_best_set(
    run: Runner, videos: Path, tmp_path: Path
) -> None:
    options = ("--methods", "random-real", "--labels", "hard", "--vpc", 1, "--keyframes", 2, "--seeds", 1)
    small = ("--students", "framenet2d", "--train", "steps=2", "--train", "width=0.25", "--scale", "small")
    tiny = ("--size", 32, "--frames", 4, "--workers", 0, "--device", "cpu", "--cache", run.cache)
    ran = run(
        "bench", videos, "-o", tmp_path / "bench", *options, *small, *tiny, "--log-dir", tmp_path / "log", "--json"
    )
    assert ran.code == 0, ran.err
    assert str(tmp_path / "bench" / "index.html") in ran.json["files"]
    html = (tmp_path / "bench" / "index.html").read_text()
    assert "random-real" in html
    assert "top-1 of students of the set" in html
    (job,) = (tmp_path / "log").iterdir()
    scalars, pictures = read(job / "run-0")
    assert scalars
    assert pictures
    own = run(
        "inspect",
        *(tmp_path / "bench" / "sets").glob("*.safetensors"),
        "--html",
        tmp_path / "p.html",
        "--results",
        tmp_path / "bench",
    )
    assert own.code == 0, own.err
    assert (
        "Benchmark: top-1 on test videos, 1 run of framenet2d (fair), hard labels" in (tmp_path / "p.html").read_text()
    )
