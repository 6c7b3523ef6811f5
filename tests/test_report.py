"""The contact sheet, the table of the demo, and the texts of numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_runs import Runner
from PIL import Image, ImageDraw
from torch import Tensor

from videocompressa.bench.record import Record
from videocompressa.clip import ClipSpec, CodecSpec, Normalization
from videocompressa.demo.run import DemoOutcome, table_lines
from videocompressa.errors import InputError
from videocompressa.recipes import contact_sheet as module
from videocompressa.recipes.contact_sheet import (
    LONGEST_SHEET,
    MARGIN,
    WIDEST_SHEET,
    choose_items,
    class_color,
    contact_sheet,
)
from videocompressa.synthetic import Provenance, Source, SyntheticSet
from videocompressa.texts import (
    bytes_text,
    count_text,
    duration_text,
    markdown_table,
    mean_text,
    percent_text,
    points_text,
    printable,
    seconds_text,
    span_text,
    utf8_text,
)

CLASSES = ("bow", "jump", "wave")


class Identity:
    """A codec whose latents are pixels."""

    spec = CodecSpec("identity", "", 3, 1, (0.0,) * 3, (1.0,) * 3)

    def decode(self, latents: Tensor) -> Tensor:
        return latents


def a_set(items: int = 6, keyframes: int = 2, side: tuple[int, int] = (32, 32), *, soft: bool = False) -> SyntheticSet:
    """Item i is of class i modulo 3; its keyframe k is one flat color of its own."""
    height, width = side
    labels = torch.arange(items) % 3
    gray = torch.linspace(0.1, 0.9, items * keyframes).view(items, keyframes, 1, 1, 1)
    tint = torch.tensor([1.0, 0.5, 0.25]).view(3, 1, 1)
    positions = torch.arange(keyframes).expand(items, -1) * 2
    return SyntheticSet(
        latents=(gray * tint).expand(-1, -1, -1, height, width).clone(),
        positions=positions.clone(),
        times_seconds=positions.double() * 0.25,
        labels=torch.eye(3)[labels] * 0.7 + 0.1 if soft else labels,
        classes=CLASSES,
        clip=ClipSpec(2 * keyframes, height, width),
        codec=Identity.spec,
        normalization=Normalization((0.5,) * 3, (0.2,) * 3),
        provenance=Provenance(
            "random", {}, 0, Source("rendered", "", 60, 2400, 10**6), tuple(f"train/{i:03d}.mp4" for i in range(items))
        ),
        decoder=Identity(),
    )


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def shows(sheet: np.ndarray, color: Tensor, least: int) -> bool:
    """Whether at least `least` pixels have exactly this color, (3,) in [0,1]."""
    return int((sheet == (color * 255).round().numpy().astype(np.uint8)).all(-1).sum()) >= least


# -- contact sheet ----------------------------------------------------------------------------------------------------


def test_every_keyframe_is_on_the_sheet_at_its_size(tmp_path):
    synthetic = a_set()
    contact_sheet(synthetic, path=tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    for flat in synthetic.latents.flatten(0, 1):
        assert shows(sheet, flat[:, 0, 0], 96 * 96)


def test_items_are_in_order_of_class_with_the_color_of_their_class(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WIDEST_SHEET", 1)  # one column
    contact_sheet(a_set(), path=tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    tops = []
    for label in range(3):
        rows = np.flatnonzero((sheet == np.array(class_color(label, 3), np.uint8)).all(-1).any(1))
        tops.append((rows.min(), rows.max()))
    assert tops[0][1] < tops[1][0] < tops[1][1] < tops[2][0]


@pytest.mark.parametrize("positions", [(0, 15), (3, 4), (7, 12)])
def test_kept_positions_are_the_filled_cells_of_the_time_line(positions, tmp_path):
    synthetic = replace(a_set(1, 2), clip=ClipSpec(16, 32, 32), positions=torch.tensor([positions]))
    contact_sheet(synthetic, path=tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    columns = np.flatnonzero((sheet == np.array(class_color(0, 3), np.uint8)).all(-1).any(0))
    cells = {int(column - MARGIN - 14) // 14 for column in columns if column >= MARGIN + 14}
    assert cells == set(positions)


def test_sheet_is_the_same_each_time_and_shows_soft_labels(tmp_path):
    for name, soft in (("one", False), ("two", False), ("soft", True)):
        contact_sheet(a_set(soft=soft), path=tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert not np.array_equal(pixels(tmp_path / "one.png"), pixels(tmp_path / "soft.png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "soft.png", "two.png"]


def test_large_sets_give_sheets_of_bounded_size(tmp_path, monkeypatch):
    contact_sheet(a_set(300, 1), path=tmp_path / "many.png")
    monkeypatch.setattr(module, "WIDEST_SHEET", 1)  # one column
    contact_sheet(a_set(40, 1, (450, 225)), path=tmp_path / "tall.png")
    monkeypatch.setattr(module, "MOST_ITEMS", 100)
    contact_sheet(a_set(100, 1), path=tmp_path / "column.png")
    for name in ("many", "tall", "column"):
        height, width, _ = pixels(tmp_path / f"{name}.png").shape
        assert height <= LONGEST_SHEET
        assert width <= WIDEST_SHEET


def test_sheet_states_what_it_left_out(tmp_path, monkeypatch):
    texts: list[str] = []
    write = ImageDraw.ImageDraw.text

    def recorded(self, xy, text, *args, **kwargs):
        texts.append(text)
        return write(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", recorded)
    monkeypatch.setattr(module, "MOST_ITEMS", 4)
    contact_sheet(a_set(9, soft=True), path=tmp_path / "sheet.png")
    assert any(text.startswith("4 of 9 items shown, 5 left out") for text in texts)
    assert "rendered: 60 videos in 9 x 2 = 18 keyframes" in texts
    assert [text for text in texts if text in CLASSES] == ["bow", "bow", "jump", "wave"]
    assert "bow 80 %, jump 10 %" in texts
    assert "2  ·  0.50 s" in texts
    assert "train/003.mp4" in texts


def test_items_are_chosen_class_by_class_in_turns():
    labels = torch.tensor([2, 0, 0, 0, 2, 0])
    assert choose_items(labels, 3).tolist() == [1, 2, 0]
    assert choose_items(labels, 1).tolist() == [1]
    assert choose_items(labels, 99).tolist() == [1, 2, 3, 5, 0, 4]


def test_wide_frames_and_long_names_fit(tmp_path):
    synthetic = a_set(3, 3, (16, 40))
    synthetic = replace(
        synthetic,
        classes=("a_class_whose_name_is_far_too_long_for_the_column_it_is_in", "b", "c"),
        provenance=replace(synthetic.provenance, video_ids=tuple(f"{'deep/' * 30}{i}.mp4" for i in range(3))),
    )
    contact_sheet(synthetic, path=tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    for flat in synthetic.latents.flatten(0, 1):
        assert shows(sheet, flat[:, 0, 0], 96 * 240)  # no text runs into a keyframe


def test_sheet_refuses_wrong_arguments(tmp_path):
    synthetic = a_set()
    with pytest.raises(InputError, match=r"cannot write a contact sheet to 'sheet.jpg'; name it with .png"):
        contact_sheet(synthetic, path=tmp_path / "sheet.jpg")
    with pytest.raises(InputError, match="no decoder at hand"):
        contact_sheet(replace(synthetic, decoder=None), path=tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


# -- table of the demo ------------------------------------------------------------------------------------------------


def row(method: str, runs: tuple[float, ...], std: float | None, **changes: Any) -> Record:
    mean = sum(runs) / len(runs) if runs else None
    fields = {"data": "x", "protocol": "demo", "student": "minic3d", "top1_runs": runs, "top1_mean": mean}
    return Record(method=method, top1_std=std, **(fields | changes))


FULL = row("full", (0.92, 0.93, 0.94), 0.012)
SMALL = {"vpc": 1, "keyframes": 4, "file_bytes": 41_234, "byte_ratio": 0.0037, "codec_bytes": 0}
OURS = row("videocompressa", (0.60, 0.61, 0.6272), 0.0213, **(SMALL | {"codec_bytes": 2_900_000}))
SINGLE = row("random", (0.4123,), 0.0, num_diverged=2, **SMALL)
LOST = row("a|b", (), None, num_diverged=3, **(SMALL | {"vpc": 5, "file_bytes": 999, "byte_ratio": 0.00009}))


def test_table_has_sizes_accuracies_and_runs():
    assert markdown_table(table_lines([FULL, OURS, SINGLE, LOST])).splitlines() == [
        "| method | VPC | keyframes | file | file + codec | of all bytes | top-1 % | runs | diverged |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| all videos | all | all | - | - | - | 93.0 ± 1.2 | 3 | 0 |",
        "| videocompressa | 1 | 4 | 41.2 kB | 2.9 MB | 0.37 % | 61.2 ± 2.1 | 3 | 0 |",
        "| random | 1 | 4 | 41.2 kB | 41.2 kB | 0.37 % | 41.2 | 1 | 2 |",
        "| a\\|b | 5 | 4 | 999 B | 999 B | 0.009 % | - | 0 | 3 |",
    ]


def test_column_of_the_codec_is_left_out_where_no_codec_has_weights():
    assert "file + codec" not in table_lines([FULL, SINGLE])[0]
    assert "file + codec" in table_lines([FULL, OURS])[0]


def test_the_verb_shows_the_table_and_gives_its_records_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = (FULL, OURS, LOST)
    outcome = DemoOutcome(*(tmp_path / name for name in ("", "set", "table.md", "sheet.png", "index.html")), records)
    monkeypatch.setattr("videocompressa.demo.run.demo", lambda *args, **kwargs: outcome)
    run = Runner(capsys, tmp_path / "cache")
    shown = run("demo", "--quiet").out
    assert "rendered actions, top-1 in %" in shown
    for cell in [cell for line in table_lines(records) for cell in line]:
        assert cell in shown
    rows = run("demo", "--quiet", "--json").json["rows"]
    assert [row["method"] for row in rows] == ["full", "videocompressa", "a|b"]
    assert rows[1]["file_and_codec_bytes"] == 2_941_234


# -- texts ------------------------------------------------------------------------------------------------------------


def test_characters_that_do_not_show_become_escapes() -> None:
    assert printable("a\x1b[2J b\u202ec\udcff\r\n\u0435 d") == "a\\x1b[2J b\\u202ec\\udcff\\r\n\u0435 d"
    assert utf8_text("a\udcff\u0435\x1b") == "a\\udcff\u0435\x1b"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (123_456, "123 kB"),
        (999_999, "1.0 MB"),
        (2_900_000, "2.9 MB"),
        (5 * 10**9, "5.0 GB"),
    ],
)
def test_bytes_are_written_for_people(num_bytes, text):
    assert bytes_text(num_bytes) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (0.1234, "0.123"), (12.34, "12.3"), (9123.4, "9,123")])
def test_seconds_are_rounded(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (42, "42 s"), (99.9, "100 s"), (210, "3.5 min"), (7560, "2.1 h")]
)
def test_durations_have_the_unit_that_suits_them(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "under 1 s"),
        (0.7, "under 2 s"),
        (2, "1.0 to 4.0 s"),
        (40, "20 to 80 s"),
        (100, "0.8 to 3.3 min"),
        (480, "4 to 16 min"),
        (9000, "1.2 to 5.0 h"),
    ],
)
def test_estimates_are_ranges(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_fractions_are_percent():
    assert (percent_text(0.001344), percent_text(None)) == ("0.134 %", "-")
    assert [points_text(change) for change in (0.02, -0.0001, None)] == ["+2.0", "+0.0", "-"]
    assert [mean_text(0.416, 0.041), mean_text(0.416), mean_text(None)] == ["41.6 ± 4.1", "41.6", "-"]
    assert [count_text(4), count_text(None)] == ["4", "all"]
