"""The encode pass and the engine: same bytes whatever the workers and interruptions, and bad videos listed by name."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_work import decode_or_fail, die, die_at_two, fail_at_three, fill_megabytes, nap, square, two_megabytes
from numbered_videos import gray, numbered, write
from torch import Tensor

from videocompressa.clip import ClipSpec, CodecSpec, DecodedSplit, Normalization
from videocompressa.codecs import PixelCodec, build_codec
from videocompressa.datasets import VideoSet, candidates, decode_split, encode_pass, find_videos
from videocompressa.datasets.journal import locked
from videocompressa.engine import WorkerError, peak_memory_bytes, run_apart, run_shards
from videocompressa.errors import InputError, VideoError
from videocompressa.recipes import pace
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.run import Watch, watch_nothing
from videocompressa.video import shards
from videocompressa.video.shards import decode_shard

CLIP = ClipSpec(4, 16, 16)


class HalfCodec:
    """Averages 2 x 2 pixels: a codec with nothing to load."""

    def __init__(self, name: str = "half", scale: float = 1.0) -> None:
        self.spec = CodecSpec(name, "", 3, 2, (0.0,) * 3, (scale,) * 3)
        self.calls = 0

    def encode(self, frames: Tensor) -> Tensor:
        self.calls += 1
        return torch.nn.functional.avg_pool2d(frames.float() / 255, 2) / self.spec.scale[0]


@pytest.fixture
def videos(tmp_path: Path) -> VideoSet:
    """Two classes of five videos, 3 to 12 frames each, with a split of their own for testing."""
    root = tmp_path / "set"
    for n in range(10):
        numbered(root / "train" / "ab"[n % 2] / f"{n}.mp4", 3 + n, step=20)
    for n in range(2):
        write(root / "test" / "ab"[n] / "0.mp4", [gray(100 + n)])
    return find_videos(root)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "SHARD_VIDEOS", 3)


def files(cache: Path) -> dict[str, bytes]:
    """All that the cache holds, without the stamps, which name the file system's times."""
    held = {}
    for path in sorted(cache.rglob("*.*")):
        data = path.read_bytes()
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in data.splitlines()]
            data = json.dumps([{**line, "stamps": None} for line in lines]).encode()
        held[path.relative_to(cache).as_posix()] = data
    return held


