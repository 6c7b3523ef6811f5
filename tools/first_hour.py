"""Play the first hour of three users from a checkout, on small rendered videos, and write it down as a page.

Somebody with phone videos in plain folders, somebody with a csv that has splits, and somebody in Python. Each types a
first command, and from then on what the tool prints: its next commands, and the advice of its notes and errors. The
script fails where one of them does not work. Times are left out of the page: they are those of a busy machine.

    python tools/first_hour.py -o runs/first_hour --page docs/first_hour.md
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import torch

from videocompressa.cli.main import main
from videocompressa.demo.videos import render_set
from videocompressa.video import write_png

ROOT = Path(__file__).resolve().parents[1]
ACTIONS = ("jump", "kick", "wave")
PROGRESS = re.compile(r"^[a-z ]+(?: \d+/\d+)?: [\d.]+ of [\d.]+.*\n", re.MULTILINE)
DURATION = re.compile(r"(?:under )?\d+(?:\.\d+)?(?: to \d+(?:\.\d+)?)? (?:s|min|h)\b")
TIMED = re.compile(r"^(?:time|expected time|training) .*$", re.MULTILINE)


@dataclass
class Session:
    """A terminal of one user, and what is written down of it."""

    folder: Path
    steps: int
    """Of the labeler and of students: far fewer than the defaults."""
    page: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Write prose into the page."""
        self.page.append(textwrap.fill(text, 120))

    def show(self, language: str, text: str) -> None:
        """Write a block into the page."""
        self.page.append(f"```{language}\n{text.rstrip()}\n```")

    def run(self, command: str, *, fails: bool = False) -> str:
        """Run a verb with its options; return what it prints, stdout and stderr as they come.

        Exits when it fails, or with `fails` when it does not.
        """
        printed = io.StringIO()
        with contextlib.chdir(self.folder), redirect_stdout(printed), redirect_stderr(printed):
            code = main(shlex.split(command))
        text, command = printed.getvalue(), f"videocompressa {command}"
        if (code != 0) != fails:
            sys.exit(f"{self.folder}: this {'works' if fails else 'does not work'}: {command}\n{text}")
        self.write_down(command, text)
        return text

    def write_down(self, command: str, text: str) -> None:
        """Write a command and what it printed into the page, without progress and times."""
        shown = TIMED.sub(lambda row: DURATION.sub("...", row[0]), PROGRESS.sub("", text))
        lines = [line.rstrip() for line in shown.replace(str(self.folder), "...").splitlines()]
        self.show("console", "\n".join([f"$ {command}", *lines]))
        print(f"$ {command}", flush=True)

    def follow(self, printed: str, *more: str) -> str:
        """Run the command that was printed as the next one, with more options."""
        return self.run(" ".join([self.told("next: videocompressa (.*)", printed), *more]))

    def told(self, pattern: str, printed: str) -> str:
        """Return what the output says at the group of the pattern; exits when it does not say it."""
        found = re.search(pattern, printed)
        if found is None:
            sys.exit(f"{self.folder}: expected {pattern!r} in:\n{printed}")
        return found[1]


def phone(session: Session) -> None:
    """Portrait videos in plain class folders, without a split; the folder above them is given first."""
    folder, small = session.folder, f"--set labeler.steps={session.steps}"
    render_set(folder / "drawn", clips_per_class=(8, 1), size=(96, 54), seed=1, actions=ACTIONS)
    (folder / "phone").mkdir()
    (folder / "drawn" / "train").rename(folder / "phone" / "holiday")
    (folder / "drawn" / "test").rename(folder / "new")
    (folder / "phone" / "holiday" / "notes.txt").touch()
    write_png(folder / "photo.png", torch.zeros(3, 32, 32, dtype=torch.uint8))
    session.say("## Phone videos in plain folders")
    session.say(
        "Upright videos in `phone/holiday/jump/000.mp4` and so on, eight of each of three classes. The folder above is "
        "typed, and the error says which one was meant."
    )
    data = session.told("if those are the classes, give (\\S+) instead", session.run("plan phone", fails=True))
    session.say("The first note says that nothing could judge a set of all videos, the last what the crop cuts off:")
    planned = session.run(f"plan {data} {small}")
    session.told("(has no test videos)", planned)
    session.say(
        "With the option that keeps all of the picture. `plan` ends with a command that does all this, and that holds "
        "videos out. Before it is run, an option is forgotten, and a photo is taken for a set:"
    )
    planned = session.run(f"plan {data} {small} {session.told('(--fit pad)', planned)}")
    session.told("(-o or --output is missing)", session.run(f"compress {data}", fails=True))
    session.told("(not a set file)", session.run("inspect photo.png", fails=True))
    compressed = session.follow(planned)
    session.say("The student is kept (`--save-model`), and says the classes of new videos.")
    session.follow(compressed, f"--steps {session.steps} --seeds 1 --save-model model")
    session.run("predict new --model model")
    session.run("inspect set.safetensors --contact-sheet sheet.png --html page.html")


