"""Runs as functions: options, settings, budgets, opening and decoding sets, the demo, and the public names."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import draw_videos, everything_in
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import videocompressa as vc
from videocompressa.artifact import read_set, to_bytes, write_set
from videocompressa.artifact.storage import Storage
from videocompressa.clip import Candidates, ClipSpec, Normalization
from videocompressa.codecs import PixelCodec
from videocompressa.datasets.videos import VideoEntry, VideoSet
from videocompressa.demo import run as demo_recipe
from videocompressa.errors import ArtifactError, BudgetError, InputError
from videocompressa.methods import METHODS
from videocompressa.recipes import budgets
from videocompressa.recipes.budgets import BlankFiles, num_items, resolve_budget
from videocompressa.recipes.compress import CompressOutcome, compress_folder
from videocompressa.recipes.data import encode_train, list_videos, sampled, stages_of
from videocompressa.recipes.options import (
    BudgetOptions,
    CandidateOptions,
    CompressOptions,
    NumBytes,
    Share,
    Surroundings,
)
from videocompressa.recipes.sets import decode_set, open_set
from videocompressa.recipes.settings import setting_names, with_settings
from videocompressa.recipes.train import train_on
from videocompressa.rng import Streams
from videocompressa.run import Run, watch_nothing
from videocompressa.selection.keyframes import UniformSelector
from videocompressa.selection.videos import choose_videos
from videocompressa.students import labelers, teachers
from videocompressa.students.settings import TrainConfig
from videocompressa.synthetic import Budget
from videocompressa.video import probe

SMALL = CandidateOptions(size=32, frames=4)
INT8 = Storage("int8")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_videos(tmp_path_factory.mktemp("videos") / "shades")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Surroundings:
    return surroundings(tmp_path_factory.mktemp("cache"))


def surroundings(cache: Path) -> Surroundings:
    """One process on the CPU; a clock that counts its readings."""
    ticks = iter(range(10**6))
    return Surroundings(cache, torch.device("cpu"), 0, lambda: float(next(ticks)), watch_nothing)


@pytest.fixture(scope="module")
def set_file(videos: Path, here: Surroundings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "set.safetensors"
    options, budget = CompressOptions("random-real", codec="tiny"), BudgetOptions(vpc=2, keyframes=2)
    compress_folder(videos, path, options, candidates=SMALL, budget=budget, surroundings=here)
    return path


# --- Options ---


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.13%", 0.0013), ("0.0013", 0.0013), (1, 1.0), ("100 %", 1.0)]
)
def test_shares(text: str | float, share: float) -> None:
    assert Share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["-1%", "101%", "five", "", "nan", "2"])
def test_no_shares(text: str) -> None:
    with pytest.raises(InputError, match=f"'{text}' is no share; write it as 5% or 0.05"):
        Share(text)


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("2MB", 2 * 10**6), ("300kB", 300_000), ("1.5GB", 15 * 10**8), (12345, 12345), ("2 MiB", 2**21), ("7b", 7)],
)
def test_numbers_of_bytes(text: str | int, num_bytes: int) -> None:
    assert NumBytes(text) == num_bytes


@pytest.mark.parametrize("text", ["0", "-5", "2 apples", "MB", "1.2.3MB", "0.1"])
def test_no_numbers_of_bytes(text: str) -> None:
    with pytest.raises(InputError, match="is no number of bytes; write it as 300kB"):
        NumBytes(text)


def test_one_budget_at_a_time() -> None:
    with pytest.raises(InputError, match="--vpc and --bytes were given; a budget is one of"):
        BudgetOptions(vpc=1, bytes=NumBytes(1000))


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    share: float = 0.5
    limit: int | None = 3


@dataclass(frozen=True)
class Outer:
    name: str = "a"
    on: bool = True
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_settings_replace_fields_by_their_type() -> None:
    changed = with_settings(Outer(), ["name=b=c", "on=false", "inner.sizes=3,4,5", "inner.share=2", "inner.limit=none"])
    assert changed == Outer("b=c", False, Inner((3, 4, 5), 2.0, None))
    assert isinstance(changed.inner.share, float)
    assert with_settings(Outer(), []) == Outer()
    assert with_settings(Outer(), ["inner.limit=7", "inner.sizes=(9,)"]).inner == Inner((9,), 0.5, 7)


def test_every_known_setting_can_be_set() -> None:
    for name in setting_names(vc.METHODS["videocompressa"]):
        value: object = vc.METHODS["videocompressa"]
        for part in name.split("."):
            value = getattr(value, part)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert with_settings(vc.METHODS["videocompressa"], [f"{name}={text}"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("nome=b", "--set nome: is not a setting; known: name, on, inner.sizes, inner.share, inner.limit"),
        ("inner=3", "--set inner: is not a setting; known: name"),
        ("name.first=3", "--set name.first: is not a setting; known: name"),
        ("on=maybe", "--set on=maybe: it takes true or false, such as True"),
        ("inner.sizes=1,x", "--set inner.sizes=1,x: it takes numbers with commas"),
        ("inner.share=x", "--set inner.share=x: it takes a number, such as 0.5"),
        ("name", "--set name: has no value; write --set name=value"),
    ],
)
def test_settings_that_cannot_be(setting: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_settings(Outer(), [setting])


def test_a_record_cannot_be_set_to_a_value() -> None:
    with pytest.raises(InputError, match="--set inner: is not a setting; known: name"):
        with_settings(Outer(), ["inner.share=1", "inner=3"])


# --- Budgets ---


def blank_files(counts: Sequence[int], num_frames: int = 8, storage: Storage = INT8) -> BlankFiles:
    """Files of videos with paths of unequal length, 30 frames each."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    num_videos = len(labels)
    data = Candidates(
        frames=torch.zeros((), dtype=torch.uint8).expand(num_videos, num_frames, 3, 8, 8),
        latents=torch.zeros((), dtype=torch.float16).expand(num_videos, num_frames, 3, 8, 8),
        times_seconds=torch.arange(num_frames).double() * 0.13 * (torch.arange(num_videos) % 5 + 1)[:, None],
        labels=labels,
        video_ids=tuple(f"{label}/{'x' * (row % 7)}{row}.mp4" for row, label in enumerate(labels.tolist())),
        num_video_frames=torch.full((num_videos,), 30),
        video_bytes=torch.full((num_videos,), 10**4),
        classes=tuple(f"class {label}" for label in range(len(counts))),
        clip=ClipSpec(num_frames, 8, 8),
        codec=PixelCodec().spec,
        normalization=Normalization((0.5, 0.25, 0.5), (0.2, 0.3, 0.2)),
        source="planted",
        split_hash="0" * 64,
    )
    return BlankFiles(data, METHODS["random-real"], storage, 0, lambda keyframes: 10.0 * keyframes)


