"""The phases of a finetune run: a model loaded, perhaps trained, and judged, each in a folder of its own.

A finished phase is not run again, one that was interrupted goes on from its checkpoint; each folder says what its
scores depend on, and refuses other settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from videocompressa.clip import ClipSpec, watch_nothing
from videocompressa.datasets import BadVideo, DecodedSplit, VideoSet, decode_split
from videocompressa.engine import peak_memory_bytes
from videocompressa.errors import InputError
from videocompressa.recipes.data import check_split
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.texts import write_text
from videocompressa.rng import Streams
from videocompressa.synthetic import SyntheticSet
from videocompressa.vlm.clips import Clips, FileClips, HeldClips
from videocompressa.vlm.finetune import Tuned, fit, prepare, save
from videocompressa.vlm.metrics import MetricsLog
from videocompressa.vlm.models import Vlm, load_vlm
from videocompressa.vlm.scoring import Judgement, judge
from videocompressa.vlm.settings import FinetuneConfig, LoadOptions
from videocompressa.vlm.team import Team

Made = TypeVar("Made")

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


def shown_clip(synthetic: SyntheticSet) -> ClipSpec:
    """Return how other videos are shown: K frames, made even, over the span that the set's candidates cover."""
    frames = max(2, synthetic.latents.shape[1] + synthetic.latents.shape[1] % 2)
    stride = synthetic.clip.stride
    placement = f"strided:{max(1, round(stride * synthetic.clip.num_frames / frames))}" if stride else "even"
    return dataclasses.replace(synthetic.clip, num_frames=frames, placement=placement)


def keyframe_clips(synthetic: SyntheticSet) -> HeldClips:
    """Return the set's keyframes, decoded; soft labels count as their most likely class."""
    return HeldClips(
        (synthetic.keyframes() * 255).round().to(torch.uint8),
        synthetic.times_seconds,
        tuple(synthetic.hard_labels.tolist()),
        synthetic.provenance.video_ids,
    )


