"""The evaluations of a network that scoring takes, each input once as far as a scorer remembers it. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from compbench.core.examples import Example
from compbench_baselines.windows import windows

__all__ = ["WINDOW", "of_captions", "of_images", "of_images_by_window", "of_pairs"]

WINDOW = 128  # pairs of a window on a GPU, where the scorer is not here to tell


def of_captions(examples: Sequence[Example]) -> int:
    """Distinct captions."""
    return len({caption for example in examples for caption in example.captions})


def of_images(examples: Sequence[Example]) -> int:
    """Distinct images."""
    return len({image for example in examples for image in example.images})


def of_images_by_window(examples: Sequence[Example], window: int = WINDOW) -> int:
    """Distinct images of each window."""
    return sum(map(of_images, windows(examples, window)))


def of_pairs(examples: Sequence[Example], window: int = WINDOW, n_besides: int = 0) -> int:
    """Distinct pairs of each window; `n_besides` as in `windows`."""
    return sum(
        len({(image, caption) for example in some for image in example.images for caption in example.captions})
        for some in windows(examples, window, n_besides)
    )
