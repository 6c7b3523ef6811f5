"""Results of a benchmark: one `Record` a cell, its two files, its scores and its tables."""

from videocompressa.results.files import from_json, to_csv, to_json
from videocompressa.results.record import AXES, FULL, FULL_LONG, Record
from videocompressa.results.scores import RANDOM, with_scores
from videocompressa.results.tables import (
    ablation_markdown,
    bytes_text,
    cross_markdown,
    markdown,
    markdown_table,
    mean_text,
    variant_parts,
)

__all__ = [
    "AXES",
    "FULL",
    "FULL_LONG",
    "RANDOM",
    "Record",
    "ablation_markdown",
    "bytes_text",
    "cross_markdown",
    "from_json",
    "markdown",
    "markdown_table",
    "mean_text",
    "to_csv",
    "to_json",
    "variant_parts",
    "with_scores",
]
