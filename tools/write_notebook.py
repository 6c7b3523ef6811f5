"""Write docs/tutorial.ipynb from docs/tutorial.md: python tools/write_notebook.py docs/tutorial.md.

Text, a cell for each block of commands or Python, and nothing else: the page is the one source.
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def notebook_of(markdown: str) -> str:
    """Return the notebook of a page, as text; the same page gives the same text."""
    cells, end = [], 0
    for block in BLOCK.finditer(markdown):
        cells.append(new_markdown_cell(markdown[end : block.start()].strip()))
        cells.append(new_code_cell(block[2].rstrip() if block[1] == "python" else _shell(block[2])))
        end = block.end()
    cells.append(new_markdown_cell(markdown[end:].strip()))
    kept = [cell for cell in cells if cell.source]
    for number, cell in enumerate(kept):
        cell.id = f"cell-{number}"
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    text: str = nbformat.writes(new_notebook(cells=kept, metadata=kernel))
    return text + "\n"


def _shell(commands: str) -> str:
    """Return lines that a notebook runs in a shell; pip is that of its kernel."""
    return "\n".join(f"{'%' if line.startswith('pip ') else '!'}{line}" for line in commands.rstrip().splitlines())


def main() -> None:
    """Write the notebook beside the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="docs/tutorial.md")
    page = parser.parse_args().page
    page.with_suffix(".ipynb").write_text(notebook_of(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
