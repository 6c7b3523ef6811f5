"""The command line's root, to which every verb adds itself, and the options that verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Group, Parameter

from videocompressa import __version__
from videocompressa.cli.options import Reporting, Running
from videocompressa.recipes.options import BudgetOptions, CandidateOptions

app = App(
    name="videocompressa",
    help="""Turn a folder of labeled videos into one tiny file that trains models as well as all the videos did.

    Start with `videocompressa plan DATA`, then `compress DATA -o set.safetensors`, then
    `train set.safetensors --data DATA`. DATA is a folder with one folder of videos a class, or one with a splits.csv.
    """,
    version=__version__,
    help_format="markdown",
)

BUDGET, CANDIDATES, RUNNING, REPORTING = BudgetOptions(), CandidateOptions(), Running(), Reporting()

CandidateArguments = Annotated[
    CandidateOptions, Parameter(name="*", group=Group("Candidate frames", sort_key=20), negative="")
]
AskedBudget = Annotated[BudgetOptions, Parameter(name="*", group=Group("Budget", sort_key=10), negative="")]
Run = Annotated[Running, Parameter(name="*")]
Report = Annotated[Reporting, Parameter(name="*")]
Settings = Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Force = Annotated[bool, Parameter(negative="")]
LatentStorage = Literal["transform", "int8", "float16"]
