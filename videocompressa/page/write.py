"""Writing the page of a set: one HTML file that needs no network."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from videocompressa.bench.record import REGIMES, Record
from videocompressa.errors import InputError
from videocompressa.files import check_output, write_text
from videocompressa.page.contents import NO_ACCURACY, Accuracy, Page, accuracy_of, page_of
from videocompressa.recipes.results import TrainResults, read_results
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import Cost, SyntheticSet
from videocompressa.texts import bytes_text, percent_text

_NAMES = {True: "the set", False: "all videos"}


def write_page(
    synthetic: SyntheticSet,
    cost: Cost,
    path: Path,
    *,
    data: Path | None = None,
    accuracy: Accuracy = NO_ACCURACY,
    records: Sequence[Record] = (),
    watch: Watch = watch_nothing,
) -> Page:
    """Write the page of a set with its decoder to `path`, in place of one that exists, and return what it shows.

    `data` is the folder that was compressed, for frames of its videos. Raises `InputError`.
    """
    page = page_of(synthetic, cost, data=data, accuracy=accuracy, records=records, watch=watch)
    write_text(path, render(page))
    return page


def check_page(path: Path, *, overwrite: bool) -> None:
    """Raise `InputError` when the page cannot be written there: to be called before it is made."""
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
        if _holds_records(path):
            records += _read_records(path, synthetic.provenance.source.name)
            continue
        results = read_results(path, synthetic.classes)
        if (own := _of_set(path, results, synthetic)) in trained:
            raise InputError(f"--results {path}: an earlier file has results of {_NAMES[own]} too; give one of them")
        trained[own] = results
    of_set, of_full = ((each.top1_mean, each.top1_std) if each else None for each in map(trained.get, (True, False)))
    how = [f"{_NAMES[own].capitalize()}: {_how(each)}." for own, each in sorted(trained.items(), reverse=True)]
    return accuracy_of(of_set, of_full, " ".join(how)), records


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
