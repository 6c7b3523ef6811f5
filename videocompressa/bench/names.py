"""Names of records in tables and figures: of rows and lines, of columns, and of the components of an ablation."""

from collections.abc import Iterable, Sequence

from videocompressa.bench.record import Column, Record, grouped
from videocompressa.texts import bytes_text, count_text, percent_text

DISTINCTIONS = ((), ("codec",), ("selector",), ("codec", "selector"), ("settings",), ("codec", "selector", "settings"))
CELL = ("data", "protocol", "student", "labels", "axis", "variant", "column", "steps", "train_steps", "network")
"""What the place of a record in tables and figures depends on, but for its row or line."""


def row_names(records: Sequence[Record]) -> list[str]:
    """Return the name of each record's row or line: its method, with as little as distinguishes two of one cell.

    Tried in turn: nothing, the codec, the selector, both, the settings that not all have, all of these.
    """
    names: dict[int, str] = {}
    for (method,), rows in grouped(records, "method").items():
        common = set.intersection(*(set(record.settings) for record in rows))
        for parts in DISTINCTIONS:
            cells = set()
            for record in rows:
                settings = " ".join(text for text in record.settings if text not in common)
                texts = {"codec": record.codec, "selector": record.selector, "settings": settings}
                names[id(record)] = ", ".join([method, *(texts[part] for part in parts if texts[part])])
                cells.add((names[id(record)], *(getattr(record, name) for name in CELL)))
            if len(cells) == len(rows):
                break
    return [names[id(record)] for record in records]


def budgets(records: Iterable[Record]) -> list[Column]:
    """Return the columns of all records but full data, in ascending order."""
    columns = {record.column for record in records if not record.on_all_videos}
    return sorted(columns, key=lambda column: tuple(float("inf") if part is None else part for part in column))


def budget_text(column: Column, columns: Sequence[Column]) -> str:
    """Return "VPC 5", "0.13 % of frames" or "12.1 kB", with ", K 4" where the columns differ in K."""
    if column.num_bytes is not None:
        text = bytes_text(column.num_bytes)
    elif column.ratio is not None:
        text = f"{percent_text(column.ratio)} of frames"
    else:
        text = f"VPC {count_text(column.vpc)}"
    several = len({each.keyframes for each in columns}) > 1
    return f"{text}, K {count_text(column.keyframes)}" if several else text


def variant_parts(record: Record, component: str = "") -> tuple[str, str]:
    """Return component and value of a variant: "codec linear" is ("codec", "linear").

    For the complete method, whose variant is "", the value is that of the record's field `component` ("selector",
    "codec", "labels", "steps"; "K" is `keyframes`), or "on".
    """
    if record.variant:
        name, _, value = record.variant.partition(" ")
        return name, value or "off"
    own = getattr(record, {"K": "keyframes"}.get(component, component), None)
    return component, "on" if own in (None, "") else str(own)


def ablation_groups(records: Sequence[Record]) -> dict[str, list[tuple[str, Record]]]:
    """Return for each component its values with their records, that of the complete method first.

    The complete method is the record without variant. It is left out where a variant has the same value.
    """
    groups: dict[str, list[tuple[str, Record]]] = {}
    for record in records:
        if record.variant:
            component, value = variant_parts(record)
            groups.setdefault(component, []).append((value, record))
    for complete in [record for record in records if not record.variant][:1]:
        for component, rows in groups.items():
            own = variant_parts(complete, component)[1]
            if own not in dict(rows):
                rows.insert(0, (own, complete))
    return groups
