"""Keyframes of unlabeled videos: the selector's file, planted frames picked by it, bad input, equal bytes."""

from __future__ import annotations

import csv
import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import QUICK, TINY, Runner, draw_videos, everything_in
from numbered_videos import gray, numbered, write
from PIL import Image
from safetensors.torch import load, save

from videocompressa import extract_keyframes
from videocompressa.artifact import read_set
from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import PixelCodec
from videocompressa.errors import ArtifactError, InputError
from videocompressa.files import name_of
from videocompressa.recipes import keyframes as recipe
from videocompressa.recipes.keyframes import Extracted
from videocompressa.recipes.options import KeyframeOptions
from videocompressa.rng import Streams
from videocompressa.run import Run, Watch, watch_nothing
from videocompressa.selection.gumbel import GumbelSelector, SelectorConfig
from videocompressa.selection.joint import JointConfig, train_selector
from videocompressa.selection.selector_file import (
    KEY,
    Origin,
    TrainedSelector,
    parse_selector,
    selector_bytes,
    write_selector,
)
from videocompressa.video import read_frames
from videocompressa.video.write import write_picture

ORIGIN = Origin("shades", "0" * 64, "videocompressa", 3, "pixel", "", {"joint": {"steps": 2}, "fill": "linear"})
SCORER = SelectorConfig(thumbnail=8, width=8)


def trained(seed: int = 0, **changes: Any) -> TrainedSelector:
    selector = GumbelSelector(SCORER, torch.Generator().manual_seed(seed)).eval().requires_grad_(False)
    return dataclasses.replace(TrainedSelector(selector, 2, ClipSpec(4, 16, 16), ORIGIN), **changes)


