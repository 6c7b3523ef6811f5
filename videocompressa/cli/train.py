"""The verb `train`: students on a set file, or on all videos, and how well they do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from videocompressa.cli import app as cli
from videocompressa.cli import terminal
from videocompressa.errors import InputError
from videocompressa.texts import duration_text

if TYPE_CHECKING:
    from videocompressa.recipes.train import TrainOutcome
    from videocompressa.students.settings import TrainConfig


@dataclass(frozen=True)
class TrainArguments:
    """How students are trained and evaluated, as given on the command line."""

    student: str = "minic3d"
    """convnet3d, minic3d, r2plus1d18 or framenet2d; a pretrained backbone of transformers or timm, as
    hf:FOLDER_OR_NAME[:MODE] or timm:FOLDER_OR_NAME[:MODE] with mode probe (a linear layer on its features; seconds on a
    CPU), centroid (the nearest class mean), lora or full; or a network of yours, as FILE.py:FUNCTION[:MODE], where
    FUNCTION(num_classes, clip) gives a module from normalized clips (B,T,3,H,W) to logits, or with mode probe or
    centroid to features (B,D)."""
    seeds: int = 3
    """Students to train, from seeds 0, 1, ...; the mean and the spread are reported."""
    steps: int = 1600
    """Optimizer steps of each student."""
    batch_size: int = 16
    """Clips a step."""
    lr: float | None = None
    """Highest learning rate; when not given 2e-3, for backbones 5e-4 (lora) and 5e-5 (full)."""
    width: float = 0.25
    """Factor on the student's channels; 1 is the published network."""
    stored_labels: Annotated[bool, Parameter(negative="")] = False
    """Train by the labels stored in the file, although it has a labeler."""
    split: Literal["test", "val"] = "test"
    """Videos of the evaluation."""
    settings: cli.Settings = ()
    """Another setting of the training, as name=value, such as views.mirror=true; repeat for more."""

    def config(self) -> TrainConfig:
        """Return the training of a student; raises `InputError` for values out of range."""
        from videocompressa.recipes.settings import with_settings
        from videocompressa.students.named import parse_student
        from videocompressa.students.settings import TrainConfig

        own = {name: getattr(self, name) for name in ("student", "steps", "batch_size", "width")}
        lr = parse_student(self.student).usual_lr if self.lr is None else self.lr
        return with_settings(TrainConfig(**own, lr=lr), self.settings)


TRAINING = TrainArguments()


@cli.app.command(help_epilogue="Example: `videocompressa train set.safetensors --data videos --save-model model`")
def train(
    subject: Annotated[Path, cli.AS_PATH, Parameter(name="SET")],
    /,
    *,
    data: Annotated[Path | None, cli.AS_PATH] = None,
    training: Annotated[TrainArguments, Parameter(name="*")] = TRAINING,
    save_model: Path | None = None,
    force: cli.Replace = False,
    codec: cli.CodecFolder = None,
    log_dir: cli.LogDir = None,
    labeler: str | None = None,
    candidates: cli.CandidateArguments = cli.CANDIDATES,
    config: cli.ConfigFile = None,
    running: cli.RunningArguments = cli.RUNNING,
    reporting: cli.ReportingArguments = cli.REPORTING,
) -> None:
    """Train students on a set file and evaluate them on the test videos of DATA.

    With a folder of videos in place of the file, students are trained on its training videos (--train-sample), for the
    same number of steps: the reference that a set is measured by. For a set file, the size and the number of candidate
    frames are those of the set. On several GPUs, which share the seeds: torchrun --nproc-per-node N -m videocompressa
    train ...

    Parameters
    ----------
    subject
        A set file, hf:USER/NAME[@REVISION], or a folder of labeled videos.
    data
        Folder (or csv) of labeled videos whose test videos are classified; for a folder SET, the folder itself.
    save_model
        Folder to write the student of the first seed to, for `predict`; a backbone's is one of transformers.
    labeler
        The pretrained network, such as hf:FOLDER, of a set whose labeler is a layer on it; not needed where it is that
        of the student.
    """
    from videocompressa.recipes.sets import open_set
    from videocompressa.recipes.tensorboard import logged
    from videocompressa.recipes.train import holds_videos, train_on

    if data is None and not holds_videos(subject):
        raise InputError("--data is missing; give the folder whose test videos the students classify")
    with terminal.progress(reporting) as report, logged(log_dir, report.watch) as log:
        surroundings, group = running.together(log.watch)
        outcome = train_on(
            subject,
            data or subject,
            config=training.config(),
            candidates=candidates,
            num_seeds=training.seeds,
            split=training.split,
            stored_labels=training.stored_labels,
            codec=codec,
            labeler=labeler,
            save_model=save_model,
            overwrite=force,
            group=group,
            surroundings=surroundings,
        )
        if log_dir is not None and group.is_main and not holds_videos(subject):
            log.samples(open_set(subject, codec))
    if not group.is_main:
        return
    report.notes(outcome.notes, outcome.skipped)
    if reporting.json:
        per_class = dict(zip(outcome.classes, outcome.result.per_class.tolist(), strict=True))
        more = {"per_class": per_class, "confusion": outcome.result.confusion.tolist(), "options": vars(training)}
        terminal.print_json(terminal.facts_of(outcome, "result") | more)
        return
    _print_scores(outcome)
    if save_model is not None:
        report.next_command(["predict", "VIDEO", "--model", save_model])
    elif not holds_videos(subject):
        words = ["--data", data] if data is not None and data.is_dir() else []
        words += ["--codec", codec] if codec else []
        report.next_command(["inspect", subject, "--html", terminal.unused("page", ".html"), *words])


def _print_scores(outcome: TrainOutcome) -> None:
    from videocompressa.bench.record import REGIMES

    result = outcome.result
    spread = runs = ""
    if len(result.top1_runs) > 1:
        spread = f" ± {100 * result.top1_std:.1f}"
        runs = f"  ({len(result.top1_runs)} runs: {', '.join(f'{100 * run:.1f}' for run in result.top1_runs)})"
    rows = {
        "trained on": f"{outcome.trained_on} ({outcome.num_train_clips} clips), {REGIMES[outcome.regime]}",
        "evaluated on": f"{outcome.num_test_clips} {outcome.split} videos",
        "top-1": f"{100 * result.top1_mean:.1f}{spread} %{runs}",
        "chance": f"{100 / len(outcome.classes):.1f} %",
        **({} if outcome.centroid_top1 is None else {"nearest class mean": f"{100 * outcome.centroid_top1:.1f} %"}),
        "training": f"{duration_text(result.train_seconds)}, {result.precision}",
    }
    if len(outcome.classes) > 5:
        rows["top-5"] = f"{100 * result.top5_mean:.1f} %"
    if result.num_diverged:
        rows["diverged"] = f"{result.num_diverged} of {len(result.seeds)} runs, not in the mean"
    console = terminal.stdout_console()
    console.print(terminal.facts_table(rows))
    table = terminal.table("class", "top-1", "most often predicted as", right=("top-1",), title="per class")
    for label, name in enumerate(outcome.classes):
        wrong = result.confusion[label].clone()
        wrong[label] = 0
        mistaken = f"{outcome.classes[int(wrong.argmax())]} ({int(wrong.max())})" if int(wrong.max()) else "-"
        terminal.add_row(table, name, f"{100 * float(result.per_class[label]):.1f} %", mistaken)
    console.print(table)
