"""When frames are displayed, of planted packets: each rule of the timeline, without a file."""

from __future__ import annotations

import socket
import tracemalloc
from array import array
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numbered_videos import audio_only, numbered

from videocompressa.clip import ClipSpec
from videocompressa.errors import VideoError
from videocompressa.video import read_clip
from videocompressa.video import timeline as timeline_module
from videocompressa.video.source import PackedVideo, Segment
from videocompressa.video.timeline import Timeline, open_video, read_timeline, timeline_of


@dataclass
class Planted:
    """A packet; presentation times in ticks of 1 ms."""

    pts: int | None
    is_keyframe: bool = False
    duration: int | None = 40
    is_discard: bool = False
    size: int = 5
    dts: int | None = None
    time_base: Fraction = Fraction(1, 1000)


@dataclass
class PlantedVideo:
    """A container and its stream at once."""

    packets: Sequence[Planted]
    container_name: str = "flv"
    average_rate: Fraction | None = Fraction(10)
    guessed_rate: Fraction | None = Fraction(20)
    time_base: Fraction = Fraction(1, 1000)
    frames: int = 0
    sizes: Sequence[int] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    fails_after: int | None = None
    codec_context: Any = field(default_factory=lambda: SimpleNamespace(name="h264"))

    @property
    def format(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.container_name)

    @property
    def container(self) -> PlantedVideo:
        return self

    @property
    def index_entries(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(size=size) for size in self.sizes]

    def demux(self, stream: PlantedVideo) -> Iterator[Planted]:
        assert stream is self
        for number, packet in enumerate(self.packets):
            if number == self.fails_after:
                raise av.InvalidDataError(1, "damaged")
            yield packet


def read(packets: Sequence[Planted], **changes: Any) -> Timeline:
    video: Any = PlantedVideo(packets, **changes)
    return read_timeline(video, video)


def frames(*times: int | None, **changes: Any) -> list[Planted]:
    return [Planted(time, is_keyframe=number == 0, **changes) for number, time in enumerate(times)]


def keyframes_of(timeline: Timeline) -> list[tuple[int, int]]:
    return list(zip(timeline.keyframe_packets, timeline.keyframe_times, strict=True))


class TestTimes:
    def test_packets_are_sorted_by_their_times(self) -> None:
        packets = [Planted(0, True), Planted(80, duration=30), Planted(40), Planted(120, True, duration=25)]
        assert read(packets) == Timeline(
            times=array("q", (0, 40, 80, 120)),
            end=145,
            tick_seconds=Fraction(1, 1000),
            keyframe_packets=array("q", (0, 3)),
            keyframe_times=array("q", (0, 120)),
            first_packet=0,
            packets_of_times=array("q", (0, 2, 1, 3)),
            trusted=True,
            packets=tuple(packets),
            num_before=0,
        )

    def test_what_is_before_the_first_keyframe_or_discarded_is_not_displayed(self) -> None:
        packets = [Planted(0), Planted(40, True), Planted(80, is_discard=True), Planted(120, True, is_discard=True)]
        read_of = read([*packets, Planted(160)])
        assert (tuple(read_of.times), read_of.first_packet, keyframes_of(read_of)) == ((40, 160), 1, [(1, 40)])

    def test_without_keyframes_decoding_starts_at_the_start(self) -> None:
        read_of = read([Planted(0), Planted(40)])
        assert (tuple(read_of.times), read_of.first_packet, keyframes_of(read_of)) == ((0, 40), 0, [])

    def test_nothing_is_displayed(self) -> None:
        with pytest.raises(VideoError, match="^no frames are displayed: its edit list hides them all$"):
            read(frames(0, 40, is_discard=True))

    @pytest.mark.parametrize(("times", "end"), [((0, 10, 20, 50), 60), ((5,), 6)])
    @pytest.mark.parametrize("duration", [0, None])
    def test_a_last_frame_of_no_duration_lasts_as_long_as_most(
        self, times: tuple[int, ...], end: int, duration: int | None
    ) -> None:
        assert read(frames(*times, duration=duration)).end == end

    @pytest.mark.parametrize(
        ("average", "guessed", "step"), [(10, 20, 100), (None, 20, 50), (None, None, 40), (5000, None, 1)]
    )
    def test_frames_without_times_are_counted(self, average: int | None, guessed: int | None, step: int) -> None:
        rates = {"average_rate": average and Fraction(average), "guessed_rate": guessed and Fraction(guessed)}
        read_of = read([*frames(None, None), Planted(7, True)], **rates)
        assert (tuple(read_of.times), read_of.end, read_of.trusted) == ((0, step, 2 * step), 3 * step, False)
        assert (keyframes_of(read_of), read_of.packets_of_times) == ([(2, 7)], ())

    @pytest.mark.parametrize(
        ("times", "name", "trusted"),
        [((0, 40), "flv", True), ((0, 40), "avi", False), ((0, 40, 40), "flv", False)],
    )
    def test_which_times_are_trusted(self, times: tuple[int, ...], name: str, trusted: bool) -> None:
        assert read(frames(*times), container_name=name).trusted is trusted

    @pytest.mark.parametrize(
        ("times", "expected"),
        [
            ((0, None, None, 40), (0, 40)),
            ((0, 40, None), (0, 100, 200)),  # an untimed one that is not leading: all are counted
            ((None, None, 40), (0, 100, 200)),
            ((0, 40), (0, 40)),
        ],
    )
    def test_untimed_packets_after_the_first_keyframe_were_cut_off(
        self, times: tuple[int | None, ...], expected: tuple[int, ...]
    ) -> None:
        assert tuple(read(frames(*times), container_name="matroska,webm").times) == expected
        counted = tuple(range(0, 100 * len(times), 100)) if None in times else expected
        assert tuple(read(frames(*times)).times) == counted  # in other containers nothing is known of them

    def test_fields_are_half_a_frame(self) -> None:
        """Fields last 20 ms, half a frame of 25 a second; the second one of each pair is not displayed."""
        video = {"container_name": "mpegts", "codec_context": SimpleNamespace(name="h264", framerate=Fraction(25))}
        times = (0, 20, 40, 60)
        read_of = read([Planted(time, time == 0, 20, dts=time) for time in times], **video)
        assert (tuple(read_of.times), read_of.end) == ((0, 40), 80)
        whole = read([Planted(0, True, 20, dts=0), Planted(20, False, 40, dts=20), Planted(60, False, 20)], **video)
        assert (tuple(whole.times), whole.end) == ((0, 20, 60), 100)


