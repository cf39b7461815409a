"""Stored runs to tables like the paper's Table 2: text, image and group score by tag, each with its interval and n.

`tidy` is the one result; everything printed or plotted is made from it. A metric that does not apply to the
examples of a task is absent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compbench.core.aliases import Floats
from compbench.core.examples import Metric
from compbench.core.packages import named
from compbench_analysis.frames._outcomes import Outcomes, Population, joined, judged
from compbench_analysis.frames.breakdowns import MARGIN, OVERALL, By, breakdown, tag_columns, tag_groups
from compbench_analysis.frames.seeds import SeedGroup, same_but_seed, singles
from compbench_analysis.statistics.intervals import interval, wilson

if TYPE_CHECKING:
    import pandas as pd

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
    "plain",
    "plain_rows",
    "rows",
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
    return _framed([row for single in singles(runs) for row in rows(single, by, rule)], _COLUMNS)


def over_seeds(runs: Run | Iterable[Run], by: By = None, rule: Rule | None = None) -> pd.DataFrame:
    """`tidy`, with runs that differ by their seed alone as one row: `seeds`, the mean over them and `sd`.

    `sd` is the standard deviation over seeds, NaN for one. `low` to `high` is the interval of the mean over the
    sampling of examples. `run` names the digests. Runs of a seed that measured other examples stay apart.
    """
    found = [row for group in same_but_seed(runs, rule) for row in rows(group, by, rule)]
    return _framed(found, [*_COLUMNS, "seeds", "sd"])


def is_small(n: float, low: float, high: float) -> bool:
    """Whether a cell is too small to rank models: fewer than FEW examples, or wider than WIDE to either side."""
    return bool(n < FEW or (high - low) / 2 > WIDE)


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as Python values, None for what is not known."""
    return plain(frame.to_dict("records"))


def plain(rows: Iterable[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """The rows with None for what is not known."""
    return [
        {str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in rows
    ]


def rows(group: SeedGroup, by: By = None, rule: Rule | None = None) -> Iterator[dict[str, Any]]:
    """The rows of `over_seeds` of one run, or of several that differ by their seed, NaN for what is not known."""
    run, examples = group.runs[0], group.runs[0].task_examples
    rule = rule or run.rule
    population = Population(examples)
    outcomes = [joined(own) for own in zip(*(judged(member, rule) for member in group.runs), strict=True)]
    groups = {outcome.metric.name: _groups(group, outcome.metric, by, rule) for outcome in outcomes}
    is_partial = len(run.done(rule.draws)) < len(examples.ids)
    for column, tag in dict.fromkeys(key for found in groups.values() for key in found):
        for outcome in outcomes:
            ids = groups[outcome.metric.name].get((column, tag), [])
            if members := population.judged(outcome.metric, ids):
                tally, sd = _tally(outcome, members, population)
                yield {
                    "task": run.key.task,
                    "model": group.label,
                    "column": column,
                    "tag": tag,
                    "metric": outcome.metric.name,
                    **tally,
                    "chance": population.chance(outcome.metric, members),
                    "n_total": len(members),
                    "is_partial": is_partial,
                    "run": group.digest,
                    "seeds": len(group.runs),
                    "sd": sd,
                }


def _groups(group: SeedGroup, metric: Metric, by: By, rule: Rule) -> Groups:
    """Those of the breakdown, which may be by the metric's own margin."""
    run = group.runs[0]
    margins = group.margins(metric.name, rule) if MARGIN in breakdown(by).names else None
    found = tag_groups(run.task_examples, by, run.info.task.order_of(), margins)
    return {(column, tag): ids for column, tag, ids in found}


def _framed(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    with named():
        import pandas as pd

    return pd.DataFrame(rows, columns=pd.Index(columns))


def _tally(outcomes: Outcomes, members: Sequence[str], population: Population) -> tuple[dict[str, Any], float]:
    """The counts of a row, and the standard deviation of its value over the seeds, NaN for one."""
    ids = outcomes.measured(members)
    sample, by_seed = population.sample(outcomes.metric, ids), outcomes.right(ids)  # [R, n]
    right = by_seed.mean(0)  # [n]
    low, high = interval(right, sample)
    sd = float(np.std(sample.mean(by_seed), ddof=1)) if len(by_seed) > 1 else math.nan
    counts: dict[str, Any] = {
        "n": len(ids),
        "n_right": _whole(right.sum()),
        "value": float(sample.mean(right)),
        "low": float(low),
        "high": float(high),
        "method": sample.method,
        "is_small": is_small(len(ids), float(low), float(high)),
        "ties": _whole(outcomes.n_tied(ids)),
    }
    return counts, sd


def _whole(count: float | Floats) -> float:
    """A count as a whole number where it is one, as the mean over several seeds need not be."""
    return int(count) if float(count).is_integer() else float(count)
