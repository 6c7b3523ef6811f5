"""Labelers in runs: what `--labeler` asks for, what fits into bytes, and training by views or by stored labels."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import QUICK, Runner, everything_in
from hypothesis import given, settings
from hypothesis import strategies as st
from labelers import SMALL_SPEC, random_labeler
from method_runs import candidates, noise

from videocompressa.artifact import measure, read_set, to_bytes, write_set
from videocompressa.artifact.packing.weights import packed_bytes
from videocompressa.bench.record import REGIMES
from videocompressa.errors import BudgetError, InputError
from videocompressa.methods import METHODS, MethodConfig
from videocompressa.methods.coreset import CoresetConfig
from videocompressa.recipes.budgets import WIDTHS, labeler_bytes, with_labeler
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, NumBytes, Surroundings
from videocompressa.recipes.train import train_on
from videocompressa.rng import Streams
from videocompressa.run import Run, watch_nothing
from videocompressa.students import labelers
from videocompressa.students.labelers import LabelerConfig, train_labeler
from videocompressa.students.settings import TrainConfig
from videocompressa.views import UNCHANGED

PAIRS = [pair for pair in zip(QUICK[::2], QUICK[1::2], strict=True) if not pair[1].startswith("labels=")]
VIEWS = (
    *(part for pair in PAIRS for part in pair),
    *("--set", "labeler.spec.network=framenet2d", "--set", "labeler.steps=2"),
)
"""The complete method with its own kind of labels, two steps of each part."""
LABELS_OF_VIEWS = ("--set", "labels=views", "--set", "teacher.train.student=framenet2d")
CLASSES = 10
NONE = BudgetOptions()
SIZES = [
    labeler_bytes(dataclasses.replace(LabelerConfig().spec, width=width), CLASSES) for width in sorted(WIDTHS)
]  # rising


def method(labels: str = "views", width: float = max(WIDTHS)) -> MethodConfig:
    """A method whose labeler has this width, whatever the default is."""
    spec = dataclasses.replace(LabelerConfig().spec, width=width)
    return CoresetConfig(labels=labels, labeler=LabelerConfig(spec))


def within(num_bytes: int) -> BudgetOptions:
    return BudgetOptions(bytes=NumBytes(num_bytes))


def asked(
    labeler: str, config: MethodConfig | None = None, budget: BudgetOptions = NONE, *, needed: bool = False
) -> tuple[MethodConfig, tuple[str, ...]]:
    return with_labeler(config or method(), labeler, budget, CLASSES, needed=needed)


# --- What --labeler asks for ---


def test_off_stores_soft_labels_and_leaves_hard_ones() -> None:
    assert asked("off") == (method("soft"), ())
    assert asked("off", method("hard")) == (method("hard"), ())
    assert asked("off", method("soft"), within(100)) == (method("soft"), ())


def test_auto_leaves_everything_where_bytes_are_enough() -> None:
    for config in (method(), method("hard"), method("soft"), METHODS["videocompressa"]):
        assert asked("auto", config) == (config, ())
    assert asked("auto", budget=within(2 * SIZES[-1])) == (method(), ())
    assert asked("auto", method("hard"), within(100)) == (method("hard"), ())


@given(limit=st.integers(SIZES[0], 2 * SIZES[-1]))
def test_a_size_gives_the_largest_labeler_within_it(limit: int) -> None:
    config, notes = asked(str(limit), method("hard"))
    assert (config.labels, notes) == ("views", ())
    assert labeler_bytes(config.labeler.spec, CLASSES) == max(size for size in SIZES if size <= limit)
    assert config.labeler.spec.bits == LabelerConfig().spec.bits


@settings(max_examples=30)
@given(limit=st.integers(1, 2 * SIZES[-1] - 1), needed=st.booleans())
def test_a_labeler_is_at_most_half_of_the_bytes(limit: int, needed: bool) -> None:
    if limit // 2 < SIZES[0]:
        if needed:
            with pytest.raises(BudgetError, match=f"--bytes {limit} has no room for a labeler; give at least --bytes"):
                asked("auto", budget=within(limit), needed=True)
        else:
            config, (note,) = asked("auto", budget=within(limit))
            assert config == method("soft")
            assert note == (
                f"--bytes {limit} has no room for a labeler, so the file stores soft labels; "
                f"from {2 * SIZES[0]} on it has"
            )
        return
    config, (note,) = asked("auto", budget=within(limit), needed=needed)
    size = labeler_bytes(config.labeler.spec, CLASSES)
    assert size == max(each for each in SIZES if 2 * each <= limit)
    assert note == f"the labeler has {config.labeler.spec.width:g} of its full width, for --bytes"


def test_the_bytes_that_are_named_do_hold_a_labeler() -> None:
    for config in (method(), method(width=min(WIDTHS)), method(width=min(WIDTHS) / 2)):
        with pytest.raises(BudgetError, match="give at least --bytes") as caught:
            asked("auto", config, within(100), needed=True)
        least = int(str(caught.value).split()[-1])
        assert asked("auto", config, within(least), needed=True)[0].labels == "views"
        with pytest.raises(BudgetError, match="has no room for a labeler"):
            asked("auto", config, within(least - 2), needed=True)


def test_sizes_that_cannot_be() -> None:
    with pytest.raises(
        BudgetError, match=f"--labeler 99 is too small for a labeler; give at least --labeler {SIZES[0]}$"
    ):
        asked("99")
    assert asked(str(SIZES[0]))[0].labels == "views"
    with pytest.raises(BudgetError, match="--labeler 40kB is as large as --bytes 40000, which the labeler is a part"):
        asked("40kB", budget=within(40_000))
    for text in ("big", "30 apples", "-1", ""):
        with pytest.raises(InputError, match=f"^--labeler {text}: known: auto, off, or a size such as 40kB$"):
            asked(text)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_no_labeler_takes_more_than_its_foreseen_bytes(bits: int) -> None:
    """Trained or random: what was foreseen are codes that do not compress."""
    spec = dataclasses.replace(SMALL_SPEC, bits=bits)
    data = candidates(noise((8, 4, 3, 12, 12), 0), torch.arange(8) % 2)
    trained = train_labeler(data, LabelerConfig(spec, steps=3), Run(Streams(0)))
    for labeler in (trained, random_labeler(spec)):
        real = packed_bytes(labeler.weights, bits)
        assert real <= labeler_bytes(spec, 2)
    assert real > 0.5 * labeler_bytes(spec, 2)


# --- The command line ---


def learned(run: Runner, videos: Path, path: Path, *more: object) -> Any:
    return run.compress(videos, path, "--method", "videocompressa", *VIEWS, *more)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labeler", "magic"), "--labeler magic: known: auto, off, or a size such as 40kB"),
        (("--labeler", "10"), "--labeler 10 is too small for a labeler; give at least --labeler "),
        (("--labeler", "9kB", "--bytes", "9kB"), "--labeler 9kB is as large as --bytes 9000, which the labeler is a"),
        ((*LABELS_OF_VIEWS, "--labeler", "off"), "--labeler off and --set labels=views contradict each other; leave o"),
        (("--set", "labels=hard", "--labeler", "40kB"), "--labeler 40kB and --set labels=hard contradict each other"),
        ((*LABELS_OF_VIEWS, "--bytes", "300"), "--bytes 300 has no room for a labeler; give at least --bytes "),
        (("--set", "labels=firm"), "unknown labels 'firm'; known: soft, hard, views"),
        (("--set", "labeler.spec.bits=9"), "labeler.bits is 9; it must be in [2,8]"),
        (("--labeler", "40kB"), "4 frames at 32x32 px are too small for MiniC3D"),
    ],
)
@pytest.mark.parametrize("verb", ["compress", "plan"])
def test_labelers_that_cannot_be(
    run: Runner, videos: Path, tmp_path: Path, options: tuple[str, ...], message: str, verb: str
) -> None:
    if verb == "compress":
        result = run.compress(videos, tmp_path / "set.safetensors", *options)
    else:
        small = ("--size", 32, "--frames", 4, "--workers", 0)
        result = run("plan", videos, *small, "--method", "random-real", *options)
    assert message in result.error
    assert everything_in(tmp_path) == set()


@pytest.mark.slow
def test_compress_writes_a_labeler_and_train_uses_it(run: Runner, videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.safetensors"
    result = learned(run, videos, path, "--json").json
    synthetic = read_set(path)
    assert synthetic.labeler is not None
    assert synthetic.labels.tolist() == [0, 1]
    assert result["labeler_bytes"] == measure(path).labeler_bytes > 0
    assert any(re.match(r"the labeler takes .* of the .*; --vpc 4 adds about ", note) for note in result["notes"])
    assert synthetic.provenance.config["labeler"]["spec"]["network"] == "framenet2d"
    assert "labels" not in synthetic.provenance.config  # it is the method's default
    printed = " ".join(run.train(path, "--data", videos).out.split())
    assert REGIMES["views"] in printed
    assert REGIMES["hard"] in " ".join(run.train(path, "--data", videos, "--stored-labels").out.split())
    assert run.train(path, "--data", videos, "--json").json["regime"] == "views"
    assert run.train(path, "--data", videos, "--stored-labels", "--json").json["regime"] == "hard"
    all_of_them = learned(run, videos, tmp_path / "all.safetensors", "--vpc", 4, "--json").json
    assert not any("the labeler takes" in note for note in all_of_them["notes"])
    assert learned(run, videos, tmp_path / "soft.safetensors", "--labeler", "off").code == 0
    soft = read_set(tmp_path / "soft.safetensors")
    assert (soft.labels.ndim, soft.labeler) == (2, None)
    assert soft.provenance.config["labels"] == "soft"


@pytest.mark.slow
def test_the_same_command_recalls_the_labeler(
    run: Runner, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, fresh = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "fresh"))
    cache = ("--cache", tmp_path / "a")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(labelers, "fit", interrupted)
        assert learned(run, videos, one, *cache).code == 130
    assert not one.exists()
    assert learned(run, videos, one, *cache).code == 0
    monkeypatch.setattr(labelers, "fit", None)  # nobody trains again
    assert learned(run, videos, two, *cache).code == 0
    monkeypatch.undo()
    assert learned(run, videos, fresh, "--cache", tmp_path / "b").code == 0
    assert one.read_bytes() == two.read_bytes() == fresh.read_bytes()


@pytest.mark.slow
def test_bytes_hold_the_labeler_too(run: Runner, videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.safetensors"
    spec = dataclasses.replace(LabelerConfig().spec, network="framenet2d")
    sizes = sorted(labeler_bytes(dataclasses.replace(spec, width=width), 2) for width in WIDTHS)
    limit = 2 * sizes[1] + 10
    result = learned(run, videos, path, "--bytes", limit, "--json").json
    assert result["file_bytes"] == path.stat().st_size <= limit
    assert 0.5 * sizes[1] < result["labeler_bytes"] <= sizes[1]
    assert "of its full width, for --bytes" in result["notes"][0]
    soft = tmp_path / "soft.safetensors"
    result = learned(run, videos, soft, "--bytes", 2 * sizes[0] - 2, "--json").json
    assert "has no room for a labeler, so the file stores soft labels; from " in result["notes"][0]
    assert read_set(soft).labels.ndim == 2
    assert read_set(soft).labeler is None
    planned = ("plan", videos, "--size", 32, "--frames", 4, "--workers", 0, "--codec", "tiny", *VIEWS)
    assert "of its full width, for --bytes" in run(*planned, "--bytes", limit, "--json", "--quiet").json["notes"][0]


# --- Training on a file ---


@pytest.mark.slow
def test_planted_truth_train_reads_the_labeler_or_the_stored_labels(
    run: Runner, videos: Path, cache: Path, tmp_path: Path
) -> None:
    """The file's labels are all wrong and its labeler is right."""
    run.compress(videos, tmp_path / "plain.safetensors", "--vpc", 4)
    plain = read_set(tmp_path / "plain.safetensors")
    assert plain.labels.tolist() == [0] * 4 + [1] * 4
    # Dark and bright videos: a teacher of planted truth looks at nothing but brightness.
    frames = noise((32, 4, 3, 32, 32), 0) // 3
    frames[16:] += 150
    data = candidates(frames, torch.arange(32) // 16)
    data = dataclasses.replace(data, normalization=plain.normalization)
    spec = dataclasses.replace(SMALL_SPEC, width=0.125, bits=6)
    labeler = train_labeler(data, LabelerConfig(spec, steps=60, lr=5e-3), Run(Streams(0)))
    path = tmp_path / "wrong.safetensors"
    write_set(dataclasses.replace(plain, labels=1 - plain.labels, labeler=labeler), path)
    assert to_bytes(read_set(path)) == path.read_bytes()
    config = TrainConfig("framenet2d", width=0.25, steps=60, lr=0.01, warmup_steps=0, views=UNCHANGED)
    ticks = iter(range(10**6))
    here = Surroundings(cache, torch.device("cpu"), 0, lambda: float(next(ticks)), watch_nothing)

    def trained(**options: Any) -> Any:
        small = CandidateOptions(size=32, frames=4)
        return train_on(path, videos, config=config, candidates=small, num_seeds=1, surroundings=here, **options)

    by_views, by_labels = trained(), trained(stored_labels=True)
    assert (by_views.regime, by_views.result.top1_mean) == ("views", 1.0)
    assert (by_labels.regime, by_labels.result.top1_mean) == ("hard", 0.0)
