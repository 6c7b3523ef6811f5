"""When each frame of a video is displayed, by demuxing: headers are not trusted and nothing is decoded.

Headers count frames that an edit list hides, and keep the old duration of a truncated file. Packets are right: each one
that is not marked "discard" becomes one displayed frame.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from videocompressa.errors import VideoError
from videocompressa.remote import RemotePath
from videocompressa.video.packets import is_field, packets_of
from videocompressa.video.source import NamedBytes, PackedVideo, Segment, VideoSource

KEEP_BYTES = 32 * 2**20
"""Packets of a smaller stream are kept in memory between counting and decoding (our choice: one read of the file)."""

LOCAL_ONLY, NOTHING_ELSE = {"protocol_whitelist": "file"}, {"protocol_whitelist": "none"}
"""A playlist in place of a video opens no address; in memory, no file either."""

SHORTFALL_SECONDS, SHORTFALL_SHARE = 0.1, 0.05
"""A file that ends earlier than its own header states, by more than both, is truncated (our choice)."""

ROUNDING_SECONDS = 0.001
"""By which the stated times of a segment may miss those of its frames (our choice)."""


@dataclass(frozen=True)
class Timeline:
    """The displayed frames of one video stream."""

    times: tuple[int, ...]
    """Presentation times in ticks, increasing; one for each displayed frame."""
    end: int
    """End of the last frame, in ticks."""
    tick_seconds: Fraction
    keyframes: tuple[tuple[int, int], ...]
    """(packet position in the file, presentation time) of the packets where decoding can start."""
    first_packet: int
    """Where decoding starts: packets before the first keyframe of a cut stream cannot be decoded."""
    packet_of: dict[int, int]
    """Presentation time to packet position."""
    trusted: bool
    """False when packets lack presentation times, or carry false ones (AVI): frames then count in decoded order."""
    packets: tuple[Packet[VideoStream], ...] | None
    """The packets themselves, when they are few bytes."""
    num_before: int = 0
    """Frames of the file before those of `times`, which are a segment of it."""

    @property
    def duration_seconds(self) -> float:
        """From the start of the first frame to the end of the last one."""
        return float((self.end - self.times[0]) * self.tick_seconds)

    def between(self, start_seconds: float, end_seconds: float) -> Timeline:
        """Return the timeline of a segment, by times of the file; raises `VideoError` where the file ends before it."""
        tick, stops = float(self.tick_seconds), (start_seconds, end_seconds)
        first, last = (bisect_left(self.times, (seconds - ROUNDING_SECONDS) / tick) for seconds in stops)
        if first == last or end_seconds - self.end * tick > SHORTFALL_SECONDS:
            segment = f"{start_seconds:.3f} to {end_seconds:.3f} s"
            raise VideoError(f"its segment is {segment}, its file ends at {self.end * tick:.3f} s: another file")
        end = self.times[last] if last < len(self.times) else self.end
        return replace(self, times=self.times[first:last], end=end, num_before=first)

    def position_of(self, pts: int | None) -> int:
        """Return the position of the frame that is displayed from this tick on; -1 where there is none."""
        position = len(self.times) if pts is None else bisect_left(self.times, pts)
        return position if pts in self.times[position : position + 1] else -1

    def even(self, num_frames: int) -> list[int]:
        """Return the position of the frame on screen in the middle of each of T equal spans.

        Integer arithmetic, so exact: the frame at time t is the last one whose time is not after t.
        """
        start, span = self.times[0], self.end - self.times[0]
        middles = [start + (2 * i + 1) * span // (2 * num_frames) for i in range(num_frames)]
        return [bisect_right(self.times, middle) - 1 for middle in middles]

    def at(self, seconds: Sequence[float]) -> list[int]:
        """Return the positions of the frames whose times, counted from the first frame, are nearest to these.

        Nearest and not "on screen at": the rounded time of a frame must lead to that frame again.
        """
        ticks = [self.times[0] + float(second) / float(self.tick_seconds) for second in seconds]
        return [int(np.abs(np.subtract(self.times, tick)).argmin()) for tick in ticks]

    def placed(self, num_frames: int, placement: str) -> list[int]:
        """Return T positions, `even` or `strided` as `ClipSpec.placement` says it."""
        stride = stride_of(placement)
        return self.strided(num_frames, stride) if stride else self.even(num_frames)

    def strided(self, num_frames: int, stride: int) -> list[int]:
        """Return T positions `stride` >= 1 frames apart, around the middle of the video: a fixed center clip.

        The literature's clips, without their random start (VDSD, arXiv 2312.00362: a video shorter than T x stride is
        read at length // T). A video of fewer than T frames is read evenly, with repeats (our choice: there it fails).
        """
        count = len(self.times)
        if count < num_frames:
            return self.even(num_frames)
        step = min(stride, count // num_frames)
        start = (count - (num_frames - 1) * step - 1) // 2
        return [start + i * step for i in range(num_frames)]


def stride_of(placement: str) -> int:
    """Return S of a `ClipSpec.placement` "strided:S", and 0 of the others."""
    return int(placement.removeprefix("strided:")) if placement.startswith("strided:") else 0


@contextmanager
def open_video(source: VideoSource) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and its main moving video stream, or raise `VideoError` with the reason; one decoding thread."""
    try:
        container = _open(source)
    except (FileNotFoundError, NotADirectoryError):
        raise VideoError("file is gone") from None
    except av.FFmpegError as error:
        raise VideoError(f"not a video: {error.strerror}") from None
    except OSError as error:
        raise VideoError(f"cannot be opened: {error.strerror}") from None
    with container:
        # A cover picture in a sound file is a "video" stream too.
        moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not moving:
            audio = " (audio only)" if container.streams.audio else ""
            raise VideoError(f"no video stream{audio}")
        # As in the program ffmpeg: the default one, else the largest, else the first.
        stream = max(moving, key=lambda s: (bool(s.disposition & Disposition.default), _area(s)))
        if not hasattr(stream.codec_context, "thread_type"):
            raise VideoError("no decoder for this video stream")
        stream.thread_type = "NONE"
        stream.thread_count = 1
        yield container, stream


