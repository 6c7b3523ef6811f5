"""Noise clips, a control: nothing of the videos is in them, and the labeler is that of every other set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from method_runs import FRAMES, SIDE, SMALL_METHODS, compress, dark_and_bright, noise

from videocompressa.methods import METHODS
from videocompressa.methods import noise as module
from videocompressa.recipes.budgets import labeler_bytes
from videocompressa.recipes.compress import labeled_by
from videocompressa.recipes.options import BudgetOptions, CandidateOptions, CompressOptions, NumBytes
from videocompressa.run import Stages
from videocompressa.students.labelers import LabelerConfig

LABELER = LabelerConfig(dataclasses.replace(LabelerConfig().spec, network="framenet2d"), steps=1)


def test_noise_holds_nothing_of_the_videos() -> None:
    data = dark_and_bright()
    synthetic = compress(data, METHODS["noise"])
    others = dataclasses.replace(data, frames=noise(tuple(data.frames.shape), 9), latents=data.latents.flip(0))
    assert torch.equal(compress(others, METHODS["noise"]).latents, synthetic.latents)
    assert not torch.equal(compress(data, METHODS["noise"], seed=1).latents, synthetic.latents)
    assert synthetic.provenance.method == "noise"
    assert torch.bincount(synthetic.labels).tolist() == [2, 2]


def test_noise_is_a_grid_of_uniform_colors_for_every_keyframe() -> None:
    clips = compress(dark_and_bright(), METHODS["noise"], keyframes=FRAMES).clips()
    cells = clips.view(-1, 3, module.GRID, SIDE // module.GRID, module.GRID, SIDE // module.GRID).mean((3, 5))
    assert 0 <= clips.min() < 0.1
    assert 0.9 < clips.max() <= 1
    assert cells.std() > 0.15
    assert (clips[:, 1:] - clips[:, :-1]).abs().mean() > 0.1  # a new one for each keyframe
    assert (clips[..., 1:] - clips[..., :-1]).abs().mean() < 0.1  # smooth within it


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_carries_the_labeler_of_the_seed(name: str, tmp_path: Path) -> None:
    """Whatever K it keeps and however it stores it: the labeler is one stage of the run."""
    data, stages = dark_and_bright(), Stages(tmp_path)
    sets = [
        compress(data, dataclasses.replace(SMALL_METHODS[each], labels="views", labeler=LABELER), stages=stages,
                 keyframes=keyframes, allow_fewer=True, file_bytes=10**6)
        for each, keyframes in (("random-real", 2), (name, 3))
    ]  # fmt: skip
    first, second = (synthetic.labeler.weights for synthetic in sets)
    assert all(torch.equal(first[weight], second[weight]) for weight in first)
    assert len([*tmp_path.glob("labeler-*")]) == 1
    assert not [*tmp_path.glob("teacher-*")]


CLASSES = ("a", "b", "c")


def test_a_width_that_was_set_is_not_narrowed_for_a_small_file() -> None:
    config = dataclasses.replace(METHODS["random-real"], labels="views")
    small = BudgetOptions(bytes=NumBytes(labeler_bytes(config.labeler.spec, 3)))
    options = CompressOptions("random-real", settings=("labels=views", "labeler.spec.width=1.0"))
    assert labeled_by(config, options, CandidateOptions(), small, CLASSES) == (config, ())
    narrower, _ = labeled_by(
        config, dataclasses.replace(options, settings=("labels=views",)), CandidateOptions(), small, CLASSES
    )
    assert narrower.labeler.spec.width < 1
