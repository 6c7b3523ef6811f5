"""The same real clips in every form of DATA, on disk and behind stores, teach a student the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
import torch
from cli_runs import Runner
from conftest import SHARED
from range_server import serving
from test_sources import parquet_table, write_parquet, write_tar

from videocompressa.clip import ClipSpec
from videocompressa.codecs import build_codec
from videocompressa.datasets import encode_pass, find_videos

CLIP = ClipSpec(4, 24, 24)
STUDENT = ("--student", "framenet2d", "--steps", "60", "--batch-size", "8", "--seeds", "1", "--workers", "0")
PER_CLASS = {"train": 50, "test": 25}
NUM_CLASSES = 4


@dataclass(frozen=True)
class Sample:
    """One clip; its name has its place in the order that every layout has."""

    name: str
    label: str
    split: str
    data: bytes


@pytest.fixture(scope="module")
def samples(request: pytest.FixtureRequest) -> list[Sample]:
    """300 clips of lip_words or, where they are not there, those of the rendered set."""
    real = SHARED / "data" / "lip_words"
    videos = find_videos(real if real.is_dir() else request.getfixturevalue("rendered_set"))
    samples = []
    for split, count in PER_CLASS.items():
        for label, name in enumerate(videos.classes[:NUM_CLASSES]):
            of_class = [entry.source for entry in videos.select(split).entries if entry.label == label]
            clips = enumerate(source.read_bytes() for source in of_class[:count])
            samples += [Sample(f"{label}-{n:02d}.mp4", name, split, data) for n, data in clips]
    return samples


def write_all(samples: list[Sample], root: Path) -> None:
    """Write every layout, in a folder of its name."""
    rows: dict[str, list[Sample]] = {"train": [], "test": []}
    names = sorted({sample.label for sample in samples})
    for sample in samples:
        rows[sample.split].append(sample)
        flat = f"{sample.split}-{sample.name}"
        in_class, in_split = f"{sample.split}/{sample.label}/{sample.name}", f"{sample.split}/{sample.name}"
        for path in (f"folders/{in_class}", f"csv/{flat}", f"videofolder/{in_split}"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(sample.data)
    lines = [f"{s.split}-{s.name},{s.label},{s.split}\n" for s in samples]
    (root / "csv" / "splits.csv").write_text("path,label,split\n" + "".join(lines))
    for split, those in rows.items():
        metadata = "".join(json.dumps({"file_name": s.name, "label": s.label}) + "\n" for s in those)
        (root / "videofolder" / split / "metadata.jsonl").write_text(metadata)
        table = parquet_table([(s.data, s.name, names.index(s.label)) for s in those], names=names)
        write_parquet(table, root / "parquet" / "data" / f"{split}-00000-of-00001.parquet", row_group_size=16)
        for shard in range(0, len(those), 50):
            members: dict[str, bytes] = {}
            for s in those[shard : shard + 50]:
                members |= {s.name: s.data, s.name.replace(".mp4", ".cls"): s.label.encode()}
            write_tar(root / "webdataset" / f"{split}-{shard:06d}.tar", members)


LAYOUTS = ("folders", "csv", "videofolder", "parquet", "webdataset")
STORES = ("disk", "memory", "http")


@pytest.fixture(scope="module")
def places(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the layouts are, by store."""
    root = tmp_path_factory.mktemp("same")
    write_all(samples, root)
    fsspec.filesystem("memory").put(f"{root}/", "memory://same", recursive=True)
    with serving(root) as store:
        yield {"disk": str(root), "memory": "memory://same", "http": store.url}


@pytest.fixture(scope="module")
def expected() -> dict[str, object]:
    """What the first source gave."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("store", STORES)
def test_every_source_gives_the_same_latents_labels_and_accuracy(
    store: str, layout: str, places: dict[str, str], expected: dict[str, object], tmp_path: Path, run: Runner
) -> None:
    if store == "http":
        pytest.importorskip("aiohttp", reason="needs the extra hub")
    data, cache, given = f"{places[store]}/{layout}", tmp_path / "cache", {}
    for split in PER_CLASS:
        codec, videos = build_codec("ycbcr"), find_videos(data)
        encoded = encode_pass(videos, split, CLIP, codec, cache=cache / "candidates", workers=0)
        given |= {f"{split} latents": encoded.latents[:], f"{split} labels": encoded.labels}
    sizes = ("--size", CLIP.height, "--frames", CLIP.num_frames)
    ran = run("train", data, "--data", data, *sizes, *STUDENT, "--cache", cache, "--device", "cpu", "--json")
    given |= {"accuracy": ran.json["top1_runs"], "confusion": ran.json["confusion"]}
    if not expected:
        expected |= given
        assert sum(map(any, zip(*ran.json["confusion"], strict=True))) > 1  # No constant answer, equal for any data.
    for name, value in given.items():
        same = torch.equal(value, expected[name]) if isinstance(value, torch.Tensor) else value == expected[name]
        assert same, name
