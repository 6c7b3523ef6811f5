"""The file: golden bytes, fixed points, budgets, and every way in which a file can be wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videocompressa import files
from videocompressa.artifact import container, lzma_stream, measure, read_set, set_file, to_bytes, write_set
from videocompressa.artifact.container import LEARNED, Quantization, errors_of, pack_text, parse, unpack_text
from videocompressa.artifact.marks import marks_of, positions_of
from videocompressa.artifact.metadata import FORMAT, LABELER_SCHEMA, PROVENANCE_SCHEMA, SCHEMA, check_schema
from videocompressa.artifact.packing import weights
from videocompressa.artifact.packing.quantization import (
    dequantize,
    label_codes,
    labels_of,
    largest_label_error,
    quantize,
)
from videocompressa.artifact.set_file import set_of
from videocompressa.clip import FITS, ClipSpec, CodecSpec, Normalization
from videocompressa.errors import ArtifactError, InputError
from videocompressa.files import check_output
from videocompressa.networks import STUDENTS
from videocompressa.synthetic import Cost, Provenance, Source, SyntheticSet

ROOT = Path(__file__).parents[1]
KINDS: list[Quantization] = ["int8", "float16"]


def make_set(
    num_items: int = 2, num_classes: int = 2, soft: bool = False, seed: int = 0, **changes: Any
) -> SyntheticSet:
    """Draw a set of N items with 3 keyframes of 2 channels and 2x2 cells."""
    rng = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(num_items, num_classes, generator=rng) + 0.01
    fields: dict[str, Any] = {
        "latents": torch.randint(-500, 500, (num_items, 3, 2, 2, 2), generator=rng) / 200,
        "positions": torch.tensor([[0, 2, 7]]).repeat(num_items, 1),
        "times_seconds": torch.tensor([[0.1, 0.5, 1.75]], dtype=torch.float64).repeat(num_items, 1),
        "labels": probabilities / probabilities.sum(1, keepdim=True) if soft else torch.arange(num_items) % num_classes,
        "classes": tuple(f"class {position}" for position in range(num_classes)),
        "clip": ClipSpec(8, 8, 8),
        "codec": CodecSpec("tiny", "0f" * 32, 2, 4, (0.125, -1.5), (1.0, 0.7), 123456),
        "normalization": Normalization((0.45, 0.4, 0.35), (0.25, 0.2, 0.1)),
        "provenance": Provenance(
            "videocompressa",
            {"steps": 100, "rate": 0.1, "selector": "gumbel"},
            7,
            Source("toy", "ab" * 32, 40, 1200, 999_000, 1),
            tuple(f"class/{item:03d}.mp4" for item in range(num_items)),
            "0.1.0",
        ),
    }
    return SyntheticSet(**(fields | changes))


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(entries: dict[str, Any], body: bytes) -> bytes:
    return joined_text(json.dumps(entries), body)


def joined_text(text: str, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode() + body


def edited(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return a good file whose metadata JSON was changed."""
    entries, body = parts(to_bytes(make_set()))
    content = json.loads(entries["__metadata__"]["videocompressa"])
    change(content)
    entries["__metadata__"]["videocompressa"] = json.dumps(content)
    return joined(entries, body)


def reprovenanced(change: Callable[[dict[str, Any]], None], frames: int = 8) -> bytes:
    """Return a good file whose provenance JSON was changed, with this number of candidate frames."""
    content = json.loads(provenance_text(to_bytes(make_set())))
    change(content)
    tensors = safetensors.numpy.load(to_bytes(make_set())) | {"provenance": as_tensor(json.dumps(content))}
    return safetensors.numpy.save(tensors, parts(edited(set_key("clip", "frames", value=frames)))[0]["__metadata__"])


def provenance_text(data: bytes) -> str:
    return unpack_text(safetensors.numpy.load(data)["provenance"].tobytes())


def as_tensor(text: str) -> Any:
    return np.frombuffer(pack_text(text), np.uint8)


def lzma_tensor(content: bytes) -> Any:
    data = lzma.compress(content, format=lzma.FORMAT_RAW, filters=lzma_stream._FILTERS)
    return np.frombuffer(data, np.uint8)


def retensored(soft: bool = False, **arrays: Any) -> bytes:
    """Return a good file whose tensors were replaced (or, by None, left out)."""
    data = to_bytes(make_set(soft=soft))
    tensors = safetensors.numpy.load(data) | arrays
    return safetensors.numpy.save({k: v for k, v in tensors.items() if v is not None}, parts(data)[0]["__metadata__"])


# ---------------------------------------------------------------------------------------------------------- bytes


def test_golden_bytes() -> None:
    # These bytes are format 1: if they change, raise the format number.
    data = to_bytes(make_set())
    entries, _ = parts(data)
    assert entries["__metadata__"]["videocompressa"] == GOLDEN_JSON
    assert provenance_text(data) == GOLDEN_PROVENANCE
    del entries["__metadata__"]
    size = entries["provenance"]["shape"][0]
    assert entries == {
        "scales": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]},
        "latents": {"dtype": "I8", "shape": [2, 3, 2, 2, 2], "data_offsets": [8, 56]},
        "labels": {"dtype": "U8", "shape": [2], "data_offsets": [56, 58]},
        "provenance": {"dtype": "U8", "shape": [size], "data_offsets": [58, 58 + size]},
    }
    assert hashlib.sha256(data).hexdigest() == GOLDEN_INT8
    assert hashlib.sha256(to_bytes(make_set(soft=True), "float16")).hexdigest() == GOLDEN_SOFT_FLOAT16


