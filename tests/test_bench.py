"""`bench`: rows, jobs that resume, and the files of a benchmark."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import time
from pathlib import Path

import pytest
import torch
from cli_runs import Runner, draw_clip
from test_backbones import OWN

from videocompressa.artifact import read_set
from videocompressa.bench import cells
from videocompressa.bench.cells import LONG, RunJob, SetJob, Setting
from videocompressa.bench.protocols import PROTOCOLS
from videocompressa.bench.record import FULL
from videocompressa.bench.rows import ABLATION, BenchOptions, configuration, job_of, rows_of
from videocompressa.bench.run import record_of
from videocompressa.bench.scales import SCALES
from videocompressa.bench.tables import from_json
from videocompressa.clip import ClipSpec
from videocompressa.errors import DivergedError, InputError
from videocompressa.methods import METHODS
from videocompressa.methods.videocompressa.method import PAPER
from videocompressa.recipes.options import (
    BudgetOptions,
    CandidateOptions,
    CompressOptions,
    NumBytes,
    Share,
    Surroundings,
)
from videocompressa.recipes.settings import with_settings
from videocompressa.run import watch_nothing
from videocompressa.students.settings import TrainConfig
from videocompressa.video import write_video

ISSUE_FIELDS = (
    "method", "labels", "student", "selector", "codec", "vpc", "keyframes", "num_frames", "frame_ratio", "file_bytes",
    "codec_bytes", "top1_mean", "top1_std", "top1_runs", "num_diverged", "compress_seconds", "train_seconds",
    "peak_memory_bytes", "improvement_over_random", "recovery_of_full", "status",
)  # fmt: skip

SMALL = ("--size", "48", "--frames", "4", "--workers", "0", "--device", "cpu", "--students", "framenet2d")
SHORT = tuple(part for text in ("steps=3", "batch_size=4", "width=0.25") for part in ("--train", text))


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    around = Surroundings(tmp_path / "cache", torch.device("cpu"), 0, time.perf_counter, watch_nothing)
    fair, reading = PROTOCOLS["fair"], CandidateOptions()
    return Setting(tmp_path / "data", "hash", reading, fair, "any", "test", tmp_path / "out", 1, around)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    return Runner(capsys, tmp_path / "cache")


SET = SetJob(
    CompressOptions("random-real", "linear", settings=("labels=hard",)), "hard", BudgetOptions(vpc=1, keyframes=2)
)
RUN = RunJob(SET, "random-real", "hard", "minic3d", (), (), "linear", 2, 0)


def test_rows_hold_every_method_with_all_labels_at_every_budget() -> None:
    rows, methods = rows_of(BenchOptions()), {*METHODS} - {"noise"}
    assert len(rows) == len(methods) * 3 * 3 + 2 * 3 + 2 * 3  # full data has no budget, controls have one kind
    assert {row.method for row in rows} == {"full", "full-long", *methods, "noise", "labeler"}
    assert all({row.labels for row in rows if row.method == name} == {"hard", "soft", "views"} for name in methods)
    assert {row.labels for row in rows if row.method in ("noise", "labeler")} == {"views"}


def test_controls_are_shown_with_views_unless_they_are_turned_off() -> None:
    asked = BenchOptions(methods=("dm",), labels=("soft", "views"), budgets=(BudgetOptions(vpc=1),))
    controls = [("random-real", "views"), ("noise", "views"), ("labeler", "views")]
    for options, more in (
        (asked, controls),
        (dataclasses.replace(asked, controls=True), controls),
        (dataclasses.replace(asked, controls=False), []),
        (dataclasses.replace(asked, labels=("soft",)), []),
    ):
        expected = [("dm", labels) for labels in options.labels] + more
        assert [(row.method, row.labels) for row in rows_of(options)] == expected
    rows = rows_of(dataclasses.replace(asked, methods=("random-real", "noise"), labels=("views",)))
    assert sorted(row.method for row in rows) == ["labeler", "noise", "random-real"]  # none of them twice


def test_full_data_with_hard_labels_is_the_reference_of_every_regime() -> None:
    for labels in (("views",), ("soft",), ("hard", "views")):
        rows = rows_of(BenchOptions(methods=("full",), labels=labels, controls=False))
        assert sorted(row.labels for row in rows) == sorted({*labels, "hard"})


def test_students_of_every_set_and_of_full_data_are_trained_for_the_steps(setting: Setting) -> None:
    options = BenchOptions(
        methods=("full", "full-long", "dm"), labels=("views",), budgets=(BudgetOptions(vpc=1),), train_steps=(7, 9),
        train=("steps=5",),
    )  # fmt: skip
    rows = [row for row in rows_of(options) if row.axis == "train-steps"]
    of_seven = [("full", 7), ("dm", 7), ("random-real", 7), ("noise", 7)]
    assert [(row.method, row.train_steps) for row in rows] == of_seven + [(name, 9) for name, _ in of_seven]
    assert {row.labels for row in rows} == {"views"}
    jobs = [job_of(row, 0, options, ()) for row in rows_of(options) if row.method == "dm"]
    assert [cells.training(setting, job, 9, 1).steps for job in jobs] == [5, 7, 9]
    assert len({job.trained_on for job in jobs}) == 1  # of one set


def test_settings_for_all_go_to_methods_that_have_them_and_to_full_data() -> None:
    budgets, settings = (BudgetOptions(vpc=1),), ("teacher.num_teachers=2", "synthesis.steps=9", "labeler.steps=3")
    options = BenchOptions(
        methods=("full", "dm", "videocompressa"), labels=("views",), budgets=budgets, controls=False, settings=settings
    )
    rows = rows_of(options)
    settings_of = {
        job.method: job.trained_on.options.settings for row in rows if (job := job_of(row, 0, options, ())).trained_on
    }
    assert settings_of["videocompressa"] == (*settings, "labels=views")
    assert settings_of["dm"] == (settings[0], settings[2], "labels=views")
    teachers = {row.labels: job_of(row, 0, options, ()).teacher for row in rows if row.method == "full"}
    assert teachers == {"views": (settings[0], settings[2]), "hard": ()}
    small = dataclasses.replace(options, scale="small", settings=("steps=9",))
    dm = job_of(rows[1], 0, small, ()).trained_on
    assert dm is not None
    assert dm.options.settings.index("steps=9") > dm.options.settings.index("steps=100")  # the last one counts
    record = record_of(rows[1], [{"reason": "x"}], "rendered", ClipSpec(8, 48, 48), options)
    assert record.settings == (settings[0], settings[2])


def test_the_labeler_is_that_of_the_random_clips_of_its_column() -> None:
    options = BenchOptions(methods=("dm",), labels=("views",), budgets=(BudgetOptions(vpc=3),))
    jobs = {row.method: job_of(row, 1, options, ()) for row in rows_of(options)}
    assert jobs["labeler"].trained_on == jobs["random-real"].trained_on
    row = next(row for row in rows_of(options) if row.method == "labeler")
    run = {"top1": 0.5, "top5": 0.9, "labeler": "minic3d, width 0.125, 4 bits", "views": ["crop=0.8"]}
    of_set = {
        "labeler_bytes": 300, "file_bytes": 400, "byte_ratio": 0.04, "codec_bytes": 9, "num_frames": 8,
        "frame_ratio": 0.1, "videos_per_class": 3, "compress_seconds": 5.0, "peak_memory_bytes": 1,
        "gpu_peak_memory_bytes": None,
    }  # fmt: skip
    record = record_of(row, [{**run, "set": of_set}], "rendered", ClipSpec(8, 48, 48), options)
    assert (record.file_bytes, record.labeler_bytes, record.file_and_codec_bytes) == (300, 300, 300)
    assert record.byte_ratio == pytest.approx(0.03)
    assert (record.codec, record.selector, record.network, record.vpc) == ("", "", "minic3d", 3)
    assert (record.num_frames, record.frame_ratio, record.num_train_clips, record.train_steps) == (0, None, None, None)
    assert (record.labeler, record.views, record.compress_seconds) == (run["labeler"], ("crop=0.8",), 5.0)


def test_experiments_are_rows_of_their_own() -> None:
    options = BenchOptions(
        methods=("random-real",), labels=("soft",), budgets=(BudgetOptions(vpc=1),), keyframes=(4, 2), steps=(0, 9),
        ablation=True, codecs=("linear",), students=("minic3d", "framenet2d"),
    )  # fmt: skip
    rows = rows_of(options)
    of = {
        axis: [row for row in rows if row.axis == axis] for axis in ("main", "ablation", "steps", "keyframes", "cross")
    }
    assert [row.variant for row in of["ablation"]] == ["", *ABLATION, "codec linear", "labels hard"]
    complete, *changed = [configuration(row, options) for row in of["ablation"]]
    assert complete.selector == "gumbel"
    assert complete.synthesis.enabled
    assert complete not in changed[: len(ABLATION)]  # Each turns off what the complete method has on.
    changes = [("synthesis.enabled=false",), ("synthesis.steps=9",)]
    assert [row.settings for row in of["steps"]] == [(*PAPER, *change) for change in changes]
    assert [configuration(row, options).synthesis_steps for row in of["steps"]] == [0, 9]
    assert [(row.method, row.keyframes) for row in of["keyframes"]] == [
        ("videocompressa", 4), ("random-real", 4), ("videocompressa", 2), ("random-real", 2),
    ]  # fmt: skip
    assert [row.student for row in of["cross"]] == ["framenet2d"]
    assert [row.student for row in of["main"]] == ["minic3d"]


def test_experiments_have_the_labels_of_the_protocol() -> None:
    options = BenchOptions(
        labels=("hard",), protocol="vdsd:miniucf", budgets=(BudgetOptions(vpc=1),), ablation=True, keyframes=(4, 2)
    )
    rows = [row for row in rows_of(options) if row.axis != "main"]
    assert {row.labels for row in rows} == {"hard"}
    assert [row.variant for row in rows if row.axis == "ablation"] == ["", *ABLATION, "codec linear", "codec pixel"]


def test_every_scale_names_settings_that_exist() -> None:
    for scale in SCALES.values():
        with_settings(TrainConfig(), scale.train)
        rows_of(BenchOptions(scale="small"))
        assert set(scale.methods) <= set(METHODS)
    with_settings(METHODS["videocompressa"], SCALES["small"].settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("magic",)}, "unknown method 'magic'; known: videocompressa"),
        ({"methods": ("dm:speed=1",)}, "--set speed: is not a setting; known: "),
        ({"labels": ("firm",)}, "--labels firm: protocol 'fair' has soft, hard, views labels only"),
        ({"labels": ("views",), "protocol": "vdsd:miniucf"}, "--labels views: protocol 'vdsd' has hard labels only"),
        ({"labels": ("hard",), "controls": True}, "--controls is for labels views, but --labels is hard; add views"),
        ({"train_steps": (400, 0)}, "--train-steps has 0; each must be at least 1"),
        ({"settings": ("speed=1",)}, "--set speed: no method of --methods has this setting; known: fill, teacher."),
        ({"settings": ("labels=soft",)}, "--set labels: no method of --methods has this setting; known: fill, teacher"),
        ({"settings": ("fill",)}, "--set fill: has no value; write --set name=value"),
        ({"settings": ("labeler.steps=many",)}, "--set labeler.steps=many: it takes a whole number, such as 1600"),
        ({"students": ("bert",)}, "unknown student 'bert'; known: convnet3d"),
        ({"protocol": "kind"}, "unknown protocol 'kind'; known: fair, vdsd, video-dc"),
        ({"protocol": "vdsd:cats"}, "protocol 'vdsd' does not define how to read 'cats'; known: miniucf"),
        ({"protocol": "vdsd:miniucf"}, "--labels soft: protocol 'vdsd' has hard labels only"),
        ({"train": ("stpes=9",)}, "stpes: is not a setting; known: "),
        ({"methods": ("full:steps=5",)}, "--methods full:steps=5: 'full' has no settings; students have theirs by"),
        ({"scale": "huge"}, "unknown scale 'huge'; known: published, small"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_of(dataclasses.replace(BenchOptions(), **changes))


def test_full_data_takes_the_same_steps_and_the_long_row_more(setting: Setting) -> None:
    same = cells.training(setting, dataclasses.replace(RUN, trained_on=None, method=FULL), 99, None)
    assert same.steps == cells.training(setting, RUN, 9, 3).steps == PROTOCOLS["fair"].on_set.config.steps
    long = cells.training(setting, dataclasses.replace(RUN, trained_on=None, method="full-long"), 99, None)
    assert long.steps == LONG * same.steps


def test_a_row_without_a_set_has_no_sizes() -> None:
    row = next(row for row in rows_of(BenchOptions(methods=("mtt",))) if row.labels == "hard")
    diverged = {"diverged": "at step 3", "peak_memory_bytes": 1, "gpu_peak_memory_bytes": None}
    record = record_of(row, [diverged, diverged], "rendered", ClipSpec(8, 48, 48), BenchOptions())
    assert (record.frame_ratio, record.byte_ratio, record.file_bytes, record.num_diverged) == (None, None, None, 2)
    assert record.network == "convnet3d"
    for method, labels, student in (
        ("rded", "hard", "minic3d"),
        ("random-real", "hard", ""),
        ("random-real", "soft", "minic3d"),
    ):
        row = next(row for row in rows_of(BenchOptions(methods=(method,), labels=(labels,))))
        assert record_of(row, [diverged], "rendered", ClipSpec(8, 48, 48), BenchOptions()).network == student


def test_a_record_notes_the_precision_and_device_of_its_runs() -> None:
    (row,) = rows_of(BenchOptions(methods=("full",), labels=("hard",)))
    run = {"top1": 0.5, "top5": 0.9, "train_seconds": 1.0, "num_train_clips": 9, "num_frames": 72, "set": None}
    run |= {"peak_memory_bytes": 1, "gpu_peak_memory_bytes": None}
    for precisions, noted in (
        ((), ""),
        (("float32", "float32"), "float32"),
        (("float32", "bfloat16"), "bfloat16; float32"),
    ):
        runs = [run | {"precision": precision, "device": f"on {precision}"} for precision in precisions] or [run]
        record = record_of(row, runs, "rendered", ClipSpec(8, 48, 48), BenchOptions())
        assert (record.precision, record.frame_ratio, record.num_frames) == (noted, 1.0, 72)
        assert record.device == "; ".join(f"on {precision}" for precision in sorted(set(precisions)))


def test_other_defaults_are_other_jobs(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    before = SET.path(setting), RUN.path(setting)
    monkeypatch.setitem(METHODS, "random-real", dataclasses.replace(METHODS["random-real"], selector="middle"))
    assert SET.path(setting) != before[0]
    assert RUN.path(setting) != before[1]


def test_methods_that_fill_bytes_get_those_of_the_reference_of_their_column(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a column is no size, real keyframes of the same VPC, K and labels set the largest file size."""
    budgets = (BudgetOptions(vpc=2), BudgetOptions(bytes=NumBytes(9000)))
    options = BenchOptions(methods=("typical-clips", "herding-real"), labels=("soft",), budgets=budgets)
    jobs = [job_of(row, 1, options, ()).trained_on for row in rows_of(options)]
    assert [job.reference is not None for job in jobs if job] == [True, False, False, False]
    filling = jobs[0]
    assert filling is not None
    assert filling.reference is not None
    assert filling.reference.options.method == "random-real"
    assert (filling.reference.budget.vpc, filling.reference.budget.keyframes) == (2, 4)
    assert filling.reference.options.settings[-1] == "labels=soft"
    views = dataclasses.replace(options, labels=("views",), budgets=budgets[:1], controls=False)
    filling_views = job_of(rows_of(views)[0], 1, views, ()).trained_on
    assert filling_views is not None
    assert filling_views.options.settings[-1] == "labeler.spec.width=0.25"  # that of the reference
    asked: list[BudgetOptions] = []

    def compressed(setting: Setting, path: Path, work: object) -> dict[str, object]:
        if path == filling.reference.path(setting).with_suffix(".json"):
            return {"compress_seconds": 1.0, "file_bytes": 4321}
        return work()

    def compress_folder(*_: object, budget: BudgetOptions, **__: object) -> None:
        asked.append(budget)
        raise _Asked

    monkeypatch.setattr(cells, "_answer", compressed)
    monkeypatch.setattr(cells, "compress_folder", compress_folder)
    with pytest.raises(_Asked):
        cells.compress_set(setting, filling)
    assert (asked[0].bytes, asked[0].vpc, asked[0].keyframes, asked[0].allow_fewer) == (4321, None, 4, True)