@dataclass(frozen=True)
class Run:
    """What all phases share."""

    subject: Path
    synthetic: SyntheticSet
    videos: VideoSet
    folder: Path
    clip: ClipSpec
    names: tuple[str, ...]
    judged_by: str
    options: FinetuneOptions
    candidates: CandidateOptions
    team: Team
    surroundings: Surroundings

    def notes(self) -> list[str]:
        """Return what a user should know."""
        notes = []
        if self.options.from_source is None:
            notes.append(
                f"frames are the set's own, {self.synthetic.clip.height}x{self.synthetic.clip.width} px, enlarged to "
                "what the model takes; --from-source ROOT shows the videos' own size"
            )
        elif not self.synthetic.provenance.method.endswith("-real"):
            notes.append(
                f"method {self.synthetic.provenance.method} may have changed the pictures of its set; --from-source "
                "shows the frames that it started from"
            )
        if self.synthetic.labels.ndim == 2:
            notes.append("soft labels: the model learns the name of the most likely class")
        return notes

    def phase(self, phase: Phase, skipped: list[BadVideo]) -> PhaseScores:
        """Run one phase, or take its scores from its folder."""
        options, clock, watch = self.options, self.surroundings.clock, self.surroundings.watch
        dtype = options.config.precision if phase == "zero-shot" else options.config.dtype
        if self.team.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.team.device)
        vlm = load_vlm(options.model, dtype=dtype, device=self.team.device, options=options.load)
        judged, bad = self._real_clips(options.split)
        skipped += bad
        train: Clips | None = None
        if phase == "set":
            train = self._set_clips()
        elif phase == "full":
            check_split(self.videos, "train", self.videos.root)
            train, bad = self._real_clips("train")
            skipped += bad
        folder = self.folder / phase
        key = self._key(phase, vlm, judged)
        if (known := self._known(folder, key)) is not None:
            return known
        rng = Streams(options.seed, "finetune")
        tuned: Tuned | None = None
        seconds, trained = 0.0, ""
        if train is not None:
            started = clock()
            tuned, trained_at = self._train(vlm, train, folder, key, rng.child(phase))
            seconds, trained = clock() - started, trained_at
        started = clock()
        judgement = judge(
            vlm,
            judged,
            self.names,
            questions=self.judged_by,
            precision=options.config.precision,
            generate=options.generate,
            rng=rng.child("judge"),
            team=self.team,
            watch=watch if self.team.leads else watch_nothing,
            step=f"judge {phase}",
        )
        scores = self._scores(phase, judgement, tuned, train, seconds, clock() - started, trained)
        if self.team.leads:
            self._write(folder, scores, judgement)
        return scores

    def _train(self, vlm: Vlm, train: Clips, folder: Path, key: Mapping[str, Any], rng: Streams) -> tuple[Tuned, str]:
        config, leads = self.options.config, self.team.leads
        prepared = prepare(vlm, config, rng)
        log = MetricsLog(folder, self.surroundings.watch) if leads else None
        try:
            tuned = fit(
                prepared,
                train,
                self.names,
                config,
                rng=rng,
                team=self.team,
                watch=log or watch_nothing,
                checkpoint=folder / "checkpoint.safetensors",
                key={name: value for name, value in key.items() if name.startswith("train")},
            )
        finally:
            if log is not None:
                log.close()
        trained = ""
        if leads:
            trained = save(prepared, folder).relative_to(self.folder).as_posix()
        return tuned, trained

    def _set_clips(self) -> Clips:
        root = self.options.from_source
        if root is None:
            return keyframe_clips(self.synthetic)
        ids = self.synthetic.provenance.video_ids
        return FileClips(
            paths=tuple(root / video_id for video_id in ids),
            video_ids=ids,
            labels=tuple(self.synthetic.hard_labels.tolist()),
            shown=self.synthetic.times_seconds,
        )

    def _real_clips(self, split: str) -> tuple[Clips, tuple[BadVideo, ...]]:
        """Return the readable videos of a split; they are all decoded once, at the set's size."""
        decoded = _leader_first(self.team, lambda: self._decode(split))
        labels = tuple(decoded.labels.tolist())
        if self.options.from_source is None:
            return HeldClips(decoded.frames, decoded.times_seconds, labels, decoded.video_ids), decoded.bad
        path_of = {entry.video_id: entry.path for entry in self.videos.entries}
        paths = tuple(path_of[video_id] for video_id in decoded.video_ids)
        return FileClips(paths, decoded.video_ids, labels, self.clip), decoded.bad

    def _decode(self, split: str) -> DecodedSplit:
        return decode_split(
            self.videos,
            split,
            self.clip,
            cache=self.surroundings.cache / "candidates",
            workers=self.surroundings.workers,
            max_bad=self.candidates.max_bad,
            watch=self.surroundings.watch if self.team.leads else watch_nothing,
        )

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
            "judged": [self.judged_by, options.generate, list(judged.video_ids), list(judged.labels)],
            "frames": [dataclasses.asdict(self.clip), options.from_source is not None],
        }
        if phase != "zero-shot":
            learned = own if phase == "set" else self.videos.select("train").split_hash
            parts["train"] = [phase, learned, parts["frames"], options.load.four_bit]
            config = dataclasses.asdict(options.config)
            parts["training"] = {
                name: value
                for name, value in config.items()
                if name not in ("micro_batch", "save_every", "gradient_checkpointing")
            }
        loaded: dict[str, Any] = json.loads(json.dumps(parts))
        return loaded

    def _known(self, folder: Path, key: Mapping[str, Any]) -> PhaseScores | None:
        """Return the scores of a finished phase; mark the folder of one that begins."""
        found: list[PhaseScores | None] = [None]
        if self.team.leads:
            marker, scores = folder / KEPT, folder / "scores.json"
            if marker.is_file():
                theirs = json.loads(marker.read_text(encoding="utf-8"))
                differing = sorted(name for name in {*key, *theirs} if key.get(name) != theirs.get(name))
                if differing:
                    raise InputError(
                        f"{folder}: is of a run with other settings ({', '.join(differing)}); give the same ones to "
                        "go on, --force to begin anew, or another -o"
                    )
            if marker.is_file() and scores.is_file():
                found = [PhaseScores(**json.loads(scores.read_text(encoding="utf-8")))]
            folder.mkdir(parents=True, exist_ok=True)
            write_text(marker, json.dumps(key, sort_keys=True) + "\n")
        known: PhaseScores | None = self.team.gather(found)[0]
        return known

    def _scores(
        self,
        phase: Phase,
        judgement: Judgement,
        tuned: Tuned | None,
        train: Clips | None,
        train_seconds: float,
        judge_seconds: float,
        trained: str,
    ) -> PhaseScores:
        gpu = self.team.device if self.team.device.type == "cuda" else None
        scores = PhaseScores(
            phase=phase,
            accuracy=judgement.accuracy,
            accuracy_generated=judgement.accuracy_generated,
            num_unmatched=judgement.num_unmatched,
            num_clips=len(judgement.answers),
            judge_seconds=judge_seconds,
            judge_tokens=judgement.num_tokens,
            peak_memory_bytes=peak_memory_bytes(),
            gpu_peak_memory_bytes=None if gpu is None else torch.cuda.max_memory_allocated(gpu),
            confusion=judgement.confusion,
        )
        if tuned is None or train is None:
            return scores
        taken = len(tuned.losses) - tuned.first_step
        pace = taken * self.options.config.batch_size / train_seconds if taken and train_seconds > 0 else None
        return dataclasses.replace(
            scores,
            num_train_clips=len(train.labels),
            steps=len(tuned.losses),
            first_step=tuned.first_step,
            num_trained=tuned.num_trained,
            loss_first=tuned.losses[0],
            loss_last=tuned.losses[-1],
            train_seconds=train_seconds,
            train_tokens=tuned.num_tokens,
            clips_per_second=pace,
            trained=trained,
        )

    def _write(self, folder: Path, scores: PhaseScores, judgement: Judgement) -> None:
        rows = [
            {
                "video": answer.video_id,
                "class": self.names[answer.label],
                "predicted": self.names[answer.predicted],
                "answer": answer.text,
                "answer_class": None if answer.matched < 0 else self.names[answer.matched],
                "scores": [round(score, 6) for score in answer.scores],
            }
            for answer in judgement.answers
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(folder / "predictions.jsonl", lines)
        write_text(folder / "scores.json", json.dumps(dataclasses.asdict(scores), indent=1) + "\n")
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)  # Thrice what was trained, and of no more use.


def _leader_first(team: Team, make: Callable[[], Made]) -> Made:
    """Let the leading process make something that the others then find in the cache, one after another."""
    made: Made | None = make() if team.leads else None
    team.gather([])
    for rank in range(1, team.size):
        if rank == team.rank:
            made = make()
        team.gather([])
    assert made is not None
    return made
