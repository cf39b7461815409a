"""The cells of the page's tables: text to read, a number to sort by, an interval to see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from compbench_analysis.frames.leaders import SURE
from compbench_analysis.frames.tables import SMALL
from compbench_analysis.text import format as formats
from compbench_analysis.text.render import count

__all__ = [
    "Cell",
    "Heading",
    "Scale",
    "Strip",
    "Table",
    "corrected_p",
    "link",
    "named",
    "number",
    "p_value",
    "percent",
    "points",
    "reach_of",
    "score",
    "signed",
]

TOO_SMALL = "too few examples, or too wide an interval, to rank models"


@dataclass(frozen=True, slots=True)
class Strip:
    """An interval on a line from 0 to 100, with a mark to hold it against."""

    low: float
    value: float
    high: float
    mark: float | None = None
    colour: int | None = None  # of a model; None for a difference


@dataclass(frozen=True, slots=True)
class Cell:
    """`sort` orders a column whatever the text looks like; NaN goes last."""

    text: str
    sort: float | str = ""
    detail: str = ""
    strip: Strip | None = None
    href: str = ""
    title: str = ""
    kind: str = ""  # classes of the style sheet


@dataclass(frozen=True, slots=True)
class Heading:
    """The top of a column."""

    text: str
    detail: str = ""
    is_number: bool = True
    title: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that a reader can sort."""

    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    is_sortable: bool = True
    apart: tuple[tuple[Cell, ...], ...] = ()  # rows below the others that no order moves, such as chance


@dataclass(frozen=True, slots=True)
class Scale:
    """The stretch of percent that the strips of a table show: where its data are, to the next ten on either side."""

    low: float = 0.0
    high: float = 100.0

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Scale:
        """Wide enough for every interval, and for chance where that is near."""
        ends = [100 * row[name] for row in rows for name in ("low", "high") if row["value"] is not None]
        if not ends:
            return cls()
        low, high = 10 * math.floor(min(ends) / 10), 10 * math.ceil(max(ends) / 10)
        return cls(low, high) if low < high else cls(max(0, low - 10), min(100, high + 10))

    def place(self, percent: float) -> float:
        """From 0 to 100 along a strip."""
        return min(100.0, max(0.0, 100 * (percent - self.low) / (self.high - self.low)))

    def has(self, percent: float) -> bool:
        """Whether it lies on the strip."""
        return self.low <= percent <= self.high

    def said(self) -> str:
        """For the note under a table."""
        return f"The dots run from {self.low:.0f} to {self.high:.0f} %."


def named(text: str, *, colour: int | None = None, detail: str = "") -> Cell:
    """The name at the head of a row; of a model, with its colour."""
    return Cell(text, text, detail, kind="name" if colour is None else f"name model-{colour}")


def number(value: float | None, *, n_decimals: int = 0) -> Cell:
    """A count, or another plain number."""
    return Cell("–" if value is None else f"{value:,.{n_decimals}f}", _sortable(value))


def score(
    row: Mapping[str, Any] | None, colour: int | None, n_asked: int | None = None, *, scale: Scale = Scale()
) -> Cell:
    """Percent right with its interval; n where it is not the column's, a star where n is small."""
    if row is None or row["value"] is None:
        return Cell("–", math.nan, title="nothing was measured")
    if row["low"] is None:  # a published number that stands for no one count
        return Cell(formats.percent(row["value"]), float(row["value"]))
    n, low, high = int(row["n"]), 100 * row["low"], 100 * row["high"]
    detail = f"{formats.percent(row['low'])} – {formats.percent(row['high'])}" + (
        f", n {count(n)}" if n != n_asked else ""
    )
    chance = row["chance"]
    mark = None if chance is None or not scale.has(100 * chance) else scale.place(100 * chance)
    is_small = bool(row.get("is_small"))
    ties = f"{row['ties']:,.3g} tied, which counts as wrong" if row.get("ties") else ""
    said = [f"{detail}: {row['n_right']:,.6g} of {count(n)} right", ties, TOO_SMALL if is_small else ""]
    return Cell(
        formats.percent(row["value"]) + (SMALL if is_small else ""),
        float(row["value"]),
        detail,
        Strip(scale.place(low), scale.place(100 * row["value"]), scale.place(high), mark, colour),
        title="; ".join(filter(None, said)),
    )


def points(row: Mapping[str, Any], reach: float) -> Cell:
    """A difference in points with its interval, drawn from -reach to reach around 0."""
    if row["difference"] is None:
        return Cell("–", math.nan)
    low, value, high = (100 * row[name] for name in ("low", "difference", "high"))
    strip = Strip(*(_place(end, reach) for end in (low, value, high)), mark=50.0)
    return Cell(signed(value), value, f"{signed(low)} to {signed(high)}", strip)


def signed(value: float, n_decimals: int = 1) -> str:
    """A signed number; one that rounds to nothing has no minus.

    >>> signed(-1.25), signed(-0.01)
    ('−1.2', '+0.0')
    """
    return formats.signed(round(value, n_decimals) + 0.0, n_decimals)


def percent(value: float | None) -> Cell:
    """A share without an interval."""
    return Cell(formats.percent(value), _sortable(value))


def p_value(value: float | None) -> Cell:
    """A p as it is: no emphasis before it is corrected."""
    return Cell("–", math.nan) if value is None else Cell(formats.p_value(value), float(value))


def corrected_p(value: float | None) -> Cell:
    """A corrected p, marked where it is at most 0.05."""
    if value is None:
        return Cell("–", math.nan)
    return Cell(formats.p_value(value), float(value), kind="small-p" if value <= SURE else "")


def link(**where: str) -> str:
    """A fragment of the page that its script understands: an example, or the examples that a filter lets through."""
    return f"#{urlencode(where)}"


def reach_of(rows: Sequence[Mapping[str, Any]]) -> float:
    """The range of the strips of differences, in points: the same for a whole table."""
    ends = [abs(100 * row[end]) for row in rows for end in ("low", "high") if row[end] is not None]
    return max([*ends, 1.0])


def _place(value: float, reach: float) -> float:
    return 50 + 50 * value / reach


def _sortable(value: float | None) -> float:
    return math.nan if value is None else float(value)
