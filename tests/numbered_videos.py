"""Tiny videos for tests: the gray level of each frame is its number."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

TICK = Fraction(1, 1000)


def gray(level: int, height: int = 32, width: int = 32) -> NDArray[np.uint8]:
    """One flat gray picture."""
    return np.full((height, width, 3), level, np.uint8)


def write(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    times: Sequence[int] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    turned: int = 0,
    aspect: Fraction = Fraction(1),
    container_options: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Write pictures at the given times (ms; 40 ms apart by default), the last one as long as the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if times is None:
        times = range(0, 40 * len(pictures), 40)
    tick, scale = (Fraction(1, 25), 40) if codec in ("mpeg4", "mpeg2video") or path.suffix == ".avi" else (TICK, 1)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base, stream.codec_context.sample_aspect_ratio = tick, aspect
        if turned:
            stream.set_display_rotation(turned)
        for time, picture in zip(times, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time // scale, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbered(path: Path, count: int, times: Sequence[int] | None = None, step: int = 5, **options: object) -> Path:
    """Write a video whose frame n has gray level `step` * n."""
    return write(path, [gray(step * n) for n in range(count)], times, **options)  # type: ignore[arg-type]


def audio_only(path: Path) -> Path:
    """Write a file with a sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def damage(path: Path, number: int, fill: int) -> Path:
    """Overwrite all but the first bytes of a packet of an mp4 file."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        start, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[start + 5 : start + size] = bytes([fill]) * (size - 5)
    path.write_bytes(data)
    return path
