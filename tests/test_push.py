"""The hub: pushing a set, pulling it back and using it by its name, over HTTP against a stand-in."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_runs import TINY, Ran, Runner, draw_videos, everything_in
from export_sets import needs_datasets
from hub_server import READER, TOKEN, Hub, Repository, serve

import videocompressa as vc
from videocompressa.artifact import read_set
from videocompressa.errors import InputError
from videocompressa.recipes.push import CARD, PREVIEW, SET, SHEET, push_set
from videocompressa.video import probe

pytest.importorskip("huggingface_hub", reason='needs huggingface_hub: pip install ".[hub]"')

# huggingface_hub 2.4 uploads by a call that its own library of requests calls old.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]

NAME = "ann/shades"
ADDRESS = f"hf:{NAME}"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_videos(tmp_path_factory.mktemp("videos") / "shades", train=5)


@pytest.fixture(scope="module")
def set_file(videos: Path, cache: Path) -> Path:
    from videocompressa.cli.main import main

    path = cache / "made.safetensors"
    asked = ["compress", videos, "-o", path, *TINY, "--method", "random-real", "--vpc", 4, "--keyframes", 2]
    assert main([str(part) for part in [*asked, "--cache", cache, "--quiet"]]) == 0
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A running stand-in, its owner logged in; the library has read its settings from the environment at import."""
    with serve() as server:
        _point_to(server.url, monkeypatch)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def _point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


def files_of(hub: Hub, revision: str = "main") -> dict[str, bytes]:
    return hub.repositories[NAME].files(revision)


def test_a_push_is_one_commit_of_set_card_and_preview(run: Runner, set_file: Path, hub: Hub, tmp_path: Path) -> None:
    before = set_file.read_bytes()
    pushed = run("push", set_file, NAME, "--json").json
    files = files_of(hub)
    assert len(hub.repositories[NAME].branches["main"]) == 2  # The empty one, and ours.
    assert pushed["commit"] == hub.repositories[NAME].branches["main"][-1]
    assert set(pushed["files"]) == set(files) > {SET, CARD, SHEET, f"{PREVIEW}/metadata.csv"}
    assert files[SET] == before == set_file.read_bytes()
    assert files[SHEET].startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO(files[f"{PREVIEW}/metadata.csv"].decode())))
    assert [row["label"] for row in rows] == ["dark"] * 3 + ["light"] * 3
    for row in rows:
        assert row["file_name"].startswith(f"{row['label']}/")
        (tmp_path / "clip.mp4").write_bytes(files[f"{PREVIEW}/{row['file_name']}"])
        assert probe(tmp_path / "clip.mp4").num_frames == 4


def test_the_card_says_what_it_is_and_how_it_was_made(set_file: Path, hub: Hub) -> None:
    push_set(set_file, NAME)
    card = files_of(hub)[CARD].decode()
    assert "\nlicense:" not in card
    for text in (
        "task_categories:\n- video-classification",
        "path: preview/**",
        "**License: to be filled in.** The pictures come from videos of shades: its license and terms hold for them.",
        "- **Kept**: 16 frames of 8 videos, 26.7 % of all frames; ",
        "- **Source**: shades: 10 training videos, 60 frames.",
        "- **Method**: `random-real`, seed 0; settings: the method's defaults.",
        "- **Classes (2)**: dark, light.",
        f'vc.load("{ADDRESS}").as_dataset()',
        f"videocompressa train {ADDRESS} --data DATA ",
        "## What it may reveal",
    ):
        assert text in card, text
    assert "## Accuracy" not in card


