"""Stored runs to tables like the paper's Table 2: text, image and group score by tag, each with its interval and n.

`tidy` is the one result; everything printed or plotted is made from it. A metric that does not apply to the
examples of a task is absent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from compbench.core.aliases import Bools, Floats
from compbench.core.examples import Metric
from compbench_analysis.frames._outcomes import Outcomes, Population, joined, judged
from compbench_analysis.frames.breakdowns import MARGIN, OVERALL, By, breakdown, tag_columns, tag_groups, with_margin
from compbench_analysis.frames.seeds import SeedGroup, same_but_seed, singles
from compbench_analysis.statistics.intervals import interval, wilson

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = [
    "CHANCE",
    "FEW",
    "OVERALL",
    "SMALL",
    "WIDE",
    "is_small",
    "over_seeds",
    "plain_rows",
    "tag_columns",
    "tag_groups",
    "tidy",
    "wilson",
]

CHANCE = "random chance"
SMALL = "†"  # marks what is too small to rank models by, in tables, pages and figures alike
FEW, WIDE = 30, 0.10  # examples; half the width of an interval: with fewer, or a wider one, a cell is not for ranking
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
    "method",
    "is_small",
    "ties",
    "chance",
    "n_total",
    "is_partial",
    "run",
]
Groups = dict[tuple[str, str], list[str]]  # (column, tag) -> example ids


def tidy(runs: Run | Iterable[Run], by: By = None, rule: Rule | None = None) -> pd.DataFrame:
    """A row per run, tag and metric: counts, value, 95 % interval (fractions of 1), ties and chance.

    `by` names tag columns of the task ("fine", "visual" ...; None: "tag" where there is one), `caption_length` or
    `margin`, or is a Breakdown; the whole set is tagged `overall`. An example with several tags of a column counts
    under each. `n` is what was measured of `n_total`. `method` names the interval (intervals.METHODS), `is_small` says
    that a cell is not for ranking: fewer than FEW examples, or an interval wider than WIDE to either side.

    >>> import compbench
    >>> frame = tidy(compbench.run("shapes", model="chance", limit=6))
    >>> frame.query("tag == 'overall'")[["metric", "n"]].values.tolist()
    [['text', 6], ['image', 6], ['group', 6]]
    """
    rows = [row for single in singles(runs) for row in _rows(single, by, rule)]
    return pd.DataFrame(rows, columns=pd.Index(_COLUMNS))


def over_seeds(runs: Run | Iterable[Run], by: By = None, rule: Rule | None = None) -> pd.DataFrame:
    """`tidy`, with runs that differ by their seed alone as one row: `seeds`, the mean over them and `sd`.

    `sd` is the standard deviation over seeds, NaN for one. `low` to `high` is the interval of the mean over the
    sampling of examples. `run` names the digests. Runs of a seed that measured other examples stay apart.
    """
    rows = [
        {**row, "seeds": len(group.runs), "sd": sd}
        for group in same_but_seed(runs, rule)
        for row, sd in _with_sd(group, by, rule)
    ]
    return pd.DataFrame(rows, columns=pd.Index([*_COLUMNS, "seeds", "sd"]))


def is_small(n: float, low: float, high: float) -> bool:
    """Whether a cell is too small to rank models by: fewer than FEW examples, or wider than WIDE to either side."""
    return bool(n < FEW or (high - low) / 2 > WIDE)


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as Python values, None for what is not known."""
    return [
        {str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _with_sd(group: SeedGroup, by: By, rule: Rule | None) -> Iterator[tuple[dict[str, Any], float]]:
    """The rows of a group with the standard deviation over its seeds."""
    by_seed = [list(_rows(single, by, rule)) for single in group.singles()] if len(group.runs) > 1 else []
    for number, row in enumerate(_rows(group, by, rule)):
        values = [rows[number]["value"] for rows in by_seed]
        yield row, float(np.std(values, ddof=1)) if values else math.nan


def _rows(group: SeedGroup, by: By, rule: Rule | None) -> Iterator[dict[str, Any]]:
    run, examples = group.runs[0], group.runs[0].examples()
    rule = rule or run.rule
    population = Population(examples)
    matches = {
        str(example_id): _bools(rows)
        for example_id, rows in zip(examples["id"].tolist(), examples["matches"], strict=True)
    }
    outcomes = [joined(outcomes) for outcomes in zip(*(judged(run, rule) for run in group.runs), strict=True)]
    groups = {outcome.metric.name: _groups(group, outcome.metric, examples, by, rule) for outcome in outcomes}
    is_partial = len(run.done(rule.draws)) < len(matches)
    for column, tag in dict.fromkeys(key for group in groups.values() for key in group):
        for outcome in outcomes:
            ids = groups[outcome.metric.name].get((column, tag), [])
            if members := [
                example_id
                for example_id in ids
                if _is_judged(outcome.metric, example_id, matches[example_id].shape, population)
            ]:
                yield {
                    "task": run.key.task,
                    "model": group.label,
                    "column": column,
                    "tag": tag,
                    "metric": outcome.metric.name,
                    **_tally(outcome, members, population),
                    "chance": _chance(outcome.metric, [matches[member] for member in members]),
                    "n_total": len(members),
                    "is_partial": is_partial,
                    "run": group.digest,
                }


def _is_judged(metric: Metric, example_id: str, shape: tuple[int, ...], population: Population) -> bool:
    return metric.applies((shape[0], shape[1])) and population.counts(metric, example_id)


def _groups(group: SeedGroup, metric: Metric, examples: pd.DataFrame, by: By, rule: Rule) -> Groups:
    """Those of the breakdown, which may be by the metric's own margin."""
    if MARGIN in breakdown(by).names:
        examples = with_margin(examples, group.margins(metric.name, rule))
    order = group.runs[0].info.task.order_of()
    return {(column, tag): ids for column, tag, ids in tag_groups(examples, by, order)}


def _tally(outcomes: Outcomes, members: Sequence[str], population: Population) -> dict[str, Any]:
    ids = outcomes.measured(members)
    sample, right = population.sample(outcomes.metric, ids), outcomes.right(ids).mean(0)  # [n], over seeds
    low, high = interval(right, sample)
    return {
        "n": len(ids),
        "n_right": _whole(right.sum()),
        "value": float(sample.mean(right)),
        "low": float(low),
        "high": float(high),
        "method": sample.method,
        "is_small": is_small(len(ids), float(low), float(high)),
        "ties": _whole(outcomes.n_tied(ids)),
    }


def _whole(count: float | Floats) -> float:
    """A count as a whole number where it is one, as the mean over several seeds need not be."""
    return int(count) if float(count).is_integer() else float(count)


def _chance(metric: Metric, matches: Sequence[Bools]) -> float:
    """The mean closed-form value; NaN where it is not known for a shape."""
    times = Counter((match.shape, match.tobytes()) for match in matches)
    total = 0.0
    for (shape, pattern), n in times.items():
        value = metric.chance(np.frombuffer(pattern, dtype=bool).reshape(shape))
        total += math.nan if value is None else n * value
    return total / len(matches)


def _bools(rows: Iterable[Iterable[bool]]) -> Bools:
    return np.asarray(rows, dtype=bool) if isinstance(rows, np.ndarray) else np.array([list(row) for row in rows], bool)
