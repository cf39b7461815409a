"""How much of an example is measured: the full budget's answer at the risk asked for, however the draws come in."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from compbench.core.errors import UsageError
from compbench.core.examples import ScoreTable
from compbench.core.metrics import GROUP, IMAGE, TEXT
from compbench.schedules._bets import Anytime
from compbench.schedules._bounds import Asymptotic
from compbench.schedules._race_captions import CaptionRace
from compbench.schedules._race_classes import TOP_1, Elimination
from compbench.schedules.pairs import Comparisons
from compbench.schedules.policies import (
    Outcome,
    Policy,
    Unfinished,
    Verdict,
    Weighted,
    allowed_changed,
    expected_changed,
    full_scores,
    nested_scores,
    raced_scores,
)
from compbench.schedules.staged import Pruning, Staged
from compbench.schedules.strata import N_STRATA, strata

METRICS = {"text": TEXT, "image": IMAGE, "group": GROUP}
TWO = np.eye(2, dtype=bool)
SHAPES = {
    "2x2": TWO,
    "1x2": np.array([[True, False]]),
    "1x5": np.arange(5)[None] == 2,
    "2x1": np.array([[True], [False]]),
    "3x3": np.eye(3, dtype=bool),
    "two true captions": np.array([[True, True, False]]),
}


@dataclass(frozen=True, eq=False)
class Full:
    """The reference: every draw of the bank for every pair."""

    matches: np.ndarray  # [I, C]

    def wanted(self, errors: np.ndarray, measured: np.ndarray) -> np.ndarray:
        return ~measured

    def verdict(self, errors: np.ndarray, measured: np.ndarray) -> Verdict:
        scores = self.scores(errors, measured)
        compared = Comparisons.of(self.matches)
        signs = np.where(scores.flat[compared.better] > scores.flat[compared.worse], 1, -1)
        outcomes = {name: Outcome(is_right, True, 0.0) for name, is_right in compared.outcomes(signs).items()}
        n_bank = errors.shape[-1]
        predictions = tuple(scores.argmax(1).tolist())
        return Verdict("exact", 0.0, np.full(scores.shape, n_bank), n_bank, outcomes, (), predictions)

    def scores(self, errors: np.ndarray, measured: np.ndarray) -> np.ndarray:
        if not measured.all():
            raise Unfinished(f"{int((~measured).sum())} of {measured.size} errors are not measured")
        return full_scores(errors)


def bound_of(n_draws: int, example_id: str = "a", name: str = "asymptotic", limit: float = 10.0):
    its = strata(np.arange(n_draws), seed=0, example_id=example_id, n_strata=1 if name == "anytime" else N_STRATA)
    return Anytime(its, limit) if name == "anytime" else Asymptotic(its)


def errors_of(shape: tuple[int, ...], n_draws: int, seed: int, *, margin: float = 1.0) -> np.ndarray:
    """Errors that share most of what a draw does to them; `margin` in standard errors of the full budget."""
    rng = np.random.default_rng(seed)
    common = rng.exponential(0.1, n_draws)
    between = rng.normal(0, margin * 0.02 / np.sqrt(n_draws), shape)
    return common + between[..., None] + rng.normal(0, 0.02 / np.sqrt(2), (*shape, n_draws))


def run(policy: Policy, errors: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """What is measured when the policy wants no more; with `rng` only some of what it wants comes in each time."""
    measured = np.zeros(errors.shape, bool)
    while (wanted := policy.wanted(np.where(measured, errors, np.nan), measured)).any():
        assert not (wanted & measured).any()
        if rng is not None:
            some = wanted & (rng.random(wanted.shape) < 0.5)
            wanted = some if some.any() else wanted
        measured = measured | wanted
    return measured


def read(scores: np.ndarray, matches: np.ndarray) -> dict[str, bool]:
    """The outcomes that the metrics read from the scores of one example."""
    table = ScoreTable(("a",), scores[None], matches[None])
    return {name: bool(metric.outcome(table)[0]) for name, metric in METRICS.items() if metric.applies(matches.shape)}


@pytest.mark.parametrize("matches", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["asymptotic", "anytime"])
def test_at_risk_zero_a_race_is_the_full_budget(matches: np.ndarray, name: str) -> None:
    for seed in range(3):
        errors = errors_of(matches.shape, 60, seed, margin=5)
        policy, full = CaptionRace(matches, bound_of(60, name=name), risk=0), Full(matches)
        measured = run(policy, errors)
        everything = np.ones(errors.shape, bool)
        truth = full.verdict(errors, everything)
        ours = policy.verdict(errors, measured)
        assert {name: outcome.is_right for name, outcome in ours.outcomes.items()} == {
            name: outcome.is_right for name, outcome in truth.outcomes.items()
        }
        assert all(outcome.is_exact and outcome.doubt == 0 for outcome in ours.outcomes.values())
        assert read(policy.scores(errors, measured), matches) == read(full.scores(errors, everything), matches)


@pytest.mark.parametrize("matches", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["asymptotic", "anytime"])
def test_the_metrics_read_the_verdict_from_the_scores(matches: np.ndarray, name: str) -> None:
    n_saved = 0
    for seed in range(8):
        errors = errors_of(matches.shape, 100, seed, margin=4)
        policy = CaptionRace(matches, bound_of(100, str(seed), name, limit=0.15), risk=0.2)
        measured = run(policy, errors)
        n_saved += (~measured).sum()
        verdict = policy.verdict(errors, measured)
        outcomes = {name: outcome.is_right for name, outcome in verdict.outcomes.items()}
        assert read(policy.scores(np.where(measured, errors, np.nan), measured), matches) == outcomes
        np.testing.assert_array_equal(verdict.n_draws, measured.sum(-1))
        assert verdict.is_full == measured.all()
    assert n_saved > 0


@pytest.mark.parametrize(("shape", "risk"), [("1x2", 0.3), ("2x2", 0.5)])
def test_a_race_differs_from_the_full_budget_no_more_often_than_asked(shape: str, risk: float) -> None:
    n, matches = 150, SHAPES[shape]
    names = [name for name, metric in METRICS.items() if metric.applies(matches.shape)]
    changed, verdicts = dict.fromkeys(names, 0), []
    for seed in range(n):
        errors = errors_of(matches.shape, 100, seed, margin=0.5)
        policy = CaptionRace(matches, bound_of(100, str(seed)), risk=risk)
        verdicts.append(policy.verdict(errors, np.ones(errors.shape, bool)))
        truth = read(-errors.mean(-1), matches)
        for name in names:
            changed[name] += verdicts[-1].outcomes[name].is_right != truth[name]
    assert sum(changed.values()) > 0  # or the simulation would be too easy to tell
    for name in names:
        assert stats.binom.sf(changed[name] - 1, n, risk) > 1e-3
        assert changed[name] <= allowed_changed(verdicts, name) == pytest.approx(risk * n)
        assert 0 < expected_changed(verdicts, name) < allowed_changed(verdicts, name)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(sorted(SHAPES)), st.sampled_from(["asymptotic", "anytime"]))
def test_however_the_draws_come_in_the_same_are_measured(seed: int, shape: str, name: str) -> None:
    matches, rng = SHAPES[shape], np.random.default_rng(seed)
    errors = errors_of(matches.shape, 48, seed, margin=6)
    policy = CaptionRace(matches, bound_of(48, str(seed), name, limit=0.15), risk=0.1)
    at_once = run(policy, errors)
    np.testing.assert_array_equal(run(policy, errors, rng), at_once)
    # more than was wanted, e.g. from an earlier and larger run, changes no answer
    more = at_once | (rng.random(errors.shape) < 0.3)
    assert not policy.wanted(errors, more).any()
    np.testing.assert_array_equal(policy.scores(errors, more), policy.scores(errors, at_once))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_relabelling_an_example_changes_no_outcome_and_no_draw(seed: int) -> None:
    errors = errors_of((2, 2), 64, seed, margin=4)
    policy = CaptionRace(TWO, bound_of(64), risk=0.1)
    measured = run(policy, errors)
    for images, captions in itertools.product(([0, 1], [1, 0]), repeat=2):
        turned = np.ix_(images, captions)
        other = CaptionRace(TWO[turned], bound_of(64), risk=0.1)
        np.testing.assert_array_equal(run(other, errors[turned]), measured[turned])
        ours, theirs = policy.verdict(errors, measured), other.verdict(errors[turned], measured[turned])
        assert [outcome.is_right for outcome in ours.outcomes.values()] == [
            outcome.is_right for outcome in theirs.outcomes.values()
        ]
        np.testing.assert_allclose(
            other.scores(errors[turned], measured[turned]), policy.scores(errors, measured)[turned]
        )


def test_one_caption_that_certainly_loses_settles_text_and_its_image_is_left_alone() -> None:
    errors = errors_of((2, 2), 100, 0, margin=0)
    errors[0, 0] += 0.1  # the right caption of the first image is by far the worse
    policy = CaptionRace(TWO, bound_of(100), asked=["text"])
    measured = run(policy, errors)
    assert measured.sum(-1).tolist() == [[16, 16], [16, 16]]
    verdict = policy.verdict(errors, measured)
    assert not verdict.outcomes["text"].is_right
    assert [comparison.sign for comparison in verdict.comparisons] == [-1, 0]


def test_a_pair_is_measured_on_only_while_it_takes_part_in_something_undecided() -> None:
    errors = errors_of((2, 2), 100, 1, margin=0)
    errors[0, 1] += 0.1  # the first image is told at once, the second never
    errors[1, 0], errors[1, 1] = errors[1, 1], errors[1, 1] + errors_of((), 100, 2)[None] * 1e-3
    policy = CaptionRace(TWO, bound_of(100), asked=["text"])
    measured = run(policy, errors)
    assert measured[0].sum(-1).tolist() == [16, 16]


def test_a_tie_is_wrong_and_takes_the_full_budget() -> None:
    errors = errors_of((2, 2), 100, 3)
    errors[0, 1] = errors[0, 0]
    errors[1, 1] -= 0.1
    policy = CaptionRace(TWO, bound_of(100), risk=0.5, asked=["text"])
    measured = run(policy, errors)
    assert measured[0].all()
    verdict = policy.verdict(errors, measured)
    assert verdict.outcomes["text"] == (False, True, 0.0)
    assert verdict.comparisons[0].margin == 0
    assert read(policy.scores(errors, measured), TWO)["text"] is False


def test_a_difference_that_does_not_vary_is_never_certain_before_the_end() -> None:
    errors = np.broadcast_to(np.array([[0.1, 0.2], [0.2, 0.1]])[..., None], (2, 2, 40))
    assert run(CaptionRace(TWO, bound_of(40), risk=0.5), errors).all()


def test_a_draw_beyond_the_stated_limit_takes_the_example_to_the_full_budget() -> None:
    errors = errors_of((2, 2), 100, 5, margin=0)
    errors[0, 1], errors[1, 0] = errors[0, 1] + 0.05, errors[1, 0] + 0.05
    bound = bound_of(100, name="anytime", limit=0.2)
    policy = CaptionRace(TWO, bound)
    assert not run(policy, errors).all()
    errors[1, 0, bound.strata.order[10]] += 0.3
    measured = run(policy, errors)
    assert measured.all()
    verdict = policy.verdict(errors, measured)
    assert all(outcome.is_exact for outcome in verdict.outcomes.values())
    np.testing.assert_array_equal(policy.scores(errors, measured), -errors.mean(-1))


def test_what_the_scores_contradict_is_measured_to_the_end() -> None:
    """Image 0 tells its captions apart at once; then its pair with caption 0 goes on alone, and its score falls.

    For the other image, with which it is compared, looked worse on the first draws than it is.
    """
    bound, rng = bound_of(100), np.random.default_rng(0)
    base, late = rng.exponential(0.1, 100), bound.strata.order[16:]
    errors = np.stack([[base, base + 0.01], [base + 0.1, base - 5]]) + rng.normal(0, 1e-3, (2, 2, 100))
    errors[1, 0, bound.strata.order] += 0.3 * (-1) ** np.arange(100)
    errors[1, 0, late] -= (errors[1, 0] - errors[0, 0]).mean() * 100 / 84 - 1e-3
    policy = CaptionRace(TWO, bound)
    assert is_contradicted(errors, policy)
    measured = run(policy, errors)
    assert measured.sum(-1).tolist() == [[100, 100], [100, 16]]
    verdict = policy.verdict(errors, measured)
    outcomes = {name: outcome.is_right for name, outcome in verdict.outcomes.items()}
    assert read(policy.scores(errors, measured), TWO) == outcomes == read(-errors.mean(-1), TWO)
    assert outcomes == {"text": True, "image": True, "group": True}


def is_contradicted(errors: np.ndarray, policy: CaptionRace) -> bool:
    """Whether, of what a race decides comparison by comparison, the scores on those draws would say otherwise."""
    its, pairs = policy.bound.strata, Comparisons.of(policy.matches)
    flat = errors.reshape(-1, errors.shape[-1])
    differences = (flat[pairs.worse] - flat[pairs.better])[:, its.order]
    decided = policy.bound.signs(differences, policy.risk, policy.risk / pairs.widest)
    exact = np.where(flat.mean(-1)[pairs.worse] > flat.mean(-1)[pairs.better], 1, -1)
    decided = np.column_stack([decided, exact])
    signs, n_draws, active = np.zeros(len(exact), int), np.zeros(len(flat), int), np.ones(len(flat), bool)
    for number, look in enumerate(its.looks):
        n_draws[active] = look
        live = pairs.live(signs)
        signs[live] = decided[live, number]
        live = pairs.live(signs)
        active = np.isin(np.arange(len(flat)), [*pairs.better[live], *pairs.worse[live]])
    scores = raced_scores(flat, its, n_draws).reshape(policy.matches.shape)
    return read(scores, policy.matches) != pairs.outcomes(signs)


def test_scores_of_those_that_went_on_differ_by_their_paired_differences() -> None:
    rng = np.random.default_rng(6)
    budgets, n_draws = np.array([10, 20, 40]), np.array([10, 20, 40, 40, 20])
    means = rng.normal(size=(5, 3))
    scores = nested_scores(means, budgets, n_draws)
    assert scores[0] == -means[0, 0]
    assert scores[2] - scores[3] == pytest.approx(means[3, 2] - means[2, 2])  # on the 40 draws they share
    assert scores[1] - scores[4] == pytest.approx(means[4, 1] - means[1, 1])
    assert scores[[2, 3]].mean() - scores[1] == pytest.approx(means[1, 1] - means[[2, 3], 1].mean())
    assert scores.mean() == pytest.approx(-means[:, 0].mean())
    np.testing.assert_array_equal(nested_scores(means, budgets, np.full(5, 40)), -means[:, 2])


def test_only_what_is_asked_for_is_raced() -> None:
    assert Comparisons.of(TWO, ["text"]).widest == 2
    assert Comparisons.of(TWO).widest == 4
    assert list(Comparisons.of(TWO, ["image"]).members) == ["image"]
    assert list(Comparisons.of(np.array([[True, False]])).members) == ["text"]
    assert list(Comparisons.of(np.array([[True], [False]])).members) == ["image"]
    errors = errors_of((2, 2), 400, 7, margin=3)
    errors[0] += 0.1 * np.abs(errors_of((), 400, 8))  # an image that is harder for all captions settles no image score
    everything = np.ones(errors.shape, bool)
    fewer = CaptionRace(TWO, bound_of(400), asked=["image"]).verdict(errors, everything).n_draws
    assert fewer.sum() < CaptionRace(TWO, bound_of(400)).verdict(errors, everything).n_draws.sum()
    with pytest.raises(UsageError, match="no outcome named 'top-1'"):
        Comparisons.of(TWO, ["top-1"])


@pytest.mark.parametrize("n_draws", [1, 2, 3, 5])
def test_a_tiny_bank_is_measured_in_full(n_draws: int) -> None:
    errors = errors_of((2, 2), n_draws, 8)
    policy = CaptionRace(TWO, bound_of(n_draws))
    measured = run(policy, errors)
    assert measured.all()
    assert policy.verdict(errors, measured).outcomes["group"].is_exact


def test_the_full_policy_wants_all_and_says_what_the_metrics_say() -> None:
    errors = errors_of((2, 2), 20, 9, margin=3)
    policy = Full(TWO)
    measured = run(policy, errors)
    assert measured.all()
    verdict = policy.verdict(errors, measured)
    assert {name: outcome.is_right for name, outcome in verdict.outcomes.items()} == read(-errors.mean(-1), TWO)
    assert (verdict.bound, verdict.risk, allowed_changed([verdict], "text")) == ("exact", 0.0, 0.0)
    measured[0, 0, 3] = False
    with pytest.raises(Unfinished, match="1 of 80"):
        policy.scores(errors, measured)


@pytest.mark.parametrize("together", [1, 2])
def test_scores_and_verdict_are_those_that_come_together(together: int) -> None:
    errors, weights = errors_of((1, 4), 500 * together, 0), np.linspace(0.5, 1.5, 500 * together)
    stages = Pruning(2 * np.arange(500), Staged((2, 1), (10, 250)))
    races = CaptionRace(np.eye(4, dtype=bool)[:1], bound_of(500)), Elimination(*classes(4), bound_of(500))
    for policy in (stages, *races):
        weighted = Weighted(policy, weights, together)
        measured = run(weighted, errors)
        scores, verdict = weighted.concluded(errors, measured)
        np.testing.assert_array_equal(scores, weighted.scores(errors, measured))
        assert repr(verdict) == repr(weighted.verdict(errors, measured))


def test_an_unfinished_race_gives_no_answer() -> None:
    errors = errors_of((2, 2), 40, 10)
    none = np.zeros(errors.shape, bool)
    policies = CaptionRace(TWO, bound_of(40)), Elimination(TWO[:1], np.arange(2), bound_of(40))
    for policy, some_errors in zip(policies, (errors, errors[:1]), strict=True):
        for answer in (policy.verdict, policy.scores):
            with pytest.raises(Unfinished, match="more errors are wanted"):
                answer(some_errors, none[: len(some_errors)])


@pytest.mark.parametrize("risk", [-0.1, 0.6, float("nan")])
def test_a_risk_that_is_none_is_told(risk: float) -> None:
    with pytest.raises(UsageError, match="risk must be between 0 and"):
        CaptionRace(TWO, bound_of(40), risk=risk)
    with pytest.raises(UsageError, match="risk must be between 0 and"):
        Elimination(TWO[:1], np.arange(2), bound_of(40), risk=risk)


# classes


def classes(n: int, n_prompts: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """matches [1, C] with the second class true, and the class of each caption."""
    of_caption = np.repeat(np.arange(n), n_prompts)
    return of_caption[None] == 1, of_caption


@pytest.mark.parametrize("name", ["asymptotic", "anytime"])
@pytest.mark.parametrize("n_prompts", [1, 3])
def test_at_risk_zero_elimination_is_brute_force(name: str, n_prompts: int) -> None:
    matches, of_caption = classes(7, n_prompts)
    for seed in range(3):
        errors = errors_of(matches.shape, 50, seed, margin=5)
        policy = Elimination(matches, of_caption, bound_of(50, name=name), risk=0)
        measured = run(policy, errors)
        verdict = policy.verdict(errors, measured)
        assert verdict.predictions == (int(errors.mean(-1).argmin()),)
        assert verdict.outcomes[TOP_1].is_exact
        np.testing.assert_array_equal(policy.scores(errors, measured), -errors.mean(-1))


@pytest.mark.parametrize("n_prompts", [1, 3])
def test_elimination_finds_the_full_budgets_class_as_often_as_asked(n_prompts: int) -> None:
    matches, of_caption = classes(6, n_prompts)
    n, risk, n_changed, n_measured = 120, 0.2, 0, 0.0
    for seed in range(n):
        errors = errors_of(matches.shape, 64, seed, margin=1.5)
        policy, everything = (
            Elimination(matches, of_caption, bound_of(64, str(seed)), risk=risk),
            np.ones(errors.shape, bool),
        )
        verdict, scores = policy.verdict(errors, everything), policy.scores(errors, everything)
        n_measured += verdict.n_draws.mean() / 64
        assert of_caption[scores[0].argmax()] == of_caption[verdict.predictions[0]]
        n_changed += of_caption[verdict.predictions[0]] != of_caption[errors[0].mean(-1).argmin()]
    assert stats.binom.sf(n_changed - 1, n, risk) > 1e-3
    assert n_measured < 0.95 * n


def test_most_classes_are_out_after_a_few_draws() -> None:
    matches, of_caption = classes(300)
    errors = errors_of(matches.shape, 400, 11, margin=12)
    policy = Elimination(matches, of_caption, bound_of(400))
    measured = run(policy, errors)
    assert measured.mean() < 0.25
    verdict = policy.verdict(errors, measured)
    assert verdict.predictions == (int(errors.mean(-1).argmin()),)
    assert len(verdict.comparisons) == 299
    assert verdict.comparisons[0].better == (0, verdict.predictions[0])


def test_prompts_of_one_class_do_not_compete() -> None:
    matches, of_caption = classes(3, 2)
    errors = errors_of(matches.shape, 100, 12, margin=0)
    errors[0, 2:4] -= 0.2  # both prompts of class 1, hardly to be told apart
    policy = Elimination(matches, of_caption, bound_of(100))
    measured = run(policy, errors)
    assert measured.sum(-1).tolist() == [[16] * 6]
    assert policy.verdict(errors, measured).outcomes[TOP_1].is_right


def test_of_classes_with_equal_errors_the_first_wins_at_the_end() -> None:
    matches, of_caption = classes(4)
    errors = np.broadcast_to(errors_of((), 40, 13), (1, 4, 40)).copy()
    errors[0, 0] += 0.5 + 0.1 * errors_of((), 40, 14)
    policy = Elimination(matches, of_caption, bound_of(40), risk=0.5)
    measured = run(policy, errors)
    assert measured.sum(-1).tolist() == [[16, 40, 40, 40]]
    assert policy.verdict(errors, measured).predictions == (1,)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([1, 2]), st.sampled_from(["asymptotic", "anytime"]))
def test_however_the_draws_come_in_the_same_classes_are_out(seed: int, n_prompts: int, name: str) -> None:
    matches, of_caption = classes(8, n_prompts)
    errors = errors_of(matches.shape, 48, seed, margin=8)
    policy = Elimination(matches, of_caption, bound_of(48, str(seed), name, limit=0.15), risk=0.1)
    at_once, rng = run(policy, errors), np.random.default_rng(seed)
    np.testing.assert_array_equal(run(policy, errors, rng), at_once)
    more = at_once | (rng.random(errors.shape) < 0.3)
    assert policy.verdict(errors, more).predictions == policy.verdict(errors, at_once).predictions


def test_a_race_of_classes_is_for_one_image_and_its_captions() -> None:
    with pytest.raises(UsageError, match="one image and 3 captions"):
        Elimination(TWO, np.arange(3), bound_of(40))


def test_a_difference_between_classes_beyond_the_limit_takes_all_to_the_full_budget() -> None:
    matches, of_caption = classes(4)
    errors = errors_of(matches.shape, 100, 15, margin=0) + np.array([0, 0.02, 0.04, 0.06])[:, None]
    bound = bound_of(100, name="anytime", limit=0.15)
    policy = Elimination(matches, of_caption, bound)
    assert not run(policy, errors).all()
    errors[0, 2, bound.strata.order[10]] += 0.5
    assert run(policy, errors).all()