class TestContent:
    def test_fitted_clips_have_a_cache_of_their_own(self, videos: VideoSet, tmp_path: Path) -> None:
        crop, pad = (
            decode_split(videos, "train", ClipSpec(2, 8, 24, fit=fit), cache=tmp_path, workers=0).frames
            for fit in ("crop", "pad")
        )
        assert (crop[..., 0] > 0).any()
        assert (pad[..., 0] == 0).all()
        assert torch.equal(crop[:, :, :, 4, 12], pad[:, :, :, 4, 12])
        assert len(list(tmp_path.glob("train-*"))) == 2

    def test_strided_clips_are_other_frames_in_a_cache_of_their_own(self, videos: VideoSet, tmp_path: Path) -> None:
        even = decode_split(videos, "train", ClipSpec(2, 8, 8), cache=tmp_path, workers=0)
        strided = decode_split(videos, "train", ClipSpec(2, 8, 8, "strided:1"), cache=tmp_path, workers=0)
        lengths = [3 + int(Path(video).stem) for video in strided.video_ids]
        numbers = (strided.frames[:, :, 0, 4, 4].float() / 20).round().long().tolist()
        assert numbers == [[(length - 2) // 2, (length - 2) // 2 + 1] for length in lengths]
        assert not torch.equal(even.frames, strided.frames)
        assert len(list(tmp_path.glob("train-*"))) == 2

    def test_candidates_hold_what_the_videos_show(self, videos: VideoSet, tmp_path: Path) -> None:
        codec = HalfCodec()
        data = encode_pass(videos, "train", CLIP, codec, cache=tmp_path / "c", workers=0)
        assert data.bad == ()
        assert data.video_ids == tuple(f"train/{c}/{n}.mp4" for c, ns in (("a", "02468"), ("b", "13579")) for n in ns)
        assert data.labels.tolist() == [0] * 5 + [1] * 5
        assert data.num_video_frames.tolist() == [3, 5, 7, 9, 11, 4, 6, 8, 10, 12]
        sizes = [(videos.root / video_id).stat().st_size for video_id in data.video_ids]
        assert data.video_bytes.tolist() == sizes
        levels = data.frames[9, :, 0, 8, 8].tolist()  # 12 frames: numbers 1, 4, 7, 10.
        assert levels == pytest.approx([20, 80, 140, 200], abs=4)
        assert data.times_seconds[9].tolist() == pytest.approx([0.04, 0.16, 0.28, 0.40])
        assert data.latents.dtype == torch.float16
        expected = codec.encode(data.frames.flatten(0, 1)).half().view(data.latents.shape)
        assert torch.equal(data.latents[:], expected)
        assert (data.source, data.split_hash) == ("set", videos.select("train").split_hash)

    @pytest.mark.parametrize(
        "index",
        [
            3,
            slice(2, 9, 3),
            torch.tensor([4, 1, 4]),
            [9, 0],
            torch.arange(10) % 2 == 0,
            torch.tensor([], dtype=torch.int64),
            (slice(None), 2),
            (slice(3, 6), torch.tensor([0, 2])),
            (torch.tensor([[8], [1]]), torch.tensor([[0, 1, 3], [1, 2, 3]])),
        ],
        ids=str,
    )
    def test_latents_are_indexed_as_a_tensor_is(self, videos: VideoSet, tmp_path: Path, index: Any) -> None:
        data = encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path, workers=0)
        picked = data.latents[index]
        assert torch.equal(picked, data.latents[:][index])

    def test_the_pixel_codec_keeps_the_pixels(self, videos: VideoSet, tmp_path: Path) -> None:
        codec = PixelCodec()
        data = encode_pass(videos, "train", CLIP, codec, cache=tmp_path / "c", workers=0)
        pixels = codec.decode(data.latents[:].flatten(0, 1).float())
        assert (pixels - data.frames.flatten(0, 1) / 255).abs().max() < 2e-3

    def test_normalization_is_that_of_all_pixels(self, videos: VideoSet, tmp_path: Path) -> None:
        decoded = decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0)
        pixels = decoded.frames.double() / 255
        mean, std = pixels.mean((0, 1, 3, 4)), pixels.std((0, 1, 3, 4), correction=0)
        assert decoded.normalization.mean == pytest.approx(mean.tolist(), rel=1e-12)
        assert decoded.normalization.std == pytest.approx(std.tolist(), rel=1e-9)

    def test_test_videos_take_the_train_normalization(self, videos: VideoSet, tmp_path: Path) -> None:
        given = Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        codec = HalfCodec()
        test = encode_pass(videos, "test", CLIP, codec, cache=tmp_path / "c", workers=0, normalization=given)
        assert test.normalization == given
        assert test.labels.tolist() == [0, 1]

    def test_pixels_that_never_change_have_a_spread_to_divide_by(self, tmp_path: Path) -> None:
        for name in "ab":
            write(tmp_path / "set" / name / "0.mp4", [gray(0)])
        decoded = decode_split(find_videos(tmp_path / "set"), "train", CLIP, cache=tmp_path / "c", workers=0)
        assert min(decoded.normalization.std) > 0

    def test_writing_to_a_tensor_leaves_the_cache_alone(self, videos: VideoSet, tmp_path: Path) -> None:
        first = decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0)
        before = files(tmp_path / "c")
        first.frames.zero_()
        assert files(tmp_path / "c") == before

    def test_watch_counts_videos(self, videos: VideoSet, tmp_path: Path) -> None:
        seen: list[tuple[str, int, int]] = []
        data = encode_pass(
            videos, "train", CLIP, HalfCodec(), cache=tmp_path / "c", workers=0,
            watch=lambda step, **numbers: seen.append((step, numbers["done"], numbers["total"])),
        )  # fmt: skip
        assert seen == [("decode", done, 10) for done in (0, 3, 6, 9, 10)]
        data.latents[torch.tensor([2, 7])]
        assert seen[5:] == [("encode", 1, 2), ("encode", 2, 2)]


