"""Which of several rules reads most of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from compbench.core.aliases import Json
from compbench.core.rules import Rule

if TYPE_CHECKING:
    from compbench.store.run import Run

__all__ = ["fullest"]


def fullest(run: Run, view: Mapping[str, Json] | None) -> tuple[dict[str, Json], int]:
    """The view that reads most examples, and how many: the run's own on as many draws as `view`, its own, `view`.

    The earlier of these where they read equally many.
    """
    own: dict[str, Json] = dict(run.info.view)
    asked = own if view is None else dict(view)
    counts = own.get("n_draws"), asked.get("n_draws")
    most = max(n for n in counts if isinstance(n, int)) if all(isinstance(n, int) for n in counts) else counts[0]
    candidates = [own | {"n_draws": most}] if own and most != counts[0] else []
    candidates += [reading for reading in (own, asked) if reading not in candidates]
    found: list[tuple[dict[str, Json], int]] = []
    for candidate in candidates:
        rule = Rule.of_view(candidate)
        found.append((candidate, len(run.contents.done(rule.draws, rule.unconditional))))
        if found[-1][1] == run.info.n_task_examples:  # no other can read more
            break
    return max(found, key=lambda found: found[1])
