"""A classification task that can be solved by eye: solid colours with a little noise, and a training split."""

from __future__ import annotations

from functools import partial

import numpy as np
import PIL.Image

from compbench.core.examples import Classes, Example, Image, Task
from compbench.core.metrics import CLASSIFYING

COLOURS = {"red": (200, 40, 40), "green": (40, 160, 40), "blue": (40, 60, 200)}
PROMPTS = ("a photo of a {} thing", "the colour {}")


def colours(
    n: int = 4, n_training: int = 6, *, names: tuple[str, ...] = tuple(COLOURS), name: str = "colours", seed: int = 0
) -> Task:
    """`n` pictures a class to be tested on, `n_training` to learn from; two prompts a class."""
    captions = tuple(prompt.format(name) for name in names for prompt in PROMPTS)
    of_caption = tuple(k for k in range(len(names)) for _ in PROMPTS)
    return Task(
        name,
        tuple(_example(name, k, i, captions, of_caption, seed) for k, name in enumerate(names) for i in range(n)),
        CLASSIFYING,
        classes=Classes(names, of_caption),
        training=lambda: [
            _example(name, k, i, captions, of_caption, 1000 + seed)
            for k, name in enumerate(names)
            for i in range(n_training)
        ],
    )


def _example(
    colour: str, k: int, number: int, captions: tuple[str, ...], of_caption: tuple[int, ...], seed: int
) -> Example:
    name = f"{seed}-{colour}-{number}"
    matches = np.array([[label == k for label in of_caption]])
    image = Image(f"{name}.png", partial(_draw, colour, k, number, seed))
    return Example(name, (image,), captions, matches, {"class": (colour,)})


def _draw(colour: str, k: int, number: int, seed: int) -> PIL.Image.Image:
    noise = np.random.default_rng([seed, k, number]).normal(0, 12, (16, 16, 3))
    return PIL.Image.fromarray(np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8))
