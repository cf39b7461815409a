"""What racing saves and what it changes: `python -m tests.benchmarks.racing RUN [--draws 100] [--harder 10] [--json]`.

RUN is a stored run in which every draw of a budget was measured. Its first examples (by id) are the pilot, from which
an allocation and a limit are learned; the rest are raced, as if their errors came in draw by draw, and compared with
the full budget. Nothing is measured anew. `--harder 10` shifts every error of a pair by a constant so that margins are
a tenth of what they are, with the draws' own noise: what the same model would cost on examples that are harder to tell.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import rich.console
import rich.table

import compbench
from compbench.core.aliases import Bools, Floats
from compbench.schedules._bounds import Anytime, Asymptotic, Bound
from compbench.schedules._race_captions import CaptionRace
from compbench.schedules.pairs import OUTCOMES, Comparisons
from compbench.schedules.policies import Verdict, expected_changed, full_scores
from compbench.schedules.strata import N_STRATA, allocation_from, strata

RISKS = (0.0, 0.01, 0.05, 0.1, 0.2)
WAYS = ("random order", "strata", "strata, pilot's allocation", "anytime, pilot's limit")


@dataclass(frozen=True, slots=True)
class Budget:
    """Examples on their full budget."""

    ids: Sequence[str]
    timesteps: Floats  # [D]
    errors: Floats  # [N, I, C, D] float64, weighted
    matches: Bools  # [N, I, C]

    def part(self, members: slice) -> Budget:
        return Budget(self.ids[members], self.timesteps, self.errors[members], self.matches[members])


@dataclass(frozen=True, slots=True)
class Row:
    way: str
    asked: str  # text, or all
    risk: float
    evaluations_share: float
    text_changed: float  # shares of the outcomes that differ from the full budget's
    image_changed: float | None
    group_changed: float | None
    text_doubt: float  # the share of text outcomes that is expected to differ
    n_rounds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--draws", type=int, default=1000, help="the full budget: this many leading draws of the bank")
    parser.add_argument("--rule", default="native", choices=["native", "eps", "v", "x0"])
    parser.add_argument("--pilot", type=int, default=20, help="examples to learn from, left out of the race")
    parser.add_argument("--seeds", type=int, default=1, help="random orders an example is raced in")
    parser.add_argument("--strata", type=int, default=N_STRATA)
    parser.add_argument("--harder", type=float, default=1.0, help="by what margins are divided")
    parser.add_argument(
        "--together", type=int, default=1, help="neighbouring draws raced as one: 2 for antithetic noise"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    budget = _harder(_read(arguments.run, arguments.draws, arguments.rule), arguments.harder)
    if arguments.together > 1:
        budget = _units(budget, arguments.together)
    pilot, rest = budget.part(slice(arguments.pilot)), budget.part(slice(arguments.pilot, None))
    rows = list(measure(pilot, rest, arguments.strata, arguments.seeds))
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        title = f"{len(rest.ids)} examples x {arguments.draws} draws, rule {arguments.rule}"
        _print(rows, title + (f", margins / {arguments.harder:g}" if arguments.harder != 1 else ""))


def measure(pilot: Budget, rest: Budget, n_strata: int, n_seeds: int) -> Iterator[Row]:
    """A row for each way, what is asked, and risk."""
    for asked in (("text",), OUTCOMES):
        of_draw = strata(rest.timesteps, seed=0, example_id="", n_strata=n_strata).of_draw
        allocation = allocation_from(pilot.errors, pilot.matches, of_draw, asked)
        limit = 1.5 * _largest_difference(pilot, asked)

        def bound(way: str, example_id: str, seed: int, allocation=allocation, limit=limit) -> Bound:
            is_stratified = way.startswith("strata")
            its = strata(
                rest.timesteps,
                seed=seed,
                example_id=example_id,
                n_strata=n_strata if is_stratified else 1,
                allocation=allocation if "allocation" in way else None,
            )
            return Anytime(its, limit) if way.startswith("anytime") else Asymptotic(its)

        for way in WAYS:
            for risk in RISKS:
                verdicts = [
                    CaptionRace(matches, bound(way, example_id, seed), risk, asked).verdict(
                        errors, np.ones(errors.shape, bool)
                    )
                    for seed in range(n_seeds)
                    for example_id, errors, matches in zip(rest.ids, rest.errors, rest.matches, strict=True)
                ]
                yield _row(way, asked, risk, verdicts, rest, n_seeds)


def _row(way: str, asked: Sequence[str], risk: float, verdicts: list[Verdict], rest: Budget, n_seeds: int) -> Row:
    changed = dict[str, float | None](dict.fromkeys(OUTCOMES))
    for name in asked:
        ours = np.array([each.outcomes[name].is_right for each in verdicts])
        changed[name] = float((ours != np.tile(_truth(rest, name), n_seeds)).mean())
    its_looks = strata(rest.timesteps, seed=0, example_id="", n_strata=1).looks
    return Row(
        way,
        "text" if tuple(asked) == ("text",) else "all",
        risk,
        float(np.mean([each.n_draws.mean() / each.n_bank for each in verdicts])),
        changed["text"] or 0.0,
        changed["image"],
        changed["group"],
        expected_changed(verdicts, "text") / len(verdicts),
        float(np.mean([np.searchsorted(its_looks, each.n_draws.max()) + 1 for each in verdicts])),
    )


def _truth(budget: Budget, name: str) -> Bools:
    """[N], the outcomes of the full budget."""
    found: list[bool] = []
    for errors, matches in zip(budget.errors, budget.matches, strict=True):
        pairs, scores = Comparisons.of(matches), full_scores(errors).reshape(-1)
        found.append(pairs.outcomes(np.where(scores[pairs.better] > scores[pairs.worse], 1, -1))[name])
    return np.array(found)


def _largest_difference(budget: Budget, asked: Sequence[str]) -> float:
    largest = 0.0
    for errors, matches in zip(budget.errors, budget.matches, strict=True):
        pairs, flat = Comparisons.of(matches, asked), errors.reshape(-1, errors.shape[-1])
        largest = max(largest, float(np.abs(flat[pairs.worse] - flat[pairs.better]).max()))
    return largest


def _harder(budget: Budget, by: float) -> Budget:
    means = budget.errors.mean(-1, keepdims=True)
    middle = means.mean((1, 2), keepdims=True)
    return Budget(budget.ids, budget.timesteps, budget.errors - (means - middle) * (1 - 1 / by), budget.matches)


def _units(budget: Budget, size: int) -> Budget:
    """The means of `size` neighbouring draws as single draws."""
    errors = budget.errors.reshape(*budget.errors.shape[:-1], -1, size).mean(-1)
    return replace(budget, errors=errors, timesteps=budget.timesteps.reshape(-1, size).mean(-1))


def _read(path: str, n_draws: int, target: str) -> Budget:
    """The examples of a run that have the first `n_draws` draws, by id."""
    run = compbench.load_run(path)
    draws = run.draws()
    weights = compbench.Rule(target).weights(draws)[:n_draws]
    matches = dict(zip(run.examples()["id"], run.examples()["matches"], strict=True))
    whole = {
        example_id: each.errors["l2"][..., each.draw_ids < n_draws].astype(np.float64) * weights
        for example_id, each in sorted(run.measurements().items())
        if (each.draw_ids < n_draws).sum() == n_draws and each.measured[..., each.draw_ids < n_draws].all()
    }
    return Budget(
        list(whole),
        draws.timesteps[:n_draws],
        np.stack(list(whole.values())),
        np.stack([matches[each] for each in whole]),
    )


def _print(rows: Sequence[Row], title: str) -> None:
    table = rich.table.Table(title=title)
    for heading in ("way", "asked", "risk", "evaluations", "text changed", "image", "group", "text expected", "rounds"):
        table.add_column(heading, justify="left" if heading in ("way", "asked") else "right")
    for row in rows:
        changes = [row.text_changed, row.image_changed, row.group_changed]
        table.add_row(
            row.way,
            row.asked,
            f"{row.risk:g}",
            f"{row.evaluations_share:.1%}",
            *("–" if each is None else f"{each:.1%}" for each in changes),
            f"{row.text_doubt:.2%}",
            f"{row.n_rounds:.1f}",
            end_section=row.risk == RISKS[-1],
        )
    rich.console.Console(width=140).print(table)


if __name__ == "__main__":
    main()
