"""The verb `predict`: the classes of new videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal

COMPUTING, READING = cli.Computing(), cli.Reading()


@cli.app.command(help_epilogue="Example: `videocompressa predict new/*.mp4 --model model`")
def predict(
    *videos: Annotated[Path, Parameter(name="VIDEO")],
    model: Path,
    top: int = 3,
    seen: cli.Flag = False,
    computing: cli.ComputingArguments = COMPUTING,
    reading: cli.ReadingArguments = READING,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Say the classes of new videos by a model that `train --save-model` wrote.

    A video that cannot be read is skipped and listed.

    Parameters
    ----------
    videos
        Videos, or folders, tars and parquet files in which all videos are taken; paths or URLs.
    model
        Folder that `train --save-model` wrote.
    top
        Classes to list of each video, the most likely first.
    seen
        Also of videos that the model, or its set, was made from, which are refused otherwise.
    """
    from videocompressa.recipes.predict import predict_videos

    with terminal.progress(reporting) as report:
        device, workers = computing.chosen(), reading.chosen()
        outcome = predict_videos(videos, model, top=top, seen=seen, workers=workers, device=device, watch=report.watch)
    report.notes((), outcome.skipped)
    if reporting.json:
        rows = [{"video": each.video, "classes": dict(each.classes)} for each in outcome.videos]
        terminal.print_json({"model": model, "videos": rows, "skipped": terminal.skipped_json(outcome.skipped)})
        return
    table = terminal.table("video", "class", "probability", "or", right=("probability",))
    for each in outcome.videos:
        (name, share), *others = each.classes
        rest = ", ".join(f"{other} {100 * value:.0f} %" for other, value in others)
        terminal.add_row(table, each.video, name, f"{100 * share:.0f} %", rest)
    terminal.stdout_console().print(table)
