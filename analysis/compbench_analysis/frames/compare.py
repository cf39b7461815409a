"""Stored runs against each other, two at a time, on the same examples: is the difference real, where, and in which?

Runs of another task, another revision of its data or another set of examples are refused: what differs then is not the
models alone. Examples whose images one of the runs could not read are left out of all, and counted. The frames are the
result; what is printed (text/compare.py) is made of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from compbench.core.aliases import Ints
from compbench.core.errors import UsageError
from compbench.core.examples import Metric
from compbench_analysis.frames import tables
from compbench_analysis.frames._outcomes import Outcomes, Population, judged_alike
from compbench_analysis.frames._pairing import measured_alike, paired, where_of
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.signature import labels
from compbench_analysis.statistics import paired_tests
from compbench_analysis.statistics.paired_tests import Agreement

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["CELLS", "REST", "Comparison", "compare"]

CELLS = ("both", "only_a", "only_b", "neither")
REST = "the rest"
_MOST_TAGS_IN_PAIRS = 5  # more tags than this are each held against the rest


@dataclass(frozen=True)
class Comparison:
    """Tidy frames, all shares and differences fractions of 1; A is the run that was named first.

    outcomes: a row for each pair of runs, metric and tag: the agreement counts, both shares, their difference with its
    Newcombe 95 % interval, the exact McNemar p, Holm's p over `family`, and the smallest detectable difference.
    margins: the mean difference of standardised margins with the sign-flip p.
    interactions: the difference in one tag minus the difference in another, with the exact permutation p.
    examples: a row for each pair of runs, metric and example: its id and its cell, one of CELLS.
    """

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    outcomes: pd.DataFrame
    margins: pd.DataFrame
    interactions: pd.DataFrame
    examples: pd.DataFrame
    n_shared_groups: int  # groups of several examples: 0 where all examples stand for themselves
    n_examples: int  # that every run has measured
    left_out: Mapping[str, tuple[str, ...]]  # label -> its examples whose images another run could not read
    rule: Rule | None = None  # by which all errors are read; None: each run's by its own

    def ids(self, metric: str, cell: str, tag: str = tables.OVERALL, *, a: str = "", b: str = "") -> list[str]:
        """The examples in a cell of the agreement: comparison.ids("text", "only_a", "Object"). a, b: labels of runs."""
        rows = self.outcomes
        for name, value in {"metric": metric, "tag": tag, "a": a or self.labels[0], "b": b or self.labels[1]}.items():
            if value not in set(rows[name]):
                expected = ", ".join(map(str, dict.fromkeys(rows[name])))
                raise UsageError(f"no {name} {value!r} in this comparison; expected one of {expected}")
            rows = rows.iloc[np.flatnonzero(rows[name] == value)]
        if cell not in CELLS:
            raise UsageError(f"no agreement cell named {cell!r}; expected one of {', '.join(CELLS)}")
        return list(dict.fromkeys(example_id for ids in rows[f"ids_{cell}"] for example_id in ids))


@dataclass(frozen=True)
class _Pair:
    """Two runs on the same examples, by metric: outcomes and standardised margins [N] in the order of the ids."""

    names: dict[str, str]  # the columns that say which pair a row is of
    metrics: dict[str, Metric]
    outcomes: dict[str, pd.DataFrame]  # metric -> columns a, b; index ids
    margins: dict[str, pd.Series]  # metric -> A minus B; index ids


def compare(
    runs: Iterable[Run],
    by: By = None,
    rule: Rule | None = None,
    *,
    n_resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Every pair of the runs, overall and by the tags of the columns `by` (None: "tag").

    UsageError where the runs are not of one task and revision, or did not measure the same examples but for images that
    cannot be read. `seed` is that of the random signs of the margin test; nothing else is random.

    >>> import compbench
    >>> runs = [compbench.run("shapes", model=name, limit=6) for name in ("chance", "tiny-clip")]
    >>> compare(runs).labels
    ('chance', 'tiny-clip')
    """
    runs = tuple({run.path.resolve(): run for run in runs}.values())
    of_each = measured_alike(runs, rule)
    done = set.intersection(*of_each)
    examples, names = runs[0].task_examples, labels(runs)
    tags = tables.tag_groups(examples, by, runs[0].info.task.order_of())
    tags = [(column, tag, [example_id for example_id in ids if example_id in done]) for column, tag, ids in tags]
    population = Population(examples)
    pairs = list(_pairs(runs, names, rule, sorted(done)))
    outcomes = [row for pair in pairs for row in _outcomes(pair, tags, population, n_resamples, seed)]
    margins = [row for pair in pairs for row in _margins(pair, tags, population, n_resamples, seed)]
    n_shared = int((np.bincount(population.alone(sorted(done)).clusters) > 1).sum())
    interactions = [] if n_shared else [row for pair in pairs for row in _interactions(pair, tags)]
    return Comparison(
        runs=runs,
        labels=tuple(names),
        outcomes=_corrected(outcomes),
        margins=_corrected(margins),
        interactions=_corrected(interactions),
        examples=pd.DataFrame([row for pair in pairs for row in _cells(pair)]),
        n_shared_groups=n_shared,
        n_examples=len(done),
        left_out={
            name: tuple(sorted(measured - done))
            for name, measured in zip(names, of_each, strict=True)
            if measured - done
        },
        rule=rule,
    )


