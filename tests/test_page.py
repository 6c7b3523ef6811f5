"""The page of a set: what it shows, that it stands alone, that names are texts, and how it works in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from cli_runs import QUICK, TINY, Runner
from labelers import SMALL_SPEC, random_labeler
from PIL import Image
from torch import Tensor

from videocompressa.artifact import read_set
from videocompressa.bench.record import Record
from videocompressa.clip import ClipSpec, CodecSpec, Normalization
from videocompressa.errors import InputError
from videocompressa.methods import find_method
from videocompressa.page.chart import panels
from videocompressa.page.contents import Accuracy, command_of, page_of
from videocompressa.page.labels import stored_bars
from videocompressa.page.media import MOST_BYTES, NUM_SAMPLES, QUALITIES, Film, Media, Quality, fitting_quality
from videocompressa.page.write import accuracy_in, render, write_page
from videocompressa.recipes.compress import Origins
from videocompressa.recipes.settings import with_settings
from videocompressa.synthetic import Cost, Provenance, Source, SyntheticSet
from videocompressa.texts import mean_text
from videocompressa.views import UNCHANGED

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }} & 'co'")
COST = Cost(6, 18, 0.01, 100, 6, 0, 1234, 0.1, 0)
VOID = {"meta", "link", "img", "input", "br"}


class Identity:
    """A codec whose latents are pixels."""

    spec = CodecSpec("identity", "", 3, 1, (0.0,) * 3, (1.0,) * 3)

    def decode(self, latents: Tensor) -> Tensor:
        return latents


def a_set(
    items: int = 6, *, side: int = 32, classes: tuple[str, ...] = ("bow", "jump"), soft: bool = False
) -> SyntheticSet:
    """Item i is of class i modulo L; its K = 3 keyframes at 0, 2 and 5 of 8 are flat grays of their own."""
    gray = torch.linspace(0.1, 0.9, items * 3).view(items, 3, 1, 1, 1)
    positions = torch.tensor([0, 2, 5]).expand(items, -1).clone()
    labels = torch.arange(items) % len(classes)
    shares = torch.full((len(classes),) * 2, 0.3 / (len(classes) - 1)).fill_diagonal_(0.7)
    return SyntheticSet(
        latents=gray.expand(-1, -1, 3, side, side).clone(),
        positions=positions,
        times_seconds=positions.double() * 0.25,
        labels=shares[labels] if soft else labels,
        classes=classes,
        clip=ClipSpec(8, side, side),
        codec=Identity.spec,
        normalization=Normalization((0.5,) * 3, (0.2,) * 3),
        provenance=Provenance(
            "random-real", {}, 0, Source("gestures", "", 60, 2400, 10**6), tuple(f"a/{i:03d}.mp4" for i in range(items))
        ),
        decoder=Identity(),
    )


class Parsed(HTMLParser):
    """Tags with their attributes, and the texts outside of style and script; raises where a tag is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.texts.append(" ".join(data.split()))

    def all(self, tag: str, name: str = "") -> list[dict[str, Any]]:
        return [attrs for each, attrs in self.tags if each == tag and (not name or name in attrs)]


def parsed(synthetic: SyntheticSet, **more: Any) -> Parsed:
    return Parsed(render(page_of(synthetic, COST, **more)))


def data_of(uri: str, kind: str) -> io.BytesIO:
    head, text = uri.split(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(text, validate=True))


def frames_of(clip: str) -> np.ndarray:
    with av.open(data_of(clip, "video/mp4")) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


# --- What is shown ---


