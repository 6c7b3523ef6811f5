"""Frames at equal spans of a video's motion instead of its time, so that idle stretches take few of them.

The motion up to a frame is the sum of the changes before it; T frames are at the middles of T equal spans of the whole.
Motion-guided sampling (Zhi et al. 2021, "MGSampler", arXiv 2104.09952), whose changes are of pixels or features; here
they are mean absolute changes of 12 x 12 means, in which the noise of a camera is small (our choice). Needs no training
and no labels.
"""

import numpy as np
from numpy.typing import NDArray

MOST_SEEN = 64
"""Frames of a video, evenly over it, among which T are chosen, or 4T where that is more (our choice)."""
_SIDE = 12
# Change that counts in every frame, in 8-bit levels: a still video is read evenly.
_LEAST = 1e-3


def motion_positions(frames: NDArray[np.uint8], count: int) -> list[int]:
    """Return `count` >= 1 positions of frames (M,3,H,W), rising; evenly, with repeats, where M < `count`."""
    number = len(frames)
    if number < count:
        return [(2 * i + 1) * number // (2 * count) for i in range(count)]
    change = np.abs(np.diff([_coarse(frame) for frame in frames], axis=0)).mean((1, 2, 3)) + _LEAST
    motion = np.concatenate([[0.0], np.cumsum(change)])
    positions: list[int] = []
    for i in range(count):
        nearest = int(np.abs(motion - (i + 0.5) / count * motion[-1]).argmin())
        first = positions[-1] + 1 if positions else 0
        positions.append(min(max(nearest, first), number - count + i))
    return positions


def _coarse(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the means of at most 12 x 12 parts of a frame (3,H,W), in 8-bit levels."""
    height, width = frame.shape[1:]
    rows, columns = (np.unique(np.arange(_SIDE) * side // _SIDE) for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(frame.astype(np.float64), rows, 1), columns, 2)
    means: NDArray[np.float64] = sums / np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return means
