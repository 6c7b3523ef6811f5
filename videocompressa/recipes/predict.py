"""The classes of new videos, by a trained student."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from videocompressa.clip import VIDEO_HASH_DIGITS, Clip
from videocompressa.datasets import BadVideo
from videocompressa.errors import InputError, VideoError
from videocompressa.recipes.data import none_readable, videos_to_read
from videocompressa.run import Watch, watch_nothing
from videocompressa.students.clips import LabeledClips
from videocompressa.students.evaluation import predict
from videocompressa.students.model_folder import TrainedModel, read_model
from videocompressa.texts import names_text
from videocompressa.video import read_clip
from videocompressa.video.shards import hash_shard
from videocompressa.video.source import in_memory

_BATCH = 16
"""Videos that are decoded before they are classified together."""


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
    device: torch.device | None = None,
    watch: Watch = watch_nothing,
) -> Predictions:
    """Classify videos by the student in `model` (`train --save-model`); of folders, tars and parquet, all in them.

    A video that cannot be read is skipped and listed. Raises `InputError`, also when none can be read, and for videos
    that the model was made from, unless `seen`: its answers on them say nothing of others.
    """
    if top < 1:
        raise InputError(f"--top is {top}; it must be at least 1")
    model = Path(model)
    paths = videos_to_read(sources)
    trained = read_model(model)
    predictions: list[Prediction] = []
    skipped: list[BadVideo] = []
    clips: list[Clip] = []
    known, both = set() if seen else set(trained.video_hashes), []
    for number, (path, name) in enumerate(paths.items(), start=1):
        try:
            source = in_memory(path)
            if known and hash_shard([source])[0][:VIDEO_HASH_DIGITS] in known:
                both.append(name)
            if not both:
                clips.append(read_clip(source, trained.clip, label=0, video_id=name))
        except VideoError as error:
            skipped.append(BadVideo(name, str(error)))
        if clips and (len(clips) == _BATCH or number == len(paths)):
            predictions += _classified(clips, trained, top, device or torch.device("cpu"))
            clips = []
        watch("predict", done=number, total=len(paths))
    if both:
        raise InputError(
            f"model {model}: was made from {len(both)} of the {len(paths)} videos ({names_text(both)}), so its answers "
            "say nothing of other videos; leave these out, or give --seen to have their classes too"
        )
    if not predictions:
        raise none_readable(skipped)
    return Predictions(model, tuple(predictions), tuple(skipped))


def _classified(clips: Sequence[Clip], model: TrainedModel, top: int, device: torch.device) -> list[Prediction]:
    frames = torch.stack([clip.frames for clip in clips])
    data = LabeledClips(frames, torch.zeros(len(clips), dtype=torch.int64), model.normalization, model.classes)
    likely = predict(model.student, data, device).topk(min(top, len(model.classes)))
    return [
        Prediction(
            clip.video_id, tuple((model.classes[label], round(share, 4)) for label, share in zip(*row, strict=True))
        )
        for clip, *row in zip(clips, likely.indices.tolist(), likely.values.tolist(), strict=True)
    ]
