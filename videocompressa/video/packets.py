"""The packets of a video stream, with times that go on where the clock of a transport stream starts again."""

from __future__ import annotations

from collections.abc import Iterator

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

MOST_GAP_SECONDS = 10
"""A decoding time farther ahead than this is another clock, as in the program ffmpeg (-dts_delta_threshold)."""


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Yield the packets that are not empty.

    In a transport stream that is several, one after another, each with a clock of its own, decoding times jump: those
    after a jump are moved to one step after those before it.
    """
    shift, step, last = 0, 0, None
    for packet in _demuxed(container, stream):
        if not packet.size:
            continue
        if container.format.name == "mpegts" and packet.dts is not None and packet.time_base:
            ahead = 0 if last is None else packet.dts + shift - last
            if last is not None and not 0 <= ahead * packet.time_base <= MOST_GAP_SECONDS:
                ahead, shift = step, last + step - packet.dts
            step, last = ahead, packet.dts + shift
            packet.dts, packet.pts = last, None if packet.pts is None else packet.pts + shift
        yield packet


def _demuxed(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Yield the packets of a stream, and go on after one of a stream that begins in the middle of the file.

    PyAV lists the streams when it opens a file, and raises `IndexError` at a packet of any other, which is read then.
    """
    while True:
        try:
            yield from container.demux(stream)
        except IndexError:
            continue
        return


def is_field(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Return whether a packet is a field, two of which are a frame: the parser of H.264 streams gives it half the time.

    Containers that hold samples have both fields in one packet.
    """
    if stream.container.format.name not in ("mpegts", "h264") or stream.codec_context.name != "h264":
        return False
    rate, tick, duration = stream.codec_context.framerate, packet.time_base, packet.duration
    return bool(rate and tick and duration and 4 * duration * tick * rate < 3)
