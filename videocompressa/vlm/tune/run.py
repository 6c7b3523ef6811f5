"""The finetune run: a video-language model evaluated as it is, after a set file, and after all training videos.

Each of these phases has a folder of its own with `scores.json`, `predictions.jsonl` and, where something was trained,
`metrics.jsonl`, `checkpoint.safetensors` and the adapter or model. A finished phase is not run again, an interrupted
one resumes from its checkpoint; each folder stores what its scores depend on, and refuses other settings.
"""

import dataclasses
import gc
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from videocompressa.artifact import read_set, set_bytes
from videocompressa.clip import DecodedSplit
from videocompressa.datasets import BadVideo, VideoSet
from videocompressa.engine import peak_memory_bytes
from videocompressa.errors import InputError
from videocompressa.files import check_output_folder, complete_folder, write_text
from videocompressa.processes import ALONE, ProcessGroup
from videocompressa.recipes.data import check_split, decode_videos, list_videos, sampled
from videocompressa.recipes.options import CandidateOptions, Surroundings
from videocompressa.recipes.sets import open_set
from videocompressa.recipes.train import check_same_classes, check_unseen
from videocompressa.rng import Streams
from videocompressa.run import Run, watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.vlm.export.items import source_note
from videocompressa.vlm.settings import NO_RESULT, FinetuneConfig, FinetuneOptions, LoadOptions, Phase
from videocompressa.vlm.tune.clips import Clips, set_clips, split_clip
from videocompressa.vlm.tune.evaluate import Prediction, evaluate_vlm, summarize
from videocompressa.vlm.tune.models import Vlm, load_vlm
from videocompressa.vlm.tune.progress import Checkpoint, check_same_run, metrics_log
from videocompressa.vlm.tune.train import prepare, train_vlm
from videocompressa.vlm.words import check_questions, readable_names

PHASE_FILE = "phase.json"
"""File that marks a phase's folder as ours and stores what its scores depend on."""
CHECKPOINT = "checkpoint.safetensors"
"""File from which an interrupted phase resumes."""


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
    group: ProcessGroup = ALONE,
    surroundings: Surroundings,
) -> FinetuneOutcome:
    """Fine-tune a model on the set file `subject` (and on `data`), evaluate it on videos of `data`, write to `folder`.

    Every process of a group makes the same call; the main one writes. Raises `InputError`, and `DivergedError` when a
    loss stops being finite.
    """
    config, load = config or FinetuneConfig(), load or LoadOptions()
    _check(options, config, load, data)
    # The codec is needed only where latents are decoded.
    decodes = options.after_set and options.from_source is None
    synthetic = open_set(subject, options.codec) if decodes else read_set(subject)
    videos = list_videos(data, candidates)
    if options.full:
        videos = sampled(videos, candidates)
    check_split(videos, options.split, data)
    check_same_classes(synthetic.classes, videos.classes, subject, data)
    names = readable_names(synthetic.classes, options.names)
    check_questions(config.questions, len(names))
    if options.from_source is not None and options.after_set:
        set_clips(synthetic, names, options.from_source)  # Before any evaluation: it raises for a video that is gone.
    if group.is_main:
        check_output_folder(folder, overwrite=True)
    else:
        surroundings = dataclasses.replace(surroundings, watch=watch_nothing)
    run = _FinetuneRun(
        subject, folder, synthetic, videos, names, options, config, load, candidates, group, surroundings
    )
    check_unseen(synthetic.provenance, subject, run.decoded(options.split), data, options.split)
    if group.is_main:
        for phase in options.phases if overwrite else ():
            if (folder / phase / PHASE_FILE).is_file():
                shutil.rmtree(folder / phase)
        folder.mkdir(exist_ok=True)
    group.wait()
    scores, notes = tuple(map(run.phase, options.phases)), (*videos.notes, *_notes(synthetic, options.from_source))
    outcome = FinetuneOutcome(scores, synthetic.classes, names, tuple(run.skipped), notes)
    if group.is_main:
        values = {name: value for name, value in dataclasses.asdict(outcome).items() if name != "skipped"}
        asked = {name: getattr(options, name) for name in ("model", "split", "seed")}
        _write_json(folder / "results.json", {**asked, "config": dataclasses.asdict(config), **values})
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
        raise InputError(f"--from-source {options.from_source}: is no folder; give the one that was compressed")
    if not data.exists():
        raise InputError(f"--data {data}: does not exist; give the folder with the test videos")


