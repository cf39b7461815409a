"""Stored runs to tables like the paper's Table 2: text, image and group score by tag, each with its interval and n.

`tidy` is the one result; everything printed or plotted is made from it. A metric that does not apply to the
examples of a task is absent.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from compbench.metrics import MATCHING
from compbench.types import Bools, Metric, UsageError
from compbench_analysis.render import Grid, records, render
from compbench_analysis.signature import labels

if TYPE_CHECKING:
    from compbench.rules import Rule
    from compbench.store import Run

__all__ = ["CHANCE", "OVERALL", "grids", "plain_rows", "tidy", "to_text", "wilson"]

OVERALL = "overall"
CHANCE = "random chance"
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
    runs = list(runs) if isinstance(runs, Iterable) else [runs]
    rows = [row for run, label in zip(runs, labels(runs), strict=True) for row in _rows(run, label, by, rule)]
    return pd.DataFrame(rows, columns=pd.Index(_COLUMNS))


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """The Wilson 95 % interval of a proportion; NaN when nothing was counted.

    >>> [round(100 * bound, 1) for bound in wilson(38, 141)]
    [20.3, 34.8]
    """
    if n == 0:
        return math.nan, math.nan
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(n_right, n, alpha=0.05, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def grids(frame: pd.DataFrame) -> list[Grid]:
    """A block for each metric of a tidy frame of one task: models down, tags across, or turned when tags are many.

    Where all models measured the same examples n stands beside the tag; otherwise in a block of its own.
    """
    if frame.empty:
        return []
    marked = frame["model"].where(~frame["is_partial"], frame["model"] + " (partial)")
    frame = frame.assign(tag=_unambiguous(frame), model=marked)
    n_of = frame.groupby("tag")["n"].agg(["first", "nunique"])
    is_one_n = bool((n_of["nunique"] == 1).all())
    names = {str(tag): f"{tag} ({n_of.loc[tag, 'first']})" if is_one_n else str(tag) for tag in frame["tag"].unique()}
    width = len(max(frame["metric"].unique(), key=len))  # the blocks line up
    titles = {metric: f"{metric} score, %".ljust(width + len(" score, %")) for metric in frame["metric"].unique()}
    blocks = [_block(titles[metric], part, names) for metric, part in frame.groupby("metric", sort=False)]
    if not is_one_n:
        one = frame[frame["metric"] == frame["metric"].iloc[0]]
        blocks.append(_turned("n", names, {(row.model, row.tag): str(row.n) for row in one.itertuples()}))
    return blocks


def to_text(frame: pd.DataFrame, style: str = "table") -> str:
    """A tidy frame in one of render.FORMATS; csv and json stay tidy, with fractions in full precision."""
    if style in ("csv", "json"):
        return records(plain_rows(frame), style)
    return "\n\n".join(render(grids(part), style) for _, part in frame.groupby("task", sort=False))


def _rows(run: Run, label: str, by: str | Sequence[str] | None, rule: Rule | None) -> Iterator[dict[str, Any]]:
    examples, described = run.examples(), run.info["task"]
    matches = {str(each): _bools(rows) for each, rows in zip(examples["id"], examples["matches"], strict=True)}
    groups = _groups(examples, by, described.get("tag_order", {}))
    judged = _judge(run, [MATCHING[name] for name in described["metrics"] if name in MATCHING], rule)
    n_done = len(run.done((rule or run.rule).n_draws))
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
                **_tally(outcomes[outcomes.index.isin(members)]),
                "chance": _chance(metric, [matches[each] for each in members]),
                "n_total": len(members),
                "is_partial": n_done < len(matches),
                "run": run.key.digest,
            }


def _judge(run: Run, metrics: Iterable[Metric], rule: Rule | None) -> list[tuple[Metric, pd.DataFrame]]:
    """Each metric with what is right and what is tied, one row for each example that it applies to."""
    scored = run.tables(rule)
    judged: list[tuple[Metric, pd.DataFrame]] = []
    for metric in metrics:
        parts = [
            pd.DataFrame({"right": metric.outcome(table), "tie": metric.ties(table)}, index=list(table.ids))
            for shape, table in scored.items()
            if metric.applies(shape) and table.ids
        ]
        judged.append((metric, pd.concat(parts) if parts else pd.DataFrame({"right": [], "tie": []}, dtype=bool)))
    return judged


def _tally(outcomes: pd.DataFrame) -> dict[str, float]:
    n, n_right = len(outcomes), int(outcomes["right"].sum())
    low, high = wilson(n_right, n)
    value = n_right / n if n else math.nan
    return {"n": n, "n_right": n_right, "value": value, "low": low, "high": high, "ties": int(outcomes["tie"].sum())}


def _chance(metric: Metric, matches: Sequence[Bools]) -> float:
    """The mean closed-form value; NaN where it is not known for a shape."""
    times = Counter((each.shape, each.tobytes()) for each in matches)
    total = 0.0
    for (shape, pattern), n in times.items():
        value = metric.chance(np.frombuffer(pattern, dtype=bool).reshape(shape))
        total += math.nan if value is None else n * value
    return total / len(matches)


def _groups(
    examples: pd.DataFrame, by: str | Sequence[str] | None, tag_order: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, list[str]]]:
    """(column, tag, example ids) for each tag of the columns, in the task's own order, then the whole set."""
    ids = [str(each) for each in examples["id"]]
    tags: list[Mapping[str, Sequence[str]]] = list(examples["tags"])
    known = dict.fromkeys(name for each in tags for name in each)
    columns = [by] if isinstance(by, str) else (["tag"] if "tag" in known else []) if by is None else list(by)
    groups: list[tuple[str, str, list[str]]] = []
    for column in columns:
        if column not in known:
            raise UsageError(_no_such_column(column, list(known)))
        found = {value for each in tags for value in each.get(column, ())}
        order = [tag for tag in tag_order.get(column, ()) if tag in found]
        for tag in [*order, *sorted(found - set(order))]:
            members = [each for each, values in zip(ids, tags, strict=True) if tag in values.get(column, ())]
            groups.append((column, tag, members))
    return [*groups, ("", OVERALL, ids)]