GOLDEN_JSON = (
    '{"clip":{"frames":8,"height":8,"placement":"even","width":8},"codec":"tiny","fill":"linear","format":1,"keyframe'
    's":3,"method":"videocompressa","packing":"dense","seed":7,"source":{"bytes":999000,"frames":1200,"name":"toy","sk'
    'ipped":1,"videos":40},"version":"0.1.0"}'
)
GOLDEN_PROVENANCE = (
    '{"classes":["class 0","class 1"],"codec":{"bytes":123456,"channels":2,"downscale":4,"scale":[1.0,0.7],"sha'
    '256":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","shift":[0.125,-1.5]},"config":{"r'
    'ate":0.1,"selector":"gumbel","steps":100},"labeler":{},"normalization":{"mean":[0.45,0.4,0.35],"std":[0.25'
    ',0.2,0.1]},"positions":"a1a1","split":"abababababababababababababababababababababababababababababababab","'
    'times":[100,400,1250,100,400,1250],"videos":["class/000.mp4","class/001.mp4"]}'
)
GOLDEN_INT8 = "959120661fbe6bbc60890ade332a84c08943d561bceacbbcff97d310adb519b5"
GOLDEN_SOFT_FLOAT16 = "3284548d0027380a579985a49d4a523a9994b219cd8f1478145c7dcda24224e3"


def test_another_process_writes_the_same_bytes() -> None:
    code = "import sys, hashlib, test_artifact as t; print(hashlib.sha256(t.to_bytes(t.make_set())).hexdigest())"
    environment = os.environ | {"PYTHONHASHSEED": "4", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == GOLDEN_INT8


def test_a_file_knows_its_videos_by_their_content(tmp_path: Path) -> None:
    plain = make_set(9)
    hashes = tuple(hashlib.sha256(name.encode()).hexdigest()[:10] for name in plain.provenance.video_ids)
    origin = replace(plain.provenance, video_hashes=hashes)
    write_set(replace(plain, provenance=origin), tmp_path / "a.safetensors")
    assert read_set(tmp_path / "a.safetensors").provenance == origin
    assert len(to_bytes(plain)) < (tmp_path / "a.safetensors").stat().st_size <= len(to_bytes(plain)) + 9 * 8
    with pytest.raises(InputError, match="video_hashes has 8 entries for 9 items"):
        replace(plain, provenance=replace(origin, video_hashes=hashes[1:]))


def test_a_file_knows_the_videos_that_its_networks_learned_from(tmp_path: Path) -> None:
    plain, path = make_set(), tmp_path / "a.safetensors"
    hashes = tuple(sorted(hashlib.sha256(bytes([number])).hexdigest()[:10] for number in range(200)))
    learned = replace(plain, provenance=replace(plain.provenance, learned_hashes=hashes))
    cost = write_set(learned, path)
    assert read_set(path).provenance == learned.provenance
    assert to_bytes(read_set(path)) == path.read_bytes()
    assert 0 <= cost.file_bytes - len(to_bytes(plain)) - 5 * len(hashes) < 80  # The entry of the tensor in the header.
    assert cost.latent_bytes == write_set(plain, tmp_path / "b.safetensors").latent_bytes


def test_a_file_stores_how_its_clips_were_placed(tmp_path: Path) -> None:
    clip = ClipSpec(8, 8, 8, "strided:4")
    write_set(make_set(clip=clip), tmp_path / "a.safetensors")
    assert read_set(tmp_path / "a.safetensors").clip == clip


@pytest.mark.parametrize("quantization", KINDS)
@pytest.mark.parametrize("soft", [False, True])
def test_writing_what_was_read_gives_the_same_bytes(tmp_path: Path, quantization: Quantization, soft: bool) -> None:
    synthetic = make_set(9, 5, soft, latents=torch.randn(9, 3, 2, 2, 2, generator=torch.Generator().manual_seed(2)))
    write_set(synthetic, tmp_path / "a.safetensors", quantization=quantization)
    back = read_set(tmp_path / "a.safetensors")
    write_set(back, tmp_path / "b.safetensors", quantization=quantization)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("quantization", KINDS)
@pytest.mark.parametrize("soft", [False, True])
def test_reading_gives_back_the_set(tmp_path: Path, quantization: Quantization, soft: bool) -> None:
    synthetic = make_set(4, 3, soft, fill="linear")
    write_set(synthetic, tmp_path / "a.safetensors", quantization=quantization)
    back = read_set(tmp_path / "a.safetensors")
    for name in ("classes", "clip", "codec", "normalization", "provenance", "fill", "packing"):
        assert getattr(back, name) == getattr(synthetic, name)
    assert torch.equal(back.positions, synthetic.positions)
    assert torch.equal(back.times_seconds, synthetic.times_seconds)  # whole milliseconds
    assert back.labels.dtype == synthetic.labels.dtype
    torch.testing.assert_close(back.labels, synthetic.labels, rtol=0, atol=largest_label_error(3) if soft else 0)
    assert (back.latents - synthetic.latents).abs().max() <= 2.5 / 127 / 2 * 1.001


def test_many_frames_and_classes_take_two_bytes_each(tmp_path: Path) -> None:
    positions = torch.tensor([[0, 255, 256], [3, 4, 299]])
    synthetic = make_set(2, 300, clip=ClipSpec(300, 8, 8), positions=positions, labels=torch.tensor([299, 256]))
    budget = write_set(synthetic, tmp_path / "a.safetensors")
    back = read_set(tmp_path / "a.safetensors")
    assert torch.equal(back.positions, positions)
    assert back.labels.tolist() == [299, 256]
    assert budget.label_bytes == 4


def test_numbers_of_the_config_are_stored_as_json_does(tmp_path: Path) -> None:
    provenance = replace(make_set().provenance, config={10: (1, 2), 9: {"a": None}})
    write_set(make_set(provenance=provenance), tmp_path / "a")
    assert read_set(tmp_path / "a").provenance.config == {"10": [1, 2], "9": {"a": None}}
    write_set(read_set(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_names_of_any_script_and_of_broken_encoding_are_kept(tmp_path: Path) -> None:
    classes = ('坐下 "now"', os.fsdecode(b"stand \xff up"))
    write_set(make_set(classes=classes), tmp_path / "a")
    assert read_set(tmp_path / "a").classes == classes


# --------------------------------------------------------------------------------------------------------- numbers


finite = st.floats(-1e6, 1e6, width=32)


@given(st.lists(finite, min_size=12, max_size=12))
def test_quantizing_is_off_by_half_a_step_at_most(values: list[float]) -> None:
    latents = torch.tensor(values, dtype=torch.float32).view(1, 3, 2, 2, 1)
    quantized, scales = quantize(latents)
    back = dequantize(quantized, scales)
    steps = scales.double()[:, None, :, None, None]
    assert ((back.double() - latents.double()).abs() <= 0.5001 * steps).all()
    largest = latents.double().abs().amax((1, 3, 4))
    assert (scales.double() <= torch.clamp(largest / 127 * (1 + 2**-11), min=2.0**-14)).all()


@given(st.lists(finite, min_size=12, max_size=12))
def test_quantizing_is_its_own_fixed_point(values: list[float]) -> None:
    first, scales = quantize(torch.tensor(values, dtype=torch.float32).view(1, 3, 2, 2, 1))
    second, again = quantize(dequantize(first, scales))
    assert torch.equal(first, second)
    assert torch.equal(scales, again)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e7])
def test_latents_without_a_scale_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"they must be finite and below 8\.3e6"):
        quantize(torch.full((1, 1, 1, 1, 1), value))


