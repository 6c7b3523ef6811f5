"""RDED: the teacher alone chooses, one box serves all frames of a clip, and what is stored is what it names."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import Codec, LinearCodec, PixelCodec
from videocompressa.errors import InputError
from videocompressa.methods import METHODS, rded
from videocompressa.methods.config import Teachers, first_of_each_class
from videocompressa.methods.rded import Crops, RdedConfig, cut, draw_crops, score_crops
from videocompressa.networks import Student
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig
from videocompressa.synthetic import Budget, SyntheticSet
from videocompressa.views import Views

SIDE, FRAMES = 16, 6
TEACHER = TeacherConfig(
    train=TrainConfig(
        student="framenet2d", width=0.25, steps=2, batch_size=8, lr=1e-3, warmup_steps=0, views=Views(scenes=0.0)
    ),
    num_views=2,
)
SMALL = RdedConfig(num_crops=3, teacher=TEACHER)


class BrightIsB(Student):
    """A teacher that takes a clip for "b" by how bright it is: planted truth."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 2

    def _body(self, volume: Tensor, maps: list[Tensor] | None) -> Tensor:
        return volume.mean((1, 2, 3, 4))[:, None, None, None, None]

    def _head(self, body: Tensor) -> Tensor:
        bright = body.flatten(1)
        return torch.cat([-8 * bright, 8 * bright], 1)


def noise(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def linear_codec() -> LinearCodec:
    codec = LinearCodec.load()
    assert isinstance(codec, LinearCodec)
    return codec


def candidates(frames: Tensor, labels: Tensor, codec: Codec | None = None) -> Candidates:
    codec = codec or PixelCodec()
    num_videos, num_frames = frames.shape[:2]
    latents = codec.encode(frames.flatten(0, 1))
    return Candidates(
        frames=frames,
        latents=latents.view(num_videos, num_frames, *latents.shape[1:]).half(),
        times_seconds=torch.arange(num_frames, dtype=torch.float64).expand(num_videos, -1) / 10,
        labels=labels,
        video_ids=tuple(f"{int(label)}/{row:03d}.mp4" for row, label in enumerate(labels)),
        num_video_frames=torch.full((num_videos,), 30),
        video_bytes=torch.full((num_videos,), 1000),
        classes=("a", "b"),
        clip=ClipSpec(num_frames, *frames.shape[3:]),
        codec=codec.spec,
        normalization=Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        source="planted",
        split_hash="0" * 64,
    )


@pytest.fixture
def noisy() -> Candidates:
    return candidates(noise((12, FRAMES, 3, SIDE, SIDE), 0), torch.arange(12) % 2)


@pytest.fixture
def bright_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RdedConfig, "train_teachers", lambda *_: Teachers([BrightIsB().eval()]))


def run(
    data: Candidates,
    config: RdedConfig = SMALL,
    *,
    codec: Codec | None = None,
    seed: int = 0,
    stages: Stages | None = None,
    allow_fewer: bool = False,
    vpc: int = 2,
    keyframes: int = 3,
) -> SyntheticSet:
    run = Run(Streams(seed), stages=stages or Stages())
    return config.compress(data, codec or PixelCodec(), Budget(vpc, keyframes, allow_fewer), run)


def rows_of(data: Candidates, synthetic: SyntheticSet) -> list[int]:
    return [data.video_ids.index(video) for video in synthetic.provenance.video_ids]


# Planted truth


def bright_corner(num_clips: int, strength: Tensor) -> Tensor:
    """Dark noise with a corner of `strength` (N) in every frame."""
    frames = noise((num_clips, FRAMES, 3, SIDE, SIDE), 3) // 8
    frames[..., 8:, 8:] += strength.to(torch.uint8)[:, None, None, None, None]
    return frames


@pytest.mark.usefixtures("bright_teacher")
def test_the_crop_that_shows_the_class_is_kept() -> None:
    labels = torch.arange(8) % 2
    data = candidates(bright_corner(8, torch.full((8,), 200)), labels)
    synthetic = run(data, RdedConfig(num_crops=60, labels="hard"), vpc=4)
    share = (synthetic.keyframes() > 0.6).float().mean((1, 2, 3, 4))
    # The corner is a quarter of each frame: the best crops of "a" avoid it, those of "b" are mostly it.
    assert bool((share[:4] < 0.02).all())
    assert bool((share[4:] > 0.5).all())


