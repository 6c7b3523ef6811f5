"""Folders that trainers read: the files and rows of each format, and what it requires of the pictures.

`docs/vlm.md` describes the files of each. Every folder also holds `export.json`, which `check` reads.
"""

import io
import itertools
import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image

from videocompressa.recipes.data_card import data_card
from videocompressa.recipes.sets import DEFAULT_FPS
from videocompressa.video import write_png, write_video
from videocompressa.vlm.export.clips import readme
from videocompressa.vlm.export.items import FrameRules, Item
from videocompressa.vlm.export.shards import write_shards

MANIFEST = "export.json"
CLASSES_FILE = "classes.json"
FOR_TRAINERS = ("classes", "num_frames", "height", "width", "frames_per_second", "mean", "std")
"""What the file of classes holds, by name: all that a trainer must know of every clip."""
VERSION = 1
"""Number of the layout of these folders, written to the manifest."""

FPS = 2.0
"""Rate at which qwen-vl-utils and the Qwen processors sample a video (FPS = 2.0 there): at this rate they keep every
frame, at any other they drop or repeat some."""

MAX_PIXELS = 768 * 28 * 28
"""Of a frame in the commands below (qwen-vl-utils: VIDEO_MAX_PIXELS)."""
LEAST_CUTOFF = 8192
"""Tokens of a row that the commands leave room for, more where a row may have more (our choice)."""

QWEN_VIDEO = FrameRules(min_frames=4, min_pixels=128 * 28 * 28, max_pixels=MAX_PIXELS)
"""qwen-vl-utils: FPS_MIN_FRAMES = 4, FRAME_FACTOR = 2 (even counts), VIDEO_MIN_PIXELS = 128 * 28 * 28 (317 x 317)."""
NESTED_FRAMES = FrameRules(min_frames=2, min_pixels=128 * 28 * 28, max_pixels=MAX_PIXELS)
"""LLaMA-Factory does not sample nested frame lists, but pads odd ones; its Qwen processors have the same least size."""
QWEN_IMAGE = FrameRules(min_pixels=56 * 56)
"""Single images: `min_pixels` of the Qwen2-VL and Qwen2.5-VL image processors."""

DATASET = "videocompressa"
"""Name of the data set in LLaMA-Factory's `dataset_info.json`."""

PARQUET = Path("data/train-00000-of-00001.parquet")
"""The only table; by this name `datasets` knows the split."""

ROWS_A_GROUP = 32
"""Rows of the table written at once (our choice), so that memory does not grow."""

DATASET_INFO: dict[str, Any] = {
    "file_name": "train.json",
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "videos": "videos"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}
"""LLaMA-Factory, data/README.md: how its sharegpt reader finds the columns."""

TrainerRow = dict[str, Any]
Facts = Mapping[str, Any]
"""What is known about an item, or about the export (JSON values)."""


KEYFRAME_OPTIONS = ("from_source", "names", "questions")
"""Fields of `ExportOptions` that formats of keyframes take."""


@dataclass(frozen=True)
class Format:
    """One way to write an export."""

    media: Callable[[Path, Item], Any]
    """Writes the pictures of an item into the folder, or encodes them; returns what its rows refer to."""
    row: Callable[[str, Facts, Any], TrainerRow]
    """Returns a row of its key, its question with what is known about the item, and the item's media."""
    write: Callable[[Path, Iterable[TrainerRow], Facts], None]
    """Writes the rows into an empty folder, one at a time."""
    rules: FrameRules = field(default_factory=FrameRules)
    packages: tuple[str, ...] = ()
    """Packages of the extra `vlm` that it is written with."""
    options: tuple[str, ...] = KEYFRAME_OPTIONS
    """Fields of `ExportOptions` that it takes besides `seed` and `codec`."""

    @property
    def holds_clips(self) -> bool:
        """Whether its items are clips or views of them, and not keyframes with questions."""
        return "views" in self.options

    def rows(self, folder: Path, items: Iterable[Item]) -> Iterator[TrainerRow]:
        """Yield the rows of items, after their media are written."""
        for item in items:
            media = self.media(folder, item)
            for number, facts in enumerate(item.facts):
                key = item.stem if len(item.facts) == 1 else f"{item.stem}-{number}"
                yield self.row(key, facts, media)


def _messages(facts: Facts, tag: str = "") -> list[dict[str, str]]:
    return [{"role": "user", "content": tag + facts["question"]}, {"role": "assistant", "content": facts["answer"]}]


def _qwen_row(key: str, facts: Facts, path: str) -> TrainerRow:
    turns = [("human", f"<video>\n{facts['question']}"), ("gpt", facts["answer"])]
    return {"video": path, "conversations": [{"from": role, "value": text} for role, text in turns]}


