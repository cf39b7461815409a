"""What a pilot teaches a race: each stratum's share of the evaluations, frozen into the identity of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compbench import disk, sealed
from compbench.adaptive import Adaptive
from compbench.printable import say
from compbench.store import Run
from compbench.strata import allocation_from, strata
from compbench.types import UsageError

__all__ = ["shares"]


def shares(pilot: Path, race: Adaptive, identity: Mapping[str, Any]) -> tuple[float, ...]:
    """Neyman's shares, [H], from the errors of a full run on the same bank; UsageError where `pilot` is none such.

    They are kept in the pilot's folder, so that they stay what they were when the pilot is measured further.
    """
    folder = disk.expanded(pilot)
    if not disk.is_file(folder / "run.json"):
        raise UsageError(
            f"pilot={str(pilot)!r} is no run's folder; expected one such as runs/shapes/tiny-sd/1a2b3c4d5e6f"
        )
    run = Run(folder)
    different = sorted(
        name for name in ("family", "protocol", "seed", "noise") if run.key.measurement.get(name) != identity.get(name)
    )
    if different:
        raise UsageError(
            f"the pilot {str(run.path)!r} was measured with another {', '.join(different)}; its draws are not those "
            "of this run: expected a run with schedule=full of the same protocol and seed"
        )
    what = {"n_draws": race.n_draws, "target": race.target, "reduction": race.reduction, "n_strata": race.n_strata}
    what |= {"outcomes": list(race.outcomes), "together": race.together}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    kept = run.path / f"shares-{digest}.json"
    if (stored := _stored(kept, what)) is not None:
        return stored
    if kept.exists():
        say(f"{str(kept)!r} is damaged: the shares are learned from the pilot again, as it is now")
    learned = _learned(run, race)
    with disk.writing(run.path):
        disk.write_json(kept, sealed.sealed({**what, "shares": list(learned)}))
    return learned


def _stored(path: Path, what: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The shares that were kept; None where there are none that can be believed."""
    try:
        kept = sealed.opened(path.read_bytes())
    except (OSError, sealed.Damaged):
        return None
    shares = kept.get("shares")
    is_same = all(kept.get(name) == value for name, value in json.loads(json.dumps(what)).items())
    if not is_same or not isinstance(shares, list) or not all(isinstance(each, float | int) for each in shares):
        return None
    return tuple(float(each) for each in shares)


def _learned(run: Run, race: Adaptive) -> tuple[float, ...]:
    draws = run.draws()
    units = draws.timesteps[: race.n_draws].reshape(-1, race.together).mean(-1)
    of_unit = strata(units, seed=0, example_id="", n_strata=race.n_strata).of_draw
    weights = race.rule.weights(draws)[: race.n_draws]
    tables = list(run.error_tables(race.n_draws, race.rule))
    shapes = {table.errors.shape[1:] for table in tables}
    if len(shapes) > 1:
        raise UsageError(f"the pilot {str(run.path)!r} has examples of {len(shapes)} shapes; expected one")
    errors = np.concatenate([table.errors * weights for table in tables])
    errors = errors.reshape(*errors.shape[:-1], -1, race.together).mean(-1)  # [N, I, C, units]
    return allocation_from(errors, np.concatenate([table.matches for table in tables]), of_unit, race.outcomes)
