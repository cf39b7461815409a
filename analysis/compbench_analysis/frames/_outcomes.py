"""The outcome of each metric on each example of a run, and the sampling of a cell's examples from a population."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.examples import Metric
from compbench.core.metrics import RAW, column_of, named, over_units
from compbench_analysis.statistics.intervals import Sample

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store import StoredExamples
    from compbench.store.run import Run

__all__ = ["Outcomes", "Population", "counted", "joined", "judged", "judged_alike", "metrics_of", "ordered"]

_ORDER = ("text", "image", "group", "image_raw", "group_raw", "top1", "mean_per_class")


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of one metric on each example under each of R readings of a run, or in each of R runs."""

    metric: Metric
    rows: Mapping[str, int]  # example id -> row
    is_right: Bools  # [N, R]
    is_tied: Bools | None = None  # [N, R]: wrong only because of a tie; None where that was not asked

    @classmethod
    def of(cls, metric: Metric, ids: Sequence[str], is_right: Bools, is_tied: Bools | None = None) -> Outcomes:
        """The outcomes of examples in the order of the rows."""
        return cls(metric, {example_id: row for row, example_id in enumerate(ids)}, is_right, is_tied)

    def measured(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` that were measured, sorted, so that the order of a task's examples changes no bit."""
        return sorted(filter(self.rows.__contains__, ids))

    def matrix(self, ids: Sequence[str]) -> Bools:
        """[len(ids), R] of examples that were measured."""
        return self.is_right[self._at(ids)]

    def right(self, ids: Sequence[str]) -> Floats:
        """[R, len(ids)]: 1 where they are right, else 0."""
        return self.is_right[self._at(ids)].T.astype(np.float64)

    def n_tied(self, ids: Sequence[str]) -> float:
        """The number of examples that are wrong only because of a tie, averaged over R."""
        return math.nan if self.is_tied is None else float(self.is_tied[self._at(ids)].sum(0).mean())

    def _at(self, ids: Sequence[str]) -> Ints:
        return np.fromiter(map(self.rows.__getitem__, ids), np.int64, len(ids))


@dataclass(frozen=True)
class Population:
    """The examples of a task: the groups that some share, and the classes of a classification task."""

    examples: StoredExamples

    def sample(self, metric: Metric, ids: Sequence[str]) -> Sample:
        """The sample that the examples `ids` make for the metric."""
        column, key = metric.column if metric.is_per_class else None, tuple(ids)
        found = self._samples.get(column)
        if found is None or found[0] != key:
            classes = None if column is None else [self.values(column)[example_id] for example_id in ids]
            found = self._samples[column] = key, Sample.of([self._group_of[name] for name in ids], classes)
        return found[1]

    @cached_property
    def _samples(self) -> dict[str | None, tuple[tuple[str, ...], Sample]]:
        """The last one of each column of classes: the metrics of a table ask for the same one after the other."""
        return {}

    def alone(self, ids: Sequence[str]) -> Sample:
        """Each example counts alike."""
        return Sample.of([self._group_of[example_id] for example_id in ids])

    @cached_property
    def _group_of(self) -> dict[str, str]:
        pairs = zip(self.examples.ids, self.examples.groups, strict=True)
        return {example_id: group or example_id for example_id, group in pairs}

    def judged(self, metric: Metric, ids: Sequence[str]) -> Sequence[str]:
        """Those of `ids` that the metric applies to and that count in it."""
        applying, column = set(filter(metric.applies, self._shapes)), column_of(metric)
        if not column and applying == self._shapes:
            return ids
        return [
            name for name in ids if self._pattern_of[name][0] in applying and (not column or self.values(column)[name])
        ]

    @cached_property
    def _shapes(self) -> set[tuple[int, int]]:
        return {shape for shape, _ in self._pattern_of.values()}

    def chance(self, metric: Metric, ids: Sequence[str]) -> float:
        """The mean over `ids` of the closed-form value; NaN where it is not known for a shape."""
        total = 0.0
        for (shape, flags), n in Counter(map(self._pattern_of.__getitem__, ids)).items():
            value = metric.chance(np.frombuffer(flags, dtype=bool).reshape(shape))
            total += math.nan if value is None else n * value
        return total / len(ids)

    @cached_property
    def _pattern_of(self) -> dict[str, tuple[tuple[int, int], bytes]]:
        """Shape and contents of each example's matches, which are few and can be counted."""
        pairs = zip(self.examples.ids, self.examples.matches, strict=True)
        return {name: ((matches.shape[0], matches.shape[1]), matches.tobytes()) for name, matches in pairs}

    def values(self, column: str) -> Mapping[str, str]:
        """Example id -> its value in a tag column, "" where it has none."""
        if column not in self._values_of:
            tags = zip(self.examples.ids, self.examples.tags, strict=True)
            self._values_of[column] = {example_id: "\x1f".join(own.get(column, ())) for example_id, own in tags}
        return self._values_of[column]

    @cached_property
    def _values_of(self) -> dict[str, dict[str, str]]:
        return {}


def metrics_of(run: Run, rule: Rule, is_normalised: bool = False) -> list[Metric]:
    """The metrics that a run has under `rule`, in the one order in which they stand everywhere.

    `is_normalised`: its model gives scores without a caption too.
    """
    found = named(run.info.task.metrics, unconditional=rule.is_normalised or is_normalised)
    if rule.normalise:  # what two images gain over their captions is one comparison, not two: chance is higher
        found = [replace(metric, chance=_unknown) if metric.name in RAW else metric for metric in found]
    return [metric for name in ordered([column.name for column in found]) for metric in found if metric.name == name]


def _unknown(matches: Bools) -> None:
    return None


def ordered(names: Sequence[str]) -> list[str]:
    """Names of metrics in that order; those that are not known here last."""
    return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def judged(run: Run, rule: Rule) -> list[Outcomes]:
    """Each metric's outcomes on the examples that it applies to, R = 1."""
    scored = run.tables(rule)
    found: list[Outcomes] = []
    is_normalised = any(table.unconditional is not None for table in scored.values())
    for metric in metrics_of(run, rule, is_normalised):
        tables = [table for shape, table in scored.items() if table.ids and metric.applies(shape)]
        ids = [example_id for table in tables for example_id in table.ids]
        is_right, is_tied = (
            np.concatenate([np.zeros(0, bool), *(judge(table) for table in tables)])
            for judge in (metric.outcome, metric.ties)
        )
        found.append(counted(run, Outcomes.of(metric, ids, is_right[:, None], is_tied[:, None])))
    return found


def judged_alike(runs: Sequence[Run], rule: Rule | None) -> list[dict[str, Outcomes]]:
    """The outcomes of each run by metric, for the metrics that all of them have."""
    found = [{judgement.metric.name: judgement for judgement in judged(run, rule or run.rule)} for run in runs]
    shared = [name for name in found[0] if all(name in of_run for of_run in found)]
    return [{name: of_run[name] for name in shared} for of_run in found]


def counted(run: Run, outcomes: Outcomes) -> Outcomes:
    """The outcomes of the examples that count in the metric, each that of its whole unit (metrics.over_units)."""
    column = column_of(outcomes.metric)
    if not column:
        return outcomes
    ids, value_of = list(outcomes.rows), Population(run.task_examples).values(column)
    values = [value_of[example_id] for example_id in ids]
    rows, is_right = over_units(outcomes.metric, values, outcomes.is_right)
    is_tied = None
    if outcomes.is_tied is not None:
        _, or_tied = over_units(outcomes.metric, values, outcomes.is_right | outcomes.is_tied)
        is_tied = or_tied & ~is_right
    return Outcomes.of(outcomes.metric, [ids[row] for row in rows], is_right, is_tied)


def joined(runs: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of one metric in several runs on the same examples, side by side: R is the number of runs."""
    order = [[run.rows[example_id] for example_id in runs[0].rows] for run in runs]
    is_right = np.concatenate([run.is_right[rows_of_run] for run, rows_of_run in zip(runs, order, strict=True)], axis=1)
    ties = [run.is_tied[rows_of_run] for run, rows_of_run in zip(runs, order, strict=True) if run.is_tied is not None]
    rows = {example_id: row for row, example_id in enumerate(runs[0].rows)}
    return Outcomes(runs[0].metric, rows, is_right, np.concatenate(ties, axis=1) if len(ties) == len(runs) else None)
