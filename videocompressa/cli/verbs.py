"""The verbs: plan, compress, train, inspect, decode, demo. What needs torch is imported when a verb runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from rich.table import Table

from videocompressa import __version__
from videocompressa.cli.options import Reporting, Running
from videocompressa.cli.output import (
    duration,
    facts_table,
    note,
    notes_and_skipped,
    peak_memory_bytes,
    percent,
    print_json,
    progress,
    skipped_json,
    stdout_console,
)
from videocompressa.errors import InputError
from videocompressa.recipes.options import BudgetOptions, CandidateOptions

if TYPE_CHECKING:
    from videocompressa.recipes.train import TrainOutcome
    from videocompressa.synthetic import Budget, SyntheticSet

app = App(
    name="videocompressa",
    help="""Turn a folder of labelled videos into one tiny file that trains models as well as all the videos did.

    Start with `videocompressa plan DATA`, then `compress DATA -o set.safetensors`, then
    `train set.safetensors --data DATA`. DATA is a folder with one folder of videos a class, or one with a splits.csv.
    """,
    version=__version__,
    help_format="markdown",
)

BUDGET, CANDIDATES, RUNNING, REPORTING = BudgetOptions(), CandidateOptions(), Running(), Reporting()

Candidates = Annotated[CandidateOptions, Parameter(name="*", group=Group("Candidate frames", sort_key=20))]
AskedBudget = Annotated[BudgetOptions, Parameter(name="*", group=Group("Budget", sort_key=10), negative="")]
Run = Annotated[Running, Parameter(name="*")]
Report = Annotated[Reporting, Parameter(name="*")]
Settings = Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Force = Annotated[bool, Parameter(negative="")]


@app.command
def plan(
    data: Path,
    /,
    *,
    method: str = "videocompressa",
    codec: str = "tiny",
    settings: Settings = (),
    storage: Literal["transform", "int8", "float16"] = "transform",
    step: float = 1.0,
    budget: AskedBudget = BUDGET,
    candidates: Candidates = CANDIDATES,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Say what a folder of videos holds and what compressing it would cost: counts, bad files, size and time.

    Parameters
    ----------
    data
        Folder of labelled videos, or a csv that lists them.
    method
        The method that compress would use.
    codec
        The codec that compress would use.
    settings
        A setting of the method, as name=value; repeat for more.
    storage
        How compress would store latents; the size of transform is a guess, as it depends on what the videos show.
    step
        How coarse transform would be.
    """
    from videocompressa.recipes.plan import plan as make_plan
    from videocompressa.report import bytes_text
    from videocompressa.storage import Storage

    with progress(reporting) as watch:
        made = make_plan(
            data,
            candidates=candidates,
            budget=budget,
            method=method,
            codec=codec,
            settings=settings,
            storage=Storage(storage, step),
            surroundings=running.surroundings(watch),
        )
    allowance = made.budget.allowance
    if reporting.json:
        print_json(
            {
                "num_videos": made.num_videos,
                "num_frames": made.num_frames,
                "classes": made.classes,
                "bad": skipped_json(made.bad),
                "splits": {name: vars(part) for name, part in made.parts.items()},
                "videos_per_class": allowance.videos_per_class,
                "keyframes": allowance.keyframes,
                "frame_ratio": made.frame_ratio,
                "expected_file_bytes": made.budget.most_bytes,
                "expected_seconds": made.pass_seconds + made.method_seconds,
                "notes": list(made.budget.notes),
            }
        )
        return
    console = stdout_console()
    splits = Table(title=f"{made.source}: {len(made.classes)} classes", title_justify="left")
    for heading in ("split", "videos", "frames", "length", "size"):
        splits.add_column(heading, justify="left" if heading == "split" else "right")
    for name, part in made.parts.items():
        splits.add_row(
            name, str(part.num_videos), str(part.num_frames), duration(part.seconds), bytes_text(part.num_bytes)
        )
    console.print(splits)
    console.print(_class_table(made.classes))
    ratio = made.budget.most_bytes / made.parts["train"].num_bytes
    console.print(
        facts_table(
            {
                "kept": f"{made.budget.num_items} videos x {allowance.keyframes} keyframes "
                f"(VPC {allowance.videos_per_class}), {percent(made.frame_ratio)} of the training frames",
                "expected file": f"{bytes_text(made.budget.most_bytes)}, {percent(ratio)} of the training videos",
                "expected time": f"{duration(made.pass_seconds)} to decode and encode, about "
                f"{duration(made.method_seconds)} for {method} (estimates from a sample)",
                "bad videos": str(len(made.bad)),
            }
        )
    )
    for video in made.bad:
        console.print(f"  {video.video_id}: {video.reason}", markup=False)
    notes_and_skipped(made.budget.notes, (), reporting)