class TestResume:
    def test_workers_do_not_matter(self, videos: VideoSet, tmp_path: Path) -> None:
        for workers in (0, 1, 2, 4):
            cache = tmp_path / str(workers)
            encode_pass(videos, "train", CLIP, HalfCodec(), cache=cache, workers=workers, encode_all=True)
        assert all(files(tmp_path / str(workers)) == files(tmp_path / "0") for workers in (1, 2, 4))

    @pytest.mark.parametrize("codec", ["tiny", "linear", "ycbcr"])
    def test_which_clips_are_read_together_does_not_matter(self, videos: VideoSet, tmp_path: Path, codec: str) -> None:
        latents = []
        for count in (1, 3, 10):
            data = encode_pass(videos, "train", CLIP, build_codec(codec), cache=tmp_path / str(count), workers=0)
            for rows in reversed(torch.arange(10).split(count)):
                data.latents[rows]
            latents.append(data.latents[:])
        assert all(torch.equal(each, latents[0]) for each in latents)
        at_once = build_codec(codec).encode(data.frames.flatten(0, 1)).half()
        # Convolutions of other batches may differ in their last bits; clips are encoded one by one for that reason.
        torch.testing.assert_close(latents[0].flatten(0, 1), at_once, rtol=2e-3, atol=2e-3)

    @pytest.mark.parametrize("file", ["frames", "latents"])
    def test_bytes_that_the_disk_changed_are_done_again(self, videos: VideoSet, tmp_path: Path, file: str) -> None:
        expected = encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path / "c", workers=0)
        latents, frames = expected.latents[:], expected.frames.clone()
        (binary,) = (tmp_path / "c").glob(f"*/{file}*.bin")
        data = bytearray(binary.read_bytes())
        data[len(data) // 2] ^= 1
        binary.write_bytes(data)
        codec = HalfCodec()
        again = encode_pass(videos, "train", CLIP, codec, cache=tmp_path / "c", workers=0)
        assert torch.equal(again.latents[:], latents)
        assert torch.equal(again.frames, frames)
        assert codec.calls == (file == "latents")

    @pytest.mark.parametrize("stop", [("decode", 3), ("decode", 6), ("encode", 1), ("encode", 6)], ids=str)
    def test_interrupted_and_resumed_gives_the_same_bytes(
        self, videos: VideoSet, tmp_path: Path, stop: tuple[str, int]
    ) -> None:
        def interrupt(step: str, **numbers: float) -> None:
            if (step, numbers["done"]) == stop:
                raise KeyboardInterrupt

        def encode(name: str, watch: Watch = watch_nothing) -> None:
            options: dict[str, Any] = {"cache": tmp_path / name, "workers": 0, "encode_all": True, "watch": watch}
            encode_pass(videos, "train", CLIP, HalfCodec(), **options)

        encode("uninterrupted")
        with pytest.raises(KeyboardInterrupt):
            encode("c", interrupt)
        # Also bytes that reached the disk without their line or before the rest, and a line torn in the middle.
        for path in (tmp_path / "c").rglob("*.bin"):
            with path.open("ab") as file:
                file.write(b"half a shard")
        for path in (tmp_path / "c").rglob("*.jsonl"):
            with path.open("a") as lines:
                lines.write('{"end": 1')
        seen: list[tuple[str, float, float]] = []
        encode("c", lambda step, **numbers: seen.append((step, numbers["done"], numbers["total"])))
        assert files(tmp_path / "c") == files(tmp_path / "uninterrupted")
        if stop[0] == "decode":
            assert seen[0] == (*stop, 10)
        else:
            assert seen[:2] == [("decode", 10, 10), ("encode", 1, 10 - stop[1])]

    def test_an_unchanged_rerun_decodes_and_encodes_nothing(
        self, videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path, workers=0).latents[2:5]
        monkeypatch.setattr(shards, "decode_shard", lambda job: pytest.fail("decoded again"))
        monkeypatch.setattr(candidates, "hash_shard", lambda paths: pytest.fail("hashed again"))
        codec = HalfCodec()
        again = encode_pass(videos, "train", CLIP, codec, cache=tmp_path, workers=0).latents
        assert again[torch.tensor([4, 2, 4])].shape == (3, 4, 3, 8, 8)
        assert codec.calls == 0
        assert again[7].shape == (4, 3, 8, 8)
        assert codec.calls == 1

    def test_a_changed_video_is_noticed(self, videos: VideoSet, tmp_path: Path) -> None:
        encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path / "c", workers=0, encode_all=True)
        numbered(videos.root / "train" / "a" / "8.mp4", 4, step=50)
        seen: list[float] = []
        changed = encode_pass(
            videos, "train", CLIP, HalfCodec(), cache=tmp_path / "c", workers=0,
            watch=lambda step, **numbers: seen.append(numbers["done"]),
        )  # fmt: skip
        assert seen[0] == 3  # The shards before the changed video stay.
        assert changed.frames[4, :, 0, 8, 8].tolist() == pytest.approx([0, 50, 100, 150], abs=4)
        new = encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path / "new", workers=0)
        assert torch.equal(changed.latents[:], new.latents[:])
        assert files(tmp_path / "c") == files(tmp_path / "new")

    def test_what_an_earlier_run_mapped_stays_readable(self, videos: VideoSet, tmp_path: Path) -> None:
        before = decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0).frames
        copy = before.clone()
        (videos.root / "train" / "a" / "0.mp4").unlink()
        decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0, max_bad=0.5)
        assert torch.equal(before, copy)

    def test_a_touched_but_equal_video_is_not_decoded(
        self, videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path / "c", workers=0)
        os.utime(videos.root / "train" / "a" / "0.mp4", ns=(5, 5))
        monkeypatch.setattr(shards, "decode_shard", lambda job: pytest.fail("decoded again"))
        codec = HalfCodec()
        encode_pass(videos, "train", CLIP, codec, cache=tmp_path / "c", workers=0)
        assert codec.calls == 0
        monkeypatch.setattr(candidates, "hash_shard", lambda paths: pytest.fail("hashed twice"))
        encode_pass(videos, "train", CLIP, codec, cache=tmp_path / "c", workers=0)

    def test_another_codec_or_clip_has_its_own_cache(self, videos: VideoSet, tmp_path: Path) -> None:
        one = encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path, workers=0).latents[:]
        encode_pass(videos, "train", CLIP, HalfCodec(scale=2.0), cache=tmp_path, workers=0)
        encode_pass(videos, "train", ClipSpec(2, 16, 16), HalfCodec(), cache=tmp_path, workers=0)
        codec = HalfCodec()
        again = encode_pass(videos, "train", CLIP, codec, cache=tmp_path, workers=0).latents[:]
        assert codec.calls == 0
        assert torch.equal(one, again)

    def test_two_runs_at_once_take_turns(self, videos: VideoSet, tmp_path: Path) -> None:
        waits, ended = threading.Event(), threading.Event()
        seconds: list[Tensor] = []

        def waiting(step: str, **numbers: float) -> None:
            if step == "wait for another run":
                waits.set()
                assert ended.is_set() or numbers["done"] == 0

        def second() -> None:
            seconds.append(decode_split(videos, "train", CLIP, cache=tmp_path, workers=0, watch=waiting).frames)

        other = threading.Thread(target=second)

        def first(step: str, **numbers: float) -> None:
            if not other.ident:
                other.start()
                assert waits.wait(60)
            if numbers["done"] == numbers["total"]:
                ended.set()

        frames = decode_split(videos, "train", CLIP, cache=tmp_path, workers=0, watch=first).frames
        other.join(60)
        assert torch.equal(seconds[0], frames)

    def test_a_killed_run_leaves_no_lock(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from videocompressa.datasets.journal import locked\n"
            "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
        )
        run = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
        )
        with run:
            assert run.stdout is not None
            assert run.stdout.readline() == b"held\n"
            reported: list[float] = []

            def kill_it(step: str, **numbers: float) -> None:
                reported.append(numbers["done"])
                run.kill()

            with locked(tmp_path, kill_it):
                assert reported == [0, 1]


