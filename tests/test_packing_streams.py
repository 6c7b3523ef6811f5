"""Coded streams: what comes back, what it costs, and every way in which the bytes can be wrong."""

from __future__ import annotations

import re
from fractions import Fraction

import av
import pytest
import torch
from torch import Tensor

from videocompressa.artifact.packing import PACKINGS, unpacked
from videocompressa.artifact.packing.streams import CODERS, joined
from videocompressa.codecs import PixelCodec
from videocompressa.errors import InputError

FINE = {"h264": 4.0, "av1": 4.0, "webp": 98.0}
MIDDLE = {"h264": 36.0, "av1": 50.25, "webp": 20.0}


def moving(num_clips: int = 3, num_frames: int = 4, height: int = 32, width: int = 32) -> Tensor:
    """(N,T,3,H,W) uint8: gray waves that move to the right, one period a clip."""
    x = torch.arange(width)[None, :] / 6 + torch.arange(height)[:, None] / 9
    clips = [
        [(torch.sin(x * (1 + clip / 3) - frame) * 80 + 128).byte().expand(3, -1, -1) for frame in range(num_frames)]
        for clip in range(num_clips)
    ]
    return torch.stack([torch.stack(clip) for clip in clips])


def coded(clips: Tensor, name: str, setting: float) -> Tensor:
    return joined([CODERS[name].encode(clip, setting) for clip in clips])


def back(stream: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    """Pixels in [0,1] of a stream."""
    return unpacked(CODERS[name].packing, {CODERS[name].tensor: stream}, shape) * 0.25 + 0.5


def psnr(got: Tensor, clips: Tensor) -> float:
    return float(-10 * (got - clips.float() / 255).square().mean().log10())


@pytest.mark.parametrize("name", CODERS)
@pytest.mark.parametrize(("num_frames", "height", "width"), [(4, 32, 32), (1, 32, 32), (5, 45, 31), (3, 3, 1)])
def test_clips_come_back_and_worse_at_coarser_settings(name: str, num_frames: int, height: int, width: int) -> None:
    clips = moving(3, num_frames, height, width)
    seen = []
    for setting in (FINE[name], CODERS[name].coarsest):
        stream = coded(clips, name, setting)
        assert stream.dtype == torch.uint8
        assert stream.ndim == 1
        seen.append((psnr(back(stream, name, tuple(clips.shape)), clips), len(stream)))
    (fine, fine_bytes), (coarse, coarse_bytes) = seen
    assert fine > 40
    if height > 8:
        assert fine > coarse + 5
        assert fine_bytes > 1.5 * coarse_bytes


@pytest.mark.parametrize("name", CODERS)
@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (0, 0, 0), (255, 255, 255)])
def test_colors_keep_matrix_and_range(name: str, color: tuple[int, int, int]) -> None:
    clips = torch.tensor(color, dtype=torch.uint8).view(1, 1, 3, 1, 1).expand(1, 2, 3, 16, 16)
    got = back(coded(clips, name, FINE[name]), name, tuple(clips.shape))
    assert float((got * 255 - clips.float()).abs().max()) <= 3  # BT.709 for BT.601 would be off by 20 and more


@pytest.mark.parametrize("name", ["h264", "av1"])
def test_clips_do_not_leak_into_each_other(name: str) -> None:
    black, white = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.full((4, 3, 32, 32), 255, dtype=torch.uint8)
    clips = torch.stack([black, white, moving(1)[0], black])
    together = back(coded(clips, name, MIDDLE[name]), name, tuple(clips.shape))
    for clip, got in zip(clips, together, strict=True):
        alone = back(coded(clip[None], name, MIDDLE[name]), name, (1, *clip.shape))
        assert torch.equal(got, alone[0])
    assert float(together[1].min()) > 0.98
    assert float(together[3].max()) < 0.02


@pytest.mark.parametrize("name", CODERS)
def test_latents_are_scaled_as_by_the_pixel_codec(name: str) -> None:
    clips = moving(1, 2)
    latents = unpacked(CODERS[name].packing, {CODERS[name].tensor: coded(clips, name, 36)}, tuple(clips.shape))
    pixels = ((latents * 0.25 + 0.5) * 255).round().byte()
    assert torch.equal(latents[0], PixelCodec().encode(pixels[0]))


@pytest.mark.parametrize("name", CODERS)
def test_the_same_bytes_each_time(name: str) -> None:
    clips = moving(2, 8, 64, 64)
    assert len({coded(clips, name, MIDDLE[name]).numpy().tobytes() for _ in range(4)}) == 1


@pytest.mark.parametrize("name", ["h264", "av1"])
def test_headers_are_stored_once_and_do_not_name_the_encoder(name: str) -> None:
    clip = CODERS[name].encode(moving(1)[0], MIDDLE[name])
    one, five = (len(joined([clip] * count)) for count in (1, 5))
    assert five - one == 4 * len(clip.body)
    stream = joined([clip] * 5).numpy().tobytes()
    assert len(clip.head) < 48
    assert b"x264" not in stream
    assert stream.count(clip.head.removeprefix(b"\x12\x00")) == 1


