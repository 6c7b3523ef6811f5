"""`export --to webdataset`: clips and labeled views as shards that a trainer without this package reads."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import tarfile
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from cli_runs import Runner, everything_in
from hypothesis import given, settings
from hypothesis import strategies as st
from labelers import STRONG
from torch import Tensor, nn
from torch.nn import functional

from videocompressa.artifact import write_set
from videocompressa.artifact.packing.weights import rounded
from videocompressa.cli.main import main
from videocompressa.clip import ClipSpec, Normalization
from videocompressa.codecs import PixelCodec
from videocompressa.errors import InputError
from videocompressa.labeler import Labeler, LabelerSpec
from videocompressa.networks import STUDENTS
from videocompressa.recipes.options import NumBytes
from videocompressa.recipes.sets import open_set
from videocompressa.rng import Streams
from videocompressa.synthetic import Provenance, Source, SyntheticSet
from videocompressa.video import read_clip
from videocompressa.vlm.export import clips as export_clips
from videocompressa.vlm.export import formats
from videocompressa.vlm.export.check import check_export
from videocompressa.vlm.export.clips import ClipStream
from videocompressa.vlm.export.run import export_set
from videocompressa.vlm.export.shards import write_shards
from videocompressa.vlm.settings import MOST_VIEWS, ExportOptions

SIDE, FRAMES, CLIPS, CLASSES = 48, 4, 19, 3
"""More clips than a batch has."""


def smooth_clips() -> SyntheticSet:
    """Return a set of colorful clips without labeler; every frame is a keyframe."""
    draws = torch.Generator().manual_seed(0)
    noise = torch.rand(CLIPS * FRAMES, 3, 8, 8, generator=draws)
    pictures = functional.interpolate(noise, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
    frames = (pictures.clamp(0, 1) * 255).round().to(torch.uint8).view(CLIPS, FRAMES, 3, SIDE, SIDE)
    codec, positions = PixelCodec(), torch.arange(FRAMES).expand(CLIPS, -1).contiguous()
    source = Source("planted", "0" * 64, CLIPS, FRAMES * CLIPS, 1000 * CLIPS)
    return SyntheticSet(
        latents=codec.encode(frames.flatten(0, 1)).view(frames.shape),
        positions=positions,
        times_seconds=positions.double() / 10,
        labels=torch.arange(CLIPS) % CLASSES,
        classes=("a", "b", "c"),
        clip=ClipSpec(FRAMES, SIDE, SIDE),
        codec=codec.spec,
        normalization=Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        provenance=Provenance("random-real", {}, 0, source, tuple(f"{row:03d}.mp4" for row in range(CLIPS))),
    )


def with_labeler(synthetic: SyntheticSet) -> SyntheticSet:
    """Return the set with a labeler of random weights, whose answers differ from view to view."""
    spec = LabelerSpec(network="framenet2d", width=0.25, views=STRONG)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = STUDENTS[spec.network](CLASSES, spec.width).eval().requires_grad_(False)
    network.classifier.weight *= 300
    network.classifier.bias -= network(synthetic.normalization.apply(synthetic.clips(PixelCodec()))).mean(0)
    weights = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    return dataclasses.replace(synthetic, labeler=Labeler(spec, rounded(weights, spec.bits), synthetic.normalization))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "plain.safetensors"
    write_set(smooth_clips(), path)
    return path


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets") / "labeled.safetensors"
    write_set(with_labeler(smooth_clips()), path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    return Runner(capsys, tmp_path / "cache")


def export(path: Path, folder: Path, **options: Any) -> Path:
    export_set(path, folder, to="webdataset", options=ExportOptions(**options))
    return folder


def samples_in(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of every sample, by KEY and suffix, in order, by the standard library alone."""
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("shard-*.tar")):
        with tarfile.open(path) as shard:
            for member in shard:
                key, _, suffix = member.name.partition(".")
                samples.setdefault(key, {})[suffix] = shard.extractfile(member).read()  # type: ignore[union-attr]
    return samples