@given(
    counts=st.lists(st.integers(3, 12), min_size=2, max_size=4),
    keyframes=st.integers(1, 8),
    ratio=st.floats(0.0, 0.5),
)
def test_a_resolved_budget_is_kept_and_used(counts: list[int], keyframes: int, ratio: float) -> None:
    files, total = blank_files(counts), 30 * sum(counts)
    try:
        budget, notes = resolve_budget(BudgetOptions(ratio=Share(ratio), keyframes=keyframes), files)
    except BudgetError:
        assert len(counts) > ratio * total  # not one keyframe a class
        return
    vpc, kept, allowed = budget.videos_per_class, budget.keyframes, ratio * total * (1 + 1e-6)
    assert num_items(files.data, vpc) * kept <= allowed
    assert vpc == min(counts) or num_items(files.data, vpc + 1) * kept > allowed
    assert kept == keyframes or (vpc == 1 and len(counts) * (kept + 1) > allowed)
    assert bool(notes) or kept == keyframes


@pytest.mark.slow
@settings(max_examples=20)
@given(asked=st.integers(700, 40_000), keyframes=st.integers(1, 8), seed=st.integers(0, 99))
def test_a_file_of_any_choice_of_videos_is_within_the_bytes(asked: int, keyframes: int, seed: int) -> None:
    files = blank_files([6, 9])
    try:
        budget, _ = resolve_budget(BudgetOptions(bytes=NumBytes(asked), keyframes=keyframes), files)
    except BudgetError as error:
        smallest = int(str(error).split()[-1])
        assert smallest > asked
        least, _ = resolve_budget(BudgetOptions(bytes=NumBytes(smallest), keyframes=keyframes), files)
        assert (least.videos_per_class, least.keyframes) == (1, 1)
        return
    draw = torch.Generator().manual_seed(seed)
    rows = choose_videos(files.data, "random", budget, draw)
    synthetic = files.config.gather(
        files.data, rows, torch.arange(budget.keyframes).expand(len(rows), -1), PixelCodec(), Run(Streams(0))
    )
    assert len(to_bytes(synthetic)) <= files.size(budget.videos_per_class, budget.keyframes) <= asked


