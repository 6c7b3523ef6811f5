"""Results as tables: one pandas frame of the records, and JSON, CSV and Markdown from it."""

import csv
import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import attrgetter
from statistics import fmean
from typing import Any, NoReturn

from videocompressa.bench.names import ablation_groups, budget_text, budgets, row_names
from videocompressa.bench.record import NAMED, REGIMES, Column, Record, grouped, of_axis
from videocompressa.errors import InputError, how_to_install
from videocompressa.texts import (
    bytes_text,
    count_text,
    markdown_table,
    mean_text,
    percent_text,
    points_text,
    seconds_text,
)

try:
    import pandas as pd
except ImportError as error:
    raise InputError(f"tables of results need pandas; run: {how_to_install('report')}") from error

FIELDS = {field.name: field for field in dataclasses.fields(Record)}
LISTS = [name for name, field in FIELDS.items() if str(field.type).startswith("tuple")]

COST_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "VPC": ("vpc", count_text),
    "K": ("keyframes", count_text),
    "compress s": ("compress_seconds", seconds_text),
    "train s": ("train_seconds", seconds_text),
    "peak memory": ("peak_memory_bytes", bytes_text),
    "peak GPU memory": ("gpu_peak_memory_bytes", bytes_text),
    "file": ("file_bytes", bytes_text),
    "of which labeler": ("labeler_bytes", lambda number: bytes_text(number or None)),
    "labeled by": ("labeler", lambda text: text or "-"),
    "file + codec": ("file_and_codec_bytes", bytes_text),
    "of all frames": ("frame_ratio", percent_text),
    "of all bytes": ("byte_ratio", percent_text),
    "top-5 %": ("top5_mean", mean_text),
    "over random": ("improvement_over_random", points_text),
    "of full data": ("recovery_of_full", lambda ratio: "-" if ratio is None else f"{100 * ratio:.1f} %"),
    "HLR": ("hard_label_recovery", points_text),
    "LRS": ("label_robust_score", mean_text),
}
"""Field and format of the columns of the table of costs; one that is unknown in every row is left out."""

