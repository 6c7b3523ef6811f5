"""The compress run: videos to candidates, candidates to a synthetic set, the set to a file."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.artifact import to_bytes, write_set
from videocompressa.artifact.packing.weights import packed_bytes
from videocompressa.artifact.storage import Storage, sample_of, stored
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec, build_codec
from videocompressa.datasets import BadVideo, VideoEntry, VideoSet
from videocompressa.errors import BudgetError, InputError
from videocompressa.files import check_output
from videocompressa.labeler import Labeler
from videocompressa.methods import MethodConfig, find_method
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.recipes.budgets import (
    DEFAULT_KEYFRAMES,
    DEFAULT_PER_CLASS,
    BlankFiles,
    blank_files,
    check_classes,
    labeler_bytes,
    resolve_budget,
    with_labeler,
)
from videocompressa.recipes.data import check_split, encode_train, evaluation_split, list_videos, sampled, stages_of
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, Surroundings
from videocompressa.recipes.pace import StageTimes, encode_sample, method_seconds
from videocompressa.recipes.settings import with_settings
from videocompressa.rng import Streams
from videocompressa.run import Run, Stages
from videocompressa.selection.gumbel import GumbelSelector
from videocompressa.selection.keyframes import check_keyframes
from videocompressa.selection.selector_file import Origin, TrainedSelector, write_selector
from videocompressa.students.labelers import LAYER_MIX, completed_spec, parse_labeler, train_labeler
from videocompressa.students.named import check_clips
from videocompressa.synthetic import Budget, Cost, SyntheticSet, take_keyframes
from videocompressa.texts import bytes_text, percent_text, span_text

LABELS = {"hard": "hard labels", "soft": "soft labels of a teacher", "views": "a labeler for their views"}
MORE_CLIPS = 4
"""Times as many clips are proposed where they would still take no more than the labeler (our choice)."""
MEASURED_STEPS = 200
"""Training steps from which on a run measures its pace first, which takes four of them (our choice)."""


@dataclass(frozen=True, eq=False)
class Origins:
    """What a run knows of its set, and the file does not hold."""

    scores: Tensor | None = None
    """(N,T) the selector's scores of all candidates; None where none was learned."""
    untuned: Tensor | None = None
    """(N,K,C,h,w) the stored latents less what tuning added to them; None where none are tuned."""
    method_seconds: float | None = None
    """See `CompressOutcome`; None where it is not known."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """See `CompressOutcome`."""


UNKNOWN = Origins()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A compress run before any video is read: what `compress_folder` and `plan` share."""

    options: CompressOptions
    candidates: CandidateOptions
    budget: BudgetOptions
    videos: VideoSet
    config: MethodConfig
    """The method, with the labeler that was asked for."""
    storage: Storage
    codec: Codec
    judged_by: str | None
    """See `CompressOutcome`."""
    notes: tuple[str, ...]
    """Notes for the user on the videos and the labeler."""

    @property
    def entries(self) -> list[VideoEntry]:
        """The training videos."""
        return list(self.videos.select("train").entries)

    def resolved(self, data: Candidates, sample: Callable[[], Tensor]) -> tuple[Budget, tuple[str, ...], BlankFiles]:
        """Return what the method may keep of candidates, with notes and sizes by latents of `sample()` (n,T,...)."""
        storage = self.storage.counting(self.budget.bytes)
        files = blank_files(data, self.config, storage, self.options.seed, sample, self.codec)
        return *resolve_budget(self.budget, files), files


