"""What a person looks at: the contact sheet of a synthetic set, and the table of results.

The sheet shows each item in a row: class and label, the video it started from, where its keyframes stand among the T
candidates, and the decoded keyframes with position and time. The table has two forms, one for the terminal and one in
Markdown, made from the same columns.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table
from torch import Tensor

from videocompressa.bench.tables import bytes_text as bytes_text
from videocompressa.bench.tables import mean_text
from videocompressa.errors import InputError
from videocompressa.synthetic import Decoder, SyntheticSet

Color = tuple[int, int, int]

PAPER: Color = (250, 249, 246)
INK: Color = (34, 36, 42)
PALE_INK: Color = (112, 114, 122)
RULE: Color = (222, 220, 214)

MARGIN = 20
TEXT_WIDTH = 250  # of the column that says what an item is
GAP = 6
CAPTION = 20  # height of the line under a keyframe
HEADER = 74
TILE_SIDE = 96  # shorter side of a shown keyframe, at least; small ones are enlarged by whole factors
LONGEST_SHEET = 12_000  # pixels; some viewers refuse more
WIDEST_SHEET = 1_800  # pixels, a screen; a single item with many keyframes may be wider


@dataclass(frozen=True)
class TableRow:
    """One line of a table of results: what was kept, what it costs, how well students trained on it do."""

    method: str
    top1_mean: float | None
    """In [0,1], over the runs that did not diverge; None when none is left."""
    top1_std: float | None
    """In [0,1]; None when there are fewer than two runs."""
    num_runs: int
    """Runs that did not diverge, >= 0."""
    num_diverged: int = 0
    videos_per_class: int | None = None
    """VPC; None for all videos."""
    keyframes: int | None = None
    """K; None for all candidate frames."""
    file_bytes: int | None = None
    """None when no file was made."""
    byte_ratio: float | None = None
    """File / training video files."""
    codec_bytes: int = 0
    """Weights needed to decode, shown in a column of their own when any row has some."""

    def __post_init__(self) -> None:
        for name in ("top1_mean", "top1_std"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"TableRow.{name} of {self.method!r} is {value}; accuracies lie in [0,1]")
        if (self.top1_mean is None) != (self.num_runs == 0):
            raise InputError(
                f"TableRow of {self.method!r} has top1_mean={self.top1_mean} over {self.num_runs} runs; "
                "give a mean exactly when a run did not diverge"
            )


Column = Callable[[TableRow], str]

COLUMNS: dict[str, Column] = {
    "method": lambda row: row.method,
    "VPC": lambda row: "all" if row.videos_per_class is None else str(row.videos_per_class),
    "keyframes": lambda row: "all" if row.keyframes is None else str(row.keyframes),
    "file": lambda row: bytes_text(row.file_bytes),
    "file + codec": lambda row: bytes_text(None if row.file_bytes is None else row.file_bytes + row.codec_bytes),
    "of all bytes": lambda row: "-" if row.byte_ratio is None else f"{100 * row.byte_ratio:.3g} %",
    "top-1 %": lambda row: mean_text(row.top1_mean, row.top1_std),
    "runs": lambda row: str(row.num_runs),
    "diverged": lambda row: str(row.num_diverged),
}
"""Columns of a table of results by heading."""


def _columns(rows: Sequence[TableRow]) -> dict[str, Column]:
    hidden = set() if any(row.codec_bytes for row in rows) else {"file + codec"}
    return {heading: column for heading, column in COLUMNS.items() if heading not in hidden}


def results_table(rows: Sequence[TableRow], title: str | None = None) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(title=title)
    columns = _columns(rows)
    for heading in columns:
        table.add_column(heading, justify="left" if heading == "method" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(column(row) for column in columns.values()))
    return table


def markdown_table(rows: Sequence[TableRow]) -> str:
    """Return the rows as a Markdown table, each line ending in a newline."""
    columns = _columns(rows)
    lines = [list(columns), ["---" if heading == "method" else "---:" for heading in columns]]
    lines += [[column(row).replace("|", "\\|") for column in columns.values()] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def contact_sheet(
    synthetic: SyntheticSet,
    decoder: Decoder | None = None,
    *,
    path: Path,
    columns: int | None = None,
    max_items: int = 60,
) -> None:
    """Write a PNG that shows what is inside a synthetic set.

    Parameters
    ----------
    synthetic:
        The set.
    decoder:
        Its codec; None takes the one that is attached to the set.
    path:
        A name that ends in .png; what lies there is replaced.
    columns:
        Items side by side, >= 1; None takes as many as fit `WIDEST_SHEET` pixels.
    max_items:
        Most items shown, >= 1, equally many of each class as far as they go. The sheet says how many are left out;
        it may be fewer still where frames are tall, for a sheet is never longer than `LONGEST_SHEET` pixels.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"cannot write a contact sheet to {path.name!r}; name it with .png")
    if (columns is not None and columns < 1) or max_items < 1:
        raise InputError(f"contact_sheet got columns={columns}, max_items={max_items}; both must be at least 1")
    tile = _tile_size(synthetic)
    if columns is None:
        fitting = (WIDEST_SHEET - 2 * MARGIN) // _item_width(synthetic, tile)
        columns = min(max(1, fitting), len(synthetic), max_items)
    row_height = tile[1] + CAPTION + 2 * GAP
    most_rows = max(1, (LONGEST_SHEET - HEADER - 2 * MARGIN) // row_height)
    shown = choose_items(synthetic.hard_labels, min(max_items, most_rows * columns))
    part = replace(
        synthetic,
        latents=synthetic.latents[shown],
        positions=synthetic.positions[shown],
        times_seconds=synthetic.times_seconds[shown],
        labels=synthetic.labels[shown],
        provenance=replace(
            synthetic.provenance, video_ids=tuple(synthetic.provenance.video_ids[int(item)] for item in shown)
        ),
        decoder=decoder or synthetic.decoder,
    )
    sheet = _draw_sheet(part, num_left_out=len(synthetic) - len(part), tile=tile, columns=columns)
    unfinished = path.with_name(f".unfinished-{path.name}")
    sheet.save(unfinished, format="PNG")
    unfinished.replace(path)


def choose_items(labels: Tensor, max_items: int) -> Tensor:
    """Return positions (M,) of at most `max_items` items, grouped by class, first items first.

    Every class gives its first item before any class gives its second, so that all are seen as far as they go.
    """
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels)
    rank = torch.cat([torch.arange(int(count)) for count in counts])
    kept = torch.argsort(rank, stable=True)[:max_items]
    return order[kept.sort().values]


