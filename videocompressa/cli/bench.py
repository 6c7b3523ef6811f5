"""The verb `bench`: every method under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from cyclopts import Group, Parameter

from videocompressa.cli.app import CANDIDATES, REPORTING, RUNNING, CandidateArguments, Report, Run, app
from videocompressa.cli.output import note, print_json, progress, stdout_console
from videocompressa.errors import InputError
from videocompressa.recipes.options import BudgetOptions, NumBytes, Share

Value = TypeVar("Value")

COLUMNS = Group("Budgets", sort_key=10)
EXPERIMENTS = Group("Experiments beside the table", sort_key=11)


@app.command
def bench(
    data: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    methods: str = "all",
    labels: str = "hard,soft",
    vpc: Annotated[str | None, Parameter(group=COLUMNS)] = None,
    ratio: Annotated[str | None, Parameter(group=COLUMNS)] = None,
    num_bytes: Annotated[str | None, Parameter(name="--bytes", group=COLUMNS)] = None,
    keyframes: Annotated[str, Parameter(group=COLUMNS)] = "4",
    seeds: int = 3,
    students: str | None = None,
    codec: str = "tiny",
    ablation: Annotated[bool, Parameter(group=EXPERIMENTS, negative="")] = False,
    codecs: Annotated[str, Parameter(group=EXPERIMENTS)] = "linear,pixel",
    steps: Annotated[str | None, Parameter(group=EXPERIMENTS)] = None,
    protocol: str = "fair",
    scale: str = "published",
    split: Literal["test", "val"] = "test",
    train: Annotated[tuple[str, ...], Parameter(name="--train", negative="", show_default=False)] = (),
    jobs: int = 1,
    candidates: CandidateArguments = CANDIDATES,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Compare methods at equal file bytes: accuracy, cost and memory, as tables and plots.

    Every cell is made by several seeds, each with a set and a student of its own. Run the same command again to go on
    from where it was; cells that failed are tried again.

    Parameters
    ----------
    data
        Folder of labeled videos, or a csv that lists them.
    output
        Folder for results.json, results.csv, results.md, the plots and all sets.
    methods
        Names with commas between them, or all. "full" is training on all videos with the same steps, "full-long" with
        four times as many. Settings of a method follow its name: random-real:selector=shots;fill=linear.
    labels
        Kinds of labels of every method: hard, soft or both.
    vpc
        Videos per class of each column, such as 1,5,10 (used when no other budget is given).
    ratio
        Shares of the training frames, such as 0.13%,1%, in place of --vpc.
    num_bytes
        Sizes of the file, such as 20kB,100kB, in place of --vpc.
    keyframes
        Keyframes a video (K). The first is that of the table; more make the plot of accuracy against K.
    seeds
        Sets and students of each cell.
    students
        The first judges all methods; the others judge the same sets across architectures. The protocol's first when not
        given.
    codec
        The codec of methods that store latents.
    ablation
        Run the ablation of videocompressa, too.
    codecs
        Further codecs of the ablation.
    steps
        Synthesis steps for the plot of accuracy against steps, such as 0,25,50,100,200.
    protocol
        fair, vdsd:SET (miniucf, hmdb51, k400 or ssv2) or video-dc:SET (ucf101, hmdb51 or k400). The last two set
        size, frames, placement, layout and classes themselves.
    scale
        How much work the methods do: published, or small (two CPU cores).
    split
        Videos that judge; choose on val (--hold-out), read test once.
    train
        A setting of every student's training, as name=value; repeat for more.
    jobs
        Cells that run at a time, each in a process with its share of the threads.
    """
    from videocompressa.bench.record import FULL, FULL_LONG
    from videocompressa.bench.rows import BenchOptions
    from videocompressa.bench.run import bench as run_bench
    from videocompressa.bench.tables import markdown
    from videocompressa.methods import METHODS

    known = (FULL, FULL_LONG, *METHODS)
    given = {"--vpc": vpc, "--ratio": ratio, "--bytes": num_bytes}
    options = BenchOptions(
        methods=known if methods == "all" else _methods(methods, known),
        labels=_listed("--labels", labels, str),
        budgets=_budgets({name: text for name, text in given.items() if text is not None} or {"--vpc": "1,5,10"}),
        keyframes=_listed("--keyframes", keyframes, int),
        num_seeds=seeds,
        students=() if students is None else _listed("--students", students, str),
        codec=codec,
        ablation=ablation,
        codecs=_listed("--codecs", codecs, str),
        steps=() if steps is None else _listed("--steps", steps, int),
        protocol=protocol,
        scale=scale,
        train=train,
        split=split,
    )
    with progress(reporting) as watch:
        outcome = run_bench(
            data,
            output,
            options=options,
            candidates=candidates,
            jobs=jobs,
            surroundings=running.surroundings(watch),
        )
    for text in outcome.notes:
        note(f"note: {text}", reporting)
    failed = [record for record in outcome.records if record.status == "failed"]
    if reporting.json:
        print_json(
            {
                "folder": str(outcome.folder),
                "num_cells": len(outcome.records),
                "num_failed": len(failed),
                "files": [str(path) for path in outcome.files],
            }
        )
        return
    stdout_console().print(markdown(outcome.records), markup=False, soft_wrap=True)
    for path in outcome.files:
        note(f"wrote {path}", reporting)


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
        raise InputError(f"{' and '.join(given)} were given; the columns are of one kind")
    ((name, text),) = given.items()
    if name == "--vpc":
        return tuple(BudgetOptions(vpc=value) for value in _listed(name, text, int))
    if name == "--ratio":
        return tuple(BudgetOptions(ratio=value) for value in _listed(name, text, Share))
    return tuple(BudgetOptions(bytes=value) for value in _listed(name, text, NumBytes))
