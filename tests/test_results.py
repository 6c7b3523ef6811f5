"""Records of a benchmark: their checks, files, scores and tables."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videocompressa.bench.names import row_names, variant_parts
from videocompressa.bench.record import AXES, Record
from videocompressa.bench.scores import label_robust_score, with_scores
from videocompressa.bench.tables import (
    ablation_markdown,
    cross_markdown,
    frame,
    from_json,
    markdown,
    to_csv,
    to_json,
    train_steps_markdown,
)
from videocompressa.errors import InputError


def record(method: str = "videocompressa", runs: tuple[float, ...] = (0.5, 0.6), **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "method": method,
        "data": "rendered",
        "protocol": "fair",
        "student": "minic3d",
        "codec": "tiny",
        "selector": "uniform",
        "vpc": 1,
        "keyframes": 4,
        "file_bytes": 6000,
        "codec_bytes": 2_900_000,
        "top1_runs": runs,
        "top1_mean": sum(runs) / len(runs) if runs else None,
        "top1_std": 0.0707 if len(runs) > 1 else None,
    }
    return Record(**(fields | changes))


def full(runs: tuple[float, ...] = (0.8, 0.8), **changes: Any) -> Record:
    nothing = {"vpc": None, "keyframes": None, "file_bytes": None, "codec_bytes": None, "codec": "", "selector": ""}
    return record("full", runs, **(nothing | changes))


def failed(method: str, reason: str, **changes: Any) -> Record:
    return record(method, (), status="failed", reason=reason, file_bytes=None, **changes)


EVERYTHING = record(
    labels="views",
    labeler="minic3d, width 0.125, 4 bits",
    labeler_bytes=4000,
    views=("crop=0.8", "mirror=False"),
    train_steps=400,
    hard_label_recovery=0.25,
    label_robust_score=0.2,
    num_frames=64,
    frame_ratio=0.0013,
    byte_ratio=0.004,
    top5_mean=0.9,
    num_seeds=3,
    num_diverged=1,
    num_train_clips=120,
    compress_seconds=12.5,
    train_seconds=3,
    peak_memory_bytes=10**9,
    gpu_peak_memory_bytes=2 * 10**9,
    improvement_over_random=-0.01,
    recovery_of_full=1.02,
    scale="small",
    split="val",
    clip="8 frames of 48x48 px",
    train=("steps=400",),
    precision="bfloat16",
    device="cpu, 2 threads",
    settings=('note="a, b"\nc', "steps=30"),
    axis="cross",
    variant="codec linear",
    network="convnet3d",
    steps=0,
)


# -- the record -------------------------------------------------------------------------------------------------------


def test_fields_of_the_issue_are_there() -> None:
    asked = (
        "method labels student selector codec vpc keyframes num_frames frame_ratio file_bytes codec_bytes top1_mean "
        "top1_std top1_runs num_diverged compress_seconds train_seconds peak_memory_bytes improvement_over_random "
        "recovery_of_full status"
    )
    assert set(asked.split()) <= {field.name for field in dataclasses.fields(Record)}


def test_file_and_codec_are_added_here_and_nowhere_else() -> None:
    assert record().file_and_codec_bytes == 2_906_000
    assert record(codec_bytes=0).file_and_codec_bytes == 6000
    assert record(codec_bytes=None).file_and_codec_bytes is None
    assert replace(record(), file_bytes=1).file_and_codec_bytes == 2_900_001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "Record of 'videocompressa' has an empty data; give its name"),
        ({"selector": None}, "has selector=None; it must be a text"),
        ({"labels": "none"}, "has labels='none'; known: hard, soft, views"),
        ({"axis": "x"}, "has axis='x'; known: main, ablation, steps, keyframes, train-steps, cross"),
        ({"status": "done"}, "has status='done'; known: ok, failed"),
        ({"settings": "steps=1"}, "has settings='steps=1'; it must be a tuple"),
        ({"top1_runs": [0.5, 0.6]}, r"has top1_runs=\[0.5, 0.6\]; it must be a tuple"),
        ({"settings": ("steps",)}, "has the setting 'steps'; each is a text name=value"),
        ({"vpc": 0}, "has vpc=0; it must be a whole number of at least 1, or None"),
        ({"num_frames": 1.5}, "has num_frames=1.5; it must be a whole number of at least 0, or None"),
        ({"file_bytes": True}, "has file_bytes=True; it must be a whole number"),
        ({"steps": -1}, "has steps=-1; it must be a whole number of at least 0"),
        (
            {"byte_ratio": float("inf")},
            "has byte_ratio=inf; it must be a finite number of at least 0, or None if unknown",
        ),
        ({"compress_seconds": -1.0}, "has compress_seconds=-1.0; it must be a finite number of at least 0"),
        ({"top1_std": float("nan")}, r"has top1_std=nan; it must be a finite number in \[0,1\]"),
        ({"top5_mean": 90.0}, r"has top5_mean=90.0; it must be a finite number in \[0,1\], or None if unknown"),
        ({"top1_runs": (0.5, float("nan"))}, "has top1_runs=nan; it must be a finite number in"),
        ({"frame_ratio": 1.1}, "has frame_ratio=1.1; it must be a finite number in"),
        (
            {"improvement_over_random": 20.0},
            r"has improvement_over_random=20.0; it must be a finite number in \[-1,1\]",
        ),
        ({"train": ("steps",)}, "has the setting 'steps'; each is a text name=value"),
        ({"views": ("crop",)}, "has the setting 'crop'; each is a text name=value"),
        ({"train_steps": 0}, "has train_steps=0; it must be a whole number of at least 1, or None"),
        ({"hard_label_recovery": 2.0}, r"has hard_label_recovery=2.0; it must be a finite number in \[-1,1\]"),
        ({"label_robust_score": -0.1}, r"has label_robust_score=-0.1; it must be a finite number in \[0,1\]"),
        ({"status": "failed"}, "has status='failed' and reason=''; give a reason when it failed"),
        ({"reason": "x"}, "has status='ok' and reason='x'; give a reason when it failed"),
        ({"status": "failed", "reason": "x"}, "failed but has an accuracy; a failed cell has none"),
        ({"top1_mean": None}, "has top1_mean=None over 2 runs; give a mean exactly when a run is left"),
        ({"top1_mean": 0.6}, "has top1_mean=0.6 but its runs have the mean 0.55"),
        ({"num_seeds": 2, "num_diverged": 1}, "has 2 runs and 1 diverged ones of num_seeds=2; num_seeds counts all"),
    ],
)
def test_wrong_records_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        record(**changes)


def test_a_cell_whose_runs_all_diverged_is_no_failed_one() -> None:
    assert record(runs=(), num_diverged=3, num_seeds=3).status == "ok"


# -- files ------------------------------------------------------------------------------------------------------------


def test_json_gives_back_what_was_written() -> None:
    records = [EVERYTHING, full(), failed("mtt", "out of memory")]
    assert from_json(to_json(records)) == records
    assert from_json("[]") == []
    keys = [list(row) for row in json.loads(to_json(records))]
    assert keys == [[field.name for field in dataclasses.fields(Record)]] * 3
    assert json.loads(to_json(records))[0]["file_and_codec_bytes"] == 2_906_000


@given(
    st.lists(st.floats(0, 1), max_size=4),
    st.sampled_from(AXES),
    st.text(min_size=1),
    st.none() | st.floats(0, 1e9),
    st.lists(st.text().map(lambda text: f"a={text}"), max_size=2),
)
def test_any_record_survives_both_files(runs, axis, data, seconds, settings) -> None:
    one = record(runs=tuple(runs), axis=axis, data=data, compress_seconds=seconds, settings=tuple(settings))
    assert from_json(to_json([one])) == [one]
    (row,) = csv.DictReader(io.StringIO(to_csv([one]), newline=""))
    assert row["data"] == data
    assert json.loads(row["settings"]) == settings


def test_frame_holds_the_values_of_the_records() -> None:
    table = frame([EVERYTHING, full()])
    assert list(table) == [field.name for field in dataclasses.fields(Record)]
    assert [table["vpc"][0], table["vpc"][1], table["train"][0]] == [1, None, ("steps=400",)]
    assert type(table["file_bytes"][0]) is int
    assert frame([]).empty


def test_tables_without_pandas_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "videocompressa.bench.tables")
    with pytest.raises(InputError, match=r'tables of results need pandas; run: pip install "\.\[report\]"'):
        importlib.import_module("videocompressa.bench.tables")


def test_csv_is_read_back_by_the_standard_library() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([EVERYTHING, full()]), newline="")))
    assert list(rows[0]) == [field.name for field in dataclasses.fields(Record)]
    assert (rows[0]["method"], rows[0]["vpc"], float(rows[0]["top1_mean"])) == ("videocompressa", "1", 0.55)
    assert json.loads(rows[0]["top1_runs"]) == [0.5, 0.6]
    assert json.loads(rows[0]["settings"]) == ['note="a, b"\nc', "steps=30"]
    assert (rows[1]["vpc"], rows[1]["file_bytes"], rows[1]["reason"]) == ("", "", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "results are no JSON: .*; give the results.json that bench wrote"),
        ("{}", "results are no JSON list of records; give the results.json that bench wrote"),
        ("[1]", "results are no JSON list of records"),
        ('[{"method": "dm", "top1_mean": NaN}]', "results hold NaN; a number that is unknown is null"),
        ('[{"top5_mean": -Infinity}]', "results hold -Infinity"),
        ('[{"method": "dm", "color": 1}]', "record 0 of the results has the unknown keys color; was it written by"),
        ('[{"method": "dm", "data": "a"}]', "record 0 of the results lacks protocol, student; was it written by"),
    ],
)
def test_foreign_results_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json(text)


def test_results_changed_by_hand_are_refused() -> None:
    (row,) = json.loads(to_json([record()]))
    for changes, message in (
        ({"file_and_codec_bytes": 1}, "record 0 of the results has file_and_codec_bytes=1, not 2906000"),
        ({"settings": "steps=1"}, "record 0 of the results has settings='steps=1'; it must be a list"),
        ({"top1_mean": 0.9}, "has top1_mean=0.9 but its runs have the mean 0.55"),
    ):
        with pytest.raises(InputError, match=message):
            from_json(json.dumps([row | changes]))


def test_not_a_number_is_never_written() -> None:
    one = record()
    object.__setattr__(one, "compress_seconds", float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json([one])


# -- scores -----------------------------------------------------------------------------------------------------------


def scores(records: list[Record]) -> list[tuple[float | None, float | None]]:
    return [(one.improvement_over_random, one.recovery_of_full) for one in with_scores(records)]


def test_scores_by_hand() -> None:
    records = [full(), record("random-real", (0.4,)), record("dm", (0.3,)), record(runs=(0.5, 0.7))]
    expected = [(None, 1.0), (0.0, 0.5), (-0.1, 0.375), (0.2, 0.75)]
    for (change, recovered), (expected_change, expected_recovered) in zip(scores(records), expected, strict=True):
        assert change == (None if expected_change is None else pytest.approx(expected_change))
        assert recovered == pytest.approx(expected_recovered)


def test_scores_compare_with_the_same_labels_budget_student_and_data_only() -> None:
    random = record("random-real", (0.4,))
    for other in ({"labels": "soft"}, {"vpc": 5}, {"keyframes": 2}, {"student": "x"}, {"data": "x"}, {"protocol": "x"}):
        assert scores([random, record(**other)])[1][0] is None
    for other in ({"student": "x"}, {"data": "x"}, {"protocol": "x"}):
        assert scores([full(), record(**other)])[1][1] is None
    # Full data has hard labels, whatever those of the row.
    assert scores([full(), full((0.9,), labels="soft"), record(labels="soft")])[2][1] == pytest.approx(0.55 / 0.8)


def test_scores_prefer_the_random_set_of_the_same_codec_then_uniform_then_axis_then_bytes() -> None:
    rivals = [
        record("random-real", (0.1,), codec="pixel"),
        record("random-real", (0.2,), selector="gumbel"),
        record("random-real", (0.3,), file_bytes=5000),
        record("random-real", (0.4,), file_bytes=6100),
        record("random-real", (0.45,), axis="ablation", file_bytes=1),
    ]
    for kept, expected in ((5, 0.4), (3, 0.3), (2, 0.2), (1, 0.1)):
        assert scores([*rivals[:kept], record()])[-1][0] == pytest.approx(0.55 - expected)
    assert scores([*rivals, record(axis="ablation")])[-1][0] == pytest.approx(0.55 - 0.45)
    assert scores([rivals[-1], record()])[-1][0] is None  # the main table looks at no ablation


def test_scores_without_an_accuracy_are_unknown() -> None:
    lost = record("mtt", (), num_diverged=3)
    broken = failed("random-real", "out of memory")
    assert scores([full(), record("random-real", (0.4,)), lost])[2] == (None, None)
    assert scores([full((0.0,)), broken, record()])[2] == (None, None)


def ranking(records: list[Record]) -> list[tuple[float | None, float | None]]:
    return [(one.hard_label_recovery, one.label_robust_score) for one in with_scores(records)]


def test_dd_ranking_by_hand() -> None:
    """HLR = 0.8 - 0.5 for every regime of the set; IOR is of the regime: 0.1 with hard labels, 0.3 with views."""
    records = [
        full(), full((0.9,), labels="views"),
        record(runs=(0.5,)), record("random-real", (0.4,)),
        record(runs=(0.7,), labels="views"), record("random-real", (0.4,), labels="views"),
        record("labeler", (0.75,), labels="views", codec="", selector=""),
    ]  # fmt: skip
    scored = with_scores(records)
    assert [one.hard_label_recovery for one in scored[:2]] == [None, None]
    expected = [(0.3, 0.1), (0.4, 0.0), (0.3, 0.3), (0.4, 0.0)]
    for one, (hard, over) in zip(scored[2:6], expected, strict=True):
        assert one.hard_label_recovery == pytest.approx(hard)
        assert one.improvement_over_random == pytest.approx(over)
        alpha = over / 2 - hard / 2
        assert one.label_robust_score == pytest.approx((math.exp(alpha) - 1 / math.e) / (math.e - 1 / math.e))
    assert scored[4].label_robust_score == pytest.approx(0.26894, abs=1e-4)  # alpha is 0
    alone = scored[6]
    assert (alone.improvement_over_random, alone.hard_label_recovery, alone.label_robust_score) == (None, None, None)
    assert alone.recovery_of_full == pytest.approx(0.75 / 0.8)
    assert [label_robust_score(*ends) for ends in ((1, -1), (-1, 1))] == [pytest.approx(1.0), pytest.approx(0.0)]


def test_hard_label_recovery_needs_the_same_set_with_hard_labels() -> None:
    views, hard = record(runs=(0.7,), labels="views"), record(runs=(0.5,))
    assert ranking([full(), views])[1] == (None, None)
    assert ranking([full(labels="views"), hard, views])[2] == (None, None)  # no full data with hard labels
    for other in ({"vpc": 5}, {"codec": "pixel"}, {"selector": "shots"}, {"settings": ("a=1",)}, {"student": "x"}):
        assert ranking([full(), replace(hard, **other), views])[2] == (None, None)
    hlr, lrs = ranking([full(), hard, views])[2]
    assert (hlr, lrs) == (pytest.approx(0.3), None)  # without random clips there is no LRS
    lost = record(runs=(), labels="views", num_diverged=3)
    assert ranking([full(), hard, lost])[2] == (None, None)


def test_scores_along_training_steps_compare_as_many_steps() -> None:
    def at(steps: int, one: Record) -> Record:
        return replace(one, axis="train-steps", train_steps=steps)

    records = [
        full((0.9,)), at(4, full((0.5,))), at(8, full((0.8,))),
        record("random-real", (0.6,)), at(4, record("random-real", (0.2,))), at(8, record("random-real", (0.3,))),
        at(4, record(runs=(0.4,))), at(8, record(runs=(0.6,))),
    ]  # fmt: skip
    first, second = with_scores(records)[6:]
    assert (first.improvement_over_random, first.recovery_of_full) == (pytest.approx(0.2), pytest.approx(0.8))
    assert (second.improvement_over_random, second.recovery_of_full) == (pytest.approx(0.3), pytest.approx(0.75))
    assert second.hard_label_recovery == pytest.approx(0.2)
    assert with_scores(records)[3].recovery_of_full == pytest.approx(0.6 / 0.9)


# -- tables -----------------------------------------------------------------------------------------------------------

SMALL = [
    record("dm", (0.4, 0.44), top1_std=0.0283, compress_seconds=9123.4, peak_memory_bytes=3 * 10**9),
    record("dm", (0.5,), vpc=5, file_bytes=30_100, compress_seconds=100.0, num_diverged=2),
    record(runs=(0.5, 0.6), compress_seconds=12.34),
    record(runs=(0.7, 0.8), vpc=5, file_bytes=29_000, frame_ratio=0.0013, byte_ratio=0.004, top5_mean=0.95),
    record("random-real", (0.45,)),
    record("random-real", (0.5, 0.54), top1_std=0.0283, vpc=5, file_bytes=30_000),
    record("mtt", (), num_diverged=3),
    failed("mtt", "out of | memory", vpc=5),
    full((0.9, 0.9), top1_std=0.0, frame_ratio=1.0),
]


def test_columns_of_bytes_are_separate_whatever_was_kept_or_failed() -> None:
    """Two sizes may hold the same videos of a class, and what fits into neither has kept none at all."""
    shared = {"labels": "hard", "keyframes": 4}
    records = [
        *(
            record("dm", (0.5 + size / 10**5,), asked_bytes=size, vpc=1, file_bytes=990, **shared)
            for size in (1400, 3200)
        ),
        *(
            dataclasses.replace(failed("mtt", "too small"), asked_bytes=size, vpc=None, **shared)
            for size in (1400, 3200)
        ),
    ]
    table = markdown(records)
    assert "| method | 1.4 kB | 3.2 kB |" in table
    assert "| dm | **51.4** (990 B) | **53.2** (990 B) |" in table
    assert "| mtt | failed: too small | failed: too small |" in table
    shares = [dataclasses.replace(each, asked_bytes=None, asked_ratio=each.asked_bytes / 10**6) for each in records]
    assert "| method | 0.14 % of frames (≤ 990 B) | 0.32 % of frames (≤ 990 B) |" in markdown(shares)


def test_keyframes_are_those_kept_and_top_5_of_five_classes_says_nothing() -> None:
    few = record(runs=(0.7,), top5_mean=1.0, num_frames=50, num_train_clips=20)
    costs = markdown([few]).splitlines()[-2:]
    assert costs[-1].startswith(f"| {few.method} | {few.vpc} | 2.5 |")
    assert "top-5" not in markdown([few])
    assert "top-5" in markdown([dataclasses.replace(few, top5_mean=0.99)])


def test_markdown_has_accuracies_and_costs() -> None:
    assert markdown(with_scores(SMALL)).splitlines()[2:] == [
        "Evaluated on test videos.",
        "",
        "### rendered, minic3d, hard labels",
        "",
        "| method | VPC 1 (≤ 6.0 kB) | VPC 5 (≤ 30.1 kB) |",
        "| --- | ---: | ---: |",
        "| full | 90.0 ± 0.0 | 90.0 ± 0.0 |",
        "| videocompressa | **55.0 ± 7.1** (6.0 kB) | **75.0 ± 7.1** (29.0 kB) |",
        "| random-real | 45.0 (6.0 kB) | 52.0 ± 2.8 (30.0 kB) |",
        "| dm | 42.0 ± 2.8 (6.0 kB) | 50.0 †2 (30.1 kB) |",
        "| mtt | - †3 (6.0 kB) | failed: out of \\| memory |",
        "",
        "| method | VPC | K | compress s | peak memory | file | file + codec | of all frames | of all bytes | top-5 % "
        "| over random | of full data | HLR | LRS |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| full | all | all | - | - | - | - | 100 % | - | - | - | 100.0 % | - | - |",
        "| dm | 1 | 4 | 9,123 | 3.0 GB | 6.0 kB | 2.9 MB | - | - | - | -3.0 | 46.7 % | +48.0 | 17.3 |",
        "| dm | 5 | 4 | 100 | - | 30.1 kB | 2.9 MB | - | - | - | -2.0 | 55.6 % | +40.0 | 18.8 |",
        "| videocompressa | 1 | 4 | 12.3 | - | 6.0 kB | 2.9 MB | - | - | - | +10.0 | 61.1 % | +35.0 | 21.9 |",
        "| videocompressa | 5 | 4 | - | - | 29.0 kB | 2.9 MB | 0.13 % | 0.4 % | 95.0 | +23.0 | 83.3 % | +15.0 | 28.6 |",
        "| random-real | 1 | 4 | - | - | 6.0 kB | 2.9 MB | - | - | - | +0.0 | 50.0 % | +45.0 | 18.3 |",
        "| random-real | 5 | 4 | - | - | 30.0 kB | 2.9 MB | - | - | - | +0.0 | 57.8 % | +38.0 | 19.5 |",
        "| mtt | 1 | 4 | - | - | 6.0 kB | 2.9 MB | - | - | - | - | - | - | - |",
        "| mtt | 5 | 4 | - | - | - | - | - | - | - | - | - | - | - |",
    ]


def test_views_have_a_section_with_full_data_of_both_labels_and_controls_below() -> None:
    labeled = {"labels": "views", "labeler": "minic3d, width 0.125, 4 bits", "labeler_bytes": 4000}
    records = [
        full((0.8,)), full((0.85,), labels="views", labeler="the teacher"), record("dm", (0.2,)),
        record("labeler", (0.9,), **labeled | {"file_bytes": 4000, "codec_bytes": 0}),
        record("noise", (0.3,), **labeled), record("dm", (0.6,), **labeled), record("random-real", (0.5,), **labeled),
    ]  # fmt: skip
    text = markdown(with_scores(records))
    assert text.splitlines()[2].startswith("Controls: `labeler` is the labeler itself as the classifier")
    section = text.partition("### rendered, minic3d, views labeled by a network")[2]
    table, costs = section.strip().split("\n\n")
    assert table.splitlines()[2:] == [
        "| full | 85.0 |",
        "| full, hard labels | 80.0 |",
        "| dm | **60.0** (6.0 kB) |",
        "| random-real | 50.0 (6.0 kB) |",
        "| labeler | 90.0 (4.0 kB) |",
        "| noise | 30.0 (6.0 kB) |",
    ]
    assert "| file | of which labeler | labeled by |" in costs
    assert "| full | all | all | - | - | the teacher |" in costs
    assert "| dm | 1 | 4 | 6.0 kB | 4.0 kB | minic3d, width 0.125, 4 bits |" in costs
    assert "Controls" not in markdown([record(), full()])


def test_training_steps_are_columns() -> None:
    at = {"axis": "train-steps", "labels": "views"}
    records = [
        record("dm", (0.3,), train_steps=400, **at), record("dm", (0.4,), train_steps=1600, **at),
        record("dm", (0.5,), train_steps=1600, vpc=5, **at), full((0.7,), train_steps=1600, **at),
        failed("dm", "no", axis="train-steps", train_steps=400),
    ]  # fmt: skip
    assert train_steps_markdown(records).splitlines() == [
        "### rendered, minic3d, views labeled by a network, steps of the students",
        "",
        "| method | budget | 400 steps | 1600 steps |",
        "| --- | --- | ---: | ---: |",
        "| full | - | - | 70.0 |",
        "| dm | VPC 1 | 30.0 (6.0 kB) | 40.0 (6.0 kB) |",
        "| dm | VPC 5 | - | 50.0 (6.0 kB) |",
        "",
        "### rendered, minic3d, hard labels, steps of the students",
        "",
        "| method | budget | 400 steps |",
        "| --- | --- | ---: |",
        "| dm | VPC 1 | failed: no |",
    ]


def test_markdown_begins_with_a_legend() -> None:
    assert markdown(SMALL).startswith("Top-1 in percent on real videos: mean ± sample deviation over the runs")


def test_markdown_states_scale_split_clip_and_training() -> None:
    conditions = {"scale": "small", "split": "val", "clip": "8 frames of 48x48 px", "train": ("steps=9", "note=A")}
    text = markdown([record(**conditions), record("dm", **conditions)])
    assert (
        text.count("Evaluated on val videos, scale small, 8 frames of 48x48 px; students with steps=9, note=A.\n") == 1
    )


def test_each_data_set_student_and_kind_of_labels_has_a_table() -> None:
    records = [
        full(),
        full(student="r2plus1d_18"),
        record(),
        record(labels="soft"),
        record(student="r2plus1d_18"),
        record(data="other"),
    ]
    lines = markdown(records).splitlines()
    assert [line for line in lines if line.startswith("###")] == [
        "### rendered, minic3d, hard labels",
        "### rendered, minic3d, stored soft labels",
        "### rendered, r2plus1d_18, hard labels",
        "### other, minic3d, hard labels",
    ]
    assert sum(line.startswith("| full | 80.0 ± 7.1 |") for line in lines) == 2
    assert sum(line.startswith("| full, hard labels | 80.0 ± 7.1 |") for line in lines) == 1  # the reference
    twice = markdown([record(), record(protocol="vdsd")])
    assert "### rendered, minic3d, hard labels, protocol vdsd" in twice


def test_markdown_of_full_data_alone() -> None:
    assert "| full | 80.0 ± 7.1 |" in markdown([full()])


def test_names_of_rows_of_one_method_hold_no_more_than_distinguishes_them() -> None:
    settings = ("steps=9", "lr=1")
    assert row_names([record(), record(vpc=5, codec="pixel"), record("dm")]) == ["videocompressa"] * 2 + ["dm"]
    assert row_names([record(), record(codec="pixel")]) == ["videocompressa, tiny", "videocompressa, pixel"]
    both = [record(selector=selector, codec=codec) for selector in ("a", "b") for codec in ("x", "y")]
    assert row_names(both)[0] == "videocompressa, x, a"
    assert row_names([record(settings=settings[:1]), record(settings=settings)])[1] == "videocompressa, lr=1"
    assert "K 2" in markdown([record(keyframes=2), record()])


def test_two_records_of_one_cell_are_refused() -> None:
    with pytest.raises(InputError, match="two records of 'videocompressa.*' on 'rendered' at VPC 1; keep one of them"):
        markdown([record(), record(clip="another")])


def test_ablation_shows_the_complete_method_in_each_component() -> None:
    records = [
        record(runs=(0.6,), axis="ablation", selector="gumbel"),
        record(runs=(0.5,), axis="ablation", variant="selector uniform"),
        record(runs=(0.4,), axis="ablation", variant="selector random"),
        record(runs=(0.55, 0.65), axis="ablation", variant="codec linear", codec="linear", num_diverged=1),
        failed("videocompressa", "too small", axis="ablation", variant="understanding off"),
        record(runs=(0.7,), axis="ablation", vpc=5, selector="gumbel"),
        record(runs=(0.75,), axis="ablation", vpc=5, variant="selector middle"),
        record(runs=(0.1,)),
    ]
    assert ablation_markdown(records).splitlines() == [
        "### rendered, minic3d, components",
        "",
        "| component | value | VPC 1 | VPC 5 |",
        "| --- | --- | ---: | ---: |",
        "| selector | gumbel | 60.0 (6.0 kB) | 70.0 (6.0 kB) |",
        "| selector | uniform | 50.0 (6.0 kB) [-10.0] | - |",
        "| selector | random | 40.0 (6.0 kB) [-20.0] | - |",
        "| selector | middle | - | 75.0 (6.0 kB) [+5.0] |",
        "| codec | tiny | 60.0 (6.0 kB) | - |",
        "| codec | linear | 60.0 ± 7.1 †1 (6.0 kB) [+0.0] | - |",
        "| understanding | on | 60.0 (6.0 kB) | - |",
        "| understanding | off | failed: too small | - |",
    ]


def test_variants_are_a_component_and_a_value() -> None:
    assert variant_parts(record(variant="codec linear")) == ("codec", "linear")
    assert variant_parts(record(variant="joint")) == ("joint", "off")
    assert variant_parts(record(), "K") == ("K", "4")
    assert variant_parts(record(), "labels") == ("labels", "hard")
    assert variant_parts(record(steps=0), "steps") == ("steps", "0")
    assert variant_parts(record(), "joint") == ("joint", "on")


def test_other_students_are_columns() -> None:
    records = [
        record(runs=(0.5,), axis="cross", student="a", network="minic3d"),
        record(runs=(0.4,), axis="cross", student="b", network="minic3d"),
        full((0.9,), axis="cross", student="a"),
        failed("dm", "no", axis="cross", student="b", network="minic3d"),
        record(),
    ]
    assert cross_markdown(records).splitlines() == [
        "### rendered, other students",
        "",
        "| method | labels | budget | network | a | b |",
        "| --- | --- | --- | --- | ---: | ---: |",
        "| videocompressa | hard | VPC 1 | minic3d | 50.0 (6.0 kB) | 40.0 (6.0 kB) |",
        "| full | hard | - | - | 90.0 | - |",
        "| dm | hard | VPC 1 | minic3d | - | failed: no |",
    ]


@pytest.mark.parametrize(
    ("table", "axis"),
    [
        (markdown, "main"),
        (ablation_markdown, "ablation"),
        (train_steps_markdown, "train-steps"),
        (cross_markdown, "cross"),
    ],
)
def test_tables_of_nothing_are_refused(table: Any, axis: str) -> None:
    with pytest.raises(InputError, match=f"none of 1 records has axis '{axis}'; give bench the options that make them"):
        table([record(axis="steps")])


def test_full_data_trained_longer_is_in_every_column_and_never_the_best() -> None:
    full, long = (
        Record(method=name, data="d", protocol="fair", student="s", top1_mean=top1, top1_runs=(top1,))
        for name, top1 in (("full", 0.5), ("full-long", 0.9))
    )
    rival = dataclasses.replace(full, method="dm", vpc=1, keyframes=4, top1_mean=0.25, top1_runs=(0.25,))
    lines = markdown(with_scores([full, long, rival])).splitlines()
    assert any(line.startswith("| full-long | 90.0") for line in lines)
    assert any(line.startswith("| dm | **25.0**") for line in lines)
    assert with_scores([full, long])[1].recovery_of_full == pytest.approx(1.8)


@pytest.mark.slow
def test_the_lossless_table_compares_with_the_best_full_data_of_its_set_and_student(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    numbers: dict[str, Any] = {"byte_ratio": 0.0004, "frame_ratio": 0.02}
    recipe = ("steps=9", "background=0.5")
    one = [
        full((0.4, 0.4)),
        record(**numbers),
        record(train=recipe, **numbers),
        record(axis="cross", student="framenet2d", **numbers),
    ]
    two = [
        full((0.8, 0.8), train=("background=0.5",)),
        record("dm", (0.2, 0.2), axis="ablation", variant="labels hard"),
    ]
    for name, records in (("one", one), ("two", two)):
        (tmp_path / f"{name}.json").write_text(to_json(records))
    tool = Path(__file__).parents[1] / "tools" / "lossless.py"
    command = [sys.executable, str(tool), *map(str, sorted(tmp_path.glob("*.json"))), "-o", str(tmp_path / "output")]
    subprocess.run(command, check=True, capture_output=True)
    lines = (tmp_path / "output" / "lossless.md").read_text().splitlines()[2:]
    ours = "videocompressa, tiny | 6.0 kB | 0.040 % | 2.000 % | 55.0 ± 7.1"
    assert lines == [
        f"| rendered | framenet2d | {ours} | - | - |",
        f"| rendered | minic3d | {ours} | 80.0 ± 7.1 | 69 % |",
        f"| rendered | minic3d | {ours.replace(', tiny', ', tiny, background=0.5')} | 80.0 ± 7.1 | 69 % |",
    ]
    assert (tmp_path / "output" / "lossless.png").stat().st_size > 1000
    (tmp_path / "one.json").write_text("{}")
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "no JSON list of records" in refused.stderr
