"""What a pilot teaches a race: each stratum's share of the evaluations, frozen into the identity of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compbench import disk
from compbench.adaptive import Adaptive
from compbench.store import Run
from compbench.strata import allocation_from, strata
from compbench.types import UsageError

__all__ = ["shares"]


def shares(pilot: Path, race: Adaptive, identity: Mapping[str, Any]) -> tuple[float, ...]:
    """Neyman's shares, [H], from the errors of a full run on the same bank; UsageError where `pilot` is none such.

    They are kept in the pilot's folder, so that they stay what they were when the pilot is measured further.
    """
    if not (pilot.expanduser() / "run.json").is_file():
        raise UsageError(
            f"pilot={str(pilot)!r} is no run's folder; expected one such as runs/shapes/tiny-sd/1a2b3c4d5e6f"
        )
    run = Run(pilot.expanduser())
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
    if not kept.is_file():
        with disk.writing(run.path):
            disk.write_json(kept, {**what, "shares": list(_learned(run, race))})
    return tuple(json.loads(kept.read_text())["shares"])


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
