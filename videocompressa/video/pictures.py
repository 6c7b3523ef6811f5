"""A decoded frame as a small upright RGB picture of square pixels: resized to cover H x W and cut, or fitted into it.

Untagged color is read as BT.601. High dynamic range (PQ, HLG) is mapped to the standard one by swscale, which shows its
reference white as white (BT.2408) and what is brighter too. It makes a table of all colors for that, seconds of a
core, so such videos of equal sides and format share it.
"""

from __future__ import annotations

import time
from fractions import Fraction
from functools import lru_cache
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

# Full chroma: small pictures would lose half of their color columns. Bit-exact: the same bytes on every processor.
EXACT = (
    Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
)

LEAST_ASPECT, MOST_ASPECT = 1.02, 4
"""Pixels that are stated to be longer than the second are square, and their tag false; below the first, the tag is what
rounding left when the video was scaled (our choice)."""


class Resizer:
    """Turns a decoded frame into an upright (H,W,3) uint8 picture.

    `fit` is "crop" (resized to cover it, cut at the center), "pad" (resized to fit into it, between black bars) or
    "stretch" (both sides resized).
    """

    def __init__(self, height: int, width: int, aspect: Fraction, fit: str = "crop") -> None:
        self.height, self.width, self.aspect, self.fit = height, width, aspect, fit
        self.seconds = 0.0
        """That it has taken so far."""
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Resize, turn upright, cut or pad."""
        started = time.perf_counter()
        picture = self._picture(frame)
        self.seconds += time.perf_counter() - started
        return picture

    def _picture(self, frame: VideoFrame) -> NDArray[np.uint8]:
        transposed, flip_x, flip_y = _orientation(frame)
        upright = upright_sides(frame, self.aspect)
        scales = self.height / upright[0], self.width / upright[1]
        scale = max(scales) if self.fit == "crop" else min(scales)
        height, width = (max(1, round(scale * side)) for side in upright)
        if self.fit == "crop":
            height, width = max(self.height, height), max(self.width, width)
        elif self.fit == "stretch":
            height, width = self.height, self.width
        wide = frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
        sides = (width, height) if transposed else (height, width)
        reformatter = _tone_mapper(frame.format.name, frame.height, frame.width, *sides) if wide else self._reformatter
        small = reformatter.reformat(
            frame,
            height=sides[0],
            width=sides[1],
            format="rgb24",
            # Area averages what it shrinks; bicubic is sharper where the picture grows.
            interpolation=EXACT | (Interpolation.AREA if scale < 1 else Interpolation.BICUBIC),
            dst_color_trc=ColorTrc.BT709 if wide else None,
            dst_color_primaries=ColorPrimaries.BT709 if wide else None,
            threads=1,
        )
        picture = small.to_ndarray()
        if transposed:
            picture = picture.transpose(1, 0, 2)
        picture = picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        top, left = abs(height - self.height) // 2, abs(width - self.width) // 2
        if self.fit == "pad":
            padded = np.zeros((self.height, self.width, 3), np.uint8)
            padded[top : top + height, left : left + width] = picture
            return padded
        return np.array(picture[top : top + self.height, left : left + self.width], dtype=np.uint8)


@lru_cache(maxsize=4)  # Upright and sideways videos of two cameras; each holds a source picture of 8 bytes a pixel.
def _tone_mapper(pixel_format: str, *sides: int) -> VideoReformatter:
    """Return the reformatter of videos alike, which keeps its table of colors until their color tags change."""
    return VideoReformatter()


def upright_sides(frame: VideoFrame, aspect: Fraction) -> tuple[int, int]:
    """Return height and width of a frame when it is upright and its pixels are square, of its own height."""
    height, width = frame.height, max(1, round(frame.width * aspect))
    return (width, height) if _orientation(frame)[0] else (height, width)


def aspect_of(stream: VideoStream) -> Fraction:
    """Return width / height of a pixel as displayed; 1 where it states none, or none that is credible."""
    stated = stream.sample_aspect_ratio or Fraction(1)
    return stated if LEAST_ASPECT <= max(stated, 1 / stated) <= MOST_ASPECT else Fraction(1)


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Return how a frame becomes upright: transposed first, then mirrored left-right, then mirrored top-bottom."""
    # [[a,b],[c,d]] (ISO/IEC 14496-12, 6.2.2): x' = a x + c y, y' = b x + d y, y down; the nearest quarter turn counts.
    matrix = cast(SideData | None, frame.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix)[:20], "<i4").tolist()
    transposed = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if transposed else (False, a < 0, d < 0)