def prepare(
    data: Path,
    options: CompressOptions,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    device: torch.device,
    *,
    method: MethodConfig | None = None,
    codec: Codec | None = None,
) -> Prepared:
    """Check the options of a run, list its videos and build its codec; raises `InputError`."""
    config, storage = method_config(method or options.method, options.settings), Storage(options.storage, options.step)
    _check_together(config, options, candidates, budget)
    videos = sampled(list_videos(data, candidates), candidates)
    check_split(videos, "train", data)
    labels = [entry.label for entry in videos.select("train").entries]
    check_classes({name: labels.count(label) for label, name in enumerate(videos.classes)}, budget)
    config, labeler_notes = labeled_by(config, options, candidates, budget, videos.classes)
    judged_by, no_judge = evaluation_split(videos, data)
    codec = build_codec(codec or options.codec).to(device)
    codec.spec.latent_shape(candidates.size, candidates.size)
    notes = [*videos.notes, *no_judge, *labeler_notes]
    if config.selector_name == "gumbel" and _keeps_all(candidates, budget):
        notes.append(
            f"all {candidates.frames} candidate frames of a video are kept, so no selector is trained; give "
            "--keyframes below --frames"
        )
    return Prepared(options, candidates, budget, videos, config, storage, codec, judged_by, tuple(notes))


@dataclass(frozen=True)
class CompressOutcome:
    """The result of a compress run."""

    path: Path
    cost: Cost
    """Measured on the file."""
    videos_per_class: int
    keyframes: int
    num_train_videos: int
    """Videos that were read."""
    num_train_frames: int
    """Their frames."""
    skipped: tuple[BadVideo, ...]
    labeler: Labeler | None
    """The labeler in the file."""
    notes: tuple[str, ...]
    """Notes for the user on how the budget was met."""
    judged_by: str | None
    """Split of the data that students of the set can be evaluated on, "test" or "val"; None where it has neither."""
    method_seconds: float
    """Seconds of the method, stages that were already finished included; not of decoding and encoding."""
    stage_seconds: Mapping[str, float]
    """Seconds of this run by stage; stages that were already finished took none."""
    worker_seconds: Mapping[str, float]
    """The same of what decoding workers did meanwhile; empty where there are none."""
    origins: Callable[[], Origins] = field(repr=False)
    """What the run knows of its set, computed when it is called."""


def compress_folder(
    data: Path,
    path: Path,
    options: CompressOptions,
    *,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    selector_out: Path | None = None,
    overwrite: bool = False,
    method: MethodConfig | None = None,
    codec: Codec | None = None,
    group: ProcessGroup = ALONE,
    surroundings: Surroundings,
    announce: Callable[[Mapping[str, str], Sequence[str]], None] | None = None,
) -> CompressOutcome:
    """Compress the training videos of `data` into the file `path`, and write the trained selector to `selector_out`.

    `method` and `codec` are objects in place of the names in `options`. Options are checked before the videos are read;
    `announce` then gets what the run will do, as rows of names and texts, and notes on the videos. Equal input, options
    and seed give equal bytes on a CPU. The processes of `group` share teachers, experts, pool and synthesis; they must
    see one cache, and the first one decodes and writes. Raises `InputError`.
    """
    check_output(path, overwrite=overwrite, suffix=".safetensors")
    times = StageTimes(surroundings.watch, surroundings.clock)
    surroundings = dataclasses.replace(surroundings, watch=times.watch)
    if selector_out is not None:
        asked = method_config(method or options.method, options.settings)
        _check_selector_out(selector_out, path, asked, candidates, budget, overwrite=overwrite)
    prepared = prepare(data, options, candidates, budget, surroundings.device, method=method, codec=codec)
    config, codec, storage = prepared.config, prepared.codec, prepared.storage
    surroundings.watch("list", done=len(prepared.videos), total=len(prepared.videos))
    if announce is not None:
        announce(_intention(prepared) | _estimate(prepared, surroundings), prepared.notes)
    encode_all = config.reads_all_latents
    train_data = group.main_first(
        lambda: encode_train(prepared.videos, candidates, codec, surroundings, encode_all=encode_all)
    )
    resolved, notes, _ = prepared.resolved(train_data, lambda: sample_of(train_data.latents))
    stages = stages_of(train_data, surroundings)
    run = Run(Streams(options.seed, "compress"), surroundings.device, surroundings.watch, stages, group)
    started = stages.worked_seconds()
    resolved = _with_spare(resolved, config, train_data, run)
    method_set = config.compress(train_data, codec, resolved, run)
    synthetic = _stored_within(method_set, codec, storage, budget)
    seconds = stages.worked_seconds() - started
    surroundings.watch("pack", done=1, total=1)
    costs = []
    if group.is_main:
        costs.append(write_set(synthetic, path, quantization=storage.quantization, overwrite=overwrite))
    (cost,) = group.gather(costs)
    surroundings.watch("write", done=1, total=1)
    if selector_out is not None:
        trained = _trained_selector(train_data, config, resolved.keyframes, run)
        if group.is_main:
            write_selector(trained, selector_out, overwrite=overwrite)
    return CompressOutcome(
        path=path,
        cost=cost,
        videos_per_class=_most_of_a_class(synthetic, train_data),
        keyframes=synthetic.positions.shape[1],
        num_train_videos=len(train_data),
        num_train_frames=int(train_data.num_video_frames.sum()),
        skipped=train_data.bad,
        labeler=synthetic.labeler,
        notes=(*prepared.notes, *train_data.notes, *notes, *_room(cost, synthetic, train_data)),
        judged_by=prepared.judged_by,
        method_seconds=seconds,
        stage_seconds=times.seconds,
        worker_seconds=times.worker_seconds,
        origins=lambda: Origins(
            scores=_scores(train_data, config, synthetic, resolved.keyframes, run),
            untuned=_untuned(train_data, config, method_set, synthetic),
            method_seconds=seconds,
            stage_seconds=times.seconds,
        ),
    )


