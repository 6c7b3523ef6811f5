"""Errors that a user can fix: each names the file or option, what was got, what is allowed, and what to do."""

import math
from collections.abc import Collection
from dataclasses import dataclass


class InputError(ValueError):
    """Input from outside (an option, a file, a folder) that cannot be used; the command line exits with 2."""


class VideoError(InputError):
    """One video cannot be read; a run skips it, counts it and lists it with this reason."""


@dataclass(frozen=True)
class BadVideo:
    """A video that was skipped."""

    video_id: str
    reason: str


class ArtifactError(InputError):
    """A synthetic-set file is truncated, foreign, of a later format, inconsistent, or of another codec."""


class BudgetError(InputError):
    """The asked budget holds no synthetic set; the message states the smallest that works."""


def check_least(record: object, prefix: str, **least: float) -> None:
    """Raise for a field of a record that is below its least value, or NaN; None passes. `prefix` goes before names."""
    for name, low in least.items():
        if (value := getattr(record, name)) is not None and not value >= low:
            raise InputError(f"{_named(prefix, name)} is {value}; it must be at least {low}")


def check_within(record: object, prefix: str, **intervals: str) -> None:
    """Raise for a field of a record that leaves its interval, such as "(0,1]" or "[0,inf)", or is NaN."""
    for name, interval in intervals.items():
        low, high = map(float, interval[1:-1].split(","))
        value = getattr(record, name)
        ends = [end for end, mark in ((low, interval[0]), (high, interval[-1])) if mark in "[]"]
        if not (low < value < high or value in ends):
            from_low = f"{'at least' if interval[0] == '[' else 'above'} {low:g}"
            allowed = from_low if high == math.inf else f"in {interval}"
            raise InputError(f"{_named(prefix, name)} is {value}; it must be {allowed}")


def _named(prefix: str, field: str) -> str:
    """Return the name of a field, after "--" as it is typed."""
    return prefix + (field.replace("_", "-") if prefix == "--" else field)


def check_known(what: str, value: str, known: Collection[str]) -> None:
    """Raise, with the known values, for a value that is not one of them; `what` begins the message."""
    if value not in known:
        raise InputError(f"{what} {value!r}; known: {', '.join(known)}")


def too_few_bytes(limit: int, what: str, least: object) -> BudgetError:
    """Return the error of a method that fills a file of `limit` bytes, which does not hold `what`."""
    return BudgetError(
        f"{limit} bytes (--bytes, or what --vpc stands for) are too few for {what}; give at least --bytes {least}"
    )


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of this package."""
    return f'pip install ".[{extra}]" in a clone of videocompressa'


class DivergedError(RuntimeError):
    """A training loss stopped being finite. The run is counted and reported, never averaged."""
