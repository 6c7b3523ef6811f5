"""The verbs `push` and `pull`: set files on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.recipes.facts import cost_rows

Name = Annotated[str, Parameter(name="NAME", help="A data set on the hub, as USER/NAME.")]


@cli.app.command(help_epilogue="Example: `videocompressa push set.safetensors me/small-set --private`")
def push(
    path: cli.SetFile,
    name: Name,
    /,
    *,
    private: Annotated[bool, Parameter(negative="")] = False,
    revision: str | None = None,
    license_id: Annotated[str | None, Parameter(name="--license")] = None,
    results: Path | None = None,
    codec: cli.CodecFolder = None,
    threads: cli.Threads = None,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Write a set file to the hub, with a card and a preview that the hub's viewer plays, in one commit.

    The data set is made if there is none; the card and the preview of an earlier push are replaced. Log in by `hf auth
    login`, or set HF_TOKEN.

    Parameters
    ----------
    private
        Make a private data set.
    revision
        Branch to write to, made if there is none; main when not given.
    license_id
        License of the pictures, such as cc-by-4.0; the card says that it is to be filled in when not given.
    results
        What `train SET --data DATA --json` printed: the card shows the accuracy and the command.
    """
    from videocompressa.recipes.push import push_set

    cli.use_threads(threads)
    with terminal.progress(reporting) as report:
        pushed = push_set(
            path,
            name,
            private=private,
            revision=revision,
            license_id=license_id,
            results=results,
            codec=codec,
            watch=report.watch,
        )
    if reporting.json:
        terminal.print_json({"path": path, **vars(pushed)})
        return
    rows = {"data set": pushed.name, "commit": pushed.url, "files": len(pushed.files)}
    rows["seen by"] = "those whom you allow" if pushed.private else "everyone"
    terminal.stdout_console().print(terminal.facts_table(rows))
    if license_id is None:
        report.note("note: the card says that the license is to be filled in; --license names it")
    report.next_command(["train", f"hf:{pushed.name}", "--data", "DATA"])


@cli.app.command(help_epilogue="Example: `videocompressa pull me/small-set -o set.safetensors`")
def pull(
    name: Name,
    /,
    *,
    output: cli.Output = Path("set.safetensors"),
    revision: str | None = None,
    force: cli.Replace = False,
    threads: cli.Threads = None,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Write the set file of a data set on the hub to a file.

    Every verb that takes a set file also takes hf:USER/NAME[@REVISION].

    Parameters
    ----------
    output
        The file to write.
    revision
        Branch, tag or commit; main when not given.
    """
    from videocompressa.recipes.push import pull_set

    cli.use_threads(threads)
    with terminal.progress(reporting) as report:
        cost = pull_set(name, output, revision=revision, overwrite=force)
    if reporting.json:
        terminal.print_json({"path": output, **vars(cost)})
        return
    terminal.stdout_console().print(terminal.facts_table({"file": output, **cost_rows(cost)}))
    report.next_command(["train", output, "--data", "DATA"])
