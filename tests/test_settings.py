"""The list of settings, and the file of options and settings that --config names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runs import STUDENT, TINY, Runner

from videocompressa.artifact import read_set
from videocompressa.errors import InputError
from videocompressa.methods import METHODS
from videocompressa.recipes.settings import list_settings, setting_names, with_settings
from videocompressa.students.settings import TrainConfig

CONFIGS = {"train": TrainConfig(), **METHODS}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_setting_says_what_it_is_and_takes_its_default(name: str) -> None:
    config = CONFIGS[name]
    listed = list_settings(config)
    assert [each.name for each in listed] == setting_names(config)
    assert [each.name for each in listed if len(each.meaning) < 5 and not each.meaning.startswith(">")] == []
    assert with_settings(config, [f"{each.name}={each.default}" for each in listed]) == config
    for each in listed:
        if each.name != "labeler.spec.identity":  # a hash
            # What says nothing more is not checked: it would take NaN, or a name that nothing has.
            assert each.allowed not in ("", "a value", "text", "a number", "a whole number"), each


def test_what_is_allowed_is_what_is_accepted() -> None:
    allowed = {each.name: each.allowed for each in list_settings(METHODS["videocompressa"])}
    assert allowed["labeler.spec.bits"] == "in [2,8]"
    assert allowed["joint.enabled"] == "true or false"
    assert allowed["selector"] == "gumbel, uniform, random, middle, shots, motion"
    for name in allowed["selector"].split(", "):
        assert with_settings(METHODS["videocompressa"], [f"selector={name}"]).selector_name == name
    assert {each.name: each.allowed for each in list_settings(METHODS["dm"])}["lr"] == "above 0"
    with pytest.raises(InputError, match="joint.lr is nan; it must be at least 0"):
        with_settings(METHODS["videocompressa"], ["joint.lr=nan"])


def test_the_verb_lists_them(run: Runner) -> None:
    shown = run("settings", "train").out
    assert "views.crop=0.8\n    Smallest area of a crop as a share of the frame, in (0,1]; 1" in shown
    assert "schedule=cosine\n" in shown
    assert max(map(len, shown.splitlines())) <= 80
    listed = run("settings", "lvdd", "--json").json["settings"]
    assert {"name", "default", "allowed", "meaning"} == set(listed[0])
    error = run("settings", "tran").error
    assert "unknown method 'tran'; known: train, videocompressa, typical-clips" in error


def test_a_file_holds_options_and_settings(run: Runner, videos: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(
        'method = "random-real"\nvpc = 2\nframes = 4\nallow-fewer = true\nclasses = ["dark", "light"]\n'
        f'output = "{tmp_path / "set.safetensors"}"\n'
        '[set]\nselector = "middle"\n[set.teacher.train]\nsteps = 7\nmilestones = [0.25, 0.5]\n'
    )
    usual = (*TINY, "--cache", run.cache, "--set", "teacher.train.steps=9", "--vpc", 1, "--config", config)
    assert run("compress", videos, *usual).code == 0
    synthetic = read_set(tmp_path / "set.safetensors")
    assert len(synthetic) == 2  # the command line's --vpc
    settings = replace(METHODS["random-real"], selector="middle").differing_settings()
    settings["teacher"] = {"train": {"steps": 9, "milestones": [0.25, 0.5]}}  # and its --set
    assert json.loads(json.dumps(synthetic.provenance.config)) == settings
    config.write_text('student = "framenet2d"\nsteps = 5\nseeds = 1\nbatch_size = 4\n[set]\nviews.mirror = true\n')
    common = ("--data", videos, "--workers", 0, "--cache", run.cache, "--config", config, "--json")
    trained = run("train", tmp_path / "set.safetensors", *common, "--steps", 2).json["options"]
    assert (trained["steps"], trained["batch_size"], trained["settings"]) == (2, 4, ["views.mirror=true"])


def test_the_file_of_the_page_is_one(run: Runner, videos: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs" / "bench.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "run.toml").write_text(text)
    usual = ("--config", tmp_path / "run.toml", "--workers", 0, "--cache", run.cache)
    assert "--jobs is 0" in run("bench", videos, "-o", tmp_path / "bench", "--jobs", 0, *usual).error


def test_bench_takes_a_file_too(run: Runner, videos: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('methods = "random-real"\nlabels = "hard"\nvpc = [1, 2]\nseeds = 1\n[train]\nsteps = 0\n')
    error = run("bench", videos, "-o", tmp_path / "bench", *TINY, "--cache", run.cache, "--config", config).error
    assert "TrainConfig.steps is 0; it must be at least 1" in error
    config.write_text('methods = "random-real"\nlabels = "hard"\nvpc = [1, "x"]\n')
    error = run("bench", videos, "-o", tmp_path / "bench", *TINY, "--cache", run.cache, "--config", config).error
    assert "--vpc is '1,x'; write whole numbers with commas between them" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vcp = 2", r"--config \S+: vcp is no option of compress; known: allow-fewer, bytes, .*vpc, workers$"),
        ("set = 2", r"--config \S+: \[set\] is 2; write a table of settings, such as \[set\] and views.mirror = true"),
        ("vpc: 2", r"--config \S+: is not TOML \(.*\); write lines such as vpc = 3"),
        ("vpc = true", r'for --vpc from --config \S+run.toml: unable to convert "true" into int'),
        ('ratio = "150%"', r"'150%' is no share"),
        ("[set]\nnone = 1", r"--set none: is not a setting; known: labels, fill"),
    ],
)
def test_what_a_file_cannot_hold(text: str, message: str, run: Runner, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(text)
    error = run("compress", videos, "-o", tmp_path / "a.safetensors", "--config", tmp_path / "run.toml").error
    assert re.search(message, error), error


def test_a_file_that_is_not_there(run: Runner, videos: Path, tmp_path: Path) -> None:
    error = run.train(videos, "--config", tmp_path / "run.toml", *STUDENT).error
    assert f"--config {tmp_path / 'run.toml'}: cannot be read (No such file or directory); give a TOML file" in error
