"""The order in which an example uses the run's finite bank of draws: strata of timesteps, a random order, and looks.

A stratum is a contiguous range of timesteps. Within a stratum the order is random without replacement, so any prefix
is a stratified random sample of the bank, and the stratified mean of a prefix is unbiased for the mean over the bank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import UsageError
from compbench.schedules.pairs import OUTCOMES, Comparisons

__all__ = [
    "N_STRATA",
    "Strata",
    "allocation_from",
    "allocation_of",
    "differences_of",
    "looks",
    "strata",
    "strata_of",
]

N_STRATA = 6
_FIRST_LOOK = 16
_PROPORTIONAL = 0.1  # of a learned allocation, so that no stratum is starved whatever the pilot held


@dataclass(frozen=True, eq=False)
class Strata:
    """An example's way through a bank of D draws in H strata."""

    of_draw: Ints  # [D] the stratum of each draw of the bank
    order: Ints  # [D] a permutation of the bank
    shares: tuple[float, ...]  # [H] of the evaluations, summing to one; proportional: as the bank; 0: all come first

    @cached_property
    def sizes(self) -> Ints:
        """[H], draws of the bank in each stratum."""
        return np.bincount(self.of_draw, minlength=len(self.shares))

    @cached_property
    def n_certain(self) -> int:
        """The draws that come before all others."""
        return int(self.sizes[np.array(self.shares) == 0].sum())

    @cached_property
    def in_order(self) -> Ints:
        """[D], the stratum of each draw in the example's order."""
        return self.of_draw[self.order]

    @cached_property
    def looks(self) -> Ints:
        """The prefixes at which a race is looked at."""
        return self.n_certain + looks(len(self.order) - self.n_certain)

    @cached_property
    def counts(self) -> Ints:
        """[looks, H], draws of each stratum in each of those prefixes."""
        turns = self.in_order[:, None] == np.arange(len(self.shares))
        return turns.cumsum(0)[self.looks - 1]

    @cached_property
    def weights(self) -> Floats:
        """[looks, D], what each draw of the order counts in the estimated mean: none beyond the look.

        A stratum without a draw (at the first looks of a bank of very few) is left out.
        """
        known = np.where(self.counts > 0, self.sizes, 0)
        each = known / known.sum(1, keepdims=True) / np.maximum(self.counts, 1)  # [looks, H]
        return each[:, self.in_order] * (np.arange(len(self.order)) < self.looks[:, None])


