"""The first wave of a race: a seeded set of examples measured in full, and what it teaches about all the others.

Draws are shared by all examples, so a draw that is heavy for one is likely to be heavy for all. The wave tells which
draws are: these form a stratum of certainty that is measured for every example before any other draw. Of the rest it
tells how evaluations are best shared among strata, and how large a difference may be before an example is taken to be
unlike the wave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compbench.core.aliases import Bools, Floats, Ints, Json
from compbench.schedules._pattern import Pattern, standardised, varies
from compbench.schedules.pairs import OUTCOMES
from compbench.schedules.strata import allocation_of, differences_of, strata_of

__all__ = ["N_WAVE", "Lesson", "Wave", "compared", "learned", "wave_ids"]

N_WAVE = 16  # examples
_HEAVY = 3.0  # times its stratum's mean distance: from here on a draw is measured for everyone
_SLACK = 1.5  # a limit, in largest differences of the wave


@dataclass(frozen=True, slots=True)
class Lesson:
    """The lesson of a wave, over draws as they are raced (an antithetic pair counts as one)."""

    certain: tuple[int, ...]  # measured first, for everyone
    allocation: tuple[float, ...]  # [H] each stratum's share of the other evaluations
    limits: tuple[float, ...]  # [H] the largest difference expected of a draw
    pattern: Pattern | None = None  # of a race with a tolerance

    def to_json(self) -> dict[str, Json]:
        kept: dict[str, Json] = {name: list(getattr(self, name)) for name in ("certain", "allocation", "limits")}
        return kept if self.pattern is None else {**kept, "pattern": self.pattern.to_json()}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Lesson:
        """ValueError, TypeError or KeyError for what is none."""
        return cls(
            tuple(int(draw) for draw in stored["certain"]),
            tuple(float(share) for share in stored["allocation"]),
            tuple(float(limit) for limit in stored["limits"]),
            Pattern.of_json(stored["pattern"]) if "pattern" in stored else None,
        )


@dataclass(frozen=True, slots=True)
class Wave:
    """The examples of a run's first wave, and what they taught; nothing while they are being measured."""

    ids: frozenset[str]
    lesson: Lesson | None = None
    digest: str = ""  # of the errors it was learned from

    def to_json(self) -> dict[str, Json]:
        lesson = None if self.lesson is None else self.lesson.to_json()
        return {"ids": sorted(self.ids), "lesson": lesson, "digest": self.digest}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Wave:
        """ValueError, TypeError or KeyError for what is none."""
        lesson = None if stored["lesson"] is None else Lesson.of_json(stored["lesson"])
        return cls(frozenset(map(str, stored["ids"])), lesson, str(stored["digest"]))


def wave_ids(ids: Iterable[str], n: int, seed: int) -> tuple[str, ...]:
    """The `n` examples of a task that are measured first, in full; the same whoever asks."""
    return tuple(sorted(ids, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())[:n])


def compared(errors: Floats, matches: Bools, of_caption: Ints | None, asked: Sequence[str] = OUTCOMES) -> Floats:
    """[m, D], the differences that decide an example with `errors` [I, C, D]: of classes, to the best caption."""
    if of_caption is None:
        return differences_of(errors, matches, asked)
    best = int(errors[0].mean(-1).argmin())
    return errors[0][of_caption != of_caption[best]].astype(np.float64) - errors[0][best]


def learned(wave: Sequence[Floats], timesteps: Floats | Ints, n_strata: int, slack: float = _SLACK) -> Lesson:
    """Learn from the differences [m, D] of each example of the wave over the whole bank.

    A limit is `slack` times the largest difference of the wave.
    """
    standard = np.concatenate([standardised(differences) for differences in wave])
    distances = np.abs(standard).mean(0) if len(standard) else np.zeros(len(timesteps))
    certain = _heavy(distances, timesteps, n_strata)
    rest = np.setdiff1d(np.arange(len(timesteps)), certain)
    of_rest = strata_of(timesteps, n_strata, certain.tolist())[rest]
    largest = np.max([np.abs(differences[:, rest]).max(0) for differences in wave], axis=0)  # [rest]
    limits = [slack * float(largest[of_rest == stratum].max()) for stratum in range(int(of_rest.max()) + 1)]
    varying = [differences[varies(differences[:, rest])][:, rest] for differences in wave]
    allocation = (
        allocation_of(varying, of_rest)
        if any(len(differences) for differences in varying)
        else tuple((np.bincount(of_rest) / len(rest)).tolist())
    )
    return Lesson(tuple(map(int, certain)), allocation, tuple(float(f"{limit:.4g}") for limit in limits))


def _heavy(distances: Floats, timesteps: Floats | Ints, n_strata: int) -> NDArray[np.int64]:
    """The draws far beyond the others of their stratum; taken out until none is left, and at most all but a few."""
    certain = np.zeros(0, np.int64)
    while True:
        of_draw = strata_of(timesteps, n_strata, certain.tolist())
        is_rest = ~np.isin(np.arange(len(distances)), certain)
        means = np.bincount(of_draw[is_rest], distances[is_rest]) / np.bincount(of_draw[is_rest])
        beyond = is_rest.copy()
        beyond[is_rest] = distances[is_rest] > _HEAVY * means[of_draw[is_rest]]
        if not beyond.any() or len(certain) + beyond.sum() > len(distances) / 2:
            return certain
        certain = np.sort(np.concatenate([certain, np.flatnonzero(beyond)]))
