"""Matching: closed forms, finite differences, experts cloned, resumed and all used, planted truth, messages."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import pytest
import torch
from readings import all_steps, num_readings, spoiled_once
from torch import Tensor, nn

from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import Codec, LinearCodec, PixelCodec
from videocompressa.errors import DivergedError, InputError
from videocompressa.matching import experts, tuning
from videocompressa.matching import objectives as matching
from videocompressa.matching.experts import ExpertConfig, flat_parameters, named_views, train_experts
from videocompressa.matching.objectives import (
    DMConfig,
    Matching,
    MTTConfig,
    ShowClips,
    TrajectoryMatching,
    mean_distance,
    stateless,
    trajectory_distance,
)
from videocompressa.matching.tuning import TuningConfig, decoded_clips, into_range, tune
from videocompressa.methods import METHODS
from videocompressa.methods.matched import DM, MTT, MatchedConfig
from videocompressa.networks import Dropout, build_student
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages, is_read
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig
from videocompressa.synthetic import Budget, SyntheticSet
from videocompressa.views import Views

FRAMES, SIDE = 4, 16
QUICK = ExpertConfig(student="framenet2d", width=0.1, num_experts=2, epochs=2, batch_size=8)
TEACHER = TeacherConfig(
    train=TrainConfig(
        student="framenet2d", width=0.1, steps=2, batch_size=8, lr=1e-3, warmup_steps=0, views=Views(scenes=0.0)
    ),
    num_views=2,
)


def candidates(frames: Tensor, labels: Tensor, codec: Codec | None = None, num_classes: int = 2) -> Candidates:
    codec = codec or PixelCodec()
    num_videos, num_frames = frames.shape[:2]
    latents = codec.encode(frames.flatten(0, 1)).half()
    return Candidates(
        frames=frames,
        latents=latents.view(num_videos, num_frames, *latents.shape[1:]),
        times_seconds=torch.arange(num_frames, dtype=torch.float64).expand(num_videos, -1) / 10,
        labels=labels,
        video_ids=tuple(f"{row}.mp4" for row in range(num_videos)),
        num_video_frames=torch.full((num_videos,), 30),
        video_bytes=torch.full((num_videos,), 1000),
        classes=tuple("abcdefgh"[:num_classes]),
        clip=ClipSpec(num_frames, *frames.shape[3:]),
        codec=codec.spec,
        normalization=Normalization((0.5, 0.45, 0.4), (0.25, 0.2, 0.3)),
    )


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def noisy(num_videos: int = 12, num_classes: int = 2, codec: Codec | None = None) -> Candidates:
    """Noise, brighter from class to class."""
    labels = torch.arange(num_videos) % num_classes
    frames = noise((num_videos, FRAMES, 3, SIDE, SIDE), 0) // 2
    frames += (labels * (100 // num_classes)).to(torch.uint8)[:, None, None, None, None]
    return candidates(frames, labels, codec, num_classes)


def normalized(data: Candidates) -> Tensor:
    return data.normalization.apply(data.frames.float() / 255)


def build(config: DMConfig | MTTConfig, data: Candidates, stages: Stages | None = None, seed: int = 0) -> Matching:
    return config.build(data, Run(Streams(seed), stages=stages or Stages()))


class Linear(nn.Module):
    """Features W x: distribution matching has a closed form for them."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def embed(self, clips: Tensor) -> Tensor:
        return clips.flatten(1) @ self.weight.T


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    weight = torch.randn(5, FRAMES * 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(1)) / 50
    monkeypatch.setattr(matching, "build_student", lambda *_, **__: Linear(weight.clone()))
    return weight


def synthetic_clips(labels: Tensor, seed: int = 2) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(len(labels), FRAMES, 3, SIDE, SIDE, generator=draw).requires_grad_()


