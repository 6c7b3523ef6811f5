"""The verb `plan`: what a folder holds and what compressing it would cost. Torch is imported when it runs."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from videocompressa.cli.app import (
    BUDGET,
    CANDIDATES,
    REPORTING,
    RUNNING,
    AskedBudget,
    CandidateArguments,
    LatentStorage,
    Report,
    Run,
    Settings,
    app,
)
from videocompressa.cli.output import (
    add_row,
    duration,
    facts_table,
    notes_and_skipped,
    percent,
    print_json,
    progress,
    skipped_json,
    stdout_console,
)


@app.command
def plan(
    data: Path,
    /,
    *,
    method: str = "videocompressa",
    codec: str = "tiny",
    settings: Settings = (),
    storage: LatentStorage = "transform",
    step: float | None = None,
    budget: AskedBudget = BUDGET,
    candidates: CandidateArguments = CANDIDATES,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Say what a folder of videos holds and what compressing it would cost: counts, bad files, size and time.

    Parameters
    ----------
    data
        Folder of labeled videos, or a csv that lists them.
    method
        The method that compress would use.
    codec
        The codec that compress would use.
    settings
        A setting of the method, as name=value; repeat for more.
    storage
        How compress would store latents; the size of transform is a guess, as it depends on what the videos show.
    step
        How coarse transform would be; 1 when not given.
    """
    from videocompressa.artifact.storage import Storage
    from videocompressa.recipes.contact_sheet import bytes_text
    from videocompressa.recipes.plan import plan as make_plan

    with progress(reporting) as watch:
        made = make_plan(
            data,
            candidates=candidates,
            budget=budget,
            method=method,
            codec=codec,
            settings=settings,
            storage=Storage(storage, step),
            surroundings=running.surroundings(watch),
        )
    allowance = made.budget.allowance
    if reporting.json:
        print_json(
            {
                "num_videos": made.num_videos,
                "num_frames": made.num_frames,
                "classes": made.classes,
                "bad": skipped_json(made.bad),
                "splits": {name: vars(part) for name, part in made.parts.items()},
                "videos_per_class": None if made.fills else allowance.videos_per_class,
                "keyframes": None if made.fills else allowance.keyframes,
                "frame_ratio": None if made.fills else made.frame_ratio,
                "expected_file_bytes": made.file_bytes,
                "expected_seconds": made.pass_seconds + made.method_seconds,
                "notes": list(made.notes),
            }
        )
        return
    console = stdout_console()
    splits = Table(title=f"{made.source}: {len(made.classes)} classes", title_justify="left")
    for heading in ("split", "videos", "frames", "length", "size"):
        splits.add_column(heading, justify="left" if heading == "split" else "right")
    for name, part in made.parts.items():
        add_row(
            splits, name, str(part.num_videos), str(part.num_frames), duration(part.seconds), bytes_text(part.num_bytes)
        )
    console.print(splits)
    console.print(_class_table(made.classes))
    kept = (
        f"{made.budget.num_items} videos x {allowance.keyframes} keyframes (VPC {allowance.videos_per_class}), "
        f"{percent(made.frame_ratio)} of the training frames"
    )
    ratio = made.file_bytes / made.parts["train"].num_bytes
    console.print(
        facts_table(
            {
                "kept": f"as much as {method} gets into the file" if made.fills else kept,
                "expected file": f"{bytes_text(made.file_bytes)}, {percent(ratio)} of the training videos",
                "expected time": f"{duration(made.pass_seconds)} to decode and encode, about "
                f"{duration(made.method_seconds)} for {method} (estimates from a sample)",
                "bad videos": str(len(made.bad)),
            }
        )
    )
    for video in made.bad:
        console.print(f"  {video.video_id}: {video.reason}", markup=False)
    notes_and_skipped(made.notes, (), reporting)


def _class_table(classes: dict[str, dict[str, int]]) -> Table:
    table = Table()
    splits = list(next(iter(classes.values())))
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name, counts in classes.items():
        add_row(table, name, *(str(counts[split]) for split in splits))
    return table
