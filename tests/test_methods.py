"""Methods: every one gives a valid set, the same one for the same seed; planted truths; every ablation runs."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from method_runs import FRAMES, SIDE, SMALL, SMALL_METHODS, TEACHER, candidates, compress, dark_and_bright, noise
from readings import num_readings, spoiled_once
from torch import Tensor

from videocompressa.clip import Candidates
from videocompressa.codecs import PixelCodec
from videocompressa.errors import DivergedError, InputError
from videocompressa.labeler import LabelerSpec
from videocompressa.methods import METHODS, find_method
from videocompressa.methods.coreset import CoresetConfig
from videocompressa.methods.videocompressa import method, synthesis
from videocompressa.methods.videocompressa.method import VideoCompressaConfig
from videocompressa.methods.videocompressa.pool import PoolConfig, build_pool, clip_features
from videocompressa.methods.videocompressa.synthesis import SynthesisConfig, complete_mean_distance, synthesize
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages
from videocompressa.selection.gumbel import top_k_straight_through
from videocompressa.selection.joint import JointConfig, place, uncovered
from videocompressa.selection.keyframes import UniformSelector
from videocompressa.students.evaluation import predict, student_features
from videocompressa.students.labelers import LabelerConfig
from videocompressa.students.teachers import (
    RealClips,
    TeacherConfig,
    real_clips,
    recognized,
    teacher_features,
    train_teachers,
)
from videocompressa.synthetic import Budget, gather
from videocompressa.views import UNCHANGED

CPU = torch.device("cpu")
BY_ITEMS = sorted(name for name, config in METHODS.items() if not config.stored_as and name != "typical-clips")
"""Methods that VPC and K decide; those that fill a given size have test files of their own."""


@pytest.fixture(scope="module")
def two_classes() -> Candidates:
    return dark_and_bright()


@pytest.mark.parametrize("name", BY_ITEMS)
def test_every_method_gives_a_valid_set_and_the_same_for_the_same_seed(name: str, two_classes: Candidates) -> None:
    state = torch.random.get_rng_state()
    synthetic = compress(two_classes, SMALL_METHODS[name])
    again = compress(two_classes, SMALL_METHODS[name])
    assert torch.equal(state, torch.random.get_rng_state())
    keyframes = 3 if synthetic.packing == "dense" else FRAMES  # packed sets hold complete clips
    assert synthetic.latents.shape == (4, keyframes, 3, SIDE, SIDE)
    assert synthetic.provenance.video_ids == again.provenance.video_ids
    assert len(set(synthetic.provenance.video_ids)) == 4
    for field in ("latents", "positions", "times_seconds", "labels"):
        assert torch.equal(getattr(synthetic, field), getattr(again, field))
    assert synthetic.provenance.source.num_frames == 12 * 30
    rows = [two_classes.video_ids.index(video) for video in synthetic.provenance.video_ids]
    assert two_classes.labels[rows].tolist() == [0, 0, 1, 1]
    assert torch.equal(synthetic.times_seconds, synthetic.positions.double() / 10)


def test_planted_truth_typical_videos_in_the_features_of_the_pool(tmp_path: Path) -> None:
    """Of six clips a class five are alike and one is turned into its negative; one that is alike is kept."""
    labels = torch.arange(12) % 2
    one = (noise((2, FRAMES, 3, SIDE, SIDE), 0) // 4 + torch.tensor([0, 120]).view(2, 1, 1, 1, 1)).to(torch.uint8)
    frames = one[labels] + noise((12, FRAMES, 3, SIDE, SIDE), 1) // 32
    frames[4:6] = 255 - frames[4:6]
    data, stages = candidates(frames, labels), Stages(tmp_path)
    config = dataclasses.replace(SMALL, features="pool", labels="hard", synthesis=SynthesisConfig(enabled=False))
    kept = compress(data, config, videos_per_class=1, stages=stages).provenance.video_ids
    assert not set(kept) & {data.video_ids[4], data.video_ids[5]}
    assert len(list(tmp_path.glob("clip-features*"))) == 3

    run = Run(Streams(0), stages=stages)
    teachers = config.train_teachers(data, PixelCodec(), 3, run).networks
    clips = RealClips(data, PixelCodec(), 3, config.fill, config.teacher.as_stored)
    pool = build_pool(clips, config.pool, config.teacher.train, teachers, run)
    features = clip_features(pool, data, run)
    parts = features.split([len(features[0]) // len(pool)] * len(pool), dim=1)
    for part in parts:  # each student counts as much as any other
        assert torch.allclose(part.mean(0), torch.zeros(()), atol=1e-6)
        assert part.square().sum(1).mean() == pytest.approx(1, abs=1e-4)


def test_planted_truth_typical_videos_in_the_features_of_the_labeler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of six features of a class are alike, one is between all and four are far apart: the pair and the middle."""
    data, counts = dark_and_bright(), Counter[str]()
    spots = torch.tensor([[0.0, 0], [0, 10], [10, 0], [10, 10], [5, 5], [5, 5.1]]).repeat_interleave(2, 0)

    def planted(teacher: Any, given: Candidates, run: Run) -> Tensor:
        counts["features"] += 1
        return spots

    labeler = LabelerConfig(LabelerSpec("framenet2d", 0.1), steps=1)
    config = VideoCompressaConfig(labels="views", labeler=labeler)
    monkeypatch.setattr(method, "teacher_features", planted)
    monkeypatch.setattr(method, "recognized", lambda *given: torch.ones(12, dtype=torch.bool))
    kept = compress(data, config, videos_per_class=1).provenance.video_ids
    assert set(kept) <= {data.video_ids[row] for row in (8, 9, 10, 11)}
    assert counts["features"] == 1
    explicit = dataclasses.replace(config, subset="facility-location", features="labeler")
    assert compress(data, explicit, videos_per_class=1).provenance.video_ids == kept
    at_random = (dataclasses.replace(config, subset="random"), dataclasses.replace(config, labels="hard"))
    first, second = (compress(data, each, videos_per_class=1).provenance.video_ids for each in at_random)
    assert first == second
    assert counts["features"] == 2


