"""The phases of a finetune run: a model loaded, perhaps trained, and judged, each in a folder of its own.

A finished phase is not run again, one that was interrupted goes on from its checkpoint; each folder says what its
scores depend on, and refuses other settings.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from videocompressa.datasets import BadVideo, VideoSet
from videocompressa.engine import peak_memory_bytes
from videocompressa.files import whole_folder, write_text
from videocompressa.recipes.data import check_split
from videocompressa.recipes.options import Surroundings
from videocompressa.rng import Streams
from videocompressa.run import watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.vlm.tune.adapting import prepare, save
from videocompressa.vlm.tune.checkpoint import check_same_run
from videocompressa.vlm.tune.clips import Clips
from videocompressa.vlm.tune.finetune import STEP, fit
from videocompressa.vlm.tune.metrics import MetricsLog
from videocompressa.vlm.tune.models import Vlm, load_vlm
from videocompressa.vlm.tune.scoring import Judgment, judge
from videocompressa.vlm.settings import FinetuneConfig, LoadOptions
from videocompressa.vlm.tune.shown import Shown
from videocompressa.vlm.tune.team import Team

Phase = Literal["zero-shot", "set", "full"]
PHASES: tuple[Phase, ...] = ("zero-shot", "set", "full")
"""Judged as it is; after the set file; after all training videos."""

KEPT = "phase.json"
"""File that marks a phase's folder as ours and says what it depends on."""


@dataclass(frozen=True)
class FinetuneOptions:
    """What a finetune run is asked for."""

    model: str
    """Hub name or folder."""
    phases: tuple[Phase, ...] = ("zero-shot", "set")
    config: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)
    load: LoadOptions = dataclasses.field(default_factory=LoadOptions)
    from_source: Path | None = None
    """Folder of the videos that the set was made of: frames at their own size, in place of the set's latents."""
    names: Path | None = None
    """A json of class names in words."""
    generate: bool = True
    """Also judge by free answers."""
    split: str = "test"
    seed: int = 0
    codec: str | None = None
    """Where the set's codec is."""


@dataclass(frozen=True)
class PhaseScores:
    """What one phase came to."""

    phase: str
    accuracy: float
    """By constrained scoring, in [0,1]."""
    accuracy_generated: float | None
    """By free answers; None without them."""
    num_unmatched: int | None
    """Free answers that name no class."""
    num_clips: int
    """Videos that judged."""
    judge_seconds: float
    judge_tokens: int
    """Tokens of all prompts."""
    num_train_clips: int = 0
    steps: int = 0
    first_step: int = 0
    """Step that the run went on from; seconds and tokens of training count from there."""
    num_trained: int = 0
    """Weights that were trained."""
    loss_first: float | None = None
    loss_last: float | None = None
    train_seconds: float = 0.0
    train_tokens: int = 0
    clips_per_second: float | None = None
    """In training."""
    peak_memory_bytes: int = 0
    """Largest resident memory of this process so far."""
    gpu_peak_memory_bytes: int | None = None
    """Most that was allocated on the GPU in this phase."""
    confusion: tuple[tuple[int, ...], ...] = ()
    """(L,L) counts: row the video's class, column the best-scored one."""
    trained: str = ""
    """Folder of the adapter or model, below the output."""


