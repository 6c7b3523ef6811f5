"""What a benchmark runs: the cells of its table and of its experiments, and the jobs of each cell."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from videocompressa.bench.cells import RunJob, SetJob
from videocompressa.bench.protocols import PROTOCOLS, Protocol
from videocompressa.bench.record import FULL, FULL_LONG
from videocompressa.bench.scales import SCALES
from videocompressa.errors import InputError
from videocompressa.methods import METHODS, MethodConfig, find_method
from videocompressa.networks import check_student
from videocompressa.recipes.compress import method_config
from videocompressa.recipes.options import BudgetOptions, CompressOptions
from videocompressa.recipes.settings import setting_names, with_settings
from videocompressa.students.settings import TrainConfig

OURS, FAIR = "videocompressa", "fair"
REFERENCE = "random-real"
"""The method whose file, of the same VPC, K and kind of labels, sets the bytes of methods that fill bytes."""

ABLATION: dict[str, tuple[str, ...]] = {
    "selector uniform": ("selector=uniform",),
    "selector random": ("selector=random",),
    "understanding off": ("joint.understanding=false",),
    "joint off": ("joint.enabled=false",),
    "synthesis off": ("synthesis.enabled=false",),
    "subset random": ("subset=random",),
    "subset by students": ("subset=herding", "features=pool"),
}
"""Rows of the ablation (Figure 4 of the paper, and our own parts): what is changed in the complete method."""


@dataclass(frozen=True)
class BenchOptions:
    """What a benchmark compares."""

    methods: tuple[str, ...] = (FULL, FULL_LONG, *METHODS)
    """Names of `METHODS`, "full" or "full-long"; with settings as NAME:name=value;name=value."""
    labels: tuple[str, ...] = ("hard", "soft")
    budgets: tuple[BudgetOptions, ...] = (BudgetOptions(vpc=1), BudgetOptions(vpc=5), BudgetOptions(vpc=10))
    """Columns; each of one kind (vpc, ratio or bytes), without K."""
    keyframes: tuple[int, ...] = (4,)
    """K of the table first; more make the experiment over K."""
    num_seeds: int = 3
    students: tuple[str, ...] = ()
    """The first evaluates, the others evaluate the same sets across architectures; empty is the protocol's first."""
    codec: str = "tiny"
    ablation: bool = False
    codecs: tuple[str, ...] = ("linear", "pixel")
    """Further codecs of the ablation."""
    steps: tuple[int, ...] = ()
    """Synthesis steps of the experiment over steps; 0 turns synthesis off."""
    protocol: str = "fair"
    """"fair", "vdsd:SET" or "video-dc:SET"."""
    scale: str = "published"
    train: tuple[str, ...] = ()
    """Settings of every student's training, on top of protocol and scale, as name=value."""
    split: str = "test"


@dataclass(frozen=True)
class Row:
    """One cell of the table: what is run for every seed."""

    method: str
    settings: tuple[str, ...]
    """As the user gave them, without the scale's."""
    labels: str
    student: str
    codec: str
    budget: BudgetOptions | None
    """None for all videos."""
    keyframes: int
    axis: str = "main"
    variant: str = ""


def rows_of(options: BenchOptions) -> list[Row]:
    """Return the cells of the table and of the experiments that were asked for; raises `InputError`."""
    if options.num_seeds < 1:
        raise InputError(f"--seeds is {options.num_seeds}; it must be at least 1")
    if options.scale not in SCALES:
        raise InputError(f"unknown scale {options.scale!r}; known: {', '.join(SCALES)}")
    protocol, _ = protocol_of(options)
    students = options.students or protocol.students[:1]
    for name in students:
        check_student(name)
    with_settings(TrainConfig(), (*SCALES[options.scale].train, *options.train))
    main = []
    for budget, spec, labels in itertools.product(options.budgets, options.methods, options.labels):
        method, settings = _method(spec)
        row = Row(method, settings, labels, students[0], options.codec, budget, options.keyframes[0])
        if method not in (FULL, FULL_LONG):
            configuration(row, options)  # checks the settings
            main.append(row)
        elif budget == options.budgets[0]:
            main.append(dataclasses.replace(row, budget=None))
    own = find_method(OURS).labels
    labels = own if own in protocol.labels else protocol.labels[0]
    experiments = [row for budget in options.budgets for row in _experiments(budget, students[0], labels, options)]
    across = [dataclasses.replace(row, student=student, axis="cross") for student in students[1:] for row in main]
    return [*main, *experiments, *across]


