"""Good videos that are unusual: fields, cut groups, several streams or clocks, damage in the middle."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from numbered_videos import damage, gray, numbered, write

from videocompressa.clip import ClipSpec
from videocompressa.datasets import decode_split, find_videos
from videocompressa.errors import VideoError
from videocompressa.recipes.keyframes import KeyframeOptions, extract_keyframes
from videocompressa.video import probe, read_frames
from videocompressa.video import timeline as timeline_module
from videocompressa.video.source import Segment


def numbers(path: Path, num_frames: int, step: int = 5) -> list[int]:
    """Return the numbers of the chosen frames, from their gray levels."""
    return [round(int(frame[0, 4, 4]) / step) for frame in read_frames(path, num_frames, 8, 8).frames]


class TestTransportStreams:
    @pytest.mark.parametrize("keep_bytes", [timeline_module.KEEP_BYTES, 0])
    def test_the_clock_starts_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_bytes: int) -> None:
        monkeypatch.setattr(timeline_module, "KEEP_BYTES", keep_bytes)
        parts = [numbered(tmp_path / "a.ts", 10), write(tmp_path / "b.ts", [gray(5 * n) for n in range(10, 50)])]
        path = tmp_path / "both.ts"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert probe(path).duration_seconds == pytest.approx(2.0)
        assert numbers(path, 50) == list(range(50))
        assert numbers(path, 5) == [5, 15, 25, 35, 45]
        assert read_frames(path, 5, 8, 8).pts_seconds.tolist() == pytest.approx([0.2, 0.6, 1.0, 1.4, 1.8])

    @pytest.mark.parametrize("fields_a_packet", [1, 2])
    def test_two_fields_are_one_frame(self, tmp_path: Path, fields_a_packet: int) -> None:
        path = field_coded(tmp_path / "a.ts", [20 * n + 20 for n in range(10)], fields_a_packet)
        info = probe(path)
        assert (info.num_frames, info.height, info.width) == (10, 32, 16)
        assert info.duration_seconds == pytest.approx(0.4)
        decoded = read_frames(path, 10, 32, 16)
        luma = np.array([frame.mean() for frame in decoded.frames])
        assert np.all(np.diff(luma) > 15)
        assert decoded.pts_seconds.tolist() == pytest.approx([0.04 * n for n in range(10)])


class TestContainers:
    def test_the_default_stream_is_read(self, tmp_path: Path) -> None:
        path = two_streams(tmp_path / "a.mkv", default=1)
        assert (probe(path).num_frames, probe(path).width) == (6, 48)
        path = two_streams(tmp_path / "b.mkv", default=0)
        assert (probe(path).num_frames, probe(path).width) == (3, 16)
        path = two_streams(tmp_path / "c.mkv", default=None)
        assert (probe(path).num_frames, probe(path).width) == (6, 48)

    def test_pixels_become_square(self, tmp_path: Path) -> None:
        pictures = [np.repeat(np.where(np.arange(32) < 16, 250, 0)[None, :, None], 48, 0).repeat(3, 2).astype(np.uint8)]
        path = write(tmp_path / "a.mp4", pictures * 3, aspect=Fraction(2))
        assert (probe(path).height, probe(path).width) == (48, 64)
        wide, whole = read_frames(path, 1, 24, 24).frames[0], read_frames(path, 1, 48, 64).frames[0]
        assert abs(float(wide[:, :, :12].mean()) - 250) < 8 > float(wide[:, :, 12:].mean())
        assert abs(float(whole[:, :, :30].mean()) - 250) < 8
        narrow = write(tmp_path / "b.mp4", pictures * 3, aspect=Fraction(8, 9), turned=90)
        assert (probe(narrow).height, probe(narrow).width) == (28, 48)
        for aspect in (Fraction(1, 100), Fraction(100), Fraction(63, 64)):
            false = write(tmp_path / "c.mp4", pictures * 3, aspect=aspect)
            assert (probe(false).height, probe(false).width) == (48, 32)

    def test_high_dynamic_range_is_mapped(self, tmp_path: Path) -> None:
        """PQ codes of 0, 10, 100 and 1000 nits (BT.2100, 10 bits as 8); white is at 203."""
        codes = [0, 77, 130, 192]
        tags = {"color_trc": "smpte2084", "color_primaries": "bt2020", "colorspace": "bt2020nc"}
        path = write(tmp_path / "a.mkv", [gray(code) for code in codes], codec="ffv1", pix_fmt="yuv420p10le", **tags)
        grays = read_frames(path, 4, 8, 8).frames[:, :, 4, 4].mean(1)
        displayed = [255 * min(1.0, nits / 203) ** (1 / 2.4) for nits in (0, 10, 100, 1000)]  # BT.1886
        assert np.abs(grays - displayed).max() < 4
        again = write(tmp_path / "c.mkv", [gray(code) for code in codes], codec="ffv1", pix_fmt="yuv420p10le", **tags)
        started = time.process_time()
        assert np.array_equal(read_frames(again, 4, 8, 8).frames[:, :, 4, 4].mean(1), grays)
        assert time.process_time() - started < 1  # the table of colors, 4 s, is that of the first video
        plain = write(tmp_path / "b.mkv", [gray(code) for code in codes], codec="ffv1", pix_fmt="yuv420p10le")
        assert np.abs(read_frames(plain, 4, 8, 8).frames[:, :, 4, 4].mean(1) - codes).max() < 4

    def test_empty_samples_are_no_frames(self, tmp_path: Path) -> None:
        path = numbered(tmp_path / "a.mp4", 20, bf="0")
        data = bytearray(path.read_bytes())
        table = data.index(b"stsz") + 16
        struct.pack_into(">I", data, table + 4 * 19, 0)
        path.write_bytes(data)
        assert probe(path).num_frames == 19
        assert numbers(path, 19) == list(range(19))

    def test_a_duration_tag_counts_in_matroska_only(self, tmp_path: Path) -> None:
        for suffix, refused in ((".ogv", False), (".mkv", True)):
            path = tmp_path / f"a{suffix}"
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libvpx", rate=25)
                stream.width = stream.height = 32
                stream.metadata["DURATION"] = "00:00:16.000000000"
                for n in range(10):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(gray(5 * n), format="rgb24")))
                container.mux(stream.encode(None))
            if refused:  # The writer has put the true one there.
                path.write_bytes(
                    re.sub(rb"00:00:00\.4\d+", lambda found: b"00:00:16" + found[0][8:], path.read_bytes())
                )
                with pytest.raises(VideoError, match=r"broken after frame 10: the file ends at 0\.4 of 16\.4 seconds"):
                    probe(path)
            else:
                assert probe(path).num_frames == 10

    def test_a_duration_beyond_all_numbers_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "a.mkv"
        numbered(path, 10)
        tag = re.search(rb"00:00:00\.4\d+", path.read_bytes())
        assert tag
        path.write_bytes(path.read_bytes().replace(tag[0], b"9" * (len(tag[0]) - 4) + b":0:0"))
        with pytest.raises(VideoError, match="the file ends at"):
            probe(path)
        assert timeline_module._stated_seconds(Tagged({"DURATION": "9" * 400 + ":0:0"})) is None

    @pytest.mark.parametrize("codec", ["libx265", "libx264"])
    def test_leading_pictures_without_a_reference_are_not_displayed(self, tmp_path: Path, codec: str) -> None:
        options = {"x265-params": "log-level=none:open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
        if codec == "libx264":
            options = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
        full = numbered(tmp_path / "full.mkv", 48, codec=codec, **options)
        cut, leading = cut_at_second_keyframe(full, tmp_path / "cut.mkv")
        assert leading
        kept = numbers(full, 48)
        count = probe(cut).num_frames
        assert numbers(cut, count) == kept[-count:]


class TestDamage:
    @pytest.mark.parametrize("damaged", [26, 28])  # between keyframes, and one of them
    def test_the_nearest_good_frame_is_taken_whatever_t_is(self, tmp_path: Path, damaged: int) -> None:
        path = damage(numbered(tmp_path / "a.mp4", 50, g="4", bf="0", sc_threshold="0"), damaged, 0xA5)
        every = read_frames(path, 50, 8, 8)
        assert every.num_replaced >= 1
        assert all(abs(n - at) <= 3 for n, at in enumerate(every.positions))
        assert all(a <= b for a, b in pairwise(every.positions))
        for num_frames in (1, 3, 8, 25):
            few = read_frames(path, num_frames, 8, 8)
            wanted = [(2 * i + 1) * 50 // (2 * num_frames) for i in range(num_frames)]
            assert np.array_equal(few.frames, every.frames[wanted])
            assert few.positions == tuple(every.positions[n] for n in wanted)
            assert few.num_replaced == sum(n != at for n, at in zip(wanted, few.positions, strict=True))

    @pytest.mark.parametrize(("suffix", "shift"), [(".mp4", 0), (".avi", 1)])  # AVI has no times: frames are counted.
    def test_a_segment_takes_frames_of_its_own(self, tmp_path: Path, suffix: str, shift: int) -> None:
        path = damage(numbered(tmp_path / f"a{suffix}", 50, g="4", bf="0", sc_threshold="0"), 28, 0xA5)
        part = read_frames(Segment(path, path.name, 1.2, 1.8, 0.3), 15, 8, 8)
        levels = [round(int(frame[0, 4, 4]) / 5) for frame in part.frames]
        assert part.num_video_frames == 15
        assert set(levels) <= set(range(30, 45 + shift))
        assert all(0 <= position < 15 for position in part.positions)

    def test_lost_frames_at_the_end(self, tmp_path: Path) -> None:
        path = damage(numbered(tmp_path / "a.mp4", 50, g="4", bf="0", sc_threshold="0"), 49, 0xA5)
        assert read_frames(path, 50, 8, 8).positions[-2:] == (48, 48)

    def test_runs_say_so(self, tmp_path: Path) -> None:
        for label in ("a", "b"):
            numbered(tmp_path / "set" / label / "1.mp4", 50, g="4", bf="0", sc_threshold="0")
        damage(tmp_path / "set" / "b" / "1.mp4", 26, 0xA5)
        decoded = decode_split(
            find_videos(tmp_path / "set"), "train", ClipSpec(50, 8, 8), cache=tmp_path / "c", workers=0
        )
        assert decoded.notes == ("b/1.mp4: 1 of 50 frames are damaged; the nearest good ones are taken",)
        options = KeyframeOptions(selector="uniform", frames=50, pictures="none")
        notes = extract_keyframes([tmp_path / "set"], tmp_path / "k", options).notes
        assert notes == ("b/1.mp4: 1 candidates are damaged; the nearest good frames were taken",)

    def test_far_from_any_good_frame_is_broken(self, tmp_path: Path) -> None:
        path = damage(numbered(tmp_path / "a.mp4", 50, g="50", bf="0", sc_threshold="0"), 0, 0)
        with pytest.raises(VideoError, match=r"broken after frame \d+ of 50: no good frame is near frame \d+"):
            read_frames(path, 4, 8, 8)


class Tagged:
    """A stream of Matroska with these tags."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata
        self.container = SimpleNamespace(format=SimpleNamespace(name="matroska"))


