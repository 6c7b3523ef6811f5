"""Measure codecs on frames of videos outside TinyCodec's training; prints the table of `weights/tiny_codec.md`.

    python tools/measure_codecs.py --data SHARED_DATA [--taesd taesd.embd] [--clips 80]

Each cell is the mean PSNR over frames / the PSNR of the mean squared error, in dB, pixels clamped to [0,1]. "PCA 8" is
a `LinearCodec` of 8 numbers a block fitted on the very frames it is measured on; "8-bit" rounds the latents of each
frame and channel to 255 levels, as the file does.
"""

import argparse
import csv
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videocompressa.codecs import Codec, LinearCodec, build_codec
from videocompressa.codecs.diffusers import DiffusersCodec
from videocompressa.codecs.linear import BlockPCA
from videocompressa.video import read_frames

FRAMES_PER_CLIP = 4


def unseen_videos(data: Path, clips: int) -> Iterator[tuple[str, list[Path]]]:
    """Yield names and videos: sets without any training picture, and the held-out groups of the others."""
    for name in ("basketball5", "lip_words", "fluent16", "fights"):
        with (data / name / "splits.csv").open(newline="") as file:
            trained_on = name in ("fluent16", "fights")
            rows = [row["path"] for row in csv.DictReader(file) if row["split"] == "test" or not trained_on]
        yield name, [data / name / path for path in random.Random(0).sample(rows, min(clips, len(rows)))]
    yield "pancake", [data / "odd" / "decord-flipping_a_pancake.mkv"]


def eight_bit(latents: Tensor) -> Tensor:
    """Round latents (M,C,h,w) to 255 levels between minus and plus the largest of each frame and channel."""
    step = latents.abs().amax((2, 3), keepdim=True).clamp(min=1e-8) / 127
    return (latents / step).round() * step


def decibels(codec: Codec, frames: Tensor, *, stored: bool = False) -> tuple[float, float]:
    """Return the mean PSNR over frames (M,3,H,W) uint8, and the PSNR of the mean squared error, of a round trip."""
    errors = []
    for part in torch.split(frames, 32):
        latents = codec.encode(part)
        pixels = codec.decode(eight_bit(latents) if stored else latents).clamp(0, 1)
        errors.append((pixels - part.float() / 255).square().mean((1, 2, 3)))
    error = torch.cat(errors).clamp(min=1e-10)
    return float(-10 * error.log10().mean()), float(-10 * error.mean().log10())


def main() -> None:
    """Print one row a set and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the video sets")
    parser.add_argument("--codec", default="tiny", help="codec to measure")
    parser.add_argument("--taesd", default="", help="weights of TAESD, to compare with")
    parser.add_argument("--clips", type=int, default=80, help="videos a set")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 112, 128])
    args = parser.parse_args()
    codec, linear = build_codec(args.codec), build_codec("linear")
    taesd = DiffusersCodec(args.taesd) if args.taesd else None
    print(f"weights {codec.spec.weights_sha256[:12]}")
    print("| set | px | frames | PCA 8, same frames | linear | TAESD, 4 | tiny, 8 | tiny, 8-bit | tiny - PCA 8 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, videos in unseen_videos(args.data, args.clips):
        count = FRAMES_PER_CLIP if len(videos) > 1 else 160
        for size in args.sizes:
            frames = torch.from_numpy(np.concatenate([read_frames(path, count, size, size).frames for path in videos]))
            fitted, own = decibels(LinearCodec(BlockPCA.fit(frames)), frames), decibels(codec, frames)
            others = [decibels(linear, frames), decibels(taesd, frames) if taesd else None, own]
            cells = [fitted, *others, decibels(codec, frames, stored=True)]
            texts = ["-" if cell is None else f"{cell[0]:.2f} / {cell[1]:.2f}" for cell in cells]
            gains = f"{own[0] - fitted[0]:+.2f} / {own[1] - fitted[1]:+.2f}"
            print(f"| {name} | {size} | {len(frames)} | {' | '.join(texts)} | {gains} |", flush=True)


if __name__ == "__main__":
    main()
