"""Pushing a set file to the hub, with a card and a preview, and pulling it back.

The data set on the hub holds `set.safetensors`, `README.md` (the card), `contact_sheet.png`, and in `preview/` clips of
a few items a class as mp4, with a `metadata.csv`: the hub's viewer plays them. All are written by one commit.
"""

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videocompressa.artifact import copy_set, measure, set_bytes
from videocompressa.errors import InputError
from videocompressa.hub import ON_HUB, hub_client
from videocompressa.recipes.contact_sheet import MOST_ITEMS, choose_items, contact_sheet
from videocompressa.recipes.data_card import data_card, set_facts
from videocompressa.recipes.results import TrainResults, read_results
from videocompressa.recipes.sets import decode_set, open_set
from videocompressa.run import Watch, watch_nothing
from videocompressa.synthetic import Cost, SyntheticSet, items_of
from videocompressa.texts import bytes_text, mean_text, percent_text

SET, CARD, SHEET, PREVIEW = "set.safetensors", "README.md", "contact_sheet.png", "preview"
CLIPS_A_CLASS = 3
"""Clips of the preview, fewer where that is more than a contact sheet shows (our choice)."""


@dataclass(frozen=True)
class Pushed:
    """What a push wrote."""

    name: str
    """USER/NAME."""
    commit: str
    """The commit, as its hash."""
    url: str
    """Page of the commit."""
    files: tuple[str, ...]
    private: bool


def push_set(
    path: Path | str,
    name: str,
    *,
    private: bool = False,
    revision: str | None = None,
    license_id: str | None = None,
    results: Path | str | None = None,
    codec: str | None = None,
    watch: Watch = watch_nothing,
) -> Pushed:
    """Write a set file, its card and a preview to the data set `name` (USER/NAME) on the hub, in one commit.

    The data set is made if there is none; `private` makes it a private one. `revision` is a branch, made if there is
    none. `license_id` is an identifier of the hub, such as cc-by-4.0; `results` is what `train --json` printed. `codec`
    is as for `open_set`. Raises `InputError`.
    """
    path, name = Path(path), name.removeprefix(ON_HUB)
    synthetic, address = open_set(path, codec), _address(name, revision)
    use = _how_to_use(address, synthetic)
    if results is not None:
        use += _accuracy(read_results(Path(results), synthetic.classes), address)
    holds = f"`{SET}` stands for {synthetic.provenance.source.num_videos} labeled videos when a video classifier is\n"
    holds += f"trained: a few keyframes of a few videos of each class, as latents.\n\n![keyframes]({SHEET})"
    card = data_card(
        set_facts(synthetic),
        holds=holds,
        contents=[
            ("Kept", _kept(measure(path))),
            ("Preview", f"a few clips in `{PREVIEW}`, as small as the set's own"),
        ],
        use=use,
        data_files=f"{PREVIEW}/**",
        license_id=license_id,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / SET).write_bytes(set_bytes(path))
        (folder / CARD).write_text(card, encoding="utf-8")
        contact_sheet(synthetic, folder / SHEET)
        write_preview(synthetic, folder / PREVIEW, watch)
        return _commit(folder, name, private, revision)


def pull_set(name: str, path: Path | str, *, revision: str | None = None, overwrite: bool = False) -> Cost:
    """Write the set file of the data set `name` (USER/NAME) on the hub to `path`; raises `InputError`."""
    return copy_set(Path(_address(name.removeprefix(ON_HUB), revision)), Path(path), overwrite=overwrite)


def _address(name: str, revision: str | None) -> str:
    return f"{ON_HUB}{name}" + ("" if revision is None else f"@{revision}")


def write_preview(synthetic: SyntheticSet, folder: Path, watch: Watch = watch_nothing) -> None:
    """Write clips of a set (with its decoder) as mp4, and `metadata.csv` with the class of each."""
    most = min(CLIPS_A_CLASS * len(synthetic.classes), MOST_ITEMS)
    chosen = items_of(synthetic, choose_items(synthetic.hard_labels, most).tolist())
    decode_set(chosen, folder, watch=watch)
    clips = sorted(folder.rglob("*.mp4"), key=lambda path: path.name)  # Names begin with the place of the item.
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["file_name", "label"])
        for path, label in zip(clips, chosen.hard_labels.tolist(), strict=True):
            lines.writerow([path.relative_to(folder).as_posix(), synthetic.classes[label]])


def _commit(folder: Path, name: str, private: bool, revision: str | None) -> Pushed:
    """Commit all files of a folder, and remove the clips of an earlier preview."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with hub_client(name) as api:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        api.create_repo(name, repo_type="dataset", private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(name, repo_type="dataset", branch=revision, exist_ok=True)
        info = api.dataset_info(name, revision=revision)
        there = [file.rfilename for file in info.siblings or ()]
        _check_repository(name, there, is_private=info.private, private=private)
        operations: list[Any] = [CommitOperationAdd(file, folder / file) for file in files]
        old = [file for file in there if file.startswith(f"{PREVIEW}/") and file not in files]
        operations += [CommitOperationDelete(file) for file in old]
        message = f"Push {SET} by videocompressa"
        done = api.create_commit(name, operations, commit_message=message, repo_type="dataset", revision=revision)
    return Pushed(name, done.oid, done.commit_url, tuple(files), bool(info.private))


def _check_repository(name: str, files: list[str], *, is_private: bool, private: bool) -> None:
    if private and not is_private:
        raise InputError(
            f"--private: {name} exists and is public; make it private in its settings, or give another name"
        )
    if others := [file for file in files if file.endswith(".safetensors") and file != SET]:
        raise InputError(f"{name}: holds {others[0]}, so {ON_HUB}{name} would not name one set; give another name")


def _kept(cost: Cost) -> str:
    frames = f"{cost.num_frames} frames of {cost.num_videos} videos, {percent_text(cost.frame_ratio)} of all frames"
    return f"{frames}; {bytes_text(cost.file_bytes)}, {percent_text(cost.byte_ratio)} of the bytes"


def _how_to_use(address: str, synthetic: SyntheticSet) -> str:
    views, shown = ("", "clips") if synthetic.labeler is None else ("views=True", "random views")
    return f"""```python
import videocompressa as vc

dataset = vc.load("{address}").as_dataset({views})
clip, label = dataset[0]  # {shown} (T,3,H,W) float32 in [0,1], and their labels
```

```bash
videocompressa train {address} --data DATA  # students of the set, tested on the videos in the folder DATA
```"""


def _accuracy(results: TrainResults, address: str) -> str:
    """Return what `train --json` printed as a section of the card."""
    return f"""

## Accuracy

Top-1 {mean_text(results.top1_mean, results.top1_std)} % ({results.tested}), by:

```bash
videocompressa train {address} --data DATA {results.options_text}
```"""
