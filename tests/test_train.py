"""Training and evaluation: planted motion, hand-computed scores, equal bytes for equal seeds, refusals."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from videocompressa.clip import ClipSpec, Normalization
from videocompressa.errors import DivergedError, InputError
from videocompressa.networks import MiniC3D, Student
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students import evaluation
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import evaluate, predict, score, train_seeds
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig, soft_labels
from videocompressa.students.training import fit, logit_mse
from videocompressa.views import UNCHANGED, Views, augmented, before_other_scenes, recolored

CPU = torch.device("cpu")
SMALL = ClipSpec(4, 43, 43)
MIRRORED = Views(crop=0.8, mirror=True)
NORMALISATION = Normalization((0.2, 0.2, 0.2), (0.25, 0.25, 0.25))
QUICK = TrainConfig(
    steps=3, batch_size=4, width=0.125, lr=1e-3, warmup_steps=0, views=Views(scenes=0.0), precision="float32"
)

LEARNING = replace(QUICK, steps=25, batch_size=8, width=0.25, lr=3e-3)
"""Enough to tell the directions of `moving_squares`."""


def moving_squares(num_clips: int, seed: int, clip: ClipSpec = SMALL) -> LabeledClips:
    """A bright square that moves right (class 0) or left (class 1) over noise; one frame does not show the class."""
    draws = torch.Generator().manual_seed(seed)
    shape = (num_clips, clip.num_frames, 3, clip.height, clip.width)
    frames = torch.randint(0, 60, shape, generator=draws, dtype=torch.uint8)
    labels = torch.arange(num_clips) % 2
    side, travel = clip.height // 4, clip.width - clip.width // 4
    for row, label in enumerate(labels.tolist()):
        top = int(torch.randint(0, clip.height - side, (), generator=draws))
        for time in range(clip.num_frames):
            moment = time if label == 0 else clip.num_frames - 1 - time
            left = travel * moment // (clip.num_frames - 1)
            frames[row, time, :, top : top + side, left : left + side] = 250
    return LabeledClips(frames, labels, NORMALISATION, ("right", "left"))


def trained(config: TrainConfig = QUICK, *, seed: int = 0, data: LabeledClips | None = None) -> Student:
    return fit(data or moving_squares(8, 0), config, Run(Streams(seed)))


def same_weights(first: Student, second: Student) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


class Table(Student):
    """A student whose logits are the first pixels of a clip."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        return volume[:, 0, 0, 0, : self.num_classes, None, None, None]

    def _head(self, body: Tensor) -> Tensor:
        return body.flatten(1)


def table_clips(logits: list[list[float]], labels: list[int]) -> LabeledClips:
    values = torch.tensor(logits)
    frames = torch.zeros(len(values), 1, 3, 1, values.shape[1])
    frames[:, 0, 0, 0] = values
    names = tuple(f"c{number}" for number in range(values.shape[1]))
    return LabeledClips(frames, torch.tensor(labels), Normalization((0.0,) * 3, (1.0,) * 3), names)


# Learning


@pytest.mark.slow
def test_minic3d_learns_a_direction_that_only_time_tells() -> None:
    student = trained(LEARNING, data=moving_squares(32, 0))
    assert not student.training
    assert evaluate(student, moving_squares(32, 1), CPU).top1 > 0.9


@pytest.mark.slow
def test_framenet_cannot_learn_that_direction() -> None:
    student = trained(replace(LEARNING, student="framenet2d"), data=moving_squares(32, 0))
    assert evaluate(student, moving_squares(64, 1), CPU).top1 < 0.75


def test_soft_labels_teach_as_hard_ones_do() -> None:
    data = moving_squares(8, 0)
    soft = replace(data, labels=torch.nn.functional.one_hot(data.labels, 2).float())
    assert same_weights(trained(data=data), trained(data=soft)) or torch.allclose(
        predict(trained(data=data), data, CPU), predict(trained(data=soft), data, CPU), atol=1e-4
    )


