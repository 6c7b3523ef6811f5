"""The verb `plan`: what a folder holds and what compressing it would cost. Torch is imported when it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.recipes.options import Share, typed
from videocompressa.texts import bytes_text, duration_text, percent_text, span_text

if TYPE_CHECKING:
    from videocompressa.recipes.plan import Plan


@cli.app.command(help_epilogue="Example: `videocompressa plan videos --bytes 100kB`")
def plan(
    data: cli.Data,
    /,
    *,
    options: cli.CompressArguments = cli.COMPRESS,
    budget: cli.BudgetArguments = cli.BUDGET,
    candidates: cli.CandidateArguments = cli.CANDIDATES,
    running: cli.RunningArguments = cli.RUNNING,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Show what a folder of videos holds and what compressing it would cost: counts, bad files, size and time.

    Takes the options of compress. Sizes and times are estimates from a few videos.
    """
    from videocompressa.recipes.plan import plan as plan_folder

    with terminal.progress(reporting) as report:
        planned = plan_folder(
            data, options, candidates=candidates, budget=budget, surroundings=running.surroundings(report.watch)
        )
    if reporting.json:
        terminal.print_json(_plan_json(planned))
        return
    _print_plan(planned, options.method)
    report.notes(planned.notes)
    if planned.judged_by is None and not candidates.hold_out:
        candidates = replace(candidates, hold_out=Share("20%"))
        budget = replace(budget, allow_fewer=budget.allow_fewer or budget.vpc is not None)
    words = typed(options, budget, candidates, running)
    report.next_command(["compress", data, "-o", terminal.unused("set", ".safetensors"), *words])


def _plan_json(planned: Plan) -> dict[str, object]:
    fills = planned.fills_bytes
    return {
        "num_videos": sum(totals.num_videos for totals in planned.splits.values()),
        "num_frames": sum(totals.num_frames for totals in planned.splits.values()),
        "classes": planned.classes,
        "bad": terminal.skipped_json(planned.bad),
        "splits": {name: vars(totals) for name, totals in planned.splits.items()},
        "videos_per_class": None if fills else planned.budget.videos_per_class,
        "keyframes": None if fills else planned.budget.keyframes,
        "frame_ratio": None if fills else planned.frame_ratio,
        "expected_file_bytes": planned.file_bytes,
        "expected_seconds": planned.pass_seconds + planned.method_seconds,
        "notes": planned.notes,
    }


def _print_plan(planned: Plan, method: str) -> None:
    console = terminal.stdout_console()
    numbers = ("videos", "frames", "length", "size")
    splits = terminal.table("split", *numbers, right=numbers, title=f"{planned.source}: {len(planned.classes)} classes")
    for name, totals in planned.splits.items():
        counts = (str(totals.num_videos), str(totals.num_frames))
        terminal.add_row(splits, name, *counts, duration_text(totals.seconds), bytes_text(totals.num_bytes))
    console.print(splits)
    classes = terminal.table("class", *planned.splits, right=planned.splits)
    for name, videos in planned.classes.items():
        terminal.add_row(classes, name, *map(str, videos.values()))
    console.print(classes)
    budget = planned.budget
    kept = (
        f"{planned.num_items} videos x {budget.keyframes} keyframes (VPC {budget.videos_per_class}), "
        f"{percent_text(planned.frame_ratio)} of the training frames"
    )
    ratio = planned.file_bytes / planned.splits["train"].num_bytes
    rows = {
        "kept": f"as much as {method} gets into the file" if planned.fills_bytes else kept,
        "expected file": f"{bytes_text(planned.file_bytes)}, {percent_text(ratio)} of the training videos",
        "expected time": f"{span_text(planned.pass_seconds)} to decode and encode"
        + (f", {span_text(planned.method_seconds)} to train" if planned.method_seconds else "")
        + " (from a sample)",
        **({"bad videos": str(len(planned.bad))} if planned.bad else {}),
    }
    console.print(terminal.facts_table(rows))
    for video in planned.bad:
        console.print(f"  {video.video_id}: {video.reason}", markup=False)
