"""The published schedule: the same classes, timesteps and prediction as a literal, slow reading of the procedure."""

from __future__ import annotations

import numpy as np
import pytest

from compbench.core.errors import UsageError
from compbench.schedules.policies import Unfinished
from compbench.schedules.staged import PUBLISHED, Pruning, Staged, published
from literal import by_the_paper

# data set -> (prompts, timesteps after each stage, network evaluations an image), of the published procedure
COUNTS = {
    "food101": (101, (20, 70, 150, 500), 5570),
    "cifar10": (10, (50, 500), 2750),
    "fgvc-aircraft": (100, (20, 70, 150, 500), 5550),
    "pets": (37, (25, 250), 2050),
    "flowers102": (102, (20, 70, 150, 500), 5590),
    "stl10": (10, (100, 500), 3000),
    "imagenet": (1000, (50, 150, 550, 1000), 124_500),
    "objectnet": (113, (50, 150, 550, 1000), 14_400),
}


def by_stages(policy: Pruning, errors: np.ndarray):
    """The policy asked again until it wants nothing -> what it wanted each time, and the last mask, [I, C, D]."""
    measured, rounds = np.zeros(errors.shape, bool), []
    while (wanted := policy.wanted(np.where(measured, errors, np.nan), measured)).any():
        assert not (wanted & measured).any()
        rounds.append(wanted)
        measured |= wanted
    return rounds, measured


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_published_schedule_is_its_literal_reading(name: str) -> None:
    n_classes, totals, n_evaluations = COUNTS[name]
    schedule, rng = PUBLISHED[name], np.random.default_rng(len(name))
    timesteps = rng.permutation(1000)
    errors = rng.normal(0.1, 0.02, (1, n_classes, 1000)) + rng.normal(0, 0.002, (1, n_classes, 1))
    draw_of = np.argsort(timesteps)
    predicted, stages = by_the_paper(
        lambda c, t: errors[0, c, draw_of[t]], n_classes, schedule.to_keep, schedule.n_samples
    )
    policy = Pruning(timesteps, schedule)
    rounds, measured = by_stages(policy, errors)
    ours = [{(int(c), int(timesteps[d])) for _, c, d in np.argwhere(turn)} for turn in rounds]
    assert ours == stages
    assert tuple(np.cumsum([len({t for _, t in stage}) for stage in ours])) == totals
    assert schedule.n_evaluations(n_classes) == n_evaluations
    assert measured.sum() == n_evaluations
    verdict = policy.verdict(errors, measured)
    assert verdict.predictions == (predicted,)
    assert verdict.n_draws.sum() == n_evaluations
    assert policy.scores(errors, measured)[0].argmax() == predicted


def test_what_a_stage_kept_scores_above_what_it_dropped() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(0.1, 0.05, (1, 60, 1000))
    policy = Pruning(np.arange(1000), Staged((20, 10, 5, 1), (20, 50, 100, 500)))
    _, measured = by_stages(policy, errors)
    n_draws, scores = policy.verdict(errors, measured).n_draws[0], policy.scores(errors, measured)[0]
    for n in np.unique(n_draws)[1:]:
        assert scores[n_draws >= n].max() > scores[n_draws < n].max()


def test_every_image_has_its_own_elimination() -> None:
    rng = np.random.default_rng(1)
    errors = rng.normal(0.1, 0.02, (3, 10, 1000))
    policy = Pruning(np.arange(1000), PUBLISHED["cifar10"])
    _, together = by_stages(policy, errors)
    for i in range(3):
        _, alone = by_stages(policy, errors[i : i + 1])
        np.testing.assert_array_equal(together[i], alone[0])


def test_of_captions_with_equal_errors_the_earlier_are_kept() -> None:
    policy = Pruning(np.arange(1000), Staged((2, 1), (50, 500)))
    errors = np.ones((1, 4, 1000))
    _, measured = by_stages(policy, errors)
    assert policy.verdict(errors, measured).n_draws.tolist() == [[500, 500, 50, 50]]
    assert policy.verdict(errors, measured).predictions == (0,)


def test_it_claims_no_bound_and_answers_only_when_it_is_over() -> None:
    policy, errors = Pruning(np.arange(1000), PUBLISHED["cifar10"]), np.ones((1, 10, 1000))
    first = policy.wanted(errors, np.zeros(errors.shape, bool))
    with pytest.raises(Unfinished, match="2250 more errors"):
        policy.verdict(errors, first)
    _, measured = by_stages(policy, errors)
    verdict = policy.verdict(errors, measured)
    assert (verdict.bound, verdict.risk, verdict.is_full) == ("staged", 1.0, False)


@pytest.mark.parametrize("n_captions", [2, 10, 11, 38, 103, 114, 3000])
def test_other_tasks_have_a_schedule_that_ends_with_one(n_captions: int) -> None:
    schedule = published("mine", n_captions)
    assert schedule.to_keep[-1] == 1
    rng = np.random.default_rng(2)
    errors = rng.normal(size=(1, n_captions, 1000))
    policy = Pruning(np.arange(1000), schedule)
    _, measured = by_stages(policy, errors)
    assert 0 < measured.mean() < 1
    assert len(policy.verdict(errors, measured).predictions) == 1


def test_a_bank_without_the_timesteps_and_a_schedule_without_sense_are_told() -> None:
    policy, errors = Pruning(np.arange(100), PUBLISHED["pets"]), np.ones((1, 37, 100))
    with pytest.raises(UsageError, match=r"bank of 100 draws lacks timestep \d+ and 224 more .* draws=1000"):
        policy.wanted(errors, np.zeros(errors.shape, bool))
    with pytest.raises(UsageError, match="as many positive numbers in both"):
        Staged((5, 1), (50,))
    with pytest.raises(UsageError, match="a stage of 2000 timesteps"):
        Staged((1,), (2000,))