def test_dm_loss_and_gradient_are_the_closed_form_for_linear_features(linear: Tensor) -> None:
    """sum_c |W (mean R_c - mean S_c)|^2, whose gradient in a clip of S_c is 2 W'W (mean S_c - mean R_c) / |S_c|."""
    data, labels = noisy(), torch.tensor([0, 1, 1, 0, 1])
    clips = synthetic_clips(labels)
    loss = build(DMConfig(), data).loss(lambda rows: clips[rows], labels, 0)
    real = normalized(data).flatten(1)
    apart = [clips[labels == c].flatten(1).mean(0) - real[data.labels == c].mean(0) for c in (0, 1)]
    assert torch.allclose(loss, sum((linear @ each).square().sum() for each in apart), rtol=1e-4)
    (gradient,) = torch.autograd.grad(loss, clips)
    for row, label in enumerate(labels.tolist()):
        expected = 2 * linear.T @ (linear @ apart[label]) / int((labels == label).sum())
        assert torch.allclose(gradient[row].flatten(), expected.detach(), rtol=1e-3, atol=1e-6)


def test_dm_takes_a_real_batch_of_each_class_without_replacement(linear: Tensor) -> None:
    data, labels = noisy(), torch.tensor([0, 1])
    clips = torch.zeros(2, FRAMES, 3, SIDE, SIDE)
    real = normalized(data).flatten(1) @ linear.T
    loss = float(build(DMConfig(real_per_class=5), data).loss(lambda rows: clips[rows], labels, 3))
    total = [real[data.labels == c].sum(0) for c in (0, 1)]  # of 6 videos a class, one is left out
    left = [[(total[c] - each).div(5).square().sum() for each in real[data.labels == c]] for c in (0, 1)]
    assert min(abs(float(a + b) - loss) for a in left[0] for b in left[1]) < 1e-5 * loss


def test_dm_in_rounds_of_classes_sums_to_all_of_them(linear: Tensor) -> None:
    data, labels = noisy(15, 5), torch.arange(5)
    clips = synthetic_clips(labels).detach()
    seen: list[int] = []

    def show(rows: Tensor) -> Tensor:
        seen.extend(labels[rows].tolist())
        return clips[rows]

    in_parts = build(DMConfig(classes_per_step=2), data)
    parts = [float(in_parts.loss(show, labels, step)) for step in range(6)]
    complete = float(build(DMConfig(), data).loss(lambda rows: clips[rows], labels, 0))
    assert sorted(seen[:5]) == sorted(seen[5:]) == [0, 1, 2, 3, 4]
    assert seen[:5] != seen[5:]
    assert math.isclose(sum(parts[:3]), complete, rel_tol=1e-4)


@pytest.mark.parametrize("student", ["framenet2d", "convnet3d"])
def test_dm_network_is_fresh_each_step_and_sees_all_classes_at_once_where_it_has_norms(student: str) -> None:
    side = 16 if student == "framenet2d" else 48
    labels = torch.arange(6) % 2
    data = candidates(noise((6, FRAMES, 3, side, side), 0), labels)
    clips = torch.randn(2, FRAMES, 3, side, side, generator=torch.Generator().manual_seed(0))
    dm = build(DMConfig(student=student, width=0.1), data)
    losses = [float(dm.loss(lambda rows: clips[rows], torch.tensor([0, 1]), step)) for step in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    draws = Streams(0).child("dm").generator("step/1")
    network = build_student(student, 2, (FRAMES, side, side), draws, width=0.1)
    real = network.embed(normalized(data)).view(3, 2, -1).mean(0)
    expected = (real - network.embed(clips)).square().sum()
    assert math.isclose(losses[1], float(expected.detach()), rel_tol=1e-4)


def test_mean_distance_by_hand() -> None:
    real, rows = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [4.0, 2.0], [0.0, 1.0]])
    assert float(mean_distance(real, rows, torch.tensor([0, 0, 1]))) == (1 - 2) ** 2 + 1 + 0 + 1