def test_every_keyframe_and_clip_is_there_and_is_the_set_s():
    synthetic, page = a_set(), parsed(a_set())
    rows = [int(item["data-number"]) for item in page.all("li", "data-number")]
    assert sorted(rows) == list(range(6))
    films, clips = page.all("img", "src"), page.all("button", "data-clip")
    assert len(films) == len(clips) == 6
    for row, film, clip in zip(rows, films, clips, strict=True):
        with Image.open(data_of(film["src"], "image/webp")) as picture:
            assert picture.size == (96, 32) == (int(film["width"]), int(film["height"]))
            seen = [picture.convert("RGB").getpixel((32 * k + 16, 16)) for k in range(3)]
        planted = 255 * synthetic.latents[row, :, :, 0, 0].numpy()
        assert np.abs(np.array(seen) - planted).max() < 4
        shown = frames_of(clip["data-clip"])[:, 16, 16]
        assert len(shown) == 8
        assert np.abs(shown - 255 * synthetic.clips()[row, :, :, 16, 16].numpy()).max() < 6


def test_kept_positions_are_the_cells_of_the_time_line():
    paths = [path["d"] for path in parsed(a_set()).all("path") if path["d"].endswith("V1z")]
    assert len(paths) == 6
    assert {tuple(re.findall(r"M(\d+) 1v-1h", path)) for path in paths} == {("0", "2", "5")}
    assert "3 of 8 frames, 0.00 to 1.25 s" in parsed(a_set()).texts


def test_scores_of_all_candidates_are_bars():
    scores = torch.arange(8.0).expand(6, -1)
    page = parsed(a_set(), origins=Origins(scores=scores))
    kept, others = (
        [dict(re.findall(r"M(\d+) 1v-([\d.]+)h", path["d"])) for path in page.all("path") if found(path)]
        for found in (lambda path: "class" not in path and "V1z" in path["d"], lambda path: "class" in path)
    )
    assert len(kept) == len(others) == 6
    assert kept[0].keys() == {"0", "2", "5"}
    heights = {int(place): float(height) for place, height in (kept[0] | others[0]).items()}
    assert sorted(heights, key=heights.get) == list(range(8))
    assert (heights[0], heights[7]) == (0.1, 1.0)
    assert any("bars are the selector's scores" in text for text in page.texts)


def test_tuned_keyframes_stand_beside_what_they_were():
    synthetic = a_set()
    page = parsed(synthetic, origins=Origins(untuned=synthetic.latents - 0.05))
    films = page.all("img", "src")
    assert len(films) == 18
    now, before, change = (
        np.asarray(Image.open(data_of(film["src"], "image/webp")).convert("L"))[16, 16] for film in films[:3]
    )
    assert now - before == pytest.approx(0.05 * 255, abs=4)
    assert change == pytest.approx(127.5 + 4 * 0.05 * 255, abs=4)
    assert Counter(page.texts)["before tuning"] == 6


def test_media_may_be_files_beside_the_page(tmp_path: Path):
    folder = tmp_path / "media of it"
    write_page(a_set(), COST, tmp_path / "page.html", assets=folder)
    html = (tmp_path / "page.html").read_text()
    page = Parsed(html)
    films, clips = page.all("img", "src"), page.all("button", "data-clip")
    named = [film["src"] for film in films] + [clip["data-clip"] for clip in clips]
    assert len(named) == 12
    assert {name.partition("/")[0] for name in named} == {"media%20of%20it"}
    assert {name.partition("/")[2] for name in named} == {path.name for path in folder.iterdir()}
    assert len(html) < 40_000
    (folder / "old.webp").write_text("")
    write_page(a_set(), COST, tmp_path / "page.html", assets=folder)
    assert not (folder / "old.webp").exists()


def test_times_are_stated_where_they_are_known():
    stages = {"decode": 61.2, "hash": 0.01, "encode": 30.6}
    origins = Origins(method_seconds=84, stage_seconds=stages)
    page = parsed(a_set(2), origins=origins, accuracy=Accuracy(student_seconds={"students of the set": 6.12}))
    text, widths = " ".join(page.texts), [bar["style"] for bar in page.all("i", "style")]
    assert "of work for the set 84 s" in text
    assert "decode 61 s encode 31 s students of the set 6.1 s" in text.partition("Time by stage")[2]
    assert widths == ["width: 100.0%", "width: 50.0%", "width: 10.0%"]
    unknown = " ".join(parsed(a_set(2)).texts)
    assert "of work" not in unknown
    assert "Time by stage" not in unknown


