"""Exports for VLM trainers: what is written, what the real consumers read of it, and what the command prints."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from cli_runs import Runner, everything_in
from export_sets import (
    CLASSES,
    NAMES,
    compress_greys,
    draw_greys,
    formats_here,
    level,
    needs_datasets,
    planted_levels,
    rows_of,
)
from hypothesis import given
from hypothesis import strategies as st
from numbered_videos import gray, numbered, write
from PIL import Image

from videocompressa.artifact import read_set, write_set
from videocompressa.errors import InputError, VideoError
from videocompressa.recipes.options import NumBytes
from videocompressa.rng import Streams
from videocompressa.video import probe, read_frames, read_frames_at
from videocompressa.vlm.export import formats
from videocompressa.vlm.export.check import check_export
from videocompressa.vlm.export.formats import FORMATS, next_steps
from videocompressa.vlm.export.items import FrameRules, ItemStream, picture_reader
from videocompressa.vlm.export.run import export_set
from videocompressa.vlm.settings import ExportOptions


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_greys(tmp_path_factory.mktemp("videos") / "grays")


@pytest.fixture(scope="module")
def set_file(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compress_greys(videos, tmp_path_factory.mktemp("sets"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    return Runner(capsys, tmp_path / "cache")


@pytest.fixture
def exported_folder(set_file: Path, videos: Path, tmp_path: Path) -> Callable[..., Path]:
    def export(to: str, **options: Any) -> Path:
        folder = tmp_path / f"{to}-{len(list(tmp_path.iterdir()))}"
        export_set(set_file, folder, to=to, options=ExportOptions(**{"from_source": videos, **options}))
        return folder

    return export


# --- Pictures of the source ---


def test_frames_at_their_times_are_those_frames(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mkv", 20, [n * n * 7 for n in range(20)])
    placed = read_frames(path, 7, 32, 32)
    read = read_frames_at(path, placed.pts_seconds.tolist())
    assert (read.frames == placed.frames).all()
    assert (read.pts_seconds == placed.pts_seconds).all()
    assert read.num_video_frames == 20


def test_frames_at_rounded_times_any_order_and_twice(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 10)
    read = read_frames_at(path, [0.2804, 0.1199, 0.12, 0.0])
    assert [round(float(frame.mean()) / 5) for frame in read.frames] == [7, 3, 3, 0]


def test_frames_at_times_are_upright_and_complete(tmp_path: Path) -> None:
    turned = write(tmp_path / "a.mp4", [gray(100, 32, 64)] * 3, turned=90)
    assert read_frames_at(turned, [0.0]).frames.shape == (1, 3, 64, 32)


@pytest.mark.parametrize("seconds", [0.4, 3.0, -0.1, float("nan")])
def test_a_time_outside_of_the_video_is_refused(tmp_path: Path, seconds: float) -> None:
    path = numbered(tmp_path / "a.mp4", 10)
    with pytest.raises(VideoError, match=r"has no frame at .* s, it lasts 0.400 s: another video of this name"):
        read_frames_at(path, [0.0, seconds])


# --- What trainers need of the pictures ---


@given(st.integers(1, 40), st.sampled_from([1, 2, 4]))
def test_frames_are_repeated_in_order_to_an_even_number(count: int, least: int) -> None:
    places = FrameRules(min_frames=least).places(count)
    assert places == sorted(places)
    assert set(places) == set(range(count))
    assert len(places) >= least
    assert len(places) - count <= max(1, least - count)
    if least > 1:
        assert len(places) % 2 == 0
    if least == 1 or (count % 2 == 0 and count >= least):
        assert places == list(range(count))
    counts = [places.count(place) for place in range(count)]
    assert max(counts) - min(counts) <= 1


@given(st.integers(8, 400), st.integers(8, 400))
def test_small_pictures_grow_to_enough_pixels_and_no_more(height: int, width: int) -> None:
    tall, wide = FrameRules(min_pixels=100_352).sides(height, width)
    assert tall * wide >= 100_352
    if height * width >= 100_352:
        assert (tall, wide) == (height, width)
        return
    assert tall % 2 == wide % 2 == 0
    factor = (100_352 / (height * width)) ** 0.5
    assert factor * height <= tall < factor * height + 2
    assert factor * width <= wide < factor * width + 2


def test_enlarging_keeps_values_in_range_and_flat_pictures_flat() -> None:
    frames = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    frames[0, :, ::4] = 255
    frames[1] = 77
    larger = FrameRules(min_pixels=1000).apply(frames)
    assert larger.shape == (2, 3, 32, 32)
    assert larger[0].min() == 0
    assert larger[0].max() == 255
    assert (larger[1] == 77).all()


def test_a_set_without_its_codec_cannot_be_decoded(set_file: Path) -> None:
    message = "has no decoder: read it with videocompressa.load, or attach codec 'linear'"
    with pytest.raises(InputError, match=message):
        picture_reader(read_set(set_file), None)


# --- What each format writes ---


@pytest.mark.parametrize("questions", ["open", "choice", "yes-no"])
@pytest.mark.parametrize("to", formats_here())
def test_every_export_passes_its_check(exported_folder: Callable[..., Path], to: str, questions: str) -> None:
    checked = check_export(exported_folder(to, questions=questions))
    assert checked.faults == ()
    assert (checked.to, checked.num_rows) == (to, 8 if questions == "yes-no" else 4)


@pytest.mark.parametrize("to", formats_here())
def test_latents_are_exported_without_the_videos(exported_folder: Callable[..., Path], to: str) -> None:
    folder = exported_folder(to, from_source=None)
    assert check_export(folder).faults == ()
    assert json.loads((folder / "export.json").read_text())["pixels"] == "latents"


@pytest.mark.parametrize("to", formats_here())
def test_same_seed_same_bytes(exported_folder: Callable[..., Path], to: str) -> None:
    first, second = exported_folder(to, questions="choice", seed=3), exported_folder(to, questions="choice", seed=3)
    assert everything_in(first) == everything_in(second)
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in everything_in(first))


def test_frames_hold_the_pictures_of_the_source(
    exported_folder: Callable[..., Path], set_file: Path, videos: Path
) -> None:
    folder = exported_folder("frames")
    rows = rows_of(folder)
    for row, levels in zip(rows, planted_levels(set_file), strict=True):
        assert [level(folder / path) for path in row["frames"]] == levels
        with Image.open(folder / row["frames"][0]) as picture:
            assert picture.size == (48, 40)
        assert (videos / row["video"]).is_file()
        assert row["class"] in row["video"]
        assert row["answer"] == row["name"] == NAMES[CLASSES.index(row["class"])]
        assert row["label"] == CLASSES.index(row["class"])


def test_qwen_gets_every_keyframe_in_a_2_fps_video(exported_folder: Callable[..., Path], set_file: Path) -> None:
    folder = exported_folder("qwen")
    for row, levels in zip(rows_of(folder), planted_levels(set_file), strict=True):
        assert row["conversations"][0]["value"].startswith("<video>\n")
        with av.open(str(folder / row["video"])) as container:
            assert container.streams.video[0].average_rate == 2
            frames = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
        assert [5 * round(frame / 5) for frame in frames] == [levels[0], levels[0], levels[1], levels[2]]
        video = probe(folder / row["video"])
        assert video.height * video.width >= 128 * 28 * 28
        assert video.duration_seconds == 2


def test_llama_factory_gets_nested_lists_of_even_counts(exported_folder: Callable[..., Path], set_file: Path) -> None:
    folder = exported_folder("llama-factory", questions="yes-no")
    rows = rows_of(folder)
    assert json.loads((folder / "dataset_info.json").read_text())["videocompressa"]["file_name"] == "train.json"
    for row, levels in zip(rows[::2], planted_levels(set_file), strict=True):
        (frames,) = row["videos"]
        assert [level(folder / path) for path in frames] == [levels[0], levels[0], levels[1], levels[2]]
        assert row["messages"][0]["content"].count("<video>") == 1
    assert [row["messages"][1]["content"] for row in rows] == ["yes", "no"] * 4
    assert rows[0]["videos"] == rows[1]["videos"]


def test_a_single_keyframe_becomes_four_frames(set_file: Path, videos: Path, tmp_path: Path) -> None:
    synthetic = read_set(set_file)
    one = dataclasses.replace(
        synthetic,
        latents=synthetic.latents[:, 1:2].contiguous(),
        positions=synthetic.positions[:, 1:2].contiguous(),
        times_seconds=synthetic.times_seconds[:, 1:2].contiguous(),
        packing="dense",
        packed={},
    )
    write_set(one, tmp_path / "one.safetensors")
    exported = export_set(
        tmp_path / "one.safetensors", tmp_path / "qwen", to="qwen", options=ExportOptions(from_source=videos)
    )
    assert probe(tmp_path / "qwen/videos/00000.mp4").num_frames == 4
    assert "1 keyframes a video were repeated to 4: qwen trainers drop an odd or single frame" in exported.notes
    assert check_export(tmp_path / "qwen").faults == ()


def test_a_full_shard_is_followed_by_another(exported_folder: Callable[..., Path]) -> None:
    folder = exported_folder("webdataset-frames", shard_size=NumBytes("20480"))
    assert {"shard-000000.tar", "shard-000001.tar"} <= everything_in(folder)
    assert check_export(folder).num_rows == 4


def test_soft_labels_come_along(set_file: Path, videos: Path, tmp_path: Path) -> None:
    synthetic = read_set(set_file)
    soft = torch.nn.functional.one_hot(synthetic.labels, 2).float() * 0.5 + 0.25
    write_set(dataclasses.replace(synthetic, labels=soft), tmp_path / "soft.safetensors")
    export_set(
        tmp_path / "soft.safetensors", tmp_path / "frames", to="frames", options=ExportOptions(from_source=videos)
    )
    stored = read_set(tmp_path / "soft.safetensors").labels
    assert [row["probabilities"] for row in rows_of(tmp_path / "frames")] == stored.tolist()
    torch.testing.assert_close(stored, soft, atol=2e-3, rtol=0)
    assert check_export(tmp_path / "frames").faults == ()


def test_notes_report_what_was_changed(set_file: Path, videos: Path, tmp_path: Path) -> None:
    exported = export_set(set_file, tmp_path / "a", to="qwen", options=ExportOptions(from_source=videos))
    assert exported.notes == (
        "pictures of 40x48 px were enlarged to 290x348: qwen trainers take no fewer than 100352 pixels",
        "3 keyframes a video were repeated to 4: qwen trainers drop an odd or single frame",
    )
    exported = export_set(set_file, tmp_path / "b", to="frames")
    assert exported.notes == (
        "pictures are decoded latents of 32x32 px; --from-source ROOT reads them from the videos, at their own size",
    )
    tuned = read_set(set_file)
    tuned = dataclasses.replace(tuned, provenance=dataclasses.replace(tuned.provenance, method="dm"))
    write_set(tuned, tmp_path / "tuned.safetensors")
    exported = export_set(
        tmp_path / "tuned.safetensors", tmp_path / "c", to="frames", options=ExportOptions(from_source=videos)
    )
    assert exported.notes == (
        "method dm may have changed the pictures of its set; --from-source shows the frames that it started from",
    )


# --- The real consumers ---


@pytest.mark.parametrize("to", formats_here(*FORMATS))
def test_names_that_are_no_utf_8_are_written_as_escapes(set_file: Path, videos: Path, tmp_path: Path, to: str) -> None:
    names = {"TableTennisShot": "a\udcff", "brush_hair": "a\udcfe"}
    synthetic = read_set(set_file)
    video_ids = []
    for number, video in enumerate(synthetic.provenance.video_ids):
        video_ids.append(f"{number}\udcfd.mp4")
        shutil.copy(videos / video, tmp_path / video_ids[-1])
    write_set(
        dataclasses.replace(
            synthetic,
            classes=tuple(names.values()),
            provenance=dataclasses.replace(synthetic.provenance, video_ids=tuple(video_ids)),
        ),
        tmp_path / "odd.safetensors",
    )
    root = tmp_path if "from_source" in FORMATS[to].options else None
    exported = export_set(
        tmp_path / "odd.safetensors", tmp_path / "out", to=to, options=ExportOptions(from_source=root)
    )
    assert exported.num_items == len(synthetic)
    assert check_export(tmp_path / "out").faults == ()
    manifest = json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))
    assert manifest["classes"] == ["a\\udcff", "a\\udcfe"]


@pytest.fixture
def quiet_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the packages' own warnings, caches and look-ups away from the test."""
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("HF_HOME", str(tmp_path / "hf")),
        ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"),
    ):
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.slow
@needs_datasets
@pytest.mark.usefixtures("quiet_packages")
def test_datasets_loads_the_folder(exported_folder: Callable[..., Path], set_file: Path, tmp_path: Path) -> None:
    from datasets import Video, load_dataset

    folder = exported_folder("hf", names=None, questions="choice")
    rows = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["label"].names == list(NAMES)
    assert len(rows) == 4
    assert isinstance(rows.features["clip"], Video)
    for row, levels in zip(rows, planted_levels(set_file), strict=True):
        assert [level(picture) for picture in row["frames"]] == levels
        (tmp_path / "clip.mp4").write_bytes(row["clip"]["bytes"])
        played = read_frames(tmp_path / "clip.mp4", len(levels), 40, 48)
        assert [5 * round(float(frame.mean()) / 5) for frame in played.frames] == levels
        assert row["answer"] == rows.features["label"].int2str(row["label"])
        assert all(name in row["question"] for name in NAMES)


