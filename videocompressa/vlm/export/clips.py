"""Clips of a set, or random views of them with the labels of its labeler, for trainers of video classifiers.

1. Rounds. Each shows every clip once, in a new random order, from a random stream of its own: the first rounds of an
   export are those of a shorter one, and a reader of the shards meets all classes early.
2. Views. Batches of a round are changed as the labeler's `Views` say, and rounded to the 8 bits of a video.
3. Labels. The labeler says the class probabilities of each rounded view (function matching, see `labeler`). Without
   views, a clip has its stored label; a hard one as probabilities 0 and 1, so that one loss fits all.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from videocompressa.errors import BadVideo
from videocompressa.recipes.sets import DEFAULT_FPS, as_uint8
from videocompressa.rng import Streams
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import SyntheticSet
from videocompressa.views import random_views
from videocompressa.vlm.export.items import Item

CLIPS_A_BATCH = 16
"""Clips that are mixed with, or shown before the scene of, one another: those of a step of `TrainConfig`."""
DIGITS = 6
"""Decimals of a probability: more than 8-bit pixels can change."""


@dataclass(eq=False)
class ClipStream:
    """The clips of a set, or views of them, one by one; memory grows with the set and not with the views."""

    synthetic: SyntheticSet
    """With its decoder, and a labeler where there are views."""
    views: int
    """Views of each clip; 0 for the clips as they are."""
    streams: Streams
    watch: Watch = watch_nothing
    num_rows: int = 0
    """Samples so far."""
    skipped: tuple[BadVideo, ...] = ()
    """None: the clips are in the set."""

    def __iter__(self) -> Iterator[Item]:
        clips, rounds = self.synthetic.clips(), max(1, self.views)
        num_batches = -(-len(clips) // CLIPS_A_BATCH)
        for number in range(rounds):
            draws = self.streams.generator(f"round {number}")
            for rows in torch.randperm(len(clips), generator=draws).tensor_split(num_batches):
                frames, labels = self._labeled(clips[rows], rows, draws)
                for row, pictures, probabilities in zip(rows.tolist(), frames, labels.tolist(), strict=True):
                    stem = f"{row:05d}-{number:05d}" if self.views else f"{row:05d}"
                    self.num_rows += 1
                    yield Item(stem, pictures, (self._facts(row, probabilities),))
                    self.watch("export", done=self.num_rows, total=rounds * len(clips))

    def _labeled(self, clips: Tensor, rows: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what is shown of clips (B,T,3,H,W), uint8, and its probabilities (B,L)."""
        labeler, stored = self.synthetic.labeler, self.synthetic.labels[rows]
        if self.views and labeler is not None:
            frames = as_uint8(random_views(clips, labeler.spec.views, draws)[0])
            return frames, labeler(frames.float() / 255)
        soft = stored if stored.ndim == 2 else functional.one_hot(stored, len(self.synthetic.classes)).float()
        return as_uint8(clips), soft

    def _facts(self, row: int, probabilities: list[float]) -> dict[str, Any]:
        synthetic, rounded = self.synthetic, [round(share, DIGITS) for share in probabilities]
        label = rounded.index(max(rounded))
        return {
            "label": label,
            "class": synthetic.classes[label],
            "probabilities": rounded,
            "video": synthetic.provenance.video_ids[row],
            "positions": synthetic.positions[row].tolist(),
            "times_seconds": synthetic.times_seconds[row].tolist(),
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What is recorded about the clips and the views."""
        synthetic = self.synthetic
        labeler = synthetic.labeler if self.views else None
        return {
            "num_clips": len(synthetic),
            "views": self.views,
            "view_settings": None if labeler is None else dataclasses.asdict(labeler.spec.views),
            "num_frames": synthetic.clip.num_frames,
            "height": synthetic.clip.height,
            "width": synthetic.clip.width,
            "frames_per_second": DEFAULT_FPS,
            "mean": list(synthetic.normalization.mean),
            "std": list(synthetic.normalization.std),
        }


def readme(facts: Mapping[str, Any]) -> str:
    """Return the page that explains the folder to someone who has only the folder."""
    shown, labels = f"The {facts['num_clips']} clips", "the classes of the videos, as probabilities 0 and 1"
    if facts["soft"]:
        labels = "probabilities that a teacher, trained on all videos, gave to each clip"
    if facts["views"]:
        shown = f"{facts['views']} random views of each of the {facts['num_clips']} clips"
        labels = "probabilities that the set's labeler, a network distilled from teachers, gave to each view"
        labels += "\n  itself, which may show scenes or parts of other clips.\n  Views: "
        labels += ", ".join(f"{name} {value:g}" for name, value in facts["view_settings"].items())
        labels += f", seed {facts['seed']}"
    classes = "\n".join(f"{number}. {name}" for number, name in enumerate(facts["classes"]))
    return f"""# Labeled clips of {facts["source"]}

{shown} of a set that videocompressa compressed
from {facts["num_source_videos"]} videos with method `{facts["method"]}`: WebDataset shards, `shard-NNNNNN.tar`.

- **Sample**: `KEY.mp4`, `KEY.cls` (number of the most likely class) and `KEY.json`: `label` (the same number), `class`,
  `probabilities` (one for each class, in the order below), `video` (that the clip started from), and `positions` and
  `times_seconds` of its keyframes, among the frames of the clip and in that video. KEY begins with the clip's number.
- **Clips**: {facts["num_frames"]} frames of {facts["height"]}x{facts["width"]} pixels; take all of them. They span the
  video, so {facts["frames_per_second"]:g} frames a second is only what the file says. H.264 with full color (4:4:4):
  FFmpeg decodes it (PyAV, torchcodec, decord), some hardware does not.
- **Labels**: {labels}.
  What you change in a clip beyond this is not in its label.
- **Normalization** of pixels in [0,1], from the training videos: mean {facts["mean"]},
  standard deviation {facts["std"]} (red, green, blue).
- `classes.json`: classes in label order, size, frame rate and normalization, for programs.

The clips come from videos of {facts["source"]}: its license and terms hold for them.

```python
import io, json, av, torch, webdataset
from pathlib import Path

facts = json.loads(Path("classes.json").read_text())
mean, std = (torch.tensor(facts[name]).view(3, 1, 1) for name in ("mean", "std"))

def example(sample):
    frames = [frame.to_ndarray(format="rgb24") for frame in av.open(io.BytesIO(sample["mp4"])).decode(video=0)]
    clip = torch.stack([torch.from_numpy(frame) for frame in frames]).permute(0, 3, 1, 2) / 255
    return (clip - mean) / std, torch.tensor(json.loads(sample["json"])["probabilities"])

shards = sorted(map(str, Path().glob("shard-*.tar")))
samples = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(1000).map(example)
for clips, labels in torch.utils.data.DataLoader(samples, batch_size=16):  # (B,T,3,H,W) and (B,classes)
    loss = torch.nn.functional.cross_entropy(model(clips), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
```

Classes, by number:

{classes}
"""
