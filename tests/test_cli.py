"""The command line: what is printed, exit codes, every kind of bad input, Ctrl-C and resuming after it."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from cli_runs import CLIPS, QUICK, TINY, Runner, draw_clip, draw_videos, everything_in

import videocompressa as vc
from videocompressa import METHODS
from videocompressa.artifact import measure, read_set, write_set
from videocompressa.bench.protocols import PROTOCOLS
from videocompressa.bench.scales import SCALES
from videocompressa.cli import terminal
from videocompressa.cli.app import Reporting, default_cache
from videocompressa.cli.app import app as cli_app
from videocompressa.cli.main import main
from videocompressa.clip import ClipSpec
from videocompressa.codecs import CODECS
from videocompressa.datasets.layouts import LAYOUTS
from videocompressa.engine import WorkerError, usable_cores
from videocompressa.networks import STUDENTS
from videocompressa.students.model_folder import read_model
from videocompressa.students.named import parse_student
from videocompressa.students.settings import TrainConfig
from videocompressa.students.teachers import TeacherConfig
from videocompressa.video import shards, write_video

COMPRESS_KEYS = {
    "path", "num_videos", "num_frames", "frame_ratio", "file_bytes", "byte_ratio", "compress_seconds",
    "peak_memory_bytes", "skipped",
}  # fmt: skip
TRAIN_KEYS = {"top1_mean", "top1_std", "top1_runs", "num_diverged", "train_seconds"}
INT8 = ("--storage", "int8")  # sizes that do not depend on what the videos show
PLAN_KEYS = {"num_videos", "num_frames", "classes", "bad"}


@pytest.fixture(scope="module")
def set_file(videos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "set.safetensors"
    options = ("--method", "random-real", "--vpc", 1, "--keyframes", 2, "--quiet")
    arguments = ["compress", videos, "-o", path, *TINY, "--cache", cache, *options]
    assert main([str(argument) for argument in arguments]) == 0
    return path


# --- What each verb gives ---


def test_plan_counts_and_predicts(run: Runner, videos: Path) -> None:
    result = run("plan", videos, *TINY, "--cache", run.cache, "--json", "--method", "random-real")
    assert result.code == 0
    assert result.json.keys() >= PLAN_KEYS
    assert result.json["num_videos"] == 12
    assert result.json["num_frames"] == 12 * 6
    assert result.json["classes"] == {"dark": {"train": 4, "test": 2}, "light": {"train": 4, "test": 2}}
    assert result.json["bad"] == []
    assert result.json["splits"]["train"]["num_frames"] == 48
    assert result.json["expected_seconds"] > 0


def test_the_plan_of_a_method_that_fills_the_file(run: Runner, videos: Path) -> None:
    asked = ("plan", videos, *TINY, "--method", "typical-clips", "--bytes", "3kB")
    result = run(*asked, "--json").json
    assert (result["expected_file_bytes"], result["videos_per_class"], result["keyframes"]) == (3000, None, None)
    assert result["notes"] == []
    assert "as much as typical-clips gets into the file" in run(*asked).out


def test_the_plan_of_a_learned_method_counts_its_training(run: Runner, videos: Path) -> None:
    real = run("plan", videos, *TINY, "--cache", run.cache, "--json", "--method", "random-real").json
    steps = ("--set", "synthesis.steps=100000")
    learned = run("plan", videos, *TINY, "--cache", run.cache, "--json", *QUICK, *steps).json
    assert learned["expected_seconds"] > 10 * real["expected_seconds"]


def test_the_plan_names_bad_videos_and_goes_on(run: Runner, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "data")
    (tmp_path / "data/train/dark/0.mp4").write_bytes(b"not a video")
    result = run("plan", tmp_path / "data", *TINY, "--cache", run.cache, "--json", "--method", "random-real")
    assert [bad["video"] for bad in result.json["bad"]] == ["train/dark/0.mp4"]
    assert result.json["bad"][0]["reason"]
    assert result.json["num_videos"] == 11
    planned = run("plan", tmp_path / "data", *TINY, "--cache", run.cache, "--method", "random-real")
    assert "train/dark/0.mp4" in planned.out


def test_the_plan_names_the_videos_that_a_class_lacks(run: Runner, videos: Path, tmp_path: Path) -> None:
    data = shutil.copytree(videos, tmp_path / "data")
    lines = ["path,label", "train/dark/0.mp4,dark", "train/light/0.mp4,light", "gone/1.mp4,far", "gone/2.mp4,far"]
    (data / "splits.csv").write_text("\n".join(lines))
    told = r"class 'far' has no video that can be read: gone/1.mp4 (file is gone); gone/2.mp4 (file is gone); fix its"
    assert told in run("plan", data, *TINY, "--cache", run.cache, "--method", "random-real").error
    assert told in run.compress(data, tmp_path / "s.safetensors", "--max-bad", "100%").error


def test_a_list_with_paths_from_another_folder_shows_where_they_lead(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("path,label\nvideos/0.mp4,dark\nvideos/1.mp4,light\n")
    wanted, options = (
        rf"{re.escape(str(tmp_path))}/videos/\d\.mp4 \(file is gone\)",
        ("--workers", 0, "--cache", run.cache),
    )
    assert re.search(f"can be read: {wanted}", run("plan", tmp_path / "mine.csv", *options).error)
    timed = run("compress", tmp_path / "mine.csv", "-o", tmp_path / "s.safetensors", *options, "--vpc", 1)
    assert re.search(f"can be decoded, such as {wanted}", timed.error)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_encoding_of_stdout_can_be_written(
    videos: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    data = shutil.copytree(videos / "train", tmp_path / "data")
    shutil.move(data / "dark", data / "\u65e5\u672c \U0001f600")
    planned = ["plan", data, *TINY, "--cache", cache, "--method", "random-real", "--quiet"]
    for options, written in (([], "\\u65e5\\u672c"), (["--json"], "\\u65e5\\u672c \\ud83d\\ude00")):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding)
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main([str(argument) for argument in (*planned, *options)]) == 0
        stdout.seek(0)
        text = stdout.read()
        assert written in text
        assert not options or "\u65e5\u672c \U0001f600" in json.loads(text)["classes"]


def test_plan_compress_and_train_name_what_they_leave_out(run: Runner, videos: Path, tmp_path: Path) -> None:
    data = shutil.copytree(videos, tmp_path / "data")
    (data / "train" / "dark" / "a.mpx").touch()
    planned = run("plan", data, *TINY, "--cache", run.cache, "--method", "random-real")
    compressed = run.compress(data, tmp_path / "s.safetensors")
    for result in (planned, compressed, run.train(tmp_path / "s.safetensors", "--data", data)):
        assert "note: left out: files that are no videos by their suffix (1 .mpx)\n" in result.err


def test_the_plan_predicts_the_file(run: Runner, videos: Path, tmp_path: Path) -> None:
    asked = ("--vpc", 2, "--storage", "int8", "--json")
    predicted = run("plan", videos, *TINY, "--method", "random-real", *asked).json["expected_file_bytes"]
    result = run.compress(videos, tmp_path / "set.safetensors", *asked)
    assert result.json["file_bytes"] <= predicted <= result.json["file_bytes"] + 100


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_shell_completion_is_installed(
    shell: str, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    assert run("--install-completion").code == 0
    written = [path.read_text() for path in tmp_path.rglob("*videocompressa*") if path.is_file()]
    assert any("--keyframes" in text and "predict" in text for text in written)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (("compress", "videos"), "-o or --output"),
        (("decode", "set.safetensors"), "-o or --output"),
        (("train",), "SET"),
        (("predict", "video.mp4"), "--model"),
        (("push", "set.safetensors"), "NAME"),
    ],
)
def test_what_is_forgotten_is_named_as_it_is_typed(run: Runner, typed: tuple[str, ...], names: str) -> None:
    assert run(*typed).error == f"error: {names} is missing; give it (see videocompressa {typed[0]} --help)"
    if names.startswith("-"):
        assert "requires an argument" in run(*typed, names.split()[-1]).error


def test_what_is_easily_mistyped_is_asked_about_before_the_run(run: Runner, videos: Path, tmp_path: Path) -> None:
    def error(output: str, *budget: object) -> str:
        return run("compress", videos, "-o", tmp_path / output, *TINY, "--cache", run.cache, *budget).error

    assert "x.pt: is written as .safetensors; give" in error("x.pt")
    assert error("x.safetensors", "--ratio", "0.13").endswith("write 13% if that is meant, or 0.13%")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "frames", "options", "notes"),
    [
        ((32, 64), 30, (), ["wider than tall, and the middle crop leaves out 50 % of it; --fit pad or"]),
        ((64, 32), 30, (), ["taller than wide, and the middle crop leaves out 50 % of it; --fit pad or"]),
        ((64, 32), 30, ("--fit", "pad"), []),
        ((48, 64), 30, (), []),
        ((32, 32), 60, (), ["lasts 6.0 s, so its 4 frames are 1.5 s apart; for faster motion give more --frames"]),
        ((32, 32), 60, ("--placement", "strided:4"), []),
    ],
)
def test_the_plan_warns_by_the_data(
    run: Runner, tmp_path: Path, shape: tuple[int, int], frames: int, options: tuple[str, ...], notes: list[str]
) -> None:
    for name in ("train/a/1.mp4", "train/b/2.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        write_video(tmp_path / name, torch.zeros(frames, 3, *shape, dtype=torch.uint8), fps=10)
    planned = run("plan", tmp_path, *TINY, "--method", "random-real", "--json", *options)
    told = [note for note in planned.json["notes"] if note.startswith("the median training video")]
    assert len(told) == len(notes)
    assert all(words in note for words, note in zip(notes, told, strict=True))


def test_compress_says_what_it_will_do_before_it_starts(run: Runner, videos: Path, tmp_path: Path) -> None:
    def lines(*options: object) -> list[str]:
        return run.compress(videos, tmp_path / "s.safetensors", "--force", *options).err.splitlines()

    said = lines("--vpc", 2, "--keyframes", 3)
    start = said.index("read    8 training videos of 2 classes")
    assert said[start + 1 : start + 4] == [
        "clips   4 frames of 32x32 px, placement even, fit crop",
        "keep    2 videos of each class, 3 keyframes of each; hard labels",
        "method  random-real, codec tiny, seed 0",
    ]
    assert "decode: 8 of 8" in said[start + 4]
    assert "keep    a file of up to 20.0 kB; hard labels" in lines("--bytes", "20kB")
    assert "keep    50 % of the frames; hard labels" in lines("--ratio", "50%")
    train = (*QUICK, "--method", "videocompressa", "--set", "teacher.train.steps=200")
    first, again = lines(*train), lines(*train)
    (time,) = [line for line in first if line.startswith("time   ")]
    assert re.fullmatch(r"time    (under|[\d.]+ to) [\d.]+ (s|min), less what an earlier run has done", time)
    assert time in again
    assert [any(line.startswith("time a sample") for line in each) for each in (first, again)] == [True, False]
    assert lines("--quiet") == []


def test_compress_prints_one_object(run: Runner, videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.safetensors"
    result = run.compress(videos, path, "--json", "--keyframes", 3)
    assert result.code == 0
    assert result.json.keys() >= COMPRESS_KEYS
    assert result.json["path"] == str(path)
    assert result.json["num_videos"] == 2
    assert result.json["num_frames"] == 6
    assert result.json["frame_ratio"] == 6 / 48
    assert result.json["file_bytes"] == path.stat().st_size == measure(path).file_bytes
    assert result.json["skipped"] == []
    stages = result.json["stage_seconds"]
    assert set(stages) >= {"list", "decode", "pack", "write"}
    assert 0 < sum(stages.values()) <= result.json["compress_seconds"]
    assert result.json["peak_memory_bytes"] > 10**7


def test_more_videos_than_the_sample_are_listed_and_not_read(run: Runner, videos: Path, tmp_path: Path) -> None:
    sample = ("--train-sample", 4, "--vpc", 1)
    planned = run("plan", videos, *TINY, "--method", "random-real", *sample)
    assert "note: 4 of 8 training videos are read, and shares are of these (--train-sample)" in planned.err
    result = run.compress(videos, tmp_path / "set.safetensors", *sample, "--json")
    assert result.json["num_train_videos"] == 4
    assert result.json["notes"] == ["4 of 8 training videos are read, and shares are of these (--train-sample)"]
    error = run("plan", videos, *TINY, "--train-sample", 1).error
    assert "--train-sample is 1; it must be at least 2" in error


def test_training_on_videos_reads_the_sample_too(run: Runner, videos: Path, tmp_path: Path) -> None:
    note = "4 of 8 training videos are read, and shares are of these (--train-sample)"
    result = run.train(videos, "--train-sample", 4, "--json")
    assert (result.json["num_train_clips"], result.json["num_test_clips"]) == (4, 4)
    assert result.json["notes"].count(note) == result.err.count(f"note: {note}") == 1
    path = tmp_path / "set.safetensors"
    compressed = run.compress(videos, path, "--train-sample", 4)
    assert note not in run.train(path, "--data", videos, "--train-sample", 4).err  # it reads no training videos
    assert note in compressed.err
    run.capsys.readouterr()
    assert len(vc.real_clips(videos, "train", like=path, train_sample=4, cache=run.cache)) == 4
    assert note in run.capsys.readouterr().err
    assert "--train-sample is 1; it must be at least 2" in run.train(videos, "--train-sample", 1).error


@pytest.mark.parametrize("verb", ["compress", "plan", "train", "bench", "finetune"])
def test_as_many_videos_are_read_by_every_verb(verb: str, run: Runner) -> None:
    text = " ".join(run(verb, "--help").out.replace("│", " ").split())
    assert "Training videos that are read, at random" in text
    assert "[default: 20000]" in text


def test_compress_shows_where_its_time_went(run: Runner, videos: Path, tmp_path: Path) -> None:
    result = run.compress(videos, tmp_path / "set.safetensors", "--profile", "--cache", tmp_path / "cache")
    ours, workers = result.out.split("stage of the workers")
    for text, stages in ((ours, {"decode", "encode", "pack"}), (workers, {"hash", "decode", "resize"})):
        shares = dict(re.findall(rf"({'|'.join(stages)})\W.*?([\d.]+) %", text))
        assert set(shares) == stages
        assert sum(map(float, shares.values())) <= 101
    assert "share" not in run.compress(videos, tmp_path / "other.safetensors").out


def test_train_prints_one_object(run: Runner, videos: Path, set_file: Path) -> None:
    result = run.train(set_file, "--data", videos, "--json")
    assert result.code == 0
    assert result.json.keys() >= TRAIN_KEYS
    assert len(result.json["top1_runs"]) == 2
    assert result.json["top1_mean"] == sum(result.json["top1_runs"]) / 2
    assert result.json["num_diverged"] == 0
    assert (result.json["num_train_clips"], result.json["num_test_clips"]) == (2, 4)


def test_students_trained_on_the_set_tell_dark_from_light(run: Runner, videos: Path, set_file: Path) -> None:
    result = run.train(set_file, "--data", videos, "--json", "--steps", 60, "--lr", 0.01, "--seeds", 1)
    assert result.json["top1_mean"] == 1


def test_students_see_frames_fitted_as_in_the_set(run: Runner, videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.safetensors"
    assert run.compress(videos, path, "--fit", "stretch").code == 0
    assert "32x32 px, fit stretch, fill" in run("inspect", path).out
    assert run.train(path, "--data", videos, "--save-model", tmp_path / "model").code == 0
    assert read_model(tmp_path / "model").clip == read_set(path).clip == ClipSpec(4, 32, 32, fit="stretch")


def test_train_on_a_folder_is_full_data(run: Runner, videos: Path) -> None:
    result = run.train(videos, "--json")
    assert (result.json["num_train_clips"], result.json["num_test_clips"]) == (8, 4)


def test_people_see_tables(run: Runner, videos: Path, set_file: Path, tmp_path: Path) -> None:
    compressed = run.compress(videos, tmp_path / "set.safetensors")
    assert "2 videos x 4 keyframes = 8 frames" in compressed.out
    assert "decode" in compressed.err
    assert "train" in compressed.err  # what to do next
    trained = run.train(set_file, "--data", videos)
    assert "top-1" in trained.out
    assert "chance" in trained.out


def test_inspect_shows_contents_and_writes_a_sheet(run: Runner, set_file: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    printed = run("inspect", set_file, "--contact-sheet", sheet)
    assert printed.code == 0
    for word in ("shades", "8 videos", "seed 0", "hard", "tiny", "train/dark/", "train/light/"):
        assert word in printed.out, word
    assert sheet.read_bytes().startswith(b"\x89PNG")
    values = run("inspect", set_file, "--json").json
    assert values["provenance"]["source"]["num_videos"] == 8
    assert values["file_bytes"] == set_file.stat().st_size
    assert [item["class"] for item in values["items"]] == ["dark", "light"]


@pytest.mark.parametrize(("kind", "count"), [("mp4", 2), ("gif", 2), ("png", 4)])
def test_decode_writes_files(run: Runner, set_file: Path, tmp_path: Path, kind: str, count: int) -> None:
    result = run("decode", set_file, "-o", tmp_path / "out", "--format", kind, "--json")
    assert result.json == {"path": str(tmp_path / "out"), "num_videos": 2, "num_files": count}
    files = everything_in(tmp_path)
    assert len(files) == count
    assert all(name.startswith(("out/dark/", "out/light/")) and name.endswith(kind) for name in files)


def test_quiet_says_nothing_on_stderr(run: Runner, videos: Path, set_file: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "data")
    (tmp_path / "data/train/dark/0.mp4").write_bytes(b"not a video")
    loose = ("--max-bad", "50%")
    assert "skipped: train/dark/0.mp4" in run.compress(tmp_path / "data", tmp_path / "a.safetensors", *loose).err
    assert run.compress(tmp_path / "data", tmp_path / "b.safetensors", *loose, "--quiet").err == ""
    assert run.train(set_file, "--data", videos, "--quiet").err == ""
    assert run("plan", videos, *TINY, "--method", "random-real", "--quiet").err == ""
    assert run("decode", set_file, "-o", tmp_path / "clips", "--quiet").err == ""


# --- Budgets ---


def test_bytes_are_never_exceeded_and_nearly_used(run: Runner, videos: Path, tmp_path: Path) -> None:
    sizes = [
        run.compress(videos, tmp_path / f"{vpc}.safetensors", "--vpc", vpc, *INT8, "--json").json["file_bytes"]
        for vpc in (2, 3)
    ]
    # How the paths and times pack is foreseen but for some bytes, and counted against the set.
    for asked, vpc in [(sizes[1] + 60, 3), (sizes[1] - 1, 2), (sizes[0] + 60, 2)]:
        result = run.compress(videos, tmp_path / "set.safetensors", "--bytes", asked, *INT8, "--json", "--force").json
        assert result["file_bytes"] <= asked
        assert result["videos_per_class"] == vpc


def test_a_ratio_of_frames(run: Runner, videos: Path, tmp_path: Path) -> None:
    for asked, vpc, keyframes in [("25%", 3, 2), ("20%", 2, 2), ("5%", 1, 1)]:
        path = tmp_path / f"{vpc}{keyframes}.safetensors"
        result = run.compress(videos, path, "--ratio", asked, "--keyframes", 2, "--json").json
        assert (result["videos_per_class"], result["keyframes"]) == (vpc, keyframes)
        assert bool(result["notes"]) == (keyframes < 2)


def test_a_smaller_class_stops_the_budget_or_gives_all_it_has(run: Runner, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "data")
    for name in ("0", "1"):
        (tmp_path / f"data/train/dark/{name}.mp4").unlink()
    stopped = run.compress(tmp_path / "data", tmp_path / "a.safetensors", "--bytes", "1MB", "--json").json
    assert stopped["videos_per_class"] == 2
    assert "'dark'" in stopped["notes"][0]
    fewer = run.compress(tmp_path / "data", tmp_path / "b.safetensors", "--vpc", 3, "--allow-fewer", "--json").json
    assert fewer["num_videos"] == 5


# --- Bad input: one line that names what to do, exit code 2, no files left ---


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _one_class(folder: Path) -> Path:
    return draw_videos(folder / "one", train=1, test=0, classes=("only",))


def _bad_csv(folder: Path) -> Path:
    (folder / "bad").mkdir()
    (folder / "bad/splits.csv").write_text("path,label,split\na.mp4,dark,train\nb.mp4,,train\n")
    return folder / "bad"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_empty, ("empty", "holds no videos", "CLASS/clip.mp4")),
        (_one_class, ("'only'", "at least two classes")),
        (_bad_csv, ("splits.csv", "3", "label is empty")),
        (lambda folder: folder / "nowhere", ("nowhere", "no such folder")),
    ],
)
def test_unusable_folders(run: Runner, tmp_path: Path, make: Callable[[Path], Path], words: tuple[str, ...]) -> None:
    data = make(tmp_path)
    before = everything_in(tmp_path)
    for result in (run.compress(data, tmp_path / "set.safetensors"), run("plan", data, *TINY)):
        for word in words:
            assert word in result.error
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--vpc", 5), ("'dark' has 4", "'light' has 4", "lower --vpc to 4", "--allow-fewer")),
        (("--vpc", 0), ("--vpc is 0", "at least 1")),
        (("--keyframes", 5), ("--keyframes is 5", "4 candidate frames", "choose 1 to 4")),
        (("--keyframes", 0), ("--keyframes is 0",)),
        (("--ratio", "4%"), ("--ratio 4% of 48 frames", "at least --ratio 4.1667%")),
        (("--bytes", "800"), ("--bytes 800 is too small", "at least --bytes ")),
        (("--bytes", "some"), ("--bytes: 'some'", "300kB")),
        (("--ratio", "7"), ("--ratio: '7'", "write it as 5% or 0.05")),
        (("--ratio", "5%", "--vpc", 1), ("--vpc and --ratio", "one of")),
        (("--method", "magic"), ("unknown method 'magic'", *METHODS)),
        (("--codec", "magic"), ("unknown codec 'magic'", *CODECS)),
        (("--set", "selektor=uniform"), ("selektor", "known: labels, fill, teacher")),
        (
            ("--set", "teacher.train.steps=many"),
            ("teacher.train.steps=many", "a whole number", str(TeacherConfig().train.steps)),
        ),
        (("--set", "labels"), ("--set labels", "name=value")),
        (("--set", "teacher=3"), ("teacher", "teacher.num_views")),
        (("--set", "teacher.num_views=0"), ("teacher.num_views is 0", "at least 1")),
        (("--set", "teacher.temperature=0"), ("teacher.temperature is 0", "above 0")),
        (("--set", "fill=magic"), ("fill is 'magic'", "hold, linear")),
        (("--method", "typical-clips", "--storage", "int8"), ("--storage int8", "leave the option out")),
        (("--layout", "magic"), ("layout 'magic'", "split-folders")),
        (("--size", 0), ("--size is 0",)),
        (("--fit", "squeeze"), ("--fit", '"crop", "pad", "stretch"')),
        (("--size", 30), ("multiples of 8", "--size 32")),
        (("--frames", 0), ("--frames is 0",)),
        (("--workers", -1), ("--workers is -1",)),
        (("--threads", 0), ("--threads is 0",)),
        (("--seed", "x"), ("--seed", "int")),
        (("--sed", 1), ("--sed", "Did you mean --seed?", "see videocompressa compress --help")),
    ],
)
def test_bad_options(run: Runner, videos: Path, tmp_path: Path, options: tuple[object, ...], words: list[str]) -> None:
    result = run.compress(videos, tmp_path / "set.safetensors", *options)
    for word in words:
        assert word in result.error, word
    assert everything_in(tmp_path) == set()


@pytest.mark.slow
def test_names_of_any_bytes_get_through_the_verbs_and_do_not_move_the_cursor(
    run: Runner, videos: Path, tmp_path: Path
) -> None:
    root, set_file = tmp_path / "odd", tmp_path / "set.safetensors"
    shutil.copytree(videos, root)
    for folder in sorted(root.glob("*/dark")):
        folder.rename(folder.with_name("a\udcff\x1b[2J"))
    clips = [*CLIPS, "--codec", "linear", "--vpc", 1, "--keyframes", 2]
    method = [*clips, "--method", "random-real", "--labeler", "off"]
    result = run("plan", root, *method)
    assert result.code == 0
    assert "\x1b[2J" not in result.out + result.err
    assert "a\\udcff\\x1b[2J" in result.out
    assert run("compress", root, "-o", set_file, *method).code == 0
    assert run("inspect", set_file, "--html", tmp_path / "page.html").code == 0
    assert "a\\udcff" in (tmp_path / "page.html").read_text(encoding="utf-8")
    bench = ["--methods", "random-real", "--labels", "hard", "--seeds", 1, "--students", "framenet2d"]
    bench += ["--train", "steps=2", "--train", "warmup_steps=0"]
    assert run("bench", root, "-o", tmp_path / "bench", *clips, *bench).code == 0
    assert (tmp_path / "bench/index.html").is_file()


def test_brackets_in_names_are_no_markup(run: Runner, videos: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    shutil.copytree(videos, named)
    for folder in sorted(named.glob("*/dark")):
        for video in sorted(folder.iterdir()):
            video.rename(video.with_name(f"cat [b] [{video.stem}].mp4"))
        folder.rename(folder.with_name("dark [dQw]"))
    result = run.compress(named, tmp_path / "set.safetensors", "--vpc", 1)
    assert result.code == 0
    printed = run("inspect", tmp_path / "set.safetensors").out
    assert "dark [dQw]/cat [b] [" in "".join(printed.split("\n"))
    assert "dark [dQw]" in run("plan", named, *TINY, "--method", "random-real").out


@pytest.mark.slow
def test_the_smallest_budgets_that_are_named_do_work(run: Runner, videos: Path, tmp_path: Path) -> None:
    for option, asked in (("--ratio", "1%"), ("--bytes", "800")):
        path = tmp_path / f"set{option}.safetensors"
        smallest = run.compress(videos, path, option, asked).error.split(f"{option} ")[-1]
        result = run.compress(videos, path, option, smallest, "--json").json
        # One position costs bytes and all of them none, so that the file which holds one keyframe may hold all.
        assert result["num_frames"] == 2 * result["keyframes"]
        assert result["keyframes"] == 1 if option == "--ratio" else result["keyframes"] in (1, 4)
        assert path.stat().st_size <= 2**31 if option == "--ratio" else path.stat().st_size <= int(smallest)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu(run: Runner, videos: Path, tmp_path: Path) -> None:
    assert "give --device cpu" in run.compress(videos, tmp_path / "set.safetensors", "--device", "cuda").error


def test_an_unknown_student(run: Runner, videos: Path, set_file: Path) -> None:
    error = run.train(set_file, "--data", videos, "--student", "magic").error
    for word in ("magic", *STUDENTS):
        assert word in error


def test_a_teacher_that_cannot_be(run: Runner, videos: Path, tmp_path: Path) -> None:
    small = run("compress", videos, "-o", tmp_path / "set.safetensors", *TINY)
    assert "4 frames at 32x32 px are too small for MiniC3D" in small.error
    assert "--size" in small.error
    unknown = run("compress", videos, "-o", tmp_path / "set.safetensors", *TINY, "--set", "teacher.train.student=best")
    assert "unknown student 'best'; known: convnet3d, minic3d" in unknown.error
    assert not list(tmp_path.glob("set*"))


def test_too_many_bad_videos(run: Runner, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "data")
    (tmp_path / "data/train/dark/0.mp4").write_bytes(b"")
    before = everything_in(tmp_path)
    result = run.compress(tmp_path / "data", tmp_path / "set.safetensors")
    assert "1 of 8 videos cannot be read, more than --max-bad 5%: train/dark/0.mp4" in result.error
    assert everything_in(tmp_path) == before
    lenient = run.compress(tmp_path / "data", tmp_path / "set.safetensors", "--max-bad", "20%", "--json")
    assert [skipped["video"] for skipped in lenient.json["skipped"]] == ["train/dark/0.mp4"]
    assert read_set(tmp_path / "set.safetensors").provenance.source.num_skipped == 1


def _truncated(good: bytes) -> bytes:
    return good[:-10]


def _foreign(good: bytes) -> bytes:
    return safetensors.torch.save({"weights": torch.zeros(3)})


def _later(good: bytes) -> bytes:
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    values = json.loads(header["__metadata__"]["videocompressa"])
    values["format"] += 1
    header["__metadata__"]["videocompressa"] = json.dumps(values)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + good[8 + length :]


@pytest.mark.parametrize(
    ("spoil", "word"), [(_truncated, "truncated"), (_foreign, "videocompressa"), (_later, "upgrade videocompressa")]
)
def test_set_files_that_cannot_be_used(
    run: Runner, videos: Path, set_file: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], word: str
) -> None:
    path = tmp_path / "spoilt.safetensors"
    path.write_bytes(spoil(set_file.read_bytes()))
    for result in (
        run("inspect", path, "--contact-sheet", tmp_path / "sheet.png"),
        run.train(path, "--data", videos),
        run("decode", path, "-o", tmp_path / "clips"),
    ):
        assert str(path) in result.error
        assert word in result.error
    assert everything_in(tmp_path) == {"spoilt.safetensors"}


def test_a_set_of_another_codec(run: Runner, videos: Path, set_file: Path, tmp_path: Path) -> None:
    for result in (
        run("inspect", set_file, "--contact-sheet", tmp_path / "sheet.png", "--codec", "linear"),
        run.train(set_file, "--data", videos, "--codec", "linear"),
        run("decode", set_file, "-o", tmp_path / "clips", "--codec", "pixel"),
    ):
        assert "compressed with codec 'tiny'" in result.error
        assert "give the same codec" in result.error
    assert everything_in(tmp_path) == set()


def test_a_set_that_is_not_there(run: Runner, videos: Path, tmp_path: Path) -> None:
    assert "does not exist" in run("inspect", tmp_path / "set.safetensors").error
    assert "--data is missing" in run.train(tmp_path / "set.safetensors").error


def test_outputs_that_exist_are_kept(run: Runner, videos: Path, set_file: Path, tmp_path: Path) -> None:
    for name in ("set.safetensors", "sheet.png", "clips/mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    runs = (
        ("set.safetensors", lambda *more: run.compress(videos, tmp_path / "set.safetensors", *more)),
        ("sheet.png", lambda *more: run("inspect", set_file, "--contact-sheet", tmp_path / "sheet.png", *more)),
        ("clips/mine.txt", lambda *more: run("decode", set_file, "-o", tmp_path / "clips", *more)),
    )
    for name, again in runs:
        assert "exists; give --force" in again().error
        assert (tmp_path / name).read_text() == "mine"
        assert again("--force").code == 0
        assert not (tmp_path / name).exists() or (tmp_path / name).read_bytes() != b"mine"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_cannot_be_written(
    run: Runner, videos: Path, set_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    assert run.compress(videos, tmp_path / "warm.safetensors").code == 0  # The cache is there; the output is not.
    (tmp_path / "warm.safetensors").unlink()
    with monkeypatch.context() as patched:
        patched.setattr("videocompressa.files.os.fsync", full)
        assert "cannot write" in run.compress(videos, tmp_path / "set.safetensors").error
    with monkeypatch.context() as patched:
        patched.setattr("videocompressa.recipes.sets.write_video", full)
        assert run("decode", set_file, "-o", tmp_path / "clips").error.startswith(f"error: {os.strerror(number)}")
    assert everything_in(tmp_path) == set()


def test_a_cache_that_cannot_be_written(run: Runner, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("compress", videos, "-o", tmp_path / "set.safetensors", *TINY, *QUICK, "--cache", tmp_path / "file")
    assert "--cache" in result.error
    assert everything_in(tmp_path) == {"file"}


def test_data_without_test_videos(run: Runner, set_file: Path, tmp_path: Path) -> None:
    data = draw_videos(tmp_path / "shades", test=0)
    for split, word in (("test", "splits.csv"), ("test", "test-000.tar"), ("val", "--hold-out")):
        error = run.train(set_file, "--data", data, "--split", split).error
        assert f"has no {split} videos (only 8 train)" in error
        assert word in error


def test_data_with_other_classes(run: Runner, set_file: Path, tmp_path: Path) -> None:
    data = draw_videos(tmp_path / "other", train=1, classes=("dark", "pale"))
    error = run.train(set_file, "--data", data).error
    assert "lacks 'light'" in error
    assert "lacks 'pale'" in error


def test_held_out_videos_evaluate_a_set_compressed_without_them(
    run: Runner, videos: Path, set_file: Path, tmp_path: Path
) -> None:
    data = draw_videos(tmp_path / "shades", test=0, train=4)
    hold_out = ("--hold-out", "25%")
    run.compress(data, tmp_path / "honest.safetensors", *hold_out, "--vpc", 3)
    run.compress(data, tmp_path / "leaky.safetensors", "--vpc", 4)
    result = run.train(tmp_path / "honest.safetensors", "--data", data, "--split", "val", *hold_out, "--json")
    assert result.json["num_test_clips"] == 2
    leaky = run.train(tmp_path / "leaky.safetensors", "--data", data, "--split", "val", *hold_out)
    assert "was made from 2 of the 2 val videos" in leaky.error


def test_videos_of_the_set_are_known_under_other_names(run: Runner, videos: Path, tmp_path: Path) -> None:
    """A copy under another name, with train and test swapped and other file names."""
    copy, set_file = tmp_path / "copy", tmp_path / "set.safetensors"
    for path in videos.glob("*/*/*.mp4"):
        split = "test" if path.parts[-3] == "train" else "train"
        (copy / split / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy / split / path.parent.name / f"a{path.name}")
    assert run.compress(videos, set_file, "--vpc", 3).code == 0
    refused = run.train(set_file, "--data", copy).error
    assert f"{set_file}: was made from 6 of the 8 test videos of {copy} ('test/dark/a" in refused
    assert "' and 1 more), which so cannot judge it; give other test videos: the data that was compressed" in refused
    assert "was made from 8 of the 8 test videos" in run.train(videos, "--data", copy).error
    model = ("--model", "none", "--cache", run.cache, "--workers", "0")
    tuned = run("finetune", set_file, "--data", copy, "-o", tmp_path / "tuned", *model).error
    assert tuned == refused
    assert not (tmp_path / "tuned").exists()
    shutil.copytree(copy / "test", copy / "train", dirs_exist_ok=True)
    options = ("--methods", "full", "--vpc", "1", "--labels", "hard", *TINY, "--cache", run.cache)
    bench = run("bench", copy, "-o", tmp_path / "bench", *options).error
    assert f"{copy}: was made from 8 of the 8 test videos of {copy}" in bench


def test_a_set_does_not_judge_itself_by_videos_that_its_labels_learned_from(
    run: Runner, videos: Path, tmp_path: Path
) -> None:
    """The test videos are copies of training videos, of which the set keeps none."""
    set_file, settings = tmp_path / "set.safetensors", [part for part in QUICK if "labels" in part or "teacher" in part]
    assert run.compress(videos, set_file, *(part for each in settings for part in ("--set", each))).code == 0
    kept = {*read_set(set_file).provenance.video_ids}
    other = draw_videos(tmp_path / "other", train=1)
    shutil.rmtree(other / "test")
    for path in videos.glob("train/*/*.mp4"):
        if path.relative_to(videos).as_posix() not in kept:
            (other / "test" / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, other / "test" / path.parent.name / f"a{path.name}")
    refused = run.train(set_file, "--data", other).error
    assert "was made from 6 of the 6 test videos" in refused
    assert "which so cannot judge it (its networks learned from 6 of them); give other test videos" in refused
    hard = tmp_path / "hard.safetensors"
    assert run.compress(videos, hard).code == 0
    assert run.train(hard, "--data", other).code == 0
    trained = run.train(set_file, "--data", videos, "--save-model", tmp_path / "model")
    assert trained.code == 0
    assert "was made from 6 of the 6 videos" in run("predict", other / "test", "--model", tmp_path / "model").error


def test_copies_within_one_data_set_are_named_in_pairs(run: Runner, tmp_path: Path) -> None:
    data = draw_videos(tmp_path / "shades", train=2)
    shutil.copy(data / "train" / "dark" / "0.mp4", data / "test" / "dark" / "copy.mp4")
    refused = run.train(data, "--data", data).error
    assert "was made from 1 of the 5 test videos" in refused
    assert "('test/dark/copy.mp4 = train/dark/0.mp4'), which so cannot judge it; give other test videos" in refused
    assert "copies of training videos must be removed, or left out of the list of --csv" in refused
    (data / "test" / "dark" / "copy.mp4").unlink()
    assert run.train(data, "--data", data).code == 0


def test_an_older_file_knows_its_videos_by_their_ids(run: Runner, tmp_path: Path) -> None:
    data = draw_videos(tmp_path / "shades", train=2)
    assert run.compress(data, tmp_path / "new.safetensors", "--vpc", 2).code == 0
    synthetic = read_set(tmp_path / "new.safetensors")
    old = replace(synthetic, provenance=replace(synthetic.provenance, video_hashes=()))
    write_set(old, tmp_path / "old.safetensors")
    other = draw_videos(tmp_path / "other", train=0, test=1)
    (other / "train").mkdir()
    (other / "splits.csv").write_text(
        "path,label,split\n"
        + "".join(f"train/{name}/0.mp4,{name},test\ntest/{name}/0.mp4,{name},train\n" for name in ("dark", "light"))
    )
    shutil.copytree(other / "test", other / "train", dirs_exist_ok=True)
    assert "was made from 2 of the 2 test videos" in run.train(tmp_path / "old.safetensors", "--data", other).error
    assert run.train(tmp_path / "new.safetensors", "--data", other).code == 0


def test_all_runs_diverged_is_a_code_of_its_own(run: Runner, videos: Path, set_file: Path) -> None:
    result = run.train(set_file, "--data", videos, "--lr", 1e30, "--steps", 12, "--set", "optimizer=sgd")
    assert result.code == 3
    assert result.out == ""
    assert "error: all 2 runs" in result.err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (WorkerError("a worker died (signal SIGKILL) on shard 0"), "a worker died (signal SIGKILL) on shard 0"),
        (MemoryError(), "out of memory; give a smaller --size, fewer --frames or --workers, or end other programs"),
    ],
)
def test_what_ends_a_run_is_a_code_of_its_own(
    run: Runner, videos: Path, tmp_path: Path, error: BaseException, text: str
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("videocompressa.recipes.data.encode_pass", dies)
        result = run.compress(videos, tmp_path / "set.safetensors", "--quiet")
    assert (result.code, result.err) == (1, f"error: {text}\n")


def test_no_command_is_help(run: Runner) -> None:
    assert "compress" in run().out
    assert "pln" in run("pln").error


# --- Same seed, same bytes; interruption; resuming ---


@pytest.mark.slow
def test_same_seed_same_bytes(run: Runner, videos: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for path, seed, cache in zip(files, (0, 0, 1), ("one", "two", "one"), strict=True):
        arguments = ("--cache", tmp_path / cache, "--seed", seed, "--method", "videocompressa", *QUICK)
        assert run.compress(videos, path, *arguments).code == 0
    first, second, other = (path.read_bytes() for path in files)
    assert first == second
    assert first != other


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "methods.config.train_selector",
        "students.training.fit",
        "methods.config.relabel",
        "files.os.fsync",
    ],
)
def test_ctrl_c_leaves_nothing_and_the_next_run_goes_on(
    run: Runner, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    options = ("--method", "videocompressa", "--set", "selector=gumbel", "--keyframes", 2, *QUICK)
    assert run.compress(videos, tmp_path / "complete.safetensors", "--cache", tmp_path / "a", *options).code == 0
    path = tmp_path / "out/set.safetensors"
    path.parent.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(f"videocompressa.{place}", interrupted)
        result = run.compress(videos, path, "--cache", tmp_path / "b", *options, "--json")
    assert result.code == 130
    assert result.out == ""
    assert "interrupted; run the same command again" in result.err
    assert everything_in(path.parent) == set()
    assert not [name for name in everything_in(tmp_path / "b") if name.endswith((".tmp", ".part", ".new"))]
    assert run.compress(videos, path, "--cache", tmp_path / "b", *options).code == 0
    assert path.read_bytes() == (tmp_path / "complete.safetensors").read_bytes()


def test_the_same_command_again_decodes_and_trains_nothing(
    run: Runner, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--cache", tmp_path / "cache", "--method", "videocompressa", *QUICK)
    calls = {"decode": 0, "fit": 0}

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            calls[name] += 1
            return function(*arguments, **named)

        return call

    from videocompressa.students import training

    monkeypatch.setattr(shards, "decode_shard", counted("decode", shards.decode_shard))
    monkeypatch.setattr(training, "fit", counted("fit", training.fit))
    run.compress(videos, tmp_path / "a.safetensors", *options)
    assert calls == {"decode": 1, "fit": 3}  # One shard; a teacher and a pool of two.
    run.compress(videos, tmp_path / "b.safetensors", *options)
    assert calls == {"decode": 1, "fit": 3}
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.slow
def test_changed_videos_are_compressed_again(run: Runner, videos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(videos, data)
    options = ("--cache", tmp_path / "cache", "--method", "videocompressa", *QUICK, "--vpc", 4)
    run.compress(data, tmp_path / "a.safetensors", *options)
    write_video(data / "train/dark/0.mp4", draw_clip(5, bright=True), fps=10)
    run.compress(data, tmp_path / "b.safetensors", *options)
    run.compress(data, tmp_path / "c.safetensors", *options[2:], "--cache", tmp_path / "fresh")
    changed, fresh = (tmp_path / "b.safetensors").read_bytes(), (tmp_path / "c.safetensors").read_bytes()
    assert changed == fresh
    assert changed != (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.slow
def test_a_real_ctrl_c(videos: Path, tmp_path: Path) -> None:
    """The signal itself, with worker processes, while videos are decoded or the teacher is trained."""
    arguments = ["compress", videos, "-o", tmp_path / "set.safetensors", "--size", "48", "--frames", "4"]
    arguments += ["--workers", "2", "--cache", tmp_path / "cache", "--set", "teacher.train.steps=100000"]
    # A shell that runs the tests in the background has it ignored, and children inherit that.
    restore_signal = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{restore_signal}; from videocompressa.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 40
    while not list((tmp_path).glob("cache/candidates/*/latents*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    try:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=40)
    finally:
        process.kill()  # if it ignored the signal, it would train for hours next to all other tests
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert [name for name in everything_in(tmp_path) if not name.startswith("cache/")] == []


# --- Help ---


def test_help_names_every_option(run: Runner) -> None:
    expected = {
        "plan": ("DATA", "--codec", "--max-bad"),
        "compress": (
            "DATA", "-o", "--vpc", "--ratio", "--bytes", "--keyframes", "--method", "--codec", "--seed", "--set",
            "--quiet", "--json", "--size", "--frames", "--max-bad", "--allow-fewer", "--force", "--workers", "--device",
            "--threads", "--cache", "--layout", "--csv", "--fold", "--hold-out", "--storage", "--step", "--labeler",
        ),
        "train": ("SET", "--data", "--student", "--seeds", "--steps", "--batch-size", "--lr", "--width",
                  "--stored-labels", "--split", "--set", "--json", "--quiet"),
        "inspect": ("SET", "--contact-sheet", "--html", "--data", "--results", "--json", "--codec"),
        "decode": ("SET", "-o", "--format", "mp4, gif, png", "--force"),
        "demo": ("-o", "--seed", "--force"),
    }  # fmt: skip
    top = run("--help").out
    for verb, options in expected.items():
        assert verb in top
        printed = run(verb, "--help")
        assert printed.code == 0
        for option in options:
            assert option in printed.out, (verb, option)


def test_every_verb_takes_threads(run: Runner) -> None:
    verbs = [name for name in cli_app if not name.startswith("-") and name not in ("cache", "settings")]  # no networks
    assert len(verbs) >= 12
    for verb in verbs:
        assert "--threads" in run(verb, "--help").out, verb
    before = torch.get_num_threads()
    assert run("inspect", "none.safetensors", "--threads", before + 1).code == 2
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)
    assert "--threads is -1; it must be at least 1" in run("keyframes", "x.mp4", "-o", "x", "--threads", -1).error


def test_cores_are_those_that_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    for quota, cores in (("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)):
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
        assert usable_cores(tmp_path / "cpu.max") == cores
    assert usable_cores(tmp_path / "gone") == 4


def test_the_package_is_imported_where_posix_modules_are_missing() -> None:
    """As on Windows; `filelock` then locks in its own way."""
    code = (
        "import sys, torch; sys.modules.update(fcntl=None, resource=None); import videocompressa.cli.main;"
        "import videocompressa.recipes.compress, videocompressa.engine as engine; engine.peak_memory_bytes()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_help_says_what_the_code_says(run: Runner) -> None:
    words = {
        "compress": (*METHODS, *CODECS, *LAYOUTS),
        "bench": (*PROTOCOLS, *SCALES),
        "train": (
            *STUDENTS,
            *(f"[default: {getattr(TrainConfig(), name)}]" for name in ("steps", "batch_size")),
            "2e-3, for backbones 5e-4 (lora) and 5e-5 (full)",
        ),
    }
    for verb, expected in words.items():
        printed = " ".join(run(verb, "--help").out.replace("│", " ").split())
        for word in expected:
            assert word in printed, (verb, word)
    rates = [parse_student(name).usual_lr for name in ("minic3d", "hf:x:lora", "hf:x:full")]
    assert rates == [TrainConfig().lr, 5e-4, 5e-5]


def test_what_libraries_print_is_not_our_output(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with terminal.progress(Reporting(quiet=quiet)):
            print("a node died")
        assert capsys.readouterr() == ("", "a node died\n")


def test_the_version(run: Runner) -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'version = "{run("--version").out.strip()}"' in text


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDEOCOMPRESSA_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("VIDEOCOMPRESSA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "videocompressa"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache/videocompressa"


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_error(set_file: Path, options: tuple[str, ...]) -> None:
    """`videocompressa inspect ... | head -0`: a code, and not a word."""
    script = "import sys; from videocompressa.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "inspect", str(set_file), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.slow
def test_end_to_end_on_real_clips(run: Runner, shared_data: Path, tmp_path: Path) -> None:
    """Ten real clips of each of 16 classes, as 40 keyframes of 512 bytes a class, teach far more than chance."""
    path, cache = tmp_path / "set.safetensors", ("--cache", run.cache)
    options = ("--method", "random-real", "--vpc", 10, "--keyframes", 4)
    result = run("compress", shared_data / "fluent16", "-o", path, *options, *cache, "--json").json
    assert result["num_videos"] == 160
    assert result["file_bytes"] < 0.2 * sum(video.stat().st_size for video in (shared_data / "fluent16").rglob("*.mp4"))
    student = ("--width", 0.25, "--steps", 150, "--seeds", 1)
    trained = run("train", path, "--data", shared_data / "fluent16", *student, *cache, "--json").json
    assert trained["top1_mean"] > 2.5 / 16


@pytest.mark.parametrize("method", ["dm", "mtt", "vdsd-mtt", "lvdd", "rded", "herding-h264"])
def test_plan_estimates_every_kind_of_method(run: Runner, videos: Path, method: str) -> None:
    student = ("--set", "teacher.train.student=framenet2d", "--set", "teacher.train.width=0.25")
    filling = () if method in ("dm", "mtt", "rded") else ("--bytes", "9kB")
    asked = ("plan", videos, *TINY, "--method", method, *filling, *student, "--cache", run.cache, "--json", "--quiet")
    hard, soft = (run(*asked, "--set", f"labels={labels}").json["expected_seconds"] for labels in ("hard", "soft"))
    trains = method in ("dm", "mtt", "vdsd-mtt", "rded", "herding-h264")
    assert (hard > 1) == trains
    assert soft > 1


def test_a_log_file_gets_a_line_a_phase_and_one_a_minute(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(terminal.threading.Thread, "start", lambda self: None)  # the test is the clock
    log = terminal._ProgressLog()
    log.watch("pool", done=9, total=9, part=3, parts=8)
    for seconds in range(211):
        now[0] = float(seconds)
        if seconds < 110 or seconds == 150:  # It stands still between.
            log.watch("teacher", done=seconds, total=150, loss=0.5)
        if now[0] - log._last_line >= log.SECONDS_BETWEEN:
            log._line()
    assert capsys.readouterr().err.splitlines() == [
        "pool 3/8: 9 of 9, 0.0 s",
        "teacher: 60 of 150 loss 0.5, 60 s, 1 s each, about 90 s left",
        "teacher: 109 of 150 loss 0.5, 2.0 min, 1 s each, about 41 s left",
        "teacher: 150 of 150 loss 0.5, 2.5 min, 1 s each",
        "working, 60 s",
    ]


def test_a_terminal_gets_a_bar_a_phase_and_one_for_all_of_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    bars = terminal._ProgressBars()
    bars.watch("decode", done=8, total=8)
    for part, done in ((1, 0), (1, 50), (2, 0), (2, 25)):
        bars.watch("pool", done=done, total=50, part=part, parts=3)
    bars.stop()
    tasks = {task.description: (task.completed, task.total, task.fields["count"]) for task in bars._bars.tasks}
    assert tasks == {"decode": (8, 8, "8/8"), "pool 2/3": (1.5, 3, "1/3"), "pool": (25, 50, "25/50")}
    assert "pool 2/3" in capsys.readouterr().err


def test_the_rate_of_a_phase() -> None:
    assert [terminal._rate_text(done, 90, 20.0) for done in (0, 5, 50)] == ["", "4 s each", "2.5/s"]
    assert terminal._rate_text(1, 1, 20.0) == terminal._rate_text(9, 9, 0.0) == ""


@pytest.mark.slow
def test_a_log_file_is_flushed_while_the_command_runs(videos: Path, tmp_path: Path) -> None:
    """What a killed run has written is there, a line a phase."""
    arguments = ["compress", videos, "-o", tmp_path / "set.safetensors", *TINY, "--cache", tmp_path / "cache"]
    script = "import sys; from videocompressa.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with (tmp_path / "log").open("w") as log:
        more = [*QUICK, "--set", "selector=gumbel", "--set", "teacher.train.steps=100000", "--keyframes", "2"]
        process = subprocess.Popen([sys.executable, "-c", script, *map(str, [*arguments, *more])], stderr=log)
        deadline = time.monotonic() + 60
        while "selector: 2 of 2" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.kill()
        process.wait()
    text = (tmp_path / "log").read_text()
    assert "decode: 8 of 8" in text
    assert "selector: 2 of 2" in text


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives large blocks back")
def test_freed_memory_is_kept_for_the_next_batch() -> None:
    program = (
        "import resource, torch\n"
        "from videocompressa.engine import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): torch.zeros(2**24).add_(1)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
        "faults(), keep_freed_memory(), faults()"
    )
    given_back, kept = map(int, subprocess.check_output([sys.executable, "-c", program]).split())
    if given_back < 20 * 2**14:
        pytest.skip("the system has larger pages, or another C library")
    assert given_back - kept > 10 * 2**14  # 64 MB are 2^14 pages
