"""Hooks of mkdocs.yml: pages that are not in docs/, made from the README, the command line and the records.

Links stay as they work in the repository; here those that leave docs/ lead to the page or the copy of the file.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.config_options import ExtraScriptValue
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import videocompressa

ROOT = Path(__file__).parents[1]
COPIED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "videocompressa/codecs/weights/tiny_codec.md": "codec.md",
}
"""Pages that are elsewhere in the repository, with their names on the site."""
RESULTS = {
    "A cell of a benchmark": "bench.record.Record",
    "`train --json`": "recipes.train.TrainOutcome",
    "Accuracy over seeds": "students.evaluation.TrainingResult",
    "`compress --json`": "recipes.compress.CompressOutcome",
    "Cost of a file": "synthetic.Cost",
}
"""Records whose fields are those of results, by heading."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take docs/site.js for search without a server, in place of the script that the plugin `offline` would load."""
    config.extra["polyfills"] = [ExtraScriptValue("site.js")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are elsewhere, and those that are generated."""
    for path, name in COPIED.items():
        if (ROOT / path).exists():
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    for name, text in {"cli.md": _command_line(), "api.md": _interface(), "results.md": _results()}.items():
        files.append(File.generated(config, name, content=text))
    config.nav = _existing(config.nav or [], files)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text with links that hold on the site."""
    sources = {name: path for path, name in COPIED.items()}
    folder = posixpath.dirname(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link[0]))
        if path in COPIED:
            return COPIED[path]
        if path.startswith("docs/"):
            return path.removeprefix("docs/")
        name = f"source/{path}.txt"  # as text, which every browser shows
        if (ROOT / path).is_file() and files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
        return name

    return LINK.sub(target, markdown)


def _existing(nav: Iterable[Any], files: Files) -> list[Any]:
    """Return the entries whose pages exist."""
    kept: list[Any] = []
    for entry in nav:
        name = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(name, list):
            kept.append({next(iter(entry)): _existing(name, files)})
        elif files.get_file_from_path(name) is not None:
            kept.append(entry)
    return kept


def _command_line() -> str:
    import videocompressa.cli.main  # noqa: F401  each verb adds itself
    from videocompressa.cli.app import app

    text = app.generate_docs(heading_level=1).replace("# videocompressa\n", "# Command line\n", 1)
    text = re.sub(
        r"(videocompressa \S+) -m \w+", r"\1", text
    )  # cyclopts takes the program that builds the site for ours
    return re.sub("## Table of Contents\n.*?(?=## )", "", text, flags=re.DOTALL)  # the site has its own


def _interface() -> str:
    """Return the page of all public names; mkdocstrings fills it."""
    parts = ["# Python interface", f"```python\nimport videocompressa as vc  # {videocompressa.__version__}\n```"]
    for name in sorted(videocompressa._PUBLIC):
        module, attribute = videocompressa._PUBLIC[name]
        own = f"\n    options:\n      heading: {name}\n      toc_label: {name}"
        parts.append(f"::: videocompressa.{module}.{attribute}{own}")
    return "\n\n".join(parts)


def _results() -> str:
    """Return the page of records: a table of fields each, with their docstrings."""
    parts = [
        "# Fields of results",
        "`results.json` of `bench` is a list of records. `--json` of the verbs prints one object with the fields of "
        "the records below. Accuracies are in [0,1]; an unknown number is null. What the scores mean: "
        "[Run a benchmark](bench.md#what-is-measured).",
    ]
    package = griffe.load("videocompressa", search_paths=[str(ROOT)])
    for heading, path in RESULTS.items():
        rows = ["| field | type | |", "|---|---|---|"]
        for name, field in package[path].attributes.items():
            text = " ".join(field.docstring.value.split()) if field.docstring else ""
            kind = str(field.annotation).replace("|", "or")
            rows.append(f"| `{name}` | {kind} | {text.replace('|', chr(92) + '|')} |")
        parts += [f"## {heading}", "\n".join(rows)]
    return "\n\n".join(parts)
