"""The room behind the figure: wall, floor, and objects that mean nothing; and the person who stands in it.

A room is painted once a clip on a canvas a little larger than the picture, so that the camera can move over it.
Seats and balls stand about in clips of every action, or they would give some actions away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from PIL import Image, ImageDraw

from videocompressa.demo.figure import Body, Color

_Choice = TypeVar("_Choice")

SKINS: tuple[Color, ...] = (
    (255, 224, 196),
    (241, 194, 152),
    (224, 172, 125),
    (198, 134, 88),
    (141, 85, 50),
    (92, 56, 36),
)
HAIRS: tuple[Color, ...] = ((30, 24, 22), (72, 46, 28), (128, 82, 42), (196, 156, 84), (150, 60, 30), (150, 150, 150))
CLOTHES: tuple[Color, ...] = (
    (204, 44, 44),
    (36, 92, 196),
    (28, 140, 76),
    (236, 176, 32),
    (120, 52, 160),
    (240, 240, 236),
    (32, 34, 44),
    (232, 112, 36),
    (24, 150, 164),
    (216, 92, 148),
)
MIN_CONTRAST = 110  # least distance of clothes to the wall behind them, summed over the three channels


@dataclass(frozen=True)
class Dice:
    """Draws of one clip from one generator."""

    generator: torch.Generator

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform(0, 1) < probability

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def pick(self, choices: Sequence[_Choice]) -> _Choice:
        """Return one of the choices."""
        return choices[self.integer(0, len(choices) - 1)]

    def color(self, low: int, high: int) -> Color:
        """Return a color whose channels lie in [low, high]."""
        return self.integer(low, high), self.integer(low, high), self.integer(low, high)


def shade(color: Color, factor: float) -> Color:
    """Return the color made darker (below 1) or lighter (above 1)."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in color)
    return red, green, blue


