"""Fuzz the readers of foreign bytes for as long as wanted; coverage-guided (atheris), with a corpus that is kept.

    python tools/fuzz.py [--seconds 60] [--folder .fuzz] [TARGET ...]

The targets are those of `tests/fuzz_targets.py`, by default all, one after another, each in a process of its own.
`FOLDER/corpus/TARGET` grows with inputs that reach new code; an input that ends in any error but an `InputError`, takes
over 30 seconds or over 4 GB is kept in `FOLDER/crashes` and ends the run with exit code 1. To see the error again: the
same command with the file's path in place of the seconds, `--replay FILE TARGET`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
LIMITS = ("-timeout=30", "-rss_limit_mb=4096", "-max_len=1000000", "-print_final_stats=1", "-verbosity=0")


def main() -> int:
    """Start one process a target, or be that process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]
    if arguments.alone or arguments.replay:
        return fuzz(arguments.targets[0], arguments.folder, arguments.seconds, arguments.replay)
    from fuzz_targets import TARGETS

    failed = []
    for name in arguments.targets or TARGETS:
        print(f"{name}: {arguments.seconds} s", flush=True)
        command = [sys.executable, __file__, "--alone", f"--seconds={arguments.seconds}"]
        if subprocess.run([*command, f"--folder={arguments.folder}", name], check=False).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed) or 'none'}; inputs that failed are in {arguments.folder / 'crashes'}")
    return int(bool(failed))


def fuzz(name: str, folder: Path, seconds: int, replay: Path | None) -> int:
    """Fuzz one target in this process, from its seeds and the corpus; or run one input."""
    import atheris

    with atheris.instrument_imports(include=["videocompressa"]):
        import av
        from fuzz_targets import TARGETS

    av.logging.set_level(None)
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as work:
        seeds = target.seeds(Path(work))
        if replay:
            target.call(replay.read_bytes(), Path(work))
            return 0
        corpus, crashes = folder / "corpus" / name, folder / "crashes"
        for place in (corpus, crashes):
            place.mkdir(parents=True, exist_ok=True)
        for seed, data in seeds.items():
            (corpus / f"seed-{seed}").write_bytes(data)
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={crashes}/{name}-", *LIMITS, str(corpus)]
        atheris.Setup(["fuzz", *options], lambda data: target.call(data, Path(work)))
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
