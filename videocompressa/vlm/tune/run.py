"""The finetune run: a video-language model evaluated as it is, after a set file, and after all training videos.

Each phase has a folder of its own with `scores.json`, `predictions.jsonl` and, where something was trained,
`metrics.jsonl`, `checkpoint.safetensors` and the adapter or model (see `phases`).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from videocompressa.artifact import read_set
from videocompressa.datasets import BadVideo
from videocompressa.errors import InputError
from videocompressa.files import check_folder, write_text
from videocompressa.recipes.data import check_split, list_videos
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.recipes.train import check_classes, check_unseen
from videocompressa.vlm.settings import FinetuneConfig, FinetuneOptions, LoadOptions
from videocompressa.vlm.tune.clips import ClipSource
from videocompressa.vlm.tune.phases import PHASE_FILE, FinetuneRun, PhaseScores
from videocompressa.vlm.tune.processes import ProcessGroup
from videocompressa.vlm.words import check_questions, readable_names


@dataclass(frozen=True)
class FinetuneOutcome:
    """The result of a finetune run."""

    phases: tuple[PhaseScores, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    """The classes in words."""
    skipped: tuple[BadVideo, ...]
    notes: tuple[str, ...]


def finetune_on(
    subject: Path,
    data: Path,
    folder: Path,
    *,
    options: FinetuneOptions,
    config: FinetuneConfig | None = None,
    load: LoadOptions | None = None,
    candidates: CandidateOptions,
    overwrite: bool = False,
    group: ProcessGroup | None = None,
    surroundings: Surroundings,
) -> FinetuneOutcome:
    """Fine-tune a model on the set file `subject` (and on `data`), evaluate it on videos of `data`, write to `folder`.

    Every process of a group makes the same call; the main one writes. Raises `InputError`, and `DivergedError` when a
    loss stops being finite.
    """
    config, load, group = config or FinetuneConfig(), load or LoadOptions(), group or ProcessGroup(surroundings.device)
    _check(options, config, load, data)
    # The codec is needed only where latents are decoded.
    decodes = options.after_set and options.from_source is None
    synthetic = open_set(subject, options.codec) if decodes else read_set(subject)
    videos = list_videos(data, candidates)
    check_split(videos, options.split, data)
    check_classes(synthetic.classes, videos.classes, subject, data)
    check_unseen(synthetic, subject, videos, data, options.split)
    names = readable_names(synthetic.classes, options.names)
    check_questions(config.questions, len(names))
    source = ClipSource(synthetic, videos, candidates.max_bad, options.from_source, group, surroundings)
    if options.from_source is not None and options.after_set:
        source.of_set()  # Before any evaluation: it raises for a video that is gone.
    if group.is_main:
        check_folder(folder, overwrite=True)
        for phase in options.phases if overwrite else ():
            if (folder / phase / PHASE_FILE).is_file():
                shutil.rmtree(folder / phase)
        folder.mkdir(exist_ok=True)
    group.wait()
    run = FinetuneRun(subject, folder, names, options, load, config, source)
    results = [run.phase(phase) for phase in options.phases]
    skipped = dict.fromkeys(video for _, bad in results for video in bad)
    notes = source.notes()
    if synthetic.labels.ndim == 2:
        notes.append("soft labels: the model learns the name of the most likely class")
    scores = tuple(scores for scores, _ in results)
    outcome = FinetuneOutcome(scores, synthetic.classes, names, tuple(skipped), tuple(notes))
    if group.is_main:
        _write(folder, outcome, options, config)
    return outcome


def _check(options: FinetuneOptions, config: FinetuneConfig, load: LoadOptions, data: Path) -> None:
    """Check what needs no file."""
    if not options.model:
        raise InputError("--model is missing; give a hub name such as Qwen/Qwen2.5-VL-7B-Instruct, or a folder")
    if not options.phases:
        raise InputError("nothing to do: give --zero-shot, --after-set or --full")
    if load.four_bit and (config.lora_rank == 0 or config.vision != "frozen"):
        raise InputError("--four-bit holds weights that cannot be trained; give --lora-rank 16 and --vision frozen")
    if options.from_source is not None and not options.from_source.is_dir():
        raise InputError(f"--from-source {options.from_source}: is no folder; give the one that the set was made of")
    if not data.exists():
        raise InputError(f"--data {data}: does not exist; give the folder with the test videos")


def _write(folder: Path, outcome: FinetuneOutcome, options: FinetuneOptions, config: FinetuneConfig) -> None:
    results = {
        "model": options.model,
        "classes": outcome.classes,
        "names": outcome.names,
        "split": options.split,
        "seed": options.seed,
        "config": dataclasses.asdict(config),
        "phases": [dataclasses.asdict(scores) for scores in outcome.phases],
        "notes": outcome.notes,
    }
    write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
