"""The verb `bench`: every method under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import Group, Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError
from videocompressa.recipes.options import BudgetOptions, NumBytes, Share

if TYPE_CHECKING:
    from pathlib import Path

    from videocompressa.bench.rows import BenchOptions
    from videocompressa.bench.run import BenchOutcome
    from videocompressa.run import Watch

Value = TypeVar("Value")

COLUMNS = Group("Budgets", sort_key=10)
EXPERIMENTS = Group("Experiments next to the table", sort_key=11)


@dataclass(frozen=True)
class BenchArguments:
    """What a benchmark compares, as it is written on the command line."""

    methods: str = "all"
    """Names with commas between them, or all. "full" is training on all videos with the same steps, "full-long" with
    four times as many. Settings of a method follow its name: random-real:selector=shots;fill=linear."""
    labels: str = "hard,soft,views"
    """Kinds of labels of every method, each with tables of its own: hard; soft (stored, of a teacher); views (each view
    of the clips is labeled in training, by the labeler that the file carries)."""
    controls: bool | None = None
    """With labels views, show what the labeler does by itself: as the classifier, on noise and on random clips; on when
    not given."""
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = ()
    """A setting of every method that has it, and of the teachers of full data, as name=value; repeat for more."""
    vpc: Annotated[str | None, Parameter(group=COLUMNS)] = None
    """Videos per class of each column, such as 1,5,10 (used when no other budget is given)."""
    ratio: Annotated[str | None, Parameter(group=COLUMNS)] = None
    """Shares of the training frames, such as 0.13%,1%, in place of --vpc."""
    num_bytes: Annotated[str | None, Parameter(name="--bytes", group=COLUMNS)] = None
    """Sizes of the file, such as 20kB,100kB, in place of --vpc."""
    keyframes: Annotated[str, Parameter(group=COLUMNS)] = "4"
    """Keyframes a video (K). The first is that of the table; more make the plot of accuracy against K."""
    seeds: int = 3
    """Sets and students of each cell."""
    students: str | None = None
    """The first evaluates all methods; the others evaluate the same sets across architectures. The protocol's first
    when not given. Any that train --student takes, backbones and networks of yours included."""
    codec: str = "tiny"
    """The codec of methods that store latents."""
    ablation: Annotated[bool, Parameter(group=EXPERIMENTS, negative="")] = False
    """Run the ablation of videocompressa, too."""
    codecs: Annotated[str, Parameter(group=EXPERIMENTS)] = "linear,pixel"
    """Further codecs of the ablation."""
    steps: Annotated[str | None, Parameter(group=EXPERIMENTS)] = None
    """Synthesis steps for the plot of accuracy against steps, such as 0,25,50,100,200."""
    train_steps: Annotated[str | None, Parameter(group=EXPERIMENTS)] = None
    """Training steps of students for the curve of accuracy against compute, such as 400,1600,4800: of every set of the
    table, and of full data."""
    protocol: str = "fair"
    """fair, vdsd:SET (miniucf, hmdb51, k400 or ssv2) or video-dc:SET (ucf101, hmdb51 or k400). The last two set
    size, frames, placement, layout and classes themselves."""
    scale: str = "published"
    """How much work the methods do: published, or small (two CPU cores)."""
    split: Literal["test", "val"] = "test"
    """Videos of the evaluation; choose on val (--hold-out), read test once."""
    train: Annotated[tuple[str, ...], Parameter(name="--train", negative="", show_default=False)] = ()
    """A setting of every student's training, as name=value; repeat for more."""

    def options(self) -> BenchOptions:
        """Return the options; raises `InputError` for texts that cannot be read."""
        from videocompressa.bench.record import FULL, FULL_LONG
        from videocompressa.bench.rows import BenchOptions
        from videocompressa.methods import METHODS

        known = (FULL, FULL_LONG, *METHODS)
        columns = {"vpc": self.vpc, "ratio": self.ratio, "bytes": self.num_bytes}
        given = {name: text for name, text in columns.items() if text is not None}
        same = ("controls", "settings", "codec", "ablation", "protocol", "scale", "split", "train")
        values: dict[str, Any] = {name: getattr(self, name) for name in same}
        listed = {"labels": str, "keyframes": int, "students": str, "codecs": str, "steps": int, "train_steps": int}
        for name, kind in listed.items():
            if (text := getattr(self, name)) is not None:
                values[name] = _listed(f"--{name.replace('_', '-')}", text, kind)
        if self.methods != "all":
            values["methods"] = _methods(self.methods, known)
        return BenchOptions(
            **values,
            budgets=_budgets(given or {"vpc": "1,5,10"}),
            num_seeds=self.seeds,
        )


