"""What `train --json` printed, read from a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videocompressa.errors import InputError
from videocompressa.texts import number_text


@dataclass(frozen=True)
class TrainResults:
    """The accuracy of students of a set, or of all videos, and how it was measured."""

    top1_mean: float
    """In [0,1], over the runs."""
    top1_std: float
    num_runs: int
    num_train_clips: int
    """Clips that the students were trained on."""
    num_test_clips: int
    split: str
    regime: str
    """Whose labels the students learned: "hard", "soft" or "views"."""
    options: Mapping[str, Any]
    """Options of `train` by the names of their fields."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """(L,L): test clips of class (row) predicted as class (column), summed over the runs; empty where not given."""
    train_seconds: float | None = None
    """Of all runs; None where it is not given."""

    @property
    def tested(self) -> str:
        """On what the students were tested, and how many of them, as a text."""
        return f"{self.num_test_clips} {self.split} videos, {number_text(self.num_runs, 'run')}"

    @property
    def options_text(self) -> str:
        """The options as they are typed."""
        texts = [f"--set {setting}" for setting in self.options["settings"]]
        for option, value in self.options.items():
            if option != "settings" and value is not None and value is not False:
                texts.append(f"--{option.replace('_', '-')}" + ("" if value is True else f" {value}"))
        return " ".join(texts)


def read_results(path: Path, classes: Sequence[str]) -> TrainResults:
    """Return the results in the file that `--results` names; raises `InputError`, also for those of other classes."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        own, num_runs = tuple(values["classes"]), len(values["top1_runs"])
        options = {"settings": [], **values["options"]}
        names = ("top1_mean", "top1_std", "num_train_clips", "num_test_clips", "split", "regime")
        confusion = tuple(tuple(int(count) for count in row) for row in values.get("confusion", ()))
        if confusion and [len(row) for row in confusion] != [len(own)] * len(own):
            raise ValueError(f"confusion is not {len(own)} x {len(own)} counts")
        numbers = {name: values[name] for name in names}
        results = TrainResults(
            num_runs=num_runs,
            options=options,
            confusion=confusion,
            train_seconds=values.get("train_seconds"),
            **numbers,
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"--results {path}: cannot be read as results ({type(error).__name__}: {error}); give the file that "
            "`videocompressa train SET --data DATA --json` printed"
        ) from error
    if own != tuple(classes):
        raise InputError(f"--results {path}: has other classes than the set; give the results of this set")
    return results
