"""The Python interface: every snippet of the README and of docs/python.md, and what the functions promise."""

from __future__ import annotations

import copy
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import draw_videos
from torch import nn
from torch.utils.data import DataLoader

import videocompressa as vc
from videocompressa.cli.app import Reading, Running
from videocompressa.cli.python import CompressKeywords, DataKeywords, RunKeywords, TrainKeywords
from videocompressa.cli.train import TrainArguments
from videocompressa.methods import METHODS
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions
from videocompressa.video import write_video

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = {"size": 32, "frames": 4, "workers": 0, "device": "cpu", "progress": False}
TOY: dict[str, Any] = {"method": "random-real", "vpc": 2, **SMALL}
FAST: dict[str, Any] = {"steps": 3, "batch_size": 4, "lr": 1e-3, "workers": 0, "device": "cpu", "progress": False}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `videos` in it and a cache of its own."""
    for seed, path in enumerate(sorted(draw_videos(tmp_path / "videos", train=5).rglob("*.mp4"))):
        draws = torch.Generator().manual_seed(seed)
        low, high = (0, 100) if path.parent.name == "dark" else (150, 250)
        colors = torch.randint(low, high, (6, 3, 1, 1), generator=draws, dtype=torch.uint8)
        write_video(path, colors.expand(-1, -1, 40, 48), fps=10)  # noise would be slow to store
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDEOCOMPRESSA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(3 * 4 * 32 * 32, 2))


def snippets(page: str) -> str:
    """Return the Python of a page, of which students take two steps."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    return "\n".join(blocks).replace("steps=1600", "steps=2").replace("range(20)", "range(1)")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_snippets_run_as_written(page: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, config in METHODS.items():
        spec = replace(config.labeler.spec, network="framenet2d")
        monkeypatch.setitem(METHODS, name, replace(config, labeler=replace(config.labeler, steps=2, spec=spec)))
    monkeypatch.setattr(Reading, "chosen", lambda reading: 0)
    names: dict[str, Any] = {"__name__": "snippets"}
    exec(compile(snippets(page), page, "exec", dont_inherit=True), names)
    assert len(vc.load(here / "set.safetensors")) == 6
    if page == "docs/python.md":
        assert not torch.equal(names["tuned"][1].weight, names["start"][1].weight)
        assert len(vc.load("halves.safetensors", codec=names["Halves"]())) == 6
        assert vc.load("backwards.safetensors").provenance.method == "backwards"


def test_functions_are_the_commands(here: Path) -> None:
    made = vc.compress("videos", "set.safetensors", **TOY)
    again = vc.compress(here / "videos", here / "again.safetensors", **TOY)
    assert made.path.read_bytes() == again.path.read_bytes()
    assert (made.videos_per_class, made.judged_by, made.skipped) == (2, "test", ())
    trained = vc.train("set.safetensors", "videos", student="framenet2d", seeds=2, **FAST)
    assert (len(trained.result.top1_runs), trained.num_test_clips) == (2, 4)
    assert trained.student is not None
    full = vc.train(here / "videos", student="framenet2d", seeds=1, **FAST, size=32, frames=4)
    assert (full.regime, full.num_train_clips) == ("hard", 10)
    held_out = vc.compress("videos", "val.safetensors", hold_out="20%", **TOY)
    assert held_out.num_train_videos == 8
    options = {"hold_out": 0.2, "split": "val", "settings": {"views.mirror": True, "milestones": (0.25, 0.5)}}
    assert (
        vc.train(vc.load("val.safetensors"), "videos", student=network(), seeds=1, **options, **FAST).num_test_clips
        == 2
    )


def test_the_other_functions_take_strings_too(here: Path) -> None:
    made = vc.compress("videos", "set.safetensors", **TOY)
    assert vc.measure("set.safetensors") == made.cost
    vc.write_set(vc.load("set.safetensors"), "written.safetensors")
    assert vc.export_set("set.safetensors", "exported", to="frames").num_items == 4
    assert vc.check_export("exported").faults == ()
    vc.extract_keyframes(["videos/test/dark"], "keyframes")
    assert (here / "keyframes" / "keyframes.json").is_file()


def test_options_have_the_names_of_the_command_line() -> None:
    def names(*kinds: type, without: set[str]) -> set[str]:
        return {field.name for kind in kinds for field in fields(kind)} - without

    run = names(Running, Reading, without={"reading"})
    assert set(RunKeywords.__annotations__) == run
    data = run | names(CandidateOptions, without=set())
    assert set(DataKeywords.__annotations__) == data
    what = names(CompressOptions, BudgetOptions, without={"method", "codec", "settings"})
    assert set(CompressKeywords.__annotations__) == data | what
    training = names(TrainArguments, without={"student", "settings"})
    assert set(TrainKeywords.__annotations__) == data | training


