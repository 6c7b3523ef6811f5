"""The command line's root, to which every verb adds itself, and the options that verbs share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter, default_name_transform

from videocompressa import __version__
from videocompressa.engine import Workers, keep_freed_memory, usable_cores
from videocompressa.engine_ray import RayCluster
from videocompressa.errors import InputError
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, Surroundings, typed
from videocompressa.remote import path_of

if TYPE_CHECKING:
    import torch

    from videocompressa.processes import ProcessGroup
    from videocompressa.run import Watch

app = App(
    name="videocompressa",
    help="""Turn a folder of labeled videos into one small file that trains models.

    Start with `videocompressa plan DATA`, then `compress DATA -o set.safetensors`, then
    `train set.safetensors --data DATA`. DATA is a folder with one folder of videos a class, or one with
    a splits.csv, with WebDataset tars, or with a Hugging Face data set (parquet, metadata.csv beside the videos, or
    LeRobot); on disk, behind a URL, or on the Hugging Face hub as hf:USER/NAME.
    """,
    version=__version__,
    help_format="markdown",
)

app.register_install_completion_command(help="Install completion for your shell (bash, zsh or fish), and end.")

_RUNNING, _REPORTING = Group("Running", sort_key=90), Group("Reporting", sort_key=91)

_OF_SET = ("size", "fit", "frames", "placement", "train_sample")
"""Options of candidates that students of a set take from its file, or do not need."""


@dataclass(frozen=True)
class Reading:
    """Who reads the videos."""

    workers: Annotated[int | None, Parameter(group=_RUNNING)] = None
    """Processes that decode videos, 0 decodes in this one; one a core (of the cluster) when not given, keyframes: 0.
    On Windows always 0."""
    engine: Annotated[Literal["local", "ray"], Parameter(group=_RUNNING)] = "local"
    """Whose processes: local (this machine's), or ray (those of a Ray cluster, docs/scale.md)."""
    ray_address: Annotated[str | None, Parameter(group=_RUNNING)] = None
    """HOST:PORT of the cluster's head node, or auto on a machine of it; when not given, Ray runs on this machine."""

    def chosen(self) -> Workers:
        """Return the workers."""
        if self.engine == "ray":
            return RayCluster(self.workers, self.ray_address)
        if self.ray_address is not None:
            raise InputError(f"--ray-address {self.ray_address} needs --engine ray")
        if sys.platform == "win32":  # Workers are given a pipe by its number, which Windows does not do.
            return 0
        return usable_cores() if self.workers is None else self.workers


@dataclass(frozen=True)
class Computing:
    """Where networks run."""

    device: Annotated[Literal["auto", "cpu", "cuda"], Parameter(group=_RUNNING)] = "auto"
    """Where networks run; auto takes a GPU when there is one."""
    threads: Annotated[int | None, Parameter(group=_RUNNING)] = None
    """Threads of the networks on a CPU; all cores that this process may use when not given. Fewer are faster where
    other programs keep the cores busy; another number may give other bytes."""

    def chosen(self) -> torch.device:
        """Return the device, and give the networks their threads."""
        import torch

        use_threads(self.threads)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: this machine has no GPU that torch can use; give --device cpu")
        return torch.device("cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Running(Computing):
    """How to run."""

    reading: Annotated[Reading, Parameter(name="*")] = Reading()
    cache: Annotated[Path | None, Parameter(group=_RUNNING)] = None
    """Folder that keeps candidates and finished stages, so that the same command resumes;
    $VIDEOCOMPRESSA_CACHE or the user's cache folder when not given. It may be deleted."""

    def surroundings(self, watch: Watch) -> Surroundings:
        """Look up what the machine has."""
        return Surroundings(
            cache=self.cache or default_cache(),
            device=self.chosen(),
            workers=self.reading.chosen(),
            clock=time.perf_counter,
            watch=watch,
        )

    def together(self, watch: Watch) -> tuple[Surroundings, ProcessGroup]:
        """Look up what the machine has for each of the processes that torchrun started; only the first reports."""
        from videocompressa.processes import started_by_torchrun
        from videocompressa.run import watch_nothing

        surroundings = self.surroundings(watch)
        group, device = started_by_torchrun(surroundings.device)
        if not group.is_main:
            watch = watch_nothing
        return replace(surroundings, device=device, watch=watch), group


@dataclass(frozen=True)
class Reporting:
    """How to report."""

    quiet: Annotated[bool, Parameter(group=_REPORTING, negative="")] = False
    """No progress and no notes on stderr; errors are still printed."""
    json: Annotated[bool, Parameter(group=_REPORTING, negative="")] = False
    """Print exactly one JSON object on stdout."""


def use_threads(threads: int | None) -> None:
    """Give the networks so many threads, and the memory they freed; None leaves as many as there are cores to use."""
    import torch

    if threads is not None and threads < 1:
        raise InputError(f"--threads is {threads}; it must be at least 1")
    keep_freed_memory()
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cores()))


def default_cache() -> Path:
    """Return the cache folder when none is given."""
    if folder := os.environ.get("VIDEOCOMPRESSA_CACHE"):
        return Path(folder)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "videocompressa"


def training_command(
    path: Path, data: Path, split: str, candidates: CandidateOptions, running: Running, networks: Mapping[str, str]
) -> list[object]:
    """Return the words that train a student on a set and judge it by a split, with every option that they need.

    `networks` are those that the file may lack, as they were given, by option; with a folder in their name they are
    repeated.
    """
    from videocompressa.networks import STUDENTS, survives
    from videocompressa.students.settings import TrainConfig

    to_read = replace(candidates, **{name: getattr(CANDIDATES, name) for name in _OF_SET})
    words: list[object] = ["train", path, "--data", data, *typed(to_read, running)]
    words += [] if split == "test" else ["--split", split]
    if not survives(candidates.clip.size, STUDENTS[TrainConfig().student]):
        words += ["--student", "framenet2d"]
    return words + [word for name, value in networks.items() if ":" in value for word in (f"--{name}", value)]


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
ReadingArguments = Annotated[Reading, Parameter(name="*")]
ComputingArguments = Annotated[Computing, Parameter(name="*")]
RunningArguments = Annotated[Running, Parameter(name="*")]
ReportingArguments = Annotated[Reporting, Parameter(name="*")]
ConfigFile = Annotated[
    Path | None,
    Parameter(
        help="TOML file of options by these names, and of settings in its table [set]; the command line wins.",
        group=_RUNNING,
    ),
]
LogDir = Annotated[
    Path | None,
    Parameter(
        group=_REPORTING,
        help="Folder for TensorBoard: losses, temperature and entropy of the selection, by step, and keyframes.",
    ),
]
Settings = Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
OutputFolder = Annotated[Path, Parameter(name=["--output", "-o"], help="Folder to write.")]
Threads = Annotated[int | None, Parameter(group=_RUNNING, help="Threads on a CPU; all cores when not given.")]
Flag = Annotated[bool, Parameter(negative="")]
Replace = Annotated[bool, Parameter(name="--force", negative="", help="Replace the output if it exists.")]
AS_PATH = Parameter(converter=lambda _, tokens: path_of(tokens[0].value))
Data = Annotated[
    Path,
    AS_PATH,
    Parameter(help="Folder of labeled videos, a csv, txt, tar or parquet file, a URL of one of them, or hf:USER/NAME."),
]
SetFile = Annotated[Path, Parameter(name="SET", help="A set file, or hf:USER/NAME[@REVISION].")]
CodecFolder = Annotated[
    str | None,
    Parameter(name="--codec", help="Where the set's codec is, when the file does not say it: diffusers:FOLDER."),
]