@pytest.mark.usefixtures("bright_teacher")
def test_the_clips_that_show_the_class_best_are_kept() -> None:
    strength = torch.tensor([0, 20, 0, 200, 90, 30, 90, 190])
    data = candidates(bright_corner(8, strength), torch.arange(8) % 2)
    synthetic = run(data, RdedConfig(num_crops=10, labels="hard"))
    assert sorted(rows_of(data, synthetic)[:2]) == [0, 2]
    assert sorted(rows_of(data, synthetic)[2:]) == [3, 7]


@pytest.mark.usefixtures("bright_teacher")
def test_the_window_that_shows_the_class_is_kept() -> None:
    """Only the last two of six frames of "b" are bright: the best windows are late."""
    frames = noise((8, FRAMES, 3, SIDE, SIDE), 3) // 8
    frames[1::2, 4:] += 200
    synthetic = run(
        candidates(frames, torch.arange(8) % 2),
        RdedConfig(num_crops=150, window=0.3, labels="hard"),
        vpc=4,
        keyframes=2,
    )
    assert synthetic.positions[4:].tolist() == [[4, 5]] * 4


# References


@pytest.mark.usefixtures("bright_teacher")
def test_only_the_teachers_loss_chooses_crops_and_clips(noisy: Candidates) -> None:
    """Brute force: every crop by hand, one by one, against what `score_crops` and `compress` do."""
    teacher = BrightIsB().eval()
    config = RdedConfig(num_crops=4, labels="hard", fill="hold")
    draws = Streams(0).generator("crops")
    crops = draw_crops(12, (SIDE, SIDE), FRAMES, config, keyframes=3, generator=draws)
    expected = torch.empty(12, 4, dtype=torch.float64)
    for row in range(12):
        for number in range(4):
            top, left, height, width = crops.boxes[row, number].tolist()
            part = noisy.frames[row, :, :, top : top + height, left : left + width].double() / 255
            part = functional.interpolate(part, (SIDE, SIDE), mode="bilinear", antialias=True)
            first, second, third = crops.positions[row, number].tolist()
            filled = [0] * second + [1] * (third - second) + [2] * (FRAMES - third)  # "hold"
            clip = part[[(first, second, third)[keyframe] for keyframe in filled]]
            brightness = ((clip - 0.5) / 0.25).mean()
            sign = 1 if noisy.labels[row] else -1
            expected[row, number] = torch.log1p(torch.exp(-16 * sign * brightness))
    losses = score_crops(noisy, torch.arange(12), crops, [teacher], "hold", Run(Streams(0)))
    torch.testing.assert_close(losses, expected, atol=1e-4, rtol=1e-4)

    synthetic = run(noisy, config)
    ranked = sorted(range(12), key=lambda row: (row % 2, float(expected[row].min())))
    chosen = [*ranked[:2], *ranked[6:8]]
    assert rows_of(noisy, synthetic) == chosen
    for item, row in enumerate(chosen):
        best = int(expected[row].argmin())
        assert torch.equal(synthetic.positions[item], crops.positions[row, best])
        kept = cut(noisy.frames[row][crops.positions[row, best]], crops.boxes[row, best], (SIDE, SIDE))
        torch.testing.assert_close(synthetic.latents[item], PixelCodec().encode(kept))


