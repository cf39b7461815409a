"""The interval of a score over the sampling of examples: how far off it could be, had other examples been drawn.

One formula serves every table: the score interval of Wilson (1927) at the effective sample size, which is the number
of examples over their design effect. So it was recommended for proportions in samples with groups and strata (Franco,
Little, Louis & Slud, Journal of Survey Statistics and Methodology 7, 2019), with the correction for few groups of Korn
& Graubard (Survey Methodology 24, 1998). For examples that stand alone and count alike it is Wilson's own interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compbench.core.aliases import Floats, Ints
from compbench.core.packages import named

__all__ = ["METHODS", "Sample", "effective_n", "interval", "standard_error", "student", "wilson"]

METHODS = {
    "wilson": "Wilson (1927)",
    "clustered": "Wilson at the effective sample size, examples of one image or source counted as a group "
    "(Korn & Graubard, 1998; Franco et al., 2019)",
    "stratified": "Wilson at the effective sample size, within classes (Korn & Graubard, 1998; Franco et al., 2019)",
}
_Z = 1.9599639845400545  # of a normal 95 % interval
_LEAST_N = 1e-9  # an interval of next to no examples is all there is: 0 to 1


@dataclass(frozen=True)
class Sample:
    """A sample of examples from a population: each one's weight, stratum and group."""

    weights: Floats  # [N], of sum 1
    strata: Ints  # [N]: 0, 1, 2 ...
    clusters: Ints  # [N]: 0, 1, 2 ...

    @classmethod
    def of(cls, groups: Sequence[str], classes: Sequence[str] | None = None) -> Sample:
        """Examples in `groups`, which are drawn whole; with `classes` each class counts alike, and is a stratum.

        Classes of a single group say nothing of their own spread; they are taken together as one stratum.
        """
        clusters = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
        n = len(clusters)
        if classes is None or not n:
            return cls(np.full(n, 1 / max(n, 1)), np.zeros(n, int), clusters)
        labels, of_class = np.unique(np.asarray(classes, dtype=str), return_inverse=True)
        weights = 1 / (len(labels) * np.bincount(of_class)[of_class])
        return cls(weights, np.unique(_with_company(of_class, clusters), return_inverse=True)[1], clusters)

    @property
    def n(self) -> int:
        """Examples."""
        return len(self.weights)

    @property
    def is_shared(self) -> bool:
        """Whether a group holds several examples."""
        return bool(self.n) and int(self.clusters.max()) + 1 < self.n

    @property
    def is_weighted(self) -> bool:
        """Whether an example counts more than another."""
        return bool(self.n) and float(self.weights.max()) > float(self.weights.min())

    @property
    def method(self) -> str:
        """The name in METHODS of its interval; two of them are joined by +."""
        kinds = (["clustered"] if self.is_shared else []) + (["stratified"] if self.is_stratified else [])
        return "+".join(kinds) or "wilson"

    @property
    def is_stratified(self) -> bool:
        """Whether each class counts alike, whatever its size."""
        return self.is_weighted or (bool(self.n) and int(self.strata.max()) > 0)

    def mean(self, values: Floats) -> Floats:
        """[...] of values [..., N]; of equal ones exactly that value, whatever the weights round to."""
        if not self.n:
            return np.full(values.shape[:-1], np.nan)
        if not self.is_weighted:
            return values.mean(-1)
        return np.where((values == values[..., :1]).all(-1), values[..., 0], values @ self.weights)[()]


def wilson(n_right: float, n: float) -> tuple[float, float]:
    """The Wilson 95 % interval of a proportion; NaN when nothing was counted.

    >>> [round(100 * bound, 1) for bound in wilson(38, 141)]
    [20.3, 34.8]
    """
    if n == 0:
        return math.nan, math.nan
    low, high = _wilson(np.array(n_right / n), np.array(float(n)))
    return float(low), float(high)


def interval(values: Floats, sample: Sample) -> tuple[Floats, Floats]:
    """The 95 % interval of a mean of outcomes [..., N] between 0 and 1: low [...] and high [...]; NaN for no examples.

    >>> right = np.repeat([1.0, 0.0], [38, 103])
    >>> low, high = interval(right, Sample.of([str(n) for n in range(141)]))
    >>> [round(100 * float(bound), 1) for bound in (low, high)]
    [20.3, 34.8]
    """
    mean = sample.mean(values)
    if not sample.n:
        return mean, mean
    return _wilson(mean, effective_n(values, sample, mean * (1 - mean)))


