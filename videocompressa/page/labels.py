"""What a page says of labels: those that are stored, and those that the set's labeler gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videocompressa.page.media import QUALITIES, Film, Store, film, inside
from videocompressa.recipes.sets import as_uint8
from videocompressa.rng import Streams
from videocompressa.synthetic import SyntheticSet, items_of
from videocompressa.views import random_views

NUM_VIEWS = 4
"""Views of a clip that its labeler labels."""
MOST_BARS = 3
_BATCH = 32
"""Clips that are decoded and labeled together; they are also each other's scenes."""


@dataclass(frozen=True)
class Bars:
    """The most likely classes by one source of labels."""

    title: str
    shares: tuple[tuple[str, float], ...]
    """Names with their probabilities in [0,1], the greatest first."""


@dataclass(frozen=True)
class View:
    """One view as students see it, with the labels that it is given."""

    film: Film
    bars: Bars


def stored_bars(synthetic: SyntheticSet, rows: Sequence[int]) -> list[list[Bars]]:
    """Return the bars of items: of soft labels, and of the labeler's mean over unmixed views; none of hard labels."""
    bars: list[list[Bars]] = [[] for _ in rows]
    if synthetic.labels.ndim == 2:
        for item, row in zip(bars, rows, strict=True):
            item.append(_bars("Stored label", synthetic.labels[row], synthetic.classes))
    if synthetic.labeler is not None and synthetic.labeler.is_complete:
        title = f"Labeler, mean of {NUM_VIEWS} views"
        for item, mean in zip(bars, _mean_labels(synthetic, rows), strict=True):
            item.append(_bars(title, mean, synthetic.classes))
    return bars


def labeled_views(synthetic: SyntheticSet, store: Store = inside, count: int = 6) -> list[View]:
    """Return views, mixed as in training, of items evenly over the set; none without a (complete) labeler."""
    if (labeler := synthetic.labeler) is None or not labeler.is_complete:
        return []
    rows = {round(row) for row in torch.linspace(0, len(synthetic) - 1, count).tolist()}
    clips = items_of(synthetic, sorted(rows)).clips()
    views, _ = random_views(clips, labeler.spec.views, Streams(0, "page").generator("gallery"))
    return [
        View(film(as_uint8(view), QUALITIES[0], store), _bars("Label of this view", label, synthetic.classes))
        for view, label in zip(views, labeler(views), strict=True)
    ]


def _mean_labels(synthetic: SyntheticSet, rows: Sequence[int]) -> Iterator[Tensor]:
    assert synthetic.labeler is not None
    views, draws = replace(synthetic.labeler.spec.views, mix=0.0), Streams(0, "page").generator("views")
    for start in range(0, len(rows), _BATCH):
        clips = items_of(synthetic, list(rows[start : start + _BATCH])).clips()
        labels = [synthetic.labeler(random_views(clips, views, draws)[0]) for _ in range(NUM_VIEWS)]
        yield from torch.stack(labels).mean(0)


def _bars(title: str, label: Tensor, classes: Sequence[str]) -> Bars:
    shares, places = label.topk(min(MOST_BARS, len(classes)))
    return Bars(
        title, tuple((classes[place], share) for place, share in zip(places.tolist(), shares.tolist(), strict=True))
    )
