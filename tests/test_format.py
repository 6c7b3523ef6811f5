"""The file for readers elsewhere: golden files, a second reader, the JSON Schema; and no code in any file we read."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import safetensors.numpy
from independent_reader import read

from videocompressa.artifact import read_set, to_bytes
from videocompressa.artifact.container import metadata_of, unpack_text
from videocompressa.artifact.metadata import LABELER_SCHEMA, PROVENANCE_SCHEMA, SCHEMA
from videocompressa.artifact.packing import PACKINGS

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
HASHES = json.loads((GOLDEN / "hashes.json").read_text())
FILES = sorted(GOLDEN.glob("*.safetensors"))
FORMAT_SCHEMA = json.loads((ROOT / "docs" / "format.schema.json").read_text())


def name_of(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_golden_files_are_read_and_written_as_ever(path: Path) -> None:
    # These files are kept for ever: a version that reads format 1 reads them to these latents.
    synthetic, expected = read_set(path), HASHES[path.stem]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected["file"]
    assert hashlib.sha256(synthetic.latents.numpy().tobytes()).hexdigest() == expected["latents"]
    assert to_bytes(synthetic, "float16" if path.stem == "float16" else "int8") == path.read_bytes()
    assert ("labeler" in expected) == (synthetic.labeler is not None)
    if synthetic.labeler is not None:
        weights = b"".join(weight.numpy().tobytes() for _, weight in sorted(synthetic.labeler.weights.items()))
        assert hashlib.sha256(weights).hexdigest() == expected["labeler"]


def test_there_is_a_golden_file_of_every_packing() -> None:
    assert {read_set(path).packing for path in FILES} == {"dense", *PACKINGS}
    assert {path.stem for path in FILES} == set(HASHES)


@pytest.mark.parametrize("name", ["dense", "float16", "tucker", "labeler", "learned"])
def test_a_reader_written_from_the_page_finds_the_same(name: str) -> None:
    ours, theirs = read_set(GOLDEN / f"{name}.safetensors"), read(GOLDEN / f"{name}.safetensors")
    np.testing.assert_allclose(theirs["latents"], ours.latents.numpy(), rtol=1e-6 if name == "tucker" else 0)
    np.testing.assert_allclose(theirs["labels"], ours.labels.numpy(), atol=1e-7)
    assert theirs["positions"] == ours.positions.tolist()
    assert theirs["times"] == (1000 * ours.times_seconds).round().tolist()
    assert theirs["provenance"]["classes"] == list(ours.classes)
    assert theirs["provenance"]["videos"] == list(ours.provenance.video_ids)
    assert theirs["learned"] == list(ours.provenance.learned_hashes)
    assert bool(theirs["learned"]) == (name == "learned")
    assert (theirs["matrices"] is None) == (ours.labeler is None)
    if ours.labeler is not None:
        codes, steps = theirs["matrices"]
        matrices = [weight.numpy() for _, weight in sorted(ours.labeler.weights.items()) if weight.ndim >= 2]
        rows = [row for matrix in matrices for row in matrix.reshape(len(matrix), -1)]
        assert len(rows) == len(steps)
        np.testing.assert_array_equal(
            codes * np.repeat(steps, [len(row) for row in rows]), np.concatenate(rows).astype(np.float32)
        )


def test_the_second_reader_is_short() -> None:
    assert len((ROOT / "tests" / "independent_reader.py").read_text().splitlines()) < 80


# ------------------------------------------------------------------------------------------------------------ schema


def check(part: str, content: Any) -> None:
    jsonschema.validate(content, FORMAT_SCHEMA["$defs"][part], jsonschema.Draft202012Validator)


def contents(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    text = unpack_text(safetensors.numpy.load(data)["provenance"].tobytes())
    return {"header": json.loads(metadata_of(data)["videocompressa"]), "provenance": json.loads(text)}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_have_the_schema_that_is_published(path: Path) -> None:
    for part, content in contents(path).items():
        check(part, content)
        for key in content:
            with pytest.raises(jsonschema.ValidationError):
                check(part, {k: v for k, v in content.items() if k != key})
            with pytest.raises(jsonschema.ValidationError):
                check(part, content | {key: None})
        with pytest.raises(jsonschema.ValidationError):
            check(part, content | {"more": 1})


@pytest.mark.parametrize("video", ["/a.mp4", "C:\\a.mp4", "../a.mp4", "a/../b.mp4", "a/.."])
def test_the_schema_refuses_paths_that_lead_out(video: str) -> None:
    content = contents(GOLDEN / "dense.safetensors")["provenance"]
    good = copy.deepcopy(content) | {"videos": ["a..b/..c.mp4", "d"]}
    check("provenance", good)
    with pytest.raises(jsonschema.ValidationError):
        check("provenance", content | {"videos": [video, "b"]})


def test_the_schema_has_the_keys_that_the_reader_demands() -> None:
    def keys(schema: dict[str, Any]) -> Any:
        return {name: keys(inner) if inner.get("properties") else {} for name, inner in schema["properties"].items()}

    def ours(schema: Any) -> Any:
        return {name.rstrip("?"): ours(inner) if isinstance(inner, dict) else {} for name, inner in schema.items()}

    parts = FORMAT_SCHEMA["$defs"]
    assert keys(parts["header"]) == ours(SCHEMA)
    assert keys(parts["provenance"]) == ours(PROVENANCE_SCHEMA)
    assert keys(parts["provenance"]["properties"]["labeler"]["anyOf"][1]) == ours(LABELER_SCHEMA)
    assert set(parts["header"]["properties"]["packing"]["enum"]) == {"dense", *PACKINGS}


# -------------------------------------------------------------------------------------------------------------- code

CODE = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
CALLS = {"eval", "exec", "compile", "__import__"}


def dangers(tree: ast.AST) -> list[str]:
    """Return what could run code of a file: modules that unpickle, eval, and loaders without their safe switch."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [name for name in names if name.partition(".")[0] in CODE]
        if isinstance(node, ast.Call):
            called, options = ast.unparse(node.func), {option.arg: option.value for option in node.keywords}
            safe = options.get("weights_only")
            if called in CALLS or called in ("yaml.load", "yaml.unsafe_load"):
                found.append(called)
            if called == "torch.load" and not (isinstance(safe, ast.Constant) and safe.value is True):
                found.append(called)
            found += [f"{name}=" for name in ("allow_pickle", "trust_remote_code") if name in options]
            of_weights = called.endswith(".from_pretrained") and not re.search("tokenizer|config", called.lower())
            if of_weights and ast.unparse(options.get("use_safetensors", ast.Constant(value=None))) != "True":
                found.append(called)
    return found


def test_no_file_that_is_read_can_run_code() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): names
        for path in sorted((ROOT / "videocompressa").rglob("*.py"))
        if (names := dangers(ast.parse(path.read_text(encoding="utf-8"))))
    }
    # What the head of a cluster sends to its own workers; no file.
    assert found == {"videocompressa/engine_ray.py": ["pickle"]}


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from pickle import loads", "eval(x)", "yaml.load(f)", "torch.load(f)",
     "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)", "Model.from_pretrained(f)",
     "Model.from_pretrained(f, use_safetensors=False)"],
)  # fmt: skip
def test_the_search_for_such_code_finds_it(code: str) -> None:
    assert dangers(ast.parse(code))
    for safe in ("torch.load(f, weights_only=True)", "Model.from_pretrained(f, use_safetensors=True)"):
        assert dangers(ast.parse(safe)) == []