def test_clips_that_the_teacher_knows_are_found_from_its_features(two_classes: Candidates, tmp_path: Path) -> None:
    run = Run(Streams(0), stages=Stages(tmp_path))
    (teacher,) = SMALL.train_teachers(two_classes, PixelCodec(), 3, run).networks
    features, clips = teacher_features(teacher, two_classes, run), real_clips(two_classes)
    assert torch.equal(features, student_features(teacher, clips, run.device))
    expected = predict(teacher, clips, run.device)
    assert torch.allclose(teacher.classify(features).softmax(1), expected, atol=1e-6)
    assert torch.equal(recognized(two_classes, [teacher], run), expected.argmax(1) == two_classes.labels)


@pytest.mark.parametrize("name", ["random-real", "herding-real", "k-center-real"])
def test_real_methods_store_real_frames(name: str, two_classes: Candidates) -> None:
    synthetic = compress(two_classes, SMALL_METHODS[name])
    rows = [two_classes.video_ids.index(video) for video in synthetic.provenance.video_ids]
    frames = two_classes.latents[rows].float()
    expected = torch.stack([clip[positions] for clip, positions in zip(frames, synthetic.positions, strict=True)])
    assert torch.equal(synthetic.latents, expected)
    assert torch.equal(synthetic.labels, two_classes.labels[rows])


ABLATIONS = {
    "selector uniform": {"selector": "uniform"},
    "selector random": {"selector": "random"},
    "joint off": {"joint": dataclasses.replace(SMALL.joint, enabled=False)},
    "understanding off": {"joint": dataclasses.replace(SMALL.joint, understanding=False)},
    "synthesis off": {"synthesis": dataclasses.replace(SMALL.synthesis, enabled=False)},
    "frozen selector": {"synthesis": dataclasses.replace(SMALL.synthesis, selector_lr=0.0)},
    "hard labels": {"labels": "hard"},
    "hold fill": {"fill": "hold"},
    "teacher on complete clips": {"teacher": dataclasses.replace(TEACHER, as_stored=0.0)},
}


@pytest.mark.parametrize("change", ABLATIONS.values(), ids=ABLATIONS.keys())
def test_every_ablation_runs_and_changes_the_set(change: dict[str, object], two_classes: Candidates) -> None:
    complete = compress(two_classes, SMALL)
    ablated = compress(two_classes, dataclasses.replace(SMALL, **change))
    assert ablated.labels.dtype == (torch.int64 if "labels" in change else torch.float32)
    assert not (
        torch.equal(complete.latents, ablated.latents)
        and torch.equal(complete.labels, ablated.labels)
        and complete.fill == ablated.fill
    )


