"""Every pair of models, and the letters of those that cannot be told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pages
from compbench.core.errors import UsageError
from compbench_analysis.frames.all_pairs import all_pairs, lettered, standings_of
from compbench_analysis.frames.compare import compare
from compbench_analysis.statistics.groups import letters
from pages import Written


@st.composite
def _told_apart(draw: st.DrawFn) -> np.ndarray:
    k = draw(st.integers(1, 9))
    upper = np.triu(np.array(draw(st.lists(st.booleans(), min_size=k * k, max_size=k * k))).reshape(k, k), 1)
    return upper | upper.T


@given(_told_apart())
def test_two_share_a_letter_where_they_are_not_told_apart_and_nowhere_else(is_told_apart: np.ndarray) -> None:
    found = letters(is_told_apart)
    for a, b in np.ndindex(is_told_apart.shape):
        assert bool(set(found[a]) & set(found[b])) != is_told_apart[a, b] or a == b


@given(_told_apart())
def test_no_letter_says_what_another_says_already(is_told_apart: np.ndarray) -> None:
    found = letters(is_told_apart)
    members = [{n for n, own in enumerate(found) if letter in own} for letter in sorted(set("".join(found)))]
    assert not any(first < other for first in members for other in members)
    assert all(found)


def test_a_pair_has_the_numbers_of_the_comparison_of_its_two(page_of_eight: Written) -> None:
    runs = page_of_eight.runs
    found = all_pairs(runs).set_index(["metric", "tag", "a", "b"])
    assert len(found) == 3 * 4 * 28
    alone = compare([runs[1], runs[4]], n_resamples=99).outcomes
    for row in alone.to_dict("records"):
        same = found.loc[(row["metric"], row["tag"], row["a"], row["b"])]
        names = ["n", "only_a", "only_b", "value_a", "value_b", "difference", "low", "high", "p"]
        assert [same[name] for name in names] == [row[name] for name in names]
        assert same["p_holm"] >= row["p"]


def test_the_leader_stands_first_and_the_others_by_what_they_lack(page_of_eight: Written) -> None:
    found = all_pairs(page_of_eight.runs).query("metric == 'group' and tag == 'overall'")
    standing = {row["model"]: row for row in standings_of(found).rows}
    assert standing["model-1"]["difference"] == 0
    assert standing["model-8"]["difference"] == pytest.approx((9 - 57) / 60)
    is_sure = {frozenset((row["a"], row["b"])): row["is_sure"] for row in found.to_dict("records")}
    for model in ("model-2", "model-5", "model-8"):
        assert standing[model]["is_level"] != is_sure[frozenset(("model-1", model))]
    assert standing["model-1"]["is_level"]


def test_a_run_that_lacks_examples_is_left_out_beside_two_that_do_not(tmp_path: Path) -> None:
    task, shares = pages.task(12), {"one": 12, "two": 12, "quick": 8}
    runs = [pages.scored(tmp_path, task, name, lambda i: pages.RIGHT, n=n) for name, n in shares.items()]
    found = all_pairs(runs)
    assert {(row["a"], row["b"]) for row in found.to_dict("records")} == {("one", "two")}
    assert lettered(found.query("metric == 'group' and tag == 'overall'"), list(shares)) == {"one": "a", "two": "a"}


def test_runs_on_other_examples_are_refused(tmp_path: Path) -> None:
    task = pages.task(12)
    runs = [pages.scored(tmp_path, task, name, lambda i: pages.RIGHT, n=n) for name, n in (("one", 12), ("two", 8))]
    with pytest.raises(UsageError, match="4 only in"):
        all_pairs(runs)