@pytest.mark.parametrize("name", ["av1"])
def test_quarters_of_a_setting_count(name: str) -> None:
    clips = moving(1, 8, 64, 64)
    sizes = {len(coded(clips, name, setting)) for setting in (30.0, 30.25, 30.5, 30.75)}
    assert len(sizes) > 1


@pytest.mark.parametrize("name", CODERS)
def test_a_cut_stream_is_refused_wherever_it_is_cut(name: str) -> None:
    clips = moving(2, 3, 16, 16)
    stream = coded(clips, name, MIDDLE[name])
    for length in range(1, len(stream) - 3, 7):  # the last bytes of H.264 may be padding
        with pytest.raises(InputError, match="tensor (stream|pictures)"):
            back(stream[:length].clone(), name, tuple(clips.shape))


@pytest.mark.parametrize("name", CODERS)
def test_no_flipped_byte_gives_anything_but_a_set_or_a_message(name: str) -> None:
    clips = moving(2, 2, 16, 16)
    stream = coded(clips, name, MIDDLE[name])
    refused = 0
    for place in range(0, len(stream), 3):
        broken = stream.clone()
        broken[place] ^= 0x5A
        try:
            assert back(broken, name, tuple(clips.shape)).shape == clips.shape
        except InputError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize(
    ("packing", "data", "message"),
    [
        ("video", b"", "tensor stream has shape (0,); it must be (bytes,), not empty"),
        ("video", b"\x00\x00\x00\x20ftypisom", "tensor stream is neither H.264 (Annex B) nor AV1 (OBUs)"),
        ("video", b"\x00\x00\x00\x01garbage", "tensor stream cannot be decoded (Invalid data"),
        ("video", b"\x12\x00garbage", "tensor stream"),
        ("pictures", b"", "tensor pictures has shape (0,)"),
        ("pictures", b"\x89PNG and so on", "tensor pictures has no WebP picture at byte 0"),
        ("pictures", b"RIFF\xff\x00\x00\x00WEBPVP8 ", "tensor pictures ends within the picture at byte 0"),
        ("pictures", b"RIFF\x04\x00\x00\x00WEBP" * 4, "tensor pictures: picture 0 cannot be decoded"),
        ("pictures", b"RIFF\x04\x00\x00\x00WEBP" * 3, "tensor pictures holds 3 pictures; the set has 2 x 2"),
    ],
)
def test_foreign_bytes(packing: str, data: bytes, message: str) -> None:
    (tensor,) = PACKINGS[packing].tensors
    stream = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)
    with pytest.raises(InputError, match=re.escape(message)):
        unpacked(packing, {tensor: stream}, (2, 2, 3, 16, 16))


@pytest.mark.parametrize("name", CODERS)
def test_streams_of_another_count_size_or_codec_are_refused(name: str) -> None:
    stream = coded(moving(2, 2, 16, 16), name, MIDDLE[name])
    with pytest.raises(InputError, match=r"holds 4 (frames|pictures); the set has 3 x 2"):
        back(stream, name, (3, 2, 3, 16, 16))
    with pytest.raises(InputError, match=r"holds 4 (frames|pictures); the set has 1 x 2"):
        back(stream, name, (1, 2, 3, 16, 16))
    with pytest.raises(InputError, match=r"frame 0 has 16x16 pixels; it must have 16x18"):
        back(stream, name, (2, 2, 3, 16, 18))
    with pytest.raises(InputError, match=r"coded frames have 3 channels, but the set's codec has 4"):
        back(stream, name, (2, 2, 4, 16, 16))


def test_a_picture_that_claims_to_be_huge_is_refused() -> None:
    stream = coded(moving(1, 1, 16, 16), "webp", 20)
    stream[26:30] = torch.tensor([0xFF, 0x3F, 0xFF, 0x3F])  # 16383 x 16383
    with pytest.raises(InputError, match="picture 0 cannot be decoded"):
        back(stream, "webp", (1, 1, 3, 16, 16))


def test_video_of_another_pixel_format_is_refused() -> None:

    context = av.VideoCodecContext.create("libx264", "w")
    context.height = context.width = 16
    context.pix_fmt, context.time_base, context.framerate = "yuv444p", Fraction(1, 8), 8
    context.options, context.thread_count = {"x264-params": "mbtree=0"}, 1
    packets = [bytes(packet) for frame in (av.VideoFrame(16, 16, "yuv444p"), None) for packet in context.encode(frame)]
    stream = torch.frombuffer(bytearray(b"".join(packets)), dtype=torch.uint8)
    with pytest.raises(InputError, match="frame 0 is no complete yuv420p frame"):
        back(stream, "h264", (1, 1, 3, 16, 16))
