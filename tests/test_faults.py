"""Disks that refuse, folders that vanish, other processes: a run survives or says what is wrong; nothing is half."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_runs import QUICK, Runner, everything_in

from videocompressa import files
from videocompressa.clip import ClipSpec
from videocompressa.datasets import decode_split, find_videos
from videocompressa.errors import InputError
from videocompressa.files import atomic_path, complete_folder, write_bytes


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Let every write of this process beyond so many bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
def test_writes_that_fail_are_one_line_and_cost_nothing(videos: Path, run: Runner, tmp_path: Path) -> None:
    method = ("--method", "videocompressa", *QUICK, "--cache")
    assert run.compress(videos, tmp_path / "a.safetensors", *method, tmp_path / "other").code == 0
    output = tmp_path / "b.safetensors"
    for num_bytes in (0, 400, 2000, 30_000, 120_000):  # a journal, a list of stages, the set, frames, a network
        with largest_file(num_bytes):
            failed = run.compress(videos, output, *method, tmp_path / "cache")
        assert os.strerror(errno.EFBIG) in failed.error
        assert not output.exists()
    assert run.compress(videos, output, *method, tmp_path / "cache").code == 0
    assert (tmp_path / "a.safetensors").read_bytes() == output.read_bytes()
    assert not [name for name in everything_in(tmp_path) if ".part" in name or name.endswith(".new")]


@pytest.mark.slow
@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir", "open"])
def test_a_full_disk_at_any_call_is_one_line_and_costs_nothing(
    videos: Path, run: Runner, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.compress(videos, tmp_path / "a.safetensors", "--cache", tmp_path / "other").code == 0
    honest, calls = getattr(os, call), 0

    def fail_at(number: int) -> Any:
        def failing(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if str(tmp_path) in str(arguments[0]) or isinstance(arguments[0], int):
                calls += 1
                if calls == number:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return honest(*arguments, **options)

        return failing

    output, code = tmp_path / "b.safetensors", 2
    for number in range(1, 60):
        calls = 0
        monkeypatch.setattr(os, call, fail_at(number))
        ran = run.compress(videos, output, "--cache", tmp_path / "cache")
        monkeypatch.undo()
        if (code := ran.code) == 0:
            break
        assert "space" in ran.error, number
        assert not output.exists()
    assert code == 0
    assert output.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    assert not [name for name in everything_in(tmp_path) if ".part" in name or name.endswith(".new")]


def test_a_cache_that_is_removed_is_named_and_made_again(videos: Path, tmp_path: Path) -> None:
    def remove(step: str, **numbers: float) -> None:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)

    listed, clip = find_videos(videos), ClipSpec(2, 8, 8)
    expected = decode_split(listed, "train", clip, cache=tmp_path / "other", workers=0).frames
    with pytest.raises(InputError, match=r"the cache cannot be written: No such file or directory; .* another --cache"):
        decode_split(listed, "train", clip, cache=tmp_path / "cache", workers=0, watch=remove)
    assert (decode_split(listed, "train", clip, cache=tmp_path / "cache", workers=0).frames == expected).all()


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_path(path) as first:
        first.write_bytes(b"1")
        with atomic_path(path) as second:
            second.write_bytes(b"2")
        assert path.read_bytes() == b"2"
        write_bytes(path, b"3")
    assert path.read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_second_writer_of_a_folder_is_told(tmp_path: Path) -> None:
    with complete_folder(tmp_path / "out", overwrite=True) as part:
        (part / "a").write_bytes(b"1")
        with (
            pytest.raises(InputError, match=r"output .*out: another process is writing it; wait for it, or give anoth"),
            complete_folder(tmp_path / "out", overwrite=True),
        ):
            pass
    assert everything_in(tmp_path) == {"out/a"}


def test_what_a_killed_process_left_is_removed_and_what_it_was_replacing_comes_back(tmp_path: Path) -> None:
    left = tmp_path / ".out.part"
    for name in ("out/half", f"{files.REPLACED}/old"):
        (left / name).parent.mkdir(parents=True)
        (left / name).write_bytes(b"1")
    writer = complete_folder(tmp_path / "out", overwrite=True)
    writer.__enter__()
    assert everything_in(tmp_path) == {"out/old"}
    assert writer.__exit__(ValueError, ValueError("stop"), None) is False
    assert everything_in(tmp_path) == {"out/old"}
    (tmp_path / ".a.bin.part").mkdir()
    (tmp_path / ".a.bin.part" / "half.bin").write_bytes(b"1")
    write_bytes(tmp_path / "a.bin", b"2")
    assert everything_in(tmp_path) == {"out/old", "a.bin"}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_bytes(b"1")
    honest, calls = Path.replace, 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="No space"), complete_folder(tmp_path / "out", overwrite=True) as part:
        (part / "new").write_bytes(b"2")
    assert everything_in(tmp_path) == {"out/old"}


def test_sigterm_ends_a_command_as_an_interrupt_does_and_its_handler_is_put_back(
    videos: Path, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(*_: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("videocompressa.recipes.compress.compress_folder", terminate)
    ran = run.compress(videos, tmp_path / "a.safetensors")
    assert ran.code == 143
    assert ran.err.endswith("interrupted; run the same command again to resume\n")
    assert signal.getsignal(signal.SIGTERM) == before
