"""Shares, differences and p as text: the one way in which every table, sentence and page writes them."""

from __future__ import annotations

import math
import re

__all__ = [
    "MISSING",
    "farther_end",
    "metric_heading",
    "metric_words",
    "p_in_words",
    "p_value",
    "percent",
    "percent_aligned",
    "plain_points",
    "points",
    "signed",
    "spread",
]

MISSING = "–"
_HEADINGS = {
    "top1": "top-1",
    "mean_per_class": "mean per class",
    "image_raw": "raw image",
    "group_raw": "raw group",
    "p_c": "p_c",
    "p_f": "p_f",
    "p_c_half": "p_c",
    "p_f_half": "p_f",
    "tot": "TOT",
}
_WORDS = {"top1": "top-1 accuracy", "mean_per_class": "mean accuracy per class"}


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


def farther_end(value: float, low: float, high: float) -> str:
    """The distance in points from a share to the end of its interval that is farther away.

    >>> farther_end(1.0, 0.972, 1.0), farther_end(0.5, 0.4, 0.61)
    ('2.8', '11.0')
    """
    return f"{100 * max(value - low, high - value):.1f}"


def plain_points(value: float) -> str:
    """A difference of fractions in points as it stands in a sentence; no minus before zero.

    >>> plain_points(-0.0234), plain_points(0.009), plain_points(-0.0001)
    ('−2.3', '0.9', '0.0')
    """
    text = f"{100 * value:.1f}"
    return text.removeprefix("-") if text in ("-0.0",) else text.replace("-", "−")


def points(value: float | None, low: float | None = None, high: float | None = None, *, width: int = 0) -> str:
    """A difference of fractions in points, signed, with its interval where it has one; numbers at least `width` wide.

    >>> points(0.05, -0.01, 0.11), points(-0.05, -0.25, 0.15, width=5), points(None)
    ('+5.0 [−1.0, +11.0]', ' −5.0 [−25.0, +15.0]', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    known = [number for number in (value, low, high) if number is not None and not math.isnan(number)]
    shown, *ends = (signed(100 * number).rjust(width) for number in known)
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


def p_in_words(value: float | None) -> str:
    """A p as it stands in a sentence.

    >>> p_in_words(0.21312), p_in_words(0.00023), p_in_words(1e-9), p_in_words(None)
    ('p = 0.21', 'p = 0.0002', 'p < 0.0001', 'p not known')
    """
    if value is None or math.isnan(value):
        return "p not known"
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.{1 if value < 0.01 else 2}g}"


def metric_heading(name: str) -> str:
    """The name of a metric above a column.

    >>> metric_heading("text"), metric_heading("mean_per_class"), metric_heading("text_r5")
    ('text', 'mean per class', 'text R@5')
    """
    return _HEADINGS.get(name) or re.sub(r" r(\d+)$", r" R@\1", name.replace("_", " "))


def metric_words(name: str) -> str:
    """The name of a metric in a sentence.

    >>> metric_words("group"), metric_words("top1"), metric_words("text_r5")
    ('group score', 'top-1 accuracy', 'text R@5')
    """
    heading = metric_heading(name)
    return _WORDS.get(name) or (heading if "@" in heading else f"{heading} score")
