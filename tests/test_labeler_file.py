"""Set files with a labeler: fixed points, costs, what `inspect` shows, and every way in which one can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from cli_runs import Runner
from hypothesis import given, settings
from hypothesis import strategies as st
from labelers import SMALL_SPEC, random_labeler
from test_artifact import as_tensor, check_refused, joined, make_set, one_item, parts, provenance_text

from videocompressa.artifact import measure, read_set, set_file, to_bytes, write_set
from videocompressa.artifact.container import Quantization, errors_of, parse
from videocompressa.artifact.lzma_stream import pack_bytes
from videocompressa.artifact.packing import weights
from videocompressa.artifact.set_file import set_of
from videocompressa.errors import ArtifactError
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.networks import STUDENTS
from videocompressa.synthetic import SyntheticSet
from videocompressa.texts import bytes_text
from videocompressa.views import Views


def labeled_set(spec: LabelerSpec = SMALL_SPEC, num_classes: int = 2, **changes: Any) -> SyntheticSet:
    plain = make_set(num_classes=num_classes, **changes)
    return replace(plain, labeler=random_labeler(spec, num_classes, normalization=plain.normalization))


GOOD = to_bytes(labeled_set())
NAMES = tuple(weights.TENSORS)


def labeler_of(data: bytes) -> Labeler:
    labeler = set_of(*parse(data)).labeler
    assert labeler is not None
    return labeler


# --- Round trips ---


@pytest.mark.parametrize("quantization", ["int8", "float16"])
@pytest.mark.parametrize("network", STUDENTS)
def test_a_labeler_is_read_as_it_was_written(tmp_path: Path, network: str, quantization: Quantization) -> None:
    synthetic = labeled_set(LabelerSpec(network, width=0.0625, bits=3, views=Views(mirror=True, time=0.5)), 5)
    wanted = synthetic.labeler
    write_set(synthetic, tmp_path / "a.safetensors", quantization=quantization)
    back = read_set(tmp_path / "a.safetensors")
    assert back.labeler is not None
    assert wanted is not None
    assert back.labeler.spec == wanted.spec
    assert back.labeler.normalization == back.normalization
    assert back.labeler.weights.keys() == wanted.weights.keys()
    assert all(torch.equal(back.labeler.weights[name], weight) for name, weight in wanted.weights.items())
    pixels = torch.rand(2, 8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(back.labeler(pixels), wanted(pixels))
    write_set(back, tmp_path / "b.safetensors", quantization=quantization)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.slow
@settings(max_examples=25)
@given(
    bits=st.integers(2, 8), width=st.sampled_from([0.0625, 0.09375, 0.1875]), seed=st.integers(0, 99),
    crop=st.floats(0.05, 1), share=st.floats(0, 1), mirror=st.booleans(),
)  # fmt: skip
def test_any_labeler_gives_the_same_bytes_again(
    bits: int, width: float, seed: int, crop: float, share: float, mirror: bool
) -> None:
    views = Views(crop, mirror, share / 2, 1 - share, share, share)
    plain = make_set()
    labeler = random_labeler(LabelerSpec("framenet2d", width, bits, views), 2, seed, plain.normalization)
    data = to_bytes(replace(plain, labeler=labeler))
    back = set_of(*parse(data))
    assert back.labeler is not None
    assert back.labeler.spec == labeler.spec
    assert to_bytes(back) == data


def test_soft_labels_and_a_labeler_go_together() -> None:
    back = set_of(*parse(to_bytes(labeled_set(soft=True))))
    assert back.labels.ndim == 2
    assert back.labeler is not None


def test_a_file_without_its_labeler_is_the_file_of_the_set_without_one() -> None:
    assert to_bytes(replace(set_of(*parse(GOOD)), labeler=None)) == to_bytes(make_set())


def test_costs_are_counted(tmp_path: Path) -> None:
    with_one = write_set(labeled_set(), tmp_path / "a.safetensors")
    without = write_set(make_set(), tmp_path / "b.safetensors")
    assert without.labeler_bytes == 0
    tensors = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert with_one.labeler_bytes == sum(tensors[name].nbytes for name in NAMES)
    assert (with_one.latent_bytes, with_one.label_bytes) == (without.latent_bytes, without.label_bytes)
    assert with_one.file_bytes > without.file_bytes + with_one.labeler_bytes  # and the header's entries
    assert measure(tmp_path / "a.safetensors") == with_one
    # Each weight in less than its bits, and two bytes for each row and vector entry.
    assert with_one.labeler_bytes < sum(
        torch.Size(shape).numel() * (SMALL_SPEC.bits / 8 if len(shape) > 1 else 2) + (2 * shape[0] + 1)
        for shape in SMALL_SPEC.shapes(2).values()
    )


def test_weights_that_were_not_rounded_are_not_written(tmp_path: Path) -> None:
    synthetic = labeled_set()
    assert synthetic.labeler is not None
    fine = {name: weight + 1e-3 for name, weight in synthetic.labeler.weights.items()}
    rough = replace(synthetic, labeler=Labeler(SMALL_SPEC, fine, synthetic.normalization))
    with pytest.raises(ArtifactError, match="was not written: its bytes do not decode to the set"):
        write_set(rough, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_labeler_is_found_before_the_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_file, "_labeler_of", lambda arrays, metadata: None)
    with pytest.raises(ArtifactError, match="its bytes do not decode to the set"):
        write_set(labeled_set(), tmp_path / "a.safetensors")


# --- What people see ---


def test_inspect_shows_the_labeler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, path = Runner(capsys, tmp_path / "cache"), tmp_path / "x.safetensors"
    cost = write_set(labeled_set(), path)
    printed = " ".join(run("inspect", path).out.split())
    spec = SMALL_SPEC
    assert f"{spec.network} at width {spec.width:g}, {spec.bits} bits a weight; 100 % of labels" in printed
    assert f"labeler {bytes_text(cost.labeler_bytes)}" in printed
    values = run("inspect", path, "--json").json
    assert values["labeler"] == {**asdict(spec), "agreement": 1.0}
    assert values["labeler_bytes"] == cost.labeler_bytes
    write_set(make_set(), path, overwrite=True)
    assert "a labeler" not in run("inspect", path).out
    assert run("inspect", path, "--json").json["labeler"] is None


# --- Abuse ---


def retensored(**arrays: Any) -> bytes:
    """Return a good file whose tensors were replaced (or, by None, left out)."""
    tensors = safetensors.numpy.load(GOOD) | arrays
    kept = {name: array for name, array in tensors.items() if array is not None}
    return safetensors.numpy.save(kept, parts(GOOD)[0]["__metadata__"])


def relabeled(**changes: Any) -> bytes:
    """Return a good file whose key `labeler` was changed (or, by None, has lost a key)."""
    content = json.loads(provenance_text(GOOD))
    content["labeler"] = {k: v for k, v in (content["labeler"] | changes).items() if v is not None}
    return retensored(provenance=as_tensor(json.dumps(content)))


def reviewed(**changes: Any) -> bytes:
    views = json.loads(provenance_text(GOOD))["labeler"]["views"]
    return relabeled(views={key: value for key, value in (views | changes).items() if value is not None})


def emptied() -> bytes:
    content = json.loads(provenance_text(GOOD)) | {"labeler": {}}
    return retensored(provenance=as_tensor(json.dumps(content)))


def codes(values: list[int]) -> Any:
    return np.frombuffer(pack_bytes(np.asarray(values, np.int8).tobytes()), np.uint8)


def tensor(name: str) -> Any:
    return safetensors.numpy.load(GOOD)[name]


NUM_ROWS, NUM_ENTRIES = len(tensor("labeler_scales")), len(tensor("labeler_vectors"))
NUM_WEIGHTS = sum(torch.Size(shape).numel() for shape in SMALL_SPEC.shapes(2).values() if len(shape) > 1)
ALL = r"\[labeler, labeler_scales, labeler_vectors, labels, latents, provenance, scales\]"
PLAIN = r"\[labels, latents, provenance, scales\]"
ABUSE: dict[str, tuple[Callable[[], bytes], str]] = {
    "tensors without the key": (emptied, rf"the file holds tensors {ALL}; it must hold {PLAIN}"),
    "the key without tensors": (
        lambda: retensored(**dict.fromkeys(NAMES)),
        rf"the file holds tensors {PLAIN}; it must hold {ALL}",
    ),
    "no scales": (lambda: retensored(labeler_scales=None), rf"it must hold {ALL}"),
    "network": (lambda: relabeled(network="vit"), "labeler.network is 'vit'; known: convnet3d, minic3d"),
    "another network": (lambda: relabeled(network="minic3d"), r"labeler_scales has shape \(\d+,\); it must be"),
    "another width": (lambda: relabeled(width=0.125), r"labeler_scales has shape \(\d+,\); it must be"),
    "width zero": (lambda: relabeled(width=0), r"labeler.width is 0; it must be in \(0,2\]"),
    "width huge": (lambda: relabeled(width=16.0), r"labeler.width is 16.0; it must be in \(0,2\]"),
    "width text": (lambda: relabeled(width="1"), r"provenance.labeler.width is '1'; it must be float"),
    "bits low": (lambda: relabeled(bits=1), r"labeler.bits is 1; it must be in \[2,8\]"),
    "bits high": (lambda: relabeled(bits=9), r"labeler.bits is 9; it must be in \[2,8\]"),
    "bits kind": (lambda: relabeled(bits=4.0), r"provenance.labeler.bits is 4.0; it must be int"),
    "fewer bits": (lambda: relabeled(bits=3), "tensor labeler holds weights beyond 3 bits"),
    "key missing": (lambda: relabeled(bits=None), "metadata provenance.labeler lacks bits"),
    "key unknown": (lambda: relabeled(depth=3), "metadata provenance.labeler has unknown keys depth"),
    "views missing": (lambda: reviewed(mix=None), "metadata provenance.labeler.views lacks mix"),
    "views unknown": (lambda: reviewed(speed=1), "metadata provenance.labeler.views has unknown keys speed"),
    "views kind": (lambda: reviewed(mirror=1), "labeler.views.mirror is 1; it must be bool"),
    "views range": (lambda: reviewed(crop=0), r"views.crop is 0; it must be in \(0,1\]"),
    "views NaN": (lambda: reviewed(mix=float("nan")), "NaN is not a JSON number"),
    "no object": (
        lambda: retensored(provenance=as_tensor(json.dumps(json.loads(provenance_text(GOOD)) | {"labeler": 3}))),
        "metadata provenance.labeler is 3; it must be dict",
    ),
    "stream cut": (lambda: retensored(labeler=tensor("labeler")[:-1]), "tensor labeler ends too early"),
    "stream empty": (lambda: retensored(labeler=np.zeros(0, np.uint8)), "tensor labeler ends too early"),
    "stream more": (
        lambda: retensored(labeler=np.append(tensor("labeler"), np.uint8(0))),
        "tensor labeler has bytes after its end",
    ),
    "stream noise": (lambda: retensored(labeler=one_item([77] * 9, np.uint8)), "tensor labeler is no LZMA stream"),
    "stream flat": (
        lambda: retensored(labeler=tensor("labeler")[None]),
        r"tensor labeler has shape \(1, \d+\); it must be \(bytes,\)",
    ),
    "stream int8": (
        lambda: retensored(labeler=tensor("labeler").astype(np.int8)),
        r"tensor labeler is int8 .* it must be uint8",
    ),
    "bomb": (lambda: retensored(labeler=codes([0] * 10**7)), f"tensor labeler unpacks to over {NUM_WEIGHTS} bytes"),
    "codes few": (
        lambda: retensored(labeler=codes([1] * (NUM_WEIGHTS - 1))),
        f"tensor labeler unpacks to {NUM_WEIGHTS - 1} weights; the network has {NUM_WEIGHTS}",
    ),
    "codes beyond": (
        lambda: retensored(labeler=codes([8] * NUM_WEIGHTS)),
        "tensor labeler holds weights beyond 4 bits; the file is damaged",
    ),
    "codes -128": (
        lambda: retensored(labeler=codes([-128] * NUM_WEIGHTS)),
        "tensor labeler holds weights beyond 4 bits; the file is damaged",
    ),
    "scales few": (
        lambda: retensored(labeler_scales=np.ones(NUM_ROWS - 1, np.float16)),
        rf"tensor labeler_scales has shape \({NUM_ROWS - 1},\); it must be \({NUM_ROWS},\)",
    ),
    "scales flat": (
        lambda: retensored(labeler_scales=np.ones((NUM_ROWS, 1), np.float16)),
        rf"tensor labeler_scales has shape \({NUM_ROWS}, 1\); it must be \({NUM_ROWS},\)",
    ),
    "scales float32": (
        lambda: retensored(labeler_scales=np.ones(NUM_ROWS, np.float32)),
        "tensor labeler_scales is float32 .* it must be float16",
    ),
    "scales NaN": (
        lambda: retensored(labeler_scales=np.full(NUM_ROWS, np.nan, np.float16)),
        "tensor labeler_scales holds weights that are not finite",
    ),
    "scales negative": (
        lambda: retensored(labeler_scales=np.full(NUM_ROWS, -1, np.float16)),
        "tensor labeler_scales holds negative scales; the file is damaged",
    ),
    "vectors infinite": (
        lambda: retensored(labeler_vectors=np.full(NUM_ENTRIES, np.inf, np.float16)),
        "tensor labeler_vectors holds weights that are not finite",
    ),
    "vectors more": (
        lambda: retensored(labeler_vectors=np.ones(NUM_ENTRIES + 1, np.float16)),
        rf"tensor labeler_vectors has shape \({NUM_ENTRIES + 1},\); it must be \({NUM_ENTRIES},\)",
    ),
}


@pytest.mark.parametrize("name", ABUSE)
def test_abuse(tmp_path: Path, name: str) -> None:
    make, message = ABUSE[name]
    check_refused(make(), tmp_path, message)


@settings(max_examples=100)
@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
def test_a_changed_byte_never_ends_in_another_error(place: int, change: int) -> None:
    entries, body = parts(GOOD)
    start, end = entries["labeler"]["data_offsets"][0], len(body)
    data = bytearray(body)
    data[start + place % (end - start)] ^= change
    with suppress(ArtifactError), errors_of("a.safetensors"):
        labeler_of(joined(entries, bytes(data)))
