"""Protocols: under which conditions a method is evaluated, as data. `fair` is ours, the others are the literature's.

Sources. `vdsd`: Wang et al. 2024, "Dancing with Still Images" (arXiv 2312.00362), followed by LVDD, PRISM and others.
`video-dc`: Chen et al. 2024, "A Large-Scale Study on Video Action Dataset Condensation" (arXiv 2412.21197). Numbers are
those of the released configurations and scripts.

What differs from the literature, because there it is a fault or because the file cannot hold it:
- Test clips are the fixed center ones, the test set is read once after the last step, and pixels are normalized by the
  train split. There: random test clips (`vdsd`), the best epoch on the test set, each test batch by its own statistics.
- Training clips of full data are the fixed center ones too; there the start is random, once a run or each epoch.
- A short video is read at frames // T (as `vdsd`); `video-dc` repeats its frames from the start.
- Steps of an epoch are those of the literature, ceil(clips / batch), but every batch is a full one.
- Schedules move step by step, not epoch by epoch; warm-up starts near 0 where `video-dc` starts at a tenth.
- Gradients are not clipped (`video-dc` clips those of its teacher at norm 40).
- `vdsd` cuts 8 frames of K400 and SSv2 at a fixed rate around the middle; here they are spread evenly over the video.
- `logit-mse` is Video-DC's loss up to a constant a clip, see `students.training.logit_mse`.
- SlowOnly-R18 and I3D-R18 (`video-dc`), CNN+GRU and CNN+LSTM (`vdsd`) are not among our students; other students take
  their place across architectures.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from videocompressa.errors import check_known
from videocompressa.recipes.options import CandidateOptions
from videocompressa.students.settings import TrainConfig
from videocompressa.views import UNCHANGED, Views


@dataclass(frozen=True)
class Reading:
    """How a data set is read."""

    options: CandidateOptions
    """Frames, size, placement, layout and classes; csv, fold and the rest are the user's."""
    batch_per_vpc: int | None = None
    """Clips a step for each video a class; None takes the regime's `batch_size`."""


@dataclass(frozen=True)
class Regime:
    """How a student is trained on any number of clips."""

    config: TrainConfig
    """With the number of steps where `epochs` is None."""
    epochs: int | None = None
    warmup_epochs: int = 0

    def for_clips(self, num_clips: int, batch_size: int | None = None) -> TrainConfig:
        """Return the training on `num_clips` clips; `batch_size` replaces the regime's."""
        config = dataclasses.replace(self.config, batch_size=batch_size or self.config.batch_size)
        if self.epochs is None:
            return config
        steps = math.ceil(num_clips / config.batch_size)
        return dataclasses.replace(config, steps=self.epochs * steps, warmup_steps=self.warmup_epochs * steps)


@dataclass(frozen=True)
class Protocol:
    """Under which conditions methods are compared."""

    name: str
    readings: Mapping[str, Reading]
    """By name of the data set; "any" is for every set."""
    students: tuple[str, ...]
    """The first evaluates, the others do so across architectures. Networks that compress are settings of a method."""
    labels: tuple[str, ...]
    """Kinds of labels, the published one first."""
    on_set: Regime
    """Training on a synthetic set with the first kind of labels."""
    on_full: Regime
    """Training on all videos: full data, and teachers."""

    def reading(self, data: str) -> Reading:
        """Return how the data set of this name is read; raises `InputError` with the known names."""
        if "any" in self.readings:
            return self.readings["any"]
        check_known(f"protocol {self.name!r} does not define how to read", data, self.readings)
        return self.readings[data]

    def train_config(self, data: str, *, num_clips: int, videos_per_class: int | None, labels: str) -> TrainConfig:
        """Return how the first student is trained on `num_clips` clips of a set, or of all videos: then no VPC.

        `data` names the data set. With hard labels a loss on the teacher's logits becomes cross-entropy (the "hard"
        rows of Video-DC).
        """
        if videos_per_class is None:
            config = self.on_full.for_clips(num_clips)
        else:
            per_vpc = self.reading(data).batch_per_vpc
            config = self.on_set.for_clips(num_clips, per_vpc * videos_per_class if per_vpc else None)
        return dataclasses.replace(config, loss=self.on_set.config.loss if labels == "soft" else "cross-entropy")


