"""Pictures of noise in a folder for each of two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image

__all__ = ["cats_and_dogs"]


def cats_and_dogs(folder: Path, n: int, rng: np.random.Generator, *, side: int = 24) -> Path:
    """`n` pictures of each, called 000.png and so on."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
    return folder
