"""DATA behind real connections: a local HTTP store, whole, failing, and gone."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest
import torch
from range_server import Handler, serving
from test_sources import encoded, folders, write_layout, write_tar

from videocompressa import remote
from videocompressa.datasets import candidates, find_videos
from videocompressa.errors import InputError, VideoError

pytest.importorskip("aiohttp", reason="needs the extra hub")
assert folders  # A fixture.


class WithoutRanges(Handler):
    def send_bytes(self, data: bytes) -> None:
        del self.headers["Range"]
        super().send_bytes(data)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES_SECONDS", (0.0, 0.0))


@pytest.mark.parametrize("layout", ["folders", "csv", "videofolder", "webdataset", "parquet"])
@pytest.mark.parametrize("fault", ["503", "drop", "half"])
def test_a_store_that_fails_and_works_again_changes_nothing(
    layout: str, fault: str, folders: Path, tmp_path: Path
) -> None:
    write_layout(layout, folders, tmp_path / "set")
    expected = encoded(find_videos(tmp_path / "set"), "train", tmp_path / "local")
    with serving(tmp_path) as store:
        store.faults += [fault, fault]
        videos = find_videos(f"{store.url}/set")
        assert layout == "folders" or not store.faults  # Of folders, no file is read to list them.
        store.faults = [fault, fault, "", fault]
        data = encoded(videos, "train", tmp_path / "http")
        assert not store.faults
    assert data.bad == ()
    assert torch.equal(data.frames, expected.frames)


def test_a_run_that_a_store_stopped_resumes(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "SHARD_VIDEOS", 2)
    shutil.copytree(folders, tmp_path / "set")
    with serving(tmp_path) as store:
        videos = find_videos(f"{store.url}/set")
        expected, all_bytes = encoded(videos, "train", tmp_path / "expected"), store.num_bytes
        store.faults = [""] * 2 + ["500"] * 3  # Each video is read once, the third is tried three times.
        message = r"set/train/jump/2\.mp4: the store cannot be reached \(ClientResponseError: 500, .*\); check the addr"
        with pytest.raises(InputError, match=message) as caught:
            encoded(videos, "train", tmp_path / "c")
        assert not isinstance(caught.value, VideoError)  # Not a bad video that is skipped.
        before = store.num_bytes
        assert torch.equal(encoded(videos, "train", tmp_path / "c").frames, expected.frames)
        assert 0 < store.num_bytes - before < all_bytes  # The first shard is not read again.


@pytest.mark.parametrize("name", ["set", "set.tar", "set.parquet", "set.csv"])
def test_a_store_that_is_not_there_is_named(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for host, reason in ((f"127.0.0.1:{port}", r".*127\.0\.0\.1:\d+ .*"), ("a.invalid", ".*a.invalid:80 .*")):
        message = rf"http://{host}/{name}: the store cannot be reached \(ClientConnector{reason}\); check the address"
        with pytest.raises(InputError, match=message):
            find_videos(f"http://{host}/{name}")


def test_a_server_that_sends_no_ranges(tmp_path: Path) -> None:
    write_tar(tmp_path / "set" / "0.tar", {"a.mp4": bytes(2**18), "a.cls": b"x", "b.mp4": b"2", "b.cls": b"y"})
    message = r"0\.tar: the store cannot be reached \(ValueError: .*range requests"
    with serving(tmp_path, WithoutRanges) as store, pytest.raises(InputError, match=message):
        find_videos(f"{store.url}/set")


def test_names_with_spaces_and_what_is_not_there(folders: Path, tmp_path: Path) -> None:
    for label in ("face palm", "a+b"):
        shutil.copytree(folders / "train" / "jump", tmp_path / "my set" / label)
    with serving(tmp_path) as store:
        videos = find_videos(f"{store.url}/my set")
        assert videos.classes == ("a+b", "face palm")
        assert encoded(videos, "train", tmp_path / "c").bad == ()
        with pytest.raises(InputError, match="/none: there is no such folder"):
            find_videos(f"{store.url}/none")
