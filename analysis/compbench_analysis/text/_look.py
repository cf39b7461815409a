"""The reading of stored runs for a table, and the rows of that table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compbench.core.errors import UsageError
from compbench_analysis.frames import breakdowns, published, tables
from compbench_analysis.frames.breakdowns import By
from compbench_analysis.frames.seeds import SeedGroup, same_but_seed, singles
from compbench_analysis.frames.stored_errors import has_own_noise
from compbench_analysis.statistics.resampling import LEAST_UNITS, LEAST_UNITS_OF_OWN_NOISE
from compbench_analysis.text import _score_tables

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.store.run import Run

__all__ = ["Look", "members_of", "published_rows", "too_few_draws", "with_draws"]

Row = Mapping[str, Any]

_DRAWS = ["draws_se", "draws_low", "draws_high"]
_N_RESAMPLES = 400  # of the draws: the standard error of a standard deviation is then 4 % of it


@dataclass(frozen=True)
class Look:
    """The way the runs are read."""

    by: By
    rule: Rule | None
    is_each: bool
    has_draws: bool
    has_published: bool


def members_of(runs: Sequence[Run], look: Look) -> list[SeedGroup]:
    """The runs of each row of the table."""
    return singles(runs) if look.is_each else same_but_seed(runs, look.rule)


def published_rows(runs: Sequence[Run], look: Look) -> list[dict[str, Any]]:
    """The published scores on the task, where they are asked for."""
    names = breakdowns.breakdown(look.by).names
    return published.rows(runs[0].key.task, names) if look.has_published else []


def with_draws(rows: Sequence[Row], members: Sequence[SeedGroup], look: Look) -> tuple[list[Row], list[str]]:
    """The rows of `members` with the Monte Carlo columns of `curves.monte_carlo`, and why a run of errors has none.

    They are None for runs of scores, and for a row over several seeds, whose `sd` tells of other draws.
    """
    by, rule = look.by, look.rule
    runs = [member.runs[0] for member in members if len(member.runs) == 1 and look.has_draws]
    measured: dict[tuple[object, ...], Row] = {}
    reasons: list[str] = []
    for run in runs:
        if run.losses():
            from compbench_analysis.frames import curves  # which needs pandas

            try:
                n_draws, n_units, is_unsure = curves.enough_draws(run, rule)
                if is_unsure and n_units > 1:  # of a single one no figure could be made at all
                    reasons.append(too_few_draws(run, n_draws, n_units))
                    continue
                found = curves.monte_carlo(run, by, rule, n_resamples=_N_RESAMPLES)
            except UsageError as error:
                reasons.append(f"No {_score_tables.DRAWS}: {error}.")
                continue
            measured |= {_cell(row): {name: row[name] for name in _DRAWS} for row in tables.plain_rows(found)}
    return [{**row, **measured.get(_cell(row), dict.fromkeys(_DRAWS))} for row in rows], reasons


def too_few_draws(run: Run, n_draws: int, n_units: int) -> str:
    """Why a run of so many draws, so many of which are independent, has no ±draws; see `curves.enough_draws`."""
    size = round(n_draws / max(n_units, 1))
    least = LEAST_UNITS_OF_OWN_NOISE if has_own_noise(run) else LEAST_UNITS
    what = f"{n_units} antithetic pairs" if size > 1 else f"{n_units} draws"
    return (
        f"No {_score_tables.DRAWS} for {run.key.model}: from {what} the figure could be off by a factor of two; "
        f"-o draws={least * size} is enough."
    )


def _cell(row: Row) -> tuple[object, ...]:
    return row["run"], row["column"], row["tag"], row["metric"]
