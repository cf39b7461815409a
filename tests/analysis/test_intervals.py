"""The interval of a score: known answers, laws, and how often it covers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from compbench_analysis.statistics.intervals import Sample, effective_n, interval, standard_error, student, wilson

N_TRIALS = 3000


def _alone(n: int) -> Sample:
    return Sample.of([str(i) for i in range(n)])


def _grouped(sizes: Sequence[int], classes: Sequence[int] | None = None) -> Sample:
    groups = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    return Sample.of(groups, None if classes is None else [str(kind) for kind in classes])


def _classes(sizes: Sequence[int]) -> Sample:
    return _grouped([1] * sum(sizes), np.repeat(np.arange(len(sizes)), sizes).tolist())


def _coverage(values: np.ndarray, sample: Sample, truth: float) -> float:
    low, high = interval(values, sample)
    return float(((low <= truth) & (truth <= high)).mean())


def _at_least(share: float, n: int = N_TRIALS) -> float:
    """What a coverage of `share` hardly ever falls below by chance in n trials."""
    return float(stats.binom.ppf(0.0005, n, share)) / n


def _drawn(rng: np.random.Generator, share: float, alike: float, n_groups: int, size: int) -> np.ndarray:
    """[trials, examples] of groups whose own share is beta-distributed: `alike` is the correlation within a group."""
    if alike:
        own = rng.beta(share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike, (N_TRIALS, n_groups, 1))
    else:
        own = np.full((N_TRIALS, n_groups, 1), share)
    return (rng.random((N_TRIALS, n_groups, size)) < own).reshape(N_TRIALS, -1).astype(float)


@pytest.mark.parametrize(("right", "n"), [(38, 141), (15, 26), (0, 5), (5, 5), (1, 1)])
def test_examples_that_stand_alone_have_the_wilson_interval(right: int, n: int) -> None:
    low, high = interval(np.repeat([1.0, 0.0], [right, n - right]), _alone(n))
    assert (float(low), float(high)) == pytest.approx(wilson(right, n), abs=1e-12)
    assert _alone(n).method == "wilson"


def test_the_standard_error_is_the_cluster_robust_one_of_statsmodels() -> None:
    rng, sizes = np.random.default_rng(0), [1, 4, 2, 7, 3, 3, 1, 5]
    own = np.repeat([0.1, 0.9, 0.2, 0.8, 0.1, 0.9, 0.5, 0.3], sizes)  # groups of which most are right, or wrong
    values, sample = (rng.random(sum(sizes)) < own).astype(float), _grouped(sizes)
    fit = sm.OLS(values, np.ones((len(values), 1))).fit(cov_type="cluster", cov_kwds={"groups": sample.clusters})
    ours, n_free = standard_error(values, sample)
    assert float(ours) == pytest.approx(float(fit.bse[0]), rel=1e-9)
    assert n_free == 7


def test_classes_have_the_textbook_variance_of_a_stratified_mean() -> None:
    rng, sizes = np.random.default_rng(1), [4, 9, 2, 30]
    values = (rng.random(45) < 0.6).astype(float)
    parts = np.split(values, np.cumsum(sizes)[:-1])
    variance = sum(part.mean() * (1 - part.mean()) / (len(part) - 1) for part in parts) / 16
    ours, n_free = standard_error(values, _classes(sizes))
    floor = 1 / (4 * 2)  # one example of the smallest class
    assert float(ours) == pytest.approx(max(math.sqrt(variance), floor))
    assert n_free == 45 - 4
    assert float(_classes(sizes).mean(values)) == pytest.approx(np.mean([part.mean() for part in parts]))
    assert _classes(sizes).method == "stratified"


def test_copies_of_an_example_say_no_more_than_it_does() -> None:
    once = np.repeat([1.0, 0.0], [12, 18])
    copied = np.repeat(once, 5)
    n = float(effective_n(copied, _grouped([5] * 30), copied.mean() * (1 - copied.mean())))
    few_groups = (stats.t.ppf(0.975, 149) / stats.t.ppf(0.975, 29)) ** 2  # Korn and Graubard's correction
    assert n == pytest.approx(few_groups * 29 * 150 / 149)
    alike = np.ones(150)
    assert float(effective_n(alike, _grouped([5] * 30), np.array(0.0))) == pytest.approx(30)
    assert interval(alike, _grouped([5] * 30))[0] == pytest.approx(wilson(30, 30)[0])


def test_sharing_a_group_never_narrows_an_interval() -> None:
    opposed = np.tile([1.0, 0.0], 20)  # in each group one is right and one is wrong
    shared, alone = (interval(opposed, sample) for sample in (_grouped([2] * 20), _alone(40)))
    assert shared[0] <= alone[0]
    assert shared[1] >= alone[1]


def test_the_order_of_the_examples_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    values, order = (rng.random(60) < 0.5).astype(float), rng.permutation(60)
    groups, classes = [str(i // 3) for i in range(60)], [str(i % 4) for i in range(60)]
    here = interval(values, Sample.of(groups, classes))
    there = interval(values[order], Sample.of([groups[i] for i in order], [classes[i] for i in order]))
    assert here == pytest.approx(there)


def test_what_tells_nothing_has_an_interval_from_nothing_to_all() -> None:
    low, high = interval(np.array([1.0, 0.0, 1.0]), _grouped([3]))  # all of one image
    assert (float(low), float(high)) == pytest.approx((0, 1), abs=1e-6)
    assert np.isnan(interval(np.zeros(0), _alone(0))).all()
    assert all(map(math.isnan, wilson(0, 0)))


def test_classes_that_are_all_right_or_all_wrong_are_not_taken_to_be_known() -> None:
    values = np.repeat([1.0, 0.0], 5)  # no spread within either class
    low, high = interval(values, _classes([5, 5]))
    assert float(high - low) > 2 / 10  # at least one example of a class either way


def test_a_single_class_is_a_plain_proportion() -> None:
    values = np.repeat([1.0, 0.0], [7, 13])
    assert interval(values, _classes([20])) == pytest.approx(interval(values, _alone(20)))


def test_classes_of_one_example_are_told_together() -> None:
    values = np.repeat([1.0, 0.0], [7, 13])
    assert interval(values, _classes([1] * 20)) == pytest.approx(interval(values, _alone(20)))
    lonely = _classes([1, 6, 6])  # the lonely one joins another class
    assert np.isfinite(interval(np.ones(13), lonely)).all()
    assert np.isfinite(interval(np.r_[1.0, np.tile([0.0, 1.0], 6)], lonely)).all()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("alike", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("n_groups", "size"), [(100, 2), (40, 5), (15, 4)])
def test_the_clustered_interval_covers_as_often_as_it_says(
    share: float, alike: float, n_groups: int, size: int
) -> None:
    values = _drawn(np.random.default_rng(3), share, alike, n_groups, size)
    # 93 % at worst where groups are few and alike, as Franco et al. found for all such intervals
    assert _at_least(0.935) < _coverage(values, _grouped([size] * n_groups), share) < 0.985


@pytest.mark.slow
def test_without_the_groups_it_would_not_cover() -> None:
    values = _drawn(np.random.default_rng(4), 0.3, 0.3, 40, 5)
    assert _coverage(values, _alone(200), 0.3) < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("spread", [(8.0, 4.0), (2.0, 2.0), (0.3, 0.3)])  # of the classes' shares: alike to far apart
@pytest.mark.parametrize(("n_classes", "size"), [(10, 5), (10, 30), (37, 10), (100, 4)])
def test_the_interval_of_the_mean_per_class_covers_as_often_as_it_says(
    spread: tuple[float, float], n_classes: int, size: int
) -> None:
    rng = np.random.default_rng(5)
    shares = rng.beta(*spread, n_classes)
    values = (rng.random((N_TRIALS, n_classes, size)) < shares[:, None]).reshape(N_TRIALS, -1).astype(float)
    coverage = _coverage(values, _classes([size] * n_classes), float(shares.mean()))
    assert _at_least(0.94) < coverage < (0.975 if n_classes * size > 50 else 0.99)


@pytest.mark.slow
def test_classes_of_unlike_size_in_groups_are_covered() -> None:
    rng, per_class = np.random.default_rng(6), [6, 10, 14, 20]
    shares = np.array([0.3, 0.5, 0.7, 0.9])
    own = np.concatenate(
        [rng.beta(4 * share, 4 * (1 - share), (N_TRIALS, n)) for share, n in zip(shares, per_class, strict=True)],
        axis=1,
    )  # [trials, groups]
    values = (rng.random((N_TRIALS, 50, 3)) < own[..., None]).reshape(N_TRIALS, -1).astype(float)
    sample = _grouped([3] * 50, np.repeat(np.arange(4), [3 * n for n in per_class]).tolist())
    assert sample.method == "clustered+stratified"
    assert _at_least(0.93) < _coverage(values, sample, float(shares.mean())) < 0.985


def test_the_closed_form_of_wilson_is_that_of_statsmodels_bit_for_bit() -> None:
    for n in (1, 7, 30, 141, 10_000):
        for n_right in range(0, n + 1, max(1, n // 50)):
            low, high = proportion_confint(n_right, n, method="wilson")
            expected = (0.0 if n_right == 0 else max(0.0, low), 1.0 if n_right == n else min(1.0, high))
            assert wilson(n_right, n) == expected


def test_the_quantile_of_students_t_is_scipys() -> None:
    assert [student(n) for n in (1, 2, 9, 400)] == [stats.t.ppf(0.975, n) for n in (1, 2, 9, 400)]