@pytest.mark.slow
@needs_datasets
@pytest.mark.usefixtures("quiet_packages")
def test_the_card_of_an_oddly_named_set_is_read(set_file: Path, videos: Path, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    odd = read_set(set_file)
    source = dataclasses.replace(odd.provenance.source, name='clips: "the best" #1')
    odd = dataclasses.replace(odd, provenance=dataclasses.replace(odd.provenance, source=source))
    write_set(odd, tmp_path / "odd.safetensors")
    export_set(tmp_path / "odd.safetensors", tmp_path / "hf", to="hf", options=ExportOptions(from_source=videos))
    card = DatasetCard.load(tmp_path / "hf/README.md")
    assert card.data.pretty_name == 'Keyframes of clips: "the best" #1'
    assert "- **Columns**: `clip` (an mp4 of the keyframes), " in card.text
    assert "- **Method**: `random-real`, seed 0; settings: the method's defaults." in card.text
    assert "## What it may reveal" in card.text
    assert card.data.configs[0]["data_files"][0]["path"] == "data/train-00000-of-00001.parquet"


@pytest.mark.slow
@needs_datasets
@pytest.mark.usefixtures("quiet_packages")
def test_trl_prepares_the_rows(exported_folder: Callable[..., Path], set_file: Path, tmp_path: Path) -> None:
    data_utils = pytest.importorskip("trl.data_utils", reason="needs trl")
    from datasets import load_dataset

    rows = load_dataset(str(exported_folder("trl")), split="train", cache_dir=str(tmp_path / "cache"))
    for row, levels in zip(rows, planted_levels(set_file), strict=True):
        assert data_utils.is_conversational(row)
        asked, answered = data_utils.prepare_multimodal_messages(row["messages"], images=row["images"])
        assert [part["type"] for part in asked["content"]] == ["image"] * 3 + ["text"]
        assert [level(part["image"]) for part in asked["content"][:3]] == levels
        assert answered["content"] == [{"type": "text", "text": answered["content"][0]["text"]}]
        assert answered["content"][0]["text"] in NAMES


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_packages")
def test_trl_takes_the_command(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="needs trl")
    (command,) = next_steps("trl", tmp_path, 4)
    program, verb, *options = command.split()
    assert (program, verb) == ("trl", "sft")
    parser = trl.TrlParser((trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig))
    script, training, model = parser.parse_args_and_config([*options, "--use_cpu", "--bf16", "false"])
    assert script.dataset_name == str(tmp_path)
    assert training.max_length is None  # Its own, 1024, cuts image tokens.
    assert model.use_peft


@pytest.mark.slow
@needs_datasets
@pytest.mark.usefixtures("quiet_packages")
def test_datasets_takes_the_rows_of_llama_factory(exported_folder: Callable[..., Path], tmp_path: Path) -> None:
    # LLaMA-Factory reads `file_name` by this very call (its data/loader.py): mixed types would fail here.
    from datasets import load_dataset

    path = str(exported_folder("llama-factory") / "train.json")
    rows = load_dataset("json", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows[0]["videos"]) == 1
    assert len(rows[0]["videos"][0]) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_packages")
def test_webdataset_reads_the_shards(exported_folder: Callable[..., Path], set_file: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset")
    folder = exported_folder("webdataset-frames", questions="yes-no")
    samples = list(webdataset.WebDataset(str(folder / "shard-000000.tar"), shardshuffle=False).decode("pil"))
    assert len(samples) == 8
    for sample, levels in zip(samples[::2], planted_levels(set_file), strict=True):
        assert [level(sample[f"{place:02d}.png"]) for place in range(3)] == levels
        assert sample["cls"] == sample["json"]["label"]
        assert sample["json"]["answer"] == "yes"


# --- Sources that are gone ---


@pytest.mark.parametrize("to", formats_here("frames", "qwen", "trl"))
def test_a_bad_video_is_left_out_and_listed(
    set_file: Path, videos: Path, tmp_path: Path, exported_folder: Callable[..., Path], to: str
) -> None:
    shutil.copytree(videos, tmp_path / "part")
    gone, broken = read_set(set_file).provenance.video_ids[:2]
    (tmp_path / "part" / gone).unlink()
    (tmp_path / "part" / broken).write_bytes(b"no video")
    options = ExportOptions(from_source=tmp_path / "part", questions="choice")
    left = export_set(set_file, tmp_path / "left", to=to, options=options)
    assert [(video.video_id, video.reason.partition(":")[0]) for video in left.skipped] == [
        (gone, "file is gone"),
        (broken, "not a video"),
    ]
    assert (left.num_items, left.num_rows) == (2, 2)
    manifest = json.loads((tmp_path / "left/export.json").read_text())
    assert [video["video"] for video in manifest["skipped"]] == [gone, broken]
    assert check_export(tmp_path / "left").faults == ()
    if to != "trl":  # A video left out moves no question of another.
        assert rows_of(tmp_path / "left") == rows_of(exported_folder(to, questions="choice"))[2:]


def test_an_export_of_no_video_is_an_error_and_leaves_nothing(set_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError,
        match=r"empty: none of the 4 videos of .* can be read there \(.*: file is gone\); give the folder that",
    ):
        export_set(set_file, tmp_path / "out", to="frames", options=ExportOptions(from_source=tmp_path / "empty"))
    assert everything_in(tmp_path) == set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_another_video_of_the_same_name_is_left_out(set_file: Path, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "other")
    changed = read_set(set_file).provenance.video_ids[0]
    numbered(tmp_path / "other" / changed, 2)
    exported = export_set(
        set_file, tmp_path / "out", to="frames", options=ExportOptions(from_source=tmp_path / "other")
    )
    assert [video.video_id for video in exported.skipped] == [changed]
    assert "another video of this name" in exported.skipped[0].reason


def test_a_write_that_fails_leaves_nothing(
    set_file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write_png", full)
    with pytest.raises(OSError, match="No space left"):
        export_set(set_file, tmp_path / "out", to="frames", options=ExportOptions(from_source=videos))
    assert list(tmp_path.iterdir()) == []


# --- The command ---


def test_the_command_writes_reports_and_checks(run: Runner, set_file: Path, videos: Path, tmp_path: Path) -> None:
    ran = run("export", set_file, "--to", "qwen", "-o", tmp_path / "out", "--from-source", videos)
    assert ran.code == 0
    assert "4, one a video" in ran.out
    assert "TableTennisShot = 'table tennis shot'" in ran.out
    assert "note: pictures of 40x48 px were enlarged" in ran.err
    assert f'"data_path": "{tmp_path}/out"' in ran.err
    assert "next: torchrun" in ran.err
    checked = run("export", "--check", tmp_path / "out")
    assert checked.out == f"{tmp_path}/out: 4 rows of qwen, no fault\n"
    assert run("export", "--check", tmp_path / "out", "--json").json["faults"] == []
    for number in (1, 2):
        (tmp_path / f"out/videos/0000{number}.mp4").unlink()
    failed = run("export", "--check", tmp_path / "out")
    assert "annotations.json row 1: videos/00001.mp4 is missing" in failed.error
    assert failed.error.endswith("(and 1 more)")
    assert "fault: annotations.json row 2" in failed.err
    (tmp_path / "out/annotations.json").unlink()
    failed = run("export", "--check", tmp_path / "out")
    assert failed.error == f"error: {tmp_path}/out: annotations.json is missing; export again"


def test_the_command_prints_one_object(run: Runner, set_file: Path, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "part")
    gone = read_set(set_file).provenance.video_ids[0]
    (tmp_path / "part" / gone).unlink()
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"TableTennisShot": "ping pong", "brush_hair": "hair care"}))
    frames = ("export", set_file, "--to", "frames", "--from-source", tmp_path / "part")
    ran = run(*frames, "-o", tmp_path / "out", "--names", names, "--questions", "yes-no", "--json").json
    assert (ran["num_items"], ran["num_rows"], ran["format"]) == (3, 6, "frames")
    assert ran["skipped"] == [{"video": gone, "reason": "file is gone"}]
    assert ran["names"] == {"TableTennisShot": "ping pong", "brush_hair": "hair care"}
    assert ran["next"] == [f"head -n 1 {tmp_path}/out/train.jsonl"]
    ran = run(*frames, "-o", tmp_path / "out2")
    assert f"skipped: {gone}: file is gone" in ran.err
    assert "3, one a video, 1 left out" in ran.out


