"""Clips as coded by "video" (one H.264 or AV1 stream of all clips) or "pictures" (WebP keyframes).

`docs/format.md` describes both. Each clip is encoded by itself, as one closed group of pictures that starts with an
intra frame, so its bytes are the same in every set, and the size of a set is the sum over its clips. There is no
container: ivf would cost 32 + 12 bytes a frame, a fragmented mp4 about a kilobyte.

Unpacking gives scaled latents of the pixel codec: (x/255 - 0.5) / 0.25. Decoders of H.264, AV1 and WebP are exact by
their standards, and colors are converted bit-exactly, so the same bytes give the same latents on every machine.
"""

import io
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
import torch
from av.codec.context import Flags, ThreadType
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from videocompressa.artifact.packing.quantization import bytes_of
from videocompressa.errors import InputError

Pictures = NDArray[np.uint8]
"""(K,H,W,3) RGB, or one of them (H,W,3)."""

# Bit-exact: the same bytes on every processor. Full chroma: small pictures would lose half of their color columns.
_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
_H264_START = b"\x00\x00\x00\x01"
_START_CODE = re.compile(b"\x00\x00\x00?\x01")
_AV1_START = b"\x12\x00"
"""A temporal delimiter, with which every temporal unit of an AV1 stream begins."""
_SEI = 6
"""Type of NAL unit that decoders do not need: x264 fills it with 600 bytes about itself."""


@dataclass(frozen=True)
class CodedClip:
    """One encoded clip."""

    head: bytes
    """Start of the stream: the same for all clips of one codec, setting and size."""
    body: bytes
    """The frames, or the pictures."""


@dataclass(frozen=True)
class FrameCoder:
    """A video or picture codec with the settings for small clips."""

    packing: str
    """The packing of its streams."""
    tensor: str
    """The packing's only tensor."""
    encode: Callable[[Tensor, float], CodedClip]
    """(frames (K,3,H,W) uint8 RGB, setting) -> the clip; the same bytes each time."""
    coarsest: float
    """Setting of the smallest file."""
    finest: float
    """Setting of the largest file; lossless is another mode."""
    step: float
    """Between neighboring settings."""
    setting: str
    """The codec's name of the setting."""


def encode_h264(frames: Tensor, crf: float) -> CodedClip:
    """Encode (K,3,H,W) uint8 frames by x264 at a constant rate factor in [1,51]."""
    options = {
        "crf": str(crf),
        "preset": "veryslow",
        # mbtree: with it, x264 in PyAV 18.1 wrote other bytes for the same frames in 36 of 282 trials. stitchable:
        # headers do not depend on the clip.
        "x264-params": f"mbtree=0:stitchable=1:keyint={len(frames)}:min-keyint={len(frames)}:scenecut=0",
    }
    head, packets = _encoded("libx264", frames, options)
    units = [unit for packet in packets for unit in _START_CODE.split(packet)[1:]]
    return CodedClip(head, b"".join(_H264_START + unit for unit in units if unit[0] & 31 != _SEI))


def encode_av1(frames: Tensor, crf: float) -> CodedClip:
    """Encode (K,3,H,W) uint8 frames by SVT-AV1 at a constant rate factor in [1,63]."""
    # The library prints to stderr at every log level of FFmpeg, and has no other switch.
    os.environ.setdefault("SVT_LOG", "0")
    # FFmpeg's own crf is rounded to an integer; the library takes quarters.
    options = {"preset": "4", "g": str(len(frames)), "svtav1-params": f"crf={crf}:lp=1:scd=0"}
    head, packets = _encoded("libsvtav1", frames, options)
    first = packets[0].removeprefix(_AV1_START).removeprefix(head)
    return CodedClip(_AV1_START + head, b"".join([_AV1_START + first, *packets[1:]]))


def encode_webp(frames: Tensor, quality: float) -> CodedClip:
    """Encode (K,3,H,W) uint8 frames as K WebP pictures of a quality in [0,100]."""
    from PIL import Image  # Only here and below: most sets hold no pictures.

    files = io.BytesIO()
    for picture in _pictures(frames):
        Image.fromarray(picture).save(files, format="WEBP", quality=int(quality), method=6)
    return CodedClip(b"", files.getvalue())


CODERS: dict[str, FrameCoder] = {
    "h264": FrameCoder("video", "stream", encode_h264, coarsest=51, finest=1, step=0.25, setting="crf"),
    "av1": FrameCoder("video", "stream", encode_av1, coarsest=63, finest=1, step=0.25, setting="crf"),
    "webp": FrameCoder("pictures", "pictures", encode_webp, coarsest=0, finest=100, step=1, setting="quality"),
}
"""Codecs by name."""


def joined(clips: Sequence[CodedClip]) -> Tensor:
    """Return the tensor (bytes,) uint8 of clips of one codec, setting and size, one after another."""
    head, bodies = clips[0].head, [clip.body for clip in clips]
    assert all(clip.head == head for clip in clips), "clips of one stream have one head"
    if head.startswith(_AV1_START):  # the sequence header comes after the first delimiter
        bodies[0] = bodies[0].removeprefix(_AV1_START)
    return torch.frombuffer(bytearray(head + b"".join(bodies)), dtype=torch.uint8)


