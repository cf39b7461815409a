"""The lesson of a pilot for a race: each stratum's share of the evaluations, frozen into the identity of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compbench.core import disk
from compbench.core.aliases import Json
from compbench.core.digests import digest_of
from compbench.core.errors import UsageError
from compbench.core.examples import Task
from compbench.core.printable import say
from compbench.core.rules import stored_loss
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full
from compbench.schedules.strata import allocation_from, strata
from compbench.store import _damage, _sealed, run_file
from compbench.store._damage import Damaged
from compbench.store.run import Run

__all__ = ["Pilot", "learned"]


@dataclass(frozen=True, slots=True)
class Pilot:
    """The shares that a race learned from a full run, and the cost of learning them."""

    shares: tuple[float, ...]  # [H], Neyman's
    run: str  # task/model/digest
    task: tuple[str, str]  # name and revision
    ids: frozenset[str]  # of its examples
    n_evaluations: int  # that the shares were learned from

    def n_raced(self, task: Task, ids: Sequence[str]) -> int:
        """The number of raced examples, `ids` of `task`, that the pilot holds in full."""
        is_same = self.task == (task.name, task.revision)
        return sum(example_id in self.ids for example_id in ids) if is_same else 0

    def said(self, task: Task, ids: Sequence[str]) -> str:
        """A sentence on what the pilot cost, and whether it contains examples that are raced again."""
        cost = f"the pilot {self.run} took {self.n_evaluations:,} evaluations, on {len(self.ids)} examples"
        if not (n_raced := self.n_raced(task, ids)):
            return f"{cost}; none of them is raced here"
        return (
            f"{cost}, of which {n_raced} are raced here again: their full budget is already known and the race "
            f"learned from them, so no saving can be claimed for them; use another --limit for a pilot on other "
            f"examples"
        )

    def to_json(self, task: Task, ids: Sequence[str]) -> dict[str, Json]:
        """The entry for the pilot in run.json."""
        return {
            "run": self.run,
            "n_examples": len(self.ids),
            "n_evaluations": self.n_evaluations,
            "n_raced": self.n_raced(task, ids),
        }


def learned(pilot: Path, race: Racing, identity: Mapping[str, Any]) -> Pilot:
    """Learn from the errors of a full run on the same bank; UsageError where `pilot` is another kind of run.

    It is kept in the pilot's folder, so that it stays what it was when the pilot is measured further.
    """
    folder = disk.expanded(pilot)
    if not disk.is_file(folder / run_file.NAME):
        raise UsageError(
            f"pilot={str(pilot)!r} is not the folder of a run; expected one such as runs/shapes/tiny-sd/1a2b3c4d5e6f"
        )
    run = Run(folder)
    _check(run, identity)
    what = {
        "n_draws": race.draws,
        "target": race.target,
        "reduction": stored_loss(race.loss),
        "n_strata": race.n_strata,
    }
    what |= {"outcomes": list(race.outcomes), "together": race.together}
    kept = run.path / f"shares-{digest_of(what)}.json"
    if (stored := _stored(kept, what)) is None:
        if kept.exists():
            then = "the shares are learned from the pilot again, as it is now"
            say(_damage.said(kept, "it does not hold what a pilot taught", then))
        done = run.done(race.draws)
        stored = _learned(run, race), tuple(example_id for example_id in run.ids() if example_id in done)
        with disk.writing(run.path):
            content = {**what, "shares": list(stored[0]), "examples": list(stored[1])}
            disk.write_json(kept, _sealed.sealed(content))
    ids = frozenset(stored[1] or run.done(race.draws))  # of older ones the examples are not known
    sizes = (matches.size for matches in run.task_examples.matches)
    size_of = dict(zip(run.task_examples.ids, sizes, strict=True))
    return Pilot(
        stored[0],
        f"{run.key.folder}",
        (run.key.task, run.key.task_revision),
        ids,
        race.draws * sum(size_of[example_id] for example_id in ids),
    )


def _check(run: Run, identity: Mapping[str, Any]) -> None:
    """UsageError for a run that this race cannot learn from."""
    if not isinstance(run.schedule, Full):
        raise UsageError(
            f"the pilot {str(run.path)!r} was itself measured with schedule={run.schedule.name}, so it lacks draws; "
            "expected a run with schedule=full"
        )
    run.check_errors()
    different = sorted(
        name for name in ("family", "protocol", "seed", "noise") if run.key.measurement.get(name) != identity.get(name)
    )
    if different:
        raise UsageError(
            f"the pilot {str(run.path)!r} was measured with another {', '.join(different)}; its draws differ from "
            f"this run's: expected a run with schedule=full of the same protocol and seed"
        )


def _stored(path: Path, what: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[str, ...]] | None:
    """The shares that were kept and the examples they were learned from; None where none can be believed."""
    try:
        kept = _sealed.opened(path.read_bytes())
    except (OSError, Damaged):
        return None
    shares, examples = kept.get("shares"), kept.get("examples", [])
    is_same = all(kept.get(name) == value for name, value in json.loads(json.dumps(what)).items())
    if not is_same or not isinstance(shares, list) or not all(isinstance(share, float | int) for share in shares):
        return None
    if not isinstance(examples, list):
        return None
    return tuple(float(share) for share in shares), tuple(map(str, examples))


def _learned(run: Run, race: Racing) -> tuple[float, ...]:
    draws = run.draws()
    units = draws.timesteps[: race.draws].reshape(-1, race.together).mean(-1)
    of_unit = strata(units, seed=0, example_id="", n_strata=race.n_strata).of_draw
    weights = race.rule.weights(draws)[: race.draws]
    tables = list(run.error_tables(race.draws, race.rule))
    shapes = {table.errors.shape[1:] for table in tables}
    if len(shapes) > 1:
        raise UsageError(f"the pilot {str(run.path)!r} has examples of {len(shapes)} shapes; expected one")
    errors = np.concatenate([table.errors * weights for table in tables])
    errors = errors.reshape(*errors.shape[:-1], -1, race.together).mean(-1)  # [N, I, C, units]
    return allocation_from(errors, np.concatenate([table.matches for table in tables]), of_unit, race.outcomes)