class Smooth(nn.Module):
    """All that makes trouble, in 40 parameters: norm with buffers, dropout; smooth, for finite differences."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(3, 2, (1, 2, 2)), nn.BatchNorm3d(2)
        self.dropout, self.last = Dropout(0.5), nn.Linear(2, 2)

    def forward(self, clips: Tensor) -> Tensor:
        body = torch.tanh(self.norm(self.conv(clips.transpose(1, 2))))
        logits: Tensor = self.last(self.dropout(body.flatten(2).square().mean(2)))
        return logits


def test_mtt_gradient_is_finite_differences() -> None:
    draw = torch.Generator().manual_seed(0)
    network = stateless(Smooth().double())
    size = len(flat_parameters(network))
    start, target = torch.randn(2, size, generator=draw, dtype=torch.float64)
    clips = torch.randn(4, 2, 3, 3, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    lr = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0])

    def loss(clips: Tensor, lr: Tensor) -> Tensor:
        inner = [(clips, labels), (clips[:3], labels[:3]), (clips[1:], labels[1:])]
        return trajectory_distance(network, start, target, inner, lr)

    assert torch.autograd.gradcheck(loss, (clips, lr))
    assert torch.equal(network.norm.running_mean, torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("student", ["convnet3d", "minic3d"])
def test_mtt_gradient_of_published_students_along_a_line(student: str) -> None:
    """Pooling, channels last and norms have second derivatives too: central difference in float64."""
    draw = torch.Generator().manual_seed(0)
    network = build_student(student, 2, (4, 43, 43), draw, width=0.05).double()
    start = flat_parameters(network)
    stateless(network)
    target = start + torch.randn(len(start), generator=draw, dtype=torch.float64) / 100
    clips, line = torch.randn(2, 2, 4, 3, 43, 43, generator=draw, dtype=torch.float64)
    lr = torch.tensor(0.1, dtype=torch.float64)

    def loss(move: Tensor) -> Tensor:
        return trajectory_distance(network, start, target, [(clips + move * line, torch.tensor([0, 1]))] * 2, lr)

    move = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(move), move)
    step = torch.tensor(1e-6, dtype=torch.float64)
    numeric = (loss(step) - loss(-step)).detach() / (2 * step)
    assert float(gradient.abs()) > 1e-6
    assert torch.allclose(gradient, numeric, rtol=1e-4)


def test_mtt_on_the_expert_s_own_steps_finds_its_target() -> None:
    """An expert that takes one full batch an epoch is one inner step at its own rate on all real clips."""
    data = noisy()
    config = MTTConfig(experts=dataclasses.replace(QUICK, batch_size=64), max_start_epoch=1, inner_steps=1)
    mtt = build(config, data)
    real = normalized(data)
    assert max(float(mtt.loss(lambda rows: real[rows], data.labels, step).detach()) for step in range(4)) < 1e-6
    slower = build(dataclasses.replace(config, inner_lr=0.005), data)
    half = float(slower.loss(lambda rows: real[rows], data.labels, 0).detach())
    assert half == pytest.approx(0.25, rel=1e-3)  # half of the way is a quarter of the squared distance


def test_expert_snapshots_are_clones() -> None:
    """Regression: the released code kept references, so that every epoch of a trajectory was the last one."""
    data = noisy()
    experts_3 = dataclasses.replace(QUICK, num_experts=1, epochs=3)
    (trajectory,) = train_experts(data, experts_3, Run(Streams(0)))
    (shorter,) = train_experts(data, dataclasses.replace(experts_3, epochs=2), Run(Streams(0)))
    draws = Streams(0).child("experts/0").generator("init")
    student = build_student("framenet2d", 2, (FRAMES, SIDE, SIDE), draws, width=0.1)
    assert trajectory.shape == (4, sum(parameter.numel() for parameter in student.parameters()))
    assert torch.equal(trajectory[0], flat_parameters(student))
    assert all(not torch.equal(trajectory[epoch], trajectory[epoch + 1]) for epoch in range(3))
    assert torch.equal(trajectory[:3], shorter)
    flat = flat_parameters(student)
    before = flat.clone()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert torch.equal(flat, before)


def test_named_views_are_the_parameters_again() -> None:
    student = build_student("minic3d", 3, (4, 43, 43), torch.Generator(), width=0.05)
    views = named_views(flat_parameters(student), student)
    assert views.keys() == dict(student.named_parameters()).keys()
    assert all(torch.equal(views[name], parameter) for name, parameter in student.named_parameters())


def test_experts_resume_after_a_kill(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noisy()
    config = dataclasses.replace(QUICK, num_experts=3)
    uninterrupted = train_experts(data, config, Run(Streams(0)))
    assert not torch.equal(uninterrupted[0], uninterrupted[1])

    def killed(step: str, **numbers: float) -> None:
        if (step, numbers["part"], numbers["done"]) == ("expert", 3, 0):
            raise KeyboardInterrupt

    stages = Stages(tmp_path / "stages")
    with pytest.raises(KeyboardInterrupt):
        train_experts(data, config, Run(Streams(0), watch=killed, stages=stages))
    assert len(list(stages.folder.iterdir())) == 2
    fits: list[str] = []
    fit = experts.fit
    monkeypatch.setattr(experts, "fit", lambda *a, **k: fits.append(a[2].streams.scope) or fit(*a, **k))
    resumed = train_experts(data, config, Run(Streams(0), stages=stages))
    assert fits == ["/experts/2"]
    assert all(torch.equal(one, other) for one, other in zip(uninterrupted, resumed, strict=True))


def test_all_experts_and_epochs_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the released code read one file of experts only."""
    data, config = noisy(), MTTConfig(experts=dataclasses.replace(QUICK, epochs=6), max_start_epoch=3, target_epochs=2)
    used: list[tuple[int, int, int]] = []

    def record(network: nn.Module, start: Tensor, target: Tensor, *_: object) -> Tensor:
        assert start[0] == target[0]
        used.append((int(start[0]), int(start[1]), int(target[1])))
        return torch.zeros(())

    monkeypatch.setattr(matching, "trajectory_distance", record)
    trajectories = [torch.tensor([[float(e), float(epoch)] for epoch in range(7)]) for e in range(5)]
    mtt = TrajectoryMatching(config, data, trajectories, Run(Streams(0)))
    for step in range(200):
        mtt.loss(lambda rows: normalized(data)[rows], data.labels, step)
    for start in range(0, 200, 5):
        assert {expert for expert, _, _ in used[start : start + 5]} == set(range(5))
    assert len({tuple(expert for expert, _, _ in used[start : start + 5]) for start in range(0, 200, 5)}) > 1
    assert {(epoch, target) for _, epoch, target in used} == {(0, 2), (1, 3), (2, 4), (3, 5)}


