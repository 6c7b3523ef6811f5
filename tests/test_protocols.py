"""Protocols: the published numbers, steps for sets of any size, and students that take the clips."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from videocompressa.bench.protocols import MINIUCF, PROTOCOLS, Protocol, Regime
from videocompressa.clip import ClipSpec
from videocompressa.datasets.layouts import LAYOUTS
from videocompressa.datasets.videos import VideoEntry, VideoSet, keep_classes
from videocompressa.errors import InputError
from videocompressa.networks import STUDENTS, build_student, check_student
from videocompressa.recipes.options import CandidateOptions
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import LABELS
from videocompressa.views import UNCHANGED, Views

VDSD, VIDEO_DC, FAIR = (PROTOCOLS[name] for name in ("vdsd", "video-dc", "fair"))


def config_of(protocol: Protocol, data: str, num_clips: int, vpc: int, labels: str = "") -> TrainConfig:
    return protocol.train_config(data, num_clips=num_clips, videos_per_class=vpc, labels=labels or protocol.labels[0])


# The published numbers


def test_vdsd_is_as_published() -> None:
    assert config_of(VDSD, "miniucf", 50, 1) == TrainConfig(
        student="convnet3d",
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=256,
        steps=500,
        schedule="step",
        milestones=(0.5,),
        width=1.0,
        warmup_steps=0,
        views=UNCHANGED,
        loss="cross-entropy",
    )
    assert VDSD.labels == ("hard",)
    assert VDSD.reading("miniucf").options.clip == ClipSpec(16, 112, 112, "strided:4")
    assert VDSD.reading("hmdb51").options.clip == ClipSpec(16, 112, 112, "strided:4")
    assert VDSD.reading("hmdb51").options.layout == "hmdb51-unused-train"
    for name in ("k400", "ssv2"):
        assert VDSD.reading(name).options.clip == ClipSpec(8, 64, 64)


def test_video_dc_is_as_published() -> None:
    assert config_of(VIDEO_DC, "ucf101", 101, 1) == TrainConfig(
        student="minic3d",
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        batch_size=10,
        steps=300 * 11,
        schedule="cosine",
        width=1.0,
        warmup_steps=0,
        views=Views(crop=0.08, mirror=True, scenes=0.0),
        loss="logit-mse",
    )
    teacher = VIDEO_DC.on_full.for_clips(9537)
    per_epoch = 597
    assert teacher.steps == 150 * per_epoch
    assert teacher.warmup_steps == 10 * per_epoch
    assert [share * teacher.steps / per_epoch for share in teacher.milestones] == pytest.approx([90, 130])
    assert (teacher.optimizer, teacher.lr, teacher.momentum, teacher.weight_decay) == ("sgd", 0.02, 0.9, 1e-4)
    assert (teacher.batch_size, teacher.schedule, teacher.views.crop, teacher.loss) == (
        16,
        "step",
        0.08,
        "cross-entropy",
    )
    assert VIDEO_DC.reading("ucf101").options.clip == ClipSpec(8, 112, 112, "strided:8")
    assert VIDEO_DC.reading("hmdb51").options.layout == "hmdb51"
    assert VIDEO_DC.reading("k400").options.clip == ClipSpec(8, 56, 56, "strided:8")
    assert "r2plus1d18" in VIDEO_DC.students


def test_fair_is_the_same_for_every_set_and_for_full_data() -> None:
    assert FAIR.reading("whatever") == FAIR.reading("lip_words")
    assert FAIR.reading("x").options.clip == CandidateOptions().clip
    every = [config_of(FAIR, "x", clips, vpc, labels) for clips, vpc, labels in ((2, 1, "soft"), (4000, 10, "hard"))]
    assert {*every, FAIR.on_full.for_clips(5000)} == {TrainConfig()}
    assert set(FAIR.labels) == {"hard", "soft", "views"}
    assert set(FAIR.students) == set(STUDENTS)


@pytest.mark.parametrize(
    ("name", "data", "clips", "vpc", "batch", "steps"),
    [
        ("vdsd", "miniucf", 50, 1, 256, 500),
        ("vdsd", "miniucf", 250, 5, 256, 500),
        ("vdsd", "miniucf", 500, 10, 256, 1000),
        ("vdsd", "hmdb51", 51, 1, 256, 500),
        ("video-dc", "hmdb51", 51, 1, 10, 1800),
        ("video-dc", "hmdb51", 255, 5, 50, 1800),
        ("video-dc", "ucf101", 1010, 10, 100, 3300),
        ("video-dc", "k400", 400, 1, 40, 3000),
    ],
)
def test_steps_are_epochs_of_the_literature(name: str, data: str, clips: int, vpc: int, batch: int, steps: int) -> None:
    config = config_of(PROTOCOLS[name], data, clips, vpc)
    assert (config.batch_size, config.steps) == (batch, steps)


def test_vdsd_full_data_is_trained_like_a_set() -> None:
    assert VDSD.on_full.for_clips(4662) == dataclasses.replace(config_of(VDSD, "miniucf", 50, 1), steps=500 * 19)


def test_hard_labels_of_video_dc_train_by_cross_entropy() -> None:
    soft, hard = (config_of(VIDEO_DC, "ucf101", 101, 1, labels) for labels in ("soft", "hard"))
    assert hard == dataclasses.replace(soft, loss="cross-entropy")


# What fits together


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_students_take_the_clips_and_layouts_are_known(protocol: Protocol) -> None:
    assert protocol.name == next(name for name, each in PROTOCOLS.items() if each is protocol)
    assert protocol.students[0] == protocol.on_set.config.student == protocol.on_full.config.student
    assert set(protocol.labels) <= set(LABELS)
    for reading in protocol.readings.values():
        assert reading.options.layout in ("auto", *LAYOUTS)
        for student in protocol.students:
            check_student(student)
            build_student(student, 2, reading.options.clip.size, torch.Generator(), width=0.125)


def test_regimes_without_epochs_keep_their_steps() -> None:
    assert Regime(TrainConfig(steps=7)).for_clips(1000) == TrainConfig(steps=7)
    assert Regime(TrainConfig(steps=7)).for_clips(1000, 4) == TrainConfig(steps=7, batch_size=4)
    assert Regime(TrainConfig(), epochs=3, warmup_epochs=1).for_clips(33) == TrainConfig(steps=9, warmup_steps=3)


# MiniUCF


def test_miniucf_has_fifty_classes() -> None:
    assert len(set(MINIUCF)) == len(MINIUCF) == 50
    assert list(MINIUCF) == sorted(MINIUCF)
    assert VDSD.reading("miniucf").options.classes == MINIUCF
    size = VDSD.reading("miniucf").options.clip.size
    student = build_student("convnet3d", len(MINIUCF), size, torch.Generator())
    assert sum(weights.numel() for weights in student.parameters()) == 3_647_666


def video_set(classes: tuple[str, ...]) -> VideoSet:
    entries = [
        VideoEntry(Path(f"{name}/{number}.avi"), f"{name}/{number}.avi", label, split, f"{name}/{number}")
        for label, name in enumerate(classes)
        for number, split in enumerate(("train", "train", "test"))
    ]
    return VideoSet("UCF101", Path(), classes, tuple(entries))


def test_kept_classes_are_relabeled_and_all_else_is_gone() -> None:
    videos = video_set(("Archery", *MINIUCF, "YoYo"))
    kept = keep_classes(videos, tuple(reversed(MINIUCF)))
    assert kept.classes == MINIUCF
    assert len(kept) == 150
    assert all(kept.classes[entry.label] == entry.video_id.split("/")[0] for entry in kept.entries)
    assert [entry.split for entry in kept.entries[:3]] == ["train", "train", "test"]
    assert keep_classes(kept, MINIUCF) == kept
    assert kept.split_hash != videos.split_hash


# Messages


def test_unknown_data_sets_list_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="'vdsd' does not define how to read 'ucf101'; known: miniucf, hmdb51, k400, ssv2"
    ):
        VDSD.reading("ucf101")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Archery", "Yo", "Ro"), r"has no class Ro, Yo \(2 of the 3 to keep\); it has Archery, Biking, YoYo"),
        (("Archery",), "the classes to keep are Archery; name two or more, once"),
        ((), "the classes to keep are none; name two or more"),
        (("Archery", "Archery", "YoYo"), "the classes to keep are Archery, Archery, YoYo; name two or more, once"),
    ],
)
def test_classes_that_cannot_be_kept(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        keep_classes(video_set(("Archery", "Biking", "YoYo")), names)