def _method(spec: str) -> tuple[str, tuple[str, ...]]:
    """Return the name and the settings of a method."""
    method, _, text = spec.partition(":")
    settings = tuple(part.strip() for part in text.split(";") if part.strip())
    if settings and method in (FULL, FULL_LONG):
        raise InputError(f"--methods {spec}: {method!r} has no settings; students have theirs by --train")
    return method, settings


def _experiments(budget: BudgetOptions, student: str, labels: str, options: BenchOptions) -> list[Row]:
    """Return the rows of the ablation, of the synthesis steps and of K, all of our method with these labels."""
    complete = Row(OURS, (), labels, student, options.codec, budget, options.keyframes[0])
    rows: list[Row] = []
    if options.ablation:
        ablation = dataclasses.replace(complete, axis="ablation")
        rows.append(ablation)
        rows += [dataclasses.replace(ablation, settings=change, variant=name) for name, change in ABLATION.items()]
        rows += [dataclasses.replace(ablation, codec=codec, variant=f"codec {codec}") for codec in options.codecs]
        if labels != "hard":
            rows.append(dataclasses.replace(ablation, labels="hard", variant="labels hard"))
    for steps in options.steps:
        change = (f"synthesis.steps={steps}",) if steps else ("synthesis.enabled=false",)
        rows.append(dataclasses.replace(complete, settings=change, axis="steps"))
    if len(options.keyframes) > 1:
        rows += [
            dataclasses.replace(complete, method=method, keyframes=keyframes, axis="keyframes")
            for keyframes in options.keyframes
            for method in (OURS, REFERENCE)
        ]
    return rows


def configuration(row: Row, options: BenchOptions) -> MethodConfig:
    """Return the configuration of a row's method; raises `InputError` for unknown methods and settings."""
    return method_config(row.method, _settings(row, options, ()))


def _settings(row: Row, options: BenchOptions, teacher: Sequence[str]) -> tuple[str, ...]:
    """Return all settings of a row's method: of the protocol's teacher, the scale and the user, and the labels."""
    known, scale = setting_names(find_method(row.method)), SCALES[options.scale]
    scaled = [setting for setting in scale.settings if setting.partition("=")[0] in known]
    return (*teacher, *scaled, *scale.methods.get(row.method, ()), *row.settings, f"labels={row.labels}")


def job_of(row: Row, seed: int, options: BenchOptions, teacher: tuple[str, ...]) -> RunJob:
    """Return what is to be done for one seed of a row, with the settings of the protocol's teacher."""
    scale = SCALES[options.scale]
    return RunJob(
        trained_on=None if row.budget is None else _set_job(row, row.budget, seed, options, teacher),
        method=row.method,
        labels=row.labels,
        student=row.student,
        train=(*scale.train, *options.train),
        teacher=tuple(text[len("teacher.") :] for text in (*teacher, *scale.settings) if text.startswith("teacher.")),
        codec=row.codec,
        keyframes=row.keyframes,
        seed=seed,
    )


def _set_job(row: Row, budget: BudgetOptions, seed: int, options: BenchOptions, teacher: tuple[str, ...]) -> SetJob:
    """Return the set of a row; a method that fills bytes gets those of the file of `REFERENCE` in the same column."""
    reference = None
    if configuration(row, options).fills_bytes and budget.bytes is None:
        same_column = dataclasses.replace(row, method=REFERENCE, settings=())
        reference = _set_job(same_column, budget, seed, options, teacher)
    budget = dataclasses.replace(budget, keyframes=row.keyframes, allow_fewer=True)
    settings = _settings(row, options, teacher)
    compress = CompressOptions(row.method, row.codec, seed, settings=settings)
    return SetJob(compress, row.labels, budget, reference)


def protocol_of(options: BenchOptions) -> tuple[Protocol, str]:
    """Return the protocol, and the name of the way in which it reads the data set."""
    name, _, reading = options.protocol.partition(":")
    if name not in PROTOCOLS:
        raise InputError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    protocol, reading = PROTOCOLS[name], reading or "any"
    protocol.reading(reading)
    if missing := [kind for kind in options.labels if kind not in protocol.labels]:
        raise InputError(f"--labels {missing[0]}: protocol {name!r} has {', '.join(protocol.labels)} labels only")
    return protocol, reading


def teacher_settings(protocol: Protocol, num_clips: int) -> tuple[str, ...]:
    """Return how teachers are trained under a protocol of the literature: as its full data is; ours: by default."""
    if protocol.name == FAIR:
        return ()
    return tuple(_settings_of(protocol.on_full.for_clips(num_clips), "teacher.train."))


def _settings_of(config: object, prefix: str) -> Iterator[str]:
    """Yield every field of a record as `--set` takes it, those of records in it too."""
    for name, value in vars(config).items():
        if dataclasses.is_dataclass(value):
            yield from _settings_of(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
