"""What racing saves and what it changes: `python -m tests.benchmarks.racing [RUN ...]`.

Without a RUN: populations that try a bound, with the same draws heavy for all examples and with heavy draws of each
example's own. A RUN is stored, with every draw of a budget measured: its examples are raced as if their errors came in
draw by draw, a first wave of its own counted in, and compared with the full budget; nothing is measured again.
`--harder 1 4 8` shifts the errors of a pair by a constant so that margins are a fraction of what they are, with the
draws' own noise: what the same model would cost on examples that are harder to tell.

Each row is added to docs/racing.csv, or another file `--to` which rows are added, as soon as it is measured; after a
kill the same command goes on. A row that the decision code of today would give again, as a few of its examples show,
is kept. `python .ci/tables.py --stored` makes the manual's tables of the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import rich.console
import rich.table

import compbench
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.racing import Racing
from compbench.schedules.wave import wave_ids
from tests.benchmarks.populations import POPULATIONS, bounds, of_bank
from tests.benchmarks.raced import N_PROBED, Budget, changed_by_a_prefix, joined, raced
from tests.benchmarks.raced_rows import ROWS, Asked, Row, deciding, read, row_of, write


@dataclass(frozen=True)
class Planned:
    """A row to be measured."""

    asked: Asked
    examples: int
    orders: int
    in_order: Callable[[int], tuple[Racing, Budget, Sequence[int]]]  # with the places of the first wave

    def probe(self) -> str:
        return raced(*self.in_order(0), counts_wave=self.is_stored, n=N_PROBED).probe

    def measured(self) -> Row:
        """The row, as the code of today measures it."""
        found = joined(raced(*self.in_order(order), counts_wave=self.is_stored) for order in range(self.orders))
        return row_of(self.asked, found, self._by_prefix(float(found.evaluations.mean())) if self.is_stored else None)

    @property
    def is_stored(self) -> bool:
        return self.asked.form == "stored"

    def _by_prefix(self, share: float) -> float:
        races = (self.in_order(order)[:2] for order in range(self.orders))
        return float(np.mean([changed_by_a_prefix(*race, share) for race in races], axis=0).max())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--to", type=Path, default=ROWS, metavar="FILE")
    parser.add_argument("--risk", type=float, default=0.05)
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--bounds", nargs="*", default=[], metavar="BOUND", help="only these rows; default: all")
    parser.add_argument("--populations", nargs="*", default=[], metavar="NAME", help="only these; default: all")
    parser.add_argument("--examples", type=int, default=200, help="of a population, at each margin")
    parser.add_argument("--banks", type=int, default=2, help="of a population: each has a first wave of its own")
    parser.add_argument("--draws", type=int, default=200, help="of a RUN: this many leading draws of the bank")
    parser.add_argument("--orders", type=int, default=20, help="random orders and waves a RUN is raced in")
    parser.add_argument("--harder", type=float, nargs="+", default=[1.0, 4.0, 8.0], help="by what margins are divided")
    arguments = parser.parse_args(argv)
    if min(arguments.banks, arguments.orders) < 2:
        parser.error("an interval needs two orders or banks at least")
    planned = list(_of_runs(arguments) if arguments.runs else _of_populations(arguments))
    rows, now = read(arguments.to), deciding()
    for plan in planned:
        row = rows.get(plan.asked)
        if row is None or (row.examples, row.orders) != (plan.examples, plan.orders):
            rows[plan.asked] = plan.measured()
        elif row.code != now:
            rows[plan.asked] = replace(row, code=now) if row.probe == plan.probe() else plan.measured()
        else:
            continue
        write(arguments.to, rows)
    _print([rows[plan.asked] for plan in planned])


def _of_populations(arguments: argparse.Namespace) -> Iterator[Planned]:
    n = arguments.examples // arguments.banks
    for population in POPULATIONS:
        if arguments.populations and population.name not in arguments.populations:
            continue
        for form, margin in product(population.forms, population.margins):
            for name, race in _bounds(arguments).items():
                asked = Asked(population.name, form, f"{margin:g}", population.n_draws, "text", name, _allowed(race))
                in_order = partial(of_bank, population, form, race, n, margin)
                yield Planned(asked, n * arguments.banks, arguments.banks, in_order)


def _of_runs(arguments: argparse.Namespace) -> Iterator[Planned]:
    for path in arguments.runs:
        name, whole = _read(path, arguments.draws)
        for by in arguments.harder:
            budget = _harder(whole, by)
            for kind, outcomes in (("text", ("text",)), ("all", OUTCOMES)):
                for bound, race in _bounds(arguments).items():
                    own = replace(race, draws=arguments.draws, outcomes=outcomes)
                    asked = Asked(name, "stored", f"{1 / by:g}", arguments.draws, kind, bound, _allowed(race))
                    yield Planned(asked, len(budget.ids), arguments.orders, partial(_in_order, own, budget))


def _in_order(race: Racing, budget: Budget, order: int) -> tuple[Racing, Budget, Sequence[int]]:
    chosen = frozenset(wave_ids(budget.ids, race.n_wave, order))
    return replace(race, seed=order), budget, [k for k, name in enumerate(budget.ids) if name in chosen]


def _bounds(arguments: argparse.Namespace) -> Mapping[str, Racing]:
    known = bounds(arguments.risk, arguments.tolerance)
    return {name: race for name, race in known.items() if name in arguments.bounds or not arguments.bounds}


def _allowed(race: Racing) -> float:
    return race.risk if race.tolerance is None else race.tolerance


def _harder(budget: Budget, by: float) -> Budget:
    means = budget.errors.mean(-1, keepdims=True)
    middle = means.mean((1, 2), keepdims=True)
    return replace(budget, errors=budget.errors - (means - middle) * (1 - 1 / by))


def _read(path: str, n_draws: int) -> tuple[str, Budget]:
    """The examples of a run that have the first `n_draws` draws, by id, and the run's name."""
    run = compbench.load_run(path)
    matches = dict(zip(run.examples()["id"], run.examples()["matches"], strict=True))
    whole = {
        example_id: measurement.errors["l2"][..., measurement.draw_ids < n_draws].astype(np.float64)
        for example_id, measurement in sorted(run.measurements().items())
        if (measurement.draw_ids < n_draws).sum() == n_draws
        and measurement.measured[..., measurement.draw_ids < n_draws].all()
    }
    if not whole:
        raise SystemExit(f"run {path!r} has no example with the first {n_draws} draws; choose fewer with --draws")
    true = np.stack([matches[example_id] for example_id in whole])
    return f"{run.key.task}, {run.key.model}", Budget(list(whole), run.draws(), np.stack(list(whole.values())), true)


def _print(rows: list[Row]) -> None:
    table = rich.table.Table()
    for heading in ("differences", "form", "margin", "raced for", "bound", "evaluations", "changed", "to the end"):
        table.add_column(heading, justify="right" if heading in ("evaluations", "changed", "to the end") else "left")
    for row in rows:
        changed = f"{row.changed:.1%} [{row.changed_low:.1%}, {row.changed_high:.1%}]"
        used = f"{row.evaluations:.1%} [{row.evaluations_low:.1%}, {row.evaluations_high:.1%}]"
        bound = f"{row.bound} {row.allowed:g}"
        table.add_row(
            row.differences, row.form, row.margin, row.raced_for, bound, used, changed, f"{row.to_the_end:.0%}"
        )
    rich.console.Console(width=160).print(table)


if __name__ == "__main__":
    main()
