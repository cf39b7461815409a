"""Laws of the matching metrics."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compbench.core.examples import ScoreTable
from compbench.core.metrics import GROUP, IMAGE, MATCHING, TEXT, named

EYE = np.eye(2, dtype=bool)


def table(scores: object, matches: object = EYE) -> ScoreTable:
    array = np.asarray(scores, dtype=np.float64)
    truth = np.broadcast_to(np.asarray(matches, dtype=bool), array.shape)
    return ScoreTable(tuple(map(str, range(len(array)))), array, truth)


@pytest.mark.parametrize(
    ("scores", "text", "image", "group"),
    [
        ([[2, 1], [1, 2]], True, True, True),
        ([[2, 1], [3, 4]], True, False, False),  # image 1 wins under both captions
        ([[2, 3], [1, 4]], False, True, False),  # caption 1 wins for both images
        ([[1, 2], [2, 1]], False, False, False),
        ([[2, 2], [1, 3]], False, True, False),  # a tie among the captions of image 0
    ],
)
def test_text_image_and_group_are_the_published_definitions(
    scores: object, text: bool, image: bool, group: bool
) -> None:
    one = table([scores])
    assert [metric.outcome(one)[0] for metric in (TEXT, IMAGE, GROUP)] == [text, image, group]


def test_a_tie_is_wrong_and_counted() -> None:
    tied = table([np.zeros((2, 2)), [[1, 0], [0, 1]], [[0, 1], [1, 0]]])
    for metric in MATCHING.values():
        assert metric.outcome(tied).tolist() == [False, True, False]
        assert metric.ties(tied).tolist() == [True, False, False]


scores_2x2 = hnp.arrays(np.float64, (5, 2, 2), elements=st.integers(-2, 2).map(float))


@given(scores_2x2, st.sampled_from(list(itertools.permutations(range(2)))), st.sampled_from([(0, 1), (1, 0)]))
def test_relabelling_images_and_captions_changes_nothing(
    scores: np.ndarray, images: tuple[int, ...], captions: tuple[int, ...]
) -> None:
    before, matches = table(scores), EYE[np.ix_(images, captions)]
    after = table(scores[:, images][:, :, captions], matches)
    for metric in MATCHING.values():
        assert np.array_equal(metric.outcome(before), metric.outcome(after))
        assert np.array_equal(metric.ties(before), metric.ties(after))


@given(scores_2x2)
def test_a_metric_depends_on_the_order_of_scores_alone(scores: np.ndarray) -> None:
    for metric in MATCHING.values():
        assert np.array_equal(metric.outcome(table(scores)), metric.outcome(table(np.exp(scores) * 3 - 7)))


def test_chance_is_a_quarter_a_quarter_and_a_sixth_on_2x2() -> None:
    assert [TEXT.chance(EYE), IMAGE.chance(EYE), GROUP.chance(EYE)] == [0.25, 0.25, pytest.approx(1 / 6)]


@pytest.mark.parametrize("n", [2, 3])
def test_group_chance_equals_a_count_over_random_matrices(n: int) -> None:
    draws = np.random.default_rng(0).random((50_000, n, n))
    matches = np.eye(n, dtype=bool)
    share = GROUP.outcome(table(draws, matches)).mean()
    chance = GROUP.chance(matches)
    assert chance is not None
    assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / len(draws))


@settings(deadline=None, max_examples=20)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 3), st.integers(2, 4))))
def test_text_chance_equals_a_count_for_any_pattern_of_matches(matches: np.ndarray) -> None:
    draws = np.random.default_rng(1).random((5_000, *matches.shape))
    chance = TEXT.chance(matches)
    assert chance is not None
    assert abs(TEXT.outcome(table(draws, matches)).mean() - chance) < 5 * np.sqrt(chance * (1 - chance) / 5_000) + 1e-9


def test_a_metric_that_does_not_apply_is_absent() -> None:
    def applying(shape: tuple[int, int]) -> list[str]:
        return [metric.name for metric in MATCHING.values() if metric.applies(shape)]

    assert applying((1, 2)) == ["text"]
    assert applying((2, 1)) == ["image"]
    assert applying((2, 2)) == ["text", "image", "group"]


def test_an_image_that_is_easy_under_no_caption_gains_nothing_by_that() -> None:
    easy = np.array([[[-0.2, -0.3], [-1.2, -1.0]]])  # the first image has the lower error under both captions
    table = ScoreTable(("0",), easy, np.eye(2, dtype=bool)[None], unconditional=np.array([[-0.3, -1.25]]))
    outcomes = {metric.name: bool(metric.outcome(table)[0]) for metric in named(MATCHING, unconditional=True)}
    assert outcomes == {"text": True, "image": True, "group": True, "image_raw": False, "group_raw": False}


@given(
    hnp.arrays(float, (3, 2, 2), elements=st.floats(-1, 1)),
    hnp.arrays(float, (3, 2), elements=st.floats(-1, 1)),
)
def test_the_text_score_does_not_see_the_score_of_no_caption(scores: np.ndarray, without: np.ndarray) -> None:
    matches = np.eye(2, dtype=bool)[None].repeat(3, 0)
    raw = TEXT.outcome(ScoreTable(("0", "1", "2"), scores, matches))
    assert (raw == TEXT.outcome(ScoreTable(("0", "1", "2"), scores, matches, without))).all()


def test_group_chance_of_an_irregular_pattern_is_not_made_up() -> None:
    assert GROUP.chance(np.array([[True, True], [False, True]])) is None