@settings(max_examples=200)
@given(st.integers(1, 300), st.floats(0.01, 30), st.integers(0, 2**30))
def test_soft_labels_are_stored_within_the_bound_and_as_their_own_fixed_point(
    num_classes: int, spread: float, seed: int
) -> None:
    logits = torch.randn(4, num_classes, generator=torch.Generator().manual_seed(seed)) * spread
    labels = logits.softmax(1)
    codes = label_codes(labels)
    back = labels_of(codes)
    assert codes.dtype == torch.uint8
    assert codes.amax(1).tolist() == [255] * 4
    torch.testing.assert_close(back.sum(1), torch.ones(4), rtol=0, atol=1e-5)
    assert (back - labels).abs().max() <= largest_label_error(num_classes) + 1e-6
    assert torch.equal(label_codes(back), codes)


def test_every_code_is_its_own_fixed_point() -> None:
    codes = torch.stack([torch.arange(256), torch.full((256,), 255)], 1).to(torch.uint8)
    assert torch.equal(label_codes(labels_of(codes)), codes)


@pytest.mark.parametrize("num_classes", [2, 16, 101, 1000])
def test_the_bound_of_soft_labels_is_near_what_can_happen(num_classes: int) -> None:
    # All but the largest are just below the middle between two codes: every rounding errs to the same side.
    worst = 0.0
    for code in range(1, 255):
        shares = torch.full((num_classes,), (code + 0.499) / 255, dtype=torch.float64).square()
        shares[0] = 1
        labels = (shares / shares.sum())[None]
        worst = max(worst, float((labels_of(label_codes(labels)) - labels).abs().max()))
    assert 0.5 < worst / largest_label_error(num_classes) <= 1


def test_small_probabilities_keep_their_order() -> None:
    labels = torch.tensor([[0.9, 1e-4, 2e-5, 1e-6]])
    first, second, third, lost = label_codes(labels)[0].tolist()
    assert first > second > third > lost == 0


# --------------------------------------------------------------------------------------------------------- times


@given(st.lists(st.floats(0, 1e4), min_size=3, max_size=3), st.floats(-10, 10))
def test_times_are_kept_to_half_a_millisecond(steps: list[float], start: float) -> None:
    times = start + torch.tensor([steps], dtype=torch.float64).cumsum(1)
    data = to_bytes(make_set(1, times_seconds=times))
    back = set_of(*parse(data))
    assert (back.times_seconds - times).abs().max() <= 0.0005 + 1e-9
    assert to_bytes(back) == data


def test_frames_at_240_a_second_are_distinct() -> None:
    times = torch.arange(3, dtype=torch.float64)[None] / 240 + 1234.5
    back = set_of(*parse(to_bytes(make_set(1, times_seconds=times)))).times_seconds
    assert ((back * 240 - 1234.5 * 240).round() == torch.arange(3)).all()


# ------------------------------------------------------------------------------------------------------- positions


rows_of_frames = st.integers(1, 40).flatmap(
    lambda frames: st.integers(1, frames).flatmap(
        lambda keyframes: st.tuples(
            st.just(frames),
            st.lists(
                st.permutations(range(frames)).map(lambda order: sorted(order[:keyframes])), min_size=1, max_size=5
            ),
        )
    )
)


@given(rows_of_frames)
def test_any_positions_are_kept_as_marks(case: tuple[int, list[list[int]]]) -> None:
    num_frames, rows = case
    marks = marks_of(rows, num_frames)
    assert positions_of(marks, len(rows), len(rows[0]), num_frames).tolist() == rows
    complete = len(rows[0]) == num_frames
    # The first frame is the highest bit of the first digit.
    bits = "".join(
        str(int(frame in row)) if frame < num_frames else "0"
        for row in rows
        for frame in range(-num_frames % 4 + num_frames)
    )
    assert marks == ("" if complete else "".join(f"{int(bits[at : at + 4], 2):x}" for at in range(0, len(bits), 4)))