class TestPackets:
    def test_they_are_kept_where_they_are_few_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(timeline_module, "KEEP_BYTES", 2 * (5 + timeline_module.PACKET_BYTES))
        packets = frames(0, 40)
        assert read(packets).packets == tuple(packets)
        assert read(frames(0, 40, 80)).packets is None

    @pytest.mark.parametrize("group", [1, 250])
    def test_memory_of_a_long_video(self, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
        """Tuples and dictionaries of numbers took 221 bytes a packet at the peak, 286 where all are keyframes."""
        monkeypatch.setattr(timeline_module, "KEEP_BYTES", 0)
        count = 20_000
        packets: Any = (Planted(40 * (n ^ 1), n % group == 0) for n in range(count))
        tracemalloc.start()
        try:
            timeline = read(packets)
            left, peak = (each / count for each in tracemalloc.get_traced_memory())
        finally:
            tracemalloc.stop()
        assert len(timeline.times) == count
        assert left < 40  # two numbers of 8 bytes a frame, two a keyframe
        assert peak < 100

    @given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, unique_by=lambda each: each[0]))
    def test_the_keyframe_before_a_frame(self, packets: list[tuple[int, bool]]) -> None:
        """Frames in the order of the file need not be in that of their times."""
        read_of = read([Planted(time, number == 0 or key) for number, (time, key) in enumerate(packets)])
        for position, time in enumerate(sorted(time for time, _ in packets)):
            target = [each for each, _ in packets].index(time)
            for after in range(len(packets)):
                can = [i for i, (start, key) in enumerate(packets) if key and after < i <= target and start <= time]
                assert read_of.keyframe_before(position, after) == (can[-1] if can else None)

    def test_none(self) -> None:
        with pytest.raises(VideoError, match="^no frames in its video stream$"):
            read([])

    def test_damage(self) -> None:
        with pytest.raises(VideoError, match="^broken after packet 2: .+"):
            read(frames(0, 40, 80), fails_after=2)


