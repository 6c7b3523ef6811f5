"""The verb `export`: a set file as a folder that trainers of other packages read, and the check of one."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError
from videocompressa.vlm.settings import ExportOptions

OPTIONS = ExportOptions()


@cli.app.command(help_epilogue="Example: `videocompressa export set.safetensors -o folder --to llama-factory`")
def export(
    path: Annotated[Path | None, Parameter(name="SET")] = None,
    /,
    *,
    to: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    options: Annotated[ExportOptions, Parameter(name="*")] = OPTIONS,
    force: cli.Flag = False,
    check: Path | None = None,
    threads: cli.Threads = None,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Write a set file as a folder for a trainer that does not know it, or check such a folder.

    webdataset holds clips, or random views of them with the probabilities of the set's labeler (--views 64), for video
    classifiers. All others hold keyframes with questions, for video-language models: pictures are decoded from the
    latents, or read from the videos with --from-source; class names become words (TableTennisShot: table tennis shot);
    videos that cannot be read are left out and listed.

    Parameters
    ----------
    path
        A set file, or hf:USER/NAME[@REVISION].
    to
        llama-factory, qwen (qwen-vl-finetune), trl, hf (Hugging Face data set), webdataset (clips),
        webdataset-frames or frames (png and jsonl).
    output
        Folder to write.
    force
        Replace the folder if it exists.
    check
        Check this exported folder, and write nothing.
    """
    cli.use_threads(threads)
    if check is not None:
        if path is not None or to is not None or output is not None:
            raise InputError("--check only reads a folder; leave SET, --to and --output out")
        _check(check, reporting)
        return
    if path is None or to is None or output is None:
        missing = "SET" if path is None else "--to" if to is None else "--output"
        raise InputError(f"{missing} is missing; give SET --to FORMAT -o FOLDER, or --check FOLDER")
    _export(path, to, output, options, force, reporting)


def _export(
    path: Path, to: str, folder: Path, options: ExportOptions, overwrite: bool, reporting: cli.ReportingArguments
) -> None:
    from videocompressa.vlm.export.run import export_set

    with terminal.progress(reporting) as report:
        exported = export_set(path, folder, to=to, options=options, overwrite=overwrite, watch=report.watch)
    report.notes(exported.notes, exported.skipped)
    if reporting.json:
        values = {"path": folder, "format": to, **vars(exported), "skipped": terminal.skipped_json(exported.skipped)}
        values["next"] = values.pop("next_steps")
        terminal.print_json(values)
        return
    names = [(name, words) for name, words in exported.names.items() if name != words]
    skipped = len(exported.skipped)
    left_out = f", {skipped} left out (see {'it' if skipped == 1 else 'them'} in export.json)" if skipped else ""
    about = ", one a video" if exported.num_rows == exported.num_items else f" about {exported.num_items} videos"
    rows = {
        "folder": str(folder),
        "rows": f"{exported.num_rows}{about}{left_out}",
    }
    if names:
        rows["names"] = ", ".join(f"{name} = {words!r}" for name, words in names[:3])
        rows["names"] += ", ..." if len(names) > 3 else ""
    terminal.stdout_console().print(terminal.facts_table(rows))
    for step in exported.next_steps:
        report.note(f"next: {step}")


def _check(folder: Path, reporting: cli.ReportingArguments) -> None:
    from videocompressa.vlm.export.check import check_export

    checked = check_export(folder)
    if checked.faults:
        for fault in checked.faults[1:]:
            terminal.Reporter(reporting).note(f"fault: {fault}")
        more = f" (and {len(checked.faults) - 1} more)" if len(checked.faults) > 1 else ""
        raise InputError(f"{folder}: {checked.faults[0]}{more}")
    if reporting.json:
        terminal.print_json({"path": str(folder), "format": checked.to, "num_rows": checked.num_rows, "faults": []})
        return
    terminal.stdout_console().print(f"{folder}: {checked.num_rows} rows of {checked.to}, no fault", markup=False)
