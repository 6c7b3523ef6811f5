"""Exporting a set file for the trainers of video-language models, and checking an exported folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videocompressa.artifact import read_set
from videocompressa.datasets import BadVideo
from videocompressa.errors import InputError
from videocompressa.files import check_folder, whole_folder
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.vlm.export.checks import Fault, check_export
from videocompressa.vlm.export.formats import find_format, write_export, write_manifest
from videocompressa.vlm.export.items import Item, ItemStream, decoded_pictures, source_pictures
from videocompressa.vlm.export.tables import check_packages
from videocompressa.vlm.names import readable_names
from videocompressa.vlm.questions import check_questions
from videocompressa.vlm.tune.shown import changed_pictures

__all__ = ["Exported", "Fault", "check_export", "export_set"]


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    folder: Path
    to: str
    num_items: int
    num_rows: int
    skipped: tuple[BadVideo, ...]
    """Items whose source video could not be read."""
    names: dict[str, str]
    """Each class in words."""
    notes: tuple[str, ...]
    next_steps: tuple[str, ...]
    """What to do with the folder; the last is a command."""


def export_set(
    path: Path,
    folder: Path,
    *,
    to: str,
    from_source: Path | None = None,
    names: Path | None = None,
    questions: str = "open",
    seed: int = 0,
    codec: str | None = None,
    overwrite: bool = False,
    watch: Watch = watch_nothing,
) -> Exported:
    """Write the keyframes of a set file as a folder that a trainer reads; it appears only when it is whole.

    Parameters
    ----------
    path:
        The set file.
    folder:
        The folder to make.
    to:
        A key of `vlm.formats.FORMATS`.
    from_source:
        Root of the data set: pictures are read from the videos at their own size. None decodes the latents.
    names:
        A json of {class: words}; None makes words of the class names.
    questions:
        A key of `vlm.questions.QUESTIONS`.
    seed:
        Draws the questions.
    codec:
        Where the set's codec is, when the file does not say it.
    overwrite:
        Replace the folder.
    watch:
        Told of each item.

    Raises
    ------
    InputError
        When an option cannot be followed, or no item could be read.
    """
    kind = find_format(to)
    check_packages(kind.packages, f"--to {to}")
    check_folder(folder, overwrite=overwrite)
    _keep_inputs(folder, path, from_source)
    # The codec is needed only where latents are decoded.
    synthetic = open_set(path, codec) if from_source is None else read_set(path)
    words = readable_names(synthetic.classes, names)
    check_questions(questions, len(words))
    pictures = decoded_pictures(synthetic) if from_source is None else source_pictures(synthetic, from_source)
    items = ItemStream(
        synthetic,
        pictures,
        kind.shape,
        names=words,
        questions=questions,
        streams=Streams(seed).child("questions"),
    )
    facts = {
        "format": to,
        **_facts(synthetic, words),
        "pixels": "latents" if from_source is None else "source",
        "questions": questions,
        "seed": seed,
    }
    with whole_folder(folder, overwrite=overwrite) as part:
        num_rows = write_export(to, part, _watched(items, len(synthetic), watch), facts)
        num_items = len(synthetic) - len(items.skipped)
        if num_items == 0:
            first = items.skipped[0]
            raise InputError(
                f"--from-source {from_source}: none of the {len(synthetic)} videos of {path} can be read there "
                f"({first.video_id}: {first.reason}); give the folder that was compressed, or leave the option out"
            )
        skipped = [{"video": video.video_id, "reason": video.reason} for video in items.skipped]
        write_manifest(part, {**facts, "num_items": num_items, "num_rows": num_rows, "skipped": skipped})
    return Exported(
        folder=folder,
        to=to,
        num_items=num_items,
        num_rows=num_rows,
        skipped=tuple(items.skipped),
        names=dict(zip(synthetic.classes, words, strict=True)),
        notes=_notes(synthetic, items, to, from_source),
        next_steps=kind.next_steps(folder.absolute(), synthetic.times_seconds.shape[1]),
    )


def _facts(synthetic: SyntheticSet, words: Sequence[str]) -> dict[str, Any]:
    """Return what the manifest says of the set."""
    provenance = synthetic.provenance
    return {
        "source": provenance.source.name,
        "num_source_videos": provenance.source.num_videos,
        "num_source_frames": provenance.source.num_frames,
        "method": provenance.method,
        "codec": synthetic.codec.name,
        "soft": synthetic.labels.ndim == 2,
        "classes": list(synthetic.classes),
        "names": list(words),
    }


def _watched(items: ItemStream, total: int, watch: Watch) -> Iterator[Item]:
    for item in items:
        yield item
        watch("export", done=item.number + 1, total=total)


def _keep_inputs(folder: Path, path: Path, root: Path | None) -> None:
    """Refuse to replace a folder that holds what the export reads."""
    if root is not None and not root.is_dir():
        raise InputError(f"--from-source {root} is no folder; give the root of the videos that were compressed")
    target = folder.resolve()
    for option, source in (("the set", path), ("--from-source", root)):
        if source is not None and target in (source.resolve(), *source.resolve().parents):
            raise InputError(f"output {folder} holds {option} {source}, which is read; give another folder")


def _notes(synthetic: SyntheticSet, items: ItemStream, to: str, from_source: Path | None) -> tuple[str, ...]:
    notes = []
    if from_source is None:
        notes.append(
            f"pictures are decoded latents of {synthetic.clip.height}x{synthetic.clip.width} px; --from-source ROOT "
            "reads them from the videos, at their own size"
        )
    else:
        notes += changed_pictures(synthetic)
    shape = find_format(to).shape
    notes += [
        f"pictures of {height}x{width} px were enlarged to {'x'.join(map(str, shape.sides(height, width)))}: "
        f"{to} trainers take no fewer than {shape.least_pixels} pixels"
        for height, width in sorted(items.enlarged)
    ]
    keyframes = synthetic.times_seconds.shape[1]
    frames = len(shape.places(keyframes))
    if frames != keyframes:
        notes.append(
            f"{keyframes} keyframes a video were repeated to {frames}: {to} trainers drop an odd or lone frame"
        )
    return tuple(notes)
