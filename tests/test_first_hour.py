"""The first hour of three users: tools/first_hour.py runs, and docs/first_hour.md is what it writes."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def commands(page: str) -> list[str]:
    """Return the commands of a page without their numbers, which are larger where more steps are taken."""
    return [re.sub(r"\d+", "N", line) for line in re.findall(r"^\$ (.*)$", page, re.MULTILINE)]


@pytest.mark.slow
def test_what_is_printed_works_and_the_page_is_of_this_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, tool = tmp_path / "page.md", ROOT / "tools/first_hour.py"
    words = [tool, "-o", tmp_path / "hour", "--steps", "3", "--page", page]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    for name in ("COLUMNS", "VIDEOCOMPRESSA_CACHE"):  # which it sets
        monkeypatch.setenv(name, "")
    runpy.run_path(str(tool), run_name="__main__")
    written = page.read_text(encoding="utf-8")
    assert commands(written) == commands((ROOT / "docs/first_hour.md").read_text(encoding="utf-8"))
    assert len(commands(written)) > 15
    assert str(tmp_path) not in written
