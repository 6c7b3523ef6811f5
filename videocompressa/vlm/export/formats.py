"""Folders that trainers read: the files and rows of each format, and what it requires of the pictures.

`docs/vlm.md` describes the files of each. Every folder also holds `export.json`, which `check` reads.
"""

import io
import itertools
import json
import shlex
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError
from videocompressa.video import write_png, write_video
from videocompressa.vlm.export.items import FrameRules, Item
from videocompressa.vlm.export.tables import write_hf, write_trl

MANIFEST = "export.json"
VERSION = 1
"""Number of the layout of these folders, written to the manifest."""

FPS = 2.0
"""Rate at which qwen-vl-utils and the Qwen processors sample a video (FPS = 2.0 there): at this rate they keep every
frame, at any other they drop or repeat some."""

QWEN_VIDEO = FrameRules(min_frames=4, min_pixels=128 * 28 * 28)
"""qwen-vl-utils: FPS_MIN_FRAMES = 4, FRAME_FACTOR = 2 (even counts), VIDEO_MIN_PIXELS = 128 * 28 * 28 (317 x 317)."""
NESTED_FRAMES = FrameRules(min_frames=2, min_pixels=128 * 28 * 28)
"""LLaMA-Factory does not sample nested frame lists, but pads odd ones; its Qwen processors have the same least size."""
QWEN_IMAGE = FrameRules(min_pixels=56 * 56)
"""Single images: `min_pixels` of the Qwen2-VL and Qwen2.5-VL image processors."""

DATASET = "videocompressa"
"""Name of the data set in LLaMA-Factory's `dataset_info.json`."""

SHARD_SAMPLES = 1000
"""Samples a WebDataset shard (our choice: sets of this kind fit in one)."""

DATASET_INFO: dict[str, Any] = {
    "file_name": "train.json",
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "videos": "videos"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}
"""LLaMA-Factory, data/README.md: how its sharegpt reader finds the columns."""

TrainerRow = dict[str, Any]
Facts = Mapping[str, Any]
"""What the manifest holds about the export (JSON values)."""
Writer = Callable[[Path, Iterable[TrainerRow], Facts], None]
"""Writes the rows, one at a time."""


@dataclass(frozen=True)
class Format:
    """One way to write an export."""

    media: Callable[[Path, Item], Any]
    """Writes the pictures of an item into the folder, or encodes them; returns what its rows refer to."""
    row: Callable[[Item, int, Any], TrainerRow]
    """Returns one row of an item: a question by its number, and the item's media."""
    write: Writer
    command: str
    """What to run next, after a line with what to do by hand before: {folder} is the export, {quoted} the same for a
    shell, {frames} the frames a video."""
    rules: FrameRules = field(default_factory=FrameRules)
    packages: tuple[str, ...] = ()
    """Packages of the extra `vlm` that it is written with."""

    def write_export(self, folder: Path, items: Iterable[Item], facts: Facts) -> None:
        """Write items into an existing, empty folder, one at a time."""
        self.write(folder, self._rows(folder, items), facts)

    def _rows(self, folder: Path, items: Iterable[Item]) -> Iterator[TrainerRow]:
        for item in items:
            media = self.media(folder, item)
            yield from (self.row(item, number, media) for number in range(len(item.facts)))

    def next_steps(self, folder: Path, num_keyframes: int) -> tuple[str, ...]:
        """Return what to do next with an export of K keyframes a video; the last is a command."""
        names = {"folder": folder, "quoted": shlex.quote(str(folder)), "frames": self.rules.count(num_keyframes)}
        return tuple(step.format(**names) for step in self.command.splitlines())


def find_format(name: str) -> Format:
    """Return a format, or raise with the known ones."""
    if name not in FORMATS:
        raise InputError(f"--to is {name!r}; known: {', '.join(FORMATS)}")
    return FORMATS[name]


def _messages(item: Item, number: int, tag: str = "") -> list[dict[str, str]]:
    facts = item.facts[number]
    return [{"role": "user", "content": tag + facts["question"]}, {"role": "assistant", "content": facts["answer"]}]


def _qwen_row(item: Item, number: int, path: str) -> TrainerRow:
    turns = [("human", f"<video>\n{item.facts[number]['question']}"), ("gpt", item.facts[number]["answer"])]
    return {"video": path, "conversations": [{"from": role, "value": text} for role, text in turns]}


def _llama_factory_row(item: Item, number: int, paths: list[str]) -> TrainerRow:
    """A list of one list in every row: mixed depths do not fit one Arrow column."""
    return {"messages": _messages(item, number, "<video>"), "videos": [paths]}


def _trl_row(item: Item, number: int, cells: list[TrainerRow]) -> TrainerRow:
    """Texts are plain strings in every row: TRL adds the image parts itself, and one Arrow column takes one type."""
    return {"messages": _messages(item, number), "images": cells}


def _facts_row(item: Item, number: int, frames: Any) -> TrainerRow:
    return {"frames": frames, **item.facts[number]}


