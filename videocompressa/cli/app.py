"""The command line's root, to which every verb adds itself, and the options that verbs share."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter, default_name_transform

from videocompressa import __version__
from videocompressa.cli.options import Reporting, Running
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions

app = App(
    name="videocompressa",
    help="""Turn a folder of labeled videos into one small file that trains models.

    Start with `videocompressa plan DATA`, then `compress DATA -o set.safetensors`, then
    `train set.safetensors --data DATA`. DATA is a folder with one folder of videos a class, or one with a splits.csv.
    """,
    version=__version__,
    help_format="markdown",
)


def _option_name(field: str) -> str:
    return "set" if field == "settings" else default_name_transform(field)


COMPRESS, BUDGET, CANDIDATES = CompressOptions(), BudgetOptions(), CandidateOptions()
RUNNING, REPORTING = Running(), Reporting()

# Fields of these records are options of their own; each field's docstring is its help.
CompressArguments = Annotated[CompressOptions, Parameter(name="*", name_transform=_option_name, negative="")]
BudgetArguments = Annotated[BudgetOptions, Parameter(name="*", group=Group("Budget", sort_key=10), negative="")]
CandidateArguments = Annotated[
    CandidateOptions, Parameter(name="*", group=Group("Candidate frames", sort_key=20), negative="")
]
RunningArguments = Annotated[Running, Parameter(name="*")]
ReportingArguments = Annotated[Reporting, Parameter(name="*")]
Settings = Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Force = Annotated[bool, Parameter(negative="")]
