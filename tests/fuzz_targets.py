"""What is fuzzed: for each reader of foreign bytes, good inputs to start from, and a call that must end in a result or
an `InputError`. `tests/test_fuzz.py` runs them for seconds, `tools/fuzz.py` for hours.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from export_sets import compress_greys, draw_greys
from labelers import random_labeler
from numbered_videos import gray, write
from test_artifact import make_set
from test_sources import parquet_table, write_parquet

from videocompressa.artifact import to_bytes
from videocompressa.artifact.container import metadata_of, parse, unpack_text
from videocompressa.artifact.lzma_stream import pack_bytes
from videocompressa.artifact.metadata import KEY
from videocompressa.artifact.packing import memories, streams, transform, tucker, unpacked
from videocompressa.artifact.set_file import set_of
from videocompressa.clip import ClipSpec, CodecSpec
from videocompressa.datasets import decode_split, find_videos
from videocompressa.datasets.journal import Journal
from videocompressa.errors import InputError
from videocompressa.video import probe, read_frames
from videocompressa.video.source import ReadVideo
from videocompressa.vlm.export.check import check_export
from videocompressa.vlm.export.run import export_set


@dataclass(frozen=True)
class Target:
    """One reader."""

    seeds: Callable[[Path], dict[str, bytes]]
    """(an empty folder for work files) -> good inputs by name."""
    call: Callable[[bytes, Path], None]
    """Read bytes; the folder is the one of `seeds`. Any error but an `InputError` is a defect."""


# ------------------------------------------------------------------------------------------------------------ videos

CODECS = {
    "a.mp4": {}, "b.mkv": {}, "c.avi": {"codec": "mpeg4"}, "d.ts": {}, "e.webm": {"codec": "libvpx"},
    "f.gif": {"codec": "gif", "pix_fmt": "rgb8"}, "g.mpg": {"codec": "mpeg2video"}, "h.mov": {"turned": 90},
}  # fmt: skip


def _video_seeds(folder: Path) -> dict[str, bytes]:
    pictures = [gray(20 * n) for n in range(12)]
    files = {name: write(folder / name, pictures, **options) for name, options in CODECS.items()}  # type: ignore[arg-type]
    return {name: path.read_bytes() for name, path in files.items()}


def read_video(data: bytes, folder: Path) -> None:
    """Read a video as a run does: from its bytes, and from a file."""
    (folder / "fuzzed.mp4").write_bytes(data)
    for source in (folder / "fuzzed.mp4", ReadVideo(folder / "fuzzed.tar", "fuzzed.avi", data)):
        with suppress(InputError):
            decoded = read_frames(source, 4, 16, 24)
            assert decoded.frames.shape == (4, 3, 16, 24)
            assert np.isfinite(decoded.pts_seconds).all()
            assert all(a <= b for a, b in pairwise(decoded.pts_seconds.tolist()))
            assert probe(source).num_frames == decoded.num_video_frames


# ------------------------------------------------------------------------------------------------------------- lists


def _lists(files: dict[str, str], *videos: str) -> Target:
    """Lists of a layout; the first byte of an input chooses which of them the rest replaces."""
    names = list(files)

    def seeds(folder: Path) -> dict[str, bytes]:
        for name in (*files, *videos):
            (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        for name in videos:
            (folder / "set" / name).write_bytes(b"0")
        _restore(folder)
        find_videos(folder / "set")
        return {f"{n}": bytes([n]) + files[name].encode() for n, name in enumerate(names)}

    def _restore(folder: Path) -> None:
        for name, text in files.items():
            (folder / "set" / name).write_text(text)

    def call(data: bytes, folder: Path) -> None:
        _restore(folder)
        (folder / "set" / names[data[0] % len(names) if data else 0]).write_bytes(data[1:])
        with suppress(InputError):
            assert len(find_videos(folder / "set").classes) >= 2

    return Target(seeds, call)


KINETICS = "label,youtube_id,time_start,time_end,split\nrun,aaa,1,11,train\nwalk,bbb,2,12,test\n"
LISTS = {
    "csv": _lists({"splits.csv": 'path,label,split,group\na.mp4,run,train,1\n"b.mp4",walk,test,2\n'}, "a.mp4", "b.mp4"),
    "ucf101": _lists(
        {
            "classInd.txt": "1 run\n2 walk\n",
            "trainlist01.txt": "run/v_run_g01_c01.avi 1\nwalk/v_walk_g01_c01.avi 2\n",
            "testlist01.txt": "run/v_run_g02_c01.avi\n",
        },
        "run/v_run_g01_c01.avi", "walk/v_walk_g01_c01.avi",
    ),
    "hmdb51": _lists({f"{name}_test_split1.txt": f"{name}.avi 1\nb.avi 2\n" for name in ("run", "walk")}, "run.avi"),
    "kinetics": _lists({"train.csv": KINETICS}, "aaa_000001_000011.mp4"),
    "ssv2": _lists(
        {
            "labels.json": '{"Putting something": "0", "Taking something": "1"}',
            "train.json": '[{"id": "1", "template": "Putting [something]"}, '
            '{"id": "2", "template": "Taking something"}]',
        },
        "1.webm", "2.webm",
    ),
    "videofolder": _lists(
        {"train/metadata.jsonl": '{"file_name": "a.mp4", "label": "x"}\n{"file_name": "b.mp4", "label": 3}\n'},
        "train/a.mp4", "train/b.mp4",
    ),
}  # fmt: skip
"""Layouts with text lists."""


def _tar(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def _tar_seeds(folder: Path) -> dict[str, bytes]:
    members = {"a.mp4": b"0", "a.cls": b"run", "b.mp4": b"1", "b.json": b'{"label": "walk"}'}
    return {"a.tar": _tar(members)}


def _parquet_seeds(folder: Path) -> dict[str, bytes]:
    table = parquet_table([(b"0", "a.mp4", 0), (b"1", "b.mp4", 1)], names=["run", "walk"])
    return {"a.parquet": write_parquet(table, folder / "train.parquet").read_bytes()}


def _packed(name: str) -> Callable[[bytes, Path], None]:
    def call(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        with suppress(InputError):
            for entry in find_videos(folder / name).entries:
                entry.source.read_bytes()

    return call


# -------------------------------------------------------------------------------------------------------------- sets


def sets() -> dict[str, bytes]:
    """One small set of every packing, one with soft labels, one with a labeler."""
    pixels = CodecSpec("pixel", "", 3, 1, (0.5,) * 3, (0.25,) * 3, 0)
    pictures = make_set(latents=torch.rand(2, 3, 3, 8, 8) * 2 - 1, codec=pixels)
    frames = ((pictures.latents * 0.25 + 0.5) * 255).round().clamp(0, 255).to(torch.uint8)
    plain = make_set()
    packed: dict[str, tuple[Any, str, dict[str, torch.Tensor]]] = {
        name: (pictures, coder.packing, {coder.tensor: streams.joined([coder.encode(clip, 40) for clip in frames])})
        for name, coder in streams.CODERS.items()
    }
    packed["transform"] = plain, transform.NAME, transform.pack(plain.latents, torch.ones(2), 0.05)
    packed["low"] = (
        pictures, transform.LOW, transform.pack(pictures.latents, torch.ones(3), 0.5, name=transform.LOW),
    )  # fmt: skip
    packed["tucker"] = plain, "tucker", tucker.pack(plain.latents)
    every = replace(plain, clip=ClipSpec(3, 8, 8), positions=torch.arange(3).repeat(2, 1))
    motion, weight, bias = torch.rand(2, 3, 2, 2), torch.rand(2, 3, 3, 3, 3), torch.zeros(2)
    packed["s2d"] = every, "s2d", memories.pack(plain.latents[:, :1], motion, weight, bias)
    made = {name: to_bytes(_with(*how)) for name, how in packed.items()}
    return made | {
        "dense": to_bytes(plain), "float16": to_bytes(make_set(soft=True), "float16"),
        "labeler": to_bytes(make_set(labeler=random_labeler(normalization=plain.normalization))),
    }  # fmt: skip


def _with(synthetic: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    latents = unpacked(name, tensors, tuple(synthetic.latents.shape))
    return replace(synthetic, latents=latents, packing=name, packed=tensors)


def read_set_bytes(data: bytes, folder: Path) -> None:
    """Read a set file: tensors, metadata, provenance, packing, labeler; what is read can be written."""
    with suppress(InputError):
        synthetic = set_of(*parse(data))
        assert torch.isfinite(synthetic.latents).all()


def _metadata_seeds(folder: Path) -> dict[str, bytes]:
    seeds = {}
    for number, (name, data) in enumerate(sets().items()):
        (folder / f"{number}.safetensors").write_bytes(data)
        text = unpack_text(safetensors.numpy.load(data)["provenance"].tobytes())
        seeds[name] = bytes([number]) + metadata_of(data)[KEY].encode() + b"\n" + text.encode()
    return seeds


def read_metadata(data: bytes, folder: Path) -> None:
    """Read a set file whose two JSON texts are these lines; the first byte chooses its tensors."""
    files = sorted(folder.iterdir())
    header, _, provenance = data[1:].partition(b"\n")
    tensors = safetensors.numpy.load(files[data[0] % len(files) if data else 0].read_bytes())
    tensors["provenance"] = np.frombuffer(pack_bytes(provenance), np.uint8)
    read_set_bytes(safetensors.numpy.save(tensors, {KEY: header.decode(errors="replace")}), folder)


STREAM_SHAPE = (2, 3, 2, 4, 4)


def _stream_seeds(folder: Path) -> dict[str, bytes]:
    latents = torch.randn(STREAM_SHAPE, generator=torch.Generator().manual_seed(0))
    return {
        str(step): bytes(transform.pack(latents, torch.ones(2), step)["stream"].numpy()) for step in (0.01, 0.2, 5.0)
    }


def read_stream(data: bytes, folder: Path) -> None:
    """Decode a stream of the range coder to the numbers of a set, under both packings."""
    tensors = {
        "stream": torch.frombuffer(bytearray(data or b"\0"), dtype=torch.uint8),
        "steps": torch.full((2,), 0.2, dtype=torch.float16),
    }
    for name in (transform.NAME, transform.LOW):
        with suppress(InputError):
            assert torch.isfinite(unpacked(name, tensors, STREAM_SHAPE)).all()


# ------------------------------------------------------------------------------------------------------------- cache

CLIP = ClipSpec(2, 8, 8)


def _decode(folder: Path) -> Any:
    return decode_split(find_videos(folder / "set"), "train", CLIP, cache=folder / "cache", workers=0).frames.clone()


def _cache_seeds(folder: Path) -> dict[str, bytes]:
    for n in range(20):
        write(folder / "set" / "ab"[n % 2] / f"{n}.avi", [gray(10 * n), gray(10 * n + 5)], codec="mpeg4")
    torch.save(_decode(folder), folder / "expected.pt")
    (journal,) = folder.glob("cache/*/frames.jsonl")
    shutil.copytree(folder / "cache", folder / "good")
    return {"journal": b"\0" + journal.read_bytes(), "binary": b"\1" + journal.with_suffix(".bin").read_bytes()}


def read_cache(data: bytes, folder: Path) -> None:
    """Read a cache whose journal or frames are these bytes: the frames are those of an undamaged one all the same."""
    shutil.rmtree(folder / "cache")
    shutil.copytree(folder / "good", folder / "cache")
    (journal,) = folder.glob("cache/*/frames.jsonl")
    broken = journal.with_suffix(".bin" if data[:1] == b"\1" else ".jsonl")
    broken.write_bytes(data[1:])
    Journal(journal.with_suffix(".bin"))
    assert torch.equal(_decode(folder), torch.load(folder / "expected.pt", weights_only=True))


# ------------------------------------------------------------------------------------------------------------ export

EXPORTS = ("llama-factory", "frames", "webdataset-frames", "hf")


def _export_seeds(folder: Path) -> dict[str, bytes]:
    set_file = compress_greys(draw_greys(folder / "grays"), folder)
    seeds = {}
    for number, name in enumerate(EXPORTS):
        export_set(set_file, folder / name, to=name)
        for path in sorted((folder / name).rglob("*")):
            if path.is_file() and path.suffix != ".md":
                relative = path.relative_to(folder).as_posix().encode()
                seeds[f"{number}-{len(seeds)}"] = relative + b"\n" + path.read_bytes()
        shutil.copytree(folder / name, folder / "good" / name)
    return seeds


def check_exported(data: bytes, folder: Path) -> None:
    """Check an export of which one file, named in the first line, has the bytes of the other lines."""
    named, _, content = data.partition(b"\n")
    name = next((name for name in EXPORTS if named.decode(errors="replace").startswith(f"{name}/")), EXPORTS[0])
    good = {path.relative_to(folder / "good"): path for path in (folder / "good" / name).rglob("*") if path.is_file()}
    broken = next((path for path in good if path.as_posix().encode() == named), min(good))
    (folder / broken).write_bytes(content)
    try:
        with suppress(InputError):
            assert all("\n" not in fault for fault in check_export(folder / name).faults)
    finally:
        shutil.copyfile(good[broken], folder / broken)


TARGETS = {
    "video": Target(_video_seeds, read_video),
    **{f"list-{name}": target for name, target in LISTS.items()},
    "tar": Target(_tar_seeds, _packed("train.tar")),
    "parquet": Target(_parquet_seeds, _packed("train.parquet")),
    "set": Target(lambda folder: sets(), read_set_bytes),
    "metadata": Target(_metadata_seeds, read_metadata),
    "stream": Target(_stream_seeds, read_stream),
    "cache": Target(_cache_seeds, read_cache),
    "export": Target(_export_seeds, check_exported),
}
"""Every reader of bytes from elsewhere."""