def test_bfloat16_stays_near_float32() -> None:
    data = moving_squares(8, 0)
    exact, rough = trained(), trained(replace(QUICK, precision="bfloat16"))
    assert not same_weights(exact, rough)
    assert all(weights.dtype == torch.float32 for weights in rough.parameters())
    difference = predict(exact, data, CPU) - predict(rough, data, CPU)
    assert float(difference.abs().max()) < 0.1


# Imitating logits


def test_logit_mse_in_closed_form() -> None:
    """Two classes: centring leaves half the margin, so the distance is a quarter of the squared margins' difference."""
    margin, wanted = 3.0, 1.0
    logits = torch.tensor([[5 + margin, 5.0], [0.0, margin]], dtype=torch.float64)
    likely = 1 / (1 + math.exp(-wanted))
    labels = torch.tensor([[likely, 1 - likely], [1 - likely, likely]], dtype=torch.float64)
    expected = (margin - wanted) ** 2 / 4 + 0.1 * math.log1p(math.exp(-margin))
    assert float(logit_mse(logits, labels)) == pytest.approx(expected)


def test_logit_mse_is_least_at_the_teachers_logits_whatever_their_constant() -> None:
    """The distance is zero there, and only the hard part is left."""
    teacher = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = teacher.softmax(1)
    for constant in (0.0, 7.0):
        hard = torch.nn.functional.cross_entropy(teacher, labels.argmax(1))
        assert float(logit_mse(teacher + constant, labels)) == pytest.approx(0.1 * float(hard))


def test_probabilities_that_the_file_loses_count_as_its_smallest_share() -> None:
    logits = torch.tensor([[2.0, -1.0]])
    loss = logit_mse(logits, torch.tensor([[1.0, 0.0]]))
    share = 2 * math.log(0.5 / 255)
    assert float(loss) == pytest.approx((3 + share) ** 2 / 4 + 0.1 * math.log1p(math.exp(-3)), rel=1e-5)


def test_the_smallest_share_is_of_the_largest_probability() -> None:
    even = torch.full((1, 200), 1 / 200)
    small = even.clone()
    small[0, 0] = even[0, 0] / 255**2  # a file holds it, although it is below (0.5 / 255)^2 itself
    assert small[0, 0] < (0.5 / 255) ** 2
    logits = torch.zeros(1, 200)
    logits[0, 0] = -2 * math.log(255)
    assert float(logit_mse(logits, small)) == pytest.approx(0.1 * math.log(199), rel=1e-3)


@pytest.mark.slow
def test_a_student_learns_a_teachers_logits() -> None:
    data = moving_squares(32, 0)
    soft = torch.nn.functional.one_hot(data.labels, 2).float() * 0.8 + 0.1
    config = replace(LEARNING, steps=40, loss="logit-mse")
    student = trained(config, data=replace(data, labels=soft))
    seen = predict(student, data, CPU).gather(1, data.labels[:, None])
    assert float(seen.mean()) == pytest.approx(0.9, abs=0.07)  # cross-entropy alone would end at 1 on hard labels


def test_cross_entropy_is_the_default_and_changes_nothing() -> None:
    assert TrainConfig().loss == "cross-entropy"
    soft = replace(moving_squares(8, 0), labels=torch.full((8, 2), 0.5))
    assert not same_weights(trained(data=soft), trained(replace(QUICK, loss="logit-mse"), data=soft))


def test_logits_are_not_mixed() -> None:
    message = r"'logit-mse', which takes labels as the teacher gave them, but views\.mix is 0\.5; set views\.mix to 0"
    with pytest.raises(InputError, match=message):
        TrainConfig(views=Views(mix=0.5), loss="logit-mse")


def test_logits_need_soft_labels() -> None:
    with pytest.raises(InputError, match="needs the soft labels of a teacher, but the clips have hard ones; compress"):
        trained(replace(QUICK, loss="logit-mse"))


# Sameness


