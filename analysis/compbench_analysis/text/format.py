"""Shares, differences and p as text: the one way in which every table, sentence and page writes them."""

from __future__ import annotations

import math

__all__ = ["MISSING", "p_value", "percent", "percent_aligned", "points", "signed", "spread"]

MISSING = "–"


def percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A fraction as percent, with its interval where it has one.

    >>> percent(0.5, 0.25, 0.75), percent(1.0), percent(None)
    ('50.0 [25.0, 75.0]', '100.0', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    ends = [f"{100 * end:.1f}" for end in (low, high) if end is not None and not math.isnan(end)]
    return f"{100 * value:.1f}" + (f" [{', '.join(ends)}]" if len(ends) == 2 else "")


def percent_aligned(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """`percent`, padded so that a column of them lines up.

    >>> percent_aligned(0.5, 0.05, 0.75), percent_aligned(1.0), percent_aligned(None)
    (' 50.0 [ 5.0, 75.0]', '100.0', '    –')
    """
    shown, bracket, interval = percent(value, low, high).partition(" [")
    first, comma, last = interval.partition(", ")
    return f"{shown:>5}{bracket}{first:>4}{comma}{last}" if bracket else f"{shown:>5}"


def points(value: float | None, low: float | None = None, high: float | None = None, *, width: int = 0) -> str:
    """A difference of fractions in points, signed, with its interval where it has one; numbers at least `width` wide.

    >>> points(0.05, -0.01, 0.11), points(-0.05, -0.25, 0.15, width=5), points(None)
    ('+5.0 [-1.0, +11.0]', ' -5.0 [-25.0, +15.0]', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    known = [number for number in (value, low, high) if number is not None and not math.isnan(number)]
    shown, *ends = (f"{100 * number:+.1f}".rjust(width) for number in known)
    return f"{shown} [{', '.join(ends)}]" if len(ends) == 2 else shown


def signed(value: float, n_decimals: int = 1) -> str:
    """A signed number for a page, with a typographic minus.

    >>> signed(-1.25), signed(0.5, 3)
    ('−1.2', '+0.500')
    """
    return f"{value:+.{n_decimals}f}".replace("-", "−")


def spread(value: float) -> str:
    """A standard deviation of fractions in points.

    >>> spread(0.0123)
    '±1.2'
    """
    return f"±{100 * value:.1f}"


def p_value(value: float | None) -> str:
    """A p; none is printed as 0.

    >>> p_value(0.0312), p_value(1e-9), p_value(None)
    ('0.0312', '<0.0001', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
