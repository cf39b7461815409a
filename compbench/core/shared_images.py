"""Pictures of equal content made one object, so that a scorer reads and encodes each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compbench.core.examples import UNREADABLE, Example, Image

__all__ = ["one_per_content"]


def one_per_content(examples: Sequence[Example]) -> list[Example]:
    """The same examples, where pictures with one digest are the first of them; only digests that are known count.

    A tuple of pictures that examples share stays one tuple.

    >>> import numpy as np
    >>> left, right = (Image(name, b"", sha256="5f") for name in ("left", "right"))
    >>> pair = [Example(image.name, (image,), ("a dog",), np.eye(1, dtype=bool)) for image in (left, right)]
    >>> [example.images[0].name for example in one_per_content(pair)]
    ['left', 'left']
    """
    firsts: dict[str, Image] = {}
    shown: dict[int, tuple[Image, ...]] = {}
    made: list[Example] = []
    for example in examples:
        images = shown.get(id(example.images))
        if images is None:
            images = shown[id(example.images)] = _firsts(example.images, firsts)
        made.append(example if images is example.images else replace(example, images=images))
    return made


def _firsts(images: tuple[Image, ...], firsts: dict[str, Image]) -> tuple[Image, ...]:
    """The first picture met of each content; `images` itself where that changes nothing."""
    found = tuple(
        image if image.sha256 in (None, UNREADABLE) else firsts.setdefault(image.sha256, image) for image in images
    )
    return images if all(first is image for first, image in zip(found, images, strict=True)) else found