def contrast(one: Color, other: Color) -> int:
    """Return the distance of two colors, summed over channels, in [0,765]."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def draw_body(dice: Dice, wall: Color) -> Body:
    """Draw a person whose clothes stand out from the wall and from each other."""
    tops = [color for color in CLOTHES if contrast(color, wall) > MIN_CONTRAST]
    shirt = dice.pick(tops)
    trousers = dice.pick([color for color in tops if contrast(color, shirt) > MIN_CONTRAST])
    legs = dice.uniform(0.93, 1.05)
    return Body(
        torso=0.29 * dice.uniform(0.93, 1.08),
        thigh=0.245 * legs,
        shin=0.24 * legs,
        upper_arm=0.165 * dice.uniform(0.93, 1.07),
        forearm=0.15 * dice.uniform(0.93, 1.07),
        head=0.078 * dice.uniform(0.9, 1.15),
        girth=dice.uniform(0.85, 1.3),
        skin=dice.pick(SKINS),
        hair=dice.pick(HAIRS),
        shirt=shirt,
        trousers=trousers,
        shoes=dice.color(20, 90),
        sleeves_long=dice.chance(0.5),
        hair_long=dice.chance(0.4),
    )


@dataclass(frozen=True)
class Room:
    """The painted canvas, and the color that the figure must stand out from."""

    canvas: Image.Image
    wall: Color


def paint_room(dice: Dice, size: tuple[int, int], horizon: int, ground: int) -> Room:
    """Paint a room of (height, width) pixels: the floor begins at `horizon`, the figure stands at `ground`."""
    height, width = size
    wall = dice.pick([dice.color(150, 235), dice.color(150, 235), dice.color(35, 110)])
    floor = dice.color(70, 190)
    canvas = Image.new("RGB", (width, height), wall)
    draw = ImageDraw.Draw(canvas)
    for top, bottom, color in ((0, horizon, wall), (horizon, height, floor)):
        first, last = dice.uniform(0.88, 1.06), dice.uniform(0.88, 1.06)
        for row in range(top, bottom):
            share = (row - top) / (bottom - top)
            draw.line([(0, row), (width, row)], fill=shade(color, first + (last - first) * share))
    dice.pick(WALLS)(draw, dice, (0, 0, width, horizon), wall)
    dice.pick(FLOORS)(draw, dice, (0, horizon, width, height), floor)
    draw.rectangle([0, horizon - 5, width, horizon], fill=shade(wall, dice.uniform(0.6, 0.8)))
    unit = ground / 10
    for _ in range(dice.integer(1, 4)):
        thing = dice.pick(THINGS)
        thing(draw, dice, (dice.uniform(0, width), float(horizon) + dice.uniform(2, 10)), unit)
    return Room(canvas, wall)


Box = tuple[int, int, int, int]
Pattern = Callable[[ImageDraw.ImageDraw, Dice, Box, Color], None]
Thing = Callable[[ImageDraw.ImageDraw, Dice, tuple[float, float], float], None]


def _plain(draw: ImageDraw.ImageDraw, dice: Dice, box: Box, color: Color) -> None:
    """Leave the gradient as it is."""


def _stripes(draw: ImageDraw.ImageDraw, dice: Dice, box: Box, color: Color) -> None:
    step = dice.integer(14, 40)
    other = shade(color, dice.uniform(0.84, 0.93))
    for left in range(box[0] - dice.integer(0, step), box[2], step):
        draw.rectangle([left, box[1], left + step // 2, box[3]], fill=other)


def _bricks(draw: ImageDraw.ImageDraw, dice: Dice, box: Box, color: Color) -> None:
    high, wide = dice.integer(10, 18), dice.integer(22, 44)
    joint = shade(color, dice.uniform(0.78, 0.9))
    for number, top in enumerate(range(box[1], box[3], high)):
        draw.line([(box[0], top), (box[2], top)], fill=joint, width=2)
        for left in range(box[0] - (wide // 2) * (number % 2), box[2], wide):
            draw.line([(left, top), (left, min(top + high, box[3]))], fill=joint, width=2)


def _spots(draw: ImageDraw.ImageDraw, dice: Dice, box: Box, color: Color) -> None:
    step, radius = dice.integer(20, 36), dice.integer(2, 5)
    other = shade(color, dice.uniform(0.8, 0.92))
    for number, y in enumerate(range(box[1], box[3], step)):
        for x in range(box[0] + (step // 2) * (number % 2), box[2], step):
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=other)


def _boards(draw: ImageDraw.ImageDraw, dice: Dice, box: Box, color: Color) -> None:
    joint = shade(color, dice.uniform(0.75, 0.9))
    middle, step = (box[0] + box[2]) / 2, dice.integer(22, 44)
    for x in range(-box[2], 2 * box[2], step):
        # Boards run toward a vanishing point above the horizon.
        draw.line([(x, box[1]), (middle + (x - middle) * 1.7, box[3])], fill=joint, width=2)


def _rug(draw: ImageDraw.ImageDraw, dice: Dice, box: Box, color: Color) -> None:
    middle, half = dice.uniform(0.3, 0.7) * box[2], dice.uniform(0.2, 0.4) * box[2]
    top, bottom = box[1] + (box[3] - box[1]) * 0.25, box[1] + (box[3] - box[1]) * 0.8
    rug = dice.color(70, 190)
    draw.ellipse([middle - half, top, middle + half, bottom], fill=rug)
    draw.ellipse([middle - half * 0.8, top + 4, middle + half * 0.8, bottom - 4], fill=shade(rug, 1.15))


def _window(draw: ImageDraw.ImageDraw, dice: Dice, at: tuple[float, float], unit: float) -> None:
    x, y, wide, high = at[0], at[1] - unit * dice.uniform(6.5, 8), unit * 1.5, unit * dice.uniform(1.8, 2.6)
    draw.rectangle([x - wide, y, x + wide, y + high], fill=(206, 226, 240), outline=(246, 246, 246), width=5)
    draw.line([(x, y), (x, y + high)], fill=(246, 246, 246), width=4)
    draw.line([(x - wide, y + high / 2), (x + wide, y + high / 2)], fill=(246, 246, 246), width=4)


def _picture(draw: ImageDraw.ImageDraw, dice: Dice, at: tuple[float, float], unit: float) -> None:
    x, y, half = at[0], at[1] - unit * dice.uniform(5, 7.5), unit * dice.uniform(0.5, 1)
    draw.rectangle([x - half, y, x + half, y + half * 1.5], fill=dice.color(40, 220), outline=(60, 44, 30), width=4)
    draw.ellipse([x - half * 0.5, y + half * 0.4, x + half * 0.5, y + half * 1.1], fill=dice.color(40, 220))


def _plant(draw: ImageDraw.ImageDraw, dice: Dice, at: tuple[float, float], unit: float) -> None:
    x, y, high = at[0], at[1], unit * dice.uniform(1.2, 2.6)
    leaf = (dice.integer(20, 70), dice.integer(100, 160), dice.integer(40, 80))
    for _ in range(7):
        tip = (x + dice.uniform(-0.9, 0.9) * unit, y - unit * 0.6 - high * dice.uniform(0.5, 1))
        draw.line([(x, y - unit * 0.6), tip], fill=leaf, width=6)
    draw.polygon(
        [(x - unit * 0.5, y - unit), (x + unit * 0.5, y - unit), (x + unit * 0.35, y), (x - unit * 0.35, y)],
        fill=(164, 92, 60),
    )


def _cupboard(draw: ImageDraw.ImageDraw, dice: Dice, at: tuple[float, float], unit: float) -> None:
    x, y, half, high = at[0], at[1], unit * dice.uniform(0.8, 1.5), unit * dice.uniform(2, 5)
    wood = dice.color(60, 150)
    draw.rectangle([x - half, y - high, x + half, y], fill=wood, outline=shade(wood, 0.7), width=3)
    draw.line([(x, y - high), (x, y)], fill=shade(wood, 0.7), width=3)


def _lamp(draw: ImageDraw.ImageDraw, dice: Dice, at: tuple[float, float], unit: float) -> None:
    x, y, high = at[0], at[1], unit * dice.uniform(4, 6)
    draw.line([(x, y), (x, y - high)], fill=(50, 50, 54), width=4)
    draw.polygon(
        [
            (x - unit * 0.7, y - high + unit),
            (x + unit * 0.7, y - high + unit),
            (x + unit * 0.4, y - high),
            (x - unit * 0.4, y - high),
        ],
        fill=(250, 232, 170),
    )


WALLS: tuple[Pattern, ...] = (_plain, _stripes, _bricks, _spots)
FLOORS: tuple[Pattern, ...] = (_plain, _boards, _bricks, _rug)
THINGS: tuple[Thing, ...] = (_window, _picture, _plant, _cupboard, _lamp)