def test_without_a_budget_as_many_videos_as_make_the_usual_keyframes_of_a_class() -> None:
    assert resolve_budget(BudgetOptions(), blank_files([3, 4])) == (
        Budget(3, 8, allow_fewer=True),
        (),
    )
    assert resolve_budget(BudgetOptions(), blank_files([2, 4]))[1] == ("class 'class 0' has only 2 of 3 videos",)
    few = "class 'class 0' has only 3 of 12 videos"
    assert resolve_budget(BudgetOptions(), blank_files([3, 4], num_frames=2)) == (
        Budget(12, 2, allow_fewer=True),
        (few,),
    )
    assert resolve_budget(BudgetOptions(keyframes=30), blank_files([3, 4], num_frames=40))[0] == Budget(
        1, 30, allow_fewer=True
    )
    assert resolve_budget(BudgetOptions(vpc=2), blank_files([3, 4]))[0] == Budget(2, 8)


def test_methods_that_fill_bytes_take_bytes_alone(videos: Path, here: Surroundings, tmp_path: Path) -> None:
    for name in ("typical-clips", "lvdd", "real-h264", "vdsd-dm"):
        for budget in (BudgetOptions(), BudgetOptions(vpc=2), BudgetOptions(ratio=Share("1%"))):
            message = f"method '{name}' keeps as much as a file of a given size holds, .*; give --bytes, such as"
            with pytest.raises(InputError, match=message):
                compress_folder(
                    videos,
                    tmp_path / "set.safetensors",
                    CompressOptions(name),
                    candidates=SMALL,
                    budget=budget,
                    surroundings=here,
                )
    files = dataclasses.replace(blank_files([3, 4]), config=METHODS["lvdd"])
    assert resolve_budget(BudgetOptions(bytes=NumBytes(9000)), files) == (Budget(1, 8, file_bytes=9000), ())


