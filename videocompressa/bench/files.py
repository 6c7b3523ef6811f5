"""Records as `results.json` (read and written) and `results.csv` (written, for a spreadsheet)."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from videocompressa.bench.record import Record
from videocompressa.errors import InputError

NAMES = tuple(field.name for field in dataclasses.fields(Record))
"""Names of all fields in the order of the files: their keys and columns."""
COMPUTED = tuple(field.name for field in dataclasses.fields(Record) if not field.init)
LISTS = ("top1_runs", "settings", "train")


def to_json(records: Sequence[Record]) -> str:
    """Return a JSON list with one object a record, keys in the order of the fields; ends in a newline."""
    rows = [{name: getattr(record, name) for name in NAMES} for record in records]
    return json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[Record]:
    """Read what `to_json` wrote.

    Raises
    ------
    InputError
        When the text is no JSON list of records, has NaN or infinity, unknown keys, or values that `Record` refuses.
        Keys may be missing where the field has a default.
    """
    try:
        rows = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputError(f"results are no JSON: {error}; give the results.json that bench wrote") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError("results are no JSON list of records; give the results.json that bench wrote")
    return [_from_row(number, row) for number, row in enumerate(rows)]


def _refuse_constant(text: str) -> NoReturn:
    raise InputError(f"results hold {text}; a number that is unknown is null")


def _from_row(number: int, row: dict[str, Any]) -> Record:
    unknown = sorted(set(row) - set(NAMES))
    missing = [name for name in ("method", "data", "protocol", "student") if name not in row]
    if unknown or missing:
        what = f"has the unknown keys {', '.join(unknown)}" if unknown else f"lacks {', '.join(missing)}"
        raise InputError(f"record {number} of the results {what}; was it written by another version?")
    for name in LISTS:
        if not isinstance(row.get(name, []), list):
            raise InputError(f"record {number} of the results has {name}={row[name]!r}; it must be a list")
    values: dict[str, Any] = {name: value for name, value in row.items() if name not in COMPUTED}
    record = Record(**(values | {name: tuple(values[name]) for name in LISTS if name in values}))
    for name in COMPUTED:
        if name in row and row[name] != getattr(record, name):
            raise InputError(f"record {number} of the results has {name}={row[name]}, not {getattr(record, name)}")
    return record


def to_csv(records: Sequence[Record]) -> str:
    """Return a heading and a line a record; unknown numbers are empty cells, lists are JSON."""
    text = io.StringIO()
    # Texts in quotes, always: the module leaves a carriage return bare where lines end in a newline.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(NAMES)
    for record in records:
        writer.writerow(_csv_cell(getattr(record, name)) for name in NAMES)
    return text.getvalue()


def _csv_cell(value: Any) -> str | float:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, int | float) else str(value)
