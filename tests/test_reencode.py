"""Re-encoded real clips: the given size is kept and filled, the clips are the right ones, files round-trip."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import pytest
import safetensors.numpy
import torch
from torch import Tensor

from videocompressa.artifact import measure, read_set, to_bytes, write_set
from videocompressa.artifact.packing.streams import CODERS
from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import Codec, PixelCodec, build_codec
from videocompressa.datasets import encode_pass, find_videos
from videocompressa.errors import ArtifactError, BudgetError, InputError
from videocompressa.methods import METHODS, find_method
from videocompressa.methods.reencode import MODERATE, ReencodeConfig
from videocompressa.rng import Streams
from videocompressa.run import Run
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig
from videocompressa.synthetic import Budget, SyntheticSet
from videocompressa.views import Views

TEACHER = TeacherConfig(
    train=TrainConfig(
        student="framenet2d", width=0.25, steps=4, batch_size=8, lr=1e-3, warmup_steps=0, views=Views(scenes=0.0)
    ),
    num_views=2,
)
NAMES = [name for name, method in METHODS.items() if isinstance(method, ReencodeConfig)]
RANDOM = ["real-h264", "real-av1", "real-webp"]


def candidates(
    codec: Codec, counts: tuple[int, ...] = (8, 8), num_frames: int = 4, side: tuple[int, int] = (24, 24)
) -> Candidates:
    """Waves that move, of another color for each class, as an encode pass would give them."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    grid = torch.arange(side[1])[None, :] / 3 + torch.arange(side[0])[:, None] / 5
    clips = []
    for row, label in enumerate(labels.tolist()):
        waves = torch.stack([torch.sin(grid * (1 + row / 7) - time) for time in range(num_frames)])
        tint = torch.tensor([90.0, 60.0, 30.0]).roll(label).view(3, 1, 1)
        clips.append((waves[:, None] * tint + 128).byte())
    frames = torch.stack(clips)
    return Candidates(
        frames=frames,
        latents=codec.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).half(),
        times_seconds=torch.arange(num_frames, dtype=torch.float64).expand(len(labels), -1) / 10,
        labels=labels,
        video_ids=tuple(f"{label}/{row:03d}.mp4" for row, label in enumerate(labels.tolist())),
        num_video_frames=torch.full((len(labels),), 30),
        video_bytes=torch.full((len(labels),), 1000),
        classes=tuple("abcdefgh"[: len(counts)]),
        clip=ClipSpec(num_frames, *side),
        codec=codec.spec,
        normalization=Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        source="waves",
        split_hash="0" * 64,
    )


@pytest.fixture(scope="module")
def waves() -> Candidates:
    return candidates(PixelCodec())


def run(
    data: Candidates,
    name: str,
    file_bytes: int | None,
    *,
    codec: Codec | None = None,
    keyframes: int = 2,
    seed: int = 0,
    **changes: object,
) -> SyntheticSet:
    config = dataclasses.replace(find_method(name), **({"teacher": TEACHER} | changes))
    budget = Budget(1, min(keyframes, data.clip.num_frames), file_bytes=file_bytes)
    return config.compress(data, codec or PixelCodec(), budget, Run(Streams(seed)))


def rows_of(synthetic: SyntheticSet, data: Candidates) -> list[int]:
    return [data.video_ids.index(video) for video in synthetic.provenance.video_ids]


def psnr(synthetic: SyntheticSet, data: Candidates) -> float:
    real = data.frames[rows_of(synthetic, data)].gather(
        1, synthetic.positions[:, :, None, None, None].expand(-1, -1, *data.frames.shape[2:])
    )
    return float(-10 * (synthetic.keyframes() - real.float() / 255).square().mean().log10())


