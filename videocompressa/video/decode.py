"""T frames of a video, spread over its time or motion or around its middle, as small upright RGB pictures.

1. Demux: when every frame is displayed, and which frames to choose (`timeline`).
2. Decode from the keyframe before each chosen frame; packets between are skipped where a keyframe allows it.
3. Resize in swscale so that the frame covers H x W or fits into it, turn it upright by its display matrix, cut or pad
   it (`pictures`).
4. Of frames that are chosen by motion, more are decoded, and T kept (`motion`).

Where the stream is damaged, decode all of it up to the last chosen frame, and take the nearest good frame for one that
is lost: from the same frames whatever T is. Only NumPy, no torch: decoding workers start fast.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from videocompressa.errors import VideoError
from videocompressa.video.motion import MOST_SEEN, motion_positions
from videocompressa.video.packets import packets_of
from videocompressa.video.pictures import Resizer, aspect_of, upright_sides
from videocompressa.video.source import VideoSource, num_bytes_of
from videocompressa.video.timeline import Timeline, open_video, timeline_of

if TYPE_CHECKING:
    from videocompressa.clip import Clip, ClipSpec

FramesByIndex = dict[int, NDArray[np.uint8]]
"""(H,W,3) pictures by the frame's position in the video."""

LOST_SHARE = 0.05
"""Share of the frames that a file without presentation times may lack (dropped-frame markers of AVI), and that may lie
between a damaged frame and the good one in its place (our choice)."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video without decoding more than its first frame, which carries the rotation."""

    num_frames: int
    """Frames that are displayed."""
    duration_seconds: float
    """From the start of the first frame to the end of the last one."""
    height: int
    """Pixels, upright and square."""
    width: int
    """Pixels, upright and square."""
    file_bytes: int
    """Of the video itself, also where it is inside another file."""


@dataclass(frozen=True)
class Decoded:
    """T frames of one video as arrays."""

    frames: NDArray[np.uint8]
    """(T,3,H,W), RGB, upright."""
    pts_seconds: NDArray[np.float64]
    """(T,), not decreasing, from the first frame of the video."""
    num_video_frames: int
    """Frames of the complete video."""
    positions: tuple[int, ...]
    """T, position of each frame in the video, from 0."""
    num_replaced: int = 0
    """Of the T frames, those in place of a damaged one."""
    resize_seconds: float = 0.0
    """Of the time that it took, that of `Resizer`."""


class _FalseTimesError(Exception):
    """Presentation times are false; decode again from the start, counting frames."""


class _DamagedError(Exception):
    """A packet or a frame is damaged, or a keyframe mark is false; decode again from the start, going on after it."""


def probe(source: VideoSource) -> VideoInfo:
    """Return what a video holds, by demuxing it and decoding its first frame; raises `VideoError` with the reason."""
    with open_video(source) as (container, stream):
        timeline = timeline_of(source, container, stream)
        height, width = _sides_of_first_frame(source, stream, timeline)
        return VideoInfo(len(timeline.times), timeline.duration_seconds, height, width, num_bytes_of(source))


def read_clip(source: VideoSource, spec: ClipSpec, *, label: int, video_id: str) -> Clip:
    """Return T frames of the video as `spec` places them (repeated where it has fewer); raises `VideoError`."""
    import torch  # Decoding workers import this file and never need torch.

    from videocompressa.clip import Clip

    decoded = read_frames(source, *spec.size, placement=spec.placement, fit=spec.fit)
    frames, pts_seconds = torch.from_numpy(decoded.frames), torch.from_numpy(decoded.pts_seconds)
    return Clip(frames, pts_seconds, label, video_id, decoded.num_video_frames)


def read_frames(
    source: VideoSource, num_frames: int, height: int, width: int, *, placement: str = "even", fit: str = "crop"
) -> Decoded:
    """Return T frames as (T,3,H,W) uint8; raises `VideoError` with the reason.

    `placement` and `fit` are those of `ClipSpec`.
    """
    with open_video(source) as (container, stream):
        timeline = timeline_of(source, container, stream)
        resizer = Resizer(height, width, aspect_of(stream), fit)
        if placement != "motion":
            return _decode(source, stream, timeline, timeline.placed(num_frames, placement), resizer)
        seen = sorted(set(timeline.even(max(MOST_SEEN, 4 * num_frames))))
        pick = partial(motion_positions, count=num_frames)
        return _decode(source, stream, timeline, seen, resizer, pick)


