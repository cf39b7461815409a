"""Seeded subsets of a task: the same for every model, each part of every larger one."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence

__all__ = ["subset", "subset_per_class"]

_SUBSET_SEED = 0


def subset(ids: Sequence[str], limit: int | None) -> list[str]:
    """`limit` of the ids, in their order: the same for every model, and part of every larger subset.

    >>> subset(["a", "b", "c", "d"], 3), subset(["a", "b", "c", "d"], 2)
    (['a', 'c', 'd'], ['a', 'd'])
    """
    if limit is None or limit >= len(ids):
        return list(ids)

    chosen = set(sorted(ids, key=_rank)[:limit])
    return [example_id for example_id in ids if example_id in chosen]


def subset_per_class(class_of: Mapping[str, Hashable], n: int | None) -> list[str]:
    """`n` of the ids of each class (all of a smaller one), in their order; part of every larger such subset.

    >>> subset_per_class({"a": "cat", "b": "dog", "c": "cat", "d": "dog"}, 1)
    ['a', 'd']
    """
    members: dict[Hashable, list[str]] = {}
    for example_id, its_class in class_of.items():
        members.setdefault(its_class, []).append(example_id)
    chosen = {example_id for ids in members.values() for example_id in subset(ids, n)}
    return [kind for kind in class_of if kind in chosen]


def _rank(example_id: str) -> bytes:
    return hashlib.sha256(f"{_SUBSET_SEED}:{example_id}".encode()).digest()
