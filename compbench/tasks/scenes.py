"""Drawn scenes of one or two coloured shapes, and the captions that describe them.

The `shapes` task and the training set of the tiny models both come from here. Some
colour-shape combinations are held out: a training scene never shows one, so that a test can
ask whether a model binds a colour to a shape that it has only ever seen apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from compbench.tasks.places import PLACES, RELATIONS, any_caption

__all__ = [
    "COLOURS",
    "HELD_OUT",
    "SHAPES",
    "SIZE_PX",
    "Shape",
    "draw",
    "draw_alone",
    "is_held_out",
    "training_scene",
]

SIZE_PX = 64
COLOURS = {
    "red": (214, 39, 40),
    "green": (44, 150, 44),
    "blue": (40, 80, 214),
    "yellow": (240, 215, 40),
    "purple": (140, 50, 170),
    "white": (248, 248, 248),
}
SHAPES = ("circle", "square", "triangle", "cross")
HELD_OUT = frozenset({("red", "triangle"), ("green", "cross"), ("blue", "circle"), ("yellow", "square")})
_SUPERSAMPLE = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """A coloured shape: names from COLOURS and SHAPES."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"a {self.colour} {self.shape}"


def is_held_out(shape: Shape) -> bool:
    """Whether the combination never occurs in a training scene."""
    return (shape.colour, shape.shape) in HELD_OUT


def draw(first: Shape, relation: str, second: Shape, rng: np.random.Generator) -> Image.Image:
    """A 64x64 RGB picture of `first` standing in `relation` to `second`; `rng` places and sizes them."""
    axis, first_comes_first = RELATIONS[relation]
    low, high = (first, second) if first_comes_first else (second, first)
    return _paint([(low, _centre(axis, 0, rng)), (high, _centre(axis, 1, rng))], rng)


def draw_alone(shape: Shape, rng: np.random.Generator, place: str = "on the left") -> Image.Image:
    """A 64x64 picture of one object at a place: on the left, on the right, at the top or at the bottom."""
    axis, side = next((axis, names.index(place)) for axis, names in PLACES.items() if place in names)
    return _paint([(shape, _centre(axis, side, rng))], rng)


def training_scene(rng: np.random.Generator, *, single: float = 0.33) -> tuple[Image.Image, str]:
    """A picture and its caption for training; a share `single` of them shows one object and says where.

    Held-out combinations never occur. Two phrasings of the two-object captions are mixed.
    """
    axis = ("horizontal", "vertical")[rng.integers(2)]
    if rng.random() < single:
        side = int(rng.integers(2))
        shape = _any_shape(rng)
        return _paint([(shape, _centre(axis, side, rng))], rng), f"{shape} {PLACES[axis][side]}"
    low = _any_shape(rng)
    high = _any_shape(rng, unlike=low)
    image = _paint([(low, _centre(axis, 0, rng)), (high, _centre(axis, 1, rng))], rng)
    return image, any_caption(axis, low, high, rng)


def _any_shape(rng: np.random.Generator, unlike: Shape | None = None) -> Shape:
    while True:
        shape = Shape(list(COLOURS)[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))])
        clash = unlike is not None and (shape.colour == unlike.colour or shape.shape == unlike.shape)
        if not is_held_out(shape) and not clash:
            return shape


def _centre(axis: str, side: int, rng: np.random.Generator) -> tuple[float, float]:
    """A centre in pixels: the first or second half along the axis, near the middle across it."""
    along = (16.0, 48.0)[side] + rng.uniform(-3, 3)
    across = 32.0 + rng.uniform(-8, 8)
    return (along, across) if axis == "horizontal" else (across, along)


def _paint(objects: Sequence[tuple[Shape, tuple[float, float]]], rng: np.random.Generator) -> Image.Image:
    grey = int(rng.integers(70, 131))
    canvas = Image.new("RGB", (SIZE_PX * _SUPERSAMPLE, SIZE_PX * _SUPERSAMPLE), (grey, grey, grey))
    pen = ImageDraw.Draw(canvas)
    for shape, (x, y) in objects:
        radius = rng.uniform(8.5, 11.5) * _SUPERSAMPLE
        _stamp(pen, shape, x * _SUPERSAMPLE, y * _SUPERSAMPLE, radius)
    return canvas.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX)


def _stamp(pen: ImageDraw.ImageDraw, shape: Shape, x: float, y: float, radius: float) -> None:
    fill = COLOURS[shape.colour]
    match shape.shape:
        case "circle":
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill)
        case "square":
            side = 0.88 * radius
            pen.rectangle((x - side, y - side, x + side, y + side), fill)
        case "triangle":
            pen.polygon([(x, y - radius), (x - radius, y + 0.8 * radius), (x + radius, y + 0.8 * radius)], fill)
        case "cross":
            bar = 0.36 * radius
            pen.rectangle((x - bar, y - radius, x + bar, y + radius), fill)
            pen.rectangle((x - radius, y - bar, x + radius, y + bar), fill)
        case other:
            raise ValueError(f"no shape named {other!r}; expected one of {SHAPES}")
