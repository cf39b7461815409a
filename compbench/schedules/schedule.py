"""Which draws a run measures, as its key holds it: every one, the published stages, or a race.

A schedule decides which errors are stored, so it is part of a run's identity; a full one leaves no entry there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from compbench.core.aliases import Json
from compbench.core.errors import DataError, UsageError
from compbench.schedules.racing import Racing
from compbench.schedules.staged import Staged

__all__ = ["Full", "Schedule", "entry_of", "schedule_in"]


@dataclass(frozen=True, slots=True)
class Full:
    """Every draw of every pair."""

    name = "full"


Schedule = Full | Staged | Racing

_KINDS: Mapping[str, type[Staged] | type[Racing]] = {"paper": Staged, "racing": Racing}
_WORDS = {"draws": "n_draws", "loss": "reduction", "max_difference": "limit"}  # of a key, which stay as they are
_FIELDS = {word: field for field, word in _WORDS.items()}


def entry_of(schedule: Schedule) -> dict[str, Json]:
    """The schedule's entry in a run's key: kind, draws, and what differs from the defaults.

    >>> entry_of(Racing(100, bound="anytime", max_difference=0.5)), entry_of(Full())
    ({'schedule': {'kind': 'racing', 'n_draws': 100, 'bound': 'anytime', 'limit': 0.5}}, {})
    """
    if isinstance(schedule, Full):
        return {}
    kept: dict[str, Json] = {"kind": schedule.name}
    for field in _stored_fields(schedule):
        value = getattr(schedule, field.name)
        if field.name == "draws" or value != field.default:
            kept[_WORDS.get(field.name, field.name)] = list(value) if isinstance(value, tuple) else value
    return {"schedule": kept}


def _stored_fields(schedule: Staged | Racing | type[Staged] | type[Racing]) -> list[Field[Any]]:
    return [field for field in fields(schedule) if field.metadata.get("stored", True)]


def schedule_in(measurement: Mapping[str, Any]) -> Schedule:
    """The schedule in a run's key; DataError for one that this version does not know."""
    entries = measurement.get("schedule")
    if entries is None:
        return Full()
    if (kind := _KINDS.get(entries.get("kind"))) is None:
        raise DataError(
            f"a stored schedule is of the unknown kind {entries.get('kind')!r}; expected one of {', '.join(_KINDS)}: "
            "it may be of a newer compbench"
        )
    known = {_WORDS.get(field.name, field.name): field for field in _stored_fields(kind)}
    if unknown := sorted(entries.keys() - {"kind", *known}):
        raise DataError(
            f"a stored schedule has the unknown entry {unknown[0]!r}; expected some of kind, {', '.join(known)}: it "
            "may be of a newer compbench"
        )
    if lacking := [word for word, field in known.items() if field.default is MISSING and word not in entries]:
        raise DataError(f"a stored schedule lacks the entry {lacking[0]!r}")
    given: dict[str, Any] = {
        _FIELDS.get(str(word), str(word)): tuple(value) if isinstance(value, list) else value
        for word, value in entries.items()
        if word != "kind"
    }
    try:
        return kind(**given)
    except UsageError as error:
        raise DataError(f"a stored schedule is invalid: {error}") from error