@pytest.mark.parametrize(
    "config",
    [
        QUICK,
        replace(QUICK, student="convnet3d", optimizer="sgd", schedule="step", precision="bfloat16"),
        replace(QUICK, views=Views(time=0.5, color=0.2, mix=1.0), warmup_steps=2),
    ],
    ids=["plain", "sgd", "mixed"],
)
def test_same_seed_same_bytes_and_the_global_state_is_left_alone(config: TrainConfig) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = trained(config, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same_weights(first, trained(config, seed=3))
    assert not same_weights(first, trained(config, seed=4))


def test_predictions_do_not_depend_on_the_batch_size_or_change_the_student(monkeypatch: pytest.MonkeyPatch) -> None:
    student, data = trained().train(), moving_squares(7, 1)
    state = {key: value.clone() for key, value in student.state_dict().items()}
    at_once = predict(student, data, CPU)
    for batch_size in (1, 3, 7):
        monkeypatch.setattr(evaluation, "BATCH_SIZE", batch_size)
        torch.testing.assert_close(predict(student, data, CPU), at_once)
    assert student.training
    assert all(torch.equal(state[key], value) for key, value in student.state_dict().items())
    assert at_once.dtype == torch.float32
    torch.testing.assert_close(at_once.sum(1), torch.ones(7))


def test_float_pixels_train_as_their_bytes_do() -> None:
    data = moving_squares(8, 0)
    assert same_weights(trained(data=data), trained(data=replace(data, frames=data.frames.float() / 255)))


def test_each_epoch_shows_every_clip_once() -> None:
    """With as many clips as a batch holds, the first and second batch are the same clips in another order."""
    seen: list[Tensor] = []

    class Watched(LabeledClips):
        def pixels(self, rows: Tensor, device: torch.device) -> Tensor:
            seen.append(rows)
            return super().pixels(rows, device)

    data = moving_squares(8, 0)
    watched = Watched(data.frames, data.labels, data.normalization, data.classes)
    trained(replace(QUICK, steps=6), data=watched)
    epochs = [torch.cat(seen[start : start + 2]).tolist() for start in (0, 2, 4)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    trained(replace(QUICK, steps=1), data=watched, seed=1)
    assert seen[-1].tolist() != seen[0].tolist()


def test_norms_count_clips_as_they_are_after_mixing() -> None:
    data = moving_squares(8, 0)

    def errors(views: Views) -> tuple[float, float]:
        """Distance of the first norm's statistics from those of the clips, mean and variance."""
        student = trained(replace(QUICK, views=views), data=data)
        assert isinstance(student, MiniC3D)
        with torch.no_grad():
            volume = student.convs[0](data.normalization.apply(data.pixels(torch.arange(8), CPU)).transpose(1, 2))
        norm, axes = student.norms[0], (0, 2, 3, 4)
        assert norm.momentum == 0.1
        mean, variance = volume.mean(axes) - norm.running_mean, volume.var(axes) - norm.running_var
        return float(mean.abs().max()), float((variance / volume.var(axes)).abs().max())

    mean, variance = errors(Views(scenes=0.0, mix=1.0))
    assert mean < 1e-5
    assert variance < 0.05  # that of two batches, whose means differ a little
    assert max(errors(Views(scenes=0.0))) > 0.1


def test_watch_gets_the_progress() -> None:
    calls: list[tuple[str, dict[str, float]]] = []
    fit(
        moving_squares(8, 0),
        replace(QUICK, steps=12),
        Run(Streams(0), watch=lambda step, **numbers: calls.append((step, numbers))),
        step_name="teacher",
    )
    assert [(step, numbers["done"], numbers["total"]) for step, numbers in calls] == [
        ("teacher", 0, 12),
        ("teacher", 10, 12),
        ("teacher", 12, 12),
    ]
    assert all(math.isfinite(numbers["loss"]) for _, numbers in calls[1:])


# Augmentation


def test_a_static_clip_stays_static() -> None:
    still = torch.rand(6, 1, 3, 20, 24, generator=torch.Generator().manual_seed(0)).expand(6, 5, 3, 20, 24)
    views = augmented(still, MIRRORED, torch.Generator().manual_seed(1))
    assert views.shape == still.shape
    assert torch.equal(views, views[:, :1].expand_as(views))
    assert not torch.allclose(views, still, atol=0.05)


def test_clips_of_a_batch_get_different_views() -> None:
    same = torch.rand(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).expand(4, 2, 3, 16, 16)
    views = augmented(same, MIRRORED, torch.Generator().manual_seed(1))
    assert all(not torch.equal(one, two) for one, two in itertools.combinations(views, 2))


def test_mirrors_are_exact_and_half_of_all() -> None:
    clips = torch.rand(200, 1, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    views = augmented(clips, Views(crop=1.0, mirror=True), torch.Generator().manual_seed(1))
    kept = (views == clips).flatten(1).all(1)
    mirrored = (views == clips.flip(-1)).flatten(1).all(1)
    assert bool((kept ^ mirrored).all())
    assert 70 < int(mirrored.sum()) < 130


def test_crops_are_boxes_of_the_frame() -> None:
    """On a ramp image a crop is a ramp: its slope gives the side, its middle the place; both stay in range."""
    ramp = torch.linspace(0.5, 63.5, 64).expand(300, 1, 3, 64, 64)
    config = Views(crop=0.4)
    views = augmented(ramp, config, torch.Generator().manual_seed(2))
    across = views[:, 0, 0, 32, 33] - views[:, 0, 0, 32, 32]
    down = augmented(ramp.mT, config, torch.Generator().manual_seed(2))
    along = down[:, 0, 0, 33, 32] - down[:, 0, 0, 32, 32]
    area = across * along
    assert bool((across > 0).all() and (across <= 1.001).all())
    assert 0.36 < float(area.min()) < 0.5  # sides are clamped to the frame, so a long crop may lose a little area
    assert float(area.max()) <= 1.001
    assert bool((views >= 0.49).all() and (views <= 63.51).all())
    middle = views[..., 32, 31:33].mean((1, 2, 3)) / 64
    assert bool((middle - across / 2 >= -0.01).all() and (middle + across / 2 <= 1.01).all())


def test_augmentation_off_returns_the_clips_and_gradients_flow_through_it() -> None:
    clips = torch.rand(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert augmented(clips, UNCHANGED, torch.Generator()) is clips
    assert augmented(clips, Views(crop=1.0, time=1.0, scenes=1.0, mix=1.0), torch.Generator()) is clips
    augmented(clips, MIRRORED, torch.Generator().manual_seed(0)).sum().backward()
    assert clips.grad is not None
    assert float(clips.grad.abs().sum()) > 0


def test_colors_change_a_complete_clip_by_one_map_a_channel() -> None:
    """Away from the clamp each channel of a clip is a x + b, equal in all frames and places, near the original."""
    clips = 0.4 + 0.2 * torch.rand(50, 3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = recolored(clips, 0.3, torch.Generator().manual_seed(1))
    one, two = clips.movedim(2, 1).flatten(2), seen.movedim(2, 1).flatten(2)
    slope = (two[..., 1:] - two[..., :1]) / (one[..., 1:] - one[..., :1])
    assert float((slope.median(2, keepdim=True).values - slope).abs().median()) < 1e-4
    assert 0.7 * 0.85 <= float(slope.median(2).values.min()) < 0.75
    assert 1.25 < float(slope.median(2).values.max()) <= 1.3 * 1.15
    shift = (seen - clips).mean((1, 2, 3, 4))
    assert 0.1 < float(shift.abs().max()) <= 0.15 + 0.15 * 0.6
    assert len(set(shift.tolist())) == len(shift)
    assert len(set((seen - clips).mean((1, 3, 4))[0].tolist())) == 3


def test_colors_stay_pixels_and_leave_clips_alone_at_zero() -> None:
    clips = torch.rand(8, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    seen = augmented(clips, replace(UNCHANGED, color=0.9), torch.Generator().manual_seed(1))
    assert (float(seen.min()), float(seen.max())) == (0.0, 1.0)
    assert recolored(clips, 0, torch.Generator()) is clips


def test_a_mixed_clip_keeps_its_motion_and_takes_another_stillness() -> None:
    still = 0.3 + 0.4 * torch.rand(40, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    motion = 0.1 * torch.randn(40, 5, 3, 4, 4, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    clips = still + motion - motion.mean(1, keepdim=True)
    seen = before_other_scenes(clips, 0.5, torch.Generator().manual_seed(2))
    mean, before = seen.mean(1, keepdim=True), clips.mean(1, keepdim=True)
    torch.testing.assert_close(seen - mean, clips - before)
    kept = (seen == clips).flatten(1).all(1)
    assert 8 <= int(kept.sum()) <= 32
    for row in (~kept).nonzero().flatten().tolist():
        step = (mean[row] - before[row]).flatten()
        others = (before - before[row]).flatten(1)
        along = torch.nn.functional.cosine_similarity(step[None], others)
        partner = int(along.argmax())
        assert float(along[partner]) > 0.9999
        assert 0 < float(step.norm() / others[partner].norm()) <= 1


def test_moving_no_clips_draws_nothing() -> None:
    clips, generator = torch.rand(4, 2, 3, 4, 4), torch.Generator().manual_seed(3)
    assert before_other_scenes(clips, 0, generator) is clips
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


@pytest.mark.slow
def test_clips_before_other_scenes_teach_motion_where_the_scene_tells_the_class() -> None:
    """In training the square moves right before bright scenes only; the test set has scenes the other way round."""

    def scenes(num_clips: int, seed: int, bright: int) -> LabeledClips:
        data = moving_squares(num_clips, seed)
        light = 100 * (data.labels == bright).view(-1, 1, 1, 1, 1)  # added to all: the motion is as strong in both
        return replace(data, frames=(data.frames // 2 + light).to(torch.uint8))

    config = replace(LEARNING, steps=50)
    test_clips = scenes(32, 1, bright=1)
    misled = trained(config, data=scenes(32, 0, bright=0))
    taught = trained(replace(config, views=Views(scenes=1.0)), data=scenes(32, 0, bright=0))
    assert evaluate(misled, test_clips, CPU).top1 < 0.5
    assert evaluate(taught, test_clips, CPU).top1 > 0.8


# Scores


def test_scores_by_hand() -> None:
    data = table_clips(
        [[3, 2, 1], [3, 2, 1], [1, 3, 2], [1, 2, 3], [3, 1, 2]],
        [0, 1, 1, 1, 0],
    )
    scores = evaluate(Table(3), data, CPU)
    assert scores.top1 == 3 / 5
    assert scores.top5 == 1.0  # three classes: the label is among all of them
    assert scores.confusion.tolist() == [[2, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert scores.per_class[:2].tolist() == [1.0, 1 / 3]
    assert math.isnan(float(scores.per_class[2]))


def test_top5_by_hand() -> None:
    rank = torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]]).expand(7, 7)
    assert score(rank, torch.arange(7)).top5 == pytest.approx(5 / 7)
    assert score(rank, torch.arange(7)).top1 == pytest.approx(1 / 7)


def test_ties_go_to_the_lower_class() -> None:
    assert score(torch.full((2, 6), 1 / 6), torch.tensor([0, 5])).top1 == 0.5
    assert score(torch.full((2, 6), 1 / 6), torch.tensor([0, 5])).top5 == 0.5


def test_soft_test_labels_count_by_their_likeliest_class() -> None:
    data = table_clips([[3, 1], [1, 3]], [0, 0])
    soft = replace(data, labels=torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
    assert evaluate(Table(2), soft, CPU).top1 == evaluate(Table(2), data, CPU).top1 == 0.5


# Soft labels


def test_soft_labels_are_the_mean_of_the_teachers_probabilities() -> None:
    data = table_clips([[0.0, math.log(3)], [math.log(9), 0.0]], [0, 0])
    run = Run(Streams(0))
    one = soft_labels([Table(2)], data, TeacherConfig(num_views=1), run)
    torch.testing.assert_close(one, torch.tensor([[0.25, 0.75], [0.9, 0.1]]))
    warm = soft_labels([Table(2)], data, TeacherConfig(num_views=1, temperature=2.0), run)
    torch.testing.assert_close(warm[1], torch.tensor([0.75, 0.25]))
    teachers = [trained(seed=1), trained(seed=2)]
    clips = moving_squares(5, 1)
    both = soft_labels(teachers, clips, TeacherConfig(num_views=1), run)
    mean = sum(predict(teacher, clips, CPU) for teacher in teachers) / 2
    torch.testing.assert_close(both, mean)


def test_soft_labels_average_views_and_sum_to_one() -> None:
    clips, teacher = moving_squares(5, 1), trained()
    four, one = TeacherConfig(QUICK, num_views=4), TeacherConfig(QUICK, num_views=1)
    run = Run(Streams(0))
    labels = soft_labels([teacher], clips, four, run)
    assert labels.dtype == torch.float32
    assert labels.shape == (5, 2)
    torch.testing.assert_close(labels.sum(1), torch.ones(5))
    assert not torch.allclose(labels, soft_labels([teacher], clips, one, run), atol=1e-6)
    assert torch.equal(labels, soft_labels([teacher], clips, four, run))
    assert trained(data=replace(clips, labels=labels)).num_classes == 2


# Seeds and divergence


def counting_clock() -> Any:
    ticks = itertools.count()
    return lambda: float(next(ticks))


def test_train_seeds_averages_over_seeds() -> None:
    train, test = moving_squares(8, 0), moving_squares(6, 1)
    result = train_seeds(train, test, QUICK, Run(Streams(0)), seeds=[0, 1, 2], clock=counting_clock())
    runs = [evaluate(fit(train, QUICK, Run(Streams(seed, "train"))), test, CPU) for seed in (0, 1, 2)]
    assert result.top1_runs == tuple(run.top1 for run in runs)
    mean = sum(result.top1_runs) / 3
    assert result.top1_mean == pytest.approx(mean)
    assert result.top1_std == pytest.approx((sum((run - mean) ** 2 for run in result.top1_runs) / 2) ** 0.5)
    assert result.confusion.tolist() == sum(run.confusion for run in runs).tolist()
    assert result.per_class.mean().item() == pytest.approx(mean)
    assert (result.seeds, result.num_diverged, result.train_seconds) == ((0, 1, 2), 0, 3.0)
    one = train_seeds(train, test, QUICK, Run(Streams(0)), seeds=[1], clock=counting_clock())
    assert (one.top1_std, one.top1_mean) == (0.0, runs[1].top1)


def test_a_huge_learning_rate_raises() -> None:
    wild = replace(QUICK, student="convnet3d", optimizer="sgd", lr=1e6, steps=30)
    with pytest.raises(DivergedError, match=r"training 'convnet3d' diverged by step 10 of 30.* lr 1e\+06; choose a lo"):
        trained(wild)
    data = moving_squares(8, 0)
    with pytest.raises(DivergedError, match="all 2 runs of 'convnet3d' diverged at lr 1e"):
        train_seeds(data, data, wild, Run(Streams(0)), seeds=[0, 1], clock=counting_clock())


@pytest.mark.parametrize("student", ["convnet3d", "minic3d"])
def test_an_infinite_pixel_raises(student: str) -> None:
    data = moving_squares(8, 0)
    frames = data.frames.float() / 255
    frames[3, 0, 0, 0, 0] = math.inf
    with pytest.raises(DivergedError, match="its loss or weights are not finite"):
        trained(replace(QUICK, student=student), data=replace(data, frames=frames))


def test_a_last_step_that_breaks_the_weights_raises() -> None:
    with pytest.raises(DivergedError, match="diverged by step 1 of 1"):
        trained(replace(QUICK, student="convnet3d", optimizer="sgd", lr=1e38, weight_decay=1e3, steps=1))


def test_diverged_seeds_are_counted_and_not_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def sometimes(data: LabeledClips, config: TrainConfig, run: Run, **named: Any) -> Student:
        if run.streams.seed == 1:
            raise DivergedError("planted")
        return fit(data, config, run)

    monkeypatch.setattr("videocompressa.students.training.fit", sometimes)
    data = moving_squares(8, 0)
    result = train_seeds(data, data, QUICK, Run(Streams(0)), seeds=[0, 1, 2], clock=counting_clock())
    assert (result.num_diverged, len(result.top1_runs), result.seeds) == (1, 2, (0, 1, 2))
    assert int(result.confusion.sum()) == 16


# Refusals


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("optimizer", "adam", "known: adamw, sgd"),
        ("schedule", "linear", "known: cosine, step, constant"),
        ("precision", "fp16", "known: auto, float32, bfloat16"),
        ("width", 0.0, "above 0"),
        ("steps", 0, "at least 1"),
        ("batch_size", 1, "at least 2"),
        ("lr", 0.0, "above 0"),
        ("lr", math.nan, "above 0"),
        ("weight_decay", -0.1, "at least 0"),
        ("momentum", 1.0, r"in \[0,1\)"),
        ("milestones", (0.7, 0.5), "rising shares"),
        ("milestones", (1.0,), "rising shares"),
        ("warmup_steps", -1, "at least 0"),
    ],
)
def test_config_refuses(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(InputError, match=rf"TrainConfig\.{name} is .*{allowed}"):
        TrainConfig(**{name: value})


def test_an_unknown_student_is_refused_by_the_config() -> None:
    with pytest.raises(InputError, match="unknown student 'vit'; known: convnet3d, minic3d"):
        TrainConfig(student="vit")


def test_every_field_of_the_config_is_checked() -> None:
    """A field that takes any value would be a hole: each one has a value that is refused."""
    for field in fields(TrainConfig):
        bad: Any = "nonsense" if isinstance(field.default, str) else (-1.0,) if field.name == "milestones" else -1
        if field.name != "views":  # a record that checks itself
            with pytest.raises(InputError):
                TrainConfig(**{field.name: bad})


def test_labeled_clips_refuse() -> None:
    good = moving_squares(4, 0)
    for frames in (good.frames.double(), good.frames[:, 0], good.frames.transpose(1, 2)):
        with pytest.raises(InputError, match=r"LabeledClips.frames is .*must be uint8 or float32 \(N,T,3,H,W\)"):
            replace(good, frames=frames)
    for labels in (good.labels[:3], good.labels.int(), torch.ones(4, 3)):
        with pytest.raises(InputError, match=r"LabeledClips.labels is .*must be int64 \(4,\) or float32 \(4,2\)"):
            replace(good, labels=labels)
    with pytest.raises(InputError, match=r"leave \[0,2\)"):
        replace(good, labels=good.labels + 1)
    for soft in (torch.full((4, 2), 0.6), torch.tensor([[1.5, -0.5]] * 4), torch.full((4, 2), math.nan)):
        with pytest.raises(InputError, match="must be finite, not negative, and sum to 1"):
            replace(good, labels=soft)
    assert repr(good) == "LabeledClips(frames=uint8 (4, 4, 3, 43, 43), labels=int64 (4,), classes=2)"


def test_sets_that_cannot_be_used_are_refused() -> None:
    data = moving_squares(8, 0)
    with pytest.raises(InputError, match="training set holds 1 clips; training needs at least 2"):
        trained(data=moving_squares(1, 0))
    with pytest.raises(InputError, match="the test set holds no clips"):
        evaluate(trained(), moving_squares(0, 0), CPU)
    with pytest.raises(InputError, match="the student knows 3 classes, the clips have 2"):
        predict(Table(3), data, CPU)
    renamed = replace(data, classes=("left", "right"))
    with pytest.raises(InputError, match=r"training classes 'right', 'left' differ from test classes 'left', 'right'"):
        train_seeds(data, renamed, QUICK, Run(Streams(0)), seeds=[0], clock=counting_clock())
    with pytest.raises(InputError, match="no seeds given; --seeds must be at least 1"):
        train_seeds(data, data, QUICK, Run(Streams(0)), seeds=[], clock=counting_clock())


def test_soft_labels_refuse() -> None:
    with pytest.raises(InputError, match="need at least one teacher, got none"):
        soft_labels([], table_clips([[1, 2]], [0]), TeacherConfig(), Run(Streams(0)))
    with pytest.raises(InputError, match="teacher.num_views is 0; it must be at least 1"):
        TeacherConfig(num_views=0)
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match=r"teacher.temperature is .*; it must be above 0"):
            TeacherConfig(temperature=temperature)