def test_inner_batches_go_through_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    data, labels = noisy(), torch.arange(5) % 2
    seen: list[list[float]] = []
    shown: list[int] = []

    def record(network: nn.Module, start: Tensor, target: Tensor, inner: list, lr: Tensor) -> Tensor:
        seen.extend(clips[:, 0].tolist() for clips, _ in inner)
        assert all(torch.equal(clips[:, 0] % 2, wanted.float()) for clips, wanted in inner)
        return torch.zeros(())

    def show(rows: Tensor) -> Tensor:
        shown.append(len(rows))
        return rows.float()[:, None]

    monkeypatch.setattr(matching, "trajectory_distance", record)
    config = MTTConfig(experts=QUICK, max_start_epoch=0, inner_steps=4, batch_size=2)
    mtt = TrajectoryMatching(config, data, [torch.zeros(3, 1)], Run(Streams(0)))
    mtt.loss(show, labels, 0)
    assert [len(rows) for rows in seen] == [2, 2, 1, 2]
    assert sorted(row for rows in seen[:3] for row in rows) == [0, 1, 2, 3, 4]
    assert shown == [5]


class Bowl(Matching):
    """(show(0) - 1)^2 plus a parameter of its own."""

    parameter_lr = 0.25

    def __init__(self) -> None:
        self.own = torch.zeros((), requires_grad=True)

    def parameters(self) -> list[Tensor]:
        return [self.own]

    def loss(self, show: ShowClips, labels: Tensor, step: int) -> Tensor:
        return (show(torch.zeros(1, dtype=torch.int64)) - 1).square().sum() + (self.own - 1).square()


def test_tune_is_sgd_with_momentum_in_place_and_own_rate_for_what_the_matching_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tuning, "is_read", all_steps)
    z, bowl, losses = torch.zeros(1, requires_grad=True), Bowl(), []
    tune(
        [z], bowl, lambda rows: z[rows], torch.zeros(1, dtype=torch.int64), TuningConfig(steps=2, lr=0.1, momentum=0.5),
        run=Run(Streams(0), watch=lambda name, **numbers: losses.append((name, numbers["loss"]))), name="bowl",
    )  # fmt: skip
    first = 0.1 * 2
    assert float(z.detach()) == pytest.approx(first + 0.1 * (0.5 * 2 + 2 * (1 - first)))
    assert float(bowl.own.detach()) == pytest.approx(0.5 + 0.25 * (0.5 * 2 + 2 * 0.5))
    assert losses == [("bowl", 2.0), ("bowl", pytest.approx(0.64 + 0.25))]


