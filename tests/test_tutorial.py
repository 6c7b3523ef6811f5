"""Every command of docs/tutorial.md, on small avi files and a tiny backbone."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import av
import pytest
import torch
from cli_runs import Runner, draw_clip
from test_backbones import write_backbone

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BACKBONE = "hf:MCG-NJU/videomae-base"


def write_avi(path: Path, frames: torch.Tensor) -> None:
    """Write (T,3,H,W) uint8 as avi, which `write_video` does not write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = frames.shape[3], frames.shape[2], "yuv420p"
        for frame in frames.permute(0, 2, 3, 1).numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.slow
def test_the_tutorial_runs_as_written(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split, count in (("train", 4), ("test", 2)):
        for number in range(count):
            for bright, name in enumerate(("dark", "light")):
                clip = draw_clip(10 * number + bright + 100 * (split == "test"), bright=bool(bright), num_frames=20)
                write_avi(Path("videos", split, name, f"{number}.avi"), clip)
    write_avi(Path("new_videos/a.avi"), draw_clip(77, bright=True, num_frames=20))
    place = write_backbone(tmp_path / "tiny", "videomae")
    blocks = re.findall(r"<!-- tutorial -->\n```bash\n(.*?)```", PAGE, re.DOTALL)
    commands = [shlex.split(line.replace(BACKBONE, f"hf:{place}")) for line in "".join(blocks).splitlines()]
    assert [command[1] for command in commands] == ["plan", "compress", "inspect", *["train"] * 3, "predict"]
    outputs = []
    for command in commands:
        ran = run(*command[1:])
        assert ran.code == 0, ran.err
        outputs.append(ran.out)
    assert all("100.0" in output for output in outputs[3:6])  # bright and dark: any features tell
    assert all(re.search("nearest class mean +100.0 %", output) for output in outputs[3:5])
    assert re.search(r"a\.avi\W+light", outputs[-1])
    (python,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(python, names)
    (answer,) = names["answers"].videos
    assert answer.classes[0][0] == "light"
