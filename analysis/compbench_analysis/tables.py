"""Stored runs to tables like the paper's Table 2: text, image and group score by tag, each with its interval and n.

`tidy` is the one result; everything printed or plotted is made from it. A metric that does not apply to the
examples of a task is absent.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from compbench.metrics import named
from compbench.types import Bools, Metric, UsageError
from compbench_analysis.render import Grid
from compbench_analysis.signature import labels

if TYPE_CHECKING:
    from compbench.rules import Rule
    from compbench.store import Run

__all__ = ["CHANCE", "OVERALL", "grids", "plain_rows", "tag_columns", "tag_groups", "tidy", "wilson"]

OVERALL = "overall"
CHANCE = "random chance"
Outcomes = dict[str, tuple[bool, bool]]  # example id -> (is right, is wrong only because of a tie)
_COLUMNS = [
    "task",
    "model",
    "column",
    "tag",
    "metric",
    "n",
    "n_right",
    "value",
    "low",
    "high",
    "ties",
    "chance",
    "n_total",
    "is_partial",
    "run",
]
_MOST_TAGS_ACROSS = 5  # more tags than this go down the side, models across the top


def tidy(runs: Run | Iterable[Run], by: str | Sequence[str] | None = None, rule: Rule | None = None) -> pd.DataFrame:
    """One row for each run, tag and metric: counts, value, Wilson 95 % interval (fractions of 1), ties and chance.

    `by` names tag columns of the task ("fine", "visual" ...; None: "tag" where there is one); the whole set is tagged
    `overall`. An example with several tags of a column counts under each. `n` is what was measured of `n_total`.
    """
    given = runs if isinstance(runs, Iterable) else [runs]
    runs = list({each.path: each for each in given}.values())  # a run that is given twice is one run
    rows = [row for run, label in zip(runs, labels(runs), strict=True) for row in _rows(run, label, by, rule)]
    return pd.DataFrame(rows, columns=pd.Index(_COLUMNS))


def wilson(n_right: float, n: float) -> tuple[float, float]:
    """The Wilson 95 % interval of a proportion; NaN when nothing was counted.

    >>> [round(100 * bound, 1) for bound in wilson(38, 141)]
    [20.3, 34.8]
    """
    if n == 0:
        return math.nan, math.nan
    from statsmodels.stats.proportion import proportion_confint

    low, high = cast("tuple[float, float]", proportion_confint(n_right, n, alpha=0.05, method="wilson"))
    return max(0.0, float(low)), min(1.0, float(high))


def grids(frame: pd.DataFrame) -> list[Grid]:
    """A block for each metric of a tidy frame of one task: models down, tags across, or turned when tags are many.

    Where all models measured the same examples n stands beside the tag; otherwise in a block of its own.
    """
    rows = _named(plain_rows(frame))
    if not rows:
        return []
    metrics = list(dict.fromkeys(str(row["metric"]) for row in rows))
    n_of: dict[str, set[int]] = {}
    for row in rows:
        n_of.setdefault(row["tag"], set()).add(row["n"])
    is_one_n = all(len(each) == 1 for each in n_of.values())
    names = {tag: f"{tag} ({min(each)})" if is_one_n else tag for tag, each in n_of.items()}
    width = len(max(metrics, key=len))  # the blocks line up
    blocks = [
        _block(f"{metric} score, %".ljust(width + 9), [row for row in rows if row["metric"] == metric], names)
        for metric in metrics
    ]
    if is_one_n:
        return blocks
    counts = {(row["model"], row["tag"]): str(row["n"]) for row in rows if row["metric"] == metrics[0]}
    return [*blocks, _turned("n", names, counts)]


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as Python values, None for what is not known."""
    return [
        {str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _rows(run: Run, label: str, by: str | Sequence[str] | None, rule: Rule | None) -> Iterator[dict[str, Any]]:
    examples, described = run.examples(), run.info["task"]
    matches = {str(each): _bools(rows) for each, rows in zip(examples["id"], examples["matches"], strict=True)}
    groups = tag_groups(examples, by, described.get("tag_order", {}))
    rule = rule or run.rule
    judged = _judge(run, named(described["metrics"], unconditional=rule.unconditional), rule)
    n_done = len(run.done(rule.n_draws))
    for column, tag, ids in groups:
        for metric, outcomes in judged:
            members = [each for each in ids if metric.applies(matches[each].shape)]
            if not members:
                continue
            yield {
                "task": run.key.task,
                "model": label,
                "column": column,
                "tag": tag,
                "metric": metric.name,
                **_tally([outcomes[each] for each in members if each in outcomes]),
                "chance": _chance(metric, [matches[each] for each in members]),
                "n_total": len(members),
                "is_partial": n_done < len(matches),
                "run": run.key.digest,
            }


def _judge(run: Run, metrics: Iterable[Metric], rule: Rule | None) -> list[tuple[Metric, Outcomes]]:
    """Each metric with what it says of the examples that it applies to."""
    scored = run.tables(rule)
    judged: list[tuple[Metric, Outcomes]] = []
    for metric in metrics:
        outcomes: Outcomes = {}
        for shape, table in scored.items():
            if table.ids and metric.applies(shape):
                outcomes |= zip(table.ids, zip(metric.outcome(table), metric.ties(table), strict=True), strict=True)
        judged.append((metric, outcomes))
    return judged


def _tally(outcomes: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    n, n_right, ties = len(outcomes), sum(int(right) for right, _ in outcomes), sum(int(tie) for _, tie in outcomes)
    low, high = wilson(n_right, n)
    value = n_right / n if n else math.nan
    return {"n": n, "n_right": n_right, "value": value, "low": low, "high": high, "ties": ties}


def _chance(metric: Metric, matches: Sequence[Bools]) -> float:
    """The mean closed-form value; NaN where it is not known for a shape."""
    times = Counter((each.shape, each.tobytes()) for each in matches)
    total = 0.0
    for (shape, pattern), n in times.items():
        value = metric.chance(np.frombuffer(pattern, dtype=bool).reshape(shape))
        total += math.nan if value is None else n * value
    return total / len(matches)


def tag_groups(
    examples: pd.DataFrame, by: str | Sequence[str] | None, tag_order: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, list[str]]]:
    """(column, tag, example ids) for each tag of the columns, in the task's own order, then the whole set."""
    ids = [str(each) for each in examples["id"]]
    tags: list[Mapping[str, Sequence[str]]] = list(examples["tags"])
    groups: list[tuple[str, str, list[str]]] = []
    for column in tag_columns(by, tags):
        found = {value for each in tags for value in each.get(column, ())}
        order = [tag for tag in tag_order.get(column, ()) if tag in found]
        for tag in [*order, *sorted(found - set(order))]:
            members = [each for each, values in zip(ids, tags, strict=True) if tag in values.get(column, ())]
            groups.append((column, tag, members))
    return [*groups, ("", OVERALL, ids)]


def tag_columns(by: str | Sequence[str] | None, tags: Iterable[Mapping[str, Sequence[str]]]) -> list[str]:
    """The columns that `by` stands for among the tags of a task's examples; UsageError when it has no such column."""
    known = dict.fromkeys(name for each in tags for name in each)
    if by is None or len(by) == 0:
        return ["tag"] if "tag" in known else []
    columns = [by] if isinstance(by, str) else list(by)
    for column in columns:
        if column not in known:
            raise UsageError(_no_such_column(column, list(known)))
    return columns


def _no_such_column(column: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(column, known, n=1)
    hint = f"did you mean {close[0]!r}" if close else f"expected one of {', '.join(known) or 'none: it has no tags'}"
    return f"no tag column named {column!r}; {hint}"


def _bools(rows: Iterable[Iterable[bool]]) -> Bools:
    return np.array([list(row) for row in rows], dtype=bool)


def _named(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose model says that it is partial, and whose tag names its column where two columns share it."""
    columns: dict[str, set[str]] = {}
    for row in rows:
        columns.setdefault(row["tag"], set()).add(row["column"])
    return [
        {
            **row,
            "model": f"{row['model']} (partial)" if row["is_partial"] else row["model"],
            "tag": f"{row['column']}: {row['tag']}" if len(columns[row["tag"]]) > 1 else row["tag"],
        }
        for row in rows
    ]


def _block(title: str, rows: Sequence[dict[str, Any]], names: Mapping[str, str]) -> Grid:
    cells = {(row["model"], row["tag"]): _cell(row["value"], row["low"], row["high"]) for row in rows}
    for row in rows:
        if row["chance"] is not None:
            cells[CHANCE, row["tag"]] = f"{100 * row['chance']:5.1f}"
    return _turned(title, names, cells)


def _turned(title: str, names: Mapping[str, str], cells: Mapping[tuple[str, str], str]) -> Grid:
    """Models down and tags across, or the other way round when the tags are many."""
    models = list(dict.fromkeys(model for model, _ in cells))
    if len(names) > _MOST_TAGS_ACROSS:
        rows = [(names[tag], *(cells.get((model, tag), "") for model in models)) for tag in names]
        return Grid((title, *models), tuple(rows))
    rows = [(model, *(cells.get((model, tag), "") for tag in names)) for model in models]
    return Grid((title, *names.values()), tuple(rows))


def _cell(value: float | None, low: float, high: float) -> str:
    """Percent with its interval, padded so that a column of them lines up."""
    if value is None:
        return "    –"
    return f"{100 * value:5.1f} [{100 * low:4.1f}, {100 * high:.1f}]"