BENCH = BenchArguments()


@cli.app.command(help_epilogue="Example: `videocompressa bench videos -o results --methods full,random-real --vpc 1,5`")
def bench(
    data: cli.Data,
    /,
    *,
    output: cli.Output,
    arguments: Annotated[BenchArguments, Parameter(name="*")] = BENCH,
    jobs: int = 1,
    log_dir: cli.LogDir = None,
    candidates: cli.CandidateArguments = cli.CANDIDATES,
    config: cli.ConfigFile = None,
    running: cli.RunningArguments = cli.RUNNING,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Compare methods at equal file bytes: accuracy, cost and memory, as tables and plots.

    Every cell has several seeds, each with a set and a student of its own. Run the same command again to resume; cells
    that failed are tried again.

    Parameters
    ----------
    output
        Folder for results.json, results.csv, results.md, the plots, all sets, and index.html: the page of the most
        accurate of them.
    jobs
        Cells that run at a time, each in a process with its share of the threads.
    """
    from videocompressa.bench.run import bench as run_bench
    from videocompressa.bench.tables import markdown

    options = arguments.options()
    with terminal.progress(reporting) as report:
        surroundings = running.surroundings(report.watch)
        outcome = run_bench(
            data, output, options=options, candidates=candidates, jobs=jobs, log_dir=log_dir, surroundings=surroundings
        )
        page = _write_page(outcome, data, report.watch)
    report.notes(outcome.notes)
    files = (*outcome.files, *page)
    if reporting.json:
        terminal.print_json(
            {
                "folder": outcome.folder,
                "num_cells": len(outcome.records),
                "num_failed": sum(record.status == "failed" for record in outcome.records),
                "files": files,
            }
        )
        return
    terminal.stdout_console().print(markdown(outcome.records), markup=False, soft_wrap=True)
    for path in files:
        report.note(f"wrote {path}")
    if outcome.best is not None:
        best, codec = outcome.best
        networks = {} if codec is None else {"codec": codec}
        report.next_command(cli.training_command(best, data, options.split, outcome.candidates, running, networks))


def _write_page(outcome: BenchOutcome, data: Path, watch: Watch) -> tuple[Path, ...]:
    """Write the page of the most accurate set with all results, where there is one."""
    from videocompressa.artifact import measure
    from videocompressa.page.write import accuracy_in, write_page
    from videocompressa.recipes.sets import open_set

    if outcome.best is None:
        return ()
    path, codec = outcome.best
    synthetic, page = open_set(path, codec), outcome.folder / "index.html"
    write_page(
        synthetic,
        measure(path),
        page,
        data=data if data.is_dir() else None,
        accuracy=accuracy_in(outcome.records, synthetic),
        records=outcome.records,
        watch=watch,
    )
    return (page,)


def _listed(option: str, text: str, kind: Callable[[str], Value]) -> tuple[Value, ...]:
    """Return the values of an option that takes several, with commas between them."""
    try:
        values = tuple(dict.fromkeys(kind(part.strip()) for part in text.split(",") if part.strip()))
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    except ValueError:
        raise InputError(f"{option} is {text!r}; write whole numbers with commas between them, as in 1,5,10") from None
    if not values:
        raise InputError(f"{option} is empty; give at least one, with commas between several")
    return values


def _methods(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return methods with their settings; a comma that no method follows belongs to the value of a setting."""
    methods: list[str] = []
    for part in _listed("--methods", text, str):
        if methods and ":" in methods[-1] and part.partition(":")[0] not in known:
            methods[-1] += f",{part}"
        else:
            methods.append(part)
    return tuple(methods)


def _budgets(given: dict[str, str]) -> tuple[BudgetOptions, ...]:
    if len(given) > 1:
        names = " and ".join(f"--{name}" for name in given)
        raise InputError(f"{names} were given; the columns are of one kind")
    ((name, text),) = given.items()
    kinds: dict[str, Callable[[str], Any]] = {"vpc": int, "ratio": Share, "bytes": NumBytes}
    return tuple(BudgetOptions(**{name: value}) for value in _listed(f"--{name}", text, kinds[name]))
