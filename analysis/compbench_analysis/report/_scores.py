"""Scores by tag, over seeds, and what others have published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from compbench.core.errors import UsageError
from compbench_analysis.frames import published, tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.leaders import headline
from compbench_analysis.frames.pivot import pivot
from compbench_analysis.report._cells import TOO_SMALL, Cell, Heading, Scale, Strip, Table, named, number, score
from compbench_analysis.report._sections import Section
from compbench_analysis.statistics.intervals import METHODS
from compbench_analysis.text.format import metric_heading, percent
from compbench_analysis.text.render import count

__all__ = [
    "Choice",
    "Chosen",
    "breakdown",
    "chance_cell",
    "methods",
    "metrics_of",
    "of",
    "published_table",
    "seeds_table",
    "small_note",
    "spread",
]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """The key by which a reader chooses a table: its metric, and its tag where there is one for each."""

    metric: str
    tag: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A table and what it is chosen by."""

    choice: Choice
    table: Table


def breakdown(frame: pd.DataFrame, section: Section) -> list[Chosen]:
    """A table for each metric, that of the headline first: tags down, models across; the whole set stands elsewhere."""
    rows = [row for row in tables.plain_rows(frame) if row["tag"] != tables.OVERALL]
    if not rows:
        return []
    metrics = metrics_of(rows)
    first = headline(metrics)
    return [
        Chosen(Choice(metric_heading(name)), _by_tag(of(rows, metric=name), section))
        for name in [first, *(name for name in metrics if name != first)]
    ]


def spread(row: Mapping[str, Any]) -> Cell:
    """A score's standard deviation over draws, with the interval around it."""
    around = f"{percent(row['draws_low'])} – {percent(row['draws_high'])}"
    return Cell(f"{100 * row['draws_se']:.2f}", float(row["draws_se"]), f"{percent(row['value'])}: {around}")


def seeds_table(section: Section, by: By) -> Table | None:
    """Mean and standard deviation of the runs that differ by their seed alone; None where there are none."""
    frame = tables.over_seeds(section.runs, by, section.rule)
    rows = [row for row in tables.plain_rows(frame) if row["seeds"] > 1 and row["sd"] is not None]
    if not rows:
        return None
    headings = (Heading("model", is_number=False), *(Heading(word, is_number=False) for word in ("score", "tag")))
    body = tuple(
        (
            named(row["model"]),
            named(metric_heading(row["metric"])),
            named(row["tag"], detail=f"n {count(row['n'])}"),
            score(row, None, int(row["n"])),
            Cell(f"{100 * row['sd']:.2f}", float(row["sd"])),
        )
        for row in rows
    )
    note = "The mean over seeds, the interval of that mean over examples, and the standard deviation over seeds."
    return Table((*headings, Heading("mean", "%"), Heading("±", "points, over seeds")), body, "Over seeds", (note,))


def methods(frame: pd.DataFrame) -> list[str]:
    """A sentence on the interval in the tables; where scores have several, one for each, with its scores."""
    scores: dict[str, dict[str, None]] = {}
    for metric, method in frame[["metric", "method"]].drop_duplicates().itertuples(index=False):
        for kind in str(method).split("+"):
            if kind in METHODS:
                scores.setdefault(kind, {})[metric_heading(metric)] = None
    if len(scores) == 1:
        return [f"Interval: {METHODS[kind]}." for kind in scores]
    return [f"Interval of {' and '.join(headings)}: {METHODS[kind]}." for kind, headings in scores.items()]


def published_table(section: Section) -> Table | None:
    """A table of published scores on the task; None where none are known."""
    try:
        rows = published.rows(section.name)
    except UsageError:
        return None
    names = metrics_of(rows)
    models = list(dict.fromkeys(row["model"] for row in rows))
    overall = {(row["model"], row["metric"]): row for row in rows if row["tag"] == tables.OVERALL}
    body = tuple(
        (
            named(model, detail=next(row["protocol"] for row in rows if row["model"] == model)),
            *(score(overall.get((model, name)), None, section.n_examples) for name in names),
        )
        for model in models
    )
    headings = (Heading("model", is_number=False), *(Heading(metric_heading(name), "%") for name in names))
    return Table(headings, body, "Published scores", (published.NOTE, *published.sources(rows)))


def metrics_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics of rows, in their order."""
    return list(dict.fromkeys(str(row["metric"]) for row in rows))


def of(rows: Sequence[Row], **wanted: str) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _by_tag(rows: Sequence[Row], section: Section) -> Table:
    tags, scale = _tags(rows), Scale.of(rows)
    cells = pivot(rows, lambda row: row["model"], lambda row: (row["column"], row["tag"]), lambda row: row).cells
    is_one_column = len({column for column, _ in tags if column}) == 1
    body: list[tuple[Cell, ...]] = []
    for tag in tags:
        its = _tagged(rows, tag)
        n = max(row["n"] for row in its)
        body.append(
            (
                named(tag[1], detail="" if is_one_column else tag[0]),
                number(n),
                *(score(cells.get((label, tag)), m, n, scale=scale) for m, label in enumerate(section.labels)),
                chance_cell(its, scale),
            )
        )
    headings = (
        Heading("tag", is_number=False),
        Heading("n"),
        *(Heading(label) for label in section.labels),
        Heading(tables.CHANCE),
    )
    return Table(headings, tuple(body), notes=(scale.said(), *small_note(rows)))


def small_note(rows: Sequence[Row]) -> tuple[str, ...]:
    """The meaning of the star, where there is one."""
    return (f"{tables.SMALL} {TOO_SMALL}.",) if any(row["is_small"] for row in rows if row["value"] is not None) else ()


def _tags(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(column, tag), the whole set first."""
    found = dict.fromkeys((row["column"], row["tag"]) for row in rows)
    return sorted(found, key=lambda each: each[1] != tables.OVERALL)


def _tagged(rows: Sequence[Row], tag: tuple[str, str]) -> list[Row]:
    return [row for row in rows if (row["column"], row["tag"]) == tag]


def chance_cell(rows: Sequence[Row], scale: Scale) -> Cell:
    """The same for every model of a tag."""
    value = next((row["chance"] for row in rows if row["chance"] is not None), None)
    if value is None:
        return Cell("–", float("nan"), title="no closed form is known for these examples")
    place = scale.place(100 * value)
    strip = Strip(place, place, place) if scale.has(100 * value) else None
    return Cell(percent(value), float(value), "", strip, kind="chance")
