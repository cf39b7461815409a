"""The sentence above a table: who leads and whether that is sure, from the same tests as compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests

import fakes
from compbench.core.aliases import Floats
from compbench.core.examples import Task
from compbench.core.measurements import ScoreMatrix
from compbench.core.metrics import MATCHING
from compbench.store.key import RunKey
from compbench.store.run import Run
from compbench.store.store import Store
from compbench.store.writer import RunWriter
from compbench_analysis.frames.compare import compare
from compbench_analysis.frames.leaders import standings
from compbench_analysis.frames.seeds import singles
from compbench_analysis.statistics.paired_tests import Agreement, holm, mcnemar
from compbench_analysis.text import show

RIGHT, WRONG = np.eye(2), 1 - np.eye(2)


def stored(root: Path, n_right: int, model: str, *, n: int = 60, n_done: int | None = None, first: int = 0) -> Run:
    """A run that has `n_right` examples right, those from number `first` on."""
    task = Task("fake", fakes.task(n).examples, MATCHING, tag_order={"tag": fakes.TAGS})
    scores: Sequence[Floats] = [RIGHT if first <= number < first + n_right else WRONG for number in range(n)]
    run = Store(root).open(RunKey("fake", task.revision, model, None, {"of": model}), task, view=None)
    writer = RunWriter(run)
    writer.append(
        [ScoreMatrix(example.id, score) for example, score in zip(task.examples, scores, strict=True)][:n_done]
    )
    writer.mark("done" if n_done is None else "interrupted")
    return run


def verdict(runs: Sequence[Run]) -> str:
    """What stands above the table, on one line."""
    return " ".join(show.to_text(runs).split("\n\n")[0].split())


def test_two_models_that_cannot_be_told_apart(tmp_path: Path) -> None:
    runs = [stored(tmp_path, 50, "one"), stored(tmp_path, 53, "other", first=3)]
    row = compare(runs).outcomes.query("metric == 'group' and tag == 'overall'").iloc[0]
    assert row["p"] > 0.05
    low, high = (f"{100 * row[name]:.1f}".replace("-", "−") for name in ("low", "high"))
    assert verdict(runs) == (
        f"one and other cannot be told apart on group score: 83.3 and 88.3, difference −5.0 [{low}, {high}], "
        f"p = {row['p']:.2g}."
    )


def test_one_that_leads(tmp_path: Path) -> None:
    said = verdict([stored(tmp_path, 20, "weak"), stored(tmp_path, 58, "strong")])
    assert said.startswith("strong leads weak on group score: 96.7 and 33.3, difference 63.3 [")
    assert said.endswith("p < 0.0001.")


def test_of_several_the_level_ones_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    runs = [stored(tmp_path, n, name) for n, name in ((55, "a"), (57, "b"), (20, "c"), (9, "d"))]
    said = verdict(runs)
    assert said.startswith("a and b cannot be told apart on group score: 91.7 and 95.0, difference −3.3 [")
    assert "p = 0.5 after Holm; the other 2 are behind." in said
    assert said.endswith("d is not above random scores (16.7).")
    assert (
        "3 models cannot be distinguished from the best on group score: b 95.0, e 93.3 and a 91.7; c is behind."
        in verdict([*runs[:3], stored(tmp_path, 56, "e")])
    )


def test_where_none_is_behind_no_best_is_named_and_weak_ones_are_listed_with_and(tmp_path: Path) -> None:
    said = verdict([stored(tmp_path, n, name) for n, name in ((11, "a"), (10, "b"), (9, "c"))])
    assert said.startswith("None of the 3 models is significantly below the best on group score: a 18.3, b 16.7 and c")
    assert said.endswith("a, b and c are not above random scores (16.7).")


def test_a_single_run_is_held_against_chance(tmp_path: Path) -> None:
    assert verdict([stored(tmp_path, 55, "a")]).startswith("a is above random scores on group score: 91.7 [")
    assert "is not distinguishable from random scores" in verdict([stored(tmp_path, 10, "b")])
    assert verdict([stored(tmp_path, 0, "c")]).startswith("c is below random scores on group score: 0.0 [")


def test_no_winner_is_named_between_runs_on_different_examples(tmp_path: Path) -> None:
    runs = [stored(tmp_path, 60, "whole"), stored(tmp_path, 5, "half", n_done=30)]
    said = verdict(runs)
    assert said.startswith("No winner is named: cannot compare 'fake/whole'")
    assert "30 examples are in both" in said
    assert "leads" not in said
    assert "*" not in show.to_text(runs)


def test_a_run_that_lacks_examples_keeps_no_two_whole_ones_from_being_compared(tmp_path: Path) -> None:
    runs = [stored(tmp_path, 50, "a"), stored(tmp_path, 30, "quick", n_done=30), stored(tmp_path, 20, "b")]
    said = verdict(runs)
    assert said.startswith("a leads b on group score: 83.3 and 33.3, difference 50.0 [")
    assert "quick is not compared, since it lacks examples that the others measured." in said
    table = [line for line in show.to_text(runs).splitlines() if line.startswith("overall")]
    assert "*" in "".join(table)
    assert {row["model"] for row in standings(singles(runs)).rows} == {"a", "b"}
    assert standings(singles(runs)).rows == standings(singles([runs[0], runs[2]])).rows


def test_nothing_measured_is_nothing_said(tmp_path: Path) -> None:
    assert verdict([stored(tmp_path, 5, "none", n_done=0)]) == "None of 60 examples is measured yet."


def test_the_marks_are_those_of_the_tests_of_compare(tmp_path: Path) -> None:
    runs = [stored(tmp_path, n, name) for n, name in ((40, "a"), (57, "b"))]
    found = standings(singles(runs)).rows
    tested = compare(runs).outcomes.set_index(["metric", "tag"])
    for row in [row for row in found if row["model"] == "a"]:
        assert row["p"] == tested.loc[(row["metric"], row["tag"]), "p"]
        assert row["difference"] == pytest.approx(tested.loc[(row["metric"], row["tag"]), "difference"])
        assert bool(row["is_level"]) is bool(row["p"] > 0.05)
    assert all(row["is_level"] for row in found if row["model"] == "b")


def test_a_model_called_chance_is_not_the_row_of_random_scores(tmp_path: Path) -> None:
    text = show.to_text([stored(tmp_path, 10, "chance"), stored(tmp_path, 50, "model")])
    assert sum(line.startswith("random scores") for line in text.splitlines()) == 1
    assert "random chance" not in text


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    p_values = list(np.random.default_rng(seed).random(9).round(1))  # with ties
    assert holm(p_values) == pytest.approx(list(np.asarray(multipletests(p_values, method="holm")[1])))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_is_its_definition(p_values: list[float]) -> None:
    """Each p times the number of those not below it, never under that of a smaller p."""
    ordered = sorted(p_values)
    scaled = [min(1.0, p * (len(ordered) - rank)) for rank, p in enumerate(ordered)]
    expected = [max(scaled[: ordered.index(p) + 1]) for p in p_values]
    assert holm(p_values) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
def test_mcnemar_is_that_of_statsmodels(counts: tuple[int, int, int, int]) -> None:
    theirs: Any = their_mcnemar([counts[:2], counts[2:]], exact=True)
    assert mcnemar(Agreement(*counts)) == pytest.approx(min(1.0, float(theirs.pvalue)))
