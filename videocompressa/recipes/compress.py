"""The compress run: videos to candidates, candidates to a synthetic set, the set to a file."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videocompressa.artifact import to_bytes, write_set
from videocompressa.artifact.storage import TRANSFORM, Storage, item_bytes, sample_of, stored
from videocompressa.clip import Candidates
from videocompressa.codecs import Codec, build_codec
from videocompressa.datasets import BadVideo, VideoSet
from videocompressa.errors import InputError
from videocompressa.files import check_target
from videocompressa.methods import Method, find_method
from videocompressa.methods.coreset import CoresetConfig
from videocompressa.methods.videocompressa import VideoCompressaConfig
from videocompressa.recipes.budgets import DEFAULT_KEYFRAMES, FileFacts, TrainFacts, check_classes, resolve_budget
from videocompressa.recipes.data import check_split, encode_train, list_videos, stages_of
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, Surroundings
from videocompressa.recipes.settings import with_settings
from videocompressa.rng import Streams
from videocompressa.run import Stages
from videocompressa.selection.gumbel import GumbelSelector
from videocompressa.selection.joint import find_selector
from videocompressa.selection.keyframes import UniformSelector, check_keyframes
from videocompressa.selection.selector_file import Origin, TrainedSelector, write_selector
from videocompressa.students.networks import STUDENTS, check_name, check_size
from videocompressa.synthetic import Budget

REFERENCE = "videocompressa"
"""The method whose file says how many bytes a VPC stands for."""


@dataclass(frozen=True)
class CompressOutcome:
    """What a compress run made."""

    path: Path
    budget: Budget
    """What the file costs, measured on it."""
    videos_per_class: int
    keyframes: int
    num_train_videos: int
    """Videos that were read."""
    num_train_frames: int
    """Their frames."""
    skipped: tuple[BadVideo, ...]
    notes: tuple[str, ...]
    """What a user should know of how the budget was met."""
    method_seconds: float
    """Seconds of the method, with what its stages had taken that were found finished; not of decoding and encoding."""


def configured(method: str, settings: Sequence[str]) -> tuple[Method, Any]:
    """Return a method and its configuration with `name=value` settings in it."""
    found = find_method(method)
    return found, with_settings(found.config, settings)


def compress_folder(
    data: Path,
    path: Path,
    *,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    method: str = "videocompressa",
    codec: str = "tiny",
    seed: int = 0,
    settings: Sequence[str] = (),
    storage: Storage = TRANSFORM,
    selector_out: Path | None = None,
    overwrite: bool = False,
    surroundings: Surroundings,
) -> CompressOutcome:
    """Compress the training videos of `data` into the file `path`, and the selector that learned on them into another.

    Everything that can be known to be wrong is checked before the videos are read. Equal input, options and seed give
    equal bytes on a CPU. Raises `InputError`.
    """
    check_target(path, overwrite=overwrite)
    found, config = configured(method, settings)
    check_storage(storage, method, config)
    if selector_out is not None:
        _check_selector_out(selector_out, path, method, config, candidates, budget, overwrite=overwrite)
    if budget.keyframes is not None:
        check_keyframes(budget.keyframes, candidates.clip.num_frames)
    if config.needs_teacher:
        clip, teacher = candidates.clip, config.teacher.train.student
        check_name(teacher)
        check_size((clip.num_frames, clip.height, clip.width), STUDENTS[teacher])
    videos = list_videos(data, candidates)
    check_training(videos, data, budget)
    built = build_codec(codec).to(surroundings.device)
    encoded = encode_train(videos, candidates, built, surroundings)
    train_data = encoded.candidates
    facts, measured = TrainFacts.of(train_data), _measure(train_data, built, storage, seed)
    file = file_facts(method, config, seed, storage, measured)
    reference = reference_facts(seed, storage, measured)
    resolved = resolve_budget(budget, facts, file, reference)
    stages, started = stages_of(train_data, surroundings), surroundings.clock()
    while True:
        allowance = resolved.allowance
        made = found.compress(
            train_data,
            built,
            config,
            budget=allowance,
            rng=Streams(seed, "compress"),
            device=surroundings.device,
            watch=surroundings.watch,
            stages=stages,
        )
        fills, room = fills_bytes(config), allowance.file_bytes or 0
        # A configuration that differs from the reference's says so in the file, in some bytes more.
        limit = room if fills or budget.bytes else max(room, resolved.most_bytes)
        synthetic = stored(made, built, storage, limit=limit, fill=fills)
        if budget.bytes is None or (size := len(to_bytes(synthetic, storage.quantization))) <= budget.bytes:
            break
        # Rarely, what was chosen packs worse than foreseen; then what is chosen next is foreseen to pack as badly.
        file = dataclasses.replace(file, extra_bytes=file.extra_bytes + size - resolved.most_bytes)
        resolved = resolve_budget(budget, facts, file, reference)
    method_seconds = surroundings.clock() - started + sum(stages.recalled_seconds.values())
    cost = write_set(synthetic, path, quantization=storage.quantization, overwrite=overwrite)
    if selector_out is not None:
        trained = _trained_selector(
            train_data, config, resolved.allowance.keyframes, seed=seed, stages=stages, surroundings=surroundings
        )
        write_selector(trained, selector_out, overwrite=overwrite)
    return CompressOutcome(
        path=path,
        budget=cost,
        videos_per_class=_most_of_a_class(made.provenance.video_ids, train_data),
        keyframes=made.positions.shape[1],
        num_train_videos=len(train_data),
        num_train_frames=int(train_data.num_video_frames.sum()),
        skipped=encoded.bad,
        notes=() if fills else resolved.notes,
        method_seconds=method_seconds,
    )


def fills_bytes(config: Any) -> bool:
    """Return whether a method keeps as much as the file holds, whatever VPC and K are."""
    return bool(getattr(config, "fills_bytes", False))


def _spends(config: Any) -> bool:
    """Return whether it fills the file with latents, all frames of a clip: the step says how many clips fit."""
    return isinstance(config, VideoCompressaConfig) and config.fills_bytes


def check_storage(storage: Storage, method: str, config: Any) -> None:
    """Raise unless the method's latents may be stored so."""
    if _spends(config) and storage.name != "transform":
        raise InputError(
            f"--storage {storage.name}: method {method!r} fills its bytes with entropy-coded latents; give "
            "--storage transform, or leave the option away"
        )