class TestBadVideos:
    def test_bad_ones_are_skipped_and_listed(self, videos: VideoSet, tmp_path: Path) -> None:
        (videos.root / "train" / "a" / "2.mp4").unlink()
        (videos.root / "train" / "b" / "9.mp4").write_text("no video")
        encoded = encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path / "c", workers=0, max_bad=0.2)
        assert [video.video_id for video in encoded.bad] == ["train/a/2.mp4", "train/b/9.mp4"]
        assert encoded.bad[0].reason == "file is gone"
        assert encoded.bad[1].reason.startswith("not a video: ")
        assert len(encoded) == 8
        assert encoded.num_video_frames.tolist() == [3, 7, 9, 11, 4, 6, 8, 10]

    def test_a_fixed_video_is_taken_in(self, videos: VideoSet, tmp_path: Path) -> None:
        path = videos.root / "train" / "a" / "2.mp4"
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError, match="file is gone"):
            decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0)
        path.write_bytes(data)
        assert decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0).bad == ()

    def test_too_many(self, videos: VideoSet, tmp_path: Path) -> None:
        for n in (0, 9):
            (videos.root / "train" / "ab"[n % 2] / f"{n}.mp4").unlink()
        message = (
            r"2 of 10 videos cannot be read, more than --max-bad 15%: train/a/0\.mp4 \(file is gone\); "
            r"train/b/9\.mp4 \(file is gone\); fix or remove them, or raise --max-bad"
        )
        with pytest.raises(InputError, match=message):
            decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0, max_bad=0.15)

    def test_far_too_many_stop_early_and_the_list_is_short(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        root.mkdir()
        rows = "".join(f"{n:02}.mp4,{'ab'[n % 2]}\n" for n in range(60))
        (root / "splits.csv").write_text("path,label\n" + rows)
        with pytest.raises(InputError, match=r"33 of the first 33 \(of 60\) videos .*; and 23 more; fix"):
            decode_split(find_videos(root), "train", CLIP, cache=tmp_path / "c", workers=0, max_bad=0.5)

    def test_a_class_lost(self, videos: VideoSet, tmp_path: Path) -> None:
        for path in (videos.root / "train" / "b").iterdir():
            path.write_bytes(b"")
        with pytest.raises(InputError, match=r"class 'b' has no video that can be read: train/b/1.mp4 \(empty file\)"):
            decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0, max_bad=0.5)

    def test_other_messages(self, videos: VideoSet, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="has no val videos; name them in a csv or put them in folders"):
            decode_split(videos, "val", CLIP, cache=tmp_path, workers=0)
        with pytest.raises(InputError, match="--max-bad is 500%; it must be between 0% and 100%"):
            decode_split(videos, "train", CLIP, cache=tmp_path, workers=0, max_bad=5)
        with pytest.raises(InputError, match="needs sides in multiples of 2 pixels, got 15x16"):
            encode_pass(videos, "train", ClipSpec(4, 15, 16), HalfCodec(), cache=tmp_path, workers=0)
        with pytest.raises(InputError, match="gives latents that float16 cannot hold; check its scale constants"):
            encode_pass(videos, "train", CLIP, HalfCodec(scale=1e-9), cache=tmp_path, workers=0, encode_all=True)
        wrong = HalfCodec()
        wrong.spec = CodecSpec("wrong", "", 5, 2, (0.0,) * 5, (1.0,) * 5)
        with pytest.raises(InputError, match=r"'wrong' gives latents \(4, 3, 8, 8\); its spec has \(4, 5, 8, 8\)"):
            encode_pass(videos, "train", CLIP, wrong, cache=tmp_path, workers=0, encode_all=True)
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="the cache cannot be written: .*; free some space, or give another --c"):
            decode_split(videos, "train", CLIP, cache=tmp_path / "file", workers=0)

    @pytest.mark.parametrize("last", [1, 3, 5])
    def test_a_disk_that_fills_up(
        self, videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
    ) -> None:
        """Shards of two videos; what is complete is kept."""
        monkeypatch.setattr(candidates, "SHARD_VIDEOS", 2)
        expected = decode_split(videos, "train", CLIP, cache=tmp_path / "expected", workers=0)
        numbers = itertools.count(1)

        def full(number: int) -> None:
            if next(numbers) == last:
                os.truncate(number, os.fstat(number).st_size - 1)  # what was written last is not complete
                raise OSError(28, "No space left on device")

        monkeypatch.setattr("videocompressa.datasets.journal.os.fsync", full)
        with pytest.raises(InputError, match="cannot be written: No space left on device; free some space, or give"):
            decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0)
        decoded: list[object] = []
        monkeypatch.setattr(shards, "decode_shard", lambda job: decoded.append(job) or decode_shard(job))
        again = decode_split(videos, "train", CLIP, cache=tmp_path / "c", workers=0)
        assert torch.equal(again.frames, expected.frames)
        assert len(decoded) == 6 - last

    def test_a_disk_that_fills_up_while_clips_are_encoded(self, videos: VideoSet, tmp_path: Path) -> None:
        codec = HalfCodec()
        data = encode_pass(videos, "train", CLIP, codec, cache=tmp_path, workers=0)
        latents = data.latents
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5 * 1540 // 2, limits[1]))  # two clips and a half
        try:
            with pytest.raises(InputError, match="cannot be written: No space left on device; free some space, or"):
                latents[:]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert codec.calls == 3
        assert torch.equal(latents[:].flatten(0, 1), codec.encode(data.frames.flatten(0, 1)).half())
        assert codec.calls == 3 + 8 + 1

    def test_a_cache_that_is_removed_while_it_is_read(self, videos: VideoSet, tmp_path: Path) -> None:
        data = encode_pass(videos, "train", CLIP, HalfCodec(), cache=tmp_path, workers=0)
        first = data.latents[:3]
        shutil.rmtree(tmp_path)
        assert torch.equal(data.latents[:][:3], first)


