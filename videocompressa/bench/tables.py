"""Records as Markdown: what each method reaches at each budget, what it costs, and what each component is worth."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from videocompressa.bench.record import Column, Record, of_axis
from videocompressa.errors import InputError

COST_COLUMNS: dict[str, Callable[[Record], str]] = {
    "labels": lambda record: record.labels,
    "VPC": lambda record: _count_text(record.vpc),
    "K": lambda record: _count_text(record.keyframes),
    "compress s": lambda record: _seconds_text(record.compress_seconds),
    "train s": lambda record: _seconds_text(record.train_seconds),
    "peak memory": lambda record: bytes_text(record.peak_memory_bytes),
    "peak GPU memory": lambda record: bytes_text(record.gpu_peak_memory_bytes),
    "file": lambda record: bytes_text(record.file_bytes),
    "file + codec": lambda record: bytes_text(record.file_and_codec_bytes),
    "of all frames": lambda record: _percent_text(record.frame_ratio),
    "of all bytes": lambda record: _percent_text(record.byte_ratio),
    "top-5 %": lambda record: "-" if record.top5_mean is None else f"{100 * record.top5_mean:.1f}",
    "over random": lambda record: _points_text(record.improvement_over_random),
    "of full data": lambda record: "-" if record.recovery_of_full is None else f"{100 * record.recovery_of_full:.1f} %",
}
"""Columns of the table of costs after the method, by heading; one that is unknown in every row is left out."""


def bytes_text(num_bytes: int | None) -> str:
    """Return a size for people, such as "12.3 kB" (1 kB = 1000 bytes); "-" for None."""
    if num_bytes is None:
        return "-"
    size = float(num_bytes)
    if num_bytes < 1000:
        return f"{num_bytes} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 99.95 else f"{size:.1f} {unit}"
    size /= 1000
    return f"{size:.1f} GB"


def _count_text(count: int | None) -> str:
    return "all" if count is None else str(count)


def _seconds_text(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:,.0f}" if seconds >= 99.95 else f"{seconds:.3g}"


def _percent_text(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.3g} %"


def _points_text(change: float | None) -> str:
    return "-" if change is None else f"{round(100 * change, 1) + 0.0:+.1f}"  # + 0.0: no "-0.0"


def mean_text(mean: float | None, std: float | None) -> str:
    """Return "41.6 ± 4.1" of an accuracy's mean and deviation in [0,1], in per cent; "-" without a mean."""
    if mean is None:
        return "-"
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def _accuracy_text(record: Record, bold: bool = False) -> str:
    """Return "41.6 ± 4.1 †1 (55.5 kB)": mean and deviation in per cent, diverged runs, file; or why it failed."""
    if record.status == "failed":
        return f"failed: {record.reason}"
    text = mean_text(record.top1_mean, record.top1_std if len(record.top1_runs) > 1 else None)
    if bold:
        text = f"**{text}**"
    if record.num_diverged:
        text += f" †{record.num_diverged}"
    return text if record.file_bytes is None else f"{text} ({bytes_text(record.file_bytes)})"


def markdown_table(lines: Sequence[Sequence[str]], num_left: int = 1) -> str:
    """Return a Markdown table; the first line is its heading, the first `num_left` columns stand left."""
    rule = ["---"] * num_left + ["---:"] * (len(lines[0]) - num_left)
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in (cells[0], rule, *cells[1:]))


def row_names(records: Sequence[Record]) -> list[str]:
    """Return the name of each record's row or line: its method, and no more than what tells two of a cell apart.

    That is tried in turn: nothing, the codec, the selector, both, the settings that not all have, all of these.
    """
    names = [""] * len(records)
    for method in {record.method for record in records}:
        rows = [row for row, record in enumerate(records) if record.method == method]
        common = set.intersection(*(set(records[row].settings) for row in rows))
        for parts in TELLING:
            for row in rows:
                record = records[row]
                settings = " ".join(text for text in record.settings if text not in common)
                texts = {"codec": record.codec, "selector": record.selector, "settings": settings}
                names[row] = ", ".join([method, *(texts[part] for part in parts if texts[part])])
            if len({(names[row], *_cell(records[row])) for row in rows}) == len(rows):
                break
    return names


TELLING = ((), ("codec",), ("selector",), ("codec", "selector"), ("settings",), ("codec", "selector", "settings"))


def _cell(record: Record) -> tuple[Column | str | int | None, ...]:
    """Return where a record stands, whatever its row."""
    return (
        *(record.data, record.protocol, record.student, record.labels, record.axis, record.variant),
        *(record.column, record.steps, record.network),
    )