def effective_n(values: Floats, sample: Sample, spread: Floats) -> Floats:
    """[...]: as many independent examples of variance `spread` [...] would know the mean of `values` [..., N] as well.

    Where all values are alike there is nothing to tell how alike a group's are: they count as one example (Kish's
    effective number of groups, 1965).
    """
    variance, n_free = _variance(values, sample)
    of_groups = _sums(np.broadcast_to(sample.weights, values.shape), sample.clusters)
    at_most_alike = 1 / (of_groups**2).sum(-1)
    if sample.n < 2 or n_free < 1:
        return np.full(values.shape[:-1], _LEAST_N) if sample.is_shared else at_most_alike
    n_alone = sample.n - 1
    shrink = 1.0 if n_free == n_alone else (student(n_alone) / student(n_free)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        found = shrink * spread / variance * sample.n / (sample.n - 1)
    return np.where(spread > 0, found, at_most_alike)


def standard_error(values: Floats, sample: Sample) -> tuple[Floats, int]:
    """[...] of the mean of `values` [..., N] over the sampling of groups within strata, and its degrees of freedom."""
    variance, n_free = _variance(values, sample)
    return np.sqrt(variance) if n_free > 0 else np.full(values.shape[:-1], np.nan), n_free


def student(n_free: int) -> float:
    """The 97.5 % quantile of Student's t with `n_free` degrees of freedom."""
    with named():  # scipy.stats, or this where it is not needed, delays every command
        from scipy import special

    return float(special.stdtrit(n_free, 0.975))


def _variance(values: Floats, sample: Sample) -> tuple[Floats, int]:
    """[...] of the mean, by the spread of whole groups within their stratum, and the degrees of freedom that it has.

    Sharing a group is never taken to help: the variance is at least that of examples that stand alone, and at least
    that of one example more or less, so that classes that are all right or all wrong are not taken to be known.
    """
    alone = _spread(values, sample, np.arange(sample.n))
    shared = _spread(values, sample, sample.clusters) if sample.is_shared else alone
    differs = values.max(-1, initial=-np.inf) > values.min(-1, initial=np.inf)
    least = np.where(differs & sample.is_stratified, np.max(sample.weights, initial=0.0) ** 2, 0.0)
    n_free = len(np.unique(sample.clusters)) - len(np.unique(sample.strata))
    return np.maximum(np.maximum(alone, shared), least), n_free


def _spread(values: Floats, sample: Sample, clusters: Ints) -> Floats:
    """The sum of squares of the groups' weighted residuals from their stratum's mean, each stratum made unbiased."""
    if not sample.n:
        return np.full(values.shape[:-1], np.nan)
    strata = sample.strata
    totals = _sums(np.broadcast_to(sample.weights, values.shape), strata)
    means = _sums(values * sample.weights, strata) / totals
    n_groups = np.bincount(strata[np.unique(_joint(strata, clusters), return_index=True)[1]])
    unbiased = np.sqrt(n_groups / np.maximum(n_groups - 1, 1))
    residuals = sample.weights * (values - means[..., strata]) * unbiased[strata]
    return (_sums(residuals, clusters) ** 2).sum(-1)


def _sums(values: Floats, labels: Ints) -> Floats:
    """[..., L] the sums of values [..., N] by label 0, 1 ... L-1, all of which occur."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return np.add.reduceat(values[..., order], starts, axis=-1)


def _joint(strata: Ints, clusters: Ints) -> Ints:
    return strata * (int(clusters.max()) + 1) + clusters


def _with_company(of_class: Ints, clusters: Ints) -> Ints:
    """The strata: classes, but for those of one group, which are joined with each other or, if alone, with another."""
    pairs = np.unique(np.stack([of_class, clusters]), axis=1)
    n_groups = np.bincount(pairs[0])
    alone = np.flatnonzero(n_groups == 1)
    if not len(alone) or len(n_groups) == 1:
        return of_class
    company = alone[0] if len(alone) > 1 else np.flatnonzero(n_groups > 1)[0]
    return np.where(np.isin(of_class, alone), company, of_class)


def _wilson(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    n = np.maximum(n, _LEAST_N)
    p, z = share * n / n, _Z
    middle, scale = p + z**2 / (2 * n), 1 + z**2 / n
    reach = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = middle / scale - reach / scale, middle / scale + reach / scale
    # the closed forms are exactly 0 and 1 there, and their arithmetic is not
    low, high = np.where(share <= 0, 0.0, np.maximum(0.0, low)), np.where(share >= 1, 1.0, np.minimum(1.0, high))
    return low[()], high[()]
