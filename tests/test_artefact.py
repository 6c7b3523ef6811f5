"""The file: golden bytes, fixed points, budgets, and every way in which a file can be wrong."""

from __future__ import annotations

import errno
import hashlib
import json
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

import videocompressa.artefact as artefact
from videocompressa.artefact import (
    SCHEMA,
    Quantisation,
    check_target,
    dequantise,
    measure,
    predict_file_bytes,
    quantise,
    read_set,
    round_labels,
    to_bytes,
    write_set,
)
from videocompressa.clip import ClipSpec, CodecSpec, Normalisation
from videocompressa.errors import ArtefactError, InputError
from videocompressa.synthetic import Budget, Provenance, Source, SyntheticSet

ROOT = Path(__file__).parents[1]
KINDS: list[Quantisation] = ["int8", "float16"]


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
        "normalisation": Normalisation((0.45, 0.4, 0.35), (0.25, 0.2, 0.1)),
        "provenance": Provenance(
            "videocompressa",
            {"steps": 100, "rate": 0.1, "selector": "gumbel"},
            7,
            Source("toy", "ab" * 32, 40, 1200, 999_000, 1),
            tuple(f"class/{item:03d}.mp4" for item in range(num_items)),
        ),
    }
    return SyntheticSet(**(fields | changes))


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(entries: dict[str, Any], body: bytes) -> bytes:
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + body


