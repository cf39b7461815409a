"""Heavy draws of an example's own: how many there are in the examples of a first wave, and when enough are measured.

What is heavy for all examples is seen in each of them. A draw that is heavy for one alone is in no pattern and mostly
not in the first draws, and until some of such draws are measured, neither a mean nor its error is worth anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from compbench.core.aliases import Floats
from compbench.schedules._pattern import standardised

__all__ = ["effective", "floor_of", "n_decisive"]

_LEAST = 5  # of the draws that decide, to be measured before a decision
_FEW = 1 / 18  # of all draws: a normal difference has a third
_EVEN = 0.05  # of a draw's variance, how much is taken to be that of all draws
_QUANTILE = 0.25  # of the comparisons of a wave: a quarter with heavy draws of their own are enough


def effective(differences: Floats, others: Floats) -> Floats:
    """[m], over how many draws the squares of differences [m, n] are spread, in units of what `others` [k, n] have.

    (sum of squares)^2 / sum of fourth powers: k draws that outweigh all others give k, normal ones n / 3.
    """
    variance = (others**2).mean(0)
    apart = standardised(differences) / np.sqrt((1 - _EVEN) * variance + _EVEN * variance.mean())
    squares = (apart - apart.mean(-1, keepdims=True)) ** 2
    return squares.sum(-1) ** 2 / np.maximum((squares**2).sum(-1), np.finfo(float).tiny)


def n_decisive(found: Sequence[Floats], n_draws: int) -> int:
    """The draws that decide an example, where those of its own do; 0 where examples are alike, or none varies.

    `found` are effective numbers of comparisons held out of a wave, of `n_draws` draws.
    """
    together = np.concatenate(found) if found else np.zeros(0)
    if not len(together):
        return 0
    few = float(np.quantile(together, _QUANTILE))
    return max(int(few), 1) if few < _FEW * n_draws else 0


def floor_of(n_draws: int, decisive: int, chance: float) -> int:
    """The draws of a random sample that holds `_LEAST` of the decisive ones, but for this chance; all if it must.

    >>> floor_of(1000, 20, 0.01), floor_of(1000, 10, 0.01), floor_of(1000, 4, 0.01), floor_of(1000, 0, 0.01)
    (476, 781, 1000, 0)
    """
    if not decisive:
        return 0
    n, seen = np.arange(n_draws + 1)[:, None], np.arange(_LEAST)
    with np.errstate(invalid="ignore"):
        logs = _log_choose(decisive, seen) + _log_choose(n_draws - decisive, n - seen) - _log_choose(n_draws, n)
    is_possible = (seen <= decisive) & (seen <= n) & (n - seen <= n_draws - decisive)
    too_few = np.where(is_possible, np.exp(np.where(is_possible, logs, 0)), 0).sum(1)
    return int(np.append(np.flatnonzero(too_few <= chance), n_draws)[0])


def _log_choose(n: int, k: np.ndarray) -> Floats:
    return special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
