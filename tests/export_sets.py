"""A set made of flat gray frames, so that each picture of an export identifies its frame and video."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numbered_videos import gray, write
from PIL import Image

from videocompressa.artifact import read_set
from videocompressa.cli.main import main
from videocompressa.vlm.export.formats import FORMATS

CLASSES = ("TableTennisShot", "brush_hair")
NAMES = ("table tennis shot", "brush hair")
FRAMES = 6
"""Frames of each source video; frame f of video v is flat gray of level 5 (6 v + f)."""
needs_datasets = pytest.mark.skipif(
    not (importlib.util.find_spec("datasets") and importlib.util.find_spec("pyarrow")),
    reason='needs datasets and pyarrow: pip install ".[vlm]"',
)


def formats_here(*names: str) -> list[Any]:
    """Return the formats, or all of keyframes, as test parameters; those whose packages are absent skip."""
    names = names or tuple(name for name, kind in FORMATS.items() if not kind.holds_clips)
    return [pytest.param(name, marks=needs_datasets if FORMATS[name].packages else ()) for name in names]


def draw_greys(root: Path) -> Path:
    """Write eight videos of 40x48 px, six of them to train on."""
    for number in range(8):
        pictures = [gray(5 * (FRAMES * number + frame), 40, 48) for frame in range(FRAMES)]
        split = "test" if number >= 6 else "train"
        write(root / split / CLASSES[number % 2] / f"{number}.mp4", pictures)
    return root


def compress_greys(videos: Path, folder: Path) -> Path:
    """Make a set of two videos a class, three keyframes each, 32 px."""
    arguments = ["compress", videos, "-o", folder / "set.safetensors", "--cache", folder / "cache", "--quiet"]
    arguments += ["--method", "random-real", "--codec", "linear", "--size", 32, "--frames", 4, "--keyframes", 3]
    assert main([str(part) for part in [*arguments, "--vpc", 2, "--workers", 0, "--device", "cpu"]]) == 0
    return folder / "set.safetensors"


def planted_levels(set_file: Path) -> list[list[int]]:
    """Return the gray level of each keyframe of each item in its source video."""
    synthetic = read_set(set_file)
    return [
        [5 * (FRAMES * int(Path(video).stem) + round(seconds / 0.04)) for seconds in times]
        for video, times in zip(synthetic.provenance.video_ids, synthetic.times_seconds.tolist(), strict=True)
    ]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the formats that are json."""
    if (folder / "train.jsonl").exists():
        return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return json.loads(
        next(folder / name for name in ("train.json", "annotations.json") if (folder / name).exists()).read_text()
    )


def level(picture: Path | Image.Image) -> int:
    """Return the mean gray level of a picture, to the nearest 5 that was drawn."""
    if isinstance(picture, Path):
        with Image.open(picture) as opened:
            return level(opened.copy())
    return 5 * round(float(np.asarray(picture).mean()) / 5)
