"""Who wins: the table of each metric, and a sentence that says what can be said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from compbench.core.errors import UsageError
from compbench_analysis.frames import published, tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.compare import Comparison
from compbench_analysis.frames.pivot import pivot
from compbench_analysis.report._cells import SMALL, Cell, Heading, Strip, Table, named, number, score
from compbench_analysis.report._sections import Section
from compbench_analysis.statistics.intervals import METHODS
from compbench_analysis.text.format import MISSING, p_value, percent, signed
from compbench_analysis.text.render import count

__all__ = [
    "breakdown",
    "published_table",
    "methods",
    "metrics_of",
    "score_tables",
    "seeds_table",
    "sentences",
    "spread",
    "ties_table",
]

Row = dict[str, Any]
_FIRST = "group"  # the metric of the headline, where the task has it
_SURE = 0.05


def score_tables(frame: pd.DataFrame, section: Section) -> list[Table]:
    """A table for each metric: models down, tags across, the whole set first."""
    rows = tables.plain_rows(frame)
    return [_by_model(metric, _of(rows, metric=metric), section) for metric in metrics_of(rows)]


def breakdown(frame: pd.DataFrame, section: Section) -> list[Table]:
    """A table for each metric: tags down, models across."""
    rows = tables.plain_rows(frame)
    return [_by_tag(metric, _of(rows, metric=metric), section) for metric in metrics_of(rows)]


def ties_table(frame: pd.DataFrame, section: Section) -> Table | None:
    """Ties of each model and metric; None where there are none."""
    rows = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL]
    if not any(row["ties"] for row in rows):
        return None
    names = metrics_of(rows)
    cells = {(row["model"], row["metric"]): row["ties"] for row in rows}
    return Table(
        (Heading("model", is_number=False), *map(Heading, names)),
        tuple(
            (named(label, colour=n), *(number(cells.get((label, name))) for name in names))
            for n, label in enumerate(section.labels)
        ),
        "Ties",
        ("A tie is wrong: no model is right about two equal scores.",),
    )


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
    headings = (Heading("model", is_number=False), *(Heading(each, is_number=False) for each in ("score", "tag")))
    body = tuple(
        (
            named(row["model"]),
            named(row["metric"]),
            named(row["tag"], detail=f"n {count(row['n'])}"),
            score(row, None, int(row["n"])),
            Cell(f"{100 * row['sd']:.2f}", float(row["sd"])),
        )
        for row in rows
    )
    note = "The mean over seeds, the interval of that mean over examples, and the standard deviation over seeds."
    return Table((*headings, Heading("mean", "%"), Heading("±", "points, over seeds")), body, "Over seeds", (note,))


def methods(frame: pd.DataFrame) -> list[str]:
    """Which interval stands in the tables."""
    kinds = dict.fromkeys(kind for each in frame["method"] for kind in str(each).split("+"))
    return [f"Interval: {METHODS[kind]}." for kind in kinds if kind in METHODS]


def published_table(section: Section) -> Table | None:
    """What others have published on the task; None where nothing is known."""
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
    headings = (Heading("model", is_number=False), *(Heading(name, "%") for name in names))
    return Table(headings, body, "Published scores", (published.NOTE, *published.sources(rows)))


def sentences(frame: pd.DataFrame, section: Section, comparison: Comparison | None) -> list[str]:
    """What a reader takes home: who is ahead and whether that is real, and who is above chance."""
    rows = [row for row in tables.plain_rows(frame) if row["tag"] == tables.OVERALL and row["value"] is not None]
    names = metrics_of(rows)
    if not names:
        return [f"Nothing is measured yet on the {count(section.n_examples)} examples of {section.name}."]
    metric = _FIRST if _FIRST in names else names[0]
    ranked = sorted(_of(rows, metric=metric), key=lambda row: -row["value"])
    first = _alone(ranked[0]) if len(ranked) == 1 else _ahead(ranked, metric, comparison)
    return [first, *_against_chance(ranked)]


def metrics_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics of rows, in their order."""
    return list(dict.fromkeys(str(row["metric"]) for row in rows))


def _of(rows: Sequence[Row], **wanted: str) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _by_model(metric: str, rows: Sequence[Row], section: Section) -> Table:
    tags = _tags(rows)
    n_of = {tag: max(row["n"] for row in _tagged(rows, tag)) for tag in tags}
    cells = pivot(rows, lambda row: row["model"], lambda row: (row["column"], row["tag"]), lambda row: row).cells
    body = [
        (
            named(label, colour=n),
            *(score(cells.get((label, tag)), n, n_of[tag]) for tag in tags),
        )
        for n, label in enumerate(section.labels)
    ]
    chance = (Cell(tables.CHANCE, "\uffff", kind="name"), *(_chance(_tagged(rows, tag)) for tag in tags))
    headings = (
        Heading("model", is_number=False),
        *(Heading(_tag_name(tag, tags), f"n {count(n_of[tag])}") for tag in tags),
    )
    return Table(headings, (*body, chance), f"{metric} score", _small_note(rows))


