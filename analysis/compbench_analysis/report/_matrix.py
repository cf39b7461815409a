"""Each model against each other one: a square of paired differences, with the examples behind each a click away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from compbench_analysis.frames import tables
from compbench_analysis.report._cells import Cell, Heading, Table, link, named, signed
from compbench_analysis.report._scores import Choice, Chosen
from compbench_analysis.report._sections import Section
from compbench_analysis.text.format import metric_heading, p_value
from compbench_analysis.text.render import count

__all__ = ["MOST_TAGS", "TESTED", "squares"]

Row = Mapping[str, Any]
TESTED = (
    "Each cell is the row's model minus the column's, in percentage points, on the same examples, with p below.",
    "p is from the exact McNemar test (sign flips where examples share pictures), Holm-corrected over the pairs "
    "of models in the square; differences with a corrected p of at most 0.05 are bold.",
    "Click a number for the examples that the row's model gets right and the column's gets wrong.",
)
MOST_TAGS = 24  # of which squares are shown; beyond, the page would be mostly these


def squares(pairs: pd.DataFrame, section: Section, order: Sequence[str]) -> tuple[list[Chosen], str]:
    """A square for each metric and tag, the models in this order, and a note on what is left out."""
    rows = tables.plain_rows(pairs)
    tags = sorted({(row["column"], row["tag"]): None for row in rows}, key=lambda tag: tag[1] != tables.OVERALL)
    note = ""
    if len(tags) > MOST_TAGS + 1:
        note = f"The differences in each of {len(tags) - 1} tags are left out here; compbench compare prints them."
        tags = tags[:1]
    cells: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row["metric"], row["column"], row["tag"]), []).append(row)
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    columns = {column for column, _ in tags if column}
    made = [
        Chosen(
            Choice(
                metric_heading(metric),
                tag if len(columns) < 2 or not column else f"{column}: {tag}",
                f"n {count(own[0]['n'])}",
            ),
            _square(own, section, order),
        )
        for metric in metrics
        for column, tag in tags
        if (own := cells.get((metric, column, tag)))
    ]
    return made, note


def _square(rows: Sequence[Row], section: Section, order: Sequence[str]) -> Table:
    found = {(row["a"], row["b"]): row for row in rows}
    headings = (
        Heading("row − column", is_number=False),
        *(Heading(model) for model in order),
    )
    body = tuple(
        (named(model, colour=section.labels.index(model)), *(_cell(found, model, other, section) for other in order))
        for model in order
    )
    return Table(headings, body, is_sortable=False)


def _cell(found: Mapping[tuple[str, str], Row], model: str, other: str, section: Section) -> Cell:
    """The difference in points, which leads to the examples that the row's model alone has right."""
    if model == other:
        return Cell("", kind="diagonal")
    row, sign = (found[model, other], 1) if (model, other) in found else (found[other, model], -1)
    if row["difference"] is None:
        return Cell("–")
    low, high = sorted((100 * sign * row["low"], 100 * sign * row["high"]))
    n_alone = row["only_a"] if sign == 1 else row["only_b"]
    where = {"task": section.key, "metric": row["metric"]}
    where |= {f"m{section.labels.index(model)}": "right", f"m{section.labels.index(other)}": "wrong"}
    where |= {"column": row["column"], "tag": row["tag"]} if row["column"] else {}
    return Cell(
        signed(100 * sign * row["difference"]),
        detail=f"p {p_value(row['p_holm'])}",
        href=link(**where) if n_alone else "",
        title=(
            f"{model} less {other}: 95 % interval {signed(low)} to {signed(high)}; "
            f"{count(n_alone)} examples that only {model} gets right"
        ),
        kind=("sure " + ("ahead" if sign * row["difference"] > 0 else "behind")) if row["is_sure"] else "",
    )
