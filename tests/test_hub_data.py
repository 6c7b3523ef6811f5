"""DATA on the Hugging Face hub, which a local server stands in for; commands in a process of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_runs import CLIPS, STUDENT, TINY
from hub_data_server import TOKEN, HubHandler
from range_server import Store, serving
from test_sources import folders, write_layout

pytest.importorskip("huggingface_hub", reason="needs the extra hub")
assert folders  # A fixture.
pytestmark = pytest.mark.slow

LAYOUTS = ("folders", "videofolder", "parquet", "webdataset")
STARTS = ("hf:me/", "hf:me/", "hf:me/", "hf://datasets/me/")
PLAN = (*TINY, "--method", "random-real", "--vpc", 1)

MESSAGES = [
    ("hf:me/none", "hf://datasets/me/none: the hub has no such data set, or a private one; check the name, or run"),
    ("hf:private/folders", "hf://datasets/private/folders: the hub has no such data set, or a private one; check"),
    ("hf:gated/folders", "its owner must give you access; ask for it on the data set's page, then run: hf auth"),
    ("hf:me", "hf://datasets/me: is no data set of the hub; write hf:USER/NAME"),
    ("hf:me/folders --revision v2", "hf://datasets/me/folders@v2: the data set has no such revision; check --rev"),
    (". --revision v2", "--revision v2: . is no data set of the hub, or names its own; give hf:USER/NAME"),
]


@pytest.fixture(scope="module")
def hub(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Every layout as me/LAYOUT, and me/folders with two thirds of its clips at the revision v1."""
    root = tmp_path_factory.mktemp("hub")
    for layout in LAYOUTS:
        (root / "main" / "me").mkdir(parents=True, exist_ok=True)
        write_layout(layout, folders, root / "main" / "me" / layout)
    for user in ("private", "gated"):
        shutil.copytree(folders, root / "main" / user / "folders")
    shutil.copytree(folders, root / "v1" / "me" / "folders", ignore=shutil.ignore_patterns("0.mp4"))
    with serving(root, HubHandler) as store:
        yield store


@dataclass(frozen=True)
class Ran:
    """What commands in one other process did."""

    codes: list[int]
    out: list[str]
    err: list[str]
    """Lines; of commands that fail, one each."""


SCRIPT = (
    "import json, sys; from videocompressa.cli.main import main\nfor line in json.load(sys.stdin): print(main(line))"
)


def commands(url: str, tmp_path: Path, *lines: tuple[object, ...], **environment: str) -> Ran:
    """Run commands, each with --json, in a process that has this hub."""
    own = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "VIDEOCOMPRESSA_CACHE": str(tmp_path / "cache")}
    usual = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    given = json.dumps([[*map(str, line), "--json"] for line in lines])
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=given,
        capture_output=True,
        text=True,
        env=usual | own | environment,
        check=True,
    )
    out = ran.stdout.splitlines()
    return Ran(
        [int(line) for line in out if line.isdigit()], [x for x in out if not x.isdigit()], ran.stderr.splitlines()
    )


def test_compressing_from_the_hub_gives_the_file_of_the_folder(hub: Store, tmp_path: Path) -> None:
    options = (*TINY, "--method", "random-real", "--vpc", 3, "--keyframes", 4)
    local = hub.root / "main" / "me"
    places = [(f"{start}{layout}", local / layout) for start, layout in zip(STARTS, LAYOUTS, strict=True)]
    files = [tmp_path / f"{n}.safetensors" for n in range(2 * len(places))]
    data = [place for both in places for place in both]
    ran = commands(hub.url, tmp_path, *(("compress", d, "-o", f, *options) for d, f in zip(data, files, strict=True)))
    assert ran.codes == [0] * len(data), ran.err
    assert all(json.loads(line)["num_videos"] == 6 for line in ran.out)
    assert {"list", "decode", "encode", "pack", "write"} <= {line.partition(":")[0] for line in ran.err}
    for there, here in zip(files[::2], files[1::2], strict=True):
        assert there.read_bytes() == here.read_bytes()
    assert not (tmp_path / "home" / "hub").exists()  # Read, not downloaded.


def test_a_revision_and_a_private_set_and_students_of_its_videos(hub: Store, tmp_path: Path) -> None:
    plans = (("hf:me/folders", "--revision", "v1"), ("hf:private/folders",))
    lines = [*(("plan", *each, *PLAN) for each in plans), ("train", "hf:private/folders", *CLIPS, *STUDENT)]
    ran = commands(hub.url, tmp_path, *lines, HF_TOKEN=TOKEN)
    assert ran.codes == [0, 0, 0], ran.err
    *planned, trained = map(json.loads, ran.out)
    assert [each["splits"]["train"]["num_videos"] for each in planned] == [4, 6]
    assert trained["num_train_clips"] == 6


def test_messages(hub: Store, tmp_path: Path) -> None:
    ran = commands(hub.url, tmp_path, *(("plan", *data.split(), *PLAN) for data, _ in MESSAGES))
    assert ran.codes == [2] * len(MESSAGES)
    assert ran.out == []
    for (data, message), line in zip(MESSAGES, ran.err, strict=True):
        assert message in line, data


def test_no_network(tmp_path: Path) -> None:
    ran = commands("http://127.0.0.1:1", tmp_path, ("plan", "hf:me/folders", *PLAN))
    assert ran.codes == [2]
    assert len(ran.err) == 1
    assert "hf://datasets/me/folders: the store cannot be reached (ConnectError: " in ran.err[0]