LEGEND = (
    "Top-1 in percent on real videos: mean ± sample deviation over the runs that did not diverge, †n where n did; "
    "in brackets the size of the file. Bold is the best of a column, full data and controls apart.\n"
)
CONTROLS_LEGEND = (
    "Controls: `labeler` is the labeler itself as the classifier (no set, no student), `noise` are clips of random "
    "colors with the same labeler, and `random-real` are random clips with it.\n"
)


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return a row a record and a column a field, with the values of the records as they are (dtype object)."""
    return pd.DataFrame([dataclasses.asdict(record) for record in records], columns=list(FIELDS), dtype=object)


def to_json(records: Sequence[Record]) -> str:
    """Return a JSON list with one object a record, keys in the order of the fields; ends in a newline."""
    return json.dumps(frame(records).to_dict("records"), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def to_csv(records: Sequence[Record]) -> str:
    """Return a heading and a line a record; unknown numbers are empty cells, lists are JSON."""
    table = frame(records)
    for name in LISTS:
        table[name] = [json.dumps(values, ensure_ascii=False) for values in table[name]]
    # Texts in quotes, always: the module leaves a carriage return bare where lines end in a newline.
    text: str = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def from_json(text: str) -> list[Record]:
    """Read what `to_json` wrote; keys may be missing where the field has a default.

    Raises `InputError` for other JSON, unknown or missing keys, numbers that are not finite, and refused records.
    """
    try:
        rows = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputError(f"results are no JSON: {error}; give the results.json that bench wrote") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError("results are no JSON list of records; give the results.json that bench wrote")
    return [_from_row(row, f"record {number} of the results") for number, row in enumerate(rows)]


def _refuse_constant(text: str) -> NoReturn:
    raise InputError(f"results hold {text}; a number that is unknown is null")


def _from_row(row: dict[str, Any], where: str) -> Record:
    unknown = sorted(set(row) - set(FIELDS))
    missing = [name for name in NAMED if name not in row]
    if unknown or missing:
        fault = f"has the unknown keys {', '.join(unknown)}" if unknown else f"lacks {', '.join(missing)}"
        raise InputError(f"{where} {fault}; was it written by another version?")
    values = {name: value for name, value in row.items() if FIELDS[name].init}
    for name in set(LISTS) & set(row):
        if not isinstance(row[name], list):
            raise InputError(f"{where} has {name}={row[name]!r}; it must be a list")
        values[name] = tuple(row[name])
    record = Record(**values)
    for name in set(row) - set(values):
        if row[name] != getattr(record, name):
            raise InputError(f"{where} has {name}={row[name]}, not {getattr(record, name)}")
    return record


def markdown(records: Sequence[Record]) -> str:
    """Return the records of axis "main" as Markdown, one section for each data set, student and kind of labels.

    The first table of a section has the methods as rows: full data first (that with hard labels in every section, and
    that with the section's labels), then by the mean over the budgets; rows without an accuracy in some column come
    last, and controls below all. Its columns are the budgets, with the largest file in the heading. The second table
    has the costs, a line a record.
    Raises `InputError` when there is no record of axis "main", or two are of the same cell.
    """
    main = of_axis(records, "main")
    several = len({record.protocol for record in main}) > 1
    compressed = [record for record in main if not record.on_all_videos]
    full = grouped([record for record in main if record.on_all_videos], "data", "student", "protocol")
    sections = []
    for key, rows in grouped(compressed or main, "data", "student", "protocol", "labels").items():
        *same, labels = key
        baselines = full.get(tuple(same), []) if compressed else []
        rows = [record for record in baselines if record.labels in (labels, "hard")] + rows
        title = f"### {same[0]}, {same[1]}, {REGIMES[labels]}" + (f", protocol {same[2]}" if several else "")
        sections.append(f"{title}\n\n{_accuracy_table(rows, labels)}\n{_cost_table(rows, labels)}")
    controls = [CONTROLS_LEGEND] if any(record.is_control for record in main) else []
    return "\n".join([LEGEND, *controls, *_conditions(main), *sections])


def _names(records: Sequence[Record], labels: str) -> list[str]:
    """Return the names of rows; that of full data states its labels where they are not those of the section."""
    return [
        name if record.labels == labels else f"{name}, {REGIMES[record.labels]}"
        for name, record in zip(row_names(records), records, strict=True)
    ]


def _conditions(records: Sequence[Record]) -> list[str]:
    """Return a line for each combination of split, scale, clip and training."""
    lines = []
    for split, scale, clip, train in grouped(records, "split", "scale", "clip", "train"):
        parts = [f"Evaluated on {split} videos", *([f"scale {scale}"] if scale else []), *([clip] if clip else [])]
        lines.append(f"{', '.join(parts)}{'; students with ' if train else ''}{', '.join(train)}.\n")
    return lines


def _accuracy_table(records: Sequence[Record], labels: str) -> str:
    columns = budgets(records) or [Column()]
    rows: dict[str, dict[Column, Record]] = {}
    for name, record in zip(_names(records, labels), records, strict=True):
        for column in columns if record.on_all_videos else [record.column]:
            if rows.setdefault(name, {}).setdefault(column, record) is not record:
                budget = budget_text(column, columns)
                raise InputError(f"two records of {name!r} on {record.data!r} at {budget}; keep one of them")
    methods = [record for record in records if not record.on_all_videos and not record.is_control]
    finished = [record for record in methods if record.top1_mean is not None]
    best = {record.column: record.top1_mean for record in sorted(finished, key=attrgetter("top1_mean"))}
    bold = [record for record in finished if record.top1_mean == best[record.column]]
    cells = [
        (name, columns.index(column), _accuracy_text(record, record in bold))
        for name, row in sorted(rows.items(), key=lambda item: _rank(item[1].values()), reverse=True)
        for column, record in row.items()
    ]
    return _wide_table(cells, ["method"], [_heading(column, columns, records) for column in columns])


def _rank(row: Collection[Record]) -> tuple[bool, bool, int, float]:
    """Return what the rows of a table are ordered by: full data, controls last, known accuracies, and their mean."""
    known = [record.top1_mean for record in row if record.top1_mean is not None]
    first, last = any(record.on_all_videos for record in row), any(record.is_control for record in row)
    return first, not last, len(known), fmean(known or [0.0])


def _heading(column: Column, columns: Sequence[Column], records: Sequence[Record]) -> str:
    largest = max((record.file_bytes or 0 for record in records if record.column == column), default=0)
    text = budget_text(column, columns)
    return f"{text} (≤ {bytes_text(largest)})" if largest and column.num_bytes is None else text


def _accuracy_text(record: Record, bold: bool = False) -> str:
    """Return "41.6 ± 4.1 †1 (55.5 kB)": mean and deviation in percent, diverged runs, file; or why it failed."""
    if record.status == "failed":
        return f"failed: {record.reason}"
    text = mean_text(record.top1_mean, record.spread)
    text = f"**{text}**" if bold else text
    text += f" †{record.num_diverged}" if record.num_diverged else ""
    return text if record.file_bytes is None else f"{text} ({bytes_text(record.file_bytes)})"


def _wide_table(cells: Iterable[tuple[Any, ...]], keys: Sequence[str], headings: Sequence[str]) -> str:
    """Return cells of keys, position in `headings` and text as Markdown, rows in order of appearance."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for *key, place, text in cells:
        rows.setdefault(tuple(key), ["-"] * len(headings))[place] = text
    return markdown_table([[*keys, *headings], *([*key, *texts] for key, texts in rows.items())], num_left=len(keys))


def _cost_table(records: Sequence[Record], labels: str) -> str:
    table = frame(records)
    texts = pd.DataFrame({heading: table[name].map(text) for heading, (name, text) in COST_COLUMNS.items()})
    texts["K"] = [_kept_text(record) for record in records]
    texts = texts.loc[:, (texts != "-").any()]
    if set(texts.get("top-5 %", ())) <= {"-", "100.0"}:  # There are at most five classes.
        texts = texts.drop(columns="top-5 %", errors="ignore")
    texts.insert(0, "method", _names(records, labels))
    return markdown_table([list(texts), *texts.to_numpy().tolist()])


def _kept_text(record: Record) -> str:
    """Return the keyframes that an item keeps, which a tight budget, or a method of complete clips, makes another K."""
    if record.keyframes and record.num_frames and record.num_train_clips:
        return f"{record.num_frames / record.num_train_clips:.3g}"
    return count_text(record.keyframes)


def train_steps_markdown(records: Sequence[Record]) -> str:
    """Return the records of axis "train-steps" as Markdown: a row a set, columns are the steps of its students.

    One section for each data set, student and kind of labels, full data first. Raises `InputError` when there is none.
    """
    sections = []
    chosen = sorted(of_axis(records, "train-steps"), key=lambda record: not record.on_all_videos)
    for (data, student, labels), here in grouped(chosen, "data", "student", "labels").items():
        columns, steps = budgets(here), sorted({record.train_steps or 0 for record in here})
        cells = [
            (name, "-" if record.on_all_videos else budget_text(record.column, columns), place, _accuracy_text(record))
            for name, record in zip(row_names(here), here, strict=True)
            for place in [steps.index(record.train_steps or 0)]
        ]
        table = _wide_table(cells, ("method", "budget"), [f"{count_text(number)} steps" for number in steps])
        sections.append(f"### {data}, {student}, {REGIMES[labels]}, steps of the students\n\n{table}")
    return "\n".join(sections)


def cross_markdown(records: Sequence[Record]) -> str:
    """Return the records of axis "cross" as Markdown: students as columns, a row a set; one section a data set.

    Raises `InputError` when there is none.
    """
    sections = []
    for (data,), here in grouped(of_axis(records, "cross"), "data").items():
        students, columns = list(dict.fromkeys(record.student for record in here)), budgets(here)
        cells = [
            (name, record.labels, budget, record.network or "-", students.index(record.student), _accuracy_text(record))
            for name, record in zip(row_names(here), here, strict=True)
            for budget in ["-" if record.on_all_videos else budget_text(record.column, columns)]
        ]
        table = _wide_table(cells, ("method", "labels", "budget", "network"), students)
        sections.append(f"### {data}, other students\n\n{table}")
    return "\n".join(sections)


def ablation_markdown(records: Sequence[Record]) -> str:
    """Return the records of axis "ablation" as Markdown: a row a value of a component, columns are the budgets.

    After each accuracy follows the difference to the complete method in points, in brackets. Raises `InputError` when
    there is no record of the axis.
    """
    sections = []
    for (data, student), here in grouped(of_axis(records, "ablation"), "data", "student").items():
        columns, by_column = budgets(here), grouped(here, "column")
        cells = [
            (component, value, place, _change_text(record, by_column[column,]))
            for place, column in enumerate(columns)
            for component, rows in ablation_groups(by_column[column,]).items()
            for value, record in rows
        ]
        components = [component for component, *_ in cells]
        cells.sort(key=lambda cell: components.index(cell[0]))
        table = _wide_table(cells, ("component", "value"), [budget_text(column, columns) for column in columns])
        sections.append(f"### {data}, {student}, components\n\n{table}")
    return "\n".join(sections)


def _change_text(record: Record, column: Sequence[Record]) -> str:
    """Return the accuracy and, of a variant, its difference to the complete method in the same column."""
    complete = next((each.top1_mean for each in column if not each.variant), None)
    if record.top1_mean is None or complete is None or not record.variant:
        return _accuracy_text(record)
    return f"{_accuracy_text(record)} [{points_text(record.top1_mean - complete)}]"
