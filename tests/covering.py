"""Covering arrays: few rows of choices in which every two values that can stand together do so once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = ["pairs_of", "pairwise"]

Row = Mapping[str, str]
Pair = frozenset[tuple[str, str]]


def pairs_of(row: Row) -> set[Pair]:
    """The pairs of (factor, value) that a row covers."""
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def pairwise(factors: Mapping[str, Sequence[str]], fits: Callable[[Row], bool] = lambda row: True) -> list[Row]:
    """Rows that `fits` allows, so that each pair of values of any allowed row stands in one of them; greedy."""
    rows = [
        row for values in itertools.product(*factors.values()) if fits(row := dict(zip(factors, values, strict=True)))
    ]
    number: dict[Pair, int] = {}
    ids = np.array([[number.setdefault(pair, len(number)) for pair in pairs_of(row)] for row in rows])  # [rows, pairs]
    is_open, chosen = np.ones(len(number), bool), list[Row]()
    while is_open.any():
        best = int(is_open[ids].sum(1).argmax())
        is_open[ids[best]] = False
        chosen.append(rows[best])
    return chosen
