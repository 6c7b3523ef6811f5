"""Students: published sizes, shapes, initialization from a generator alone, and the convolution against PyTorch's."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from videocompressa.errors import InputError
from videocompressa.networks import (
    STUDENTS,
    Dropout,
    FrameConv3d,
    Projection2d,
    Projection3d,
    Student,
    build_student,
    initialize,
)

LITERATURE = ("convnet3d", "minic3d")


def fresh(
    name: str, *, seed: int = 0, num_classes: int = 5, size: tuple[int, int, int] = (8, 64, 64), width: float = 0.125
) -> Student:
    return build_student(name, num_classes, size, torch.Generator().manual_seed(seed), width=width)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "num_classes", "parameters"),
    [
        ("convnet3d", 50, 3_647_666),  # the literature's own count
        ("minic3d", 50, 3_647_666 + 2 * (64 + 128 + 128)),  # and a norm after each convolution
        ("r2plus1d18", 400, 31_505_325),  # the published Kinetics-400 network
        ("framenet2d", 50, 1_220_690),
    ],
)
def test_published_parameter_counts(name: str, num_classes: int, parameters: int) -> None:
    student = fresh(name, num_classes=num_classes, width=1.0)
    assert sum(weights.numel() for weights in student.parameters()) == parameters


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("size", [(4, 43, 43), (5, 64, 48), (8, 64, 64), (16, 112, 112), (8, 128, 96)])
def test_shapes(name: str, size: tuple[int, int, int]) -> None:
    student = fresh(name, size=size).eval()
    clips = normal(2, size[0], 3, size[1], size[2])
    with torch.no_grad():
        assert student(clips).shape == (2, 5)
        assert student.features(clips).shape == (2, student.classifier.weight.shape[1])
        maps, _ = student.maps_and_logits(clips)
    assert len(maps) == (4 if name == "r2plus1d18" else 3)
    assert all(each.ndim == 5 and len(each) == 2 and bool((each >= 0).all()) for each in maps)
    assert maps[-1].shape[1] == student.classifier.weight.shape[1]


def test_the_convnets_maps_are_those_before_the_pools() -> None:
    with torch.no_grad():
        maps, _ = fresh("convnet3d", width=1.0).maps_and_logits(normal(1, 8, 3, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [(64, 8, 32, 32), (128, 8, 8, 8), (128, 4, 2, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", LITERATURE)
def test_the_literatures_layers_written_out_plainly(name: str) -> None:
    """Logits, features and gradients equal a plain stack of PyTorch's modules with the same weights.

    In float64: rounding to float32 may choose another maximum of a pool, and so another gradient.
    """
    student = fresh(name, size=(16, 112, 112)).eval().double()
    layers: list[nn.Module] = []
    for stage, (conv, pool) in enumerate(zip(student.convs, ((1, 2, 2), (2, 2, 2), (2, 2, 2)), strict=True)):
        plain = nn.Conv3d(conv.in_channels, conv.out_channels, (3, 7, 7), (1, 2, 2), (1, 3, 3))
        plain.double().load_state_dict(conv.state_dict())
        norms = [copy.deepcopy(student.norms[stage])] if name == "minic3d" else []
        layers += [plain, *norms, nn.ReLU(), nn.MaxPool3d(pool)]
    clips = normal(2, 16, 3, 112, 112).double()
    body = nn.Sequential(*layers)(clips.transpose(1, 2))
    if name == "convnet3d":
        pooled = nn.AvgPool3d((2, 2, 2), stride=1)(body)
        assert pooled.shape[2:] == (3, 1, 1)
        logits = student.classifier(pooled).squeeze(-1).squeeze(-1).max(2).values
    else:
        pooled = body
        logits = student.classifier(body.mean((2, 3, 4)))
    torch.testing.assert_close(student(clips), logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(student.features(clips), pooled.mean((2, 3, 4)), atol=1e-5, rtol=1e-4)
    student(clips).square().sum().backward()
    logits.square().sum().backward(inputs=[layers[0].weight])
    torch.testing.assert_close(student.convs[0].weight.grad, layers[0].weight.grad)


@pytest.mark.parametrize("shape", [(2, 3, 4, 16, 16), (1, 5, 1, 7, 9), (3, 8, 2, 1, 1)])
def test_frame_conv_equals_conv3d(shape: tuple[int, ...]) -> None:
    ours, plain = FrameConv3d(shape[1], 6), nn.Conv3d(shape[1], 6, (3, 7, 7), (1, 2, 2), (1, 3, 3))
    initialize(ours, torch.Generator().manual_seed(3))
    plain.load_state_dict(ours.state_dict())
    assert all(weights.is_contiguous() for weights in ours.parameters())
    first, second = normal(*shape).requires_grad_(), normal(*shape).requires_grad_()
    torch.testing.assert_close(ours(first), plain(second), atol=1e-5, rtol=1e-5)
    ours(first).square().sum().backward()
    plain(second).square().sum().backward()
    torch.testing.assert_close(first.grad, second.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", STUDENTS)
def test_weights_come_from_the_generator_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fresh(name, seed=7)
    torch.manual_seed(2)
    second, other = fresh(name, seed=7), fresh(name, seed=8)
    states = [each.state_dict() for each in (first, second, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])
    assert all(bool(torch.isfinite(each).all()) for each in states[0].values())
    torch.manual_seed(1)
    fresh(name, seed=9).train()(normal(2, 8, 3, 64, 64))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_parameter_has_random_values_in_its_range() -> None:
    student = fresh("minic3d", width=1.0)
    for conv in student.convs:
        weight = conv.weight.detach()
        bound = weight[0].numel() ** -0.5
        assert 0.99 * bound < float(weight.abs().max()) <= bound * 1.000001
        assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert all(bool((norm.weight == 1).all() and (norm.running_var == 1).all()) for norm in student.norms)


def test_dropout_masks_follow_the_seed_and_keep_the_mean() -> None:
    clips = normal(4, 8, 3, 64, 64)
    first, second = fresh("convnet3d", seed=1).train(), fresh("convnet3d", seed=1).train()
    assert torch.equal(first(clips), second(clips))
    assert not torch.equal(first(clips), first.eval()(clips))
    dropout = Dropout(0.25)
    dropped = dropout(torch.ones(100_000))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(dropout.eval()(dropped), dropped)


def test_a_copy_draws_the_same_masks() -> None:
    student = fresh("minic3d").train()
    clips = normal(2, 8, 3, 64, 64)
    student(clips)
    clone = copy.deepcopy(student)
    assert torch.equal(student(clips), clone(clips))


def test_only_framenet_is_blind_to_the_order_of_frames() -> None:
    clips = normal(2, 8, 3, 64, 64)
    for name in STUDENTS:
        student = fresh(name).eval()
        with torch.no_grad():
            same = torch.allclose(student(clips), student(clips.flip(1)), atol=1e-5)
        assert same == (name == "framenet2d")


def test_logits_of_a_clip_do_not_depend_on_its_batch() -> None:
    clips = normal(3, 8, 3, 64, 64)
    for name in STUDENTS:
        student = fresh(name).eval()
        with torch.no_grad():
            alone = torch.cat([student(clip[None]) for clip in clips])
            torch.testing.assert_close(student(clips), alone, atol=1e-5, rtol=1e-4)


def gradients(module: nn.Module, volume: Tensor, bfloat16: bool) -> list[Tensor]:
    """Gradients of all weights, after the heap was filled with NaN to show what is read unwritten."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        outcome = module(volume)
    junk = [torch.full_like(weights, math.nan) for weights in module.parameters()]
    del junk
    return list(torch.autograd.grad(outcome.float().square().sum(), list(module.parameters())))