def test_the_card_shows_license_and_accuracy(
    run: Runner, set_file: Path, videos: Path, hub: Hub, tmp_path: Path
) -> None:
    trained = run.train(set_file, "--data", videos, "--json", "--set", "views.mirror=true")
    (tmp_path / "results.json").write_text(trained.out)
    run("push", set_file, NAME, "--license", "cc-by-4.0", "--results", tmp_path / "results.json", "--revision", "v2")
    card = files_of(hub, "v2")[CARD].decode()
    assert files_of(hub) == {}
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert "to be filled in" not in card
    top1 = 100 * trained.json["top1_mean"]
    assert f"Top-1 {top1:.1f} ± {100 * trained.json['top1_std']:.1f} % (4 test videos, 2 runs), by:" in card
    command = re.findall(r"^videocompressa (train .*--width.*)$", card, re.MULTILINE)[0].split()
    assert command[1] == f"{ADDRESS}@v2"
    command[command.index("DATA")] = str(videos)
    again = run(*command, *TINY[:8], "--cache", run.cache, "--json").json
    assert again["top1_runs"] == trained.json["top1_runs"]


@needs_datasets
@pytest.mark.slow
def test_datasets_opens_what_was_pushed(set_file: Path, hub: Hub, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    push_set(set_file, NAME)
    for file, data in files_of(hub).items():
        (tmp_path / "copy" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / file).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # It leaves metadata.csv open.
        rows = datasets.load_dataset(str(tmp_path / "copy"), split="train", cache_dir=str(tmp_path / "cache"))
        gc.collect()
    assert isinstance(rows.features["video"], datasets.Video)
    assert rows["label"][:] == ["dark"] * 3 + ["light"] * 3
    shown = rows.cast_column("video", datasets.Video(decode=False))[0]["video"]
    assert probe(Path(shown["path"])).num_frames == 4


def test_what_was_pushed_is_pulled_and_used_by_name(
    run: Runner, set_file: Path, videos: Path, hub: Hub, tmp_path: Path
) -> None:
    run("push", set_file, NAME, "--private")
    assert hub.repositories[NAME].private
    assert run("pull", NAME, "-o", tmp_path / "set.safetensors").code == 0
    assert (tmp_path / "set.safetensors").read_bytes() == set_file.read_bytes()
    here, there = run("inspect", set_file, "--json").json, run("inspect", ADDRESS, "--json").json
    assert there == here | {"path": ADDRESS}
    assert torch.equal(vc.load(ADDRESS).clips(), vc.load(set_file).clips())
    assert run("decode", ADDRESS, "-o", tmp_path / "decoded", "--quiet").code == 0
    assert run("export", ADDRESS, "--to", "frames", "-o", tmp_path / "frames", "--quiet").code == 0
    trained = run.train(ADDRESS, "--data", videos, "--json").json
    assert trained["trained_on"] == ADDRESS.replace("hf:", "hf://datasets/")
    assert trained["top1_runs"] == run.train(set_file, "--data", videos, "--json").json["top1_runs"]
    asked = ("--data", videos, "-o", tmp_path / "tuned", "--model", tmp_path / "no-model", *TINY[:8])
    assert "no-model" in run("finetune", ADDRESS, *asked).error


def test_a_revision_keeps_its_set(run: Runner, set_file: Path, videos: Path, hub: Hub, tmp_path: Path) -> None:
    run("push", set_file, NAME)
    first = hub.repositories[NAME].branches["main"][-1]
    old_preview = {file for file in files_of(hub) if file.startswith(PREVIEW)}
    run.compress(videos, tmp_path / "other.safetensors", "--seed", 5)
    run("push", tmp_path / "other.safetensors", NAME)
    files = files_of(hub)
    assert files[SET] == (tmp_path / "other.safetensors").read_bytes()
    assert 0 < sum(file.endswith(".mp4") for file in files) == 2 < len(old_preview)
    assert len(vc.load(ADDRESS)) == 2
    assert len(vc.load(f"{ADDRESS}@{first}")) == 8
    assert run("pull", NAME, "--revision", first, "-o", tmp_path / "set.safetensors").code == 0
    assert (tmp_path / "set.safetensors").read_bytes() == set_file.read_bytes()


def test_a_set_in_the_cache_needs_no_network(set_file: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    push_set(set_file, NAME)
    vc.load(ADDRESS)
    _point_to("http://127.0.0.1:9", monkeypatch)
    assert len(vc.load(ADDRESS)) == 8
    with pytest.raises(InputError, match=r"^ann/other: the hub cannot be reached \(.*\); check the network$"):
        vc.load("hf:ann/other")


# --- What a user can fix ---


def test_without_a_token(run: Runner, set_file: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    push_set(set_file, NAME, private=True)
    monkeypatch.delenv("HF_TOKEN")
    asked = "is not on the hub, or is private and the hub does not know you; check the name, and run `hf auth login` or"
    for verb in (("inspect", ADDRESS), ("pull", NAME, "-o", set_file.with_name("not.safetensors"))):
        assert run(*verb).error == f"error: {NAME}: {asked} set HF_TOKEN"
    assert "run `hf auth login` or set HF_TOKEN" in run("push", set_file, "ann/new").error
    assert set(hub.repositories) == {NAME}


def test_with_a_token_that_may_not(run: Runner, set_file: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    push_set(set_file, NAME, private=True)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert run("inspect", ADDRESS).error == (
        f"error: {NAME}: is not on the hub, or your token may not see it; check the name (USER/NAME)"
    )
    refused = "your token does not allow this; run `hf auth login` or set HF_TOKEN to one that does"
    assert run("push", set_file, "ann/new").error == f"error: ann/new: {refused}"


def test_no_such_data_set_or_revision(run: Runner, set_file: Path, hub: Hub) -> None:
    push_set(set_file, NAME)
    assert "ann/none: is not on the hub, or your token may not see it" in run("inspect", "hf:ann/none").error
    for verb in (("inspect", f"{ADDRESS}@v9"), ("pull", NAME, "--revision", "v9", "-o", set_file.with_name("no"))):
        assert f"{NAME}: has no such revision; give a branch, a tag or a commit of it" in run(*verb).error
    for name in ("shades", "ann/two/shades", "", "ann/a b"):
        error = run("pull", name, "-o", set_file.with_name("no")).error
        assert error == f"error: {name!r} is no data set on the hub; give USER/NAME"
    assert "../up: the hub did not do it (" in run("inspect", "hf:../up").error


@pytest.mark.parametrize("verb", ["push", "pull", "inspect"])
def test_no_network(verb: str, run: Runner, set_file: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    _point_to("http://127.0.0.1:9", monkeypatch)
    output = set_file.with_name("pulled.safetensors")
    asked = {"push": (set_file, NAME), "pull": (NAME, "-o", output), "inspect": (ADDRESS,)}
    error = run(verb, *asked[verb]).error
    assert re.fullmatch(rf"error: {NAME}: the hub cannot be reached \(.+\); check the network", error)
    assert "set.safetensors" not in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"README.md": b""}, "holds no .safetensors file; name a data set that `videocompressa push` wrote"),
        (
            {"b.safetensors": b"", "a.safetensors": b""},
            "holds 2 .safetensors files (a.safetensors, b.safetensors); name",
        ),
        ({"model.safetensors": b"other"}, "the file is no safetensors file: it has 5 bytes"),
    ],
)
def test_a_data_set_without_a_set(files: dict[str, bytes], problem: str, run: Runner, hub: Hub, tmp_path: Path) -> None:
    hub.repositories[NAME] = Repository(private=False, branches={"main": ["c" * 40]}, commits={"c" * 40: files})
    for verb in (("inspect", ADDRESS), ("pull", NAME, "-o", tmp_path / "set.safetensors")):
        error = run(*verb).error
        assert error.startswith(f"error: {ADDRESS}: ")
        assert problem in error
    assert not [file for file in everything_in(tmp_path) if not file.startswith("hub/")]


def test_a_damaged_copy_in_the_cache(run: Runner, set_file: Path, hub: Hub, tmp_path: Path) -> None:
    push_set(set_file, NAME)
    vc.load(ADDRESS)
    (copy,) = (tmp_path / "hub").glob("**/snapshots/*/*.safetensors")
    copy.resolve().write_bytes(set_file.read_bytes()[:-1] + b"?")
    error = run("inspect", ADDRESS).error
    assert error == (
        f"error: {ADDRESS}: {copy} has another SHA-256 than the file on the hub; delete it and run this again"
    )


def test_a_file_that_is_no_set_is_not_pushed(run: Runner, set_file: Path, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"no set")
    assert "video.mp4" in run("push", tmp_path / "video.mp4", NAME).error
    assert "does not exist" in run("push", tmp_path / "gone.safetensors", NAME).error
    assert hub.requests == []


def test_what_the_hub_holds_is_not_mixed_up(run: Runner, set_file: Path, hub: Hub) -> None:
    hub.repositories[NAME] = Repository(private=False)
    assert run("push", set_file, NAME, "--private").error == (
        f"error: --private: {NAME} exists and is public; make it private in its settings, or give another name"
    )
    model = {"model.safetensors": b"weights"}
    hub.repositories[NAME] = Repository(private=False, branches={"main": ["c" * 40]}, commits={"c" * 40: model})
    error = run("push", set_file, NAME).error
    assert error == f"error: {NAME}: holds model.safetensors, so {ADDRESS} would not name one set; give another name"
    assert files_of(hub) == model


def test_results_of_another_set_or_no_results(run: Runner, set_file: Path, hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for content, problem in (
        ("[]", "cannot be read as results (TypeError"),
        ("{}", "give the file that `videocompressa train SET --data DATA --json` printed"),
        (
            json.dumps(
                {"classes": ["a"], "options": {"settings": []}, "top1_mean": 1, "top1_std": 0, "top1_runs": [1]}
                | {"num_train_clips": 1, "num_test_clips": 1, "split": "test", "regime": "hard"}
            ),
            "has other classes than the set; give the results of this set",
        ),
    ):
        path.write_text(content)
        error = run("push", set_file, NAME, "--results", path).error
        assert error.startswith(f"error: --results {path}: ")
        assert problem in error
    assert hub.requests == []


def test_a_license_that_the_hub_does_not_know(run: Runner, set_file: Path, hub: Hub) -> None:
    assert "Invalid metadata in README.md" in run("push", set_file, NAME, "--license", "made-up").error
    assert files_of(hub) == {}


def test_pull_replaces_a_file_only_by_force(run: Runner, set_file: Path, hub: Hub, tmp_path: Path) -> None:
    push_set(set_file, NAME)
    hub.requests.clear()
    output = tmp_path / "set.safetensors"
    output.write_bytes(b"mine")
    assert run("pull", NAME, "-o", output).error == (
        f"error: output {output} exists; give --force to replace it, or another name"
    )
    assert (output.read_bytes(), hub.requests) == (b"mine", [])
    assert run("pull", NAME, "-o", output, "--force").code == 0
    assert output.read_bytes() == set_file.read_bytes()


# --- Interrupted ---


def test_a_refused_upload_is_one_line_and_the_next_push_works(run: Runner, set_file: Path, hub: Hub) -> None:
    for request in ("PUT", "commit"):
        hub.refuse = request
        assert f"{NAME}: the hub did not do it (refused for the test)" in run("push", set_file, NAME).error
        assert files_of(hub) == {}
    hub.refuse = ""
    assert run("push", set_file, NAME).code == 0
    assert files_of(hub)[SET] == set_file.read_bytes()


@pytest.mark.slow
def test_a_killed_upload_leaves_nothing_and_the_same_command_works(set_file: Path, hub: Hub, tmp_path: Path) -> None:
    before, hub.stall = set_file.read_bytes(), threading.Event()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    settings = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path), "TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "videocompressa", "push", str(set_file), NAME]

    def start() -> subprocess.Popen[str]:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=os.environ | settings, text=True, **streams)

    with start() as process:
        assert hub.stall.wait(60), process.communicate(timeout=5)
        process.terminate()
        process.communicate(timeout=60)
    assert (set_file.read_bytes(), files_of(hub)) == (before, {})
    hub.stall = None
    with start() as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert NAME in out
    assert err.startswith("decode set: "), err
    assert files_of(hub)[SET] == before == set_file.read_bytes()
    assert read_set(set_file).provenance.source.name == "shades"


def test_without_the_package(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result: Ran = run("inspect", ADDRESS)
    assert 'needs huggingface_hub; run: pip install ".[hub]" in a clone of videocompressa' in result.error
