"""The verb `keyframes`: the most informative frames of videos without labels, as numbers and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.recipes.options import KeyframeOptions

if TYPE_CHECKING:
    from videocompressa.recipes.keyframes import Extracted

MAX_LISTED = 20
"""Videos that are listed on the screen."""

DEFAULTS, READING = KeyframeOptions(), cli.Reading(workers=0)


@cli.app.command(help_epilogue="Example: `videocompressa keyframes new/*.mp4 -o keyframes --selector shots`")
def keyframes(
    *videos: Annotated[Path, Parameter(name="VIDEO")],
    output: cli.OutputFolder,
    options: Annotated[KeyframeOptions, Parameter(name="*")] = DEFAULTS,
    reading: cli.ReadingArguments = READING,
    force: cli.Replace = False,
    threads: cli.Threads = None,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Pick the keyframes of videos, which need no labels: their indices, times and pictures.

    Writes keyframes.json, keyframes.csv and pictures/VIDEO-INDEX.jpg. A video that cannot be read is skipped
    and listed.

    Parameters
    ----------
    videos
        Videos, or folders, tars and parquet files in which all videos are taken; paths or URLs.
    """
    from videocompressa.recipes.keyframes import as_json, extract_keyframes

    cli.use_threads(threads)
    with terminal.progress(reporting) as report:
        workers, watch = reading.chosen(), report.watch
        extracted = extract_keyframes(videos, output, options, overwrite=force, workers=workers, watch=watch)
    report.notes(extracted.notes, extracted.skipped)
    if reporting.json:
        terminal.print_json({"path": extracted.folder, **as_json(extracted), "notes": extracted.notes})
    else:
        _print_tables(extracted)


def _print_tables(extracted: Extracted) -> None:
    videos, console = extracted.videos, terminal.stdout_console()
    skipped = f", {len(extracted.skipped)} skipped" if extracted.skipped else ""
    rows = {
        "folder": extracted.folder,
        "keyframes": f"{sum(len(video.keyframes) for video in videos)} of {len(videos)} videos{skipped}",
        "selector": f"{extracted.selector}, {extracted.num_keyframes} of {extracted.num_candidates} candidates a video",
    }
    console.print(terminal.facts_table(rows))
    table = terminal.table("video", "frames", "seconds")
    for video in videos[:MAX_LISTED]:
        indices = " ".join(str(keyframe.index) for keyframe in video.keyframes)
        times = " ".join(f"{keyframe.time_seconds:.2f}" for keyframe in video.keyframes)
        terminal.add_row(table, video.video, indices, times)
    console.print(table)
    if len(videos) > MAX_LISTED:
        console.print(f"and {len(videos) - MAX_LISTED} more in {extracted.folder / 'keyframes.csv'}", markup=False)
