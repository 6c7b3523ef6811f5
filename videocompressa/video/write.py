"""Writing short clips as video or animation files, the same bytes each time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from videocompressa.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

WRITERS: dict[str, dict[str, Any]] = {
    ".mp4": {
        "codec": "libx264",
        "pix_fmt": "yuv420p",
        # With mbtree, x264 in PyAV 18.1 wrote other bytes for the same frames in 36 of 282 trials; without, in none.
        "options": {"crf": "16", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"},
    },
    ".gif": {"codec": "gif", "pix_fmt": "rgb8", "options": {}},
}
"""How each kind of file is written; `fflags=bitexact` keeps clock and version out."""
FINE = ("yuv444p", {"crf": "8"})
"""How a `fine` mp4 differs. At 48 px, yuv420p reaches 32 dB at any crf, because a color sample serves four pixels; this
reaches 46 dB, in 1.8 times the bytes of the usual mp4 (docs/log.md)."""


def write_video(path: Path, frames: Tensor, fps: float, *, fine: bool = False, crf: int | None = None) -> None:
    """Write (T,3,H,W) uint8 RGB frames; the suffix chooses the kind of file.

    Odd sides of an mp4 grow by one pixel, unless it is `fine`: nearly exact pixels, which some hardware cannot decode.
    `crf` (0 to 51, higher is coarser) is another rate factor than that of `WRITERS`; only for an mp4.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise InputError(f"cannot write {path.name!r} as a video; name it with one of: {', '.join(sorted(WRITERS))}")
    if frames.ndim != 4 or frames.shape[1] != 3 or len(frames) == 0 or str(frames.dtype) != "torch.uint8":
        raise InputError(f"frames for {path.name!r} are {frames.dtype} {tuple(frames.shape)}; give uint8 (T,3,H,W)")
    if not fps > 0:
        raise InputError(f"fps for {path.name!r} is {fps}; it must be above 0")
    pictures: NDArray[np.uint8] = np.ascontiguousarray(frames.cpu().numpy().transpose(0, 2, 3, 1))
    pixel_format, options = writer["pix_fmt"], writer["options"]
    if fine and path.suffix.lower() == ".mp4":
        pixel_format, options = FINE[0], options | FINE[1]
    if crf is not None:
        options = options | {"crf": str(crf)}
    if pixel_format == "yuv420p":
        # It holds one color sample for 2 x 2 pixels.
        pictures = np.pad(pictures, ((0, 0), (0, pictures.shape[1] % 2), (0, pictures.shape[2] % 2), (0, 0)), "edge")
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(writer["codec"], rate=rate, options=options)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_picture(path: Path, frame: NDArray[np.uint8], *, short_side: int | None = None) -> None:
    """Write one (3,H,W) uint8 RGB frame as .jpg (quality 95) or .png, shrunk to `short_side` pixels if it is larger."""
    from PIL import Image  # Only here: reading and writing video does not need it.

    kind = {".jpg": "JPEG", ".png": "PNG"}.get(path.suffix)
    if kind is None:
        raise InputError(f"cannot write {path.name!r} as a picture; name it with one of: .jpg, .png")
    picture = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    if short_side is not None and min(picture.size) > short_side:
        scale = short_side / min(picture.size)
        width, height = (max(short_side, round(scale * side)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    picture.save(path, format=kind, quality=95)


def write_png(path: Path, frame: Tensor) -> None:
    """Write one (3,H,W) uint8 RGB frame as .png."""
    if frame.ndim != 3 or frame.shape[0] != 3 or str(frame.dtype) != "torch.uint8":
        raise InputError(f"the picture for {path.name!r} is {frame.dtype} {tuple(frame.shape)}; give uint8 (3,H,W)")
    write_picture(path, frame.cpu().numpy())
