"""Is it sure: two runs on the same examples, with the examples behind each count one click away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compbench_analysis.frames import tables
from compbench_analysis.frames.compare import CELLS, Comparison
from compbench_analysis.frames.leaders import headline
from compbench_analysis.report._cells import (
    Cell,
    Heading,
    Table,
    corrected_p,
    link,
    named,
    p_value,
    percent,
    points,
    reach_of,
    signed,
)
from compbench_analysis.report._sections import Section
from compbench_analysis.text import compare
from compbench_analysis.text.format import MISSING, metric_heading

__all__ = ["PairView", "pair_view", "tested"]

Row = dict[str, Any]
_STATES = {
    "both": ("right", "right"),
    "only_a": ("right", "wrong"),
    "only_b": ("wrong", "right"),
    "neither": ("wrong", "wrong"),
}
_SAYS = {"both": "both", "only_a": "only A", "only_b": "only B", "neither": "neither"}


@dataclass(frozen=True, slots=True)
class PairView:
    """Two models against each other."""

    a: str
    b: str
    outcomes: Table
    margins: Table | None
    interactions: Table | None


def pair_view(comparison: Comparison, section: Section) -> PairView:
    """The two models of a comparison."""
    a, b = section.labels
    outcomes, margins, interactions = (
        tables.plain_rows(frame) for frame in (comparison.outcomes, comparison.margins, comparison.interactions)
    )
    return PairView(
        a,
        b,
        _outcomes(outcomes, section),
        _margins(margins) if margins else None,
        _interactions(interactions) if interactions else None,
    )


def tested(comparison: Comparison) -> list[str]:
    """Sentences on what differs between the runs besides their models, and how the tests were made."""
    return [*compare.marks(comparison), *compare.notes(comparison)]


def _outcomes(rows: Sequence[Row], section: Section) -> Table:
    reach = reach_of(rows)
    headings = (
        Heading("score", is_number=False),
        Heading("A − B", "points"),
        *(Heading(_SAYS[cell], "right", title="click a count to see its examples") for cell in CELLS),
        Heading("p"),
        Heading("p, Holm"),
        Heading("detectable", "points", title="the difference that this test finds four times in five"),
    )
    body = tuple(
        (
            _what(row, rows),
            points(row, reach),
            *(_agreement(row, cell, section) for cell in CELLS),
            p_value(row["p"]),
            corrected_p(row["p_holm"]),
            percent(row["detectable"]),
        )
        for row in _whole_first(rows)
    )
    return Table(headings, body)


def _agreement(row: Row, cell: str, section: Section) -> Cell:
    """A count that leads to its examples."""
    where = {"task": section.key, "metric": row["metric"]}
    for label, state in zip((row["a"], row["b"]), _STATES[cell], strict=True):
        where[f"m{section.labels.index(label)}"] = state
    if row["column"]:
        where |= {"column": row["column"], "tag": row["tag"]}
    n = int(row[cell])
    return Cell(f"{n:,}", n, href=link(**where) if n else "", title="see these examples" if n else "")


def _margins(rows: Sequence[Row]) -> Table:
    headings = (
        Heading("margin", is_number=False),
        Heading("A − B", "standardised"),
        Heading("p"),
        Heading("p, Holm"),
    )
    body = tuple(
        (
            _what(row, rows),
            _plain(row["difference"]),
            p_value(row["p"]),
            corrected_p(row["p_holm"]),
        )
        for row in _whole_first(rows)
    )
    return Table(headings, body, "Margins")


def _interactions(rows: Sequence[Row]) -> Table:
    reach = reach_of(rows)
    headings = (
        Heading("gain in", is_number=False),
        Heading("less gain in", is_number=False),
        Heading("difference", "points"),
        Heading("p"),
        Heading("p, Holm"),
    )
    body = tuple(
        (
            _what(row, rows),
            named(row["other_tag"], detail=f"n {row['other_n']:,}"),
            points(row, reach),
            p_value(row["p"]),
            corrected_p(row["p_holm"]),
        )
        for row in rows
    )
    return Table(headings, body, "Is the gain larger in one tag than in another?")


def _whole_first(rows: Sequence[Row]) -> list[Row]:
    """The metric of the headline first, and each metric's overall row before its tags."""
    names = list(dict.fromkeys(row["metric"] for row in rows))
    metrics = list(dict.fromkeys([headline(names), *names]))
    return sorted(rows, key=lambda row: (metrics.index(row["metric"]), row["tag"] != tables.OVERALL))


def _what(row: Row, rows: Sequence[Row]) -> Cell:
    """Which score of which examples."""
    columns = {row["column"] for row in rows if row["column"]}
    column = f"{row['column']}, " if row["column"] and len(columns) > 1 else ""
    return Cell(
        row["tag"],
        f"{row['metric']} {row['tag']}",
        f"{metric_heading(row['metric'])}, {column}n {row['n']:,}",
        kind="name",
    )


def _plain(value: float | None) -> Cell:
    return Cell(MISSING, float("nan")) if value is None else Cell(signed(value, 3), float(value))