def least_bytes(data: Candidates, name: str, **changes: object) -> int:
    """The smallest size that works, as the message states it."""
    with pytest.raises(BudgetError, match="give at least --bytes") as caught:
        run(data, name, 1, **changes)
    return int(str(caught.value).rsplit(" ", 1)[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "labels", "kind"),
    [
        *((name, "hard", "pixel") for name in NAMES),
        ("real-h264", "soft", "pixel"),
        ("real-webp", "soft", "tiny"),
        ("herding-h264", "soft", "tiny"),
        ("real-av1", "hard", "tiny"),
    ],
)
def test_a_valid_set_within_its_bytes_and_the_same_again(name: str, labels: str, kind: str, tmp_path: Path) -> None:
    codec = build_codec(kind)
    data = candidates(codec, counts=(5, 5))
    limit = least_bytes(data, name, codec=codec, labels=labels) + 1200
    synthetic = run(data, name, limit, codec=codec, labels=labels)
    again = run(data, name, limit, codec=codec, labels=labels)
    assert to_bytes(synthetic) == to_bytes(again)
    assert torch.equal(synthetic.latents, again.latents)
    cost = write_set(synthetic, tmp_path / "a.safetensors")
    assert 0.7 * limit < cost.file_bytes <= limit
    assert cost.latent_bytes == sum(len(tensor) for tensor in synthetic.packed.values())
    assert synthetic.codec == PixelCodec().spec
    assert synthetic.positions.tolist()[0] == ([1, 3] if name.endswith("webp") else [0, 1, 2, 3])
    assert synthetic.labels.dtype == (torch.int64 if labels == "hard" else torch.float32)
    rows = rows_of(synthetic, data)
    assert len(set(rows)) == len(rows)
    assert torch.bincount(data.labels[rows]).unique().numel() == 1
    if labels == "hard":
        assert torch.equal(synthetic.labels, data.labels[rows])
    assert psnr(synthetic, data) > 18
    assert synthetic.provenance.method == name
    assert set(synthetic.provenance.config) == {"crf", "teacher"} | ({"labels"} if labels == "soft" else set())


