"""Labelers are trained here: a small network learns all training videos, and its weights are rounded.

1. Train. With hard labels, by the recipe that is best for full data: what a network learned directly was as good as
          what it learned from larger teachers, which need not be trained (docs/log.md).
2. Round. The weights, to a few bits each (`artifact/packing/weights.py`); what that changes is measured.

The labeler may also be a layer on the features of a pretrained network, trained as a probe; a file holds the layer.
"""

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from videocompressa.artifact.packing.weights import rounded
from videocompressa.clip import Candidates, ClipSpec
from videocompressa.errors import InputError, check_least, check_within
from videocompressa.labeler import LEAST_SPREAD, Labeler, LabelerSpec
from videocompressa.networks import FeatureClassifier
from videocompressa.run import Run
from videocompressa.students.clips import LabeledClips
from videocompressa.students.named import build_named, parse_student
from videocompressa.students.probe import features_of, fit_probe
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips
from videocompressa.students.training import fit
from videocompressa.views import Views, random_views

LAYER_MIX = 0.5
"""Share of mixed batches where a layer labels views: features of a pretrained network need some that are not mixed."""
_AGREEMENT = "agreement"
"""Of the stage, besides the weights."""
# Views whose labels are compared.
_MOST_VIEWS, _BATCH = 512, 32


@dataclass(frozen=True)
class LabelerConfig:
    """The labeler of labels "views", and how it learns the training videos."""

    spec: LabelerSpec = field(default_factory=LabelerSpec)
    """Its network, its bits, and the views that it labels."""
    steps: int = 1600
    """Optimizer steps, >= 1: those of a student. After more, it is surer of its training videos and teaches less."""
    lr: float = 2e-3
    """Highest learning rate, > 0."""
    views: Views = field(default_factory=Views)
    """The views that it learns from: those that are best for hard labels."""
    probe_views: int = 2
    """Of the layer of a pretrained network: views of each video that it learns from, the video itself among them."""

    def __post_init__(self) -> None:
        check_least(self, "labeler.", steps=1, probe_views=1)
        if self.spec.is_layer and not parse_student(self.spec.network).is_frozen:
            raise InputError(
                f"labeler.spec.network is {self.spec.network!r}; of a pretrained network only a layer is stored: give "
                "it in mode probe or centroid, such as hf:FOLDER:probe"
            )
        check_within(self, "labeler.", lr="(0,inf)")

    @property
    def train(self) -> TrainConfig:
        """How it is trained."""
        spec = self.spec
        return TrainConfig(
            student=spec.network,
            width=spec.width,
            steps=self.steps,
            lr=self.lr,
            views=self.views,
            probe_views=self.probe_views,
        )


def completed_spec(spec: LabelerSpec, classes: tuple[str, ...], clip: ClipSpec) -> LabelerSpec:
    """Return the spec of a layer with what its pretrained network says: its features and identity."""
    return _spec_of(spec, _network(spec.network, classes, clip))


def parse_labeler(name: str) -> str:
    """Return the name of a pretrained network, with the mode that a labeler needs; raises `InputError`."""
    parts = parse_student(name)
    if not parts.is_frozen:
        raise InputError(f"--labeler {name}: of a pretrained network only a layer is stored; give it in mode probe")
    return name


def with_network(labeler: Labeler, name: str, classes: tuple[str, ...], clip: ClipSpec) -> Labeler:
    """Return a labeler that can label: a layer gets the pretrained network of this name."""
    return labeler if labeler.is_complete else labeler.with_network(_network(name, classes, clip))


def stored_spec(spec: LabelerSpec) -> LabelerSpec:
    """Return the spec as a file holds it: without folders of this machine."""
    return dataclasses.replace(spec, network=parse_student(spec.network).portable)


def _network(name: str, classes: tuple[str, ...], clip: ClipSpec) -> FeatureClassifier:
    network = build_named(parse_labeler(name), classes, clip, torch.Generator().manual_seed(0))
    assert isinstance(network, FeatureClassifier)
    return network.eval()


def _spec_of(spec: LabelerSpec, network: FeatureClassifier) -> LabelerSpec:
    return dataclasses.replace(spec, features=network.head.in_features, identity=network.identity)


def train_labeler(train_data: Candidates, config: LabelerConfig, run: Run) -> Labeler:
    """Return a labeler that learned the training videos; a finished stage. Its weights are those that a file stores."""
    spec, part, clips = config.spec, run.child("labeler"), real_clips(train_data)
    network = None
    if spec.is_layer:
        network = _network(spec.network, clips.classes, train_data.clip)
        spec = stored_spec(_spec_of(spec, network))

    def compute() -> dict[str, Tensor]:
        if network is not None:
            return _layer(clips, config, network, part)
        state = fit(clips, config.train, part, step_name="labeler").state_dict().items()
        weights = {name: tensor.cpu() for name, tensor in state if tensor.is_floating_point()}
        return {**weights, _AGREEMENT: torch.tensor(agreement(clips, weights, spec, part))}

    key = {"config": dataclasses.asdict(config.train), "bits": spec.bits, "views": dataclasses.asdict(spec.views)}
    if network is not None:
        key["identity"] = network.identity
    weights = run.group.main_first(lambda: part.recall("labeler", key, compute))
    share = round(float(weights.pop(_AGREEMENT)), 3)
    weights = rounded(weights, spec.bits)
    return Labeler(spec, weights, train_data.normalization, share, network).to(run.device)


def _layer(clips: LabeledClips, config: LabelerConfig, network: FeatureClassifier, run: Run) -> dict[str, Tensor]:
    """Return the weights of a layer on a network that learned the clips, and the agreement on the clips themselves.

    Weights are stored times the spread of their feature, to be rounded alike; the bias makes up for what rounding
    changes at the mean of the features.
    """
    probe = fit_probe(clips, config.train, run, network)
    features = features_of(probe, clips, run)
    std, mean = torch.std_mean(features, 0)
    weight, bias = probe.head.weight.detach().cpu(), probe.head.bias.detach().cpu()
    spread = std.clamp(min=LEAST_SPREAD).half().float()
    after = rounded({"weight": weight * spread}, config.spec.bits)["weight"] / spread
    shifted = bias + (weight - after) @ mean
    agreed = (features @ weight.T + bias).argmax(1) == (features @ after.T + shifted).argmax(1)
    run.watch("labeler agreement", done=len(clips), total=len(clips))
    return {"weight": weight * spread, "spread": spread, "bias": shifted, _AGREEMENT: agreed.float().mean()}


def agreement(clips: LabeledClips, weights: dict[str, Tensor], spec: LabelerSpec, run: Run) -> float:
    """Return the share of views on which rounded weights name the class that the weights name, in [0,1]."""
    draws, agreed, total = run.generator("agreement"), 0, 0
    both = [Labeler(spec, each, clips.normalization).to(run.device) for each in (weights, rounded(weights, spec.bits))]
    for rows in torch.split(torch.randperm(len(clips), generator=draws)[:_MOST_VIEWS], _BATCH):
        pixels, _ = random_views(clips.pixels(rows, run.device), spec.views, draws)
        before, after = (labeler(pixels).argmax(1) for labeler in both)
        agreed, total = agreed + int((before == after).sum()), total + len(rows)
        run.watch("labeler agreement", done=total, total=min(len(clips), _MOST_VIEWS))
    return agreed / total
