"""The three ways to fail that a user can do something about. Nothing is imported: listing names must stay instant."""

from __future__ import annotations

__all__ = ["DataError", "RunError", "UsageError", "nan_advice"]


class UsageError(ValueError):
    """The user asked for something that does not exist or does not fit; the command exits with 2."""


class DataError(ValueError):
    """An input cannot be used: it is missing, damaged, gated or of the wrong form; the command exits with 1."""


class RunError(RuntimeError):
    """A run cannot start or go on (locked, disk full, NaN from the network); what was stored stays."""


def nan_advice(dtype: object) -> str:
    """What to do about a score or an error that is not finite, measured by a network in `dtype`.

    >>> nan_advice("float16")
    'a wider dtype (--dtype float32) is the usual cure'
    """
    if dtype in ("float16", "bfloat16"):
        return "a wider dtype (--dtype float32) is the usual cure"
    return "check the image, and that the weights are the published ones: fetch or copy them again"