def frames_of(video: bytes) -> Tensor:
    """Return (T,3,H,W) uint8, as the README of an export reads them."""
    with av.open(io.BytesIO(video)) as container:
        frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return torch.stack(frames).permute(0, 3, 1, 2)


def psnr(one: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(255**2 / functional.mse_loss(one.float(), other.float())))


# --- Views ---


def test_every_round_shows_every_clip_once_with_what_is_known_of_it(labeled: Path, tmp_path: Path) -> None:
    synthetic, samples = open_set(labeled), samples_in(export(labeled, tmp_path / "out", views=3))
    assert len(samples) == 3 * CLIPS
    rounds = [sorted(key.split("-")[0] for key in samples if key.endswith(f"-0000{number}")) for number in range(3)]
    assert rounds == [[f"{row:05d}" for row in range(CLIPS)]] * 3
    assert [key[-1] for key in samples] == ["0"] * CLIPS + ["1"] * CLIPS + ["2"] * CLIPS
    assert list(samples)[:CLIPS] != sorted(list(samples)[:CLIPS])
    for key, sample in samples.items():
        facts, row = json.loads(sample["json"]), int(key.split("-")[0])
        assert set(sample) == {"mp4", "cls", "json"}
        assert facts["video"] == synthetic.provenance.video_ids[row]
        assert facts["positions"] == synthetic.positions[row].tolist()
        assert facts["times_seconds"] == synthetic.times_seconds[row].tolist()
        assert sum(facts["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert facts["label"] == int(torch.tensor(facts["probabilities"]).argmax()) == int(sample["cls"])
        assert facts["class"] == synthetic.classes[facts["label"]]
    assert len(Counter(json.loads(sample["json"])["label"] for sample in samples.values())) == CLASSES


def test_labels_are_those_of_the_labeler_for_the_decoded_video(labeled: Path, tmp_path: Path) -> None:
    labeler, samples = open_set(labeled).labeler, samples_in(export(labeled, tmp_path / "out", views=3))
    assert labeler is not None
    decoded = torch.stack([frames_of(sample["mp4"]) for sample in samples.values()])
    told = torch.tensor([json.loads(sample["json"])["probabilities"] for sample in samples.values()])
    answers = labeler(decoded.float() / 255)
    assert (answers - told).abs().max() < 0.05
    assert (answers - told).abs().sum(1).mean() < 0.03
    assert answers.std(0).mean() > 0.1  # else any label would be near


def test_the_videos_look_like_the_views(labeled: Path, tmp_path: Path) -> None:
    samples = samples_in(export(labeled, tmp_path / "out", views=2, seed=5))
    views = {item.stem: item.frames for item in ClipStream(open_set(labeled), 2, Streams(5).child("views"))}
    assert list(views) == list(samples)
    for key, frames in views.items():
        assert psnr(frames_of(samples[key]["mp4"]), frames) > 41
        with av.open(io.BytesIO(samples[key]["mp4"])) as container:
            assert container.streams.video[0].average_rate == 4


def test_same_seed_same_bytes_and_a_longer_export_begins_like_a_shorter_one(labeled: Path, tmp_path: Path) -> None:
    first, second = export(labeled, tmp_path / "a", views=2), export(labeled, tmp_path / "b", views=2)
    files = {"shard-000000.tar", "classes.json", "README.md", "export.json"}
    assert everything_in(first) == everything_in(second) == files
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
    longer, other = (
        samples_in(export(labeled, tmp_path / "c", views=3)),
        export(labeled, tmp_path / "d", views=2, seed=1),
    )
    assert list(longer.items())[: 2 * CLIPS] == list(samples_in(first).items())
    assert samples_in(other) != samples_in(first)


def test_views_are_made_when_they_are_taken(labeled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []

    def views(pixels: Tensor, *_: object) -> tuple[Tensor, None]:
        batches.append(len(pixels))
        return pixels, None

    monkeypatch.setattr(export_clips, "random_views", views)
    stream = iter(ClipStream(open_set(labeled), MOST_VIEWS, Streams(0)))
    for _ in range(CLIPS + 1):
        next(stream)
    assert batches == [10, 9, 10]  # of like size: no clip of a round is alone, without another to be mixed with


# --- Clips as they are ---


def test_without_views_clips_have_their_hard_labels(labeled: Path, tmp_path: Path) -> None:
    synthetic, samples = open_set(labeled), samples_in(export(labeled, tmp_path / "out"))
    clips = (synthetic.clips() * 255).round().to(torch.uint8)
    assert sorted(samples) == [f"{row:05d}" for row in range(CLIPS)]
    for key, sample in samples.items():
        facts, label = json.loads(sample["json"]), int(synthetic.labels[int(key)])
        assert facts["probabilities"] == [float(number == label) for number in range(CLASSES)]
        assert (facts["label"], sample["cls"]) == (label, str(label).encode())
        assert psnr(frames_of(sample["mp4"]), clips[int(key)]) > 41
    assert check_export(tmp_path / "out").faults == ()


def test_without_views_clips_have_their_soft_labels(tmp_path: Path) -> None:
    soft = torch.rand(CLIPS, CLASSES, generator=torch.Generator().manual_seed(1)).softmax(1)
    write_set(dataclasses.replace(smooth_clips(), labels=soft), tmp_path / "soft.safetensors")
    stored, folder = (
        open_set(tmp_path / "soft.safetensors").labels,
        export(tmp_path / "soft.safetensors", tmp_path / "o"),
    )
    for key, sample in samples_in(folder).items():
        facts = json.loads(sample["json"])
        assert facts["probabilities"] == pytest.approx(stored[int(key)].tolist(), abs=1e-6)
        assert facts["label"] == int(stored[int(key)].argmax())
    assert (
        "probabilities that a teacher, trained on all videos, gave to each clip" in (folder / "README.md").read_text()
    )
    assert check_export(folder).faults == ()


# --- Shards ---


@given(st.lists(st.integers(0, 4000), max_size=30), st.integers(1, 40_000))
@settings(max_examples=25)
def test_shards_are_bounded_complete_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    samples = [{f"{number:03d}.a": b"x" * size, f"{number:03d}.b": b"y"} for number, size in enumerate(sizes)]
    write_shards(folder, iter(samples), shard_bytes)
    read: list[tuple[str, bytes]] = []
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [f"shard-{number:06d}.tar" for number in range(len(paths))]
    for path in paths:
        with tarfile.open(path) as shard:
            members = shard.getmembers()
            read += [(member.name, shard.extractfile(member).read()) for member in members]  # type: ignore[union-attr]
        assert path.stat().st_size <= shard_bytes or len(members) == 2
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert read == [pair for sample in samples for pair in sample.items()]


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        samples: Iterator[dict[str, bytes]] = ({f"{number}.a": bytes(1000)} for number in range(count))
        (tmp_path / str(count)).mkdir()
        tracemalloc.start()
        write_shards(tmp_path / str(count), samples, 10**9)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(2000) < peak(200) + 50_000


def test_the_size_of_shards_is_an_option(labeled: Path, tmp_path: Path) -> None:
    folder = export(labeled, tmp_path / "out", views=2, shard_size=NumBytes("100kB"))
    sizes = [path.stat().st_size for path in folder.glob("*.tar")]
    assert len(sizes) > 2
    assert max(sizes) <= 100_000
    assert len(samples_in(folder)) == 2 * CLIPS
    assert check_export(folder).faults == ()


# --- The folder and the command ---


def test_the_folder_says_what_it_holds(labeled: Path, tmp_path: Path) -> None:
    folder = export(labeled, tmp_path / "out", views=2)
    facts, manifest = (json.loads((folder / name).read_text()) for name in ("classes.json", "export.json"))
    synthetic, page = open_set(labeled), (folder / "README.md").read_text()
    assert facts == {
        "classes": ["a", "b", "c"],
        "num_frames": FRAMES,
        "height": SIDE,
        "width": SIDE,
        "frames_per_second": 4.0,
        "mean": list(synthetic.normalization.mean),
        "std": list(synthetic.normalization.std),
    }
    assert facts.items() <= manifest.items()
    assert (manifest["views"], manifest["num_clips"], manifest["num_rows"]) == (2, CLIPS, 2 * CLIPS)
    assert manifest["view_settings"] == dataclasses.asdict(STRONG)
    for text in (
        f"2 random views of each of the {CLIPS} clips",
        f"{FRAMES} frames of {SIDE}x{SIDE} pixels",
        "4 frames a second",
        "mean [0.5, 0.5, 0.5]",
        "mix 0.5, seed 0",
        "0. a\n1. b\n2. c\n",
        "cross_entropy(model(clips), labels)",
    ):
        assert text in page
    assert max(map(len, page.splitlines())) <= 120


def test_the_command_writes_checks_and_replaces(run: Runner, labeled: Path, tmp_path: Path) -> None:
    command = ("export", labeled, "--to", "webdataset", "-o", tmp_path / "out")
    ran = run(*command, "--views", 2)
    assert ran.code == 0, ran.err
    assert all(option in run("export", "--help").out for option in ("--views", "--shard-size"))
    assert f"{2 * CLIPS} about {CLIPS} videos" in ran.out
    assert "names" not in ran.out
    assert f"export: {2 * CLIPS} of {2 * CLIPS}" in ran.err
    assert f"next: the training loop is in {tmp_path}/out/README.md" in ran.err
    assert "note:" not in ran.err
    assert run("export", "--check", tmp_path / "out").out == f"{tmp_path}/out: 38 rows of webdataset, no fault\n"
    assert f"output {tmp_path}/out exists; give --force to replace it" in run(*command).error
    replaced = run(*command, "--force")
    assert "note: the set has a labeler: --views 64 writes random views of each clip with its labels" in replaced.err
    assert len(samples_in(tmp_path / "out")) == CLIPS
    assert run(*command, "--force", "--json").json["num_rows"] == CLIPS


def test_a_write_that_fails_leaves_nothing(labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write_json", full)  # after the shards
    with pytest.raises(OSError, match="No space left"):
        export(labeled, tmp_path / "out", views=1)
    assert list(tmp_path.iterdir()) == []


def test_views_of_a_set_without_labeler_are_refused(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"--views 64: .*plain.safetensors, compressed by 'random-real', has no labeler to label views; compress "
        r"with --labeler auto, or leave --views out for the clips with their stored labels",
    ):
        export(plain, tmp_path / "out", views=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (-1, r"--views is -1; give 0 \(the clips as they are\) to 10000$"),
        (10_001, r"--views is 10001; give 0 \(the clips as they are\) to 10000; for more, export again with another"),
    ],
)
def test_numbers_of_views_have_limits(views: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExportOptions(views=views)


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("qwen", {"views": 64}, r"--views does not apply to --to qwen; leave it out, or give --to webdataset$"),
        ("webdataset-frames", {"views": 64}, r"--views does not apply to --to webdataset-frames; leave it out"),
        (
            "hf",
            {"shard_size": NumBytes("1MB")},
            r"--shard-size does not apply to --to hf; leave it out, or give --to webdataset or webdataset-frames$",
        ),
        (
            "webdataset",
            {"from_source": Path()},
            r"--from-source does not apply to --to webdataset; .* webdataset-frames",
        ),
        ("webdataset", {"questions": "choice"}, r"--questions does not apply to --to webdataset; .* llama-factory or "),
        ("webdataset", {"names": Path("a.json")}, r"--names does not apply to --to webdataset; leave it out, or"),
    ],
)
def test_options_of_other_formats_are_refused(
    labeled: Path, tmp_path: Path, to: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        export_set(labeled, tmp_path / "out", to=to, options=ExportOptions(**options))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--views", "-1", "error: --views is -1; give 0 (the clips as they are) to 10000"),
        ("--views", "many", "--views"),
        ("--shard-size", "0", "error: --shard-size: '0' is no number of bytes; write it as 300kB, 2MB, 1.5GB or 12345"),
    ],
)
def test_the_command_refuses_bad_numbers_in_one_line(
    run: Runner, labeled: Path, tmp_path: Path, option: str, value: str, message: str
) -> None:
    assert message in run("export", labeled, "--to", "webdataset", "-o", tmp_path / "out", option, value).error
    assert not (tmp_path / "out").exists()


# --- Trainers ---


@pytest.mark.slow
def test_the_loop_of_the_readme_trains(labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("webdataset", reason="needs webdataset: pip install webdataset")
    folder = export(labeled, tmp_path / "out", views=3, shard_size=NumBytes("200kB"))
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[0]
    shapes: list[tuple[int, ...]] = []
    model = nn.Sequential(nn.Flatten(), nn.Linear(FRAMES * 3 * SIDE * SIDE, CLASSES))
    model.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape)))
    before = model[1].weight.clone()
    names: dict[str, Any] = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 1e-4)}
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, names)
    assert sum(shape[0] for shape in shapes) == 3 * CLIPS
    assert {shape[1:] for shape in shapes} == {(FRAMES, 3, SIDE, SIDE)}
    assert names["labels"].shape[1] == CLASSES
    assert bool(torch.isfinite(names["loss"]))
    assert not torch.equal(model[1].weight, before)


