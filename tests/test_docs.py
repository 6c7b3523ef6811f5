"""Every command and Python snippet of the README and docs/, in order, at small size; what needs a network or hours is
marked in the text, `<!-- parse: why -->` before the block, and only its options are checked.

Blocks without a language are commands where a line begins with one of `PROGRAMS`. Inline code that begins with
`videocompressa` is checked like a marked block.
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import av
import pytest
import torch
from cli_runs import Ran, Runner, draw_clip
from cyclopts import CycloptsError
from test_backbones import write_backbone

from videocompressa.cli.main import app

ROOT = Path(__file__).parents[1]
HISTORY = {"log.md", "first_hour.md"}  # commands of their time; and a transcript, which has a test of its own
PYTHON_ELSEWHERE = {"README.md", "python.md"}  # tests/test_python.py runs it
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [page for page in PAGES if page.name not in HISTORY]

BLOCK = re.compile(r"(<!-- parse: [^>]+ -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = ("videocompressa ", "pip ", "make ", "python tools/")
OTHERS = {"export", "git", "head", "hf", "llamafactory-cli", "pre-commit", "ray", "torchrun", "trl"}
"""Programs of others, and of the shell, that documents name: not run, not checked."""
BACKBONE = "hf:MCG-NJU/videomae-base"
PLACEHOLDERS = {"FORMAT": "qwen", "/data/": "data/", "hf:FOLDER": "hf:tiny"}

MOST = {"--size": 48, "--frames": 8, "--keyframes": 8, "--vpc": 2, "--steps": 3, "--seeds": 1, "--batch-size": 4}
"""Greatest values of options at small size."""
ALWAYS = {
    "plan": {"--size": "48", "--workers": "0"},
    "compress": {"--size": "48", "--frames": "8", "--vpc": "1", "--keyframes": "4", "--workers": "0"},
    "train": {"--size": "48", "--frames": "8", "--steps": "3", "--seeds": "1", "--width": "0.25", "--workers": "0"},
    "keyframes": {"--frames": "8"},
}
"""Options of verbs where the text gives none."""
QUICK = ("labeler.steps=2", "joint.steps=2", "joint.width=8", "teacher.train.steps=2", "teacher.train.warmup_steps=0")
LEARNS = ("videocompressa", "gumbel")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    is_run: bool

    @property
    def commands(self) -> list[list[str]]:
        """Lines as words; none of a block that holds no commands."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language not in ("", "bash") or not any(line.startswith(PROGRAMS) for line in lines):
            return []
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(language, body, not marked) for marked, language, body in BLOCK.findall(text)]


def check_command(words: list[str]) -> None:
    """Fail where a command names an option, extra, target or file that there is not."""
    program, *arguments = words
    if program == "videocompressa":
        check_options([each for each in arguments if each != "..."])
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for name in re.findall(r"\.\[([\w,]+)\]", " ".join(arguments)):
            assert set(name.split(",")) <= extras.keys(), name
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert arguments[0] in targets
    elif program == "python" and arguments[0].startswith("tools/"):
        source = (ROOT / arguments[0]).read_text()
        assert [each for each in arguments if each.startswith("--") and f'"{each}"' not in source] == []
    else:
        assert program in OTHERS or program == "python" or "=" in program, program