def _pairs(runs: Sequence[Run], names: Sequence[str], rule: Rule | None, ids: Sequence[str]) -> Iterator[_Pair]:
    """Each pair of runs, on the examples `ids`, which all of them have measured."""
    frames = [run.to_frame(rule, with_posteriors=False).set_index("id").loc[list(ids)] for run in runs]
    found = judged_alike(runs, rule)
    metrics = [outcomes.metric for outcomes in found[0].values() if outcomes.rows]
    for a, b in combinations(range(len(runs)), 2):
        yield _Pair(
            names={"task": runs[a].key.task, "a": names[a], "b": names[b], "metric": ""},
            metrics={metric.name: metric for metric in metrics},
            outcomes={
                metric.name: pd.DataFrame(
                    {name: _by_id(found[n][metric.name], ids) for name, n in (("a", a), ("b", b))}
                )
                for metric in metrics
            },
            margins={
                metric.name: _standardised(frames[a], metric.name) - _standardised(frames[b], metric.name)
                for metric in metrics
                if f"{metric.name}_margin" in frames[a] and f"{metric.name}_margin" in frames[b]
            },
        )


def _by_id(outcomes: Outcomes, ids: Sequence[str]) -> pd.Series:
    """Whether each of `ids` is right, where the metric applies to it."""
    ids = outcomes.measured(ids)
    return pd.Series(outcomes.matrix(ids)[:, 0], index=ids, dtype=bool)