def test_chunks_and_teachers_do_not_matter(noisy: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, config = torch.tensor([3, 5, 8]), RdedConfig(num_crops=5)
    crops = draw_crops(3, (SIDE, SIDE), FRAMES, config, keyframes=2, generator=torch.Generator().manual_seed(1))
    calls: list[tuple[int, int]] = []

    def watch(step: str, **numbers: float) -> None:
        assert step == "crops"
        calls.append((int(numbers["done"]), int(numbers["total"])))

    complete = score_crops(noisy, rows, crops, [BrightIsB().eval()], "hold", Run(Streams(0)))
    monkeypatch.setattr(rded, "CHUNK", 4)
    parts = score_crops(noisy, rows, crops, [BrightIsB().eval()] * 2, "hold", Run(Streams(0), watch=watch))
    torch.testing.assert_close(parts, complete)
    assert calls == [(4, 15), (8, 15), (12, 15), (15, 15)]


def test_a_sure_teacher_still_ranks() -> None:
    """Two clips that the teacher recognizes by 24 and by 32: in float32 both losses are zero."""
    frames = torch.full((2, FRAMES, 3, SIDE, SIDE), 223, dtype=torch.uint8)
    frames[1] = 255
    crops = Crops(torch.tensor([0, 0, SIDE, SIDE]).expand(2, 1, 4), torch.tensor([0, 2]).expand(2, 1, 2))
    data = candidates(frames, torch.tensor([1, 1]))
    losses = score_crops(data, torch.arange(2), crops, [BrightIsB().eval()], "hold", Run(Streams(0)))
    assert 0 < float(losses[1]) < float(losses[0]) < 1e-10


def test_the_best_clips_of_each_class_by_rank() -> None:
    losses = torch.tensor([5.0, 1.0, 3.0, 1.0, 2.0, 0.0])
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    assert first_of_each_class(losses.argsort(stable=True), labels, 2).tolist() == [4, 2, 5, 1]
    assert first_of_each_class(losses.argsort(stable=True), labels, 9).tolist() == [4, 2, 0, 5, 1, 3]


# Crops


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    num_frames=st.integers(1, 12),
    scale=st.floats(0.01, 1),
    window=st.floats(0.01, 1),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_boxes_stay_inside_and_positions_rise(
    sides: tuple[int, int], num_frames: int, scale: float, window: float, seed: int, data: st.DataObject
) -> None:
    keyframes = data.draw(st.integers(1, num_frames))
    config = RdedConfig(num_crops=4, crop_scale=scale, window=window)
    generator = torch.Generator().manual_seed(seed)
    crops = draw_crops(3, sides, num_frames, config, keyframes=keyframes, generator=generator)
    top, left, height, width = crops.boxes.unbind(-1)
    assert crops.boxes.shape == (3, 4, 4)  # no axis of frames: one box for all of them
    assert bool((top >= 0).all() and (left >= 0).all() and (height >= 1).all() and (width >= 1).all())
    assert bool((top + height <= sides[0]).all() and (left + width <= sides[1]).all())
    assert crops.positions.shape == (3, 4, keyframes)
    assert bool((crops.positions >= 0).all() and (crops.positions < num_frames).all())
    assert bool((crops.positions.diff(dim=-1) > 0).all())


def test_areas_and_places_are_spread_as_asked() -> None:
    config = RdedConfig(num_crops=4000)
    crops = draw_crops(1, (100, 100), 16, config, keyframes=1, generator=torch.Generator().manual_seed(0))
    top, _, height, width = crops.boxes[0].double().unbind(-1)
    area = height * width / 1e4
    assert 0.07 < float(area.min()) < 0.1
    assert float(area.max()) > 0.97
    assert float(area.mean()) == pytest.approx(0.54, abs=0.02)
    assert float((top / (100 - height).clamp(min=1)).mean()) == pytest.approx(0.5, abs=0.02)
    # Middles of windows of 8 to 16 of 16 frames are in [4,12].
    assert sorted(set(crops.positions.flatten().tolist())) == list(range(4, 13))
    uncropped = RdedConfig(num_crops=9, crop_scale=1, window=1)
    crops = draw_crops(1, (9, 7), 6, uncropped, keyframes=3, generator=torch.Generator())
    assert crops.boxes[0].tolist() == [[0, 0, 9, 7]] * 9
    assert crops.positions[0].tolist() == [[1, 3, 5]] * 9


def test_a_still_clip_stays_still() -> None:
    """A random crop per frame (the released video loaders) would make a standing picture jitter."""
    frames = noise((8, 1, 3, SIDE, SIDE), 4).expand(-1, FRAMES, -1, -1, -1).contiguous()
    synthetic = run(candidates(frames, torch.arange(8) % 2))
    assert torch.equal(synthetic.latents, synthetic.latents[:, :1].expand_as(synthetic.latents))
    assert float(synthetic.latents[:, 0].std()) > 0.1


def test_a_cut_is_the_box_and_nothing_else() -> None:
    frames = noise((2, 3, 8, 8), 0)
    box = torch.tensor([2, 3, 4, 4])
    assert torch.equal(cut(frames, box, (4, 4)), frames[..., 2:6, 3:7].float() / 255)
    beyond = frames.clone()
    beyond[..., :2, :], beyond[..., 6:, :], beyond[..., :3], beyond[..., 7:] = 0, 0, 0, 0
    assert torch.equal(cut(frames, box, (8, 8)), cut(beyond, box, (8, 8)))


# The set


@pytest.mark.parametrize("make", [PixelCodec, linear_codec])
@pytest.mark.parametrize("labels", ["soft", "hard"])
def test_a_valid_set_and_the_same_for_the_same_seed(make: type[Codec], labels: str) -> None:
    codec = make()
    data = candidates(noise((16, FRAMES, 3, SIDE, SIDE), 0), torch.arange(16) % 2, codec)
    config = dataclasses.replace(SMALL, labels=labels)
    state = torch.get_rng_state()
    synthetic, again = run(data, config, codec=codec), run(data, config, codec=codec)
    assert torch.equal(state, torch.get_rng_state())
    assert synthetic.latents.shape == (4, 3, *data.latents.shape[2:])
    assert synthetic.labels.shape == ((4, 2) if labels == "soft" else (4,))
    assert synthetic.provenance.method == "rded"
    for field in ("latents", "positions", "times_seconds", "labels"):
        assert torch.equal(getattr(synthetic, field), getattr(again, field))
    assert data.labels[rows_of(data, synthetic)].tolist() == [0, 0, 1, 1]
    assert len(set(synthetic.provenance.video_ids)) == 4
    assert torch.equal(synthetic.times_seconds, synthetic.positions.double() / 10)
    assert not torch.equal(synthetic.latents, run(data, config, codec=codec, seed=1).latents)


def test_what_is_stored_is_the_crop_of_the_named_video_at_the_named_places(noisy: Candidates) -> None:
    """With complete frames as the only crop, the set is the real frames of the named video at its positions."""
    synthetic = run(noisy, dataclasses.replace(SMALL, crop_scale=1.0, labels="hard"))
    for row, latents, positions in zip(rows_of(noisy, synthetic), synthetic.latents, synthetic.positions, strict=True):
        torch.testing.assert_close(latents, PixelCodec().encode(noisy.frames[row][positions]))


def test_no_more_of_a_class_is_looked_at_than_asked(noisy: Candidates, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Tensor] = []

    def score(data: Candidates, rows: Tensor, crops: Crops, *args: object, **kwargs: object) -> Tensor:
        looked.append(rows)
        return torch.zeros(crops.boxes.shape[:2])

    monkeypatch.setattr(rded, "score_crops", score)
    for pool, expected in ((3, 3), (1, 2), (0, 6), (70, 6)):
        run(noisy, dataclasses.replace(SMALL, pool_per_class=pool))
        assert torch.bincount(noisy.labels[looked[-1]]).tolist() == [expected] * 2
        assert bool((looked[-1].diff() > 0).all())


def test_hard_and_soft_labels_share_the_crops(noisy: Candidates, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(tmp_path)
    soft = run(noisy, stages=stages)
    monkeypatch.setattr(rded, "score_crops", None)  # a stage that is computed again would call it
    hard = run(noisy, dataclasses.replace(SMALL, labels="hard"), stages=stages)
    assert torch.equal(soft.latents, hard.latents)
    with pytest.raises(TypeError):
        run(noisy, dataclasses.replace(SMALL, num_crops=2), stages=stages)


def test_a_class_with_fewer_clips_gives_what_it_has(noisy: Candidates) -> None:
    data = noisy.take([0, 2, 4, 6, 8, 1, 3, 5, 7])
    synthetic = run(data, vpc=5, allow_fewer=True, config=dataclasses.replace(SMALL, labels="hard"))
    assert torch.bincount(synthetic.labels).tolist() == [5, 4]


# Messages


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_crops": 0}, "rded num_crops is 0; it must be at least 1"),
        ({"pool_per_class": -1}, "rded pool_per_class is -1; it must be at least 0"),
        ({"crop_scale": 0.0}, r"rded crop_scale is 0.0; it must be in \(0,1\]"),
        ({"window": 1.5}, r"rded window is 1.5; it must be in \(0,1\]"),
        ({"labels": "firm"}, "unknown labels 'firm'; known: soft, hard"),
        ({"fill": "loop"}, "fill is 'loop'; known: hold, linear"),
    ],
)
def test_settings_out_of_range(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RdedConfig(**values)


def test_more_asked_than_there_is(noisy: Candidates) -> None:
    with pytest.raises(InputError, match="--keyframes is 7, but a clip has 6 candidate frames"):
        run(noisy, keyframes=7)
    with pytest.raises(InputError, match="--vpc is 7, but class 'a' has 6, 'b' has 6 training videos"):
        run(noisy, vpc=7)


def test_the_published_settings_are_the_defaults() -> None:
    config = METHODS["rded"]
    assert isinstance(config, RdedConfig)
    assert (config.num_crops, config.pool_per_class, config.crop_scale) == (5, 70, 0.08)
    assert config.labels == "soft"
    assert config.needs_teacher