def test_keeping_all_frames_takes_no_marks(tmp_path: Path) -> None:
    synthetic = make_set(clip=ClipSpec(3, 8, 8), positions=torch.arange(3).repeat(2, 1))
    write_set(synthetic, tmp_path / "a")
    assert json.loads(provenance_text((tmp_path / "a").read_bytes()))["positions"] == ""
    assert torch.equal(read_set(tmp_path / "a").positions, synthetic.positions)


@pytest.mark.parametrize("row", [[0, 2, 1], [0, 0, 1], [-1, 0, 1], [0, 1, 8]])
def test_positions_without_marks_are_refused(row: list[int]) -> None:
    with pytest.raises(InputError, match=r"positions \[.*\] must rise within \[0,8\)"):
        marks_of([[0, 1, 2], row], 8)


# ----------------------------------------------------------------------------------------------------- provenance


ascii_text = st.text(st.characters(min_codepoint=0, max_codepoint=127))


@given(ascii_text)
def test_any_text_is_packed_and_unpacked(text: str) -> None:
    data = pack_text(text)
    assert unpack_text(data) == text
    assert pack_text(text) == data
    for damaged in (data[:-1], data + b"\0", b""):
        with pytest.raises(InputError, match="tensor provenance"):
            unpack_text(damaged)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_text_or_refused(data: bytes) -> None:
    with suppress(InputError):
        assert isinstance(unpack_text(data), str)


def test_a_longer_text_than_is_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_TEXT_BYTES", 99)
    with pytest.raises(InputError, match=r"has \d+ characters; a file holds up to 99: shorten the paths"):
        to_bytes(make_set())


def test_normalization_is_kept_to_six_digits(tmp_path: Path) -> None:
    thirds = Normalization((1 / 3, 2 / 3, 1 / 7), (1 / 9, 1 / 11, 1e-5 / 3))
    write_set(make_set(normalization=thirds), tmp_path / "a")
    back = read_set(tmp_path / "a").normalization
    assert back.mean + back.std == pytest.approx(thirds.mean + thirds.std, rel=5e-6)


# --------------------------------------------------------------------------------------------------------- budgets


def test_budget_equals_the_hand_computation(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    budget = write_set(make_set(), path)
    size = path.stat().st_size
    assert budget == Cost(
        num_videos=2,
        num_frames=2 * 3,
        frame_ratio=6 / 1200,
        latent_bytes=2 * 3 * 2 * 2 * 2 + 2 * 2 * 2,  # int8 cells, float16 scales
        label_bytes=2,
        labeler_bytes=0,
        file_bytes=size,
        byte_ratio=size / 999_000,
        codec_bytes=123456,
    )
    assert measure(path) == budget


def test_a_frame_that_fills_a_short_clip_counts_once(tmp_path: Path) -> None:
    times = torch.tensor([[0.1, 0.1, 0.4], [0.0, 0.2, 0.4]], dtype=torch.float64)
    source = Source("toy", "ab" * 32, 2, 5, 999_000)
    synthetic = make_set()
    short = replace(synthetic, times_seconds=times, provenance=replace(synthetic.provenance, source=source))
    budget = write_set(short, tmp_path / "a.safetensors")
    assert (budget.num_frames, budget.frame_ratio) == (5, 1.0)


def test_budget_of_soft_float16(tmp_path: Path) -> None:
    budget = write_set(make_set(4, 5, soft=True), tmp_path / "a", quantization="float16")
    assert budget.latent_bytes == 4 * 3 * 2 * 2 * 2 * 2
    assert budget.label_bytes == 4 * 5


# --------------------------------------------------------------------------------------------------------- writing


def test_an_output_that_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match=r"a\.safetensors exists; give --force to replace it"):
        write_set(make_set(), path)
    assert path.read_bytes() == b"precious"
    write_set(make_set(), path, overwrite=True)
    assert len(read_set(path)) == 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder .*absent does not exist; make it first"):
        write_set(make_set(), tmp_path / "absent" / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; give the name of a \.safetensors file"):
        check_output(tmp_path, overwrite=True)


def test_checking_the_target_leaves_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


FAULTS = [
    (errno.ENOSPC, "no space left; free some or choose another folder"),
    (errno.EDQUOT, "the disk quota is used up"),
    (errno.EROFS, "the file system is read-only; choose another folder"),
    (errno.EACCES, "permission denied; choose a folder you may write to"),
    (errno.EIO, os.strerror(errno.EIO)),
]


@pytest.mark.parametrize(("code", "message"), FAULTS)
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failing_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str, call: str, old: bytes | None
) -> None:
    path = tmp_path / "a.safetensors"
    if old:
        path.write_bytes(old)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(InputError, match=rf"^cannot write .*a\.safetensors: {message}[^\n]*$"):
        write_set(make_set(), path, overwrite=True)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == ({"a.safetensors": old} if old else {})


def test_a_folder_that_cannot_be_written_is_found_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="the file system is read-only"):
        check_output(tmp_path / "a.safetensors")


def test_a_name_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^cannot write .*File name too long$"):
        check_output(tmp_path / ("a" * 300))