def read_frames_at(source: VideoSource, times_seconds: Sequence[float]) -> Decoded:
    """Return the frames on screen at K times from the first frame on, uncropped, at the video's own size.

    Raises `VideoError` with the reason, also when a time is outside of the video: then it is another video.
    """
    with open_video(source) as (container, stream):
        timeline = timeline_of(source, container, stream)
        outside = [seconds for seconds in times_seconds if not 0 <= seconds < timeline.duration_seconds]
        if outside:
            raise VideoError(
                f"has no frame at {outside[0]:.3f} s, it lasts {timeline.duration_seconds:.3f} s: another video of "
                "this name, or another cut"
            )
        sides = _sides_of_first_frame(source, stream, timeline)
        return _decode(source, stream, timeline, timeline.at(times_seconds), Resizer(*sides, aspect_of(stream)))


def _sides_of_first_frame(source: VideoSource, stream: VideoStream, timeline: Timeline) -> tuple[int, int]:
    reader = _Reader(source, stream, timeline, go_on=True)
    frame = reader.next()
    if frame is None:
        raise reader.broken("nothing can be decoded")
    return upright_sides(frame, aspect_of(stream))


def _decode(
    source: VideoSource,
    stream: VideoStream,
    timeline: Timeline,
    chosen: Sequence[int],
    resizer: Resizer,
    pick: Callable[[NDArray[np.uint8]], Sequence[int]] | None = None,
) -> Decoded:
    """Decode the frames at the chosen positions, in that order; keep those that `pick` chooses of (M,3,H,W)."""
    times, wanted = timeline.times, sorted(set(chosen))
    taken = dict(zip(wanted, wanted, strict=True))
    try:
        pictures = _undamaged(source, stream, timeline, wanted, resizer)
    except _DamagedError:
        pictures, taken = _nearest(_Reader(source, stream, timeline, go_on=True), timeline, wanted, resizer)
    frames = np.stack([pictures[i] for i in chosen]).transpose(0, 3, 1, 2)
    if pick is not None:
        rows = list(pick(frames))
        frames, chosen = frames[rows], [chosen[row] for row in rows]
    positions = tuple(taken[i] for i in chosen)
    seconds = [float((times[i] - times[0]) * timeline.tick_seconds) for i in positions]
    num_replaced = sum(i != position for i, position in zip(chosen, positions, strict=True))
    pixels = np.ascontiguousarray(frames)
    return Decoded(pixels, np.array(seconds), len(times), positions, num_replaced, resizer.seconds)


def _undamaged(
    source: VideoSource, stream: VideoStream, timeline: Timeline, wanted: Sequence[int], resizer: Resizer
) -> FramesByIndex:
    try:
        if not timeline.trusted:
            raise _FalseTimesError
        return _by_time(_Reader(source, stream, timeline), timeline.times, wanted, resizer)
    except _FalseTimesError:
        return _by_count(_Reader(source, stream, timeline), timeline, wanted, resizer)


class _Reader:
    """Decodes the displayed frames of a stream one by one, and can skip to a later keyframe."""

    def __init__(self, source: VideoSource, stream: VideoStream, timeline: Timeline, *, go_on: bool = False) -> None:
        self._codec = stream.codec_context
        self._codec.flush_buffers()
        self._timeline, self._go_on = timeline, go_on
        self._packets = _packets(source, timeline)
        self._next_packet = timeline.first_packet
        self._ready: deque[VideoFrame] = deque()
        self._ended = False
        self.num_passed = 0
        """Frames of the video up to and including the last one returned."""

    def skip_toward(self, position: int) -> bool:
        """Skip to the last keyframe from which the frame there can be decoded; False when none is ahead."""
        keyframe, time = self._timeline.keyframe_before(position, self._next_packet), self._timeline.times[position]
        if keyframe is None or any(frame.pts == time for frame in self._ready):
            return False
        self._next_packet = keyframe
        self._ready.clear()
        self._codec.flush_buffers()
        return True

    def next(self) -> VideoFrame | None:
        """Return the next frame, None at the end; goes on after damage, or raises `_DamagedError`."""
        while not self._ready and not self._ended:
            packet = next((p for i, p in self._packets if i >= self._next_packet), None)
            self._ended = packet is None
            self._next_packet += 1
            try:
                self._ready.extend(self._codec.decode(packet))
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):  # no damage: the same video can be read where there is more
                    raise
                if not self._go_on:
                    raise _DamagedError from None
                self.num_passed += 1  # The frame of this packet is lost.
        return self._ready.popleft() if self._ready else None

    def next_good(self) -> tuple[int, VideoFrame] | None:
        """Return the next frame that is not damaged, with its position by its time, else by counting; None at the end.

        Frames of the file that are outside of a segment are passed over.
        """
        timeline = self._timeline
        while (frame := self.next()) is not None:
            self.num_passed += 1
            counted = self.num_passed - 1 - timeline.num_before
            position = timeline.position_of(frame.pts) if timeline.trusted else counted
            if 0 <= position < len(timeline.times) and not frame.is_corrupt:
                return position, frame
        return None

    def put_back(self, frame: VideoFrame) -> None:
        """Let `next` return this frame again."""
        self._ready.appendleft(frame)

    def broken(self, reason: str) -> VideoError:
        """Return the error that states how far the video could be read."""
        return VideoError(f"broken after frame {self.num_passed} of {len(self._timeline.times)}: {reason}")


