"""Scores as probabilities of classes, p(c | x): Eq. 3 of "Your Diffusion Model is Secretly a Zero-Shot Classifier".

A softmax of minus the errors, over a temperature: the errors of a diffusion model are nearly equal, so that their plain
softmax says 1 / K of every class. The temperature is fitted by maximum likelihood on some of the examples, and all that
is reported is of the others (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).

A class that a schedule gave up early has no score to put in, only an interval: its distance from the predicted class on
the draws that both have. So every probability is an interval, whose ends are equal where all was measured.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.special
import scipy.stats

from compbench.core import rules
from compbench.core.aliases import Bools, Floats, Ints
from compbench.core.errors import UsageError
from compbench.core.measurements import Measurement
from compbench.schedules.racing import Racing
from compbench.schedules.schedule import Full
from compbench.store.frames import predicted
from compbench_analysis.frames.stored_errors import units_of
from compbench_analysis.statistics.intervals import wilson
from compbench_analysis.statistics.resampling import standard_error

if TYPE_CHECKING:
    from compbench.core.rules import Rule
    from compbench.schedules.policies import Verdict
    from compbench.store.run import Run

__all__ = [
    "SHARE_FITTED",
    "Calibration",
    "ClassScores",
    "calibrate",
    "class_scores",
    "expected_calibration_error",
    "fit_temperature",
    "held_out",
    "probabilities",
    "reliability",
]

SHARE_FITTED = 0.2  # of the examples
_LEVEL = 0.95  # of the intervals of all given-up classes of an example together
_BEYOND = 1e6  # scores further than this many temperatures apart are as good as infinitely far
_AT_ONCE = 64  # examples whose errors are in memory
_WIDEST = 1e6  # the temperature lies within this factor of the spread of the scores, either way


@dataclass(frozen=True, slots=True)
class ClassScores:
    """The score of each class, that of its best prompt, and how far it may be from it."""

    ids: tuple[str, ...]  # length N
    groups: tuple[str, ...]  # length N: examples of a group stay together
    labels: Ints  # [N], the true class
    predicted: Ints  # [N], -1 where two classes share the best score
    low: Floats  # [N, K]; only differences within an example mean anything
    high: Floats  # [N, K]; the same as low where every draw of the class was measured

    @property
    def is_whole(self) -> Bools:
        """[N]: whether every class of an example was measured on every draw."""
        return (self.low == self.high).all(-1)

    @property
    def chosen(self) -> Ints:
        """[N]: the predicted class, of equal ones any."""
        return np.where(self.predicted < 0, self.low.argmax(-1), self.predicted)

    def of(self, rows: Ints) -> ClassScores:
        """Some of the examples."""
        ids, groups = (tuple(np.array(names, object)[rows]) for names in (self.ids, self.groups))
        low = self.low[rows]
        high = low if self.high is self.low else self.high[rows]
        return ClassScores(ids, groups, self.labels[rows], self.predicted[rows], low, high)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration of a model's probabilities. Shares are fractions of 1, losses are in nats per example.

    Where classes were given up early, `ece` and the rest stand for the lower ends of the confidences and `ece_high`
    for the upper ends: what is true lies between them or beside them, nobody knows where.
    """

    temperature: float
    is_at_edge: bool  # the likelihood rises to the edge of what was searched: the scores are perfect, or say nothing
    n_fitted: int  # examples that the temperature was fitted on
    n_judged: int  # the others, of which all below is said
    n_pruned: int  # of these, those with a class that was given up early
    accuracy: float
    confidence: float  # the mean probability of the predicted class
    nll: float  # mean of minus the logarithm of the true class's probability
    nll_of_chance: float  # that of probability 1 / K
    ece: float
    ece_high: float
    ece_untempered: float  # at temperature 1
    bins: pd.DataFrame  # low, high, n, confidence, accuracy, accuracy_low, accuracy_high
    examples: pd.DataFrame  # of each judged example: id, class, prediction, probabilities of both with their ends


