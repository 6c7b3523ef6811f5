"""Every command that a command prints as the next one works as it is printed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from cli_runs import CLIPS, STUDENT, Ran, Runner, draw_clip, draw_videos

from videocompressa.codecs.tiny import WEIGHTS
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, Share, typed
from videocompressa.video import write_video


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Class folders without splits, in a folder whose name needs quotation marks."""
    draw_videos(tmp_path / "drawn", test=0)
    return (tmp_path / "drawn" / "train").rename(tmp_path / "my videos")


def printed(ran: Ran) -> list[str]:
    """Return the words of the next command."""
    assert ran.code == 0, ran.err
    (line,) = re.findall(r"^next: videocompressa (.*)$", ran.err, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.slow
def test_plain_folders_lead_to_students_on_held_out_videos(
    plain: Path, run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("set.safetensors").write_bytes(b"not to be touched")
    usual = (*CLIPS, "--cache", run.cache, "--method", "random-real")
    planned = run("plan", plain, *usual, "--vpc", 4)  # as many as there are: three are left after holding out
    assert f"note: {plain} has no test videos, so that nothing can say how good a set of all of them is" in planned.err
    compress = printed(planned)
    assert compress[:4] == ["compress", str(plain), "-o", "set2.safetensors"]
    assert "--hold-out 20% --" in shlex.join(compress)
    train = printed(run(*compress))
    assert train[:4] == ["train", "set2.safetensors", "--data", str(plain)]
    assert shlex.join(train).endswith("--student framenet2d")  # The default student takes no clips of 32 pixels.
    Path("page.html").write_text("not to be touched")
    trained = run(*train, *STUDENT[2:])
    assert re.search(r"trained on .*\(6 clips\).*\nevaluated on +2 val videos", trained.out)
    inspect = printed(trained)
    assert inspect == ["inspect", "set2.safetensors", "--html", "page2.html", "--data", str(plain)]
    assert run(*inspect).code == 0
    assert printed(run("decode", "set2.safetensors", "-o", "clips")) == [*inspect[:3], "page3.html"]
    words = run(*train, *STUDENT[2:], "--save-model", "model")
    assert printed(words) == ["predict", "VIDEO", "--model", "model"]


def test_compress_says_before_its_run_that_nothing_can_judge_the_set(plain: Path, run: Runner, tmp_path: Path) -> None:
    compressed = run.compress(plain, tmp_path / "set.safetensors")
    note = f"note: {plain} has no test videos, .* add --hold-out 20% to this command and to train, and --split val"
    assert re.search(rf"{note} to train\n(.*\n)?decode: ", compressed.err), compressed.err
    assert compressed.err.count("has no test videos") == 1
    inspect = printed(compressed)
    assert inspect == ["inspect", str(tmp_path / "set.safetensors")]
    assert run(*inspect).code == 0
    assert run.compress(plain, tmp_path / "quiet.safetensors", "--quiet").err == ""


def csv_of_some(root: Path) -> list[object]:
    """A list beside the videos, of three classes of which two are kept, with a split of its own for validation."""
    draw_videos(root, classes=("dark", "light", "pale"))
    lines, split_of = ["path,label,split"], {"train": "train", "test": "val"}
    for path in sorted(root.glob("*/*/*.mp4")):
        split, name, file = path.parts[-3:]
        lines.append(f"../{split}/{name}/{file},{name},{split_of[split]}")
    (root / "lists").mkdir()
    (root / "lists" / "mine.csv").write_text("\n".join(lines))
    return ["--csv", root / "lists" / "mine.csv", "--classes", "dark", "--classes", "light", "--layout", "csv"]


def second_fold(root: Path) -> list[object]:
    """HMDB51's lists, whose second fold alone has test videos."""
    for name in ("dark", "light"):
        (root / name).mkdir(parents=True)
        for number in range(4):
            write_video(root / name / f"{number}.mp4", draw_clip(number, bright=name == "light"), fps=10)
        for fold in (1, 2):
            marks = [f"{number}.mp4 {2 if fold == 2 and number > 2 else 1} " for number in range(4)]
            (root / f"{name}_test_split{fold}.txt").write_text("\n".join(marks))
    return ["--layout", "hmdb51", "--fold", 2]


def two_cameras(root: Path) -> list[object]:
    """A parquet file with two columns of videos and two of labels."""
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    folder = draw_videos(root.with_name("drawn"))
    root.mkdir()
    for split in ("train", "test"):
        paths = sorted((folder / split).glob("*/*.mp4"))
        columns = {
            "front": [path.read_bytes() for path in paths],
            "back": [path.read_bytes() for path in paths],
            "shade": [path.parent.name for path in paths],
            "place": ["here" for _ in paths],
        }
        pq.write_table(pa.table(columns), root / f"{split}-00000-of-00001.parquet")
    return ["--video-column", "back", "--label-column", "shade"]


def own_weights(root: Path) -> list[object]:
    """A codec whose name does not say where it is."""
    draw_videos(root)
    shutil.copy(WEIGHTS, root / "weights.safetensors")
    return ["--codec", f"tiny:{root / 'weights.safetensors'}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [csv_of_some, second_fold, two_cameras, own_weights])
def test_what_was_needed_to_read_the_data_is_printed(kind, run: Runner, tmp_path: Path) -> None:
    options = kind(tmp_path / "data")
    compressed = run.compress(tmp_path / "data", tmp_path / "set.safetensors", *options, "--step", "0.5")
    train = printed(compressed)
    assert ("--split" in train) == (kind is csv_of_some)
    assert run(*train, *STUDENT[2:]).code == 0


@pytest.mark.slow
def test_a_benchmark_leads_to_students_of_its_best_set(run: Runner, tmp_path: Path) -> None:
    options = csv_of_some(tmp_path / "data")
    words = ("bench", tmp_path / "data", "-o", tmp_path / "out", "--cache", run.cache, *CLIPS, *options)
    cells = ("--labels", "hard", "--vpc", "1", "--keyframes", "2", "--seeds", "1", "--students", "framenet2d")
    least = [word for setting in ("steps=2", "batch_size=4", "width=0.25") for word in ("--train", setting)]
    ran = run(*words, *cells, "--methods", "full,random-real,herding-real", "--split", "val", *least)
    train = printed(ran)
    assert train[1].startswith(f"{tmp_path}/out/sets/")
    assert run(*train, *STUDENT[2:]).code == 0


def test_options_are_typed_as_they_are_read() -> None:
    assert typed(CandidateOptions(), BudgetOptions()) == []
    third = Share(1 / 3)
    records = (
        CandidateOptions(hold_out=third, classes=("a b", "c")),
        BudgetOptions(ratio=Share("0.13%"), allow_fewer=True),
    )
    words = typed(*records)
    assert words[:4] == ["--classes", "a b", "--classes", "c"]
    assert Share(words[5]) == third
    assert words[6:] == ["--ratio", "0.13%", "--allow-fewer"]