def _shard_row(item: Item, number: int, pictures: list[bytes]) -> TrainerRow:
    """Return the content of each file of a sample, by name: KEY.00.png, KEY.01.png, ..., KEY.cls, KEY.json."""
    key = item.stem if len(item.facts) == 1 else f"{item.stem}-{number}"
    facts = {"num_frames": len(pictures), **item.facts[number]}
    return {
        **{f"{key}.{place:02d}.png": picture for place, picture in enumerate(pictures)},
        f"{key}.cls": str(facts["label"]).encode(),
        f"{key}.json": json.dumps(facts, ensure_ascii=False).encode(),
    }


def _write_mp4(folder: Path, item: Item) -> str:
    """One mp4 a video: in this trainer a list under "video" means several videos, not frames of one."""
    path = f"videos/{item.stem}.mp4"
    (folder / path).parent.mkdir(exist_ok=True)
    write_video(folder / path, item.frames, FPS)
    return path


def _write_frames(folder: Path, item: Item) -> list[str]:
    (folder / "frames").mkdir(exist_ok=True)
    paths = [f"frames/{item.stem}-{place:02d}.png" for place in range(len(item.frames))]
    for path, frame in zip(paths, item.frames, strict=True):
        write_png(folder / path, frame)
    return paths


def _encode_frames(folder: Path, item: Item) -> list[bytes]:
    """Return the pictures as PNG files."""
    from PIL import Image  # Only where pictures are written.

    files = [io.BytesIO() for _ in item.frames]
    for file, frame in zip(files, item.frames, strict=True):
        Image.fromarray(frame.cpu().numpy().transpose(1, 2, 0)).save(file, format="PNG")
    return [file.getvalue() for file in files]


def _frame_cells(folder: Path, item: Item) -> list[TrainerRow]:
    """Return the pictures as `datasets` stores them in a column of images."""
    pictures = enumerate(_encode_frames(folder, item))
    return [{"bytes": picture, "path": f"{item.stem}-{place:02d}.png"} for place, picture in pictures]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value, indented."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_annotations(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    write_json(folder / "annotations.json", list(rows))


def _write_llama_factory(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    write_json(folder / DATASET_INFO["file_name"], list(rows))
    write_json(folder / "dataset_info.json", {DATASET: DATASET_INFO})


def _write_lines(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_shards(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    """Plain tar files; owner, mode and time of the members are fixed, so that equal exports are equal bytes."""
    for number, samples in itertools.groupby(enumerate(rows), lambda pair: pair[0] // SHARD_SAMPLES):
        with tarfile.open(folder / f"train-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as shard:
            for name, content in itertools.chain.from_iterable(files.items() for _, files in samples):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                shard.addfile(entry, io.BytesIO(content))


FORMATS: dict[str, Format] = {
    "llama-factory": Format(
        _write_frames,
        _llama_factory_row,
        _write_llama_factory,
        # Its own video_max_pixels, 256 x 256, is below the least size of the processor that follows.
        "llamafactory-cli train --stage sft --do_train true --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct "
        f"--template qwen2_vl --dataset {DATASET} --dataset_dir {{quoted}} --media_dir {{quoted}} "
        "--video_max_pixels 602112 --cutoff_len 8192 --finetuning_type lora --bf16 true --output_dir {quoted}-lora",
        NESTED_FRAMES,
    ),
    "qwen": Format(
        _write_mp4,
        _qwen_row,
        _write_annotations,
        "in qwen-vl-finetune, enter in data_dict of qwenvl/data/__init__.py: "
        f'"{DATASET}": {{{{"annotation_path": "{{folder}}/annotations.json", "data_path": "{{folder}}"}}}}\n'
        # Its own limits, 8 frames and 512 tokens, cut what is longer; its least size is twice the processor's.
        "torchrun --nproc_per_node 1 qwenvl/train/train_qwen.py --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct "
        f"--dataset_use {DATASET} --lora_enable True --video_fps 2 --video_min_frames 4 --video_max_frames {{frames}} "
        "--video_min_pixels 100352 --video_max_pixels 602112 --model_max_length 8192 --bf16 True "
        "--output_dir {quoted}-lora",
        QWEN_VIDEO,
    ),
    "trl": Format(
        _frame_cells,
        _trl_row,
        write_trl,
        "trl sft --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct --dataset_name {quoted} --max_length None --use_peft "
        "--output_dir {quoted}-lora",
        QWEN_IMAGE,
        packages=("datasets", "pyarrow"),
    ),
    "hf": Format(
        _frame_cells,
        _facts_row,
        write_hf,
        'python -c "from sys import argv; from datasets import load_dataset; '
        "print(load_dataset(argv[1], split='train')[0])\" {quoted}",
        packages=("datasets", "pyarrow"),
    ),
    "webdataset": Format(
        _encode_frames,
        _shard_row,
        _write_shards,
        'python -c "from sys import argv; from webdataset import WebDataset; '
        "print(next(iter(WebDataset(argv[1], shardshuffle=False).decode('pil'))))\" {quoted}/train-000000.tar",
    ),
    "frames": Format(_write_frames, _facts_row, _write_lines, "head -n 1 {quoted}/train.jsonl"),
}
"""Every format, by `--to`."""