def calibrate(
    run: Run, *, share: float = SHARE_FITTED, seed: int = 0, n_bins: int = 15, rule: Rule | None = None
) -> Calibration:
    """Fit the temperature on a seeded `share` of the run's examples and judge the probabilities of the others."""
    if not 0 < share < 1:
        raise UsageError(f"share must be more than 0 and less than 1, got {share}")
    if n_bins < 1:
        raise UsageError(f"n_bins must be at least 1, got {n_bins}")
    scores = class_scores(run, rule)
    fitted, judged = held_out(scores.groups, share, seed)
    if not len(fitted) or not len(judged):
        raise UsageError(
            f"run {str(run.path)!r} has {len(scores.ids)} examples, too few to fit on some and test on others"
        )
    temperature, is_at_edge = fit_temperature(scores.of(fitted))
    names = run.classes.names if run.classes is not None else ()
    return _judged(scores.of(judged), temperature, is_at_edge, len(fitted), n_bins, names)


def class_scores(run: Run, rule: Rule | None = None) -> ClassScores:
    """The class scores of all examples that are done, in the task's order; UsageError for another kind of task."""
    classes = run.classes
    if classes is None:
        raise UsageError(
            f"run {str(run.path)!r} is not a classification: its captions are not the same for all examples"
        )
    table = run.table(rule)
    if not table.ids:
        raise UsageError(f"run {str(run.path)!r} has no measured examples yet: rerun its command")
    of_caption = np.array(classes.of_caption)
    low = high = _best_of_class(table.scores[:, 0], of_caption)
    if not isinstance(run.schedule, Full):
        run.check_errors()  # how far off a class may be that was given up early
        low, high = map(np.stack, zip(*_intervals(run, table.ids, of_caption), strict=True))
    group_of = dict(zip(run.task_examples.ids, run.task_examples.groups, strict=True))
    return ClassScores(
        table.ids,
        tuple(group_of[example_id] for example_id in table.ids),
        of_caption[table.matches[:, 0].argmax(-1)],
        predicted(table.scores[:, 0], classes),
        low,
        high,
    )


def held_out(groups: Sequence[str], share: float, seed: int) -> tuple[Ints, Ints]:
    """(rows to fit on, rows to judge): a group is on one side, the same one whatever the other groups are.

    >>> fitted, judged = held_out([str(n) for n in range(1000)], 0.2, seed=0)
    >>> len(fitted), len(judged)
    (200, 800)
    """
    ranked = {group: hashlib.sha256(f"{seed}:{group}".encode()).digest() for group in groups}
    chosen = set(sorted(ranked, key=ranked.__getitem__)[: round(share * len(ranked))])
    is_fitted = np.array([group in chosen for group in groups], bool)
    return np.flatnonzero(is_fitted), np.flatnonzero(~is_fitted)


def probabilities(scores: ClassScores, temperature: float) -> tuple[Floats, Floats]:
    """(low, high) [N, K]: what the probability of each class may be, whatever the scores are within their intervals.

    It is lowest where its own score is lowest and all others are highest. Where all was measured both are the softmax.
    """
    low = np.exp(_log_share(scores.low, scores.high, temperature))
    return low, low if scores.low is scores.high else np.exp(_log_share(scores.high, scores.low, temperature))


def fit_temperature(scores: ClassScores) -> tuple[float, bool]:
    """The temperature of the greatest likelihood, and whether it lies at the edge of what was searched.

    Where classes were given up the likelihood is the least that it may be, so that no unmeasured score makes the model
    surer than it is.
    """
    rows = np.arange(len(scores.labels))
    distances = scores.low.max(-1, keepdims=True) - scores.low
    spread = float(np.median(distances[np.isfinite(distances) & (distances > 0)])) if (distances > 0).any() else 1.0

    def loss(log_temperature: float) -> float:
        shares = _log_share(scores.low, scores.high, math.exp(log_temperature))
        return -float(shares[rows, scores.labels].mean())

    edges = math.log(spread / _WIDEST), math.log(spread * _WIDEST)
    grid = np.linspace(*edges, 61)  # the loss of an interval need not have one valley: the best of many is polished
    best = int(np.argmin([loss(point) for point in grid]))
    around = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    found = scipy.optimize.minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x)), best in (0, len(grid) - 1)


