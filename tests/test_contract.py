"""The contract of a method, and that documents and imports agree on the layers."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import QUICK, Runner, draw_videos
from method_runs import SMALL_METHODS, TEACHER, dark_and_bright
from method_runs import compress as compress_with
from torch import Tensor

from videocompressa.artifact import read_set
from videocompressa.bench.rows import BenchOptions, configuration, rows_of
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec
from videocompressa.methods import METHODS, MethodConfig
from videocompressa.run import Run
from videocompressa.selection.keyframes import UniformSelector
from videocompressa.selection.videos import choose_videos
from videocompressa.synthetic import Budget, SyntheticSet

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "videocompressa"


@dataclass(frozen=True)
class FirstVideosConfig(MethodConfig):
    """A toy method, all of it in one file: random videos, their frames mirrored in time where `backwards`."""

    backwards: bool = False

    @property
    def name(self) -> str:
        """See `MethodConfig.name`."""
        return "first-videos"

    def compress(self, train_data: Candidates, codec: Codec, budget: Budget, run: Run) -> SyntheticSet:
        """See `MethodConfig.compress`."""
        rows = choose_videos(train_data, "random", budget, run.generator("videos"))
        frames = train_data.frames[rows]
        positions = UniformSelector().positions(frames, budget.keyframes, run.generator("keyframes"))
        synthetic = self.gather(train_data, rows, positions, codec, run)
        if self.backwards:
            synthetic = dataclasses.replace(synthetic, latents=synthetic.latents.flip(1))
        teachers = self.train_teachers(train_data, codec, budget.keyframes, run)
        return self.relabel(synthetic, teachers, run)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> FirstVideosConfig:
    monkeypatch.setitem(METHODS, "first-videos", FirstVideosConfig())
    return FirstVideosConfig()


def test_a_method_in_one_file_runs_everywhere(
    toy: FirstVideosConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = draw_videos(tmp_path / "videos")
    run = Runner(capsys, tmp_path / "cache")
    teacher = [part for part in QUICK if "teacher" in part]
    settings = [part for text in teacher for part in ("--set", text)]
    options = (
        "--method",
        "first-videos",
        "--keyframes",
        2,
        "--set",
        "backwards=true",
        "--set",
        "labels=soft",
        *settings,
    )
    planned = run("plan", videos, "--size", 32, "--frames", 4, "--cache", run.cache, "--json", "--quiet", *options).json
    result = run.compress(videos, tmp_path / "set.safetensors", *options)
    assert result.code == 0, result.err
    synthetic = read_set(tmp_path / "set.safetensors")
    assert synthetic.provenance.method == "first-videos"
    assert synthetic.provenance.config["backwards"] is True
    assert synthetic.labels.ndim == 2
    assert planned["keyframes"] == 2
    rows = rows_of(BenchOptions(methods=("first-videos:backwards=true",), labels=("hard",)))
    assert configuration(rows[0], BenchOptions()) == FirstVideosConfig(backwards=True)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_recipes_must_know(name: str) -> None:
    config = METHODS[name]
    assert isinstance(config, MethodConfig)
    assert config.name == name
    assert config.differing_settings() == {} or config.reference().name != name
    assert config.network == "" or config.network in ("minic3d", "convnet3d")
    assert dataclasses.replace(config, labels="soft").needs_teacher
    assert dataclasses.replace(config, labels="soft").training_steps(100, 10) >= config.teacher.train.steps
    assert config.fill == "linear"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_keeps_its_budget_and_writes_its_differences(name: str) -> None:
    data, config = dark_and_bright(), SMALL_METHODS[name]
    synthetic = compress_with(data, config, allow_fewer=True, file_bytes=10**6)
    assert synthetic.provenance.method == name
    teacher = config.differing_settings()["teacher"]
    assert synthetic.provenance.config["teacher"] == teacher
    if not config.fills_bytes:
        assert torch.bincount(synthetic.hard_labels, minlength=2).sum() == 4


class Recorded:
    """Latents that know which clips were read."""

    def __init__(self, latents: Tensor) -> None:
        self.latents, self.shape, self.dtype = latents, latents.shape, latents.dtype
        self.rows: set[int] = set()

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: Any) -> Tensor:
        rows = index[0] if isinstance(index, tuple) else index
        self.rows |= {*torch.arange(len(self))[rows].flatten().tolist()}
        return self.latents[index]


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_latents_are_read_of_kept_videos_alone_unless_the_method_says_so(name: str, labels: str) -> None:
    config = dataclasses.replace(METHODS[name], teacher=TEACHER, labels=labels)
    if config.synthesis_steps:
        config = dataclasses.replace(SMALL_METHODS[name], labels=labels)
    data = dark_and_bright()
    read = Recorded(data.latents)
    num_bytes = 15_000 if name.startswith(("lvdd", "vdsd")) else 1_500  # too few for all clips
    synthetic = compress_with(dataclasses.replace(data, latents=read), config, allow_fewer=True, file_bytes=num_bytes)
    kept = {data.video_ids.index(video) for video in synthetic.provenance.video_ids}
    assert len(kept) < len(data)
    if config.reads_all_latents:
        assert read.rows - kept
    else:
        assert read.rows <= kept


def test_which_methods_read_all_latents() -> None:
    assert {name for name, config in METHODS.items() if config.reads_all_latents} == {
        *("typical-clips", "lvdd", "lvdd-k-means", "lvdd-scaled"),  # compare latents
        *("rded", "herding-real", "k-center-real", "facility-location-real"),  # a teacher sees clips as stored
        *("herding-h264", "herding-av1", "herding-webp"),
    }


def layers_of_the_contract() -> list[set[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [set(re.split(r"\s*[|:]\s*", layer)) for layer in contracts[0]["layers"]]


def test_the_documents_have_the_layers_of_the_contract() -> None:
    page = (ROOT / "docs/design.md").read_text()
    table = re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE)
    documented = [set(re.findall(r"`(\w+)`", packages)) for _, packages in table]
    assert documented == layers_of_the_contract()
    assert [int(number) for number, _ in table] == list(range(len(table), 0, -1))
    word = {12: "twelve", 13: "thirteen", 14: "fourteen"}[len(table)]
    for document in ("docs/design.md", "CONTRIBUTING.md"):
        assert f"{word} layers" in (ROOT / document).read_text(), document


def test_every_folder_and_ground_module_has_a_layer() -> None:
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set().union(*layers_of_the_contract()) == there - {"__init__"}


def test_package_files_re_export_and_hold_no_logic() -> None:
    for path in sorted(PACKAGE.rglob("__init__.py")):
        if path.parent == PACKAGE:
            continue  # names are imported when they are first used, which takes a function
        for node in ast.parse(path.read_text()).body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            assert is_text or is_names or isinstance(node, ast.ImportFrom), f"{path}: {ast.unparse(node)[:60]}"


def test_recipes_and_benchmarks_ask_no_method_what_class_it_is() -> None:
    for folder in ("recipes", "bench"):
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            names = re.findall(r"import .*?(\w+Config)\b", path.read_text())
            assert not set(names) - {"MethodConfig", "TrainConfig", "TeacherConfig"}, path
