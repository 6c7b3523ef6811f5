"""Labelers that are a layer of a pretrained network: what a file holds of them, and what it takes to use them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.numpy
import torch
from cli_runs import Runner
from labelers import HALF, random_labeler
from method_runs import candidates
from test_artifact import as_tensor, check_refused, make_set, parts, provenance_text

import videocompressa as vc
from videocompressa.artifact import read_set, to_bytes
from videocompressa.artifact.packing.weights import rounded
from videocompressa.errors import InputError
from videocompressa.labeler import Labeler, LabelerSpec, Layer
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students.labelers import LabelerConfig, completed_spec, train_labeler, with_network
from videocompressa.students.probe import fit_probe
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips

NETWORKS = """
import torch
from torch import nn

class Shade(nn.Module):
    def forward(self, clips):
        red, first = clips[:, :, 0].mean((1, 2, 3)), clips[:, 0].mean((1, 2, 3))
        return torch.stack([clips.mean((1, 2, 3, 4)), 100 * red, first], 1)

class Other(Shade):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

def shade(num_classes, clip):
    return Shade()

def other(num_classes, clip):
    return Other()
"""
SPEC = LabelerSpec("nets.py:shade:probe", bits=6, features=3, identity="of the network")


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETWORKS)
    return path


def shades(count: int = 24, seed: int = 0) -> vc.Candidates:
    """Noise of any brightness; the brighter half is class 1."""
    draws = torch.Generator().manual_seed(seed)
    level = torch.randint(0, 200, (count, 1, 1, 1, 1), generator=draws)
    frames = torch.randint(0, 56, (count, 4, 3, 12, 12), generator=draws) + level
    return candidates(frames.to(torch.uint8), (level > 100).flatten().long())


def layer(spec: LabelerSpec = SPEC) -> Labeler:
    draws = torch.Generator().manual_seed(0)
    weights = {name: torch.rand(shape, generator=draws) + 0.5 for name, shape in spec.shapes(2).items()}
    return Labeler(spec, rounded(weights, spec.bits), HALF)


def test_planted_truth_what_the_layer_learned_of_all_videos_is_in_the_file(
    run: Runner, videos: Path, networks: Path, tmp_path: Path
) -> None:
    path, name = tmp_path / "set.safetensors", f"{networks}:shade:probe"
    compressed = run.compress(videos, path, "--labeler", name)
    assert compressed.code == 0
    assert f"--labeler {name}\n" in compressed.err  # of the command that comes next
    assert "labeler agreement: 8 of 8" in compressed.err
    shown = run("inspect", path).out
    assert "layer on nets.py:shade:probe, 5 bits a weight; 100 % of labels as before rounding" in shown
    assert str(tmp_path) not in path.read_bytes().decode("latin-1")
    assert read_set(path).provenance.config["labeler"]["spec"]["network"] == "nets.py:shade:probe"
    # A student of the same network needs nothing else; any other one is told what is missing.
    ran = run.train(path, "--data", videos, "--student", name, "--json")
    assert ran.json["top1_mean"] == 1
    assert ran.json["regime"] == "views"
    assert "is a layer of nets.py:shade:probe, which is not in the file" in run.train(path, "--data", videos).error
    assert run.train(path, "--data", videos, "--labeler", name, "--json").json["regime"] == "views"
    assert run.train(path, "--data", videos, "--stored-labels", "--json").json["regime"] == "hard"
    other = run.train(path, "--data", videos, "--labeler", f"{networks}:other:probe").error
    assert "the network that was given has other weights or another preprocessor" in other


def test_views_are_labeled_once_the_network_is_given(run: Runner, videos: Path, networks: Path, tmp_path: Path) -> None:
    path, name = tmp_path / "set.safetensors", f"{networks}:shade:probe"
    assert run.compress(videos, path, "--labeler", name).code == 0
    assert run("inspect", path, "--html", tmp_path / "page.html").code == 0  # without its network
    with pytest.raises(InputError, match="give that network: .*labeler='hf:FOLDER'"):
        vc.load(path).as_dataset(views=True)[0]
    view, label = vc.load(path, labeler=name).as_dataset(views=True)[0]
    assert view.shape == (4, 3, 32, 32)
    assert float(label.sum()) == pytest.approx(1)


def test_rounding_leaves_the_logits_at_the_mean_of_the_features(networks: Path) -> None:
    data, name = shades(), f"{networks}:shade:probe"
    config = LabelerConfig(LabelerSpec(name, bits=2))
    labeler = train_labeler(data, config, Run(Streams(0)))
    probe = fit_probe(real_clips(data), config.train, Run(Streams(0)).child("labeler"))
    assert isinstance(labeler.student, Layer)
    normalized = data.normalization.apply(data.frames.float() / 255)
    mean = probe.features(normalized).mean(0)
    torch.testing.assert_close(labeler.student.head(mean), probe.head(mean), rtol=0, atol=0.02)  # a float16 bias
    assert not torch.allclose(labeler.student.head.weight, probe.head.weight, rtol=0.02)
    assert 0.5 < labeler.agreement <= 1


@pytest.mark.parametrize("student", ["shade", "other"])
def test_labels_are_the_same_from_one_pass_of_the_network_or_two(student: str, networks: Path) -> None:
    """A probe of the labeler's own network has one pass over a view; of another network, the labeler has its own."""
    data, name = shades(), f"{networks}:shade:probe"
    labeler = train_labeler(data, LabelerConfig(LabelerSpec(name)), Run(Streams(0)))
    clips = replace(real_clips(data), labeler=labeler)
    config = TrainConfig(student=f"{networks}:{student}:probe", probe_views=2)
    expected = fit_probe(clips, replace(config, student=f"{networks}:other:probe"), Run(Streams(0)))
    torch.testing.assert_close(fit_probe(clips, config, Run(Streams(0))).head.weight, expected.head.weight)


