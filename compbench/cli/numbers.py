"""Numbers that an option takes, with a limit that is told in words: Click's own ranges print `[x>=1]` in the help."""

from __future__ import annotations

from collections.abc import Callable

import click

__all__ = ["at_least"]


def at_least(minimum: int, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """The type of an option that is a number of this kind, not below `minimum`.

    >>> at_least(1)("3")
    3
    """

    def n(given: str) -> float:  # its name is what the help prints: --limit N
        try:
            number = kind(given)
        except ValueError:
            number = None
        if number is None or not number >= minimum:  # NaN is not at least anything
            expected = "a whole number" if kind is int else "a number"
            raise click.BadParameter(f"must be {expected}, at least {minimum}; got {given}")
        return number

    return n
