"""VDSD: statics stay, memories move, every expert counts; planted motion; sizes; the same bytes for the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from videocompressa.artifact import read_set, to_bytes, write_set
from videocompressa.artifact.packing import memories
from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import Codec, PixelCodec, build_codec
from videocompressa.errors import BudgetError, DivergedError, InputError
from videocompressa.matching import objectives as matching_module
from videocompressa.matching.experts import ExpertConfig
from videocompressa.matching.objectives import DMConfig, Matching, MTTConfig, ShowClips
from videocompressa.methods import METHODS, vdsd
from videocompressa.methods.vdsd import StaticsConfig, VDSDConfig, one_still_each
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig
from videocompressa.synthetic import Budget, SyntheticSet
from videocompressa.views import Views

FRAMES, SIDE = 4, 16
DM = DMConfig(student="framenet2d", width=0.1, real_per_class=3)
EXPERTS = ExpertConfig(student="framenet2d", width=0.1, num_experts=3, epochs=1, batch_size=6)
MTT = MTTConfig(EXPERTS, max_start_epoch=0, inner_steps=2, inner_lr_lr=0.0)
TEACHER = TeacherConfig(
    train=TrainConfig(
        student="framenet2d", width=0.1, steps=2, batch_size=8, lr=1e-3, warmup_steps=0, views=Views(scenes=0.0)
    ),
    num_views=2,
)
SMALL = VDSDConfig(
    matching=DM,
    statics=StaticsConfig(matching=DM, steps=2, lr=1.0),
    steps=2,
    lr=0.1,
    joiner_lr=1e-3,
    teacher=TEACHER,
)
KINDS = {"vdsd-dm": SMALL, "vdsd-mtt": dataclasses.replace(SMALL, matching=MTT)}


def candidates(frames: Tensor, labels: Tensor, codec: Codec | None = None) -> Candidates:
    codec = codec or PixelCodec()
    num_videos, num_frames = frames.shape[:2]
    latents = codec.encode(frames.flatten(0, 1)).half()
    return Candidates(
        frames=frames,
        latents=latents.view(num_videos, num_frames, *latents.shape[1:]),
        times_seconds=torch.arange(num_frames, dtype=torch.float64) / 10 + torch.arange(num_videos)[:, None],
        labels=labels,
        video_ids=tuple(f"{int(label)}/{'x' * (row % 4)}{row}.mp4" for row, label in enumerate(labels)),
        num_video_frames=torch.full((num_videos,), 30),
        video_bytes=torch.full((num_videos,), 1000),
        classes=("a", "b"),
        clip=ClipSpec(num_frames, *frames.shape[3:]),
        codec=codec.spec,
        normalization=Normalization((0.5, 0.45, 0.4), (0.25, 0.2, 0.3)),
    )


def noisy(num_videos: int = 12, codec: Codec | None = None) -> Candidates:
    labels = torch.arange(num_videos) % 2
    shape = (num_videos, FRAMES, 3, SIDE, SIDE)
    frames = torch.randint(0, 128, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return candidates(frames + (labels * 100).to(torch.uint8)[:, None, None, None, None], labels, codec)


def run(
    data: Candidates,
    config: VDSDConfig = SMALL,
    *,
    codec: Codec | None = None,
    stages: Stages | None = None,
    seed: int = 0,
    vpc: int = 2,
    file_bytes: int | None = None,
    allow_fewer: bool = False,
) -> SyntheticSet:
    budget = Budget(vpc, 2, allow_fewer, file_bytes)
    return config.compress(data, codec or PixelCodec(), budget, Run(Streams(seed), stages=stages or Stages()))


# ---------------------------------------------------------------------------------------------------------- the set


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("codec_name", ["pixel", "linear"])
def test_a_valid_set_with_any_codec_and_the_same_bytes(name: str, codec_name: str, tmp_path: Path) -> None:
    codec = build_codec(codec_name)
    data = noisy(codec=codec)
    synthetic = run(data, KINDS[name], codec=codec)
    cells = codec.spec.latent_shape(SIDE, SIDE)
    assert synthetic.provenance.method == name
    assert synthetic.packing == "s2d"
    assert synthetic.latents.shape == (4, FRAMES, *cells)
    assert torch.equal(synthetic.latents, memories.unpack(synthetic.packed, (4, FRAMES, *cells)))
    assert synthetic.packed["statics"].shape == (4, 2, *cells)
    assert synthetic.positions.tolist() == [list(range(FRAMES))] * 4
    rows = [data.video_ids.index(video) for video in synthetic.provenance.video_ids]
    assert len(set(rows)) == 4
    assert data.labels[rows].tolist() == synthetic.labels.tolist() == [0, 0, 1, 1]
    assert torch.equal(synthetic.times_seconds, data.times_seconds[rows])
    assert synthetic.clips(codec).shape == (4, FRAMES, 3, SIDE, SIDE)
    write_set(synthetic, tmp_path / "a.safetensors")
    assert to_bytes(read_set(tmp_path / "a.safetensors")) == to_bytes(run(data, KINDS[name], codec=codec))
    assert to_bytes(run(data, KINDS[name], codec=codec, seed=1)) != to_bytes(synthetic)


def test_soft_labels_come_from_a_teacher_and_reuse_the_memories(tmp_path: Path, monkeypatch) -> None:
    stages = Stages(tmp_path)
    hard = run(noisy(), stages=stages)
    assert {path.name.rsplit("-", 1)[0] for path in tmp_path.iterdir()} == {"vdsd-statics", "vdsd-dm"}
    monkeypatch.setattr(vdsd, "tune", None)  # a stage that is computed again would call it
    soft = run(noisy(), dataclasses.replace(SMALL, labels="soft"), stages=stages)
    assert soft.labels.dtype == torch.float32
    assert all(torch.equal(soft.packed[name], hard.packed[name]) for name in hard.packed)


def test_both_objectives_share_the_statics(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    sets = [run(noisy(), config, stages=stages) for config in KINDS.values()]
    assert len(list(tmp_path.glob("vdsd-statics-*"))) == 1
    assert torch.equal(sets[0].packed["statics"], sets[1].packed["statics"])


# --------------------------------------------------------------------------------------------------------- stage 1


def test_statics_start_from_evenly_spaced_frames_of_the_video() -> None:
    data = noisy()
    synthetic = run(data, dataclasses.replace(SMALL, statics=StaticsConfig(steps=0)))
    rows = [data.video_ids.index(video) for video in synthetic.provenance.video_ids]
    expected = data.latents[rows][:, [1, 3]].float()
    steps = synthetic.packed["static_scales"].float()[:, None, :, None, None]
    assert ((memories.stored_statics(synthetic.packed) - expected).abs() <= 0.5001 * steps).all()
    tuned = run(data)
    assert not torch.equal(tuned.packed["statics"], synthetic.packed["statics"])


def test_real_stills_are_one_frame_of_each_video_held() -> None:
    data = noisy()
    stills = one_still_each(data, torch.Generator().manual_seed(0))
    assert torch.equal(stills.frames, stills.frames[:, :1].expand_as(data.frames))
    matches = (stills.frames[:, :1] == data.frames).flatten(2).all(2)
    assert (matches.sum(1) == 1).all()
    assert len(set(matches.float().argmax(1).tolist())) > 1


def test_statics_are_shown_as_stills(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Tensor] = []

    def look(
        parameters: list[Tensor], matching: Matching, show: ShowClips, labels: Tensor, *_: object, **__: object
    ) -> None:
        if len(parameters) == 1:
            shown.append(show(torch.arange(len(labels))).detach())
            assert labels.tolist() == [0] * 4 + [1] * 4  # two statics of two videos of each class
        else:
            raise _Seen

    monkeypatch.setattr(vdsd, "tune", look)
    data = noisy()
    with pytest.raises(_Seen):
        run(data)
    assert torch.equal(shown[0], shown[0][:, :1].expand(-1, FRAMES, -1, -1, -1))
    first = run_rows(data)[0]
    real = data.normalization.apply(data.frames[first, [1, 3]].float() / 255)
    torch.testing.assert_close(shown[0][:2, 0], real, rtol=0, atol=5e-3)  # the float16 of the candidates' latents


def run_rows(data: Candidates) -> list[int]:
    """Rows of the videos that `run` chooses."""
    return SMALL._choose_videos(data, Budget(2, 2), Run(Streams(0))).tolist()


class _Seen(Exception):  # noqa: N818
    """Stops a run at stage 2."""


# --------------------------------------------------------------------------------------------------------- stage 2


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_stage_two_leaves_the_statics_bytes_and_moves_the_rest(config: VDSDConfig, tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    short, long = (run(noisy(), dataclasses.replace(config, steps=steps), stages=stages) for steps in (1, 3))
    kept = stages.recall("vdsd-statics", _statics_key(), dict)
    for name in ("statics", "static_scales"):
        assert torch.equal(long.packed[name], kept[name])
        assert torch.equal(short.packed[name], kept[name])
    for name in ("dynamics", "joiner_weight", "joiner_bias"):
        assert not torch.equal(short.packed[name], long.packed[name])


def _statics_key() -> dict[str, object]:
    return {
        "config": dataclasses.asdict(SMALL.statics),
        "rows": run_rows(noisy()),
        "codec": "",
        "seed": [0, ""],
    }


def test_gradients_reach_dynamics_and_joiner_and_not_the_statics(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Tensor]] = []
    frozen: list[Tensor] = []
    real_join = memories.join

    def spy(statics: Tensor, *rest: Tensor) -> Tensor:
        frozen.append(statics)
        return real_join(statics, *rest)

    def look(
        parameters: list[Tensor], matching: Matching, show: ShowClips, labels: Tensor, *_: object, **__: object
    ) -> None:
        if len(parameters) == 1:
            return
        monkeypatch.setattr(memories, "join", spy)
        clips = show(torch.tensor([2, 0]))
        assert clips.shape == (2, FRAMES, 3, SIDE, SIDE)
        seen.append(list(torch.autograd.grad(clips.square().sum(), parameters)))
        raise _Seen

    monkeypatch.setattr(vdsd, "tune", look)
    with pytest.raises(_Seen):
        run(noisy())
    dynamics, weight, bias = seen[0]
    assert dynamics.shape == (4, FRAMES, SIDE, SIDE)
    assert (dynamics.flatten(1).abs().sum(1) > 0).tolist() == [True, False, True, False]  # only rows of the clips
    assert (weight != 0).all()
    assert (bias != 0).all()
    assert not any(statics.requires_grad for statics in frozen)


class Pull(Matching):
    """DM whose features are the pixels themselves: a closed form, and fast."""

    def __init__(self, data: Candidates) -> None:
        clips = data.normalization.apply(data.frames.float() / 255)
        self.means = torch.stack([clips[data.labels == label].mean(0) for label in range(2)])

    def loss(self, show: ShowClips, labels: Tensor, step: int) -> Tensor:
        clips = show(torch.arange(len(labels)))
        return sum(((clips[labels == c].mean(0) - self.means[c]).square().sum() for c in range(2)), clips.new_zeros(()))


def pulled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SyntheticSet]:
    monkeypatch.setattr(DMConfig, "build", lambda _, data, run: Pull(data))
    return run


def test_dynamics_and_joiner_have_rates_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two steps each is where SGD with its own rate and this momentum takes it."""
    config = dataclasses.replace(SMALL, lr=1e-3, joiner_lr=1e-6, momentum=0.9, statics=StaticsConfig(steps=0))
    data = noisy()
    packed = pulled(monkeypatch)(data, config).packed
    statics = memories.stored_statics(packed)
    job = vdsd._Tuning(config, data, PixelCodec(), torch.tensor(run_rows(data)), Run(Streams(0)))
    parts = [part.requires_grad_() for part in job._start(statics)]
    optimizer = torch.optim.SGD(
        [{"params": parts[:1], "lr": 1e-3}, {"params": parts[1:], "lr": 1e-6}], lr=1e-3, momentum=0.9
    )
    for step in range(2):

        def show(rows: Tensor) -> Tensor:
            return job.show(memories.join(statics[rows], parts[0][rows], parts[1], parts[2]).flatten(0, 1)).view(
                len(rows), FRAMES, 3, SIDE, SIDE
            )

        optimizer.zero_grad()
        Pull(data).loss(show, data.labels[job.rows], step).backward()
        optimizer.step()
    expected = memories.pack(statics, *(part.detach() for part in parts))
    for name in ("joiner_weight", "joiner_bias"):  # the two differ by float32 rounding, so perhaps by one float16 step
        torch.testing.assert_close(packed[name], expected[name], rtol=2e-3, atol=1e-6)
    assert (packed["dynamics"].int() - expected["dynamics"].int()).abs().max() <= 1