@pytest.fixture
def selector_file(tmp_path: Path) -> Path:
    path = tmp_path / "selector.safetensors"
    write_selector(trained(), path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    return Runner(capsys, tmp_path / "cache")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos, and one in a folder; frame n of each has gray level 5 n."""
    root = tmp_path_factory.mktemp("videos") / "clips"
    numbered(root / "a.mkv", 20, codec="ffv1")
    numbered(root / "b.mkv", 20, [n * n * 7 for n in range(20)], codec="ffv1")
    numbered(root / "more/a.mkv", 3, codec="ffv1")
    return root


# --- The selector's file ---


def test_a_selector_is_read_as_written(tmp_path: Path) -> None:
    wanted, path = trained(), tmp_path / "selector.safetensors"
    write_selector(wanted, path)
    got = parse_selector(path.read_bytes(), str(path))
    assert (got.keyframes, got.clip, got.origin) == (wanted.keyframes, wanted.clip, wanted.origin)
    assert got.selector.config == SCORER
    frames = torch.randint(0, 256, (3, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(got.selector.scores(frames), wanted.selector.scores(frames))
    assert float(got.selector.scores(frames).std()) > 0
    assert selector_bytes(got) == path.read_bytes()


def test_other_selectors_have_other_bytes_and_nothing_else_matters() -> None:
    assert selector_bytes(trained()) == selector_bytes(trained())
    assert selector_bytes(trained()) != selector_bytes(trained(seed=1))
    elsewhere = dataclasses.replace(ORIGIN, codec="diffusers:/home/somebody/sd-vae")
    assert b"somebody" not in selector_bytes(trained(origin=elsewhere))


def test_a_file_is_replaced_only_with_force(selector_file: Path) -> None:
    before = selector_file.read_bytes()
    with pytest.raises(InputError, match="exists; give --force to replace it"):
        write_selector(trained(seed=1), selector_file)
    assert selector_file.read_bytes() == before
    write_selector(trained(seed=1), selector_file, overwrite=True)
    assert selector_file.read_bytes() != before
    assert everything_in(selector_file.parent) == {selector_file.name}


def _metadata(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    content: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
    return content


def _with(**changes: Any) -> Callable[[bytes], bytes]:
    """Return a change of the JSON that keeps the weights; a dotted name is written with two underscores."""

    def spoil(data: bytes) -> bytes:
        content = _metadata(data)
        for name, value in changes.items():
            *outer, last = name.split("__")
            inner = content
            for key in outer:
                inner = inner[key]
            inner[last] = value
        return save(load(data), {KEY: json.dumps(content)})

    return spoil


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[bytes], bytes]:
    def spoil(data: bytes) -> bytes:
        weights = load(data)
        change(weights)
        return save(weights, {KEY: json.dumps(_metadata(data))})

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "is no safetensors file: it has 0 bytes"),
        (lambda data: data[:100], "is truncated"),
        (lambda data: data[:-1], "is truncated or damaged"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + data, "is no safetensors file"),
        (lambda data: save(load(data)), r"no selector: its metadata keys are \[\], not \[videocompressa-selector\]"),
        (lambda data: save(load(data), {"videocompressa": "{}"}), "is a synthetic set, no selector; write one with"),
        (lambda data: save(load(data), {KEY: "{"}), "is not JSON"),
        (lambda data: save(load(data), {KEY: "{}"}), "has no format number"),
        (_with(format=2), "has selector format 2, this version reads format 1; upgrade videocompressa"),
        (_with(format=0), "has selector format 0, .* write it again"),
        (_with(extra=1), "unknown keys extra"),
        (_with(seed="1"), "seed is '1'; it must be int"),
        (_with(keyframes=5), "picks 5 of 4 frames; it must pick 1 to 4"),
        (_with(keyframes=0), "picks 0 of 4 frames"),
        (_with(clip__frames=0), "ClipSpec.num_frames is 0; it must be at least 1"),
        (_with(clip__height=10**9), "more than 1073741824 bytes"),
        (_with(scorer__thumbnail=10**6), "more than 1073741824 bytes"),
        (_with(scorer__thumbnail=0), "selector.thumbnail is 0"),
        (_with(scorer__tau_start=1e999), "Infinity is not a JSON number"),
        (_with(scorer__temporal_kernel=4), "temporal_kernel is 4; it must be odd"),
        (_with(scorer__width=10**12), "do not fit width 1000000000000"),
        (_with(scorer__temporal_kernel=-3), "do not fit .* temporal_kernel -3"),
        (
            _with(scorer__frame_differences=False),
            r"tensor stages.0.weight is \(8, 9, 3, 3\); it must be \(8, 3, 3, 3\)",
        ),
        (_with(sha256="0" * 64), "is damaged: its weights are not those that were written"),
        (_weights(lambda w: w["head.bias"].add_(1)), "is damaged: its weights"),
        (_weights(lambda w: w["head.bias"].fill_(torch.nan)), "head.bias holds numbers that are not finite"),
        (
            _weights(lambda w: w.update({"head.bias": w["head.bias"].half()})),
            r"head.bias is float16 \(1,\); it must be float32",
        ),
        (_weights(lambda w: w.pop("head.bias")), "tensor head.bias is missing"),
        (_weights(lambda w: w.update(more=torch.ones(1))), "tensor more is .* it must be absent"),
        (_weights(lambda w: w.pop("temporal.weight")), "temporal.weight .* do not fit width 8"),
    ],
)
def test_files_that_are_no_selector_are_refused(spoil: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(ArtifactError, match=f"here.safetensors.*{message}"):
        parse_selector(spoil(selector_bytes(trained())), "here.safetensors")


def test_a_selector_that_is_no_file(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="selector file .* is a folder; give the file itself"):
        extract([videos], tmp_path / "out", selector=str(tmp_path))


def test_a_selector_is_no_set(selector_file: Path) -> None:
    with pytest.raises(ArtifactError, match="no synthetic set: its metadata keys are"):
        read_set(selector_file)


def test_a_selector_that_picks_more_frames_than_it_gets_is_refused() -> None:
    with pytest.raises(InputError, match="--keyframes is 5, but a clip has 4"):
        trained(keyframes=5)


# --- compress --selector-out ---


def test_compress_writes_the_selector_that_it_trained(run: Runner, tmp_path: Path) -> None:
    data = draw_videos(tmp_path / "shades", train=2, test=0)
    out, again = tmp_path / "selector.safetensors", tmp_path / "again.safetensors"
    learned = (
        "--method",
        "videocompressa",
        "--set",
        "selector=gumbel",
        *QUICK,
        "--set",
        "synthesis.enabled=false",
        "--keyframes",
        2,
    )
    result = run.compress(data, tmp_path / "set.safetensors", *learned, "--selector-out", out, "--json")
    assert result.json["selector"] == str(out)
    got = parse_selector(out.read_bytes(), str(out))
    assert (got.keyframes, got.clip) == (2, ClipSpec(4, 32, 32))
    assert (got.origin.source, got.origin.seed, got.origin.method) == ("shades", 0, "videocompressa")
    assert got.origin.split_hash == read_set(tmp_path / "set.safetensors").provenance.source.split_hash
    # What the file picks is what the set holds.
    synthetic = read_set(tmp_path / "set.safetensors")
    for item, video in enumerate(synthetic.provenance.video_ids):
        frames = torch.from_numpy(read_frames(data / video, 4, 32, 32).frames)[None]
        assert got.selector.positions(frames, 2, torch.Generator())[0].tolist() == synthetic.positions[item].tolist()
    elsewhere = Runner(run.capsys, tmp_path / "other-cache")
    assert elsewhere.compress(data, tmp_path / "set2.safetensors", *learned, "--selector-out", again).code == 0
    assert again.read_bytes() == out.read_bytes()


def test_selectors_that_cannot_be_written_are_refused_before_the_run(run: Runner, tmp_path: Path) -> None:
    def error(*options: object) -> str:
        # The folder of videos is not there: it is not even looked for.
        return run.compress(tmp_path / "none", tmp_path / "set.safetensors", *options).error

    out = tmp_path / "selector.safetensors"
    for method in ("dm", "random-real"):
        refused = f"method '{method}' with these settings learns no selector; use --method videocompressa"
        assert refused in error("--method", method, "--selector-out", out)
    learned = ("--method", "videocompressa", "--set", "selector=gumbel", *QUICK, "--selector-out")
    uniform = ("--set", "selector=uniform")
    assert "learns no selector; use --method videocompressa with --set" in error(*learned, out, *uniform)
    assert "give two names" in error(*learned, tmp_path / "set.safetensors")
    assert "does not exist; make it first" in error(*learned, tmp_path / "gone/selector.safetensors")
    nothing = "all 4 candidate frames would be kept, which leaves nothing to learn; give --keyframes below --frames"
    assert nothing in error(*learned, out, "--keyframes", 4, "--frames", 4)
    out.write_bytes(b"mine")
    assert "exists; give --force" in error(*learned, out)
    assert out.read_bytes() == b"mine"


@pytest.mark.parametrize(("keyframes", "trains"), [(4, False), (2, True)])
def test_it_is_said_when_a_selector_has_nothing_to_choose(
    run: Runner, tmp_path: Path, keyframes: int, trains: bool
) -> None:
    videos = draw_videos(tmp_path / "videos")
    budget = ("--vpc", 1, "--keyframes", keyframes, "--cache", run.cache)
    planned = run("plan", videos, *TINY, *QUICK, "--set", "selector=gumbel", *budget)
    note = (
        "note: all 4 candidate frames of a video are kept, so no selector is trained; give --keyframes below --frames"
    )
    assert (note in planned.err) != trains


# --- Keyframes ---


def extract(
    sources: list[Path], folder: Path, *, workers: int = 0, watch: Watch = watch_nothing, **options: Any
) -> Extracted:
    return extract_keyframes(sources, folder, KeyframeOptions(**options), workers=workers, watch=watch)


def test_uniform_keyframes_have_the_stated_positions_and_pictures(videos: Path, tmp_path: Path) -> None:
    result = extract([videos], tmp_path / "out", selector="uniform", keyframes=2, frames=4, pictures="png", size=None)
    assert [video.video for video in result.videos] == ["a.mkv", "b.mkv", "more/a.mkv"]
    assert [video.num_frames for video in result.videos] == [20, 20, 3]
    # The middles of 4 equal spans of 20 frames are 2, 7, 12, 17; uniform takes the second and the last.
    assert [keyframe.index for keyframe in result.videos[0].keyframes] == [7, 17]
    assert [keyframe.time_seconds for keyframe in result.videos[0].keyframes] == pytest.approx([0.28, 0.68])
    for video in result.videos:
        for keyframe in video.keyframes:
            assert keyframe.score is None
            assert keyframe.picture is not None
            with Image.open(tmp_path / "out" / keyframe.picture) as opened:
                picture = np.asarray(opened)
            assert picture.shape == (32, 32, 3)
            assert abs(float(picture.mean()) - 5 * keyframe.index) <= 1
    content = json.loads((tmp_path / "out/keyframes.json").read_text())
    assert content["videos"][0]["keyframes"][0] == {
        "index": 7, "time_seconds": 0.28, "score": None, "picture": "pictures/a-000007.png",
    }  # fmt: skip
    assert content["selector"] == {"name": "uniform", "sha256": None}
    with (tmp_path / "out/keyframes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[0] == {
        "video": "a.mkv", "index": "7", "time_seconds": "0.28", "score": "", "picture": "pictures/a-000007.png",
    }  # fmt: skip


def test_shots_need_no_training_and_find_the_cuts(tmp_path: Path) -> None:
    pictures = [gray(level) for level in (20, 120, 220) for _ in range(12)]
    result = extract([write(tmp_path / "cuts.mp4", pictures)], tmp_path / "out", keyframes=3)
    assert result.selector == "shots"
    first, second, third = (keyframe.index for keyframe in result.videos[0].keyframes)
    assert 0 <= first < 12 <= second < 24 <= third < 36


def test_a_trained_selector_brings_its_own_numbers(selector_file: Path, videos: Path, tmp_path: Path) -> None:
    result = extract([videos / "a.mkv"], tmp_path / "out", selector=str(selector_file), pictures="none")
    assert (result.num_keyframes, result.num_candidates, result.notes) == (2, 4, ())
    frames = torch.from_numpy(read_frames(videos / "a.mkv", 4, 16, 16).frames)
    scores = trained().selector.scores(frames[None])[0]
    best = sorted(scores.topk(2).indices.tolist())
    assert [keyframe.index for keyframe in result.videos[0].keyframes] == [
        (2, 7, 12, 17)[position] for position in best
    ]
    assert [keyframe.score for keyframe in result.videos[0].keyframes] == pytest.approx(
        [float(scores[position]) for position in best], abs=1e-4
    )
    assert everything_in(tmp_path / "out") == {"keyframes.json", "keyframes.csv"}
    more = extract([videos / "a.mkv"], tmp_path / "o2", selector=str(selector_file), frames=10, keyframes=3)
    assert more.notes == ("the selector was trained on 4 candidates a video, not 10",)
    assert len(more.videos[0].keyframes) == 3
    assert extract([videos / "a.mkv"], tmp_path / "o3", selector=str(selector_file), frames=1).num_keyframes == 1


def test_other_placements_are_noted(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "selector.safetensors"
    write_selector(trained(clip=ClipSpec(4, 16, 16, "strided:2")), path)
    result = extract([videos / "a.mkv"], tmp_path / "out", selector=str(path), pictures="none")
    assert "placed strided:2; here they cover the complete video" in result.notes[0]


@pytest.mark.parametrize("selector", ["shots", "motion", "uniform", "middle", "random", "trained"])
def test_no_frame_of_a_short_video_is_taken_twice(
    videos: Path, tmp_path: Path, selector: str, selector_file: Path
) -> None:
    name = str(selector_file) if selector == "trained" else selector
    short = [numbered(tmp_path / "one.mkv", 1, codec="ffv1"), videos / "more/a.mkv"]
    result = extract(short, tmp_path / "out", selector=name, keyframes=5, frames=9, pictures="none")
    assert [[keyframe.index for keyframe in video.keyframes] for video in result.videos] == [[0], [0, 1, 2]]
    assert "2 of 2 videos have fewer than 5 frames; all of them were taken" in result.notes


def test_random_keyframes_are_drawn_for_each_video_alone(videos: Path, tmp_path: Path) -> None:
    def indices(name: str, sources: list[Path], seed: int) -> list[list[int]]:
        result = extract(sources, tmp_path / name, selector="random", seed=seed, pictures="none")
        return [[keyframe.index for keyframe in video.keyframes] for video in result.videos]

    both = indices("both", [videos / "a.mkv", videos / "b.mkv"], 0)
    assert indices("one", [videos / "b.mkv"], 0) == both[1:]
    assert indices("other", [videos / "b.mkv"], 1) != both[1:]


@pytest.mark.slow
def test_same_input_same_bytes_whatever_the_workers(selector_file: Path, videos: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 0), ("two", 2)):
        extract([videos], tmp_path / name, selector=str(selector_file), workers=workers)
    files = everything_in(tmp_path / "one")
    assert len(files) == 2 + 6
    assert files == everything_in(tmp_path / "two")
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_pictures_are_shrunk_and_never_enlarged(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.mp4", [gray(90, 48, 80)] * 4)
    sides = {}
    for size in (24, 100, None):
        result = extract([path], tmp_path / f"out{size}", keyframes=1, size=size)
        picture = result.videos[0].keyframes[0].picture
        assert picture is not None
        with Image.open(tmp_path / f"out{size}" / picture) as opened:
            sides[size] = opened.size
    assert sides == {24: (40, 24), 100: (80, 48), None: (80, 48)}


def test_only_jpg_and_png_are_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write 'a.bmp' as a picture; name it with one of: .jpg, .png"):
        write_picture(tmp_path / "a.bmp", np.zeros((3, 2, 2), np.uint8))


def test_videos_of_one_name_keep_their_pictures_apart(videos: Path, tmp_path: Path) -> None:
    long = f"{'n' * 251}.mkv"
    for name in ("a.mkv", "more.mkv", long):
        numbered(tmp_path / name, 2, codec="ffv1")
    sources = [videos / "a.mkv", tmp_path / "a.mkv", videos, tmp_path / "more.mkv", tmp_path / long, videos / "b.mkv"]
    result = extract(sources, tmp_path / "out", selector="uniform", keyframes=1, frames=1)
    paths = [video.keyframes[0].picture for video in result.videos]
    assert paths == [
        f"pictures/{stem}.jpg"
        for stem in (
            "a-000010",
            "a-2-000001",
            "b-000013",
            "more/a-000001",
            "more-000001",
            f"{name_of('n' * 251)}-000001",
        )
    ]
    assert {file for file in everything_in(tmp_path / "out") if "pictures" in file} == set(paths)


def test_names_of_files_lead_nowhere_on_any_system() -> None:
    for text in ("../x", "..\\..\\x", "C:\\x", "c:x", "a/b", "..", "\0"):
        name = name_of(text)
        assert PureWindowsPath(name).name == PurePosixPath(name).name == name


def test_names_of_any_bytes_are_written(videos: Path, tmp_path: Path, run: Runner) -> None:
    odd = tmp_path / "in" / "b\udce9 [red] \u0435.mkv"
    odd.parent.mkdir()
    odd.write_bytes((videos / "a.mkv").read_bytes())
    result = run("keyframes", odd.parent, "-o", tmp_path / "out")
    assert result.code == 0
    assert "b\\udce9 [red] \u0435.mkv" in result.out
    content = json.loads((tmp_path / "out/keyframes.json").read_text(encoding="utf-8"))
    assert (tmp_path / "out" / content["videos"][0]["keyframes"][0]["picture"]).is_file()


def test_a_bad_video_is_skipped_and_leaves_nothing(
    videos: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "in"
    sources.mkdir()
    (sources / "text.mp4").write_bytes(b"no video")
    (sources / "empty.mp4").write_bytes(b"")
    for name in ("good", "breaks"):
        (sources / f"{name}.mkv").write_bytes((videos / "a.mkv").read_bytes())
    read = recipe.read_frames_at

    def breaking(path: Path, times: list[float]) -> Any:
        if path.stem == "breaks" and times[0] > 0.1:
            raise recipe.VideoError("broken after frame 5")
        return read(path, times)

    monkeypatch.setattr(recipe, "read_frames_at", breaking)
    monkeypatch.setattr(recipe, "PICTURES_AT_ONCE", 1)
    result = run("keyframes", sources, "-o", tmp_path / "out", "--json").json
    assert [video["video"] for video in result["videos"]] == ["good.mkv"]
    assert {bad["video"]: bad["reason"] for bad in result["skipped"]} == {
        "breaks.mkv": "broken after frame 5",
        "empty.mp4": "empty file",
        "text.mp4": result["skipped"][2]["reason"],
    }
    assert "not a video" in result["skipped"][2]["reason"]
    assert {path.name.split("-")[0] for path in (tmp_path / "out/pictures").iterdir()} == {"good"}
    second = run("keyframes", sources, "-o", tmp_path / "out2")
    assert "skipped: empty.mp4: empty file" in second.err
    assert "4 of 1 videos, 3 skipped" in second.out
    bad = (sources / "text.mp4", sources / "empty.mp4")
    assert "none of the 2 videos can be read" in run("keyframes", *bad, "-o", tmp_path / "out3").error
    assert not (tmp_path / "out3").exists()


def test_an_interrupted_run_leaves_nothing(videos: Path, tmp_path: Path) -> None:
    def interrupt(step: str, **numbers: float) -> None:
        assert step == "keyframes"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([videos], tmp_path / "out", watch=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_input_that_cannot_be_used(run: Runner, videos: Path, selector_file: Path, tmp_path: Path) -> None:
    out, video = tmp_path / "out", videos / "a.mkv"

    def error(*options: object) -> str:
        return run("keyframes", *options, "-o", out).error

    assert "VIDEO is missing; give videos, or folders of them" in error()
    assert "gone.mp4: there is no such file or folder" in error(video, tmp_path / "gone.mp4")
    (tmp_path / "bare").mkdir()
    assert "bare: holds no videos" in error(tmp_path / "bare")
    assert "--selector 'gumbel' is no file and no rule; give a file" in error(video, "--selector", "gumbel")
    (tmp_path / "foreign").write_bytes(b"no selector")
    assert "foreign: the file is no safetensors file" in error(video, "--selector", tmp_path / "foreign")
    assert "--keyframes is 9, but a clip has 4" in error(video, "--selector", selector_file, "--keyframes", 9)
    assert "--keyframes is 0" in error(video, "--keyframes", 0)
    assert "--frames is 0; it must be at least 1" in error(video, "--frames", 0)
    assert "--size is 0; it must be at least 1" in error(video, "--size", 0)
    assert "--workers is -1" in error(video, "--workers", -1)
    assert "bmp" in error(video, "--pictures", "bmp")
    with pytest.raises(InputError, match="--pictures is 'bmp'; known: jpg, png, none"):
        extract([video], out, pictures="bmp")
    assert not out.exists()
    assert run("keyframes", video, "-o", out).code == 0
    assert f"output {out} exists; give --force" in error(video)
    assert run("keyframes", video, "-o", out, "--force", "--quiet").err == ""


def test_a_folder_that_holds_what_is_read_is_never_replaced(
    videos: Path, selector_file: Path, tmp_path: Path, run: Runner
) -> None:
    before = everything_in(videos)
    held = run("keyframes", videos, "-o", videos, "--force").error
    assert "a.mkv, which is read; give another folder" in held
    assert everything_in(videos) == before
    options = ("keyframes", videos, "--selector", selector_file, "-o", tmp_path, "--force")
    assert "selector.safetensors, which is read; give another folder" in run(*options).error
    assert selector_file.exists()


def test_help_names_what_needs_no_training(run: Runner) -> None:
    text = " ".join(run("keyframes", "--help").out.replace("│", " ").split())
    assert "a rule that needs no training: shots" in text
    assert "--keyframes" in text
    assert "compress --selector-out" in text


def _keys(value: object) -> object:
    """Return the names in a JSON value, and of a list those of its first item."""
    if isinstance(value, dict):
        return {key: _keys(inner) for key, inner in value.items()}
    return [_keys(value[0])] if isinstance(value, list) else None


def test_the_page_has_the_keys_that_are_written(videos: Path, tmp_path: Path, run: Runner) -> None:
    (tmp_path / "empty.mp4").touch()
    assert run("keyframes", videos / "a.mkv", tmp_path / "empty.mp4", "-o", tmp_path / "out").code == 0
    page = (Path(__file__).parents[1] / "docs/keyframes.md").read_text()
    example = json.loads(page.split("```json\n")[1].split("```")[0])
    written = json.loads((tmp_path / "out/keyframes.json").read_text())
    assert _keys(example) == _keys(written)


# --- Planted truth ---


def _stripes(label: int, generator: torch.Generator) -> torch.Tensor:
    picture = ((torch.arange(8) // 2 % 2) * 255).to(torch.uint8).expand(8, 8)
    picture = torch.roll(picture, int(torch.randint(4, (), generator=generator)), dims=1)
    return picture if label else picture.T


def planted_clips(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return noise (N,8,3,8,8), but for two frames of each clip that show its class: frames, labels, where."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (count, 8, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    hidden = torch.rand((count, 8), generator=generator).topk(2, dim=1).indices.sort(1).values
    for row in range(count):
        frames[row, hidden[row]] = _stripes(int(labels[row]), generator) // 2 + frames[row, hidden[row]] // 2
    return frames, labels, hidden


@pytest.mark.slow
def test_planted_truth_a_trained_selector_finds_the_class_frames_of_new_videos(tmp_path: Path) -> None:
    frames, labels, _ = planted_clips(128, seed=1)
    clip, codec = ClipSpec(8, 8, 8), PixelCodec()
    data = Candidates(
        frames=frames,
        latents=codec.encode(frames.flatten(0, 1).float() / 255).view(128, 8, 3, 8, 8).half(),
        times_seconds=torch.arange(8).double().expand(128, -1),
        labels=labels,
        video_ids=tuple(f"{row}.mp4" for row in range(128)),
        num_video_frames=torch.full((128,), 8),
        video_bytes=torch.ones(128, dtype=torch.int64),
        classes=("along", "across"),
        clip=clip,
        codec=codec.spec,
        normalization=Normalization((0.5,) * 3, (0.3,) * 3),
    )
    selector = train_selector(
        data,
        SelectorConfig(thumbnail=8, width=16, frame_differences=False),
        JointConfig(steps=250, batch_size=32, width=16, coverage_weight=0.0),
        Run(Streams(0)),
        keyframes=2,
        fill="hold",
    )
    unseen, _, hidden = planted_clips(128, seed=2)
    picked = selector.positions(unseen, 2, torch.Generator())
    assert (picked[:, :, None] == hidden[:, None, :]).any(1).float().mean() >= 0.95
    write_selector(TrainedSelector(selector, 2, clip, ORIGIN), tmp_path / "selector.safetensors")
    unseen, _, hidden = planted_clips(24, seed=3)
    for row, pictures in enumerate(unseen.repeat_interleave(4, 3).repeat_interleave(4, 4)):
        write(tmp_path / f"in/{row:02d}.mkv", list(pictures.permute(0, 2, 3, 1).numpy()), codec="ffv1")
    result = extract([tmp_path / "in"], tmp_path / "out", selector=str(tmp_path / "selector.safetensors"))
    hits = [
        keyframe.index in hidden[row].tolist()
        for row, video in enumerate(result.videos)
        for keyframe in video.keyframes
    ]
    assert len(hits) == 48
    assert sum(hits) >= 0.9 * len(hits)
