"""Figures of a benchmark from its records, for a paper.

Each function draws the finished records of one experiment, writes `path` (300 dots an inch as .png, or .pdf; replaced
if it exists) and returns the figure, for a notebook. Without matplotlib, importing them raises `InputError`; so do they
when no record can be drawn, and for unknown endings and choices.

Text is 7 and 8 points at their printed width: one column (3.3 inches) or two (6.9 inches). Colors are those of
Okabe and Ito (2008), which the color-blind can distinguish; so do markers and dashes. The same records give the same
bytes.
"""

from videocompressa.bench.figures.bars import ablation
from videocompressa.bench.figures.lines import (
    accuracy_against_keyframes,
    accuracy_against_ratio,
    accuracy_against_steps,
    cost_against_accuracy,
)

__all__ = [
    "ablation",
    "accuracy_against_keyframes",
    "accuracy_against_ratio",
    "accuracy_against_steps",
    "cost_against_accuracy",
]
