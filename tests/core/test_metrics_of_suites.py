"""The metrics that the suites' papers print, each against an answer worked by hand and its closed form of chance."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compbench.core.examples import Metric, ScoreTable
from compbench.core.metrics import (
    ABSOLUTE,
    BY_NAME,
    GROUP,
    GROUP_MATCH,
    IMAGE,
    MACRO,
    ONE_SIDED,
    PAIR,
    RECALL,
    SET,
    TEXT,
    column_of,
    over_units,
)

EYE = np.eye(2, dtype=bool)
SIDES = ("ipos_2t", "ineg_2t", "tpos_2i", "tneg_2i")

# BiVLC's published outcomes of four models on its 2,933 examples, counted (MIT licence, IMirandaM/BiVLC at 84f0d17):
# of each kind, how many have this pattern of the seven outcomes
BIVLC = Path(__file__).parents[1] / "golden" / "bivlc.csv"
# what the paper prints for CLIP ViT-B/32
PUBLISHED = {
    "text": "75.83",
    "image": "52.40",
    "group": "49.06",
    "ipos_2t": "84.32",
    "ineg_2t": "89.50",
    "tpos_2i": "69.21",
    "tneg_2i": "82.82",
}


def table(scores: object, matches: object = EYE) -> ScoreTable:
    array = np.asarray(scores, dtype=np.float64)
    truth = np.broadcast_to(np.asarray(matches, dtype=bool), array.shape)
    return ScoreTable(tuple(map(str, range(len(array)))), array, truth)


def _sides(scores: np.ndarray) -> tuple[int, ...]:
    return tuple(int(ONE_SIDED[name].outcome(table([scores]))[0]) for name in SIDES)


def test_the_one_sided_scores_look_at_one_image_or_one_caption() -> None:
    assert _sides(np.array([[4, 3], [2, 1]])) == (1, 0, 1, 0)  # image 0 and caption 0 win everything
    assert _sides(np.array([[1, 2], [3, 4]])) == (0, 1, 0, 1)
    assert _sides(np.array([[2, 1], [3, 4]])) == (1, 1, 0, 1)
    assert _sides(np.array([[1, 1], [1, 1]])) == (0, 0, 0, 0)  # a tie is wrong


def _bivlc(model: str) -> list[dict[str, str]]:
    with BIVLC.open() as file:
        return [row for row in csv.DictReader(file) if row["model"] == model]


# an image whose captions both win needs a caption whose images do: no order of four scores denies it
SCORES_OF = {_sides(np.reshape(order, (2, 2))): np.reshape(order, (2, 2)) for order in itertools.permutations(range(4))}


@pytest.mark.parametrize("model", ["ViT-B-32", "CLIP_COCO", "CLIP_TROHN-Img", "CLIP_TROHN-Text"])
def test_the_outcomes_that_bivlc_published_follow_from_the_one_sided_ones(model: str) -> None:
    rows = _bivlc(model)
    assert sum(int(row["n"]) for row in rows) == 2933
    assert set(itertools.product((0, 1), repeat=4)) - set(SCORES_OF) == {(1, 1, 0, 0), (0, 0, 1, 1)}
    examples = table([SCORES_OF[tuple(int(row[side]) for side in SIDES)] for row in rows])
    for name in ("text", "image", "group"):
        assert BY_NAME[name].outcome(examples).tolist() == [row[name] == "1" for row in rows]


def test_they_come_to_the_numbers_that_its_paper_printed() -> None:
    rows = _bivlc("ViT-B-32")
    examples = table([SCORES_OF[tuple(int(row[side]) for side in SIDES)] for row in rows for _ in range(int(row["n"]))])
    assert {name: f"{100 * BY_NAME[name].outcome(examples).mean():.2f}" for name in PUBLISHED} == PUBLISHED


def test_text_of_two_true_captions_and_a_false_one_wants_both_above_it() -> None:
    matches = [[True, True, False]]
    scores = [[[3, 2, 1]], [[2, 3, 1]], [[3, 1, 2]], [[1, 3, 2]], [[1, 2, 3]], [[2, 1, 1]]]
    assert TEXT.outcome(table(scores, matches)).tolist() == [True, True, False, False, False, False]
    assert TEXT.ties(table(scores, matches)).tolist() == [False] * 5 + [True]
    assert TEXT.chance(np.array(matches)) == pytest.approx(1 / 3)


def test_a_caption_is_taken_for_true_and_its_foil_for_false_at_a_threshold() -> None:
    examples = table([[[1, -1]], [[1, 1]], [[-1, -2]], [[0, 0]], [[0.6, 0.4]]], [[True, False]])
    outcomes = {name: BY_NAME[name].outcome(examples).tolist() for name in ABSOLUTE}
    assert outcomes == {
        "p_c": [True, True, False, False, True],
        "p_f": [True, False, True, False, False],
        "p_c_half": [True, True, False, False, True],
        "p_f_half": [True, False, True, True, True],
    }
    assert BY_NAME["p_c"].ties(examples).tolist() == [False, False, False, True, False]  # at the threshold is a tie
    assert BY_NAME["p_f"].ties(examples).tolist() == [False, False, False, True, False]
    assert {BY_NAME[name].chance(np.array([[True, False]])) for name in ABSOLUTE} == {None}
    assert not BY_NAME["p_c"].applies((2, 2))


def test_a_pair_and_a_set_are_right_where_all_of_them_are() -> None:
    right = np.array([1, 1, 1, 0, 1, 1, 1, 1], bool)
    rows, pairs = over_units(PAIR, ["a", "a", "b", "b", "c", "c", "d", "d"], right)
    assert rows.tolist() == list(range(8))
    assert pairs.tolist() == [True, True, False, False, True, True, True, True]
    _, sets = over_units(SET, ["x"] * 4 + ["y"] * 4, right)
    assert sets.tolist() == [False] * 4 + [True] * 4


def test_a_unit_that_lacks_an_example_does_not_count() -> None:
    rows, right = over_units(SET, ["x", "x", "x", "y", "y", "y", "y", ""], np.ones(8, bool))
    assert rows.tolist() == [3, 4, 5, 6]
    assert right.all()
    assert over_units(SET, [], np.zeros(0, bool))[0].tolist() == []


def test_several_readings_are_judged_side_by_side() -> None:
    right = np.array([[1, 1], [1, 0]], bool)
    assert over_units(PAIR, ["a", "a"], right)[1].tolist() == [[True, False], [True, False]]


def test_the_macro_mean_leaves_out_what_has_no_class_of_it() -> None:
    rows, right = over_units(MACRO, ["on", "", "under"], np.array([1, 1, 0], bool))
    assert (rows.tolist(), right.tolist()) == ([0, 2], [True, False])
    assert column_of(MACRO) == "in_macro"
    assert [column_of(metric) for metric in (TEXT, PAIR, SET)] == ["", "in_pair", "in_set"]


def test_group_match_compares_the_sums_of_whole_assignments() -> None:
    # text, image and group are wrong in the first, and yet the true pairs have the higher sum: 5 + 1 > 2 + 3
    examples = table([[[5, 2], [3, 1]], [[2, 5], [1, 3]], [[2, 1], [3, 2]]])
    assert GROUP.outcome(examples).tolist() == [False, False, False]
    assert GROUP_MATCH.outcome(examples).tolist() == [True, False, False]
    assert GROUP_MATCH.ties(examples).tolist() == [False, False, True]


@given(st.integers(2, 5), st.integers(0, 10**6))
@settings(max_examples=40)
def test_group_match_is_what_trying_every_assignment_says(k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (6, k, k)).astype(float)  # whole numbers, so that ties occur
    truth = rng.permutation(k)
    matches = np.arange(k) == truth[:, None]
    sums = {order: scores[:, np.arange(k), order].sum(1) for order in itertools.permutations(range(k))}
    true = sums.pop(tuple(int(c) for c in truth))
    others = np.max(list(sums.values()), axis=0)
    assert np.array_equal(GROUP_MATCH.outcome(table(scores, matches)), true > others)
    assert np.array_equal(GROUP_MATCH.ties(table(scores, matches)), true == others)


def test_group_match_of_ten_is_what_scipy_assigns() -> None:
    from scipy.optimize import linear_sum_assignment

    scores = np.random.default_rng(0).random((40, 10, 10)) + 0.6 * np.eye(10)
    best = [(linear_sum_assignment(-score)[1] == np.arange(10)).all() for score in scores]
    assert GROUP_MATCH.outcome(table(scores, np.eye(10))).tolist() == best
    assert 0 < sum(best) < 40


def test_the_score_of_no_caption_changes_no_assignment() -> None:
    scores = np.random.default_rng(1).random((50, 3, 3))
    without = np.random.default_rng(2).random((50, 3))
    matches = np.broadcast_to(np.eye(3, dtype=bool), scores.shape)
    ids = tuple(map(str, range(50)))
    raw, normalised = ScoreTable(ids, scores, matches), ScoreTable(ids, scores, matches, without)
    assert np.array_equal(GROUP_MATCH.outcome(raw), GROUP_MATCH.outcome(normalised))


def test_recall_counts_what_comes_before_the_best_true_one() -> None:
    matches = np.zeros((1, 12), bool)
    matches[0, [3, 7]] = True
    scores = np.arange(12, dtype=float)[None, None]  # the best true one, 7, is the fifth
    assert RECALL["text_r5"].outcome(table(scores, matches))[0]
    scores[0, 0, 0] = 7.0  # a false one as high as it: now it is the sixth
    assert not RECALL["text_r5"].outcome(table(scores, matches))[0]
    assert RECALL["text_r5"].ties(table(scores, matches))[0]
    assert RECALL["text_r10"].outcome(table(scores, matches))[0]
    turned = table(scores.swapaxes(1, 2), matches.T)
    assert RECALL["image_r10"].outcome(turned)[0]
    assert not RECALL["image_r5"].outcome(turned)[0]


CASES = [
    *((ONE_SIDED[name], EYE, 0.5) for name in SIDES),
    (GROUP_MATCH, np.eye(3, dtype=bool), 1 / 6),
    (GROUP, np.eye(3, dtype=bool), 2 / 120),  # (k - 1)! / (2k - 1)!
    (TEXT, np.array([[1, 0, 0, 0]], bool), 1 / 4),
    (TEXT, np.array([[1, 1, 0]], bool), 1 / 3),
    (IMAGE, np.array([[1]] + [[0]] * 9, bool), 1 / 10),
    (RECALL["text_r5"], np.arange(12)[None] < 2, 1 - (7 * 6) / (12 * 11)),
    (RECALL["image_r10"], np.arange(20)[:, None] < 1, 1 / 2),
]


@pytest.mark.parametrize(("metric", "matches", "chance"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_random_scores_come_to_the_closed_form(metric: Metric, matches: np.ndarray, chance: float) -> None:
    assert metric.chance(matches) == pytest.approx(chance)
    draws = np.random.default_rng(3).random((20_000, *matches.shape))
    share = metric.outcome(table(draws, matches)).mean()
    assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / len(draws))


@pytest.mark.parametrize(("metric", "n", "chance"), [(PAIR, 2, 1 / 16), (SET, 4, 1 / 256)])
def test_random_scores_of_pairs_and_sets_come_to_the_closed_form(metric: Metric, n: int, chance: float) -> None:
    matches = np.array([[1, 0, 0, 0]], bool)
    assert metric.chance(matches) == chance
    right = metric.outcome(table(np.random.default_rng(4).random((n * 20_000, 1, 4)), matches))
    _, whole = over_units(metric, [str(row // n) for row in range(len(right))], right)
    assert abs(whole.mean() - chance) < 5 * np.sqrt(chance * (1 - chance) / 20_000)


def test_a_metric_is_absent_where_the_shape_leaves_it_undefined() -> None:
    shapes = [(1, 2), (1, 4), (2, 1), (2, 2), (2, 3), (3, 3), (13, 13)]
    applying = {shape: [name for name, metric in BY_NAME.items() if metric.applies(shape)] for shape in shapes}
    for shape in ((1, 2), (2, 1), (1, 4), (2, 3), (13, 13)):
        assert "group_match" not in applying[shape]
        assert not set(SIDES) & set(applying[shape])
    assert {"group_match", *SIDES} <= set(applying[2, 2])
    assert "group_match" in applying[3, 3]
    assert "text_r5" not in applying[1, 4]
    assert {"image_r5", "text_r10"} <= set(applying[13, 13])
    assert "text" not in applying[2, 1]


def test_group_match_has_no_chance_where_images_share_captions() -> None:
    assert GROUP_MATCH.chance(np.array([[1, 1], [0, 0]], bool)) is None


scores_2x2 = hnp.arrays(np.float64, (5, 2, 2), elements=st.integers(-2, 2).map(float))


@given(scores_2x2)
def test_the_sides_make_up_text_image_and_group(scores: np.ndarray) -> None:
    examples = table(scores)
    side = {name: metric.outcome(examples) for name, metric in ONE_SIDED.items()}
    assert np.array_equal(TEXT.outcome(examples), side["ipos_2t"] & side["ineg_2t"])
    assert np.array_equal(IMAGE.outcome(examples), side["tpos_2i"] & side["tneg_2i"])
    assert (GROUP.outcome(examples) <= GROUP_MATCH.outcome(examples)).all()