def _room(cost: Cost, synthetic: SyntheticSet, train_data: Candidates) -> list[str]:
    """Return a note where more clips would cost little: the labeler is most of the file."""
    kept = _most_of_a_class(synthetic, train_data)
    more = min(MORE_CLIPS * kept, *train_data.class_sizes.values())
    if more <= kept or cost.labeler_bytes < MORE_CLIPS * cost.latent_bytes:
        return []
    added = bytes_text(round((more / kept - 1) * cost.latent_bytes))
    return [
        f"the labeler takes {bytes_text(cost.labeler_bytes)} of the {bytes_text(cost.file_bytes)}; --vpc {more} adds "
        f"about {added}, and teaches more where clips of a class differ (docs/choosing.md)"
    ]


def _stored_within(method_set: SyntheticSet, codec: Codec, storage: Storage, budget: BudgetOptions) -> SyntheticSet:
    """Return a set as it is stored; raises `BudgetError` when its file has too many bytes."""
    synthetic = stored(method_set, codec, storage, limit=budget.bytes)
    if budget.bytes is not None and (size := len(to_bytes(synthetic, storage.quantization))) > budget.bytes:
        raise BudgetError(
            f"--bytes {budget.bytes} is too small: the file would have {size} bytes even at its coarsest; give at "
            f"least --bytes {size}, or fewer --keyframes"
        )
    return synthetic


def _most_of_a_class(synthetic: SyntheticSet, train_data: Candidates) -> int:
    """Return the items of the class that has the most; soft labels do not show what class an item was chosen for."""
    labels = dict(zip(train_data.video_ids, train_data.labels.tolist(), strict=True))
    return max(Counter(labels[video] for video in synthetic.provenance.video_ids).values())


def _intention(prepared: Prepared) -> dict[str, str]:
    """Return what a run will do, as rows of names and texts."""
    candidates, budget, config = prepared.candidates, prepared.budget, prepared.config
    keyframes = budget.keyframes or min(DEFAULT_KEYFRAMES, candidates.frames)
    if budget.bytes is not None:
        kept = f"a file of up to {bytes_text(budget.bytes)}"
    elif budget.ratio is not None:
        kept = f"{percent_text(budget.ratio)} of the frames"
    else:
        kept = f"{_per_class(prepared)} videos of each class, {keyframes} keyframes of each"
    side, place, fit = candidates.size, candidates.placement, candidates.fit
    return {
        "read": f"{len(prepared.entries)} training videos of {len(prepared.videos.classes)} classes",
        "clips": f"{candidates.frames} frames of {side}x{side} px, placement {place}, fit {fit}",
        "keep": f"{kept}; {LABELS[config.labels]}",
        "method": f"{config.name}, codec {prepared.codec.spec.name}, seed {prepared.options.seed}",
    }


