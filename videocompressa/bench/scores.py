"""The two scores that stand beside every accuracy: improvement over random, and recovery of full data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from videocompressa.bench.record import FULL, Record

RANDOM = "random-real"
"""Method whose accuracy the improvement is counted from."""
RANDOM_SELECTOR = "uniform"
"""Its keyframes, where it was run with several selectors: the least that anybody would do."""


def with_scores(records: Sequence[Record]) -> list[Record]:
    """Return the records with `improvement_over_random` and `recovery_of_full` computed anew, as plain fractions.

    Our definition. With top1 the mean over the runs that did not diverge, on the same test clips:

    - improvement_over_random = top1 - top1 of `RANDOM` with the same data, protocol, student, labels and budget
      (a column of equal file bytes). Where several fit, that with the same codec, then uniform
      keyframes, then the same axis, then the nearest file size. None for full data.
    - recovery_of_full = top1 / top1 of `FULL` with the same data, protocol and student, and hard labels, for these
      are what the videos come with. Above 1 means better than all videos.

    Both are None where either accuracy is unknown. The rows compared with are of the record's own axis or of "main".
    """
    return [
        dataclasses.replace(
            record,
            improvement_over_random=_improvement(record, records),
            recovery_of_full=_recovery(record, records),
        )
        for record in records
    ]


def _comparable(record: Record, method: str, records: Sequence[Record]) -> list[Record]:
    """Return the records of `method` on the same data by the same student, those of the record's own axis first."""
    found = [
        other
        for other in records
        if other.method == method
        and other.top1_mean is not None
        and other.axis in (record.axis, "main")
        and other.variant in (record.variant, "")
        and (other.data, other.protocol, other.student) == (record.data, record.protocol, record.student)
    ]
    return sorted(found, key=lambda other: other.axis != record.axis)


def _improvement(record: Record, records: Sequence[Record]) -> float | None:
    if record.on_all_videos or record.top1_mean is None:
        return None
    found = [
        other
        for other in _comparable(record, RANDOM, records)
        if (other.labels, other.column) == (record.labels, record.column) and other.top1_mean is not None
    ]
    if not found:
        return None

    def distance(other: Record) -> tuple[bool, bool, bool, int]:
        apart = abs((other.file_bytes or 0) - (record.file_bytes or 0))
        return (other.codec != record.codec, other.selector != RANDOM_SELECTOR, other.axis != record.axis, apart)

    random = min(found, key=distance).top1_mean
    return None if random is None else record.top1_mean - random


def _recovery(record: Record, records: Sequence[Record]) -> float | None:
    found = [other for other in _comparable(record, FULL, records) if other.labels == "hard"]
    if record.top1_mean is None or not found or not found[0].top1_mean:
        return None
    return record.top1_mean / found[0].top1_mean
