"""Curves from the stored errors of a run: how many draws are enough, which timesteps matter, what is noise.

Every frame is made from the errors alone. Draws are resampled jointly for all examples where all share one bank: what
the draws add to a score's uncertainty does not shrink with more examples then, and stands apart from their sampling.
Where each image has noise of its own the examples' parts are independent, and it does shrink.

>>> import compbench
>>> run = compbench.run("shapes", model="tiny-sd", limit=2, draws=2)
>>> by_draws(run)["n_draws"].unique().tolist()
[1, 2]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from compbench.core.aliases import Floats
from compbench.core.errors import UsageError
from compbench.core.examples import ErrorTable
from compbench.core.rules import INNER, NORM, WITHOUT
from compbench.core.weights import UNIFORM
from compbench.schedules.staged import Staged
from compbench_analysis.frames import _restaged, tables
from compbench_analysis.frames._outcomes import Outcomes, Population
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.signature import labels
from compbench_analysis.frames.stored_errors import Stored, has_own_noise
from compbench_analysis.frames.weightings import Window, weightings
from compbench_analysis.statistics.intervals import Sample, interval, standard_error, student
from compbench_analysis.statistics.resampling import LEAST_UNITS, LEAST_UNITS_OF_OWN_NOISE, balanced_subsets, resamples

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["by_draws", "by_rule", "by_timestep", "differences", "enough_draws", "monte_carlo", "n_bins_of"]

_MOST_STAGED = 100  # resamples of a staged run, which are dear; a standard deviation over them is known to 7 %
_N_BINS = 10
_Z = 1.959964  # of a normal 95 % interval
_CELL = ["task", "model", "column", "tag", "metric", "n", "is_small", "chance", "n_total", "is_partial", "run"]


def by_draws(
    runs: Run | Iterable[Run],
    by: By = None,
    rule: Rule | None = None,
    *,
    counts: Sequence[int] | None = None,
    n_subsets: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Each cell of `tables.tidy` against the number of draws: one row for each of `counts` (None: powers of two, all).

    `value` is that of the bank's first draws, which a smaller budget would have measured; its last point is the
    table's. `low` to `high` holds 95 % of `n_subsets` balanced random subsets of as many draws (`mean` of them all):
    they share draws, so that the band closes at the last point; what remains there is told by `monte_carlo`.
    """
    return _frames(_by_draws(run, label, by, rule, counts, n_subsets, seed) for run, label in _labelled(runs))


def by_timestep(
    runs: Run | Iterable[Run], by: By = None, rule: Rule | None = None, *, n_bins: int = _N_BINS
) -> pd.DataFrame:
    """Each cell of `tables.tidy` read from the draws of one bin of timesteps alone, with its Wilson interval.

    The bins, `first` to `last` with their mean `timestep`, hold equally many draws (but for the remainder).
    """
    return _frames(_by_timestep(run, label, by, rule, n_bins) for run, label in _labelled(runs))


def differences(
    runs: Run | Iterable[Run], by: By = None, rule: Rule | None = None, *, n_bins: int = _N_BINS
) -> pd.DataFrame:
    """The excess error of wrong pairs over right ones, by bin of timesteps and by tag.

    An example's difference is paired: same pictures, captions and noise. `difference` is the mean over examples, `low`
    to `high` its 95 % interval (Student's t) over the sampling of examples, or of the groups that share a picture;
    above 0 the bin speaks for the right pairs.
    """
    return _frames(_differences(run, label, by, rule, n_bins) for run, label in _labelled(runs))