def _area(stream: VideoStream) -> int:
    return getattr(stream, "width", 0) * getattr(stream, "height", 0)


def _open(source: VideoSource) -> InputContainer:
    if isinstance(source, Segment) and not isinstance(source.file, RemotePath):
        source = source.file
    if isinstance(source, PackedVideo | RemotePath):
        if not (data := source.read_bytes()):
            raise VideoError("empty file")
        return av.open(NamedBytes(data, source.name), "r", metadata_errors="replace", container_options=NOTHING_ELSE)
    if source.is_dir():
        raise VideoError("not a video: it is a folder")
    if source.exists() and not source.is_file():  # opening a pipe would wait for a writer
        raise VideoError("not a video: it is no regular file")
    with source.open("rb") as file:
        if not file.read(1):
            raise VideoError("empty file")
    return av.open(str(source.absolute()), metadata_errors="replace", container_options=LOCAL_ONLY)


def timeline_of(source: VideoSource, container: InputContainer, stream: VideoStream) -> Timeline:
    """Return when the frames of the video are displayed, which is open in `container`."""
    timeline = read_timeline(container, stream)
    return timeline.between(source.start_seconds, source.end_seconds) if isinstance(source, Segment) else timeline


def read_timeline(container: InputContainer, stream: VideoStream) -> Timeline:
    """Demux the complete stream and return when its frames are displayed."""
    rows, packets = _demux(container, stream)
    first = next((row.packet for row in rows if row.is_keyframe), 0)
    displayed = [row for row in rows[first:] if not row.is_discard]
    if "matroska" in container.format.name:
        displayed = _without_cut_off(displayed)
    if not displayed:
        raise VideoError("no frames are displayed: its edit list hides them all")
    tick = stream.time_base
    assert tick is not None  # FFmpeg gives every stream one
    packet_of = {row.pts: row.packet for row in displayed if row.pts is not None}
    times = sorted(row.pts for row in displayed if row.pts is not None)
    if len(times) == len(displayed):
        steps = [b - a for a, b in pairwise(times)]
        last = rows[packet_of[times[-1]]].duration or median_low(steps or [1])
    else:
        last = max(1, round(1 / ((stream.average_rate or stream.guessed_rate or Fraction(25)) * tick)))
        times = [i * last for i in range(len(displayed))]
    end = times[-1] + max(1, last)
    # Headers state the length either from the first frame on or from time zero.
    _check_complete(container, stream, len(rows), float(max(end, end - times[0]) * tick))
    return Timeline(
        times=tuple(times),
        end=end,
        tick_seconds=tick,
        keyframes=tuple((row.packet, row.pts) for row in displayed if row.is_keyframe and row.pts is not None),
        first_packet=first,
        packet_of=packet_of,
        trusted=len(packet_of) == len(displayed) and container.format.name != "avi",
        packets=packets,
    )


