"""Parquet folders for the `datasets` library: `trl` (messages and images) and `hf` (typed columns), each with a card.

Both are written through pyarrow with the schema that `datasets` itself makes of the features, a row group a few rows,
so that memory does not grow and `load_dataset(folder)` recognizes pictures and class names by itself.
"""

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


def write_trl(folder: Path, rows: Iterable[dict[str, Any]], facts: Mapping[str, Any]) -> None:
    """Write what TRL's SFTTrainer takes: it has no videos column, so frames are images before the first user text."""
    from datasets import Image, List, Value

    message = {"role": Value("string"), "content": Value("string")}
    columns = {"messages": List(message), "images": List(Image())}
    _write(folder, rows, facts, columns, "`messages` (user, assistant) and `images` (the keyframes, in time order)")


def write_hf(folder: Path, rows: Iterable[dict[str, Any]], facts: Mapping[str, Any]) -> None:
    """Write a data set with a column for everything that is known about a video."""
    from datasets import ClassLabel, Image, List, Value

    columns = {
        "frames": List(Image()),
        "times_seconds": List(Value("float64")),
        "label": ClassLabel(names=list(facts["names"])),
        **dict.fromkeys(("class", "question", "answer", "video"), Value("string")),
    }
    listed = "`frames` (keyframes in time order), `times_seconds` of each in its video, `label` and `class`, "
    listed += "`question` and `answer`, `video` (its path in the data set)"
    if facts["soft"]:
        columns["probabilities"] = List(Value("float32"))
        listed += ", `probabilities` of a teacher"
    _write(folder, rows, facts, columns, listed)


def _write(
    folder: Path, rows: Iterable[dict[str, Any]], facts: Mapping[str, Any], columns: dict[str, Any], listed: str
) -> None:
    """Write the columns (other values of the rows are left out) and the card; `listed` describes the columns."""
    import pyarrow
    from datasets import Features
    from pyarrow import parquet

    path = folder / PARQUET
    path.parent.mkdir()
    schema, remaining = Features(columns).arrow_schema, iter(rows)
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(itertools.islice(remaining, ROWS_A_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
    card = _card(facts, parquet.read_metadata(path).num_rows, listed)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _card(facts: Mapping[str, Any], num_rows: int, columns: str) -> str:
    """Return the card: what `datasets` reads (the head) and what people read."""
    from_source, codec = facts["pixels"] == "source", facts["codec"]
    pictures = (
        "frames of the source videos, at their own size"
        if from_source
        else f"decoded from the latents of codec {codec}"
    )
    return f"""---
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
- **Pictures**: {pictures}.
- **Classes** ({len(facts["names"])}): {", ".join(facts["names"])}.
- **Questions**: {facts["questions"]}, drawn with seed {facts["seed"]}.

The pictures come from videos of {facts["source"]}: its license and terms hold for them.

```python
from datasets import load_dataset

rows = load_dataset("this folder", split="train")
```
"""
