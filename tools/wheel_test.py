"""Build the source archive and the wheel, and use the wheel as a stranger: python tools/wheel_test.py FOLDER.

The wheel is installed in a clean environment and run from a folder that is no clone: it renders videos, compresses
them, trains on the file and writes the page, at small size. `--borrow` takes dependencies from the environment that
runs this file in place of the package index.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
RENDER = """
from pathlib import Path
from videocompressa.demo.videos import render_set
render_set(Path("videos"), clips_per_class=(2, 1), size=(32, 32), seed=0, actions=("jump", "bow"))
"""
SMALL = "--size 48 --frames 4 --workers 0 --cache cache"
COMMANDS = (
    f"compress videos -o set.safetensors --vpc 1 --keyframes 2 --set labeler.steps=2 --codec tiny {SMALL}",
    "inspect set.safetensors --html page.html --data videos",
    f"train set.safetensors --data videos --steps 2 --seeds 1 {SMALL}",
)


def build(folder: Path, *, borrow: bool) -> Path:
    """Write the source archive, and the wheel that it gives; return the wheel."""
    own = ["--no-isolation"] if borrow else []
    subprocess.run([sys.executable, "-m", "build", *own, "--outdir", str(folder), str(ROOT)], check=True)
    return max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime)


def use(wheel: Path, folder: Path, *, borrow: bool) -> None:
    """Install the wheel in a clean environment in `folder`, and run the commands there."""
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run([*pip, "--no-deps"] if borrow else pip, check=True)
    if borrow:
        (site,) = (folder / "env" / "lib").glob("python*/site-packages")
        (site / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "-c", RENDER], cwd=folder, env=alone, check=True)
    for command in COMMANDS:
        line = [str(folder / "env" / "bin" / "videocompressa"), *command.split()]
        subprocess.run(line, cwd=folder, env=alone, check=True)
    where = "import videocompressa; print(videocompressa.__file__)"
    found = subprocess.run([python, "-c", where], cwd=folder, env=alone, check=True, capture_output=True, text=True)
    assert Path(found.stdout).is_relative_to(folder), found.stdout
    assert (folder / "page.html").stat().st_size


def main() -> None:
    """Build, install, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the source archive and the wheel are written")
    parser.add_argument("--borrow", action="store_true", help="take dependencies from this environment")
    arguments = parser.parse_args()
    wheel = build(arguments.folder, borrow=arguments.borrow)
    with tempfile.TemporaryDirectory() as folder:
        use(wheel.resolve(), Path(folder).resolve(), borrow=arguments.borrow)
    print(f"{wheel} works")


if __name__ == "__main__":
    main()