def _check_selector_out(
    selector_out: Path,
    path: Path,
    method: str,
    config: Any,
    candidates: CandidateOptions,
    budget: BudgetOptions,
    *,
    overwrite: bool,
) -> None:
    """Raise when no selector could be written there, or the method has none that learns."""
    if not isinstance(config, VideoCompressaConfig | CoresetConfig):
        raise InputError(f"--selector-out: method {method!r} learns no selector; use --method videocompressa")
    if config.selector != "gumbel":
        raise InputError(
            f"--selector-out: method {method!r} with selector {config.selector!r} learns none; "
            "give --set selector=gumbel, or leave the option away"
        )
    if selector_out.absolute() == path.absolute():
        raise InputError(f"--selector-out and --output are both {path}; give two names")
    check_target(selector_out, overwrite=overwrite)
    if _spends(config) or (budget.keyframes or DEFAULT_KEYFRAMES) >= candidates.frames:
        raise InputError(
            f"--selector-out: all {candidates.frames} candidate frames would be kept, which leaves nothing to learn; "
            "give --keyframes below --frames, and a method that keeps K of them"
        )


def _trained_selector(
    train_data: Candidates, config: Any, keyframes: int, *, seed: int, stages: Stages, surroundings: Surroundings
) -> TrainedSelector:
    """Return the selector that the method has trained, from its finished stage."""
    selector = find_selector(
        config.selector, train_data, config.scorer, config.joint, keyframes=keyframes, fill=config.fill,
        rng=Streams(seed, "compress"), device=torch.device("cpu"), watch=surroundings.watch, stages=stages,
    )  # fmt: skip
    assert isinstance(selector, GumbelSelector)
    return TrainedSelector(
        selector=selector,
        keyframes=keyframes,
        clip=train_data.clip,
        origin=Origin(
            source=train_data.source,
            split_hash=train_data.split_hash,
            method=config.name,
            seed=seed,
            codec=train_data.codec.name,
            codec_sha256=train_data.codec.weights_sha256,
            config={"joint": dataclasses.asdict(config.joint), "fill": config.fill},
        ),
    )


def _most_of_a_class(video_ids: Sequence[str], train_data: Candidates) -> int:
    """Return how many items the class has that has the most; soft labels do not tell what class an item stands for."""
    labels = dict(zip(train_data.video_ids, train_data.labels.tolist(), strict=True))
    return max(Counter(labels[video_id] for video_id in video_ids).values())


def check_training(videos: VideoSet, data: Path, budget: BudgetOptions) -> None:
    """Raise when the list of videos alone shows that no set can be made of them."""
    check_split(videos, "train", data)
    labels = [entry.label for entry in videos.select("train").entries]
    check_classes({name: labels.count(label) for label, name in enumerate(videos.classes)}, budget)


def reference_facts(seed: int, storage: Storage, item_bytes: Callable[[int], float] | None = None) -> FileFacts:
    """Return the facts of the file whose size stands for VPC and K: videocompressa's own, with soft labels.

    Methods that fill bytes get as many as that file has, so that one VPC means the same bytes for every method.
    """
    return file_facts(REFERENCE, find_method(REFERENCE).config, seed, storage, item_bytes)


def file_facts(
    method: str, config: Any, seed: int, storage: Storage, item_bytes: Callable[[int], float] | None = None
) -> FileFacts:
    """Return what decides the size of the file beside the videos."""
    return FileFacts(
        method=getattr(config, "name", method),
        config=dataclasses.asdict(config),
        soft_labels=config.labels == "soft",
        seed=seed,
        storage=storage,
        item_bytes=item_bytes,
    )


def _measure(train_data: Candidates, codec: Codec, storage: Storage, seed: int) -> Callable[[int], float]:
    """Return what tells the bytes of an item of K uniform keyframes of the training videos."""

    @functools.cache
    def measured(keyframes: int) -> float:
        positions = UniformSelector().positions(train_data.frames[:1], keyframes, torch.Generator())[0]
        return item_bytes(sample_of(train_data.latents)[:, positions], codec, storage, seed=seed)

    return measured