@pytest.mark.slow
class TestLostVideos:
    @pytest.fixture
    def broken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoSet:
        """Ten videos, of which one crashes the decoder and one never ends."""
        for n in range(10):
            name = {3: "crash", 6: "hang"}.get(n, str(n))
            numbered(tmp_path / "set" / "train" / "ab"[n % 2] / f"{name}.mp4", 3 + n, step=20)
        monkeypatch.setattr(shards, "decode_shard", decode_or_fail)
        return find_videos(tmp_path / "set")

    def test_they_cost_only_themselves_and_are_tried_again_when_there_is_more_time(
        self, broken: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def decode(max_seconds: float) -> DecodedSplit:
            return decode_split(
                broken, "train", CLIP, cache=tmp_path / "c", workers=2, max_bad=0.3, max_seconds=max_seconds
            )

        decoded = decode(2.0)
        reasons = {video.video_id: video.reason for video in decoded.bad}
        assert reasons == {
            "train/a/hang.mp4": "took over 2 s",
            "train/b/crash.mp4": "the process that read it died (signal SIGKILL)",
        }
        assert len(decoded) == 8
        monkeypatch.setattr(shards, "decode_shard", lambda job: pytest.fail("decoded again"))
        assert decode(2.0).bad == decoded.bad
        monkeypatch.setattr(shards, "decode_shard", decode_shard)
        assert len(decode(60.0)) == 10

    def test_a_worker_that_gets_no_memory_costs_one_video(self, broken: VideoSet, tmp_path: Path) -> None:
        """Regression: the error was raised in the run, with a traceback."""
        for name in ("hang", "crash"):
            next(broken.root.rglob(f"{name}.mp4")).unlink()
        numbered(broken.root / "train/a/hungry.mp4", 5, step=20)
        decoded = decode_split(find_videos(broken.root), "train", CLIP, cache=tmp_path / "c", workers=1, max_bad=0.3)
        assert [(video.video_id, video.reason) for video in decoded.bad] == [
            ("train/a/hungry.mp4", "the process that read it died (out of memory)")
        ]
        assert len(decoded) == 8

    def test_the_pace_is_measured_without_them(self, broken: VideoSet, tmp_path: Path) -> None:
        """Regression: the videos of the sample were decoded by the run itself, which a crash ended."""
        options = CandidateOptions(size=CLIP.height, frames=CLIP.num_frames, max_seconds_per_video=2.0)
        around = Surroundings(tmp_path / "c", torch.device("cpu"), 1, time.perf_counter, watch_nothing)
        entries = broken.select("train").entries[::-1]
        sample = pace.encode_sample(list(entries), options, PixelCodec(), broken.root, around)
        assert len(sample.frames) == pace.SAMPLE_VIDEOS - 2
        assert sample.decode_seconds > 0

    def test_too_many_stop_the_run(self, broken: VideoSet, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"2 of .* cannot be read.*took over 2 s"):
            decode_split(broken, "train", CLIP, cache=tmp_path / "c", workers=1, max_bad=0.1, max_seconds=2.0)
        with pytest.raises(InputError, match="--max-seconds-per-video is 0; it must be above 0"):
            decode_split(broken, "train", CLIP, cache=tmp_path / "c", workers=1, max_seconds=0)


class TestEngine:
    @pytest.mark.parametrize("workers", [0, 1, 3])
    def test_results_in_order(self, workers: int) -> None:
        assert list(run_shards(square, range(20), workers=workers)) == [n * n for n in range(20)]

    def test_nothing_to_do(self) -> None:
        assert list(run_shards(square, [], workers=2)) == []

    def test_errors_come_back_as_they_are(self) -> None:
        results = run_shards(fail_at_three, range(6), workers=1)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(VideoError, match="three is bad"):
            next(results)

    def test_a_dead_worker_is_named_with_its_shard(self) -> None:
        with pytest.raises(WorkerError, match=r"a worker died \(signal SIGKILL\) on shard two; run again with --wo"):
            list(run_shards(die, [2], workers=1, name=lambda number: "shard two"))

    def test_a_shard_that_takes_too_long_is_given_up(self) -> None:
        started = time.monotonic()
        with pytest.raises(WorkerError, match="on shard two") as caught:
            list(run_shards(nap, [2], workers=1, max_seconds=0.5, name=lambda number: "shard two"))
        assert caught.value.how == "took over 0.5 s"
        assert time.monotonic() - started < 10
        lost = list(run_shards(die_at_two, range(5), workers=2, lost=lambda number, **limits: -number))
        assert lost == [0, 1, -2, 3, 4]

    def test_the_start_of_a_worker_does_not_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(1.5)\ndef double(n): return 2 * n\n")
        monkeypatch.syspath_prepend(tmp_path)
        double = importlib.import_module("slow_to_import").double
        assert list(run_shards(double, [1, 2], workers=1, max_seconds=1)) == [2, 4]

    def test_big_results(self) -> None:
        assert [result[-1] for result in run_shards(two_megabytes, range(4), workers=2)] == [0, 1, 2, 3]

    def test_no_more_in_flight_than_two_a_worker(self) -> None:
        sent: list[int] = []

        class Shards(list[int]):
            def __getitem__(self, position: int) -> int:  # type: ignore[override]
                sent.append(position)
                return position

        results = run_shards(square, Shards(range(50)), workers=1)
        next(results)
        time.sleep(0.2)
        assert max(sent) <= 2
        results.close()

    def test_closing_stops_the_workers_at_once(self) -> None:
        started = time.monotonic()
        results = run_shards(nap, range(4), workers=2)
        signal.signal(signal.SIGALRM, _alarm)
        signal.alarm(1)
        with pytest.raises(TimeoutError):
            next(results)
        assert time.monotonic() - started < 10
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        if children.exists():
            assert children.read_text().split() == []

    def test_a_killed_process_leaves_no_worker_in_the_middle_of_a_shard(self, tmp_path: Path) -> None:
        code = "from videocompressa.engine import run_apart; from engine_work import tell_and_nap\n"
        code += f"list(run_apart(tell_and_nap, [{str(tmp_path / 'pid')!r}], workers=1))"
        roots = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots)}
        with subprocess.Popen([sys.executable, "-c", code], env=environment) as parent:
            while not (tmp_path / "pid").exists():
                assert parent.poll() is None
                time.sleep(0.02)
            parent.kill()
        worker, ends = Path("/proc", (tmp_path / "pid").read_text()), time.monotonic() + 10
        while worker.exists() and "(zombie)" not in (worker / "status").read_text():
            assert time.monotonic() < ends
            time.sleep(0.02)

    def test_message(self) -> None:
        with pytest.raises(InputError, match=r"--workers is -1; it must be 0 \(this process\) or more"):
            list(run_shards(square, [1], workers=-1))

    def test_decoding_workers_do_without_torch(self) -> None:
        code = "import sys, videocompressa.video.shards; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0


def _alarm(number: int, frame: object) -> None:
    raise TimeoutError


def test_jobs_run_apart_and_a_dead_one_does_not_stop_the_others() -> None:
    answers = dict(run_apart(die_at_two, range(4), workers=2, name=lambda number: f"job {number}"))
    assert [answers[n] for n in (0, 1, 3)] == [0, 1, 3]
    assert isinstance(answers[2], WorkerError)
    assert "died (signal SIGKILL) on job 2" in str(answers[2])
    with pytest.raises(VideoError, match="three is bad"):
        list(run_apart(fail_at_three, [3], workers=1))
    with pytest.raises(InputError, match="--jobs is 0"):
        list(run_apart(square, [1], workers=0))


def test_the_peak_memory_of_a_job_is_its_own() -> None:
    (large, small) = (answer for _, answer in sorted(run_apart(fill_megabytes, [200, 1], workers=1)))
    assert large > small + 150_000_000  # type: ignore[operator]
    assert peak_memory_bytes() > 10_000_000
