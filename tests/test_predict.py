"""From videos to answers: compress, train a student on the set, keep it, and ask it about new videos."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch
from cli_runs import Runner, draw_clip, draw_videos
from test_backbones import OWN, write_backbone
from torch import nn

import videocompressa as vc
from videocompressa.errors import InputError
from videocompressa.recipes.train import fit_module
from videocompressa.students.settings import TrainConfig
from videocompressa.video import write_video
from videocompressa.views import UNCHANGED


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")


@pytest.fixture
def new_videos(tmp_path: Path) -> Path:
    """Two videos that no command has seen, one that cannot be read, and one file that is no video."""
    folder = tmp_path / "new"
    folder.mkdir()
    for name, bright in (("a light one.gif", True), ("dark.mp4", False)):
        write_video(folder / name, draw_clip(77, bright=bright), 8.0)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("student", ["hf", "framenet2d", "own"])
def test_the_work_ends_in_the_classes_of_new_videos(
    student: str, backbone: Path, new_videos: Path, run: Runner, tmp_path: Path
) -> None:
    data, set_file, model = tmp_path / "shades", tmp_path / "set.safetensors", tmp_path / "model"
    draw_videos(data, train=6)
    (tmp_path / "nets.py").write_text(OWN)
    name = {"hf": f"hf:{backbone}", "own": f"{tmp_path / 'nets.py'}:make"}.get(student, student)
    assert run.compress(data, set_file, "--vpc", 4).code == 0
    options = ("--data", data, "--student", name, "--steps", 60, "--batch-size", 8, "--seeds", 1, "--lr", 0.01)
    trained = run.train(set_file, *options, "--save-model", model, "--json")
    assert trained.json["top1_mean"] == 1
    answer = run("predict", new_videos, "--model", model, "--top", 1, "--json").json
    assert [(row["video"], list(row["classes"])) for row in answer["videos"]] == [
        ("a light one.gif", ["light"]),
        ("dark.mp4", ["dark"]),
    ]
    assert all(0.5 < share <= 1 for row in answer["videos"] for share in row["classes"].values())
    assert [row["video"] for row in answer["skipped"]] == ["broken.mp4"]
    with tarfile.open(tmp_path / "new.tar", "w") as tar:
        tar.add(new_videos, "new")
    packed = run("predict", tmp_path / "new.tar", "--model", model, "--top", 1, "--json").json
    assert packed["videos"] == [{**row, "video": f"new.tar/new/{row['video']}"} for row in answer["videos"]]
    table = run("predict", new_videos, "--model", model)
    assert table.code == 0
    assert "a light one.gif" in table.out
    assert "broken.mp4" in table.err


def test_bad_input_of_predict_is_named(new_videos: Path, videos: Path, run: Runner, tmp_path: Path) -> None:
    model = tmp_path / "model"
    assert "give a folder that train --save-model wrote" in run("predict", new_videos, "--model", model).error
    assert run.train(videos, "--save-model", model, "--seeds", 1, "--steps", 1).code == 0
    assert "VIDEO is missing" in run("predict", "--model", model).error
    assert "there is no such file or folder" in run("predict", tmp_path / "gone.mp4", "--model", model).error
    assert "--top is 0" in run("predict", new_videos, "--model", model, "--top", 0).error
    assert "none of the 1 videos can be read" in run("predict", new_videos / "broken.mp4", "--model", model).error
    light = videos / "train" / "light"
    seen = run("predict", light, new_videos, "--model", model).error
    assert f"model {model}: was made from 4 of the 7 videos ('0.mp4', '1.mp4', '2.mp4', '3.mp4'), so its" in seen
    answers = run("predict", light, "--model", model, "--seen", "--json").json
    assert [row["video"] for row in answers["videos"]] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    both = run("predict", light, videos / "train" / "dark", "--model", model, "--seen", "--workers", 0, "--json").json
    assert [row["video"] for row in both["videos"]] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"] * 2
    assert both["videos"][:4] == answers["videos"]
    again = run.train(videos, "--save-model", model, "--seeds", 1, "--steps", 1)
    assert "exists; give --force to replace it" in again.error
    assert run.train(videos, "--save-model", model, "--seeds", 1, "--steps", 1, "--force").code == 0


def test_a_copy_of_a_module_is_trained_from_its_weights_on(videos: Path, run: Runner, tmp_path: Path) -> None:
    assert run.compress(videos, tmp_path / "set.safetensors", "--vpc", 4).code == 0
    synthetic = vc.load(tmp_path / "set.safetensors")
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 32 * 32, 2))
    before = [weight.clone() for weight in module.parameters()]
    still = TrainConfig(steps=1, lr=1e-12, weight_decay=0.0, views=UNCHANGED)
    for weight, old in zip(fit_module(synthetic, module, still).parameters(), before, strict=True):
        torch.testing.assert_close(weight, old, rtol=0, atol=1e-6)
    trained = fit_module(synthetic, module, TrainConfig(steps=30, lr=1e-3, views=UNCHANGED))
    logits = trained(synthetic.normalization.apply(synthetic.clips()))
    assert torch.equal(logits.argmax(1), synthetic.hard_labels)
    with pytest.raises(InputError, match=r"the network Linear gives .*; it must give logits"):
        fit_module(synthetic, nn.Linear(32, 7), still)