def test_a_layer_comes_back_from_its_file() -> None:
    labeler = layer()
    data = to_bytes(replace(make_set(), labeler=labeler))
    again = vc.artifact.set_file.set_of(*vc.artifact.container.parse(data))
    assert again.labeler is not None
    assert (again.labeler.spec, again.labeler.is_complete) == (SPEC, False)
    assert all(torch.equal(again.labeler.weights[name], weight) for name, weight in labeler.weights.items())
    assert to_bytes(again) == data


def test_only_its_own_network_completes_a_layer(networks: Path) -> None:
    clip, classes = vc.ClipSpec(4, 12, 12), ("a", "b")
    name = f"{networks}:shade:probe"
    spec = completed_spec(LabelerSpec(name), classes, clip)
    assert (spec.features, len(spec.identity)) == (3, 64)
    assert with_network(layer(spec), name, classes, clip).is_complete
    with pytest.raises(InputError, match=r"layer of nets.py:shade:probe, but the network .* give the same one"):
        with_network(layer(), name, classes, clip)
    complete = random_labeler()
    assert with_network(complete, "of no matter", classes, clip) is complete


@pytest.mark.parametrize(
    ("labeler", "message"),
    [
        ("hf:folder:lora", "--labeler hf:folder:lora: of a pretrained network only a layer is stored; give it in mode"),
        ("gone.py:make:probe", "there is no file gone.py"),
        ("vit:probe", "unknown student 'vit:probe'"),
    ],
)
def test_what_is_no_network_of_a_layer_is_refused(
    labeler: str, message: str, run: Runner, videos: Path, tmp_path: Path
) -> None:
    path = tmp_path / "set.safetensors"
    assert message in run.compress(videos, path, "--labeler", labeler).error
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None, "identity": None}, "has no features of 'nets.py:shade:probe'; a layer takes at least 1"),
        ({"features": 0}, "has no features of 'nets.py:shade:probe'"),
        ({"features": 2}, r"labeler_vectors has shape \(5,\); it must be \(4,\)"),
        ({"features": 2**40}, "labeler.features is 1099511627776; it must be 0, or at most 65536"),
        ({"identity": 3}, "metadata provenance.labeler.identity is 3; it must be str"),
        ({"network": "minic3d"}, "labeler.features is 3; it must be 0"),
    ],
)
def test_abuse(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    good = to_bytes(replace(make_set(), labeler=layer()))
    content = json.loads(provenance_text(good))
    content["labeler"] = {key: value for key, value in (content["labeler"] | changes).items() if value is not None}
    tensors = safetensors.numpy.load(good) | {"provenance": as_tensor(json.dumps(content))}
    check_refused(safetensors.numpy.save(tensors, parts(good)[0]["__metadata__"]), tmp_path, message)
