"""The verb `cache`: what the cache holds, and removal of what was not used for longest."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError
from videocompressa.recipes.cache import KINDS, cache_parts, total_bytes
from videocompressa.recipes.cache import prune as prune_cache
from videocompressa.recipes.options import NumBytes
from videocompressa.texts import bytes_text


@cli.app.command(help_epilogue="Example: `videocompressa cache --prune --max-bytes 20GB`")
def cache(
    *,
    info: cli.Flag = False,
    prune: cli.Flag = False,
    max_bytes: NumBytes | None = None,
    folder: Annotated[Path | None, Parameter(name="--cache")] = None,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Show what the cache holds, or remove what was not used for longest; runs then compute it again.

    Parameters
    ----------
    info
        Show the parts with their sizes and when they were last used; so does the verb alone.
    prune
        Remove everything that no run is writing, or what is beyond --max-bytes.
    max_bytes
        For --prune: what may stay, such as 20GB; the least recently used parts go first.
    folder
        The folder; $VIDEOCOMPRESSA_CACHE or the user's cache folder when not given.
    """
    if info and prune:
        raise InputError("--info and --prune exclude each other; give one of them")
    if max_bytes is not None and not prune:
        raise InputError(f"--max-bytes {max_bytes} is for --prune; give it too")
    place = folder or cli.default_cache()
    removed, parts = prune_cache(place, max_bytes or 0) if prune else ([], cache_parts(place))
    if reporting.json:
        listed = {"removed": [vars(part) for part in removed], "parts": [vars(part) for part in parts]}
        terminal.print_json({"cache": place, "num_bytes": total_bytes(parts), **listed})
        return
    console = terminal.stdout_console()
    if prune:
        console.print(f"removed {bytes_text(total_bytes(removed))} in {len(removed)} parts", markup=False)
    rows = terminal.table("kind", "part", "size", "last used", right=("size",))
    for part in parts:
        used = datetime.fromtimestamp(part.used).strftime("%Y-%m-%d %H:%M")
        terminal.add_row(rows, KINDS[part.kind], part.path.name, bytes_text(part.num_bytes), used)
    console.print(rows)
    console.print(f"{bytes_text(total_bytes(parts))} in {place}", markup=False)