class _Asked(Exception):  # noqa: N818
    """Stops where a set would be compressed."""


def test_jobs_have_files_of_their_own(setting: Setting) -> None:
    other = dataclasses.replace(setting, videos_hash="another")
    jobs = [RUN, dataclasses.replace(RUN, seed=1), dataclasses.replace(RUN, train=("lr=0.1",))]
    paths = {job.path(at) for job in jobs for at in (setting, other)}
    assert len(paths) == 6
    assert RUN.path(dataclasses.replace(setting, split="val")) not in paths
    asked = [BudgetOptions(vpc=3), BudgetOptions(ratio=Share("1%")), BudgetOptions(bytes=NumBytes("9kB"))]
    names = [dataclasses.replace(SET, budget=budget).name for budget in asked]
    assert ["vpc3" in names[0], "ratio0.01" in names[1], "9000B" in names[2]] == [True] * 3


def test_what_fails_answers_with_its_reason_and_is_tried_again(setting: Setting, monkeypatch) -> None:
    def refuse(*args: object, **named: object) -> None:
        raise errors.pop()

    errors: list[Exception] = [MemoryError("2 GB"), InputError("--vpc is 7"), DivergedError("lr 9 is too high")]
    monkeypatch.setattr(cells, "compress_folder", refuse)
    diverged = cells.compress_set(setting, SET)
    assert diverged["diverged"] == "lr 9 is too high"
    assert cells.compress_set(setting, SET) == diverged  # kept: the same seed would diverge again
    other = dataclasses.replace(SET, options=dataclasses.replace(SET.options, seed=1))
    assert cells.run_student((setting, dataclasses.replace(RUN, trained_on=other))) == {"reason": "--vpc is 7"}
    assert cells.compress_set(setting, other) == {"reason": "out of memory: 2 GB"}
    assert not errors
    assert cells.known(setting, RUN) == diverged
    assert cells.known(setting, dataclasses.replace(RUN, trained_on=other)) is None