def reliability(confidence: Floats, is_right: Bools, n_bins: int) -> pd.DataFrame:
    """A row for each bin of confidence that holds any example: how sure the model was and how often right.

    Bins are equally wide and closed above, as in Guo et al.; the interval is Wilson's, 95 %.
    """
    places = np.clip(np.ceil(confidence * n_bins).astype(int) - 1, 0, n_bins - 1)
    rows = []
    for place in np.unique(places):
        members = places == place
        n, n_right = int(members.sum()), int(is_right[members].sum())
        low, high = wilson(n_right, n)
        rows.append(
            {
                "low": place / n_bins,
                "high": (place + 1) / n_bins,
                "n": n,
                "confidence": float(confidence[members].mean()),
                "accuracy": n_right / n,
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
    return pd.DataFrame(rows)


def expected_calibration_error(confidence: Floats, is_right: Bools, n_bins: int) -> float:
    """The mean distance between confidence and accuracy over the bins, each weighed by its examples.

    >>> confidence, is_right = np.array([0.875, 0.875, 0.625, 0.625]), np.array([True, True, True, False])
    >>> expected_calibration_error(confidence, is_right, 10)
    0.125
    """
    bins = reliability(confidence, is_right, n_bins)
    n, sure, right = (bins[name].to_numpy(float) for name in ("n", "confidence", "accuracy"))
    return float(np.abs(sure - right) @ n / n.sum())


def _judged(
    scores: ClassScores, temperature: float, is_at_edge: bool, n_fitted: int, n_bins: int, class_names: Sequence[str]
) -> Calibration:
    rows = np.arange(len(scores.labels))
    low, high = probabilities(scores, temperature)
    is_right = scores.predicted == scores.labels
    chosen = scores.chosen  # of a tie, which is wrong
    confidence, confidence_high = low[rows, chosen], high[rows, chosen]
    plain, _ = probabilities(scores, 1.0)
    names = np.array(class_names, object)
    examples = pd.DataFrame(
        {
            "id": list(scores.ids),
            "class": names[scores.labels],
            "prediction": np.where(scores.predicted < 0, "", names[chosen]),
            "is_right": is_right,
            "probability": confidence,
            "probability_high": confidence_high,
            "probability_true": low[rows, scores.labels],
            "probability_true_high": high[rows, scores.labels],
        }
    )
    with np.errstate(divide="ignore"):
        nll = -float(np.log(low[rows, scores.labels]).mean())
    return Calibration(
        temperature=temperature,
        is_at_edge=is_at_edge,
        n_fitted=n_fitted,
        n_judged=len(rows),
        n_pruned=int((~scores.is_whole).sum()),
        accuracy=float(is_right.mean()),
        confidence=float(confidence.mean()),
        nll=nll,
        nll_of_chance=math.log(len(class_names)),
        ece=expected_calibration_error(confidence, is_right, n_bins),
        ece_high=expected_calibration_error(confidence_high, is_right, n_bins),
        ece_untempered=expected_calibration_error(plain[rows, chosen], is_right, n_bins),
        bins=reliability(confidence, is_right, n_bins),
        examples=examples,
    )


def _best_of_class(scores: Floats, of_caption: Ints) -> Floats:
    """[..., K] of captions [..., C]."""
    return np.stack([scores[..., of_caption == place].max(-1) for place in range(of_caption.max() + 1)], axis=-1)


def _intervals(run: Run, ids: Sequence[str], of_caption: Ints) -> Iterator[tuple[Floats, Floats]]:
    """(low, high) [K] of each example: scores less that of the predicted caption, and how far off they may be."""
    for start in range(0, len(ids), _AT_ONCE):
        chunk = list(ids[start : start + _AT_ONCE])
        known, verdicts = run.measurements(chunk), run.verdicts(chunk)
        for example in chunk:
            low, high = _of_captions(run, known[example], verdicts[example], of_caption)
            yield _best_of_class(low, of_caption), _best_of_class(high, of_caption)


def _of_captions(run: Run, measurement: Measurement, verdict: Verdict, of_caption: Ints) -> tuple[Floats, Floats]:
    """(low, high) [C].

    The intervals are those of the moment at which a caption was given up, and know nothing of why it came to that.
    """
    winner, n_draws = verdict.predictions[0], verdict.n_draws[0]
    if verdict.comparisons:
        margins, errors, is_exact = _of_comparisons(verdict)
    else:  # of a staged schedule: the last stage is all that it has
        margins, errors = _of_shared_draws(run, measurement, winner)
        is_exact = n_draws == n_draws[winner]
    is_own = of_caption == of_caption[winner]
    n_given_up = max(1, int((~is_own & ~is_exact).sum()))
    n_units = n_draws // (run.schedule.together if isinstance(run.schedule, Racing) else 1)  # an antithetic pair is one
    quantile = scipy.stats.t.ppf(1 - (1 - _LEVEL) / 2 / n_given_up, np.maximum(n_units - 1, 1))
    half = np.where(is_exact, 0.0, np.where(np.isnan(errors), np.inf, quantile * errors))
    # another prompt of the predicted class says nothing of it: the predicted one is its best
    is_beside = is_own & (np.arange(len(of_caption)) != winner)
    return np.where(is_beside, -np.inf, -margins - half), np.where(is_beside, -np.inf, -margins + half)


def _of_comparisons(verdict: Verdict) -> tuple[Floats, Floats, Bools]:
    """(margin, standard error, whether on the whole bank) [C] of a race."""
    n_captions = verdict.n_draws.shape[1]
    margins, errors, is_exact = np.zeros(n_captions), np.zeros(n_captions), np.ones(n_captions, bool)
    for comparison in verdict.comparisons:
        rival = comparison.worse[1]
        margins[rival], errors[rival], is_exact[rival] = (
            comparison.margin,
            comparison.standard_error,
            comparison.is_exact,
        )
    return margins, errors, is_exact


def _of_shared_draws(run: Run, measurement: Measurement, winner: int) -> tuple[Floats, Floats]:
    """(margin, standard error) [C]: how much higher a caption's mean error is than the winner's on the draws of both.

    A stage takes evenly spaced timesteps, so that neighbours tell the variance; antithetic pairs are units where a
    stage has both draws of one.
    """
    schedule, draws = run.schedule, run.draws()
    assert not isinstance(schedule, Full)  # or there would be no verdict
    weights = schedule.rule.weights(draws)[measurement.draw_ids]
    weighted = rules.errors_of(measurement, schedule.rule)[0] * weights  # [C, D]
    shared = measurement.measured[0] & measurement.measured[0, winner]
    differences = weighted - weighted[winner]
    timesteps = draws.timesteps[measurement.draw_ids]
    margins, errors = np.zeros(len(weighted)), np.zeros(len(weighted))
    for pattern in np.unique(shared, axis=0):  # as many as there are stages
        some = (shared == pattern).all(-1)
        its = differences[np.ix_(some, pattern)]
        left_out = 1 - pattern.sum() / shared[winner].sum()
        margins[some] = its.mean(-1)
        units = units_of(run, measurement.draw_ids[pattern])
        errors[some] = standard_error(its, timesteps[pattern], units) * math.sqrt(left_out)
    return margins, errors


def _log_share(own: Floats, others: Floats, temperature: float) -> Floats:
    """[N, K]: log of e^(own / T) over itself plus the sum of e^(others / T) of all other classes."""
    if own is others:
        return scipy.special.log_softmax(own / temperature, axis=-1)
    own, others = (np.clip(logits / temperature, -_BEYOND, _BEYOND) for logits in (own, others))
    top = others.max(-1, keepdims=True)
    is_top = np.arange(own.shape[-1]) == others.argmax(-1)[:, None]
    second = np.where(is_top, -_BEYOND, others).max(-1, keepdims=True)
    # the sum of all others but one, without subtracting what may be nearly all of it
    all_but_top = np.log(np.exp(np.where(is_top, -np.inf, others - second)).sum(-1, keepdims=True)) + second
    relative = np.exp(others - top)
    all_but_own = np.log(relative.sum(-1, keepdims=True) - np.where(is_top, 0.0, relative)) + top
    return own - np.logaddexp(own, np.where(is_top, all_but_top, all_but_own))