@pytest.mark.parametrize("name", RANDOM)
def test_a_file_is_read_and_written_byte_for_byte(name: str, waves: Candidates, tmp_path: Path) -> None:
    synthetic = run(waves, name, least_bytes(waves, name) + 1000)
    write_set(synthetic, tmp_path / "a")
    back = read_set(tmp_path / "a")
    write_set(back, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert torch.equal(back.latents, synthetic.latents)
    assert measure(tmp_path / "b").file_bytes == len(to_bytes(synthetic))


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_more_bytes_hold_more_clips_then_finer_ones(name: str, waves: Candidates) -> None:
    least = least_bytes(waves, name)
    sets = [run(waves, name, limit) for limit in (least, least + 1500, 10**6)]
    sizes = [len(synthetic) for synthetic in sets]
    assert sizes[0] == 2  # one a class
    assert sizes == sorted(sizes)
    assert sizes[2] == 16  # all there are
    coder = CODERS[name.removeprefix("real-")]
    assert sets[2].provenance.config["crf"] == coder.finest
    assert psnr(sets[2], waves) > max(30, psnr(sets[0], waves) + 4)


@pytest.mark.parametrize("name", RANDOM)
def test_the_smallest_size_that_the_message_states_works(name: str, waves: Candidates) -> None:
    least = least_bytes(waves, name)
    synthetic = run(waves, name, least)
    assert len(to_bytes(synthetic)) <= least
    message = f"{least - 1} bytes .* are too few for one clip of each of 2 classes even at"
    with pytest.raises(BudgetError, match=message):
        run(waves, name, least - 1)


def test_the_moderate_setting_decides_between_many_and_fine(waves: Candidates) -> None:
    limit = least_bytes(waves, "real-h264") + 1500
    many, few = (run(waves, "real-h264", limit, crf=crf) for crf in (48.0, 24.0))
    assert len(many) > len(few)
    assert psnr(few, waves) > psnr(many, waves)
    for synthetic in (many, few):
        assert len(to_bytes(synthetic)) > 0.85 * limit


def test_random_clips_follow_the_seed_and_fewer_bytes_hold_the_first_of_them(waves: Candidates) -> None:
    limit = least_bytes(waves, "real-h264") + 1200
    first, second = (run(waves, "real-h264", limit, seed=seed) for seed in (0, 1))
    assert first.provenance.video_ids != second.provenance.video_ids
    smaller = run(waves, "real-h264", limit - 500)
    assert set(smaller.provenance.video_ids) < set(first.provenance.video_ids)


def test_herding_takes_other_clips_than_random_does(waves: Candidates) -> None:
    limit = least_bytes(waves, "herding-h264") + 1200
    assert rows_of(run(waves, "herding-h264", limit), waves) != rows_of(run(waves, "real-h264", limit), waves)


def test_a_class_with_fewer_videos_gives_all_it_has() -> None:
    data = candidates(PixelCodec(), counts=(2, 0, 6))
    synthetic = run(data, "real-h264", 10**6)
    assert torch.bincount(synthetic.labels, minlength=3).tolist() == [2, 0, 6]
    assert len(set(synthetic.provenance.video_ids)) == 8


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize(("num_frames", "side"), [(1, (24, 24)), (3, (45, 31))])
def test_one_frame_and_odd_sides(name: str, num_frames: int, side: tuple[int, int], tmp_path: Path) -> None:
    data = candidates(PixelCodec(), counts=(2, 2), num_frames=num_frames, side=side)
    synthetic = run(data, name, 10**6)
    write_set(synthetic, tmp_path / "a")
    assert read_set(tmp_path / "a").clips(PixelCodec()).shape == (4, num_frames, 3, *side)
    assert psnr(synthetic, data) > 36


def test_progress_is_reported(waves: Candidates) -> None:
    seen: list[tuple[str, float, float]] = []
    METHODS["real-webp"].compress(
        waves,
        PixelCodec(),
        Budget(1, 2, file_bytes=3000),
        Run(Streams(0), watch=lambda step, *, done, total: seen.append((step, done, total))),
    )
    assert {step for step, _, _ in seen} == {"reencode"}
    assert all(1 <= done <= total <= 16 for _, done, total in seen)


def damaged(path: Path, packing: str | None = None, **tensors: Tensor | None) -> None:
    """Replace tensors of a file (None leaves one out), and the packing that it names."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    content = json.loads(metadata["videocompressa"])
    content["packing"] = packing or content["packing"]
    arrays = safetensors.numpy.load(data) | {k: None if v is None else v.numpy() for k, v in tensors.items()}
    path.write_bytes(
        safetensors.numpy.save(
            {name: array for name, array in arrays.items() if array is not None},
            {"videocompressa": json.dumps(content)},
        )
    )


@pytest.mark.parametrize("name", RANDOM)
def test_damaged_files_are_refused(name: str, waves: Candidates, tmp_path: Path) -> None:
    synthetic = run(waves, name, least_bytes(waves, name) + 500)
    ((tensor, stream),) = synthetic.packed.items()
    path = tmp_path / "a"
    other = {"stream": "pictures", "pictures": "stream"}[tensor]
    for change, message in (
        ({tensor: stream[: len(stream) // 2].clone()}, f"tensor {tensor} "),
        ({tensor: torch.arange(99, dtype=torch.uint8)}, f"tensor {tensor} "),
        ({tensor: stream[:, None].clone()}, rf"tensor {tensor} has shape .*; it must be \(bytes,\)"),
        ({tensor: stream.to(torch.int8)}, f"tensor {tensor} is int8"),
        ({tensor: None}, rf"it must hold \[.*{tensor}"),
        ({other: stream}, "it must hold"),
    ):
        write_set(synthetic, path, overwrite=True)
        damaged(path, **change)
        with pytest.raises(ArtifactError, match=message):
            read_set(path)
    write_set(synthetic, path, overwrite=True)
    damaged(path, packing={"video": "pictures", "pictures": "video"}[synthetic.packing])
    with pytest.raises(ArtifactError, match=f"holds tensors .*{tensor}.*it must hold"):
        read_set(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coder": "mpeg"}, "unknown coder 'mpeg'; known: h264, av1, webp"),
        ({"subset": "best"}, "subset is 'best'; re-encoding takes random or herding"),
        ({"subset": "k-center"}, "subset is 'k-center'; re-encoding takes random or herding"),
        ({"labels": "firm"}, "unknown labels 'firm'"),
        ({"fill": "loop"}, "fill is 'loop'"),
        ({"crf": 52.0}, "crf is 52; h264 takes 1 to 51 in steps of 0.25"),
        ({"coder": "av1", "crf": 30.1}, "crf is 30.1; av1 takes 1 to 63 in steps of 0.25"),
        ({"coder": "webp", "crf": 0.5}, "crf is 0.5; webp takes 0 to 100 in steps of 1"),
    ],
)
def test_messages(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReencodeConfig(**changes)


@pytest.mark.parametrize("name", NAMES)
def test_too_much_asked(name: str, waves: Candidates) -> None:
    with pytest.raises(InputError, match=f"{name} fills a file of a given size, and none was given; give --bytes"):
        run(waves, name, None)
    with pytest.raises(InputError, match="--keyframes is 5, but a clip has 4 candidate frames"):
        METHODS[name].compress(waves, PixelCodec(), Budget(1, 5), Run(Streams(0)))


def test_every_coder_has_a_moderate_setting_and_two_methods() -> None:
    assert set(MODERATE) == set(CODERS)
    assert sorted(NAMES) == sorted(f"{kind}-{coder}" for kind in ("real", "herding") for coder in CODERS)
    assert all(METHODS[name].name == name for name in NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", RANDOM)
def test_real_clips_fill_the_bytes_of_latents(name: str, shared_data: Path, tmp_path: Path) -> None:
    videos = find_videos(shared_data / "fluent16").select("train")
    entries = tuple(entry for entry in videos.entries if entry.label < 2)
    some = dataclasses.replace(videos, entries=entries, classes=videos.classes[:2])
    data = encode_pass(some, "train", ClipSpec(8, 64, 64), PixelCodec(), cache=tmp_path, workers=1)
    synthetic = run(data, name, 6000)
    assert 0.9 * 6000 < len(to_bytes(synthetic)) <= 6000
    assert psnr(synthetic, data) > 26