def test_losses_are_read_once_in_ten_steps() -> None:
    def bowl(steps: int) -> None:
        z, config = torch.zeros(1, requires_grad=True), TuningConfig(steps=steps, lr=0.1)
        tune([z], Bowl(), lambda rows: z[rows], torch.zeros(1, dtype=torch.int64), config, run=Run(Streams(0)), name="")

    few, more = (num_readings(partial(bowl, steps)) for steps in (11, 20))
    assert 0 < few == more
    assert [step for step in range(25) if is_read(step, 25)] == [9, 19, 24]


def test_divergence_names_the_rate_to_lower(linear: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    z, labels = torch.zeros(2, FRAMES, 3, SIDE, SIDE, requires_grad=True), torch.tensor([0, 1])
    arguments = {"run": Run(Streams(0)), "name": "dm"}
    with pytest.raises(DivergedError, match=r"dm diverged by step 3 of 3: its loss is not finite; .* than 1e\+30$"):
        tune([z], build(DMConfig(), noisy()), lambda rows: z[rows], labels, TuningConfig(steps=3, lr=1e30), **arguments)
    bowl, z = Bowl(), torch.zeros(1, requires_grad=True)
    bowl.parameter_lr = 3e38
    with pytest.raises(DivergedError, match=r"a value that it tunes .*or a lower inner_lr_lr than 3e\+38"):
        tune([z], bowl, lambda rows: z[rows], labels, TuningConfig(steps=1, lr=0.1), **arguments)
    monkeypatch.setattr(Bowl, "loss", spoiled_once(Bowl.loss, at=3))
    with pytest.raises(DivergedError, match="dm diverged by step 10 of 30: its loss is not finite"):
        tune([z], Bowl(), lambda rows: z[rows], labels, TuningConfig(steps=30, lr=0.1), **arguments)


def test_a_learned_rate_that_is_not_positive_is_divergence() -> None:
    data = noisy()
    mtt = build(MTTConfig(experts=QUICK, max_start_epoch=0), data)
    with torch.no_grad():
        mtt.parameters()[0].neg_()
    with pytest.raises(DivergedError, match=r"inner learning rate fell to -0.01 by step 8; choose a lower inner_lr_lr"):
        mtt.loss(lambda rows: normalized(data)[rows], data.labels, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DMConfig(student="big"), "unknown student 'big'; known: convnet3d"),
        (lambda: DMConfig(real_per_class=0), "DMConfig.real_per_class is 0; it must be at least 1"),
        (lambda: DMConfig(classes_per_step=-1), "DMConfig.classes_per_step is -1; it must be at least 0"),
        (lambda: DMConfig(width=0), "DMConfig.width is 0; it must be above 0"),
        (lambda: MTTConfig(inner_steps=0), "MTTConfig.inner_steps is 0; it must be at least 1"),
        (lambda: MTTConfig(inner_lr=0), "MTTConfig.inner_lr is 0; it must be above 0"),
        (lambda: MTTConfig(inner_lr_lr=-1), "MTTConfig.inner_lr_lr is -1; it must be at least 0"),
        (lambda: MTTConfig(experts=QUICK), "experts.epochs is 2, but max_start_epoch 10 and target_epochs 1 need 11"),
        (lambda: ExpertConfig(num_experts=0), "experts.num_experts is 0"),
        (lambda: ExpertConfig(lr=-1), "TrainConfig.lr is -1; it must be above 0"),
        (lambda: MatchedConfig(steps=0), "steps is 0; it must be at least 1"),
        (lambda: MatchedConfig(selector="gumbel"), "unknown selector 'gumbel'; known: uniform"),
        (lambda: dataclasses.replace(MTT, lr=0), "lr is 0; it must be above 0"),
        (lambda: dataclasses.replace(MTT, momentum=1), r"momentum is 1; it must be in \[0,1\)"),
        (lambda: dataclasses.replace(MTT, labels="firm"), "unknown labels 'firm'; known: soft, hard"),
        (lambda: dataclasses.replace(MTT, fill="loop"), "fill is 'loop'; known: hold, linear"),
    ],
)
def test_messages(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_pixels_outside_move_only_back_in() -> None:
    pixels = torch.tensor([-0.5, -0.5, 0.5, 1.5, 1.5], requires_grad=True)
    inside = into_range(pixels)
    inside.backward(torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0]))  # descent goes against it
    assert inside.tolist() == [0, 0, 0.5, 1, 1]
    assert pixels.grad.tolist() == [0, -1, 1, 1, 0]


