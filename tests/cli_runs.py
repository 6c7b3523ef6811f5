"""Very small videos, and the command line run in this process: what the tests of recipes and command line share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from videocompressa.cli.main import main
from videocompressa.video import write_video

CLIPS = ("--size", "32", "--frames", "4", "--workers", "0", "--device", "cpu")
"""Candidates small enough for tests."""

TINY = (*CLIPS, "--codec", "tiny")
"""The same behind a codec with weights."""

QUICK = tuple(
    part
    for setting in (
        "labels=soft",
        "subset=facility-location",
        "synthesis.enabled=true",
        "joint.steps=2",
        "joint.width=8",
        "teacher.train.student=framenet2d",
        "teacher.train.width=0.25",
        "teacher.train.steps=2",
        "teacher.train.warmup_steps=0",
        "teacher.num_views=2",
        "pool.ages=1,2",
        "pool.task_from=1",
        "synthesis.steps=2",
    )
    for part in ("--set", setting)
)
"""The complete method with synthesis and soft labels, two steps of each part."""

STUDENT = ("--student", "framenet2d", "--steps", "3", "--batch-size", "4", "--width", "0.25", "--seeds", "2")


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of a failed command."""
        assert self.code == 2, (self.code, self.err)
        assert self.out == ""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.endswith(f"{lines[0]}\n")
        assert "Traceback" not in self.err
        return lines[0]


class Runner:
    """Runs commands with a cache of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], cache: Path) -> None:
        self.capsys, self.cache = capsys, cache

    def __call__(self, *arguments: object) -> Ran:
        self.capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    def compress(self, data: Path, output: Path, *more: object) -> Ran:
        """Compress by random selection, which trains nothing, and one video a class, unless others are given."""
        method = () if "--method" in more else ("--method", "random-real")
        budget = () if {"--vpc", "--ratio", "--bytes"} & set(more) else ("--vpc", "1")
        usual = _not_in(more, *TINY, "--cache", self.cache)
        return self("compress", data, "-o", output, *usual, *method, *budget, *more)

    def train(self, subject: Path, *more: object) -> Ran:
        """Train two tiny students for three steps."""
        return self("train", subject, *_not_in(more, *CLIPS, "--cache", self.cache, *STUDENT), *more)


def _not_in(given: tuple[object, ...], *usual: object) -> list[object]:
    """Return the usual options (name, value, name, value, ...) that are not given."""
    pairs = zip(usual[::2], usual[1::2], strict=True)
    return [part for name, value in pairs if name not in given for part in (name, value)]


def draw_clip(seed: int, *, bright: bool, num_frames: int = 6) -> torch.Tensor:
    """Return (T,3,40,48) uint8 noise, bright or dark; frames differ."""
    noise = torch.randint(0, 100, (num_frames, 3, 40, 48), generator=torch.Generator().manual_seed(seed))
    return (noise + (150 if bright else 0)).to(torch.uint8)


def draw_videos(root: Path, *, train: int = 4, test: int = 2, classes: tuple[str, ...] = ("dark", "light")) -> Path:
    """Write root/SPLIT/CLASS/N.mp4; the classes differ in brightness."""
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            for label, name in enumerate(classes):
                path = root / split / name / f"{number}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = 100 * number + 10 * label + (split == "test")
                write_video(path, draw_clip(seed, bright=label % 2 == 1), fps=10)
    return root


def everything_in(folder: Path) -> set[str]:
    """Return the paths of all files below a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
