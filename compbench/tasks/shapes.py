"""The task `shapes`: Winoground's form, drawn, so that there is nothing to download and nothing to guess.

Each example has two pictures of two coloured shapes and two captions made of the same words. Beside
"a red circle to the left of a blue square" stands

- Object: the noun phrases change places, "a blue square to the left of a red circle".
  Only *where things are* tells the two apart.
- Relation: the adjectives change places, "a blue circle to the left of a red square".
  Only *which colour belongs to which shape* tells.
- Both: the nouns alone change places, "a red square to the left of a blue circle".
  Both of the above at once, so either tells.

`axis` is the direction of the relation. An example is not `seen` but `unseen` when one of its captions holds a
colour-shape combination that no training scene of the tiny models shows; the column `unseen` says whether one of its
two scenes does, or both.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, islice, permutations, product
from pathlib import Path

import numpy as np
import PIL.Image

from compbench.core.examples import Example, Image, Task
from compbench.core.metrics import MATCHING
from compbench.tasks import places, scenes
from compbench.tasks._reading.digests import with_digests

__all__ = ["shapes"]

TAG_ORDER = {
    "tag": ("Object", "Relation", "Both"),
    "axis": ("horizontal", "vertical"),
    "seen": ("seen", "unseen"),
    "unseen": ("neither scene", "one scene", "both scenes"),
}
# (tag, seen) -> how many examples along each axis; 400 in all, 200 along each axis, a quarter unseen
_COUNTS = {
    ("Object", "seen"): (50, 50),
    ("Object", "unseen"): (17, 17),
    ("Relation", "seen"): (50, 50),
    ("Relation", "unseen"): (17, 16),
    ("Both", "seen"): (50, 50),
    ("Both", "unseen"): (16, 17),
}
_SEED = 0
# training scenes come from the streams 0 to 99 of their seed, so no test picture is one of them
_WHAT_STREAM, _WHERE_STREAM = 100, 101


@dataclass(frozen=True, slots=True)
class Scene:
    """The scene that one caption describes."""

    first: scenes.Shape
    relation: str
    second: scenes.Shape

    @property
    def caption(self) -> str:
        return places.describe(self.first, self.relation, self.second)

    @property
    def is_unseen(self) -> bool:
        """Whether it holds a combination that training never shows."""
        return scenes.is_held_out(self.first) or scenes.is_held_out(self.second)

    def draw(self, *seed: int) -> PIL.Image.Image:
        """A 64x64 RGB picture; the same numbers give the same picture."""
        return scenes.draw(self.first, self.relation, self.second, np.random.default_rng(seed))


@cache
def shapes() -> Task:
    """The 400 examples, made once; nothing is read or fetched, and pictures are drawn when asked for."""
    pairs = _pairs(np.random.default_rng([_SEED, _WHAT_STREAM]))
    examples = [_example(number, *pair) for number, pair in enumerate(pairs)]
    return Task(
        name="shapes",
        examples=with_digests(examples, _origin()),
        metrics=MATCHING,
        description=__doc__ or "",
        tag_order=TAG_ORDER,
    )


def swapped(scene: Scene, tag: str) -> Scene:
    """The same words in the other order: what `tag` means.

    >>> scene = Scene(scenes.Shape("red", "circle"), "above", scenes.Shape("blue", "square"))
    >>> [swapped(scene, tag).caption for tag in ("Object", "Relation", "Both")]
    ['a blue square above a red circle', 'a blue circle above a red square', 'a red square above a blue circle']
    """
    first, second = scene.first, scene.second
    match tag:
        case "Object":
            return replace(scene, first=second, second=first)
        case "Relation":
            return replace(
                scene, first=replace(first, colour=second.colour), second=replace(second, colour=first.colour)
            )
        case "Both":
            return replace(scene, first=replace(first, shape=second.shape), second=replace(second, shape=first.shape))
        case other:
            raise ValueError(f"no tag named {other!r}; expected one of {TAG_ORDER['tag']}")


def _origin() -> list[str]:
    """All that the pixels come from: this code and the libraries that draw."""
    code = [Path(file).read_text(encoding="utf-8") for file in (__file__, scenes.__file__, places.__file__)]
    return [*code, PIL.__version__, np.__version__, platform.machine()]


def _pairs(rng: np.random.Generator) -> Iterator[tuple[str, Scene, Scene]]:
    """(tag, scene, swapped scene) of every example; no two examples share their captions."""
    for (tag, seen), counts in _COUNTS.items():
        for axis, count in zip(TAG_ORDER["axis"], counts, strict=True):
            relations = [name for name, (its_axis, _) in places.RELATIONS.items() if its_axis == axis]
            # the two relations of the axis take turns, so that each has half of the examples
            turns = [islice(_distinct(tag, seen, name, rng), (count + 1) // 2) for name in relations]
            ordered = chain.from_iterable(zip(*turns, strict=True))
            yield from ((tag, *pair) for pair in islice(ordered, count))


def _distinct(tag: str, seen: str, relation: str, rng: np.random.Generator) -> Iterator[tuple[Scene, Scene]]:
    """All pairs of a kind in random order, each once whichever of its two scenes comes first."""
    candidates = [Scene(first, relation, second) for first, second in _unlike_shapes()]
    yielded: set[frozenset[Scene]] = set()
    for index in rng.permutation(len(candidates)):
        pair = candidates[index], swapped(candidates[index], tag)
        is_unseen = pair[0].is_unseen or pair[1].is_unseen
        if is_unseen == (seen == "unseen") and frozenset(pair) not in yielded:
            yielded.add(frozenset(pair))
            yield pair


def _unlike_shapes() -> Iterator[tuple[scenes.Shape, scenes.Shape]]:
    """All ordered pairs that differ in colour and in shape."""
    for colours, names in product(permutations(scenes.COLOURS, 2), permutations(scenes.SHAPES, 2)):
        yield scenes.Shape(colours[0], names[0]), scenes.Shape(colours[1], names[1])


def _example(number: int, tag: str, *pair: Scene) -> Example:
    axis, _ = places.RELATIONS[pair[0].relation]
    n_unseen = sum(scene.is_unseen for scene in pair)
    name = f"{tag.lower()}-{number:03d}"
    images = tuple(
        Image(f"{name}-{side}.png", partial(scene.draw, _SEED, _WHERE_STREAM, number, side))
        for side, scene in enumerate(pair)
    )
    tags = {
        "tag": (tag,),
        "axis": (axis,),
        "seen": ("unseen" if n_unseen else "seen",),
        "unseen": (TAG_ORDER["unseen"][n_unseen],),
    }
    return Example(name, images, tuple(scene.caption for scene in pair), np.eye(2, dtype=bool), tags)
