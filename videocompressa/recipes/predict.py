"""The classes of new videos, by a trained student."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from videocompressa.clip import VIDEO_HASH_DIGITS
from videocompressa.datasets import BadVideo
from videocompressa.engine import Workers
from videocompressa.errors import InputError
from videocompressa.recipes.data import none_readable, videos_to_read
from videocompressa.run import Watch, watch_nothing
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import predict
from videocompressa.students.model_folder import TrainedModel, read_model
from videocompressa.texts import names_text
from videocompressa.video.shards import MAX_SECONDS, decode_jobs, jobs_of

_BATCH = 16
"""Videos that a worker decodes, and that are classified together."""


@dataclass(frozen=True)
class Prediction:
    """What one video shows."""

    video: str
    """Its path as the user gave it, or relative to the folder that the user gave."""
    classes: tuple[tuple[str, float], ...]
    """The most likely classes with their probabilities in [0,1], the most likely first."""


@dataclass(frozen=True)
class Predictions:
    """The result of a prediction."""

    model: Path
    videos: tuple[Prediction, ...]
    skipped: tuple[BadVideo, ...]


def predict_videos(
    sources: Sequence[Path | str],
    model: Path | str,
    *,
    top: int = 3,
    seen: bool = False,
    workers: Workers = 0,
    device: torch.device | None = None,
    watch: Watch = watch_nothing,
) -> Predictions:
    """Classify videos by the student in `model` (`train --save-model`); of folders, tars and parquet, all in them.

    `workers` processes decode; 0 decodes in this one. A video that cannot be read, or takes its worker down, is skipped
    and listed. Raises `InputError`, also when none can be read, and for videos that the model was made from, unless
    `seen`: its answers on them say nothing of others.
    """
    if top < 1:
        raise InputError(f"--top is {top}; it must be at least 1")
    model = Path(model)
    paths = videos_to_read(sources)
    trained = read_model(model)
    names, jobs = iter(paths.values()), jobs_of(list(paths), trained.clip, _BATCH)
    predictions: list[Prediction] = []
    skipped: list[BadVideo] = []
    known, both, num_read = set() if seen else set(trained.video_hashes), [], 0
    with closing(decode_jobs(jobs, workers=workers, max_seconds=MAX_SECONDS)) as shards:
        for shard in shards:
            rows = [(next(names), row) for row in shard.rows]
            num_read += len(rows)
            both += [name for name, row in rows if row.sha256[:VIDEO_HASH_DIGITS] in known]
            skipped += [BadVideo(name, row.bad) for name, row in rows if row.bad]
            good = [name for name, row in rows if not row.bad]
            if good and not both:
                frames = torch.from_numpy(shard.frames)
                predictions += _classified(good, frames, trained, top, device or torch.device("cpu"))
            watch("predict", done=num_read, total=len(paths))
    if both:
        raise InputError(
            f"model {model}: was made from {len(both)} of the {len(paths)} videos ({names_text(both)}), so its answers "
            "say nothing of other videos; leave these out, or give --seen to have their classes too"
        )
    if not predictions:
        raise none_readable(skipped)
    return Predictions(model, tuple(predictions), tuple(skipped))


def _classified(
    names: Sequence[str], frames: Tensor, model: TrainedModel, top: int, device: torch.device
) -> list[Prediction]:
    data = LabeledClips(frames, torch.zeros(len(frames), dtype=torch.int64), model.normalization, model.classes)
    likely = predict(model.student, data, device).topk(min(top, len(model.classes)))
    return [
        Prediction(name, tuple((model.classes[label], round(share, 4)) for label, share in zip(*row, strict=True)))
        for name, *row in zip(names, likely.indices.tolist(), likely.values.tolist(), strict=True)
    ]
