"""Errors that a user can mend: each names the file or option, what came, what is allowed, and what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Input from outside (an option, a file, a folder) that cannot be used; the command line exits with 2."""


class VideoError(InputError):
    """One video cannot be read; a run skips it, counts it and lists it with this reason."""


class ArtefactError(InputError):
    """A synthetic-set file is truncated, foreign, of a later format, inconsistent, or of another codec."""


class BudgetError(InputError):
    """The asked budget holds no synthetic set; the message states the smallest that works."""


class DivergedError(RuntimeError):
    """A training loss stopped being finite. The run is counted and reported, never averaged."""