def _standardised(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Margins in units of their root mean square over all examples: the zero, where right and wrong part, stays."""
    margins = pd.Series(frame[f"{metric}_margin"], dtype=float).dropna()
    scale = math.sqrt(float((margins**2).mean())) if len(margins) else 0.0
    return margins / scale if scale else margins


def _outcomes(
    pair: _Pair, tags: Sequence[tuple[str, str, list[str]]], population: Population, n_resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    for metric, outcomes in pair.outcomes.items():
        for column, tag, ids in tags:
            rows = outcomes.loc[sorted(set(ids).intersection(outcomes.index))]
            if column and not len(rows):  # the metric does not apply to any example of the tag
                continue
            a, b = rows["a"].to_numpy(), rows["b"].to_numpy()
            sample = population.sample(pair.metrics[metric], list(map(str, rows.index)))
            found = paired(a, b, sample, n_resamples=n_resamples, seed=seed)
            yield {
                **pair.names,
                "metric": metric,
                "column": column,
                "tag": tag,
                "n": len(rows),
                **asdict(found.cells),
                "value_a": found.value_a,
                "value_b": found.value_b,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "method": sample.method,
                "is_small": tables.is_small(len(rows), found.low, found.high),
                "p": found.p,
                "detectable": paired_tests.detectable(found.cells) if sample.method == "wilson" else math.nan,
                **{f"ids_{cell}": list(rows.index[where]) for cell, where in where_of(a, b).items()},
            }


def _margins(
    pair: _Pair, tags: Sequence[tuple[str, str, list[str]]], population: Population, n_resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    for metric, margins in pair.margins.items():
        for column, tag, ids in tags:
            rows = margins.loc[sorted(set(ids).intersection(margins.index))]
            if column and not len(rows):
                continue
            differences, sample = rows.to_numpy(), population.alone(list(map(str, rows.index)))
            yield {
                **pair.names,
                "metric": metric,
                "column": column,
                "tag": tag,
                "n": len(rows),
                "difference": float(differences.mean()) if len(rows) else math.nan,
                "p": paired_tests.sign_flips(differences, sample.clusters, n_resamples=n_resamples, seed=seed),
            }


def _interactions(pair: _Pair, tags: Sequence[tuple[str, str, list[str]]]) -> Iterator[dict[str, Any]]:
    alone = {name: table for name, table in pair.outcomes.items() if not pair.metrics[name].is_per_class}
    for metric, outcomes in alone.items():
        for column, tag, other_tag, ids, other_ids in _contrasts(tags, outcomes.index):
            first, second = outcomes.loc[ids], outcomes.loc[other_ids]
            cells, others = (Agreement.of(table["a"].to_numpy(), table["b"].to_numpy()) for table in (first, second))
            low, high = paired_tests.gain_interval(cells, others)
            yield {
                **pair.names,
                "metric": metric,
                "column": column,
                "tag": tag,
                "other_tag": other_tag,
                "n": len(first),
                "other_n": len(second),
                "difference": cells.difference - others.difference,
                "low": low,
                "high": high,
                "p": paired_tests.gain_test(_gains(first), _gains(second)),
            }


def _contrasts(
    tags: Sequence[tuple[str, str, list[str]]], measured: Iterable[str]
) -> Iterator[tuple[str, str, str, list[str], list[str]]]:
    """(column, tag, other tag, ids, other ids): each pair of a few tags, else each against the rest.

    An example that carries both tags speaks for neither.
    """
    everything = set(measured)
    for column in dict.fromkeys(column for column, _, _ in tags if column):
        members = {tag: everything.intersection(ids) for of_column, tag, ids in tags if of_column == column}
        members = {tag: ids for tag, ids in members.items() if ids}
        if len(members) <= _MOST_TAGS_IN_PAIRS:
            contrasts = [(first, second, members[first], members[second]) for first, second in combinations(members, 2)]
        else:
            contrasts = [(tag, REST, ids, everything - ids) for tag, ids in members.items()]
        for tag, other_tag, ids, other_ids in contrasts:
            yield column, tag, other_tag, sorted(ids - other_ids), sorted(other_ids - ids)


def _cells(pair: _Pair) -> Iterator[dict[str, str]]:
    for metric, outcomes in pair.outcomes.items():
        for example_id, a, b in zip(outcomes.index, outcomes["a"], outcomes["b"], strict=True):
            cell = CELLS[2 * (not a) + (not b)]
            yield {**pair.names, "metric": metric, "id": str(example_id), "cell": cell}


def _corrected(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The rows with Holm's p over their family: the overall tests, or the tests by the tags of one column."""
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(_family(row["column"]), []).append(row)
    for family, members in families.items():
        n_tests = sum(not math.isnan(row["p"]) for row in members)
        corrected = paired_tests.holm([row["p"] for row in members])
        for row, p_holm in zip(members, corrected, strict=True):
            row |= {"p_holm": p_holm, "family": family, "n_tests": n_tests}
    return pd.DataFrame(list(rows))


def _family(column: str) -> str:
    """The name of a family of tests; a column may be called what the whole set is called."""
    if not column:
        return tables.OVERALL
    return f"{column} (column)" if column == tables.OVERALL else column


def _gains(outcomes: pd.DataFrame) -> Ints:
    return outcomes["a"].to_numpy().astype(np.int64) - outcomes["b"].to_numpy()