def _notes(synthetic: SyntheticSet, root: Path | None) -> Iterator[str]:
    if root is not None:
        yield from source_note(synthetic)
    else:
        yield (
            f"frames are the set's own, {synthetic.clip.height}x{synthetic.clip.width} px, enlarged to what the model "
            "takes; --from-source ROOT shows the videos' own size"
        )
    if synthetic.labels.ndim == 2:
        yield "soft labels: the model learns the name of the most likely class"


@dataclass(frozen=True)
class _FinetuneRun:
    """What all phases share; see `finetune_on`."""

    subject: Path
    folder: Path
    synthetic: SyntheticSet
    videos: VideoSet
    names: tuple[str, ...]
    options: FinetuneOptions
    config: FinetuneConfig
    load: LoadOptions
    candidates: CandidateOptions
    group: ProcessGroup
    surroundings: Surroundings
    skipped: dict[BadVideo, None] = dataclasses.field(default_factory=dict)
    """Videos that could not be read, in order."""
    _decoded: dict[str, DecodedSplit] = dataclasses.field(default_factory=dict)

    def phase(self, phase: Phase) -> PhaseScores:
        """Run one phase, or take its scores from its folder."""
        options, config, clock, device = self.options, self.config, self.surroundings.clock, self.surroundings.device
        folder, on_gpu = self.folder / phase, device.type == "cuda"
        gc.collect()  # The model of the phase before may be part of a cycle, and two do not fit.
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        dtype = config.precision if phase == "zero-shot" else config.dtype
        vlm = load_vlm(options.model or "", dtype=dtype, device=device, options=self.load)
        test_clips = self._split(options.split)
        train_clips = set_clips(self.synthetic, self.names, options.from_source) if phase == "set" else None
        if phase == "full":
            train_clips = self._split("train")
        key = self._key(phase, vlm, test_clips)
        if (finished := self._finished(folder, key)) is not None:
            return finished
        watch = self.surroundings.watch
        run = Run(
            Streams(options.seed, "finetune"), device, lambda step, **numbers: watch(f"{step} {phase}", **numbers)
        )
        training = {} if train_clips is None else self._train(phase, vlm, train_clips, key, run.child(phase))
        started = clock()
        judge = run.child("judge")  # This name decides which questions are asked.
        predictions = evaluate_vlm(vlm, test_clips, config, judge, generate=options.generate, group=self.group)
        scores = PhaseScores(
            phase=phase,
            evaluation_seconds=clock() - started,
            peak_memory_bytes=peak_memory_bytes(),
            gpu_peak_memory_bytes=torch.cuda.max_memory_allocated(device) if on_gpu else None,
            **summarize(predictions, len(self.names)),
            **training,
        )
        if self.group.is_main:
            self._write(folder, scores, predictions)
        return scores

    def decoded(self, split: str) -> DecodedSplit:
        """Return the frames of a split; they are all decoded once, at the set's size."""
        if split not in self._decoded:
            check_split(self.videos, split, self.videos.root)
            clip = split_clip(self.synthetic)
            decode = partial(decode_videos, self.videos, split, clip, self.candidates, self.surroundings)
            self._decoded[split] = self.group.main_first(decode)
        return self._decoded[split]

    def _split(self, split: str) -> Clips:
        """Return the readable videos of a split."""
        decoded = self.decoded(split)
        self.skipped.update(dict.fromkeys(decoded.bad))
        source_of = {entry.video_id: entry.source for entry in self.videos.entries}
        files = tuple(source_of[video_id] for video_id in decoded.video_ids)
        source = decoded.frames if self.options.from_source is None else files
        return Clips(tuple(decoded.labels.tolist()), self.names, decoded.video_ids, decoded.times_seconds, source)

    def _train(self, phase: Phase, vlm: Vlm, clips: Clips, key: Mapping[str, Any], run: Run) -> dict[str, Any]:
        """Train the model in place, save what was trained, and return the fields of `PhaseScores` about it."""
        config, group, clock = self.config, self.group, self.surroundings.clock
        folder, started = self.folder / phase, clock()
        prepared = prepare(vlm, config, run)
        key = {**key, "processes": group.size, "clips": [list(clips.video_ids), list(clips.labels)]}
        state = Checkpoint(folder / CHECKPOINT, key)
        with metrics_log(folder, run.watch) if group.is_main else nullcontext(watch_nothing) as watch:
            run = dataclasses.replace(run, watch=watch)
            log = train_vlm(prepared, clips, run, group=group, checkpoint=state)
        target = "adapter" if prepared.adapters_only else "model"
        if group.is_main:
            with complete_folder(folder / target, overwrite=True) as part:
                prepared.save(part)
        seconds, steps = clock() - started, len(log.losses)
        num_clips = (steps - log.first_step) * config.batch_size
        return {
            "num_train_clips": len(clips.labels),
            "steps": steps,
            "first_step": log.first_step,
            "num_trained": sum(weight.numel() for weight in prepared.trained.values()),
            "loss_first": log.losses[0],
            "loss_last": log.losses[-1],
            "train_seconds": seconds,
            "train_tokens": log.num_tokens,
            "clips_per_second": num_clips / seconds if num_clips and seconds > 0 else None,
            "trained": f"{phase}/{target}",
        }

    def _key(self, phase: Phase, vlm: Vlm, test_clips: Clips) -> dict[str, Any]:
        """Return what a phase's scores depend on."""
        options, config = self.options, self.config
        parts: dict[str, Any] = {
            "model": vlm.identity,
            "pixels": dataclasses.asdict(vlm.processor.rules),
            "names": self.names,
            "seed": options.seed,
            "precision": config.precision,
            "four_bit": self.load.four_bit,
            "evaluation questions": config.evaluation_questions,
            "free answers": options.generate,
            "evaluation videos": [test_clips.video_ids, test_clips.labels],
            "frames": [dataclasses.asdict(split_clip(self.synthetic)), options.from_source is not None],
        }
        if phase != "zero-shot":
            file_hash = hashlib.sha256(set_bytes(self.subject)).hexdigest()
            parts["train"] = file_hash if phase == "set" else self.videos.select("train").split_hash
            settings = dataclasses.asdict(config).items()
            parts |= {f"training.{name}": value for name, value in settings if name not in NO_RESULT}
        key: dict[str, Any] = json.loads(json.dumps(parts))  # As it is read back: lists, not tuples.
        return key

    def _finished(self, folder: Path, key: Mapping[str, Any]) -> PhaseScores | None:
        """Return the scores of a finished phase; mark the folder of one that begins."""
        finished: list[PhaseScores | None] = []
        if self.group.is_main:
            marker, scores = folder / PHASE_FILE, folder / "scores.json"
            if is_ours := marker.is_file():
                check_same_run(folder, key, json.loads(marker.read_text(encoding="utf-8")))
            if is_finished := is_ours and scores.is_file():
                self._drop_checkpoint(folder)  # of a run that was killed just before
            finished = [PhaseScores(**json.loads(scores.read_text(encoding="utf-8"))) if is_finished else None]
            folder.mkdir(parents=True, exist_ok=True)
            write_text(marker, json.dumps(key, sort_keys=True) + "\n")
        finished = self.group.gather(finished)
        return finished[0]

    def _write(self, folder: Path, scores: PhaseScores, predictions: Sequence[Prediction]) -> None:
        rows = (json.dumps(prediction.row(self.names), ensure_ascii=False) + "\n" for prediction in predictions)
        write_text(folder / "predictions.jsonl", "".join(rows))
        _write_json(folder / "scores.json", dataclasses.asdict(scores))
        self._drop_checkpoint(folder)

    @staticmethod
    def _drop_checkpoint(folder: Path) -> None:
        """Remove what takes three times as much as what was trained, and is not needed again."""
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")