def largest_error(module: nn.Module, volume: Tensor) -> float:
    exact = gradients(module, volume, False)
    rough = [each for _ in range(3) for each in zip(gradients(module, volume, True), exact, strict=True)]
    return max(float((ours - theirs).norm()) / (float(theirs.norm()) + 1e-6) for ours, theirs in rough)


@pytest.mark.parametrize("size", [(1, 3, 3), (2, 3, 3), (2, 8, 8), (3, 2, 8), (3, 3, 3), (4, 4, 4), (8, 16, 16)])
def test_bfloat16_gradients_of_the_convolution(size: tuple[int, int, int]) -> None:
    """They are those of float32 but for rounding, on maps as small as the students make them."""
    conv = FrameConv3d(16, 16)
    initialize(conv, torch.Generator().manual_seed(0))
    assert largest_error(conv, normal(4, 16, *size)) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("size", [(4, 43, 43), (5, 64, 48), (8, 64, 64)])
def test_bfloat16_gradients_of_a_student(name: str, size: tuple[int, int, int]) -> None:
    """Rounding moves a few maxima of the pools, so the bound is wide; garbage is far outside."""
    student = fresh(name, size=size, width=0.25).eval()
    assert largest_error(student, normal(4, size[0], 3, size[1], size[2])) < 0.5


