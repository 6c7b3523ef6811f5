"""Load: many clips, many classes, many items, many runs; what each takes, and whether anything is left behind.

    python tools/soak.py [--share 1] [--only clips classes items runs] [--folder /tmp/soak]

1. clips:   20,000 short clips are compressed, and compressed again from the cache.
2. classes: 5,000 classes with names of 200 characters, a class table of 1 MB, are compressed and read back.
3. items:   a file of 10,000 items is written, opened, and read through, item by item and complete.
4. runs:    compress, open, train and decode, 50 times in one process: open files, child processes, threads, temporary
            files and memory after the last run are those after the fifth.

`--share 0.01` takes a hundredth of each number. Every check runs in a process of its own, so that its peak memory is
its own. Prints a Markdown table for docs/scale.md; ends with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLIPS, CLASSES, ITEMS, RUNS = 20_000, 5_000, 10_000, 50
NAME_CHARACTERS = 200
"""Of a class: 5,000 of them take 1 MB."""
DIFFERENT = 50
"""Clips that are encoded; the others are copies of them, since encoding is not what is tested."""
WARM_UP = 5
"""Runs after which nothing may grow; memory by no more than this share:"""
GROWTH = 0.05


def main() -> None:
    """Run the checks one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--only", choices=CHECKS, nargs="+", default=list(CHECKS))
    parser.add_argument("--folder", type=Path, help="for the files, which are removed; a temporary one by default")
    parser.add_argument("--alone", choices=CHECKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(CHECKS[options.alone](options.folder, options.share)))
        return
    print("| check | what | result |\n|---|---|---|")
    failed = 0
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="soak-", dir=options.folder) as folder:
            command = [sys.executable, __file__, "--alone", name, "--folder", folder, f"--share={options.share}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        rows = json.loads(done.stdout) if done.returncode == 0 else {"": f"FAILED, exit code {done.returncode}"}
        failed += done.returncode != 0
        for what, result in rows.items():
            print(f"| {name} | {what} | {result} |", flush=True)
    sys.exit(failed > 0)


def clips(folder: Path, share: float) -> dict[str, str]:
    """Compress many clips, twice."""
    count = scaled(CLIPS, share)
    write_clips(folder / "data", count, [f"class{number}" for number in range(20)])
    rows = {}
    for run, output in (("cold", "a"), ("from the cache", "b")):
        line = compress(folder, output, "--vpc", "1")
        rows[f"{count:,} clips, {run}"] = f"{line['compress_seconds']:.1f} s, {mib(line['peak_memory_bytes'])} MiB"
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()
    rows["cache"] = f"{mib(sum(path.stat().st_size for path in folder.glob('cache/**/*') if path.is_file()))} MiB"
    return rows


def classes(folder: Path, share: float) -> dict[str, str]:
    """Compress many classes with long names."""
    names = [f"{number:05d} ".ljust(NAME_CHARACTERS, "n") for number in range(scaled(CLASSES, share))]
    write_clips(folder / "data", 2 * len(names), names)
    line = compress(folder, "a", "--vpc", "1", "--keyframes", "2")

    from videocompressa.recipes.sets import open_set

    started = time.perf_counter()
    synthetic = open_set(folder / "a.safetensors")
    assert list(synthetic.classes) == names
    assert len(synthetic) == len(names)
    return {
        f"{len(names):,} classes, names of {mib(len(''.join(names)), 2)} MiB": f"{line['compress_seconds']:.1f} s, "
        f"{mib(line['peak_memory_bytes'])} MiB, file {mib(line['file_bytes'], 2)} MiB, "
        f"opened in {time.perf_counter() - started:.2f} s",
    }


def items(folder: Path, share: float) -> dict[str, str]:
    """Open and read a file of many items."""
    count = scaled(ITEMS, share)
    write_clips(folder / "data", count, [f"class{number}" for number in range(10)])
    rows = {}
    for storage in ("int8", "transform"):
        line = compress(folder, storage, "--vpc", str(count // 10), "--keyframes", "2", "--storage", storage)
        rows[f"{count:,} items of 2 keyframes, {storage}: file"] = (
            f"{mib(line['file_bytes'])} MiB, written with {mib(line['peak_memory_bytes'])} MiB in "
            f"{line['compress_seconds']:.0f} s"
        )
        for use in USES:
            part = [sys.executable, "-c", READ, str(folder / f"{storage}.safetensors"), use]
            seconds, peak = json.loads(subprocess.run(part, stdout=subprocess.PIPE, check=True).stdout)
            rows[f"{storage}: {use}"] = f"{seconds:.1f} s, {mib(peak)} MiB"
    return rows


USES = ("import", "open", "items one by one", "all items")
"""Ways to use a file; the memory of each contains that of those before it but for the last two."""
READ = """
import json, sys, time
import videocompressa as vc
from videocompressa.engine import peak_memory_bytes
path, use = sys.argv[1:]
started = time.perf_counter()
synthetic = vc.load(path) if use != "import" else vc.SyntheticSet
if "items" in use:
    dataset = synthetic.as_dataset(lazy=use == "items one by one")
    pixels = sum(float(clip.mean()) for clip, label in dataset)
print(json.dumps([time.perf_counter() - started, peak_memory_bytes()]))
"""


def runs(folder: Path, share: float) -> dict[str, str]:
    """Repeat the verbs in this process, and count what they leave."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    for name in ("tmp", "out"):
        (folder / name).mkdir()
    write_clips(folder / "data/train", 8, ["a", "b"])
    write_clips(folder / "data/test", 4, ["a", "b"], seed=DIFFERENT)
    count, start = max(WARM_UP + 1, scaled(RUNS, share)), {}
    for number in range(count):
        run_verbs(folder, number)
        if number + 1 == WARM_UP:
            start = leftovers(folder)
    end = leftovers(folder)
    for name in start:
        allowed = start[name] * (1 + GROWTH) if name == "memory" else start[name]
        assert end[name] <= allowed, f"{name} grew from {start[name]} to {end[name]} in {count - WARM_UP} runs"
    rows = {name: f"{start[name]}, {end[name]}" for name in start if name != "memory"}
    return {
        **{f"{name} after {WARM_UP} and {count} runs": text for name, text in rows.items()},
        f"memory after {WARM_UP} and {count} runs": f"{mib(start['memory'])}, {mib(end['memory'])} MiB",
    }


def run_verbs(folder: Path, number: int) -> None:
    """Compress by one worker, train, and decode; every second run with an empty cache."""
    from videocompressa.cli.main import main as videocompressa

    cache, path = folder / "out/cache", folder / "out/set.safetensors"
    if number % 2:
        shutil.rmtree(cache)
    common = ["--cache", str(cache), "--quiet"]
    for verb in (
        ["compress", str(folder / "data"), "-o", str(path), "--vpc", "1", "--workers", "1", *common, *QUICK, "--force"],
        ["train", str(path), "--data", str(folder / "data"), "--steps", "3", "--seeds", "1", "--json", *common],
        ["decode", str(path), "-o", str(folder / "out/decoded"), "--force", "--quiet"],
    ):
        output = sys.stdout
        with open(os.devnull, "w") as sys.stdout:
            code = videocompressa(verb)
        sys.stdout = output
        assert code == 0, f"{verb[0]} ended with {code}"
    gc.collect()


QUICK = ("--set", "labeler.steps=3")


def leftovers(folder: Path) -> dict[str, int]:
    """Return how much of each kind of resource this process holds."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "open files": len(list(Path("/proc/self/fd").iterdir())),
        "child processes": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        "threads": threading.active_count(),
        "temporary files": len(list((folder / "tmp").rglob("*"))),
        "other files": len([path for path in folder.glob("out/*") if path.name not in ("cache", "set.safetensors")]),
        "memory": 1024 * int(status["VmRSS"].split()[0]),
    }


def write_clips(root: Path, count: int, names: list[str], *, seed: int = 0) -> None:
    """Write `count` clips of 6 frames of 32x48 px into the folders of these classes, in turn."""
    import torch

    from videocompressa.video import write_video

    root.mkdir(parents=True)
    samples = []
    for number in range(min(count, DIFFERENT)):
        path = root.parent / f"{number}.mp4"
        draws = torch.Generator().manual_seed(seed + number)
        write_video(path, torch.randint(0, 256, (6, 3, 4, 6), dtype=torch.uint8, generator=draws)
                    .repeat_interleave(8, 2).repeat_interleave(8, 3), fps=10)  # fmt: skip
        samples.append(path.read_bytes())
        path.unlink()
    for name in names:
        (root / name).mkdir()
    for number in range(count):
        (root / names[number % len(names)] / f"{number}.mp4").write_bytes(samples[number % len(samples)])


def compress(folder: Path, output: str, *options: str) -> dict[str, Any]:
    """Compress by `random-real`, which trains nothing, and return the JSON output."""
    line = [sys.executable, "-m", "videocompressa", "compress", str(folder / "data"), "--cache", str(folder / "cache")]
    line += ["-o", str(folder / f"{output}.safetensors"), "--method", "random-real", "--json", "--quiet", *options]
    result: dict[str, Any] = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
    return result


def scaled(number: int, share: float) -> int:
    """Return a share of a number, at least 20."""
    return max(20, round(number * share))


def mib(num_bytes: float, digits: int = 0) -> str:
    """Return a number of bytes in MiB."""
    return f"{num_bytes / 2**20:.{digits}f}"


CHECKS: dict[str, Callable[[Path, float], dict[str, str]]] = {
    "clips": clips,
    "classes": classes,
    "items": items,
    "runs": runs,
}
"""By name."""


if __name__ == "__main__":
    main()
