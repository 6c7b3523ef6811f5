"""Parquet folders for the `datasets` library: `trl` (messages and images) and `hf` (typed columns and a card).

Both are written through pyarrow with the schema that `datasets` itself makes of the features, a row group a few items,
so that memory does not grow and `load_dataset(folder)` finds pictures and class names without being told.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError, how_to_install
from videocompressa.vlm.export.items import Item
from videocompressa.vlm.export.shards import png_bytes

PARQUET = Path("data/train-00000-of-00001.parquet")
"""The only table; the name is the one by which `datasets` finds the split."""

ROWS_A_GROUP = 32
"""Rows written at once (our choice)."""


def check_packages(packages: Sequence[str], user: str) -> None:
    """Raise unless the packages can be imported; `user` is the option that needs them."""
    # A folder of the user's that is called "datasets" has a spec, too, but no origin.
    missing = [name for name in packages if getattr(importlib.util.find_spec(name), "origin", None) is None]
    if missing:
        names = " and ".join(missing)
        raise InputError(f"{user} needs {names}; run: {how_to_install('vlm')}")


def write_trl(folder: Path, items: Iterable[Item], facts: Mapping[str, Any]) -> int:
    """Write what TRL's SFTTrainer takes: it has no videos column, so frames are images before the first user text.

    Texts are plain strings in every row: TRL adds the image parts itself, and mixed types do not fit one Arrow column.
    """
    from datasets import Features, Image, List, Value

    features = Features(
        {"messages": List({"role": Value("string"), "content": Value("string")}), "images": List(Image())}
    )

    def rows(item: Item) -> list[dict[str, Any]]:
        images = _pictures(item)
        return [
            {
                "messages": [
                    {"role": "user", "content": question.text},
                    {"role": "assistant", "content": question.answer},
                ],
                "images": images,
            }
            for question in item.questions
        ]

    num_rows = _write_table(folder, features, (row for item in items for row in rows(item)))
    _write_card(folder, facts, num_rows, "`messages` (user, assistant) and `images` (the keyframes, in time order)")
    return num_rows


def write_hf(folder: Path, items: Iterable[Item], facts: Mapping[str, Any]) -> int:
    """Write a data set with a column for everything that is known of a video."""
    from datasets import ClassLabel, Features, Image, List, Value

    columns: dict[str, Any] = {
        "frames": List(Image()),
        "times_seconds": List(Value("float64")),
        "label": ClassLabel(names=list(facts["names"])),
        "class": Value("string"),
        "question": Value("string"),
        "answer": Value("string"),
        "video": Value("string"),
    }
    if facts["soft"]:
        columns["probabilities"] = List(Value("float32"))

    def rows(item: Item) -> list[dict[str, Any]]:
        frames = _pictures(item)
        facts = [item.facts(question) for question in item.questions]
        return [{"frames": frames, **{key: row[key] for key in columns if key in row}} for row in facts]

    num_rows = _write_table(folder, Features(columns), (row for item in items for row in rows(item)))
    listed = "`frames` (keyframes in time order), `times_seconds` of each in its video, `label` and `class`, "
    listed += "`question` and `answer`, `video` (its path in the data set)"
    _write_card(folder, facts, num_rows, listed + (", `probabilities` of a teacher" if facts["soft"] else ""))
    return num_rows


def _pictures(item: Item) -> list[dict[str, Any]]:
    return [
        {"bytes": png_bytes(frame), "path": f"{item.stem}-{place:02d}.png"} for place, frame in enumerate(item.frames)
    ]


def _write_table(folder: Path, features: Any, rows: Iterable[dict[str, Any]]) -> int:
    import pyarrow
    from pyarrow import parquet

    path = folder / PARQUET
    path.parent.mkdir()
    schema = features.arrow_schema
    num_rows, held = 0, []
    with parquet.ParquetWriter(path, schema) as writer:
        for row in rows:
            held.append(row)
            num_rows += 1
            if len(held) == ROWS_A_GROUP:
                writer.write_table(pyarrow.Table.from_pylist(held, schema=schema))
                held = []
        if held:
            writer.write_table(pyarrow.Table.from_pylist(held, schema=schema))
    return num_rows


def _write_card(folder: Path, facts: Mapping[str, Any], num_rows: int, columns: str) -> None:
    """Write the card: what `datasets` reads (the head) and what people read."""
    pixels = {
        "source": "frames of the source videos, at their own size",
        "latents": f"decoded from the latents of codec {facts['codec']}",
    }[facts["pixels"]]
    names = ", ".join(facts["names"])
    (folder / "README.md").write_text(
        f"""---
pretty_name: {json.dumps("Keyframes of " + facts["source"], ensure_ascii=False)}
task_categories:
- video-classification
- visual-question-answering
tags:
- dataset-distillation
- keyframes
- videocompressa
configs:
- config_name: default
  data_files:
  - split: train
    path: {PARQUET.as_posix()}
---

# Keyframes of {facts["source"]}

{num_rows} rows made by videocompressa with method `{facts["method"]}` from {facts["num_source_videos"]} training videos
({facts["num_source_frames"]} frames).

- **Columns**: {columns}.
- **Pictures**: {pixels}.
- **Classes** ({len(facts["names"])}): {names}.
- **Questions**: {facts["questions"]}, drawn with seed {facts["seed"]}.

The pictures come from videos of {facts["source"]}: its license and terms hold for them.

```python
from datasets import load_dataset

rows = load_dataset("this folder", split="train")
```
""",
        encoding="utf-8",
    )
