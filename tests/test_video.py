"""Reading and writing video: the right frames, upright, in the right colors, and a reason for every broken file."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numbered_videos import audio_only, gray, numbered, write

from videocompressa.clip import FITS, ClipSpec
from videocompressa.errors import InputError, VideoError
from videocompressa.video import probe, read_clip, read_frames, write_png, write_video
from videocompressa.video import timeline as timeline_module
from videocompressa.video.decode import _Reader
from videocompressa.video.timeline import open_video, read_timeline

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
needs_odd = pytest.mark.skipif(not (SHARED / "odd").is_dir(), reason="needs ../shared/data/odd next to the repository")


def numbers(path: Path, num_frames: int, step: int = 5) -> list[int]:
    """Return the numbers of the chosen frames, from their gray levels."""
    frames = read_frames(path, num_frames, 8, 8).frames
    return [round(int(frame[0, 4, 4]) / step) for frame in frames]


class TestChosenFrames:
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".flv"])
    @pytest.mark.parametrize("num_frames", [1, 4, 7, 20])
    def test_constant_rate(self, tmp_path: Path, suffix: str, num_frames: int) -> None:
        path = numbered(tmp_path / f"a{suffix}", 20)
        assert numbers(path, num_frames) == [(2 * i + 1) * 20 // (2 * num_frames) for i in range(num_frames)]

    def test_variable_rate(self, tmp_path: Path) -> None:
        times = [0, 10, 20, 30, 40, 500, 900, 920, 940, 960]
        path = numbered(tmp_path / "a.mkv", 10, times, step=20)
        with open_video(path) as (container, stream):
            end = read_timeline(container, stream).end
        expected = [bisect_right(times, (2 * i + 1) * end / 10) - 1 for i in range(5)]
        assert numbers(path, 5, 20) == expected == [4, 4, 5, 5, 6]

    def test_times_count_from_the_first_frame(self, tmp_path: Path) -> None:
        path = numbered(tmp_path / "a.mkv", 5, [5000, 5040, 5080, 5120, 5160], step=40)
        decoded = read_frames(path, 5, 8, 8)
        assert decoded.pts_seconds.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
        assert decoded.num_video_frames == 5

    @pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9"])
    def test_skipping_to_keyframes_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
    ) -> None:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        path = numbered(tmp_path / "a.mkv", 50, codec=codec, g="6", **quiet)
        skipping = read_frames(path, 6, 16, 16).frames
        if codec != "mpeg4":  # Its grays are too coarse to distinguish neighbors.
            assert numbers(path, 6) == [4, 12, 20, 29, 37, 45]
        monkeypatch.setattr(_Reader, "skip_toward", lambda self, time: False)
        assert np.array_equal(skipping, read_frames(path, 6, 16, 16).frames)

    def test_skipping_decodes_less(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = numbered(tmp_path / "a.mp4", 50, g="5", bf="0")
        decoded: list[int] = []
        original = _Reader.next

        def counted(self: _Reader) -> av.VideoFrame | None:
            decoded.append(1)
            return original(self)

        monkeypatch.setattr(_Reader, "next", counted)
        read_frames(path, 2, 8, 8)
        assert len(decoded) <= 10

    def test_a_stream_too_big_to_keep_is_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = numbered(tmp_path / "a.mp4", 50, g="6")
        kept = read_frames(path, 6, 16, 16).frames
        monkeypatch.setattr(timeline_module, "KEEP_BYTES", 0)
        assert np.array_equal(kept, read_frames(path, 6, 16, 16).frames)

    def test_one_frame(self, tmp_path: Path) -> None:
        assert numbers(write(tmp_path / "a.mp4", [gray(100)]), 3) == [20, 20, 20]

    def test_gif(self, tmp_path: Path) -> None:
        path = tmp_path / "a.gif"
        levels = torch.tensor([0, 85, 170, 255], dtype=torch.uint8)
        write_video(path, levels.view(4, 1, 1, 1).expand(4, 3, 16, 16), 10)
        assert read_frames(path, 4, 8, 8).frames[:, 0, 4, 4].tolist() == pytest.approx(levels.tolist(), abs=20)

    def test_a_stream_cut_out_of_another_starts_at_its_first_keyframe(self, tmp_path: Path) -> None:
        full = numbered(tmp_path / "full.mkv", 24, g="10", bf="0", sc_threshold="0")
        cut = tmp_path / "cut.mkv"
        with av.open(str(full)) as source, av.open(str(cut), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in [p for p in source.demux(video=0) if p.size][4:]:
                packet.stream = stream
                target.mux(packet)
        assert probe(cut).num_frames == 14
        assert numbers(cut, 14) == list(range(10, 24))


class TestPictures:
    def corner_picture(self) -> np.ndarray:
        """32 x 64: red top left, green top right, blue bottom left, white bottom right."""
        picture = np.zeros((32, 64, 3), np.uint8)
        picture[:16, :32], picture[:16, 32:] = (255, 0, 0), (0, 255, 0)
        picture[16:, :32], picture[16:, 32:] = (0, 0, 255), (255, 255, 255)
        return picture

    @pytest.mark.parametrize(("degrees", "corners"), [(0, "rgbw"), (90, "gwrb"), (180, "wbgr"), (-90, "brwg")], ids=str)
    def test_rotation_is_honoured(self, tmp_path: Path, degrees: int, corners: str) -> None:
        path = write(tmp_path / "a.mp4", [self.corner_picture()] * 2, turned=degrees)
        size = (64, 32) if degrees % 180 else (32, 64)
        info = probe(path)
        assert (info.height, info.width) == size
        frame = read_frames(path, 1, *size).frames[0]
        h, w = size
        colors = [frame[:, y, x] for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]
        names = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
        for pixel, name in zip(colors, corners, strict=True):
            assert np.abs(pixel.astype(int) - names[name]).max() < 25, (degrees, corners)

    @pytest.mark.parametrize(("codec", "pix_fmt"), [("libx264", "yuv420p10le"), ("libx265", "yuv420p10le")])
    def test_ten_bits(self, tmp_path: Path, codec: str, pix_fmt: str) -> None:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        path = numbered(tmp_path / "a.mkv", 10, codec=codec, pix_fmt=pix_fmt, step=25, **quiet)
        assert numbers(path, 10, 25) == list(range(10))

    @pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p"])
    def test_black_and_white_reach_the_ends_of_either_range(self, tmp_path: Path, pix_fmt: str) -> None:
        path = write(tmp_path / "a.mkv", [gray(0), gray(255)], pix_fmt=pix_fmt, codec="mjpeg", strict="-1")
        frames = read_frames(path, 2, 8, 8).frames
        assert frames[0].max() <= 2
        assert frames[1].min() >= 253

    def test_the_picture_covers_and_is_cut_in_the_centre(self, tmp_path: Path) -> None:
        picture = np.zeros((32, 96, 3), np.uint8)
        picture[:, 32:64] = 255
        path = write(tmp_path / "a.mp4", [picture] * 2, qp="0")
        assert read_frames(path, 1, 16, 16).frames[0].mean() > 240

    @pytest.mark.parametrize("turned", [0, 90])
    def test_fits(self, tmp_path: Path, turned: int) -> None:
        """A white frame with its middle third black, 3 : 1 or turned to 1 : 3."""
        picture = np.full((32, 96, 3), 255, np.uint8)
        picture[:, 32:64] = 0
        path = write(tmp_path / "a.mp4", [picture] * 2, qp="0", turned=turned)
        square = {fit: read_frames(path, 1, 24, 24, fit=fit).frames[0].mean(0) for fit in FITS}
        upright = {fit: frame.T if turned else frame for fit, frame in square.items()}
        assert upright["crop"].max() < 25
        columns, rows = upright["stretch"].mean(0), upright["pad"].mean(1)
        assert columns[:7].min() > 240
        assert columns[9:15].max() < 15
        assert columns[17:].min() > 240
        assert rows[:8].max() == rows[16:].max() == 0  # the bars
        assert rows[9:15] == pytest.approx(np.full(6, 170), abs=6)

    @pytest.mark.parametrize("fit", FITS)
    @pytest.mark.parametrize("size", [(33, 47), (1, 1), (2, 200), (201, 3)])
    @pytest.mark.parametrize("wanted", [(16, 16), (17, 31), (64, 48)])
    def test_any_size(self, tmp_path: Path, size: tuple[int, int], wanted: tuple[int, int], fit: str) -> None:
        path = write(tmp_path / "a.mkv", [gray(128, *size)] * 2, codec="ffv1", pix_fmt="yuv444p")
        frames = read_frames(path, 2, *wanted, fit=fit).frames
        assert frames.shape == (2, 3, *wanted)
        shown = frames.astype(int)[frames > 0]
        assert np.abs(shown - 128).max() <= 3
        assert fit == "pad" or len(shown) == frames.size

    def test_shrinking_averages(self, tmp_path: Path) -> None:
        board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
        path = write(tmp_path / "a.mkv", [board] * 2, codec="ffv1", pix_fmt="yuv444p")
        frames = read_frames(path, 1, 8, 8).frames
        assert np.abs(frames.astype(int) - 127).max() <= 4


class TestClip:
    def test_read_clip(self, tmp_path: Path) -> None:
        path = numbered(tmp_path / "a.mp4", 10)
        clip = read_clip(path, ClipSpec(4, 16, 24), label=3, video_id="x/a.mp4")
        assert clip.frames.shape == (4, 3, 16, 24)
        assert (clip.label, clip.video_id, clip.num_video_frames) == (3, "x/a.mp4", 10)

    def test_probe(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", [gray(9, 32, 48)] * 10)
        info = probe(path)
        assert (info.num_frames, info.height, info.width) == (10, 32, 48)
        assert info.duration_seconds == pytest.approx(0.4)
        assert info.file_bytes == path.stat().st_size


class TestBroken:
    def reason(self, path: Path) -> str:
        with pytest.raises(VideoError) as caught:
            read_frames(path, 4, 8, 8)
        with pytest.raises(VideoError):
            probe(path) if "damaged" not in str(caught.value) else read_frames(path, 4, 8, 8)
        return str(caught.value)

    def test_gone(self, tmp_path: Path) -> None:
        assert self.reason(tmp_path / "a.mp4") == "file is gone"

    def test_a_folder(self, tmp_path: Path) -> None:
        assert self.reason(tmp_path) == "not a video: it is a folder"

    def test_empty(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        path.touch()
        assert self.reason(path) == "empty file"

    def test_text(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        path.write_text("hello, this is not a video\n" * 100)
        assert self.reason(path).startswith("not a video: ")

    def test_a_playlist_opens_no_address(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://localhost:9/a.ts\n#EXT-X-ENDLIST\n")
        assert self.reason(path)

    def test_audio_only(self, tmp_path: Path) -> None:
        assert self.reason(audio_only(tmp_path / "a.mp4")) == "no video stream (audio only)"

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
    def test_cut_short(self, tmp_path: Path, suffix: str, share: float) -> None:
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(50)]
        front = {"movflags": "faststart"} if suffix == ".mp4" else {}
        path = write(tmp_path / f"a{suffix}", noise, container_options=front)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(VideoError, match=r"broken after frame \d+"):
            read_frames(path, 4, 8, 8)

    def test_index_lost(self, tmp_path: Path) -> None:
        path = numbered(tmp_path / "a.mp4", 20)
        path.write_bytes(path.read_bytes()[:-200])
        assert self.reason(path).startswith("not a video: ")

    def test_scrambled_in_the_middle(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(50)]
        path = write(tmp_path / "a.mp4", noise, bf="0")
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + len(data) // 4] = bytes(len(data) // 4)
        path.write_bytes(data)
        with pytest.raises(VideoError, match=r"broken after frame \d+ of 50: "):
            read_frames(path, 8, 8, 8)

    @given(st.integers(0, 2**32 - 1))
    def test_damage_anywhere_is_an_error_or_a_clip(self, seed: int) -> None:
        path = self.damaged(seed)
        with suppress(VideoError):  # Any other error, or a crash, fails.
            assert read_frames(path, 4, 8, 8).frames.shape == (4, 3, 8, 8)

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def damaged(self, seed: int) -> Path:
        rng = np.random.default_rng(seed)
        suffix = (".mp4", ".mkv", ".avi", ".gif", ".ts", ".webm")[seed % 6]
        source = self.folder / f"intact{suffix}"
        if not source.exists():
            codec = {".gif": "gif", ".webm": "libvpx-vp9"}.get(suffix, "libx264")
            numbered(source, 10, codec=codec, pix_fmt="rgb8" if suffix == ".gif" else "yuv420p")
        data = bytearray(source.read_bytes())
        for offset in rng.integers(0, len(data), 10):
            data[offset] = rng.integers(256)
        path = self.folder / f"damaged{suffix}"
        path.write_bytes(data)
        return path


class TestWriting:
    def test_mp4_round_trip_of_odd_sides(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mp4"
        frames = torch.arange(0, 250, 25, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 15, 21)
        write_video(path, frames, 12.5)
        info = probe(path)
        assert (info.num_frames, info.height, info.width) == (10, 16, 22)
        assert info.duration_seconds == pytest.approx(0.8)
        assert numbers(path, 10, 25) == list(range(10))

    def test_a_fine_mp4_keeps_sides_and_colors(self, tmp_path: Path) -> None:
        rows, columns = torch.meshgrid(torch.arange(15), torch.arange(21), indexing="ij")
        stripes = torch.stack([255 * (columns % 2), 128 + 0 * rows, 255 - 255 * (columns % 2)]).to(torch.uint8)
        for fine, sides, near in ((True, (15, 21), True), (False, (16, 22), False)):
            path = tmp_path / f"{fine}.mp4"
            write_video(path, stripes.expand(3, 3, 15, 21), 4, fine=fine)
            info = probe(path)
            assert (info.num_frames, info.height, info.width) == (3, *sides)
            read = torch.from_numpy(read_frames(path, 3, *sides).frames)[..., :15, :21]
            assert bool((read.float() - stripes.float()).abs().mean() < 5) is near

    @pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
    def test_same_bytes_each_time(self, tmp_path: Path, name: str) -> None:
        frames = torch.randint(0, 255, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            write_video(tmp_path / folder / name, frames, 5)
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    def test_png(self, tmp_path: Path) -> None:
        from PIL import Image

        frame = torch.randint(0, 255, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        write_png(tmp_path / "a.png", frame)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")).transpose(2, 0, 1), frame.numpy())

    def test_messages(self, tmp_path: Path) -> None:
        frames = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
        with pytest.raises(InputError, match=r"cannot write 'a\.png' as a video; name it with one of: \.gif, \.mp4"):
            write_video(tmp_path / "a.png", frames, 5)
        with pytest.raises(InputError, match=r"give uint8 \(T,3,H,W\)"):
            write_video(tmp_path / "a.mp4", frames.float(), 5)
        with pytest.raises(InputError, match="fps for 'a.mp4' is 0; it must be above 0"):
            write_video(tmp_path / "a.mp4", frames, 0)
        with pytest.raises(InputError, match=r"give uint8 \(3,H,W\)"):
            write_png(tmp_path / "a.png", frames)
        assert not list(tmp_path.iterdir())


@needs_odd
@pytest.mark.slow
class TestDecoderTestFiles:
    """Files that other decoders are tested with, against decoding everything and picking by time."""

    FILES = sorted(p for p in (SHARED / "odd").glob("*.*") if "LICENSE" not in p.name)

    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
    def test_equals_decoding_everything(self, path: Path) -> None:
        if path.name == "torchcodec-sine_mono_mp3.swf":
            with pytest.raises(VideoError, match="no video stream"):
                read_frames(path, 4, 24, 24)
            return
        if path.name == "decord-corrupted.mp4":
            assert 1 <= read_frames(path, 50, 24, 24).num_replaced <= 3
            return
        with open_video(path) as (container, stream):
            everything = list(container.decode(stream))
            tick = stream.time_base
        info, decoded = probe(path), read_frames(path, 4, 24, 24)
        assert info.num_frames == len(everything) == decoded.num_video_frames
        times = [float((frame.pts - everything[0].pts) * tick) for frame in everything]
        for i, seconds in enumerate(decoded.pts_seconds):
            middle = (i + 0.5) * info.duration_seconds / 4
            assert seconds == pytest.approx(times[bisect_right(times, middle + 1e-9) - 1])

    def test_rotated_keyboards_have_their_keys_upright(self) -> None:
        sizes = {0: (320, 568), 90: (568, 320), 180: (320, 568), 270: (568, 320)}
        for angle, size in sizes.items():
            info = probe(SHARED / "odd" / f"decord-video_{angle}.mov")
            assert (info.height, info.width) == size

    @pytest.mark.parametrize("name", ["testsrc2_odd_height_and_width_444", "testsrc2_444_12bit_hevc"])
    def test_colors_of_the_test_picture(self, name: str) -> None:
        graph = av.filter.Graph()
        source, form, sink = graph.add("testsrc2", "size=321x241:rate=25"), graph.add("format", "rgb24"), None
        sink = graph.add("buffersink")
        source.link_to(form)
        form.link_to(sink)
        graph.configure()
        reference = graph.pull().to_ndarray(format="rgb24").astype(int)
        read = read_frames(SHARED / "odd" / f"torchcodec-{name}.mp4", 25, 241, 321).frames[0].transpose(1, 2, 0)
        assert np.abs(read - reference).mean() < 2