def test_interrupting_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_set(make_set(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_do_not_decode_to_the_set_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        quantized, scales = quantize(latents)
        return quantized.roll(1, 1), scales

    monkeypatch.setattr(set_file, "quantize", wrong)
    with pytest.raises(ArtifactError, match="was not written: its bytes do not decode to the set"):
        write_set(make_set(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_ids": ("/home/me/a.mp4", "b.mp4")}, r"video id '/home/me/a.mp4' must be a path relative to the root"),
        ({"video_ids": ("C:\\a.mp4", "b.mp4")}, "must be a path relative to the root"),
        ({"video_ids": ("x/../../a.mp4", "b.mp4")}, "without '..'"),
        ({"source": Source("/data/toy", "", 1, 1, 1)}, r"Source.name is '/data/toy'; give the name of the folder"),
        ({"source": Source("toy", "", 1, 0, 1)}, "Source.num_frames is 0; budgets need it to be at least 1"),
        ({"source": Source("toy", "", 1, 1, 0)}, "Source.video_bytes is 0; budgets need it to be at least 1"),
        ({"config": {"a": [{"b": "/data"}]}}, r"config\.a\[\]\.b holds the absolute path '/data'"),
        ({"config": {"a": float("nan")}}, "cannot be stored as JSON: .*may hold only numbers, text, lists"),
        ({"config": {"a": torch.zeros(1)}}, "cannot be stored as JSON: Object of type Tensor"),
    ],
)
def test_provenance_of_places_and_of_objects_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_bytes(make_set(provenance=replace(make_set().provenance, **changes)))


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("diffusers:/models/taesd/", "diffusers:taesd"),
        ("diffusers:C:\\models\\taesd", "diffusers:taesd"),
        ("diffusers:org/taesd", "diffusers:org/taesd"),
        ("tiny", "tiny"),
    ],
)
def test_codec_names_lose_the_place_of_their_folder(tmp_path: Path, name: str, stored: str) -> None:
    synthetic = make_set()
    write_set(replace(synthetic, codec=replace(synthetic.codec, name=name)), tmp_path / "a")
    assert read_set(tmp_path / "a").codec.name == stored


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: to_bytes(make_set(packing="zip", packed={"z": torch.zeros(1)})),
            "packing is 'zip'; known: dense",
        ),
        (lambda: to_bytes(make_set(), "int4"), "quantization is 'int4'; known: int8, float16"),  # type: ignore[arg-type]
        (lambda: to_bytes(make_set(clip=ClipSpec(70000, 8, 8))), "70000 candidate frames; the file holds up to 65536"),
        (
            lambda: to_bytes(make_set(1, times_seconds=torch.full((1, 3), 1e10, dtype=torch.float64))),
            r"times_seconds leave \+-1000000000 seconds",
        ),
        (lambda: to_bytes(make_set(2, 70000)), "70000 classes; the file holds up to 65536"),
        (lambda: to_bytes(make_set(latents=torch.full((2, 3, 2, 2, 2), 7e4)), "float16"), "range of float16"),
    ],
)
def test_sets_the_file_cannot_hold_are_refused(make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_how_frames_are_fitted_is_kept_and_a_crop_costs_no_bytes(tmp_path: Path) -> None:
    written = {}
    for fit in FITS:
        path = tmp_path / f"{fit}.safetensors"
        write_set(make_set(clip=ClipSpec(8, 8, 8, fit=fit)), path)
        assert read_set(path).clip.fit == fit
        written[fit] = b"fit" in path.read_bytes()
    assert written == {"crop": False, "pad": True, "stretch": True}


# ----------------------------------------------------------------------------------------------------------- abuse


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data, path = to_bytes(make_set()), tmp_path / "a.safetensors"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError, match=r"no safetensors file|truncated"):
            read_set(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ArtifactError, match="truncated or damaged"):
        measure(path)


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_never_ends_in_another_error(place: int, change: int) -> None:
    data = bytearray(to_bytes(make_set()))
    data[place % len(data)] ^= change
    # Many changed bytes, such as those of a latent, make another good file; any other error fails the test.
    with suppress(ArtifactError), errors_of("a.safetensors"):
        set_of(*parse(bytes(data)))


def overlapping() -> bytes:
    entries, body = parts(to_bytes(make_set()))
    entries["labels"]["data_offsets"] = [0, 2]
    return joined(entries, body)