def budgets(records: Iterable[Record]) -> list[Column]:
    """Return the columns of all records but full data, rising."""
    found = {record.column for record in records if not record.on_all_videos}
    return sorted(found, key=lambda column: tuple(float("inf") if part is None else part for part in column))


def budget_text(column: Column, columns: Sequence[Column]) -> str:
    """Return "VPC 5", "0.13 % of frames" or "12.1 kB", with ", K 4" where the columns differ in K."""
    if column.num_bytes is not None:
        text = bytes_text(column.num_bytes)
    elif column.ratio is not None:
        text = f"{_percent_text(column.ratio)} of frames"
    else:
        text = f"VPC {_count_text(column.vpc)}"
    several = len({each.keyframes for each in columns}) > 1
    return f"{text}, K {_count_text(column.keyframes)}" if several else text


LEGEND = (
    "Top-1 in per cent on real videos: mean ± sample deviation over the runs that did not diverge, †n where n did; "
    "in brackets the size of the file. Bold is the best of a column, full data apart.\n"
)


def markdown(records: Sequence[Record]) -> str:
    """Return the records of axis "main" as Markdown, one section for each data set, student and kind of labels.

    The first table of a section has the methods as rows, full data first (it stands in every section, with hard labels
    where it was not trained with others), then the one with the best mean over the budgets; rows that lack an accuracy
    somewhere come last. Its columns are the budgets, with the largest file in the heading. The second table has the
    costs, a line a record.

    Raises
    ------
    InputError
        When there is no record of axis "main", or two stand for the same cell.
    """
    main = of_axis(records, "main")
    several = len({record.protocol for record in main}) > 1
    sections = []
    keys = dict.fromkeys((r.data, r.student, r.labels, r.protocol) for r in main if not r.on_all_videos)
    for key in keys or dict.fromkeys((r.data, r.student, r.labels, r.protocol) for r in main):
        same = [record for record in main if (record.data, record.student, record.protocol) == (*key[:2], key[3])]
        full = [record for record in same if record.on_all_videos]
        with_labels = [record for record in full if record.labels == key[2]] or full
        rows = with_labels + [record for record in same if not record.on_all_videos and record.labels == key[2]]
        title = f"### {key[0]}, {key[1]}, {key[2]} labels" + (f", protocol {key[3]}" if several else "")
        sections.append(f"{title}\n\n{_accuracy_table(rows)}\n{_cost_table(rows)}")
    return "\n".join([LEGEND, *_circumstances(main), *sections])


def _circumstances(records: Sequence[Record]) -> list[str]:
    """Return a line for each way in which the records were made, as far as they say so."""
    found = dict.fromkeys((record.scale, record.split, record.clip, record.train) for record in records)
    lines = []
    for scale, split, clip, train in found:
        parts = [f"Judged on {split} videos", *([f"scale {scale}"] if scale else []), *([clip] if clip else [])]
        lines.append(f"{', '.join(parts)}{'; students with ' if train else ''}{', '.join(train)}.\n")
    return lines


def _accuracy_table(records: Sequence[Record]) -> str:
    columns = budgets(records) or [Column(None, None, None, None)]
    rows: dict[str, dict[Column, Record]] = {}
    for name, record in zip(row_names(records), records, strict=True):
        for column in columns if record.on_all_videos else [record.column]:
            if rows.setdefault(name, {}).setdefault(column, record) is not record:
                raise InputError(
                    f"two records of {name!r} on {record.data!r} at {budget_text(column, columns)}; keep one of them"
                )
    best = {column: _best(row[column] for row in rows.values() if column in row) for column in columns}
    lines = [["method", *(_heading(column, columns, rows.values()) for column in columns)]]
    for name, row in sorted(rows.items(), key=lambda item: _place(list(item[1].values()))):
        cells = [_accuracy_text(row[c], row[c] in best[c]) if c in row else "-" for c in columns]
        lines.append([name, *cells])
    return markdown_table(lines)


def _place(cells: Sequence[Record]) -> tuple[bool, int, float]:
    """Return what rows are sorted by: full data, then the most accuracies, then the best mean."""
    accuracies = [cell.top1_mean for cell in cells if cell.top1_mean is not None]
    is_full = any(cell.on_all_videos for cell in cells)
    return not is_full, -len(accuracies), -statistics.fmean(accuracies or [0.0])


def _best(records: Iterable[Record]) -> list[Record]:
    """Return the records with the highest accuracy; full data does not compete."""
    rivals = [record for record in records if not record.on_all_videos and record.top1_mean is not None]
    top = max((record.top1_mean or 0.0 for record in rivals), default=None)
    return [record for record in rivals if record.top1_mean == top]


