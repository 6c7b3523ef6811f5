"""When each frame of a video is displayed, by demuxing: headers are not trusted and nothing is decoded.

Headers count frames that an edit list hides, and keep the old duration of a truncated file. Packets are right: each one
that is not marked "discard" becomes one displayed frame.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from videocompressa.errors import VideoError
from videocompressa.remote import RemotePath
from videocompressa.video.packets import is_field, packets_of
from videocompressa.video.source import NamedBytes, PackedVideo, Segment, VideoSource

KEEP_BYTES = 2**24
"""Packets that take less are kept in memory between counting and decoding (our choice: one read of the file)."""
PACKET_BYTES = 160
"""What PyAV takes for each, beside its data: measured over 60,000 packets."""

LOCAL_ONLY, NOTHING_ELSE = {"protocol_whitelist": "file"}, {"protocol_whitelist": "none"}
"""A playlist in place of a video opens no address; in memory, no file either."""

SHORTFALL_SECONDS, SHORTFALL_SHARE = 0.1, 0.05
"""A file that ends earlier than its own header states, by more than both, is truncated (our choice)."""

ROUNDING_SECONDS = 0.001
"""By which the stated times of a segment may miss those of its frames (our choice)."""


@dataclass(frozen=True)
class Timeline:
    """The displayed frames of one video stream."""

    times: Sequence[int]
    """(N,) presentation times in ticks, increasing; one for each displayed frame."""
    end: int
    """End of the last frame, in ticks."""
    tick_seconds: Fraction
    keyframe_packets: Sequence[int]
    """(K,) position in the file of the packets where decoding can start, increasing."""
    keyframe_times: Sequence[int]
    """(K,) their presentation times in ticks."""
    first_packet: int
    """Where decoding starts: packets before the first keyframe of a cut stream cannot be decoded."""
    packets_of_times: Sequence[int]
    """(N,) position in the file of the packet of each frame; none where frames are counted since times lack."""
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
        packets = self.packets_of_times[first:last]
        return replace(self, times=self.times[first:last], packets_of_times=packets, end=end, num_before=first)

    def position_of(self, pts: int | None) -> int:
        """Return the position of the frame that is displayed from this tick on; -1 where there is none."""
        position = len(self.times) if pts is None else bisect_left(self.times, pts)
        return position if pts in self.times[position : position + 1] else -1

    def keyframe_before(self, position: int, first_packet: int) -> int | None:
        """Return the last packet after `first_packet` from which the frame at this position can be decoded, if any."""
        packet, time = self.packets_of_times[position], self.times[position]
        start, stop = (bisect_right(self.keyframe_packets, each) for each in (first_packet, packet))
        ahead = (i for i in range(stop - 1, start - 1, -1) if self.keyframe_times[i] <= time)
        return next((self.keyframe_packets[i] for i in ahead), None)

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
    columns, packets = _demux(container, stream)
    first = int(columns.is_keyframe.argmax())
    is_displayed = _displayed(columns, first, cut_off="matroska" in container.format.name)
    if not (num_displayed := int(is_displayed.sum())):
        raise VideoError("no frames are displayed: its edit list hides them all")
    tick = stream.time_base
    assert tick is not None  # FFmpeg gives every stream one
    timed = np.flatnonzero(is_displayed & columns.has_pts)
    keyframes = timed[columns.is_keyframe[timed]]
    timed = timed[columns.pts[timed].argsort(kind="stable")]
    is_timed, in_order = len(timed) == num_displayed, columns.pts[timed]
    if is_timed:
        times: Sequence[int] = _compact(in_order)
        last = int(columns.durations[timed[-1]]) or median_low([b - a for a, b in pairwise(times)] or [1])
    else:
        last = max(1, round(1 / ((stream.average_rate or stream.guessed_rate or Fraction(25)) * tick)))
        times = range(0, num_displayed * last, last)
    end = times[-1] + max(1, last)
    # Headers state the length either from the first frame on or from time zero.
    _check_complete(container, stream, len(columns.pts), float(max(end, end - times[0]) * tick))
    return Timeline(
        times=times,
        end=end,
        tick_seconds=tick,
        keyframe_packets=_compact(keyframes),
        keyframe_times=_compact(columns.pts[keyframes]),
        first_packet=first,
        packets_of_times=_compact(timed) if is_timed else (),
        trusted=is_timed and bool((in_order[1:] > in_order[:-1]).all()) and container.format.name != "avi",
        packets=packets,
    )


@dataclass(frozen=True)
class _Columns:
    """Of all P packets in the order of the file; a few bytes each, since two hours of video have 180,000."""

    pts: NDArray[np.int64]
    """(P,) presentation times in ticks, 0 where there is none."""
    has_pts: NDArray[np.bool_]
    """(P,)"""
    durations: NDArray[np.int64]
    """(P,) in ticks, 0 where there is none."""
    is_keyframe: NDArray[np.bool_]
    """(P,)"""
    is_hidden: NDArray[np.bool_]
    """(P,) not displayed, or the second field of a frame."""


def _demux(container: InputContainer, stream: VideoStream) -> tuple[_Columns, tuple[Packet[VideoStream], ...] | None]:
    pts, durations = array("q"), array("q")
    has_pts, is_keyframe, is_hidden = bytearray(), bytearray(), bytearray()
    packets: list[Packet[VideoStream]] = []
    num_bytes, first = 0, False
    try:
        for packet in packets_of(container, stream):
            field = is_field(packet, stream)
            second, first = field and first, field and not first
            pts.append(packet.pts or 0)
            has_pts.append(packet.pts is not None)
            durations.append((2 if first else 1) * (packet.duration or 0))
            is_keyframe.append(packet.is_keyframe)
            is_hidden.append(packet.is_discard or second)
            num_bytes += packet.size + PACKET_BYTES
            if num_bytes <= KEEP_BYTES:
                packets.append(packet)
            else:
                packets.clear()
    except av.FFmpegError as error:
        raise VideoError(f"broken after packet {len(pts)}: {error.strerror}") from None
    if not pts:
        raise VideoError("no frames in its video stream")
    flags = [np.frombuffer(column, np.bool_) for column in (has_pts, is_keyframe, is_hidden)]
    numbers = [np.frombuffer(column, np.int64) for column in (pts, durations)]
    columns = _Columns(numbers[0], flags[0], numbers[1], *flags[1:])
    return columns, tuple(packets) if num_bytes <= KEEP_BYTES else None


def _compact(column: NDArray[np.int64]) -> array[int]:
    """Return a column as integers of Python in 8 bytes each: their arithmetic with fractions is exact."""
    return array("q", column.tobytes())


def _displayed(columns: _Columns, first: int, *, cut_off: bool) -> NDArray[np.bool_]:
    """Return which packets (P,) are displayed, from the first keyframe on.

    With `cut_off`, packets that have no time are not, where they all follow that keyframe: they are leading pictures of
    an open group, whose reference was cut off, and whose times would be before the start of the file.
    """
    is_displayed = ~columns.is_hidden
    is_displayed[:first] = False
    has_pts = columns.has_pts[is_displayed]
    num_untimed = int((~has_pts).sum())
    are_leading = has_pts[:1].all() and not has_pts[1 : 1 + num_untimed].any()
    return is_displayed & columns.has_pts if cut_off and are_leading else is_displayed


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
