"""Time and memory of the encode pass, next to decoding alone, on the same files in the same run.

    python tools/bench_encode_pass.py DATA [--codec tiny] [--size 64] [--frames 8] [--workers 1] [--copies 1 2]
        [--engines local ray] [--ray-address ADDRESS]

DATA is a folder of labeled videos. Every measurement runs in a process of its own with an empty cache, so that peak
memory is its own. `--copies 2` reads every video twice (symbolic links): memory must not grow, time must double.
`--engines local ray` measures both; Ray's start is part of its seconds, its workers' memory is not in the table.
Prints a Markdown table for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videocompressa.datasets import VideoSet

STAGES = ("decode", "decode + encode")


def main() -> None:
    """Measure each stage at each number of copies, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--codec", default="tiny")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engines", choices=("local", "ray"), nargs="+", default=["local"])
    parser.add_argument("--ray-address")
    parser.add_argument("--measure", choices=STAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options, options.measure)))
        return
    print(f"{options.data.name}, {options.frames} frames at {options.size} px, codec {options.codec}, "
          f"{options.workers} decoding workers\n")  # fmt: skip
    print("| pass | clips | seconds | clips/s | against decoding | peak memory | of which before |")
    print("|---|---|---|---|---|---|---|")
    for copies in options.copies:
        decoding = 0.0
        for stage, engine in itertools.product(STAGES, options.engines):
            arguments = ["--copies", str(copies), "--engines", engine, "--measure", stage]
            arguments += ["--ray-address", options.ray_address] if options.ray_address else []
            arguments += [f"--{name}={getattr(options, name)}" for name in ("codec", "size", "frames", "workers")]
            command = [sys.executable, __file__, str(options.data), *arguments]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            rate = row["clips"] / row["seconds"]
            decoding = decoding or rate
            print(
                f"| {stage}, {engine} | {row['clips']} | {row['seconds']:.1f} | {rate:.1f} | {rate / decoding:.2f} "
                f"| {row['peak'] / 2**20:.0f} MiB | {row['before'] / 2**20:.0f} MiB |"
            )


def measure(options: argparse.Namespace, stage: str) -> dict[str, float]:
    """Run one pass with an empty cache and return clips, seconds and peak resident bytes of this process."""
    from videocompressa.clip import ClipSpec
    from videocompressa.codecs import build_codec
    from videocompressa.datasets import decode_split, encode_pass, find_videos
    from videocompressa.engine import peak_memory_bytes
    from videocompressa.engine_ray import RayCluster

    workers = RayCluster(options.workers, options.ray_address) if options.engines == ["ray"] else options.workers
    with tempfile.TemporaryDirectory() as folder:
        clip, cache = ClipSpec(options.frames, options.size, options.size), Path(folder) / "cache"
        videos = find_videos(options.data)
        if options.copies[0] > 1:
            videos = find_videos(_linked(videos.select("train"), options.copies[0], Path(folder) / "data"))
        codec = build_codec(options.codec)
        before, started = peak_memory_bytes(), time.perf_counter()
        if stage == "decode":
            clips = len(decode_split(videos, "train", clip, cache=cache, workers=workers))
        else:
            encoded = encode_pass(videos, "train", clip, codec, cache=cache, workers=workers)
            clips = len(encoded)
        seconds = time.perf_counter() - started
        return {"clips": clips, "seconds": seconds, "peak": peak_memory_bytes(), "before": before}


def _linked(videos: VideoSet, copies: int, folder: Path) -> Path:
    """Link every video `copies` times into a folder of class folders, and return the folder."""
    for entry in videos.entries:
        source = entry.source
        if not isinstance(source, Path):
            raise SystemExit(f"{source}: --copies links files; give a folder of video files")
        target = folder / videos.classes[entry.label]
        target.mkdir(parents=True, exist_ok=True)
        for number in range(copies):
            name = f"{entry.video_id.replace('/', '_')}-{number}{source.suffix}"
            os.symlink(source.resolve(), target / name)
    return folder


if __name__ == "__main__":
    main()
