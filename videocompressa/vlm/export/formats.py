"""Folders that trainers read: what each format writes, and what it needs of the pictures.

llama-factory  pictures, nested lists in `train.json`, `dataset_info.json` (sharegpt)
qwen           mp4 at 2 fps, `annotations.json` (human and gpt)
trl            parquet: messages and images
hf             parquet with typed columns, and a card
webdataset     tar shards: pictures, class number, json
frames         pictures and `train.jsonl`

Every folder holds `export.json`, which says what it is; `checks` reads it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError
from videocompressa.video import write_png, write_video
from videocompressa.vlm.export.items import Item, Shape
from videocompressa.vlm.export.shards import write_shards
from videocompressa.vlm.export.tables import write_hf, write_trl

MANIFEST = "export.json"
VERSION = 1
"""Number of the layout of these folders, written to the manifest."""

FPS = 2.0
"""Rate at which qwen-vl-utils and the Qwen processors sample a video (FPS = 2.0 there): at this rate they keep every
frame, at any other they drop or repeat some."""

QWEN_VIDEO = Shape(least_frames=4, least_pixels=128 * 28 * 28)
"""qwen-vl-utils: FPS_MIN_FRAMES = 4, FRAME_FACTOR = 2 (even counts), VIDEO_MIN_PIXELS = 128 * 28 * 28 (317 x 317)."""
NESTED_FRAMES = Shape(least_frames=2, least_pixels=128 * 28 * 28)
"""LLaMA-Factory does not sample nested frame lists, but pads odd ones; its Qwen processors have the same least size."""
QWEN_IMAGE = Shape(least_pixels=56 * 56)
"""Single images: `min_pixels` of the Qwen2-VL and Qwen2.5-VL image processors."""

DATASET = "videocompressa"
"""Name of the data set in LLaMA-Factory's `dataset_info.json`."""

DATASET_INFO: dict[str, Any] = {
    "file_name": "train.json",
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "videos": "videos"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}
"""LLaMA-Factory, data/README.md: how its sharegpt reader finds the columns."""

Facts = Mapping[str, Any]
"""What the manifest says of the whole export (JSON values)."""


@dataclass(frozen=True)
class Format:
    """One way to write an export."""

    write: Callable[[Path, Iterable[Item], Facts], int]
    """Writes the folder and returns the number of rows."""
    command: str
    """What a person runs next: {folder} is the export, {quoted} the same for a shell, {frames} the frames a video."""
    shape: Shape = field(default_factory=Shape)
    before: str = ""
    """What must be done by hand before; same names."""
    packages: tuple[str, ...] = ()
    """Packages of the extra `vlm` that it is written with."""

    def next_steps(self, folder: Path, num_keyframes: int) -> tuple[str, ...]:
        """Return what a person does next with an export of K keyframes a video; the last is a command."""
        frames = len(self.shape.places(num_keyframes))
        return tuple(
            step.format(folder=folder, quoted=shlex.quote(str(folder)), frames=frames)
            for step in (self.before, self.command)
            if step
        )


def write_export(to: str, folder: Path, items: Iterable[Item], facts: Facts) -> int:
    """Write an export into an existing, empty folder, and return the number of rows.

    Parameters
    ----------
    to:
        A key of `FORMATS`.
    folder:
        Where to write.
    items:
        What to write; used once, and not kept in memory.
    facts:
        Of the whole export: at least "source", "method", "pixels", "names" and "classes" (L each).
    """
    return find_format(to).write(folder, items, facts)


def write_manifest(folder: Path, facts: Facts) -> None:
    """Write what the folder is."""
    _write_json(folder / MANIFEST, {"version": VERSION, **facts})


