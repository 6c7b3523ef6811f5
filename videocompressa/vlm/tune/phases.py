"""The phases of a finetune run: a model is loaded, perhaps trained, and evaluated, each in a folder of its own.

A finished phase is not run again, an interrupted one resumes from its checkpoint; each folder stores what its scores
depend on, and refuses other settings.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videocompressa.datasets import BadVideo
from videocompressa.engine import peak_memory_bytes
from videocompressa.files import whole_folder, write_text
from videocompressa.recipes.data import check_split
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.vlm.settings import FinetuneConfig, FinetuneOptions, LoadOptions, Phase
from videocompressa.vlm.tune.adapters import prepare
from videocompressa.vlm.tune.clips import Clips, ClipSource, split_clip
from videocompressa.vlm.tune.evaluate import QUESTIONS_BY_NAME, UNMATCHED, Prediction, evaluate_vlm, summarize
from videocompressa.vlm.tune.models import Vlm, load_vlm
from videocompressa.vlm.tune.progress import Checkpoint, check_same_run, metrics_log
from videocompressa.vlm.tune.train import train_vlm

PHASE_FILE = "phase.json"
"""File that marks a phase's folder as ours and stores what it depends on."""


@dataclass(frozen=True)
class PhaseScores:
    """The result of one phase."""

    phase: str
    accuracy: float
    """By constrained scoring, in [0,1]."""
    accuracy_generated: float | None
    """By free answers; None without them."""
    num_unmatched: int | None
    """Free answers that name no class; None without free answers."""
    num_clips: int
    """Videos that the model was evaluated on."""
    evaluation_seconds: float
    evaluation_tokens: int
    """Tokens of all prompts."""
    num_train_clips: int = 0
    steps: int = 0
    first_step: int = 0
    """Step that the run resumed at; seconds and tokens of training count from there."""
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
class FinetuneRun:
    """What all phases share."""

    subject: Path
    folder: Path
    names: tuple[str, ...]
    """L classes in words."""
    options: FinetuneOptions
    load: LoadOptions
    config: FinetuneConfig
    source: ClipSource

    def phase(self, phase: Phase) -> tuple[PhaseScores, list[BadVideo]]:
        """Run one phase, or take its scores from its folder; also return the videos that could not be read."""
        options, config, group, clock = self.options, self.config, self.source.group, self.source.surroundings.clock
        gc.collect()  # The model of the phase before may be part of a cycle, and two do not fit.
        if group.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(group.device)
        dtype = config.precision if phase == "zero-shot" else config.dtype
        vlm = load_vlm(options.model or "", dtype=dtype, device=group.device, options=self.load)
        test_clips, skipped = self.source.of_split(options.split)
        train_clips, more_skipped = self._train_clips(phase)
        folder, bad = self.folder / phase, [*skipped, *more_skipped]
        key = self._key(phase, vlm, test_clips)
        if (scores := self._finished(folder, key)) is not None:
            return scores, bad
        rng = Streams(options.seed, "finetune")
        training = {} if train_clips is None else self._train(phase, vlm, train_clips, key, rng.child(phase))
        started = clock()
        predictions = evaluate_vlm(
            vlm,
            test_clips,
            self.names,
            questions=self._evaluation_questions(),
            precision=config.precision,
            generate=options.generate,
            rng=rng.child("judge"),  # This name decides which questions are asked.
            group=group,
            watch=self._watch(phase),
        )
        on_gpu = group.device.type == "cuda"
        scores = PhaseScores(
            phase=phase,
            evaluation_seconds=clock() - started,
            peak_memory_bytes=peak_memory_bytes(),
            gpu_peak_memory_bytes=torch.cuda.max_memory_allocated(group.device) if on_gpu else None,
            **summarize(predictions, len(self.names)),
            **training,
        )
        if group.is_main:
            self._write(folder, scores, predictions)
        return scores, bad

    def _watch(self, phase: Phase) -> Watch:
        """Return the watch of the main process, with the phase in the name of each step."""
        watch = self.source.surroundings.watch if self.source.group.is_main else watch_nothing
        return lambda step, **numbers: watch(f"{step} {phase}", **numbers)

    def _evaluation_questions(self) -> str:
        return self.config.questions if self.config.questions in QUESTIONS_BY_NAME else "choice"

    def _train_clips(self, phase: Phase) -> tuple[Clips | None, Sequence[BadVideo]]:
        if phase == "zero-shot":
            return None, ()
        if phase == "set":
            return self.source.of_set(), ()
        check_split(self.source.videos, "train", self.source.videos.root)
        return self.source.of_split("train")

    def _train(self, phase: Phase, vlm: Vlm, clips: Clips, key: Mapping[str, Any], rng: Streams) -> dict[str, Any]:
        """Train the model in place, save what was trained, and return the fields of `PhaseScores` about it."""
        config, group, clock = self.config, self.source.group, self.source.surroundings.clock
        folder, started = self.folder / phase, clock()
        prepared = prepare(vlm, config, rng)
        rows = hashlib.sha256(json.dumps([clips.video_ids, clips.labels]).encode()).hexdigest()
        state = Checkpoint(folder / "checkpoint.safetensors", {**key, "processes": group.size, "clips": rows})
        with metrics_log(folder, self._watch(phase)) if group.is_main else nullcontext(watch_nothing) as watch:
            log = train_vlm(prepared, clips, self.names, config, rng=rng, group=group, watch=watch, checkpoint=state)
        target = folder / ("adapter" if prepared.adapters_only else "model")
        if group.is_main:
            with whole_folder(target, overwrite=True) as part:
                prepared.save(part)
        seconds, steps = clock() - started, len(log.losses)
        num_clips = (steps - log.first_step) * config.batch_size
        return {
            "num_train_clips": len(clips.labels),
            "steps": steps,
            "first_step": log.first_step,
            "num_trained": prepared.num_trained,
            "loss_first": log.losses[0],
            "loss_last": log.losses[-1],
            "train_seconds": seconds,
            "train_tokens": log.num_tokens,
            "clips_per_second": num_clips / seconds if num_clips and seconds > 0 else None,
            "trained": target.relative_to(self.folder).as_posix(),
        }

    def _key(self, phase: Phase, vlm: Vlm, test_clips: Clips) -> dict[str, Any]:
        """Return what a phase's scores depend on."""
        options, synthetic = self.options, self.source.synthetic
        frames = [dataclasses.asdict(split_clip(synthetic)), options.from_source is not None]
        parts: dict[str, Any] = {
            "model": vlm.identity,
            "pixels": dataclasses.asdict(vlm.processor.rules),
            "names": self.names,
            "seed": options.seed,
            "precision": self.config.precision,
            "four_bit": self.load.four_bit,
            "evaluation questions": self._evaluation_questions(),
            "free answers": options.generate,
            "evaluation videos": [test_clips.video_ids, test_clips.labels],
            "frames": frames,
        }
        if phase != "zero-shot":
            set_hash = hashlib.sha256(self.subject.read_bytes()).hexdigest()
            train_hash = set_hash if phase == "set" else self.source.videos.select("train").split_hash
            parts["train"] = [phase, train_hash, frames, self.load.four_bit]
            parts |= {f"training.{name}": value for name, value in self.config.result_settings().items()}
        key: dict[str, Any] = json.loads(json.dumps(parts))  # As it is read back: lists, not tuples.
        return key

    def _finished(self, folder: Path, key: Mapping[str, Any]) -> PhaseScores | None:
        """Return the scores of a finished phase; mark the folder of one that begins."""
        stored: list[PhaseScores | None] = []
        if self.source.group.is_main:
            marker, scores, finished = folder / PHASE_FILE, folder / "scores.json", None
            if marker.is_file():
                check_same_run(folder, key, json.loads(marker.read_text(encoding="utf-8")))
                if scores.is_file():
                    finished = PhaseScores(**json.loads(scores.read_text(encoding="utf-8")))
            folder.mkdir(parents=True, exist_ok=True)
            write_text(marker, json.dumps(key, sort_keys=True) + "\n")
            stored.append(finished)
        scores_of_main: PhaseScores | None = self.source.group.gather(stored)[0]
        return scores_of_main

    def _write(self, folder: Path, scores: PhaseScores, predictions: Sequence[Prediction]) -> None:
        lines = ""
        for prediction in predictions:
            matched = UNMATCHED if prediction.matched is None else prediction.matched
            row = {
                "video": prediction.video_id,
                "class": self.names[prediction.label],
                "predicted": self.names[prediction.best],
                "answer": prediction.text,
                "answer_class": None if matched == UNMATCHED else self.names[matched],
                "scores": [round(score, 6) for score in prediction.scores],
            }
            lines += json.dumps(row, ensure_ascii=False) + "\n"
        write_text(folder / "predictions.jsonl", lines)
        write_text(folder / "scores.json", json.dumps(dataclasses.asdict(scores), indent=1) + "\n")
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)  # Thrice what was trained, and not needed again.