def test_names_and_values_that_cannot_be_used_are_refused(here: Path) -> None:
    with pytest.raises(vc.InputError, match=r"'vcp' is no option; known: allow_fewer, batch|bytes.* vpc, workers"):
        vc.compress("videos", "set.safetensors", vcp=2)  # type: ignore[call-arg]
    with pytest.raises(vc.InputError, match=r"'vpc' is no option; known: batch_size, cache"):
        vc.train("videos", vpc=2)  # type: ignore[call-arg]
    with pytest.raises(vc.InputError, match="'lots' is no number of bytes"):
        vc.compress("videos", "set.safetensors", bytes="lots")
    with pytest.raises(vc.InputError, match="data is missing; give the folder whose test videos"):
        vc.train("set.safetensors")
    with pytest.raises(vc.InputError, match="--set none: is not a setting; known: "):
        vc.compress("videos", "set.safetensors", settings={"none": 1}, **SMALL)
    with pytest.raises(vc.InputError, match="save_model: a module of yours is in the outcome"):
        vc.train("videos", student=network(), save_model="model", **FAST)
    assert not (here / "set.safetensors").exists()


def test_progress_is_shown_unless_it_is_turned_off(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_videos(here / "plain", test=0, train=2)
    options = {**TOY, "progress": True}
    vc.compress("plain/train", "set.safetensors", **options)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.index("note: plain/train has no test videos") < shown.err.index("decode: 4 of 4")
    vc.compress("plain/train", "quiet.safetensors", **TOY)
    assert capsys.readouterr() == ("", "")


def test_real_clips_judge_a_loop_of_ones_own(here: Path) -> None:
    vc.compress("videos", "set.safetensors", **TOY)
    options = {"workers": 0, "progress": False}
    test = vc.real_clips("videos", like="set.safetensors", **options)
    synthetic = vc.load("set.safetensors")
    assert (len(test), test.normalization, test.classes) == (4, synthetic.normalization, synthetic.classes)
    (clips, labels), *_ = DataLoader(test, batch_size=4)
    assert (clips.shape, clips.dtype, labels.dtype) == ((4, 4, 3, 32, 32), torch.float32, torch.int64)
    assert torch.equal(clips.mean((1, 2, 3, 4)) > 0.5, labels == 1)
    assert float(clips.max()) <= 1
    assert len(vc.real_clips("videos", "train", like=synthetic, **options)) == 10
    (here / "videos" / "test").rename(here / "videos" / "aside")
    (here / "videos" / "train").rename(here / "videos" / "test")
    (here / "videos" / "aside").rename(here / "videos" / "train")
    with pytest.raises(vc.InputError, match=r"the set: was made from 4 of the 10 test videos of videos \('test/dark/"):
        vc.real_clips("videos", like=synthetic, **options)
    draw_videos(here / "other", train=1, test=1, classes=("dark", "pale"))
    with pytest.raises(vc.InputError, match="other lacks 'light'"):
        vc.real_clips("other", like=synthetic, **options)


def test_a_module_stays_as_it_is(here: Path) -> None:
    vc.compress("videos", "set.safetensors", **TOY)
    module = network().eval()
    before = copy.deepcopy(module.state_dict())
    tuned = vc.fit("set.safetensors", module, **FAST)
    first, second = (vc.train("set.safetensors", "videos", student=module, seeds=2, **FAST) for _ in range(2))
    for name, weight in module.state_dict().items():
        assert torch.equal(weight, before[name]), name
    assert not module.training
    assert all(parameter.grad is None for parameter in module.parameters())
    for trained in (tuned, first.student, second.student):
        assert type(trained) is nn.Sequential
        assert not torch.equal(trained[2].weight, module[2].weight)
    assert torch.equal(first.student[2].weight, second.student[2].weight)  # seeds, not calls, draw the batches
    assert first.result.top1_runs == second.result.top1_runs
    with pytest.raises(vc.InputError, match=r"Linear gives \(2, 4, 3, 32, 7\) for clips .*; it must give logits"):
        vc.train("set.safetensors", "videos", student=nn.Linear(32, 7), **{**FAST, "batch_size": 2})
    with pytest.raises(vc.InputError, match="the network Flatten has no weight to train; give one that has some"):
        vc.fit("set.safetensors", nn.Flatten(), **FAST)


def test_a_codec_of_ones_own_is_asked_for_again(here: Path) -> None:
    codec = vc.build_codec("pixel")
    codec.spec = replace(codec.spec, name="mine")
    vc.compress("videos", "set.safetensors", codec=codec, **TOY)
    with pytest.raises(vc.InputError, match=r"unknown codec 'mine'; known: .*; or, in Python, codec=OBJECT of a class"):
        vc.load("set.safetensors")
    assert vc.load("set.safetensors", codec=codec).clips().shape == (4, 4, 3, 32, 32)
    assert vc.train("set.safetensors", "videos", codec=codec, student=network(), seeds=1, **FAST).num_train_clips == 4