def _tile_size(synthetic: SyntheticSet) -> tuple[int, int]:
    """Return (width, height) of a shown keyframe: whole multiples keep pixels what they are."""
    height, width = synthetic.clip.height, synthetic.clip.width
    factor = max(1, -(-TILE_SIDE // min(height, width)))
    if max(height, width) > 4 * TILE_SIDE:
        shrink = 4 * TILE_SIDE / max(height, width)
        return max(1, round(width * shrink)), max(1, round(height * shrink))
    return width * factor, height * factor


def _item_width(synthetic: SyntheticSet, tile: tuple[int, int]) -> int:
    return TEXT_WIDTH + synthetic.latents.shape[1] * (tile[0] + GAP) + 2 * GAP


def _draw_sheet(part: SyntheticSet, *, num_left_out: int, tile: tuple[int, int], columns: int) -> Image.Image:
    keyframes, item_width = part.latents.shape[1], _item_width(part, tile)
    row_height = tile[1] + CAPTION + 2 * GAP
    rows = -(-len(part) // columns)
    sheet = Image.new("RGB", (2 * MARGIN + columns * item_width, 2 * MARGIN + HEADER + rows * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_header(draw, part, num_left_out, sheet.width)
    pixels = part.keyframes()
    for item in range(len(part)):
        left = MARGIN + (item % columns) * item_width
        top = MARGIN + HEADER + (item // columns) * row_height
        draw.line([(left, top - GAP), (left + item_width - 3 * GAP, top - GAP)], fill=RULE)
        _draw_label(draw, part, item, (left, top), tile[1] + CAPTION)
        for k in range(keyframes):
            corner = (left + TEXT_WIDTH + k * (tile[0] + GAP), top)
            sheet.paste(_picture(pixels[item, k], tile), corner)
            seconds = float(part.times_seconds[item, k])
            caption = f"{int(part.positions[item, k])}  ·  {seconds:.2f} s"
            draw.text((corner[0] + tile[0] / 2, top + tile[1] + 3), caption, PALE_INK, _font(12), anchor="ma")
    return sheet


def _draw_header(draw: ImageDraw.ImageDraw, part: SyntheticSet, num_left_out: int, width: int) -> None:
    origin, space = part.provenance, width - 2 * MARGIN
    num_items, keyframes = len(part) + num_left_out, part.latents.shape[1]
    kept = f"{num_items} x {keyframes} = {num_items * keyframes} keyframes"
    title = f"{origin.source.name}: {origin.source.num_videos} videos in {kept}"
    facts = (
        f"method {origin.method}, seed {origin.seed}  ·  codec {part.codec.name}  ·  T {part.clip.num_frames}, "
        f"{part.clip.height}x{part.clip.width} px, fill {part.fill}"
    )
    shown = "under each keyframe: position in [0,T) and time in its video"
    if num_left_out:
        shown = f"{len(part)} of {num_items} items shown, {num_left_out} left out  ·  {shown}"
    draw.text((MARGIN, MARGIN - 4), _fit(title, _font(20), space), INK, _font(20))
    draw.text((MARGIN, MARGIN + 24), _fit(facts, _font(13), space), PALE_INK, _font(13))
    draw.text((MARGIN, MARGIN + 42), _fit(shown, _font(13), space), PALE_INK, _font(13))


def _draw_label(draw: ImageDraw.ImageDraw, part: SyntheticSet, item: int, corner: tuple[int, int], height: int) -> None:
    """Say what an item is: class, probability of a soft label, video, and where its keyframes stand."""
    left, top = corner
    label = int(part.hard_labels[item])
    color = class_color(label, len(part.classes))
    space = TEXT_WIDTH - 26
    draw.rectangle([left, top, left + 5, top + height - 4], fill=color)
    draw.text((left + 14, top), _fit(part.classes[label], _font(18), space), INK, _font(18))
    line = top + 24
    if part.labels.ndim == 2:
        ranked = part.labels[item].sort(descending=True)
        texts = [f"{part.classes[int(k)]} {100 * float(p):.0f} %" for p, k in zip(*ranked, strict=True)][:2]
        draw.text((left + 14, line), _fit(", ".join(texts), _font(13), space), PALE_INK, _font(13))
        line += 18
    draw.text((left + 14, line), _fit(part.provenance.video_ids[item], _font(12), space), PALE_INK, _font(12))
    _draw_timeline(draw, part, item, (left + 14, line + 22), space, color)


def _draw_timeline(
    draw: ImageDraw.ImageDraw, part: SyntheticSet, item: int, corner: tuple[int, int], space: int, color: Color
) -> None:
    """Draw the T candidates as cells and fill those that were kept."""
    kept = set(part.positions[item].tolist())
    step = min(14.0, space / part.clip.num_frames)
    for position in range(part.clip.num_frames):
        left = corner[0] + position * step
        box = (left, corner[1], left + max(1.0, step - 3), corner[1] + 10)
        draw.rectangle(box, fill=color if position in kept else RULE)


def class_color(label: int, num_classes: int) -> Color:
    """Return the color of a class: hues evenly apart, dark enough to stand on paper."""
    red, green, blue = colorsys.hls_to_rgb(label / max(1, num_classes), 0.45, 0.6)
    return round(255 * red), round(255 * green), round(255 * blue)


def _picture(pixels: Tensor, tile: tuple[int, int]) -> Image.Image:
    """Make a picture of (3,H,W) float pixels in [0,1]."""
    values = (pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy()
    picture = Image.fromarray(values)
    larger = tile[0] >= picture.width
    return picture.resize(tile, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Shorten a text in its middle until it fits, for both ends of a path tell something."""
    if font.getlength(text) <= width:
        return text
    keep = len(text)
    while keep > 2:
        keep -= 1
        shorter = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
        if font.getlength(shorter) <= width:
            return shorter
    return "…"