def _llama_factory_row(key: str, facts: Facts, paths: list[str]) -> TrainerRow:
    """A list of one list in every row: mixed depths do not fit one Arrow column."""
    return {"messages": _messages(facts, "<video>"), "videos": [paths]}


def _trl_row(key: str, facts: Facts, cells: list[TrainerRow]) -> TrainerRow:
    """Texts are plain strings in every row: TRL adds the image parts itself, and one Arrow column takes one type."""
    return {"messages": _messages(facts), "images": cells}


def _hf_row(key: str, facts: Facts, media: TrainerRow) -> TrainerRow:
    return {**media, **facts}


def _facts_row(key: str, facts: Facts, frames: Any) -> TrainerRow:
    return {"frames": frames, **facts}


def _shard_row(key: str, facts: Facts, pictures: list[bytes]) -> TrainerRow:
    """Return the content of each file of a sample, by name: KEY.00.png, KEY.01.png, ..., KEY.cls, KEY.json."""
    known = {"num_frames": len(pictures), **facts}
    return {
        **{f"{key}.{place:02d}.png": picture for place, picture in enumerate(pictures)},
        f"{key}.cls": str(facts["label"]).encode(),
        f"{key}.json": json.dumps(known, ensure_ascii=False).encode(),
    }


def _clip_row(key: str, facts: Facts, video: bytes) -> TrainerRow:
    """Return the content of each file of a sample, by name: KEY.mp4, KEY.cls, KEY.json."""
    content = json.dumps(facts, ensure_ascii=False).encode()
    return {f"{key}.mp4": video, f"{key}.cls": str(facts["label"]).encode(), f"{key}.json": content}


def _encode_clip(folder: Path, item: Item, *, fine: bool = True) -> bytes:
    """Return the clip as an mp4 file, which passes through the folder."""
    path = folder / "clip.mp4"
    write_video(path, item.frames, DEFAULT_FPS, fine=fine)
    video = path.read_bytes()
    path.unlink()
    return video


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
    files = [io.BytesIO() for _ in item.frames]
    for file, frame in zip(files, item.frames, strict=True):
        PIL.Image.fromarray(frame.cpu().numpy().transpose(1, 2, 0)).save(file, format="PNG")
    return [file.getvalue() for file in files]


def _frame_cells(folder: Path, item: Item) -> list[TrainerRow]:
    """Return the pictures as `datasets` stores them in a column of images."""
    pictures = enumerate(_encode_frames(folder, item))
    return [{"bytes": picture, "path": f"{item.stem}-{place:02d}.png"} for place, picture in pictures]


def _hf_media(folder: Path, item: Item) -> TrainerRow:
    """Return the keyframes as a video, which browsers play, and as pictures."""
    clip = {"bytes": _encode_clip(folder, item, fine=False), "path": f"{item.stem}.mp4"}
    return {"clip": clip, "frames": _frame_cells(folder, item)}


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