def monte_carlo(
    runs: Run | Iterable[Run], by: By = None, rule: Rule | None = None, *, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """`tables.tidy` with what other draws would change: `draws_se`, and `draws_low` to `draws_high` around the value.

    The standard deviation of the cell over joint resamples of the draws (resampling.resamples), and 1.96 of it to
    either side, within 0 and 1; of a run with noise of each image's own that of a sum of independent outcomes, each
    right as often as in its resamples. `low` to `high` stay what they were: the sampling of examples, at these draws;
    with noise of each image's own that holds what its draws add, for they are sampled with the image. The stages of a
    run with schedule=paper are gone through again in each resample (_restaged.py). `is_unsure` says
    that the draws are too few to rely on `draws_se` (resampling.LEAST_UNITS), which tables then leave out.
    """
    return _frames(_monte_carlo(run, label, by, rule, n_resamples, seed) for run, label in _labelled(runs))


def enough_draws(run: Run, rule: Rule | None = None) -> tuple[int, int, bool]:
    """The number of draws read, the number of independent ones, and whether these are too few for `monte_carlo`."""
    least = LEAST_UNITS_OF_OWN_NOISE if has_own_noise(run) else LEAST_UNITS
    if isinstance(run.schedule, Staged):
        n_draws = n_units = sum(map(len, run.schedule.stages()))
    else:
        stored = Stored(run, rule)
        n_draws, n_units = stored.n_draws, stored.n_units
    return n_draws, n_units, n_units < least


def n_bins_of(run: Run, rule: Rule | None = None) -> int:
    """The number of bins for its draws: ten, or one for each where they are fewer."""
    return min(_N_BINS, Stored(run, rule).n_draws)


def by_rule(
    runs: Run | Iterable[Run],
    by: By = None,
    *,
    draws: int | None = None,
    windows: Sequence[Window] | None = None,
) -> pd.DataFrame:
    """Each cell of `tables.tidy` under each scoring rule: targets, weightings, windows, and the losses stored.

    `rule` names it and `source` says where it comes from (weightings.py); `target` is what the network was trained on,
    whose rule is the native one under another name. `draws`: of the bank's first draws (None:
    the run's view); `windows` are (first, last) timesteps, both within (None: thirds of the draws).
    """
    return _frames(_by_rule(run, label, by, draws, windows) for run, label in _labelled(runs))


def _by_draws(
    run: Run, label: str, by: By, rule: Rule | None, counts: Sequence[int] | None, n_subsets: int, seed: int
) -> Iterator[dict[str, Any]]:
    stored = Stored(run, rule)
    n_all = stored.n_draws
    counts = sorted({*(2**k for k in range(n_all.bit_length())), n_all}) if counts is None else list(counts)
    if unfit := [count for count in counts if not 1 <= count <= n_all]:
        raise UsageError(f"{unfit[0]} draws were asked for; expected 1 to {n_all}, which run {str(run.path)!r} holds")
    prefixes = np.stack([(np.arange(n_all) < count) / count for count in counts])
    subsets = [balanced_subsets(stored.draws.timesteps, count, n_subsets, seed, stored.units) for count in counts]
    for row, members in _read(stored, label, by, np.concatenate([prefixes, *subsets])):
        share = members.shares()
        spread = share[len(counts) :].reshape(len(counts), n_subsets)
        lows, highs = np.percentile(spread, [2.5, 97.5], axis=1)
        for number, count in enumerate(counts):
            yield {
                **_cell(row),
                "n_draws": count,
                "value": share[number],
                "mean": spread[number].mean(),
                "low": lows[number],
                "high": highs[number],
            }


def _by_timestep(run: Run, label: str, by: By, rule: Rule | None, n_bins: int) -> Iterator[dict[str, Any]]:
    stored = Stored(run, rule)
    bins = _bins(stored, n_bins)
    for row, members in _read(stored, label, by, _within(bins, stored.n_draws)):
        for draws, value, low, high in zip(bins, members.shares(), *members.interval(), strict=True):
            yield {**_cell(row), **_described(stored, draws), "value": value, "low": low, "high": high}


def _differences(run: Run, label: str, by: By, rule: Rule | None, n_bins: int) -> Iterator[dict[str, Any]]:
    stored, population = Stored(run, rule), Population(run.task_examples)
    bins = _bins(stored, n_bins)
    weights = _within(bins, stored.n_draws) * stored.weights
    found: dict[str, Floats] = {}
    for table in stored.tables():
        by_bin = _wrong_minus_right(table) @ weights.T  # [N, bins]
        paired = np.flatnonzero(np.isfinite(by_bin).all(1))
        found |= {table.ids[row]: by_bin[row] for row in paired}
    for column, tag, ids in _groups(run, by):
        members = sorted(example_id for example_id in ids if example_id in found)
        its = np.array([found[member] for member in members]).reshape(-1, n_bins).T  # [bins, n]
        sample = population.alone(members)
        mean, (se, n_free) = sample.mean(its), standard_error(its, sample)
        reach = se * student(max(n_free, 1))
        for number, draws in enumerate(bins):
            yield {
                "task": run.key.task,
                "model": label,
                "column": column,
                "tag": tag,
                "n": len(members),
                "is_small": len(members) < tables.FEW,
                **_described(stored, draws),
                "difference": mean[number],
                "low": mean[number] - reach[number],
                "high": mean[number] + reach[number],
                "is_partial": run.is_partial,
                "run": run.key.digest,
            }


def _monte_carlo(
    run: Run, label: str, by: By, rule: Rule | None, n_resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    is_own = has_own_noise(run)
    n_draws, n_units, is_unsure = enough_draws(run, rule)
    if isinstance(run.schedule, Staged):
        rows = _cells(run, label, by, rule, _restaged.outcomes(run, min(n_resamples, _MOST_STAGED), seed))
    else:
        stored = Stored(run, rule)
        rows = _read(stored, label, by, resamples(stored.draws.timesteps, n_resamples, seed, stored.units))
    for row, members in rows:
        se, value = members.scatter(is_independent=is_own), row["value"]
        yield {
            **row,
            "n_draws": n_draws,
            "n_units": n_units,
            "is_unsure": is_unsure,
            "draws_se": se,
            "draws_low": max(0.0, value - _Z * se),
            "draws_high": min(1.0, value + _Z * se),
        }


def _by_rule(
    run: Run, label: str, by: By, draws: int | None, windows: Sequence[Window] | None
) -> Iterator[dict[str, Any]]:
    view = run.rule
    for loss in _losses(run, view):
        plain = replace(view, target="native", weight=UNIFORM, table=(), draws=draws or view.draws)
        stored = Stored(run, replace(plain, loss=loss, guidance=view.guidance if loss in ("l2", NORM) else None))
        readings = list(weightings(stored.bank, stored.draw_ids, loss, windows, str(run.path)))
        weights = np.stack([reading.weights for reading in readings])
        for row, members in _read(stored, label, by, weights):
            for reading, value, low, high in zip(readings, members.shares(), *members.interval(), strict=True):
                how = {"rule": reading.name, "source": reading.source, "target": stored.draws.target}
                how |= {"n_draws": int((reading.weights > 0).sum())}
                yield {**_cell(row), **how, "value": value, "low": low, "high": high}


def _losses(run: Run, view: Rule) -> list[str]:
    """The losses that the run stores and the root of its squared errors; the view's own comes first."""
    stored = [loss for loss in run.losses() if loss not in (INNER, WITHOUT)]
    return list(dict.fromkeys([view.loss, *stored, *([NORM] if "l2" in stored else [])]))


def _labelled(runs: Run | Iterable[Run]) -> list[tuple[Run, str]]:
    given = runs if isinstance(runs, Iterable) else [runs]
    runs = list({run.path: run for run in given}.values())
    return list(zip(runs, labels(runs), strict=True))


def _frames(rows: Iterable[Iterable[dict[str, Any]]]) -> pd.DataFrame:
    return pd.DataFrame([row for of_run in rows for row in of_run])


def _groups(run: Run, by: By) -> list[tuple[str, str, list[str]]]:
    return tables.tag_groups(run.task_examples, by, run.info.task.order_of())


@dataclass(frozen=True)
class _Members:
    """The measured examples of a cell, with what they say under each of R readings."""

    outcomes: Outcomes
    ids: Sequence[str]
    sample: Sample

    def shares(self) -> Floats:
        """[R], the metric's number."""
        is_right = self.outcomes.matrix(self.ids)  # [n, R], too large to copy as floats where R is
        if not self.sample.is_weighted:
            return is_right.mean(0)
        return np.where(is_right.all(0), 1.0, self.sample.weights @ is_right)  # the weights' sum is 1 but for rounding

    def scatter(self, *, is_independent: bool) -> float:
        """The standard deviation of the metric's number over readings; or if each example had readings of its own."""
        if not is_independent:
            return float(self.shares().std(ddof=1))
        variances = self.outcomes.matrix(self.ids).var(1, ddof=1)  # [n]
        return float(np.sqrt(self.sample.weights**2 @ variances))

    def interval(self) -> tuple[Floats, Floats]:
        """Low [R] and high [R] over the sampling of examples."""
        return interval(self.outcomes.right(self.ids), self.sample)


def _read(stored: Stored, label: str, by: By, readings: Floats) -> Iterator[tuple[dict[str, Any], _Members]]:
    """Each row of the table with its examples under each of the readings."""
    yield from _cells(stored.run, label, by, stored.rule, stored.outcomes(readings))


def _cells(
    run: Run, label: str, by: By, rule: Rule | None, outcomes: Mapping[str, Outcomes]
) -> Iterator[tuple[dict[str, Any], _Members]]:
    """Each row of the table under `rule` with its examples under the readings that `outcomes` are of."""
    population = Population(run.task_examples)
    members = {(column, tag): ids for column, tag, ids in _groups(run, by)}
    for row in tables.tidy(run, by, rule).to_dict("records"):
        row = {**{str(name): value for name, value in row.items()}, "model": label}
        its = outcomes[row["metric"]]
        if ids := its.measured(members[row["column"], row["tag"]]):
            yield row, _Members(its, ids, population.sample(its.metric, ids))


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table without what belongs to its own value."""
    return {name: row[name] for name in _CELL}


def _bins(stored: Stored, n_bins: int) -> list[np.ndarray]:
    """The draws in order of timestep, cut into bins of equally many; pairs are not cut, where there are enough."""
    if not 1 <= n_bins <= stored.n_draws:
        raise UsageError(f"{n_bins} bins of {stored.n_draws} draws; expected 1 to {stored.n_draws}")
    order = np.argsort(stored.draws.timesteps, kind="stable")
    if stored.units is None or n_bins > stored.n_units:
        return np.array_split(order, n_bins)
    in_order = stored.units[order]
    return [order[np.isin(in_order, some)] for some in np.array_split(list(dict.fromkeys(in_order.tolist())), n_bins)]


def _within(bins: Sequence[np.ndarray], n_draws: int) -> Floats:
    """[bins, D], the mean over each bin's draws."""
    return np.stack([np.isin(np.arange(n_draws), members) / len(members) for members in bins])


def _described(stored: Stored, members: np.ndarray) -> dict[str, Any]:
    timesteps = stored.draws.timesteps[members]
    within = {"first": timesteps.min(), "timestep": timesteps.mean(), "last": timesteps.max()}
    return {**{name: float(timestep) for name, timestep in within.items()}, "n_draws": len(members)}


def _wrong_minus_right(table: ErrorTable) -> Floats:
    """[N, D] float64: mean error of an example's wrong pairs less that of its right ones; NaN where it lacks either."""
    with np.errstate(invalid="ignore"):
        right = table.matches / table.matches.sum((1, 2), keepdims=True)
        wrong = ~table.matches / (~table.matches).sum((1, 2), keepdims=True)
    return np.einsum("nic,nicd->nd", wrong - right, table.errors)
