"""Writing the page of a set: one HTML file that needs no network."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from videocompressa.bench.record import FULL, REGIMES, Record
from videocompressa.errors import InputError
from videocompressa.files import check_output, check_output_folder, complete_folder, write_text
from videocompressa.methods import METHODS
from videocompressa.page.contents import Accuracy, Page, accuracy_of, page_of, student_seconds, videos_per_class
from videocompressa.page.media import beside
from videocompressa.recipes.results import TrainResults, read_results
from videocompressa.synthetic import Cost, SyntheticSet, regime_of
from videocompressa.texts import bytes_text, number_text, percent_text

_NAMES = {True: "the set", False: "all videos"}


def write_page(
    synthetic: SyntheticSet,
    cost: Cost,
    path: Path,
    *,
    assets: Path | None = None,
    **more: Any,
) -> Page:
    """Write the page of a set with its decoder to `path`, in place of one that exists, and return what it shows.

    `assets` is a folder for pictures and clips, which are in the page otherwise; it is replaced. `more` are those of
    `page_of`. Raises `InputError`.
    """
    if assets is None:
        page = page_of(synthetic, cost, **more)
    else:
        with complete_folder(assets, overwrite=True) as folder:
            address = quote(os.path.relpath(assets, path.parent).replace(os.sep, "/"))
            page = page_of(synthetic, cost, store=beside(folder, address), **more)
    write_text(path, render(page))
    return page


def check_page(path: Path, assets: Path | None = None, *, overwrite: bool) -> None:
    """Raise `InputError` when the page cannot be written there: to be called before it is made."""
    if assets is not None:
        check_output_folder(assets, overwrite=overwrite)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write a page to {path.name!r}; name it with .html")
    check_output(path, overwrite=overwrite)


def render(page: Page) -> str:
    """Return the HTML; names are escaped wherever they stand."""
    templates = Environment(
        loader=PackageLoader("videocompressa.page", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"percent": percent_text, "bytes": bytes_text}
    return templates.get_template("page.html.j2").render(page=page)


def read_all_results(paths: Sequence[Path], synthetic: SyntheticSet) -> tuple[Accuracy, list[Record]]:
    """Return the accuracies in the files of `--results`, and the records of a benchmark; raises `InputError`."""
    trained: dict[bool, TrainResults] = {}
    records: list[Record] = []
    for path in paths:
        if path.is_dir():
            path = path / "results.json"  # of bench
        if _holds_records(path):
            records += _read_records(path, synthetic.provenance.source.name)
            continue
        results = read_results(path, synthetic.classes)
        if (own := _of_set(path, results, synthetic)) in trained:
            raise InputError(f"--results {path}: an earlier file has results of {_NAMES[own]} too; give one of them")
        trained[own] = results
    if not trained:
        return accuracy_in(records, synthetic), records
    of_set, of_full = ((each.top1_mean, each.top1_std) if each else None for each in map(trained.get, (True, False)))
    ordered = sorted(trained.items(), reverse=True)
    how = " ".join(f"{_NAMES[own].capitalize()}: {_how(each)}." for own, each in ordered)
    confusion = trained[True].confusion if True in trained else ()
    seconds = student_seconds(*(each.train_seconds if each else None for each in map(trained.get, (True, False))))
    accuracy = replace(accuracy_of(of_set, of_full, how), confusion=confusion, student_seconds=seconds)
    return replace(accuracy, method_seconds=accuracy_in(records, synthetic).method_seconds), records


def accuracy_in(records: Sequence[Record], synthetic: SyntheticSet) -> Accuracy:
    """Return the accuracy of the set's row of a benchmark, the first that fits, against that of all videos."""
    labels = regime_of(synthetic.labels, synthetic.labeler)
    kept = (videos_per_class(synthetic), synthetic.positions.shape[1])
    config = METHODS.get(synthetic.provenance.method)
    of_set = [
        each
        for each in records
        if (each.axis, each.method, each.labels) == ("main", synthetic.provenance.method, labels)
        and ((each.vpc, each.keyframes) == kept or bool(config and config.fills_bytes))
        and each.top1_mean is not None
    ]
    if not of_set:
        return Accuracy()
    own = of_set[0]
    of_full = [each for each in records if each.on_all_videos and _alike(each, own) and each.top1_mean is not None]
    full = of_full[0] if of_full else None
    runs = number_text(len(own.top1_runs), "run")
    how = f"Benchmark: top-1 on {own.split} videos, {runs} of {own.student} ({own.protocol}), "
    of_own, of_all = ((each.top1_mean, each.spread) if each and each.top1_mean else None for each in (own, full))
    regime = REGIMES[labels] + ("" if labels == "hard" or full is None else "; all videos: hard labels")
    seconds = student_seconds(own.train_seconds, full.train_seconds if full else None)
    accuracy = accuracy_of(of_own, of_all, f"{how}{regime}.")
    return replace(accuracy, method_seconds=own.compress_seconds, student_seconds=seconds)


def _alike(record: Record, own: Record) -> bool:
    return (record.method, record.labels, record.axis, record.student, record.protocol) == (
        FULL,
        "hard",
        "main",
        own.student,
        own.protocol,
    )


def _how(results: TrainResults) -> str:
    student, steps = (results.options.get(name, "unknown") for name in ("student", "steps"))
    labels = REGIMES.get(results.regime, results.regime)
    return f"top-1 on {results.tested} of {student} ({steps} steps), {labels}"


def _of_set(path: Path, results: TrainResults, synthetic: SyntheticSet) -> bool:
    """Return whether results are those of the set, and not of all videos, by the number of clips."""
    source, num_clips = synthetic.provenance.source, results.num_train_clips
    if num_clips not in (len(synthetic), source.num_videos):
        raise InputError(
            f"--results {path}: students were trained on {num_clips} clips; the set has {len(synthetic)}, and its "
            f"source {source.num_videos}: give results of this set, or of all videos"
        )
    return num_clips == len(synthetic)


def _holds_records(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8").lstrip().startswith("[")
    except (OSError, UnicodeDecodeError):
        return False  # `read_results` says why.


def _read_records(path: Path, source: str) -> list[Record]:
    from videocompressa.bench.tables import from_json  # Only here: it needs pandas.

    records = from_json(path.read_text(encoding="utf-8"))
    own = [record for record in records if record.data == source]
    if not own:
        others = ", ".join(sorted({record.data for record in records})) or "none"
        raise InputError(f"--results {path}: has no records of {source!r}; it has those of: {others}")
    return own
