"""The verb `export`: a set file as a folder that trainers of video-language models read, and the check of one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from videocompressa.cli.app import REPORTING, Force, ReportingArguments, app
from videocompressa.cli.output import (
    facts_table,
    note,
    notes_and_skipped,
    print_json,
    progress,
    skipped_json,
    stdout_console,
)
from videocompressa.errors import InputError


@app.command
def export(
    path: Annotated[Path | None, Parameter(name="SET")] = None,
    /,
    *,
    to: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    from_source: Path | None = None,
    names: Path | None = None,
    questions: Literal["open", "choice", "yes-no"] = "open",
    seed: int = 0,
    codec: str | None = None,
    force: Force = False,
    check: Path | None = None,
    reporting: ReportingArguments = REPORTING,
) -> None:
    """Write the keyframes of a set file as a folder for a trainer of video-language models, or check such a folder.

    Pictures are decoded from the latents, or read from the videos with --from-source. Class names become words
    (TableTennisShot: table tennis shot). Videos that cannot be read are left out and listed.

    Parameters
    ----------
    path
        A set file.
    to
        llama-factory, qwen (qwen-vl-finetune), trl, hf (Hugging Face data set), webdataset or frames (png and jsonl).
    output
        Folder to write.
    from_source
        Folder of the videos that were compressed: pictures are read from them, at their own size.
    names
        A json of {class: words}, in place of the words made from the class names.
    questions
        open asks what is seen, choice lists all classes, yes-no asks about the class and about another one.
    seed
        Draws the questions.
    codec
        Where the set's codec is, when the file does not say it: diffusers:FOLDER.
    force
        Replace the folder if it exists.
    check
        Check this exported folder, and write nothing.
    """
    if check is not None:
        if path is not None or to is not None or output is not None:
            raise InputError("--check only reads a folder; leave SET, --to and --output out")
        _check(check, reporting)
        return
    if path is None or to is None or output is None:
        missing = "SET" if path is None else "--to" if to is None else "--output"
        raise InputError(f"{missing} is missing; give SET --to FORMAT -o FOLDER, or --check FOLDER")
    from videocompressa.vlm.export.run import export_set

    with progress(reporting) as watch:
        made = export_set(
            path,
            output,
            to=to,
            from_source=from_source,
            names=names,
            questions=questions,
            seed=seed,
            codec=codec,
            overwrite=force,
            watch=watch,
        )
    notes_and_skipped(made.notes, made.skipped, reporting)
    if reporting.json:
        print_json(
            {
                "path": str(made.folder),
                "format": made.to,
                "num_items": made.num_items,
                "num_rows": made.num_rows,
                "skipped": skipped_json(made.skipped),
                "names": made.names,
                "notes": list(made.notes),
                "next": list(made.next_steps),
            }
        )
        return
    shown = list(made.names.items())
    rows = {
        "folder": str(made.folder),
        "rows": f"{made.num_rows} about {made.num_items} videos" + _left_out(len(made.skipped)),
        "names": ", ".join(f"{name} = {words!r}" for name, words in shown[:3]) + (", ..." if len(shown) > 3 else ""),
    }
    stdout_console().print(facts_table(rows))
    for step in made.next_steps:
        note(f"next: {step}", reporting)


def _left_out(count: int) -> str:
    return f", {count} left out (see {'it' if count == 1 else 'them'} in export.json)" if count else ""


def _check(folder: Path, reporting: ReportingArguments) -> None:
    from videocompressa.vlm.export.run import check_export

    found = check_export(folder)
    if found.faults:
        for fault in found.faults[1:]:
            note(f"fault: {fault}", reporting)
        more = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
        raise InputError(f"{folder}: {found.faults[0]}{more}")
    if reporting.json:
        print_json({"path": str(folder), "format": found.to, "num_rows": found.num_rows, "faults": []})
        return
    stdout_console().print(f"{folder}: {found.num_rows} rows of {found.to}, no fault", markup=False)