@dataclass(frozen=True)
class Run:
    """What all phases share."""

    subject: Path
    synthetic: SyntheticSet
    videos: VideoSet
    folder: Path
    names: tuple[str, ...]
    """L classes in words."""
    judged_by: str
    """Kind of question that judges, one of `scoring.ASKED`."""
    options: FinetuneOptions
    shown: Shown
    team: Team
    surroundings: Surroundings

    def notes(self) -> list[str]:
        """Return what a user should know."""
        soft = ["soft labels: the model learns the name of the most likely class"]
        return self.shown.notes() + (soft if self.synthetic.labels.ndim == 2 else [])

    def phase(self, phase: Phase, skipped: list[BadVideo]) -> PhaseScores:
        """Run one phase, or take its scores from its folder; add to `skipped` what could not be read."""
        options, clock = self.options, self.surroundings.clock
        gc.collect()  # The model of the phase before may hang in a cycle, and two do not fit.
        if self.team.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.team.device)
        dtype = options.config.precision if phase == "zero-shot" else options.config.dtype
        vlm = load_vlm(options.model, dtype=dtype, device=self.team.device, options=options.load)
        judged, bad = self.shown.of_split(options.split)
        skipped += bad
        train = self._train_clips(phase, skipped)
        folder = self.folder / phase
        key = self._key(phase, vlm, judged)
        if (known := self._known(folder, key)) is not None:
            return known
        rng = Streams(options.seed, "finetune")
        trained = None if train is None else self._train(vlm, train, phase, key, rng.child(phase))
        started = clock()
        judgment = judge(
            vlm,
            judged,
            self.names,
            questions=self.judged_by,
            precision=options.config.precision,
            generate=options.generate,
            rng=rng.child("judge"),
            team=self.team,
            watch=self.surroundings.watch if self.team.leads else watch_nothing,
            step=f"judge {phase}",
        )
        scores = self._scores(phase, judgment, clock() - started, trained or {})
        if self.team.leads:
            self._write(folder, scores, judgment)
        return scores

    def _train_clips(self, phase: Phase, skipped: list[BadVideo]) -> Clips | None:
        if phase == "zero-shot":
            return None
        if phase == "set":
            return self.shown.of_set()
        check_split(self.videos, "train", self.videos.root)
        train, bad = self.shown.of_split("train")
        skipped += bad
        return train

    def _train(self, vlm: Vlm, train: Clips, phase: Phase, key: Mapping[str, Any], rng: Streams) -> dict[str, Any]:
        """Train the model in place, save what was trained, and return the fields of `PhaseScores` about it."""
        config, folder, clock = self.options.config, self.folder / phase, self.surroundings.clock
        started = clock()
        prepared = prepare(vlm, config, rng)
        step_name = f"{STEP} {phase}"
        log = MetricsLog(folder, self.surroundings.watch, step=step_name) if self.team.leads else None
        try:
            tuned = fit(
                prepared,
                train,
                self.names,
                config,
                rng=rng,
                team=self.team,
                watch=log or watch_nothing,
                step_name=step_name,
                checkpoint=folder / "checkpoint.safetensors",
                key={name: value for name, value in key.items() if name.startswith("train")},
            )
        finally:
            if log is not None:
                log.close()
        kept = folder / ("adapter" if prepared.adapters_only else "model")
        if self.team.leads:
            with whole_folder(kept, overwrite=True) as part:
                save(prepared, part)
        seconds, taken = clock() - started, len(tuned.losses) - tuned.first_step
        return {
            "num_train_clips": len(train.labels),
            "steps": len(tuned.losses),
            "first_step": tuned.first_step,
            "num_trained": tuned.num_trained,
            "loss_first": tuned.losses[0],
            "loss_last": tuned.losses[-1],
            "train_seconds": seconds,
            "train_tokens": tuned.num_tokens,
            "clips_per_second": taken * config.batch_size / seconds if taken and seconds > 0 else None,
            "trained": kept.relative_to(self.folder).as_posix(),
        }

    def _key(self, phase: Phase, vlm: Vlm, judged: Clips) -> dict[str, Any]:
        """Return what a phase's scores depend on; names that begin with "train" are of its training alone."""
        options = self.options
        own = hashlib.sha256(self.subject.read_bytes()).hexdigest()
        parts: dict[str, Any] = {
            "model": vlm.identity,
            "pixels": dataclasses.asdict(vlm.processor.rules),
            "names": self.names,
            "seed": options.seed,
            "precision": options.config.precision,
            "four_bit": options.load.four_bit,
            "judging questions": self.judged_by,
            "free answers": options.generate,
            "judging videos": [list(judged.video_ids), list(judged.labels)],
            "frames": [dataclasses.asdict(self.shown.clip), options.from_source is not None],
        }
        if phase != "zero-shot":
            learned = own if phase == "set" else self.videos.select("train").split_hash
            parts["train"] = [phase, learned, parts["frames"], options.load.four_bit]
            parts |= {f"training.{name}": value for name, value in options.config.result_settings().items()}
        loaded: dict[str, Any] = json.loads(json.dumps(parts))
        return loaded

    def _known(self, folder: Path, key: Mapping[str, Any]) -> PhaseScores | None:
        """Return the scores of a finished phase; mark the folder of one that begins."""
        found: list[PhaseScores | None] = [None]
        if self.team.leads:
            marker, scores = folder / KEPT, folder / "scores.json"
            if marker.is_file():
                theirs = json.loads(marker.read_text(encoding="utf-8"))
                check_same_run(folder, key, theirs)
            if marker.is_file() and scores.is_file():
                found = [PhaseScores(**json.loads(scores.read_text(encoding="utf-8")))]
            folder.mkdir(parents=True, exist_ok=True)
            write_text(marker, json.dumps(key, sort_keys=True) + "\n")
        known: PhaseScores | None = self.team.gather(found)[0]
        return known

    def _scores(
        self, phase: Phase, judgment: Judgment, judge_seconds: float, trained: Mapping[str, Any]
    ) -> PhaseScores:
        gpu = self.team.device if self.team.device.type == "cuda" else None
        return PhaseScores(
            phase=phase,
            accuracy=judgment.accuracy,
            accuracy_generated=judgment.accuracy_generated,
            num_unmatched=judgment.num_unmatched,
            num_clips=len(judgment.answers),
            judge_seconds=judge_seconds,
            judge_tokens=judgment.num_tokens,
            peak_memory_bytes=peak_memory_bytes(),
            gpu_peak_memory_bytes=None if gpu is None else torch.cuda.max_memory_allocated(gpu),
            confusion=judgment.confusion,
            **trained,
        )

    def _write(self, folder: Path, scores: PhaseScores, judgment: Judgment) -> None:
        rows = [
            {
                "video": answer.video_id,
                "class": self.names[answer.label],
                "predicted": self.names[answer.predicted],
                "answer": answer.text,
                "answer_class": None if answer.matched < 0 else self.names[answer.matched],
                "scores": [round(score, 6) for score in answer.scores],
            }
            for answer in judgment.answers
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(folder / "predictions.jsonl", lines)
        write_text(folder / "scores.json", json.dumps(dataclasses.asdict(scores), indent=1) + "\n")
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)  # Thrice what was trained, and of no more use.
