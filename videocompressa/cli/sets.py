"""The verbs `inspect` and `decode`: what is in a set file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError
from videocompressa.recipes.facts import set_rows

if TYPE_CHECKING:
    from videocompressa.synthetic import Cost, SyntheticSet


@dataclass(frozen=True)
class PageArguments:
    """The page of a set, as asked for on the command line."""

    html: Path | None = None
    """Also write a page to this .html file: clips that play, labels, costs and results, in any browser, offline."""
    data: Annotated[Path | None, cli.AS_PATH] = None
    """The folder that was compressed: the page shows frames of its videos beside the keyframes."""
    results: Annotated[tuple[Path, ...], Parameter(negative="")] = ()
    """For the page: a file with what train --json printed, for the set or for all videos, or the folder of bench;
    repeat for more."""
    selector: Path | None = None
    """With --data, the file that compress --selector-out wrote: the page shows its scores of all candidates."""
    assets: Path | None = None
    """Folder for the pictures and clips of the page, in place of inside it: for large sets."""


PAGE = PageArguments()


@cli.app.command(help_epilogue="Example: `videocompressa inspect set.safetensors --html page.html --data videos`")
def inspect(
    path: cli.SetFile,
    /,
    *,
    contact_sheet: Path | None = None,
    page: Annotated[PageArguments, Parameter(name="*")] = PAGE,
    codec: cli.CodecFolder = None,
    force: cli.Flag = False,
    threads: cli.Threads = None,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Show what a set file holds, where it comes from and what it costs.

    Parameters
    ----------
    contact_sheet
        Also write a picture of all keyframes to this .png file.
    force
        Replace the contact sheet and the page if they exist.
    """
    from videocompressa.artifact import measure, read_set
    from videocompressa.files import check_output
    from videocompressa.recipes.sets import open_set

    cli.use_threads(threads)
    _check_page(page, overwrite=force)
    if contact_sheet is not None:
        check_output(contact_sheet, overwrite=force)
    synthetic, cost = read_set(path), measure(path)
    if contact_sheet is not None:
        from videocompressa.recipes.contact_sheet import contact_sheet as draw

        draw(open_set(path, codec), path=contact_sheet)
    if page.html is not None:
        _write_page(open_set(path, codec), cost, page, reporting)
    if reporting.json:
        terminal.print_json(_set_json(path, synthetic, cost) | {"contact_sheet": contact_sheet, "html": page.html})
        return
    _print_set(path, synthetic, cost)
    for name, written in (("contact sheet", contact_sheet), ("page", page.html)):
        if written is not None:
            terminal.stdout_console().print(f"{name}: {written}", markup=False)


def _check_page(page: PageArguments, *, overwrite: bool) -> None:
    if page.html is not None:
        from videocompressa.page.write import check_page

        check_page(page.html, page.assets, overwrite=overwrite)
        if page.selector is not None and page.data is None:
            raise InputError("--selector scores frames of the videos; give the folder that was compressed, --data DATA")
        return
    for name in ("data", "results", "selector", "assets"):
        if getattr(page, name):
            raise InputError(f"--{name} is for the page; give --html page.html too")


def _write_page(synthetic: SyntheticSet, cost: Cost, page: PageArguments, reporting: cli.ReportingArguments) -> None:
    from videocompressa.page.write import read_all_results, write_page
    from videocompressa.recipes.compress import Origins
    from videocompressa.recipes.keyframes import candidate_scores

    assert page.html is not None
    accuracy, records = read_all_results(page.results, synthetic)
    scores = None
    if page.selector is not None and page.data is not None:
        scores = candidate_scores(synthetic, page.data, page.selector)
    with terminal.progress(reporting) as report:
        shown = write_page(
            synthetic,
            cost,
            page.html,
            assets=page.assets,
            data=page.data,
            origins=Origins(scores=scores),
            accuracy=accuracy,
            records=records,
            watch=report.watch,
        )
    report.notes(shown.notes)


def _print_set(path: Path, synthetic: SyntheticSet, cost: Cost) -> None:
    console = terminal.stdout_console()
    origin = synthetic.provenance
    console.print(terminal.facts_table({"file": path, **set_rows(synthetic, cost)}))
    items = terminal.table("item", "class", "video", "keyframes of T", "seconds", right=("item",), title="items")
    for item in range(len(synthetic)):
        terminal.add_row(
            items,
            str(item),
            _label_text(synthetic, item),
            origin.video_ids[item],
            " ".join(str(position) for position in synthetic.positions[item].tolist()),
            " ".join(f"{seconds:.2f}" for seconds in synthetic.times_seconds[item].tolist()),
        )
    console.print(items)


@cli.app.command(help_epilogue="Example: `videocompressa decode set.safetensors -o clips --format gif`")
def decode(
    path: cli.SetFile,
    /,
    *,
    output: cli.OutputFolder,
    kind: Annotated[Literal["mp4", "gif", "png"], Parameter(name="--format")] = "mp4",
    codec: cli.CodecFolder = None,
    force: cli.Replace = False,
    threads: cli.Threads = None,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Write the clips of a set file as videos, or its keyframes as pictures, in a folder a class.

    Parameters
    ----------
    kind
        mp4 and gif hold complete clips, png single keyframes.
    """
    from videocompressa.files import check_output_folder
    from videocompressa.recipes.sets import decode_set, open_set

    cli.use_threads(threads)
    check_output_folder(output, overwrite=force)
    synthetic = open_set(path, codec)
    with terminal.progress(reporting) as report:
        num_files = decode_set(synthetic, output, kind=kind, overwrite=force, watch=report.watch)
    if reporting.json:
        terminal.print_json({"path": output, "num_videos": len(synthetic), "num_files": num_files})
        return
    terminal.stdout_console().print(f"{num_files} {kind} files of {len(synthetic)} items in {output}", markup=False)
    words = ["--codec", codec] if codec else []
    report.next_command(["inspect", path, "--html", terminal.unused("page", ".html"), *words])


def _label_text(synthetic: SyntheticSet, item: int) -> str:
    name = synthetic.classes[int(synthetic.hard_labels[item])]
    return name if synthetic.labels.ndim == 1 else f"{name} {100 * float(synthetic.labels[item].max()):.0f} %"


def _set_json(path: Path, synthetic: SyntheticSet, cost: Cost) -> dict[str, Any]:
    positions, times_seconds = synthetic.positions.tolist(), synthetic.times_seconds.tolist()
    items = zip(synthetic.hard_labels, synthetic.provenance.video_ids, positions, times_seconds, strict=True)
    return {
        "path": path,
        **vars(cost),
        "clip": vars(synthetic.clip),
        "codec": vars(synthetic.codec),
        "classes": synthetic.classes,
        "labels": "soft" if synthetic.labels.ndim == 2 else "hard",
        "labeler": None if synthetic.labeler is None else terminal.labeler_json(synthetic.labeler),
        "fill": synthetic.fill,
        "packing": synthetic.packing,
        "normalization": vars(synthetic.normalization),
        "provenance": vars(synthetic.provenance) | {"source": vars(synthetic.provenance.source)},
        "items": [
            {"class": synthetic.classes[int(label)], "video": video, "positions": places, "times_seconds": times}
            for label, video, places, times in items
        ],
    }