@app.command
def compress(
    data: Path,
    /,
    *,
    output: Output,
    method: str = "videocompressa",
    codec: str = "tiny",
    seed: int = 0,
    settings: Settings = (),
    storage: Literal["transform", "int8", "float16"] = "transform",
    step: float = 1.0,
    selector_out: Path | None = None,
    force: Force = False,
    budget: AskedBudget = BUDGET,
    candidates: Candidates = CANDIDATES,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Compress the training videos of a folder into one file. Interrupted, the same command goes on where it was.

    Parameters
    ----------
    data
        Folder of labelled videos, or a csv that lists them.
    output
        The file to write, such as set.safetensors.
    method
        videocompressa (keyframes, tuned) or videocompressa-bytes (most for the bytes: whole clips, coarsely, of the
        videos that are typical; trains nothing); or for comparison random-real, herding-real,
        k-center-real or facility-location-real (real keyframes as they are), rded (crops that a teacher chooses), dm,
        mtt, vdsd-dm or vdsd-mtt (clips tuned by matching), lvdd, lvdd-random, lvdd-k-means or lvdd-scaled (factors of
        latents), real-h264, real-av1, real-webp, herding-h264, herding-av1 or herding-webp (real clips as a real codec
        writes them).
    codec
        tiny, linear, pixel, or diffusers:NAME with a hub name, folder or file.
    seed
        Equal seeds give equal files.
    settings
        A setting of the method, as name=value, such as synthesis.steps=100; repeat for more.
    storage
        How latents are stored: transform (entropy-coded, a few bytes a keyframe), int8 or float16 (one number a cell).
    step
        How coarse transform is: 2 takes about 0.4 of the bytes of 1, and 0.5 twice as many.
    selector_out
        Also write the selector that learned to pick keyframes to this .safetensors file, for the verb keyframes.
    force
        Replace the output if it exists.
    """
    started = time.perf_counter()
    from videocompressa.recipes.compress import compress_folder
    from videocompressa.storage import Storage

    with progress(reporting) as watch:
        surroundings = running.surroundings(watch)
        made = compress_folder(
            data,
            output,
            candidates=candidates,
            budget=budget,
            method=method,
            codec=codec,
            seed=seed,
            settings=settings,
            storage=Storage(storage, step),
            selector_out=selector_out,
            overwrite=force,
            surroundings=surroundings,
        )
    seconds = time.perf_counter() - started
    notes_and_skipped(made.notes, made.skipped, reporting)
    if reporting.json:
        print_json(
            {
                "path": str(made.path),
                **({} if selector_out is None else {"selector": str(selector_out)}),
                **vars(made.budget),
                "compress_seconds": seconds,
                "method_seconds": made.method_seconds,
                "peak_memory_bytes": peak_memory_bytes(surroundings.workers),
                "skipped": skipped_json(made.skipped),
                "videos_per_class": made.videos_per_class,
                "keyframes": made.keyframes,
                "num_train_videos": made.num_train_videos,
                "num_train_frames": made.num_train_frames,
                "notes": list(made.notes),
            }
        )
        return
    rows = {"file": str(made.path), **_budget_rows(made.budget)}
    rows["kept"] += f", of {made.num_train_videos} videos with {made.num_train_frames} frames"
    rows["time"] = duration(seconds)
    if selector_out is not None:
        rows["selector"] = str(selector_out)
    stdout_console().print(facts_table(rows))
    note(f"next: videocompressa train {made.path} --data {data}", reporting)


@app.command
def train(
    subject: Annotated[Path, Parameter(name="SET")],
    /,
    *,
    data: Path | None = None,
    student: str = "minic3d",
    seeds: int = 3,
    steps: int = 300,
    batch_size: int = 16,
    lr: float = 1e-3,
    width: float = 1.0,
    flip: bool = True,
    split: Literal["test", "val"] = "test",
    codec: str | None = None,
    settings: Settings = (),
    candidates: Candidates = CANDIDATES,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Train students on a set file and judge them on the test videos of DATA.

    With a folder of videos in place of the file, students are trained on all of its training videos, for the same
    number of steps: the reference that a set is measured by. For a set file, the size and the number of candidate
    frames are those of the set.

    Parameters
    ----------
    subject
        A set file, or a folder of labelled videos.
    data
        Folder (or csv) of labelled videos whose test videos judge; for a folder SET, the folder itself.
    student
        convnet3d, minic3d, r2plus1d18 or framenet2d.
    seeds
        Students to train, from seeds 0, 1, ...; the mean and the spread are reported.
    steps
        Optimiser steps of each student.
    batch_size
        Clips a step.
    lr
        Highest learning rate.
    width
        Factor on the student's channels.
    flip
        Mirror half of the clips; turn it off where left and right tell classes apart.
    split
        Videos that judge.
    codec
        Where the set's codec is, when the file does not say it: diffusers:FOLDER.
    settings
        Another setting of the training, as name=value, such as augment=none; repeat for more.
    """
    from videocompressa.recipes.settings import with_settings
    from videocompressa.recipes.train import train_on
    from videocompressa.train import TrainConfig

    is_folder = subject.is_dir() or subject.suffix.lower() == ".csv"
    if data is None and not is_folder:
        raise InputError(f"--data is missing; give the folder whose test videos judge what {subject} teaches")
    config = TrainConfig(student=student, steps=steps, batch_size=batch_size, lr=lr, width=width, flip=flip)
    config = with_settings(config, settings)
    with progress(reporting) as watch:
        outcome = train_on(
            subject,
            data or subject,
            config=config,
            candidates=candidates,
            num_seeds=seeds,
            split=split,
            codec=codec,
            surroundings=running.surroundings(watch),
        )
    notes_and_skipped((), outcome.skipped, reporting)
    if reporting.json:
        print_json(_train_json(outcome))
        return
    _print_scores(outcome)


@app.command
def inspect(
    path: Annotated[Path, Parameter(name="SET")],
    /,
    *,
    contact_sheet: Path | None = None,
    codec: str | None = None,
    force: Force = False,
    reporting: Report = REPORTING,
) -> None:
    """Show what a set file holds, where it comes from and what it costs.

    Parameters
    ----------
    path
        A set file.
    contact_sheet
        Also write a picture of all keyframes to this .png file.
    codec
        Where the set's codec is, when the file does not say it: diffusers:FOLDER.
    force
        Replace the contact sheet if it exists.
    """
    from videocompressa.artefact import check_target, measure, read_set

    if contact_sheet is not None:
        check_target(contact_sheet, overwrite=force)
    synthetic, cost = read_set(path), measure(path)
    if contact_sheet is not None:
        from videocompressa.recipes.sets import open_set
        from videocompressa.report import contact_sheet as draw

        draw(open_set(path, codec), path=contact_sheet)
    if reporting.json:
        print_json(_set_json(path, synthetic, cost, contact_sheet))
        return
    console = stdout_console()
    origin, source = synthetic.provenance, synthetic.provenance.source
    labels = "soft (probabilities of a teacher)" if synthetic.labels.ndim == 2 else "hard"
    console.print(
        facts_table(
            {
                "file": str(path),
                **_budget_rows(cost),
                "clips": f"{synthetic.clip.num_frames} frames of {synthetic.clip.height}x{synthetic.clip.width} px, "
                f"fill {synthetic.fill}",
                "latents": f"{tuple(synthetic.latents.shape)} (N,K,C,h,w) of codec {synthetic.codec.name}",
                "labels": f"{labels}, {len(synthetic.classes)} classes",
                "method": f"{origin.method}, seed {origin.seed}",
                "made from": f"{source.name}: {source.num_videos} videos, {source.num_frames} frames"
                + (f", {source.num_skipped} skipped" if source.num_skipped else ""),
                "split hash": source.split_hash[:16],
            }
        )
    )
    items = Table(title="items", title_justify="left")
    for heading in ("item", "class", "video", "keyframes of T", "seconds"):
        items.add_column(heading, justify="right" if heading == "item" else "left", overflow="fold")
    for item in range(len(synthetic)):
        items.add_row(
            str(item),
            _label_text(synthetic, item),
            origin.video_ids[item],
            " ".join(str(position) for position in synthetic.positions[item].tolist()),
            " ".join(f"{seconds:.2f}" for seconds in synthetic.times_seconds[item].tolist()),
        )
    console.print(items)
    if contact_sheet is not None:
        console.print(f"contact sheet: {contact_sheet}", markup=False)


@app.command
def decode(
    path: Annotated[Path, Parameter(name="SET")],
    /,
    *,
    output: Output,
    kind: Annotated[Literal["mp4", "gif", "png"], Parameter(name="--format")] = "mp4",
    codec: str | None = None,
    force: Force = False,
    reporting: Report = REPORTING,
) -> None:
    """Write the clips of a set file as videos, or its keyframes as pictures, in a folder a class.

    Parameters
    ----------
    path
        A set file.
    output
        Folder to write.
    kind
        mp4 and gif hold whole clips, png single keyframes.
    codec
        Where the set's codec is, when the file does not say it: diffusers:FOLDER.
    force
        Replace the folder if it exists.
    """
    from videocompressa.recipes.sets import check_folder, decode_set, open_set

    check_folder(output, overwrite=force)
    synthetic = open_set(path, codec)
    with progress(reporting) as watch:
        num_files = decode_set(synthetic, output, kind=kind, overwrite=force, watch=watch)
    if reporting.json:
        print_json({"path": str(output), "num_videos": len(synthetic), "num_files": num_files})
        return
    stdout_console().print(f"{num_files} {kind} files of {len(synthetic)} items in {output}", markup=False)


@app.command
def demo(
    *,
    output: Output = Path("videocompressa-demo"),
    seed: int = 0,
    force: Force = False,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Draw a set of videos, compress it, train on it, and compare with random selection and with all videos.

    Needs no data and no network, and takes under five minutes on two cores. Ends with a table and a contact sheet.

    Parameters
    ----------
    output
        Folder for the drawn videos, the set files, the table and the contact sheet.
    seed
        Equal seeds give equal videos and equal files.
    force
        Replace the files of an earlier demo; its videos are kept.
    """
    started = time.perf_counter()
    from videocompressa.recipes.demo import demo as run_demo
    from videocompressa.report import results_table

    with progress(reporting) as watch:
        made = run_demo(output, seed=seed, overwrite=force, surroundings=running.surroundings(watch))
    seconds = time.perf_counter() - started
    if reporting.json:
        print_json(
            {
                "videos": str(made.videos),
                "path": str(made.set_path),
                "table": str(made.table_path),
                "contact_sheet": str(made.sheet_path),
                "rows": [vars(row) for row in made.rows],
                "demo_seconds": seconds,
            }
        )
        return
    console = stdout_console()
    console.print(results_table(made.rows, title="drawn actions, top-1 in % (mean ± spread over seeds)"))
    console.print(
        facts_table(
            {
                "videos": str(made.videos),
                "set": str(made.set_path),
                "table": str(made.table_path),
                "contact sheet": str(made.sheet_path),
                "time": duration(seconds),
            }
        )
    )


def _class_table(classes: dict[str, dict[str, int]]) -> Table:
    table = Table()
    splits = list(next(iter(classes.values())))
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name, counts in classes.items():
        table.add_row(name, *(str(counts[split]) for split in splits))
    return table


def _budget_rows(cost: Budget) -> dict[str, str]:
    from videocompressa.report import bytes_text

    keyframes = cost.num_frames // cost.num_videos
    rows = {
        "kept": f"{cost.num_videos} videos x {keyframes} keyframes = {cost.num_frames} frames "
        f"({percent(cost.frame_ratio)})",
        "size": f"{bytes_text(cost.file_bytes)} ({percent(cost.byte_ratio)} of the training videos): latents "
        f"{bytes_text(cost.latent_bytes)}, labels {bytes_text(cost.label_bytes)}",
    }
    if cost.codec_bytes:
        rows["codec"] = f"{bytes_text(cost.codec_bytes)} of weights to decode it, "
        rows["codec"] += f"{bytes_text(cost.file_and_codec_bytes)} together"
    return rows


def _train_json(outcome: TrainOutcome) -> dict[str, Any]:
    result = outcome.result
    return {
        "top1_mean": result.top1_mean,
        "top1_std": result.top1_std,
        "top1_runs": list(result.top1_runs),
        "num_diverged": result.num_diverged,
        "train_seconds": result.train_seconds,
        "top5_mean": result.top5_mean,
        "per_class": dict(zip(outcome.classes, result.per_class.tolist(), strict=True)),
        "confusion": result.confusion.tolist(),
        "classes": list(outcome.classes),
        "seeds": list(result.seeds),
        "trained_on": outcome.trained_on,
        "split": outcome.split,
        "num_train_clips": outcome.num_train_clips,
        "num_test_clips": outcome.num_test_clips,
        "skipped": skipped_json(outcome.skipped),
    }


def _print_scores(outcome: TrainOutcome) -> None:
    result = outcome.result
    spread = f" ± {100 * result.top1_std:.1f}" if len(result.top1_runs) > 1 else ""
    rows = {
        "trained on": f"{outcome.trained_on} ({outcome.num_train_clips} clips)",
        "judged on": f"{outcome.num_test_clips} {outcome.split} videos",
        "top-1": f"{100 * result.top1_mean:.1f}{spread} %  ({len(result.top1_runs)} runs: "
        f"{', '.join(f'{100 * run:.1f}' for run in result.top1_runs)})",
        "chance": f"{100 / len(outcome.classes):.1f} %",
        "training": duration(result.train_seconds),
    }
    if len(outcome.classes) > 5:
        rows["top-5"] = f"{100 * result.top5_mean:.1f} %"
    if result.num_diverged:
        rows["diverged"] = f"{result.num_diverged} of {len(result.seeds)} runs, not in the mean"
    console = stdout_console()
    console.print(facts_table(rows))
    table = Table(title="per class", title_justify="left")
    table.add_column("class")
    table.add_column("top-1", justify="right")
    table.add_column("most often taken for")
    for label, name in enumerate(outcome.classes):
        wrong = result.confusion[label].clone()
        wrong[label] = 0
        taken = f"{outcome.classes[int(wrong.argmax())]} ({int(wrong.max())})" if int(wrong.max()) else "-"
        table.add_row(name, f"{100 * float(result.per_class[label]):.1f} %", taken)
    console.print(table)


def _label_text(synthetic: SyntheticSet, item: int) -> str:
    name = synthetic.classes[int(synthetic.hard_labels[item])]
    return name if synthetic.labels.ndim == 1 else f"{name} {100 * float(synthetic.labels[item].max()):.0f} %"


def _set_json(path: Path, synthetic: SyntheticSet, cost: Budget, sheet: Path | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "path": str(path),
        **vars(cost),
        "clip": asdict(synthetic.clip),
        "codec": asdict(synthetic.codec),
        "classes": list(synthetic.classes),
        "labels": "soft" if synthetic.labels.ndim == 2 else "hard",
        "fill": synthetic.fill,
        "packing": synthetic.packing,
        "normalisation": asdict(synthetic.normalisation),
        "provenance": asdict(synthetic.provenance),
        "items": [
            {"class": synthetic.classes[int(label)], "video": video, "positions": places, "times_seconds": times}
            for label, video, places, times in zip(
                synthetic.hard_labels,
                synthetic.provenance.video_ids,
                synthetic.positions.tolist(),
                synthetic.times_seconds.tolist(),
                strict=True,
            )
        ],
        "contact_sheet": None if sheet is None else str(sheet),
    }
