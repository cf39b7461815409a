"""The pictures for a classifier that learns only from generated ones. Torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compbench.core.aliases import Bools, Ints
from compbench.core.disk import slug
from compbench.core.examples import Classes

__all__ = ["Wanted", "wanted_pictures"]

_SHARE_HELD_OUT = 10  # one picture in so many of a class chooses among the epochs


@dataclass(frozen=True, slots=True)
class Wanted:
    """Picture number k of a caption."""

    caption: str
    k: int

    def seed(self, seed: int) -> int:
        """The seed of its noise."""
        digest = hashlib.sha256(f"{seed}/{self.caption}/{self.k}".encode()).digest()
        return int.from_bytes(digest[:6])

    def file(self, folder: Path) -> Path:
        """The file it is kept in: captions that look alike as names have folders of their own."""
        digest = hashlib.sha256(self.caption.encode()).hexdigest()[:8]
        return folder / f"{slug(self.caption)[:60]}-{digest}" / f"{self.k:05d}.png"


def wanted_pictures(captions: Sequence[str], classes: Classes, n_per_class: int) -> tuple[list[Wanted], Ints, Bools]:
    """The pictures of all classes, their labels [n], and which are held out [n]: a class's prompts take turns."""
    wanted: list[Wanted] = []
    labels: list[int] = []
    for label in range(len(classes.names)):
        prompts = [caption for caption, k in zip(captions, classes.of_caption, strict=True) if k == label]
        prompts = list(dict.fromkeys(prompts))
        wanted += [Wanted(prompts[k % len(prompts)], k) for k in range(n_per_class)]
        labels += [label] * n_per_class
    n_held_out = max(1, n_per_class // _SHARE_HELD_OUT)
    is_held_out = np.tile(np.arange(n_per_class) >= n_per_class - n_held_out, len(classes.names))
    return wanted, np.array(labels, dtype=np.int64), is_held_out