def moving(num_videos: int = 8, frames: int = 8) -> Candidates:
    """A bright square crosses rows 4 to 8: in the first half of clips of "a", in the second half of those of "b"."""
    labels = torch.arange(num_videos) % 2
    clips = torch.randint(
        90, 110, (num_videos, frames, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    for row, label in enumerate(labels.tolist()):
        for step in range(frames // 2):
            clips[row, label * frames // 2 + step, :, 4:8, 3 * step : 3 * step + 4] = 230
    return candidates(clips, labels)


@pytest.mark.parametrize("start", vdsd.STARTS)
def test_planted_truth_the_dynamics_learn_when_something_moves(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statics of a class cannot show when: only the dynamics of one static a video can."""
    config = dataclasses.replace(
        SMALL,
        statics=StaticsConfig(per_video=1, steps=0),
        steps=150,
        lr=0.1,
        joiner_lr=1e-5,
        momentum=0.9,
        joiner_start=start,
    )
    build = pulled(monkeypatch)
    data = moving()
    before, after = (build(data, dataclasses.replace(config, steps=steps), vpc=1) for steps in (1, 150))
    clips = after.clips()[:, :, :, 4:8].mean((2, 3, 4))
    early_less_late = clips[:, :4].mean(1) - clips[:, 4:].mean(1)
    assert early_less_late[0] > 0.05
    assert early_less_late[1] < -0.05
    dynamics = [
        one.packed["dynamics"].float() * one.packed["dynamic_scales"].float()[:, None, None, None]
        for one in (before, after)
    ]
    change = (dynamics[1] - dynamics[0])[:, :, 1:-1]  # the joiner looks past the border, so the first and last row mix
    shared = change.mean(1, keepdim=True)  # what has nothing to do with when
    timed = (change - shared).abs().mean((0, 1, 3))
    assert timed[3:7].mean() > 1.5 * torch.cat([timed[:1], timed[9:]]).mean()


def test_mtt_starts_and_uses_every_expert(monkeypatch: pytest.MonkeyPatch) -> None:
    """The released code cannot start with MTT, and would go on reading the first of its expert files."""
    starts: list[Tensor] = []
    real = matching_module.trajectory_distance

    def spy(network: object, start: Tensor, *rest: object) -> Tensor:
        starts.append(start)
        return real(network, start, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(matching_module, "trajectory_distance", spy)
    run(noisy(), dataclasses.replace(KINDS["vdsd-mtt"], steps=6))
    which = [next(i for i, known in enumerate(starts) if torch.equal(known, start)) for start in starts]
    assert len(set(which[:3])) == len(set(which[3:])) == 3
    assert set(which[:3]) == set(which[3:])


def test_a_still_start_shows_the_statics_as_they_are() -> None:
    config = dataclasses.replace(SMALL, joiner_start="still", statics=StaticsConfig(steps=0))
    job = vdsd._Tuning(config, noisy(), PixelCodec(), torch.tensor([0, 1]), Run(Streams(0)))
    statics = torch.randn(2, 2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    dynamics, weight, bias = job._start(statics)
    shown = memories.join(statics, torch.zeros_like(dynamics), weight, bias)
    assert torch.equal(shown, statics[:, [0, 0, 1, 1]])
    assert (weight[:, 3] != 0).all()  # else no gradient would reach the dynamics
    assert 0.9 < dynamics.std() < 1.1


@pytest.mark.parametrize("rates", [{"lr": 1e12}, {"joiner_lr": 1e12}])
def test_memories_that_no_file_holds_count_as_divergence(rates: dict[str, float], monkeypatch) -> None:
    config = dataclasses.replace(SMALL, steps=1, statics=StaticsConfig(steps=0), **rates)
    with pytest.raises(DivergedError, match="vdsd-dm diverged: its dynamics reach .* choose a lower lr than"):
        pulled(monkeypatch)(noisy(), config)


# --------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_as_many_videos_a_class_as_fit(labels: str) -> None:
    data = noisy(24)
    config = dataclasses.replace(SMALL, labels=labels, statics=StaticsConfig(steps=0), steps=1)
    sizes = {count: len(to_bytes(run(data, config, vpc=count))) for count in (3, 4)}
    for limit, count in ((sizes[4], 4), (sizes[4] - 1, 3), (sizes[3], 3)):
        synthetic = run(data, config, file_bytes=limit)
        assert len(synthetic) == 2 * count
        assert len(to_bytes(synthetic)) == sizes[count] <= limit
        assert synthetic.hard_labels.bincount().tolist() == [count] * 2 or labels == "soft"


def test_a_budget_above_all_videos_takes_them_all() -> None:
    config = dataclasses.replace(SMALL, statics=StaticsConfig(steps=0), steps=1)
    data = noisy().take([0, 2, 4, 1, 3])
    assert run(data, config, file_bytes=10**7).labels.tolist() == [0, 0, 1, 1]
    assert run(data, config, file_bytes=10**7, allow_fewer=True).labels.tolist() == [0, 0, 0, 1, 1]


def test_a_budget_that_holds_nothing_says_what_would() -> None:
    with pytest.raises(
        BudgetError, match=r"1000 bytes .* are too few for one video of each of 2 classes by vdsd-dm"
    ) as error:
        run(noisy(), file_bytes=1000)
    least = int(str(error.value).rsplit(" ", 1)[1])
    assert len(to_bytes(run(noisy(), file_bytes=least))) == least
    with pytest.raises(BudgetError, match="give at least --bytes"):
        run(noisy(), file_bytes=least - 1)


# -------------------------------------------------------------------------------------------------------- messages


def test_the_published_settings_are_the_defaults() -> None:
    by_dm, by_mtt = METHODS["vdsd-dm"], METHODS["vdsd-mtt"]
    assert (by_dm.name, by_dm.steps, by_dm.lr, by_dm.joiner_lr, by_dm.momentum) == ("vdsd-dm", 5000, 1e-4, 1e-5, 0.95)
    assert (by_mtt.name, by_mtt.steps, by_mtt.lr, by_mtt.joiner_lr) == ("vdsd-mtt", 10_000, 1e4, 1e-3)
    assert by_dm.statics.per_video == by_mtt.statics.per_video == 2
    assert (by_dm.joiner_start, by_dm.kernel, by_dm.labels, by_dm.needs_teacher) == ("random", 3, "hard", False)
    assert dataclasses.replace(by_dm, labels="soft").needs_teacher


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StaticsConfig(per_video=0), "statics.per_video is 0; it must be at least 1"),
        (lambda: StaticsConfig(steps=-1), "statics.steps is -1; it must be at least 0"),
        (lambda: StaticsConfig(lr=0.0), "lr is 0.0; it must be above 0"),
        (lambda: VDSDConfig(steps=0), "steps is 0; it must be at least 1"),
        (lambda: VDSDConfig(joiner_lr=0.0), "joiner_lr is 0.0; it must be above 0"),
        (lambda: VDSDConfig(kernel=2), "kernel is 2; the joiner's side must be odd, such as 3"),
        (lambda: VDSDConfig(joiner_start="zero"), "unknown joiner_start 'zero'; known: random, still"),
        (lambda: VDSDConfig(labels="no"), "unknown labels 'no'; known: soft, hard"),
        (
            lambda: run(noisy(), dataclasses.replace(SMALL, statics=StaticsConfig(per_video=5))),
            "statics.per_video is 5, but a clip has 4 frames; choose at most 4",
        ),
        (lambda: run(noisy(), vpc=7), "--vpc is 7, but class 'a' has 6"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