def test_finished_stages_are_taken_and_give_the_same_set(two_classes: Candidates, tmp_path, monkeypatch) -> None:
    stages = Stages(tmp_path / "stages")
    first = compress(two_classes, SMALL, stages=stages)
    names = {path.name.rpartition("-")[0] for path in stages.folder.iterdir()}
    assert names == {"selector", "teacher", "clip-features", "pool", "pool-features", "synthesis"}
    monkeypatch.setattr("videocompressa.students.training.fit", None)  # a stage that is computed again would call it
    second = compress(two_classes, SMALL, stages=stages)
    assert torch.equal(first.latents, second.latents)
    broken = next(stages.folder.glob("teacher-*"))
    broken.write_bytes(broken.read_bytes()[:50])
    monkeypatch.undo()
    assert torch.equal(first.latents, compress(two_classes, SMALL, stages=stages).latents)


@pytest.mark.slow
def test_planted_truth_synthesis_moves_the_cell_that_shows_the_class() -> None:
    """All clips are one gray picture, but for one cell that is bright in class "b": only it may change much."""
    labels = torch.arange(16) % 2
    frames = (
        torch.full((16, FRAMES, 3, SIDE, SIDE), 100, dtype=torch.uint8) + noise((16, FRAMES, 3, SIDE, SIDE), 3) // 16
    )
    frames[labels == 1, :, :, 4:8, 4:8] += 100
    real = candidates(frames, labels)
    blank = frames.clone()
    blank[labels == 1, :, :, 4:8, 4:8] = 100  # what synthesis starts from does not show the classes
    start = candidates(blank, labels)
    teacher = dataclasses.replace(TEACHER, train=dataclasses.replace(TEACHER.train, steps=40, views=UNCHANGED))
    config = SynthesisConfig(steps=150, lr=0.05, batch_size=8, manifold_weight=0.0)
    clips = RealClips(real, PixelCodec(), 2, "hold", 0.0)
    run = Run(Streams(0))
    teachers = train_teachers(clips, teacher, run)
    pool = build_pool(clips, PoolConfig(ages=(20,), task_from=10), teacher.train, teachers, run)
    rows, positions = torch.tensor([0, 2, 1, 3]), torch.tensor([[1, 4]] * 4)
    before = gather(start, rows, positions, method="planted", config={}, seed=0, fill="hold")
    chosen = start.take(rows)
    after = synthesize(before, chosen, pool, UniformSelector(), PixelCodec(), config, teacher.train, run)
    change = (after["latents"] - before.latents)[2:].mean((0, 1, 2))
    inside, outside = change[4:8, 4:8].mean(), torch.cat([change[:3].flatten(), change[9:].flatten()]).abs().mean()
    assert inside > 0.25
    assert inside > 3 * outside


class OneWayCodec(PixelCodec):
    """Has no gradient on the way to latents."""

    def encode_raw(self, pixels: Tensor) -> Tensor:
        assert not pixels.requires_grad
        return super().encode_raw(pixels)


def with_synthesis(**changes: float) -> VideoCompressaConfig:
    return dataclasses.replace(SMALL, synthesis=dataclasses.replace(SMALL.synthesis, **changes))


@pytest.mark.parametrize("weight", ["match_weight", "task_weight", "manifold_weight"])
def test_a_term_of_weight_zero_is_as_one_of_nearly_no_weight(weight: str, two_classes: Candidates) -> None:
    without, nearly = (compress(two_classes, with_synthesis(**{weight: value})).latents for value in (0.0, 1e-35))
    assert torch.equal(without, nearly)  # all else is drawn alike


