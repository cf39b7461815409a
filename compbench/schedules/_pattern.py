"""A pattern of how the errors of a bank's draws go together, learned on the first wave of a race.

All examples share the draws, so the differences of one example rise and fall over the bank much as those of others do.
The wave shows by how much: a few factors and a variance of each draw's own. From them follow an order in which few
draws tell most of the mean over the bank, and the weights of the best mean of each prefix (`_learned_way.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints, Json

__all__ = ["N_ORDERS", "Pattern", "learned_pattern", "standardised", "varies"]

N_ORDERS = 8
_MAX_FACTORS = 48  # as many as 16 examples of two images and two captions have differences that are independent
_SHARED = 0.9  # of what the wave shows of draws that go together; the rest is taken for chance
_EVEN = 0.3  # of a draw's own variance, how much is taken to be that of all draws
_N_MARGINS = 16
_CANDIDATES = 4  # draws of which the best comes next: orders differ, and none rests on the wave alone


@dataclass(frozen=True, slots=True)
class Pattern:
    """The lesson of a wave on how the draws of a bank go together, as run.json keeps it."""

    factors: bytes  # [K, D] float16, of differences with a mean of 0 and a variance of 1 over the bank
    own: bytes  # [D] float16, the variance that no factor explains
    orders: bytes  # [G, D] uint16; examples are spread over them
    margins: tuple[float, ...]  # of the wave: quantiles of the mean over the bank, in deviations, whatever its sign
    inflation: tuple[float, ...] = ()  # at each look, of errors of the mean, from examples held out of the wave
    level: float = 0.0  # the doubt at which a comparison is decided
    decisive: int = 0  # the draws that decide an example, where the wave's examples have heavy draws of their own
    floor: int = 0  # the draws after the certain ones before which no example is decided, for that reason
    borne_out: float = 1.0  # the part of doubts that held-out examples with each other's margins bear out

    def to_json(self) -> dict[str, Json]:
        arrays = {name: base64.b64encode(getattr(self, name)).decode() for name in ("factors", "own", "orders")}
        learned = {"margins": list(self.margins), "inflation": list(self.inflation), "level": self.level}
        own = {"decisive": self.decisive, "floor": self.floor} if self.decisive else {}
        part = {"borne_out": self.borne_out} if self.borne_out != 1 else {}
        return {**arrays, **learned, **own, **part}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Pattern:
        """ValueError, TypeError or KeyError for what is none."""
        factors, own, orders = (base64.b64decode(stored[name], validate=True) for name in ("factors", "own", "orders"))
        margins = tuple(float(margin) for margin in stored["margins"])
        inflation = tuple(float(times) for times in stored["inflation"])
        later = int(stored.get("decisive", 0)), int(stored.get("floor", 0)), float(stored.get("borne_out", 1.0))
        made = cls(factors, own, orders, margins, inflation, float(stored["level"]), *later)
        if not (np.sort(made.permutations, axis=1) == np.arange(made.n_draws)).all():
            raise ValueError("the orders of draws are not permutations")
        return made

    @property
    def n_draws(self) -> int:
        return len(self.own) // 2

    @property
    def n_orders(self) -> int:
        return len(self.orders) // len(self.own)

    @property
    def permutations(self) -> Ints:
        """[G, D]."""
        return np.frombuffer(self.orders, "<u2").reshape(-1, self.n_draws).astype(np.int64)

    def covariance(self) -> Floats:
        """[D, D], of differences about their mean over the bank."""
        return _covariance(self.factors, self.own)


@lru_cache(maxsize=1)  # the orders of a pattern follow each other
def _covariance(factors: bytes, own: bytes) -> Floats:
    rows = np.frombuffer(factors, "<f2").astype(np.float64).reshape(-1, len(own) // 2)
    found = rows.T @ rows + np.diag(np.frombuffer(own, "<f2").astype(np.float64))
    found = found - found.mean(0) - found.mean(1)[:, None] + found.mean()
    found.flags.writeable = False
    return found


def learned_pattern(wave: Sequence[Floats], certain: Sequence[int], seed: int, n_orders: int = N_ORDERS) -> Pattern:
    """The pattern of the differences [m, D] of each example of the wave; `certain` draws come first in every order."""
    n_draws = wave[0].shape[1]
    standard = np.concatenate([standardised(differences) for differences in wave])
    factors = _principal(standard) if len(standard) else np.zeros((0, n_draws))
    variance = (standard**2).mean(0) if len(standard) else np.ones(n_draws)
    left = np.maximum(variance - (factors**2).sum(0), 0)
    even = (1 - _EVEN) * variance + _EVEN * variance.mean()
    factors, own = np.sqrt(_SHARED) * factors, _SHARED * left + (1 - _SHARED) * even
    rng = np.random.default_rng(seed)
    orders = [_telling_order(factors, own, certain, rng) for _ in range(n_orders)]
    ordered = np.array(orders, "<u2").tobytes()
    return Pattern(factors.astype("<f2").tobytes(), own.astype("<f2").tobytes(), ordered, _margins(wave))


def _margins(wave: Sequence[Floats]) -> tuple[float, ...]:
    found = [np.abs(own.mean(-1)) / own.std(-1) for own in (differences[varies(differences)] for differences in wave)]
    together = np.concatenate(found)
    if not len(together):
        return ()
    quantiles = np.quantile(together, (np.arange(_N_MARGINS) + 0.5) / _N_MARGINS)
    return tuple(float(f"{margin:.4g}") for margin in quantiles)


def varies(differences: Floats) -> Bools:
    """[m], whether there is more than rounding between the draws."""
    return differences.std(-1) > 1e-9 * np.abs(differences).max(-1)


def standardised(differences: Floats) -> Floats:
    """[m, D], each that varies about its mean and by its deviation, so that no comparison outweighs the others."""
    varying = differences[varies(differences)]
    return (varying - varying.mean(-1, keepdims=True)) / varying.std(-1, keepdims=True)


def _principal(standard: Floats) -> Floats:
    """[K, D] whose products are, as nearly as K rows can, the mean products of the rows of `standard` [M, D]."""
    if len(standard) <= standard.shape[1]:
        _, size, rows = np.linalg.svd(standard / np.sqrt(len(standard)), full_matrices=False)
        return (size[:, None] * rows)[:_MAX_FACTORS]
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    kept = slice(None, -_MAX_FACTORS - 1, -1)
    return np.sqrt(np.maximum(values[kept], 0))[:, None] * vectors[:, kept].T


def _telling_order(factors: Floats, own: Floats, certain: Sequence[int], rng: np.random.Generator) -> Ints:
    """[D]: after the certain draws, always the one of some random ones that leaves the least doubt of the mean.

    A difference is its level and factors' parts, `known` the covariance of both given the draws so far; the bank's mean
    is uncertain by theirs, on the draws `left`, and by those draws' own variances.
    """
    n_draws = len(own)
    rows = np.vstack([np.ones(n_draws), factors]).T  # [D, 1 + K]
    known = np.eye(rows.shape[1])
    known[0, 0] = 1e6  # nothing is known of the level
    left, order = rows.sum(0), np.empty(n_draws, np.int64)
    waiting = np.concatenate([np.asarray(certain, np.int64), np.setdiff1d(np.arange(n_draws), certain)])
    chances = rng.random((n_draws, _CANDIDATES))
    for n in range(n_draws):
        first = n if n < len(certain) else None
        places = np.array([first]) if first is not None else n + (chances[n] * (n_draws - n)).astype(np.int64)
        some = rows[waiting[places]]
        spread = some @ known
        total = own[waiting[places]] + (spread * some).sum(1)
        # what is left of the mean's variance once a draw is known
        after = ((left - some) @ known * (left - some)).sum(1) - ((left - some) * spread).sum(1) ** 2 / total
        best = int((after - own[waiting[places]]).argmin())
        place = int(places[best])
        waiting[[n, place]] = waiting[[place, n]]
        order[n] = waiting[n]
        known -= np.outer(spread[best], spread[best]) / total[best]
        left -= some[best]
    return order