def _by_tag(metric: str, rows: Sequence[Row], section: Section) -> Table:
    tags = _tags(rows)
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
                *(score(cells.get((label, tag)), m, n) for m, label in enumerate(section.labels)),
                _chance(its),
            )
        )
    headings = (
        Heading("tag", is_number=False),
        Heading("n"),
        *(Heading(label) for label in section.labels),
        Heading(tables.CHANCE),
    )
    return Table(headings, tuple(body), f"{metric} score", _small_note(rows))


def _small_note(rows: Sequence[Row]) -> tuple[str, ...]:
    return (f"*: {SMALL}.",) if any(row["is_small"] for row in rows if row["value"] is not None) else ()


def _tags(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(column, tag), the whole set first."""
    found = dict.fromkeys((row["column"], row["tag"]) for row in rows)
    return sorted(found, key=lambda each: each[1] != tables.OVERALL)


def _tagged(rows: Sequence[Row], tag: tuple[str, str]) -> list[Row]:
    return [row for row in rows if (row["column"], row["tag"]) == tag]


def _tag_name(tag: tuple[str, str], tags: Sequence[tuple[str, str]]) -> str:
    columns = {column for column, _ in tags if column}
    return f"{tag[0]}: {tag[1]}" if tag[0] and len(columns) > 1 else tag[1]


def _chance(rows: Sequence[Row]) -> Cell:
    """The same for every model of a tag."""
    value = next((row["chance"] for row in rows if row["chance"] is not None), None)
    if value is None:
        return Cell("–", float("nan"), title="no closed form is known for these examples")
    return Cell(percent(value), float(value), "", Strip(100 * value, 100 * value, 100 * value), kind="chance")


def _alone(row: Row) -> str:
    return f"{row['model']} has {_percent(row)} of {count(row['n'])} examples right ({row['metric']} score)."


def _ahead(ranked: Sequence[Row], metric: str, comparison: Comparison | None) -> str:
    best, second = ranked[:2]
    lead = f"{best['model']} has {_percent(best)} right ({metric} score), {second['model']} {_percent(second)}"
    pair = None if comparison is None else _pair(comparison, metric, best["model"], second["model"])
    if pair is None:
        return f"{lead}; they were not tested against each other."
    sign = 1 if pair["a"] == best["model"] else -1
    low, high = sorted((100 * sign * pair["low"], 100 * sign * pair["high"]))
    between = f"{signed(100 * sign * pair['difference'])} points, 95 % interval {signed(low)} to {signed(high)}"
    tested = f"p {_p(pair['p_holm'])}" + (f" after Holm over {pair['n_tests']} tests" if pair["n_tests"] > 1 else "")
    if pair["p_holm"] is not None and pair["p_holm"] <= _SURE:
        return f"{lead}. That is more than chance explains: {between}, {tested}."
    detectable = pair["detectable"]
    would = (
        ""
        if detectable is None
        else f" A true difference of {percent(detectable)} points would be found four times in five."
    )
    return f"{lead}. The difference is not statistically significant: {between}, {tested}.{would}"


def _pair(comparison: Comparison, metric: str, one: str, other: str) -> Row | None:
    for row in tables.plain_rows(comparison.outcomes):
        is_overall = row["metric"] == metric and row["tag"] == tables.OVERALL
        if is_overall and {row["a"], row["b"]} == {one, other}:
            return row
    return None


def _against_chance(ranked: Sequence[Row]) -> Iterator[str]:
    known = [row for row in ranked if row["chance"] is not None]
    if not known:
        return
    above = [row["model"] for row in known if row["low"] > row["chance"]]
    rest = [row["model"] for row in known if row["low"] <= row["chance"]]
    chance = f"{percent(known[0]['chance'])} %"
    if above:
        yield f"Above random chance ({chance}): {', '.join(above)}."
    if rest:
        yield f"Not above random chance ({chance}) by more than examples vary: {', '.join(rest)}."


def _percent(row: Row) -> str:
    return f"{percent(row['value'])} %"


def _p(value: float | None) -> str:
    """A p as it stands in a sentence behind its letter."""
    text = p_value(value)
    return "not known" if text == MISSING else text.replace("<", "< ") if text.startswith("<") else f"= {text}"
