"""Put each video of a set into a longer one that is idle before and after it, to measure how frames are chosen.

python tools/idle_videos.py DATA FOLDER [--factor 3]

Writes FOLDER/SPLIT/CLASS/VIDEO.mp4 at 24 frames a second. The first frame is held before the video and the last one
after it, for a share of the idle time that is drawn for each video; all frames have noise of a camera (2 levels of
each pixel, 1 of the picture).
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from videocompressa.datasets import find_videos
from videocompressa.video import probe, read_frames, write_video


def idle_around(frames: NDArray[np.uint8], factor: float, draws: np.random.Generator) -> NDArray[np.uint8]:
    """Return `factor` >= 1 times as many frames as (F,3,H,W), with idle ones before and after."""
    idle = round((factor - 1) * len(frames))
    before = int(draws.integers(0, idle + 1))
    held = np.pad(frames, ((before, idle - before), (0, 0), (0, 0), (0, 0)), "edge")
    noise = draws.normal(0, 2, (len(held), 1, *held.shape[2:])) + draws.normal(0, 1, (len(held), 1, 1, 1))
    return (held + noise).round().clip(0, 255).astype(np.uint8)


def write_idle(data: Path, folder: Path, factor: float) -> None:
    """Write the videos of a set with idle stretches."""
    videos = find_videos(data)
    for entry in videos.entries:
        info = probe(entry.source)
        frames = read_frames(entry.source, info.num_frames, info.height, info.width).frames
        draws = np.random.default_rng(list(hashlib.sha256(entry.video_id.encode()).digest()))
        path = folder / entry.split / videos.classes[entry.label] / f"{Path(entry.video_id).stem}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, torch.from_numpy(idle_around(frames, factor, draws)), fps=24)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Put each video of a set into a longer one that is mostly idle.")
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--factor", type=float, default=3.0)
    arguments = parser.parse_args()
    write_idle(arguments.data, arguments.folder, arguments.factor)