def test_only_complete_files_are_known(setting: Setting) -> None:
    of_set, scores = {"compress_seconds": 1.0}, {"top1": 0.5}
    assert cells.known(setting, RUN) is None
    for job, answer in ((SET, of_set), (RUN, scores)):
        path = job.path(setting).with_suffix(".json")
        path.parent.mkdir(parents=True)
        path.write_text("{")
        assert cells.known(setting, RUN) is None
        path.write_text(json.dumps(answer))
    assert cells.known(setting, RUN) == {**scores, "set": of_set}


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_a_benchmark_from_the_command_line(
    rendered_set: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "bench", str(rendered_set), "-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"),
        "--codec", "linear",
        "--methods", "full,random-real,random-real:selector=shots", "--labels", "hard", "--vpc", "1,2",
        "--keyframes", "2", "--seeds", "2", *SMALL, *SHORT,
    )  # fmt: skip
    result = run(*command, "--json", "--quiet").json
    assert (result["num_cells"], result["num_failed"]) == (5, 0)
    out = tmp_path / "out"
    records = from_json((out / "results.json").read_text())
    assert all(field in entry for entry in json.loads((out / "results.json").read_text()) for field in ISSUE_FIELDS)
    assert len(list(csv.DictReader(io.StringIO((out / "results.csv").read_text(), newline="")))) == 5
    first = next(record for record in records if record.method == "random-real")
    assert (first.vpc, first.keyframes, first.num_frames, len(first.top1_runs)) == (1, 2, 6, 2)
    assert first.improvement_over_random == 0
    assert {record.precision for record in records} <= {"float32", "bfloat16"}
    assert "shots" in (out / "results.md").read_text()
    drawn = {path.name for path in out.glob("*.png")}
    assert {path.name for path in map(Path, result["files"])} == drawn | {"index.html"}
    assert "accuracy_against_frames.png" in {path.name for path in out.glob("*.png")}
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    before = (out / "results.json").read_bytes()
    monkeypatch.setattr("videocompressa.bench.run.run_student", None)  # and no job is run to find that out
    run(*command, "--quiet")
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*")} == stamps  # nothing is written again
    assert (out / "results.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_all_videos_are_those_of_the_sample(rendered_set: Path, tmp_path: Path, run: Runner) -> None:
    ran = run(
        "bench", rendered_set, "-o", tmp_path / "out", "--cache", tmp_path / "cache", "--codec", "linear", "--methods",
        "full,random-real", "--labels", "hard", "--vpc", "1", "--keyframes", "2", "--seeds", "1", "--train-sample", "6",
        *SMALL, *SHORT,
    )  # fmt: skip
    records = {record.method: record for record in from_json((tmp_path / "out" / "results.json").read_text())}
    assert records["full"].num_train_clips == 6
    assert records["random-real"].frame_ratio == pytest.approx(6 / (records["full"].num_frames or 0))
    assert re.search(r"note: 6 of \d+ training videos are read, and shares are of these \(--train-sample\)", ran.err)
    decoded = [path.parent.name.partition("-")[0] for path in tmp_path.glob("cache/candidates/*/frames.bin")]
    assert sorted(decoded) == ["test", "train"]  # no other training videos, by any job


QUICK = tuple(
    part
    for text in (
        "teacher.train.student=framenet2d", "teacher.train.width=0.25", "teacher.train.steps=2", "labeler.steps=2",
        "labeler.spec.network=framenet2d", "labeler.spec.width=0.0625",
    )
    for part in ("--set", text)
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_regimes_side_by_side_with_controls_and_training_steps(rendered_set: Path, tmp_path: Path, run: Runner) -> None:
    result = run(
        "bench", rendered_set, "-o", tmp_path / "out", "--cache", tmp_path / "cache", "--codec", "linear", "--methods",
        "full,random-real,typical-clips", "--labels", "hard,views", "--vpc", "1", "--keyframes", "2", "--seeds", "1",
        "--train-steps", "4", *SMALL, *SHORT, *QUICK, "--json", "--quiet",
    ).json  # fmt: skip
    out = tmp_path / "out"
    records = from_json((out / "results.json").read_text())
    assert result["num_failed"] == 0, [record.reason for record in records]
    main = {(record.method, record.labels): record for record in records if record.axis == "main"}
    sets = {"random-real", "typical-clips"}
    assert {method for method, labels in main if labels == "hard"} == {"full", *sets}
    assert {method for method, labels in main if labels == "views"} == {"full", *sets, "noise", "labeler"}
    # One labeler for all, counted in every file; the method that fills bytes has as many.
    labeled = [main[method, "views"] for method in (*sorted(sets), "noise", "labeler")]
    assert {record.labeler for record in labeled} == {"framenet2d, width 0.0625, 5 bits"}
    assert len({record.labeler_bytes for record in labeled}) == 1
    random, filling, _, alone = labeled
    assert alone.file_bytes == alone.labeler_bytes > 1000
    assert 0.9 * random.file_bytes < filling.file_bytes <= random.file_bytes
    assert main["random-real", "hard"].file_bytes + alone.labeler_bytes < random.file_bytes
    stored = list((out / "sets").glob("*-views-*.safetensors"))
    weights = [read_set(path).labeler.weights for path in stored]
    assert len(weights) == 3
    assert all(torch.equal(each[name], weights[0][name]) for each in weights for name in weights[0])
    assert main["full", "views"].labeler == main["random-real", "views"].labeler
    assert all("crop=0.8" in record.views for record in records)
    assert [main[method, "views"].hard_label_recovery is None for method in ("random-real", "noise")] == [False, True]
    assert main["random-real", "views"].label_robust_score is not None
    longer = [(record.method, record.labels) for record in records if record.train_steps == 4]
    assert longer == [(method, labels) for method, labels in main if method != "labeler"]
    assert {record.train_steps for record in main.values()} == {3, None}
    text = (out / "results.md").read_text()
    assert "### rendered0, framenet2d, views labeled by a network, steps of the students" in text
    assert (out / "accuracy_against_train_steps.png").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_students_learn_from_the_streams_of_a_real_codec(rendered_set: Path, tmp_path: Path, run: Runner) -> None:
    result = run(
        "bench", rendered_set, "-o", tmp_path / "out", "--cache", tmp_path / "cache", "--codec", "linear", "--methods",
        "real-h264", "--labels", "hard", "--bytes", "30kB", "--seeds", "1", *SMALL, *SHORT, "--json", "--quiet",
    ).json  # fmt: skip
    (record,) = from_json((tmp_path / "out" / "results.json").read_text())
    assert (result["num_failed"], record.reason) == (0, "")
    assert record.top1_mean is not None
    assert (tmp_path / "out" / "index.html").exists()  # The page opens the set, too.


@pytest.mark.slow
def test_jobs_are_processes_of_their_own_and_one_that_diverges_is_counted(
    rendered_set: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "_train", None)  # of this process, which trains nothing
    command = (
        "bench", str(rendered_set), "-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"),
        "--codec", "linear",
        "--methods", "random-real,rded:teacher.train.student=minic3d;teacher.train.lr=1e30", "--labels", "hard",
        "--vpc", "1", "--keyframes", "2", "--seeds", "1", "--jobs", "2", *SMALL, *SHORT,
    )  # fmt: skip
    result = run(*command, "--json", "--quiet").json
    assert result["num_cells"] == 2
    records = from_json((tmp_path / "out" / "results.json").read_text())
    good, bad = sorted(records, key=lambda record: record.method)
    assert (bad.method, bad.num_diverged, bad.top1_mean) == ("rded", 1, None)
    assert good.top1_mean is not None
    assert good.peak_memory_bytes is not None
    assert good.peak_memory_bytes > 10**8


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_an_own_network_is_compared_and_trained_again_when_it_changes(
    rendered_set: Path, tmp_path: Path, run: Runner
) -> None:
    nets = tmp_path / "nets.py"
    nets.write_text(OWN)
    command = (
        "bench", str(rendered_set), "-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"),
        "--codec", "linear", "--methods", "random-real", "--labels", "hard", "--vpc", "1", "--keyframes", "2",
        "--seeds", "1", *SMALL[:-2], "--students", f"{nets}:make", *SHORT,
    )  # fmt: skip
    assert run(*command, "--json", "--quiet").json["num_cells"] == 1
    (record,) = from_json((tmp_path / "out" / "results.json").read_text())
    assert record.student == f"{nets}:make"
    assert record.top1_mean is not None
    trained = list((tmp_path / "out" / "runs").iterdir())
    assert len(trained) == 1
    assert run(*command, "--quiet").code == 0
    assert list((tmp_path / "out" / "runs").iterdir()) == trained
    nets.write_text(OWN + "\n")
    assert run(*command, "--quiet").code == 0
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--vpc", "1,two"), "--vpc is '1,two'; write whole numbers with commas between them"),
        (("--vpc", "1", "--bytes", "2kB"), "--vpc and --bytes were given; the columns are of one kind"),
        (("--bytes", "2 cats"), "--bytes: '2 cats' is no number of bytes"),
        (("--methods", ","), "--methods is empty; give at least one"),
        (("--jobs", "0"), "--jobs is 0; it must be at least 1"),
        (("--seeds", "0"), "--seeds is 0; it must be at least 1"),
        (("--labels", "firm"), "--labels firm: protocol 'fair' has soft, hard, views labels only"),
        (("--labels", "hard", "--controls"), "--controls is for labels views, but --labels is hard; add views"),
        (("--train-steps", "400,many"), "--train-steps is '400,many'; write whole numbers with commas between them"),
        (("--train-steps", "0"), "--train-steps has 0; each must be at least 1"),
        (("--set", "speed=1"), "--set speed: no method of --methods has this setting; known: fill, teacher."),
    ],
)
def test_bad_options(rendered_set: Path, tmp_path: Path, run: Runner, options: tuple[str, ...], message: str) -> None:
    command = ("bench", str(rendered_set), "-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"))
    assert message in run(*command, "--codec", "linear", *SMALL, *options).error


