"""The verb `compress`: a folder of videos into one file."""

from __future__ import annotations

import time
from pathlib import Path

from videocompressa.cli.app import (
    BUDGET,
    CANDIDATES,
    REPORTING,
    RUNNING,
    AskedBudget,
    CandidateArguments,
    Force,
    LatentStorage,
    Output,
    Report,
    Run,
    Settings,
    app,
)
from videocompressa.cli.output import (
    budget_rows,
    duration,
    facts_table,
    note,
    notes_and_skipped,
    peak_memory_bytes,
    print_json,
    progress,
    skipped_json,
    stdout_console,
)


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
    storage: LatentStorage = "transform",
    step: float | None = None,
    selector_out: Path | None = None,
    force: Force = False,
    budget: AskedBudget = BUDGET,
    candidates: CandidateArguments = CANDIDATES,
    running: Run = RUNNING,
    reporting: Report = REPORTING,
) -> None:
    """Compress the training videos of a folder into one file. Interrupted, the same command goes on where it was.

    Parameters
    ----------
    data
        Folder of labeled videos, or a csv that lists them.
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
        tiny, ycbcr (pixels, without weights), linear, pixel, or diffusers:NAME with a hub name, folder or file.
    seed
        Equal seeds give equal files.
    settings
        A setting of the method, as name=value, such as synthesis.steps=100; repeat for more.
    storage
        How latents are stored: transform (entropy-coded, a few bytes a keyframe), int8 or float16 (one number a cell).
    step
        How coarse transform is: 2 takes about 0.4 of the bytes of 1, and 0.5 twice as many. When not given, 1; of
        videocompressa-bytes, as fine as --bytes allows.
    selector_out
        Also write the selector that learned to pick keyframes to this .safetensors file, for the verb keyframes.
    force
        Replace the output if it exists.
    """
    started = time.perf_counter()
    from videocompressa.artifact.storage import Storage
    from videocompressa.recipes.compress import compress_folder

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
    rows = {"file": str(made.path), **budget_rows(made.budget)}
    rows["kept"] += f", of {made.num_train_videos} videos with {made.num_train_frames} frames"
    rows["time"] = duration(seconds)
    if selector_out is not None:
        rows["selector"] = str(selector_out)
    stdout_console().print(facts_table(rows))
    note(f"next: videocompressa train {made.path} --data {data}", reporting)
