"""The finetune run: a video-language model judged as it is, after a set file, and after all training videos.

Each phase has a folder of its own with `scores.json`, `predictions.jsonl` and, where something was trained,
`metrics.jsonl`, `checkpoint.safetensors` and the adapter or model. A finished phase is not run again, one that was
interrupted goes on from its checkpoint.

What is shown is said in `shown`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videocompressa.artifact import read_set
from videocompressa.datasets import BadVideo
from videocompressa.errors import InputError
from videocompressa.files import write_text
from videocompressa.recipes.data import check_split, list_videos
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.recipes.train import check_classes, check_unseen
from videocompressa.synthetic import SyntheticSet
from videocompressa.vlm.words import readable_names
from videocompressa.vlm.words import check_questions
from videocompressa.vlm.tune.phases import KEPT, PHASES, FinetuneOptions, PhaseScores, Run
from videocompressa.vlm.tune.scoring import ASKED
from videocompressa.vlm.tune.shown import Shown
from videocompressa.vlm.tune.team import Team


@dataclass(frozen=True)
class FinetuneOutcome:
    """What a finetune run found."""

    folder: Path
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
    candidates: CandidateOptions,
    overwrite: bool = False,
    team: Team | None = None,
    surroundings: Surroundings,
) -> FinetuneOutcome:
    """Fine-tune a model on the set file `subject` (and on `data`), judge it on videos of `data`, write to `folder`.

    Every process of a team calls this alike; the leading one writes. Raises `InputError`, and `DivergedError` when a
    loss stops being finite.
    """
    team = team or Team(surroundings.device)
    judged_by = _check(options, data)
    synthetic = _open(subject, options)
    videos = list_videos(data, candidates)
    check_split(videos, options.split, data)
    check_classes(synthetic.classes, videos.classes, subject, data)
    check_unseen(synthetic, subject, videos, data, options.split)
    names = readable_names(synthetic.classes, options.names)
    check_questions(options.config.questions, len(names))
    shown = Shown(synthetic, videos, candidates.max_bad, options.from_source, team, surroundings)
    if options.from_source is not None and "set" in options.phases:
        shown.of_set()  # Before anything is judged: it raises for a video that is gone.
    _claim(folder, options.phases, overwrite, team)
    run = Run(subject, synthetic, videos, folder, names, judged_by, options, shown, team, surroundings)
    skipped: list[BadVideo] = []
    scores = tuple(run.phase(phase, skipped) for phase in PHASES if phase in options.phases)
    outcome = FinetuneOutcome(
        folder, scores, synthetic.classes, names, tuple(dict.fromkeys(skipped)), tuple(run.notes())
    )
    if team.leads:
        write_text(folder / "results.json", json.dumps(_results(outcome, options), indent=1) + "\n")
    return outcome


def _check(options: FinetuneOptions, data: Path) -> str:
    """Check what needs no file, and return the kind of question that judges."""
    if not options.phases:
        raise InputError("nothing to do: give --zero-shot, --after-set or --full")
    unknown = [phase for phase in options.phases if phase not in PHASES]
    if unknown:
        raise InputError(f"phase {unknown[0]!r} is not known; known: {', '.join(PHASES)}")
    if options.load.four_bit and (options.config.lora_rank == 0 or options.config.vision != "frozen"):
        raise InputError("--four-bit holds weights that cannot be trained; give --lora-rank 16 and --vision frozen")
    if options.from_source is not None and not options.from_source.is_dir():
        raise InputError(f"--from-source {options.from_source}: is no folder; give the one that the set was made of")
    if not data.exists():
        raise InputError(f"--data {data}: does not exist; give the folder whose test videos judge")
    return options.config.questions if options.config.questions in ASKED else "choice"


def _open(subject: Path, options: FinetuneOptions) -> SyntheticSet:
    """Open the set; its codec is needed only where its latents are shown."""
    shown = "set" in options.phases and options.from_source is None
    return open_set(subject, options.codec) if shown else read_set(subject)


def _claim(folder: Path, phases: Sequence[str], overwrite: bool, team: Team) -> None:
    """Check that the output can be written to; with `overwrite`, remove the phases that are asked for."""
    if team.leads:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"output {folder} is a file; give the name of a folder")
        if not folder.absolute().parent.is_dir():
            raise InputError(f"output {folder}: folder {folder.absolute().parent} does not exist; make it first")
        for phase in phases if overwrite else ():
            if (folder / phase / KEPT).is_file():
                shutil.rmtree(folder / phase)
        folder.mkdir(exist_ok=True)
    team.gather([])  # The others wait until the folder is as it should be.


def _results(outcome: FinetuneOutcome, options: FinetuneOptions) -> dict[str, Any]:
    return {
        "model": options.model,
        "classes": outcome.classes,
        "names": outcome.names,
        "split": options.split,
        "seed": options.seed,
        "config": dataclasses.asdict(options.config),
        "phases": [dataclasses.asdict(scores) for scores in outcome.phases],
        "notes": outcome.notes,
    }