def test_options_that_cannot_be_followed_are_refused(run: Runner, set_file: Path, videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = tmp_path / "names.json"
    names.write_text('{"brush_hair": "brush hair"}')
    ask = ("export", set_file, "--to", "frames", "-o", out)
    assert (
        "--to is 'cog'; known: llama-factory, qwen, trl, hf, webdataset, webdataset-frames, frames"
        in run("export", set_file, "--to", "cog", "-o", out).error
    )
    assert "SET is missing; give SET --to FORMAT -o FOLDER, or --check FOLDER" in run("export").error
    assert "--to is missing" in run("export", set_file).error
    assert "--output is missing" in run("export", set_file, "--to", "qwen").error
    assert "--check only reads a folder; leave SET, --to and --output out" in run(*ask, "--check", out).error
    assert f"--check {out} is no folder" in run("export", "--check", out).error
    assert "lacks 'TableTennisShot'" in run(*ask, "--names", names).error
    assert "--from-source" in run(*ask, "--from-source", tmp_path / "none").error
    assert "is no folder; give the root of the videos" in run(*ask, "--from-source", set_file).error
    assert not out.exists()
    assert run(*ask).code == 0
    assert f"output {out} exists; give --force to replace it" in run(*ask).error
    assert run(*ask, "--force", "--from-source", videos).code == 0


def test_a_folder_that_holds_what_is_read_is_never_replaced(set_file: Path, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "data/videos")
    with pytest.raises(InputError, match="data holds --from-source .*, which is read; give another folder"):
        export_set(
            set_file,
            tmp_path / "data",
            to="frames",
            options=ExportOptions(from_source=tmp_path / "data/videos"),
            overwrite=True,
        )
    with pytest.raises(InputError, match="holds the set .*, which is read; give another folder"):
        export_set(set_file, set_file.parent, to="frames", overwrite=True)
    assert (tmp_path / "data/videos").is_dir()


@pytest.mark.parametrize(("to", "spec"), [("trl", None), ("hf", ModuleSpec("datasets", None))])
def test_missing_packages_are_named(
    set_file: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, spec: ModuleSpec | None
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)  # A folder of that name has a spec, too.
    message = rf'--to {to} needs datasets and pyarrow; run: pip install "\.\[vlm\]"'
    with pytest.raises(InputError, match=message):
        export_set(set_file, tmp_path / "out", to=to, options=ExportOptions(from_source=videos))


def test_the_command_has_room_for_every_token(set_file: Path, tmp_path: Path) -> None:
    """Qwen's smart_resize of 720 x 1280 px to at most 602112 pixels is 560 x 1008: 720 tokens for two frames."""
    names = tmp_path / "names.json"
    names.write_text(json.dumps({name: f"{name} {'word ' * 2000}" for name in read_set(set_file).classes}))
    for to, option in (("llama-factory", "--cutoff_len 11264"), ("qwen", "--model_max_length 11264")):
        exported = export_set(set_file, tmp_path / to, to=to, options=ExportOptions(names=names))
        assert option in exported.next_steps[-1]
        assert check_export(tmp_path / to).faults == ()
        rules = FORMATS[to].rules
        assert 12 * 720 + 30 <= rules.tokens(24, 720, 1280, ("a" * 30,)) <= 10240
        assert rules.tokens(4, 336, 336, ()) >= 2 * 12 * 12


def test_pictures_that_processors_refuse_are_skipped(set_file: Path) -> None:
    stream = ItemStream(
        read_set(set_file),
        lambda number: torch.zeros(3, 3, 20, 8000 if number else 40, dtype=torch.uint8),
        FORMATS["trl"].rules,
        names=NAMES,
        questions="open",
        streams=Streams(0),
    )
    assert len(list(stream)) == 1
    assert {video.reason for video in stream.skipped} == {"of 20x8000 px, the trainer takes sides up to 200 to 1"}


# --- What the page shows ---


def test_the_page_shows_the_commands_of_the_code() -> None:
    page = (Path(__file__).parents[1] / "docs/vlm.md").read_text()
    for name in FORMATS:
        assert f"### {name}" in page
        for step in next_steps(name, Path("/data/keyframes"), 4):
            assert step in page, f"docs/vlm.md must show: {step}"


def test_questions_of_an_item_do_not_depend_on_the_others(set_file: Path, videos: Path) -> None:
    synthetic = read_set(set_file)
    stream = ItemStream(
        synthetic,
        lambda number: torch.zeros(3, 3, 8, 8, dtype=torch.uint8),
        FrameRules(),
        names=NAMES,
        questions="choice",
        streams=Streams(0),
    )
    items = list(stream)
    assert [item.stem for item in items] == ["00000", "00001", "00002", "00003"]
    assert all(facts["question"] and facts["answer"] in NAMES for item in items for facts in item.facts)
    assert [item.facts for item in stream] == [item.facts for item in items]