def _no_such_column(column: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(column, known, n=1)
    hint = f"did you mean {close[0]!r}" if close else f"expected one of {', '.join(known) or 'none: it has no tags'}"
    return f"no tag column named {column!r}; {hint}"


def _bools(rows: Iterable[Iterable[bool]]) -> Bools:
    return np.array([list(row) for row in rows], dtype=bool)


def _unambiguous(frame: pd.DataFrame) -> pd.Series[str]:
    """The tag, after its column's name where two columns share a tag."""
    is_shared = frame.groupby("tag")["column"].transform("nunique") > 1
    return frame["tag"].where(~is_shared, frame["column"] + ": " + frame["tag"])


def _block(title: str, part: pd.DataFrame, names: Mapping[str, str]) -> Grid:
    cells = {(row.model, row.tag): _cell(row.value, row.low, row.high) for row in part.itertuples()}
    known = part.dropna(subset="chance")
    cells |= {(CHANCE, row.tag): f"{100 * row.chance:5.1f}" for row in known.itertuples()}
    return _turned(title, names, cells)


def _turned(title: str, names: Mapping[str, str], cells: Mapping[tuple[str, str], str]) -> Grid:
    """Models down and tags across, or the other way round when the tags are many."""
    models = list(dict.fromkeys(model for model, _ in cells))
    if len(names) > _MOST_TAGS_ACROSS:
        rows = [(names[tag], *(cells.get((model, tag), "") for model in models)) for tag in names]
        return Grid((title, *models), tuple(rows))
    rows = [(model, *(cells.get((model, tag), "") for tag in names)) for model in models]
    return Grid((title, *names.values()), tuple(rows))


def _cell(value: float, low: float, high: float) -> str:
    """Percent with its interval, padded so that a column of them lines up."""
    if math.isnan(value):
        return "    –"
    return f"{100 * value:5.1f} [{100 * low:4.1f}, {100 * high:.1f}]"


def plain_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of Python values, None for what is not known."""
    for row in frame.to_dict("records"):
        yield {
            str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()
        }