@pytest.mark.slow
def test_webdataset_reads_what_tarfile_reads(labeled: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset: pip install webdataset")
    folder = export(labeled, tmp_path / "out", views=1, shard_size=NumBytes("100kB"))
    shards = sorted(map(str, folder.glob("*.tar")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = list(webdataset.WebDataset(shards, shardshuffle=False))
    expected = samples_in(folder)
    assert [sample["__key__"] for sample in read] == list(expected)
    assert [{suffix: sample[suffix] for suffix in ("mp4", "cls", "json")} for sample in read] == list(expected.values())


@pytest.mark.slow
def test_a_network_learns_the_rendered_actions_from_the_shards(rendered_set: Path, tmp_path: Path) -> None:
    path, size = (
        tmp_path / "set.safetensors",
        "--size 48 --frames 6 --keyframes 6 --vpc 4 --workers 0 --device cpu --quiet",
    )
    steps = "--method random-real --set labels=views --set teacher.train.steps=100 --set labeler.steps=100"
    rest = [*size.split(), *steps.split(), "--cache", str(tmp_path / "cache")]
    assert main(["compress", str(rendered_set), "-o", str(path), *rest]) == 0
    folder = export(path, tmp_path / "out", views=12)
    facts, samples = json.loads((folder / "classes.json").read_text()), samples_in(folder).values()
    mean, std = (torch.tensor(facts[name]).view(3, 1, 1) for name in ("mean", "std"))

    def normalized(frames: list[Tensor]) -> Tensor:
        return ((torch.stack(frames) / 255 - mean) / std).transpose(1, 2)

    decoded, labeler = [frames_of(sample["mp4"]) for sample in samples], open_set(path).labeler
    clips = normalized(decoded)
    labels = torch.tensor([json.loads(sample["json"])["probabilities"] for sample in samples])
    assert labeler is not None
    assert (labeler(torch.stack(decoded).float() / 255) - labels).abs().max() < 0.03  # 0.016 was seen
    videos = sorted(rendered_set.rglob("*.mp4"))
    real = normalized([read_clip(video, ClipSpec(6, 48, 48), label=0, video_id="").frames for video in videos])
    truth = torch.tensor([facts["classes"].index(video.parent.name) for video in videos])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _small_network(len(facts["classes"]))
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        for _ in range(12):
            for rows in torch.randperm(len(clips)).split(16):
                loss = functional.cross_entropy(model(clips[rows]), labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    accuracy = float((model.eval()(real).argmax(1) == truth).float().mean())
    assert len(truth) == 27
    assert accuracy > 0.55  # chance is 1/3, with a probability of 2 % for more than this; four seeds reached 0.70


def _small_network(num_classes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.AvgPool3d((1, 2, 2))]
    for before, after in ((3, 16), (16, 32), (32, 32)):
        layers += [nn.Conv3d(before, after, 3, (1, 2, 2), 1), nn.BatchNorm3d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 6 * 3 * 3, num_classes))
