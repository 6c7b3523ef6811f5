"""Names, sizes, lengths and times at the ends of what there is: frames, or an error that names the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numbered_videos import gray, numbered, write

from videocompressa.clip import ClipSpec
from videocompressa.datasets import decode_split, find_videos
from videocompressa.errors import VideoError
from videocompressa.video import probe, read_frames

NAMES = [b"a b.mp4", b"a\nb.mp4", b"a\xff\xfeb.mp4", b"%s%d.mp4", b"-i.mp4", b"http:x.mp4", b"c" * 251 + b".mp4"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_is_read_and_named(tmp_path: Path, name: bytes) -> None:
    good = numbered(tmp_path / "good.mp4", 4)
    for label in (b"a", b"b"):
        (tmp_path / "set" / os.fsdecode(label)).mkdir(parents=True)
        path = tmp_path / "set" / os.fsdecode(label) / os.fsdecode(name)
        path.write_bytes(good.read_bytes())
    videos = find_videos(tmp_path / "set")
    decoded = decode_split(videos, "train", ClipSpec(2, 8, 8), cache=tmp_path / "c", workers=1)
    assert (len(decoded), decoded.bad) == (2, ())
    assert decoded.video_ids == tuple(f"{label}/{os.fsdecode(name)}" for label in "ab")


def write_noise(path: Path, *, num_frames: int, num_streams: int) -> bytes:
    """Return the bytes of a transport stream of frames that do not compress, 10 a second."""
    generator = np.random.default_rng(0)
    with av.open(str(path), "w", format="mpegts") as container:
        streams = [container.add_stream("mpeg2video", rate=10) for _ in range(num_streams)]
        for stream in streams:
            stream.width = stream.height = 32
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(generator.integers(0, 256, (32, 32, 3), np.uint8), format="rgb24")
            frame.pts = number
            for stream in streams:
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path.read_bytes()


def test_a_stream_that_begins_in_the_middle_does_not_end_the_video(tmp_path: Path) -> None:
    """Regression, found by fuzzing: PyAV knows the streams at the start and the end, and had no place for this one."""
    one = write_noise(tmp_path / "one.ts", num_frames=400, num_streams=1)
    (tmp_path / "late.ts").write_bytes(one + write_noise(tmp_path / "two.ts", num_frames=20, num_streams=2) + one)
    with av.open(str(tmp_path / "late.ts")) as container:
        assert len(container.streams) == 1
    assert probe(tmp_path / "late.ts").num_frames == 820
    assert len(read_frames(tmp_path / "late.ts", 8, 32, 32).frames) == 8


def test_what_is_no_video_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(VideoError, match="not a video: it is a folder"):
        probe(tmp_path / "x.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="not a video: it is no regular file"):
        probe(tmp_path / "pipe.mp4")
    for content in (b"\0" * 5000, b"\xff" * 5000, b"#!/bin/sh\n", b"[playlist]\nFile1=/etc/passwd\n", b"\x1f\x8b" * 99):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(VideoError, match=r"not a video: |no video stream|broken after|no frames"):
            read_frames(tmp_path / "a.mp4", 4, 8, 8)
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    with pytest.raises(VideoError, match=r"cannot be opened: Too many levels of symbolic links|file is gone"):
        probe(loop)


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".gif", ".webm", ".mp4"])
def test_a_wrong_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    right = numbered(tmp_path / "right.ts", 8)
    wrong = tmp_path / f"wrong{suffix}"
    wrong.write_bytes(right.read_bytes())
    assert (read_frames(wrong, 4, 8, 8).frames == read_frames(right, 4, 8, 8).frames).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 64), (64, 1), (2, 8192), (8192, 16)])
def test_sides_from_one_pixel_to_8192(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "bgr24"
        for level in (10, 200):
            frame = av.VideoFrame.from_ndarray(gray(level, height, width), format="rgb24").reformat(format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert (probe(path).height, probe(path).width) == (height, width)
    levels = read_frames(path, 2, 8, 8).frames.mean((1, 2, 3))
    assert np.abs(levels - [10, 200]).max() <= 2


def repeated(path: Path, times: list[int], height: int = 32, width: int = 32) -> Path:
    """Write one picture again and again, at these times in ms."""
    pictures = [gray(0, height, width)]
    picture = write(path.with_name("one.mp4"), pictures, codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(picture)) as old, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        data = bytes(next(packet for packet in old.demux(video=0) if packet.size))
        for time in times:
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = time
            new.mux(packet)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 100_000])
def test_one_frame_and_100000(tmp_path: Path, count: int) -> None:
    path = repeated(tmp_path / "a.mkv", list(range(0, 40 * count, 40)))
    assert probe(path).num_frames == count
    decoded = read_frames(path, 3, 8, 8)
    assert decoded.positions == tuple((2 * i + 1) * count // 6 for i in range(3))
    assert decoded.pts_seconds.tolist() == pytest.approx([0.04 * n for n in decoded.positions])


@pytest.mark.parametrize(
    "times",
    [[-400, -360, -320, -280], [0, 0, 40, 40], [0, 40, 40, 10**9], [5, 5, 5, 5]],
    ids=["negative", "repeating", "far", "one time"],
)
def test_times_of_any_kind(tmp_path: Path, times: list[int]) -> None:
    decoded = read_frames(repeated(tmp_path / "a.mkv", times), 4, 8, 8)
    assert decoded.num_video_frames == 4
    assert decoded.pts_seconds[0] >= 0
    assert all(a <= b for a, b in pairwise(decoded.pts_seconds.tolist()))


def test_a_file_without_durations(tmp_path: Path) -> None:
    pictures = [gray(20 * n) for n in range(6)]
    path = write(tmp_path / "a.h264", pictures, x264opts="bframes=0")
    assert probe(path).num_frames == 6
    assert probe(path).duration_seconds > 0
    assert len(read_frames(path, 3, 8, 8).frames) == 3


READ = """
import sys
from pathlib import Path
from videocompressa.engine import peak_memory_bytes
from videocompressa.video import read_frames
if len(sys.argv) > 1:
    read_frames(Path(sys.argv[1]), 16, 8, 8)
print(peak_memory_bytes())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "height", "width", "most_mib"),
    [
        (100_000, 32, 32, 60),  # of 307 MB as pixels
        (60, 1024, 8192, 300),  # of 1.5 GB
    ],
)
def test_memory_is_bounded_by_the_frame_and_not_by_their_number(
    tmp_path: Path, count: int, height: int, width: int, most_mib: int
) -> None:
    path = repeated(tmp_path / "a.mkv", list(range(0, 40 * count, 40)), height, width)

    def peak(*arguments: str) -> int:
        return int(subprocess.run([sys.executable, "-c", READ, *arguments], stdout=subprocess.PIPE, check=True).stdout)

    assert (peak(str(path)) - peak()) / 2**20 < most_mib
