"""Neighbouring examples grouped, so that pairs of similar length can be found among theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from compbench.core.examples import Example

__all__ = ["windows"]


def windows(examples: Sequence[Example], n_pairs: int, n_besides: int = 0) -> Iterator[Sequence[Example]]:
    """Groups of consecutive examples, each ending with the one that brings it to `n_pairs` pairs or more.

    `n_besides`: prompts of each image besides the example's captions.
    """
    start = n = 0
    for number, example in enumerate(examples):
        n += len(example.images) * (len(example.captions) + n_besides)
        if n >= n_pairs:
            yield examples[start : number + 1]
            start, n = number + 1, 0
    if start < len(examples):
        yield examples[start:]
