"""Each model of a task against each other one on the same examples: the numbers of a square table, and its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, compress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from compbench_analysis.frames import tables
from compbench_analysis.frames._outcomes import Outcomes, Population, judged_alike
from compbench_analysis.frames._pairing import comparable, measured_alike, paired
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.leaders import SURE, Standings
from compbench_analysis.frames.signature import labels
from compbench_analysis.statistics import groups
from compbench_analysis.statistics.paired_tests import holm

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["all_pairs", "lettered", "standings_of", "tested"]

_COLUMNS = (
    *("column", "tag", "metric", "n", "a", "b", "only_a", "only_b", "value_a", "value_b"),
    *("difference", "low", "high", "p", "p_holm", "is_sure"),
)


def all_pairs(runs: Sequence[Run], by: By = None, rule: Rule | None = None, *, n_resamples: int = 9999) -> pd.DataFrame:
    """A row for each metric, tag and pair of runs: the agreement, the difference with its 95 % interval, and p.

    Holm's correction is over the pairs of a metric and tag; `is_sure` says that the corrected p is at most SURE.
    Runs that lack examples are left out where two others are complete; UsageError where the runs did not measure the
    same examples all the same.
    """
    is_compared, names = comparable(runs, rule), labels(runs)
    runs, names = list(compress(runs, is_compared)), list(compress(names, is_compared))
    done = set.intersection(*measured_alike(runs, rule))
    examples = runs[0].task_examples
    tags = tables.tag_groups(examples, by, runs[0].info.task.order_of())
    found = judged_alike(runs, rule)
    population = Population(examples)
    rows = [
        {"column": column, "tag": tag, "metric": metric, **row}
        for metric in found[0]
        for column, tag, ids in tags
        for row in _cell(
            [of_run[metric] for of_run in found], names, sorted(done.intersection(ids)), population, n_resamples
        )
    ]
    return pd.DataFrame(rows, columns=pd.Index(_COLUMNS))


def lettered(rows: pd.DataFrame, models: Sequence[str]) -> dict[str, str]:
    """Letters of each tested model by the pairs of one metric and tag: those that share one cannot be told apart."""
    models = [model for model in models if model in tested(rows)]
    place = {model: number for number, model in enumerate(models)}
    is_sure = np.zeros((len(models), len(models)), bool)
    for a, b, sure in zip(rows["a"], rows["b"], rows["is_sure"], strict=True):
        is_sure[place[a], place[b]] = is_sure[place[b], place[a]] = sure
    return dict(zip(models, groups.letters(is_sure), strict=True))


def tested(rows: pd.DataFrame) -> set[str]:
    """The models in these pairs; others of the task lack examples."""
    return {*map(str, rows["a"]), *map(str, rows["b"])}


def standings_of(rows: pd.DataFrame) -> Standings:
    """The pairs of one metric and tag as each model against the leader."""
    values: dict[str, float] = {}  # in the order of the runs
    for side in ("a", "b"):
        values |= dict(zip(map(str, rows[side]), map(float, rows[f"value_{side}"]), strict=True))
    leader = max(values, key=values.__getitem__)
    of_leader = {frozenset((row["a"], row["b"])): row for row in rows.to_dict("records")}
    same = {name: rows[name].iloc[0] for name in ("column", "tag", "metric")}
    standing: list[dict[str, Any]] = []
    for model, value in values.items():
        row = of_leader.get(frozenset((model, leader)))
        if row is None:
            found = dict.fromkeys(("difference", "low", "high"), 0.0) | dict.fromkeys(("p", "p_holm"))
            standing.append({**same, "model": model, "value": value, **found, "is_level": True})
            continue
        sign = 1 if row["a"] == model else -1
        low, high = sorted((sign * row["low"], sign * row["high"]))
        found = {"difference": sign * row["difference"], "low": low, "high": high, "p": row["p"]}
        found |= {"p_holm": row["p_holm"], "is_level": not row["is_sure"]}
        standing.append({**same, "model": model, "value": value, **found})
    return Standings(standing)


def _cell(
    outcomes: Sequence[Outcomes], names: Sequence[str], ids: Sequence[str], population: Population, n_resamples: int
) -> Iterator[dict[str, Any]]:
    measured = outcomes[0].measured(ids)
    if not measured:
        return
    sample = population.sample(outcomes[0].metric, measured)
    right = [outcome.matrix(measured)[:, 0] for outcome in outcomes]
    pairs = list(combinations(range(len(names)), 2))
    found = [paired(right[a], right[b], sample, n_resamples=n_resamples) for a, b in pairs]
    corrected = holm([pair.p for pair in found])
    for (a, b), pair, p_holm in zip(pairs, found, corrected, strict=True):
        yield {
            "n": len(measured),
            "a": names[a],
            "b": names[b],
            "only_a": int(pair.cells.only_a),
            "only_b": int(pair.cells.only_b),
            "value_a": pair.value_a,
            "value_b": pair.value_b,
            "difference": pair.difference,
            "low": pair.low,
            "high": pair.high,
            "p": pair.p,
            "p_holm": p_holm,
            "is_sure": bool(p_holm <= SURE),
        }