def check_options(arguments: list[str]) -> None:
    """Fail where the command line does not take these options."""
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    try:
        app.parse_args([placed(each) for each in arguments], print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise AssertionError(f"videocompressa {' '.join(arguments)}: {error}") from error


def placed(word: str) -> str:
    for name, value in PLACEHOLDERS.items():
        word = word.replace(name, value)
    return word


def small(arguments: list[str]) -> list[str]:
    """Return a command with smaller numbers."""
    verb, words = arguments[0], list(arguments)
    for place, word in enumerate(words[:-1]):
        if word in MOST:
            words[place + 1] = str(min(MOST[word], int(words[place + 1].split(",")[0])))
    budget = {"--bytes", "--ratio", "--vpc"} & {*words}
    for option, value in ALWAYS.get(verb, {}).items():
        if option not in words and not (budget and option in ("--vpc", "--keyframes")):
            words += [option, value]
    if verb == "compress" and ("--method" not in words or {*LEARNS} & {*words}):
        words += [part for setting in QUICK for part in ("--set", setting)]
    return words


# --- Checked without running ---


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_name_what_there_is(page: Path) -> None:
    for block in blocks_of(page):
        for words in block.commands:
            check_command(words)
        if block.language == "python":
            compile(block.text, page.name, "exec")
    for code in re.findall(r"`(videocompressa [^`]+)`", page.read_text(encoding="utf-8")):
        verb, *rest = shlex.split(code)[1:]
        # A sentence may leave out what a verb needs, so that the first word and the options alone are checked.
        known = {name for each in app[verb].assemble_argument_collection() for name in each.names} | {"--help"}
        if not verb.startswith("-"):
            assert [each for each in rest if each.startswith("--") and each.partition("=")[0] not in known] == [], code


def test_the_help_of_each_verb_ends_with_an_example() -> None:
    for verb in (name for name in app if not name.startswith("-")):
        (example,) = re.findall(r"^Example: `(videocompressa .+)`$", app[verb].help_epilogue or "")
        assert shlex.split(example)[1] == verb
        check_command(shlex.split(example))


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "docs" / "log.md"], ids=lambda page: page.name)
def test_an_empty_line_is_before_each_list(page: Path) -> None:
    """Without it, the site shows the list as one paragraph; repositories do not."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"^(?![-#|<]|\d+\. |  ).+\n(?:- |1\. ).*", text, re.MULTILINE) == []


def test_make_bench_runs_every_benchmark() -> None:
    (lines,) = re.findall(r"^bench:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [shlex.split(line) for line in re.sub(r"\$\((\w+)\)", as_typed, lines).splitlines()]
    for words in commands:
        check_command(words)
    assert {words[1] for words in commands} >= {f"tools/{path.name}" for path in (ROOT / "tools").glob("bench_*.py")}


def as_typed(variable: re.Match[str]) -> str:
    """Return what a variable of the Makefile stands for."""
    return {"PYTHON": "python", "BIN": "", "DATA": "DATA"}[variable[1]]


def test_a_wrong_option_is_found() -> None:
    with pytest.raises(AssertionError, match=r"compress DATA -o s --colour 3: Unknown option"):
        check_command(shlex.split("videocompressa compress DATA -o s --colour 3"))
    for line in ("make tests", 'pip install ".[nothing]"', "python tools/tiny_backbone.py x --kind y", "curl x"):
        with pytest.raises(AssertionError):
            check_command(shlex.split(line))


# --- Run ---


@dataclass
class Session:
    """A folder in which the blocks of one page run, one after another."""

    run: Runner
    names: dict[str, object] = field(default_factory=dict)
    ran: list[tuple[str, Ran]] = field(default_factory=list)

    def do(self, block: Block) -> None:
        if block.language == "python":
            self._python(block.text)
        for words in block.commands:
            words = [placed(word.replace(BACKBONE, "hf:tiny")) for word in words]
            if words[:1] == ["videocompressa"]:
                self._command(words[1:])
            elif words[:1] == ["python"] and words[1].startswith("tools/") and words[1] != "tools/tiny_backbone.py":
                sys.argv = words[1:]
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")

    def _python(self, text: str) -> None:
        if name := re.match(r"# (\w+\.py)\n", text):
            Path(name[1]).write_text(text)
        else:
            exec(text, self.names)

    def _command(self, arguments: list[str]) -> None:
        target = arguments[arguments.index(">") + 1] if ">" in arguments else None
        words = small(arguments[: arguments.index(">")] if target else arguments)
        if "-o" in words and Path(words[words.index("-o") + 1]).exists():  # of an earlier block
            words.append("--force")
        ran = self.run(*words)
        assert ran.code == 0, (" ".join(words), ran.err)
        self.ran.append((words[0], ran))
        if target:
            Path(target).write_text(ran.out)


def write_avi(path: Path, frames: torch.Tensor) -> None:
    """Write (T,3,H,W) uint8 as avi, which `write_video` does not write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = frames.shape[3], frames.shape[2], "yuv420p"
        for frame in frames.permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def session(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A folder with all that the pages take for granted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    for split, count in (("train", 4), ("test", 2)):
        for number in range(count):
            for bright, name in enumerate(("dark", "light")):
                clip = draw_clip(10 * number + bright + 100 * (split == "test"), bright=bool(bright), num_frames=20)
                write_avi(Path("videos", split, name, f"{number}.avi"), clip)
    Path("DATA").symlink_to("videos")
    Path("data").mkdir()
    for name in ("new_videos/a.avi", "more_videos/b.avi", "holiday.mp4"):
        write_avi(Path(name), draw_clip(77, bright=True, num_frames=20))
    write_backbone(tmp_path / "tiny", "videomae")
    return Session(run, {"my_module": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))})


def blocks_to_run(page: Path) -> list[Block]:
    """Return the blocks that are run here."""
    elsewhere = "python" if page.name in PYTHON_ELSEWHERE else None
    blocks = [block for block in blocks_of(page) if block.is_run and block.language != elsewhere]
    return [block for block in blocks if block.commands or block.language == "python"]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_to_run(page)], ids=lambda page: page.name)
def test_pages_run_as_written(session: Session, page: Path) -> None:
    blocks = blocks_to_run(page)
    texts = "".join(block.text for block in blocks)
    if not re.search(r"(?:-o|--output) set\.safetensors", texts) and "set.safetensors" in texts:
        session.do(Block("bash", "videocompressa compress videos -o set.safetensors", True))
    session.ran.clear()
    for block in blocks:
        session.do(block)
    if page.name == "tutorial.md":
        check_tutorial(session)


def check_tutorial(session: Session) -> None:
    assert [verb for verb, _ in session.ran] == ["plan", "compress", "inspect", *["train"] * 3, "predict"]
    outputs = [ran.out for _, ran in session.ran]
    assert all("100.0" in output for output in outputs[3:6])  # bright and dark: any features tell
    assert all(re.search("nearest class mean +100.0 %", output) for output in outputs[3:5])
    assert re.search(r"a\.avi\W+light", outputs[-1])
    (answer,) = session.names["answers"].videos  # type: ignore[attr-defined]
    assert answer.classes[0][0] == "light"