MINIUCF = (
    "ApplyEyeMakeup", "BalanceBeam", "BandMarching", "BaseballPitch", "Basketball", "BasketballDunk", "Biking",
    "Billiards", "BlowingCandles", "Bowling", "BreastStroke", "CleanAndJerk", "CliffDiving", "CricketShot", "Diving",
    "FloorGymnastics", "FrisbeeCatch", "GolfSwing", "HammerThrow", "HighJump", "HorseRace", "HorseRiding", "HulaHoop",
    "IceDancing", "JumpingJack", "Knitting", "MilitaryParade", "Mixing", "ParallelBars", "PlayingPiano",
    "PlayingViolin", "PoleVault", "PommelHorse", "Punch", "Rafting", "Rowing", "SkateBoarding", "Skiing", "Skijet",
    "SkyDiving", "SoccerPenalty", "StillRings", "SumoWrestling", "Surfing", "Swing", "TennisSwing",
    "TrampolineJumping", "UnevenBars", "VolleyballSpiking", "WritingOnBoard",
)  # fmt: skip
"""The 50 classes of UCF101 that make MiniUCF: the labels in the split list (ucf50_splits1.csv) of VDSD's repository,
yuz1wan/video_distillation at b6a9a79. Split 1 of UCF101 then has 4,662 training and 1,861 test videos."""

_FAIR = Protocol(
    name="fair",
    readings={"any": Reading(CandidateOptions())},
    students=("minic3d", "convnet3d", "r2plus1d18", "framenet2d"),
    labels=("soft", "hard", "views"),
    on_set=Regime(TrainConfig()),
    on_full=Regime(TrainConfig()),
)

_SGD = Regime(
    TrainConfig(
        student="convnet3d",
        width=1.0,
        optimizer="sgd",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=256,
        schedule="step",
        milestones=(0.5,),
        warmup_steps=0,
        views=UNCHANGED,
    ),
    epochs=500,
)

_STRIDED = CandidateOptions(frames=16, size=112, placement="strided:4")

_VDSD = Protocol(
    name="vdsd",
    readings={
        "miniucf": Reading(dataclasses.replace(_STRIDED, layout="ucf101", classes=MINIUCF)),
        "hmdb51": Reading(dataclasses.replace(_STRIDED, layout="hmdb51-unused-train")),
        "k400": Reading(CandidateOptions(frames=8, size=64, layout="kinetics")),
        "ssv2": Reading(CandidateOptions(frames=8, size=64, layout="ssv2")),
    },
    students=("convnet3d", "minic3d", "r2plus1d18", "framenet2d"),
    labels=("hard",),
    on_set=_SGD,
    on_full=_SGD,
)

_AUGMENTED = TrainConfig(student="minic3d", width=1.0, warmup_steps=0, views=Views(crop=0.08, mirror=True, scenes=0.0))

_INTERVAL = CandidateOptions(frames=8, size=112, placement="strided:8")

_VIDEO_DC = Protocol(
    name="video-dc",
    readings={
        "ucf101": Reading(dataclasses.replace(_INTERVAL, layout="ucf101"), batch_per_vpc=10),
        "hmdb51": Reading(dataclasses.replace(_INTERVAL, layout="hmdb51"), batch_per_vpc=10),
        # The released configuration of K400 has 40 clips a step at VPC 1.
        "k400": Reading(dataclasses.replace(_INTERVAL, size=56, layout="kinetics"), batch_per_vpc=40),
    },
    students=("minic3d", "r2plus1d18", "convnet3d", "framenet2d"),
    labels=("soft", "hard"),
    on_set=Regime(
        dataclasses.replace(_AUGMENTED, optimizer="adamw", lr=1e-3, weight_decay=0.01, loss="logit-mse"), epochs=300
    ),
    on_full=Regime(
        dataclasses.replace(
            _AUGMENTED,
            optimizer="sgd",
            lr=0.02,
            momentum=0.9,
            weight_decay=1e-4,
            batch_size=16,
            schedule="step",
            milestones=(90 / 150, 130 / 150),
        ),
        epochs=150,
        warmup_epochs=10,
    ),
)

PROTOCOLS = {protocol.name: protocol for protocol in (_FAIR, _VDSD, _VIDEO_DC)}
"""Every protocol by name."""