def two_streams(path: Path, default: int | None) -> Path:
    """Write 3 frames of 16 px and 6 of 48 px as two streams."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, side in enumerate((16, 48)):
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = side
            stream.disposition = int(number == default)
            streams.append(stream)
        for stream, count in zip(streams, (3, 6), strict=True):
            for _ in range(count):
                picture = gray(100, stream.height, stream.width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return path


def cut_at_second_keyframe(source: Path, target: Path) -> tuple[Path, int]:
    """Copy the packets from the second keyframe on, whose time becomes 0; return how many have times below it."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        first = [n for n, packet in enumerate(packets) if packet.is_keyframe][1]
        start, leading = packets[first].pts, 0
        for packet in packets[first:]:
            packet.pts, packet.dts = packet.pts - start, packet.dts - start if packet.dts is not None else None
            leading += packet.pts < 0
            packet.stream = stream
            new.mux(packet)
    return target, leading


def field_coded(path: Path, levels: Sequence[int], fields_a_packet: int) -> Path:
    """Write frames of 32 x 16 px, each as two H.264 field pictures of one macroblock of raw samples (I_PCM)."""
    headers = _unit(7, _SPS) + _unit(8, _PPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 32, "yuv420p"
        for n, level in enumerate(levels):
            fields = [_field(n, bottom, level) for bottom in (0, 1)]
            fields[0] = b"\0\0\0\1\x09\x10" + headers + fields[0]
            fields[1] = b"\0\0\0\1\x09\x10" + fields[1]
            for k, data in enumerate(fields if fields_a_packet == 1 else [b"".join(fields)]):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 90000)
                packet.pts = packet.dts = 3600 * n + 1800 * k
                packet.is_keyframe = k == 0
                container.mux(packet)
    return path