def _write_frame_shards(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    write_shards(folder, rows, facts["shard_bytes"])


def _write_clip_shards(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    write_shards(folder, rows, facts["shard_bytes"])
    write_json(folder / CLASSES_FILE, {name: facts[name] for name in FOR_TRAINERS})
    (folder / "README.md").write_text(readme(facts), encoding="utf-8")


def _write_trl(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    """Write what TRL's SFTTrainer takes: it has no videos column, so frames are images before the first user text."""
    from datasets import Image, List, Value

    message = {"role": Value("string"), "content": Value("string")}
    columns = {"messages": List(message), "images": List(Image())}
    listed = "`messages` (user, assistant) and `images` (the keyframes, in time order)"
    _write_table(folder, rows, facts, columns, listed)


def _write_hf(folder: Path, rows: Iterable[TrainerRow], facts: Facts) -> None:
    """Write a data set with a column for everything that is known about a video."""
    from datasets import ClassLabel, Image, List, Value, Video

    columns = {
        "clip": Video(decode=False),  # To decode it, `datasets` needs torchcodec.
        "frames": List(Image()),
        "times_seconds": List(Value("float64")),
        "label": ClassLabel(names=list(facts["names"])),
        **dict.fromkeys(("class", "question", "answer", "video"), Value("string")),
    }
    listed = "`clip` (an mp4 of the keyframes), `frames` (the same as pictures, in time order), `times_seconds` of "
    listed += "each in its video, `label` and `class`, "
    listed += "`question` and `answer`, `video` (its path in the data set)"
    if facts["soft"]:
        columns["probabilities"] = List(Value("float32"))
        listed += ", `probabilities` of a teacher"
    _write_table(folder, rows, facts, columns, listed)


def _write_table(folder: Path, rows: Iterable[TrainerRow], facts: Facts, columns: dict[str, Any], listed: str) -> None:
    """Write a parquet table and a card; values of the rows that are no columns are left out.

    The schema is that which `datasets` itself makes of the features: `load_dataset` recognizes pictures and classes.
    """
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


def _card(facts: Facts, num_rows: int, columns: str) -> str:
    pictures = "frames of the source videos, at their own size"
    if facts["pixels"] != "source":
        pictures = f"decoded from the latents of codec {facts['codec']}"
    return data_card(
        facts,
        holds=f"{num_rows} rows of keyframes with questions, from a set that stands for a folder of videos.",
        contents=[
            ("Columns", columns),
            ("Pictures", pictures),
            ("Questions", f"{facts['questions']}, drawn with seed {facts['seed']}"),
        ],
        use='```python\nfrom datasets import load_dataset\n\nrows = load_dataset("this folder", split="train")\n```',
        data_files=PARQUET.as_posix(),
        tasks=("video-classification", "visual-question-answering"),
    )


COMMANDS = {
    # The trainer's own video_max_pixels, 256 x 256, is below the least size of the processor that follows.
    "llama-factory": "llamafactory-cli train --stage sft --do_train true "
    f"--model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct --template qwen2_vl --dataset {DATASET} "
    f"--dataset_dir {{quoted}} --media_dir {{quoted}} --video_max_pixels {MAX_PIXELS} --cutoff_len {{cutoff}} "
    "--finetuning_type lora --bf16 true --output_dir {quoted}-lora",
    # The trainer's own limits, 8 frames and 512 tokens, cut what is longer; its least size is twice the processor's.
    "qwen": "in qwen-vl-finetune, enter in data_dict of qwenvl/data/__init__.py: "
    f'"{DATASET}": {{{{"annotation_path": "{{folder}}/annotations.json", "data_path": "{{folder}}"}}}}\n'
    "torchrun --nproc_per_node 1 qwenvl/train/train_qwen.py --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct "
    f"--dataset_use {DATASET} --lora_enable True --video_fps 2 --video_min_frames 4 --video_max_frames {{frames}} "
    f"--video_min_pixels 100352 --video_max_pixels {MAX_PIXELS} --model_max_length {{cutoff}} --bf16 True "
    "--output_dir {quoted}-lora",
    "trl": "trl sft --model_name_or_path Qwen/Qwen2.5-VL-7B-Instruct --dataset_name {quoted} --max_length None "
    "--use_peft --output_dir {quoted}-lora",
    "hf": 'python -c "from sys import argv; from datasets import load_dataset; '
    "print(load_dataset(argv[1], split='train')[0])\" {quoted}",
    "webdataset": "the training loop is in {folder}/README.md\n"
    'python -c "from sys import argv; from webdataset import WebDataset; '
    "print(next(iter(WebDataset(argv[1], shardshuffle=False)))['json'].decode())\" {quoted}/shard-000000.tar",
    "webdataset-frames": 'python -c "from sys import argv; from webdataset import WebDataset; '
    "print(next(iter(WebDataset(argv[1], shardshuffle=False).decode('pil'))))\" {quoted}/shard-000000.tar",
    "frames": "head -n 1 {quoted}/train.jsonl",
}
"""What to run next, after a line with what to do by hand before: {folder} is the export, {quoted} the same for a shell,
{frames} the frames a video, {cutoff} the tokens of a row."""

_TABLES = ("datasets", "pyarrow")
FORMATS = {
    "llama-factory": Format(_write_frames, _llama_factory_row, _write_llama_factory, NESTED_FRAMES),
    "qwen": Format(_write_mp4, _qwen_row, _write_annotations, QWEN_VIDEO),
    "trl": Format(_frame_cells, _trl_row, _write_trl, QWEN_IMAGE, _TABLES),
    "hf": Format(_hf_media, _hf_row, _write_hf, packages=_TABLES),
    "webdataset": Format(_encode_clip, _clip_row, _write_clip_shards, options=("views", "shard_size")),
    "webdataset-frames": Format(
        _encode_frames, _shard_row, _write_frame_shards, options=(*KEYFRAME_OPTIONS, "shard_size")
    ),
    "frames": Format(_write_frames, _facts_row, _write_lines),
}
"""Every format, by `--to`."""


def cutoff(most_tokens: int) -> int:
    """Return the length at which the trainer may cut rows, when the longest has so many tokens."""
    return max(LEAST_CUTOFF, -(-most_tokens // 1024) * 1024)


def next_steps(to: str, folder: Path, num_keyframes: int, most_tokens: int = 0) -> tuple[str, ...]:
    """Return what to do next with an export of K keyframes a video; the last is a command."""
    names = {"folder": folder, "quoted": shlex.quote(str(folder)), "frames": FORMATS[to].rules.count(num_keyframes)}
    names["cutoff"] = cutoff(most_tokens)
    return tuple(step.format(**names) for step in COMMANDS[to].splitlines())
