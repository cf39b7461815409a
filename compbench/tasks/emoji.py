"""The task `emoji`: Winoground's form, composed of openly licensed drawings of 111 everyday things by two artists.

Each example has two pictures and two captions made of the same words. Three tags say what changes places:

- Object: the noun phrases. "a dog to the left of a green apple" beside "a green apple to the left of a dog": only
  where things are tells the two apart.
- Relation: the adjectives. "a big owl above a small bus" beside "a small owl above a big bus": only which adjective
  belongs to which noun tells.
- Both: the nouns alone. "two cats below three stars" beside "two stars below three cats": either of the above tells.

`kind` is finer: Object examples are left/right or above/below, the others are about a colour, a size or a count. `axis`
is the direction of the relation. `artist` is who drew the things: every example is there twice, with the same captions
and the same places, by Twemoji and by Noto, which no training canvas of the task's models shows. `novelty` is "unseen
noun" where one of the two nouns is on no training canvas, "unseen pair" where a training canvas shows each word but
never the two nouns together or never one of the adjectives with its noun, and otherwise "seen".

Drawings: Twemoji, copyright Twitter, Inc. and other contributors, CC-BY 4.0; Noto Emoji, copyright Google LLC,
Apache-2.0. They are resized and composed on a grey canvas of 128x128 pixels.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from itertools import cycle, permutations
from pathlib import Path

import numpy as np
import PIL
import PIL.Image

from compbench.core.examples import Example, Image, Task
from compbench.core.metrics import MATCHING
from compbench.tasks import places
from compbench.tasks._reading.digests import with_digests
from compbench.tasks.drawings import canvases, sheets
from compbench.tasks.drawings.canvases import Thing

__all__ = ["emoji"]

TAG_ORDER = {
    "tag": ("Object", "Relation", "Both"),
    "kind": ("left/right", "above/below", "colour", "size", "count"),
    "axis": ("horizontal", "vertical"),
    "novelty": ("seen", "unseen pair", "unseen noun"),
    "artist": sheets.ARTISTS,
}
# kind -> how many pairs of captions are seen, hold an unseen pair, hold an unseen noun; 80 of each tag, 240 in all
_OBJECT_COUNTS = {"left/right": (24, 8, 8), "above/below": (24, 8, 8)}
_BINDING_COUNTS = {"colour": (18, 6, 4), "size": (16, 5, 5), "count": (16, 5, 5)}
_COUNTS = {"Object": _OBJECT_COUNTS, "Relation": _BINDING_COUNTS, "Both": _BINDING_COUNTS}
_AXES = {"left/right": ("horizontal",), "above/below": ("vertical",)}  # other kinds have both
_ADJECTIVES = {"size": canvases.SIZES, "count": tuple(canvases.COUNTS)}
_SEED = 0
# training canvases come from the streams 0 to 99 of their seed, so no test picture is one of them
_WHAT_STREAM, _WHERE_STREAM = 100, 101


@dataclass(frozen=True, slots=True)
class Canvas:
    """The canvas that one caption describes."""

    first: Thing
    relation: str
    second: Thing

    @property
    def caption(self) -> str:
        return places.describe(self.first, self.relation, self.second)

    @property
    def nouns(self) -> tuple[str, str]:
        return self.first.noun, self.second.noun

    def draw(self, artist: str, *seed: int) -> PIL.Image.Image:
        """A 128x128 RGB picture; the same numbers give the same places, whoever the artist is."""
        return canvases.draw(self.first, self.relation, self.second, np.random.default_rng(seed), artist)


@cache
def emoji() -> Task:
    """The 480 examples, made once; nothing is fetched, and pictures are composed when asked for."""
    pairs = list(enumerate(_pairs(np.random.default_rng([_SEED, _WHAT_STREAM]))))
    examples = [_example(number, *pair, artist) for artist in sheets.ARTISTS for number, pair in pairs]
    return Task(
        name="emoji",
        examples=with_digests(examples, _origin()),
        metrics=MATCHING,
        description=__doc__ or "",
        citation=_BIBTEX,
        tag_order=TAG_ORDER,
    )


def swapped(canvas: Canvas, tag: str) -> Canvas:
    """The same words in the other order: what `tag` means."""
    first, second = canvases.exchanged(canvas.first, canvas.second, tag)
    return replace(canvas, first=first, second=second)


def novelty_of(pair: tuple[Canvas, Canvas]) -> str:
    """Name that which training never shows of an example: a noun, two words together, or nothing ("seen")."""
    first, second = pair[0].nouns
    if {first, second} & canvases.HELD_OUT_NOUNS:
        return "unseen noun"
    things = [phrase for canvas in pair for phrase in (canvas.first, canvas.second)]
    is_new = canvases.are_held_apart(first, second) or any(map(canvases.is_held_out, things))
    return "unseen pair" if is_new else "seen"


def _pairs(rng: np.random.Generator) -> Iterator[tuple[str, str, Canvas, Canvas]]:
    """(tag, kind, canvas, swapped canvas) of every pair of captions; no two share their captions."""
    for tag, kinds in _COUNTS.items():
        for kind, counts in kinds.items():
            chosen: set[frozenset[str]] = set()
            wanted = dict(zip(TAG_ORDER["novelty"], counts, strict=True))
            relations = cycle(_relations(kind))  # take turns, so that each has its share of the examples
            relation = next(relations)
            while any(wanted.values()):
                canvas = _any_canvas(kind, relation, rng)
                pair = canvas, swapped(canvas, tag)
                captions, novelty = frozenset(canvas.caption for canvas in pair), novelty_of(pair)
                if wanted[novelty] and captions not in chosen and not canvases.HELD_OUT_NOUNS.issuperset(canvas.nouns):
                    chosen.add(captions)
                    wanted[novelty] -= 1
                    relation = next(relations)
                    yield tag, kind, *pair


def _relations(kind: str) -> list[str]:
    axes = _AXES.get(kind, TAG_ORDER["axis"])
    return [name for name, (axis, _) in places.RELATIONS.items() if axis in axes]


def _any_canvas(kind: str, relation: str, rng: np.random.Generator) -> Canvas:
    """Two things of different nouns; where the kind is an adjective's, each noun may have the other's."""
    if kind == "colour":
        first, second = _EXCHANGEABLE[rng.integers(len(_EXCHANGEABLE))]
        colours = _two_of(_shared_colours(first, second), rng)
        return Canvas(Thing(first, colours[0]), relation, Thing(second, colours[1]))
    if kind in _ADJECTIVES:
        nouns, adjectives = _two_of(canvases.PLAIN_NOUNS, rng), _two_of(_ADJECTIVES[kind], rng)
        return Canvas(Thing(nouns[0], adjectives[0]), relation, Thing(nouns[1], adjectives[1]))
    nouns = _two_of(tuple(sheets.PLURALS), rng)
    colours = [_any_colour(noun, rng) for noun in nouns]
    return Canvas(Thing(nouns[0], colours[0]), relation, Thing(nouns[1], colours[1]))


def _shared_colours(noun: str, other: str) -> tuple[str, ...]:
    return tuple(colour for colour in canvases.COLOURS_OF[noun] if colour in canvases.COLOURS_OF[other])


def _any_colour(noun: str, rng: np.random.Generator) -> str:
    """A colour of the noun that training shows, "" for a noun that has none: it is the nouns that Object asks for."""
    colours = canvases.COLOURS_OF.get(noun, ("",))
    seen = [colour for colour in colours if not canvases.is_held_out(Thing(noun, colour))] or colours
    return seen[rng.integers(len(seen))]


def _two_of(names: tuple[str, ...], rng: np.random.Generator) -> tuple[str, str]:
    first, second = rng.permutation(len(names))[:2].tolist()
    return names[first], names[second]


def _example(number: int, tag: str, kind: str, canvas: Canvas, other: Canvas, artist: str) -> Example:
    pair = (canvas, other)
    name = f"{tag.lower()}-{number:03d}-{artist.lower()}"
    images = tuple(
        Image(f"{name}-{side}.png", partial(shown.draw, artist, _SEED, _WHERE_STREAM, number, side))
        for side, shown in enumerate(pair)
    )
    axis, _ = places.RELATIONS[canvas.relation]
    tags = {"tag": (tag,), "kind": (kind,), "axis": (axis,), "novelty": (novelty_of(pair),), "artist": (artist,)}
    return Example(name, images, tuple(shown.caption for shown in pair), np.eye(2, dtype=bool), tags)


def _origin() -> list[str]:
    """All that the pixels come from: the drawings, this code and the libraries that compose them."""
    code = [
        Path(file).read_text(encoding="utf-8")
        for file in (__file__, canvases.__file__, places.__file__, sheets.__file__)
    ]
    drawings = [sha256(sheets.path_of(artist).read_bytes()).hexdigest() for artist in sheets.ARTISTS]
    table = sha256(sheets.TABLE.read_bytes()).hexdigest()
    return [*code, *drawings, table, PIL.__version__, np.__version__, platform.machine()]


_BIBTEX = """@misc{twemoji,
  title        = {Twemoji},
  author       = {{Twitter, Inc.} and other contributors},
  howpublished = {\\url{https://github.com/jdecked/twemoji}},
  note         = {Graphics licensed under CC-BY 4.0}
}

@misc{noto_emoji,
  title        = {Noto Emoji},
  author       = {{Google LLC}},
  howpublished = {\\url{https://github.com/googlefonts/noto-emoji}},
  note         = {Licensed under Apache-2.0}
}"""

# the ordered pairs of nouns that may exchange their colours
_EXCHANGEABLE = [pair for pair in permutations(canvases.COLOURS_OF, 2) if len(_shared_colours(*pair)) > 1]
