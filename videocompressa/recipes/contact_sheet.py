"""The contact sheet of a synthetic set: one picture of its items, with labels, videos, positions and keyframes."""

import colorsys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from videocompressa.clip import ClipSpec
from videocompressa.errors import InputError
from videocompressa.files import atomic_path
from videocompressa.synthetic import SyntheticSet, items_of

Color = tuple[int, int, int]

PAPER: Color = (250, 249, 246)
INK: Color = (34, 36, 42)
PALE_INK: Color = (112, 114, 122)
RULE: Color = (222, 220, 214)

MARGIN, GAP, HEADER = 20, 6, 74
TEXT_WIDTH = 250
"""Pixels of the column with the text of an item."""
CAPTION = 20
"""Pixels of the line under a keyframe."""
TILE_SIDE = 96
"""Pixels of the shorter side of a keyframe, at least; small ones are enlarged by an integer."""
LONGEST_SHEET = 12_000
"""Pixels; some viewers refuse more."""
MOST_ITEMS = 60
WIDEST_SHEET = 1_800
"""Pixels, a screen; a single item with many keyframes may be wider."""


def contact_sheet(synthetic: SyntheticSet, path: Path) -> None:
    """Write a PNG that shows what is inside a synthetic set with its decoder.

    `path` ends in .png and is replaced if it exists. At most `MOST_ITEMS` items are shown, equally many of each class
    as far as they go, and fewer where frames are tall; the sheet states how many are left out. Raises `InputError` for
    other endings, and without a decoder.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"cannot write a contact sheet to {path.name!r}; name it with .png")
    tile = _tile_size(synthetic.clip)
    width = TEXT_WIDTH + synthetic.positions.shape[1] * (tile[0] + GAP) + 2 * GAP
    height = tile[1] + CAPTION + 2 * GAP
    columns = min(max(1, (WIDEST_SHEET - 2 * MARGIN) // width), len(synthetic), MOST_ITEMS)
    most_rows = max(1, (LONGEST_SHEET - HEADER - 2 * MARGIN) // height)
    part = items_of(synthetic, choose_items(synthetic.hard_labels, min(MOST_ITEMS, most_rows * columns)).tolist())
    rows = -(-len(part) // columns)
    sheet = Image.new("RGB", (2 * MARGIN + columns * width, 2 * MARGIN + HEADER + rows * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_header(draw, part, len(synthetic), sheet.width - 2 * MARGIN)
    for item, keyframes in enumerate(part.keyframes()):
        left, top = MARGIN + (item % columns) * width, MARGIN + HEADER + (item // columns) * height
        draw.line([(left, top - GAP), (left + width - 3 * GAP, top - GAP)], fill=RULE)
        _draw_label(draw, part, item, (left, top), tile[1] + CAPTION)
        for k, keyframe in enumerate(keyframes):
            x = left + TEXT_WIDTH + k * (tile[0] + GAP)
            sheet.paste(_picture(keyframe, tile), (x, top))
            caption = f"{int(part.positions[item, k])}  ·  {float(part.times_seconds[item, k]):.2f} s"
            font = ImageFont.load_default(12)
            draw.text((x + tile[0] / 2, top + tile[1] + 3), caption, PALE_INK, font, anchor="ma")
    with atomic_path(path) as unfinished:
        sheet.save(unfinished, format="PNG")


def choose_items(labels: Tensor, max_items: int) -> Tensor:
    """Return positions (M,) of at most `max_items` items, grouped by class, first items first.

    Every class gives its first item before any class gives its second, so that all are seen as far as they go.
    """
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels)
    rank = torch.cat([torch.arange(int(count)) for count in counts])
    kept = torch.argsort(rank, stable=True)[:max_items]
    return order[kept.sort().values]


def class_color(label: int, num_classes: int) -> Color:
    """Return the color of a class: hues evenly apart, dark enough to be seen on paper."""
    red, green, blue = colorsys.hls_to_rgb(label / max(1, num_classes), 0.45, 0.6)
    return round(255 * red), round(255 * green), round(255 * blue)


def _tile_size(clip: ClipSpec) -> tuple[int, int]:
    """Return (width, height) of a keyframe on the sheet: integer multiples keep pixels as they are."""
    shorter, longer = sorted((clip.height, clip.width))
    scale = 4 * TILE_SIDE / longer if longer > 4 * TILE_SIDE else max(1, -(-TILE_SIDE // shorter))
    return max(1, round(clip.width * scale)), max(1, round(clip.height * scale))


def _draw_header(draw: ImageDraw.ImageDraw, part: SyntheticSet, num_items: int, space: int) -> None:
    origin, clip, keyframes = part.provenance, part.clip, part.positions.shape[1]
    kept = f"{num_items} x {keyframes} = {num_items * keyframes} keyframes"
    method = f"method {origin.method}, seed {origin.seed}  ·  codec {part.codec.name}"
    left_out = num_items - len(part)
    omitted = f"{len(part)} of {num_items} items shown, {left_out} left out  ·  " if left_out else ""
    lines = (
        (-4, 20, INK, f"{origin.source.name}: {origin.source.num_videos} videos in {kept}"),
        (24, 13, PALE_INK, f"{method}  ·  T {clip.num_frames}, {clip.height}x{clip.width} px, fill {part.fill}"),
        (42, 13, PALE_INK, f"{omitted}under each keyframe: position in [0,T) and time in its video"),
    )
    for down, size, color, text in lines:
        _write(draw, (MARGIN, MARGIN + down), text, size, color, space)


def _draw_label(draw: ImageDraw.ImageDraw, part: SyntheticSet, item: int, corner: tuple[int, int], height: int) -> None:
    """Draw class, probabilities of a soft label, video, and the T candidates as cells, filled where they were kept."""
    (left, top), space = corner, TEXT_WIDTH - 26
    label = int(part.hard_labels[item])
    color = class_color(label, len(part.classes))
    draw.rectangle([left, top, left + 5, top + height - 4], fill=color)
    left += 14
    _write(draw, (left, top), part.classes[label], 18, INK, space)
    top += 24
    if part.labels.ndim == 2:
        ranked = part.labels[item].sort(descending=True)
        texts = [f"{part.classes[int(k)]} {100 * float(p):.0f} %" for p, k in zip(*ranked, strict=True)][:2]
        _write(draw, (left, top), ", ".join(texts), 13, PALE_INK, space)
        top += 18
    _write(draw, (left, top), part.provenance.video_ids[item], 12, PALE_INK, space)
    kept = set(part.positions[item].tolist())
    step = min(14.0, space / part.clip.num_frames)
    for position in range(part.clip.num_frames):
        x = left + position * step
        box = (x, top + 22, x + max(1.0, step - 3), top + 32)
        draw.rectangle(box, fill=color if position in kept else RULE)


def _picture(pixels: Tensor, tile: tuple[int, int]) -> Image.Image:
    """Return (3,H,W) float pixels in [0,1] as a picture of (width, height) `tile`."""
    values = (pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).contiguous().numpy()
    picture = Image.fromarray(values)
    larger = tile[0] >= picture.width
    return picture.resize(tile, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)


def _write(
    draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int, color: Color, space: float
) -> None:
    """Write a text, shortened in its middle until it fits: both ends of a path are informative."""
    font, keep, shorter = ImageFont.load_default(size), len(text), text
    while font.getlength(shorter) > space and keep > 2:
        keep -= 1
        shorter = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2) :]}"
    draw.text(corner, shorter, color, font)
