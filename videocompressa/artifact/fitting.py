"""What fits into a file of a given size: a search over sizes that are measured on the bytes of the file."""

from collections.abc import Callable


def largest_fitting(fits: Callable[[int], bool], low: int, high: int, *, start: int | None = None) -> int:
    """Return the largest number in [low,high] that fits, or low - 1; steps double from `start` (low), then halve.

    So numbers far above the answer are not tried. Where sizes do not strictly grow with the number, what is returned
    fits nevertheless.
    """
    good, bad, probe, step = low - 1, high + 1, low if start is None else start, 1
    while bad - good > 1:
        good, bad = (probe, bad) if fits(probe) else (good, probe)
        if good < low:
            probe = max(low, bad - step)
        elif bad > high:
            probe = min(high, good + step)
        else:
            probe = (good + bad) // 2
        step *= 2
    return good
