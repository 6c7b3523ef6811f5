"""Parquet folders for the `datasets` library: `trl` (messages and images) and `hf` (typed columns), each with a card.

Both are written through pyarrow with the schema that `datasets` itself makes of the features, a row group a few rows,
so that memory does not grow and `load_dataset(folder)` recognizes pictures and class names by itself.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError, how_to_install

PARQUET = Path("data/train-00000-of-00001.parquet")
"""The only table; by this name `datasets` knows the split."""

ROWS_A_GROUP = 32
"""Rows written at once (our choice)."""


def check_packages(packages: Sequence[str], user: str) -> None:
    """Raise unless the packages can be imported; `user` is the option that needs them."""
    # A folder of the user's that is called "datasets" has a spec, too, but no origin.
    missing = [name for name in packages if getattr(importlib.util.find_spec(name), "origin", None) is None]
    if missing:
        raise InputError(f"{user} needs {' and '.join(missing)}; run: {how_to_install('vlm')}")


def write_trl(folder: Path, rows: Iterable[dict[str, Any]], facts: Mapping[str, Any]) -> int:
    """Write what TRL's SFTTrainer takes: it has no videos column, so frames are images before the first user text."""
    from datasets import Features, Image, List, Value

    message = {"role": Value("string"), "content": Value("string")}
    num_rows = _write_table(folder, Features({"messages": List(message), "images": List(Image())}), rows)
    _write_card(folder, facts, num_rows, "`messages` (user, assistant) and `images` (the keyframes, in time order)")
    return num_rows


def write_hf(folder: Path, rows: Iterable[dict[str, Any]], facts: Mapping[str, Any]) -> int:
    """Write a data set with a column for everything that is known about a video."""
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
    listed = "`frames` (keyframes in time order), `times_seconds` of each in its video, `label` and `class`, "
    listed += "`question` and `answer`, `video` (its path in the data set)"
    if facts["soft"]:
        columns["probabilities"] = List(Value("float32"))
        listed += ", `probabilities` of a teacher"
    num_rows = _write_table(folder, Features(columns), rows)
    _write_card(folder, facts, num_rows, listed)
    return num_rows


def _write_table(folder: Path, features: Any, rows: Iterable[dict[str, Any]]) -> int:
    """Write the columns of `features`; other values of the rows are left out."""
    import pyarrow
    from pyarrow import parquet

    path = folder / PARQUET
    path.parent.mkdir()
    schema, num_rows, remaining = features.arrow_schema, 0, iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(itertools.islice(remaining, ROWS_A_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
            num_rows += len(group)
    return num_rows


def _write_card(folder: Path, facts: Mapping[str, Any], num_rows: int, columns: str) -> None:
    """Write the card: what `datasets` reads (the head) and what people read."""
    pixels = {
        "source": "frames of the source videos, at their own size",
        "latents": f"decoded from the latents of codec {facts['codec']}",
    }[facts["pixels"]]
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
- **Classes** ({len(facts["names"])}): {", ".join(facts["names"])}.
- **Questions**: {facts["questions"]}, drawn with seed {facts["seed"]}.

The pictures come from videos of {facts["source"]}: its license and terms hold for them.

```python
from datasets import load_dataset

rows = load_dataset("this folder", split="train")
```
""",
        encoding="utf-8",
    )
