"""Set files: opening one with its codec, and decoding one to pictures and videos."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.artifact import read_set
from videocompressa.codecs import Codec, build_codec
from videocompressa.errors import ArtifactError, InputError, check_known
from videocompressa.files import complete_folder, name_of
from videocompressa.run import Watch, watch_nothing
from videocompressa.students.labelers import with_network
from videocompressa.synthetic import SyntheticSet, items_of
from videocompressa.video import write_png, write_video

DEFAULT_FPS = 4.0
"""Frames a second of a decoded clip whose keyframes have no two times (our choice)."""


def open_set(path: str | Path, codec: str | Codec | None = None, labeler: str | None = None) -> SyntheticSet:
    """Return the synthetic set of a file, with its codec attached as `decoder`.

    Parameters
    ----------
    path:
        A `.safetensors` file that `videocompressa compress` wrote, or hf:USER/NAME[@REVISION] of the hub.
    codec:
        The codec, or its name; None takes the name in the file. Sets of a "diffusers:" or "tiny:" codec need it,
        because the file may name a folder of another machine, and so do those of a codec of one's own.
    labeler:
        The pretrained network, such as hf:FOLDER, of a labeler whose file holds its layer alone; without it, such a set
        opens, and its views have no labels.

    Raises
    ------
    ArtifactError
        When the file cannot be used, or belongs to another codec.
    """
    path = Path(path)
    synthetic = read_set(path)
    name = synthetic.codec.name
    if codec is None and ":" in name:
        raise InputError(
            f"{path}: was compressed with codec {name!r}; give its place, as codec {name.split(':')[0]}:FOLDER"
        )
    if labeler is not None and synthetic.labeler is not None:
        complete = with_network(synthetic.labeler, labeler, synthetic.classes, synthetic.clip)
        synthetic = dataclasses.replace(synthetic, labeler=complete)
    try:
        return dataclasses.replace(synthetic, decoder=build_codec(name if codec is None else codec))
    except InputError as error:
        raise ArtifactError(f"{path}: {error}") from error


def decode_set(
    synthetic: SyntheticSet, folder: Path, *, kind: str = "mp4", overwrite: bool = False, watch: Watch = watch_nothing
) -> int:
    """Write every item of a set (with its decoder) to `folder/CLASS/`, and return the number of files.

    "mp4" and "gif" hold the clip of T frames; "png" holds the K keyframes, named by their position. The folder
    appears under its name only when it is complete.
    """
    check_known("--format is", kind, WRITERS)
    num_files = 0
    with complete_folder(folder, overwrite=overwrite) as part:
        for item in range(len(synthetic)):
            one = items_of(synthetic, [item])
            place = part / name_of(one.classes[int(one.hard_labels)])
            place.mkdir(exist_ok=True)
            stem = name_of(Path(one.provenance.video_ids[0]).stem)
            num_files += WRITERS[kind](place / f"{item:04d}-{stem}", one)
            watch("decode set", done=item + 1, total=len(synthetic))
    return num_files


def _write_keyframes(stem: Path, one: SyntheticSet) -> int:
    frames = as_uint8(one.keyframes()[0])
    for position, frame in zip(one.positions[0].tolist(), frames, strict=True):
        write_png(stem.with_name(f"{stem.name}-frame{position:02d}.png"), frame)
    return len(frames)


def _write_clip(stem: Path, one: SyntheticSet, suffix: str) -> int:
    write_video(stem.with_name(stem.name + suffix), as_uint8(one.clips()[0]), frames_a_second(one))
    return 1


WRITERS: dict[str, Callable[[Path, SyntheticSet], int]] = {
    "png": _write_keyframes,
    "gif": partial(_write_clip, suffix=".gif"),
    "mp4": partial(_write_clip, suffix=".mp4"),
}
"""How a set of one item is written, by `--format`; each returns the number of files."""


def as_uint8(pixels: Tensor) -> Tensor:
    """Return pixels in [0,1] as 0 to 255; what is outside is cut."""
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8)


def frames_a_second(one: SyntheticSet) -> float:
    """Return the pace at which the clip lasts as long as its video, in [1,30], as far as its keyframes show."""
    steps = int(one.positions[0, -1] - one.positions[0, 0])
    seconds = float(one.times_seconds[0, -1] - one.times_seconds[0, 0])
    return min(30.0, max(1.0, steps / seconds)) if steps and seconds > 0 else DEFAULT_FPS