def test_width_scales_the_channels() -> None:
    assert fresh("minic3d", width=0.5).classifier.in_features == 64
    assert fresh("r2plus1d18", width=1e-9).classifier.in_features == 1


@pytest.mark.parametrize("name", LITERATURE)
@pytest.mark.parametrize("size", [(3, 64, 64), (8, 42, 64), (8, 64, 42)])
def test_too_small_clips_say_what_is_needed(name: str, size: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match=r"too small for .*at least 4 frames at 43x43 px"):
        fresh(name, size=size)
    with pytest.raises(InputError, match=r"too small"):
        fresh(name)(normal(1, size[0], 3, size[1], size[2]))


@pytest.mark.parametrize("name", ["r2plus1d18", "framenet2d"])
def test_others_take_one_frame_of_one_pixel(name: str) -> None:
    with torch.no_grad():
        assert bool(torch.isfinite(fresh(name, size=(1, 1, 1)).eval()(normal(1, 1, 3, 1, 1))).all())


@pytest.mark.parametrize("shape", [(2, 3, 8, 64, 64), (8, 3, 64, 64), (2, 8, 1, 64, 64)])
def test_another_layout_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"takes normalized float clips \(B,T,3,H,W\): permute them"):
        fresh("minic3d")(normal(*shape))


def test_unknown_student_lists_the_known() -> None:
    with pytest.raises(InputError, match="unknown student 'resnet'; known: convnet3d, minic3d, r2plus1d18, framenet2d"):
        fresh("resnet")


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="num_classes is 0; a student needs at least 1 class"):
        fresh("minic3d", num_classes=0)
    for width in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be a number above 0"):
            fresh("minic3d", width=width)


def test_student_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Student()


@pytest.mark.parametrize("channels", [2, 3, 6, 9, 16])
def test_projections_are_strided_convolutions_and_survive_their_gradients(channels: int) -> None:
    """Strided ones killed the process on processors with AVX2 alone; several rounds, because not every write hits."""
    draws = torch.Generator().manual_seed(channels)
    flat, deep = Projection2d(channels, 8), Projection3d(channels, 8, 2)
    for side in (16, 8, 5):
        pictures = torch.randn(48, channels, side, side, generator=draws).contiguous(memory_format=torch.channels_last)
        volume = torch.randn(8, channels, 4, side, side, generator=draws)
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
        for _ in range(5):
            (flat(pictures).square().sum() + deep(volume).square().sum()).backward()
        ours, theirs = flat(pictures), torch.nn.functional.conv2d(pictures.contiguous(), flat.weight, stride=2)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        ours, theirs = deep(volume), torch.nn.functional.conv3d(volume.contiguous(), deep.weight, stride=2)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