def test_items_are_grouped_by_class_and_costs_are_stated():
    page = parsed(a_set(5))
    assert [group["data-class"] for group in page.all("section", "data-class")] == ["bow", "jump"]
    videos = [item["data-video"] for item in page.all("li", "data-video")]
    assert videos == [f"a/{i:03d}.mp4" for i in (0, 2, 4, 1, 3)]
    for text in ("5 clips stand for 60 training videos.", "1 %", "10 %", "1.2 kB of 1.0 MB", "random-real, seed 0"):
        assert any(text in shown for shown in page.texts), text


@pytest.mark.parametrize("count", [1, 20])
def test_film_strips_of_one_and_of_many_keyframes(count: int):
    one = a_set(2)
    synthetic = replace(
        one,
        latents=torch.linspace(0, 1, count).view(1, -1, 1, 1, 1).expand(2, -1, 3, 32, 32).clone(),
        positions=torch.arange(count).expand(2, -1).clone(),
        times_seconds=torch.arange(count).expand(2, -1).double(),
        clip=replace(one.clip, num_frames=count),
    )
    film = parsed(synthetic).all("img", "src")[0]
    with Image.open(data_of(film["src"], "image/webp")) as picture:
        assert picture.size == ((32, 32) if count == 1 else (128, 128))  # of 20, 16 evenly spaced ones
        if count > 1:
            assert picture.convert("L").getpixel((0, 0)) < 5
            assert picture.convert("L").getpixel((127, 127)) > 250


def test_bars_are_soft_labels_and_what_the_labeler_says_of_unchanged_views():
    labeler = random_labeler(replace(SMALL_SPEC, views=replace(UNCHANGED, mix=1.0)))
    synthetic = replace(a_set(soft=True), labeler=labeler)
    wanted = labeler(synthetic.clips())
    for row, (stored, said) in enumerate(stored_bars(synthetic, range(6))):
        assert dict(stored.shares) == pytest.approx({"bow": (0.7, 0.3)[row % 2], "jump": (0.3, 0.7)[row % 2]}, abs=1e-6)
        assert dict(said.shares) == pytest.approx(dict(zip(synthetic.classes, wanted[row].tolist(), strict=True)))
        assert said.shares[0][1] >= said.shares[1][1]
    page = parsed(synthetic)
    assert Counter(page.texts)["Labeler, mean of 4 views"] == 6
    assert Counter(page.texts)["Label of this view"] == 6
    assert not [text for text in parsed(a_set()).texts if "abeler" in text]


# --- One file that stands alone ---


