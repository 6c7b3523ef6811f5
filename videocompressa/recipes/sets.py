"""Set files: opening one with its codec, and decoding one to files that a person can look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.artifact import read_set
from videocompressa.codecs import build_codec
from videocompressa.errors import ArtifactError, InputError
from videocompressa.files import whole_folder
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.video import write_png, write_video

DEFAULT_FPS = 4.0
"""Frames a second of a decoded clip whose keyframes tell no time (our choice)."""


def open_set(path: str | Path, codec: str | None = None) -> SyntheticSet:
    """Return the synthetic set of a file, with its codec attached as `decoder`.

    Parameters
    ----------
    path:
        A `.safetensors` file that `videocompressa compress` wrote.
    codec:
        Where the codec is found; None takes the name in the file. Sets of a "diffusers:" or "tiny:" codec need it:
        the folder of another machine says nothing.

    Raises
    ------
    ArtifactError
        When the file cannot be used, or was made with another codec.
    """
    path = Path(path)
    synthetic = read_set(path)
    name = synthetic.codec.name
    if codec is None and ":" in name:
        raise InputError(f"{path}: was made with codec {name!r}; say where it is, as codec {name.split(':')[0]}:FOLDER")
    try:
        return dataclasses.replace(synthetic, decoder=build_codec(name if codec is None else codec))
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error


def decode_set(
    synthetic: SyntheticSet,
    folder: Path,
    *,
    kind: str = "mp4",
    overwrite: bool = False,
    watch: Watch = watch_nothing,
) -> int:
    """Write every item of a set (with its decoder) to `folder/CLASS/`, and return the number of files.

    "mp4" and "gif" hold the whole clip of T frames; "png" holds the K keyframes, named by their position. The folder
    appears under its name only when it is whole.
    """
    if kind not in WRITERS:
        raise InputError(f"--format is {kind!r}; known: {', '.join(WRITERS)}")
    num_files = 0
    with whole_folder(folder, overwrite=overwrite) as part:
        for item in range(len(synthetic)):
            stem = _stem(synthetic, item)
            (part / stem).parent.mkdir(parents=True, exist_ok=True)
            num_files += WRITERS[kind](part / stem, synthetic, item)
            watch("decode set", done=item + 1, total=len(synthetic))
    return num_files


def _stem(synthetic: SyntheticSet, item: int) -> Path:
    name = synthetic.classes[int(synthetic.hard_labels[item])].replace("/", "_")
    return Path(name) / f"{item:04d}-{Path(synthetic.provenance.video_ids[item]).stem}"


def _write_keyframes(stem: Path, synthetic: SyntheticSet, item: int) -> int:
    frames = _as_uint8(_only(synthetic, item).keyframes()[0])
    for position, frame in zip(synthetic.positions[item].tolist(), frames, strict=True):
        write_png(stem.with_name(f"{stem.name}-frame{position:02d}.png"), frame)
    return len(frames)


def _write_clip(suffix: str) -> Callable[[Path, SyntheticSet, int], int]:
    def write(stem: Path, synthetic: SyntheticSet, item: int) -> int:
        frames = _as_uint8(_only(synthetic, item).clips()[0])
        write_video(stem.with_name(stem.name + suffix), frames, _frames_a_second(synthetic, item))
        return 1

    return write


WRITERS: dict[str, Callable[[Path, SyntheticSet, int], int]] = {
    "png": _write_keyframes,
    "gif": _write_clip(".gif"),
    "mp4": _write_clip(".mp4"),
}
"""How an item is written, by `--format`; each returns the number of files."""


def _only(synthetic: SyntheticSet, item: int) -> SyntheticSet:
    """Return the set of one item, so that memory does not grow with the set."""
    rows = slice(item, item + 1)
    return dataclasses.replace(
        synthetic,
        latents=synthetic.latents[rows],
        positions=synthetic.positions[rows],
        times_seconds=synthetic.times_seconds[rows],
        labels=synthetic.labels[rows],
        provenance=dataclasses.replace(synthetic.provenance, video_ids=synthetic.provenance.video_ids[rows]),
        packing="dense",
        packed={},
    )


def _as_uint8(pixels: Tensor) -> Tensor:
    return (pixels * 255).round().to(torch.uint8)


def _frames_a_second(synthetic: SyntheticSet, item: int) -> float:
    """Return the pace at which the clip lasts as long as its video, in [1,30], as far as its keyframes tell."""
    steps = int(synthetic.positions[item, -1] - synthetic.positions[item, 0])
    seconds = float(synthetic.times_seconds[item, -1] - synthetic.times_seconds[item, 0])
    return min(30.0, max(1.0, steps / seconds)) if steps and seconds > 0 else DEFAULT_FPS