def _heading(column: Column, columns: Sequence[Column], rows: Iterable[dict[Column, Record]]) -> str:
    sizes = [row[column].file_bytes or 0 for row in rows if column in row]
    text = budget_text(column, columns)
    return f"{text} (≤ {bytes_text(max(sizes))})" if any(sizes) and column.num_bytes is None else text


def _cost_table(records: Sequence[Record]) -> str:
    shown = {
        heading: column
        for heading, column in COST_COLUMNS.items()
        if any(column(record) != "-" for record in records)
        and (heading != "labels" or len({record.labels for record in records}) > 1)
    }
    lines = [["method", *shown]]
    for name, record in zip(row_names(records), records, strict=True):
        lines.append([name, *(column(record) for column in shown.values())])
    return markdown_table(lines)


def cross_markdown(records: Sequence[Record]) -> str:
    """Return the records of axis "cross" as Markdown: students as columns, a row a set; one section a data set.

    Raises
    ------
    InputError
        When there is no record of axis "cross".
    """
    cross = of_axis(records, "cross")
    sections = []
    for data in dict.fromkeys(record.data for record in cross):
        here = [record for record in cross if record.data == data]
        students = list(dict.fromkeys(record.student for record in here))
        columns = budgets(here)
        rows: dict[tuple[str, ...], dict[str, Record]] = {}
        for name, record in zip(row_names(here), here, strict=True):
            budget = "" if record.on_all_videos else budget_text(record.column, columns)
            rows.setdefault((name, record.labels, budget, record.network), {})[record.student] = record
        lines = [["method", "labels", "budget", "made with", *students]]
        for key, row in rows.items():
            lines.append([*(k or "-" for k in key), *(_accuracy_text(row[s]) if s in row else "-" for s in students)])
        sections.append(f"### {data}, other students\n\n{markdown_table(lines, 4)}")
    return "\n".join(sections)


def variant_parts(record: Record, component: str | None = None) -> tuple[str, str]:
    """Return component and value of a variant: "codec linear" is ("codec", "linear").

    For the complete method, whose variant is "", `component` is asked for and its own value is found in the record's
    field of that name ("selector", "codec", "labels", "steps"; "K" is `keyframes`); others are "on".
    """
    if record.variant:
        name, _, value = record.variant.partition(" ")
        return name, value or "off"
    name = component or ""
    own = getattr(record, {"K": "keyframes"}.get(name, name), None)
    return name, "on" if own in (None, "") else str(own)


def ablation_groups(records: Sequence[Record]) -> dict[str, list[tuple[str, Record]]]:
    """Return for each component its values with their records, that of the complete method among them.

    The complete method is the record of axis "ablation" without variant. It stands first, unless a variant has the
    value that it has itself.
    """
    whole = [record for record in records if not record.variant]
    groups: dict[str, list[tuple[str, Record]]] = {}
    for record in records:
        if record.variant:
            component, value = variant_parts(record)
            groups.setdefault(component, []).append((value, record))
    for component, rows in groups.items():
        for record in whole[:1]:
            own = variant_parts(record, component)[1]
            if own not in [value for value, _ in rows]:
                rows.insert(0, (own, record))
    return groups


def ablation_markdown(records: Sequence[Record]) -> str:
    """Return the records of axis "ablation" as Markdown: a row a value of a component, columns are the budgets.

    After each accuracy stands the difference to the complete method in points, in brackets.

    Raises
    ------
    InputError
        When there is no record of axis "ablation".
    """
    chosen = of_axis(records, "ablation")
    sections = []
    for key in dict.fromkeys((record.data, record.student) for record in chosen):
        here = [record for record in chosen if (record.data, record.student) == key]
        columns = budgets(here)
        cells: dict[tuple[str, str], dict[Column, str]] = {}
        for column in columns:
            part = [record for record in here if record.column == column]
            whole = next((record for record in part if not record.variant), None)
            for component, rows in ablation_groups(part).items():
                for value, record in rows:
                    cells.setdefault((component, value), {})[column] = _change_text(record, whole)
        lines = [["component", "value", *(budget_text(column, columns) for column in columns)]]
        components = list(dict.fromkeys(component for component, _ in cells))
        for (component, value), row in sorted(cells.items(), key=lambda item: components.index(item[0][0])):
            lines.append([component, value, *(row.get(column, "-") for column in columns)])
        sections.append(f"### {key[0]}, {key[1]}, components\n\n{markdown_table(lines, 2)}")
    return "\n".join(sections)


def _change_text(record: Record, whole: Record | None) -> str:
    if record.top1_mean is None or whole is None or whole.top1_mean is None or record is whole:
        return _accuracy_text(record)
    return f"{_accuracy_text(record)} [{_points_text(record.top1_mean - whole.top1_mean)}]"