def test_names_are_texts_wherever_they_stand():
    hostile = replace(a_set(classes=HOSTILE), labeler=random_labeler(num_classes=3))
    videos = tuple(f"{HOSTILE[i % 3]}/{i}.mp4" for i in range(6))
    source = replace(hostile.provenance.source, name=HOSTILE[0])
    origin = replace(hostile.provenance, video_ids=videos, source=source, config={"x": HOSTILE[1]})
    records = [a_record("full", 0.9, None), a_record(HOSTILE[1], 0.5, 1000)]
    page = parsed(replace(hostile, provenance=origin), records=records)
    assert len(page.all("script")) == 1
    assert not [tag for tag, attrs in page.tags if "onerror" in attrs or attrs.get("src") == "x"]
    assert [group["data-class"] for group in page.all("section", "data-class")] == list(HOSTILE)
    assert {item["data-video"] for item in page.all("li", "data-video")} == set(videos)
    for name in HOSTILE:
        assert name in page.texts


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path):
    synthetic = replace(a_set(soft=True), labeler=random_labeler())
    write_page(synthetic, COST, tmp_path / "page.html", records=[a_record("random-real", 0.5, 1000)])
    html = (tmp_path / "page.html").read_text()
    page = Parsed(html)
    addresses = [str(attrs[name]) for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {address[1:] for address in addresses if address.startswith("#")} <= ids
    for word in ("http:", "https:", "//cdn", "url(", "@import"):
        assert word not in html, word
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.slow
def test_two_hundred_clips_of_noise_fit_and_are_lazy():
    noise = torch.rand((200, 3, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    synthetic = replace(a_set(200, side=64), latents=noise)
    html = render(page_of(synthetic, COST))
    assert len(html) < 1.05 * MOST_BYTES
    films = Parsed(html).all("img", "src")
    assert len(films) == 200
    assert {film["loading"] for film in films} == {"lazy"}


@pytest.mark.parametrize(("per_item", "place", "most"), [(10**3, 0, 100), (4 * 10**5, 1, 100), (10**7, 3, 19)])
def test_media_are_as_fine_as_fits(per_item: int, place: int, most: int):
    """A medium of `per_item` bytes takes half as many at each further quality."""
    calls = []

    def media(row: int, quality: Quality) -> Media:
        calls.append(row)
        return Media(Film("x" * (per_item // 2 ** QUALITIES.index(quality)), 1, 1, 1, 1), "", None)

    assert fitting_quality(100, media) == (QUALITIES[place], most)
    assert len(set(calls)) <= 2 * NUM_SAMPLES


def test_colors_have_the_contrast_of_wcag_aa():
    css = resources.files("videocompressa.page").joinpath("page.css").read_text()
    named = re.findall(r"(?:--(\w+): |\.(look\d) \{ color: )light-dark\((#\w{6}), (#\w{6})\)", css)
    colors = {variable or look: (light, dark) for variable, look, light, dark in named}
    texts = {name for name in colors if name.startswith("look")} | {"ink", "pale", "accent"}
    assert len(texts) == 10
    for name, ground, theme in product(texts, ("paper", "card"), (0, 1)):
        assert contrast(colors[name][theme], colors[ground][theme]) >= 4.5, (name, ground, theme)
    for theme in (0, 1):
        assert contrast(colors["ink"][theme], colors["fill"][theme]) >= 4.5
        assert contrast(colors["edge"][theme], colors["card"][theme]) >= 3


def contrast(one: str, other: str) -> float:
    """Return the contrast of WCAG 2.2."""

    def luminance(color: str) -> float:
        channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


# --- Results ---


def a_record(method: str, top1: float | None, num_bytes: int | None, **more: Any) -> Record:
    usual = {"data": "gestures", "protocol": "fair", "student": "minic3d"}
    runs = () if top1 is None else (top1,)
    return Record(method=method, file_bytes=num_bytes, top1_mean=top1, top1_runs=runs, **usual | more)


def test_panels_place_accuracies_by_bytes_and_never_mix_kinds_of_labels():
    records = [
        a_record("full", 0.8, None),
        *(a_record("videocompressa", top1, 1000 * vpc, vpc=vpc) for vpc, top1 in ((10, 0.6), (1, 0.2), (100, 0.7))),
        a_record("dm", 0.3, 2000),
        a_record("dm", 0.5, 3000, labels="views"),
        a_record("labeler", 0.5, 2000, labels="views"),
        a_record("mtt", None, 4000),
    ]
    hard, views = panels(records)
    assert [line.name for line in hard.lines] == ["videocompressa", "dm"]
    assert (hard.title, views.title) == (
        "gestures, minic3d, hard labels",
        "gestures, minic3d, views labeled by a network",
    )
    assert [line.look for line in hard.lines] == [0, 1]
    assert [line.look for line in views.lines] == [1]
    first, second, third = hard.lines[0].points
    assert second.x - first.x == pytest.approx(third.x - second.x, abs=0.3)  # tenfold each
    assert first.y > second.y > third.y > hard.full.y
    assert first.text == "videocompressa: 20.0 % with 1.0 kB"
    assert (first.y - second.y) / (second.y - third.y) == pytest.approx(4, rel=0.02)
    assert hard.table[0] == ("videocompressa", "1.0 kB", "20.0")
    assert hard.table[-1] == ("all videos", "-", "80.0")
    page = parsed(a_set(), records=records)
    assert len([attrs for _, attrs in page.tags if attrs.get("class") == "point"]) == 5 + 2
    assert {"20.0", "1.0 kB", "all videos"} <= set(page.texts)


def trained_json(num_clips: int, top1: float, **more: Any) -> str:
    options = {"student": "minic3d", "steps": 7, "settings": []}
    values = {"classes": ["dark", "light"], "top1_mean": top1, "top1_std": 0.1, "top1_runs": [top1], "split": "test"}
    values |= {"num_train_clips": num_clips, "num_test_clips": 4, "regime": "hard", "options": options}
    return json.dumps(values | more)


@pytest.fixture(scope="module")
def set_file(videos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from videocompressa.cli.main import main

    path = tmp_path_factory.mktemp("sets") / "set.safetensors"
    options = ("--method", "random-real", "--vpc", 1, "--keyframes", 2, "--seed", 3, "--quiet")
    assert main([str(part) for part in ("compress", videos, "-o", path, *TINY, "--cache", cache, *options)]) == 0
    return path


def test_the_verb_writes_a_page_with_results_and_source_frames(
    run: Runner, set_file: Path, videos: Path, tmp_path: Path
) -> None:
    page, ours, full, bench = (tmp_path / name for name in ("page.html", "ours.json", "full.json", "bench.json"))
    ours.write_text(trained_json(2, 0.6, confusion=[[3, 1], [3, 1]], train_seconds=12.3))
    full.write_text(trained_json(8, 0.8))
    bench.write_text(json.dumps([{**vars(a_record("dm", 0.5, 1000, data="shades")), "file_and_codec_bytes": None}]))
    results = [part for path in (ours, full, bench) for part in ("--results", path)]
    ran = run("inspect", set_file, "--html", page, "--data", videos, *results, "--json")
    assert ran.json["html"] == str(page)
    shown = Parsed(page.read_text())
    for text in ("75 %", f"{mean_text(0.6, 0.1)} against {mean_text(0.8, 0.1)} % top-1", "dm"):
        assert text in shown.texts, text
    assert any("4 test videos, 1 run of minic3d (7 steps), hard labels" in text for text in shown.texts)
    assert "students of the set 12 s" in " ".join(shown.texts)
    by_class = " ".join(shown.texts).partition("Accuracy by class")[2]
    assert "light dark light 25.0 25 75 dark 75.0 25 75" in by_class
    films = shown.all("img", "src")
    assert len(films) == 4  # of the set, and of its videos
    with Image.open(data_of(films[1]["src"], "image/webp")) as picture:
        assert picture.size == (96, 40)  # two frames of 40x48 px, uncropped
        assert 20 < np.asarray(picture.convert("L")).mean() < 80  # "dark" is noise in [0,100)


def test_many_classes_are_listed_with_what_they_are_taken_for():
    names = tuple(f"class {label}" for label in range(13))
    counts = [[4 * (row == column) for column in range(13)] for row in range(13)]
    counts[7] = [1, 3] + [0] * 11
    counts[2] = [0] * 13
    shown = parsed(a_set(13, classes=names), accuracy=Accuracy(confusion=tuple(map(tuple, counts))))
    by_class = " ".join(shown.texts).partition("Most often taken for ")[2]
    assert by_class.startswith("class 7 0.0 class 1 (75 %) class 0 100.0 -")
    assert "class 12 100.0 - class 2 - - " in by_class


@pytest.mark.slow
def test_compress_writes_the_page_with_scores_and_what_tuning_changed(
    run: Runner, videos: Path, tmp_path: Path
) -> None:
    page, output = tmp_path / "page.html", tmp_path / "set.safetensors"
    gumbel = ("--method", "videocompressa", "--keyframes", 2, "--set", "selector=gumbel", *QUICK)
    ran = run.compress(videos, output, *gumbel, "--cache", tmp_path / "cache", "--html", page, "--json")
    assert ran.json["page"] == str(page)
    shown = Parsed(page.read_text())
    assert len([path for path in shown.all("path") if path.get("class") == "others"]) == 2
    assert Counter(shown.texts)["before tuning"] == Counter(shown.texts)["source video"] == 2
    assert "of work for the set" in shown.texts
    assert {"selector", "teacher"} <= set(shown.texts[shown.texts.index("Time by stage") :])
    others = [path["d"] for path in shown.all("path") if path.get("class") == "others"]
    selector, again = tmp_path / "selector.safetensors", tmp_path / "again.html"
    assert run.compress(videos, output, *gumbel, "--selector-out", selector, "--force").code == 0
    ask = ("inspect", output, "--html", again, "--selector", selector)
    assert run(*ask, "--data", videos).code == 0
    assert [p["d"] for p in Parsed(again.read_text()).all("path") if p.get("class") == "others"] == others
    assert "give the folder that was compressed, --data DATA" in run(*ask, "--force").error
    run.compress(videos, output, "--html", page, "--force")
    assert "before tuning" not in page.read_text()
    run.compress(videos, output, "--frames", 6, "--force")
    assert "it learned from ClipSpec(num_frames=4" in run(*ask, "--data", videos, "--force").error
    output.unlink()
    assert "page.html exists; give --force" in run.compress(videos, output, "--html", page).error


def test_a_video_that_is_gone_is_named(run: Runner, set_file: Path, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "videos")
    gone = read_set(set_file).provenance.video_ids[1]
    (tmp_path / "videos" / gone).unlink()
    ran = run("inspect", set_file, "--html", tmp_path / "page.html", "--data", tmp_path / "videos")
    assert f"note: {gone}: " in ran.err
    assert len(Parsed((tmp_path / "page.html").read_text()).all("img", "src")) == 3


def test_the_command_on_the_page_gives_the_file_again(
    run: Runner, set_file: Path, videos: Path, tmp_path: Path
) -> None:
    command = shlex.split(command_of(read_set(set_file), COST))
    assert command[:5] == ["videocompressa", "compress", "shades", "-o", "set.safetensors"]
    more = ("--workers", 0, "--device", "cpu", "--cache", tmp_path / "cache")
    assert run("compress", videos, "-o", tmp_path / "again.safetensors", *command[5:], *more).code == 0
    assert (tmp_path / "again.safetensors").read_bytes() == set_file.read_bytes()


def test_the_command_of_a_set_with_soft_labels_that_are_wrong():
    """The stored labels call all six items "bow"; three a class were asked for."""
    origin = replace(a_set().provenance, config={"pool": {"ages": [1, 2]}, "synthesis": {"enabled": True}})
    wrong = replace(a_set(soft=True), labels=torch.tensor([[0.6, 0.4]]).expand(6, -1).clone(), provenance=origin)
    command = command_of(wrong, COST)
    assert " --vpc 3 " in command
    assert command.endswith("--set pool.ages=1,2 --set synthesis.enabled=true")
    assert with_settings(find_method("videocompressa"), ["pool.ages=1,2"]).pool.ages == (1, 2)
    shown = " ".join(parsed(wrong).texts)
    assert "classes 2 6 clips of 8 frames" in shown
    assert "By their most likely stored label. Decoded" in shown
    assert "stored label" not in " ".join(parsed(a_set()).texts)


def test_the_command_of_a_method_that_fills_bytes_names_them():
    origin = replace(a_set().provenance, method="typical-clips", config={"views": {"mix": 0.5}}, seed=0)
    command = command_of(replace(a_set(), provenance=origin), COST)
    assert command == (
        "videocompressa compress gestures -o set.safetensors --method typical-clips --codec identity --size 32 "
        "--bytes 1234 --set views.mix=0.5"
    )


def test_what_cannot_be_shown(run: Runner, set_file: Path, videos: Path, tmp_path: Path) -> None:
    page, results, empty = tmp_path / "page.html", tmp_path / "results.json", tmp_path / "empty"
    empty.mkdir()
    bench = json.dumps([{**vars(a_record("dm", 0.5, 1000)), "file_and_codec_bytes": None}])
    for content, error in (
        (trained_json(5, 0.5), "trained on 5 clips; the set has 2, and its source 8: give results of this set"),
        (trained_json(2, 0.5, classes=["a"]), "has other classes than the set; give the results of this set"),
        (trained_json(2, 0.5, confusion=[[1]]), "(ValueError: confusion is not 2 x 2 counts); give the file"),
        ("{", "cannot be read as results (JSONDecodeError"),
        (bench, "has no records of 'shades'; it has those of: gestures"),
    ):
        results.write_text(content)
        ran = run("inspect", set_file, "--html", page, "--results", results)
        assert f"--results {results}: {error}" in ran.error or error in ran.error
    results.write_text(trained_json(2, 0.5))
    for options, error in (
        (("--html", page, "--results", results, "--results", results), "results of the set too; give one of them"),
        (("--data", videos), "--data is for the page; give --html page.html too"),
        (("--results", results), "--results is for the page; give --html page.html too"),
        (("--assets", empty), "--assets is for the page; give --html page.html too"),
        (("--html", page, "--assets", results), "results.json is a file; give the name of a folder"),
        (("--html", tmp_path / "page.png"), "cannot write a page to 'page.png'; name it with .html"),
        (("--html", page, "--data", tmp_path / "no"), "is no folder; give the folder that was compressed"),
        (("--html", page, "--data", empty), "none of the 2 videos of the set can be read there (train/dark/"),
    ):
        assert error in run("inspect", set_file, *options).error
    page.write_text("mine")
    assert "page.html exists; give --force" in run("inspect", set_file, "--html", page).error
    assert page.read_text() == "mine"
    assert run("inspect", set_file, "--html", page, "--force").code == 0


def test_the_headline_is_that_of_the_row_of_the_set():
    records = [
        a_record("full", 0.8, None, axis="cross"),
        a_record("full", 0.8, None),
        a_record("random-real", 0.2, 100, vpc=3, keyframes=3, labels="soft"),
        a_record("random-real", 0.3, 100, vpc=1, keyframes=3),
        a_record("dm", 0.6, 100, vpc=3, keyframes=3),
        a_record("random-real", 0.4, 100, vpc=3, keyframes=3, compress_seconds=7.0, train_seconds=20.0),
    ]
    accuracy = accuracy_in(records, a_set())
    assert (accuracy.of_set, accuracy.of_full, accuracy.recovery) == ("40.0", "80.0", "50 %")
    assert (accuracy.method_seconds, accuracy.student_seconds) == (7.0, {"students of the set": 20.0})
    assert accuracy.how.startswith("Benchmark: top-1 on test videos, 1 run of minic3d (fair), hard labels")
    assert accuracy_in(records[:2], a_set()).of_set is None


def test_accuracy_of_all_videos_alone_claims_nothing_about_the_set():
    from videocompressa.page.contents import accuracy_of

    texts = parsed(a_set(), accuracy=accuracy_of(None, (0.8, 0.1), "All videos: so.")).texts
    assert "top-1 of students of all videos" in texts
    assert not [text for text in texts if "of the accuracy" in text]
    assert accuracy_of((0.5, None), (0.0, None), "").recovery is None


def test_a_set_without_a_decoder_is_refused():
    with pytest.raises(InputError, match="this set has no decoder at hand"):
        page_of(replace(a_set(), decoder=None), COST)


# --- In a browser ---

TESTED = Accuracy("50.0", confusion=((3, 1), (2, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_works_in_a_browser(browser: Any, tmp_path: Path, width: int) -> None:
    synthetic = replace(a_set(12, soft=True), labeler=random_labeler())
    records = [a_record("full", 0.8, None), a_record("dm", 0.3, 2000), a_record("dm", 0.5, 9000, vpc=2)]
    write_page(synthetic, COST, tmp_path / "page.html", records=records, accuracy=TESTED)
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme="light", offline=True)
    tab, messages = context.new_page(), []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto((tmp_path / "page.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width  # nothing to scroll sideways

    tab.click("nav a:text('Origin')")
    tab.wait_for_timeout(500)
    assert 0 <= tab.evaluate("document.getElementById('origin').getBoundingClientRect().top") < 844

    film = tab.locator(".film").first
    film.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.querySelector('.film video')?.currentTime > 0.1")
    assert tab.evaluate("document.querySelector('.film video').videoWidth") == 32
    assert film.get_attribute("aria-pressed") == "true"
    tab.keyboard.press("Enter")
    assert tab.locator("video").count() == 0
    tab.locator(".film").nth(1).hover()
    tab.locator(".film").nth(1).locator("video").wait_for()
    tab.locator("h2").first.hover()
    assert tab.locator("video").count() == 0
    tab.locator(".film").nth(1).click()
    tab.locator("h2").first.hover()
    assert tab.locator("video").count() == 1  # a click keeps it
    tab.locator(".film").nth(1).click()
    assert tab.locator("video").count() == 0

    tab.select_option("#class", "jump")
    assert tab.inner_text("#count") == "6 clips"
    assert tab.locator(".item[data-video]:visible").count() == 6
    tab.fill("#search", "A/007")
    assert tab.inner_text("#count") == "1 clip"
    tab.fill("#search", "nothing")
    assert tab.locator("#none").is_visible()
    tab.select_option("#class", "")
    tab.fill("#search", "")
    tab.select_option("#order", "-sure")
    sure = tab.evaluate("[...document.querySelectorAll('.group:first-of-type .item')].map(e => +e.dataset.sure)")
    assert sure == sorted(sure, reverse=True)

    paper = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(paper)
    tab.click("#theme")
    assert tab.evaluate(paper) != light
    tab.click("#theme")
    assert tab.evaluate(paper) == light
    tab.locator(".look0 .point").first.focus()
    assert tab.inner_text(".readout") == "dm: 30.0 % with 2.0 kB"
    assert messages == []
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(browser: Any, tmp_path: Path, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    synthetic = replace(a_set(6, soft=True), labeler=random_labeler())
    origins = Origins(torch.arange(8.0).expand(6, -1), synthetic.latents - 0.05, 2.0, {"decode": 1.0, "selector": 2.0})
    records = [a_record("full", 0.8, None), a_record("dm", 0.3, 2000), a_record("dm", 0.5, 9000, vpc=2)]
    shown = {"records": records, "origins": origins, "accuracy": TESTED}
    write_page(synthetic, COST, tmp_path / "page.html", assets=tmp_path / "media", **shown)
    tab = browser.new_context(viewport={"width": 1280, "height": 844}, color_scheme=theme, offline=True).new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    film = tab.locator(".film").first
    film.click()
    tab.wait_for_function("document.querySelector('.film video')?.currentTime > 0.1")  # a file beside the page
    found = axe.Axe().run(tab).response["violations"]
    assert [(each["id"], each["help"]) for each in found if each["impact"] in ("serious", "critical")] == []
