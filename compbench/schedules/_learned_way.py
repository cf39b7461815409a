"""An order of draws that few of them tell most of the mean in, and the mean of least variance of each prefix.

Generalised least squares: draws not yet seen are allowed for by those that they go with. As estimates of the mean over
the bank these are unbiased whatever the example is like only as far as it is like the wave; how much surer they are
than plain means, and how much less sure than they seem, is measured on examples held out of the wave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import linalg

from compbench.core.aliases import Floats, Ints
from compbench.schedules._pattern import N_ORDERS, Pattern
from compbench.schedules.strata import looks

__all__ = ["LearnedWay", "learned_way"]


@dataclass(frozen=True, eq=False)
class LearnedWay:
    """A way through the bank in one of a pattern's orders, with the weights of the mean of least variance."""

    pattern: Pattern
    number: int  # of the order
    n_certain: int = 0

    @cached_property
    def order(self) -> Ints:
        """[D], a permutation of the bank."""
        return self.pattern.permutations[self.number]

    @cached_property
    def looks(self) -> Ints:
        """The prefixes at which a race is looked at."""
        return self.n_certain + looks(len(self.order) - self.n_certain)

    @cached_property
    def _root(self) -> Floats:
        """The lower Cholesky factor of the covariance of the order's draws up to the last look before its end."""
        draws = self.order[: self.looks[-2] if len(self.looks) > 1 else 0]
        found = self.pattern.covariance()[np.ix_(draws, draws)]
        return np.linalg.cholesky(found) if len(draws) else found

    @cached_property
    def _ones(self) -> Floats:
        return linalg.solve_triangular(self._root, np.ones(len(self._root)), lower=True)

    @cached_property
    def weights(self) -> Floats:
        """[looks, D], what each draw of the order counts in the estimated mean: none beyond the look."""
        found = np.zeros((len(self.looks), len(self.order)))
        for row, n in zip(found, self.looks[:-1].tolist(), strict=False):
            row[:n] = linalg.solve_triangular(self._root[:n, :n], self._ones[:n], lower=True, trans=1)
            row[:n] /= row[:n].sum()
        found[-1] = 1 / len(self.order)
        return found

    @cached_property
    def information(self) -> Floats:
        """[looks before the last], 1 / variance of the mean, in units of the differences' own and not inflated."""
        return np.cumsum(self._ones**2)[self.looks[:-1] - 1]

    @cached_property
    def inflation(self) -> Floats:
        """[looks before the last], by which errors are multiplied; 1 where nothing was held out.

        Where the pattern has none for the last looks, which come with fewer certain draws, they are as the one before.
        """
        known = np.array(self.pattern.inflation or (1.0,))
        return known[np.minimum(np.arange(len(self.looks) - 1), len(known) - 1)]

    def trusted(self, inflation: tuple[float, ...], floor: int = 0) -> LearnedWay:
        """The same way with errors made larger at each look, and a floor; what is dear about it is shared."""
        found = replace(self, pattern=replace(self.pattern, inflation=inflation, floor=floor))
        vars(found).update(_root=self._root, _ones=self._ones)
        return found

    def means(self, differences: Floats, at: Ints) -> tuple[Floats, Floats]:
        """The mean over the bank and its standard error [m, looks], of the first draws of the order [m, n].

        The scale is that of the differences themselves; of what does not vary the standard error is inf.
        """
        n = int(at.max(initial=0))
        origin = differences[:, :1]
        white = linalg.solve_triangular(self._root[:n, :n], (differences[:, :n] - origin).T, lower=True)  # [n, m]
        information = np.cumsum(self._ones[:n] ** 2)[at - 1]
        mean = (np.cumsum(self._ones[:n, None] * white, 0)[at - 1] / information[:, None]).T
        residual = np.maximum(np.cumsum(white**2, 0)[at - 1].T - mean**2 * information, 0)
        error = np.sqrt(residual / np.maximum(at - 1, 1) / information)
        scale = np.abs(mean + origin) + np.abs(mean)
        error *= self.inflation[np.searchsorted(self.looks, at)]
        return mean + origin, np.where((error > 1e-9 * scale) & (at > 1), error, np.inf)


@lru_cache(maxsize=2 * N_ORDERS)
def learned_way(pattern: Pattern, number: int, n_certain: int) -> LearnedWay:
    """The same for every example that takes this order, for its weights are dear."""
    return LearnedWay(pattern, number, n_certain)
