"""Scores that compare records: with random clips, with full data, and those of DD-Ranking.

With top1 the mean over the runs that did not diverge, on the same test clips, of the same data, protocol and student:

- improvement_over_random, IOR = top1 - top1 of `RANDOM` with the same labels and budget (a column of equal file bytes).
  Where several fit, that with the same codec, then uniform keyframes, then the same axis, then the nearest file size.
- recovery_of_full = top1 / top1 of `FULL` with hard labels, because those come with the videos (ours). Above 1 means
  better than all videos.
- hard_label_recovery, HLR = top1 of `FULL` with hard labels - top1 of the same method, settings and budget with HARD
  labels, whatever labels the record has.
- label_robust_score, LRS = (e^a - e^-1) / (e - e^-1) with a = IOR / 2 - HLR / 2.

IOR, HLR and LRS are those of DD-Ranking (Li et al. 2025, arXiv 2505.13300) with its weight w = 1/2. All are plain
fractions, and None where an accuracy is unknown; full data and the labeler are no sets and have the recovery alone.
What a record is compared with is of its own axis or of "main"; along "train-steps", with as many steps.
"""

import dataclasses
import math
from collections.abc import Sequence

from videocompressa.bench.record import FULL, LABELER, Record, grouped

RANDOM, RANDOM_SELECTOR = "random-real", "uniform"
"""Baseline of `improvement_over_random`, and its keyframes where it was run with several selectors."""
SAME_SET = ("method", "codec", "selector", "settings", "column")
"""Fields of a record and of the same set with other labels."""


def with_scores(records: Sequence[Record]) -> list[Record]:
    """Return the records with the scores of this module's head."""
    finished = [record for record in records if record.top1_mean is not None]
    same = grouped(finished, "data", "protocol", "student")
    return [_scored(record, same.get((record.data, record.protocol, record.student), [])) for record in records]


def _scored(record: Record, same: Sequence[Record]) -> Record:
    """Return a record with its scores; `same` are finished records of the same data, protocol and student."""
    near = [each for each in same if each.axis in (record.axis, "main") and each.variant in (record.variant, "")]
    if record.axis == "train-steps":
        near = [each for each in near if each.train_steps == record.train_steps]
    near.sort(key=lambda each: each.axis != record.axis)
    top1 = record.top1_mean
    full = next((each.top1_mean for each in near if (each.method, each.labels) == (FULL, "hard")), None)
    recovery = top1 / full if top1 is not None and full else None
    change = hard = robust = None
    if top1 is not None and not record.on_all_videos and record.method != LABELER:
        change, hard = _over_random(record, near), _hard_label_recovery(record, near, full)
    if change is not None and hard is not None:
        robust = label_robust_score(change, hard)
    return dataclasses.replace(
        record,
        improvement_over_random=change,
        recovery_of_full=recovery,
        hard_label_recovery=hard,
        label_robust_score=robust,
    )


def _over_random(record: Record, near: Sequence[Record]) -> float | None:
    def distance(other: Record) -> tuple[bool, bool, bool, int]:
        size = abs((other.file_bytes or 0) - (record.file_bytes or 0))
        return other.codec != record.codec, other.selector != RANDOM_SELECTOR, other.axis != record.axis, size

    cell = (RANDOM, record.labels, record.column)
    random = [each for each in near if (each.method, each.labels, each.column) == cell]
    if record.top1_mean is None or not random:
        return None
    return record.top1_mean - (min(random, key=distance).top1_mean or 0.0)


def _hard_label_recovery(record: Record, near: Sequence[Record], full: float | None) -> float | None:
    own = [getattr(record, name) for name in SAME_SET]
    hard = [each for each in near if each.labels == "hard" and [getattr(each, name) for name in SAME_SET] == own]
    hard.sort(key=lambda each: (each.axis != record.axis, each.variant != record.variant))
    if full is None or not hard or hard[0].top1_mean is None:
        return None
    return full - hard[0].top1_mean


def label_robust_score(improvement_over_random: float, hard_label_recovery: float) -> float:
    """Return the LRS of DD-Ranking with w = 1/2, in [0,1]."""
    alpha = improvement_over_random / 2 - hard_label_recovery / 2
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))
