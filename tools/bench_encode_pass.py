"""Time and memory of decoding, of what `compress` encodes by default, and of encoding all, on the same files.

    python tools/bench_encode_pass.py DATA [--codec tiny] [--size 64] [--frames 8] [--workers 1] [--copies 1 2 4 8]
        [--engines local ray] [--ray-address ADDRESS]
    python tools/bench_encode_pass.py --like-kinetics [CLIPS] [the same options]
    python tools/bench_encode_pass.py --long-video [SECONDS]

DATA is a folder of labeled videos. Every measurement runs in a process of its own with an empty cache, so that peak
memory is its own. `--copies 1 2` also reads every video twice (symbolic links): memory must not grow, time must double;
the last line states by how much they miss that. `--long-video` reads one generated video of 1080p, of two hours by
default, and a tenth of it. `--like-kinetics` generates clips as copies of Kinetics have them: 10 s of 340x256, 25
frames a second, H.264 of crf 23 with a keyframe every 250 frames, so that nearly all of a clip is decoded.
CPU seconds are those of this process and its workers, which count on a machine that is busy otherwise. `--engines local
ray` measures both; Ray's start is part of its seconds, its workers' memory and CPU time are not in the table.
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

KEPT_PER_CLASS = 3
"""Videos of each class that `compress` keeps by default."""
STAGES = ("decode", f"decode + encode {KEPT_PER_CLASS} a class", "decode + encode all")


def main() -> None:
    """Measure what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--long-video", type=int, nargs="?", const=7200, metavar="SECONDS")
    parser.add_argument("--like-kinetics", type=int, nargs="?", const=24, metavar="CLIPS")
    parser.add_argument("--codec", default="tiny")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engines", choices=("local", "ray"), nargs="+", default=["local"])
    parser.add_argument("--ray-address")
    parser.add_argument("--measure", choices=STAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
    if options.measure:
        print(json.dumps(measure(options, options.measure)))
        return
    if options.long_video:
        measure_long(options)
        return
    if options.like_kinetics:
        with tempfile.TemporaryDirectory() as folder:
            options.data = Path(folder) / "like-kinetics"
            num_bytes = write_like_kinetics(options.data, options.like_kinetics)
            print(f"{options.like_kinetics} clips of {num_bytes / options.like_kinetics / 1e3:.0f} kB")
            measure_passes(options)
        return
    if options.data is None:
        parser.error("give DATA, --like-kinetics or --long-video")
    measure_passes(options)


def measure_passes(options: argparse.Namespace) -> None:
    """Measure each stage at each number of copies, each in a process of its own, and print the table."""
    print(f"{options.data.name}, {options.frames} frames at {options.size} px, codec {options.codec}, "
          f"{options.workers} decoding workers\n")  # fmt: skip
    print("| pass | clips | seconds | CPU seconds | clips/s | against decoding | peak memory | of which before |")
    print("|---|---|---|---|---|---|---|---|")
    passes: dict[tuple[str, str], list[dict[str, float]]] = {}
    for copies in options.copies:
        decoding = 0.0
        for stage, engine in itertools.product(STAGES, options.engines):
            arguments = ["--copies", str(copies), "--engines", engine, "--measure", stage]
            arguments += ["--ray-address", options.ray_address] if options.ray_address else []
            row = alone(options, options.data, *arguments)
            passes.setdefault((stage, engine), []).append(row)
            rate = row["clips"] / row["seconds"]
            decoding = decoding or rate
            print(
                f"| {stage}, {engine} | {row['clips']} | {row['seconds']:.1f} | {row['cpu']:.1f} | {rate:.1f} "
                f"| {rate / decoding:.2f} "
                f"| {row['peak'] / 2**20:.0f} MiB | {row['before'] / 2**20:.0f} MiB |",
                flush=True,
            )
    if len(options.copies) > 1:
        print()
    for (stage, engine), rows in passes.items():
        if len(rows) > 1:
            print(f"{stage}, {engine}: {deviations(rows)}")


def deviations(rows: list[dict[str, float]]) -> str:
    """Say how far seconds are from linear in the clips, and memory from constant, over passes of more clips."""
    slope = (rows[-1]["seconds"] - rows[0]["seconds"]) / (rows[-1]["clips"] - rows[0]["clips"])
    start = rows[0]["seconds"] - slope * rows[0]["clips"]
    straight = max(abs(row["seconds"] / (start + slope * row["clips"]) - 1) for row in rows)
    doubled = rows[-1]["seconds"] / rows[0]["seconds"] / (rows[-1]["clips"] / rows[0]["clips"])
    memory = rows[-1]["peak"] / rows[0]["peak"] - 1
    return (
        f"the last pass took {doubled:.2f} times its share of the first's seconds (a fixed {start:.1f} s included), "
        f"those between are within {100 * straight:.0f} % of the line, and its memory is {100 * memory:+.1f} %"
    )


def alone(options: argparse.Namespace, data: Path, *arguments: str) -> dict[str, float]:
    """Measure one pass in a process of its own."""
    shared = [f"--{name}={getattr(options, name)}" for name in ("codec", "size", "frames", "workers")]
    command = [sys.executable, __file__, str(data), *arguments, *shared]
    row: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return row


def measure_long(options: argparse.Namespace) -> None:
    """Measure the pass over one long video, and over one of a tenth of its length, in one process."""
    options.workers = 0
    print("| video | bytes | seconds | peak memory | of which before |\n|---|---|---|---|---|")
    for seconds in (options.long_video // 10, options.long_video):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data/a/long.mp4"
            path.parent.mkdir(parents=True)
            write_long(path, seconds)
            other = path.parents[1] / "b/short.mp4"  # a set has two classes
            other.parent.mkdir()
            write_long(other, 1)
            row = alone(options, path.parents[1], "--copies", "1", "--measure", STAGES[1])
            print(
                f"| {seconds / 3600:g} h of 1080p | {path.stat().st_size / 1e6:.0f} MB | {row['seconds']:.2f} "
                f"| {row['peak'] / 2**20:.0f} MiB | {row['before'] / 2**20:.0f} MiB |",
                flush=True,
            )


def write_long(path: Path, seconds: int) -> None:
    """Write a moving picture of 1080p, 25 frames a second: ten seconds are encoded, and repeated as they are."""
    import av
    import numpy as np

    rate, period = 25, 250
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "30", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 1920, 1080, "yuv420p", period
        packets = []
        for number in range(period):
            picture = np.full((1080, 1920, 3), 60, np.uint8)
            picture[400:600, 6 * number : 6 * number + 200] = 200
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            packets += stream.encode(frame)
        packets += stream.encode(None)
        data = [(bytes(packet), packet.is_keyframe, packet.time_base) for packet in packets]
        for number in range(seconds * rate):
            content, is_keyframe, time_base = data[number % period]
            packet = av.Packet(content)
            packet.stream, packet.time_base, packet.is_keyframe = stream, time_base, is_keyframe
            packet.pts = packet.dts = round(number / rate / time_base)
            container.mux(packet)


def write_like_kinetics(folder: Path, count: int) -> int:
    """Write clips of two classes, in which a camera pans over a texture and another one moves; return their bytes."""
    import av
    import numpy as np

    rate, height, width, options = 25, 256, 340, {"crf": "23", "g": "250", "threads": "1"}
    paths = [folder / f"{'ab'[number % 2]}/{number}.mp4" for number in range(count)]
    for seed, path in enumerate(paths):
        random = np.random.default_rng(seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(30, 220, (64, 96, 3), np.uint8)
        texture = av.VideoFrame.from_ndarray(coarse, "rgb24").reformat(3 * width, 3 * height).to_ndarray()
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(10 * rate):
                angle = 2 * np.pi * number / (10 * rate)
                top, left = int(height * (1 + np.sin(angle))), int(width * (1 + np.cos(angle)))
                picture = texture[top : top + height, left : left + width].astype(np.int16)
                picture[60:180, number : number + 80] = texture[:120, :80]
                picture += random.normal(0, 4, picture.shape).astype(np.int16)  # the grain of a camera
                frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return sum(path.stat().st_size for path in paths)


def measure(options: argparse.Namespace, stage: str) -> dict[str, float]:
    """Run one pass with an empty cache and return clips, seconds, CPU seconds and peak resident bytes."""
    import torch

    from videocompressa.clip import ClipSpec
    from videocompressa.codecs import build_codec
    from videocompressa.datasets import decode_split, encode_pass, find_videos
    from videocompressa.engine import peak_memory_bytes
    from videocompressa.engine_ray import RayCluster
    from videocompressa.methods.config import random_of_each_class

    workers = RayCluster(options.workers, options.ray_address) if options.engines == ["ray"] else options.workers
    with tempfile.TemporaryDirectory() as folder:
        clip, cache = ClipSpec(options.frames, options.size, options.size), Path(folder) / "cache"
        videos = find_videos(options.data)
        if options.copies[0] > 1:
            videos = find_videos(_linked(videos.select("train"), options.copies[0], Path(folder) / "data"))
        codec = build_codec(options.codec)
        before, cpu, started = peak_memory_bytes(), sum(os.times()[:4]), time.perf_counter()
        if stage == "decode":
            clips = len(decode_split(videos, "train", clip, cache=cache, workers=workers))
        else:
            encode_all = stage == STAGES[2]
            data = encode_pass(videos, "train", clip, codec, cache=cache, workers=workers, encode_all=encode_all)
            data.latents[random_of_each_class(data.labels, KEPT_PER_CLASS, torch.Generator())]
            clips = len(data)
        seconds = time.perf_counter() - started
        cpu = sum(os.times()[:4]) - cpu
        return {"clips": clips, "seconds": seconds, "cpu": cpu, "peak": peak_memory_bytes(), "before": before}


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
