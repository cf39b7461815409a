"""The three ways to fail that a user can do something about. Nothing is imported: listing names must stay instant."""

from __future__ import annotations

__all__ = ["DataError", "RunError", "UsageError"]


class UsageError(ValueError):
    """The user asked for something that does not exist or does not fit; the command exits with 2."""


class DataError(ValueError):
    """An input cannot be used: it is missing, damaged, gated or of the wrong form; the command exits with 1."""


class RunError(RuntimeError):
    """A run cannot start or go on (locked, disk full, NaN from the network); what was stored stays."""