def table(session: Session) -> None:
    """A csv that has splits, beside the folder of its videos."""
    folder = session.folder
    render_set(folder / "clips", clips_per_class=(6, 3), size=(64, 64), seed=2, actions=ACTIONS)
    listed = sorted(path.relative_to(folder) for path in (folder / "clips").rglob("*.mp4"))
    lines = [f"{path.as_posix()},{path.parent.name},{path.parts[1]}" for path in listed]
    (folder / "videos.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    session.say("## A csv with splits")
    session.say("The list has the columns that the README names; its paths are relative to it.")
    session.show("text", "\n".join(["path,label,split", *lines[:2], "..."]))
    planned = session.run(f"plan videos.csv --set labeler.steps={session.steps}")
    compressed = session.follow(planned)
    session.say("A mean over two students; and the same students on all of the videos, to compare with:")
    session.follow(compressed, f"--steps {session.steps} --seeds 2")
    session.run(f"train videos.csv --steps {session.steps} --seeds 2")
    session.say("A budget in per cent, with the sign forgotten; what the error proposes; and the most for a few bytes:")
    asked = "compress videos.csv -o percent.safetensors --method random-real --keyframes 2 --ratio"
    percent = session.told("or ([0-9.]+%)", session.run(f"{asked} 0.8", fails=True))
    session.run(f"{asked} {percent}")
    compressed = session.run("compress videos.csv -o few.safetensors --bytes 6kB --method typical-clips")
    session.follow(compressed, f"--steps {session.steps} --seeds 1")
    session.say("Frames for a trainer of video-language models, and the check of what was written:")
    exported = session.run("export set.safetensors --to frames -o frames")
    subprocess.run(shlex.split(session.told("next: (head .*)", exported)), check=True, stdout=subprocess.DEVNULL)
    session.run("export --check frames")


def python(session: Session) -> None:
    """The same videos in Python: the snippets of the README and of docs/python.md."""
    steps = str(session.steps)
    changes = {
        ")  # takes the": f', settings={{"labeler.steps": {steps}}})  # takes the',
        "steps=1600": f"steps={steps}, seeds=1",
        "set.safetensors": "python.safetensors",
        '"videos"': '"videos.csv"',
        "range(20)": "range(3)",
    }
    code = "\n".join([_snippet("README.md", "vc.compress"), _snippet("docs/python.md", "vc.real_clips")])
    for old, new in changes.items():
        if old not in code:
            sys.exit(f"expected {old!r} in the snippets of README.md and docs/python.md")
        code = code.replace(old, new)
    (session.folder / "session.py").write_text(code)
    session.say("## A Python session")
    session.say(
        "The same videos, with the lines of the README, and a loop of one's own that real videos judge "
        "([python.md](python.md))."
    )
    session.show("python", code)
    environment, script = os.environ | {"PYTHONPATH": str(ROOT)}, [sys.executable, "session.py"]
    ran = subprocess.run(script, cwd=session.folder, env=environment, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"session.py does not work:\n{ran.stderr}")
    session.write_down("python session.py", ran.stdout)


def _snippet(page: str, word: str) -> str:
    """Return the first Python block of a page with this word."""
    blocks: list[str] = re.findall("```python\\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return next(block for block in blocks if word in block)


def play_all() -> None:
    """Run all three sessions."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder for the videos and what is made of them"
    )
    parser.add_argument("--steps", type=int, default=120, help="training steps of every network")
    parser.add_argument("--page", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    page = [INTRODUCTION]
    os.environ |= {"COLUMNS": "80", "VIDEOCOMPRESSA_CACHE": str(arguments.output.resolve() / "cache")}
    for play, name in ((phone, "phone"), (table, "csv"), (python, "csv")):
        folder = arguments.output.resolve() / name
        folder.mkdir(parents=True, exist_ok=name == "csv" and play is python)
        session = Session(folder, arguments.steps)
        play(session)
        page += session.page
    if arguments.page is not None:
        arguments.page.write_text("\n\n".join(page) + "\n", encoding="utf-8")


INTRODUCTION = """# The first hour

Three users on small rendered videos. `python tools/first_hour.py -o runs/first_hour --page docs/first_hour.md` wrote
this page, and fails where a command or an advice that the tool prints does not work. Networks take few steps here, so
accuracies mean nothing: leave `--set labeler.steps=...` and `--steps` out for your own videos. Progress and times are
left out."""


if __name__ == "__main__":
    play_all()
