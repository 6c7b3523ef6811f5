"""Clips a second and bytes on disk: the encode pass beside what people do today, on the same clips in the same run.

    python tools/bench_readers.py DATA [--size 112] [--frames 8] [--workers 2] [--only NAME ...]

Each way gives T evenly spaced frames of every training video as uint8 pictures of `--size`, cut at the center:

- DataLoader + PyAV, DataLoader + OpenCV: a worker decodes a video from its start and keeps T frames, as most training
  scripts do; every epoch again.
- JPEG: all frames are written as pictures of their own size first (quality 95, "once"), of which a DataLoader reads T
  of each video every epoch.
- encode pass: videocompressa's, cold ("once": decoded, encoded and written), and from its cache ("an epoch": all frames
  are read).

Every measurement is a process of its own. OpenCV is left out where it is not installed (opencv-python-headless, in an
environment of your own). Prints a Markdown table for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from videocompressa.clip import ClipSpec
from videocompressa.codecs import build_codec
from videocompressa.datasets import encode_pass, find_videos

Picture = NDArray[np.uint8]
QUALITY = 95


def main() -> None:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--codec", default="ycbcr")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--alone", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(WAYS[options.alone](options, Path(folder))))
        return
    print(f"{options.data.name}, {options.frames} frames at {options.size} px, {options.workers} workers\n")
    print("| way | clips | once: clips/s | an epoch: clips/s | bytes on disk |\n|---|---|---|---|---|")
    for way in options.only:
        if way == "DataLoader + OpenCV" and importlib.util.find_spec("cv2") is None:
            print(f"| {way} | not installed | | | |")
            continue
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--alone", way], check=True, stdout=subprocess.PIPE
        )
        row = json.loads(done.stdout)
        rates = [f"{row['clips'] / seconds:.1f}" if (seconds := row.get(key)) else "" for key in ("once", "epoch")]
        print(f"| {way} | {row['clips']} | {' | '.join(rates)} | {row['bytes'] / 1e6:.1f} MB |", flush=True)


def with_pyav(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Decode by PyAV at every access."""
    return epoch_of(Decoded(paths_of(options), options, pyav_frames), options, bytes_of(paths_of(options)))


def with_opencv(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Decode by OpenCV at every access."""
    return epoch_of(Decoded(paths_of(options), options, opencv_frames), options, bytes_of(paths_of(options)))


def with_jpeg(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Write all frames as JPEG, then read T of each video."""
    paths, started = paths_of(options), time.perf_counter()
    folders = [folder / f"{number:06d}" for number in range(len(paths))]
    extracted = DataLoader(Extracted(list(zip(paths, folders, strict=True))), None, num_workers=options.workers)
    assert sum(int(count) for count in extracted) > 0
    once = time.perf_counter() - started
    num_bytes = bytes_of([path for each in folders for path in each.iterdir()])
    return {"once": once, **epoch_of(Decoded(folders, options, jpeg_frames), options, num_bytes)}


def with_encode_pass(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Run the encode pass, then read all that it keeps."""
    clip = ClipSpec(options.frames, options.size, options.size)
    videos, codec = find_videos(options.data), build_codec(options.codec)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        encoded = encode_pass(videos, "train", clip, codec, cache=folder, workers=options.workers, encode_all=True)
        assert sum(int(batch.sum()) for batch in torch.split(encoded.frames, 64)) > 0
        seconds.append(time.perf_counter() - started)
    num_bytes = bytes_of([path for path in folder.rglob("*") if path.is_file()])
    return {"clips": len(encoded), "once": seconds[0], "epoch": seconds[1], "bytes": num_bytes}


class Decoded(Dataset[Tensor]):
    """T frames (T,H,W,3) uint8 of each video, read at every access."""

    def __init__(
        self, paths: list[Path], options: argparse.Namespace, frames_of: Callable[[Path], list[Picture]]
    ) -> None:
        self.paths, self.options, self.frames_of = paths, options, frames_of

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Tensor:
        """Return one clip."""
        return torch.from_numpy(cut_clip(self.frames_of(self.paths[row]), self.options.frames, self.options.size))


class Extracted(Dataset[int]):
    """Writes all frames of a video as JPEG at an access, and gives their number."""

    def __init__(self, jobs: list[tuple[Path, Path]]) -> None:
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, row: int) -> int:
        """Extract one video."""
        path, folder = self.jobs[row]
        folder.mkdir()
        frames = pyav_frames(path)
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / f"{number:06d}.jpg", quality=QUALITY)
        return len(frames)


def pyav_frames(path: Path) -> list[Picture]:
    """Return all frames (H,W,3) of a video."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"  # the workers are the threads
        return [frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in container.decode(video=0)]


def opencv_frames(path: Path) -> list[Picture]:
    """Return all frames (H,W,3) of a video."""
    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(0)
    capture = cv2.VideoCapture(str(path))
    frames: list[Picture] = []
    while True:
        good, frame = capture.read()
        if not good:
            capture.release()
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


class _Pictures(list[Picture]):
    """Pictures of a folder that are opened when they are taken."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.paths = sorted(folder.iterdir())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: Any) -> Any:
        """Return one picture."""
        return np.asarray(Image.open(self.paths[position]))


def jpeg_frames(folder: Path) -> list[Picture]:
    """Return the pictures of a folder."""
    return _Pictures(folder)


def cut_clip(frames: list[Picture], count: int, size: int) -> Picture:
    """Return (T,size,size,3): evenly spaced frames, the short side resized, the center cut out."""
    clip = []
    for place in range(count):
        picture = Image.fromarray(frames[(2 * place + 1) * len(frames) // (2 * count)])
        scale = size / min(picture.size)
        picture = picture.resize((max(size, round(scale * picture.width)), max(size, round(scale * picture.height))))
        left, top = (picture.width - size) // 2, (picture.height - size) // 2
        clip.append(np.asarray(picture.crop((left, top, left + size, top + size))))
    return np.stack(clip)


def epoch_of(dataset: Decoded, options: argparse.Namespace, num_bytes: int) -> dict[str, float]:
    """Return clips, the seconds of one epoch of a DataLoader, its workers' start included, and these bytes."""
    started = time.perf_counter()
    clips = sum(len(batch) for batch in DataLoader(dataset, 16, num_workers=options.workers))
    return {"clips": clips, "epoch": time.perf_counter() - started, "bytes": num_bytes}


def paths_of(options: argparse.Namespace) -> list[Path]:
    """Return the training videos."""
    sources = [entry.source for entry in find_videos(options.data).select("train").entries]
    paths = [source for source in sources if isinstance(source, Path)]
    if len(paths) < len(sources):
        raise SystemExit(f"{options.data}: give a folder of video files")
    return paths


def bytes_of(paths: list[Path]) -> int:
    """Return the bytes of some files."""
    return sum(path.stat().st_size for path in paths)


WAYS: dict[str, Callable[[argparse.Namespace, Path], dict[str, float]]] = {
    "DataLoader + PyAV": with_pyav,
    "DataLoader + OpenCV": with_opencv,
    "JPEG": with_jpeg,
    "encode pass": with_encode_pass,
}
"""By name."""


if __name__ == "__main__":
    main()