def set_key(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def remetadata(metadata: Any) -> bytes:
    entries, body = parts(to_bytes(make_set()))
    entries["__metadata__"] = metadata
    return joined(entries, body)


def one_item(values: Any, dtype: Any) -> Any:
    return np.asarray(values, dtype)


ABUSE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is no safetensors file: it has 0 bytes"),
    "text": (
        lambda: b"hello, this is a text file",
        "so not a set file; give one that videocompressa wrote",
    ),
    "huge header": (lambda: struct.pack("<Q", 2**40) + b"{}", "is no safetensors file, so not a set file"),
    "header beyond end": (lambda: struct.pack("<Q", 999) + b"{}", "is truncated: its header has 999 bytes"),
    "header no JSON": (lambda: struct.pack("<Q", 4) + b"{..}", "its header is not JSON"),
    "header nested": (lambda: struct.pack("<Q", 200_000) + b"[" * 200_000, "its header is not JSON"),
    "header a list": (lambda: struct.pack("<Q", 2) + b"[]", "its header is not an object"),
    "foreign": (lambda: safetensors.numpy.save({"w": np.zeros(3)}), r"no synthetic set: its metadata keys are \[\]"),
    "foreign keys": (lambda: remetadata({"format": "pt"}), r"metadata keys are \[format\], not \[videocompressa\]"),
    "two keys": (lambda: remetadata({"format": "pt", "videocompressa": "{}"}), r"keys are \[format, videocompressa\]"),
    "key twice": (
        lambda: remetadata({"videocompressa": GOLDEN_JSON.replace('"seed":7', '"seed":7,"seed":8')}),
        "metadata 'videocompressa' is not JSON: key 'seed' comes twice",
    ),
    "tensor twice": (
        lambda: joined_text(json.dumps(parts(to_bytes(make_set()))[0])[:-1] + ', "labels": {}}'),
        r"its header is not JSON \(key 'labels' comes twice\)",
    ),
    "provenance key twice": (
        lambda: retensored(provenance=as_tensor(GOLDEN_PROVENANCE.replace('"split"', '"labeler":{},"split"'))),
        "metadata 'provenance' is not JSON: key 'labeler' comes twice",
    ),
    "JSON list": (lambda: remetadata({"videocompressa": "[]"}), "metadata 'videocompressa' is not an object"),
    "no JSON": (lambda: remetadata({"videocompressa": "{"}), "metadata 'videocompressa' is not JSON"),
    "NaN JSON": (
        lambda: reprovenanced(set_key("codec", "shift", value=[float("nan"), 0.0])),
        "NaN is not a JSON number",
    ),
    "no format": (lambda: remetadata({"videocompressa": "{}"}), "has no format number"),
    "text format": (lambda: edited(set_key("format", value="1")), "has no format number"),
    "later": (
        lambda: edited(set_key("format", value=7)),
        "format 7, this version reads format 1; upgrade videocompressa",
    ),
    "earlier": (
        lambda: edited(set_key("format", value=0)),
        "format 0, this version reads format 1; compress the videos again",
    ),
    "missing key": (lambda: edited(lambda content: content.pop("seed")), "metadata videocompressa lacks seed"),
    "extra key": (lambda: edited(set_key("host", value="x")), "metadata videocompressa has unknown keys host"),
    "inner key": (lambda: edited(lambda content: content["clip"].pop("width")), "videocompressa.clip lacks width"),
    "no object": (lambda: edited(set_key("clip", value=3)), "videocompressa.clip is not an object"),
    "no list": (lambda: reprovenanced(set_key("classes", value="ab")), "provenance.classes is not a list"),
    "wrong kind": (lambda: edited(set_key("seed", value=1.5)), "videocompressa.seed is 1.5; it must be int"),
    "wrong item": (lambda: reprovenanced(set_key("classes", value=[1, 2])), r"classes\[\] is 1; it must be str"),
    "config no object": (lambda: reprovenanced(set_key("config", value=[])), r"config is \[\]; it must be dict"),
    "shift count": (
        lambda: reprovenanced(set_key("codec", "shift", value=[0.0])),
        "shift has 1 numbers; it must have 2",
    ),
    "mean count": (
        lambda: reprovenanced(set_key("normalization", "mean", value=[0.0])),
        "mean has 1 numbers; it must have 3",
    ),
    "overflow": (
        lambda: retensored(provenance=as_tensor(GOLDEN_PROVENANCE.replace("0.35", "1e999"))),
        "mean holds numbers that are not finite",
    ),
    "channels": (lambda: reprovenanced(set_key("codec", "channels", value=0)), "channels or downscale below 1"),
    "downscale": (lambda: reprovenanced(set_key("codec", "downscale", value=0)), "channels or downscale below 1"),
    "clip": (lambda: edited(set_key("clip", "frames", value=0)), "ClipSpec.num_frames is 0"),
    "fit": (lambda: edited(set_key("clip", "fit", value="x")), "fit is 'x'; known: crop, pad, stretch"),
    "placement": (lambda: edited(set_key("clip", "placement", value="x")), "placement is 'x'; known: 'even'"),
    "size": (lambda: edited(set_key("clip", "height", value=9)), "needs sides in multiples of 4"),
    "cells": (
        lambda: edited(set_key("clip", "height", value=16)),
        r"latents is int8 .* it must be int8 \(2, 3, 2, 4, 2",
    ),
    "packing": (
        lambda: edited(set_key("packing", value="zip")),
        "packing 'zip'; this version reads dense",
    ),
    "fill": (lambda: edited(set_key("fill", value="loop")), "fill is 'loop'; known: hold, linear"),
    "ids": (lambda: reprovenanced(set_key("videos", value=["a"])), "video_ids has 1 entries for 2 items"),
    "absolute id": (
        lambda: reprovenanced(set_key("videos", value=["/a", "b"])),
        "video id '/a' must be a path relative",
    ),
    "provenance key": (lambda: reprovenanced(lambda content: content.pop("split")), "metadata provenance lacks split"),
    "hashes short": (
        lambda: reprovenanced(set_key("hashes", value="ab" * 9)),
        "metadata provenance.hashes has 18 characters; it must have 10 hexadecimal digits \\(0-9, a-f\\) for each of 2",
    ),
    "hashes none": (lambda: reprovenanced(set_key("hashes", value="")), "metadata provenance.hashes has 0 characters"),
    "hashes signs": (lambda: reprovenanced(set_key("hashes", value="AB" * 10)), "it must have 10 hexadecimal digits"),
    "learned none": (lambda: retensored(learned=np.zeros((0, 5), np.uint8)), "tensor learned must have rows"),
    "learned falls": (
        lambda: retensored(learned=np.arange(10, dtype=np.uint8)[::-1].reshape(2, 5)),
        "tensor learned must have rows, which must rise",
    ),
    "learned twice": (lambda: retensored(learned=np.ones((2, 5), np.uint8)), "which must rise"),
    "learned width": (
        lambda: retensored(learned=np.ones((2, 4), np.uint8)),
        r"learned is uint8 \(2, 4\); it must be uint8 \(2, 5\)",
    ),
    "learned flat": (lambda: retensored(learned=np.ones(5, np.uint8)), r"learned is uint8 \(5,\); it must be"),
    "provenance extra": (lambda: reprovenanced(set_key("x", value=1)), "metadata provenance has unknown keys x"),
    "provenance list": (lambda: retensored(provenance=as_tensor("[]")), "metadata 'provenance' is not an object"),
    "provenance text": (lambda: retensored(provenance=as_tensor("{")), "metadata 'provenance' is not JSON"),
    "provenance none": (
        lambda: retensored(provenance=None),
        r"\[labels, latents, scales\]; it must hold prov",
    ),
    "provenance flat": (
        lambda: retensored(provenance=np.zeros((2, 2), np.uint8)),
        r"provenance has shape \(2, 2\); it must be \(bytes,\)",
    ),
    "provenance int8": (
        lambda: retensored(provenance=as_tensor(GOLDEN_PROVENANCE).astype(np.int8)),
        "provenance is int8 .* it must be uint8",
    ),
    "provenance empty": (lambda: retensored(provenance=np.zeros(0, np.uint8)), "provenance ends too early"),
    "provenance cut": (lambda: retensored(provenance=as_tensor(GOLDEN_PROVENANCE)[:-9]), "provenance ends too early"),
    "provenance more": (
        lambda: retensored(provenance=np.append(as_tensor(GOLDEN_PROVENANCE), np.uint8(0))),
        "provenance has bytes after its end",
    ),
    "provenance noise": (lambda: retensored(provenance=one_item([77] * 9, np.uint8)), "provenance is no LZMA stream"),
    "provenance UTF-8": (lambda: retensored(provenance=lzma_tensor("ü".encode())), "provenance is no ASCII text"),
    "bomb of LZMA": (
        lambda: retensored(provenance=lzma_tensor(bytes(2**24 + 1))),
        "provenance unpacks to over 16777216 bytes",
    ),
    "times count": (lambda: reprovenanced(set_key("times", value=[1, 2])), r"times has 2 numbers; it must have 2 x 3"),
    "times kind": (lambda: reprovenanced(set_key("times", value=[0.5] * 6)), r"times\[\] is 0\.5; it must be int"),
    "times far": (lambda: reprovenanced(set_key("times", value=[10**400] * 6)), r"times leave \+-1000000000000 mil"),
    "times fall": (lambda: reprovenanced(set_key("times", value=[5, -1, 0] * 2)), "must not fall"),
    "no frames": (lambda: edited(set_key("source", "frames", value=0)), "Source.num_frames is 0"),
    "overlapping": (overlapping, "truncated or damaged"),
    "missing tensor": (lambda: retensored(labels=None), r"\[latents, provenance, scales\]; it must hold labels"),
    "no latents": (lambda: retensored(latents=None), r"must hold \[labels, latents, provenance\]"),
    "extra tensor": (lambda: retensored(more=np.zeros(3, np.int8)), r"holds tensors \[labels, latents, more,"),
    "no scales": (lambda: retensored(scales=None), r"must hold \[labels, latents, provenance, scales"),
    "dtype unknown": (lambda: retensored(labels=np.zeros(2, np.float64)), "labels has dtype F64; known: F32"),
    "dtype wrong": (lambda: retensored(labels=np.zeros(2, np.uint16)), r"labels is uint16 \(2,\); it must be uint8"),
    "latents float32": (
        lambda: retensored(latents=np.zeros((2, 3, 2, 2, 2), np.float32), scales=None),
        "latents is float32 .* it must be float16",
    ),
    "latents flat": (
        lambda: retensored(latents=np.zeros(48, np.int8)),
        r"is int8 \(48,\); it must be int8 \(2, 3",
    ),
    "latents more": (
        lambda: retensored(latents=np.zeros((2, 4, 2, 2, 2), np.int8)),
        r"latents is int8 \(2, 4, 2, 2, 2\); it must be int8 \(2, 3, 2, 2, 2\)",
    ),
    "keyframes none": (lambda: edited(lambda content: content.pop("keyframes")), "videocompressa lacks keyframes"),
    "keyframes kind": (lambda: edited(set_key("keyframes", value=True)), "keyframes is True; it must be int"),
    "keyframes zero": (lambda: edited(set_key("keyframes", value=0)), "has keyframes 0; they must be 1 to 8"),
    "keyframes nine": (lambda: edited(set_key("keyframes", value=9)), "has keyframes 9; they must be 1 to 8"),
    "keyframes other": (lambda: edited(set_key("keyframes", value=4)), "times has 6 numbers; it must have 2 x 4"),
    "keyframes huge": (
        lambda: edited(lambda content: (content.update(keyframes=10**12), content["clip"].update(frames=10**12))),
        "times has 6 numbers; it must have 2 x 1000000000000",
    ),
    "items huge": (
        lambda: retensored(labels=np.zeros((10**15, 0), np.uint8)),
        "times has 6 numbers; it must have 1000000000000000 x 3",
    ),
    "frames huge": (
        lambda: edited(set_key("clip", "frames", value=10**12)),
        "positions has 4 digits; it must have 2 x 250000000000",
    ),
    "frames many": (
        lambda: reprovenanced(set_key("positions", value=("a1" + "0" * 17498) * 2), frames=70000),
        "70000 candidate frames; the file holds up to 65536",
    ),
    "labels flat": (
        lambda: retensored(labels=np.zeros((), np.uint8)),
        r"labels has shape \(\); it must be \(N,\) or \(N,L\)",
    ),
    "labels more": (lambda: retensored(labels=np.zeros(3, np.uint8)), "times has 6 numbers; it must have 3 x 3"),
    "positions kind": (lambda: reprovenanced(set_key("positions", value=[0, 2])), "positions is .* it must be str"),
    "positions none": (
        lambda: reprovenanced(lambda content: content.pop("positions")),
        "metadata provenance lacks positions",
    ),
    "positions short": (
        lambda: reprovenanced(set_key("positions", value="a1")),
        "positions has 2 digits; it must have 2 x 2",
    ),
    "positions no digits": (
        lambda: reprovenanced(set_key("positions", value="a1A1")),
        "positions holds other characters than 0-9 and a-f",
    ),
    "positions fewer": (
        lambda: reprovenanced(set_key("positions", value="a1a0")),
        "positions has 2 of an item; it must have 3",
    ),
    "positions all": (
        lambda: edited(set_key("clip", "frames", value=3)),
        "positions must be empty, for all 3 are kept",
    ),
    "labels shape": (
        lambda: retensored(labels=np.zeros((2, 3), np.uint8)),
        r"labels is uint8 \(2, 3\); it must be uint8 \(2, 2\)",
    ),
    "labels float16": (
        lambda: retensored(labels=np.zeros((2, 2), np.float16)),
        r"labels is float16 \(2, 2\); it must be uint8 \(2, 2\)",
    ),
    "positions far": (lambda: edited(set_key("clip", "frames", value=7)), r"positions leave \[0,7\)"),
    "labels far": (lambda: retensored(labels=one_item([0, 2], np.uint8)), r"labels leave \[0,2\)"),
    "labels zero": (
        lambda: retensored(True, labels=one_item([[255, 9], [0, 0]], np.uint8)),
        "a row of soft labels does not reach 255",
    ),
    "scales NaN": (lambda: retensored(scales=np.full((2, 2), np.nan, np.float16)), "scales holds values that are not"),
    "scales inf": (lambda: retensored(scales=np.full((2, 2), np.inf, np.float16)), "scales holds values that are not"),
    "scales zero": (lambda: retensored(scales=np.zeros((2, 2), np.float16)), "scales holds values that are not"),
    "latents -128": (lambda: retensored(latents=np.full((2, 3, 2, 2, 2), -128, np.int8)), "latents holds -128"),
    "latents inf": (
        lambda: retensored(latents=np.full((2, 3, 2, 2, 2), np.inf, np.float16), scales=None),
        "latents hold values that are not finite",
    ),
    "no items": (
        lambda: safetensors.numpy.save(
            {
                "latents": np.zeros((0, 3, 2, 2, 2), np.int8),
                "scales": np.zeros((0, 2), np.float16),
                "provenance": as_tensor(json.dumps(json.loads(GOLDEN_PROVENANCE) | {"times": [], "videos": []})),
                "labels": np.zeros(0, np.uint8),
            },
            parts(to_bytes(make_set()))[0]["__metadata__"],
        ),
        "must hold at least one keyframe",
    ),
}