class _Row(NamedTuple):
    packet: int
    pts: int | None
    duration: int
    is_keyframe: bool
    is_discard: bool
    """Not displayed, or the second field of a frame."""


def _demux(container: InputContainer, stream: VideoStream) -> tuple[list[_Row], tuple[Packet[VideoStream], ...] | None]:
    rows: list[_Row] = []
    packets: list[Packet[VideoStream]] = []
    num_bytes, first = 0, False
    try:
        for packet in packets_of(container, stream):
            field = is_field(packet, stream)
            second, first = field and first, field and not first
            duration = (2 if first else 1) * (packet.duration or 0)
            rows.append(_Row(len(rows), packet.pts, duration, packet.is_keyframe, packet.is_discard or second))
            num_bytes += packet.size
            if num_bytes <= KEEP_BYTES:
                packets.append(packet)
    except av.FFmpegError as error:
        raise VideoError(f"broken after packet {len(rows)}: {error.strerror}") from None
    if not rows:
        raise VideoError("no frames in its video stream")
    return rows, tuple(packets) if num_bytes <= KEEP_BYTES else None


def _without_cut_off(rows: list[_Row]) -> list[_Row]:
    """Return the rows without packets that have no time, where they all follow the first keyframe.

    They are leading pictures of an open group, whose reference was cut off, and are not displayed: their times would be
    before the start of the file.
    """
    untimed = sum(row.pts is None for row in rows)
    leading = bool(rows) and all(row.pts is None for row in rows[1 : 1 + untimed])
    return [rows[0], *rows[1 + untimed :]] if leading and rows[0].pts is not None else rows


def _check_complete(container: InputContainer, stream: VideoStream, num_packets: int, seconds: float) -> None:
    """Raise when the file ends before the end that its own header states; demuxing alone ends there silently."""
    promised = sum(entry.size > 0 for entry in stream.index_entries) if "mp4" in container.format.name else 0
    if num_packets < promised:
        raise VideoError(f"broken after frame {num_packets} of {promised}: the file ends too early")
    stated = _stated_seconds(stream)
    if stated is not None and stated - seconds > max(SHORTFALL_SECONDS, SHORTFALL_SHARE * stated):
        raise VideoError(f"broken after frame {num_packets}: the file ends at {seconds:.1f} of {stated:.1f} seconds")


def _stated_seconds(stream: VideoStream) -> float | None:
    """The stream's own duration by the header: a tag of Matroska (a copy elsewhere is stale), or AVI's frame count."""
    tag = stream.metadata.get("DURATION", "") if "matroska" in stream.container.format.name else ""
    hours, _, rest = tag.partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (ValueError, OverflowError):
        pass
    if stream.container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)
    return None
