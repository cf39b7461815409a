"""The evaluations of a network that scoring takes, each input once as far as a scorer remembers it. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from compbench.core.examples import Example
from compbench_baselines.windows import windows

__all__ = ["WINDOW", "of_captions", "of_pairs", "with_empty_prompt"]

WINDOW = 128  # pairs of a window on a GPU, where the scorer is not here to tell


def of_captions(examples: Sequence[Example]) -> int:
    """Distinct captions."""
    return len({caption for example in examples for caption in example.captions})


def of_pairs(examples: Sequence[Example], window: int = WINDOW, *, has_prefix: bool = True) -> int:
    """Distinct pairs of each window, and, where pictures go through the network by themselves, distinct images."""
    n = 0
    for some in windows(examples, window):
        images = {image for example in some for image in example.images}
        n += len({(image, caption) for example in some for image in example.images for caption in example.captions})
        n += len(images) if has_prefix else 0
    return n


def with_empty_prompt(examples: Sequence[Example], window: int = WINDOW) -> int:
    """Distinct pairs of each window, and each image once under the empty prompt."""
    n = len({image for example in examples for image in example.images})
    for some in windows(examples, window, 1):
        n += len({(image, caption) for example in some for image in example.images for caption in example.captions})
    return n
