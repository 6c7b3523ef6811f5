"""The verb `demo`: everything on rendered videos."""

import time
from pathlib import Path

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.texts import duration_text


@cli.app.command(help_epilogue="Example: `videocompressa demo -o runs/demo`")
def demo(
    *,
    output: cli.Output = Path("videocompressa-demo"),
    seed: int = 0,
    force: cli.Flag = False,
    running: cli.RunningArguments = cli.RUNNING,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Render a set of videos, compress it, train on it, and compare with random selection and with all videos.

    Needs no data and no network, and takes under five minutes on two cores. Ends with a table, a contact
    sheet and a page for a browser.

    Parameters
    ----------
    output
        Folder for the rendered videos, the set files, the table, the contact sheet and the page (index.html).
    seed
        Equal seeds give equal videos and equal files.
    force
        Replace the files of an earlier demo; its videos are kept.
    """
    started = time.perf_counter()
    from videocompressa.demo.run import demo as run_demo
    from videocompressa.demo.run import table_lines

    with terminal.progress(reporting) as report:
        outcome = run_demo(output, seed=seed, overwrite=force, surroundings=running.surroundings(report.watch))
    seconds = time.perf_counter() - started
    files = (outcome.videos, outcome.set_path, outcome.table_path, outcome.sheet_path, outcome.page_path)
    if reporting.json:
        named = dict(zip(("videos", "path", "table", "contact_sheet", "html"), files, strict=True))
        terminal.print_json({**named, "rows": [vars(record) for record in outcome.records], "demo_seconds": seconds})
        return
    heading, *lines = table_lines(outcome.records)
    title = "rendered actions, top-1 in % (mean ± spread over seeds)"
    table = terminal.table(*heading, right=heading[1:], title=title)
    for line in lines:
        terminal.add_row(table, *line)
    console = terminal.stdout_console()
    console.print(table)
    facts = dict(zip(("videos", "set", "table", "contact sheet", "page"), files, strict=True))
    console.print(terminal.facts_table({**facts, "time": duration_text(seconds)}))
    report.next_command(["plan", "DATA"])
