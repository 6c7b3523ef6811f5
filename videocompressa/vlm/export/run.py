"""Exporting a set file for trainers of other packages."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videocompressa.artifact import read_set
from videocompressa.datasets import BadVideo
from videocompressa.errors import InputError, check_known
from videocompressa.files import check_output_folder, complete_folder
from videocompressa.hub import check_packages
from videocompressa.recipes.data_card import set_facts
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.texts import utf8_text
from videocompressa.vlm.export.clips import ClipStream
from videocompressa.vlm.export.formats import FORMATS, MANIFEST, VERSION, cutoff, next_steps, write_json
from videocompressa.vlm.export.items import ItemStream, PictureReader, picture_reader, source_note
from videocompressa.vlm.settings import ExportOptions
from videocompressa.vlm.words import check_questions, readable_names


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    num_items: int
    num_rows: int
    skipped: tuple[BadVideo, ...]
    """Items whose source video could not be read."""
    names: dict[str, str]
    """Each class in words; empty where no words are written."""
    notes: tuple[str, ...]
    next_steps: tuple[str, ...]
    """What to do with the folder; the last is a command."""


def export_set(
    path: Path | str,
    folder: Path | str,
    *,
    to: str,
    options: ExportOptions | None = None,
    overwrite: bool = False,
    watch: Watch = watch_nothing,
) -> Exported:
    """Write the set file `path` as a folder that a trainer reads; it appears only when it is complete.

    `to` is a key of `vlm.export.formats.FORMATS`; `overwrite` replaces the folder; `watch` is called after each item.
    Raises `InputError` when an option cannot be followed, or no item could be read.
    """
    options, path, folder = options or ExportOptions(), Path(path), Path(folder)
    check_known("--to is", to, FORMATS)
    kind, root = FORMATS[to], options.from_source
    _check_options(to, options)
    check_packages(kind.packages, f"--to {to}")
    check_output_folder(folder, overwrite=overwrite)
    _keep_inputs(folder, path, root)
    # The codec is needed only where latents are decoded.
    synthetic = open_set(path, options.codec) if root is None else read_set(path)
    pictures, synthetic = picture_reader(synthetic, root), _in_utf8(synthetic)
    if kind.holds_clips:
        items: ClipStream | ItemStream = _clips(synthetic, path, options, watch)
    else:
        items = _items(synthetic, pictures, to, options, watch)
    facts = {"version": VERSION, "format": to, **_facts(synthetic, items, options)}
    if "shard_size" in kind.options:
        facts["shard_bytes"] = options.shard_size
    with complete_folder(folder, overwrite=overwrite) as part:
        kind.write(part, kind.rows(part, items), facts)
        num_items = len(synthetic) - len(items.skipped)
        if not num_items:
            first = items.skipped[0]
            raise InputError(
                f"--from-source {root}: none of the {len(synthetic)} videos of {path} can be read there "
                f"({first.video_id}: {first.reason}); give the folder that was compressed, or leave the option out"
            )
        skipped = [{"video": video.video_id, "reason": video.reason} for video in items.skipped]
        most_tokens = items.most_tokens if isinstance(items, ItemStream) else 0
        facts |= {"cutoff_tokens": cutoff(most_tokens)} if most_tokens else {}
        write_json(part / MANIFEST, facts | {"num_items": num_items, "num_rows": items.num_rows, "skipped": skipped})
    return Exported(
        num_items,
        items.num_rows,
        tuple(items.skipped),
        names={} if kind.holds_clips else dict(zip(facts["classes"], facts["names"], strict=True)),
        notes=tuple(_notes(items, to, root)),
        next_steps=next_steps(to, folder.absolute(), synthetic.times_seconds.shape[1], most_tokens),
    )


def _check_options(to: str, options: ExportOptions) -> None:
    """Refuse options that the format does not take, unless they have their default."""
    for field in dataclasses.fields(ExportOptions):
        takers = [name for name, kind in FORMATS.items() if field.name in kind.options]
        if takers and to not in takers and getattr(options, field.name) != field.default:
            option = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{option} does not apply to --to {to}; leave it out, or give --to {' or '.join(takers)}")


def _in_utf8(synthetic: SyntheticSet) -> SyntheticSet:
    """Return the set with names that every format can hold."""
    video_ids = tuple(map(utf8_text, synthetic.provenance.video_ids))
    provenance = dataclasses.replace(synthetic.provenance, video_ids=video_ids)
    return dataclasses.replace(synthetic, classes=tuple(map(utf8_text, synthetic.classes)), provenance=provenance)


def _items(
    synthetic: SyntheticSet, pictures: PictureReader, to: str, options: ExportOptions, watch: Watch
) -> ItemStream:
    names = readable_names(synthetic.classes, options.names)
    check_questions(options.questions, len(names))
    streams = Streams(options.seed).child("questions")
    return ItemStream(synthetic, pictures, FORMATS[to].rules, names, options.questions, streams, watch)


def _clips(synthetic: SyntheticSet, path: Path, options: ExportOptions, watch: Watch) -> ClipStream:
    if options.views and synthetic.labeler is None:
        raise InputError(
            f"--views {options.views}: {path}, compressed by {synthetic.provenance.method!r}, has no labeler to label "
            "views; compress with --labeler auto, or leave --views out for the clips with their stored labels"
        )
    return ClipStream(synthetic, options.views, Streams(options.seed).child("views"), watch)


def _facts(synthetic: SyntheticSet, items: ItemStream | ClipStream, options: ExportOptions) -> dict[str, Any]:
    """Return what the manifest records about the set and the options."""
    if isinstance(items, ClipStream):
        shown, names = items.facts, synthetic.classes
    else:
        pixels = "latents" if options.from_source is None else "source"
        shown, names = {"pixels": pixels, "questions": options.questions}, tuple(items.names)
    return {
        **set_facts(synthetic),
        "names": list(names),
        "seed": options.seed,
        **shown,
    }


def _keep_inputs(folder: Path, path: Path, root: Path | None) -> None:
    """Refuse to replace a folder that holds what the export reads."""
    if root is not None and not root.is_dir():
        raise InputError(f"--from-source {root} is no folder; give the root of the videos that were compressed")
    target = folder.resolve()
    for option, source in (("the set", path), ("--from-source", root)):
        if source is not None and target in (source.resolve(), *source.resolve().parents):
            raise InputError(f"output {folder} holds {option} {source}, which is read; give another folder")


def _notes(items: ItemStream | ClipStream, to: str, root: Path | None) -> Iterator[str]:
    if isinstance(items, ClipStream):
        if items.synthetic.labeler is not None and not items.views:
            yield "the set has a labeler: --views 64 writes random views of each clip with its labels"
        return
    rules, clip, keyframes = items.rules, items.synthetic.clip, items.synthetic.times_seconds.shape[1]
    if root is None:
        pictures = f"pictures are decoded latents of {clip.height}x{clip.width} px"
        yield f"{pictures}; --from-source ROOT reads them from the videos, at their own size"
    else:
        yield from source_note(items.synthetic)
    for height, width in sorted(items.enlarged):
        tall, wide = rules.sides(height, width)
        why = f"{to} trainers take no fewer than {rules.min_pixels} pixels"
        yield f"pictures of {height}x{width} px were enlarged to {tall}x{wide}: {why}"
    if (frames := rules.count(keyframes)) != keyframes:
        yield f"{keyframes} keyframes a video were repeated to {frames}: {to} trainers drop an odd or single frame"