def test_terms_of_weight_zero_are_not_computed(two_classes: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    run, budget = Run(Streams(0)), Budget(2, 3)
    with pytest.raises(AssertionError):
        SMALL.compress(two_classes, OneWayCodec(), budget, run)
    monkeypatch.setattr(synthesis, "complete_mean_distance", lambda *given: pytest.fail("it matches"))
    with_synthesis(manifold_weight=0, match_weight=0).compress(two_classes, OneWayCodec(), budget, run)
    monkeypatch.setattr(synthesis, "autocast", lambda *given: pytest.fail("a student looks"))
    tuned = with_synthesis(manifold_weight=0, match_weight=0, task_weight=0)
    tuned = dataclasses.replace(tuned, selector="uniform")
    real = dataclasses.replace(tuned, synthesis=SynthesisConfig(), subset="facility-location")
    latents = [each.compress(two_classes, OneWayCodec(), budget, run).latents for each in (tuned, real)]
    assert torch.equal(*latents)


def test_losses_of_the_synthesis_are_read_once_in_ten_steps(
    two_classes: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counted(*given: Any) -> Any:
        tuned: list[dict[str, Tensor]] = []
        counts.append(num_readings(lambda: tuned.append(synthesize(*given))))
        return tuned[0]

    monkeypatch.setattr(method, "synthesize", counted)
    for steps in (11, 20):
        compress(two_classes, with_synthesis(steps=steps))
    assert 0 < counts[0] == counts[1]


@pytest.mark.parametrize("spoil", [False, True])
def test_a_synthesis_that_diverges_says_so(
    spoil: bool, two_classes: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_synthesis(steps=12, lr=0.01 if spoil else 1e38)
    if spoil:
        monkeypatch.setattr(synthesis, "_descend", spoiled_once(synthesis._descend, at=3))
    with pytest.raises(DivergedError, match=r"^the loss of the synthesis stopped being .* lower synthesis\.lr$"):
        compress(two_classes, config)


def test_placed_keyframes_cover_everything_when_all_are_kept() -> None:
    frames = torch.randn(2, 5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    everything, _ = top_k_straight_through(torch.zeros(2, 5), 5, 1.0)
    assert torch.allclose(place(everything, frames, "hold"), frames)
    assert float(uncovered(place(everything, frames, "hold"), frames).max()) < 1e-6
    one, _ = top_k_straight_through(torch.tensor([[0.0, 9.0, 0.0, 0.0, 0.0]] * 2), 1, 1.0)
    assert torch.allclose(place(one, frames, "hold"), frames[:, 1:2].expand_as(frames))
    assert float(uncovered(place(one, frames, "hold"), frames).min()) > 0.5


def test_teachers_see_a_share_of_the_clips_as_stored(two_classes: Candidates) -> None:
    pixels = two_classes.frames.float() / 255
    rows = torch.arange(12)
    stored = RealClips(two_classes, PixelCodec(), 1, "hold", 1.0).view(rows, pixels, torch.Generator().manual_seed(0))
    assert torch.allclose(stored, stored[:, :1].expand_as(stored), atol=1e-3)
    assert all(
        bool((clip[0] - frames).abs().amax((1, 2, 3)).min() < 4e-3) for clip, frames in zip(stored, pixels, strict=True)
    )
    half = RealClips(two_classes, PixelCodec(), 1, "hold", 0.5).view(rows, pixels, torch.Generator().manual_seed(0))
    kept = (half == pixels).flatten(1).all(1)
    assert 0 < int(kept.sum()) < 12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: find_method("magic"),
            "unknown method 'magic'; known: videocompressa, typical-clips, random-real",
        ),
        (lambda: VideoCompressaConfig(labels="firm"), "unknown labels 'firm'; known: soft, hard"),
        (lambda: VideoCompressaConfig(selector="best"), "unknown selector 'best'; known: gumbel"),
        (lambda: CoresetConfig(selector="best"), "unknown selector 'best'; known: gumbel, uniform, random"),
        (lambda: CoresetConfig(subset="best"), "unknown subset rule 'best'; known: random, herding"),
        (lambda: CoresetConfig(subset="auto"), "unknown subset rule 'auto'"),
        (lambda: VideoCompressaConfig(subset="best"), "unknown subset rule 'best'; known: auto, random"),
        (
            lambda: VideoCompressaConfig(subset="herding", features="labeler", labels="hard"),
            "features is 'labeler', but there is no labeler; give features=latents, or labels=views",
        ),
        (lambda: VideoCompressaConfig(fill="loop"), "fill is 'loop'; known: hold, linear"),
        (lambda: JointConfig(steps=0), "joint.steps is 0"),
        (lambda: JointConfig(width=12), "joint.width is 12; it must be a multiple of 8"),
        (lambda: JointConfig(coverage_weight=-1), "joint.coverage_weight is -1"),
        (lambda: SynthesisConfig(steps=0), "synthesis.steps is 0"),
        (lambda: SynthesisConfig(task_weight=-1), "synthesis.task_weight is -1; it must be at least 0"),
        (lambda: TeacherConfig(num_teachers=0), "teacher.num_teachers is 0"),
        (lambda: TeacherConfig(as_stored=2), "teacher.as_stored is 2"),
    ],
)
def test_messages(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("name", BY_ITEMS)
def test_too_much_asked(name: str, two_classes: Candidates) -> None:
    with pytest.raises(InputError, match="--keyframes is 7, but a clip has 6 candidate frames"):
        compress(two_classes, SMALL_METHODS[name], keyframes=7)
    with pytest.raises(InputError, match="--vpc is 7, but class 'a' has 6, 'b' has 6 training videos"):
        compress(two_classes, SMALL_METHODS[name], videos_per_class=7)


def test_methods_that_keep_as_much_as_the_file_holds_say_so() -> None:
    filling = {name for name, config in METHODS.items() if config.fills_bytes}
    coded = {name for name in METHODS if name.endswith(("-h264", "-av1", "-webp"))}
    assert filling == {"typical-clips", *coded, *(name for name in METHODS if name.startswith(("lvdd", "vdsd")))}


def test_a_coreset_is_called_by_its_rule(two_classes: Candidates) -> None:
    config = dataclasses.replace(METHODS["random-real"], subset="k-center", teacher=TEACHER)
    assert compress(two_classes, config).provenance.method == "k-center-real"


def test_a_recalled_stage_adds_what_it_cost(tmp_path: Path) -> None:
    now = iter([10.0, 11.0, 14.0, 20.0])
    outer = Stages(tmp_path, lambda: next(now))
    inner = {"x": torch.ones(1)}

    def make() -> dict[str, torch.Tensor]:
        return outer.recall("inner", {}, lambda: inner)

    outer.recall("outer", {}, make)
    assert outer.recalled_seconds == {}
    again = Stages(tmp_path, lambda: 0.0)
    again.recall("inner", {}, make)
    assert list(again.recalled_seconds.values()) == [3.0]
    third = Stages(tmp_path, iter([100.0, 101.0]).__next__)
    third.recall("third", {}, lambda: third.recall("inner", {}, make))
    last = Stages(tmp_path, lambda: 0.0)
    last.recall("third", {}, make)
    assert list(last.recalled_seconds.values()) == [4.0]  # one second of its own, three of the stage it recalled


def test_reading_back_what_was_just_computed_adds_no_seconds(tmp_path: Path) -> None:
    """Regression: the cost of MTT's experts, which are read back from disk, counted twice."""
    stages = Stages(tmp_path, iter([0.0, 100.0]).__next__)
    for _ in range(2):
        stages.recall("expert", {}, lambda: {"x": torch.ones(1)})
    assert stages.recalled_seconds == {}


def distance_of(values: Tensor, rows: Tensor, target: Tensor, total: int) -> Tensor:
    return complete_mean_distance(
        values[rows], torch.zeros(len(rows), dtype=torch.int64), target[None], torch.tensor([total])
    )


def test_a_part_of_a_class_gives_the_distance_of_its_complete_mean() -> None:
    values = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    expected = (values.mean(0) - target).square().mean()
    assert torch.isclose(distance_of(values, torch.arange(5), target, 5), expected)
    for size in (2, 3, 4):
        parts = [torch.tensor(part) for part in itertools.combinations(range(5), size)]
        distances = torch.stack([distance_of(values, part, target, 5) for part in parts])
        assert torch.isclose(distances.mean(), expected)
        assert distances.std() > 0
    one = distance_of(values, torch.tensor([2]), target, 5)  # no pair to see: the square of that clip
    assert torch.isclose(one, (values[2] - target).square().mean())


def test_classes_weigh_the_same_whatever_their_clips() -> None:
    features, index = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])
    distances = complete_mean_distance(features, index, torch.zeros(2, 1), torch.tensor([2, 1]))
    assert torch.isclose(distances, torch.tensor((4.0 + 25.0) / 2))


def test_matching_means_by_batches_keeps_clips_apart() -> None:
    """The square of a batch's mean would pull eight clips, taken two at a time, to one point."""
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(8, 4, generator=draws).requires_grad_()
    target, spread = torch.ones(4), float(values.detach().std(0).mean())
    optimizer = torch.optim.SGD([values], lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        torch.autograd.backward(distance_of(values, torch.randperm(8, generator=draws)[:2], target, 8))
        optimizer.step()
    assert torch.allclose(values.detach().mean(0), target, atol=0.35)
    assert float(values.detach().std(0).mean()) > 0.7 * spread
