"""Canvases of one or two kinds of drawn things, and the captions that describe them.

The `emoji` task and the training set of its models both come from here. Some nouns, some pairs of nouns and some
adjectives of a noun are held out: no training canvas shows one, so that a test can ask for them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import PIL.Image

from compbench.tasks.drawings import sheets
from compbench.tasks.drawings.sheets import DRAWINGS, PLURALS
from compbench.tasks.places import PLACES, RELATIONS, any_caption, describe

__all__ = [
    "COLOURS_OF",
    "COUNTS",
    "HELD_OUT_NOUNS",
    "PLAIN_NOUNS",
    "SIDE_PX",
    "SIZES",
    "Thing",
    "are_held_apart",
    "crowded_canvas",
    "draw",
    "exchanged",
    "is_held_out",
    "training_canvas",
    "training_pair",
]

SIDE_PX = 128
SIZES = ("big", "small")
COUNTS = MappingProxyType({"two": 2, "three": 3})
COLOURS_OF = MappingProxyType(
    {
        noun: tuple(drawing.colour for drawing in DRAWINGS if drawing.noun == noun)
        for noun in dict.fromkeys(drawing.noun for drawing in DRAWINGS if drawing.colour)
    }
)
PLAIN_NOUNS = tuple(drawing.noun for drawing in DRAWINGS if not drawing.colour)
HELD_OUT_NOUNS = frozenset(
    ("avocado", "camel", "crab", "diamond", "key", "pear", "swan", "tent", "tractor", "tulip", "violin")
)
# colours are held out by name; sizes, counts and pairs of nouns by a sixth of all, chosen by a checksum
_HELD_OUT_COLOURS = frozenset(
    {
        ("green", "heart"),
        ("purple", "heart"),
        ("blue", "circle"),
        ("orange", "circle"),
        ("red", "square"),
        ("white", "square"),
        ("green", "book"),
    }
)
# the sides of a drawing, lowest and highest, in pixels
_SIDES_PX = {"": (44, 52), "big": (56, 62), "small": (24, 30), "two": (40, 46), "three": (34, 38)}
_APART_PX = {"two": (-27, 27), "three": (-42, 0, 42)}  # the centres of several, across the axis


@dataclass(frozen=True, slots=True)
class Thing:
    """A noun and what is said of it: a colour, a size, a count, or nothing."""

    noun: str
    adjective: str = ""

    def __str__(self) -> str:
        if self.adjective in COUNTS:
            return f"{self.adjective} {PLURALS[self.noun]}"
        words = f"{self.adjective} {self.noun}".lstrip()
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def is_held_out(thing: Thing) -> bool:
    """Whether no training canvas shows this noun, or this adjective with it."""
    if thing.adjective in (*SIZES, *COUNTS):
        return thing.noun in HELD_OUT_NOUNS or _is_sixth(f"{thing.adjective} {thing.noun}")
    return thing.noun in HELD_OUT_NOUNS or (thing.adjective, thing.noun) in _HELD_OUT_COLOURS


def are_held_apart(noun: str, other: str) -> bool:
    """Whether no training canvas shows both nouns: one pair in six."""
    return _is_sixth(" and ".join(sorted((noun, other))))


def exchanged(first: Thing, second: Thing, tag: str) -> tuple[Thing, Thing]:
    """The two things after what `tag` names has changed places: the noun phrases, the adjectives, or the nouns alone.

    >>> pair = Thing("owl", "big"), Thing("bus", "small")
    >>> [" and ".join(map(str, exchanged(*pair, tag))) for tag in ("Object", "Relation", "Both")]
    ['a small bus and a big owl', 'a small owl and a big bus', 'a big bus and a small owl']
    """
    match tag:
        case "Object":
            return second, first
        case "Relation":
            return Thing(first.noun, second.adjective), Thing(second.noun, first.adjective)
        case "Both":
            return Thing(second.noun, first.adjective), Thing(first.noun, second.adjective)
        case other:
            raise ValueError(f"no tag named {other!r}; expected Object, Relation or Both")


def draw(first: Thing, relation: str, second: Thing, rng: np.random.Generator, artist: str) -> PIL.Image.Image:
    """A 128x128 RGB picture of `first` standing in `relation` to `second`; `rng` decides the same for every artist."""
    axis, first_comes_first = RELATIONS[relation]
    low, high = (first, second) if first_comes_first else (second, first)
    return _paint([(low, axis, 0), (high, axis, 1)], rng, artist)


def training_canvas(rng: np.random.Generator, *, single: float = 0.33) -> tuple[PIL.Image.Image, str]:
    """A picture by the first artist and its caption; a share `single` of them shows one kind of thing and says where.

    What is held out never occurs. Two phrasings of the captions of two things are mixed.
    """
    axis = ("horizontal", "vertical")[rng.integers(2)]
    artist = sheets.ARTISTS[0]
    if rng.random() < single:
        side = int(rng.integers(2))
        thing = _any_two(rng)[0]
        return _paint([(thing, axis, side)], rng, artist), f"{thing} {PLACES[axis][side]}"
    low, high = _any_two(rng)
    return _paint([(low, axis, 0), (high, axis, 1)], rng, artist), any_caption(axis, low, high, rng)


def training_pair(
    rng: np.random.Generator, *, single: float = 0.25
) -> tuple[tuple[PIL.Image.Image, str], tuple[PIL.Image.Image, str]]:
    """Two training canvases whose captions are made of the same words: hard negatives of each other.

    A share `single` of the pairs shows one kind of thing at opposite places. What is held out never occurs.
    """
    axis = ("horizontal", "vertical")[rng.integers(2)]
    artist = sheets.ARTISTS[0]
    if rng.random() < single:
        thing = _any_two(rng)[0]
        first, second = (
            (_paint([(thing, axis, side)], rng, artist), f"{thing} {PLACES[axis][side]}") for side in (0, 1)
        )
        return first, second
    things = _any_two(rng)
    changed = [exchanged(*things, tag) for tag in ("Object", "Relation", "Both")]
    others = [other for other in changed if other != things and _is_trainable(other)]
    relation = _one_of([name for name, (own, _) in RELATIONS.items() if own == axis], rng)
    other = others[int(rng.integers(len(others)))]
    first, second = (
        (draw(low, relation, high, rng, artist), describe(low, relation, high)) for low, high in (things, other)
    )
    return first, second


def crowded_canvas(rng: np.random.Generator) -> PIL.Image.Image:
    """A training picture for an autoencoder: as many things as there is room for, none of them held out."""
    n = int(rng.integers(2, 4))  # 2x2 or 3x3 things
    lowest, highest = {2: (44, 62), 3: (24, 46)}[n]
    canvas = _background(rng)
    for row in range(n):
        for column in range(n):
            phrase = _any_two(rng)[0]
            side_px = int(rng.integers(lowest, highest + 1))
            cell = np.array((column, row)) * 2 + 1
            middle = (SIDE_PX * cell // (2 * n) + rng.integers(-5, 6, 2)).tolist()
            _stamp(canvas, phrase, middle, side_px, sheets.ARTISTS[0])
    return canvas


def _is_trainable(things: tuple[Thing, Thing]) -> bool:
    """Whether both exist and training may show them."""
    return not any(
        is_held_out(phrase) or phrase.adjective not in COLOURS_OF.get(phrase.noun, ("", *SIZES, *COUNTS))
        for phrase in things
    )


def _any_two(rng: np.random.Generator) -> tuple[Thing, Thing]:
    """Two things that training may show together: of two nouns, and never of one colour, size or count."""
    kind = ("colour", "size", "count", "any", "any")[rng.integers(5)]
    while True:
        first, second = _candidates(kind, rng)
        is_alike = first.noun == second.noun or (first.adjective == second.adjective != "")
        if not (is_alike or is_held_out(first) or is_held_out(second) or are_held_apart(first.noun, second.noun)):
            return first, second


def _candidates(kind: str, rng: np.random.Generator) -> tuple[Thing, Thing]:
    match kind:
        case "colour":
            nouns = [_one_of(tuple(COLOURS_OF), rng) for _ in range(2)]
            first, second = (Thing(noun, _one_of(COLOURS_OF[noun], rng)) for noun in nouns)
        case "size" | "count":
            adjectives = rng.permutation(SIZES if kind == "size" else tuple(COUNTS)).tolist()
            first, second = (Thing(_one_of(PLAIN_NOUNS, rng), adjective) for adjective in adjectives)
        case _:
            drawings = [DRAWINGS[rng.integers(len(DRAWINGS))] for _ in range(2)]
            first, second = (Thing(drawing.noun, drawing.colour) for drawing in drawings)
    return first, second


def _one_of(names: Sequence[str], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]


def _paint(things: Sequence[tuple[Thing, str, int]], rng: np.random.Generator, artist: str) -> PIL.Image.Image:
    canvas = _background(rng)
    for phrase, axis, side in things:
        for centre, side_px in _places(phrase, axis, side, rng):
            _stamp(canvas, phrase, centre, side_px, artist)
    return canvas


def _background(rng: np.random.Generator) -> PIL.Image.Image:
    grey = int(rng.integers(125, 176))
    return PIL.Image.new("RGB", (SIDE_PX, SIDE_PX), (grey, grey, grey))


def _stamp(canvas: PIL.Image.Image, phrase: Thing, centre: Sequence[int], side_px: int, artist: str) -> None:
    """A drawing of the thing onto the canvas, moved inward where it would be cut off."""
    colour = "" if phrase.adjective in (*SIZES, *COUNTS) else phrase.adjective
    sprite = sheets.drawn(artist, phrase.noun, colour, side_px)
    left, top = (min(max(middle - side_px // 2, 0), SIDE_PX - side_px) for middle in centre)
    canvas.paste(sprite, (left, top), sprite)


def _places(thing: Thing, axis: str, side: int, rng: np.random.Generator) -> Iterator[tuple[tuple[int, int], int]]:
    """The centre and the side of each drawing: in the first or second half along the axis, spread out across it."""
    lowest, highest = _SIDES_PX.get(thing.adjective, _SIDES_PX[""])
    side_px = int(rng.integers(lowest, highest + 1))
    apart = _APART_PX.get(thing.adjective, (0,))
    spread = {1: 16, 2: 8, 3: 2}[len(apart)]  # keeps the outermost on the canvas
    middle = SIDE_PX // 2 + int(rng.integers(-spread, spread + 1))
    for offset in apart:
        along = (32, 96)[side] + int(rng.integers(-5, 6))
        yield ((along, middle + offset) if axis == "horizontal" else (middle + offset, along)), side_px


def _is_sixth(words: str) -> bool:
    return zlib.crc32(words.encode()) % 6 == 0
