"""The verb `keyframes`: the telling frames of videos without labels, as numbers and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from videocompressa.cli.app import REPORTING, Force, Output, ReportingArguments, app
from videocompressa.cli.terminal import add_row, facts_table, notes_and_skipped, print_json, progress, stdout_console

SHOWN = 20
"""Videos that are listed on the screen."""


@app.command
def keyframes(
    *videos: Annotated[Path, Parameter(name="VIDEO")],
    output: Output,
    selector: str = "shots",
    count: Annotated[int | None, Parameter(name="--keyframes")] = None,
    frames: int | None = None,
    pictures: Literal["jpg", "png", "none"] = "jpg",
    size: int | None = None,
    seed: int = 0,
    workers: int = 0,
    force: Force = False,
    reporting: ReportingArguments = REPORTING,
) -> None:
    """Pick the keyframes of videos, which need no labels: their indices, times and pictures.

    Writes keyframes.json, keyframes.csv and pictures/VIDEO-INDEX.jpg. A video that cannot be read is skipped
    and listed.

    Parameters
    ----------
    videos
        Videos, or folders in which all videos are taken.
    output
        Folder to write.
    selector
        A file that compress --selector-out wrote; or a rule that needs no training: shots (the middles of the K spans
        between the greatest changes of color), uniform, middle or random.
    count
        Keyframes of each video (K); what the selector was trained for when not given, 4 for a rule.
    frames
        Candidate frames of each video (T), evenly over it; what the selector was trained on when not given, 64 for a
        rule. More are finer and take longer.
    pictures
        jpg, png or none.
    size
        Short side of the pictures in pixels, for videos that are larger; the video's own size when not given.
    seed
        Draws what random picks.
    workers
        Processes that read videos; 0 reads in this process.
    force
        Replace the folder if it exists.
    """
    from videocompressa.recipes.keyframes import as_json, extract_keyframes

    with progress(reporting) as watch:
        made = extract_keyframes(
            videos,
            output,
            selector=selector,
            keyframes=count,
            frames=frames,
            pictures=pictures,
            size=size,
            seed=seed,
            overwrite=force,
            workers=workers,
            watch=watch,
        )
    notes_and_skipped(made.notes, made.skipped, reporting)
    if reporting.json:
        print_json({"path": str(made.folder), **as_json(made), "notes": list(made.notes)})
        return
    console = stdout_console()
    rows = {
        "folder": str(made.folder),
        "keyframes": f"{sum(len(video.keyframes) for video in made.videos)} of {len(made.videos)} videos"
        + (f", {len(made.skipped)} skipped" if made.skipped else ""),
        "selector": f"{made.selector}, {made.num_keyframes} of {made.num_candidates} candidates a video",
    }
    console.print(facts_table(rows))
    table = Table()
    for heading in ("video", "frames", "seconds"):
        table.add_column(heading, overflow="fold")
    for video in made.videos[:SHOWN]:
        add_row(
            table,
            video.video,
            " ".join(str(keyframe.index) for keyframe in video.keyframes),
            " ".join(f"{keyframe.time_seconds:.2f}" for keyframe in video.keyframes),
        )
    console.print(table)
    if len(made.videos) > SHOWN:
        console.print(f"and {len(made.videos) - SHOWN} more in {made.folder / 'keyframes.csv'}", markup=False)
