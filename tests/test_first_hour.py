"""The first hour of three users: tools/first_hour.py runs, and docs/first_hour.md is what it writes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def commands(page: str) -> list[str]:
    """Return the commands of a page without their numbers, which are larger where more steps are taken."""
    return [re.sub(r"\d+", "N", line) for line in re.findall(r"^\$ (.*)$", page, re.MULTILINE)]


@pytest.mark.slow
def test_what_is_printed_works_and_the_page_is_of_this_version(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    words = [sys.executable, ROOT / "tools/first_hour.py", "-o", tmp_path / "hour", "--steps", "3", "--page", page]
    ran = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    written = page.read_text(encoding="utf-8")
    assert commands(written) == commands((ROOT / "docs/first_hour.md").read_text(encoding="utf-8"))
    assert len(commands(written)) > 15
    assert str(tmp_path) not in written
