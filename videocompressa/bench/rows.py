"""What a benchmark runs: the cells of its table and of its experiments, and the jobs of each cell."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from videocompressa.bench.cells import RunJob, SetJob
from videocompressa.bench.protocols import PROTOCOLS, Protocol
from videocompressa.bench.record import FULL, FULL_LONG, LABELER, NOISE, REGIMES
from videocompressa.bench.scales import SCALES
from videocompressa.errors import InputError, check_known
from videocompressa.methods import METHODS, MethodConfig, find_method
from videocompressa.methods.videocompressa.method import PAPER
from videocompressa.recipes.compress import method_config
from videocompressa.recipes.options import BudgetOptions, CompressOptions
from videocompressa.recipes.settings import setting_names, with_settings
from videocompressa.students.named import parse_student
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
"""Rows of the ablation (Figure 4 of the paper, and our own parts): what is changed in the paper's complete method."""


@dataclass(frozen=True)
class BenchOptions:
    """What a benchmark compares."""

    methods: tuple[str, ...] = (FULL, FULL_LONG, *(name for name in METHODS if name != NOISE))
    """Names of `METHODS`, "full" or "full-long"; with settings as NAME:name=value;name=value."""
    labels: tuple[str, ...] = tuple(REGIMES)
    """Regimes, each with a table of its own."""
    controls: bool | None = None
    """Rows of labels "views" that say what the labeler does by itself; None is on where these labels are asked for."""
    settings: tuple[str, ...] = ()
    """Of every method that has such a setting, and of the teachers of full data, as name=value."""
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
    train_steps: tuple[int, ...] = ()
    """Steps of students of the table's sets and of full data, for the experiment over them."""
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
    train_steps: int | None = None
    """Of the student; None for the protocol's."""

    @property
    def set_method(self) -> str:
        """The method whose set the row needs: the labeler is that of the reference's file in the same column."""
        return REFERENCE if self.method == LABELER else self.method


def rows_of(options: BenchOptions) -> list[Row]:
    """Return the cells of the table and of the experiments that were asked for; raises `InputError`."""
    protocol, _ = protocol_of(options)
    _check(options)
    students = options.students or protocol.students[:1]
    for name in students:
        parse_student(name)
    main = _table(options, students[0])
    asked = [kind for kind in (find_method(OURS).labels, *protocol.labels) if kind in options.labels]
    experiments = [row for budget in options.budgets for row in _experiments(budget, students[0], asked[0], options)]
    trained = [row for row in main if row.method != LABELER]
    longer = [
        dataclasses.replace(row, axis="train-steps", train_steps=steps)
        for steps in options.train_steps
        for row in trained
        if row.method != FULL_LONG and row.labels in options.labels
    ]
    across = [dataclasses.replace(row, student=student, axis="cross") for student in students[1:] for row in trained]
    return [*main, *experiments, *longer, *across]


def _check(options: BenchOptions) -> None:
    """Raise `InputError` for an option that cannot be used."""
    if options.num_seeds < 1:
        raise InputError(f"--seeds is {options.num_seeds}; it must be at least 1")
    check_known("unknown scale", options.scale, SCALES)
    if least := [steps for steps in options.train_steps if steps < 1]:
        raise InputError(f"--train-steps has {least[0]}; each must be at least 1")
    if options.controls and "views" not in options.labels:
        raise InputError(f"--controls is for labels views, but --labels is {','.join(options.labels)}; add views")
    with_settings(TrainConfig(), (*SCALES[options.scale].train, *options.train))
    methods = sorted({_method(spec)[0] for spec in options.methods} - {FULL, FULL_LONG} | {REFERENCE})
    known = dict.fromkeys(name for method in methods for name in setting_names(find_method(method)))
    del known["labels"]
    for name in (setting.partition("=")[0] for setting in options.settings):
        if name not in known:
            raise InputError(f"--set {name}: no method of --methods has this setting; known: {', '.join(known)}")
    for method in methods:
        method_config(method, _shared(method, options))


def _table(options: BenchOptions, student: str) -> list[Row]:
    """Return the rows of the table: methods, full data, and the controls of labels "views"."""
    rows: list[Row] = []
    for budget, spec, labels in itertools.product(options.budgets, options.methods, options.labels):
        method, settings = _method(spec)
        row = Row(method, settings, labels, student, options.codec, budget, options.keyframes[0])
        if method not in (FULL, FULL_LONG):
            configuration(row, options)  # checks the settings
            rows.append(row)
        elif budget == options.budgets[0]:
            rows.append(dataclasses.replace(row, budget=None))
    full = Row(FULL, (), "hard", student, options.codec, None, options.keyframes[0])
    if FULL in options.methods:  # with hard labels it is the reference of every regime
        rows.append(full)
    if options.controls or (options.controls is None and "views" in options.labels):
        rows += [
            dataclasses.replace(full, method=method, labels="views", budget=budget)
            for budget in options.budgets
            for method in (REFERENCE, NOISE, LABELER)
        ]
    return list(dict.fromkeys(rows))


