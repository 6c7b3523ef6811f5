"""The labeler: what it answers, that it stays frozen, views for any training loop, and what it learns."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from labelers import HALF, SMALL_SPEC, STRONG, random_labeler
from method_runs import candidates, compress, dark_and_bright
from torch import Tensor, nn
from torch.utils.data import DataLoader

from videocompressa.artifact import to_bytes
from videocompressa.artifact.container import parse
from videocompressa.artifact.packing.weights import pack
from videocompressa.artifact.set_file import set_of
from videocompressa.clip import Candidates
from videocompressa.errors import InputError
from videocompressa.labeler import MOST_BITS, MOST_WIDTH, LabeledViews, Labeler, LabelerSpec
from videocompressa.methods.coreset import CoresetConfig
from videocompressa.networks import STUDENTS
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages
from videocompressa.students import labelers
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import evaluate
from videocompressa.students.labelers import LabelerConfig, train_labeler
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import real_clips
from videocompressa.students.training import fit
from videocompressa.views import UNCHANGED

CPU = torch.device("cpu")


def clips(count: int = 6, frames: int = 4, side: int = 12, seed: int = 0) -> Tensor:
    return torch.rand(count, frames, 3, side, side, generator=torch.Generator().manual_seed(seed))


# --- What it answers ---


@pytest.mark.parametrize("network", STUDENTS)
def test_probabilities_of_every_network(network: str) -> None:
    labeler = random_labeler(LabelerSpec(network, width=0.0625), num_classes=5)
    pixels = clips(3, 8, 64)
    labels = labeler(pixels)
    assert (labels.shape, labels.dtype, labels.requires_grad) == ((3, 5), torch.float32, False)
    torch.testing.assert_close(labels.sum(1), torch.ones(3))
    torch.testing.assert_close(labeler(pixels[1:2]), labels[1:2])  # whatever else is in the batch
    logits = labeler.student(HALF.apply(pixels))
    torch.testing.assert_close(labels, logits.softmax(1))


def test_it_stays_in_evaluation_mode_and_frozen_inside_other_models() -> None:
    labeler = random_labeler(LabelerSpec("minic3d", width=0.0625))
    pixels = clips(4, 8, 64)
    before, state = labeler(pixels), copy.deepcopy(labeler.state_dict())
    model = nn.Sequential(labeler).train()
    assert labeler.train() is labeler
    assert not any(module.training for module in labeler.modules())
    assert torch.equal(model(pixels), before)
    assert not any(weight.requires_grad for weight in model.parameters())
    after = labeler.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("network", STUDENTS)
@pytest.mark.parametrize("width", [0.0625, 0.125])
def test_shapes_are_those_of_the_floating_point_weights(network: str, width: float) -> None:
    spec = LabelerSpec(network, width)
    labeler = random_labeler(spec, 7)
    state = STUDENTS[network](7, width).state_dict()
    assert spec.shapes(7) == {name: tuple(each.shape) for name, each in state.items() if each.is_floating_point()}
    assert spec.shapes(7) == {name: tuple(each.shape) for name, each in labeler.weights.items()}
    assert {len(shape) > 0 for shape in spec.shapes(7).values()} == {True}


def test_weights_are_those_that_were_given() -> None:
    labeler = random_labeler()
    again = Labeler(labeler.spec, labeler.weights, HALF)
    assert all(torch.equal(again.weights[name], weight) for name, weight in labeler.weights.items())
    assert labeler.device == CPU


def test_it_is_pickled_and_copied() -> None:
    labeler, pixels = random_labeler(), clips()
    for again in (pickle.loads(pickle.dumps(labeler)), copy.deepcopy(labeler)):
        assert torch.equal(again(pixels), labeler(pixels))
        assert (again.spec, again.normalization, again.training) == (labeler.spec, HALF, labeler.training)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "vit"}, f"^labeler.network is 'vit'; known: {', '.join(STUDENTS)}, or a pretrained network"),
        ({"bits": 1}, rf"^labeler.bits is 1; it must be in \[2,{MOST_BITS}\]$"),
        ({"bits": 9}, rf"^labeler.bits is 9; it must be in \[2,{MOST_BITS}\]$"),
        ({"width": 0.0}, rf"^labeler.width is 0.0; it must be in \(0,{MOST_WIDTH:g}\]$"),
        ({"width": 2.5}, rf"^labeler.width is 2.5; it must be in \(0,{MOST_WIDTH:g}\]$"),
        ({"width": float("nan")}, "^labeler.width is nan; it must be in"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelerSpec(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "labeler.steps is 0; it must be at least 1"),
        ({"lr": 0.0}, "labeler.lr is 0.0; it must be above 0"),
        ({"lr": float("nan")}, "labeler.lr is nan; it must be above 0"),
    ],
)
def test_trainings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelerConfig(**changes)


# --- Views for any training loop ---


def views_of(count: int = 6) -> LabeledViews:
    return LabeledViews(clips(count), random_labeler(replace(SMALL_SPEC, views=STRONG)))


def taken(dataset: LabeledViews, **loading: Any) -> Iterator[Tensor]:
    return (pixels for pixels, _ in DataLoader(dataset, batch_size=3, **loading))


def test_each_view_has_its_own_label() -> None:
    dataset = views_of()
    for pixels, labels in DataLoader(dataset, batch_size=4, shuffle=True):
        assert pixels.shape[1:] == dataset.clips.shape[1:]
        assert (pixels.dtype, labels.dtype) == (torch.float32, torch.float32)
        torch.testing.assert_close(labels, dataset.labeler(pixels))
        torch.testing.assert_close(labels.sum(1), torch.ones(len(labels)))
        assert not any(torch.equal(view, clip) for view in pixels for clip in dataset.clips)
    assert len(dataset) == 6


def test_views_are_in_the_order_of_the_rows() -> None:
    dataset = LabeledViews(clips(), random_labeler(replace(SMALL_SPEC, views=UNCHANGED)))
    for (view, label), row in zip(dataset.__getitems__([4, 0]), (4, 0), strict=True):
        assert torch.equal(view, dataset.clips[row])
        torch.testing.assert_close(label, dataset.labeler(dataset.clips[row : row + 1])[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_and_workers_see_other_views_and_a_seed_repeats_them(workers: int) -> None:
    dataset = LabeledViews(clips(1).expand(6, -1, -1, -1, -1), random_labeler(replace(SMALL_SPEC, views=STRONG)))
    torch.manual_seed(3)
    first, second = (torch.cat(list(taken(dataset, num_workers=workers))) for _ in range(2))
    together = torch.cat([first, second])
    assert len(together.flatten(1).unique(dim=0)) == 12  # the same clip, and no view twice
    torch.manual_seed(3)
    assert torch.equal(torch.cat(list(taken(dataset, num_workers=workers))), first)
    torch.manual_seed(4)
    assert not torch.equal(torch.cat(list(taken(dataset, num_workers=workers))), first)


def test_workers_that_stay_see_other_views_in_each_epoch() -> None:
    loader = DataLoader(views_of(4), batch_size=2, num_workers=1, persistent_workers=True)
    first, second = (torch.cat([pixels for pixels, _ in loader]) for _ in range(2))
    assert not any(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_single_clips_are_taken_too() -> None:
    dataset = views_of()
    torch.manual_seed(0)
    view, label = dataset[2]
    assert (view.shape, label.shape) == (dataset.clips.shape[1:], (2,))
    torch.testing.assert_close(dataset.labeler(view[None])[0], label)
    assert not torch.equal(dataset[2][0], view)
    torch.manual_seed(0)
    assert torch.equal(dataset[-4][0], view)  # the same clip, counted from the end
    for row in (6, -7):
        with pytest.raises(IndexError):
            dataset[row]


def test_a_single_clip_is_mixed_with_others() -> None:
    """Its own view never has more than its own values: the rest comes from the other clips."""
    values = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1, 1).expand(3, 2, 3, 8, 8)
    dataset = LabeledViews(values, random_labeler(replace(SMALL_SPEC, views=replace(UNCHANGED, mix=1.0))))
    torch.manual_seed(0)
    brightest = [float(dataset[0][0].max()) for _ in range(40)]
    assert 0.0 in brightest  # it was mixed with itself
    assert max(brightest) > 0.5  # or with the last


def test_a_set_without_a_labeler_has_no_labeled_views() -> None:
    synthetic = compress(dark_and_bright(), CoresetConfig())
    with pytest.raises(
        InputError,
        match=r"^views=True: this set, compressed by 'random-real', has no labeler; compress with --labeler auto, or",
    ):
        synthetic.as_dataset(views=True)
    labeled = replace(synthetic, labeler=random_labeler())
    dataset = labeled.as_dataset(views=True)
    assert isinstance(dataset, LabeledViews)
    assert torch.equal(dataset.clips, labeled.clips())
    lazy = labeled.as_dataset(views=True, lazy=True)
    views = []
    for each in (dataset, lazy):
        torch.manual_seed(3)
        views.append(each.__getitems__([1, 0])[0][0])  # type: ignore[attr-defined]
    assert torch.equal(*views)
    plain, label = labeled.as_dataset()[0]
    assert torch.equal(plain, labeled.clips()[0])
    assert (label.dtype, int(label)) == (torch.int64, int(labeled.labels[0]))


# --- What it learns, and what is learned from it ---

LEARNED = LabelerConfig(replace(SMALL_SPEC, width=0.125, bits=6), steps=60, lr=5e-3)


def train(data: Candidates, config: LabelerConfig = LEARNED, *, stages: Stages | None = None, seed: int = 0) -> Labeler:
    return train_labeler(data, config, Run(Streams(seed), stages=stages or Stages()))


def shades(count: int, seed: int) -> Candidates:
    """Noise of any brightness; the brighter half is class 1."""
    draws = torch.Generator().manual_seed(seed)
    level = torch.randint(0, 200, (count, 1, 1, 1, 1), generator=draws)
    frames = torch.randint(0, 56, (count, 4, 3, 12, 12), generator=draws) + level
    return candidates(frames.to(torch.uint8), (level > 100).flatten().long())


@pytest.fixture(scope="module")
def taught() -> Labeler:
    return train(shades(48, 0), replace(LEARNED, views=UNCHANGED))


def test_planted_truth_a_labeler_knows_the_class_of_new_clips(taught: Labeler) -> None:
    fresh = shades(200, 1)
    right = taught(fresh.frames.float() / 255).argmax(1) == fresh.labels
    assert float(right.float().mean()) > 0.9
    assert taught.agreement > 0.9


def test_agreement_is_the_share_of_labels_that_rounding_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clips, weights = real_clips(shades(40, 0)), random_labeler().weights
    assert labelers.agreement(clips, weights, SMALL_SPEC, Run(Streams(0))) == 1  # rounded before
    opposite = {name: -weight if name.startswith("classifier") else weight for name, weight in weights.items()}
    monkeypatch.setattr(labelers, "rounded", lambda given, bits: opposite)
    assert labelers.agreement(clips, weights, SMALL_SPEC, Run(Streams(0))) < 0.1


def test_the_labeler_is_what_a_file_stores(taught: Labeler) -> None:
    assert not taught.training
    synthetic = replace(compress(dark_and_bright(), CoresetConfig()), labeler=taught)
    stored = set_of(*parse(to_bytes(synthetic))).labeler
    assert stored is not None
    assert all(torch.equal(stored.weights[name], weight) for name, weight in taught.weights.items())


def test_a_finished_labeler_is_recalled_and_another_one_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, quick = shades(8, 0), replace(LEARNED, steps=2)
    fits = []
    monkeypatch.setattr(labelers, "fit", lambda *given, **named: fits.append(1) or fit(*given, **named))
    first = train(data, quick, stages=Stages(tmp_path))
    again = train(data, quick, stages=Stages(tmp_path))
    assert len(fits) == 1
    packed = [pack(each.weights, quick.spec.bits) for each in (first, again)]
    assert all(torch.equal(packed[0][name], packed[1][name]) for name in packed[0])
    for changes in (
        {"config": replace(quick, steps=3)},
        {"config": replace(quick, spec=replace(quick.spec, views=UNCHANGED))},
        {"config": replace(quick, spec=replace(quick.spec, width=0.25))},
        {"config": replace(quick, spec=replace(quick.spec, bits=3))},  # whose agreement is another
        {"config": replace(quick, views=UNCHANGED)},
        {"seed": 1},
    ):
        before = len(fits)
        train(data, **({"config": quick} | changes), stages=Stages(tmp_path))
        assert len(fits) == before + 1, changes


@pytest.mark.slow
def test_planted_truth_students_learn_the_labelers_classes_and_not_the_stored_ones() -> None:
    """All stored labels are wrong, the labeler is right: who reads which is seen at once."""
    data = dark_and_bright()
    labeler = train(data)
    synthetic = compress(data, CoresetConfig(), videos_per_class=5)
    wrong = replace(synthetic, labels=1 - synthetic.labels, labeler=labeler)
    config = TrainConfig("framenet2d", width=0.25, steps=40, lr=5e-3, warmup_steps=0, views=UNCHANGED)
    fresh = dark_and_bright()
    test_clips = LabeledClips(fresh.frames, fresh.labels, fresh.normalization, fresh.classes)
    by_views, by_labels = LabeledClips.of_set(wrong), LabeledClips.of_set(replace(wrong, labeler=None))
    assert (by_views.regime, by_labels.regime) == ("views", "hard")
    assert evaluate(fit(by_views, config, Run(Streams(0))), test_clips, CPU).top1 > 0.9
    assert evaluate(fit(by_labels, config, Run(Streams(0))), test_clips, CPU).top1 < 0.1
    logits = replace(config, loss="logit-mse")  # views are labeled softly, whatever the stored labels are
    assert evaluate(fit(by_views, logits, Run(Streams(0))), test_clips, CPU).top1 > 0.9


@pytest.mark.slow
def test_a_method_with_labels_of_views_trains_a_labeler_and_keeps_hard_labels() -> None:
    data = dark_and_bright()
    config = CoresetConfig(labels="views", labeler=LEARNED)
    assert config.needs_teacher
    assert config.training_steps(12, 2) == LEARNED.steps
    first, second = compress(data, config), compress(data, config)
    assert torch.equal(first.labels, torch.tensor([0, 0, 1, 1]))
    assert to_bytes(first) == to_bytes(second)
    assert to_bytes(first) != to_bytes(compress(data, config, seed=1))
    assert first.labeler is not None
    right = first.labeler(data.frames.float() / 255).argmax(1) == data.labels
    assert float(right.float().mean()) > 0.9
