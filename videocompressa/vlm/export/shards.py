"""WebDataset shards: plain tar files in which the files of a sample stand together and share their stem.

A sample is NAME.00.png, NAME.01.png, ... (frames), NAME.cls (class number) and NAME.json (the rest). Owner, mode and
time of the members are fixed, so that equal exports are equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from videocompressa.vlm.export.items import Item

SHARD_SAMPLES = 1000
"""Samples a shard (our choice: sets of this kind fit in one)."""


def write_shards(folder: Path, items: Iterable[Item], facts: Mapping[str, Any]) -> int:
    """Write `train-NNNNNN.tar` files and return the number of samples."""
    num_samples = 0
    shard: tarfile.TarFile | None = None
    try:
        for item in items:
            for members in _samples(item):
                if num_samples % SHARD_SAMPLES == 0:
                    if shard is not None:
                        shard.close()
                    path = folder / f"train-{num_samples // SHARD_SAMPLES:06d}.tar"
                    shard = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 closed below
                assert shard is not None
                for name, content in members.items():
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = len(content), 0o644
                    shard.addfile(entry, io.BytesIO(content))
                num_samples += 1
    finally:
        if shard is not None:
            shard.close()
    return num_samples


def _samples(item: Item) -> Iterator[dict[str, bytes]]:
    """Yield the files of each sample of an item, by name."""
    for place, question in enumerate(item.questions):
        key = item.stem if len(item.questions) == 1 else f"{item.stem}-{place}"
        facts = {"num_frames": len(item.frames), **item.facts(question)}
        members = {f"{key}.{number:02d}.png": png_bytes(frame) for number, frame in enumerate(item.frames)}
        members[f"{key}.cls"] = str(item.label).encode()
        members[f"{key}.json"] = json.dumps(facts, ensure_ascii=False).encode()
        yield members


def png_bytes(frame: Tensor) -> bytes:
    """Return one (3,H,W) uint8 frame as a PNG file."""
    from PIL import Image  # Only where pictures are written.

    file = io.BytesIO()
    Image.fromarray(frame.cpu().numpy().transpose(1, 2, 0)).save(file, format="PNG")
    return file.getvalue()
