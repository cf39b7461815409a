"""The models that lead a table, and those not told apart from the leader by tests on the same examples.

The leader of a cell is the model with the highest value. Every other one is tested against it as `compare` tests two
runs, with Holm's correction over the models of the cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

from compbench.core.errors import UsageError
from compbench_analysis.frames._outcomes import Outcomes, Population, judged_alike
from compbench_analysis.frames._pairing import comparable, measured_alike, paired
from compbench_analysis.frames.breakdowns import MARGIN, OVERALL, By, breakdown, tag_groups
from compbench_analysis.frames.seeds import SeedGroup
from compbench_analysis.statistics.paired_tests import holm

if TYPE_CHECKING:
    from compbench.core.rules import Rule

__all__ = ["SURE", "Standings", "headline", "standings"]

SURE = 0.05  # a difference with a corrected p of at most this is one


@dataclass(frozen=True)
class Standings:
    """A row for each cell and model: what it lacks to the leader, and whether that can be told from nothing.

    `difference` is the model's value less the leader's, with its 95 % interval; of the leader it is 0 and p is None.
    `is_level` holds for the leader and for each model that the test does not tell from it. Where no models can be held
    against each other there are no rows, and `reason` says why; `untested` are models that lack examples, beside two or
    more that do not. A row has column, tag, metric, model, value, difference, low, high, p, p_holm and is_level.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    reason: str = ""
    untested: Sequence[str] = ()


def headline(metrics: Sequence[str]) -> str:
    """The metric that a verdict is about: group where there is one, else the first."""
    return "group" if "group" in metrics else metrics[0]


def standings(members: Sequence[SeedGroup], by: By = None, rule: Rule | None = None) -> Standings:
    """The standings of models on one task, overall and by the tags of the columns `by` (None: "tag")."""
    if len(members) < 2:
        return Standings()
    if any(len(member.runs) > 1 for member in members):
        return Standings(reason="models of several seeds are not tested here; compare tests single runs")
    runs, names = [member.runs[0] for member in members], [member.label for member in members]
    is_compared = comparable(runs, rule)
    untested = [name for name, compared in zip(names, is_compared, strict=True) if not compared]
    runs, names = list(compress(runs, is_compared)), list(compress(names, is_compared))
    try:
        done = set.intersection(*measured_alike(runs, rule))
    except UsageError as error:
        return Standings(reason=str(error))
    examples = runs[0].task_examples
    is_by_margin = MARGIN in breakdown(by).names
    groups = tag_groups(examples, None if is_by_margin else by, runs[0].info.task.order_of())
    cells = [(column, tag, done.intersection(ids)) for column, tag, ids in groups if not is_by_margin or tag == OVERALL]
    found = judged_alike(runs, rule)
    population = Population(examples)
    rows = [
        {"column": column, "tag": tag, "metric": name, **row}
        for column, tag, ids in cells
        for name in found[0]
        for row in _cell({label: of_run[name] for label, of_run in zip(names, found, strict=True)}, ids, population)
    ]
    return Standings(rows, untested=untested)


def _cell(outcomes: Mapping[str, Outcomes], ids: set[str], population: Population) -> Iterator[dict[str, Any]]:
    """The rows of one metric and tag; none where nothing is measured."""
    first = next(iter(outcomes.values()))
    measured = first.measured(sorted(ids))
    if not measured:
        return
    sample = population.sample(first.metric, measured)
    right = {label: table.matrix(measured)[:, 0] for label, table in outcomes.items()}
    values = {label: float(sample.mean(rights.astype(float))) for label, rights in right.items()}
    leader = max(values, key=lambda label: values[label])
    others = {label: paired(right[label], right[leader], sample) for label in right if label != leader}
    corrected = dict(zip(others, holm([other.p for other in others.values()]), strict=True))
    for label, value in values.items():
        row: dict[str, Any] = {"model": label, "value": value}
        if label == leader:
            yield (
                row
                | dict.fromkeys(("difference", "low", "high"), 0.0)
                | {"p": None, "p_holm": None}
                | {"is_level": True}
            )
        else:
            pair = others[label]
            yield row | {
                "difference": pair.difference,
                "low": pair.low,
                "high": pair.high,
                "p": pair.p,
                "p_holm": corrected[label],
                "is_level": not corrected[label] <= SURE,
            }