def _method(spec: str) -> tuple[str, tuple[str, ...]]:
    """Return the name and the settings of a method."""
    method, _, text = spec.partition(":")
    settings = tuple(part.strip() for part in text.split(";") if part.strip())
    if settings and method in (FULL, FULL_LONG):
        raise InputError(f"--methods {spec}: {method!r} has no settings; students have theirs by --train")
    return method, settings


def _experiments(budget: BudgetOptions, student: str, labels: str, options: BenchOptions) -> list[Row]:
    """Return the rows of the ablation and synthesis steps, of the paper's method, and of K, of the default one."""
    complete = Row(OURS, PAPER, labels, student, options.codec, budget, options.keyframes[0])
    rows: list[Row] = []
    if options.ablation:
        ablation = dataclasses.replace(complete, axis="ablation")
        rows.append(ablation)
        rows += [
            dataclasses.replace(ablation, settings=(*PAPER, *change), variant=name) for name, change in ABLATION.items()
        ]
        rows += [dataclasses.replace(ablation, codec=codec, variant=f"codec {codec}") for codec in options.codecs]
        if labels != "hard":
            rows.append(dataclasses.replace(ablation, labels="hard", variant="labels hard"))
    for steps in options.steps:
        change = (f"synthesis.steps={steps}",) if steps else ("synthesis.enabled=false",)
        rows.append(dataclasses.replace(complete, settings=(*PAPER, *change), axis="steps"))
    if len(options.keyframes) > 1:
        rows += [
            dataclasses.replace(complete, method=method, settings=(), keyframes=keyframes, axis="keyframes")
            for keyframes in options.keyframes
            for method in (OURS, REFERENCE)
        ]
    return rows


def configuration(row: Row, options: BenchOptions) -> MethodConfig:
    """Return the configuration of a row's method; raises `InputError` for unknown methods and settings."""
    return method_config(row.set_method, _settings(row, options, ()))


def known_settings(method: str, several: Sequence[str]) -> list[str]:
    """Return those of several settings that a method has."""
    known = setting_names(find_method(method))
    return [setting for setting in several if setting.partition("=")[0] in known]


def _shared(method: str, options: BenchOptions) -> list[str]:
    """Return the settings of the scale, and on top of them those of `--set` that a method has."""
    scale = SCALES[options.scale]
    own = scale.methods.get(method, ())
    return [*known_settings(method, scale.settings), *own, *known_settings(method, options.settings)]


def _settings(row: Row, options: BenchOptions, teacher: Sequence[str]) -> tuple[str, ...]:
    """Return all settings of a row's method: of the protocol's teacher, the scale and the user, and the labels."""
    return (*teacher, *_shared(row.set_method, options), *row.settings, f"labels={row.labels}")


def job_of(row: Row, seed: int, options: BenchOptions, teacher: tuple[str, ...]) -> RunJob:
    """Return what is to be done for one seed of a row, with the settings of the protocol's teacher."""
    scale = SCALES[options.scale]
    labeling = (*teacher, *_shared(REFERENCE, options)) if row.budget is None and row.labels != "hard" else ()
    return RunJob(
        trained_on=None if row.budget is None else _set_job(row, row.budget, seed, options, teacher),
        method=row.method,
        labels=row.labels,
        student=row.student,
        train=(*scale.train, *options.train, *([f"steps={row.train_steps}"] if row.train_steps else [])),
        teacher=tuple(text for text in labeling if text.startswith(("teacher.", "labeler."))),
        codec=row.codec,
        keyframes=row.keyframes,
        seed=seed,
    )


def _set_job(row: Row, budget: BudgetOptions, seed: int, options: BenchOptions, teacher: tuple[str, ...]) -> SetJob:
    """Return the set of a row; a method that fills bytes gets those of the file of `REFERENCE` in the same column."""
    reference, config, settings = None, configuration(row, options), _settings(row, options, teacher)
    if config.fills_bytes and budget.bytes is None:
        same_column = dataclasses.replace(row, method=REFERENCE, settings=())
        reference = _set_job(same_column, budget, seed, options, teacher)
        if row.labels == "views":  # the labeler of the reference, also where it is most of the file
            settings = (*settings, f"labeler.spec.width={config.labeler.spec.width}")
    budget = dataclasses.replace(budget, keyframes=row.keyframes, allow_fewer=True)
    compress = CompressOptions(row.set_method, row.codec, seed, settings=settings)
    return SetJob(compress, row.labels, budget, reference)


def protocol_of(options: BenchOptions) -> tuple[Protocol, str]:
    """Return the protocol, and the name of the way in which it reads the data set."""
    name, _, reading = options.protocol.partition(":")
    check_known("unknown protocol", name, PROTOCOLS)
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