def edited(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a good file whose metadata JSON was changed."""
    entries, body = parts(to_bytes(make_set()))
    content = json.loads(entries["__metadata__"]["videocompressa"])
    change(content)
    entries["__metadata__"]["videocompressa"] = json.dumps(content)
    return joined(entries, body)


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
    del entries["__metadata__"]
    assert entries == {
        "times_seconds": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "scales": {"dtype": "F16", "shape": [2, 2], "data_offsets": [24, 32]},
        "latents": {"dtype": "I8", "shape": [2, 3, 2, 2, 2], "data_offsets": [32, 80]},
        "labels": {"dtype": "U8", "shape": [2], "data_offsets": [80, 82]},
        "positions": {"dtype": "U8", "shape": [2, 3], "data_offsets": [82, 88]},
    }
    assert hashlib.sha256(data).hexdigest() == GOLDEN_INT8
    assert hashlib.sha256(to_bytes(make_set(soft=True), "float16")).hexdigest() == GOLDEN_SOFT_FLOAT16


GOLDEN_JSON = (
    '{"classes":["class 0","class 1"],"clip":{"frames":8,"height":8,"placement":"even","width":8},"codec":{"by'
    'tes":123456,"channels":2,"downscale":4,"name":"tiny","scale":[1.0,0.7],"sha256":"0f0f0f0f0f0f0f0f0f0f0f0f'
    '0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","shift":[0.125,-1.5]},"config":{"rate":0.1,"selector":"gumbel",'
    '"steps":100},"fill":"hold","format":1,"method":"videocompressa","normalisation":{"mean":[0.45,0.4,0.35],"'
    'std":[0.25,0.2,0.1]},"packing":"dense","seed":7,"source":{"bytes":999000,"frames":1200,"name":"toy","skip'
    'ped":1,"split":"abababababababababababababababababababababababababababababababab","videos":40},"videos":['
    '"class/000.mp4","class/001.mp4"]}'
)
GOLDEN_INT8 = "0cb1bf3fb4aa6e98b7505e9663826c3f475e4870e7c8f1ccd7548986518b0d3e"
GOLDEN_SOFT_FLOAT16 = "13ed66d1dbe2e4e9c61c2c8013fa2794409f397283af59afcffbbf3e0d9a970f"


@pytest.mark.parametrize("quantisation", KINDS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("num_classes", [2, 300])
def test_the_library_writes_the_same_bytes(quantisation: Quantisation, soft: bool, num_classes: int) -> None:
    data = to_bytes(make_set(3, num_classes, soft), quantisation)
    assert data == safetensors.numpy.save(safetensors.numpy.load(data), parts(data)[0]["__metadata__"])


def test_another_process_writes_the_same_bytes() -> None:
    code = "import sys, hashlib, test_artefact as t; print(hashlib.sha256(t.to_bytes(t.make_set())).hexdigest())"
    environment = os.environ | {"PYTHONHASHSEED": "4", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == GOLDEN_INT8


def test_a_file_says_how_its_clips_were_placed(tmp_path: Path) -> None:
    clip = ClipSpec(8, 8, 8, "strided:4")
    write_set(make_set(clip=clip), tmp_path / "a.safetensors")
    assert read_set(tmp_path / "a.safetensors").clip == clip


@pytest.mark.parametrize("quantisation", KINDS)
@pytest.mark.parametrize("soft", [False, True])
def test_writing_what_was_read_gives_the_same_bytes(tmp_path: Path, quantisation: Quantisation, soft: bool) -> None:
    synthetic = make_set(9, 5, soft, latents=torch.randn(9, 3, 2, 2, 2, generator=torch.Generator().manual_seed(2)))
    write_set(synthetic, tmp_path / "a.safetensors", quantisation=quantisation)
    back = read_set(tmp_path / "a.safetensors")
    write_set(back, tmp_path / "b.safetensors", quantisation=quantisation)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("quantisation", KINDS)
@pytest.mark.parametrize("soft", [False, True])
def test_reading_gives_back_the_set(tmp_path: Path, quantisation: Quantisation, soft: bool) -> None:
    synthetic = make_set(4, 3, soft, fill="linear")
    write_set(synthetic, tmp_path / "a.safetensors", quantisation=quantisation)
    back = read_set(tmp_path / "a.safetensors")
    for name in ("classes", "clip", "codec", "normalisation", "provenance", "fill", "packing"):
        assert getattr(back, name) == getattr(synthetic, name)
    assert torch.equal(back.positions, synthetic.positions)
    torch.testing.assert_close(back.times_seconds, synthetic.times_seconds, rtol=1e-7, atol=0)
    assert back.labels.dtype == synthetic.labels.dtype
    torch.testing.assert_close(back.labels, synthetic.labels, rtol=0, atol=5e-4)
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
def test_quantising_is_off_by_half_a_step_at_most(values: list[float]) -> None:
    latents = torch.tensor(values, dtype=torch.float32).view(1, 3, 2, 2, 1)
    quantised, scales = quantise(latents)
    back = dequantise(quantised, scales)
    steps = scales.double()[:, None, :, None, None]
    assert ((back.double() - latents.double()).abs() <= 0.5001 * steps).all()
    largest = latents.double().abs().amax((1, 3, 4))
    assert (scales.double() <= torch.clamp(largest / 127 * (1 + 2**-11), min=2.0**-14)).all()


@given(st.lists(finite, min_size=12, max_size=12))
def test_quantising_is_its_own_fixed_point(values: list[float]) -> None:
    first, scales = quantise(torch.tensor(values, dtype=torch.float32).view(1, 3, 2, 2, 1))
    second, again = quantise(dequantise(first, scales))
    assert torch.equal(first, second)
    assert torch.equal(scales, again)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e7])
def test_latents_without_a_scale_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"they must be finite and below 8\.3e6"):
        quantise(torch.full((1, 1, 1, 1, 1), value))


@settings(max_examples=200)
@given(st.integers(1, 60), st.floats(0.01, 30), st.integers(0, 2**30))
def test_rounded_labels_sum_to_exactly_one(num_classes: int, spread: float, seed: int) -> None:
    logits = torch.randn(4, num_classes, generator=torch.Generator().manual_seed(seed)) * spread
    labels = logits.softmax(1)
    rounded = round_labels(labels)
    assert rounded.dtype == torch.float16
    assert (rounded.double().sum(1) == 1).all()
    assert (rounded >= 0).all()
    assert (rounded.double() - labels).abs().max() <= 2**-10
    assert torch.equal(round_labels(rounded.float()), rounded)


@pytest.mark.parametrize(
    "row",
    [
        # Entries just below a power of two have finer steps than the smaller ones just above the next.
        [0.4999263882637024, 0.03125939518213272, 0.06252745538949966, 0.24995802342891693, 0.03126033, 0.12494429945],
        [3.0856081139063463e-06, 9.999999717180685e-10, 9.999999717180685e-10],
    ],
)
def test_rest_that_the_smallest_label_cannot_take_goes_to_another(row: list[float]) -> None:
    rounded = round_labels(torch.tensor([row]))
    assert rounded.double().sum() == 1
    assert torch.equal(round_labels(rounded.float()), rounded)


def test_labels_already_exact_stay() -> None:
    labels = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    assert torch.equal(round_labels(labels).float(), labels)


# --------------------------------------------------------------------------------------------------------- budgets


def test_budget_equals_the_hand_computation(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    budget = write_set(make_set(), path)
    size = path.stat().st_size
    assert budget == Budget(
        num_videos=2,
        num_frames=2 * 3,
        frame_ratio=6 / 1200,
        latent_bytes=2 * 3 * 2 * 2 * 2 + 2 * 2 * 2,  # int8 cells, float16 scales
        label_bytes=2,
        file_bytes=size,
        byte_ratio=size / 999_000,
        codec_bytes=123456,
    )
    assert measure(path) == budget


def test_budget_of_soft_float16(tmp_path: Path) -> None:
    budget = write_set(make_set(4, 5, soft=True), tmp_path / "a", quantisation="float16")
    assert budget.latent_bytes == 4 * 3 * 2 * 2 * 2 * 2
    assert budget.label_bytes == 4 * 5 * 2


@pytest.mark.parametrize("quantisation", KINDS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("num_items", [1, 2, 50])
def test_predicted_size_is_exact_for_ids_of_one_length(num_items: int, soft: bool, quantisation: Quantisation) -> None:
    synthetic = make_set(num_items, 5, soft)
    predicted = predict_file_bytes(
        num_items,
        3,
        clip=synthetic.clip,
        codec=synthetic.codec,
        classes=synthetic.classes,
        source=synthetic.provenance.source,
        video_ids=synthetic.provenance.video_ids,
        soft_labels=soft,
        config=synthetic.provenance.config,
        seed=7,
        normalisation=synthetic.normalisation,
        quantisation=quantisation,
    )
    assert predicted == len(to_bytes(synthetic, quantisation))


def test_predicted_size_is_near_for_ids_of_many_lengths() -> None:
    ids = tuple(f"class/{'ü' * (item % 7)}{item}.mp4" for item in range(40))
    thirds = Normalisation((1 / 3, 2 / 3, 1 / 7), (1 / 9, 1 / 11, 1 / 13))
    synthetic = make_set(40)
    synthetic = replace(synthetic, normalisation=thirds, provenance=replace(synthetic.provenance, video_ids=ids))
    predicted = predict_file_bytes(
        40,
        3,
        clip=synthetic.clip,
        codec=synthetic.codec,
        classes=synthetic.classes,
        source=synthetic.provenance.source,
        video_ids=ids,
        soft_labels=False,
        config=synthetic.provenance.config,
    )
    assert predicted == pytest.approx(len(to_bytes(synthetic)), rel=0.03)


def test_nothing_is_predicted_for_nothing() -> None:
    one = make_set()
    with pytest.raises(InputError, match="size of 0 items from 0 video ids; both must be at least 1"):
        predict_file_bytes(
            0,
            3,
            clip=one.clip,
            codec=one.codec,
            classes=one.classes,
            source=one.provenance.source,
            video_ids=(),
            soft_labels=False,
        )


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
        check_target(tmp_path, overwrite=True)


def test_checking_the_target_leaves_nothing(tmp_path: Path) -> None:
    check_target(tmp_path / "a.safetensors")
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

    monkeypatch.setattr(artefact.os, call, fail)
    with pytest.raises(InputError, match=rf"^cannot write .*a\.safetensors: {message}[^\n]*$"):
        write_set(make_set(), path, overwrite=True)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == ({"a.safetensors": old} if old else {})


def test_a_folder_that_cannot_be_written_is_found_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match="the file system is read-only"):
        check_target(tmp_path / "a.safetensors")


def test_a_name_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^cannot write .*File name too long$"):
        check_target(tmp_path / ("a" * 300))


def test_interrupting_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(artefact.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_set(make_set(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_do_not_decode_to_the_set_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        quantised, scales = quantise(latents)
        return quantised.roll(1, 1), scales

    monkeypatch.setattr(artefact, "quantise", wrong)
    with pytest.raises(ArtefactError, match="was not written: its bytes do not decode to the set"):
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
        (lambda: to_bytes(make_set(), "int4"), "quantisation is 'int4'; known: int8, float16"),  # type: ignore[arg-type]
        (lambda: to_bytes(make_set(clip=ClipSpec(70000, 8, 8))), "70000 candidate frames; the file holds up to 65536"),
        (lambda: to_bytes(make_set(2, 70000)), "70000 classes; the file holds up to 65536"),
        (lambda: to_bytes(make_set(latents=torch.full((2, 3, 2, 2, 2), 7e4)), "float16"), "range of float16"),
    ],
)
def test_sets_the_file_cannot_hold_are_refused(make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


# ----------------------------------------------------------------------------------------------------------- abuse


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data, path = to_bytes(make_set()), tmp_path / "a.safetensors"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ArtefactError, match=r"no safetensors file|truncated"):
            read_set(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ArtefactError, match="truncated or damaged"):
        measure(path)


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_never_ends_in_another_error(place: int, change: int) -> None:
    data = bytearray(to_bytes(make_set()))
    data[place % len(data)] ^= change
    # Many changed bytes, such as those of a latent, make another good file; any other error fails the test.
    with suppress(ArtefactError):
        arrays, metadata = artefact.parse(bytes(data), "a.safetensors")
        artefact._to_set(arrays, metadata, "a.safetensors")


def overlapping() -> bytes:
    entries, body = parts(to_bytes(make_set()))
    entries["scales"]["data_offsets"] = [0, 8]
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
    "text": (lambda: b"hello, this is a text file", "is no safetensors file: its header would have"),
    "huge header": (lambda: struct.pack("<Q", 2**40) + b"{}", "header would have 1099511627776 bytes"),
    "header beyond end": (lambda: struct.pack("<Q", 999) + b"{}", "is truncated: its header has 999 bytes"),
    "header no JSON": (lambda: struct.pack("<Q", 4) + b"{..}", "its header is not JSON"),
    "header nested": (lambda: struct.pack("<Q", 200_000) + b"[" * 200_000, "its header is not JSON"),
    "header a list": (lambda: struct.pack("<Q", 2) + b"[]", "its header is not an object"),
    "foreign": (lambda: safetensors.numpy.save({"w": np.zeros(3)}), r"no synthetic set: its metadata keys are \[\]"),
    "foreign keys": (lambda: remetadata({"format": "pt"}), r"metadata keys are \[format\], not \[videocompressa\]"),
    "two keys": (lambda: remetadata({"format": "pt", "videocompressa": "{}"}), r"keys are \[format, videocompressa\]"),
    "no JSON": (lambda: remetadata({"videocompressa": "{"}), "metadata 'videocompressa' is not JSON"),
    "NaN JSON": (lambda: edited(set_key("codec", "shift", value=[float("nan"), 0.0])), "NaN is not a JSON number"),
    "no format": (lambda: remetadata({"videocompressa": "{}"}), "has no format number"),
    "text format": (lambda: edited(set_key("format", value="1")), "has no format number"),
    "later": (
        lambda: edited(set_key("format", value=7)),
        "format 7, this version reads up to 1; upgrade videocompressa",
    ),
    "earlier": (lambda: edited(set_key("format", value=0)), "has format 0; formats start at 1"),
    "missing key": (lambda: edited(lambda content: content.pop("seed")), "metadata videocompressa lacks seed"),
    "extra key": (lambda: edited(set_key("host", value="x")), "metadata videocompressa has unknown keys host"),
    "inner key": (lambda: edited(lambda content: content["clip"].pop("width")), "videocompressa.clip lacks width"),
    "no object": (lambda: edited(set_key("clip", value=3)), "videocompressa.clip is not an object"),
    "no list": (lambda: edited(set_key("classes", value="ab")), "videocompressa.classes is not a list"),
    "wrong kind": (lambda: edited(set_key("seed", value=1.5)), "videocompressa.seed is 1.5; it must be int"),
    "wrong item": (lambda: edited(set_key("classes", value=[1, 2])), r"classes\[\] is 1; it must be str"),
    "config no object": (lambda: edited(set_key("config", value=[])), r"config is \[\]; it must be dict"),
    "shift count": (lambda: edited(set_key("codec", "shift", value=[0.0])), "shift has 1 numbers; it must have 2"),
    "mean count": (lambda: edited(set_key("normalisation", "mean", value=[0.0])), "mean has 1 numbers; it must have 3"),
    "overflow": (
        lambda: remetadata({"videocompressa": GOLDEN_JSON.replace("0.35", "1e999")}),
        "mean holds numbers that are not finite",
    ),
    "channels": (lambda: edited(set_key("codec", "channels", value=0)), "channels or downscale below 1"),
    "downscale": (lambda: edited(set_key("codec", "downscale", value=0)), "channels or downscale below 1"),
    "clip": (lambda: edited(set_key("clip", "frames", value=0)), "ClipSpec.num_frames is 0"),
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
    "ids": (lambda: edited(set_key("videos", value=["a"])), "video_ids has 1 entries for 2 items"),
    "absolute id": (lambda: edited(set_key("videos", value=["/a", "b"])), "video id '/a' must be a path relative"),
    "no frames": (lambda: edited(set_key("source", "frames", value=0)), "Source.num_frames is 0"),
    "overlapping": (overlapping, "truncated or damaged"),
    "missing tensor": (lambda: retensored(labels=None), r"it must hold \[labels, latents, positions, scales, times"),
    "no latents": (lambda: retensored(latents=None), r"must hold \[labels, latents, positions, times_seconds\]"),
    "extra tensor": (lambda: retensored(more=np.zeros(3, np.int8)), r"holds tensors \[labels, latents, more,"),
    "no scales": (lambda: retensored(scales=None), r"must hold \[labels, latents, positions, scales"),
    "dtype unknown": (lambda: retensored(labels=np.zeros(2, np.float64)), "labels has dtype F64; known: F32"),
    "dtype wrong": (lambda: retensored(labels=np.zeros(2, np.uint16)), r"labels is uint16 \(2,\); it must be uint8"),
    "latents float32": (
        lambda: retensored(latents=np.zeros((2, 3, 2, 2, 2), np.float32), scales=None),
        "latents is float32 .* it must be float16",
    ),
    "latents flat": (lambda: retensored(latents=np.zeros(48, np.int8)), r"shape \(48,\); it must be \(N,K,C,h,w\)"),
    "positions shape": (
        lambda: retensored(positions=np.zeros((2, 2), np.uint8)),
        r"positions is uint8 \(2, 2\); it must",
    ),
    "labels shape": (
        lambda: retensored(labels=np.zeros((2, 3), np.float16)),
        r"labels is float16 \(2, 3\); it must be",
    ),
    "positions fall": (lambda: retensored(positions=one_item([[0, 2, 1]] * 2, np.uint8)), "positions must rise"),
    "positions far": (lambda: retensored(positions=one_item([[0, 2, 8]] * 2, np.uint8)), r"positions leave \[0,8\)"),
    "labels far": (lambda: retensored(labels=one_item([0, 2], np.uint8)), r"labels leave \[0,2\)"),
    "labels sum": (lambda: retensored(True, labels=one_item([[0.5, 0.4]] * 2, np.float16)), "do not sum to 1"),
    "labels NaN": (lambda: retensored(True, labels=one_item([[np.nan, 1]] * 2, np.float16)), "do not sum to 1"),
    "labels negative": (lambda: retensored(True, labels=one_item([[-1, 2]] * 2, np.float16)), "not negative"),
    "scales NaN": (lambda: retensored(scales=np.full((2, 2), np.nan, np.float16)), "scales holds values that are not"),
    "scales inf": (lambda: retensored(scales=np.full((2, 2), np.inf, np.float16)), "scales holds values that are not"),
    "scales zero": (lambda: retensored(scales=np.zeros((2, 2), np.float16)), "scales holds values that are not"),
    "latents -128": (lambda: retensored(latents=np.full((2, 3, 2, 2, 2), -128, np.int8)), "latents holds -128"),
    "latents inf": (
        lambda: retensored(latents=np.full((2, 3, 2, 2, 2), np.inf, np.float16), scales=None),
        "latents hold values that are not finite",
    ),
    "times NaN": (
        lambda: retensored(times_seconds=np.full((2, 3), np.nan, np.float32)),
        "times_seconds must be finite",
    ),
    "times inf": (
        lambda: retensored(times_seconds=np.full((2, 3), np.inf, np.float32)),
        "times_seconds must be finite",
    ),
    "times fall": (lambda: retensored(times_seconds=one_item([[0, 2, 1]] * 2, np.float32)), "must not fall"),
    "no items": (
        lambda: safetensors.numpy.save(
            {
                "latents": np.zeros((0, 3, 2, 2, 2), np.int8),
                "scales": np.zeros((0, 2), np.float16),
                "positions": np.zeros((0, 3), np.uint8),
                "times_seconds": np.zeros((0, 3), np.float32),
                "labels": np.zeros(0, np.uint8),
            },
            parts(to_bytes(make_set()))[0]["__metadata__"],
        ),
        "must hold at least one keyframe",
    ),
}


@pytest.mark.parametrize("name", ABUSE)
def test_abuse(tmp_path: Path, name: str) -> None:
    make, message = ABUSE[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(make())
    with pytest.raises(ArtefactError, match=message) as caught:
        read_set(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"set file .*absent\.safetensors does not exist"):
        read_set(tmp_path / "absent.safetensors")
    with pytest.raises(ArtefactError, match=r"cannot read set file .*: Is a directory"):
        measure(tmp_path)


# ------------------------------------------------------------------------------------------------------------ page


def keys_of(schema: Any, prefix: str = "") -> set[str]:
    found = set()
    for key, inner in schema.items():
        found |= {prefix + key} if not isinstance(inner, dict) else keys_of(inner, f"{prefix}{key}.")
    return found


def test_the_page_lists_the_keys_tensors_and_the_example() -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    table = page[page.index("## Metadata") : page.index("## Example")]
    assert set(re.findall(r"^\| `([a-z0-9_.]+)` \|", table, re.MULTILINE)) == keys_of(SCHEMA)
    tensors = page[page.index("## Tensors") : page.index("## Metadata")]
    assert set(re.findall(r"^\| `([a-z0-9_.]+)` \|", tensors, re.MULTILINE)) == set(
        safetensors.numpy.load(to_bytes(make_set()))
    )
    (example,) = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
    assert json.dumps(json.loads(example), sort_keys=True, separators=(",", ":")) == GOLDEN_JSON
    assert f"reads formats 1 to {artefact.FORMAT}" in page
    assert GOLDEN_INT8 in page
