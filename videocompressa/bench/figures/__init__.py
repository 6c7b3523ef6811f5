"""Figures of a benchmark from its records, for a paper.

Each function draws the finished records of one experiment, writes `path` (.png with 300 dots an inch, or .pdf; replaced
if it exists) and returns the figure. The same records give the same bytes. Raises `InputError` when no record can be
drawn, for unknown endings and choices, and on import without matplotlib. Text is 7 and 8 points at the printed width:
one column (3.3 inches) or two (6.9).
"""

from videocompressa.bench.figures.accuracy import QUANTITIES, ablation, accuracy_against, cost_against_accuracy

__all__ = ["QUANTITIES", "ablation", "accuracy_against", "cost_against_accuracy"]