def _packets(source: VideoSource, timeline: Timeline) -> Iterator[tuple[int, Packet[VideoStream]]]:
    if timeline.packets is not None:
        yield from enumerate(timeline.packets)
        return
    with open_video(source) as (container, stream):
        yield from enumerate(packets_of(container, stream))


def _by_time(reader: _Reader, times: Sequence[int], chosen: Sequence[int], resizer: Resizer) -> FramesByIndex:
    """Decode the frames at the chosen positions (increasing), each known by its presentation time."""
    pictures: FramesByIndex = {}
    before: VideoFrame | None = None
    passed = -math.inf
    for position in chosen:
        skipped = reader.skip_toward(position)
        while True:
            frame = reader.next()
            if frame is None:  # Frames at the end are lost.
                raise _DamagedError
            if (pts := frame.pts) is None and before is None and not skipped:
                continue  # Before the first keyframe of an open group of pictures, of which the rest was cut off.
            if pts is None or pts <= passed:
                raise _FalseTimesError
            if pts > times[position]:
                if skipped:  # The keyframe is damaged, or is none.
                    raise _DamagedError
                # A packet that is never displayed (an "alternate reference" of VP8): its predecessor stays on screen.
                reader.put_back(frame)
                frame = before or frame
                break
            reader.num_passed = bisect_right(times, pts)
            before, passed, skipped = frame, pts, False
            if pts == times[position]:
                break
        pictures[position] = _picture(reader, frame, resizer)
    return pictures


def _by_count(reader: _Reader, timeline: Timeline, chosen: Sequence[int], resizer: Resizer) -> FramesByIndex:
    """Decode the frames at the chosen positions (increasing) from the start, counting frames in display order."""
    pictures: FramesByIndex = {}
    last: VideoFrame | None = None
    for position in chosen:
        in_file = timeline.num_before + position
        while reader.num_passed <= in_file and (frame := reader.next()) is not None:
            reader.num_passed += 1
            last = frame
        lost = in_file + 1 - reader.num_passed
        if last is None or lost > max(1, LOST_SHARE * len(timeline.times)):
            raise reader.broken("the video ends too early")
        pictures[position] = _picture(reader, last, resizer)
    return pictures


def _nearest(
    reader: _Reader, timeline: Timeline, chosen: Sequence[int], resizer: Resizer
) -> tuple[FramesByIndex, dict[int, int]]:
    """Return the good frames nearest to the chosen positions (increasing), and their own positions."""
    pictures: FramesByIndex = {}
    taken: dict[int, int] = {}
    farthest = max(1, LOST_SHARE * len(timeline.times))
    before: tuple[int, VideoFrame] | None = None
    remaining = deque(chosen)
    while remaining:
        after = reader.next_good()
        near = [each for each in (before, after) if each is not None]
        while remaining and (after is None or remaining[0] <= after[0]):
            wanted = remaining.popleft()
            at, frame = min(near, key=lambda each: abs(each[0] - wanted), default=(-math.inf, None))
            if frame is None or abs(at - wanted) > farthest:
                raise reader.broken(f"no good frame is near frame {wanted}")
            pictures[wanted], taken[wanted] = _picture(reader, frame, resizer), int(at)
        before = after
    return pictures, taken


def _picture(reader: _Reader, frame: VideoFrame, resizer: Resizer) -> NDArray[np.uint8]:
    if frame.is_corrupt:
        raise _DamagedError
    try:
        return resizer(frame)
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        raise reader.broken(f"a frame cannot be turned into RGB: {error.strerror}") from None
