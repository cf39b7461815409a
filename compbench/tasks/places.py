"""Where two things stand on a picture, and the captions that say so."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

__all__ = ["PLACES", "RELATIONS", "any_caption", "describe"]

# relation -> (axis, whether the first thing is the one on the left or at the top)
RELATIONS = MappingProxyType(
    {
        "to the left of": ("horizontal", True),
        "to the right of": ("horizontal", False),
        "above": ("vertical", True),
        "below": ("vertical", False),
    }
)
# axis -> what a thing's place is called, on the left or at the top first
PLACES = MappingProxyType({"horizontal": ("on the left", "on the right"), "vertical": ("at the top", "at the bottom")})


def describe(first: object, relation: str, second: object) -> str:
    """The caption of two things, each by its own words.

    >>> describe("a red circle", "to the left of", "a blue square")
    'a red circle to the left of a blue square'
    """
    return f"{first} {relation} {second}"


def any_caption(axis: str, low: object, high: object, rng: np.random.Generator) -> str:
    """Caption of two things on an axis, drawn at random: by either's relation to the other, or by both their places."""
    forward, backward = [name for name, (direction, _) in RELATIONS.items() if direction == axis]
    kind = rng.random()
    if kind < 0.4:
        return describe(low, forward, high)
    if kind < 0.8:
        return describe(high, backward, low)
    ordered = [(0, low), (1, high)]
    if rng.random() < 0.5:
        ordered.reverse()
    return " and ".join(f"{PLACES[axis][side]} {phrase}" for side, phrase in ordered)
