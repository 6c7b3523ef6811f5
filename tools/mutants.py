"""Change one thing at a time in a module, and count the changes that its tests notice (mutation testing, by mutmut).

    python tools/mutants.py [--number 100] [--seed 0] [--processes 2] [--folder .mutants] [MODULE ...]

The modules are those of `MODULES`, by default all. Of all mutants of a module, `--number` drawn with `--seed` are run,
0 for all of them, each with the tests that reach its function, without those marked slow. Those that survive are shown
as differences. mutmut leaves out decorated functions (properties among them) and what is outside of functions.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import chdir
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[1]
COPIED = ("videocompressa", "tests", "tools", "docs", "pyproject.toml", "constraints.txt", "Makefile", "mkdocs.yml")
MODULES = MappingProxyType(
    {
        "timeline": (("video/timeline.py",), ("timeline",)),
        "synthetic": (("synthetic.py",), ("synthetic",)),
        "selection": (("selection/*.py",), ("joint", "selector", "keyframes", "videos")),
        "artifact": (("artifact/*.py",), ("artifact", "format", "fitting", "storage")),
        "packing": (
            ("artifact/packing/*.py",),
            ("transform", "packing_memories", "packing_streams", "packing_tucker", "packing_weights"),
        ),
        "datasets": (
            ("datasets/lists.py", "datasets/layouts.py", "datasets/folders.py", "datasets/videos.py"),
            ("datasets", "sources"),
        ),
    }
)
"""Name -> (files in the package, the tests that are theirs)."""
NOTICED = ("killed", "timeout", "segfault")


def main() -> int:
    """Run the mutants of one module after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []])
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(".mutants"))
    arguments = parser.parse_args()
    for name in arguments.modules or MODULES:
        folder = prepare(name, arguments.folder.absolute() / name)
        mutants = names_of_mutants(name, folder)
        drawn = mutants
        if 0 < arguments.number < len(mutants):
            drawn = sorted(random.Random(arguments.seed).sample(mutants, arguments.number))
        command = [sys.executable, "-m", "mutmut"]
        log = folder / "log"
        with log.open("w") as file:
            run = [*command, "run", "--max-children", str(arguments.processes), *drawn]
            if subprocess.run(run, cwd=folder, stdout=file, stderr=file, check=False).returncode:
                print(f"{name}: mutmut failed; see {log}")
                return 1
        outcome = outcomes(folder, drawn)
        counts = Counter(outcome.values())
        noticed = sum(counts[what] for what in NOTICED)
        print(f"{name}: {len(mutants)} mutants, {len(drawn)} run, {noticed} noticed ({noticed / len(drawn):.1%}):")
        print(f"  {json.dumps(counts)}", flush=True)
    return 0


def prepare(name: str, folder: Path) -> Path:
    """Copy what tests need into a new folder, with the settings of mutmut."""
    files, tests = MODULES[name]
    shutil.rmtree(folder, ignore_errors=True)
    for part in COPIED:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    settings = {
        "source_paths": ["videocompressa"],
        "only_mutate": [f"videocompressa/{file}" for file in files],
        "also_copy": [part for part in COPIED if part != "videocompressa"],
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"],
        "pytest_add_cli_args_test_selection": [f"tests/test_{test}.py" for test in tests],
        "process_isolation": "forkserver",  # imports torch once
        "timeout_constant": 30.0,  # seconds, before
        "timeout_multiplier": 3.0,
    }
    with (folder / "pyproject.toml").open("a") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    return folder


def names_of_mutants(name: str, folder: Path) -> list[str]:
    """Return the names of all mutants of a module."""
    with chdir(folder):  # mutmut reads its settings here
        from mutmut.configuration import reset_config
        from mutmut.mutation.file_mutation import mutate_file_contents
        from mutmut.utils.format_utils import get_mutant_name

        reset_config()
        files = sorted(file for pattern in MODULES[name][0] for file in Path().glob(f"videocompressa/{pattern}"))
        mutated = {file: mutate_file_contents(str(file), file.read_text()) for file in files}
    return [get_mutant_name(file, mutant) for file, content in mutated.items() for mutant in content.mutant_names]


def outcomes(folder: Path, mutants: list[str]) -> dict[str, str]:
    """Return what became of each mutant, by mutmut's names, and show those that nothing noticed as differences."""
    found = {}
    with chdir(folder):
        from mutmut.mutation.diff_apply import find_mutant, get_diff_for_mutant
        from mutmut.stats import status_by_exit_code

        for mutant in mutants:
            data = find_mutant(mutant)
            found[mutant] = status_by_exit_code[data.exit_code_by_key[mutant]]
            if found[mutant] not in NOTICED:
                print(f"{mutant}: {found[mutant]}\n{get_diff_for_mutant(mutant, path=data.path)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