class TestComplete:
    @pytest.mark.parametrize(("name", "broken"), [("mov,mp4,m4a", True), ("flv", False)])
    def test_an_index_that_promises_more(self, name: str, broken: bool) -> None:
        expected = pytest.raises(VideoError, match="^broken after frame 2 of 3: the file ends too early$")
        with expected if broken else nullcontext():
            read(frames(0, 40), container_name=name, sizes=(1, 5, 0, 5))
        assert len(read(frames(0, 40), container_name=name, sizes=(5, 0, 5)).times) == 2

    @pytest.mark.parametrize(
        ("stated", "end", "broken"),
        [
            ("00:00:10.0", 9510, False),  # less than 5 %
            ("00:00:10.0", 9490, True),
            ("00:00:01.0", 910, False),  # less than 0.1 s
            ("00:00:01.0", 890, True),
            ("00:00:01.0", 2000, False),
        ],
    )
    def test_a_header_that_states_more(self, stated: str, end: int, broken: bool) -> None:
        message = f"^broken after frame 2: the file ends at {end / 1000:.1f} of {float(stated[6:]):.1f} seconds$"
        with pytest.raises(VideoError, match=message) if broken else nullcontext():
            read(frames(0, end - 40), container_name="matroska", metadata={"DURATION": stated})

    @pytest.mark.parametrize("start", [-1000, 0, 1000])
    def test_lengths_from_zero_or_from_the_first_frame(self, start: int) -> None:
        stated = {"DURATION": "00:00:02.0"}
        assert read(frames(start, start + 1960), container_name="matroska", metadata=stated).end == start + 2000
        if start > 0:
            assert read(frames(start, 1960), container_name="matroska", metadata=stated).end == 2000

    def test_a_header_of_avi_states_frames(self) -> None:
        states = {"frames": 20, "average_rate": Fraction(10)}
        with pytest.raises(VideoError, match=r"ends at 1\.5 of 2\.0 seconds"):
            read(frames(0, 1460), container_name="avi", **states)
        assert len(read(frames(0, 1460), **states).times) == 2
        assert len(read(frames(0, 1460), container_name="avi", frames=20, average_rate=None).times) == 2

    @pytest.mark.parametrize(
        ("tag", "seconds"), [("01:02:03.5", 3723.5), ("00:00:00", 0.0), ("", None), ("1:2", None), ("a:b:c", None)]
    )
    def test_tags(self, tag: str, seconds: float | None) -> None:
        video: Any = PlantedVideo([], container_name="matroska", metadata={"DURATION": tag})
        assert timeline_module._stated_seconds(video) == seconds
        other: Any = PlantedVideo([], metadata={"DURATION": tag})
        assert timeline_module._stated_seconds(other) is None


class InMemory(PackedVideo):
    def read_bytes(self) -> bytes:
        return self.file.read_bytes()


class TestOpen:
    @pytest.mark.parametrize("source_of", [Path, lambda path: InMemory(path, "b.mp4")], ids=["file", "in memory"])
    def test_one_decoding_thread(self, tmp_path: Path, source_of: Any) -> None:
        path = numbered(tmp_path / "a.mp4", 3)
        with open_video(source_of(path)) as (container, stream):
            assert (stream.width, stream.thread_count, stream.thread_type.name) == (32, 1, "NONE")
            assert len(read_timeline(container, stream).times) == 3
        path.write_bytes(b"")
        with pytest.raises(VideoError, match="^empty file$"), open_video(source_of(path)):
            pass
        path.unlink()
        with pytest.raises(VideoError, match="^file is gone$"), open_video(source_of(path)):
            pass

    def test_a_playlist_opens_no_address(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(0)
            path = tmp_path / "a.m3u8"
            address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
            path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
            for source in (path, InMemory(path, "a.m3u8")):
                with pytest.raises(VideoError), open_video(source):
                    pass
            with pytest.raises(BlockingIOError):
                server.accept()

    def test_a_stream_without_a_decoder_has_no_area(self) -> None:
        assert timeline_module._area(SimpleNamespace()) == 0
        assert timeline_module._area(SimpleNamespace(width=3, height=4)) == 12

    def test_what_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("no video" * 100)
        (tmp_path / "file").touch()
        for source, message in (
            (tmp_path, "not a video: it is a folder"),
            (tmp_path / "text", "not a video: .+"),
            (tmp_path / "file" / "below", "file is gone"),
            (tmp_path / ("a" * 300), "cannot be opened: File name too long"),
            (audio_only(tmp_path / "sound.mp4"), r"no video stream \(audio only\)"),
        ):
            with pytest.raises(VideoError, match=f"^{message}$"), open_video(source):
                pass


def planted_at(times: list[int], last: int) -> Timeline:
    return Timeline(tuple(times), times[-1] + last, Fraction(1, 1000), (), (), 0, (), True, None)


class TestEvenTimes:
    @given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(-100, 100), st.integers(1, 40))
    def test_each_is_on_screen_in_the_middle_of_its_span(
        self, durations: list[int], start: int, num_frames: int
    ) -> None:
        times = [start + sum(durations[:i]) for i in range(len(durations))]
        chosen = planted_at(times, durations[-1]).even(num_frames)
        length = Fraction(sum(durations), num_frames)
        for i, position in enumerate(chosen):
            middle = start + (i + Fraction(1, 2)) * length
            assert times[position] <= middle < times[position] + durations[position]

    @given(st.integers(1, 60))
    def test_as_many_as_there_are_is_all_of_them(self, count: int) -> None:
        assert planted_at(list(range(0, 40 * count, 40)), 40).even(count) == list(range(count))

    def test_fewer_frames_than_asked_repeat(self) -> None:
        assert planted_at([0, 40], 40).even(5) == [0, 0, 1, 1, 1]

    def test_a_long_last_frame_counts_by_its_time(self) -> None:
        assert planted_at([0, 10, 20], 80).even(4) == [1, 2, 2, 2]


