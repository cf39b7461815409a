"""The ranking: one list of the models by the metric of the headline, with the groups that cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from compbench_analysis.frames import all_pairs, tables
from compbench_analysis.frames.leaders import Standings, headline
from compbench_analysis.report._cells import Cell, Heading, Scale, Table, named, score
from compbench_analysis.report._scores import chance_cell, metrics_of, of, small_note
from compbench_analysis.report._sections import Section
from compbench_analysis.text.format import metric_heading, metric_words
from compbench_analysis.text.render import count
from compbench_analysis.text.verdict import verdict

__all__ = ["overall_pairs", "ranking", "sentences"]

Row = dict[str, Any]


def overall_pairs(pairs: pd.DataFrame | None, metric: str) -> pd.DataFrame:
    """The pairs of one metric over all examples; empty where nothing was tested."""
    if pairs is None:
        return pd.DataFrame()
    return pairs.iloc[np.flatnonzero((pairs["metric"] == metric) & (pairs["tag"] == tables.OVERALL))]


def sentences(frame: pd.DataFrame, section: Section, pairs: pd.DataFrame | None, why_not: str) -> list[str]:
    """The conclusions: who leads and whether that is significant, and who is not above chance."""
    rows = _overall(frame)
    found = Standings(reason=why_not if len(section.runs) > 1 else "")
    if rows and pairs is not None and len(own := overall_pairs(pairs, headline(metrics_of(rows)))):
        untested = [label for label in section.labels if label not in all_pairs.tested(own)]
        found = replace(all_pairs.standings_of(own), untested=untested)
    return verdict(tables.plain_rows(frame), found, section.n_examples)


def ranking(frame: pd.DataFrame, section: Section, pairs: pd.DataFrame | None) -> Table | None:
    """The models, best first, with every metric over all examples; None where nothing is measured."""
    rows = _overall(frame)
    if not rows:
        return None
    metrics = metrics_of(rows)
    first = headline(metrics)
    shown = [first, *(name for name in metrics if name != first)]
    cells = {(row["model"], row["metric"]): row for row in rows}
    labels = sorted(section.labels, key=lambda label: -_value(cells.get((label, first))))
    own = overall_pairs(pairs, first)
    letters = all_pairs.lettered(own, labels) if len(labels) > 2 and len(own) else {}
    scale = Scale.of(rows)
    n_of = {name: max(row["n"] for row in of(rows, metric=name)) for name in shown}
    body = [
        (
            Cell(str(place), float(place), kind="rank"),
            named(label, colour=section.labels.index(label)),
            *([_letters(letters.get(label, ""))] if letters else []),
            *(score(cells.get((label, name)), section.labels.index(label), n_of[name], scale=scale) for name in shown),
        )
        for place, label in enumerate(labels, 1)
    ]
    chance = (
        Cell("", kind="rank"),
        Cell(tables.CHANCE, kind="name chance"),
        *([Cell("")] if letters else []),
        *(chance_cell(of(rows, metric=name), scale) for name in shown),
    )
    headings = (
        Heading("rank", is_number=False),
        Heading("model", is_number=False),
        *([Heading("group", is_number=False, title=_GROUP)] if letters else []),
        *(Heading(f"{metric_heading(name)}, %", f"n {count(n_of[name])}") for name in shown),
    )
    has_line = any(row["chance"] is not None and scale.has(100 * row["chance"]) for row in rows)
    line = "the vertical line is random chance; " if has_line else ""
    notes = [
        f"Percent right with a 95 % interval over examples; {line}a tie counts as wrong. {scale.said()}",
        *([f"Models that share a letter cannot be told apart on {metric_words(first)}: {_GROUP}."] if letters else []),
        *_ties(rows, labels),
        *small_note(rows),
    ]
    return Table(headings, tuple(body), "Ranking", tuple(notes), apart=(chance,))


_GROUP = "Holm-corrected p above 0.05 over all pairs of models"


def _letters(letters: str) -> Cell:
    """A dash for a model that was not tested."""
    return Cell(" ".join(letters) or "–", letters or "~", kind="letters")


def _ties(rows: Sequence[Row], labels: Sequence[str]) -> list[str]:
    """The number of examples each model gets wrong only because two of its scores are equal."""
    found = {label: [row for row in rows if row["model"] == label and row["ties"]] for label in labels}
    said = [
        f"{label} " + ", ".join(f"{row['ties']:,.3g} ({metric_heading(row['metric'])})" for row in tied)
        for label, tied in found.items()
        if tied
    ]
    return [f"Tied, and so counted as wrong: {'; '.join(said)}."] if said else []


def _overall(frame: pd.DataFrame) -> list[Row]:
    return [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL and row["value"] is not None]


def _value(row: Row | None) -> float:
    return -1.0 if row is None else float(row["value"])
