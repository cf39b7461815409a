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
    number = {pair: n for n, pair in enumerate((name, value) for name, values in factors.items() for value in values)}
    held = np.array([[number[pair] for pair in row.items()] for row in rows])  # [rows, factors]
    one, other = np.triu_indices(len(factors), 1)
    pairs, ids = np.unique(held[:, one] * len(number) + held[:, other], return_inverse=True)
    is_open, ids, chosen = np.ones(len(pairs), bool), ids.reshape(len(rows), -1), list[Row]()  # ids: [rows, pairs]
    while is_open.any():
        best = int(is_open[ids].sum(1).argmax())
        is_open[ids[best]] = False
        chosen.append(rows[best])
    return chosen
