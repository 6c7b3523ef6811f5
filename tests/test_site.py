"""The documentation site, the notebook of the tutorial, and what is published: citation and wheel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_docs import BACKBONE, Session, placed, session, small  # noqa: F401  a fixture

import videocompressa
from videocompressa.cli.main import app

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class Links(HTMLParser):
    """Addresses of a page, and the ids that links may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values.get("id", "")}
        if tag in ("script", "img", "iframe") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon"):
            self.loaded.append(values["href"])
        if tag == "a" and "href" in values:
            self.linked.append(values["href"])


def addresses(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [each for inner in (entry.values() if isinstance(entry, dict) else entry) for each in addresses(inner)]


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere_and_lead_to_what_there_is(site: Path) -> None:
    pages = {path: Links(path) for path in site.glob("*.html") if path.name != "404.html"}
    assert len(pages) > 20
    for path, page in pages.items():
        assert [each for each in page.loaded if "://" in each or not (site / each.partition("?")[0]).is_file()] == []
        for link in page.linked:
            if re.match(r"\w+:", link):
                continue
            target, _, name = link.partition("#")
            place = (path.parent / target).resolve() if target else path
            assert place.exists(), (path.name, link)
            if name and place in pages:
                assert name in pages[place].ids, (path.name, link)


@pytest.mark.slow
def test_the_site_has_every_page_and_every_name(site: Path) -> None:
    nav = addresses(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= set(nav)
    built = {path.stem for path in site.glob("*.html")}
    assert {Path(page).stem for page in nav if (ROOT / "docs" / page).exists()} <= built
    cli, api, results = ((site / f"{name}.html").read_text() for name in ("cli", "api", "results"))
    verbs = [verb for verb in app if not verb.startswith("-")]
    assert [verb for verb in verbs if f">videocompressa {verb}" not in cli] == []
    assert "mkdocs" not in Links(site / "cli.html").ids
    assert "-m mkdocs" not in cli
    names = [name for name in dir(videocompressa) if not name.startswith("_")]
    assert len(names) > 20
    assert [name for name in names if name not in api] == []
    for field in ("top1_mean", "improvement_over_random", "num_train_clips", "file_bytes"):
        assert f"<code>{field}</code>" in results


@pytest.mark.slow
def test_search_needs_no_server(site: Path) -> None:
    text = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    found = [page["location"] for page in json.loads(text.partition("=")[2])["docs"] if "Gumbel" in page["text"]]
    assert any(location.startswith("method.html") for location in found)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_search_finds_pages_in_a_browser(site: Path, browser: Any, width: int) -> None:
    tab, messages = browser.new_context(viewport={"width": width, "height": 844}, offline=True).new_page(), []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.goto((site / "index.html").as_uri())
    tab.keyboard.press("/")
    tab.keyboard.type("labeler")
    tab.locator(".md-search-result__item").first.wait_for()
    assert "matching documents" in tab.inner_text(".md-search-result__meta")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert messages == []


def test_the_notebook_is_that_of_the_tutorial() -> None:
    pytest.importorskip("nbformat", reason="needs the extra docs")
    written = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from tools.write_notebook import notebook_of; print(end=notebook_of(sys.stdin.read()))",
        ],
        input=(ROOT / "docs/tutorial.md").read_text(encoding="utf-8"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    hint = "run: python tools/write_notebook.py docs/tutorial.md"
    assert written == (ROOT / "docs/tutorial.ipynb").read_text(encoding="utf-8"), hint


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of jupyter's own packages
def test_the_notebook_runs(session: Session, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("nbclient", reason="needs the extra docs")
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs/tutorial.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = "\n".join(map(at_small_size, cell.source.splitlines()))
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=os.environ | {"PYTHONPATH": path})
    outputs = [
        "".join(out.get("text", out.get("data", {}).get("text/plain", "")) for out in cell.get("outputs", ()))
        for cell in notebook.cells
    ]
    assert (tmp_path / "set.safetensors").is_file()
    assert (tmp_path / "sheet.png").is_file()
    assert sum("top-1" in text for text in outputs) >= 1
    assert any(re.search(r"a\.avi\W+(light|dark)", text) for text in outputs)
    assert not [text for text in outputs if "error: " in text]


def at_small_size(line: str) -> str:
    """Return a line of the notebook with smaller numbers and the tiny backbone, in the kernel's own process.

    Nothing is installed.
    """
    if line.startswith("%pip"):
        return ""
    if not line.startswith("!videocompressa "):
        return line
    words = [placed(word.replace(BACKBONE, "hf:tiny")) for word in line.split()[1:]]
    return f"from videocompressa.cli.main import main; assert main({small(words)}) == 0"


def test_the_citation_has_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == videocompressa.__version__
    assert citation["license"] == "Apache-2.0"


@pytest.mark.slow
def test_the_wheel_runs_where_there_is_no_clone(tmp_path: Path) -> None:
    """Without the package index, which `make wheel-test` uses."""
    pytest.importorskip("build", reason="needs the extra dev")
    command = [sys.executable, "tools/wheel_test.py", str(tmp_path), "--borrow"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "py3-none-any.whl works" in ran.stdout