def _per_class(prepared: Prepared) -> int:
    """Return the VPC of a budget that names one, or nothing."""
    budget, frames = prepared.budget, prepared.candidates.frames
    return budget.vpc or max(1, DEFAULT_PER_CLASS // (budget.keyframes or min(DEFAULT_KEYFRAMES, frames)))


def _estimate(prepared: Prepared, surroundings: Surroundings) -> dict[str, str]:
    """Return how long a run will take, as a row; nothing for one that trains a little or nothing.

    What was measured is kept, for the runs that go on with this one.
    """
    entries, config, videos, codec = prepared.entries, prepared.config, prepared.videos, prepared.codec
    clip, num_kept = prepared.candidates.clip, _per_class(prepared) * len(videos.classes)
    if config.training_steps(len(entries), len(videos.classes)) < MEASURED_STEPS:
        return {}

    def measure() -> dict[str, Tensor]:
        sample = encode_sample(entries, prepared.candidates, codec, videos.root, surroundings)
        train_seconds = method_seconds(sample.frames, config, len(entries), videos.classes, surroundings)
        return {"seconds": torch.tensor(sample.pass_seconds(len(entries), num_kept, config) + train_seconds)}

    method = {config.name: config.differing_settings()}
    key = {"videos": videos.select("train").split_hash, "method": method, "codec": codec.spec.name, "kept": num_kept}
    machine = {"clip": dataclasses.asdict(clip), "device": surroundings.device.type, "threads": torch.get_num_threads()}
    seconds = Stages(surroundings.cache / "stages" / "pace").recall("pace", key | machine, measure)["seconds"]
    return {"time": f"{span_text(float(seconds))}, less what an earlier run has done"}


def _scores(
    train_data: Candidates, config: MethodConfig, synthetic: SyntheticSet, keyframes: int, run: Run
) -> Tensor | None:
    selector = config.find_selector(train_data, keyframes, run) if config.selector_name == "gumbel" else None
    if not isinstance(selector, GumbelSelector):
        return None
    return selector.scores(train_data.frames[_rows_of(synthetic, train_data)])


def _untuned(
    train_data: Candidates, config: MethodConfig, method_set: SyntheticSet, synthetic: SyntheticSet
) -> Tensor | None:
    if not config.synthesis_steps or synthetic.codec != train_data.codec:
        return None
    encoded = train_data.latents[_rows_of(synthetic, train_data)].float()
    # Less what was added, and not as they were encoded: storing changed both alike.
    return synthetic.latents - (method_set.latents - take_keyframes(encoded, synthetic.positions))


def _rows_of(synthetic: SyntheticSet, train_data: Candidates) -> Tensor:
    """Return the places (N,) of the items' videos in the training data."""
    places = {video: row for row, video in enumerate(train_data.video_ids)}
    return torch.tensor([places[video] for video in synthetic.provenance.video_ids])


def _check_together(
    config: MethodConfig, options: CompressOptions, candidates: CandidateOptions, budget: BudgetOptions
) -> None:
    """Raise for options that do not go together."""
    if options.storage not in config.storages:
        raise InputError(
            f"--storage {options.storage}: method {config.name!r} fills its bytes with entropy-coded latents; give "
            "--storage transform, or leave the option out"
        )
    if budget.keyframes is not None:
        check_keyframes(budget.keyframes, candidates.clip.num_frames)
    if config.fills_bytes and budget.bytes is None:
        raise InputError(
            f"method {config.name!r} keeps as much as a file of a given size holds, whatever --vpc and --ratio are; "
            "give --bytes, such as --bytes 20kB"
        )


def labeled_by(
    config: MethodConfig,
    options: CompressOptions,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    classes: tuple[str, ...],
) -> tuple[MethodConfig, tuple[str, ...]]:
    """Return the method with the labeler that was asked for, and notes; labels that were set are never changed."""
    if any(setting.startswith("labeler.spec.width=") for setting in options.settings):
        budget = dataclasses.replace(budget, bytes=None)  # nor is a width, however small the file
    were_set = any(setting.partition("=")[0].strip() == "labels" for setting in options.settings)
    by_views = config.labels == "views"
    if were_set and (by_views if options.labeler == "off" else not by_views and options.labeler != "auto"):
        raise InputError(
            f"--labeler {options.labeler} and --set labels={config.labels} contradict each other; leave one out"
        )
    labeler = options.labeler
    if ":" in labeler:  # a layer of a pretrained network
        views = dataclasses.replace(config.labeler.spec.views, mix=LAYER_MIX)
        spec = dataclasses.replace(config.labeler.spec, network=parse_labeler(labeler), views=views)
        config = dataclasses.replace(config, labels="views", labeler=dataclasses.replace(config.labeler, spec=spec))
        labeler, were_set = "auto", True
    if config.labels == "views" and config.labeler.spec.is_layer:
        spec = completed_spec(config.labeler.spec, classes, candidates.clip)
        config = dataclasses.replace(config, labeler=dataclasses.replace(config.labeler, spec=spec))
    config, notes = with_labeler(config, labeler, budget, len(classes), needed=were_set)
    if config.needs_teacher:
        check_clips(config.trained.student, candidates.clip.size)
    return config, notes


def method_config(method: str | MethodConfig, settings: Sequence[str]) -> MethodConfig:
    """Return a method, or that of a name, with `name=value` settings in it."""
    return with_settings(find_method(method) if isinstance(method, str) else method, settings)


def _with_spare(budget: Budget, config: MethodConfig, train_data: Candidates, run: Run) -> Budget:
    """Return the budget of a method that fills bytes, with those added that a blank labeler has and the real one lacks.

    So the labeler, a finished stage, is trained first.
    """
    if budget.file_bytes is None or not config.fills_bytes or config.labels != "views":
        return budget
    labeler, spec = train_labeler(train_data, config.labeler, run), config.labeler.spec
    real = packed_bytes(labeler.weights, spec.bits)
    spare = labeler_bytes(spec, len(train_data.classes)) - real - 16  # the header pads, and holds the sizes as digits
    return dataclasses.replace(budget, file_bytes=budget.file_bytes + max(0, spare))


def _keeps_all(candidates: CandidateOptions, budget: BudgetOptions) -> bool:
    """Return whether K is T, which leaves a selector nothing to choose."""
    return (budget.keyframes or DEFAULT_KEYFRAMES) >= candidates.frames


def _check_selector_out(
    selector_out: Path,
    path: Path,
    config: MethodConfig,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    *,
    overwrite: bool,
) -> None:
    """Raise when no selector could be written there, or the method learns none."""
    if config.selector_name != "gumbel":
        raise InputError(
            f"--selector-out: method {config.name!r} with these settings learns no selector; use --method "
            "videocompressa with --set selector=gumbel, or leave the option out"
        )
    if selector_out.absolute() == path.absolute():
        raise InputError(f"--selector-out and --output are both {path}; give two names")
    check_output(selector_out, overwrite=overwrite, suffix=".safetensors")
    if _keeps_all(candidates, budget):
        raise InputError(
            f"--selector-out: all {candidates.frames} candidate frames would be kept, which leaves nothing to learn; "
            "give --keyframes below --frames"
        )


def _trained_selector(train_data: Candidates, config: MethodConfig, keyframes: int, run: Run) -> TrainedSelector:
    """Return the selector that the method has trained, from its finished stage."""
    selector = config.find_selector(train_data, keyframes, run)
    assert isinstance(selector, GumbelSelector)
    return TrainedSelector(
        selector=selector.cpu(),
        keyframes=keyframes,
        clip=train_data.clip,
        origin=Origin(
            source=train_data.source,
            split_hash=train_data.split_hash,
            method=config.name,
            seed=run.streams.seed,
            codec=train_data.codec.name,
            codec_sha256=train_data.codec.weights_sha256,
            config=config.differing_settings(),
        ),
    )
