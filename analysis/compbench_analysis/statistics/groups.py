"""Groups that cannot be told apart, as letters: two items that share one are not told apart by their test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compbench.core.aliases import Bools

__all__ = ["letters"]


def letters(is_told_apart: Bools) -> list[str]:
    """The letters of each item, from the symmetric matrix [k, k] of which pairs are told apart.

    Each letter is a largest set of items no two of which are told apart (Piepho, "An algorithm for a letter-based
    representation of all-pairwise comparisons", J. Comput. Graph. Stat. 13, 2004), named in the items' order.

    >>> letters(np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], bool))
    ['a', 'ab', 'b']
    """
    alike = ~np.asarray(is_told_apart, bool)
    neighbours = [set(np.flatnonzero(row).tolist()) - {member} for member, row in enumerate(alike)]
    groups = sorted(sorted(group) for group in _cliques(neighbours, set(), set(range(len(alike))), set()))
    return ["".join(_letter(n) for n, group in enumerate(groups) if member in group) for member in range(len(alike))]


def _cliques(neighbours: list[set[int]], chosen: set[int], open_to: set[int], left_out: set[int]) -> Iterator[set[int]]:
    """The largest sets of mutual neighbours: Bron & Kerbosch (1973) with a pivot."""
    if not open_to and not left_out:
        yield chosen
        return
    pivot = max(open_to | left_out, key=lambda member: len(neighbours[member] & open_to))
    for member in sorted(open_to - neighbours[pivot]):
        own = neighbours[member]
        yield from _cliques(neighbours, chosen | {member}, open_to & own, left_out & own)
        open_to, left_out = open_to - {member}, left_out | {member}


def _letter(number: int) -> str:
    """a to z, then A to Z, then (53), so that letters side by side stay apart."""
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return alphabet[number] if number < len(alphabet) else f"({number + 1})"
