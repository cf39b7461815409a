"""Two runs on the same examples: whether they may be compared, and what one test says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compbench.core.aliases import Bools
from compbench.core.errors import UsageError
from compbench_analysis.statistics import paired_tests
from compbench_analysis.statistics.intervals import Sample, effective_n
from compbench_analysis.statistics.paired_tests import Agreement

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["Paired", "comparable", "effective", "measured_alike", "paired", "where_of"]


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models' outcomes on the same examples held against each other; shares and differences are fractions of 1."""

    cells: Agreement
    value_a: float
    value_b: float
    difference: float
    low: float  # of the 95 % interval of the difference
    high: float
    p: float


def paired(a: Bools, b: Bools, sample: Sample, *, n_resamples: int = 9999, seed: int = 0) -> Paired:
    """The exact McNemar test and Newcombe's interval; sign flips of whole groups where examples share them."""
    cells, is_plain = Agreement.of(a, b), sample.method == "wilson"
    gains = a.astype(float) - b
    low, high = paired_tests.interval(cells if is_plain else effective(a, b, sample))
    return Paired(
        cells=cells,
        value_a=float(sample.mean(a.astype(float))),
        value_b=float(sample.mean(b.astype(float))),
        difference=cells.difference if is_plain else float(sample.mean(gains)),
        low=low,
        high=high,
        p=paired_tests.mcnemar(cells)
        if is_plain
        else paired_tests.sign_flips(gains * sample.weights, sample.clusters, n_resamples=n_resamples, seed=seed),
    )


def where_of(a: Bools, b: Bools) -> Mapping[str, Bools]:
    """[N] for each cell of the agreement: which examples are in it."""
    return {"both": a & b, "only_a": a & ~b, "only_b": ~a & b, "neither": ~a & ~b}


def effective(a: Bools, b: Bools, sample: Sample) -> Agreement:
    """The agreement as of so many examples as stand alone and know the difference as well (Rao & Scott, 1992)."""
    gains = a.astype(float) - b
    mean = sample.mean(gains)
    spread = sample.mean((gains - mean) ** 2)
    n = float(effective_n(gains, sample, spread))
    return Agreement(*(n * float(sample.mean(cell.astype(float))) for cell in where_of(a, b).values()))


def comparable(runs: Sequence[Run], rule: Rule | None) -> list[bool]:
    """Whether each run is one of those to hold against each other: all, or the complete ones, where two or more are.

    So a run of 24 examples does not keep two of 400 from being compared. A run lacks nothing by a picture that could
    not be read.
    """
    of_each = [set(run.done((rule or run.rule).draws)) for run in runs]
    measured = set[str]().union(*of_each)
    is_complete = [measured - done <= set(run.unreadable().examples) for run, done in zip(runs, of_each, strict=True)]
    return is_complete if sum(is_complete) > 1 else [True] * len(runs)


def measured_alike(runs: Sequence[Run], rule: Rule | None) -> list[set[str]]:
    """The examples that each run has measured; UsageError where more than the models differs."""
    if len(runs) < 2:
        raise UsageError(f"a comparison needs two different runs, got {len(runs)}; name another one")
    first = runs[0]
    for other in runs[1:]:
        pair = f"{_name(first)} and {_name(other)}"
        if first.key.task != other.key.task:
            raise UsageError(f"cannot compare {pair}: they are of different tasks; compare runs of one task")
        if first.key.task_revision != other.key.task_revision:
            raise UsageError(
                f"cannot compare {pair}: they are of different revisions of the data, {first.key.task_revision} and "
                f"{other.key.task_revision}, so examples or images differ; run both on the same data"
            )
    return _measured(runs, rule)


def _measured(runs: Sequence[Run], rule: Rule | None) -> list[set[str]]:
    """The examples each run measured; UsageError where one lacks an example, unless an image of it was unreadable."""
    first = runs[0]
    of_each = [set(run.done((rule or run.rule).draws)) for run in runs]
    lost = [set(run.unreadable().examples) for run in runs]
    for other, measured, its_lost in zip(runs[1:], of_each[1:], lost[1:], strict=True):
        if not (of_each[0] - measured <= its_lost and measured - of_each[0] <= lost[0]):
            raise UsageError(_unmatched(first, other, of_each[0], measured))
    if not of_each[0]:
        raise UsageError(f"cannot compare {_name(first)}: no example of it is measured; rerun its command")
    if not set.intersection(*of_each):
        raise UsageError("cannot compare these runs: the examples that one measured are those another could not read")
    return of_each


def _unmatched(first: Run, other: Run, done: set[str], its: set[str]) -> str:
    """A message on how many examples the two do not share, and what to do."""
    only, only_its = sorted(done - its), sorted(its - done)
    counts = " and ".join(
        f"{len(ids)} only in {_name(run)} ({ids[0]!r} the first)"
        for run, ids in ((first, only), (other, only_its))
        if ids
    )
    fewest = min(done, its, key=len)
    if fewest and set(first.limited(len(fewest)).ids()) == fewest:
        what_to_do = f"compare with --limit {len(fewest)}, or run both with the same --limit"
    else:
        what_to_do = "finish both"
    return (
        f"cannot compare {_name(first)} and {_name(other)}: {len(done & its)} examples are in both, "
        f"{counts}; {what_to_do}"
    )


def _name(run: Run) -> str:
    return f"{f'{run.key.task}/{run.key.model}'!r} ({run.key.digest[:6]})"
