"""A task of three examples: a green picture and one of another colour."""

import io

import numpy as np
import PIL.Image

from compbench import Example, Image, Task
from compbench.core.metrics import MATCHING


def colours(data=None, is_offline=False):
    return Task("colours", tuple(_example(other) for other in ("red", "blue", "purple")), MATCHING)


def _example(other):
    images = tuple(Image(f"{other}-{name}.png", _png(name)) for name in ("green", other))
    captions = ("a green picture", f"a {other} picture")
    return Example(other, images, captions, np.eye(2, dtype=bool), {"tag": (other,)})


def _png(colour):
    encoded = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), colour).save(encoded, "PNG")
    return encoded.getvalue()