def check_refused(data: bytes, tmp_path: Path, message: str) -> None:
    """Check that reading such a file raises one line that names it and matches `message`."""
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_set(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_integer_is_a_number_and_a_text_is_none() -> None:
    for value in (3, 2.5):
        check_schema({"step": value}, {"step": float}, "codec")
    for value in ("3", True, None):
        with pytest.raises(InputError, match=f"^metadata codec.step is {value!r}; it must be float$"):
            check_schema({"step": value}, {"step": float}, "codec")


@pytest.mark.parametrize("name", ABUSE)
def test_abuse(tmp_path: Path, name: str) -> None:
    make, message = ABUSE[name]
    check_refused(make(), tmp_path, message)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"set file .*absent\.safetensors does not exist"):
        read_set(tmp_path / "absent.safetensors")
    with pytest.raises(ArtifactError, match=r"set file .* is a folder; give the file itself"):
        measure(tmp_path)


# ------------------------------------------------------------------------------------------------------------ page


def keys_of(schema: Any, prefix: str = "") -> set[str]:
    keys = set()
    for key, inner in schema.items():
        keys |= {prefix + key.removesuffix("?")} if not isinstance(inner, dict) else keys_of(inner, f"{prefix}{key}.")
    return keys


def test_the_page_lists_the_keys_the_tensors_and_the_example() -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    for start, end, schema in (("## Metadata", "## Provenance", SCHEMA), ("## Provenance", "##", PROVENANCE_SCHEMA)):
        table = page[page.index(start) + len(start) :]
        assert set(re.findall(r"^\| `([a-z0-9_.]+)` \|", table[: table.index(end)], re.MULTILINE)) == keys_of(schema)
    part = page[page.index("## Labeler") : page.index("## Example")]
    listed = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", part, re.MULTILINE))
    assert listed == keys_of(LABELER_SCHEMA, "labeler.") | set(weights.TENSORS)
    assert all(f"`{name}`" in part for name in STUDENTS)
    tensors = page[page.index("## Tensors") : page.index("## Metadata")]
    names = {*safetensors.numpy.load(to_bytes(make_set())), LEARNED}
    assert set(re.findall(r"^\| `([a-z0-9_.]+)` \|", tensors, re.MULTILINE)) == names
    examples = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
    texts = [json.dumps(json.loads(example), sort_keys=True, separators=(",", ":")) for example in examples]
    assert texts == [GOLDEN_JSON, GOLDEN_PROVENANCE]
    assert f"writes and reads format {FORMAT}" in page
    assert f"{len(to_bytes(make_set()))} bytes" in page
    assert GOLDEN_INT8 in page