@pytest.mark.parametrize("name", ["pixel", "linear"])
def test_decoded_clips_are_those_of_the_set(name: str) -> None:
    codec = PixelCodec() if name == "pixel" else LinearCodec.load()
    data = noisy(codec=codec)
    start = METHODS["random-real"].compress(data, codec, Budget(2, 2), Run(Streams(0)))
    wild = dataclasses.replace(start, latents=start.latents * 3)
    rows = torch.tensor([2, 0])
    shown = decoded_clips(wild.latents, wild, codec)(rows)
    assert torch.allclose(shown, data.normalization.apply(wild.clips()[rows]), atol=1e-5)


@pytest.mark.slow
def test_planted_truth_dm_moves_the_telling_cell() -> None:
    """One picture for both classes, but for a cell that is brighter in class "b"; the start does not show it."""
    labels, side = torch.arange(8) % 2, 43
    frames = (noise((1, 1, 3, side, side), 3) // 2 + 64).repeat(8, FRAMES, 1, 1, 1)
    blank = candidates(frames.clone(), labels)
    frames[labels == 1, :, :, 16:24, 16:24] += 60
    real, codec = candidates(frames, labels), PixelCodec()
    start = METHODS["random-real"].compress(blank, codec, Budget(1, 2), Run(Streams(0)))
    latents = start.latents.clone().requires_grad_()
    tune(
        [latents], build(DMConfig(width=0.25), real), decoded_clips(latents, start, codec), start.labels,
        TuningConfig(steps=150, lr=200), run=Run(Streams(0)), name="dm",
    )  # fmt: skip
    same, other = (latents.detach() - start.latents).mean((1, 2))
    outside = torch.ones(side, side, dtype=torch.bool)
    outside[15:25, 15:25] = False
    assert float(same.abs().max()) < 1e-2
    assert float(other[16:24, 16:24].mean()) > 0.2
    assert float(other[16:24, 16:24].mean()) > 4 * float(other[outside].abs().mean())


SMALL = {
    "dm": dataclasses.replace(
        DM, matching=DMConfig(student="framenet2d", width=0.1), steps=3, lr=0.01, teacher=TEACHER
    ),
    "mtt": dataclasses.replace(
        MTT,
        matching=MTTConfig(experts=QUICK, max_start_epoch=1, inner_steps=2, inner_lr_lr=1e-7),
        steps=3,
        lr=0.1,
        teacher=TEACHER,
    ),
}


def run(name: str, data: Candidates, codec: Codec, stages: Stages | None = None, **changes: object) -> SyntheticSet:
    config = dataclasses.replace(SMALL[name], **changes)
    return config.compress(data, codec, Budget(2, 3), Run(Streams(0), stages=stages or Stages()))


@pytest.mark.parametrize("codec", [PixelCodec(), LinearCodec.load()], ids=["pixel", "linear"])
@pytest.mark.parametrize("name", ["dm", "mtt"])
def test_methods_tune_random_real_clips_behind_any_codec(name: str, codec: Codec) -> None:
    data = noisy(codec=codec)
    first, again = run(name, data, codec), run(name, data, codec)
    assert torch.equal(first.latents, again.latents)
    assert first.labels.tolist() == [0, 0, 1, 1]
    assert first.provenance.method == name
    real = METHODS["random-real"].compress(data, codec, Budget(2, 3), Run(Streams(0)))
    assert first.provenance.video_ids == real.provenance.video_ids
    assert torch.equal(first.positions, real.positions)
    assert not torch.equal(first.latents, real.latents)


@pytest.mark.parametrize("name", ["dm", "mtt"])
def test_soft_and_hard_labels_share_the_tuning(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, codec, stages = noisy(), PixelCodec(), Stages(tmp_path)
    hard = run(name, data, codec, stages)
    monkeypatch.setattr("videocompressa.methods.matched.tune", None)  # tuning again would call it
    soft = run(name, data, codec, stages, labels="soft")
    assert torch.equal(hard.latents, soft.latents)
    assert soft.labels.shape == (4, 2)
    with pytest.raises(TypeError):
        run(name, data, codec, stages, steps=4)