class TestStridedTimes:
    @given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 10))
    def test_a_centre_clip_at_one_stride(self, count: int, num_frames: int, stride: int) -> None:
        chosen = planted_at(list(range(0, 40 * count, 40)), 40).strided(num_frames, stride)
        assert len(chosen) == num_frames
        assert 0 <= chosen[0] <= chosen[-1] < count
        if count < num_frames:
            assert sorted(set(chosen)) == list(range(count))
            return
        steps = {b - a for a, b in pairwise(chosen)}
        assert steps <= {min(stride, count // num_frames)}
        assert 0 <= (count - 1 - chosen[-1]) - chosen[0] <= 1  # as much before as after

    @pytest.mark.parametrize(
        ("count", "num_frames", "stride", "expected"),
        [
            (100, 4, 8, [37, 45, 53, 61]),
            (64, 16, 4, list(range(1, 62, 4))),
            (63, 16, 4, list(range(8, 54, 3))),  # shorter than 16 x 4: every 63 // 16 = 3rd
            (16, 16, 4, list(range(16))),  # released code fails at exactly T frames
            (17, 16, 4, list(range(16))),
            (2, 5, 4, [0, 0, 1, 1, 1]),
            (9, 1, 4, [4]),
        ],
    )
    def test_as_counted_by_hand(self, count: int, num_frames: int, stride: int, expected: list[int]) -> None:
        assert planted_at(list(range(0, 40 * count, 40)), 40).strided(num_frames, stride) == expected

    @pytest.mark.parametrize("suffix", [".mp4", ".avi"])
    def test_read_from_a_file(self, tmp_path: Path, suffix: str) -> None:
        path = numbered(tmp_path / f"a{suffix}", 20)
        clip = read_clip(path, ClipSpec(4, 8, 8, "strided:3"), label=0, video_id="a")
        assert [round(int(frame[0, 4, 4]) / 5) for frame in clip.frames] == [5, 8, 11, 14]
        assert clip.pts_seconds.diff().tolist() == pytest.approx([float(clip.pts_seconds[1] - clip.pts_seconds[0])] * 3)


class TestPositions:
    TIMELINE = Timeline((0, 40, 80, 120), 160, Fraction(1, 1000), (), (), 0, (), True, None)

    def test_large_ticks_are_exact(self) -> None:
        assert planted_at([2**60, 2**60 + 2, 2**60 + 4], 2).even(3) == [0, 1, 2]

    def test_of_a_tick(self) -> None:
        assert [self.TIMELINE.position_of(pts) for pts in (0, 40, 120)] == [0, 1, 3]
        assert [self.TIMELINE.position_of(pts) for pts in (-1, 39, 41, 121, None)] == [-1] * 5

    def test_at_times_from_the_first_frame_on(self) -> None:
        late = Timeline((1000, 1040, 1080), 1120, Fraction(1, 1000), (), (), 0, (), True, None)
        assert late.at([0.0, 0.019, 0.021, 0.08, 5.0]) == [0, 0, 1, 2, 2]

    def test_even_and_duration(self) -> None:
        late = Timeline((1000, 1040, 1080), 1200, Fraction(1, 1000), (), (), 0, (), True, None)
        assert late.duration_seconds == pytest.approx(0.2)
        assert late.even(5) == [0, 1, 2, 2, 2]

    @pytest.mark.parametrize(
        ("start", "end", "times", "stop"),
        [
            (0.04, 0.12, (40, 80), 120),
            (0.0405, 0.1205, (40, 80), 120),  # rounded
            (0.0, 0.16, (0, 40, 80, 120), 160),
            (0.08, 0.25, (80, 120), 160),  # ends less than 0.1 s after the file
        ],
    )
    def test_of_a_segment(self, start: float, end: float, times: tuple[int, ...], stop: int) -> None:
        part = self.TIMELINE.between(start, end)
        assert (part.times, part.end, part.num_before) == (times, stop, times[0] // 40)

    @pytest.mark.parametrize(("start", "end"), [(0.08, 0.27), (0.2, 0.25), (0.042, 0.079)])
    def test_of_a_segment_of_another_file(self, start: float, end: float) -> None:
        message = f"its segment is {start:.3f} to {end:.3f} s, its file ends at 0.160 s: another file"
        with pytest.raises(VideoError, match=f"^{message}$"):
            self.TIMELINE.between(start, end)

    def test_of_a_source(self, tmp_path: Path) -> None:
        video: Any = PlantedVideo(frames(0, 40, 80))
        segment = Segment(tmp_path, "part", 0.04, 0.08, 0.5)
        part = timeline_of(segment, video, video)
        assert (tuple(part.times), tuple(part.packets_of_times)) == ((40,), (1,))
        assert tuple(timeline_of(tmp_path, video, video).times) == (0, 40, 80)
