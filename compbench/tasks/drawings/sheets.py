"""The drawings that ship with the package: two sheets of the same things by two artists, and what each thing is called.

`README.md` beside this file says where they come from and under which licences.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import PIL.Image

__all__ = ["ARTISTS", "DRAWINGS", "Drawing", "PER_ROW", "PLURALS", "SIDE_PX", "TABLE", "box_of", "drawn", "path_of"]

SIDE_PX = 64
PER_ROW = 12
_FOLDER = Path(__file__).parent
TABLE = _FOLDER / "drawings.csv"
_FILES = {"Twemoji": "twemoji.png", "Noto": "noto.png"}
ARTISTS = tuple(_FILES)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A row of the sheets' table: a noun, its colour where the noun is drawn in several, and its code points."""

    noun: str
    plural: str
    colour: str  # "" for a noun that is drawn once
    code: str  # of Unicode, as the source packages name their files
    unicode_name: str


def _read() -> tuple[Drawing, ...]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(Drawing(**row) for row in csv.DictReader(file))


DRAWINGS = _read()
PLURALS = MappingProxyType({drawing.noun: drawing.plural for drawing in DRAWINGS})
_NUMBERS = {(drawing.noun, drawing.colour): number for number, drawing in enumerate(DRAWINGS)}


def path_of(artist: str) -> Path:
    """The sheet of an artist, a PNG file."""
    return _FOLDER / _FILES[artist]


def box_of(number: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a drawing on its sheet, in pixels."""
    row, column = divmod(number, PER_ROW)
    left, top = column * SIDE_PX, row * SIDE_PX
    return left, top, left + SIDE_PX, top + SIDE_PX


@cache
def drawn(artist: str, noun: str, colour: str, side_px: int) -> PIL.Image.Image:
    """A drawing, RGBA, resized to a square of `side_px`; treat it as read-only: it is kept."""
    sprite = _sheet(artist).crop(box_of(_NUMBERS[noun, colour]))
    # premultiplied alpha, so that the invisible colour of transparent pixels does not bleed into the edges
    return sprite.convert("RGBa").resize((side_px, side_px), PIL.Image.Resampling.BICUBIC).convert("RGBA")


@cache
def _sheet(artist: str) -> PIL.Image.Image:
    with PIL.Image.open(path_of(artist)) as sheet:
        return sheet.convert("RGBA")