def unpack_video(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the scaled latents (N,K,3,H,W) of `stream` (bytes,); raises `InputError`."""
    data, pictures = bytes_of("stream", tensors), _empty(shape)
    if not data.startswith((_H264_START, _AV1_START)):
        raise InputError("tensor stream is neither H.264 (Annex B) nor AV1 (OBUs); the file is damaged")
    height, width = shape[3:]
    count = 0
    try:
        for count, frame in enumerate(_decoded(data, _padded(height), _padded(width)), 1):
            if count <= len(pictures):
                pictures[count - 1] = frame[:height, :width]
    except av.error.FFmpegError as error:
        raise InputError(f"tensor stream cannot be decoded ({error.strerror}); the file is damaged") from error
    if count != len(pictures):
        raise InputError(f"tensor stream holds {count} frames; the set has {shape[0]} x {shape[1]}")
    return _latents(pictures, shape)


def unpack_pictures(tensors: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the scaled latents (N,K,3,H,W) of `pictures` (bytes,); raises `InputError`."""
    from PIL import Image, UnidentifiedImageError

    data, pictures = bytes_of("pictures", tensors), _empty(shape)
    files = list(_riff_files(data))
    if len(files) != len(pictures):
        raise InputError(f"tensor pictures holds {len(files)} pictures; the set has {shape[0]} x {shape[1]}")
    for number, file in enumerate(files):
        try:
            with Image.open(io.BytesIO(file), formats=["WEBP"]) as picture:
                _check_size("pictures", number, (picture.height, picture.width), pictures.shape[1:3])
                pictures[number] = np.asarray(picture.convert("RGB"))
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
            raise InputError(f"tensor pictures: picture {number} cannot be decoded; the file is damaged") from error
    return _latents(pictures, shape)


def _encoded(name: str, frames: Tensor, options: dict[str, str]) -> tuple[bytes, list[bytes]]:
    """Return the headers and the packets, in decoding order, of one clip."""
    pictures = _pictures(frames)
    _, height, width, _ = pictures.shape
    pad = ((0, 0), (0, _padded(height) - height), (0, _padded(width) - width), (0, 0))
    context = cast(VideoCodecContext, VideoCodecContext.create(name, "w"))
    context.height, context.width, context.pix_fmt = _padded(height), _padded(width), "yuv420p"
    context.time_base, context.framerate = Fraction(1, 8), Fraction(8)  # rate control asks for a rate; no reader does
    context.options, context.thread_count = options, 1
    context.flags |= Flags.bitexact | Flags.global_header | Flags.closed_gop
    context.open()
    reformatter = VideoReformatter()
    packets: list[bytes] = []
    for number, picture in enumerate(np.pad(pictures, pad, "edge")):
        frame = reformatter.reformat(
            av.VideoFrame.from_ndarray(picture, format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=_EXACT,
            threads=1,
        )
        frame.pts, frame.time_base = number, context.time_base
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    return bytes(context.extradata or b""), packets


def _decoded(data: bytes, height: int, width: int) -> Iterator[Pictures]:
    """Yield the frames (H,W,3) of a stream, whose size must be this one."""
    reformatter = VideoReformatter()
    kind = "h264" if data.startswith(_H264_START) else "obu"
    with av.open(io.BytesIO(data), "r", format=kind) as container:
        context = container.streams.video[0].codec_context
        context.thread_count, context.thread_type = 1, ThreadType.NONE
        context.options = {"err_detect": "explode"}  # else FFmpeg conceals the damage of H.264 frames
        for number, frame in enumerate(container.decode(video=0)):
            _check_size("stream", number, (frame.height, frame.width), (height, width))
            if frame.is_corrupt or frame.format.name != "yuv420p":
                raise InputError(f"tensor stream: frame {number} is no complete yuv420p frame; the file is damaged")
            rgb = reformatter.reformat(
                frame,
                format="rgb24",
                src_colorspace=Colorspace.ITU601,
                src_color_range=ColorRange.MPEG,
                dst_color_range=ColorRange.JPEG,
                interpolation=_EXACT,
                threads=1,
            )
            yield rgb.to_ndarray().astype(np.uint8, copy=False)


def _riff_files(data: bytes) -> Iterator[bytes]:
    """Yield each of the WebP files; RIFF counts from byte 8 and pads to even lengths."""
    start = 0
    while start < len(data):
        if data[start : start + 4] != b"RIFF" or data[start + 8 : start + 12] != b"WEBP":
            raise InputError(f"tensor pictures has no WebP picture at byte {start}; the file is damaged")
        length = 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        length += length % 2
        if start + length > len(data):
            raise InputError(f"tensor pictures ends within the picture at byte {start}; the file is damaged")
        yield data[start : start + length]
        start += length


def _empty(shape: tuple[int, ...]) -> Pictures:
    """Return pictures (N K,H,W,3) to fill."""
    num_items, keyframes, channels, height, width = shape
    if channels != 3:
        raise InputError(f"coded frames have 3 channels, but the set's codec has {channels}; it must be 'pixel'")
    return np.empty((num_items * keyframes, height, width, 3), dtype=np.uint8)


def _check_size(name: str, number: int, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise InputError(
            f"tensor {name}: frame {number} has {got[0]}x{got[1]} pixels; it must have {expected[0]}x{expected[1]}"
        )


def _padded(side: int) -> int:
    """Even, and the least that AV1 takes."""
    return max(4, 2 * math.ceil(side / 2))


def _pictures(frames: Tensor) -> Pictures:
    return np.ascontiguousarray(frames.cpu().numpy().transpose(0, 2, 3, 1))


def _latents(pictures: Pictures, shape: tuple[int, ...]) -> Tensor:
    """Scale as `PixelCodec` does; a test compares."""
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2).reshape(shape)
    return (frames.float() / 255 - 0.5) / 0.25