def _ue(value: int) -> str:
    """Return an Exp-Golomb code (H.264, 9.1) as bits."""
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


def _unit(kind: int, bits: str, samples: bytes = b"") -> bytes:
    """Return a NAL unit: bits, filled up to a byte before samples or after the stop bit."""
    bits += "" if samples else "1"
    bits += "0" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big") + samples + (b"\x80" if samples else b"")
    return b"\0\0\0\1" + bytes([3 << 5 | kind]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", data)


_SPS = f"{77:08b}{0:08b}{30:08b}" + "".join(map(_ue, (0, 4, 0, 4, 1))) + "0" + _ue(0) + _ue(0) + "0010" + "1"
"""Main profile, 8 bits of frame number and order, 16 x 32 px, fields allowed."""
_SPS += "0000" + "1" + f"{1:032b}{50:032b}" + "1" + "000" + "11" + "".join(map(_ue, (0, 0, 10, 10, 0, 1)))
"""25 frames a second, no reordering."""
_PPS = _ue(0) + _ue(0) + "00" + _ue(0) + _ue(0) + _ue(0) + "000" + _ue(0) + _ue(0) + _ue(0) + "100"


def _field(frame: int, bottom: int, level: int) -> bytes:
    """Return a field picture: the first of each frame is a keyframe (IDR)."""
    idr = not bottom
    bits = _ue(0) + _ue(7) + _ue(0) + f"{0:08b}" + f"1{bottom}" + (_ue(frame % 2) if idr else "") + f"{bottom:08b}"
    bits += ("00" if idr else "0") + _ue(0) + _ue(1) + _ue(25)  # reference marking, quantizer, no filter, I_PCM
    return _unit(5 if idr else 1, bits, bytes([level]) * 256 + bytes([128]) * 128)