def test_a_file_that_comes_out_too_large_is_refused(
    videos: Path, here: Surroundings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compress(budget: BudgetOptions, name: str) -> CompressOutcome:
        options = CompressOptions("random-real", codec="tiny", storage="int8")
        return compress_folder(
            videos, tmp_path / f"{name}.safetensors", options, candidates=SMALL, budget=budget, surroundings=here
        )

    three = compress(BudgetOptions(vpc=3, keyframes=2), "a").cost.file_bytes
    two = compress(BudgetOptions(bytes=NumBytes(three - 1), keyframes=2), "b")
    assert (two.videos_per_class, two.keyframes) == (2, 2)
    assert two.cost.file_bytes < three
    monkeypatch.setattr(budgets, "MARGIN_BYTES", -200)
    with pytest.raises(BudgetError, match=f"the file would have {three} bytes even at its coarsest; give at least --b"):
        compress(BudgetOptions(bytes=NumBytes(three - 1), keyframes=2), "c")
    with pytest.raises(BudgetError, match="--bytes 900 is too small for one keyframe .* give at least --bytes 1"):
        compress(BudgetOptions(bytes=NumBytes(900), keyframes=1), "d")


@pytest.mark.slow
def test_bytes_left_over_go_into_finer_pictures_unless_a_step_is_asked_for(
    videos: Path, here: Surroundings, tmp_path: Path
) -> None:
    """All videos fit, so that only a finer step can fill the file."""

    def size(num_bytes: int, step: float | None = None) -> int:
        outcome = compress_folder(
            videos, tmp_path / "set.safetensors", CompressOptions("typical-clips", step=step), candidates=SMALL,
            budget=BudgetOptions(bytes=NumBytes(num_bytes)), overwrite=True, surroundings=here,
        )  # fmt: skip
        assert outcome.num_train_videos == len(read_set(outcome.path))
        return outcome.cost.file_bytes

    at_one = size(100_000, 1.0 + 1e-9)
    wanted = round(1.3 * at_one)
    assert 0.95 * wanted < size(wanted) <= wanted  # steps are 2 % apart
    assert at_one < size(10 * at_one) < 10 * at_one  # not finer than pixels are


def test_more_keyframes_than_frames() -> None:
    with pytest.raises(InputError, match="--keyframes is 9, but a clip has 8 candidate frames"):
        resolve_budget(BudgetOptions(keyframes=9), blank_files([3, 4]))


def test_a_class_without_training_videos() -> None:
    with pytest.raises(InputError, match="class 'class 1' has no training videos; add some"):
        resolve_budget(BudgetOptions(allow_fewer=True), blank_files([3, 0]))


# --- Stages ---


def test_the_time_of_each_stage_of_compress_is_its_own(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time passes only in five functions, by numbers that tell their stages apart."""
    now = [0.0]

    def takes(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            now[0] += seconds
            return function(*given, **named)

        return timed

    class TimedCodec(PixelCodec):
        encode = takes(1.0, PixelCodec.encode)

    monkeypatch.setattr(labelers, "random_views", takes(100.0, labelers.random_views))
    for function in ("predict", "student_features"):
        monkeypatch.setattr(teachers, function, takes(1000.0, getattr(teachers, function)))
    monkeypatch.setattr(UniformSelector, "positions", takes(10_000.0, UniformSelector.positions))
    network = ("labeler.spec.network=framenet2d", "teacher.train.student=framenet2d")
    options = CompressOptions(settings=("labeler.steps=2", "teacher.train.steps=2", "teacher.num_views=3", *network))
    here = dataclasses.replace(surroundings(tmp_path / "cache"), clock=lambda: now[0])

    def taken(number: int, budget: BudgetOptions, **changes: Any) -> dict[str, float]:
        path = tmp_path / f"{number}.safetensors"
        outcome = compress_folder(
            videos, path, dataclasses.replace(options, **changes), candidates=SMALL, budget=budget, codec=TimedCodec(),
            surroundings=here,
        )  # fmt: skip
        return {stage: seconds for stage, seconds in outcome.stage_seconds.items() if seconds}

    two, small = BudgetOptions(vpc=2, keyframes=2), BudgetOptions(bytes=NumBytes("20kB"))
    assert taken(1, two) == {"labeler agreement": 100.0, "videos": 11_000.0, "encode": 4.0}
    assert taken(2, two, labeler="off") == {"encode": 4.0, "videos": 11_000.0, "labels": 3000.0}
    shutil.rmtree(here.cache)
    assert taken(3, small, method="lvdd-random", settings=("labels=hard",)) == {"videos": 10_000.0, "encode": 2.0}


def test_stages_belong_to_the_content(videos: Path, here: Surroundings) -> None:
    encoded = encode_train(list_videos(videos, SMALL), SMALL, PixelCodec(), here)
    folder = stages_of(encoded, here).folder
    assert folder == stages_of(encoded, here).folder
    swapped = (encoded.video_hashes[1], encoded.video_hashes[0], *encoded.video_hashes[2:])
    for other in (
        dataclasses.replace(encoded, video_hashes=swapped),
        dataclasses.replace(encoded, labels=1 - encoded.labels),
        encoded.take(range(7)),
    ):
        assert stages_of(other, here).folder != folder


def test_of_more_than_20000_training_videos_as_many_of_each_class_are_read() -> None:
    def of(total: int) -> VideoSet:
        entries = (VideoEntry(Path(f"{row}"), f"{row}", row % 2, "train", f"{row}") for row in range(total))
        return VideoSet("many", Path(), ("a", "b"), (*entries, VideoEntry(Path("t"), "t", 0, "test", "t")))

    all_read, more = of(20_000), of(20_003)
    assert sampled(all_read, CandidateOptions()) is all_read
    few = sampled(more, CandidateOptions())
    assert [entry.label for entry in few.select("train").entries].count(1) == 10_000
    assert (len(few), few) == (20_001, sampled(more, CandidateOptions()))
    assert few.notes == ("20000 of 20003 training videos are read, and shares are of these (--train-sample)",)


def test_held_out_videos_do_not_depend_on_anything_else(videos: Path) -> None:
    held = [
        entry.video_id
        for entry in list_videos(videos, dataclasses.replace(SMALL, hold_out=Share("25%"))).select("val").entries
    ]
    assert held
    again = list_videos(videos, CandidateOptions(size=64, frames=2, hold_out=Share(0.25))).select("val").entries
    assert held == [entry.video_id for entry in again]


# --- Sets ---


def test_five_lines_train_on_a_set(set_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(set_file.parent)
    dataset = vc.load("set.safetensors").as_dataset()
    loader = DataLoader(dataset, batch_size=16, shuffle=True)
    for clips, labels in loader:
        assert clips.shape == (4, 4, 3, 32, 32)
        assert sorted(labels.tolist()) == [0, 0, 1, 1]
        bright = clips.mean((1, 2, 3, 4)) > 0.5
        assert torch.equal(bright, labels == 1)


def test_a_set_opens_with_its_codec(set_file: Path) -> None:
    synthetic = open_set(str(set_file))
    assert synthetic.decoder is not None
    assert synthetic.decoder.spec == synthetic.codec
    with pytest.raises(ArtifactError, match=r"compressed with codec 'tiny' .* but 'linear' .* give the same codec"):
        open_set(set_file, "linear")
    with pytest.raises(ArtifactError, match="unknown codec 'magic'"):
        open_set(set_file, "magic")


def test_a_codec_in_a_folder_must_be_given(set_file: Path, tmp_path: Path) -> None:
    synthetic = read_set(set_file)
    elsewhere = dataclasses.replace(synthetic.codec, name="tiny:weights.safetensors")
    path = tmp_path / "set.safetensors"
    write_set(dataclasses.replace(synthetic, codec=elsewhere), path)
    with pytest.raises(InputError, match="was compressed with codec 'tiny:weights.safetensors'; give its place"):
        open_set(path)
    assert open_set(path, "tiny").decoder is not None  # the same weights under another name


def test_decoded_clips_last_as_long_as_their_videos(set_file: Path, tmp_path: Path) -> None:
    synthetic = open_set(set_file)
    assert decode_set(synthetic, tmp_path / "clips") == 4
    written = sorted((tmp_path / "clips").rglob("*.mp4"))
    assert [path.parent.name for path in written] == ["dark", "dark", "light", "light"]
    info = probe(written[0])
    assert (info.num_frames, info.height, info.width) == (4, 32, 32)
    assert info.duration_seconds == pytest.approx(0.6, abs=0.1)  # six frames at ten a second


def test_decoding_refuses_what_it_cannot_do(set_file: Path, tmp_path: Path) -> None:
    synthetic = open_set(set_file)
    (tmp_path / "file").write_text("")
    for folder, kind, message in (
        (tmp_path / "a", "avi", "--format is 'avi'; known: png, gif, mp4"),
        (tmp_path / "file", "mp4", "is a file; give the name of a folder"),
        (tmp_path / "b/c", "mp4", "does not exist; make it first"),
    ):
        with pytest.raises(InputError, match=message):
            decode_set(synthetic, folder, kind=kind)
    assert everything_in(tmp_path) == {"file"}


def test_no_class_name_leads_out_of_the_folder(set_file: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("..", ".", "../../up")):
        synthetic = dataclasses.replace(open_set(set_file), classes=(name, "light"))
        assert decode_set(synthetic, tmp_path / str(number)) == 4
    assert {path.split("/")[0] for path in everything_in(tmp_path)} == {"0", "1", "2"}


def test_names_that_no_file_system_takes(set_file: Path, tmp_path: Path) -> None:
    synthetic = open_set(set_file)
    ids = tuple(f"{number}{'é' * 200}.mp4" for number in range(len(synthetic)))
    origin = dataclasses.replace(synthetic.provenance, video_ids=ids)
    names = ("日" * 100 + "a", "日" * 100 + "b\0")
    assert decode_set(dataclasses.replace(synthetic, classes=names, provenance=origin), tmp_path / "clips") == 4
    assert len({path.split("/")[0] for path in everything_in(tmp_path / "clips")}) == 2


def test_an_interrupted_decoding_leaves_nothing(set_file: Path, tmp_path: Path) -> None:
    def interrupted(step: str, **numbers: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_set(open_set(set_file), tmp_path / "clips", watch=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_training_needs_a_seed(set_file: Path, videos: Path, here: Surroundings) -> None:
    with pytest.raises(InputError, match="--seeds is 0; it must be at least 1"):
        train_on(set_file, videos, config=TrainConfig(), candidates=SMALL, num_seeds=0, surroundings=here)


def test_the_clip_of_the_set_counts_in_training(set_file: Path, videos: Path, here: Surroundings) -> None:
    config = TrainConfig(student="framenet2d", width=0.25, steps=2, batch_size=4)
    other = CandidateOptions(size=64, frames=7)
    outcome = train_on(set_file, videos, config=config, candidates=other, num_seeds=1, surroundings=here)
    assert outcome.result.train_seconds in range(1, 9)  # ticks of the clock that was passed in
    assert (outcome.num_train_clips, outcome.num_test_clips) == (4, 4)


# --- The demo ---


@pytest.mark.slow
def test_the_demo_ends_with_a_table_a_sheet_and_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the demo's steps, at toy size."""
    steps = ("joint.steps=2", "labeler.steps=2", "labeler.spec.network=framenet2d")
    teacher = ("teacher.train.steps=2", "teacher.train.warmup_steps=0", "teacher.train.student=framenet2d")
    monkeypatch.setattr(demo_recipe, "CLIPS_PER_CLASS", (2, 1))
    monkeypatch.setattr(demo_recipe, "CANDIDATES", SMALL)
    monkeypatch.setattr(demo_recipe, "BUDGET", BudgetOptions(vpc=1, keyframes=2))
    monkeypatch.setattr(demo_recipe, "SETTINGS", (*steps, *teacher))
    monkeypatch.setattr(demo_recipe, "STUDENTS", TrainConfig(student="framenet2d", width=0.25, steps=2))
    monkeypatch.setattr(demo_recipe, "NUM_SEEDS", 2)
    here = surroundings(tmp_path / "cache")
    outcome = demo_recipe.demo(tmp_path / "demo", surroundings=here)
    assert outcome.records[0].on_all_videos
    assert [row.method for row in outcome.records[1:]] == ["videocompressa", "typical-clips", "random-real"]
    learned, typical, random = outcome.records[1:]
    assert typical.keyframes == SMALL.clip.num_frames
    assert typical.file_bytes <= learned.file_bytes
    assert learned.keyframes == random.keyframes
    assert learned.vpc == random.vpc
    table = outcome.table_path.read_text()
    assert all(name in table for name in ("all videos", *(row.method for row in outcome.records[1:])))
    assert outcome.sheet_path.read_bytes().startswith(b"\x89PNG")
    assert "of the accuracy of all videos" in outcome.page_path.read_text()
    with pytest.raises(InputError, match="table.md exists; give --force"):
        demo_recipe.demo(tmp_path / "demo", surroundings=here)
    first = outcome.set_path.read_bytes()
    outcome.table_path.unlink()  # as if it had been interrupted
    assert demo_recipe.demo(tmp_path / "demo", surroundings=here).set_path.read_bytes() == first


# --- Public names ---


def test_every_public_name_is_there_and_documented() -> None:
    for name in vc.__all__:
        value = getattr(vc, name)
        assert name in dir(vc)
        if callable(value):
            assert value.__doc__, name
    with pytest.raises(AttributeError, match=r"no attribute 'lode'; it has .*load"):
        vc.lode  # noqa: B018


@pytest.mark.parametrize("module", ["videocompressa", "videocompressa.cli.main"])
def test_importing_costs_nothing(module: str) -> None:
    """Not even torch is imported before it is used, so help is there at once."""
    script = (
        f"import sys, {module}; print([name for name in ('torch', 'av', 'PIL', 'diffusers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