def looks(n_draws: int) -> Ints:
    """The budgets at which a race is looked at, up to the whole bank: 16, then a sixth more each time.

    >>> looks(40).tolist()
    [16, 18, 21, 24, 28, 32, 37, 40]
    >>> looks(16).tolist()
    [8, 9, 10, 11, 12, 14, 16]
    """
    budgets: list[int] = []
    budget = min(_FIRST_LOOK, (n_draws + 1) // 2)
    while budget < n_draws:
        budgets.append(budget)
        budget += max(1, budget // 6)
    return np.array([*budgets, n_draws])


def strata(
    timesteps: Floats | Ints,
    *,
    seed: int,
    example_id: str,
    n_strata: int = N_STRATA,
    allocation: Sequence[float] | None = None,
    certain: Sequence[int] = (),
) -> Strata:
    """The way of `example_id` through the bank with these `timesteps` [D]; it depends on these arguments alone.

    There are fewer strata than asked for where the first look could not hold two draws of each. `allocation` gives
    each stratum's share of the evaluations, e.g. from `allocation_from`; None: as many as its part of the bank. The
    draws in `certain` come before all others, as a last stratum of their own, whose share is 0.
    """
    of_draw = strata_of(timesteps, n_strata, certain)
    rest = np.setdiff1d(np.arange(len(of_draw)), certain)
    sizes = np.bincount(of_draw[rest])
    shares = tuple((sizes / sizes.sum()).tolist()) if allocation is None else tuple(map(float, allocation))
    if len(shares) != len(sizes) or min(shares) <= 0:
        raise UsageError(
            f"the allocation {shares} does not fit {len(sizes)} strata; expected that many positive shares, as "
            "learned from a pilot on the same bank"
        )
    turns = _turns(tuple(sizes.tolist()), shares)
    # raw generator output, sorted: the same on every numpy version, unlike Generator.permutation
    digest = hashlib.sha256(example_id.encode()).digest()
    keys = np.random.PCG64(np.random.SeedSequence([seed, *digest])).random_raw(len(of_draw))
    order = np.empty(len(rest), np.int64)
    by_key = np.argsort(keys, kind="stable")
    for stratum in range(len(sizes)):
        order[turns == stratum] = by_key[of_draw[by_key] == stratum]
    if not len(certain):
        return Strata(of_draw, order, shares)
    return Strata(of_draw, np.concatenate([np.sort(certain).astype(np.int64), order]), (*shares, 0.0))


def allocation_from(
    errors: Floats, matches: Bools, of_draw: Ints, asked: Iterable[str] = OUTCOMES
) -> tuple[float, ...]:
    """Each stratum's share of the evaluations for which a pilot's comparisons are known soonest (Neyman's), [H].

    `errors` [N, I, C, D] are a pilot's over the full bank, `matches` [N, I, C], `asked` the outcomes to be raced for.
    A comparison's variances count relative to its total, so that no example of the pilot outweighs the others. Rounded
    to 4 digits.
    """
    asked = tuple(asked)
    return allocation_of(map(lambda own, true: differences_of(own, true, asked), errors, matches), of_draw)


def differences_of(errors: Floats, matches: Bools, asked: Iterable[str] = OUTCOMES) -> Floats:
    """[m, D] float64, the error of each comparison's worse pair less that of its better one, of one example."""
    compared = Comparisons.of(matches, asked)
    pairs = errors.reshape(-1, errors.shape[-1]).astype(np.float64)
    return pairs[compared.worse] - pairs[compared.better]


def allocation_of(compared: Iterable[Floats], of_draw: Ints) -> tuple[float, ...]:
    """The same from the differences [m, D] of each example's comparisons."""
    n_strata = int(of_draw.max()) + 1
    parts = np.bincount(of_draw) / len(of_draw)
    relative = np.zeros(n_strata)
    for differences in compared:
        spread = np.stack([differences[:, of_draw == h].var(-1) for h in range(n_strata)], -1)  # [m, H]
        total = spread @ parts
        relative += (spread[total > 0] / total[total > 0, None]).sum(0)
    wanted = parts * np.sqrt(relative)
    if not wanted.sum() > 0:
        raise UsageError(
            "the pilot's differences do not vary, so no allocation can be learned; expected errors that vary"
        )
    shares = (1 - _PROPORTIONAL) * wanted / wanted.sum() + _PROPORTIONAL * parts
    return tuple(round(float(share), 4) for share in shares)


def strata_of(timesteps: Floats | Ints, n_strata: int, certain: Sequence[int] = ()) -> Ints:
    """[D]: contiguous ranges of timesteps with equal counts, as far as possible; `certain` draws are a last one."""
    if len(certain):
        rest = np.setdiff1d(np.arange(len(timesteps)), certain)
        of_draw = np.zeros(len(timesteps), np.int64)
        if len(rest):
            of_draw[rest] = strata_of(timesteps[rest], n_strata)
        of_draw[np.asarray(certain)] = of_draw[rest].max(initial=-1) + 1
        return of_draw
    n_draws = len(timesteps)
    if n_strata < 1 or not n_draws:
        raise UsageError(f"{n_strata} strata of {n_draws} draws; expected at least one of each")
    n_held = max(1, min(n_strata, int(looks(n_draws)[0]) // 2))
    of_draw = np.empty(n_draws, np.int64)
    of_draw[np.argsort(timesteps, kind="stable")] = np.arange(n_draws) * n_held // n_draws
    return of_draw


@lru_cache(maxsize=64)
def _turns(sizes: tuple[int, ...], shares: tuple[float, ...]) -> Ints:
    """[D], the strata in turn: two of each, then always the one furthest behind its share (Sainte-Laguë)."""
    left, wanted = np.array(sizes), np.array(shares)
    taken = np.zeros(len(sizes), np.int64)
    turns = np.empty(left.sum(), np.int64)
    for turn in range(len(turns)):
        urgency = np.where(taken < np.minimum(2, left), -1.0 / (1 + taken), (taken + 0.5) / wanted)
        urgency[taken == left] = np.inf
        turns[turn] = stratum = int(urgency.argmin())
        taken[stratum] += 1
    turns.flags.writeable = False
    return turns