def test_a_setting_with_commas_stays_with_its_method() -> None:
    from videocompressa.cli.bench import _methods

    text = "full,videocompressa:pool.ages=1,2,30;fill=linear,dm"
    assert _methods(text, ("full", "videocompressa", "dm")) == (
        "full",
        "videocompressa:pool.ages=1,2,30;fill=linear",
        "dm",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("jobs_here")
def test_a_row_of_the_literature_from_official_lists(tmp_path: Path, run: Runner) -> None:
    """HMDB51's own split files, read as VDSD reads them: its clips, student and unused videos in train."""
    data = tmp_path / "hmdb"
    for label, name in enumerate(("wave", "hug")):
        (data / name).mkdir(parents=True)
        marks = {f"{name}{number}": mark for number, mark in enumerate((1, 1, 0, 2))}
        for number, stem in enumerate(marks):
            frames = draw_clip(10 * label + number, bright=label == 1, num_frames=40)
            write_video(data / name / f"{stem}.mp4", frames, fps=10)
        lines = [f"{stem}.avi {mark}\n" for stem, mark in marks.items()]
        (data / f"{name}_test_split1.txt").write_text("".join(lines))
    result = run(
        "bench", data, "-o", tmp_path / "out", "--protocol", "vdsd:hmdb51", "--labels", "hard", "--methods",
        "full,random-real", "--vpc", "1", "--seeds", "1", "--codec", "linear", "--cache", tmp_path / "cache",
        "--train", "steps=1", "--train", "width=0.1", "--workers", "0", "--json", "--quiet",
    ).json  # fmt: skip
    assert (result["num_cells"], result["num_failed"]) == (2, 0)
    full, random = sorted(from_json((tmp_path / "out" / "results.json").read_text()), key=lambda record: record.method)
    assert (full.student, full.protocol, full.num_train_clips) == ("convnet3d", "vdsd:hmdb51", 6)
    synthetic = read_set(next((tmp_path / "out" / "sets").glob("*.safetensors")))
    assert (synthetic.clip.num_frames, synthetic.clip.height, synthetic.clip.placement) == (16, 112, "strided:4")
    assert random.num_train_clips == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--frames", "2"), "--keyframes is 4, but a clip has 2 candidate frames"),
        (
            ("--protocol", "vdsd:hmdb51", "--size", "40"),
            "--size is 40, but --protocol vdsd:hmdb51 has 112; leave the op",
        ),
        (("--protocol", "vdsd:hmdb51", "--classes", "a"), "--classes is ('a',), but --protocol vdsd:hmdb51 has ()"),
    ],
)
def test_impossible_clips_are_refused_first(run: Runner, tmp_path: Path, options: tuple, message: str) -> None:
    (tmp_path / "data").mkdir()
    result = run("bench", tmp_path / "data", "-o", tmp_path / "out", "--labels", "hard", "--methods", "dm", *options)
    assert message in result.error