def find_format(name: str) -> Format:
    """Return a format, or raise with the known ones."""
    if name not in FORMATS:
        raise InputError(f"--to is {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _write_qwen(folder: Path, items: Iterable[Item], facts: Facts) -> int:
    """One mp4 a video: in this trainer a list under "video" means several videos, not frames of one."""
    (folder / "videos").mkdir()
    rows = []
    for item in items:
        path = f"videos/{item.stem}.mp4"
        write_video(folder / path, item.frames, FPS)
        for question in item.questions:
            turns = [("human", f"<video>\n{question.text}"), ("gpt", question.answer)]
            rows.append({"video": path, "conversations": [{"from": who, "value": text} for who, text in turns]})
    _write_json(folder / "annotations.json", rows)
    return len(rows)


def _write_llama_factory(folder: Path, items: Iterable[Item], facts: Facts) -> int:
    """Nested lists in every row, one of one: mixed depths do not fit one Arrow column."""
    rows = []
    for item in items:
        frames = _write_frames(folder, item)
        for question in item.questions:
            turns = [("user", f"<video>{question.text}"), ("assistant", question.answer)]
            rows.append({"messages": [{"role": who, "content": text} for who, text in turns], "videos": [frames]})
    _write_json(folder / "train.json", rows)
    _write_json(folder / "dataset_info.json", {DATASET: DATASET_INFO})
    return len(rows)


def _write_pictures(folder: Path, items: Iterable[Item], facts: Facts) -> int:
    num_rows = 0
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for item in items:
            frames = _write_frames(folder, item)
            for question in item.questions:
                row = {"frames": frames, **item.facts(question)}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                num_rows += 1
    return num_rows


def _write_frames(folder: Path, item: Item) -> list[str]:
    (folder / "frames").mkdir(exist_ok=True)
    paths = [f"frames/{item.stem}-{place:02d}.png" for place in range(len(item.frames))]
    for path, frame in zip(paths, item.frames, strict=True):
        write_png(folder / path, frame)
    return paths


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


FORMATS: dict[str, Format] = {
    "llama-factory": Format(
        _write_llama_factory,
        # Its own video_max_pixels, 256 x 256, is below the least size of the processor that follows.
        "llamafactory-cli train --stage sft --do_train true --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct "
        f"--template qwen2_vl --dataset {DATASET} --dataset_dir {{quoted}} --media_dir {{quoted}} "
        "--video_max_pixels 602112 --cutoff_len 8192 --finetuning_type lora --bf16 true --output_dir {quoted}-lora",
        NESTED_FRAMES,
    ),
    "qwen": Format(
        _write_qwen,
        # Its own limits, 8 frames and 512 tokens, cut what is longer; its least size is twice the processor's.
        "torchrun --nproc_per_node 1 qwenvl/train/train_qwen.py --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct "
        f"--dataset_use {DATASET} --lora_enable True --video_fps 2 --video_min_frames 4 --video_max_frames {{frames}} "
        "--video_min_pixels 100352 --video_max_pixels 602112 --model_max_length 8192 --bf16 True "
        "--output_dir {quoted}-lora",
        QWEN_VIDEO,
        before=f"in qwen-vl-finetune, enter in data_dict of qwenvl/data/__init__.py: "
        f'"{DATASET}": {{{{"annotation_path": "{{folder}}/annotations.json", "data_path": "{{folder}}"}}}}',
    ),
    "trl": Format(
        write_trl,
        "trl sft --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct --dataset_name {quoted} --max_length None --use_peft "
        "--output_dir {quoted}-lora",
        QWEN_IMAGE,
        packages=("datasets", "pyarrow"),
    ),
    "hf": Format(
        write_hf,
        'python -c "from sys import argv; from datasets import load_dataset; '
        "print(load_dataset(argv[1], split='train')[0])\" {quoted}",
        packages=("datasets", "pyarrow"),
    ),
    "webdataset": Format(
        write_shards,
        'python -c "from sys import argv; from webdataset import WebDataset; '
        "print(next(iter(WebDataset(argv[1], shardshuffle=False).decode('pil'))))\" {quoted}/train-000000.tar",
    ),
    "frames": Format(_write_pictures, "head -n 1 {quoted}/train.jsonl"),
}
"""Every format, by `--to`."""
