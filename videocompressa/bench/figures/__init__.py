"""Figures of a benchmark from its records, for a paper: as PNG (300 dots an inch) or, by the name's ending, as PDF.

Text is 7 and 8 points at the size they are made for: one column (3.3 inches) or two (6.9 inches). Colors are those of
Okabe and Ito (2008), which stay apart for the color-blind; markers and dashes tell the same without color. The same
records give the same bytes.
"""

from videocompressa.bench.figures.bars import ablation
from videocompressa.bench.figures.cost import cost_against_accuracy
from videocompressa.bench.figures.lines import (
    accuracy_against_keyframes,
    accuracy_against_ratio,
    accuracy_against_steps,
)

__all__ = [
    "ablation",
    "accuracy_against_keyframes",
    "accuracy_against_ratio",
    "accuracy_against_steps",
    "cost_against_accuracy",
]
