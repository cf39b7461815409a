"""What racing saves and what it changes: `python -m tests.benchmarks.racing [RUN ...] [--examples 400] [--json]`.

Without a RUN: populations that try a bound, with the same draws heavy for all examples and with heavy draws of each
example's own. A RUN is stored, with every draw of a budget measured: its examples are raced as if their errors came in
draw by draw, a first wave of its own counted in, and compared with the full budget; nothing is measured again.
`--harder 1 4 8` shifts the errors of a pair by a constant so that margins are a fraction of what they are, with the
draws' own noise: what the same model would cost on examples that are harder to tell. Intervals are Wilson's, 95 %; of
orders of one run's examples they are too narrow, since the examples are the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import rich.console
import rich.table

import compbench
from compbench.core.aliases import Bools, Floats
from compbench.core.measurements import DrawTable
from compbench.schedules.pairs import OUTCOMES, Comparisons
from compbench.schedules.policies import full_scores
from compbench.schedules.racing import Racing
from compbench.schedules.strata import strata
from compbench.schedules.wave import Wave, wave_ids
from compbench_analysis.statistics.intervals import wilson
from tests.benchmarks.populations import FORMS, POPULATIONS, bounds, raced


@dataclass(frozen=True, slots=True)
class Budget:
    """Examples on their full budget."""

    ids: Sequence[str]
    draws: DrawTable
    errors: Floats  # [N, I, C, D] float64, weighted
    matches: Bools  # [N, I, C]


@dataclass(frozen=True, slots=True)
class Row:
    what: str  # population and form, or run and margins
    bound: str
    n: int
    n_changed: int  # outcomes (of the worst margin, or the worst of text, image and group) that differ
    evaluations: float  # share of the full budget; of a run the wave is counted in
    full: float  # share of the examples that went to the end, outside the wave
    expected: float | None = None  # share that the race itself expects to change, of the score with the most
    of_prefix: float | None = None  # share that changes when every example stops where races stop on average

    @property
    def changed(self) -> str:
        low, high = wilson(self.n_changed, self.n)
        return f"{self.n_changed / self.n:.1%} [{low:.1%}, {high:.1%}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--examples", type=int, default=400, help="of a population, at each margin")
    parser.add_argument("--risk", type=float, default=0.05)
    parser.add_argument("--tolerance", type=float, nargs="*", default=[0.01])
    parser.add_argument("--bounds", nargs="*", default=[], metavar="BOUND", help="only these rows; default: all")
    parser.add_argument("--draws", type=int, default=1000, help="of a RUN: this many leading draws of the bank")
    parser.add_argument("--rule", default="native", choices=["native", "eps", "v", "x0"])
    parser.add_argument("--orders", type=int, default=1, help="random orders and waves a RUN is raced in")
    parser.add_argument("--harder", type=float, nargs="+", default=[1.0], help="by what margins are divided")
    parser.add_argument("--together", type=int, default=1, help="draws raced as one: 2 for antithetic noise")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = list(_of_runs(arguments) if arguments.runs else _of_populations(arguments))
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        _print(rows, f"risk {arguments.risk:g}")


def _of_populations(arguments: argparse.Namespace) -> Iterator[Row]:
    """Each bound at the margin at which most outcomes change; the evaluations are the mean over the margins."""
    for population in POPULATIONS:
        for form in FORMS:
            for name, race in _bounds(arguments).items():
                found = list(raced(population, form, race, arguments.examples))
                worst = max(found, key=lambda row: row.n_changed)
                evaluations = float(np.mean([row.evaluations for row in found]))
                yield Row(f"{population.name}, {form}", name, worst.n, worst.n_changed, evaluations, worst.full)


def _bounds(arguments: argparse.Namespace) -> Mapping[str, Racing]:
    known = bounds(arguments.risk, arguments.tolerance)
    return {name: race for name, race in known.items() if name.split()[0] in arguments.bounds or not arguments.bounds}


def _of_runs(arguments: argparse.Namespace) -> Iterator[Row]:
    for path in arguments.runs:
        for by in arguments.harder:
            budget = _harder(_read(path, arguments.draws, arguments.rule), by)
            for asked in (("text",), OUTCOMES):
                for name, race in _bounds(arguments).items():
                    own = replace(race, draws=arguments.draws, outcomes=asked, together=arguments.together)
                    kind = "text" if len(asked) == 1 else "all"
                    yield _raced(budget, own, arguments.orders, f"{path}, margins / {by:g}, {kind}", name)


def _raced(budget: Budget, race: Racing, n_orders: int, what: str, name: str) -> Row:
    """All examples in some orders, each with another wave."""
    wrong, doubts = ({outcome: 0.0 for outcome in race.outcomes} for _ in range(2))
    used, full, n = 0.0, 0, 0
    truths = [_truth(errors, matches) for errors, matches in zip(budget.errors, budget.matches, strict=True)]
    for seed in range(n_orders):
        own = replace(race, seed=seed)
        first: frozenset[str] = frozenset()
        if own.n_wave:
            first = frozenset(wave_ids(budget.ids, own.n_wave, seed))
            chosen = {example_id: k for k, example_id in enumerate(budget.ids) if example_id in first}
            wave = {example_id: budget.errors[k] for example_id, k in chosen.items()}
            matches = {example_id: budget.matches[k] for example_id, k in chosen.items()}
            own = replace(own, wave=Wave(first, own.lesson(wave, matches, budget.draws, None)))
        for example_id, errors, matches_of, truth in zip(
            budget.ids, budget.errors, budget.matches, truths, strict=True
        ):
            policy = own.policy(example_id, matches_of, budget.draws, None)
            verdict = policy.verdict(errors, np.ones(errors.shape, bool))
            for outcome, found in verdict.outcomes.items():
                wrong[outcome] += found.is_right != truth[outcome]
                doubts[outcome] += found.doubt
            used += float(verdict.n_draws.mean()) / verdict.n_bank
            full += verdict.is_full and example_id not in first
            n += 1
    of_prefix = max(np.mean([_prefixed(budget, race, truths, used / n, seed) for seed in range(n_orders)], axis=0))
    return Row(what, name, n, int(max(wrong.values())), used / n, full / n, max(doubts.values()) / n, of_prefix)


def _prefixed(
    budget: Budget, race: Racing, truths: Sequence[Mapping[str, bool]], share: float, seed: int
) -> Sequence[float]:
    """The share of each outcome that changes when every example stops after this share of the draws, stratified."""
    units = race.units(budget.draws.timesteps)
    n, wrong = max(round(share * len(units)), 1), dict.fromkeys(race.outcomes, 0)
    for example_id, errors, matches, truth in zip(budget.ids, budget.errors, budget.matches, truths, strict=True):
        way = strata(units, seed=seed, example_id=example_id)
        counts = np.bincount(way.in_order[:n], minlength=len(way.sizes))
        known = np.where(counts > 0, way.sizes, 0)
        weights = (known / known.sum() / np.maximum(counts, 1))[way.in_order[:n]]
        raced = errors.reshape(*errors.shape[:-1], -1, race.together).mean(-1)
        found = _outcomes(raced[..., way.order[:n]] @ weights, matches)
        for outcome in wrong:
            wrong[outcome] += found[outcome] != truth[outcome]
    return [number / len(truths) for number in wrong.values()]


def _truth(errors: Floats, matches: Bools) -> Mapping[str, bool]:
    """The outcomes of the full budget."""
    return _outcomes(-full_scores(errors), matches)


def _outcomes(means: Floats, matches: Bools) -> Mapping[str, bool]:
    """Those of mean errors [I, C]."""
    pairs, flat = Comparisons.of(matches), means.reshape(-1)
    return pairs.outcomes(np.where(flat[pairs.better] < flat[pairs.worse], 1, -1))


def _harder(budget: Budget, by: float) -> Budget:
    means = budget.errors.mean(-1, keepdims=True)
    middle = means.mean((1, 2), keepdims=True)
    return replace(budget, errors=budget.errors - (means - middle) * (1 - 1 / by))


def _read(path: str, n_draws: int, target: str) -> Budget:
    """The examples of a run that have the first `n_draws` draws, by id; their errors are weighted already."""
    run = compbench.load_run(path)
    draws = run.draws()
    weights = compbench.Rule(target).weights(draws)[:n_draws]
    matches = dict(zip(run.examples()["id"], run.examples()["matches"], strict=True))
    whole = {
        example_id: measurement.errors["l2"][..., measurement.draw_ids < n_draws].astype(np.float64) * weights
        for example_id, measurement in sorted(run.measurements().items())
        if (measurement.draw_ids < n_draws).sum() == n_draws
        and measurement.measured[..., measurement.draw_ids < n_draws].all()
    }
    if not whole:
        raise SystemExit(f"run {path!r} has no example with the first {n_draws} draws; choose fewer with --draws")
    return Budget(
        list(whole), draws, np.stack(list(whole.values())), np.stack([matches[example_id] for example_id in whole])
    )


def _print(rows: Sequence[Row], title: str) -> None:
    table = rich.table.Table(title=title)
    for heading in ("what", "bound", "evaluations", "changed", "expected", "of a prefix", "to the end"):
        table.add_column(heading, justify="left" if heading in ("what", "bound") else "right")
    for row in rows:
        expected, of_prefix = ("" if share is None else f"{share:.1%}" for share in (row.expected, row.of_prefix))
        table.add_row(
            row.what, row.bound, f"{row.evaluations:.1%}", row.changed, expected, of_prefix, f"{row.full:.0%}"
        )
    rich.console.Console(width=140).print(table)


if __name__ == "__main__":
    main()
