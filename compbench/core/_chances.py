"""The chance of each outcome under random scores without ties, in closed form: matches [I, C] to a probability."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import comb, factorial, prod

from compbench.core.aliases import Bools

__all__ = [
    "Chance",
    "among_first",
    "group",
    "group_match",
    "image",
    "of_caption",
    "of_image",
    "power",
    "text",
    "top1",
    "tot",
]

Chance = Callable[[Bools], float | None]


def text(matches: Bools) -> float:
    """Rows are independent; k true among n scores come first with probability 1 / C(n, k)."""
    return float(prod(Fraction(1, comb(matches.shape[1], int(k))) for k in matches.sum(1)))


def image(matches: Bools) -> float:
    return text(matches.T)


def of_image(place: int) -> Chance:
    return lambda matches: text(matches[place : place + 1])


def of_caption(place: int) -> Chance:
    return lambda matches: image(matches[:, place : place + 1])


def tot(matches: Bools) -> float:
    """The chance that a given one of three scores is the highest."""
    return float(Fraction(1, int(matches.shape[1] + matches.shape[0] - 1)))


def top1(matches: Bools) -> float:
    """Rows are independent; the highest of n scores is one of the k true ones with probability k / n."""
    return float(prod(Fraction(int(k), matches.shape[1]) for k in matches.sum(1)))


def among_first(n_first: int, *, is_image: bool = False) -> Chance:
    """Rows are independent; none of k true among n is in the first m with probability C(n - k, m) / C(n, m)."""

    def chance(matches: Bools) -> float:
        rows = matches.T if is_image else matches
        n = rows.shape[1]
        return float(prod(1 - Fraction(comb(n - int(k), n_first), comb(n, n_first)) for k in rows.sum(1)))

    return chance


def group(matches: Bools) -> float | None:
    """Known for n images with one caption each; None for other patterns."""
    n = matches.shape[0]
    return float(Fraction(_orders(n, 0, 0), factorial(n * n))) if _is_one_to_one(matches) else None


def group_match(matches: Bools) -> float | None:
    """Each of the k! ways is the best as often as any other."""
    return float(Fraction(1, factorial(matches.shape[0]))) if _is_one_to_one(matches) else None


def power(chance: Chance, n: int) -> Chance:
    """The chance that `n` independent examples of one pattern are all right."""

    def all_right(matches: Bools) -> float | None:
        one = chance(matches)
        return None if one is None else one**n

    return all_right


def _is_one_to_one(matches: Bools) -> bool:
    n = matches.shape[0]
    return bool(matches.shape == (n, n) and (matches.sum(0) == 1).all() and (matches.sum(1) == 1).all())


@cache
def _orders(n: int, n_true: int, n_false: int) -> int:
    """Descending orders of an n x n matrix in which a false entry comes after both true ones of its row and column."""
    if n_true + n_false == n * n:
        return 1
    total = 0
    if n_true < n:
        total += (n - n_true) * _orders(n, n_true + 1, n_false)
    free = n_true * (n_true - 1) - n_false
    if free > 0:
        total += free * _orders(n, n_true, n_false + 1)
    return total
