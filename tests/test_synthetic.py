"""The synthetic set: its checks, the way back to clips, and the fill."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labelers import random_labeler
from torch import Tensor
from torch.utils.data import DataLoader

from videocompressa.clip import BadVideo, Candidates, ClipSpec, CodecSpec, Normalization
from videocompressa.errors import InputError
from videocompressa.fill import fill_clips, fill_weights
from videocompressa.synthetic import (
    Budget,
    Cost,
    LazyClips,
    Provenance,
    Source,
    SyntheticSet,
    gather,
    items_of,
    regime_of,
)

CODEC = CodecSpec("blocks", "0123456789abcdef" * 4, 3, 4, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 1000)


class BlockDecoder:
    """Shows each latent cell as a block of one color."""

    def __init__(self, spec: CodecSpec = CODEC) -> None:
        self._spec = spec

    @property
    def spec(self) -> CodecSpec:
        return self._spec

    def decode(self, latents: Tensor) -> Tensor:
        colors = latents * 0.25 + 0.5
        return colors.repeat_interleave(self._spec.downscale, -1).repeat_interleave(self._spec.downscale, -2)


def make_set(**changes: Any) -> SyntheticSet:
    fields: dict[str, Any] = {
        "latents": torch.randn(2, 3, 3, 2, 4, generator=torch.Generator().manual_seed(1)),
        "positions": torch.tensor([[0, 2, 5], [1, 3, 4]]),
        "times_seconds": torch.tensor([[0.0, 0.5, 1.25], [0.25, 0.75, 1.0]], dtype=torch.float64),
        "labels": torch.tensor([1, 0]),
        "classes": ("sit", "stand"),
        "clip": ClipSpec(6, 8, 16),
        "fill": "hold",
        "codec": CODEC,
        "normalization": Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        "provenance": Provenance("random", {}, 0, Source("toy", "ab" * 32, 10, 600, 50_000), ("a/1.mp4", "b/2.mp4")),
    }
    return SyntheticSet(**(fields | changes))


def nan_at(tensor: Tensor, *place: int) -> Tensor:
    changed = tensor.clone()
    changed[place] = float("nan")
    return changed


GOOD = make_set()
SOFT = "soft SyntheticSet.labels must be finite, not negative, and sum to 1 in each row"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"latents": GOOD.latents.half()},
            r"SyntheticSet.latents is float16 \(2, 3, 3, 2, 4\); it must be float32 \(N,K,C,h,w\)",
        ),
        (
            {"latents": GOOD.latents[0]},
            r"SyntheticSet.latents is float32 \(3, 3, 2, 4\); it must be float32 \(N,K,C,h,w\)",
        ),
        ({"latents": GOOD.latents[..., :2]}, r"SyntheticSet.latents is .*; codec 'blocks' makes cells of \(3, 2, 4\)"),
        ({"latents": nan_at(GOOD.latents, 0, 0, 0, 0, 0)}, "SyntheticSet.latents hold values that are not finite"),
        (
            {"positions": GOOD.positions.int()},
            r"SyntheticSet.positions is int32 \(2, 3\); it must be torch.int64 \(2,3\)",
        ),
        (
            {"times_seconds": GOOD.times_seconds.float()},
            r"SyntheticSet.times_seconds is float32 .*; it must be torch.float64 \(2,3\)",
        ),
        (
            {"times_seconds": GOOD.times_seconds[:, :2]},
            r"SyntheticSet.times_seconds is float64 \(2, 2\); it must be torch.float64 \(2,3\)",
        ),
        ({"positions": GOOD.positions + 1}, r"SyntheticSet.positions leave \[0,6\)"),
        ({"positions": GOOD.positions - 1}, r"SyntheticSet.positions leave \[0,6\)"),
        ({"positions": torch.tensor([[0, 2, 2], [1, 3, 4]])}, "SyntheticSet.positions must rise within each item"),
        (
            {"times_seconds": GOOD.times_seconds.flip(1)},
            "SyntheticSet.times_seconds must be finite and must not fall within an item",
        ),
        (
            {"times_seconds": nan_at(GOOD.times_seconds, 0, 0)},
            "SyntheticSet.times_seconds must be finite and must not fall within an item",
        ),
        ({"labels": torch.tensor([0, 2])}, r"SyntheticSet.labels leave \[0,2\)"),
        ({"labels": torch.tensor([-1, 0])}, r"SyntheticSet.labels leave \[0,2\)"),
        (
            {"labels": torch.tensor([0.0, 1.0])},
            r"SyntheticSet.labels is float32 \(2,\); it must be int64 \(2,\) or float32 \(2,2\)",
        ),
        ({"labels": torch.full((2, 2), 0.6)}, SOFT),
        ({"labels": torch.tensor([[1.5, -0.5]] * 2)}, SOFT),
        ({"labels": torch.full((2, 2), float("nan"))}, SOFT),
        ({"fill": "loop"}, "fill is 'loop'; known: hold, linear.*"),
        ({"packed": {"b": GOOD.latents, "a": GOOD.latents}}, r".*packing is 'dense' with packed tensors \[a, b\]; .*"),
        (
            {"packing": "zip"},
            r"SyntheticSet.packing is 'zip' with packed tensors \[\]; "
            "give them exactly when the packing is not 'dense'",
        ),
        ({"provenance": replace(GOOD.provenance, video_ids=("a",))}, "Provenance.video_ids has 1 entries for 2 items"),
        (
            {"clip": ClipSpec(6, 9, 16)},
            r"codec 'blocks' needs sides in multiples of 4 pixels, got 9x16; choose --size 8",
        ),
        (
            {"decoder": BlockDecoder(replace(CODEC, weights_sha256="f" * 64))},
            r"the set was compressed with codec 'blocks' \(weights 0123456789ab\), "
            r"but 'blocks' \(weights ffffffffffff\) was given; give the same codec",
        ),
        ({"decoder": BlockDecoder(replace(CODEC, scale=(1.0, 1.0, 1.0)))}, "the set was .*; give the same codec"),
    ],
)
def test_wrong_sets_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        make_set(**changes)


def test_hashes_of_some_videos_are_refused() -> None:
    with pytest.raises(InputError, match="^Provenance.video_hashes has 1 entries for 2 items$"):
        make_set(provenance=replace(GOOD.provenance, video_hashes=("0" * 16,)))


@pytest.mark.parametrize(("error", "fits"), [(0.009, True), (0.011, False)])
def test_soft_labels_may_be_rounded(error: float, fits: bool) -> None:
    labels = torch.tensor([[0.5, 0.5 + error], [0.5, 0.5 - error]])
    with nullcontext() if fits else pytest.raises(InputError, match="sum to 1"):
        make_set(labels=labels)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(InputError, match="^a SyntheticSet must hold at least one keyframe$"):
        make_set(
            latents=GOOD.latents[:0],
            positions=GOOD.positions[:0],
            times_seconds=GOOD.times_seconds[:0],
            labels=GOOD.labels[:0],
            provenance=replace(GOOD.provenance, video_ids=()),
        )


@pytest.mark.parametrize("name", ["vpc", "keyframes"])
def test_allowances_below_one_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name} is 0; it must be at least 1"):
        Budget(0, 1) if name == "vpc" else Budget(1, 0)


def test_budget_adds_the_codec() -> None:
    assert Cost(1, 4, 0.1, 100, 1, 50, 700, 0.01, 3000).file_and_codec_bytes == 3700


def test_the_shown_set_names_its_shapes() -> None:
    assert repr(GOOD) == (
        "SyntheticSet('random', latents=float32 (2, 3, 3, 2, 4), labels=int64 (2,), classes=2, "
        "codec='blocks', fill='hold')"
    )
    assert len(GOOD) == 2


def test_hard_labels_are_the_likeliest_classes() -> None:
    soft = make_set(labels=torch.tensor([[0.2, 0.8], [0.9, 0.1]]))
    assert soft.hard_labels.tolist() == [1, 0] == GOOD.hard_labels.tolist()


def test_without_a_codec_nothing_is_decoded() -> None:
    with pytest.raises(
        InputError,
        match=r"^this set has no decoder at hand: give codec 'blocks', or read it with videocompressa\.load$",
    ):
        GOOD.keyframes()


def test_another_codec_is_refused_when_decoding() -> None:
    with pytest.raises(InputError, match="give the same codec"):
        GOOD.clips(BlockDecoder(replace(CODEC, weights_sha256="f" * 64)))


def test_the_same_weights_in_another_folder_are_the_same_codec() -> None:
    renamed = BlockDecoder(replace(CODEC, name="diffusers:elsewhere", num_bytes=5))
    assert torch.equal(make_set(decoder=renamed).keyframes(), GOOD.keyframes(BlockDecoder()))


def test_keyframes_are_pixels() -> None:
    keyframes = make_set(latents=GOOD.latents * 100).keyframes(BlockDecoder())
    assert keyframes.shape == (2, 3, 3, 8, 16)
    assert keyframes.dtype == torch.float32
    assert keyframes.min() == 0
    assert keyframes.max() == 1


def test_clips_hold_each_keyframe_until_the_next() -> None:
    keyframes, clips = GOOD.keyframes(BlockDecoder()), GOOD.clips(BlockDecoder())
    for item, displayed in enumerate([[0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 2, 2]]):
        assert torch.equal(clips[item], keyframes[item, displayed])


@pytest.mark.parametrize("soft", [False, True])
def test_a_set_trains_in_a_data_loader(soft: bool) -> None:
    labels = torch.tensor([[0.1, 0.9], [0.8, 0.2]]) if soft else torch.tensor([1, 0])
    data = make_set(labels=labels, decoder=BlockDecoder()).as_dataset()
    torch.manual_seed(0)
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6 * 3 * 8 * 16, 2))
    optimizer = torch.optim.SGD(student.parameters(), lr=0.003)
    losses = []
    for _ in range(40):
        for clips, targets in DataLoader(data, batch_size=2, shuffle=True):
            assert clips.shape == (2, 6, 3, 8, 16)
            loss = torch.nn.functional.cross_entropy(student(GOOD.normalization.apply(clips)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    floor = float(torch.special.entr(labels).sum(1).mean()) if soft else 0.0
    assert losses[-1] - floor < 0.1 * (losses[0] - floor)


def test_lazy_clips_are_the_same_and_only_what_is_read_is_decoded() -> None:
    decoded: list[int] = []

    class Counting(BlockDecoder):
        def decode(self, latents: Tensor) -> Tensor:
            decoded.append(len(latents))
            return super().decode(latents)

    synthetic = make_set(decoder=Counting())
    lazy, plain = synthetic.as_dataset(lazy=True), GOOD.as_dataset(BlockDecoder())
    assert decoded == []
    assert len(lazy) == len(plain) == 2
    clip, label = lazy[-1]
    assert decoded == [3]
    assert torch.equal(clip, plain[1][0])
    assert label == plain[1][1]
    with pytest.raises(IndexError):
        lazy[2]


def test_several_clips_are_read_at_once() -> None:
    lazy = LazyClips(GOOD, BlockDecoder())
    assert torch.equal(lazy[[1, 0]], GOOD.clips(BlockDecoder())[[1, 0]])
    assert len(lazy[[1]].shape) == 5


@pytest.mark.parametrize("lazy", [False, True])
def test_views_are_random_and_labeled_as_they_are_read(lazy: bool) -> None:
    labeler = random_labeler()
    data = make_set(labeler=labeler).as_dataset(BlockDecoder(), views=True, lazy=lazy)
    assert len(data) == 2
    torch.manual_seed(0)
    first, probabilities = data[0]
    assert torch.equal(probabilities, labeler(first[None])[0])
    assert not torch.equal(first, GOOD.clips(BlockDecoder())[0])
    assert not torch.equal(first, data[0][0])
    torch.manual_seed(0)
    assert torch.equal(first, data[0][0])


def test_a_labeler_is_asked_only_for_views() -> None:
    clip, label = make_set(labeler=random_labeler()).as_dataset(BlockDecoder())[0]
    assert torch.equal(clip, GOOD.clips(BlockDecoder())[0])
    assert int(label) == 1


def test_views_need_a_labeler() -> None:
    with pytest.raises(InputError) as caught:
        GOOD.as_dataset(BlockDecoder(), views=True)
    assert str(caught.value) == (
        "views=True: this set, compressed by 'random', has no labeler; compress with --labeler auto, or augment the "
        "clips yourself"
    )


def test_whose_labels_students_learn() -> None:
    hard, soft = torch.tensor([1, 0]), torch.full((2, 2), 0.5)
    assert (regime_of(hard, None), regime_of(soft, None)) == ("hard", "soft")
    assert regime_of(hard, random_labeler()) == regime_of(soft, random_labeler()) == "views"


@pytest.mark.parametrize("hashes", [(), ("aa", "bb")])
def test_items_keep_what_is_theirs(hashes: tuple[str, ...]) -> None:
    provenance = replace(GOOD.provenance, video_hashes=hashes)
    whole = make_set(packing="transform", packed={"step": torch.ones(1)}, provenance=provenance)
    part = items_of(whole, [1])
    assert (part.packing, part.packed) == ("dense", {})
    assert part.provenance == replace(provenance, video_ids=("b/2.mp4",), video_hashes=hashes[1:])
    for name in ("latents", "positions", "times_seconds", "labels"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[1:]), name


class TestGathered:
    ROWS, POSITIONS = torch.tensor([2, 0]), torch.tensor([[0, 1], [1, 2]])

    def candidates(self) -> Candidates:
        clip, generator = ClipSpec(3, 8, 16), torch.Generator().manual_seed(0)
        return Candidates(
            frames=torch.zeros(3, 3, 3, 8, 16, dtype=torch.uint8),
            latents=torch.randn(3, 3, 3, 2, 4, generator=generator).half(),
            times_seconds=torch.arange(9).view(3, 3).double(),
            labels=torch.tensor([1, 0, 1]),
            video_ids=("a.mp4", "b.mp4", "c.mp4"),
            num_video_frames=torch.tensor([10, 20, 30]),
            video_bytes=torch.tensor([100, 200, 300]),
            classes=("sit", "stand"),
            clip=clip,
            normalization=GOOD.normalization,
            source="toy",
            split_hash="ab" * 32,
            bad=(BadVideo("d.mp4", "empty file"),),
            video_hashes=("aa", "bb", "cc"),
            codec=CODEC,
        )

    def test_keyframes_of_some_videos(self) -> None:
        data, decoder = self.candidates(), BlockDecoder()
        made = gather(
            data, self.ROWS, self.POSITIONS, method="m", config={"a": 1}, seed=5, fill="hold", decoder=decoder
        )
        assert torch.equal(made.latents[0], data.latents[2, :2].float())
        assert torch.equal(made.latents[1], data.latents[0, 1:].float())
        assert torch.equal(made.positions, self.POSITIONS)
        assert made.times_seconds.tolist() == [[6, 7], [1, 2]]
        assert made.labels.tolist() == [1, 1]
        assert (made.classes, made.clip, made.codec) == (data.classes, data.clip, CODEC)
        assert (made.normalization, made.fill, made.decoder) == (data.normalization, "hold", decoder)
        source = Source("toy", "ab" * 32, num_videos=3, num_frames=60, video_bytes=600, num_skipped=1)
        ids, hashes = ("c.mp4", "a.mp4"), ("cc", "aa")
        assert made.provenance == Provenance("m", {"a": 1}, 5, source, ids, video_hashes=hashes)

    def test_other_latents_in_their_place(self) -> None:
        latents = torch.full((2, 2, 3, 2, 4), 7.0)
        made = gather(self.candidates(), self.ROWS, self.POSITIONS, method="m", config={}, seed=0, latents=latents)
        assert torch.equal(made.latents, latents)
        assert (made.fill, made.decoder) == ("linear", None)


@st.composite
def keyframe_positions(draw: st.DrawFn) -> tuple[Tensor, int]:
    num_frames = draw(st.integers(1, 20))
    keyframes = draw(st.integers(1, num_frames))
    chosen = st.permutations(range(num_frames)).map(lambda order: sorted(order[:keyframes]))
    return torch.tensor([draw(chosen), draw(chosen)]), num_frames


@given(keyframe_positions(), st.sampled_from(["hold", "linear"]))
def test_weights_are_shares_and_keyframes_show_themselves(case: tuple[Tensor, int], fill: str) -> None:
    positions, num_frames = case
    weights = fill_weights(positions, num_frames, fill)
    assert weights.shape == (2, num_frames, positions.shape[1])
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(2), torch.ones(2, num_frames))
    for item in range(2):
        assert torch.equal(weights[item, positions[item]], torch.eye(positions.shape[1]))


@given(keyframe_positions())
def test_hold_shows_one_keyframe_and_never_a_coming_one(case: tuple[Tensor, int]) -> None:
    positions, num_frames = case
    weights = fill_weights(positions, num_frames, "hold")
    assert ((weights == 0) | (weights == 1)).all()
    displayed = positions.gather(1, weights.argmax(2))
    times = torch.arange(num_frames).expand(2, -1)
    assert ((displayed <= times) | (times < positions[:, :1])).all()


@given(keyframe_positions())
def test_linear_moves_evenly_between_keyframes(case: tuple[Tensor, int]) -> None:
    positions, num_frames = case
    # A value that is its own time must come back as the time, held outside the first and last keyframe.
    clips = fill_clips(positions.double(), positions, num_frames, "linear")
    times = torch.arange(num_frames).double().expand(2, -1)
    expected = times.clamp(positions[:, :1].double(), positions[:, -1:].double())
    torch.testing.assert_close(clips, expected, atol=1e-5, rtol=0)


@given(st.integers(1, 20), st.sampled_from(["hold", "linear"]))
def test_all_frames_kept_is_the_identity(num_frames: int, fill: str) -> None:
    positions = torch.arange(num_frames)[None]
    assert torch.equal(fill_weights(positions, num_frames, fill)[0], torch.eye(num_frames))


def test_an_unknown_fill_is_refused() -> None:
    with pytest.raises(InputError, match="fill is 'loop'; known: hold, linear"):
        fill_weights(torch.tensor([[0]]), 2, "loop")


def test_clips_carry_gradients_to_their_keyframes() -> None:
    keyframes = torch.zeros(1, 2, 3, requires_grad=True)
    fill_clips(keyframes, torch.tensor([[0, 3]]), 4, "hold").sum().backward()
    assert keyframes.grad is not None
    assert keyframes.grad[0, :, 0].tolist() == [3.0, 1.0]
